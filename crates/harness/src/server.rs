use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::io::{self, PipeReader, PipeWriter, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, unbounded};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::client::Client;
use crate::guard;
use crate::kernel::{self, Socket, State};
use crate::stuck::{self, Stuck};
use crate::trouble::{Cause, Result, Scene, Trouble};
use crate::wait::{self, SLICE, patience};
use crate::wire::{self, Kind, Wire};

/// A server under test: a process in a group of its own, killed when this value is dropped; or one
/// that runs already, of which only the address is known.
pub struct Server {
    process: Arc<Process>,
    drains: Option<Drains>,
}

/// What the clients of a server know of it, too.
pub(crate) struct Process {
    pub(crate) address: SocketAddr,
    pub(crate) wire: Wire,
    /// None if it was not started here.
    own: Option<Own>,
    /// The names of all clients there ever were, by the address of their end.
    names: Mutex<HashMap<SocketAddr, String>>,
}

/// A process that was started here.
struct Own {
    group: Group,
    /// The process that listens: the group's leader, or one that this has started.
    id: i32,
    stdout_lines: Arc<Mutex<Vec<String>>>,
    stderr_lines: Arc<Mutex<Tail>>,
}

/// The threads that read what the process prints.
struct Drains {
    stdout: Drain,
    stderr: Drain,
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
    /// It did not end, and listens elsewhere or nowhere.
    NoPort {
        /// The port that it was given.
        given: u16,
        /// Where it listens.
        elsewhere: Vec<SocketAddr>,
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
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
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
    /// for port 0.
    ///
    /// A command that is given its port in the variable PORT need not print that line: it is ready
    /// when it, or a process that it has started, listens there. That process is the server: it
    /// is the one that is read and sent signals.
    ///
    /// Nobody connects to find out whether it is ready.
    ///
    /// # Errors
    /// See [`StartError`]. No process is left behind.
    pub fn start(command: &mut Command) -> std::result::Result<Self, StartError> {
        let wire = Wire::new();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let (group, pipes) = Group::start(command).map_err(StartError::NotRun)?;
        let stdout_lines = Arc::new(Mutex::new(Vec::new()));
        let stderr_lines = Arc::new(Mutex::new(Tail::default()));
        let (sender, lines) = unbounded();
        let stdout = Drain::start(pipes.0, {
            let lines = Arc::clone(&stdout_lines);
            move |line: String| {
                // Once the server is ready nobody listens.
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

        let mut start = Start { group, lines, stdout_lines, stderr_lines, stderr: &stderr };
        let (id, address) = match given_port(command) {
            Some(port) => start.wait_until_it_listens(port)?,
            None => (start.group.id, start.wait_for_the_line()?),
        };
        let Start { group, stdout_lines, stderr_lines, .. } = start;
        wire.note("server", Kind::Begins, format!("process {id} listens on {address}"));
        let own = Some(Own { group, id, stdout_lines, stderr_lines });
        let process = Arc::new(Process { address, wire, own, names: Mutex::default() });
        wire::note_server(&process);
        Ok(Self { process, drains: Some(Drains { stdout, stderr }) })
    }

    /// A server that runs already, and goes on when this value is dropped. There is no process to
    /// read: every reading of it is an error of kind `Unsupported`, and so is a signal.
    pub fn at(address: SocketAddr) -> Self {
        let wire = Wire::new();
        wire.note("server", Kind::Begins, format!("runs already at {address}"));
        let process = Arc::new(Process { address, wire, own: None, names: Mutex::default() });
        wire::note_server(&process);
        Self { process, drains: None }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.process.address
    }

    /// The id of the process that listens.
    ///
    /// # Panics
    /// The server was not started here.
    pub fn pid(&self) -> i32 {
        self.process.id().expect("a server that was started here")
    }

    /// Connects a client.
    ///
    /// # Errors
    /// The connection was refused, or not completed within [`patience`].
    pub fn connect(&self, name: &str) -> Result<Client> {
        Client::connect(name, &self.process)
    }

    /// Begins to connect a client: the connection is complete when the kernel has room for it in the
    /// accept queue. Until then the client's first bytes wait.
    ///
    /// # Errors
    /// The connection was refused.
    pub fn begin_connect(&self, name: &str) -> Result<Client> {
        Client::begin_connect(name, &self.process)
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
        let read = || self.process.try_exit_status();
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
        self.process.wire.note("server", Kind::Signal, name_of_signal(signal));
        let sent = self.process.signal(signal);
        sent.map_err(|error| self.trouble("to take a signal", Cause::Io(error)))
    }

    /// Stops the process (SIGSTOP) and waits until each of its threads stands still (state T).
    ///
    /// # Errors
    /// It did not stop within [`patience`].
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)?;
        let states = || {
            let threads = self.process.id().and_then(kernel::threads)?;
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
        self.drains.iter_mut().for_each(|drains| drains.stdout.close());
    }

    /// Closes the pipe that the process logs to: from now on nobody reads it.
    pub fn close_stderr(&mut self) {
        self.drains.iter_mut().for_each(|drains| drains.stderr.close());
    }

    /// The lines on stdout so far, the `listening on` line among them.
    pub fn stdout(&self) -> Vec<String> {
        self.process.own.as_ref().map_or_else(Vec::new, |own| lock(&own.stdout_lines).clone())
    }

    /// All lines on stdout, waiting for the end of the pipe: a process that has ended can add none.
    ///
    /// # Errors
    /// The pipe did not end within [`patience`].
    pub fn stdout_to_end(&self) -> Result<Vec<String>> {
        let has_ended = || Ok(self.drains.as_ref().is_none_or(|drains| drains.stdout.has_ended()));
        self.wait_until("the end of its stdout", has_ended, |ended| *ended)?;
        Ok(self.stdout())
    }

    /// The last 40 lines on stderr.
    pub fn stderr(&self) -> Vec<String> {
        self.process.stderr()
    }

    /// The last 40 lines on stderr, waiting for the end of the pipe: a process that has ended can add
    /// none.
    ///
    /// # Errors
    /// The pipe did not end within [`patience`].
    pub fn stderr_to_end(&self) -> Result<Vec<String>> {
        let has_ended = || Ok(self.drains.as_ref().is_none_or(|drains| drains.stderr.has_ended()));
        self.wait_until("the end of its stderr", has_ended, |ended| *ended)?;
        Ok(self.stderr())
    }

    /// How many lines came on stderr so far.
    pub fn stderr_line_count(&self) -> usize {
        self.process.own.as_ref().map_or(0, |own| lock(&own.stderr_lines).count)
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
        self.reading("its threads", self.process.id().and_then(kernel::threads))
    }

    /// How many threads the process has.
    ///
    /// # Errors
    /// As [`Server::threads`].
    pub fn thread_count(&self) -> Result<usize> {
        self.reading("its threads", self.process.id().and_then(kernel::thread_count))
    }

    /// How many descriptors the process has open.
    ///
    /// # Errors
    /// As [`Server::threads`].
    pub fn descriptor_count(&self) -> Result<usize> {
        self.reading("its descriptors", self.process.id().and_then(kernel::descriptor_count))
    }

    /// How many sockets the process has open, listeners and all.
    ///
    /// # Errors
    /// As [`Server::threads`].
    pub fn socket_count(&self) -> Result<usize> {
        let sockets = self.process.id().and_then(kernel::socket_descriptors);
        let sockets = sockets.map(|sockets| sockets.len());
        self.reading("its sockets", sockets)
    }

    /// Processor time used so far, in clock ticks.
    ///
    /// # Errors
    /// As [`Server::threads`].
    pub fn cpu_ticks(&self) -> Result<u64> {
        self.reading("its processor time", self.process.id().and_then(kernel::cpu_ticks))
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
        self.reading("its memory", self.process.id().and_then(kernel::rss_bytes))
    }

    /// The most resident memory so far, in bytes.
    ///
    /// # Errors
    /// As [`Server::threads`].
    pub fn peak_rss_bytes(&self) -> Result<u64> {
        self.reading("its memory", self.process.id().and_then(kernel::peak_rss_bytes))
    }

    /// The limit on open descriptors that it runs under.
    ///
    /// # Errors
    /// As [`Server::threads`].
    pub fn descriptor_limit(&self) -> Result<Option<u64>> {
        self.reading("its limits", kernel::descriptor_limit(self.pid()))
    }

    /// Lets its address space grow by so many bytes from now on, and no more: whatever needs more
    /// fails, a new thread's stack before all. None lifts the limit.
    ///
    /// # Errors
    /// As [`Server::threads`].
    pub fn limit_growth(&self, bytes: Option<u64>) -> Result<()> {
        self.reading("its address space", kernel::limit_growth(self.pid(), bytes))
    }

    /// The rows of the kernel's table for the sockets that this process listens on; `rx_queue` is
    /// the number of connections not yet accepted.
    ///
    /// # Errors
    /// As [`Server::threads`].
    pub fn listeners(&self) -> Result<Vec<Socket>> {
        let read = || {
            let own = self.process.id().and_then(kernel::socket_descriptors)?;
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

    /// Whether it has not ended a client's connection, nor the client its own.
    ///
    /// # Errors
    /// As [`Server::threads`].
    pub fn is_connected(&self, client: &Client) -> Result<bool> {
        let is_open = |end: Option<Socket>| end.is_some_and(|end| end.established);
        // A single reading may miss a socket.
        Ok(is_open(self.end_of(client)?) || is_open(self.end_of(client)?))
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
        Box::new(Trouble { who, expected, cause, seen: Instant::now(), scene: self.scene() })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Clients may outlive the server.
        self.process.kill();
    }
}

impl Process {
    pub(crate) fn id(&self) -> io::Result<i32> {
        Ok(self.own()?.id)
    }

    fn own(&self) -> io::Result<&Own> {
        let missing = || {
            let reason = "the server was not started here: there is only its address";
            io::Error::new(io::ErrorKind::Unsupported, reason)
        };
        self.own.as_ref().ok_or_else(missing)
    }

    pub(crate) fn introduce(&self, name: &str, address: SocketAddr) {
        lock(&self.names).insert(address, name.to_owned());
    }

    /// The name of the client at `address`, or the address of a stranger.
    pub(crate) fn name_of(&self, address: SocketAddr) -> String {
        lock(&self.names).get(&address).cloned().unwrap_or_else(|| address.to_string())
    }

    pub(crate) fn scene(&self) -> Scene {
        let ticks = self.id().and_then(kernel::cpu_ticks).ok();
        let age = self.wire.age().as_secs_f64();
        let seconds =
            ticks.and_then(|ticks| Some(ticks as f64 / kernel::ticks_per_second()? as f64));
        if self.has_stopped_listening() {
            stuck::settle(self);
        }
        Scene {
            exit: self.exit_status(),
            threads: stuck::describe_threads(self),
            stderr: self.stderr(),
            load: seconds.map(|seconds| seconds / age),
        }
    }

    /// Whether nobody listens any more: the server's end may be near. The kernel closes its sockets
    /// before its parent hears of it.
    fn has_stopped_listening(&self) -> bool {
        let listens = |sockets: Vec<Socket>| sockets.iter().any(|socket| socket.listening);
        kernel::sockets(self.address.port()).is_ok_and(|it| !listens(it))
    }

    fn stderr(&self) -> Vec<String> {
        self.own.as_ref().map_or_else(Vec::new, |own| lock(&own.stderr_lines).last())
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let own = self.own()?;
        match Pid::from_raw(own.id) {
            // Its parent, which waits for it, is not we.
            Some(pid) if own.id != own.group.id => Ok(kill_process(pid, signal)?),
            _ => own.group.signal(signal),
        }
    }

    pub(crate) fn exit_status(&self) -> Option<ExitStatus> {
        // Waiting for a child of one's own fails only when somebody else waited for it.
        self.try_exit_status().ok().flatten()
    }

    fn try_exit_status(&self) -> io::Result<Option<ExitStatus>> {
        self.own()?.group.exit_status()
    }

    pub(crate) fn kill(&self) {
        let Some(own) = &self.own else { return };
        // What the leader has started may have gone into a group of its own.
        let family = match own.id == own.group.id {
            true => Vec::new(),
            false => own.group.family(),
        };
        for pid in family.into_iter().filter_map(Pid::from_raw) {
            // It may have ended by itself.
            let _ = kill_process(pid, Signal::KILL);
        }
        own.group.kill();
    }
}

/// A command that is to become a server.
struct Start<'d> {
    group: Group,
    lines: Receiver<String>,
    stdout_lines: Arc<Mutex<Vec<String>>>,
    stderr_lines: Arc<Mutex<Tail>>,
    stderr: &'d Drain,
}

impl Start<'_> {
    /// The first line on stdout says where it listens.
    fn wait_for_the_line(&mut self) -> std::result::Result<SocketAddr, StartError> {
        let line = match self.lines.recv_timeout(patience()) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => return Err(self.silent()),
            Err(RecvTimeoutError::Disconnected) => {
                let ended = |status: &Option<ExitStatus>| status.is_some();
                let Ok(Some(status)) = wait::until(|| self.group.exit_status(), ended) else {
                    return Err(self.silent());
                };
                return Err(self.ended(status));
            }
        };
        announced(&line).ok_or(StartError::OtherLine(line))
    }

    /// It, or a process that it has started, listens on `given`, or on another port that it has
    /// announced. Each line that it prints is progress.
    fn wait_until_it_listens(
        &mut self,
        given: u16,
    ) -> std::result::Result<(i32, SocketAddr), StartError> {
        let mut announced_address = None;
        let mut lines_before = 0;
        let mut last_line = Instant::now();
        loop {
            match self.lines.recv_timeout(SLICE) {
                Ok(line) => announced_address = announced(&line).or(announced_address),
                Err(RecvTimeoutError::Timeout) => {}
                // Only how often to look.
                Err(RecvTimeoutError::Disconnected) => thread::sleep(SLICE),
            }
            let listeners = match kernel::listeners_of(self.group.id) {
                Ok(listeners) => listeners,
                // Not Linux: then the line is all there is.
                Err(_) => announced_address.map(|it| (self.group.id, it)).into_iter().collect(),
            };
            let is_it = |&&(_, address): &&(i32, SocketAddr)| {
                let port = address.port();
                port == given || announced_address.is_some_and(|it| it.port() == port)
            };
            // Version 4 first: a listener of version 6 may take both, or be a second one.
            let mut found: Vec<_> = listeners.iter().filter(is_it).collect();
            found.sort_by_key(|(_, address)| address.is_ipv6());
            if let Some(&&(id, address)) = found.first() {
                return Ok((id, reachable(address)));
            }
            if let Ok(Some(status)) = self.group.exit_status() {
                return Err(self.ended(status));
            }
            let lines = lock(&self.stdout_lines).len() + lock(&self.stderr_lines).count;
            if lines > lines_before {
                (lines_before, last_line) = (lines, Instant::now());
            }
            if last_line.elapsed() > patience() {
                let elsewhere = listeners.into_iter().map(|(_, address)| address).collect();
                let stderr = lock(&self.stderr_lines).last();
                return Err(StartError::NoPort { given, elsewhere, stderr });
            }
        }
    }

    fn silent(&self) -> StartError {
        StartError::Silent { stderr: lock(&self.stderr_lines).last() }
    }

    fn ended(&self, status: ExitStatus) -> StartError {
        // Whoever inherited the pipe may hold it open: what is there by then must do.
        let _ = wait::until(|| Ok(self.stderr.has_ended()), |ended| *ended);
        let stdout = lock(&self.stdout_lines).clone();
        let stderr = lock(&self.stderr_lines).last();
        StartError::Ended(Output { status, stdout, stderr })
    }
}

/// The address that the line announces.
fn announced(line: &str) -> Option<SocketAddr> {
    line.strip_prefix("listening on ")?.trim_end().parse().ok()
}

/// The port that a command is given in the variable PORT.
fn given_port(command: &Command) -> Option<u16> {
    let (_, value) = command.get_envs().find(|(name, _)| *name == "PORT")?;
    value?.to_str()?.parse().ok()
}

/// Where a client on this machine reaches who listens on `address`.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn name_of_signal(signal: Signal) -> String {
    match signal {
        Signal::STOP => "SIGSTOP: it stands still".to_owned(),
        Signal::CONT => "SIGCONT: it goes on".to_owned(),
        Signal::INT => "SIGINT".to_owned(),
        Signal::TERM => "SIGTERM".to_owned(),
        other => format!("signal {}", other.as_raw()),
    }
}

impl StartError {
    /// What it leaves behind: its exit status and its last lines on stderr.
    pub fn scene(&self) -> Scene {
        match self {
            Self::NotRun(_) | Self::OtherLine(_) => Scene::default(),
            Self::Ended(Output { status, stderr, .. }) => {
                Scene { exit: Some(*status), stderr: stderr.clone(), ..Scene::default() }
            }
            Self::Silent { stderr } | Self::NoPort { stderr, .. } => {
                Scene { stderr: stderr.clone(), ..Scene::default() }
            }
        }
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
            Self::NoPort { given, elsewhere, .. } => {
                match elsewhere.as_slice() {
                    [] => write!(f, "it runs, but listens nowhere")?,
                    [one] => write!(f, "it listens on {one}")?,
                    all => write!(f, "it listens on {all:?}")?,
                }
                write!(f, ", not on port {given}, which {{port}} and the variable PORT gave it")
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
        guard::watch(id);
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

    /// What the leader has started and is running now; nobody once the leader has ended.
    fn family(&self) -> Vec<i32> {
        let mut leader = lock(&self.leader);
        match leader.try_wait() {
            Ok(None) => kernel::family(self.id).unwrap_or_default().split_off(1),
            _ => Vec::new(),
        }
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
        if running.remove(&self.id) {
            guard::forget(self.id);
        }
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
