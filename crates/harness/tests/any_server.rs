//! Servers that nobody wrote for this harness: ready by what the kernel shows, and never left
//! behind.
//!
//! Some tests run this file's own program again, as the server or as the harness: a test that finds
//! ROLE in its environment plays that role.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use harness::{Server, Signal, StartError, free_port};
use rustix::process::{Pid, kill_process, test_kill_process};

/// This program once more, as the test `test` in the role `role`.
fn again(test: &str, role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program is a file"));
    command.args(["--exact", test, "--nocapture"]).env("ROLE", role);
    command
}

fn role() -> Option<String> {
    std::env::var("ROLE").ok()
}

/// An echo server, one client at a time, which says nothing of its own.
fn serve(port: u16) -> ! {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).expect("the port is free");
    echo(&listener)
}

fn echo(listener: &TcpListener) -> ! {
    loop {
        let (mut stream, _) = listener.accept().expect("a client comes");
        let mut input = stream.try_clone().expect("there are descriptors left");
        // A client that is torn off is no reason to end.
        let _ = std::io::copy(&mut input, &mut stream);
    }
}

/// The variable PORT, which a server under test always has.
fn given_port() -> u16 {
    std::env::var("PORT").ok().and_then(|text| text.parse().ok()).expect("a number in PORT")
}

#[test]
#[cfg(all(target_os = "linux", not(without_proc)))]
fn who_listens_is_ready_without_a_word() {
    if role().is_some() {
        serve(given_port());
    }
    let mut command = again("who_listens_is_ready_without_a_word", "server");
    let server = Server::start(command.env("PORT", free_port().to_string())).unwrap();
    assert!(server.address().ip().is_loopback(), "{}", server.address());
    server.connect("a").unwrap().exchange(b"hello", b"hello").unwrap();
}

#[test]
#[cfg(all(target_os = "linux", not(without_proc)))]
fn the_server_is_the_process_that_listens_and_all_are_killed() {
    if role().is_some() {
        serve(given_port());
    }
    // As `uv run` or `npm start` do: somebody else waits for the server.
    let inner = again("the_server_is_the_process_that_listens_and_all_are_killed", "server");
    let mut shell = Command::new("sh");
    shell.args(["-c", "\"$@\" & wait", "sh"]).arg(inner.get_program()).args(inner.get_args());
    shell.env("ROLE", "server").env("PORT", free_port().to_string());
    let server = Server::start(&mut shell).unwrap();
    let mut a = server.connect("a").unwrap();
    a.exchange(b"hello", b"hello").unwrap();
    let threads = || Ok(server.scene().threads);
    let reads = |threads: &Vec<String>| {
        threads.iter().any(|it| it.ends_with("asleep in recv on the connection of a"))
    };
    server.wait_until("a thread that reads from a", threads, reads).unwrap();

    let pid = Pid::from_raw(server.pid()).unwrap();
    drop(server);
    wait_until_gone(pid);
}

#[test]
#[cfg(all(target_os = "linux", not(without_proc)))]
fn another_port_than_the_given_one_is_named() {
    const TEST: &str = "another_port_than_the_given_one_is_named";
    match role().as_deref() {
        Some("server") => serve(0),
        Some(_) => {}
        // It waits in vain: with less patience than other tests need.
        None => {
            let mut harness = again(TEST, "harness");
            assert!(harness.env("HARNESS_PATIENCE", "0.3").status().unwrap().success());
            return;
        }
    }
    let port = free_port();
    let mut command = again(TEST, "server");
    command.env("PORT", port.to_string());
    match Server::start(&mut command) {
        Err(StartError::NoPort { given, elsewhere, .. }) => {
            assert_eq!((given, elsewhere.len()), (port, 1));
            assert!(elsewhere[0].port() != port);
        }
        other => panic!("{:?}", other.err()),
    }
}

#[test]
fn a_server_that_runs_already_is_driven_by_its_address() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Server::at(listener.local_addr().unwrap());
    thread::spawn(move || echo(&listener));
    server.connect("a").unwrap().exchange(b"hello", b"hello").unwrap();
    assert!(server.threads().is_err() && server.signal(Signal::TERM).is_err());
}

#[test]
fn work_that_takes_too_long_loses_its_servers() {
    let work = || {
        let server = Server::start(&mut sleeper()).unwrap();
        server.wait_exit().unwrap()
    };
    let (status, observed) = harness::observe(Duration::from_millis(50), work);
    let scene = observed.overdue.unwrap();
    assert!(scene.exit.is_none() && !status.success());
    assert_eq!(observed.logs.len(), 1);
}

#[test]
fn no_server_outlives_a_harness() {
    if let Some(role) = role() {
        harness::kill_servers_on_interrupt().unwrap();
        let server = Server::start(&mut sleeper()).unwrap();
        println!("\nserver {}", server.pid());
        std::io::stdout().flush().unwrap();
        match role.as_str() {
            "panics" => panic!("on purpose"),
            "aborts" => std::process::abort(),
            _ => thread::sleep(Duration::from_secs(1000)),
        }
    }
    let ends = [
        ("is interrupted", Some(Signal::INT)),
        ("is terminated", Some(Signal::TERM)),
        ("is killed", Some(Signal::KILL)),
        ("panics", None),
        ("aborts", None),
    ];
    for (role, signal) in ends {
        let mut command = again("no_server_outlives_a_harness", role);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let pid =
            lines.map_while(Result::ok).find_map(|line| line.strip_prefix("server ")?.parse().ok());
        if let Some(signal) = signal {
            kill_process(Pid::from_child(&child), signal).unwrap();
        }
        child.wait().unwrap();
        wait_until_gone(Pid::from_raw(pid.unwrap()).unwrap());
    }
}

/// A process that says that it listens, and sleeps.
fn sleeper() -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "echo listening on 127.0.0.1:1; sleep 1000; true"]);
    command
}

fn wait_until_gone(pid: Pid) {
    let give_up = std::time::Instant::now() + harness::patience();
    while test_kill_process(pid).is_ok() && !is_zombie(pid) {
        assert!(std::time::Instant::now() < give_up, "process {pid:?} is still there");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Whether it has ended, and only waits to be waited for.
fn is_zombie(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid()));
    stat.is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z")))
}
