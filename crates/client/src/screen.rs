use std::str;

/// Makes what arrives safe for a terminal: a server, or whoever speaks through it, must not move
/// the cursor or rename the window. Text stays as it is, every other byte is shown as `\x1b`.
#[derive(Default)]
pub struct Screen {
    /// The start of a character whose other bytes have not arrived yet.
    cut: Vec<u8>,
    in_a_line: bool,
}

impl Screen {
    /// What to print for `bytes`. After the last of them the cursor is at the start of a line.
    pub fn show(&mut self, bytes: &[u8], is_last: bool) -> String {
        let mut bytes = [&self.cut, bytes].concat();
        self.cut = bytes.split_off(bytes.len() - if is_last { 0 } else { cut_at_end(&bytes) });
        let mut shown = String::with_capacity(bytes.len());
        for chunk in bytes.utf8_chunks() {
            for character in chunk.valid().chars() {
                if character.is_control() && !matches!(character, '\n' | '\t') {
                    escape(character.encode_utf8(&mut [0; 4]).as_bytes(), &mut shown);
                } else {
                    shown.push(character);
                }
            }
            escape(chunk.invalid(), &mut shown);
        }
        if let Some(last) = shown.chars().next_back() {
            self.in_a_line = last != '\n';
        }
        if is_last && self.in_a_line {
            shown.push('\n');
        }
        shown
    }
}

/// How many bytes at the end begin a character that is not complete.
fn cut_at_end(bytes: &[u8]) -> usize {
    let rest = bytes.utf8_chunks().last().map_or(&[][..], |chunk| chunk.invalid());
    match str::from_utf8(rest) {
        Err(error) if error.error_len().is_none() => rest.len(),
        _ => 0,
    }
}

fn escape(bytes: &[u8], shown: &mut String) {
    shown.extend(bytes.escape_ascii().map(char::from));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(bytes: &[u8]) -> String {
        Screen::default().show(bytes, true)
    }

    #[test]
    fn text_stays_as_it_is() {
        assert_eq!(show("tab\tgrün 🦀 \\ '\n".as_bytes()), "tab\tgrün 🦀 \\ '\n");
    }

    #[test]
    fn control_and_stray_bytes_are_escaped() {
        assert_eq!(show(b"\x1b[31m\r\n"), "\\x1b[31m\\r\n");
        assert_eq!(show(b"\x00\x07\x7f\n"), "\\x00\\x07\\x7f\n");
        // Terminals take U+009B for the start of a control sequence, too.
        assert_eq!(show("\u{9b}2J\n".as_bytes()), "\\xc2\\x9b2J\n");
        assert_eq!(show(b"a\xffb\xc3\n"), "a\\xffb\\xc3\n");
    }

    #[test]
    fn a_character_that_arrives_in_pieces_is_whole() {
        let mut screen = Screen::default();
        let shown: String = "ü🦀\n".bytes().map(|byte| screen.show(&[byte], false)).collect();
        assert_eq!(shown, "ü🦀\n");
    }

    #[test]
    fn the_end_shows_what_is_left_and_ends_the_line() {
        let mut screen = Screen::default();
        assert_eq!(screen.show(b"hi\xf0\x9f", false), "hi");
        assert_eq!(screen.show(b"", true), "\\xf0\\x9f\n");
        assert_eq!(Screen::default().show(b"", true), "");
    }
}
