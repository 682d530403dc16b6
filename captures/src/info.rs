//! What a capture says about itself, in the comment of its section header.

use std::fmt;

use virtscope_record::{FORMAT_VERSION, Record};

use crate::ClockOffset;

/// The first line of the comment, by which it is known to be ours.
const HEADING: &str = "virtscope capture";

/// What was done to a capture on purpose. What a selection leaves out is
/// counted as *filtered* and never mistaken for loss.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Selection {
    /// Records were left out because a filter said so.
    pub filtered: bool,
    /// Only some of the operations were recorded.
    pub sampled: bool,
    /// It is a part of another capture.
    pub cut: bool,
}

impl Selection {
    /// Nothing was left out on purpose.
    pub const WHOLE: Self = Self {
        filtered: false,
        sampled: false,
        cut: false,
    };

    /// Whether nothing was left out on purpose.
    pub const fn is_whole(self) -> bool {
        !self.filtered && !self.sampled && !self.cut
    }

    fn from_words(words: &str) -> Self {
        let has = |word| words.split(',').any(|found| found == word);
        Self {
            filtered: has("filtered"),
            sampled: has("sampled"),
            cut: has("cut"),
        }
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_whole() {
            return f.write_str("whole");
        }
        let words = [
            (self.filtered, "filtered"),
            (self.sampled, "sampled"),
            (self.cut, "cut"),
        ];
        let mut separator = "";
        for (_, word) in words.iter().filter(|(is, _)| *is) {
            write!(f, "{separator}{word}")?;
            separator = ",";
        }
        Ok(())
    }
}

/// What a capture says about itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CaptureInfo {
    /// The record format's version.
    pub format: u16,
    /// The most bytes of a buffer that a record's payload holds.
    pub snaplen: u32,
    /// From the records' clock to the packets'.
    pub clock: ClockOffset,
    /// What was left out on purpose.
    pub selection: Selection,
    /// In a part of another capture: which recording it is a part of, so that its
    /// parts find together again. See [`recording_of`](Self::recording_of).
    pub recording: Option<u64>,
}

impl CaptureInfo {
    /// A whole capture in the format of this version, with up to `snaplen`
    /// bytes of payload a record.
    pub const fn new(snaplen: u32, clock: ClockOffset) -> Self {
        Self {
            format: FORMAT_VERSION,
            snaplen,
            clock,
            selection: Selection::WHOLE,
            recording: None,
        }
    }

    /// What tells this recording from others: it is remembered from a part's
    /// whole, or made of the clock and of the first record with its time.
    pub fn recording_of(&self, first: &Record) -> u64 {
        let clock = self.clock.offset_ns().to_le_bytes();
        let bytes = clock.iter().chain(first.as_bytes());
        // FNV-1a: nobody has an interest in two recordings that look alike.
        let hash = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        self.recording
            .unwrap_or_else(|| bytes.fold(0xcbf2_9ce4_8422_2325, hash))
    }

    /// The comment's text.
    pub(crate) fn to_comment(self) -> String {
        let Self {
            format,
            snaplen,
            clock,
            selection,
            recording,
        } = self;
        let recording = recording.map_or_else(String::new, |id| format!("\nrecording={id:016x}"));
        format!(
            "{HEADING}\nformat={format}\nsnaplen={snaplen}\nclock_offset_ns={}\nclock_error_ns={}\nselection={selection}{recording}",
            clock.offset_ns(),
            clock.error_ns(),
        )
    }

    /// The comment's meaning, if it is one of ours. Lines that this version
    /// does not know are skipped, so that a later one may add some.
    pub(crate) fn from_comment(comment: &str) -> Option<Self> {
        let lines = pairs(comment.strip_prefix(HEADING)?.strip_prefix('\n')?);
        let value = |key| lines.clone().find_map(|(k, v)| (k == key).then_some(v));
        let or_zero = |key| value(key).unwrap_or("0");
        Some(Self {
            format: value("format")?.parse().ok()?,
            snaplen: or_zero("snaplen").parse().ok()?,
            clock: ClockOffset::new(
                or_zero("clock_offset_ns").parse().ok()?,
                or_zero("clock_error_ns").parse().ok()?,
            ),
            selection: Selection::from_words(value("selection").unwrap_or("")),
            recording: value("recording").and_then(|id| u64::from_str_radix(id, 16).ok()),
        })
    }
}

/// The first line of the comment that says what a capture was made of.
const ORIGIN: &str = "virtscope origin";
/// Lines of it that are kept, and bytes of each.
const ORIGIN_LINES: usize = 64;
const ORIGIN_TEXT: usize = 512;

/// What a capture was made of and how, in sentences for its readers; empty for
/// one that a recorder wrote.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Origin {
    lines: Vec<String>,
}

impl Origin {
    /// Adds a sentence. Control characters are replaced, and what is too long or
    /// too much is left out.
    pub fn add(&mut self, sentence: &str) {
        if self.lines.len() < ORIGIN_LINES {
            let printable = |c: char| if c.is_control() { '\u{fffd}' } else { c };
            let mut line: String = sentence.chars().map(printable).collect();
            line.truncate(line.floor_char_boundary(ORIGIN_TEXT));
            self.lines.push(line);
        }
    }

    /// The sentences, oldest first.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    pub(crate) fn to_comment(&self) -> Option<String> {
        (!self.lines.is_empty()).then(|| format!("{ORIGIN}\n{}", self.lines.join("\n")))
    }

    pub(crate) fn from_comment(comment: &str) -> Option<Self> {
        let text = comment.strip_prefix(ORIGIN)?.strip_prefix('\n')?;
        let mut origin = Self::default();
        for line in text.lines() {
            origin.add(line);
        }
        Some(origin)
    }
}

/// The `key=value` lines of `text`.
pub(crate) fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> + Clone {
    text.lines().filter_map(|line| line.split_once('='))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn other_comments_are_not_ours() {
        assert_eq!(CaptureInfo::from_comment("a holiday capture"), None);
        assert_eq!(CaptureInfo::from_comment("virtscope capture"), None);
        assert_eq!(
            CaptureInfo::from_comment("virtscope capture\nformat=x"),
            None
        );
    }

    #[test]
    fn later_lines_are_skipped() {
        let info = CaptureInfo::from_comment("virtscope capture\nformat=1\ncolour=blue\n?");
        assert_eq!(info, Some(CaptureInfo::new(0, ClockOffset::default())));
    }

    proptest! {
        #[test]
        fn round_trips(
            format: u16,
            snaplen: u32,
            (offset, error) in any::<(i64, u64)>(),
            (filtered, sampled, cut) in any::<(bool, bool, bool)>(),
            recording: Option<u64>,
        ) {
            let info = CaptureInfo {
                format,
                snaplen,
                clock: ClockOffset::new(offset, error),
                selection: Selection { filtered, sampled, cut },
                recording,
            };
            prop_assert_eq!(CaptureInfo::from_comment(&info.to_comment()), Some(info));
        }
    }
}
