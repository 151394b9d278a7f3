//! Broadcast: each line reaches everyone else, once, whole, and in its sender's order.

use std::iter::{once, repeat};
use std::thread;
use std::time::Duration;

use harness::{Cause, Client, End, Part, Server, Stuck, kernel, play};

use crate::history::{Faults, Hearing, Owed, Talk};
use crate::{
    Bench, Case, Failure, Finding, Outcome, Problem, Require, Symptom, ensure, ensure_growth_below,
    passed,
};

pub(crate) const CASES: &[Case] = &[
    Case::broadcast("bcast/01", "everyone but the sender", everyone_but_the_sender)
        .why("This is what a broadcast is: everyone else hears a line, and its sender does not. A \
              sender who hears itself cannot tell its own words from an answer.")
        .from_outside(),
    Case::broadcast("bcast/02", "alone", alone)
        .why("A line that nobody is there to hear is not an error. It is not kept either: whoever \
              comes later hears what is said from then on."),
    Case::broadcast(
        "bcast/03",
        "exactly once, in each sender's order",
        exactly_once_in_each_senders_order,
    )
    .why(
        "With many senders at once, buffers are shared and writes are cut anywhere. Nothing may be \
         lost, repeated or mixed, and what one sender says comes in the order in which it said it.",
    )
    .from_outside(),
    Case::broadcast("bcast/04", "join while talk is going on", join_while_talk_is_going_on)
        .why(
            "The set of clients changes while lines are being sent to it, which breaks a loop over \
             that set. Whoever has joined hears everything from then on, and its first line is a \
             whole one.",
        )
        .from_outside(),
    Case::broadcast("bcast/05", "leave while talk is going on", leave_while_talk_is_going_on)
        .why("The set of clients shrinks while lines are being sent to it. Those who stay lose \
              nothing, and nobody gets somebody else's line.")
        .from_outside(),
    Case::broadcast("bcast/06", "speak after somebody left", speak_after_somebody_left)
        .why(
            "A client who was not removed is a ghost in the set. The next write to it fails, or \
             goes to a newcomer who was given the same descriptor.",
        )
        .from_outside(),
    Case::broadcast("bcast/07", "speak after somebody was reset", speak_after_somebody_was_reset)
        .why("The write to a client who is gone fails. A server that takes this for the speaker's \
              error ends the speaker, and one that does not remove the dead ends every speaker \
              after it."),
    Case::broadcast("bcast/08", "slow reader stalls no one", slow_reader_stalls_no_one)
        .why(
            "Head-of-line blocking: a server that writes to one client after the other, and waits \
             for each, is as slow as the slowest of them. One client that does not read stops the \
             room.",
        )
        .alone(),
    Case::broadcast("bcast/09", "backlog policy", backlog_policy)
        .why("What a slow reader has not read has to be kept somewhere. Without a limit that is an \
              attack on the server's memory; with one, somebody has to go, and it should be the \
              slow reader, with a line in the log.")
        .alone(),
    Case::broadcast("bcast/10", "slow but within the limit", slow_but_within_the_limit).why(
        "A reader who is a little behind must get everything. A server that disconnects at the \
         first sign of it would keep its memory small, too, and be useless on any real network.",
    ),
    Case::broadcast("bcast/11", "sender who never reads", sender_who_never_reads).why(
        "To speak, a client need not be able to hear: it is the receivers whose sockets must have \
         room. A server that waits until the sender is writable lets one who never reads be \
         silent, or stops for it.",
    ),
    Case::broadcast("bcast/12", "lines stay whole", lines_stay_whole)
        .why("A read returns a chunk, not a line. A server that relays chunks mixes what two \
              people say at the same time."),
    Case::broadcast("bcast/13", "last line without newline", last_line_without_newline)
        .why("People leave in the middle of a line. Relayed as it is, the rest is glued to what \
              the next one says; dropped, it is lost. So the server adds the end that is missing.")
        .from_outside(),
    Case::broadcast("bcast/14", "odd lines", odd_lines)
        .why("A line is the bytes up to `\\n`: it need not be text, and it is not to be trimmed. A \
              server that cleans lines up changes what its clients say.")
        .from_outside(),
    Case::broadcast(
        "bcast/15",
        "line length at the limit and over",
        line_length_at_the_limit_and_over,
    )
    .why("A server that keeps a line until it ends must not keep one that never does. A limit \
          bounds its memory, and costs only the client that goes beyond it.")
    .alone(),
    Case::broadcast("bcast/16", "text is only text", text_is_only_text)
        .why("A command in the stream is a switch that everybody can reach who can connect. What a \
              client says is data, whatever it looks like.")
        .from_outside(),
    Case::broadcast("bcast/17", "end of input is leaving", end_of_input_is_leaving).why(
        "Half-close has to mean one thing, and here it means goodbye. The last word is heard, what \
         the leaver was owed is sent, and then the connection ends in order.",
    ),
    Case::broadcast(
        "bcast/18",
        "END ends the server, if asked to",
        end_ends_the_server_if_asked_to,
    )
    .why("Some servers let a client stop them. Then it must be asked for at the start, and be a \
          stop in order: everybody gets what was said before.")
    .with_flags(),
    Case::broadcast("bcast/19", "a burst expels nobody who reads", a_burst_expels_nobody_who_reads)
        .why("When all speak at once, all are behind for a moment. A limit that expels healthy \
              readers then makes a server fail exactly when it is busy.")
        .from_outside()
        .alone(),
    Case::broadcast("bcast/20", "leaver who is behind", leaver_who_is_behind).why(
        "What a leaver is owed may be more than the kernel takes at once. A server that closes \
         when the first write is cut short loses the rest; it has to come back to a client that \
         has already said goodbye.",
    ),
    Case::broadcast("bcast/21", "sender who is behind", sender_who_is_behind).why(
        "Not to hear oneself is easy while everything is sent at once. What is kept for later has \
         to remember whose line it was, however its bytes are cut when they are written at last.",
    ),
    Case::broadcast("bcast/22", "newcomer while somebody is behind", newcomer_beside_a_laggard).why(
        "What is kept for one client is not meant for another: whoever comes in hears what is said \
         from then on, not the history that a slow reader is still owed.",
    ),
    Case::broadcast("bcast/23", "last words of one who has closed", last_words).why(
        "A client that says its lines and closes cannot take what others say meanwhile: the write \
         to it fails. That ends the writing, not the reading: its lines have arrived, and wait in \
         the kernel.",
    ),
    Case::broadcast("bcast/24", "long lines back to back", long_lines_back_to_back).why(
        "The limit is for a line, not for what one read returns: whoever compares it with the \
         buffer refuses lines that are short enough, or throws away those before the one that is \
         not.",
    ),
    Case::broadcast("bcast/25", "six slow readers", six_slow_readers)
        .why(
            "A bound for each client is no bound for the server: with a queue for each, every \
             further slow reader costs as much memory as the first. All of them are behind in the \
             same lines, which need to be kept once.",
        )
        .alone(),
    Case::broadcast("bcast/26", "catch up in a crowd", catch_up_in_a_crowd).why(
        "The kernel tells once that there is room again. A server that is told in the middle of \
         writing to everyone, and has had its turn with this client, must come back to it: else \
         the client waits for bytes that are there, until somebody speaks.",
    ),
];

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
/// The longest line, its `\n` included: the default of `--max-line`.
const MAX_LINE: usize = 64 * KIB;
/// How far a reader may be behind: the default of `--max-backlog`.
const MAX_BACKLOG: usize = 16 * MIB;

