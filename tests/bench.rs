use std::cell::{Cell, RefCell};
use std::process::Command;

use harness::{Cause, Client, Server, play};

use crate::{Mode, Problem, Reach, Require, Subject, Target};

/// Where a case meets its server: it starts it in the right mode, and knows what it means there
/// that a client is served.
pub struct Bench<'s> {
    subject: &'s Subject,
    mode: Mode,
    rng: RefCell<fastrand::Rng>,
    lines: Cell<usize>,
}

impl<'s> Bench<'s> {
    /// A bench for one run of one case. All that is random in it follows from `seed`.
    pub fn new(subject: &'s Subject, mode: Mode, seed: u64) -> Self {
        let rng = RefCell::new(fastrand::Rng::with_seed(seed));
        Self { subject, mode, rng, lines: Cell::new(0) }
    }

    /// The mode that the server runs in.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether a signal stops the server in order, with exit status 0.
    pub fn stops_in_order(&self) -> bool {
        self.subject.profile.stops_in_order
    }

    /// Whether the server is held to the letter of what our own print and log. Others may say it in
    /// other words, or not at all.
    pub fn is_ours(&self) -> bool {
        self.subject.target.reach() == Reach::Flags
    }

    /// The command that starts the server on `port`, 0 for any free one.
    pub fn command(&self, port: u16) -> Command {
        self.subject.command(self.mode, port)
    }

    /// The server's program without any of our flags.
    pub fn bare_command(&self) -> Command {
        self.subject.bare_command()
    }

    /// Starts the server, unless it runs already.
    ///
    /// # Errors
    /// It did not start: a failure.
    pub fn start(&self) -> Result<Server, Box<Problem>> {
        self.start_with(&[])
    }

    /// Starts the server with more arguments.
    ///
    /// # Errors
    /// As [`Bench::start`].
    pub fn start_with(&self, arguments: &[&str]) -> Result<Server, Box<Problem>> {
        match self.subject.target {
            Target::Address(address) => Ok(Server::at(address)),
            _ => Ok(Server::start(self.command(0).args(arguments))?),
        }
    }

    /// Starts the server under limits of the shell, for example `ulimit -n 40`.
    ///
    /// # Errors
    /// As [`Bench::start`].
    pub fn start_limited(&self, limits: &str) -> Result<Server, Box<Problem>> {
        Ok(Server::start(&mut harness::limited(limits, &self.command(0)))?)
    }

    /// `length` bytes of any value.
    pub fn random_bytes(&self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.rng.borrow_mut().fill(&mut bytes);
        bytes
    }

    /// A generator of its own for this purpose, so that what others draw does not change it.
    pub fn rng(&self) -> fastrand::Rng {
        self.rng.borrow_mut().fork()
    }

    /// How many further connections it takes until a client is served.
    pub fn helpers(&self) -> usize {
        self.subject.profile.helpers
    }

    /// Requires that `client` is served: in echo mode it hears itself, with the helpers that the
    /// server needs; in broadcast mode it hears an observer, who comes for that and leaves again,
    /// and the observer hears it. Whoever else is connected to a broadcast hears both, too.
    ///
    /// # Errors
    /// It is not.
    pub fn serve(&self, server: &Server, client: &mut Client) -> Result<(), Box<Problem>> {
        match self.mode {
            Mode::Echo => {
                let line = self.line(client.name());
                client.send(&line)?;
                self.expect_with_help(server, client, &line)?;
            }
            Mode::Broadcast => {
                let mut observer = server.connect("observer")?;
                self.introduce(client, &mut observer)?;
                let line = self.line(client.name());
                client.send(&line)?;
                observer.expect(&line).require("a line is heard by the others")?;
            }
        }
        Ok(())
    }

    /// Connects a client who does not read, and has so much sent to it that the kernel cannot take
    /// it all: in echo mode by that client itself, else by a second one, which is returned too. It
    /// is less than a server must be ready to keep for a client that is behind.
    ///
    /// # Errors
    /// That was not reached: inconclusive.
    pub fn slow_reader(&self, server: &Server) -> Result<(Client, Option<Client>), Box<Problem>> {
        let lines = [&[b'x'; 1023], b"\n".as_slice()].concat().repeat(12 * 1024);
        let fill = || -> Result<_, Box<Problem>> {
            let clients = match self.mode {
                Mode::Echo => {
                    let mut slow = server.connect("slow")?;
                    slow.fill(&lines)?;
                    // The server has begun to answer. Nobody reads the rest.
                    self.expect_with_help(server, &mut slow, &lines[..1])?;
                    (slow, None)
                }
                Mode::Broadcast => {
                    let [slow, mut sender] = self.room(server, ["slow", "sender"])?;
                    sender.fill(&lines)?;
                    (slow, Some(sender))
                }
            };
            // A server that needs helpers has no more to say until the next ones come: all of it
            // has arrived, and stands unread in the slow client's own queue.
            if self.subject.profile.helpers == 0 {
                // A connection that the kernel does not know has nothing queued.
                let queued =
                    || Ok(server.end_of(&clients.0).ok().flatten().map_or(0, |end| end.tx_queue));
                server.wait_until("output to wait in the kernel", queued, |bytes| *bytes > 0)?;
            }
            Ok(clients)
        };
        fill().precondition("a client has output queued that it does not read")
    }

