//! What the listeners of a broadcast heard, held against what was said.

use std::collections::BTreeMap;
use std::fmt;
use std::io::BufRead;
use std::ops::{Range, RangeInclusive};

/// What one client says: numbered lines that nobody else says.
pub(crate) struct Talk {
    speaker: String,
    lines: Vec<Vec<u8>>,
}

/// Which lines of a talk one listener is owed, by their numbers. While somebody joins or leaves,
/// it is not known who is in: then it may hear more than it must.
#[derive(Clone, Debug)]
pub(crate) struct Owed {
    must: Range<usize>,
    may: Range<usize>,
}

/// What one listener of several talks has heard so far. Of each talk it must be one stretch of
/// lines, in order, each once and whole, and no line that is not owed.
pub(crate) struct Hearing<'t> {
    talks: &'t [Talk],
    owed: Vec<Owed>,
    heard: Vec<Heard>,
    /// How many lines that must be heard were not.
    missing: usize,
    /// The beginning of a line whose end has not come.
    unfinished: Vec<u8>,
    faults: Faults,
}

/// What was heard of one talk.
struct Heard {
    /// Which lines came.
    lines: Vec<bool>,
    /// One more than the highest number that came.
    end: usize,
}

/// What is wrong with what somebody heard. The worst comes first: it explains the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// Nobody said this line: it is cut, joined or changed.
    Torn,
    /// The listener was not owed it: it said it itself, was not in yet, or had left.
    NotOwed,
    /// It came before.
    Duplicated,
    /// A later line of the same talk came before.
    Reordered,
    /// It never came.
    Lost,
}

/// All faults of a hearing: of each kind how many lines, and the first of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults(BTreeMap<Fault, (usize, String)>);

impl Talk {
    /// A talk of `count` lines of these lengths, in bytes. `speaker` is one word.
    pub(crate) fn new(
        speaker: &str,
        count: usize,
        lengths: RangeInclusive<usize>,
        rng: &mut fastrand::Rng,
    ) -> Self {
        let lines = (0..count).map(|number| {
            let mut line = format!("{speaker} {number} ").into_bytes();
            let head = line.len();
            line.resize(rng.usize(lengths.clone()).max(head + 1), b'\n');
            let (_, text) = line[head..].split_last_mut().expect("it is longer than the head");
            rng.fill(text);
            text.iter_mut().for_each(|byte| *byte = b'a' + *byte % 16);
            line
        });
        Self { speaker: speaker.to_owned(), lines: lines.collect() }
    }

    /// How many lines it has.
    pub(crate) fn count(&self) -> usize {
        self.lines.len()
    }

    /// These lines, one after the other.
    pub(crate) fn lines(&self, numbers: Range<usize>) -> Vec<u8> {
        self.lines[numbers].concat()
    }

    /// Its number and the talk's, if `line` is one of these talks'.
    fn find(talks: &[Self], line: &[u8]) -> Option<(usize, usize)> {
        let mut words = line.split(|&byte| byte == b' ').map(str::from_utf8);
        let (speaker, number) = (words.next()?.ok()?, words.next()?.ok()?.parse().ok()?);
        let talk = talks.iter().position(|talk| talk.speaker == speaker)?;
        let known: &Vec<u8> = talks[talk].lines.get(number)?;
        (known == line).then_some((talk, number))
    }
}

impl Owed {
    /// These lines exactly.
    pub(crate) fn all(lines: Range<usize>) -> Self {
        Self { must: lines.clone(), may: lines }
    }

    /// No line: so for the speaker.
    pub(crate) fn nothing() -> Self {
        Self::all(0..0)
    }

    /// Perhaps more lines, at either end.
    pub(crate) fn perhaps(self, may: Range<usize>) -> Self {
        Self { may, ..self }
    }
}

impl<'t> Hearing<'t> {
    /// Nothing heard yet. `owed` has an entry for each talk.
    pub(crate) fn new(talks: &'t [Talk], owed: Vec<Owed>) -> Self {
        let unheard = |talk: &Talk| Heard { lines: vec![false; talk.lines.len()], end: 0 };
        Self {
            talks,
            heard: talks.iter().map(unheard).collect(),
            missing: owed.iter().map(|owed| owed.must.len()).sum(),
            owed,
            unfinished: Vec::new(),
            faults: Faults::default(),
        }
    }

    /// How many lines of this talk must have been said by now: one more than the last that came.
    pub(crate) fn end(&self, talk: usize) -> usize {
        self.heard[talk].end
    }

