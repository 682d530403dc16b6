//! Text for people: what captures hold is made harmless, numbers are made short.

use std::borrow::Cow;
use std::fmt::Write as _;

/// `text` with everything escaped that could change what a terminal shows.
///
/// Escaped visibly are control characters (escape sequences among them), the
/// characters that reorder or hide text (bidirectional controls, zero-width and
/// tag characters, line separators), bytes that are not UTF-8, and the backslash,
/// so that no two texts look alike. Every name that comes out of a capture goes
/// through here before it is shown.
///
/// ```
/// # use virtscope_analyzer::sanitize;
/// assert_eq!(sanitize("notes.txt"), "notes.txt");
/// assert_eq!(sanitize(b"\x1b[31mred\xff"), r"\x1b[31mred\xff");
/// assert_eq!(sanitize("\u{202e}gpj.exe"), r"\u{202e}gpj.exe");
/// ```
pub fn sanitize<T: AsRef<[u8]> + ?Sized>(text: &T) -> Cow<'_, str> {
    let bytes = text.as_ref();
    if let Ok(text) = std::str::from_utf8(bytes)
        && text.chars().all(is_harmless)
    {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            push_escaped(&mut out, c);
        }
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    Cow::Owned(out)
}

fn is_harmless(c: char) -> bool {
    !c.is_control()
        && !matches!(c,
            '\\'
            | '\u{00ad}' | '\u{061c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}')
}

fn push_escaped(out: &mut String, c: char) {
    let written = match c {
        '\\' => out.write_str("\\\\"),
        '\n' => out.write_str("\\n"),
        '\r' => out.write_str("\\r"),
        '\t' => out.write_str("\\t"),
        c if is_harmless(c) => out.write_char(c),
        c if c.is_ascii() => write!(out, "\\x{:02x}", c as u32),
        c => write!(out, "\\u{{{:x}}}", c as u32),
    };
    // Writing to a String cannot fail.
    debug_assert!(written.is_ok());
}

/// Nanoseconds as a person says them: three digits and a unit, `1.23 ms`.
///
/// ```
/// # use virtscope_analyzer::format_duration;
/// assert_eq!(format_duration(950), "950 ns");
/// assert_eq!(format_duration(12_340), "12.3 µs");
/// assert_eq!(format_duration(61_000_000_000), "61.0 s");
/// ```
pub fn duration(ns: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs")];
    for (size, unit) in UNITS {
        if ns >= size {
            return three_digits(ns as f64 / size as f64, unit);
        }
    }
    format!("{ns} ns")
}

/// Bytes with binary units: `4.00 KiB`.
///
/// ```
/// # use virtscope_analyzer::format_bytes;
/// assert_eq!(format_bytes(512), "512 B");
/// assert_eq!(format_bytes(4096), "4.00 KiB");
/// ```
pub fn bytes(count: u64) -> String {
    const UNITS: [(u64, &str); 4] = [
        (1 << 40, "TiB"),
        (1 << 30, "GiB"),
        (1 << 20, "MiB"),
        (1 << 10, "KiB"),
    ];
    for (size, unit) in UNITS {
        if count >= size {
            return three_digits(count as f64 / size as f64, unit);
        }
    }
    format!("{count} B")
}

fn three_digits(value: f64, unit: &str) -> String {
    let decimals = match value {
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escapes_are_told_from_text_that_looks_like_them() {
        assert_eq!(sanitize("\n"), "\\n");
        assert_eq!(sanitize("\\n"), "\\\\n");
        assert_eq!(sanitize("a\u{7f}\u{85}b"), "a\\x7f\\u{85}b");
        assert_eq!(sanitize("ä日本"), "ä日本");
    }

    #[test]
    fn units_change_where_digits_would_overflow() {
        assert_eq!(duration(0), "0 ns");
        assert_eq!(duration(999), "999 ns");
        assert_eq!(duration(1_000), "1.00 µs");
        assert_eq!(duration(9_996), "10.0 µs");
        assert_eq!(duration(u64::MAX), "18446744074 s");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1 << 20), "1.00 MiB");
    }

    proptest! {
        #[test]
        fn nothing_harmful_is_left(bytes: Vec<u8>) {
            let clean = sanitize(&bytes);
            prop_assert!(clean.chars().all(|c| c == '\\' || is_harmless(c)));
        }

        /// No two different texts look the same.
        #[test]
        fn harmful_characters_are_escaped_apart(a: String, b: String) {
            prop_assert_eq!(sanitize(&a) == sanitize(&b), a == b);
        }
    }
}