    /// Waits until `client` hears `bytes`, while as many helpers connect as the server needs for
    /// that; they leave again. Most servers need none: then it is `client.expect(bytes)`.
    ///
    /// # Errors
    /// The client hears something else, or nothing.
    pub fn expect_with_help(
        &self,
        server: &Server,
        client: &mut Client,
        bytes: &[u8],
    ) -> Result<(), Box<Problem>> {
        let helpers = (1..=self.helpers())
            .map(|number| server.connect(&format!("helper {number}")))
            .collect::<Result<Vec<_>, _>>()?;
        client.expect(bytes)?;
        helpers.into_iter().for_each(Client::leave);
        Ok(())
    }

    /// Requires that the server goes on: clients who connect now are served, and leave again.
    ///
    /// # Errors
    /// They are not.
    pub fn still_serves(&self, server: &Server) -> Result<(), Box<Problem>> {
        let serve_newcomer = || -> Result<(), Box<Problem>> {
            let mut newcomer = server.connect("newcomer")?;
            self.serve(server, &mut newcomer)?;
            newcomer.leave();
            Ok(())
        };
        serve_newcomer().require("the server goes on, and serves the next client")
    }

    /// Connects clients who are served and stay: in echo mode one, in broadcast mode two, who know
    /// of each other.
    ///
    /// # Errors
    /// They are not served.
    pub fn regulars(&self, server: &Server) -> Result<Vec<Client>, Box<Problem>> {
        match self.mode {
            Mode::Echo => {
                let mut regular = server.connect("regular")?;
                self.serve(server, &mut regular)?;
                Ok(vec![regular])
            }
            Mode::Broadcast => Ok(self.room(server, ["regular 1", "regular 2"])?.into()),
        }
    }

    /// Requires that `speaker` is served while nobody comes: in echo mode it hears itself, in
    /// broadcast mode `others` hear it. They are in, and have read all that they were sent.
    ///
    /// # Errors
    /// It is not.
    pub fn serve_among(
        &self,
        speaker: &mut Client,
        others: &mut [Client],
    ) -> Result<(), Box<Problem>> {
        let line = self.line(speaker.name());
        match self.mode {
            Mode::Echo => speaker.exchange(&line, &line)?,
            Mode::Broadcast => {
                let mut parts = vec![speaker.part().send(&line)];
                parts.extend(others.iter_mut().map(|other| other.part().expect(&line)));
                play(&mut parts)?;
            }
        }
        Ok(())
    }

    /// Requires that each of `regulars` is served, as [`Bench::serve_among`].
    ///
    /// # Errors
    /// One of them is not.
    pub fn serve_regulars(&self, regulars: &mut [Client]) -> Result<(), Box<Problem>> {
        for _ in 0..regulars.len() {
            let (speaker, others) = regulars.split_first_mut().expect("as many as the rounds");
            self.serve_among(speaker, others)?;
            regulars.rotate_left(1);
        }
        Ok(())
    }

    /// Connects clients who say nothing, as many as `most` or as many as the server takes: one that
    /// leaves them in its accept queue gets no more of them, which would overflow it. Where nothing
    /// is known of its queue, that is found out when it is full. When this returns, the server has
    /// come to rest, if it ever does.
    ///
    /// # Errors
    /// One cannot connect.
    pub fn crowd(&self, server: &Server, most: usize) -> Result<Vec<Client>, Box<Problem>> {
        const BATCH: usize = 100;
        let mut clients = Vec::new();
        while clients.len() < most {
            for _ in 0..BATCH.min(most - clients.len()) {
                match server.connect(&format!("client {}", clients.len() + 1)) {
                    Ok(client) => clients.push(client),
                    Err(trouble)
                        if !harness::kernel::IS_READABLE
                            && matches!(trouble.cause, Cause::TimedOut(_))
                            && !clients.is_empty() =>
                    {
                        return Ok(clients);
                    }
                    Err(trouble) => return Err(trouble.into()),
                }
            }
            if server.stuck().is_ok_and(|stuck| stuck.not_accepted > 0) {
                break;
            }
        }
        Ok(clients)
    }

    /// Connects clients to a broadcast, each of them known to be in: it spoke, and all who were
    /// there before heard it. By then each has read all that it was sent.
    ///
    /// # Errors
    /// One of them does not get in.
    pub fn room<const N: usize>(
        &self,
        server: &Server,
        names: [&str; N],
    ) -> Result<[Client; N], Box<Problem>> {
        let mut clients = Vec::with_capacity(N);
        self.join_all(server, names, &mut clients)?;
        let Ok(clients) = clients.try_into() else { unreachable!("a client for each name") };
        Ok(clients)
    }

