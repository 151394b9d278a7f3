//! The server as a process: how it starts, what it says, how it ends.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::thread;
use std::time::{Duration, Instant};

use harness::kernel::Socket;
use harness::{End, Output, Server, Signal, StartError};

use crate::{
    Bench, Case, Failure, Finding, Mode, Outcome, Problem, Require, Symptom, ensure, passed,
};

pub(crate) const CASES: &[Case] = &[
    Case::any("proc/01", "ready without being touched", ready_without_being_touched).why(
        "A test that connects to find out whether the server is up is itself a client. It uses \
         turns of stage 05's loop, and while it is open stage 01 serves nobody else. So the server \
         says when it is ready.",
    ),
    Case::any("proc/02", "port in use", port_in_use).why(
        "This is the first error that everyone meets: the old server is still running. One line \
         that names the address and says what to change saves a search.",
    ),
    Case::any("proc/03", "bad arguments", bad_arguments)
        .why(
            "A server that ignores a mistyped flag starts with other limits than its owner \
             believes. It should refuse, and show what it takes.",
        )
        .with_flags(),
    Case::any("proc/04", "loopback by default", loopback_by_default).why(
        "Whoever tries a server out does not mean to offer it to the whole network. Listening on \
         all addresses has to be asked for.",
    ),
    Case::any("proc/05", "idle costs nothing", idle_costs_nothing).why(
        "To look again and again whether something has happened is the classic mistake of event \
         loops. It works, so no other test notices, and it takes a whole core.",
    ),
    Case::any("proc/06", "SIGINT with a client connected", |bench| {
        stops_with_a_client_connected(bench, Signal::INT)
    })
    .why(
        "Ctrl-C has to work while clients are connected. A thread that sleeps in a read cannot \
         look at a flag, so a handler that only sets one stops nothing.",
    ),
    Case::any("proc/07", "SIGTERM with a client connected", |bench| {
        stops_with_a_client_connected(bench, Signal::TERM)
    })
    .why(
        "Containers and service managers stop a server with SIGTERM, and kill it when it takes too \
         long. What it would have done in order is lost then.",
    ),
    Case::any(
        "proc/08",
        "SIGTERM with output queued to a client that does not read",
        stops_with_output_queued,
    )
    .why(
        "A server that stops only when everything is sent can be kept alive for ever by one client \
         who does not read. Waiting for clients needs a limit.",
    ),
    Case::any("proc/09", "stdout or stderr gone", stdout_or_stderr_gone).why(
        "In Rust `println!` panics when nobody reads the other end of the pipe: `server | head -1` \
         would end the server at its next line. A log that cannot be written is no reason to stop \
         serving.",
    ),
    Case::any("proc/10", "restart at once", restart_at_once).why(
        "When a server ends, the kernel keeps its connections for up to a minute. Without \
         SO_REUSEADDR they keep its port, too, and the restart fails with \"address in use\".",
    ),
    Case::any("proc/11", "--host ::1", host_of_version_6)
        .why(
            "An address is more than four numbers and a port. A server that glues the two together \
             as text, or opens a socket of version 4 whatever it was told, listens elsewhere or \
             not at all.",
        )
        .with_flags(),
    Case::any("proc/12", "idle in every state costs nothing", idle_in_every_state).why(
        "A client who has half-closed stays readable for ever, one who has sent an urgent byte \
         stays exceptional. A loop that goes on watching for what it does not want to act on now \
         is woken for it again and again, and takes a whole core.",
    ),
];