    /// Takes what arrived, cut anywhere.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let mut line = std::mem::take(&mut self.unfinished);
            bytes.read_until(b'\n', &mut line).expect("bytes in memory can be read");
            if line.ends_with(b"\n") {
                self.hear(&line);
                line.clear();
            }
            self.unfinished = line;
        }
    }

    /// Whether there is nothing left to wait for: all that must be heard was.
    pub(crate) fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// What is wrong with what has come, whatever comes later.
    pub(crate) fn faults_so_far(&self) -> Faults {
        self.faults.clone()
    }

    /// What is wrong, if nothing more is to come.
    pub(crate) fn faults(&self) -> Faults {
        let mut faults = self.faults.clone();
        if !self.unfinished.is_empty() {
            faults.note(Fault::Torn, || excerpt(&self.unfinished));
        }
        for ((talk, heard), owed) in self.talks.iter().zip(&self.heard).zip(&self.owed) {
            let first = heard.lines.iter().position(|&heard| heard).unwrap_or(owed.must.start);
            for number in first.min(owed.must.start)..heard.end.max(owed.must.end) {
                if !heard.lines[number] {
                    faults.note(Fault::Lost, || excerpt(&talk.lines[number]));
                }
            }
        }
        faults
    }

    fn hear(&mut self, line: &[u8]) {
        let Some((talk, number)) = Talk::find(self.talks, line) else {
            return self.faults.note(Fault::Torn, || excerpt(line));
        };
        let (heard, owed) = (&mut self.heard[talk], &self.owed[talk]);
        let fault = if !owed.may.contains(&number) {
            Fault::NotOwed
        } else if heard.lines[number] {
            Fault::Duplicated
        } else {
            heard.lines[number] = true;
            self.missing -= usize::from(owed.must.contains(&number));
            if number >= heard.end {
                heard.end = number + 1;
                return;
            }
            Fault::Reordered
        };
        self.faults.note(fault, || excerpt(line));
    }
}

impl Faults {
    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn note(&mut self, fault: Fault, first: impl FnOnce() -> String) {
        self.0.entry(fault).or_insert_with(|| (0, first())).0 += 1;
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (fault, (count, first))) in self.0.iter().enumerate() {
            let fault = match fault {
                Fault::Torn => "torn, joined or changed",
                Fault::NotOwed => "not for this listener",
                Fault::Duplicated => "twice",
                Fault::Reordered => "after a later one of the same speaker",
                Fault::Lost => "lost",
            };
            let and = if index == 0 { "" } else { "; " };
            let lines = if *count == 1 { "line" } else { "lines" };
            write!(f, "{and}{count} {lines} {fault}, the first of them \"{first}\"")?;
        }
        Ok(())
    }
}

