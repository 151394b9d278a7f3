//! Resources: what a server has taken for its clients it gives back when they leave.

use std::io;

use harness::{Client, kernel};

use crate::close::come_and_leave;
use crate::{Bench, Case, Failure, Finding, Outcome, Require, Symptom, ensure, passed};

pub(crate) const CASES: &[Case] = &[
    Case::any("res/01", "descriptors after 12,000 clients", descriptors_after_12_000_clients)
        .why(
            "A descriptor that one way of leaving forgets to close is lost for good. The server \
             runs for weeks, and then accepts nobody any more.",
        )
        .heavy(),
    Case::any("res/02", "threads after 12,000 clients", threads_after_12_000_clients)
        .why(
            "A thread that waits for something that never comes outlives its client, and keeps its \
             stack and all that it holds. A pool that loses one with each error serves nobody in \
             the end.",
        )
        .heavy(),
    Case::any("res/03", "memory after 12,000 clients and with 1,000", memory_is_bounded)
        .why(
            "Memory that is kept for clients who have left grows without an end, and what is kept \
             for each who is there decides how many can be.",
        )
        .heavy(),
    Case::any("res/04", "the shape of the server", the_shape_of_the_server).why(
        "Threads, descriptors and memory with 200 idle clients (100 where they are not accepted): \
         here one sees what kind of server it is. It is measured, not judged.",
    ),
];

const MIB: usize = 1 << 20;

/// 2,000 clients come and close, and 10,000 come and leave by RST. The server has as many
/// descriptors as before, and perhaps a few that it made once.
fn descriptors_after_12_000_clients(bench: &Bench<'_>) -> Outcome {
    is_as_before(bench, "descriptors", kernel::descriptor_count, 8)
}

/// The same; and it has as many threads as before, and perhaps a pool that it made once.
fn threads_after_12_000_clients(bench: &Bench<'_>) -> Outcome {
    is_as_before(bench, "threads", kernel::thread_count, 32)
}

fn is_as_before(
    bench: &Bench<'_>,
    what: &str,
    count: fn(i32) -> io::Result<usize>,
    made_once: usize,
) -> Outcome {
    let server = bench.start()?;
    let count = || count(server.pid());
    let before = server.wait_until(what, count, |_| true)?;
    come_and_leave(bench, &server, 2000, 5)?;
    let most = before + made_once;
    server
        .wait_until(&format!("to have at most {most} {what}"), count, |count| *count <= most)
        .require(&format!("when all clients have left, their {what} are given back"))
        .looks_like(Symptom::TooMuch)?;
    bench.still_serves(&server)?;
    passed()
}

/// The same clients come and leave, and then 1,000 come and stay, as far as the server takes them.
/// Its memory grows by less than 16 MiB, and then by less than 32 MiB in all.
fn memory_is_bounded(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    bench.still_serves(&server)?;
    let before = server.rss_bytes()?;
    let must_have_grown_by_less_than = |mib: usize, requirement: &str| {
        let grown = server.rss_bytes()?.saturating_sub(before) as usize / MIB;
        ensure(grown < mib, || {
            let expected = format!("less than {mib} MiB more than before");
            Failure::new(requirement, expected, format!("{grown} MiB more"))
                .looks_like(Symptom::TooMuch)
                .at(&server)
        })
    };
    come_and_leave(bench, &server, 2000, 5)?;
    must_have_grown_by_less_than(16, "nothing is kept for clients who have left")?;
    let clients = bench.crowd(&server, 1000)?;
    must_have_grown_by_less_than(32, "a client who says nothing costs little memory")?;
    clients.into_iter().for_each(Client::leave);
    bench.still_serves(&server)?;
    passed()
}

fn the_shape_of_the_server(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let clients = bench.crowd(&server, 200)?;
    let (threads, descriptors) = (server.thread_count()?, server.descriptor_count()?);
    let kib = server.rss_bytes()? / 1024;
    let clients = clients.len();
    Ok(Finding::Measured(format!(
        "{clients} idle clients: threads {threads}, descriptors {descriptors}, memory {kib} KiB"
    )))
}
