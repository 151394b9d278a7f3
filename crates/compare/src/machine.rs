//! What the kernel says: of the machine, of a server, of both cores.

use std::iter::Sum;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fmt, fs, io};

use anyhow::{Context, bail};
use procfs::process::Process;
use procfs::{CpuInfo, Current, CurrentSI, KernelStats, Meminfo};
use rustix::process::{Resource, getrlimit, setrlimit};
use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};

use crate::format;
use crate::results::{Machine, Placement};

/// What the kernel says of a server and of both cores at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) at: Instant,
    /// Processor time of the server's processes.
    pub(crate) server_cpu: Duration,
    /// What the server's cores, all of them, and the generator's have done.
    pub(crate) server_core: CoreTime,
    pub(crate) generator_core: CoreTime,
    /// The server's anonymous memory: heap and stacks, without its code.
    pub(crate) memory: u64,
    pub(crate) threads: u64,
    /// What the kernel keeps for itself: objects, stacks, page tables.
    pub(crate) kernel_memory: u64,
}

/// What a core has done since the machine started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CoreTime {
    /// Nothing. The kernel measures this, whereas it only samples what the rest was spent on.
    pub(crate) idle: Duration,
    /// It ran processes, or the machine beneath this one ran something else.
    pub(crate) processes: Duration,
}

impl Machine {
    /// Reads what it says of itself. `open_files` is the limit that holds.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn read(open_files: u64) -> anyhow::Result<Self> {
        let info = CpuInfo::current().context("cannot read /proc/cpuinfo")?;
        let memory = Meminfo::current().context("cannot read /proc/meminfo")?.mem_total;
        let system = rustix::system::uname();
        Ok(Self {
            cpu: info.model_name(0).unwrap_or("unknown processor").to_owned(),
            cores: info.num_cores(),
            memory,
            kernel: format!(
                "{} {}",
                system.sysname().to_string_lossy(),
                system.release().to_string_lossy()
            ),
            congestion_control: fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control")
                .ok()
                .map(|name| name.trim().to_owned()),
            open_files,
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}, {}", self.cpu, format::many(self.cores, "core"), self.kernel)?;
        self.congestion_control.iter().try_for_each(|name| write!(f, ", TCP with {name}"))
    }
}

impl Reading {
    /// Reads about the server `pid` and its children; none if it is gone.
    pub(crate) fn take(pid: i32, place: &Place) -> Option<Self> {
        let stats = KernelStats::current().ok()?;
        let core = |number: usize| {
            let time = stats.cpu_time.get(number)?;
            Some(CoreTime {
                idle: Duration::from_millis(time.idle_ms() + time.iowait_ms().unwrap_or(0)),
                processes: Duration::from_millis(
                    time.user_ms()
                        + time.nice_ms()
                        + time.system_ms()
                        + time.steal_ms().unwrap_or(0),
                ),
            })
        };
        let kernel = Meminfo::current().ok()?;
        let mut reading = Self {
            at: Instant::now(),
            server_cpu: Duration::ZERO,
            server_core: place.server.iter().map(|&number| core(number)).sum::<Option<_>>()?,
            generator_core: core(place.generator)?,
            memory: 0,
            threads: 0,
            kernel_memory: kernel.slab
                + kernel.kernel_stack.unwrap_or(0)
                + kernel.page_tables.unwrap_or(0),
        };
        let tick = Duration::from_secs(1).div_f64(rustix::param::clock_ticks_per_second() as f64);
        for process in family(pid) {
            let Ok(status) = process.status() else { continue };
            let Ok(stat) = process.stat() else { continue };
            reading.server_cpu += tick.mul_f64((stat.utime + stat.stime) as f64);
            reading.memory += status.rssanon.unwrap_or(0) * 1024;
            reading.threads += status.threads;
        }
        (reading.threads > 0).then_some(reading)
    }

    /// The server's anonymous memory now, in bytes.
    pub(crate) fn memory(pid: i32) -> Option<u64> {
        let memory = |process: Process| process.status().ok()?.rssanon;
        let kib: u64 = family(pid).into_iter().filter_map(memory).sum();
        (kib > 0).then_some(kib * 1024)
    }
}

/// How often the threads of the server went to sleep of their own accord; so often were they woken.
pub(crate) fn wakeups(pid: i32) -> u64 {
    // The status of a process counts its first thread only.
    let tasks = family(pid).into_iter().filter_map(|process| process.tasks().ok()).flatten();
    tasks.flatten().filter_map(|task| task.status().ok()?.voluntary_ctxt_switches).sum()
}