/// A's line reaches B and C. That A does not hear itself is shown by the next line that it hears:
/// B's, which B sent after it had A's.
fn everyone_but_the_sender(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let [mut a, mut b, mut c] = bench.room(&server, ["a", "b", "c"])?;
    a.send(b"from a\n")?;
    b.expect(b"from a\n").require("the others hear a line")?;
    c.expect(b"from a\n").require("the others hear a line")?;
    b.send(b"from b\n")?;
    a.expect(b"from b\n").require("the sender does not hear its own line")?;
    c.expect(b"from b\n").require("the others hear a line")?;
    passed()
}

/// A speaks and nobody is there. It hears nothing but what B says, who comes later, and is heard
/// by B. B may hear the first line, too: it is not known when the server was done with it.
fn alone(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let mut a = server.connect("a")?;
    a.send(b"alone\n")?;
    server.wait_until_read(&a)?;
    let mut b = bench.join(&server, "b", std::slice::from_mut(&mut a))?;
    a.send(b"together\n")?;
    let mut heard = b.read_line().require("a newcomer hears the first client")?;
    if heard == b"alone\n" {
        heard = b.read_line()?;
    }
    ensure(heard == b"together\n", || {
        let heard = heard.escape_ascii().to_string();
        Failure::new("a newcomer hears the first client", "b: together\\n", heard).at(&server)
    })?;
    passed()
}

/// Eight clients say 500 lines each, all at once, in pieces of any size, and listen meanwhile.
fn exactly_once_in_each_senders_order(bench: &Bench<'_>) -> Outcome {
    let names = ["s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8"];
    let mut rng = bench.rng();
    let talks = names.map(|name| Talk::new(name, 500, 8..=200, &mut rng));
    let server = bench.start()?;
    let clients = bench.room(&server, names)?;
    all_talk_at_once(bench, &server, clients.into(), &talks, 2000)
}

/// One client talks and talks. Twenty others join one by one, each in the middle of a line; each
/// announces itself, and it is in when a listener has heard that. From then on it must hear
/// everything. Of what was said before it may hear the last lines, but none that the listener had
/// heard before it came, and none by half.
fn join_while_talk_is_going_on(bench: &Bench<'_>) -> Outcome {
    const JOINERS: usize = 20;
    const BATCH: usize = 100;
    const ALL: usize = (JOINERS + 1) * BATCH;
    const HALF_A_LINE: usize = 8;
    let mut rng = bench.rng();
    let mut talks = vec![Talk::new("speaker", ALL, 2 * HALF_A_LINE..=200, &mut rng)];
    talks.extend((1..=JOINERS).map(|j| Talk::new(&format!("joiner-{j}"), 1, 16..=200, &mut rng)));
    let owed = |of_the_speaker: Owed, first_joiner: usize| {
        let announcements = (1..=JOINERS).map(|joiner| match joiner >= first_joiner {
            true => Owed::all(0..1),
            false => Owed::nothing(),
        });
        once(of_the_speaker).chain(announcements).collect::<Vec<_>>()
    };

    let text = talks[0].lines(0..ALL);
    let into_line = |number| talks[0].lines(0..number).len() + HALF_A_LINE;

    let server = bench.start()?;
    let [speaker, listener] = bench.room(&server, ["speaker", "listener"])?;
    let mut members = vec![
        Member::new(speaker, &talks, owed(Owed::nothing(), 1)),
        Member::new(listener, &talks, owed(Owed::all(0..ALL), 1)),
    ];
    // Whoever has relayed the first line has read the beginning of the second, too.
    let mut sent = into_line(1);
    members[0].client.send(&text[..sent])?;
    play(&mut [members[1].listen_until(|hearing| hearing.end(0) == 1)])?;
    for joiner in 1..=JOINERS {
        let said = joiner * BATCH;
        let heard_before = members[1].hearing.end(0);
        let newcomer = server.connect(&format!("joiner-{joiner}"))?;
        let owed_now = Owed::all(said..ALL).perhaps(heard_before..ALL);
        members.push(Member::new(newcomer, &talks, owed(owed_now, joiner + 1)));

        let [speaker, listener, .., newcomer] = members.as_mut_slice() else { unreachable!() };
        let batch = &text[sent..into_line(said)];
        sent = into_line(said);
        let announcement = talks[joiner].lines(0..1);
        let played = play(&mut [
            speaker.client.part().send(batch).in_chunks(|| 100),
            newcomer.client.part().send(&announcement),
            listener.listen_until(|hearing| hearing.end(joiner) == 1),
        ]);
        must_be_as_owed(&server, played, [listener.faults_so_far()])?;
    }
    members[0].client.send(&text[sent..])?;
    all_listen(bench, &server, members)
}

