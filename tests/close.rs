//! How clients leave, and that it is their trouble alone.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

use harness::kernel::{self, Socket};
use harness::{Cause, Client, End, Server, Signal, play};

use crate::{
    Bench, Case, Failure, Finding, Mode, Outcome, Problem, Require, Symptom, ensure, passed,
};

pub(crate) const CASES: &[Case] = &[
    Case::any("close/01", "RST from an idle client", rst_from_an_idle_client).why(
        "A reset is the first error that a server meets in the real world: a client crashed, or a \
         network gave up. A read fails then, and a server that lets this error out of the client's \
         own code ends for everybody.",
    ),
    Case::any("close/02", "FIN, then RST", fin_then_rst).why(
        "The client is gone for good before the server sees that it leaves. A server that asks for \
         the address only now, for its log, gets an error from a call that never failed before.",
    ),
    Case::any("close/03", "connect, send and RST before accept", rst_before_accept).why(
        "What `accept` returns may be gone already. Every call on a new connection can fail, the \
         very first one, too.",
    ),
    Case::any("close/04", "storm of 1,000 RST and 1,000 FIN", storm).why(
        "Clients come and go faster than anybody tests by hand. A descriptor that is lost with \
         each of them ends a server after a thousand, and an error that escapes once in a while \
         ends it sooner.",
    ),
    Case::any("close/05", "RST with output queued", rst_with_output_queued).why(
        "When the client is gone the error comes from a write, not from a read, and in a broadcast \
         while serving somebody else. It is still the trouble of the one who left.",
    ),
    Case::any("close/06", "RST in the middle of a line", rst_in_the_middle_of_a_line).why(
        "Half a line from a client that was cut off is nobody's line. Nobody should hear it, and \
         it should not be glued to the next one.",
    ),
    Case::broadcast("close/07", "the server's own close", the_servers_own_close).why(
        "To close a socket while bytes from the client are unread makes the kernel send RST, and \
         that destroys what is still on its way to the client: the very line that says why, for \
         example. So close your side, read what still comes, and then let go.",
    ),
    Case::broadcast("close/08", "RST while somebody floods", rst_while_somebody_floods).why(
        "Whoever writes all the time writes to clients that are gone before the kernel was asked \
         about them. Such a write fails, and so does the next; but there is always room for it. A \
         server that waits for room there tries again for ever, and looks at nothing else: not \
         even at the end of that client's input, which would tell it.",
    ),
];

const HELLO: &[u8] = b"hello\n";
const MIB: usize = 1 << 20;

fn rst_from_an_idle_client(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let before = server.socket_count()?;
    let mut idle = server.connect("idle")?;
    bench.serve(&server, &mut idle).precondition("the client is served before it leaves")?;
    idle.reset()?;
    survives(bench, &server, before)
}

/// A client says that this was all, and then is gone altogether. The server stands still meanwhile:
/// when it looks, both have happened.
fn fin_then_rst(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let before = server.socket_count()?;
    let mut client = server.connect("client")?;
    bench.serve(&server, &mut client).precondition("the client is served before it leaves")?;
    server.pause()?;
    client.half_close()?;
    reset(&server, client)?;
    server.resume()?;
    survives(bench, &server, before)
}

/// Clients connect, send and are gone while the server stands still: what it accepts then are
/// connections that exist no more.
fn rst_before_accept(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let before = server.socket_count()?;
    server.pause()?;
    for number in 1..=3 {
        let mut client = server.connect(&format!("client {number}"))?;
        // Not a line: in a broadcast whoever comes next could hear it.
        client.send(b"half a li")?;
        reset(&server, client)?;
    }
    let waiting = || not_accepted(&server);
    server
        .wait_until("3 connections in the accept queue", waiting, |count| *count == 3)
        .precondition("they are not accepted before they are gone")?;
    server.resume()?;
    survives(bench, &server, before)
}

