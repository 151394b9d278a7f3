use std::collections::VecDeque;
use std::num::NonZero;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use conformance::{Case, Examined, Subject, Target, Verdict, examine};
use harness::kernel::{self, Socket};

use crate::{Report, Row, ServerReport};

/// A server to be judged.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its name in the report: `stage-05`, or the command.
    pub name: String,
    /// What it is judged as: `stage-05`, `good`.
    pub expect: String,
    /// How it is started, and what is expected of it.
    pub subject: Subject,
}

impl Server {
    /// What it is judged as, in words, if that is not what it is.
    pub fn judged_as(&self) -> Option<&str> {
        match self.expect.as_str() {
            "good" => Some("a server without flaws"),
            other => (other != self.name).then_some(other),
        }
    }
}

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The cases, in the order of the report.
    pub cases: Vec<&'static Case>,
    /// All that is random follows from it.
    pub seed: u64,
    /// How often each case is run, each time with the next seed. It stops at the first round that
    /// is not as expected.
    pub repeat: u64,
}

/// Runs each case of the plan against each of the servers. `tell` is told of each that is done, by
/// the server's place and its row.
///
/// As many cases run at a time as there are cores; those that measure run alone, and so do those
/// against a server that runs already, since all its clients are in one room. What is not as
/// expected is run once more, only to say whether it is so every time.
pub fn run(plan: &Plan, servers: &[Server], tell: impl Fn(usize, &Row) + Sync) -> Report {
    let begin = Instant::now();
    let all = |alone: bool| {
        let of_server = move |server: usize| {
            let shared = matches!(servers[server].subject.target, Target::Address(_));
            let cases = plan.cases.iter().filter(move |case| (case.alone || shared) == alone);
            cases.map(move |case| (server, *case))
        };
        (0..servers.len()).flat_map(of_server).collect::<VecDeque<_>>()
    };
    let examine = |(server, case): (usize, &'static Case)| {
        let row = row(plan, case, &servers[server].subject);
        tell(server, &row);
        (server, row)
    };
    let together = Mutex::new(all(false));
    let next = || together.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let mut done: Vec<(usize, Row)> = thread::scope(|scope| {
        let work = || std::iter::from_fn(next).map(examine).collect::<Vec<_>>();
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        let join = |worker: thread::ScopedJoinHandle<'_, _>| match worker.join() {
            Ok(rows) => rows,
            // A case that panics is a fault of the harness: it must not look like a verdict.
            Err(panic) => std::panic::resume_unwind(panic),
        };
        workers.into_iter().flat_map(join).collect()
    });
    done.extend(all(true).into_iter().map(examine));

    let place = |row: &Row| plan.cases.iter().position(|case| case.id == row.case.id);
    done.sort_by_key(|(server, row)| (*server, place(row)));
    let mut reports: Vec<_> = servers
        .iter()
        .map(|server| ServerReport { server: server.clone(), rows: Vec::new() })
        .collect();
    for (server, row) in done {
        reports[server].rows.push(row);
    }
    Report { servers: reports, seed: plan.seed, took: begin.elapsed() }
}

/// Runs one case as often as the plan says.
fn row(plan: &Plan, case: &'static Case, subject: &Subject) -> Row {
    let rounds = (0..plan.repeat).map(|round| plan.seed.wrapping_add(round));
    let mut last = None;
    let examine = |seed| {
        wait_until_empty(subject);
        examine(case, subject, seed)
    };
    for seed in rounds {
        let examined = examine(seed);
        let stops = !examined.verdict.is_as_expected()
            || matches!(examined.verdict, Verdict::NotApplicable(_));
        last = Some((seed, examined));
        if stops {
            break;
        }
    }
    let (seed, examined) = last.unwrap_or_else(|| (plan.seed, examine(plan.seed)));
    let again = match examined.verdict.is_as_expected() {
        true => None,
        false => Some(examine(seed).verdict.word()),
    };
    let mode = subject.mode_for(case).ok();
    let Examined { verdict, symptom, logs, took } = examined;
    Row { case, mode, verdict, symptom, again, seed, took, logs }
}

/// A server that runs already may still be busy with the clients of the case before: what they have
/// said must not be heard in the next one. Where the kernel cannot tell, or others are connected,
/// some time has to do.
fn wait_until_empty(subject: &Subject) {
    let Target::Address(address) = subject.target else { return };
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(1) {
        let is_connection = |row: &Socket| row.local == address && !row.listening;
        match kernel::sockets(address.port()) {
            Ok(rows) if address.ip().is_loopback() && !rows.iter().any(is_connection) => return,
            _ => thread::sleep(Duration::from_millis(5)),
        }
    }
}