    /// How many lines each says in a [`race`](Self::race).
    pub const RACE: usize = 1024;

    /// While the server is stopped, A and B say [`RACE`](Self::RACE) lines of a kilobyte each. When
    /// it goes on, C hears all of them, in the order in which the server took them. Returns how
    /// many lines of one C hears before the first one of the other.
    ///
    /// # Errors
    /// Somebody does not hear all that the others say.
    pub fn race(
        &self,
        server: &Server,
        [a, b, c]: &mut [Client; 3],
    ) -> Result<usize, Box<Problem>> {
        let lines = b"ab".map(|byte| [&[byte; 1023], b"\n".as_slice()].concat());
        let [from_a, from_b] = lines.each_ref().map(|line| line.repeat(Self::RACE));
        server.pause()?;
        for (client, talk) in [(&mut *a, &from_a), (&mut *b, &from_b)] {
            client.send(talk).precondition("the kernel keeps 1 MiB for a stopped server")?;
        }
        server.resume()?;
        let mut heard = Vec::new();
        let hear = |bytes: &[u8]| {
            heard.extend_from_slice(bytes);
            heard.len() >= from_a.len() + from_b.len()
        };
        play(&mut [a.part().expect(&from_b), b.part().expect(&from_a), c.part().receive(hear)])?;
        let mut heard = heard.chunks(lines[0].len());
        let first = heard.next();
        Ok(1 + heard.take_while(|line| Some(*line) == first).count())
    }

    /// Connects more clients to a broadcast, one after the other, each as [`join`](Self::join) does,
    /// and puts them at the end of `present`.
    ///
    /// # Errors
    /// One of them does not get in.
    pub fn join_all<S: AsRef<str>>(
        &self,
        server: &Server,
        names: impl IntoIterator<Item = S>,
        present: &mut Vec<Client>,
    ) -> Result<(), Box<Problem>> {
        for name in names {
            let newcomer = self.join(server, name.as_ref(), present)?;
            present.push(newcomer);
        }
        Ok(())
    }

    /// Connects one more client to a broadcast in which `present` are already. It is known to be in
    /// when this returns: it spoke, and all of them have heard it.
    ///
    /// # Errors
    /// It does not get in.
    pub fn join(
        &self,
        server: &Server,
        name: &str,
        present: &mut [Client],
    ) -> Result<Client, Box<Problem>> {
        let mut newcomer = server.connect(name)?;
        match present {
            [] => {}
            [first] => self.introduce(first, &mut newcomer)?,
            all => {
                let line = self.line(name);
                newcomer.send(&line)?;
                for client in all {
                    client.expect(&line).require("a newcomer is heard by all who are there")?;
                }
            }
        }
        Ok(newcomer)
    }

    /// Makes sure that both are in, of whom nobody knows yet: `listener` hears `speaker`.
    ///
    /// The first line may be lost, if the server has not got to know the listener by then. Once
    /// that line is known to be lost, the server has; the second must arrive.
    fn introduce(&self, listener: &mut Client, speaker: &mut Client) -> Result<(), Box<Problem>> {
        let line = self.line(speaker.name());
        speaker.send(&line)?;
        match listener.expect(&line) {
            Err(trouble) if matches!(trouble.cause, Cause::Stuck(_, 0) | Cause::TimedOut(0)) => {
                let line = self.line(speaker.name());
                speaker.send(&line)?;
                listener.expect(&line).require("a line is heard by the others")
            }
            heard => heard.require("a line is heard by the others"),
        }
    }

    /// Makes sure that all are in a broadcast of whom nobody knows yet: the first one speaks, and
    /// all others hear it.
    ///
    /// Who was not in by then does not hear the first line. Once all that will come of it has come,
    /// all are, and the second line must reach them.
    ///
    /// # Errors
    /// It does not.
    pub fn roll_call(&self, clients: &mut [Client]) -> Result<(), Box<Problem>> {
        let lines = [self.line("client 1"), self.line("client 1")];
        let mut heard: Vec<Vec<u8>> = vec![Vec::new(); clients.len()];
        let mut say = |line: &[u8]| {
            let [speaker, listeners @ ..] = &mut *clients else { return Ok(()) };
            let mut parts = vec![speaker.part().send(line)];
            for (listener, heard) in listeners.iter_mut().zip(&mut heard) {
                parts.push(listener.part().receive(|bytes| {
                    heard.extend_from_slice(bytes);
                    heard.ends_with(line)
                }));
            }
            play(&mut parts)
        };
        match say(&lines[0]) {
            Err(trouble) if matches!(trouble.cause, Cause::Stuck(..) | Cause::TimedOut(_)) => {
                say(&lines[1]).require("a line reaches everyone who is connected")
            }
            said => said.require("a line reaches everyone who is connected"),
        }
    }

    /// A line that nobody else sends.
    pub fn line(&self, name: &str) -> Vec<u8> {
        self.lines.set(self.lines.get() + 1);
        format!("line {} of this run, from {name}\n", self.lines.get()).into_bytes()
    }
}