/// 2,000 clients come and leave at once, every other one by RST. In between, others are served.
fn storm(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let before = server.socket_count()?;
    come_and_leave(bench, &server, 1000, 1)?;
    survives(bench, &server, before)
}

/// In each round one client comes and closes, and so many come and leave by RST. (It is the clients
/// who close that the kernel keeps a row for, for a minute: they should be the fewer.)
pub(crate) fn come_and_leave(
    bench: &Bench<'_>,
    server: &Server,
    rounds: usize,
    resets: usize,
) -> Result<(), Box<Problem>> {
    for round in 1..=rounds {
        server.connect(&format!("client {round}, FIN"))?.leave();
        for _ in 0..resets {
            server.connect(&format!("client {round}, RST"))?.reset()?;
        }
        // Whoever is served was accepted after all before it: so the queue, which has room for 128
        // in some stages, does not overflow.
        if round.is_multiple_of(100 / (1 + resets)) {
            bench.still_serves(server)?;
        }
    }
    Ok(())
}

/// A client does not read. It is owed more than the kernel takes when it is gone: the server's next
/// write to it is an error. The others lose nothing.
fn rst_with_output_queued(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let before = server.socket_count()?;
    match bench.mode() {
        Mode::Echo => {
            let mut slow = server.connect("slow")?;
            let sent = slow.fill(&vec![0; 40 * MIB])?;
            // With one helper less than it takes, the server has read, and not answered yet.
            let helpers = (1..bench.helpers())
                .map(|number| server.connect(&format!("helper {number}")))
                .collect::<Result<Vec<_>, _>>()?;
            server
                .wait_until("to owe something", || owed(&server, &slow, sent), |owed| *owed > 0)
                .precondition("the server has read what it has not sent back")?;
            helpers.into_iter().for_each(Client::leave);
            reset(&server, slow)?;
        }
        Mode::Broadcast => {
            let [slow, mut a, mut b] = bench.room(&server, ["slow", "a", "b"])?;
            // 12 MiB: more than the kernel takes, and less than a client may be behind.
            let lines = lines(12);
            let mut talk = [a.part().send(&lines), b.part().expect(&lines)];
            match play(&mut talk) {
                Err(trouble) if trouble.stuck().is_none() => return Err(trouble.into()),
                // A server that sleeps until the slow client is gone goes on below.
                _ => {}
            }
            come_to_rest(&server)?;
            let queued = || Ok(ends(&server, slow.local_address())?.0.map(|end| end.tx_queue));
            server
                .wait_until("output queued for slow", queued, |queued| *queued > Some(0))
                .precondition("the client is owed more than the kernel takes")?;
            reset(&server, slow)?;
            play(&mut talk).require("when one client is gone, the others lose nothing")?;
        }
    }
    survives(bench, &server, before)
}

/// A client is gone before its line is whole, and just when the server has something to write to
/// it. In a broadcast nobody hears of that line: what is heard next, once the server has come to
/// rest, is somebody else's.
fn rst_in_the_middle_of_a_line(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let before = server.socket_count()?;
    match bench.mode() {
        Mode::Echo => {
            let mut a = server.connect("a")?;
            bench.serve(&server, &mut a).precondition("the client is served before it leaves")?;
            a.send(b"half a li")?;
            reset(&server, a)?;
        }
        Mode::Broadcast => {
            let [mut a, mut b, mut c] = bench.room(&server, ["a", "b", "c"])?;
            a.send(b"half a li")?;
            let unread = || Ok(ends(&server, a.local_address())?.0.map(|end| end.rx_queue));
            server
                .wait_until("to read what a sent", unread, |unread| *unread == Some(0))
                .precondition("the server has read half a line")?;
            // What comes first, the write to a or the read from it, is the server's choice.
            server.pause()?;
            c.send(b"one\n")?;
            reset(&server, a)?;
            server.resume()?;
            come_to_rest(&server)?;
            c.send(b"two\n")?;
            b.expect(b"one\ntwo\n").require("nobody hears half a line")?;
        }
    }
    survives(bench, &server, before)
}