/// The line on stdout is true: the kernel has the listener under that address, and nobody had to
/// connect. It is the only line, whatever happens later.
fn ready_without_being_touched(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let listeners = server.listeners()?;
    // Anybody's server may listen on all addresses: loopback is another case.
    let is_it = |at: SocketAddr| {
        at == server.address()
            || !bench.is_ours() && at.ip().is_unspecified() && at.port() == server.address().port()
    };
    ensure(listeners.iter().any(|row| is_it(row.local)), || {
        Failure::new(
            "the address on stdout is the one it listens on",
            format!("a listener on {}", server.address()),
            addresses(&listeners),
        )
        .at(&server)
    })?;
    bench.still_serves(&server)?;
    // What it has printed so far is known when the pipe has ended.
    server.signal(Signal::KILL)?;
    let printed = server.stdout_to_end()?;
    if printed.len() != 1 && !bench.is_ours() {
        let lines = printed.len();
        return Ok(Finding::NonStrict(match lines {
            0 => "it does not print `listening on …`".to_owned(),
            _ => format!("it prints {lines} lines on stdout, not just `listening on …`"),
        }));
    }
    ensure(printed.len() == 1, || {
        Failure::new(
            "stdout carries the line `listening on ADDRESS` and nothing else",
            "one line",
            format!("{printed:?}"),
        )
    })?;
    passed()
}

fn addresses(listeners: &[Socket]) -> String {
    let one = |at: SocketAddr| match at.ip().is_unspecified() {
        true => format!("all addresses, port {}", at.port()),
        false => at.to_string(),
    };
    let all: Vec<_> = listeners.iter().map(|row| one(row.local)).collect();
    match all.as_slice() {
        [] => "it does not listen".to_owned(),
        all => format!("it listens on {}", all.join(" and ")),
    }
}

/// The second server on a port says so in one line and ends with 1.
fn port_in_use(bench: &Bench<'_>) -> Outcome {
    let first = bench.start()?;
    let address = first.address();
    let output = must_end(Server::start(&mut bench.command(address.port())))?;
    if !bench.is_ours() {
        return match output.status.success() {
            true => Err(Failure::new(
                "a taken port is an error",
                "an exit status other than 0",
                output.status.to_string(),
            )
            .into()),
            false => passed(),
        };
    }
    let requirement = "a taken port: exit 1, and one line that names the address and --port";
    let line = match output.stderr.as_slice() {
        [line] if output.status.code() == Some(1) => line,
        _ => {
            return Err(Failure::new(requirement, "that", output.to_string()).into());
        }
    };
    let is_helpful = line.contains(&address.to_string())
        && line.contains("--port")
        && !line.contains("panicked");
    ensure(is_helpful, || {
        let expected = format!("a line with {address} and --port");
        Failure::new(requirement, expected, line.as_str())
    })?;
    passed()
}

/// Arguments that it does not understand: exit 2, the usage on stderr, and no listener.
fn bad_arguments(bench: &Bench<'_>) -> Outcome {
    for arguments in [&["--port", "x"][..], &["--no-such-flag"], &["extra"]] {
        let mut command = bench.bare_command();
        let output = must_end(Server::start(command.args(arguments)))?;
        let shows_usage = output.stderr.iter().any(|line| line.contains("Usage"));
        ensure(output.status.code() == Some(2) && shows_usage && output.stdout.is_empty(), || {
            Failure::new(
                "bad arguments: exit 2, with the usage on stderr",
                format!("that, for {arguments:?}"),
                output.to_string(),
            )
        })?;
    }
    passed()
}

/// Without a word about the host, it listens on an address that only this machine reaches.
fn loopback_by_default(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let listeners = server.listeners()?;
    let is_local =
        !listeners.is_empty() && listeners.iter().all(|row| row.local.ip().is_loopback());
    ensure(is_local, || {
        Failure::new(
            "unless told otherwise, it listens where only this machine reaches it",
            "127.0.0.1 or ::1",
            addresses(&listeners),
        )
    })?;
    passed()
}

/// Ten clients are connected and silent.
fn idle_costs_nothing(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let connect = |number| server.connect(&format!("client {number}"));
    let _clients = (1..=10).map(connect).collect::<Result<Vec<_>, _>>()?;
    must_be_idle(&server)?;
    passed()
}