/// One client talks and talks, and of twelve others one after the other leaves. Every second says
/// a last word, half-closes and listens to the end: it must hear what the listener had heard when
/// it left, perhaps more, and the others its last word. The rest of them just go, with lines
/// unread, which the server may see as a reset. After each of them came one who stays: whom a
/// server skips that walks a list while it shrinks.
fn leave_while_talk_is_going_on(bench: &Bench<'_>) -> Outcome {
    const LEAVERS: usize = 12;
    const BATCH: usize = 100;
    const ALL: usize = LEAVERS * BATCH;
    let mut rng = bench.rng();
    let names: Vec<_> = (1..=LEAVERS).map(|leaver| format!("leaver-{leaver}")).collect();
    let mut talks = vec![Talk::new("speaker", ALL, 16..=200, &mut rng)];
    talks.extend(names.iter().map(|name| Talk::new(name, 1, 16..=200, &mut rng)));
    let says_goodbye = |leaver: usize| leaver.is_multiple_of(2);
    let goodbyes = |owed: Owed| {
        (1..=LEAVERS).map(move |leaver| match says_goodbye(leaver) {
            true => owed.clone(),
            false => Owed::nothing(),
        })
    };
    let owed = |of_the_speaker: Owed, of_a_goodbye: Owed| {
        once(of_the_speaker).chain(goodbyes(of_a_goodbye)).collect::<Vec<_>>()
    };

    let server = bench.start()?;
    let [speaker, listener] = bench.room(&server, ["speaker", "listener"])?;
    let mut clients = vec![speaker, listener];
    let with_neighbours = names.iter().flat_map(|name| [name.clone(), format!("next-to-{name}")]);
    bench.join_all(&server, with_neighbours, &mut clients)?;
    let (leavers, stayers): (Vec<_>, Vec<_>) =
        clients.into_iter().partition(|client| client.name().starts_with("leaver"));
    let of_the_speaker = once(Owed::nothing()).chain(repeat(Owed::all(0..ALL)));
    let mut members: Vec<_> = of_the_speaker
        .zip(stayers)
        .map(|(owed_now, client)| Member::new(client, &talks, owed(owed_now, Owed::all(0..1))))
        .collect();
    for (leaver, client) in (1..).zip(leavers) {
        let said = leaver * BATCH;
        let [speaker, listener, ..] = members.as_mut_slice() else { unreachable!() };
        let heard_before = listener.hearing.end(0);
        speaker.client.send(&talks[0].lines(said - BATCH..said))?;
        if says_goodbye(leaver) {
            let owed_now = Owed::all(0..heard_before).perhaps(0..said);
            let mut owed = owed(owed_now, Owed::all(0..0).perhaps(0..1));
            owed[leaver] = Owed::nothing();
            let mut member = Member::new(client, &talks, owed);
            let goodbye = talks[leaver].lines(0..1);
            play(&mut [member.client.part().send(&goodbye).then_half_close()])?;
            let (bytes, end) = member.client.read_to_end()?;
            member.hearing.push(&bytes);
            must_be_as_owed(&server, Ok(()), [member.faults()])?;
            must_be_in_order(&server, &member.client, end)?;
        } else {
            client.leave();
        }
        let played = play(&mut [listener.listen_until(|hearing| {
            hearing.end(0) == said && (!says_goodbye(leaver) || hearing.end(leaver) == 1)
        })]);
        must_be_as_owed(&server, played, [listener.faults_so_far()])?;
    }
    all_listen(bench, &server, members)
}

/// C leaves, and the server has let it go before the others speak on. D leaves while they do.
fn speak_after_somebody_left(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let [a, b, mut c, d] = bench.room(&server, ["a", "b", "c", "d"])?;
    c.half_close()?;
    c.expect_eof().require("the server lets a client go that has left")?;
    c.leave();
    let mut here = vec![a, b, d];
    each_speaks(bench, &mut here)?;
    here.pop().into_iter().for_each(Client::leave);
    each_speaks(bench, &mut here)?;
    // Who comes next may get a descriptor that was theirs.
    let newcomer = bench.join(&server, "e", &mut here)?;
    here.push(newcomer);
    each_speaks(bench, &mut here)?;
    passed()
}

/// E leaves by RST, and A speaks. Then D and F do, the first and the last to come, while the server
/// is stopped and A's line is there already: it learns of it by the write that fails, or just
/// before.
fn speak_after_somebody_was_reset(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let names = ["d", "a", "b", "c", "e", "f"];
    let [mut d, mut a, mut b, mut c, e, mut f] = bench.room(&server, names)?;
    e.reset()?;
    a.send(b"after e\n")?;
    for client in [&mut d, &mut b, &mut c, &mut f] {
        client.expect(b"after e\n").require("the others hear a line after a reset")?;
    }
    server.pause()?;
    a.send(b"after d and f\n")?;
    d.reset()?;
    f.reset()?;
    server.resume()?;
    for client in [&mut b, &mut c] {
        client.expect(b"after d and f\n").require("the others hear a line after a reset")?;
    }
    each_speaks(bench, &mut [a, b, c])?;
    passed()
}

/// S never reads. A says 64 MiB, and B hears all of it; then C comes and is heard. Where the server
/// sleeps in a write to S instead, B hears the rest, and nothing was lost, as soon as S reads.
fn slow_reader_stalls_no_one(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let [mut a, mut b, mut s] = bench.room(&server, ["a", "b", "s"])?;
    let mut speech = Speech::new(bench);
    speech.go_on_to(64 * MIB, &mut a, &mut b, &mut s)?;
    bench.join(&server, "c", &mut [a, b])?;
    passed()
}

