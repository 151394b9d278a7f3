//! The machine that a server runs on: what runs out there, and clients who take their time.

use std::collections::HashSet;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use harness::{Cause, Client, Server, patience};

use crate::{Bench, Case, Failure, Mode, Outcome, Problem, Require, Symptom, ensure, passed};

pub(crate) const CASES: &[Case] = &[
    Case::any("host/01", "thirty clients who never finish", thirty_who_never_finish).why(
        "The slowloris attack: a client that sends one byte and then nothing costs its sender next \
         to nothing. A server that gives a thread to each client, or only has so many, has given \
         it away for ever.",
    ),
    Case::any("host/02", "no descriptors left", no_descriptors_left).why(
        "At the limit of open files `accept` fails at once, and will again at the next try. A \
         server that gives up never accepts again, and one that tries without a pause takes a \
         whole core and fills the disk with its log.",
    ),
    Case::any("host/03", "who waited is served when there is room", who_waited_is_served).why(
        "A listener that is still ready tells an edge-triggered selector nothing new: a server \
         that waits for the next event after a failed `accept` leaves those in the queue there \
         until somebody else comes.",
    ),
    Case::echo("host/04", "no more threads", no_more_threads).why(
        "A thread can be refused: each takes address space for its stack. In Rust `thread::spawn` \
         panics then, in Python `start` raises: an accept loop that does not expect it ends, and \
         the server serves nobody new.",
    ),
    Case::any("host/05", "more clients at once than the queue holds", more_than_the_queue_holds)
        .why(
            "The kernel completes connections before the server accepts them, as many as the \
             listen backlog says. Each `accept` takes one: a server that is told of changes only \
             and takes one for each leaves the others waiting, and who found the queue full tries \
             again after a second.",
        ),
];

/// How many descriptors a server may have in host/02 and host/03, and how many clients come.
const DESCRIPTORS: u64 = 40;
const CLIENTS: usize = 60;

const SERVED_OR_TOLD: &str = "a client is served, or told that it will not be";
const STILL_SERVED: &str = "who was there all the time is still served";

/// Thirty clients send one byte of a line and no more. Then somebody comes who finishes its lines.
fn thirty_who_never_finish(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let mut slow = Vec::new();
    for number in 1..=30 {
        let mut client = server.connect(&format!("slow {number}"))?;
        client.send(b"x")?;
        slow.push(client);
    }
    let mut newcomer = server.connect("newcomer")?;
    let Err(waiting) = bench.serve(&server, &mut newcomer) else { return passed() };

    slow.into_iter().chain([newcomer]).for_each(Client::leave);
    bench.still_serves(&server).afterwards("it serves others when all these have left")?;
    Err(waiting)
}

/// The server may have forty descriptors, and sixty clients come. Those whom it serves already do
/// not notice. The server waits for better times: it neither spins nor fills its log. When most of
/// the clients have left, new ones are served.
fn no_descriptors_left(bench: &Bench<'_>) -> Outcome {
    const WINDOW: Duration = Duration::from_secs(1);
    let server = bench.start_limited(&format!("ulimit -n {DESCRIPTORS}"))?;
    let mut regulars = bench.regulars(&server).precondition("clients are served at first")?;
    let crowd = take_all_descriptors(&server, CLIENTS - regulars.len())?;
    bench.serve_regulars(&mut regulars).require("out of descriptors, it serves who is there")?;

    let spent = || -> Result<(f64, f64), Box<Problem>> {
        let (ticks, lines) = (server.cpu_ticks()?, server.stderr_line_count());
        let start = Instant::now();
        thread::sleep(WINDOW);
        let seconds = start.elapsed().as_secs_f64();
        let (ticks, lines) = (server.cpu_ticks()? - ticks, server.stderr_line_count() - lines);
        Ok((ticks as f64 / seconds, lines as f64 / seconds))
    };
    let waits = |(ticks, lines)| ticks <= 5.0 && lines <= 20.0;
    // What the clients' arrival has cost, and the log of it, may fall into the first window.
    if !waits(spent()?) {
        let (ticks, lines) = spent()?;
        ensure(waits((ticks, lines)), || {
            Failure::new(
                "out of descriptors, it waits: it does not spin, nor fill its log",
                "at most 5 clock ticks and 20 lines on stderr a second",
                format!("{ticks:.0} clock ticks and {lines:.0} lines a second"),
            )
            // A tick is 10 ms: a percent of a second.
            .looks_like(if ticks > 5.0 { Symptom::Spin(ticks as u32) } else { Symptom::Other })
            .at(&server)
        })?;
    }

    crowd.into_iter().for_each(Client::leave);
    bench.serve_regulars(&mut regulars).require(STILL_SERVED)?;
    bench.still_serves(&server)?;
    passed()
}

