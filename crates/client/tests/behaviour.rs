//! The client's binary against a listener of the test's own.
//!
//! Nothing here proves by waiting: a test goes on when the event that it needs has come. [`BOUND`]
//! ends a test whose event never comes.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

/// How long a test may take before its client is taken for hung.
const BOUND: Duration = Duration::from_secs(60);

#[test]
fn what_is_typed_comes_back_from_an_echo_server() {
    let (mut client, mut peer) = Client::connected(&[]);
    client.type_in(b"hello\n");
    assert_eq!(read_exactly(&mut peer, 6), b"hello\n");
    peer.write_all(b"hello\n").unwrap();
    assert_eq!(read_exactly(client.stdout.as_mut().unwrap(), 6), b"hello\n");
}

#[test]
fn the_end_of_a_piped_input_is_a_half_close_and_what_comes_after_it_is_printed() {
    for flags in [&[][..], &["--half-close"]] {
        let (mut client, mut peer) = Client::connected(flags);
        client.type_in(b"hello");
        client.end_input();
        assert_eq!(read_to_end(&mut peer), b"hello");
        peer.write_all(b"hello and \xff\x00\x1b[31m, unchanged").unwrap();
        drop(peer);
        let end = client.end();
        assert_eq!(end.stdout, b"hello and \xff\x00\x1b[31m, unchanged");
        assert_eq!(end.status, 0);
        assert!(end.stderr.ends_with("the server closed the connection\n"), "{}", end.stderr);
    }
}

#[test]
fn the_server_may_close_first() {
    let (client, peer) = Client::connected(&[]);
    drop(peer);
    let end = client.end();
    assert_eq!((end.status, end.stderr.as_str()), (0, "the server closed the connection\n"));
}

#[test]
fn a_reset_by_the_server_is_an_error_and_what_came_before_it_is_printed() {
    let (mut client, mut peer) = Client::connected(&[]);
    peer.write_all(b"last words").unwrap();
    assert_eq!(read_exactly(client.stdout.as_mut().unwrap(), 10), b"last words");
    SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
    drop(peer);
    let end = client.end();
    assert_eq!((end.status, end.stderr.as_str()), (1, "error: the server reset the connection\n"));
}

#[test]
fn a_reset_while_sending_is_an_error_whoever_of_reader_and_writer_sees_it() {
    let (mut client, mut peer) = Client::connected(&[]);
    let mut stdin = client.stdin.take().unwrap();
    // It ends when the client is gone.
    let typing = thread::spawn(move || while stdin.write_all(&[b'x'; 65_536]).is_ok() {});
    read_exactly(&mut peer, 1 << 20);
    SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
    drop(peer);
    let end = client.end();
    assert_eq!((end.status, end.stderr.as_str()), (1, "error: the server reset the connection\n"));
    typing.join().unwrap();
}

#[test]
fn with_reset_the_end_of_input_is_a_reset() {
    let (mut client, mut peer) = Client::connected(&["--reset"]);
    client.type_in(b"hello\n");
    assert_eq!(read_exactly(&mut peer, 6), b"hello\n");
    client.end_input();
    let error = peer.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(client.end().status, 0);
}

#[test]
fn with_slow_nothing_is_read_before_an_empty_line() {
    /// More than the kernel takes for a reader who does not read.
    const TOO_MUCH: usize = 256 << 20;
    let (mut client, mut peer) = Client::connected(&["--slow"]);
    assert_eq!(client.next_line(), "not reading until you press Enter on an empty line\n");
    let printed = client.collect_stdout();

    // What is typed is sent all the same.
    client.type_in(b"hello\n");
    assert_eq!(read_exactly(&mut peer, 6), b"hello\n");

    // A client that read would make room for ever; to one that does not, the kernel's queues
    // fill, and then stay full however long one tries.
    peer.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut sent = 0;
    while let Ok(n) = peer.write(&[b'x'; 65_536]) {
        sent += n;
        assert!(sent < TOO_MUCH, "the client reads");
    }
    assert!(printed.try_recv().is_err(), "the client printed what it should not have read");

    client.type_in(b"\nthen\n");
    peer.set_write_timeout(Some(BOUND)).unwrap();
    assert_eq!(read_exactly(&mut peer, 5), b"then\n");
    drop(peer);
    let arrived: usize = printed.iter().map(|bytes| bytes.len()).sum();
    assert_eq!(arrived, sent);
    assert_eq!(client.end().status, 0);
}