/// S never reads, and A talks on. The server keeps for S what S is owed, up to the limit and not
/// much more; over it, S is disconnected, with one line in the log, and the others go on. What S
/// was sent by then is right.
fn backlog_policy(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let [mut a, mut b, mut s] = bench.room(&server, ["a", "b", "s"])?;
    let memory = server.rss_bytes()?;
    let mut speech = Speech::new(bench);
    let queued = speech.go_on_until_behind(&server, &mut a, &mut b, &mut s)?;
    speech.go_on_to(queued + MAX_BACKLOG - MIB, &mut a, &mut b, &mut s)?;
    ensure(server.is_connected(&s)?, || {
        let requirement = "a reader is disconnected only if it is behind by more than 16 MiB";
        let expected = format!("s is connected, {} MiB behind", MAX_BACKLOG / MIB - 1);
        Failure::new(requirement, expected, "it is disconnected").at(&server)
    })?;
    speech.go_on_to(queued + MAX_BACKLOG + MIB, &mut a, &mut b, &mut s)?;
    let state = || {
        let connected = server.is_connected(&s).map_err(std::io::Error::other)?;
        Ok(if connected { "connected" } else { "disconnected" })
    };
    server
        .wait_until("s to be disconnected", state, |state| *state == "disconnected")
        .require("a reader that falls behind by more than 16 MiB is disconnected")?;
    speech.go_on_to(speech.said.len() + 2 * MAX_BACKLOG, &mut a, &mut b, &mut s)?;
    ensure_growth_below(2 * MAX_BACKLOG, &server, memory, "the backlog is bounded")?;

    // Others may say it in other words.
    if bench.is_ours() {
        let disconnected = format!("client disconnected: {}", s.local_address());
        let read =
            || Ok(server.stderr().iter().filter(|line| line.contains(&disconnected)).count());
        let lines = server
            .wait_until("to log that s was disconnected", read, |lines| *lines > 0)
            .require("a reader who is disconnected is logged")?;
        ensure(lines == 1, || {
            let actual = format!("{lines} lines");
            Failure::new("a reader who is disconnected is logged", "one line", actual).at(&server)
        })?;
    }
    let (bytes, _) = s.read_to_end()?;
    speech.must_begin_with(&server, &bytes)?;
    each_speaks(bench, &mut [a, b])?;
    passed()
}

/// S does not read until the kernel takes no more for it, while B hears everything, and 1 MiB is
/// said beyond that. Then S reads, and has lost nothing.
fn slow_but_within_the_limit(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let [mut a, mut b, mut s] = bench.room(&server, ["a", "b", "s"])?;
    let mut speech = Speech::new(bench);
    speech.go_on_until_behind(&server, &mut a, &mut b, &mut s)?;
    s.expect(&speech.said).require("a reader within the limit loses nothing")?;
    each_speaks(bench, &mut [a, b, s])?;
    passed()
}

/// A never reads, and B talks until the kernel takes no more for A. Then A speaks, and C hears it.
fn sender_who_never_reads(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let [mut a, mut b, mut c] = bench.room(&server, ["a", "b", "c"])?;
    let mut speech = Speech::new(bench);
    speech.go_on_until_behind(&server, &mut b, &mut c, &mut a)?;
    a.send(b"from a\n")?;
    for client in [&mut c, &mut b] {
        client.expect(b"from a\n").require("a sender who does not read is heard")?;
    }
    passed()
}

/// A says half a line, and the server has read it when B says a whole one. C hears B's line, and
/// A's when its other half has come.
fn lines_stay_whole(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let [mut a, mut b, mut c] = bench.room(&server, ["a", "b", "c"])?;
    a.send(b"AAA")?;
    server.wait_until_read(&a)?;
    b.send(b"bbb\n")?;
    c.expect(b"bbb\n").require("half a line is not relayed")?;
    // Whoever forgets half a line when there is something to write has done so by then.
    a.expect(b"bbb\n").require("the others hear a line")?;
    a.send(b"aaa\n")?;
    c.expect(b"AAAaaa\n").require("the halves of a line come together")?;
    b.expect(b"AAAaaa\n").require("the halves of a line come together")?;
    passed()
}

/// A says a line without its end and closes; D says one and half-closes. Each comes with the end
/// that it lacks, and what B says next is a line of its own.
fn last_line_without_newline(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let [mut a, mut b, mut c, mut d] = bench.room(&server, ["a", "b", "c", "d"])?;
    a.send(b"tail of a")?;
    a.leave();
    for client in [&mut b, &mut c, &mut d] {
        client.expect(b"tail of a\n").require("an unfinished line comes when its sender leaves")?;
    }
    play(&mut [d.part().send(b"tail of d").then_half_close()])?;
    for client in [&mut b, &mut c] {
        client.expect(b"tail of d\n").require("an unfinished line comes when its sender leaves")?;
    }
    each_speaks(bench, &mut [b, c])?;
    passed()
}

/// Empty lines, CR LF, NUL, each byte value as a line, and all of them in one: the same bytes come,
/// whether they are sent at once or one by one.
fn odd_lines(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let [mut a, mut b, mut c] = bench.room(&server, ["a", "b", "c"])?;
    let values = || (0..=u8::MAX).filter(|&byte| byte != b'\n');
    let mut lines = b"\n\n\r\n \r\n\0\n\r\r\n\xc3\n\xff\xfe\n".to_vec();
    lines.extend(values().flat_map(|byte| [byte, b'\n']));
    lines.extend(values().chain(*b"\n"));
    for size in [lines.len(), 1] {
        play(&mut [
            a.part().send(&lines).in_chunks(|| size),
            b.part().expect(&lines),
            c.part().expect(&lines),
        ])
        .require("a line comes as it was sent, whatever its bytes")?;
    }
    passed()
}

