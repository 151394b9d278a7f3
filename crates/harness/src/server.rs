use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::io::{self, PipeReader, PipeWriter, Read};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{RecvTimeoutError, unbounded};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::client::Client;
use crate::kernel::{self, Socket, State};
use crate::stuck::{self, Stuck};
use crate::trouble::{Cause, Result, Scene, Trouble};
use crate::wait::{self, patience};

/// A server under test: a process in a group of its own, killed when this value is dropped.
pub struct Server {
    process: Arc<Process>,
    stdout: Drain,
    stderr: Drain,
}

/// What the clients of a server know of it, too.
pub(crate) struct Process {
    pub(crate) address: SocketAddr,
    group: Group,
    stdout_lines: Arc<Mutex<Vec<String>>>,
    stderr_lines: Arc<Mutex<Tail>>,
    /// The names of all clients there ever were, by the address of their end.
    names: Mutex<HashMap<SocketAddr, String>>,
}

/// Why a command did not become a server.
#[derive(Debug)]
pub enum StartError {
    /// The command could not be run.
    NotRun(io::Error),
    /// It ended without listening.
    Ended(Output),
    /// Its first line on stdout is another one than `listening on ADDRESS`.
    OtherLine(String),
    /// It did not end and printed no line for as long as [`patience`] lasts.
    Silent {
        /// Its last lines on stderr.
        stderr: Vec<String>,
    },
}

/// What a command that ended leaves behind.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Its lines on stdout.
    pub stdout: Vec<String>,
    /// Its last 40 lines on stderr.
    pub stderr: Vec<String>,
}

/// A command that runs `command` under limits of the shell, for example `ulimit -n 40`. The
/// process keeps its id.
pub fn limited(limits: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("{limits}; exec \"$@\"")).arg("sh");
    shell.arg(command.get_program()).args(command.get_args());
    shell
}

/// Kills the servers that are running when this process is interrupted (SIGINT, SIGTERM, SIGHUP),
/// and ends it. They are in groups of their own, so Ctrl-C does not reach them.
///
/// # Errors
/// The handler could not be installed.
pub fn kill_servers_on_interrupt() -> io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    thread::Builder::new().name("interrupt".to_owned()).spawn(move || {
        if let Some(signal) = signals.forever().next() {
            // Kept locked: no server starts any more.
            let running = lock(&RUNNING);
            running.iter().for_each(|&group| kill_group(group));
            std::process::exit(128 + signal);
        }
    })?;
    Ok(())
}

/// Kills the servers that are running now: whoever waits for one sees it end.
pub fn kill_servers() {
    lock(&RUNNING).iter().for_each(|&group| kill_group(group));
}

impl Server {
    /// Runs `command` and waits until it prints `listening on ADDRESS`; its arguments should ask
    /// for port 0. Nobody connects to find out whether it is ready.
    ///
    /// # Errors
    /// See [`StartError`]. No process is left behind.
    pub fn start(command: &mut Command) -> std::result::Result<Self, StartError> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let (group, pipes) = Group::start(command).map_err(StartError::NotRun)?;
        let stdout_lines = Arc::new(Mutex::new(Vec::new()));
        let stderr_lines = Arc::new(Mutex::new(Tail::default()));
        let (sender, first_line) = unbounded();
        let stdout = Drain::start(pipes.0, {
            let lines = Arc::clone(&stdout_lines);
            move |line: String| {
                // After the first line nobody listens.
                let _ = sender.send(line.clone());
                lock(&lines).push(line);
            }
        });
        let stderr = Drain::start(pipes.1, {
            let lines = Arc::clone(&stderr_lines);
            move |line| lock(&lines).push(line)
        });
        let (stdout, stderr) =
            (stdout.map_err(StartError::NotRun)?, stderr.map_err(StartError::NotRun)?);

