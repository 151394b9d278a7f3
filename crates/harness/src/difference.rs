use std::fmt;

/// Where a stream first differs from what it should be, with what stands around that place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// How many bytes were right.
    pub offset: usize,
    /// What stands before that place, escaped.
    before: String,
    /// What should come, escaped.
    expected: String,
    /// What came, escaped.
    actual: String,
}

impl Difference {
    /// How many columns are shown before and from that place on: together with the words and a
    /// margin they fit a terminal.
    const BEFORE: usize = 18;
    const AFTER: usize = 26;

    /// Compares `actual`, which begins at `offset` of the stream, with the whole expected stream.
    /// `actual` may be shorter than the rest: then only what is there is compared.
    pub fn find(expected: &[u8], offset: usize, actual: &[u8]) -> Option<Self> {
        let rest = expected.get(offset..).unwrap_or_default();
        if rest.starts_with(actual) {
            return None;
        }
        let right = rest.iter().zip(actual).take_while(|(a, b)| a == b).count();
        let at = offset + right;
        let (tail, is_cut) = tail(&expected[..at], Self::BEFORE);
        Some(Self {
            offset: at,
            before: if is_cut { "…" } else { "" }.to_owned() + &tail,
            expected: head(&rest[right..], Self::AFTER),
            actual: head(&actual[right..], Self::AFTER),
        })
    }
}

/// The first bytes, escaped, as many as fit into so many columns.
pub(crate) fn head(bytes: &[u8], columns: usize) -> String {
    let mut text = String::new();
    for byte in bytes {
        let escaped = byte.escape_ascii().to_string();
        if text.len() + escaped.len() > columns {
            break;
        }
        text += &escaped;
    }
    text
}

/// The last bytes likewise, and whether there are more.
fn tail(bytes: &[u8], columns: usize) -> (String, bool) {
    let mut width = 0;
    let fits = |byte: &&u8| {
        width += byte.escape_ascii().len();
        width <= columns
    };
    let count = bytes.iter().rev().take_while(fits).count();
    let tail = &bytes[bytes.len() - count..];
    (tail.escape_ascii().to_string(), count < bytes.len())
}

impl fmt::Display for Difference {
    /// Three lines: expected, actual, and a `^` under the first different byte.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, before, expected, actual } = self;
        writeln!(f, "byte {offset} is another one")?;
        let expected = if expected.is_empty() { "(nothing more)" } else { expected };
        writeln!(f, "  expected  {before}{expected}")?;
        writeln!(f, "  actual    {before}{actual}")?;
        write!(f, "            {}^", " ".repeat(before.chars().count()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_bytes_have_no_difference() {
        assert_eq!(Difference::find(b"hello", 0, b"hello"), None);
        assert_eq!(Difference::find(b"hello", 2, b"ll"), None);
    }

    #[test]
    fn the_caret_stands_under_the_first_different_byte() {
        let text = Difference::find(b"a\tbcd\n", 1, b"\tbXd\n").unwrap().to_string();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "byte 3 is another one");
        assert_eq!(lines[1], "  expected  a\\tbcd\\n");
        assert_eq!(lines[2], "  actual    a\\tbXd\\n");
        assert_eq!(lines[3].find('^'), lines[2].find('X'));
    }

    #[test]
    fn a_long_stream_is_shown_around_the_place_only() {
        let expected = vec![b'.'; 10_000];
        let mut actual = expected.clone();
        actual[5000] = b'!';
        let difference = Difference::find(&expected, 0, &actual).unwrap();
        assert_eq!(difference.offset, 5000);
        assert!(difference.to_string().lines().all(|line| line.chars().count() < 60));
    }

    #[test]
    fn bytes_that_are_no_text_take_no_more_room() {
        let difference = Difference::find(&[0; 1000], 500, &[1; 100]).unwrap().to_string();
        assert!(difference.lines().all(|line| line.chars().count() < 60), "{difference}");
        assert!(difference.contains(r"…\x00\x00"), "{difference}");
    }

    #[test]
    fn more_than_expected_is_a_difference() {
        let difference = Difference::find(b"ab", 0, b"abc").unwrap();
        assert_eq!(difference.offset, 2);
        assert!(difference.to_string().contains("(nothing more)"));
    }
}