/// Lines up to the limit are delivered. Of a longer one nothing is, whether it ends or not; its
/// sender is closed (or, not as good, only that line is dropped), and nobody else notices. A line
/// of 64 MiB without an end does not cost memory.
fn line_length_at_the_limit_and_over(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let [mut a, b, c] = bench.room(&server, ["a", "b", "c"])?;
    let line_of = |length: usize| [vec![b'x'; length - 1], vec![b'\n']].concat();
    let mut others = [b, c];
    for length in [MAX_LINE - 1, MAX_LINE] {
        let line = line_of(length);
        let [b, c] = &mut others;
        play(&mut [a.part().send(&line), b.part().expect(&line), c.part().expect(&line)])
            .require("a line up to the limit is delivered")?;
    }

    send_in_vain(&mut a, &line_of(MAX_LINE + 1))?;
    server.wait_until_read(&a)?;
    each_speaks(bench, &mut others).require("nobody else notices a line over the limit")?;
    let is_closed = match a.read_to_end() {
        Ok(_) => true,
        Err(trouble) if is_silence(&trouble.cause) => {
            a.send(b"again\n")?;
            others[0].expect(b"again\n").require("a line over the limit closes its sender")?;
            others[1].expect(b"again\n")?;
            false
        }
        Err(trouble) => return Err(trouble.into()),
    };

    let memory = server.rss_bytes()?;
    let mut endless = bench.join(&server, "endless", &mut others)?;
    send_in_vain(&mut endless, &vec![b'x'; 64 * MIB])?;
    server.wait_until_read(&endless)?;
    each_speaks(bench, &mut others).require("nobody else notices a line over the limit")?;
    // Who keeps the line grows by all of it. Where garbage is collected, that takes its time.
    ensure_growth_below(48 * MIB, &server, memory, "a line that never ends is not kept")?;
    match is_closed {
        true => passed(),
        false => Ok(Finding::NonStrict("the line is dropped, and its sender stays".to_owned())),
    }
}

/// What looks like a command is relayed like everything else.
fn text_is_only_text(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let [mut a, mut b] = bench.room(&server, ["a", "b"])?;
    let lines = b"END\nend\nEND\r\nquit\nexit\nshutdown\n/quit\n\x03\n\x04\n";
    a.send(lines)?;
    b.expect(lines).require("what looks like a command is relayed")?;
    each_speaks(bench, &mut [a, b])?;
    bench.still_serves(&server)?;
    passed()
}

/// A does not read what B says. It says a last line and half-closes; B speaks on. A is sent what
/// it was owed when it left (perhaps B's next line, too), and then the end of the stream. B and C
/// hear A's last line and each other.
fn end_of_input_is_leaving(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let [mut a, mut b, mut c] = bench.room(&server, ["a", "b", "c"])?;
    let mut speech = Speech::new(bench);
    speech.go_on(&mut b, &mut c, &mut a)?;
    // The line and the end are both there when the server looks.
    server.pause()?;
    play(&mut [a.part().send(b"last\n").then_half_close()])?;
    server.resume()?;
    for client in [&mut b, &mut c] {
        client.expect(b"last\n").require("the last line of a leaver is heard")?;
    }
    b.send(b"next\n")?;
    c.expect(b"next\n").require("the others go on")?;
    a.expect(&speech.said).require("a leaver is sent what it is owed")?;
    let (rest, end) = a.read_to_end().require("a leaver's stream ends")?;
    ensure(rest.is_empty() || rest == b"next\n", || {
        let rest = rest.escape_ascii().to_string();
        Failure::new("a leaver is sent what it is owed, and no more", "the end", rest).at(&server)
    })?;
    must_be_in_order(&server, &a, end)?;
    each_speaks(bench, &mut [b, c])?;
    passed()
}

/// A says a lot to those who do not read, and then END. What it said before reaches all of them,
/// then their streams end, and the server exits with 0. A line that only begins like END is a line.
fn end_ends_the_server_if_asked_to(bench: &Bench<'_>) -> Outcome {
    let server = bench.start_with(&["--client-may-end"])?;
    let [mut a, mut b, c, d, e, mut f] = bench.room(&server, ["a", "b", "c", "d", "e", "f"])?;
    let mut speech = Speech::new(bench);
    speech.go_on(&mut a, &mut f, &mut b)?;
    a.send(b"END of talk\nEND\n")?;
    f.expect(b"END of talk\n").require("what was said before END is heard")?;
    let owed = [&speech.said, &b"END of talk\n"[..]].concat();
    let mut all = [b, c, d, e];
    for client in &mut all {
        client.expect(&owed).require("what was said before END is heard")?;
    }
    for mut client in all.into_iter().chain([a, f]) {
        client.expect_eof().require("all streams end in order")?;
        client.leave();
    }
    let status = server.wait_exit()?;
    ensure(status.success(), || {
        Failure::new("END is a stop in order", "exit status 0", status.to_string()).at(&server)
    })?;
    passed()
}

/// A hundred clients say 64 KiB each, all at once, and all read: everyone hears everything.
fn a_burst_expels_nobody_who_reads(bench: &Bench<'_>) -> Outcome {
    let mut rng = bench.rng();
    let names: Vec<_> = (1..=100).map(|number| format!("client-{number}")).collect();
    let talk = |name: &String| Talk::new(name, 16, 4 * KIB..=4 * KIB, &mut rng);
    let talks: Vec<_> = names.iter().map(talk).collect();
    let server = bench.start()?;
    let mut clients = Vec::new();
    bench.join_all(&server, &names, &mut clients)?;
    all_talk_at_once(bench, &server, clients, &talks, 64 * KIB)
}

/// S does not read until the kernel takes no more for it. Then it half-closes, and reads: it is
/// sent all that it was owed, also what only the server had by then, and the end of the stream.
fn leaver_who_is_behind(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let [mut a, mut b, mut s] = bench.room(&server, ["a", "b", "s"])?;
    let mut speech = Speech::new(bench);
    speech.go_on_until_behind(&server, &mut a, &mut b, &mut s)?;
    play(&mut [s.part().send(b"last\n").then_half_close()])?;
    // It has seen the end before there is room for more.
    server.wait_until_read(&s)?;
    for client in [&mut a, &mut b] {
        client.expect(b"last\n").require("the last line of a leaver is heard")?;
    }
    s.expect(&speech.said).require("a leaver is sent what it is owed")?;
    s.expect_eof().require("a leaver's stream ends in order")?;
    each_speaks(bench, &mut [a, b])?;
    passed()
}

