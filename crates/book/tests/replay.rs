//! What the replay finds in transcripts: the good, played through, and the wrong, named.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeSet;
use std::sync::OnceLock;

use book::programs::{Program, Programs};
use book::transcript::Transcript;
use book::{Mismatch, replay};

/// The first line of a transcript here, as if it stood in a page.
const FIRST: usize = 100;

fn play(text: &str) -> Result<(), Box<Mismatch>> {
    static PROGRAMS: OnceLock<Programs> = OnceLock::new();
    let programs = PROGRAMS.get_or_init(|| {
        let stages = ["stage-01", "stage-02", "stage-04", "stage-06", "stage-07"];
        let used: BTreeSet<_> =
            stages.map(|package| Program::Binary { package: package.to_owned() }).into();
        Programs::build(book::root(), &used).unwrap()
    });
    replay(&Transcript::parse(text, FIRST).unwrap(), programs)
}

/// That the transcript fails at a line, counted from 0, and what came instead.
#[track_caller]
fn fails(text: &str, line: usize, instead: &str) {
    let mismatch = play(text).unwrap_err();
    assert_eq!(mismatch.line, FIRST + line, "{mismatch}");
    assert_eq!(mismatch.instead, instead);
}

#[test]
fn another_line_than_the_one_shown_is_named() {
    let text = "server$ cargo run -p stage-01\na$ nc 127.0.0.1 3000\na> hello\na: hallo\n";
    fails(text, 3, "a sees hello");
}

#[test]
fn a_line_that_does_not_come_is_proved_not_to_come() {
    let text = "server$ cargo run -p stage-01\na$ nc 127.0.0.1 3000\nb$ nc 127.0.0.1 3000\n\
                b> hello\nb: hello\n";
    fails(text, 4, "b sees nothing");
}

#[test]
fn nothing_is_not_nothing_where_a_line_comes() {
    let text = "server$ cargo run -p stage-02\na$ nc 127.0.0.1 3000\nb$ nc 127.0.0.1 3000\n\
                b> hello\nb: (nothing)\n";
    fails(text, 4, "b sees hello");
}

#[test]
fn a_line_that_is_not_shown_is_named() {
    let text = "server$ cargo run -p stage-04\na$ nc 127.0.0.1 3000\nb$ nc 127.0.0.1 3000\n\
                c$ nc 127.0.0.1 3000\na> hello\nb: hello\n";
    fails(text, 5, "after it, c sees hello, which is not shown");
}

#[test]
fn a_thread_that_sleeps_elsewhere_is_named() {
    let text = "server$ cargo run -p stage-01\na$ nc 127.0.0.1 3000\nserver: (asleep in accept)\n";
    fails(text, 2, "it is asleep in recv on a");
}

#[test]
fn one_port_is_not_two() {
    let text = "server$ cargo run -p stage-02\na$ nc 127.0.0.1 3000\nb$ nc 127.0.0.1 3000\n\
                server: connection from 127.0.0.1:50001\n\
                server: connection from 127.0.0.1:50002\n\
                a$ ^D\na: (end)\n\
                server: client disconnected: 127.0.0.1:50001: end of input\n";
    play(text).unwrap();
    let other = text.replace("disconnected: 127.0.0.1:50001", "disconnected: 127.0.0.1:50002");
    let mismatch = play(&(other + "b> never played\n")).unwrap_err();
    assert_eq!(mismatch.line, FIRST + 7);
    assert!(mismatch.server.iter().any(|line| line.contains("client disconnected")));
}

#[test]
fn an_end_is_told_from_a_reset_and_from_a_line() {
    let text = "server$ cargo run -p stage-02\na$ cargo run -p client -- --half-close\n\
                a> hello\na$ ^D\na: (end)\n";
    fails(text, 4, "a sees hello");
    fails(&text.replace("a: (end)", "a: hello\na: (reset)"), 5, "a sees (end)");
}

#[test]
fn an_interrupt_ends_a_server_and_its_clients() {
    let text = "server$ cargo run -p stage-07\na$ nc 127.0.0.1 3000\nserver$ ^C\n\
                server: stopping on a signal\na: (end)\nserver: (gone)\n";
    play(text).unwrap();
    fails(&text.replace("$ ^C", ": (gone)"), 2, "the server is still there");
}

#[test]
fn a_reader_that_does_not_read_puts_stage_04_to_sleep_until_it_does() {
    let text = "server$ cargo run -p stage-04\n\
                c$ cargo run -p client -- --slow\nb$ nc 127.0.0.1 3000\n\
                a$ yes 'a line' | head -c 32M | nc -N 127.0.0.1 3000\n\
                b: a line\n\
                server: (asleep in send on c)\n\
                b> does anybody hear me?\n\
                a: (nothing)\n\
                c>\n\
                a: does anybody hear me?\n\
                b: ...\nc: ...\n";
    play(text).unwrap();
}

#[test]
fn a_reader_that_does_not_read_is_its_own_trouble_in_stage_06() {
    let text = "server$ cargo run -p stage-06\n\
                c$ cargo run -p client -- --slow\nb$ nc 127.0.0.1 3000\n\
                server: connection from 127.0.0.1:50001\n\
                a$ yes 'a line' | head -c 64M | nc 127.0.0.1 3000\n\
                b: a line\n\
                server: client disconnected: 127.0.0.1:50001: more than 16777216 bytes behind\n\
                b: ...\nc: ...\n";
    play(text).unwrap();
}
