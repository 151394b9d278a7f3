//! Numbers as people read them.

/// A whole number: 1,000.
pub(crate) fn count(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many of something: 1 client, 1,000 clients.
pub(crate) fn many(number: usize, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", count(number))
}

/// Something each second: 152 K.
pub(crate) fn rate(value: f64) -> String {
    scaled(value, 1000.0, &["", " K", " M", " G"])
}

/// Nanoseconds: 86 µs.
pub(crate) fn time(nanos: f64) -> String {
    scaled(nanos, 1000.0, &[" ns", " µs", " ms", " s"])
}

/// Bytes: 2.0 kB.
pub(crate) fn bytes(value: f64) -> String {
    scaled(value, 1000.0, &[" B", " kB", " MB", " GB"])
}

/// A share of a core: 0.98.
pub(crate) fn share(value: f64) -> String {
    let value = if value.abs() < 0.005 { 0.0 } else { value }; // never -0.00
    format!("{value:.2}")
}

/// A share of a whole: 13 %, 99.9 %; never 100 % where something is missing.
pub(crate) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent >= 100.0 {
        "100 %".to_owned()
    } else if !(0.95..99.0).contains(&percent) {
        format!("{:.1} %", (percent * 10.0).floor() / 10.0)
    } else {
        format!("{percent:.0} %")
    }
}

/// How far rounds lie apart: 3 %, never 0.
pub(crate) fn spread(share: f64) -> String {
    if share == 0.0 { String::new() } else { format!("{:.0} %", (share * 100.0).max(1.0)) }
}

/// Two digits, or as many as stand before the point.
fn scaled(value: f64, step: f64, units: &[&str]) -> String {
    let mut value = value;
    let mut units = units.iter().peekable();
    while let Some(unit) = units.next() {
        let digits = usize::from(value < 9.95 && !unit.is_empty() && *unit != " B");
        let text = format!("{value:.digits$}");
        if text.len() <= 3 || units.peek().is_none() {
            return text + unit;
        }
        value /= step;
    }
    String::new()
}

/// Breaks `text` at spaces into lines of at most `width` characters, all but the first indented.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is always one");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(format!("  {word}"));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_two_digits_or_three() {
        assert_eq!(rate(0.0), "0");
        assert_eq!(rate(7.2), "7");
        assert_eq!(rate(999.0), "999");
        assert_eq!(rate(1234.0), "1.2 K");
        assert_eq!(rate(9_960.0), "10 K");
        assert_eq!(rate(152_345.0), "152 K");
        assert_eq!(rate(999_700.0), "1.0 M");
        assert_eq!(rate(44_000_000.0), "44 M");
        assert_eq!(time(86_400.0), "86 µs");
        assert_eq!(time(1_834_000_000.0), "1.8 s");
        assert_eq!(time(75_000_000_000.0), "75 s");
        assert_eq!(bytes(90.0), "90 B");
        assert_eq!(bytes(2048.0), "2.0 kB");
    }

    #[test]
    fn a_share_is_whole_only_if_nothing_is_missing() {
        assert_eq!(percent(1.0), "100 %");
        assert_eq!(percent(0.99999), "99.9 %");
        assert_eq!(percent(0.13), "13 %");
        assert_eq!(percent(0.0019), "0.1 %");
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(
            [1, 50, 1000, 10_000, 1_234_567].map(count).join(" "),
            "1 50 1,000 10,000 1,234,567"
        );
        assert_eq!(many(1, "client"), "1 client");
        assert_eq!(many(1000, "client"), "1,000 clients");
    }

    #[test]
    fn no_line_of_a_note_is_longer_than_it_may_be() {
        let text = "word ".repeat(100);
        assert!(wrap(&text, 80).iter().all(|line| line.chars().count() <= 80));
    }
}
