use std::io;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context;
use procfs::process::Process;
use procfs::{CpuInfo, Current, CurrentSI, KernelStats};
use rustix::process::{Resource, getrlimit, setrlimit};
use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};
use serde::Serialize;

/// Files that the generator has open beside its connections, with room to spare. The server has
/// fewer.
pub(crate) const OTHER_FILES: u64 = 64;

/// What the figures were taken on.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    /// The processor's name.
    pub(crate) cpu: String,
    /// How many cores there are.
    pub(crate) cores: usize,
    /// The kernel's name and version.
    pub(crate) kernel: String,
}

/// Which core does what.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Placement {
    /// The server's, all its threads.
    pub(crate) server: usize,
    /// The generator's one thread's. The same where there is one only.
    pub(crate) generator: usize,
    /// All that are not the server's, where there are any.
    #[serde(skip)]
    others: CpuSet,
}

/// What the kernel says of a server and of both cores at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) at: Instant,
    /// Processor time of the server's process.
    pub(crate) server_cpu: Duration,
    /// What the server's core and the generator's have done.
    pub(crate) server_core: CoreTime,
    pub(crate) generator_core: CoreTime,
    /// The server's anonymous memory: heap and stacks, without its code.
    pub(crate) memory: u64,
    pub(crate) threads: u64,
}

/// What a core has done since the machine started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CoreTime {
    /// Nothing. The kernel measures this, whereas it only samples what the rest was spent on.
    pub(crate) idle: Duration,
    /// It ran processes.
    pub(crate) processes: Duration,
}

impl Machine {
    pub(crate) fn read() -> anyhow::Result<Self> {
        let info = CpuInfo::current().context("cannot read /proc/cpuinfo")?;
        let system = rustix::system::uname();
        Ok(Self {
            cpu: info.model_name(0).unwrap_or("unknown processor").to_owned(),
            cores: info.num_cores(),
            kernel: format!(
                "{} {}",
                system.sysname().to_string_lossy(),
                system.release().to_string_lossy()
            ),
        })
    }
}

impl Placement {
    /// The last core that this process may use for the server, the first for the generator.
    pub(crate) fn choose() -> anyhow::Result<Self> {
        let allowed = sched_getaffinity(None).context("cannot ask for the cores")?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core));
        let generator = cores.next().context("there is no core to run on")?;
        let server = cores.next_back().unwrap_or(generator);
        let mut others = single(generator);
        cores.for_each(|core| others.set(core));
        Ok(Self { server, generator, others })
    }

    /// Whether the server has to share its core with the generator.
    pub(crate) fn is_shared(&self) -> bool {
        self.server == self.generator
    }

    /// Lets `start` start a server: it inherits the core from this thread, and so do threads that
    /// it starts later and its own idea of how many cores there are. Afterwards all threads of
    /// this process leave that core.
    pub(crate) fn place_server<T>(&self, start: impl FnOnce() -> T) -> io::Result<T> {
        sched_setaffinity(None, &single(self.server))?;
        let started = start();
        let me = Process::myself().map_err(io::Error::other)?;
        for task in me.tasks().map_err(io::Error::other)?.flatten() {
            // A thread that has ended meanwhile needs no core.
            let _ = sched_setaffinity(Pid::from_raw(task.tid), &self.others);
        }
        Ok(started)
    }

    /// Gives this thread the generator's core.
    pub(crate) fn place_generator(&self) -> io::Result<()> {
        Ok(sched_setaffinity(None, &single(self.generator))?)
    }
}

fn single(core: usize) -> CpuSet {
    let mut set = CpuSet::new();
    set.set(core);
    set
}

impl Reading {
    /// Reads about the server `pid`; none if it is gone.
    pub(crate) fn take(pid: i32, placement: Placement) -> Option<Self> {
        let status = Process::new(pid).ok()?.status().ok()?;
        let stats = KernelStats::current().ok()?;
        let core = |number: usize| {
            let time = stats.cpu_time.get(number)?;
            Some(CoreTime {
                idle: Duration::from_millis(time.idle_ms() + time.iowait_ms().unwrap_or(0)),
                processes: Duration::from_millis(
                    time.user_ms() + time.nice_ms() + time.system_ms(),
                ),
            })
        };
        let ticks = harness::kernel::cpu_ticks(pid).ok()?;
        Some(Self {
            at: Instant::now(),
            server_cpu: Duration::from_secs(1)
                .mul_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64),
            server_core: core(placement.server)?,
            generator_core: core(placement.generator)?,
            memory: status.rssanon? * 1024,
            threads: status.threads,
        })
    }
}

/// Raises the limit on open files as far as it may be raised, for this process and the servers
/// that it starts, and says what it is now.
pub(crate) fn raise_open_file_limit() -> anyhow::Result<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        setrlimit(Resource::Nofile, limit).context("cannot raise the limit on open files")?;
    }
    Ok(limit.current.unwrap_or(u64::MAX))
}

/// The commit that is checked out, and whether files differ from it; none outside a repository.
pub(crate) fn commit() -> Option<String> {
    let output = Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"])
        .output()
        .ok()?;
    let commit = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !commit.is_empty()).then_some(commit)
}
