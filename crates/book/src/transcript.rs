//! Transcripts: what several people type in several terminals, and what they see.
//!
//! A fenced block with the info string `transcript`. Each line begins with who it belongs to:
//!
//! ```text
//! server$ cargo run -p stage-01       starts a server, on port 3000 for the reader
//! server: listening on 127.0.0.1:3000 a line that it prints, on stdout or stderr
//! server: (asleep in recv on a)       what the kernel says that its threads do
//! server$ ^C                          SIGINT
//! server: (gone)                      the process has ended
//! a$ nc 127.0.0.1 3000                connects client a; so does cargo run -p client [-- FLAGS]
//! a$ yes 'a line' | head -c 64M | nc 127.0.0.1 3000      … and says so much, or says it for ever
//! a$ nc 127.0.0.1 3000 >/dev/null     connects, and shows nothing of what comes
//! a> hello                            types a line; an empty one lets a --slow client read
//! a: hello                            a line that a sees
//! a: ...                              lines that a sees and that are not shown
//! a: (nothing)                        nothing comes, and nothing will until somebody acts
//! a: (end)                            the end of what a is sent, in order
//! a: (reset)                          the same by a reset
//! a$ ^D                               the end of a's input: nc half-closes, the client leaves
//! a$ ^C                               a is gone at once
//! look$ cargo xtask look              looks at the server from outside
//! look: 1 asleep in recv              what is seen there, in any order
//! ```
//!
//! `[..]` in a line of the server, or of what is seen of it, stands for anything.
//! What stands after a `#` between spaces is for the reader. Ports from 50000 on stand for any
//! port, each for the same one throughout a transcript.
//!
//! Clients show every line that comes, in order; one that the transcript does not show is a
//! mismatch, as long as the server lives. Of what a server prints, any part may be shown, in order.

use std::fmt;

use crate::programs::{Invocation, Program};

/// One transcript.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transcript {
    /// Its lines, without those that are only for the reader.
    pub lines: Vec<Line>,
}

/// One line of a transcript.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number in the file.
    pub number: usize,
    /// The line as it stands there.
    pub source: String,
    /// What it says.
    pub step: Step,
}

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Somebody starts a server.
    Start(Invocation),
    /// The server prints this line.
    Prints(String),
    /// The server's threads sleep in this: `asleep in recv on a`.
    Asleep(String),
    /// Somebody interrupts the server.
    Interrupt,
    /// The server's process has ended.
    Gone,
    /// Somebody looks at the server from outside.
    Look,
    /// What is seen there.
    Shows(String),
    /// A client does or sees something.
    Client(String, Event),
}

/// What a client does or sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It connects.
    Connects(Terminal),
    /// It types a line.
    Types(String),
    /// Its input ends.
    EndsInput,
    /// It is gone.
    Quits,
    /// It sees this line.
    Sees(String),
    /// It sees lines that are not shown.
    SeesMore,
    /// It sees nothing.
    SeesNothing,
    /// It sees the end of what it is sent, in order.
    SeesEnd,
    /// Its connection is reset.
    SeesReset,
}

/// What a client's terminal runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terminal {
    /// What is piped into it; none if somebody types.
    pub input: Option<Input>,
    /// What it does at the end of its input.
    pub at_end: AtEnd,
    /// Whether it reads nothing before an empty line was typed.
    pub slow: bool,
    /// How many bytes it sends in a segment, if that is limited.
    pub fragment: Option<usize>,
    /// Whether it throws away what it sees.
    pub discards: bool,
}

/// A line, again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The line.
    pub line: String,
    /// How many bytes of it; none: without end.
    pub bytes: Option<usize>,
}

/// What a client does at the end of its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtEnd {
    /// It says so (FIN), and reads on.
    HalfClose,
    /// It closes its connection.
    Close,
    /// It resets its connection.
    Reset,
}

/// A line that is none of a transcript's.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Its number in the file.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

