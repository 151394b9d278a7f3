use std::ffi::OsString;
use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::{env, process};

use clap::builder::{PossibleValuesParser, StringValueParser, TypedValueParser};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

/// What a stage was told on its command line. A flag that the stage does not take has its default.
#[derive(Clone, Debug, PartialEq)]
pub struct Args {
    /// The address or name to listen on.
    pub host: String,
    /// The port to listen on; 0 is any free one.
    pub port: u16,
    /// Threads in the pool.
    pub workers: usize,
    /// Clients that may wait for a thread of the pool.
    pub max_waiting: usize,
    /// Who hears what a client sends.
    pub mode: Mode,
    /// The longest line, in bytes, its `\n` included.
    pub max_line: usize,
    /// How many bytes of lines a client may be behind before it is disconnected.
    pub max_backlog: usize,
    /// Threads that run the tasks.
    pub threads: usize,
    /// Whether a line `END` stops the server.
    pub client_may_end: bool,
    /// What becomes of a client that is more than `max_backlog` behind.
    pub policy: Policy,
}

/// Who hears what a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The client itself, byte for byte.
    Echo,
    /// Everyone else, line by line.
    Broadcast,
}

/// What becomes of a client that does not take what it is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Everyone waits for it.
    Block,
    /// Its queue grows.
    Grow,
    /// It loses lines.
    Drop,
    /// It is disconnected.
    Disconnect,
    /// Whoever speaks waits for it, and nobody else.
    Pause,
}

/// A flag that some stages take and others do not. `--host`, `--port` and `--verbose` are every
/// stage's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    /// `--workers N`
    Workers,
    /// `--max-waiting N`
    MaxWaiting,
    /// `--mode echo|broadcast`
    Mode,
    /// `--max-line BYTES`
    MaxLine,
    /// `--max-backlog BYTES`
    MaxBacklog,
    /// `--threads N`
    Threads,
    /// `--client-may-end`
    ClientMayEnd,
    /// `--policy block|grow|drop|disconnect|pause`
    Policy,
}

impl Args {
    /// Reads the command line of a stage that takes `flags` beside the common ones, and sets up
    /// its log. Bad arguments end the process with status 2 and the usage.
    pub fn parse(about: &'static str, flags: &[Flag]) -> Self {
        Self::parse_from(about, flags, env::args_os())
    }