        let line = match first_line.recv_timeout(patience()) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => {
                return Err(StartError::Silent { stderr: lock(&stderr_lines).last() });
            }
            Err(RecvTimeoutError::Disconnected) => {
                let ended = |status: &Option<ExitStatus>| status.is_some();
                let Ok(Some(status)) = wait::until(|| group.exit_status(), ended) else {
                    return Err(StartError::Silent { stderr: lock(&stderr_lines).last() });
                };
                // Whoever inherited the pipe may hold it open: what is there by then must do.
                let _ = wait::until(|| Ok(stderr.has_ended()), |ended| *ended);
                let stdout = lock(&stdout_lines).clone();
                let stderr = lock(&stderr_lines).last();
                return Err(StartError::Ended(Output { status, stdout, stderr }));
            }
        };
        let address = line.strip_prefix("listening on ").and_then(|text| text.parse().ok());
        let address = address.ok_or(StartError::OtherLine(line))?;
        let names = Mutex::default();
        let process = Process { address, group, stdout_lines, stderr_lines, names };
        Ok(Self { process: Arc::new(process), stdout, stderr })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.process.address
    }

    /// The process's id.
    pub fn pid(&self) -> i32 {
        self.process.id()
    }

    /// Connects a client.
    ///
    /// # Errors
    /// The connection was refused, or not completed within [`patience`].
    pub fn connect(&self, name: &str) -> Result<Client> {
        Client::connect(name, None, &self.process)
    }

    /// Connects a client whose own address is `source`, for example 127.0.0.2.
    ///
    /// # Errors
    /// As [`Server::connect`].
    pub fn connect_from(&self, name: &str, source: IpAddr) -> Result<Client> {
        Client::connect(name, Some(source), &self.process)
    }

    /// Waits for the proof that the server does nothing more until somebody else acts.
    ///
    /// # Errors
    /// No proof within [`patience`], counted from the last change of a queue.
    pub fn stuck(&self) -> Result<Stuck> {
        stuck::prove(&self.process).map_err(|cause| self.trouble("to come to rest", cause))
    }

    /// Waits until `read` yields a value that is `good`; each change of the value is progress.
    ///
    /// # Errors
    /// The value stopped changing for as long as [`patience`] lasts, or could not be read.
    pub fn wait_until<V: fmt::Debug + PartialEq>(
        &self,
        what: &str,
        read: impl FnMut() -> io::Result<V>,
        good: impl Fn(&V) -> bool,
    ) -> Result<V> {
        wait::until(read, good).map_err(|cause| self.trouble(what, cause))
    }

    /// How the process ended; none while it runs.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.process.exit_status()
    }

    /// Waits until the process has ended.
    ///
    /// # Errors
    /// It did not within [`patience`].
    pub fn wait_exit(&self) -> Result<ExitStatus> {
        let read = || self.process.group.exit_status();
        let ended = wait::until(read, |status| status.is_some()).map_err(|cause| match cause {
            Cause::Unchanged(_) => Cause::Unchanged("alive".to_owned()),
            other => other,
        });
        let status = ended.map_err(|cause| self.trouble("the process to end", cause))?;
        Ok(status.expect("waited until it is some"))
    }

    /// Sends a signal to the process. One that has ended takes none.
    ///
    /// # Errors
    /// It could not be sent.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let sent = self.process.group.signal(signal);
        sent.map_err(|error| self.trouble("to take a signal", Cause::Io(error)))
    }

    /// Stops the process (SIGSTOP) and waits until each of its threads stands still (state T).
    ///
    /// # Errors
    /// It did not stop within [`patience`].
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)?;
        let states = || {
            let threads = kernel::threads(self.pid())?;
            Ok(threads.into_iter().map(|thread| thread.state).collect::<Vec<_>>())
        };
        let stopped = |states: &Vec<State>| states.iter().all(|state| *state == State::Stopped);
        self.wait_until("all threads to be stopped", states, stopped)?;
        Ok(())
    }

    /// Lets a stopped process go on (SIGCONT).
    ///
    /// # Errors
    /// The signal could not be sent.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Closes the pipe that the process prints to: from now on nobody reads it.
    pub fn close_stdout(&mut self) {
        self.stdout.close();
    }

    /// Closes the pipe that the process logs to: from now on nobody reads it.
    pub fn close_stderr(&mut self) {
        self.stderr.close();
    }

    /// The lines on stdout so far, the `listening on` line among them.
    pub fn stdout(&self) -> Vec<String> {
        lock(&self.process.stdout_lines).clone()
    }

    /// The last 40 lines on stderr.
    pub fn stderr(&self) -> Vec<String> {
        lock(&self.process.stderr_lines).last()
    }

    /// How many lines came on stderr so far.
    pub fn stderr_line_count(&self) -> usize {
        lock(&self.process.stderr_lines).count
    }

    /// What the process and its threads are doing, for a report.
    pub fn scene(&self) -> Scene {
        self.process.scene()
    }

    /// The threads of the process.
    ///
    /// # Errors
    /// The process is gone, or this is not Linux; so too for the readings below.
    pub fn threads(&self) -> Result<Vec<kernel::Thread>> {
        self.reading("its threads", kernel::threads(self.pid()))
    }

    /// How many threads the process has.
    ///
    /// # Errors
    /// As [`Server::threads`].
    pub fn thread_count(&self) -> Result<usize> {
        self.reading("its threads", kernel::thread_count(self.pid()))
    }

    /// How many descriptors the process has open.
    ///
    /// # Errors
    /// As [`Server::threads`].
    pub fn descriptor_count(&self) -> Result<usize> {
        self.reading("its descriptors", kernel::descriptor_count(self.pid()))
    }

    /// How many sockets the process has open, listeners and all.
    ///
    /// # Errors
    /// As [`Server::threads`].
    pub fn socket_count(&self) -> Result<usize> {
        let sockets = kernel::socket_descriptors(self.pid()).map(|sockets| sockets.len());
        self.reading("its sockets", sockets)
    }

    /// Processor time used so far, in clock ticks.
    ///
    /// # Errors
    /// As [`Server::threads`].
    pub fn cpu_ticks(&self) -> Result<u64> {
        self.reading("its processor time", kernel::cpu_ticks(self.pid()))
    }

    /// How often its threads went to sleep of themselves.
    ///
    /// # Errors
    /// As [`Server::threads`].
    pub fn voluntary_switches(&self) -> Result<u64> {
        Ok(self.threads()?.iter().map(|thread| thread.voluntary_switches).sum())
    }

    /// Resident memory in bytes.
    ///
    /// # Errors
    /// As [`Server::threads`].
    pub fn rss_bytes(&self) -> Result<u64> {
        self.reading("its memory", kernel::rss_bytes(self.pid()))
    }

    /// The most resident memory so far, in bytes.
    ///
    /// # Errors
    /// As [`Server::threads`].
    pub fn peak_rss_bytes(&self) -> Result<u64> {
        self.reading("its memory", kernel::peak_rss_bytes(self.pid()))
    }

    /// The rows of the kernel's table for the sockets that this process listens on; `rx_queue` is
    /// the number of connections not yet accepted.
    ///
    /// # Errors
    /// As [`Server::threads`].
    pub fn listeners(&self) -> Result<Vec<Socket>> {
        let read = || {
            let own = kernel::socket_descriptors(self.pid())?;
            let mut sockets = kernel::sockets(self.address().port())?;
            let is_own = |socket: &Socket| own.iter().any(|it| it.inode == socket.inode);
            sockets.retain(|socket| socket.listening && is_own(socket));
            Ok(sockets)
        };
        self.reading("its listeners", read())
    }

    /// The server's end of a client's connection: its queues, and whether it was accepted
    /// (`inode` is not 0). None where the kernel has forgotten it.
    ///
    /// # Errors
    /// As [`Server::threads`].
    pub fn end_of(&self, client: &Client) -> Result<Option<Socket>> {
        let port = self.address().port();
        let sockets = self.reading("its sockets", kernel::sockets(port))?;
        Ok(sockets
            .into_iter()
            .find(|socket| socket.local.port() == port && socket.remote == client.local_address()))
    }

    /// How many bytes the server has sent and `client` has not read: they stand in the kernel's
    /// queues at both ends.
    ///
    /// # Errors
    /// As [`Server::threads`].
    pub fn queued_for(&self, client: &Client) -> Result<usize> {
        let queues = kernel::queues(self.address().port(), client.local_address());
        Ok(self.reading("its queues", queues)?.1)
    }

    /// Waits until the server has read all that `client` has sent.
    ///
    /// # Errors
    /// It stopped reading for as long as [`patience`] lasts, or as [`Server::threads`].
    pub fn wait_until_read(&self, client: &Client) -> Result<()> {
        let what = format!("to read all that {} has sent", client.name());
        let read = || Ok(kernel::queues(self.address().port(), client.local_address())?.0);
        self.wait_until(&what, read, |unread| *unread == 0)?;
        Ok(())
    }

    fn reading<T>(&self, what: &str, read: io::Result<T>) -> Result<T> {
        read.map_err(|error| self.trouble(&format!("a reading of {what}"), Cause::Io(error)))
    }

    fn trouble(&self, expected: &str, cause: Cause) -> Box<Trouble> {
        let (who, expected) = ("server".to_owned(), expected.to_owned());
        Box::new(Trouble { who, expected, cause, scene: self.scene() })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Clients may outlive the server.
        self.process.group.kill();
    }
}