impl Transcript {
    /// Parses a block that begins at the line `first` of its file.
    ///
    /// # Errors
    /// A line is none of a transcript's.
    pub fn parse(text: &str, first: usize) -> Result<Self, Malformed> {
        let mut lines = Vec::new();
        for (number, source) in (first..).zip(text.lines()) {
            let parts = Parts::of(source);
            if parts.is_empty() {
                continue;
            }
            let step = parts.step().map_err(|what| Malformed { line: number, what })?;
            lines.push(Line { number, source: source.to_owned(), step });
        }
        Ok(Self { lines })
    }
}

/// A line taken apart, as far as that is possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts<'a> {
    /// Whose line it is.
    pub who: &'a str,
    /// What it does.
    pub sign: Option<Sign>,
    /// What is typed or seen.
    pub text: &'a str,
    /// What is for the reader, from the spaces before its `#` on.
    pub comment: &'a str,
}

/// Whether a line is typed, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// `$`: typed at the shell's prompt, or a key that the terminal knows.
    Command,
    /// `>`: typed into the program.
    Input,
    /// `:`: seen.
    Output,
}

impl<'a> Parts<'a> {
    /// Takes a line apart. One without a sign has only a text.
    pub fn of(line: &'a str) -> Self {
        let mut line = line.trim_end();
        let mut comment = "";
        // After spaces, or at the beginning.
        let is_comment = |&(at, _): &(usize, &str)| {
            let before = line[..at].chars().next_back();
            let after = line[at + 1..].chars().next();
            before.is_none_or(char::is_whitespace) && after.is_none_or(char::is_whitespace)
        };
        if let Some((at, _)) = line.match_indices('#').find(is_comment) {
            let text = line[..at].trim_end().len();
            (line, comment) = line.split_at(text);
        }
        let name = line.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(line.len());
        let (who, rest) = line.split_at(name);
        let sign = match rest.chars().next() {
            Some('$') => Some(Sign::Command),
            Some('>') => Some(Sign::Input),
            Some(':') => Some(Sign::Output),
            _ => None,
        };
        let text = rest.get(1..).unwrap_or_default();
        match sign {
            Some(_) if !who.is_empty() && (text.is_empty() || text.starts_with(' ')) => {
                Self { who, sign, text: text.get(1..).unwrap_or_default(), comment }
            }
            _ => Self { who: "", sign: None, text: line, comment },
        }
    }

    fn is_empty(&self) -> bool {
        self.sign.is_none() && self.text.is_empty()
    }

    fn step(&self) -> Result<Step, String> {
        let Self { who, sign, text, .. } = *self;
        let sign = sign.ok_or("it begins with nobody's name")?;
        // What somebody typed keeps its spaces.
        let text = if sign == Sign::Command { text.trim() } else { text };
        let client = |event| Ok(Step::Client(who.to_owned(), event));
        let evidence = text.strip_prefix('(').and_then(|text| text.strip_suffix(')'));
        match (who, sign, text, evidence) {
            ("server", Sign::Command, "^C", _) => Ok(Step::Interrupt),
            ("server", Sign::Command, command, _) => Ok(Step::Start(server(command)?)),
            ("server", Sign::Input, ..) => Err("nobody types into a server".to_owned()),
            ("server", Sign::Output, _, Some("gone")) => Ok(Step::Gone),
            ("server", Sign::Output, _, Some(calls)) if calls.contains("asleep in ") => {
                Ok(Step::Asleep(calls.to_owned()))
            }
            ("server", Sign::Output, line, _) => Ok(Step::Prints(line.to_owned())),
            ("look", Sign::Command, "cargo xtask look", _) => Ok(Step::Look),
            ("look", Sign::Output, line, _) => Ok(Step::Shows(line.to_owned())),
            ("look", ..) => Err("`look$` runs `cargo xtask look` and nothing else".to_owned()),
            (_, Sign::Command, "^D", _) => client(Event::EndsInput),
            (_, Sign::Command, "^C", _) => client(Event::Quits),
            (_, Sign::Command, command, _) => client(Event::Connects(terminal(command)?)),
            (_, Sign::Input, line, _) => client(Event::Types(line.to_owned())),
            (_, Sign::Output, _, Some("nothing")) => client(Event::SeesNothing),
            (_, Sign::Output, _, Some("end")) => client(Event::SeesEnd),
            (_, Sign::Output, _, Some("reset")) => client(Event::SeesReset),
            (_, Sign::Output, "..." | "…", _) => client(Event::SeesMore),
            (_, Sign::Output, line, _) => client(Event::Sees(line.to_owned())),
        }
    }
}