/// S does not read until the kernel takes no more for it. Then A and S speak in turn, and B hears
/// each line before the next is said. When S reads, it hears all that A has said, and nothing of
/// its own.
fn sender_who_is_behind(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let [mut a, mut b, mut s] = bench.room(&server, ["a", "b", "s"])?;
    let mut speech = Speech::new(bench);
    speech.go_on_until_behind(&server, &mut a, &mut b, &mut s)?;
    for _ in 0..50 {
        let (line, own) = (bench.line("a"), bench.line("s"));
        a.send(&line)?;
        b.expect(&line).require("the others hear every line while somebody does not read")?;
        speech.said.extend(line);
        s.send(&own)?;
        for client in [&mut a, &mut b] {
            client.expect(&own).require("a sender who does not read is heard")?;
        }
    }
    s.expect(&speech.said).require("it hears all that others said, and nothing of its own")?;
    each_speaks(bench, &mut [a, b, s])?;
    passed()
}

/// S does not read until the kernel takes no more for it. N comes in, and says so. The first line
/// that it hears is the one that A says then; and S hears everything.
fn newcomer_beside_a_laggard(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let [mut a, mut b, mut s] = bench.room(&server, ["a", "b", "s"])?;
    let mut speech = Speech::new(bench);
    speech.go_on_until_behind(&server, &mut a, &mut b, &mut s)?;
    let mut n = server.connect("n")?;
    let (hello, line) = (bench.line("n"), bench.line("a"));
    n.send(&hello)?;
    for client in [&mut a, &mut b] {
        client.expect(&hello).require("a newcomer is heard by all who are there")?;
    }
    a.send(&line)?;
    n.expect(&line).require("a newcomer hears what is said from then on, and no history")?;
    b.expect(&line).require("the others hear every line while somebody does not read")?;
    speech.said.extend([hello, line].concat());
    s.expect(&speech.said).require("a reader within the limit loses nothing")?;
    each_speaks(bench, &mut [a, b, n, s])?;
    passed()
}

/// While the server stands still, A says its last lines and closes, and B says as much. When the
/// server goes on, its first write to A is answered by RST and the next one fails, while most of
/// A's lines still wait to be read. C hears all of both.
fn last_words(bench: &Bench<'_>) -> Outcome {
    const LINES: usize = 256;
    const FEWEST: usize = LINES / 8;
    const ROOMS: usize = 3;
    const ROUNDS: usize = 5;
    let mut rng = bench.rng();
    let talks = ["a", "b"].map(|name| Talk::new(name, LINES, KIB..=KIB, &mut rng));
    let meanwhile = talks[1].lines(0..LINES);
    let server = bench.start()?;
    // The kernel gives more room to a connection that much has come through: A says its lines
    // again and again until all of them fit. Some connections never get more, and of some servers
    // none does: then A has fewer to say.
    let (mut lines, mut rooms) = (LINES, 0);
    let (a, mut b, c, last) = 'rooms: loop {
        let last = talks[0].lines(0..lines);
        let [mut a, mut b, mut c] = bench.room(&server, ["a", "b", "c"])?;
        for _ in 0..ROUNDS {
            if arrives_unread(&server, &mut a, &last)? {
                break 'rooms (a, b, c, last);
            }
            server.resume()?;
            play(&mut [b.part().expect(&last), c.part().expect(&last)])?;
        }
        rooms += 1;
        if rooms % ROOMS == 0 {
            lines /= 2;
        }
        ensure(lines >= FEWEST, || {
            let expected = format!("room for {} bytes in the kernel", last.len());
            Failure::new("", expected, format!("not for any of {rooms} clients")).at(&server)
        })
        .precondition("all that a says has arrived before it closes")?;
    };
    a.leave();
    b.send(&meanwhile).precondition("the kernel takes what the server does not read yet")?;
    server.resume()?;

    let owed = vec![Owed::all(0..lines), Owed::all(0..LINES)];
    let mut c = Member::new(c, &talks, owed);
    let played = play(&mut [b.part().expect(&last), c.listen_until(Hearing::is_complete)]);
    must_be_as_owed(&server, played, [c.faults()])?;
    each_speaks(bench, &mut [b, c.client])?;
    passed()
}

/// Stops the server and has `client` send `bytes`; whether all of them arrive in the server's
/// queue.
fn arrives_unread(
    server: &Server,
    client: &mut Client,
    bytes: &[u8],
) -> Result<bool, Box<Problem>> {
    // Enough for what need not wait for anybody. If it is not, they only count as not arrived.
    const ENOUGH: Duration = Duration::from_millis(2);
    server.pause()?;
    client.send(bytes).precondition("the kernel takes what the server does not read yet")?;
    thread::sleep(ENOUGH);
    // One look: it takes long where the kernel still knows many connections that were closed.
    let end = server.end_of(client)?;
    Ok(end.is_some_and(|end| end.rx_queue as usize == bytes.len()))
}

/// A says lines that are as long as the limit, or half as long, and all of them wait when the
/// server looks: they are delivered. Then it says a short line and one over the limit, at once: of
/// these the short one is.
fn long_lines_back_to_back(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let [mut a, mut b, mut c] = bench.room(&server, ["a", "b", "c"])?;
    let line_of = |byte: u8, length: usize| [vec![byte; length - 1], vec![b'\n']].concat();
    let half = MAX_LINE / 2 + 1;
    let lengths = [MAX_LINE, half, MAX_LINE, half, 1, MAX_LINE];
    let within: Vec<u8> =
        (b'1'..).zip(lengths).flat_map(|(byte, length)| line_of(byte, length)).collect();
    let over = [b"short\n".to_vec(), line_of(b'x', MAX_LINE + 1)].concat();
    for (lines, heard) in [(&within, within.len()), (&over, b"short\n".len())] {
        server.pause()?;
        a.send(lines).precondition("the kernel takes what the server does not read yet")?;
        server.resume()?;
        for client in [&mut b, &mut c] {
            let all = client.expect(&lines[..heard]);
            all.require("each line up to the limit is delivered, whatever comes with it")?;
        }
    }
    each_speaks(bench, &mut [b, c]).require("nobody else notices a line over the limit")?;
    passed()
}

