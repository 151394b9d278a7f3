//! Many clients: as many as the machine has room for, not as many as the server has threads.

use std::thread;
use std::time::{Duration, Instant};

use harness::{Client, kernel, play};

use crate::bcast::all_talk_at_once;
use crate::history::Talk;
use crate::{Bench, Case, Finding, Outcome, Problem, Require, passed};

pub(crate) const CASES: &[Case] = &[
    Case::echo("scale/01", "1,000 clients, each is served", a_thousand_clients)
        .why(
            "A thousand is nothing to the kernel. It is a server's own shape that ends at one \
             client, at twenty, or at the 1,024 descriptors that `select` can watch.",
        )
        .heavy(),
    Case::broadcast("scale/02", "4,000 clients hear each other", four_thousand_clients)
        .why(
            "Each line goes to 3,999 others, and each of them has to be known, and written to, \
             while the next line comes. What costs a little for each client costs 4,000 times that \
             here.",
        )
        .alone()
        .heavy(),
    Case::echo("scale/03", "wake-up latency", wake_up_latency)
        .why(
            "Most servers are idle most of the time: what a client feels then is how long it takes \
             from a byte's arrival until the right code runs. It is measured, not judged.",
        )
        .alone()
        .heavy(),
];

/// A thousand clients connect, or as many as the server takes. Each sends a line, all at once, and
/// each has its answer.
fn a_thousand_clients(bench: &Bench<'_>) -> Outcome {
    must_have_descriptors(1000)?;
    let server = bench.start()?;
    let mut clients = bench.crowd(&server, 1000)?;
    let lines: Vec<_> = clients.iter().map(|client| bench.line(client.name())).collect();
    let mut parts: Vec<_> = clients
        .iter_mut()
        .zip(&lines)
        .map(|(client, line)| client.part().send(line).expect(line))
        .collect();
    let played = play(&mut parts);
    drop(parts);
    let Err(waiting) = played else { return passed() };
    clients.into_iter().for_each(Client::leave);
    bench.still_serves(&server).afterwards("it serves others when all these have left")?;
    Err(waiting.into())
}

/// Four thousand clients connect. Forty of them say a line each, all at once, and all the others
/// hear all of it.
fn four_thousand_clients(bench: &Bench<'_>) -> Outcome {
    const CLIENTS: usize = 4000;
    must_have_descriptors(CLIENTS)?;
    let mut rng = bench.rng();
    let talk = |number| Talk::new(&format!("speaker-{number}"), 1, 40..=200, &mut rng);
    let talks: Vec<_> = (1..=40).map(talk).collect();
    let server = bench.start()?;
    let connect = |number| server.connect(&format!("client {number}"));
    let mut clients = (1..=CLIENTS).map(connect).collect::<Result<Vec<_>, _>>()?;
    bench.roll_call(&mut clients)?;
    all_talk_at_once(bench, &server, clients, &talks, 200)
}

/// Fifty times, one client sends a line after the server has had nothing to do for a while, and has
/// it back.
fn wake_up_latency(bench: &Bench<'_>) -> Outcome {
    const PINGS: usize = 50;
    const IDLE: Duration = Duration::from_millis(50);
    let server = bench.start()?;
    let mut client = server.connect("client")?;
    bench.serve(&server, &mut client)?;
    let mut latencies = Vec::new();
    for _ in 0..PINGS {
        thread::sleep(IDLE);
        let start = Instant::now();
        bench.serve(&server, &mut client)?;
        latencies.push(start.elapsed());
    }
    latencies.sort();
    let (median, worst) = (latencies[PINGS / 2], latencies[PINGS - 1]);
    Ok(Finding::Measured(format!(
        "an echo after {IDLE:?} of idleness: median {median:.0?} of {PINGS}, the worst {worst:.0?}"
    )))
}

/// The harness needs a descriptor for each of so many clients, and the server as many.
fn must_have_descriptors(clients: usize) -> Result<(), Box<Problem>> {
    let needed = clients as u64 + 100;
    let pid = i32::try_from(std::process::id()).unwrap_or(0);
    match kernel::descriptor_limit(pid) {
        Ok(Some(limit)) if limit < needed => {
            let reason = format!(
                "{clients} clients need {needed} descriptors, and the limit is {limit}: raise it \
                 with ulimit -n {needed}"
            );
            Err(Box::new(Problem::Inconclusive(reason)))
        }
        _ => Ok(()),
    }
}