/// Clients are there whom the server can do nothing for: one has half-closed and does not read
/// what it is owed, one has sent half a line, one an urgent byte, and in a broadcast one has sent
/// a line that is too long and stays. All that costs the server nothing.
fn idle_in_every_state(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let leave_slowly = || -> Result<_, Box<Problem>> {
        let (mut slow, sender) = bench.slow_reader(&server)?;
        slow.half_close()?;
        Ok((slow, sender))
    };
    let others = || -> Result<_, Box<Problem>> {
        let (mut half, mut urgent) = (server.connect("half")?, server.connect("urgent")?);
        half.send(b"half a li")?;
        urgent.send_urgent(b'!')?;
        Ok((half, urgent))
    };
    // Where one client can keep all others waiting, the slow one comes first in echo mode, so that
    // it is served at all, and last in broadcast mode, so that the others are.
    let _clients = match bench.mode() {
        Mode::Echo => (leave_slowly()?, others()?, None),
        Mode::Broadcast => {
            let mut offender = server.connect("offender")?;
            offender.send(&[b'x'; 64 * 1024])?;
            let others = others()?;
            (leave_slowly()?, others, Some(offender))
        }
    };
    must_be_idle(&server)?;
    passed()
}

/// Requires that for two seconds the server gets no processor time and does not even wake up; one
/// tick and two wake-ups are granted to what happens on the side. The counters are the server's
/// own: what else runs on the machine does not change them.
fn must_be_idle(server: &Server) -> Result<(), Box<Problem>> {
    let spent = || -> Result<(u64, u64), Box<Problem>> {
        let (ticks, wake_ups) = (server.cpu_ticks()?, server.voluntary_switches()?);
        thread::sleep(Duration::from_secs(2));
        let wake_ups = server.voluntary_switches()?.saturating_sub(wake_ups);
        Ok((server.cpu_ticks()? - ticks, wake_ups))
    };
    let is_idle = |(ticks, wake_ups)| ticks <= 1 && wake_ups <= 2;

    // The clients' arrival costs something. What of it does not fall into this pause may fall into
    // the first two seconds, and not into the next.
    thread::sleep(Duration::from_millis(100));
    if !is_idle(spent()?) {
        let (ticks, wake_ups) = spent()?;
        ensure(is_idle((ticks, wake_ups)), || {
            Failure::new(
                "idle clients cost no processor time and no wake-ups",
                "at most 1 clock tick and 2 wake-ups within 2 s",
                format!("{ticks} clock ticks and {wake_ups} wake-ups"),
            )
            .looks_like(Symptom::Spin(u32::try_from(ticks / 2).unwrap_or(u32::MAX)))
            .at(server)
        })?;
    }
    Ok(())
}

/// The client is served, and then sees the end of its stream: in order, if the server stops in
/// order. It does not leave before the server is gone.
fn stops_with_a_client_connected(bench: &Bench<'_>, signal: Signal) -> Outcome {
    let server = bench.start()?;
    let mut client = server.connect("client")?;
    bench.serve(&server, &mut client).precondition("a client is served before the signal")?;
    stops(bench, &server, signal, || {
        let end = client.expect_end().require("the client sees the end of its stream")?;
        ensure(end == End::Eof || !bench.stops_in_order(), || {
            let requirement = "a server that stops in order resets nobody";
            Failure::new(requirement, End::Eof.to_string(), end.to_string()).at(&server)
        })
    })
}

/// A client does not read what it is sent, and goes on not to while the server stops.
fn stops_with_output_queued(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let _clients = bench.slow_reader(&server)?;
    stops(bench, &server, Signal::TERM, || Ok(()))
}

/// Nobody reads what the server prints any more. Two clients come and go: the first one's leaving,
/// which the server may want to report, is past when the second is served.
fn stdout_or_stderr_gone(bench: &Bench<'_>) -> Outcome {
    for (name, close) in
        [("stdout", Server::close_stdout as fn(&mut Server)), ("stderr", Server::close_stderr)]
    {
        let mut server = bench.start()?;
        close(&mut server);
        for _ in 0..2 {
            let requirement = format!("it goes on when its {name} is closed");
            bench.still_serves(&server).require(&requirement)?;
        }
    }
    passed()
}