impl Process {
    pub(crate) fn id(&self) -> i32 {
        self.group.id
    }

    pub(crate) fn introduce(&self, name: &str, address: SocketAddr) {
        lock(&self.names).insert(address, name.to_owned());
    }

    /// The name of the client at `address`, or the address of a stranger.
    pub(crate) fn name_of(&self, address: SocketAddr) -> String {
        lock(&self.names).get(&address).cloned().unwrap_or_else(|| address.to_string())
    }

    pub(crate) fn scene(&self) -> Scene {
        Scene {
            exit: self.exit_status(),
            threads: stuck::describe_threads(self),
            stderr: lock(&self.stderr_lines).last(),
        }
    }

    fn exit_status(&self) -> Option<ExitStatus> {
        // Waiting for a child of one's own fails only when somebody else waited for it.
        self.group.exit_status().ok().flatten()
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRun(error) => write!(f, "it could not be run: {error}"),
            Self::Ended(output) => write!(f, "it ended without listening: {output}"),
            Self::OtherLine(line) => write!(f, "its first line on stdout is {line:?}"),
            Self::Silent { stderr } => {
                write!(f, "it printed no line for {:?}; stderr: {stderr:?}", patience())
            }
        }
    }
}

impl std::error::Error for StartError {}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; stdout: {:?}; stderr: {:?}", self.status, self.stdout, self.stderr)
    }
}