fn server(command: &str) -> Result<Invocation, String> {
    let invocation = Invocation::parse(command)?;
    match invocation.arguments.iter().any(|argument| argument.starts_with("--port")) {
        true => Err("servers in transcripts listen on port 3000, without `--port`".to_owned()),
        false => Ok(invocation),
    }
}

fn terminal(command: &str) -> Result<Terminal, String> {
    let (command, discards) = match command.strip_suffix(">/dev/null") {
        Some(command) => (command.trim(), true),
        None => (command, false),
    };
    let mut pipeline: Vec<_> = command.split('|').map(str::trim).collect();
    let program = pipeline.pop().unwrap_or_default();
    let input = match pipeline.as_slice() {
        [] => None,
        [yes] => Some(Input { line: said_by_yes(yes)?, bytes: None }),
        [yes, head] => Some(Input { line: said_by_yes(yes)?, bytes: Some(head_bytes(head)?) }),
        _ => return Err(unknown_client(command)),
    };
    let is_typed = input.is_none();
    let words: Vec<_> = program.split_whitespace().collect();
    let at_end = AtEnd::HalfClose;
    let mut terminal = Terminal { input, at_end, slow: false, fragment: None, discards };
    if let ["nc", "127.0.0.1" | "localhost", "3000"]
    | ["nc", "-N", "127.0.0.1" | "localhost", "3000"] = words.as_slice()
    {
        return Ok(terminal);
    }
    let client = Program::Binary { package: "client".to_owned() };
    let mut flags = match Invocation::parse(program) {
        Ok(invocation) if invocation.program == client => invocation.arguments.into_iter(),
        _ => return Err(unknown_client(command)),
    };
    if is_typed {
        terminal.at_end = AtEnd::Close;
    }
    while let Some(flag) = flags.next() {
        match flag.as_str() {
            "--slow" => terminal.slow = true,
            "--reset" => terminal.at_end = AtEnd::Reset,
            "--half-close" => terminal.at_end = AtEnd::HalfClose,
            "--fragment" => {
                let bytes = flags.next().and_then(|bytes| bytes.parse().ok());
                terminal.fragment = Some(bytes.ok_or("--fragment takes a number of bytes")?);
            }
            _ => return Err(format!("transcripts do not know the client's flag {flag}")),
        }
    }
    Ok(terminal)
}

fn unknown_client(command: &str) -> String {
    format!(
        "`{command}`: clients are `[yes 'LINE' | [head -c SIZE |]] nc [-N] 127.0.0.1 3000` and \
         `… cargo run -p client [-- FLAGS]`, with `>/dev/null` at the end or without"
    )
}

/// What `yes LINE` prints again and again.
fn said_by_yes(command: &str) -> Result<String, String> {
    let words = command.strip_prefix("yes").ok_or_else(|| unknown_client(command))?.trim();
    Ok(match words.trim_matches(['\'', '"']) {
        "" => "y\n".to_owned(),
        words => words.to_owned() + "\n",
    })
}