/// The server stops while a client is connected and stays. The kernel then keeps the server's end
/// of that connection, and the port is free for the next server nevertheless.
fn restart_at_once(bench: &Bench<'_>) -> Outcome {
    let server = bench.start()?;
    let mut client = server.connect("client")?;
    bench.serve(&server, &mut client).precondition("a client is served before the stop")?;
    server.signal(Signal::TERM)?;
    server.wait_exit().precondition("the first server stops")?;
    let is_kept = || Ok(server.end_of(&client).ok().flatten().is_some());
    server
        .wait_until("a socket without a process", is_kept, |kept| *kept)
        .precondition("the kernel keeps the server's end of the connection")?;

    let port = server.address().port();
    let started = Server::start(&mut bench.command(port)).require("the port is free at once");
    bench.still_serves(&started?)?;
    passed()
}

/// Told to listen on the loopback of IP version 6, it does so, says so, and serves.
fn host_of_version_6(bench: &Bench<'_>) -> Outcome {
    let host = IpAddr::from(Ipv6Addr::LOCALHOST);
    if let Err(error) = TcpListener::bind((host, 0)) {
        let reason = format!("this machine has no IP version 6: {error}");
        return Err(Box::new(Problem::Inconclusive(reason)));
    }
    let server = bench.start_with(&["--host", &host.to_string()])?;
    let listeners = server.listeners()?;
    ensure(
        listeners.iter().any(|row| row.local == server.address() && row.local.ip() == host),
        || {
            Failure::new(
                "it listens where --host says, and says so on stdout",
                format!("a listener on {}", SocketAddr::new(host, server.address().port())),
                format!("{}; stdout: {:?}", addresses(&listeners), server.stdout()),
            )
            .at(&server)
        },
    )?;
    bench.still_serves(&server)?;
    passed()
}

/// Sends `signal`, does `meanwhile`, and requires that the server is gone then: in order, or by the
/// signal's default action. The contract grants it 2 s, but a slow machine is not the server's
/// fault.
fn stops(
    bench: &Bench<'_>,
    server: &Server,
    signal: Signal,
    meanwhile: impl FnOnce() -> Result<(), Box<Problem>>,
) -> Outcome {
    const GRANTED: Duration = Duration::from_secs(2);
    let signalled = Instant::now();
    server.signal(signal)?;
    meanwhile()?;
    let status = server.wait_exit().require("the server ends, whatever its clients do")?;
    let took = signalled.elapsed();
    let in_order = status.success();
    // A shell that waited for the server says it by its own status.
    let killed_by = status.signal().or(status.code().map(|code| code - 128));
    let by_default = killed_by == Some(signal.as_raw()) && !bench.stops_in_order();
    ensure(in_order || by_default, || {
        let expected = match bench.stops_in_order() {
            true => "exit status 0",
            false => "exit status 0, or an end by the signal itself",
        };
        Failure::new("a signal stops the server", expected, status.to_string()).at(server)
    })?;
    match took > GRANTED {
        true => Ok(Finding::NonStrict(format!("gone after {took:.1?}, not within {GRANTED:?}"))),
        false => passed(),
    }
}

/// What a command leaves behind that must not become a server.
fn must_end(started: Result<Server, StartError>) -> Result<Output, Box<Problem>> {
    let requirement = "a command that cannot serve ends with an error";
    let expected = "an exit status other than 0";
    match started {
        Err(StartError::Ended(output)) => Ok(output),
        Ok(server) => {
            let actual = format!("it listens on {}", server.address());
            Err(Failure::new(requirement, expected, actual).into())
        }
        Err(error) => Err(Failure::new(requirement, expected, error.to_string()).into()),
    }
}
