use std::mem;
use std::thread;
use std::time::{Duration, Instant};

use conformance::{Bench, Case, Failure, Outcome, Problem, Require, ensure, passed};
use harness::{Cause, Client, Server};

use super::stage_04::{a_name_goes_before_each_line, a_name_may_come_in_pieces};

pub(super) const CASES: &[Case] = &[
    Case::broadcast(
        "06-timeout/01",
        "who says nothing is disconnected, who speaks stays",
        who_says_nothing_is_disconnected,
    )
    .why("Each connection costs something: one that is of no use to anybody must end."),
    Case::broadcast(
        "06-timeout/02",
        "waiting for the time-out costs nothing",
        waiting_for_the_time_out_costs_nothing,
    )
    .why("A loop that looks at the clock again and again never sleeps.")
    .alone(),
    Case::broadcast("06-names/01", "a name goes before each line", a_name_goes_before_each_line)
        .why("What is known of a client can be a local variable, where its task is a function."),
    Case::broadcast("06-names/02", "a name may come in pieces", a_name_may_come_in_pieces)
        .why("A name is a line, and a line may come in two reads, or two lines in one."),
    Case::echo("06-waker/01", "a server at rest wakes up", a_server_at_rest_wakes_up).why(
        "Who returns `Pending` and leaves no waker sleeps for ever: nobody knows that it waits.",
    ),
];

/// S says nothing, and its stream ends. A and B were there before it and talk to each other until
/// a second silent client is gone, too: they stay.
fn who_says_nothing_is_disconnected(bench: &Bench<'_>) -> Outcome {
    const SILENCE: Duration = Duration::from_secs(2);
    let server = Server::start(bench.command(0).env("SILENCE", SILENCE.as_secs().to_string()))?;
    let mut silent = server.connect("s")?;
    silent.read_to_end().require("a client that says nothing is disconnected")?;

    let mut said_before = Instant::now();
    let [mut a, mut b] = bench.room(&server, ["a", "b"])?;
    let mut silent = server.connect("t")?;
    let mut silent_is_there = true;
    while silent_is_there {
        let says = Instant::now();
        let talked = exchange_lines(bench, &mut a, &mut b);
        let talked = talked.require("a client that speaks is not disconnected");
        // From the beginning of one exchange to the end of the next: longer than anybody's silence.
        let silence = mem::replace(&mut said_before, says).elapsed();
        if silence >= SILENCE / 2 {
            talked.precondition("on this machine the clients speak often enough")?;
        } else {
            talked?;
        }
        // It hears them both, until its end.
        silent_is_there = match silent.read_line().and_then(|_| silent.read_line()) {
            Err(trouble) if matches!(trouble.cause, Cause::Ended(..)) => false,
            heard => heard.map(|_| true)?,
        };
    }
    exchange_lines(bench, &mut a, &mut b).require("a client that speaks is not disconnected")?;
    passed()
}

/// A says a line to B, and B one to A.
fn exchange_lines(bench: &Bench<'_>, a: &mut Client, b: &mut Client) -> harness::Result<()> {
    let [says, answers] = ["a", "b"].map(|name| bench.line(name));
    a.send(&says)?;
    b.expect(&says)?;
    b.send(&answers)?;
    a.expect(&answers)
}

/// Three clients are connected, and nobody moves. The time-out is far away: nothing is to be done
/// until then.
fn waiting_for_the_time_out_costs_nothing(bench: &Bench<'_>) -> Outcome {
    const WINDOW: Duration = Duration::from_secs(1);
    let server = Server::start(bench.command(0).env("SILENCE", "600"))?;
    let _clients = bench.room(&server, ["a", "b", "c"])?;
    let spent = || -> Result<(u64, u64), Box<Problem>> {
        let (ticks, wake_ups) = (server.cpu_ticks()?, server.voluntary_switches()?);
        thread::sleep(WINDOW);
        Ok((server.cpu_ticks()? - ticks, server.voluntary_switches()? - wake_ups))
    };
    let is_idle = |(ticks, wake_ups)| ticks <= 1 && wake_ups <= 2;
    // The clients' arrival may fall into the first window, and not into the second.
    if !is_idle(spent()?) {
        let (ticks, wake_ups) = spent()?;
        ensure(is_idle((ticks, wake_ups)), || {
            Failure::new(
                "waiting for a time-out costs no processor time and no wake-ups",
                format!("at most 1 clock tick and 2 wake-ups within {WINDOW:?}"),
                format!("{ticks} clock ticks and {wake_ups} wake-ups"),
            )
            .at(&server)
        })?;
    }
    passed()
}

/// The server sleeps before each step: a client comes, says something, and comes back to it later.
fn a_server_at_rest_wakes_up(bench: &Bench<'_>) -> Outcome {
    const HELLO: &[u8] = b"hello\n";
    let server = bench.start()?;
    server.stuck().precondition("the server sleeps before a client comes")?;
    let mut a = server.connect("a")?;
    let mut b = server.connect("b")?;
    for client in [&mut a, &mut b] {
        client.exchange(HELLO, HELLO).require("a server that sleeps wakes for a new client")?;
        server.stuck().precondition("the server sleeps when nobody wants anything")?;
    }
    for client in [&mut a, &mut b] {
        client.exchange(HELLO, HELLO).require("a server that sleeps wakes for what arrives")?;
        server.stuck().precondition("the server sleeps when nobody wants anything")?;
    }
    passed()
}