/// Six clients do not read, until all of them must be behind by more than the limit. The server
/// grows no more than with one of them.
fn six_slow_readers(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let mut clients: Vec<Client> = bench.room(&server, ["a", "b", "s 1"])?.into();
    bench.join_all(&server, (2..=6).map(|number| format!("s {number}")), &mut clients)?;
    let memory = server.rss_bytes()?;
    let [a, b, s, ..] = clients.as_mut_slice() else { unreachable!("there are eight") };
    let mut speech = Speech::new(bench);
    let queued = speech.go_on_until_behind(&server, a, b, s)?;
    speech.go_on_to(queued + MAX_BACKLOG + 4 * MIB, a, b, s)?;
    let requirement = "the backlog is bounded for the server, not for each client";
    ensure_growth_below(2 * MAX_BACKLOG, &server, memory, requirement)?;
    one_speaks(bench, &mut clients[..2], 0)?;
    passed()
}

/// S does not read until the kernel takes no more for it; then it does, and leaves. Eight others do
/// not read while as much and more is said, and five hundred more come in. The eight read on, one
/// after the other, each when a line is on its way to all of these: it hears everything, though
/// nobody says anything more.
fn catch_up_in_a_crowd(bench: &Bench<'_>) -> Outcome {
    const CROWD: usize = 500;
    let requirement = "who catches up hears everything, whoever else is there";
    let server = bench.start()?;
    let [mut a, mut b, mut s] = bench.room(&server, ["a", "b", "s"])?;
    let mut speech = Speech::new(bench);
    let queued = speech.go_on_until_behind(&server, &mut a, &mut b, &mut s)?;
    s.expect(&speech.said).require(requirement)?;
    s.leave();

    let mut clients = vec![a, b];
    bench.join_all(&server, (1..=8).map(|number| format!("s {number}")), &mut clients)?;
    let [a, b, slow @ ..] = clients.as_mut_slice() else { unreachable!("there are ten") };
    let start = speech.said.len();
    speech.go_on_to(start + queued + MIB, a, b, &mut slow[0])?;
    let sockets = || Ok(kernel::socket_descriptors(server.pid())?.len());
    let all = server.socket_count()? + CROWD;
    let _crowd = bench.crowd(&server, CROWD)?;
    server
        .wait_until(&format!("to have {all} sockets"), sockets, |sockets| *sockets >= all)
        .precondition("a crowd is in")?;
    for reader in slow {
        let line = bench.line("a");
        play(&mut [a.part().send(&line), b.part().expect(&line)])
            .require("the others hear every line while somebody does not read")?;
        speech.said.extend(line);
        reader.expect(&speech.said[start..]).require(requirement)?;
    }
    passed()
}

/// Each in turn says a line, and all the others hear it and nothing else.
fn each_speaks(bench: &Bench<'_>, clients: &mut [Client]) -> Result<(), Box<Problem>> {
    (0..clients.len()).try_for_each(|speaker| one_speaks(bench, clients, speaker))
}

fn one_speaks(
    bench: &Bench<'_>,
    clients: &mut [Client],
    speaker: usize,
) -> Result<(), Box<Problem>> {
    let line = bench.line(clients[speaker].name());
    let part = |(index, client)| match index == speaker {
        true => Client::part(client).send(&line),
        false => Client::part(client).expect(&line),
    };
    play(&mut clients.iter_mut().enumerate().map(part).collect::<Vec<_>>())
        .require("a line reaches everyone else, and nothing else does")
}

fn must_be_in_order(server: &Server, client: &Client, end: End) -> Result<(), Box<Problem>> {
    ensure(end == End::Eof, || {
        let expected = format!("{}: {}", client.name(), End::Eof);
        Failure::new("a leaver's stream ends in order", expected, end.to_string()).at(server)
    })
}

/// Sends what the server need not take: it may close the connection.
fn send_in_vain(client: &mut Client, bytes: &[u8]) -> harness::Result<()> {
    match client.send(bytes) {
        Err(trouble) if matches!(trouble.cause, Cause::Ended(..)) => Ok(()),
        sent => sent,
    }
}

fn is_silence(cause: &Cause) -> bool {
    matches!(cause, Cause::Stuck(..) | Cause::TimedOut(_))
}

/// A client, and what it hears of the talks.
struct Member<'t> {
    client: Client,
    hearing: Hearing<'t>,
}

impl<'t> Member<'t> {
    fn new(client: Client, talks: &'t [Talk], owed: Vec<Owed>) -> Self {
        Self { client, hearing: Hearing::new(talks, owed) }
    }

    /// The client's name, and what is wrong with what it has heard, whatever comes later.
    fn faults_so_far(&self) -> (&str, Faults) {
        (self.client.name(), self.hearing.faults_so_far())
    }

    /// The client's name, and what is wrong with what it has heard, if nothing more is to come.
    fn faults(&self) -> (&str, Faults) {
        (self.client.name(), self.hearing.faults())
    }

    fn listen_until<'m>(&'m mut self, enough: impl Fn(&Hearing<'t>) -> bool + 'm) -> Part<'m> {
        let Self { client, hearing } = self;
        client.part().receive(move |bytes| {
            hearing.push(bytes);
            enough(hearing)
        })
    }
}

/// The first of the clients have a talk each to give, and all hear all the others', all at once.
pub(crate) fn all_talk_at_once(
    bench: &Bench<'_>,
    server: &Server,
    clients: Vec<Client>,
    talks: &[Talk],
    longest_piece: usize,
) -> Outcome {
    let owed = |talk: &Talk| Owed::all(0..talk.count());
    let member = |(index, client): (usize, Client)| {
        let mut owed: Vec<_> = talks.iter().map(owed).collect();
        owed.get_mut(index).into_iter().for_each(|own| *own = Owed::nothing());
        Member::new(client, talks, owed)
    };
    let mut members: Vec<_> = clients.into_iter().enumerate().map(member).collect();
    let mut texts: Vec<_> = talks.iter().map(|talk| talk.lines(0..talk.count())).collect();
    texts.resize(members.len(), Vec::new());
    let mut parts = Vec::new();
    for (member, text) in members.iter_mut().zip(&texts) {
        let mut rng = bench.rng();
        let part = member.listen_until(Hearing::is_complete).send(text);
        parts.push(part.in_chunks(move || rng.usize(1..=longest_piece)));
    }
    let played = play(&mut parts);
    drop(parts);
    conclude(bench, server, played, members)
}