/// The process `pid` and all that it started: a server may stand behind a shell or a launcher.
fn family(pid: i32) -> Vec<Process> {
    let mut family: Vec<_> = Process::new(pid).into_iter().collect();
    let mut next = 0;
    while let Some(parent) = family.get(next) {
        // What starts servers has one thread; what has thousands starts none.
        let children = parent.task_main_thread().and_then(|task| task.children());
        let children = children.unwrap_or_default().into_iter();
        let processes: Vec<_> = children.filter_map(|it| Process::new(it as i32).ok()).collect();
        family.extend(processes);
        next += 1;
    }
    family
}

impl Sum for CoreTime {
    fn sum<I: Iterator<Item = Self>>(times: I) -> Self {
        times.fold(Self { idle: Duration::ZERO, processes: Duration::ZERO }, |sum, it| Self {
            idle: sum.idle + it.idle,
            processes: sum.processes + it.processes,
        })
    }
}

/// The cores that there are for servers and generator.
#[derive(Clone, Debug)]
pub struct Cores {
    pub(crate) placement: Placement,
    /// All that this process may use, in order.
    allowed: Vec<usize>,
}

/// Who gets which cores in one measurement.
#[derive(Clone, Debug)]
pub struct Place {
    pub(crate) server: Vec<usize>,
    pub(crate) generator: usize,
}

impl Place {
    /// Whether the generator's core is one of the server's.
    pub(crate) fn is_shared(&self) -> bool {
        self.server.contains(&self.generator)
    }
}

impl Cores {
    /// The last core that this process may use for the server, the first for the generator.
    ///
    /// # Errors
    /// The kernel does not say which they are.
    pub fn choose() -> anyhow::Result<Self> {
        let allowed = sched_getaffinity(None).context("cannot ask for the cores")?;
        let allowed: Vec<_> = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).collect();
        let (Some(&generator), Some(&server)) = (allowed.first(), allowed.last()) else {
            bail!("there is no core to run on");
        };
        Ok(Self { placement: Placement { server, generator }, allowed })
    }

    /// How many cores a server gets that can use several: all but the generator's, and where that
    /// is one only, both. None where there is only one.
    pub(crate) fn several(&self) -> Option<usize> {
        match self.allowed.len() {
            0 | 1 => None,
            2 => Some(2),
            cores => Some(cores - 1),
        }
    }

    /// The places of a server that gets so many cores and of the generator; that has the server's, if
    /// it is to be on the same one.
    pub fn place(&self, cores: usize, is_same: bool) -> Place {
        let server = self.allowed[self.allowed.len().saturating_sub(cores)..].to_vec();
        let Placement { server: last, generator } = self.placement;
        Place { server, generator: if is_same { last } else { generator } }
    }

    /// Lets `start` start a server: it inherits the cores from this thread, and so do threads that
    /// it starts later and its own idea of how many cores there are. Afterwards all threads of
    /// this process leave the server's usual core, if there is another one.
    ///
    /// # Errors
    /// The kernel does not give the cores.
    pub fn place_server<T>(&self, place: &Place, start: impl FnOnce() -> T) -> io::Result<T> {
        sched_setaffinity(None, &set(&place.server))?;
        let started = start();
        let others = set(&self.allowed[..(self.allowed.len() - 1).max(1)]);
        let me = Process::myself().map_err(io::Error::other)?;
        for task in me.tasks().map_err(io::Error::other)?.flatten() {
            // A thread that has ended meanwhile needs no core.
            let _ = sched_setaffinity(Pid::from_raw(task.tid), &others);
        }
        Ok(started)
    }

    /// Gives this thread the generator's core.
    ///
    /// # Errors
    /// The kernel does not.
    pub fn place_generator(place: &Place) -> io::Result<()> {
        Ok(sched_setaffinity(None, &set(&[place.generator]))?)
    }
}

fn set(cores: &[usize]) -> CpuSet {
    let mut set = CpuSet::new();
    cores.iter().for_each(|&core| set.set(core));
    set
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

/// How much memory can be had without taking it from others, in bytes.
pub(crate) fn available_memory() -> u64 {
    Meminfo::current().ok().and_then(|memory| memory.mem_available).unwrap_or(u64::MAX)
}

/// The commit that is checked out in `root`, and whether files differ from it; none outside a
/// repository.
pub(crate) fn commit(root: &Path) -> Option<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(root)
        .args(["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"])
        .output()
        .ok()?;
    let commit = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !commit.is_empty()).then_some(commit)
}