#[test]
fn fragments_arrive_complete() {
    let text: Vec<u8> = (0..1000).map(|i| i as u8).collect();
    let (mut client, mut peer) = Client::connected(&["--fragment", "7"]);
    client.type_in(&text);
    client.end_input();
    assert_eq!(read_to_end(&mut peer), text);
    drop(peer);
    assert_eq!(client.end().status, 0);
}

#[test]
fn a_closed_stdout_ends_the_client_quietly() {
    let (mut client, mut peer) = Client::connected(&[]);
    client.stdout = None;
    // Until the client is gone: other tests' processes hold the pipe for a moment as they start.
    while peer.write_all(b"hello\n").is_ok() {}
    let end = client.end();
    assert_eq!((end.status, end.stderr.as_str()), (0, ""));
}

#[test]
fn a_closed_stderr_is_no_trouble() {
    let (mut client, mut peer) = Client::connected(&[]);
    client.stderr = None;
    client.end_input();
    assert_eq!(read_to_end(&mut peer), b"");
    peer.write_all(b"hello\n").unwrap();
    drop(peer);
    let end = client.end();
    assert_eq!((end.status, &end.stdout[..]), (0, &b"hello\n"[..]));
}

#[test]
fn without_a_server_one_line_says_what_to_start() {
    // Bound, but not listening: nobody else gets this port, and nobody listens on it.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let end = Client::start(address, &[], Stdio::piped(), Stdio::piped()).end();
    let line = format!(
        "error: no server listens on {address}; start a stage first: cargo run -p stage-01\n"
    );
    assert_eq!((end.status, end.stderr), (1, line));
}

#[test]
fn bad_arguments_are_refused_with_the_usage() {
    for words in [&["--port", "x"][..], &["--fragment", "0"], &["127.0.0.1"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_client"));
        let output = command.args(words).stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("Usage: client"), "{words:?}");
    }
}

#[cfg(unix)]
mod at_a_terminal {
    use std::fs::{File, OpenOptions};
    use std::os::unix::fs::OpenOptionsExt;

    use rustix::fs::OFlags;
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    use super::*;

    const CTRL_D: &[u8] = b"\x04";

    #[test]
    fn the_end_of_input_leaves_at_once() {
        let (client, mut peer, mut terminal) = on_a_terminal(&[]);
        terminal.write_all(b"hello\n").unwrap();
        assert_eq!(read_exactly(&mut peer, 6), b"hello\n");
        terminal.write_all(CTRL_D).unwrap();
        // The peer has not closed and does not until the client is gone.
        assert_eq!(client.end().status, 0);
        assert_eq!(read_to_end(&mut peer), b"");
    }

    #[test]
    fn with_half_close_the_end_of_input_waits_for_the_servers() {
        let (client, mut peer, mut terminal) = on_a_terminal(&["--half-close"]);
        terminal.write_all(CTRL_D).unwrap();
        assert_eq!(read_to_end(&mut peer), b"");
        peer.write_all(b"goodbye\n").unwrap();
        drop(peer);
        assert_eq!(read_exactly(&mut terminal, 9), b"goodbye\r\n");
        assert_eq!(client.end().status, 0);
    }

    #[test]
    fn control_bytes_are_escaped_and_text_is_not() {
        let (_client, mut peer, mut terminal) = on_a_terminal(&[]);
        peer.write_all("\x1b[31mgrün\t\x07\n".as_bytes()).unwrap();
        let shown = "\\x1b[31mgrün\t\\x07\r\n".as_bytes();
        assert_eq!(read_exactly(&mut terminal, shown.len()), shown);
    }

