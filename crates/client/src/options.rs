use std::io::{self, IsTerminal, Write};
use std::{env, process};

use clap::builder::RangedU64ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

/// What the client was told on its command line.
#[derive(Debug, PartialEq)]
pub struct Options {
    pub host: String,
    pub port: u16,
    /// The most bytes to send in one segment.
    pub fragment: Option<usize>,
    /// Whether to leave what arrives unread until Enter is pressed.
    pub slow: bool,
    /// What to do at the end of input.
    pub leave: Leave,
}

/// How to leave at the end of input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Leave {
    /// At once: who sits at a terminal has seen what came and wants the prompt back.
    Close,
    /// Send no more, but read on until the server closes. Nobody else can tell when everything
    /// that it owes has arrived, so that a pipe gets the whole answer only this way.
    HalfClose,
    /// At once, without the courtesy: the server sees an error instead of an end.
    Reset,
}

impl Options {
    /// Reads the command line. Bad arguments end the process with status 2 and the usage.
    pub fn parse() -> Self {
        let mut command = command();
        let matches = command.try_get_matches_from_mut(env::args_os()).unwrap_or_else(|error| {
            // As `clap::Error::exit`, and with the usage after every error.
            let _ = error.print();
            if error.use_stderr() && !error.to_string().contains("Usage:") {
                let _ = writeln!(io::stderr(), "\n{}", command.render_usage());
            }
            process::exit(error.exit_code())
        });
        Self::from_matches(&matches, io::stdin().is_terminal())
    }

    fn from_matches(matches: &ArgMatches, typed: bool) -> Self {
        let leave = match (matches.get_flag("reset"), matches.get_flag("half-close")) {
            (true, _) => Leave::Reset,
            (_, false) if typed => Leave::Close,
            _ => Leave::HalfClose,
        };
        Self {
            host: matches.get_one("host").cloned().unwrap_or_else(|| "127.0.0.1".to_owned()),
            port: matches.get_one("port").copied().unwrap_or(3000),
            fragment: matches.get_one("fragment").copied(),
            slow: matches.get_flag("slow"),
            leave,
        }
    }
}

fn command() -> Command {
    let flag = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
    Command::new("client")
        .about("Sends what is typed and prints what arrives")
        .arg(
            Arg::new("host")
                .long("host")
                .value_name("HOST")
                .help("Address of the server [default: 127.0.0.1]"),
        )
        .arg(
            Arg::new("port")
                .long("port")
                .value_name("PORT")
                .value_parser(value_parser!(u16).range(1..))
                .help("Port of the server [default: 3000]"),
        )
        .arg(
            Arg::new("fragment")
                .long("fragment")
                .value_name("N")
                .value_parser(RangedU64ValueParser::<usize>::new().range(1..))
                .help("Send N bytes a segment, with a short pause after each"),
        )
        .arg(flag("slow").help("Do not read until Enter is pressed on an empty line"))
        .arg(
            flag("half-close")
                .conflicts_with("reset")
                .help("At the end of input stop sending, and read until the server closes"),
        )
        .arg(flag("reset").help("At the end of input leave by a reset (RST)"))
        .after_help(
            "At the end of input (Ctrl-D at a terminal, Ctrl-Z and Enter on Windows) the client \
             leaves.\nAt a terminal it closes at once. With input from a pipe or file it does as \
             with\n--half-close, or it would miss what is still on its way.",
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str, typed: bool) -> Result<Options, clap::Error> {
        let words = std::iter::once("client").chain(words.split_whitespace());
        Ok(Options::from_matches(&command().try_get_matches_from(words)?, typed))
    }

    #[test]
    fn without_arguments_everything_has_its_default() {
        let options = parse("", true).unwrap();
        assert_eq!((options.host.as_str(), options.port), ("127.0.0.1", 3000));
        assert_eq!((options.fragment, options.slow), (None, false));
    }

    #[test]
    fn leaves_at_once_only_when_typed_at() {
        for (words, typed, leave) in [
            ("", true, Leave::Close),
            ("", false, Leave::HalfClose),
            ("--half-close", true, Leave::HalfClose),
            ("--half-close", false, Leave::HalfClose),
            ("--reset", true, Leave::Reset),
            ("--reset", false, Leave::Reset),
        ] {
            assert_eq!(parse(words, typed).unwrap().leave, leave, "{words:?}, typed: {typed}");
        }
    }

    #[test]
    fn bad_arguments_are_refused() {
        for words in
            ["--port 0", "--port x", "--fragment 0", "--fragment", "3000", "--reset --half-close"]
        {
            assert!(parse(words, true).is_err(), "{words}");
        }
    }
}