/// Somebody talks all the while. Others come, do not read, and are gone by RST a little later: some
/// of them while the server writes to them.
fn rst_while_somebody_floods(bench: &Bench<'_>) -> Outcome {
    const ROUNDS: usize = 1200;
    // What these are owed meanwhile the kernel takes: nobody waits for them.
    const AT_A_TIME: usize = 8;
    let server = bench.start()?;
    let before = server.socket_count()?;
    let requirement = "when others are gone, the server goes on reading";
    let talk = &lines(1)[..32 * 1024];
    let [mut flooder, first] = bench.room(&server, ["flooder", "client 0"])?;
    let mut others = VecDeque::from([first]);
    for round in 1..=ROUNDS {
        flooder.send(talk).require(requirement)?;
        others.push_back(server.connect(&format!("client {round}"))?);
        if others.len() > AT_A_TIME {
            others.pop_front().map_or(Ok(()), Client::reset)?;
        }
    }
    server.wait_until_read(&flooder).require(requirement)?;
    flooder.leave();
    others.into_iter().try_for_each(Client::reset)?;
    survives(bench, &server, before)
}

/// Requires that the server goes on, and that it has let go of everyone who has left: it holds as
/// many sockets as `before`, when nobody was there.
///
/// The next client may be served before the server has looked at what the last one did, and may
/// die of it. Therefore one is served when that is over.
fn survives(bench: &Bench<'_>, server: &Server, before: usize) -> Outcome {
    bench.still_serves(server)?;
    // Where a client is served only with the help of others, the last ones are not let go yet.
    let most = before + bench.helpers();
    let held = || Ok(kernel::socket_descriptors(server.pid())?.len());
    server
        .wait_until(&format!("to have no more sockets than before, {most}"), held, |held| {
            *held <= most
        })
        .require("a client that has left costs no descriptor")
        .looks_like(Symptom::TooMuch)?;
    bench.still_serves(server)?;
    passed()
}

/// The server ends a connection, because of a line that is too long or since it stops in order,
/// while the client is owed a line and has sent what was not read. It should say so by FIN, and
/// read what still comes: then the client has its line, and the end. RST is allowed.
fn the_servers_own_close(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let mut remarks = Vec::new();

    let [mut a, mut offender] = bench.room(&server, ["a", "offender"])?;
    owe_and_do_not_read(&server, &mut a, &mut offender, &vec![b'x'; MIB])?;
    server.resume()?;
    let closed = offender.read_to_end();
    let closed = closed.precondition("whoever sends a line that is too long is disconnected")?;
    let how = how_closed(&server, offender, closed)?;
    remarks.extend(how.map(|how| format!("after a line that is too long: {how}")));
    bench.still_serves(&server)?;
    a.leave();

    let [mut b, mut stayer] = bench.room(&server, ["b", "stayer"])?;
    owe_and_do_not_read(&server, &mut b, &mut stayer, &lines(1))?;
    server.signal(Signal::TERM)?;
    server.resume()?;
    // A signal that ends the process leaves it no close of its own.
    if server.wait_exit()?.success() {
        let closed = stayer.read_to_end()?;
        let how = how_closed(&server, stayer, closed)?;
        remarks.extend(how.map(|how| format!("when it stops: {how}")));
    }
    match remarks.as_slice() {
        [] => passed(),
        remarks => Ok(Finding::NonStrict(remarks.join("; "))),
    }
}

/// Has `client` owed a line, which has arrived, and `unread` sent, which the server cannot read
/// yet: it stands still.
fn owe_and_do_not_read(
    server: &Server,
    speaker: &mut Client,
    client: &mut Client,
    unread: &[u8],
) -> Result<(), Box<Problem>> {
    speaker.send(HELLO)?;
    let arrived = || Ok(ends(server, client.local_address())?.1.map(|end| end.rx_queue));
    let all = u32::try_from(HELLO.len()).ok();
    server
        .wait_until("a line to arrive", arrived, |arrived| *arrived == all)
        .precondition("the client is owed a line")?;
    server.pause()?;
    client.send(unread).precondition("the kernel takes what the server does not read yet")
}

