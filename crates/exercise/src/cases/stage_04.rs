use conformance::{Bench, Case, Outcome, Require, ensure_growth_below, passed};
use harness::{Server, play};

use super::HELLO;

pub(super) const CASES: &[Case] = &[
    Case::broadcast(
        "04-lines/01",
        "a line over the limit comes behind a good one",
        a_line_over_the_limit_comes_behind_a_good_one,
    )
    .why("One read may bring a line and what is wrong behind it: there is no other to tell that.")
    .with_flags(),
    Case::broadcast("04-names/01", "a name goes before each line", a_name_goes_before_each_line)
        .why("What is known of a client has to outlast the callback."),
    Case::broadcast("04-names/02", "a name may come in pieces", a_name_may_come_in_pieces)
        .why("A name is a line, and a line may come in two reads, or two lines in one."),
    Case::broadcast("04-names/03", "a long name goes before many short lines", a_long_name)
        .why("A client that sends little could make the server keep a thousand times as much."),
];

/// A says a line, and what is too long for a line, at once; and then no more. C speaks.
fn a_line_over_the_limit_comes_behind_a_good_one(bench: &Bench<'_>) -> Outcome {
    let server = bench.start_with(&["--max-line", "64"])?;
    let [mut a, mut b, mut c] = bench.room(&server, ["a", "b", "c"])?;
    // One read finds all of it.
    server.pause()?;
    a.send(&[b"short\n".as_slice(), &[b'x'; 100]].concat())?;
    server.resume()?;
    server.wait_until_read(&a)?;
    c.send(HELLO)?;
    b.expect(b"short\nhello\n").require("a line is heard, and what is too long for one is not")?;
    a.expect_eof().require("a line over the limit ends its sender's connection at once")?;
    passed()
}

/// B says its name and a line, and A hears the line. Then A does, and B hears it. C's name is
/// empty.
pub(super) fn a_name_goes_before_each_line(bench: &Bench<'_>) -> Outcome {
    let server = Server::start(bench.command(0).env("NAMES", "1"))?;
    // Who is accepted first is in, when the other one is heard.
    let [mut a, mut b] = [server.connect("a")?, server.connect("b")?];
    b.send(b"bob\nhello\n")?;
    a.expect(b"bob: hello\n").require(
        "of two lines that come at once, the first is the name, and goes before the second",
    )?;
    a.send(b"ann\n")?;
    for line in [b"hello, bob\n".as_slice(), b"\n", b"bye: bye\n", b"\xff\0 is no text\r\n"] {
        a.send(line)?;
        b.expect(&[b"ann: ", line].concat()).require("the name goes before each line")?;
    }
    b.send(b"bob\n")?;
    a.expect(b"bob: bob\n").require("only the first line is a name")?;
    b.send(b"one\ntwo\n")?;
    let requirement = "the name goes before each of two lines that come at once";
    a.expect(b"bob: one\nbob: two\n").require(requirement)?;
    let mut c = server.connect("c")?;
    c.send(b"\nhello\n")?;
    a.expect(b": hello\n").require("an empty line is a name, too")?;
    passed()
}

/// C says half its name, and then the rest with one line, and half a line more. Then it leaves: D
/// hears two lines. Then E says half a name, and leaves.
pub(super) fn a_name_may_come_in_pieces(bench: &Bench<'_>) -> Outcome {
    let server = Server::start(bench.command(0).env("NAMES", "1"))?;
    let [mut d, mut c] = [server.connect("d")?, server.connect("c")?];
    c.send(b"car")?;
    server.wait_until_read(&c)?;
    c.send(b"\xf3l\nhello\nbye")?;
    d.expect(b"car\xf3l: hello\n").require("a name in two pieces is one name")?;
    play(&mut [c.part().then_half_close()])?;
    d.expect(b"car\xf3l: bye\n").require("the name goes before the last line, too")?;
    let mut e = server.connect("e")?;
    play(&mut [e.part().send(b"eve").then_half_close()])?;
    e.expect_eof().require("who has left is told the end in return")?;
    server.connect("f")?.send(b"fay\nhello\n")?;
    d.expect(b"fay: hello\n").require("nobody hears a name, though nothing comes after it")?;
    passed()
}

/// A says a name of 48 KiB, and then a thousand empty lines at once. B hears 48 MiB, and reads all
/// the time. Nobody is behind, so the server has nothing to keep.
fn a_long_name(bench: &Bench<'_>) -> Outcome {
    const KIB: usize = 1 << 10;
    const MIB: usize = 1 << 20;
    let server = Server::start(bench.command(0).env("NAMES", "1"))?;
    let [mut b, mut a] = [server.connect("b")?, server.connect("a")?];
    let name = vec![b'n'; 48 * KIB];
    a.send(&[&name, b"\nhello\n".as_slice()].concat())?;
    b.expect(&[&name, b": hello\n".as_slice()].concat())
        .require("a name may be as long as a line")?;
    let before = server.peak_rss_bytes()?;
    let heard = [&name, b": \n".as_slice()].concat().repeat(KIB);
    play(&mut [a.part().send(&[b'\n'; KIB]), b.part().expect(&heard)])
        .require("the name goes before each line, however many come at once")?;
    let requirement = "the name before a thousand short lines is not kept a thousand times";
    ensure_growth_below(16 * MIB, &server, before, requirement)?;
    passed()
}
