//! Clients that are gone, and one thread for all: nobody else runs while a task does.
#![cfg(all(target_os = "linux", not(without_proc)))]

use std::collections::VecDeque;
use std::process::Command;

use harness::{Client, Server, play};

/// The write to a client that is gone fails, and goes on failing, while there is always room for it.
/// A task that waits for room then runs for ever, and the runtime never tells it that it can read the
/// end.
#[test]
fn who_is_reset_while_another_one_floods_stops_nobody() -> harness::Result<()> {
    const ROUNDS: usize = 2000;
    const AT_A_TIME: usize = 4;
    let flags = ["--port", "0", "--threads", "1", "--max-backlog", "65536"];
    let server = Server::start(Command::new(env!("CARGO_BIN_EXE_stage-07")).args(flags)).unwrap();
    let lines = [&[b'x'; 1023][..], b"\n"].concat().repeat(64);
    let mut flooder = server.connect("flooder")?;
    let mut others: VecDeque<Client> = VecDeque::new();
    for _ in 0..ROUNDS {
        flooder.send(&lines)?;
        others.push_back(server.connect("somebody")?);
        if others.len() > AT_A_TIME {
            others.pop_front().map_or(Ok(()), Client::reset)?;
        }
    }
    server.wait_until_read(&flooder)?;

    let [mut a, mut b] = [server.connect("a")?, server.connect("b")?];
    play(&mut [a.part().expect(b"hello\n"), b.part().send(b"hello\n")])
}
