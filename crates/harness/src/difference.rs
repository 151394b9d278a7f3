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
    const BEFORE: usize = 16;
    const AFTER: usize = 24;

    /// Compares `actual`, which begins at `offset` of the stream, with the whole expected stream.
    /// `actual` may be shorter than the rest: then only what is there is compared.
    pub fn find(expected: &[u8], offset: usize, actual: &[u8]) -> Option<Self> {
        let rest = expected.get(offset..).unwrap_or_default();
        if rest.starts_with(actual) {
            return None;
        }
        if rest.starts_with(actual) {
            return None;
        }
        let right = rest.iter().zip(actual).take_while(|(a, b)| a == b).count();
        let at = offset + right;
        let start = at.saturating_sub(Self::BEFORE);
        let escape = |bytes: &[u8]| bytes.escape_ascii().to_string();
        let head = |bytes: &[u8]| escape(&bytes[..bytes.len().min(Self::AFTER)]);
        Some(Self {
            offset: at,
            before: if start > 0 { "…" } else { "" }.to_owned() + &escape(&expected[start..at]),
            expected: head(&rest[right..]),
            actual: head(&actual[right..]),
        })
    }
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
    fn more_than_expected_is_a_difference() {
        let difference = Difference::find(b"ab", 0, b"abc").unwrap();
        assert_eq!(difference.offset, 2);
        assert!(difference.to_string().contains("(nothing more)"));
    }
}