/// How a connection was closed whose client was owed a line: in order (none), or in which other
/// way.
fn how_closed(
    server: &Server,
    mut client: Client,
    (bytes, end): (Vec<u8>, End),
) -> Result<Option<String>, Box<Problem>> {
    if end == End::Reset {
        return Ok(Some(format!("RST; {} of {} bytes arrived", bytes.len(), HELLO.len())));
    }
    ensure(bytes == HELLO, || {
        let (expected, actual) = (HELLO.escape_ascii(), bytes.escape_ascii());
        Failure::new(
            "what a client was sent before its connection was closed arrives",
            format!("{expected}, and the end of the stream"),
            format!("{actual}, and the end of the stream"),
        )
        .at(server)
    })?;
    let unsent = || Ok(ends(server, client.local_address())?.1.map(|end| end.tx_queue));
    let drained = |unsent: &Option<u32>| matches!(unsent, None | Some(0));
    let rest = server.wait_until("to read what the client still sends", unsent, drained)?;
    // Without a row the connection is gone, or that reading was the unlucky one.
    let gone = rest.is_none() && client.send(HELLO).is_err();
    Ok(gone.then(|| "FIN, and then RST, since it did not read what still came".to_owned()))
}

/// So many MiB of lines of 1 KiB each, no two alike.
fn lines(mib: usize) -> Vec<u8> {
    (0..mib * 1024).map(|number| format!("{number:1023}\n")).collect::<String>().into_bytes()
}

/// Resets `client`, and waits until the server's end of the connection is gone with it.
fn reset(server: &Server, client: Client) -> Result<(), Box<Problem>> {
    let address = client.local_address();
    client.reset()?;
    server
        .wait_until("the reset to arrive", || ends(server, address), |ends| *ends == (None, None))
        .precondition("the connection is gone")?;
    Ok(())
}

/// Waits until the server has done what it can: that is proved, or nothing came of it for so long
/// that nothing will. A runtime may have threads that wake up by themselves, and is never proved.
fn come_to_rest(server: &Server) -> Result<(), Box<Problem>> {
    match server.stuck() {
        Err(trouble) if !matches!(trouble.cause, Cause::TimedOut(_)) => {
            Err(trouble).precondition("the server has done what it can")
        }
        _ => Ok(()),
    }
}

/// How many of the bytes that `client` sent were read by the server and have not come back.
fn owed(server: &Server, client: &Client, sent: usize) -> io::Result<usize> {
    let (server_end, own_end) = ends(server, client.local_address())?;
    let unread = server_end.map_or(0, |end| end.rx_queue);
    // What was not acknowledged yet may count as unread, too: then it is too little for a moment.
    let not_owed = unread + own_end.map_or(0, |end| end.tx_queue + end.rx_queue);
    Ok(sent.saturating_sub(not_owed as usize))
}

/// Both ends of the connection of the client at `address`: the server's, and the client's own.
/// None where the kernel has forgotten it.
fn ends(server: &Server, address: SocketAddr) -> io::Result<(Option<Socket>, Option<Socket>)> {
    let sockets = kernel::sockets(server.address().port())?;
    let server_end = sockets.iter().find(|socket| socket.remote == address).cloned();
    let own_end = sockets.iter().find(|socket| socket.local == address).cloned();
    Ok((server_end, own_end))
}

/// How many connections stand in the accept queue.
fn not_accepted(server: &Server) -> io::Result<u32> {
    let sockets = kernel::sockets(server.address().port())?;
    Ok(sockets.iter().filter(|socket| socket.listening).map(|socket| socket.rx_queue).sum())
}
