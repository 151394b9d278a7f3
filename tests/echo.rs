//! What one client hears back: its own bytes, unchanged and in order.

use harness::play;

use crate::{Bench, Case, Failure, Outcome, Problem, Require, Symptom, ensure, passed};

pub(crate) const CASES: &[Case] = &[
    Case::echo("echo/01", "smoke", smoke)
        .why("One line there and back. If this fails, nothing else means anything.")
        .from_outside(),
    Case::echo("echo/02", "every byte value", every_byte_value)
        .why(
            "Bytes are not text. Rust's `BufRead::lines` and Python's `decode` fail on what is not \
             UTF-8, a C string ends at NUL, and a server that waits for whole lines never answers a \
             last one without its newline.",
        )
        .from_outside(),
    Case::echo("echo/03", "one byte per segment", one_byte_per_segment)
        .why(
            "TCP is a stream: a read returns what has arrived by then, be it a single byte. A \
             server that expects a message in each read works on a fast day and fails on a slow \
             one.",
        )
        .from_outside(),
    Case::echo("echo/04", "pipelining", pipelining)
        .why(
            "One read may return many messages, and its end may cut one in two. A server that \
             answers once for each read, or only the first message, loses the others.",
        )
        .from_outside(),
    Case::echo("echo/05", "16 MiB, reading while writing", reading_while_writing)
        .why(
            "A byte lost, doubled or changed at the edge of a buffer shows only in a long stream, \
             and only if the bytes are compared, not counted. Both directions are busy at once, as \
             they are in real life.",
        )
        .from_outside(),
    Case::echo("echo/06", "writer who does not read", writer_who_does_not_read).why(
        "Backpressure: a server that goes on reading what it cannot send on pays with its memory, \
         and one that drops it corrupts the stream. So it has to stop reading, and then the client \
         cannot send either. Only the client can end that, by reading.",
    ),
    Case::echo("echo/07", "half-close", half_close).why(
        "The end of input is not the end of output. A server that closes as soon as it reads the \
         end throws away what it still owes.",
    ),
    Case::echo("echo/08", "half-close with nothing sent", half_close_with_nothing_sent)
        .why(
            "A client that never spoke may leave, too. A server that looks for the end of input \
             only after it has had some bytes keeps that connection for ever.",
        )
        .from_outside(),
    Case::echo("echo/09", "an urgent byte among others", an_urgent_byte_among_others).why(
        "TCP can mark a byte as urgent, and anybody may send one. A selector reports it as an \
         exceptional condition: whoever takes that for an error, or waits for it and never reads \
         it, drops the client or spins. And who lets the kernel copy (`splice`, as Go's `io.Copy` \
         does from socket to socket) stops before that byte for good.",
    ),
];

const MIB: usize = 1 << 20;

const ALL_OF_IT: &str = "what was sent comes back: every byte, in order, and nothing else";

fn smoke(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let mut a = server.connect("a")?;
    a.send(b"hello\n")?;
    a.expect(b"hello\n")?;
    passed()
}

/// Every value many times, then what breaks who takes bytes for text: NUL, invalid UTF-8, CR LF,
/// empty lines. The last line has no newline, and comes back nevertheless.
fn every_byte_value(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let mut a = server.connect("a")?;
    let mut bytes: Vec<u8> = (0..=u8::MAX).cycle().take(256 * 64).collect();
    bytes.extend_from_slice(b"\0\0\xFF\xFE\xC3\x28\r\n\r\n\n\n\nno newline at the end");
    a.exchange(&bytes, &bytes).require(ALL_OF_IT)?;
    passed()
}

/// 300 bytes as 300 segments, as fast as it goes; then each of them only when the one before it
/// has come back, so that the server has certainly read it alone.
fn one_byte_per_segment(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let mut a = server.connect("a")?;
    let bytes = bench.random_bytes(300);
    play(&mut [a.part().send(&bytes).in_chunks(|| 1).expect(&bytes)]).require(ALL_OF_IT)?;
    for byte in bytes.chunks(1) {
        a.exchange(byte, byte).require("a single byte is answered")?;
    }
    passed()
}

/// 1,000 messages in one write. All come back, in order.
fn pipelining(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let mut a = server.connect("a")?;
    let messages: String = (1..=1000).map(|number| format!("message {number}\n")).collect();
    a.exchange(messages.as_bytes(), messages.as_bytes()).require(ALL_OF_IT)?;
    passed()
}

/// A stream far longer than all queues on its way, in both directions at once.
fn reading_while_writing(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let mut a = server.connect("a")?;
    let bytes = bench.random_bytes(16 * MIB);
    a.exchange(&bytes, &bytes).require(ALL_OF_IT)?;
    passed()
}

/// A sends and does not read. The server answers until the kernel takes no more, and then it must
/// stop reading, so that A cannot send on either. As soon as A reads, everything flows again, and
/// not a byte is missing.
fn writer_who_does_not_read(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let mut a = server.connect("a")?;
    // Several times what a connection's queues take while nobody reads.
    let bytes = bench.random_bytes(40 * MIB);
    let before = server.rss_bytes()?;
    let taken = a.fill(&bytes)?;
    let grown = server.rss_bytes()?.saturating_sub(before) as usize;
    ensure(grown < 16 * MIB, || {
        Failure::new(
            "what a client does not read fills the kernel's queues, not the server's memory",
            "the server to stop reading, and to grow by less than 16 MiB",
            format!("it grew by {} MiB while {} MiB were sent", grown / MIB, taken / MIB),
        )
        .looks_like(Symptom::TooMuch)
        .at(&server)
    })?;
    a.exchange(&bytes[taken..], &bytes).require("once the client reads, all comes back")?;
    if taken == bytes.len() {
        let reason = "the kernel's queues are so long that the server never had to stop reading";
        return Err(Box::new(Problem::Inconclusive(reason.to_owned())));
    }
    passed()
}

/// A sends 1 MiB, says that this is all, and only then reads: it hears all of it, then the end. The
/// server stands still until the end of input is on its way: it has answered nothing by then.
fn half_close(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let mut a = server.connect("a")?;
    let bytes = bench.random_bytes(MIB);
    server.pause()?;
    a.send(&bytes).precondition("the kernel takes 1 MiB that the server does not read yet")?;
    a.half_close()?;
    server.resume()?;
    a.expect(&bytes).require("what is owed at the end of input is sent")?;
    a.expect_eof().require("then the stream ends in order")?;
    passed()
}

/// A says at once that this is all. It hears the end, and no byte.
fn half_close_with_nothing_sent(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let mut a = server.connect("a")?;
    a.half_close()?;
    a.expect_eof().require("who has nothing to say and ends its input sees the stream end")?;
    passed()
}

/// A marks one byte as urgent. It may come back or not: by default it stands outside the stream.
/// The bytes before it and after it come back, and the connection lives.
fn an_urgent_byte_among_others(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let mut a = server.connect("a")?;
    a.send(b"before\n")?;
    a.send_urgent(b'!')?;
    a.send(b"after\n")?;
    let mut heard = Vec::new();
    play(&mut [a.part().receive(|bytes| {
        heard.extend_from_slice(bytes);
        heard.ends_with(b"after\n")
    })])?;
    ensure([&b"before\nafter\n"[..], b"before\n!after\n"].contains(&&heard[..]), || {
        let expected = "before\\nafter\\n, perhaps with the urgent ! in its place";
        let actual = heard.escape_ascii().to_string();
        Failure::new("all that is not urgent comes back in order", expected, actual).at(&server)
    })?;
    a.exchange(b"hello\n", b"hello\n").require("after an urgent byte the client is served on")?;
    passed()
}