    /// As [`Args::parse`], of these arguments; the first is the program's name.
    pub fn parse_from(
        about: &'static str,
        flags: &[Flag],
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Self {
        let mut command = command(about, flags);
        let matches = command.try_get_matches_from_mut(arguments).unwrap_or_else(|error| {
            // As `clap::Error::exit`, and with the usage after every error.
            let _ = error.print();
            if error.use_stderr() && !error.to_string().contains("Usage:") {
                let _ = writeln!(io::stderr(), "\n{}", command.render_usage());
            }
            process::exit(error.exit_code())
        });
        crate::log::init(matches.get_flag("verbose"));
        Self::from_matches(&matches)
    }

    /// What `TcpListener::bind` takes: the host and the port.
    pub fn address(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// The context of an error on binding [`Args::address`].
    pub fn cannot_listen(&self) -> String {
        format!("cannot listen on {}:{} (another --port may be free)", self.host, self.port)
    }

    fn from_matches(matches: &ArgMatches) -> Self {
        Self {
            host: value(matches, "host").unwrap_or_else(|| "127.0.0.1".to_owned()),
            port: value(matches, "port").unwrap_or(3000),
            workers: value::<u16>(matches, "workers").map_or(20, usize::from),
            max_waiting: value::<u16>(matches, "max-waiting").map_or(4096, usize::from),
            mode: match value::<String>(matches, "mode").as_deref() {
                Some("echo") => Mode::Echo,
                _ => Mode::Broadcast,
            },
            max_line: value(matches, "max-line").unwrap_or(64 * 1024),
            max_backlog: value(matches, "max-backlog").unwrap_or(16 * 1024 * 1024),
            threads: value::<u16>(matches, "threads").map_or_else(cores, usize::from),
            client_may_end: value(matches, "client-may-end").unwrap_or(false),
            policy: match value::<String>(matches, "policy").as_deref() {
                Some("block") => Policy::Block,
                Some("grow") => Policy::Grow,
                Some("drop") => Policy::Drop,
                Some("pause") => Policy::Pause,
                _ => Policy::Disconnect,
            },
        }
    }
}

fn command(about: &'static str, flags: &[Flag]) -> Command {
    Command::new("stage")
        .about(about)
        .arg(
            Arg::new("host")
                .long("host")
                .value_name("HOST")
                .help("Address to listen on [default: 127.0.0.1]"),
        )
        .arg(
            Arg::new("port")
                .long("port")
                .value_name("PORT")
                .value_parser(value_parser!(u16))
                .help("Port to listen on, 0 for any free one [default: 3000]"),
        )
        .arg(
            Arg::new("verbose")
                .long("verbose")
                .short('v')
                .action(ArgAction::SetTrue)
                .help("Log what the server does between the connections"),
        )
        .args(flags.iter().map(|&flag| argument(flag)))
}

fn argument(flag: Flag) -> Arg {
    match flag {
        Flag::Workers => Arg::new("workers")
            .long("workers")
            .value_name("N")
            .value_parser(value_parser!(u16).range(1..=1000))
            .help("Threads in the pool [default: 20]"),
        Flag::MaxWaiting => Arg::new("max-waiting")
            .long("max-waiting")
            .value_name("N")
            .value_parser(value_parser!(u16))
            .help("Clients that may wait for a worker; who comes then is refused [default: 4096]"),
        Flag::Mode => Arg::new("mode")
            .long("mode")
            .value_name("MODE")
            .value_parser(PossibleValuesParser::new(["echo", "broadcast"]))
            .help("Who hears a client: itself, or everyone else [default: broadcast]"),
        Flag::MaxLine => Arg::new("max-line")
            .long("max-line")
            .value_name("BYTES")
            .value_parser(bytes(1..=1 << 30))
            .help("Longest line, its end included; over it, the sender is closed [default: 65536]"),
        Flag::MaxBacklog => Arg::new("max-backlog")
            .long("max-backlog")
            .value_name("BYTES")
            .value_parser(bytes(0..=1 << 40))
            .help("How far a client may be behind before it is closed [default: 16777216]"),
        Flag::Threads => Arg::new("threads")
            .long("threads")
            .value_name("N")
            .value_parser(value_parser!(u16).range(1..=1000))
            .help("Threads that run the tasks [default: one for each core]"),
        Flag::ClientMayEnd => Arg::new("client-may-end")
            .long("client-may-end")
            .action(ArgAction::SetTrue)
            .help("Stop the server in order when a client sends the line END"),
        Flag::Policy => Arg::new("policy")
            .long("policy")
            .value_name("POLICY")
            .value_parser(PossibleValuesParser::new([
                "block",
                "grow",
                "drop",
                "disconnect",
                "pause",
            ]))
            .help("What becomes of a client that is too far behind [default: disconnect]"),
    }
}

/// Parses a number of bytes within `range`.
fn bytes(range: RangeInclusive<usize>) -> impl TypedValueParser<Value = usize> {
    StringValueParser::new().try_map(move |text| {
        let number = text.parse::<usize>().map_err(|error| error.to_string())?;
        if range.contains(&number) {
            Ok(number)
        } else {
            Err(format!("{number} is not in {}..={}", range.start(), range.end()))
        }
    })
}

/// The value given for `name`: none too where the stage does not take that flag.
fn value<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, name: &str) -> Option<T> {
    matches.try_get_one(name).ok().flatten().cloned()
}

/// How many cores this process may run on.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Flag; 8] = [
        Flag::Workers,
        Flag::MaxWaiting,
        Flag::Mode,
        Flag::MaxLine,
        Flag::MaxBacklog,
        Flag::Threads,
        Flag::ClientMayEnd,
        Flag::Policy,
    ];

    fn parse(flags: &[Flag], words: &str) -> Result<Args, clap::Error> {
        let words = std::iter::once("stage").chain(words.split_whitespace());
        Ok(Args::from_matches(&command("about", flags).try_get_matches_from(words)?))
    }

    #[test]
    fn without_arguments_everything_has_its_default() {
        let args = parse(&ALL, "").unwrap();
        assert_eq!(args.address(), ("127.0.0.1", 3000));
        assert_eq!((args.workers, args.max_waiting, args.mode), (20, 4096, Mode::Broadcast));
        assert_eq!((args.max_line, args.max_backlog), (65_536, 16_777_216));
        assert_eq!((args.threads, args.client_may_end), (cores(), false));
        assert_eq!(args.policy, Policy::Disconnect);
    }

    #[test]
    fn every_flag_is_taken() {
        let words = "--host ::1 --port 0 --workers 3 --max-waiting 0 --mode echo --max-line 9 --max-backlog 0 \
                     --threads 2 --client-may-end --policy pause";
        let args = parse(&ALL, words).unwrap();
        assert_eq!(args.address(), ("::1", 0));
        assert_eq!((args.workers, args.max_waiting, args.mode), (3, 0, Mode::Echo));
        assert_eq!((args.max_line, args.max_backlog), (9, 0));
        assert_eq!((args.threads, args.client_may_end), (2, true));
        assert_eq!(args.policy, Policy::Pause);
    }

    #[test]
    fn a_flag_that_the_stage_does_not_take_is_refused() {
        assert!(parse(&[], "--workers 3").is_err());
        assert_eq!(parse(&[], "").unwrap().workers, 20);
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for words in
            ["--port x", "--port 65536", "--workers 0", "--max-line 0", "--mode shout", "extra"]
        {
            assert!(parse(&ALL, words).is_err(), "{words}");
        }
    }
}
