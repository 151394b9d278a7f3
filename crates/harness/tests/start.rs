//! What becomes of a command that is started as a server.

use std::process::Command;

use harness::{Server, Signal, StartError, limited};

/// A process that says that it listens, and then does what the shell script says.
fn pretender(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("echo listening on 127.0.0.1:1; {script}"));
    command
}

#[test]
fn a_command_that_ends_leaves_its_status_and_what_it_said() {
    let mut command = Command::new("sh");
    command.args(["-c", "echo one >&2; printf two >&2; exit 3"]);
    match Server::start(&mut command) {
        Err(StartError::Ended(output)) => {
            assert_eq!(output.status.code(), Some(3));
            assert_eq!((output.stdout.len(), output.stderr), (0, vec!["one".into(), "two".into()]));
        }
        other => panic!("{:?}", other.err()),
    }
}

#[test]
fn another_first_line_is_no_start() {
    let started = Server::start(Command::new("echo").arg("hello"));
    assert!(matches!(started, Err(StartError::OtherLine(line)) if line == "hello"));
}

#[test]
fn a_command_that_does_not_exist_is_no_start() {
    let started = Server::start(&mut Command::new("/no/such/program"));
    assert!(matches!(started, Err(StartError::NotRun(_))));
}

#[test]
fn the_last_forty_lines_on_stderr_are_kept_and_all_are_counted() {
    let server = Server::start(&mut pretender("seq 1 1000 >&2; exec sleep 1000")).unwrap();
    let count = || Ok(server.stderr_line_count());
    server.wait_until("all lines", count, |count| *count == 1000).unwrap();
    assert_eq!(server.stderr().len(), 40);
    assert_eq!(server.stderr().last().map(String::as_str), Some("1000"));
}

#[test]
fn a_closed_pipe_breaks_what_the_process_writes_next() {
    let script = "while kill -0 $$ && echo again >&2 2>/dev/null; do sleep 0.01; done; exit 7";
    let mut server = Server::start(&mut pretender(script)).unwrap();
    server.close_stderr();
    let status = server.wait_exit().unwrap();
    // By the signal, or by the error of the write where SIGPIPE is ignored.
    assert!(!status.success(), "{status}");
}

#[test]
fn limits_hold_in_the_process_and_it_keeps_its_id() {
    let server =
        Server::start(&mut limited("ulimit -n 40", &pretender("exec sleep 1000"))).unwrap();
    #[cfg(all(target_os = "linux", not(without_proc)))]
    assert_eq!(harness::kernel::descriptor_limit(server.pid()).unwrap(), Some(40));
    server.signal(Signal::TERM).unwrap();
    assert!(!server.wait_exit().unwrap().success());
}

#[test]
#[cfg(all(target_os = "linux", not(without_proc)))]
fn a_paused_process_stands_still_until_it_is_resumed() {
    let server = Server::start(&mut pretender("sleep 0; exec sleep 1000")).unwrap();
    server.pause().unwrap();
    let threads = server.threads().unwrap();
    assert!(threads.iter().all(|thread| thread.state == harness::kernel::State::Stopped));
    server.resume().unwrap();
}

#[test]
fn a_server_ends_with_its_value() {
    let server = Server::start(&mut pretender("exec sleep 1000")).unwrap();
    let pid = rustix::process::Pid::from_raw(server.pid()).unwrap();
    drop(server);
    assert!(rustix::process::test_kill_process(pid).is_err());
}