/// The groups of all running servers, for [`kill_servers_on_interrupt`].
static RUNNING: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// A process group whose leader is a child of ours.
struct Group {
    /// The leader's process id, and the group's.
    id: i32,
    leader: Mutex<Child>,
}

impl Group {
    fn start(
        command: &mut Command,
    ) -> io::Result<(Self, (std::process::ChildStdout, std::process::ChildStderr))> {
        let mut running = lock(&RUNNING);
        let mut child = command.process_group(0).spawn()?;
        let id = Pid::from_child(&child).as_raw_pid();
        running.insert(id);
        let out = child.stdout.take().expect("the caller pipes stdout");
        let err = child.stderr.take().expect("the caller pipes stderr");
        Ok((Self { id, leader: Mutex::new(child) }, (out, err)))
    }

    fn exit_status(&self) -> io::Result<Option<ExitStatus>> {
        lock(&self.leader).try_wait()
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        // Locked, so that nobody waits for the child meanwhile: its id stays its own.
        let mut leader = lock(&self.leader);
        if leader.try_wait()?.is_none() {
            kill_process(Pid::from_child(&leader), signal)?;
        }
        Ok(())
    }

    /// Kills the group and waits for its leader.
    fn kill(&self) {
        let mut running = lock(&RUNNING);
        let mut leader = lock(&self.leader);
        // Once waited for, the id may be another group's.
        if let Ok(None) = leader.try_wait() {
            kill_group(self.id);
            // A killed child ends, and nobody else waits for it.
            let _ = leader.wait();
        }
        running.remove(&self.id);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

fn kill_group(id: i32) {
    if let Some(group) = Pid::from_raw(id) {
        // It may have ended by itself.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// A thread that reads a pipe to its end: a server whose pipe nobody drains freezes.
struct Drain {
    thread: Option<JoinHandle<()>>,
    /// Dropped to make the thread close the pipe.
    closer: Option<PipeWriter>,
}

impl Drain {
    fn start(
        pipe: impl Read + AsFd + Send + 'static,
        take: impl FnMut(String) + Send + 'static,
    ) -> io::Result<Self> {
        let (closed, closer) = io::pipe()?;
        let thread = thread::Builder::new()
            .name("drain".to_owned())
            .spawn(move || drain(pipe, &closed, take))?;
        Ok(Self { thread: Some(thread), closer: Some(closer) })
    }

    fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn close(&mut self) {
        drop(self.closer.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was printed already.
            let _ = thread.join();
        }
    }
}

/// Hands over each line of `pipe` until the pipe ends or `closed` does.
fn drain(mut pipe: impl Read + AsFd, closed: &PipeReader, mut take: impl FnMut(String)) {
    /// A line that never ends is cut into pieces.
    const LONGEST: usize = 64 * 1024;
    let mut buffer = [0; 4096];
    let mut line = Vec::new();
    loop {
        let mut watched = [PollFd::new(&pipe, PollFlags::IN), PollFd::new(closed, PollFlags::IN)];
        match poll(&mut watched, None) {
            Ok(_) if !watched[1].revents().is_empty() => return,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
        if watched[0].revents().is_empty() {
            continue;
        }
        let received = match pipe.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(received) => &buffer[..received],
        };
        for &byte in received {
            if byte != b'\n' {
                line.push(byte);
            }
            if byte == b'\n' || line.len() == LONGEST {
                take(String::from_utf8_lossy(&line).into_owned());
                line.clear();
            }
        }
    }
    if !line.is_empty() {
        take(String::from_utf8_lossy(&line).into_owned());
    }
}

/// The last lines of a stream that may be long.
#[derive(Default)]
struct Tail {
    count: usize,
    lines: VecDeque<String>,
}

impl Tail {
    const KEPT: usize = 40;

    fn push(&mut self, line: String) {
        self.count += 1;
        self.lines.push_back(line);
        if self.lines.len() > Self::KEPT {
            self.lines.pop_front();
        }
    }

    fn last(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }
}

/// A panic elsewhere does not make these plain values wrong.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