/// As before; and one of those whom the server could not accept stays when the others leave. It is
/// served as soon as there is room, though nobody else comes: nothing but the server's own patience
/// brings that about.
fn who_waited_is_served(bench: &Bench<'_>) -> Outcome {
    let server = bench.start_limited(&format!("ulimit -n {DESCRIPTORS}"))?;
    let mut regulars = bench.regulars(&server).precondition("clients are served at first")?;
    let mut crowd = take_all_descriptors(&server, CLIENTS - regulars.len())?;
    let mut waiting = crowd.pop().expect("somebody came");
    let is_waiting =
        || Ok::<_, Box<Problem>>(server.end_of(&waiting)?.is_some_and(|it| it.inode == 0));
    // A single reading may miss a socket.
    if !is_waiting()? && !is_waiting()? {
        // It was accepted only to be closed again: that is an answer, too.
        waiting.expect_end().require(SERVED_OR_TOLD)?;
        crowd.into_iter().for_each(Client::leave);
        bench.serve_regulars(&mut regulars).require(STILL_SERVED)?;
        bench.still_serves(&server)?;
        return passed();
    }
    crowd.into_iter().for_each(Client::leave);
    let Err(problem) = bench.serve_among(&mut waiting, &mut regulars) else { return passed() };
    let is_refused =
        matches!(problem.symptom(), Some(Symptom::Closed | Symptom::Hang | Symptom::Silence))
            && waiting.expect_end().is_ok();
    if !is_refused {
        return Err(problem).require("who waits in the queue is served as soon as there is room");
    }
    // It was accepted after all, with a descriptor kept in reserve, and closed: told, if late.
    bench.serve_regulars(&mut regulars).require(STILL_SERVED)?;
    bench.still_serves(&server)?;
    passed()
}

/// Connects so many clients to a server that has no descriptors for all of them, and waits until
/// it has none left.
fn take_all_descriptors(server: &Server, clients: usize) -> Result<Vec<Client>, Box<Problem>> {
    let limit = server.descriptor_limit()?;
    ensure(limit == Some(DESCRIPTORS), || {
        let limit = limit.map_or("none".to_owned(), |limit| limit.to_string());
        Failure::new("", format!("{DESCRIPTORS}"), format!("the limit is {limit}"))
    })
    .precondition("the limit on descriptors is set")?;
    let connect = |number| server.connect(&format!("client {number}"));
    let clients = (1..=clients).map(connect).collect::<Result<Vec<_>, _>>()?;
    // One less: some keep one in reserve, to accept with and to close at once.
    let taken = || match server.exit_status() {
        None => harness::kernel::descriptor_count(server.pid()),
        Some(_) => Err(io::Error::other("the server has ended")),
    };
    let all = server
        .wait_until("all descriptors to be taken", taken, |count| *count as u64 + 1 >= DESCRIPTORS);
    ensure(server.exit_status().is_none(), || {
        let requirement = "a server that has no descriptors left goes on";
        Failure::new(requirement, "that it still runs", "it has ended").at(server)
    })?;
    all.precondition("the server has no descriptors left")?;
    Ok(clients)
}