/// The beginning of a line, escaped.
fn excerpt(line: &[u8]) -> String {
    const LONGEST: usize = 30;
    let text = line[..line.len().min(LONGEST)].escape_ascii().to_string();
    if line.len() > LONGEST { text + "…" } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: usize = 10;

    fn talks() -> Vec<Talk> {
        let mut rng = fastrand::Rng::with_seed(1);
        ["a", "b"].map(|speaker| Talk::new(speaker, COUNT, 6..=40, &mut rng)).into()
    }

    /// The numbers of a's lines, and then of b's, as a listener hears them who is owed all.
    fn heard(talks: &[Talk]) -> Vec<Vec<u8>> {
        talks.iter().flat_map(|talk| talk.lines.clone()).collect()
    }

    /// Which faults, and how many, somebody has who is owed this of a's talk and all of b's.
    fn faults(talks: &[Talk], owed: Owed, lines: &[Vec<u8>]) -> Vec<(Fault, usize)> {
        let mut hearing = Hearing::new(talks, vec![owed, Owed::all(0..COUNT)]);
        let bytes = lines.concat();
        for piece in bytes.chunks(7) {
            hearing.push(piece);
        }
        let faults = hearing.faults();
        let is_lost = faults.0.contains_key(&Fault::Lost);
        assert!(hearing.is_complete() || is_lost || faults.0.contains_key(&Fault::NotOwed));
        faults.0.into_iter().map(|(fault, (count, _))| (fault, count)).collect()
    }

    fn all() -> Owed {
        Owed::all(0..COUNT)
    }

    #[test]
    fn what_was_said_is_heard_however_it_is_cut_and_mixed() {
        let talks = talks();
        let mut lines = heard(&talks);
        assert_eq!(faults(&talks, all(), &lines), []);
        // b's first line before a's last.
        lines.swap(9, 10);
        assert_eq!(faults(&talks, all(), &lines), []);
    }

    #[test]
    fn a_line_that_never_comes_is_lost_wherever_it_stands() {
        let talks = talks();
        for number in [0, 5, 9, 19] {
            let mut lines = heard(&talks);
            lines.remove(number);
            assert_eq!(faults(&talks, all(), &lines), [(Fault::Lost, 1)]);
        }
        assert_eq!(faults(&talks, all(), &[]), [(Fault::Lost, 2 * COUNT)]);
    }

    #[test]
    fn a_line_that_comes_again_is_a_duplicate_at_once_and_later() {
        let talks = talks();
        for place in [4, 5, 20] {
            let mut lines = heard(&talks);
            lines.insert(place, lines[4].clone());
            assert_eq!(faults(&talks, all(), &lines), [(Fault::Duplicated, 1)]);
        }
    }

    #[test]
    fn lines_of_one_speaker_that_change_places_are_reordered_and_not_lost() {
        let talks = talks();
        let mut lines = heard(&talks);
        lines.swap(3, 4);
        assert_eq!(faults(&talks, all(), &lines), [(Fault::Reordered, 1)]);
    }

    #[test]
    fn a_line_that_is_cut_joined_or_changed_is_torn() {
        let talks = talks();
        let tear = |change: fn(&mut Vec<u8>)| {
            let mut lines = heard(&talks);
            change(&mut lines[4]);
            faults(&talks, all(), &lines)
        };
        let torn = |lost| vec![(Fault::Torn, 1), (Fault::Lost, lost)];
        assert_eq!(tear(|line| line.truncate(3)), torn(2), "it takes the next line with it");
        assert_eq!(tear(|line| line.retain(|&byte| byte != b' ')), torn(1));
        assert_eq!(tear(|line| line[4] ^= 1), torn(1));
        assert_eq!(tear(|line| line.truncate(line.len() - 1)), torn(2));
    }

    #[test]
    fn half_a_line_at_the_end_is_torn() {
        let talks = talks();
        let mut lines = heard(&talks);
        lines.push(b"a 0".to_vec());
        assert_eq!(faults(&talks, all(), &lines), [(Fault::Torn, 1)]);
    }

    #[test]
    fn a_speaker_is_not_owed_what_it_said() {
        let talks = talks();
        let lines = heard(&talks);
        assert_eq!(faults(&talks, Owed::nothing(), &lines), [(Fault::NotOwed, COUNT)]);
        assert_eq!(faults(&talks, Owed::nothing(), &lines[COUNT..]), []);
    }

    #[test]
    fn who_joins_hears_all_from_some_line_on() {
        let talks = talks();
        let joined = || Owed::all(4..COUNT).perhaps(1..COUNT);
        let from = |first: usize| faults(&talks, joined(), &heard(&talks)[first..]);
        assert_eq!(from(0), [(Fault::NotOwed, 1)]);
        assert_eq!(from(1), []);
        assert_eq!(from(4), []);
        assert_eq!(from(5), [(Fault::Lost, 1)]);
        let mut gap = heard(&talks);
        gap.drain(..2);
        gap.remove(1);
        assert_eq!(faults(&talks, joined(), &gap), [(Fault::Lost, 1)]);
    }

    #[test]
    fn who_leaves_hears_all_up_to_some_line() {
        let talks = talks();
        let left = || Owed::all(0..2).perhaps(0..6);
        let up_to = |end: usize| {
            let mut lines = heard(&talks);
            lines.drain(end..COUNT);
            faults(&talks, left(), &lines)
        };
        assert_eq!(up_to(1), [(Fault::Lost, 1)]);
        assert_eq!(up_to(2), []);
        assert_eq!(up_to(6), []);
        assert_eq!(up_to(7), [(Fault::NotOwed, 1)]);
        let mut gap = heard(&talks);
        gap.drain(5..COUNT);
        gap.remove(3);
        assert_eq!(faults(&talks, left(), &gap), [(Fault::Lost, 1)]);
    }

    #[test]
    fn the_report_names_the_first_line_of_each_kind() {
        let talks = talks();
        let mut hearing = Hearing::new(&talks, vec![Owed::all(0..2), Owed::nothing()]);
        hearing.push(&talks[1].lines[3]);
        let report = hearing.faults().to_string();
        assert!(report.starts_with("1 line not for this listener, the first of them \"b 3 "));
        assert!(report.contains("2 lines lost, the first of them \"a 0 "));
    }
}