    /// A client whose stdin and stdout are a terminal, and that terminal.
    fn on_a_terminal(flags: &[&str]) -> (Client, TcpStream, File) {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let path = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
        let noctty = i32::try_from(OFlags::NOCTTY.bits()).unwrap();
        let open = || OpenOptions::new().read(true).write(true).custom_flags(noctty).open(&path);
        // The echo of what is typed would be in the way.
        let tty = open().unwrap();
        let mut modes = rustix::termios::tcgetattr(&tty).unwrap();
        modes.local_modes -= rustix::termios::LocalModes::ECHO;
        rustix::termios::tcsetattr(&tty, rustix::termios::OptionalActions::Now, &modes).unwrap();
        let (client, peer) = Client::connected_with(flags, tty.into(), open().unwrap().into());
        (client, peer, File::from(terminal))
    }
}

/// A running client. It is killed when the test is over, or hangs.
struct Client {
    process: Arc<Mutex<Child>>,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<BufReader<ChildStderr>>,
    /// Tells the watchdog, when dropped, that the test is over.
    _over: mpsc::Sender<()>,
}

/// How a client ended, and what it had still to say.
struct End {
    status: i32,
    stdout: Vec<u8>,
    stderr: String,
}

impl Client {
    /// A client that has said that it is connected, and the server's end of its connection.
    fn connected(flags: &[&str]) -> (Self, TcpStream) {
        Self::connected_with(flags, Stdio::piped(), Stdio::piped())
    }

    fn connected_with(flags: &[&str], stdin: Stdio, stdout: Stdio) -> (Self, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut client = Self::start(address, flags, stdin, stdout);
        assert_eq!(client.next_line(), format!("connected to {address}\n"));
        let (peer, _) = listener.accept().unwrap();
        peer.set_read_timeout(Some(BOUND)).unwrap();
        peer.set_write_timeout(Some(BOUND)).unwrap();
        (client, peer)
    }

    fn start(address: SocketAddr, flags: &[&str], stdin: Stdio, stdout: Stdio) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_client"));
        command.args(["--port", &address.port().to_string()]).args(flags);
        command.stdin(stdin).stdout(stdout).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let (stdin, stdout) = (process.stdin.take(), process.stdout.take());
        let stderr = process.stderr.take().map(BufReader::new);
        let process = Arc::new(Mutex::new(process));
        let (_over, over) = mpsc::channel::<()>();
        let watched = Arc::clone(&process);
        thread::spawn(move || {
            // Whoever waits for the client, its pipes or its socket then sees their end.
            let _ = over.recv_timeout(BOUND);
            let mut process = watched.lock().unwrap();
            // It fails where the client has ended: then there is nothing to do.
            let _ = process.kill();
            let _ = process.wait();
        });
        Self { process, stdin, stdout, stderr, _over }
    }

    fn type_in(&mut self, bytes: &[u8]) {
        self.stdin.as_mut().unwrap().write_all(bytes).unwrap();
    }

    fn end_input(&mut self) {
        self.stdin = None;
    }

    /// The next line on stderr.
    fn next_line(&mut self) -> String {
        let mut line = String::new();
        self.stderr.as_mut().unwrap().read_line(&mut line).unwrap();
        line
    }

    /// Takes stdout: each piece as it is printed, until the end.
    fn collect_stdout(&mut self) -> mpsc::Receiver<Vec<u8>> {
        let mut stdout = self.stdout.take().unwrap();
        let (pieces, collected) = mpsc::channel();
        thread::spawn(move || {
            let mut buffer = [0; 65_536];
            while let Ok(n @ 1..) = stdout.read(&mut buffer) {
                pieces.send(buffer[..n].to_vec()).unwrap();
            }
        });
        collected
    }

    /// Waits for the client to end by itself. Its input stays open until then.
    fn end(mut self) -> End {
        let stdout = self.stdout.take().map_or(Vec::new(), |mut pipe| read_to_end(&mut pipe));
        let stderr = self.stderr.take().map_or(Vec::new(), |mut pipe| read_to_end(&mut pipe));
        let status = self.process.lock().unwrap().wait().unwrap().code().expect("killed as hung");
        End { status, stdout, stderr: String::from_utf8(stderr).unwrap() }
    }
}

fn read_exactly(from: &mut impl Read, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    from.read_exact(&mut bytes).unwrap();
    bytes
}

fn read_to_end(from: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).unwrap();
    bytes
}
