use crate::line::{Codec, Line};

/// What the server of a broadcast speaks.
///
/// Of each, this is as much as a room needs: everybody says `hello`, which makes a member of him,
/// and publishes lines of one length. So every line that arrives has the same length, too, and
/// who is not verified line by line can be counted in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// Bare lines, as the stages do.
    #[default]
    Lines,
    /// A client of NATS, which asks not to hear itself.
    Nats,
    /// A client of Redis, in the third version of its protocol: only there a subscriber may publish.
    /// It hears itself: Redis has no way to ask for less.
    Redis,
}

/// How the lines of one [`Codec`] travel in a [`Protocol`].
#[derive(Clone, Debug)]
pub(crate) struct Framing {
    codec: Codec,
    /// What a client says first.
    pub(crate) hello: &'static str,
    /// What stands before and after a line on its way to the server.
    to_server: [String; 2],
    /// And on its way to a client.
    to_client: [String; 2],
    /// What the server may say besides, once, between two lines. It wants an answer, but not before
    /// such a run is over.
    pub(crate) aside: &'static str,
    /// Whether a line comes to its sender, too.
    pub(crate) returns: bool,
}

impl Framing {
    pub(crate) fn new(protocol: Protocol, codec: Codec) -> Self {
        let length = codec.length();
        let bare = Self {
            codec,
            hello: "",
            to_server: Default::default(),
            to_client: Default::default(),
            aside: "",
            returns: false,
        };
        let end = || "\r\n".to_owned();
        match protocol {
            Protocol::Lines => bare,
            Protocol::Nats => Self {
                hello: "CONNECT {\"verbose\":false,\"echo\":false}\r\nSUB room 1\r\n",
                to_server: [format!("PUB room {length}\r\n"), end()],
                to_client: [format!("MSG room 1 {length}\r\n"), end()],
                // Two seconds after a client has come, to measure how far away it is; then not for two
                // minutes.
                aside: "PING\r\n",
                ..bare
            },
            Protocol::Redis => Self {
                // Without replies, each of which would tell a publisher how many hear it.
                hello: "HELLO 3\r\nCLIENT REPLY OFF\r\nSUBSCRIBE room\r\n",
                to_server: [format!("*3\r\n$7\r\nPUBLISH\r\n$4\r\nroom\r\n${length}\r\n"), end()],
                to_client: [format!(">3\r\n$7\r\nmessage\r\n$4\r\nroom\r\n${length}\r\n"), end()],
                returns: true,
                ..bare
            },
        }
    }

    /// How many bytes a client receives for each line.
    pub(crate) fn length(&self) -> usize {
        let [before, after] = &self.to_client;
        before.len() + self.codec.length() + after.len()
    }

    /// What comes after a line that a client receives.
    pub(crate) fn end(&self) -> &str {
        &self.to_client[1]
    }

    /// Appends what a client sends for `line`.
    pub(crate) fn write(&self, line: &Line, bytes: &mut Vec<u8>) {
        let [before, after] = &self.to_server;
        bytes.extend_from_slice(before.as_bytes());
        let start = bytes.len();
        bytes.resize(start + self.codec.length(), 0);
        self.codec.encode(line, &mut bytes[start..]);
        bytes.extend_from_slice(after.as_bytes());
    }

    /// The line that a client receives with these bytes, if that is what they are.
    pub(crate) fn read(&self, bytes: &[u8]) -> Option<Line> {
        let [before, after] = &self.to_client;
        if before.is_empty() && after.is_empty() {
            return self.codec.decode(bytes); // to compare with nothing would take time, too
        }
        let line = bytes.strip_prefix(before.as_bytes())?.strip_suffix(after.as_bytes())?;
        self.codec.decode(line)
    }

    /// The line that these bytes are without what stands before and after it.
    pub(crate) fn read_bare(&self, bytes: &[u8]) -> Option<Line> {
        self.codec.decode(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: Line = Line { sender: 3, sequence: 1, intended: 7 };

    fn framing(protocol: Protocol) -> (Framing, String) {
        let codec = Codec::new(5, 32);
        let mut line = [0; 32];
        codec.encode(&LINE, &mut line);
        (Framing::new(protocol, codec), str::from_utf8(&line).unwrap().to_owned())
    }

    fn written(framing: &Framing) -> String {
        let mut bytes = Vec::new();
        framing.write(&LINE, &mut bytes);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn bare_lines_are_all_there_is() {
        let (framing, line) = framing(Protocol::Lines);
        assert_eq!((framing.hello, framing.length()), ("", 32));
        assert_eq!(written(&framing), line);
        assert_eq!(framing.read(line.as_bytes()), Some(LINE));
    }

    #[test]
    fn lines_travel_as_each_protocol_has_it() {
        let (nats, line) = framing(Protocol::Nats);
        assert_eq!(written(&nats), format!("PUB room 32\r\n{line}\r\n"));
        assert_eq!(nats.read(format!("MSG room 1 32\r\n{line}\r\n").as_bytes()), Some(LINE));

        let (redis, line) = framing(Protocol::Redis);
        let published = format!("*3\r\n$7\r\nPUBLISH\r\n$4\r\nroom\r\n$32\r\n{line}\r\n");
        assert_eq!(written(&redis), published);
        let pushed = format!(">3\r\n$7\r\nmessage\r\n$4\r\nroom\r\n$32\r\n{line}\r\n");
        assert_eq!((pushed.len(), redis.read(pushed.as_bytes())), (redis.length(), Some(LINE)));
    }

    #[test]
    fn another_frame_is_no_line() {
        let (nats, line) = framing(Protocol::Nats);
        for wrong in [
            line.clone(),
            format!("MSG room 2 32\r\n{line}\r\n"),
            format!("MSG room 1 32\r\n{line}\n\r"),
            format!("MSG room 1 32\r\n{}\r\n", line.to_uppercase()),
        ] {
            assert_eq!(nats.read(wrong.as_bytes()), None, "{wrong:?}");
        }
    }
}