/// How much `head -c SIZE` lets through.
fn head_bytes(command: &str) -> Result<usize, String> {
    let size = command.strip_prefix("head -c").ok_or_else(|| unknown_client(command))?.trim();
    let digits = size.trim_end_matches(['K', 'M']);
    let unit = match &size[digits.len()..] {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        _ => return Err(unknown_client(command)),
    };
    let number: Option<usize> = digits.parse().ok();
    number.and_then(|number| number.checked_mul(unit)).ok_or_else(|| unknown_client(command))
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Malformed {}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(line: &str) -> Result<Step, String> {
        Parts::of(line).step()
    }

    fn client(line: &str) -> Event {
        match step(line).unwrap() {
            Step::Client(_, event) => event,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn who_does_what_is_told_by_the_sign() {
        assert_eq!(client("a> hello  you"), Event::Types("hello  you".to_owned()));
        assert_eq!(client("a: hello"), Event::Sees("hello".to_owned()));
        assert_eq!(client("a>"), Event::Types(String::new()));
        assert_eq!(client("a$ ^D"), Event::EndsInput);
        assert_eq!(client("a: (nothing)"), Event::SeesNothing);
        assert_eq!(step("server: (gone)"), Ok(Step::Gone));
        assert_eq!(step("server$ ^C"), Ok(Step::Interrupt));
        assert_eq!(step("look$ cargo xtask look"), Ok(Step::Look));
        assert_eq!(step("look:   1 x"), Ok(Step::Shows("  1 x".to_owned())));
        let asleep = "20 asleep in recv, 1 in accept".to_owned();
        assert_eq!(step("server: (20 asleep in recv, 1 in accept)"), Ok(Step::Asleep(asleep)));
        let error = "OSError: [Errno 9] Bad file descriptor";
        assert_eq!(step(&format!("server: {error}")), Ok(Step::Prints(error.to_owned())));
    }

    #[test]
    fn what_is_for_the_reader_is_left_out() {
        assert_eq!(client("c$ ^C          # c leaves"), Event::Quits);
        assert_eq!(client("a> number #1 and a#b"), Event::Types("number #1 and a#b".to_owned()));
        let transcript = Transcript::parse("# only this\n\na> x\n", 7).unwrap();
        assert_eq!(transcript.lines.len(), 1);
        assert_eq!(transcript.lines[0].number, 9);
    }

    #[test]
    fn clients_are_told_by_their_command() {
        let at_end = AtEnd::HalfClose;
        let nc = Terminal { input: None, at_end, slow: false, fragment: None, discards: false };
        assert_eq!(terminal("nc 127.0.0.1 3000"), Ok(nc.clone()));
        let deaf = Terminal { discards: true, ..nc.clone() };
        assert_eq!(terminal("nc -N 127.0.0.1 3000 >/dev/null"), Ok(deaf));
        assert_eq!(terminal("nc -N 127.0.0.1 3000"), Ok(nc.clone()));
        let typed = Terminal { at_end: AtEnd::Close, ..nc.clone() };
        assert_eq!(terminal("cargo run -p client"), Ok(typed.clone()));
        let slow = Terminal { slow: true, fragment: Some(1), ..typed };
        assert_eq!(terminal("cargo run -p client -- --slow --fragment 1"), Ok(slow));
        let input = |bytes| Some(Input { line: "a line\n".to_owned(), bytes });
        let endless = Terminal { input: input(None), ..nc.clone() };
        assert_eq!(terminal("yes 'a line' | cargo run -p client"), Ok(endless));
        let much = Terminal { input: input(Some(64 << 20)), ..nc };
        assert_eq!(terminal("yes 'a line' | head -c 64M | nc 127.0.0.1 3000"), Ok(much));
    }

    #[test]
    fn what_cannot_be_replayed_is_refused() {
        for line in [
            "no sign",
            "server> typed",
            "look$ ls",
            "server$ cargo run -p stage-01 -- --port 4000",
            "a$ telnet 127.0.0.1 3000",
            "a$ nc 127.0.0.1 4000",
            "a$ cat file | nc 127.0.0.1 3000",
            "a$ cargo run -p client -- --port 4000",
        ] {
            assert!(step(line).is_err(), "{line}");
        }
    }
}
