//! A client for machines without `nc`, with a few ways to misbehave.
//!
//! ```text
//! server$ cargo run -p stage-01
//! a$ cargo run -p client                      type hello, and hello comes back; Ctrl-D leaves
//! $ printf 'hello\n' | cargo run -p client    sends, prints what comes back, and ends
//! ```
//!
//! What arrives goes to stdout, what the client has to say to stderr. It ends with status 0 when
//! it leaves or the server closes, 1 on an error and 2 on bad arguments.

mod options;
mod screen;

use std::io::{self, BufRead, ErrorKind, IsTerminal, Read, StdinLock, Write};
use std::net::{Shutdown, TcpStream};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use options::{Leave, Options};
use screen::Screen;
use socket2::SockRef;

fn main() -> ExitCode {
    match run(Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// One thread sends what is typed, one prints what arrives; who comes to an end first ends both.
fn run(options: Options) -> anyhow::Result<()> {
    let connection = Arc::new(Connection::open(&options)?);
    let (end, ended) = mpsc::channel();
    let (start_reading, may_read) = mpsc::channel();
    let (printing, printing_ends) = (Arc::clone(&connection), end.clone());
    thread::Builder::new().spawn(move || {
        // An error, too, means that nothing holds the reading back any more.
        let _ = may_read.recv();
        // Nobody waits for this end when the client has left: the process is ending.
        let _ = printing_ends.send(print_what_arrives(&printing));
    })?;
    thread::Builder::new().spawn(move || {
        let result = send_what_is_typed(&connection, &options, &start_reading);
        if let Some(result) = result.transpose() {
            // As above: the process is ending when nobody waits.
            let _ = end.send(result);
        }
    })?;
    ended.recv()?
}

/// Sends stdin to its end and then leaves as `options` say. `None`: this was only the half-close,
/// or the connection is gone, and it is for the printing thread to find the end.
fn send_what_is_typed(
    connection: &Connection,
    options: &Options,
    start_reading: &mpsc::Sender<()>,
) -> anyhow::Result<Option<()>> {
    let mut input = io::stdin().lock();
    if options.slow {
        say("not reading until you press Enter on an empty line");
        if !send_until_empty_line(&mut input, connection)? {
            return Ok(None);
        }
    }
    // The printing thread is gone only when the process is ending.
    let _ = start_reading.send(());
    let mut buffer = [0; 8192];
    loop {
        match input.read(&mut buffer).context("cannot read the input")? {
            0 => break,
            n if !connection.send(&buffer[..n]) => return Ok(None),
            _ => {}
        }
    }
    connection.leave(options.leave)
}

/// Sends lines until one is empty, or the input ends. `false`: the connection is gone.
fn send_until_empty_line(input: &mut StdinLock, connection: &Connection) -> anyhow::Result<bool> {
    let mut line = Vec::new();
    loop {
        let starts_a_line = line.is_empty() || line.ends_with(b"\n");
        line.clear();
        // A line of any length is sent in pieces of this size.
        input.by_ref().take(8192).read_until(b'\n', &mut line).context("cannot read the input")?;
        if line.is_empty() || (starts_a_line && matches!(&line[..], b"\n" | b"\r\n")) {
            return Ok(true);
        }
        if !connection.send(&line) {
            return Ok(false);
        }
    }
}

/// Prints what arrives until the server closes: unchanged to a pipe or file, made safe to a
/// terminal.
fn print_what_arrives(connection: &Connection) -> anyhow::Result<()> {
    let mut output = io::stdout().lock();
    let mut screen = output.is_terminal().then(Screen::default);
    let mut print = |bytes: &[u8], is_last: bool| {
        match &mut screen {
            Some(screen) => output.write_all(screen.show(bytes, is_last).as_bytes())?,
            None => output.write_all(bytes)?,
        }
        output.flush()
    };
    let mut buffer = [0; 65_536];
    loop {
        let (received, error) = match (&connection.socket).read(&mut buffer) {
            Ok(received) => (received, None),
            Err(error) => (0, Some(error)),
        };
        match print(&buffer[..received], received == 0) {
            // Whoever read the output has had enough of it (`client | head -1`).
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            printed => printed.context("cannot print what arrived")?,
        }
        if received == 0 {
            return connection.end(error);
        }
    }
}

/// The connection to the server, used by both threads.
struct Connection {
    socket: TcpStream,
    fragment: Option<usize>,
    /// Why nothing can be sent any more. Locked during each write: a reset is reported once, to
    /// the one thread that asks first, so that the reader may see a plain end of input instead.
    send_error: Mutex<Option<io::Error>>,
}

impl Connection {
    fn open(options: &Options) -> anyhow::Result<Self> {
        let Options { host, port, fragment, .. } = options;
        let socket =
            TcpStream::connect((host.as_str(), *port)).map_err(|error| match error.kind() {
                ErrorKind::ConnectionRefused => anyhow!(
                    "no server listens on {host}:{port}; start a stage first: cargo run -p stage-01"
                ),
                _ => anyhow!("cannot connect to {host}:{port}: {error}"),
            })?;
        say(&format!("connected to {host}:{port}"));
        // What was typed leaves at once, and fragments stay apart.
        socket.set_nodelay(true)?;
        Ok(Self { socket, fragment: *fragment, send_error: Mutex::default() })
    }

    /// Sends `bytes`, in fragments if so asked. `false`: the connection is gone.
    fn send(&self, bytes: &[u8]) -> bool {
        for segment in bytes.chunks(self.fragment.unwrap_or(bytes.len())) {
            let mut send_error = self.send_error.lock().expect("no thread panics while it sends");
            if let Err(error) = (&self.socket).write_all(segment) {
                *send_error = Some(error);
                return false;
            }
            drop(send_error);
            if self.fragment.is_some() {
                // Time for the server to read this segment before the next one joins it.
                thread::sleep(Duration::from_millis(1));
            }
        }
        true
    }

    /// Leaves at the end of input. `None`: not yet, as the server may still have something to say.
    fn leave(&self, how: Leave) -> anyhow::Result<Option<()>> {
        match how {
            Leave::Close => Ok(Some(())),
            Leave::Reset => {
                SockRef::from(&self.socket).set_linger(Some(Duration::ZERO))?;
                say("leaving by reset");
                Ok(Some(()))
            }
            Leave::HalfClose => {
                if io::stdin().is_terminal() {
                    // Or one would wonder why the prompt does not come back.
                    say("half-closed: nothing more to send, reading until the server closes");
                }
                // It fails where the connection is gone, which the reader is about to find.
                let _ = self.socket.shutdown(Shutdown::Write);
                Ok(None)
            }
        }
    }

    /// What the end of the stream means, which the reader saw with or without a `read_error`.
    fn end(&self, read_error: Option<io::Error>) -> anyhow::Result<()> {
        use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
        let send_error = self.send_error.lock().expect("no thread panics while it sends").take();
        let Some(error) = read_error.or(send_error) else {
            say("the server closed the connection");
            return Ok(());
        };
        match error.kind() {
            BrokenPipe | ConnectionAborted | ConnectionReset => {
                bail!("the server reset the connection")
            }
            _ => bail!("the connection failed: {error}"),
        }
    }
}

/// Tells the user something, on stderr.
fn say(words: &str) {
    // Where stderr is closed nobody wants to know. `eprintln!` would panic.
    let _ = writeln!(io::stderr(), "{words}");
}