/// Everyone listens until it has heard all that it must hear.
fn all_listen(bench: &Bench<'_>, server: &Server, mut members: Vec<Member<'_>>) -> Outcome {
    let mut parts: Vec<_> = members
        .iter_mut()
        .filter(|member| !member.hearing.is_complete())
        .map(|member| member.listen_until(Hearing::is_complete))
        .collect();
    let played = play(&mut parts);
    drop(parts);
    conclude(bench, server, played, members)
}

/// Everyone has heard what it was owed, and then hears one more line and nothing else.
fn conclude(
    bench: &Bench<'_>,
    server: &Server,
    played: harness::Result<()>,
    members: Vec<Member<'_>>,
) -> Outcome {
    must_be_as_owed(server, played, members.iter().map(Member::faults))?;
    let mut clients: Vec<_> = members.into_iter().map(|member| member.client).collect();
    // Two, since nobody hears itself.
    one_speaks(bench, &mut clients, 0)?;
    one_speaks(bench, &mut clients, 1)?;
    passed()
}

/// What the listeners heard in a play must be what they were owed: none of them has faults.
fn must_be_as_owed<'c>(
    server: &Server,
    played: harness::Result<()>,
    listeners: impl IntoIterator<Item = (&'c str, Faults)>,
) -> Result<(), Box<Problem>> {
    const MOST: usize = 3;
    let wrong: Vec<_> = listeners
        .into_iter()
        .filter(|(_, faults)| !faults.is_empty())
        .map(|(listener, faults)| format!("{listener}: {faults}"))
        .collect();
    if wrong.is_empty() {
        return Ok(played?);
    }
    let mut actual = wrong[..wrong.len().min(MOST)].join("\n");
    if wrong.len() > MOST {
        actual += &format!("\nand so {} others", wrong.len() - MOST);
    }
    let requirement = "each line reaches everyone else once, whole, and in its sender's order";
    let expected = "no line lost, repeated, out of order, torn or astray";
    let failure =
        Failure::new(requirement, expected, actual).looks_like(Symptom::WrongLines).at(server);
    Err(match played {
        Ok(()) => failure.into(),
        Err(trouble) => {
            let actual = format!("{}\n{trouble}", failure.actual);
            let signature = trouble.stuck().map(Stuck::signature);
            Failure { actual, signature, scene: trouble.scene, ..failure }.into()
        }
    })
}

/// A long speech, block after block of lines, no two of them alike.
struct Speech {
    block: Vec<u8>,
    /// All of it so far: what a slow reader has to find when it reads at last.
    said: Vec<u8>,
}

impl Speech {
    const BLOCK: usize = 256 * KIB;
    const LINE: usize = KIB;

    fn new(bench: &Bench<'_>) -> Self {
        let mut block = bench.random_bytes(Self::BLOCK);
        block.iter_mut().for_each(|byte| *byte = b'a' + *byte % 16);
        block.chunks_mut(Self::LINE).for_each(|line| line[Self::LINE - 1] = b'\n');
        Self { block, said: Vec::new() }
    }

    /// Goes on until so many bytes are said in all.
    fn go_on_to(
        &mut self,
        said: usize,
        speaker: &mut Client,
        listener: &mut Client,
        slow: &mut Client,
    ) -> Result<(), Box<Problem>> {
        while self.said.len() < said {
            self.go_on(speaker, listener, slow)?;
        }
        Ok(())
    }

    /// `speaker` says the next block, and `listener` hears all of it: so it is never behind by
    /// more than that.
    ///
    /// # Errors
    /// It does not. If the server is stuck, `slow` has read what it was owed meanwhile, and all
    /// has gone on: else the failure has no signature.
    fn go_on(
        &mut self,
        speaker: &mut Client,
        listener: &mut Client,
        slow: &mut Client,
    ) -> Result<(), Box<Problem>> {
        let start = self.said.len();
        self.said.extend_from_slice(&self.block);
        for (number, line) in (start / Self::LINE..).zip(self.said[start..].chunks_mut(Self::LINE))
        {
            line[..10].copy_from_slice(format!("{number:09} ").as_bytes());
        }
        let block = &self.said[start..];
        let mut parts = vec![speaker.part().send(block), listener.part().expect(block)];
        let Err(waiting) = play(&mut parts) else { return Ok(()) };
        if waiting.stuck().is_some() {
            parts.push(slow.part().expect(&self.said));
            play(&mut parts).afterwards("all goes on, and nothing was lost, once it reads")?;
        }
        Err(waiting).require("the others hear every line while somebody does not read")
    }

    /// Goes on until the kernel takes no more for `slow`: while `listener` heard 1 MiB more, what
    /// stands in its queues for `slow` has not grown. Returns how many bytes that are.
    fn go_on_until_behind(
        &mut self,
        server: &Server,
        speaker: &mut Client,
        listener: &mut Client,
        slow: &mut Client,
    ) -> Result<usize, Box<Problem>> {
        const MOST: usize = 64 * MIB;
        let mut before = None;
        while self.said.len() < MOST {
            self.go_on_to(self.said.len() + MIB, speaker, listener, slow)?;
            let queued = server.queued_for(slow)?;
            if before.replace(queued) == Some(queued) {
                return Ok(queued);
            }
        }
        let reason = format!("the kernel took {MOST} bytes for a client who does not read");
        Err(Box::new(Problem::Inconclusive(reason)))
    }

    /// These bytes are how it begins.
    fn must_begin_with(&self, server: &Server, bytes: &[u8]) -> Result<(), Box<Problem>> {
        match harness::Difference::find(&self.said, 0, bytes) {
            None => Ok(()),
            Some(difference) => {
                let (requirement, expected) = ("what is sent is right", "the lines that were said");
                Err(Failure::new(requirement, expected, difference.to_string()).at(server).into())
            }
        }
    }
}