/// The server's address space may grow by the stacks of some sixteen threads, and clients come: 120,
/// or until some were refused. Each is served, or told by the end of its connection that it is not.
/// When they have left, others are served.
fn no_more_threads(bench: &Bench<'_>) -> Outcome {
    const CLIENTS: usize = 120;
    const REFUSED: usize = 8;
    const MIB: u64 = 1 << 20;
    let server = bench.start()?;
    let mut regulars = bench.regulars(&server).precondition("clients are served at first")?;
    // A thread of a pool that has yet to start takes address space, too, and more than the limit
    // leaves. A server that never comes to rest has to do without this.
    let _ = server.stuck();
    // Half a stack more than whole ones: what remains at the end is enough for everything else.
    server.limit_growth(Some(33 * MIB))?;
    let mut served = Vec::new();
    let mut refused = 0;
    for number in 1..=CLIENTS {
        let mut client = server.connect(&format!("client {number}")).require(SERVED_OR_TOLD)?;
        let line = bench.line(client.name());
        match client.exchange(&line, &line) {
            Ok(()) => served.push(client),
            Err(trouble) if matches!(trouble.cause, Cause::Ended(..)) => {
                refused += 1;
                if refused == REFUSED {
                    break;
                }
            }
            Err(waiting) => {
                served.into_iter().chain(regulars).chain([client]).for_each(Client::leave);
                let serves = bench.still_serves(&server);
                serves.afterwards("it serves others when all these have left")?;
                return Err(waiting).require(SERVED_OR_TOLD);
            }
        }
    }
    bench.serve_regulars(&mut regulars).require("who was there before is still served")?;
    if refused == 0 && server.thread_count()? > CLIENTS {
        let reason = "the limit left room for a thread for each client";
        return Err(Box::new(Problem::Inconclusive(reason.to_owned())));
    }
    served.into_iter().for_each(Client::leave);
    served_in_the_end(bench, &server)?;
    passed()
}

/// Connects clients until one is served: a thread takes a moment to end, and to give back its stack
/// after its client has seen the end.
fn served_in_the_end(bench: &Bench<'_>, server: &Server) -> Result<(), Box<Problem>> {
    let begin = Instant::now();
    loop {
        let served = bench.still_serves(server);
        if served.is_ok() || begin.elapsed() >= patience() {
            return served;
        }
    }
}

/// While the server stands still, clients connect until its accept queue is full, and one more whom
/// the kernel puts off. Then the server goes on: all are served.
fn more_than_the_queue_holds(bench: &Bench<'_>) -> Outcome {
    // More than a server has room for that has not chosen: std 128, Python and Go somewhat more.
    const MOST: usize = 300;
    // A connection to a queue with room is complete at once. Were one not, the queue would only
    // seem full, and fewer clients would wait in it.
    const AT_ONCE: Duration = Duration::from_millis(200);
    const SERVED: &str = "whoever connected while the server was busy is served";
    let server = bench.start()?;
    server.pause()?;
    let mut clients = Vec::new();
    while clients.len() < MOST {
        clients.push(server.begin_connect(&format!("client {}", clients.len() + 1))?);
        if !clients.last().is_some_and(|client| client.is_connected_within(AT_ONCE)) {
            break;
        }
    }
    server.resume()?;
    let serve_all = || -> Result<(), Box<Problem>> {
        match bench.mode() {
            Mode::Echo => {
                // Who found the queue full may not be connected before others are served: it
                // speaks when it is its turn. The others have spoken by then: a server that
                // answers late need not do so hundreds of times in a row.
                let last = clients.pop();
                let lines: Vec<_> = clients.iter().map(|it| bench.line(it.name())).collect();
                for (client, line) in clients.iter_mut().zip(&lines) {
                    client.send(line)?;
                }
                for (mut client, line) in clients.into_iter().zip(&lines) {
                    bench.expect_with_help(&server, &mut client, line)?;
                    client.leave();
                }
                if let Some(mut last) = last {
                    bench.serve(&server, &mut last)?;
                }
            }
            Mode::Broadcast => {
                bench.roll_call(&mut clients)?;
                let (first, others) = clients.split_first_mut().expect("one at least has come");
                let mut unheard = HashSet::new();
                for client in others {
                    let line = bench.line(client.name());
                    client.send(&line)?;
                    unheard.insert(line);
                }
                while !unheard.is_empty() {
                    let line = first.read_line()?;
                    ensure(unheard.remove(&line), || {
                        let actual = String::from_utf8_lossy(&line);
                        Failure::new(SERVED, "each client's line, whole and once", actual)
                            .looks_like(Symptom::WrongLines)
                            .at(&server)
                    })?;
                }
            }
        }
        Ok(())
    };
    serve_all().require(SERVED)?;
    passed()
}
