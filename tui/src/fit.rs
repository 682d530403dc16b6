//! Text in columns: how many it takes, and what of it fits.

use std::borrow::Cow;
use std::io::{self, IsTerminal};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};
use virtscope_analyzer::sanitize;

/// How wide standard output is, if it is a terminal that says so.
pub(crate) fn terminal_columns() -> Option<usize> {
    let terminal = io::stdout().is_terminal();
    let size = terminal.then(|| crossterm::terminal::size().ok()).flatten();
    size.map(|(columns, _)| usize::from(columns))
}

/// `text` with everything escaped that could change what a terminal shows.
/// Text that went through [`sanitize`] already comes out as it is.
pub(crate) fn harmless(text: &str) -> Cow<'_, str> {
    match sanitize(text) {
        Cow::Borrowed(_) => Cow::Borrowed(text),
        // Doubling backslashes tells texts apart at their source, once.
        Cow::Owned(_) => {
            let parts: Vec<_> = text.split('\\').map(sanitize).collect();
            Cow::Owned(parts.join("\\"))
        }
    }
}

/// The columns that `text` takes.
pub(crate) fn columns(text: &str) -> u16 {
    u16::try_from(text.width()).unwrap_or(u16::MAX)
}

/// `text` in exactly `width` columns: padded, or cut with an ellipsis.
pub(crate) fn fit(text: &str, width: usize) -> String {
    let text = harmless(text);
    let full = text.width();
    if full <= width {
        return format!("{text}{}", " ".repeat(width - full));
    }
    let mut cut = cut(&text, width);
    // Characters that join take less than the sum of their columns.
    let missing = width.saturating_sub(cut.width());
    cut.push_str(&" ".repeat(missing));
    cut
}

/// `text` in at most `width` columns: as it is, or cut with an ellipsis.
pub(crate) fn fit_start(text: &str, width: usize) -> String {
    let text = harmless(text);
    if text.width() <= width {
        return text.into_owned();
    }
    cut(&text, width)
}

/// As much of `text`, which is harmless and does not fit or is not the last that is to
/// stand there, as leaves room for an ellipsis, and that.
pub(crate) fn cut(text: &str, width: usize) -> String {
    let room = width.saturating_sub(1);
    let mut cut = String::new();
    let mut used = 0;
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if used + wide > room {
            break;
        }
        used += wide;
        cut.push(c);
    }
    if width > 0 {
        cut.push('…');
    }
    cut
}

/// `text` in at most `width` columns. What is cut is the middle, behind its first word:
/// of a path the end says most.
pub(crate) fn fit_end(text: &str, width: usize) -> String {
    let text = harmless(text);
    if text.width() <= width {
        return text.into_owned();
    }
    let (word, rest) = text.split_once(' ').unwrap_or(("", &text));
    let before = if word.is_empty() {
        "…".to_owned()
    } else {
        format!("{word} …")
    };
    let Some(room) = width.checked_sub(before.width()) else {
        return fit(&text, width);
    };
    let mut used = 0;
    let tail: Vec<_> = rest
        .chars()
        .rev()
        .take_while(|c| {
            used += c.width().unwrap_or(0);
            used <= room
        })
        .collect();
    let tail: String = tail.into_iter().rev().collect();
    format!("{before}{tail}")
}

/// `text` ending at the right of `width` columns; cut if it is longer.
pub(crate) fn fit_right(text: &str, width: usize) -> String {
    let missing = width.saturating_sub(text.width());
    fit(&format!("{}{text}", " ".repeat(missing)), width)
}

/// `text` broken between words into lines of at most `width` columns; a word
/// longer than that is cut into pieces.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in harmless(text).split_whitespace() {
        let wide = word.width();
        if used > 0 && used + 1 + wide <= width {
            push(&mut lines, " ");
            used += 1;
        } else if used > 0 {
            lines.push(String::new());
            used = 0;
        }
        for c in word.chars() {
            let wide = c.width().unwrap_or(0);
            if used > 0 && used + wide > width {
                lines.push(String::new());
                used = 0;
            }
            push(&mut lines, c.encode_utf8(&mut [0; 4]));
            used += wide;
        }
    }
    lines
}

fn push(lines: &mut [String], text: &str) {
    if let Some(last) = lines.last_mut() {
        last.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_is_made_harmless_once() {
        assert_eq!(harmless("a\x1b[31mb"), "a\\x1b[31mb");
        assert_eq!(harmless("a\\x1b[31mb"), "a\\x1b[31mb");
        assert_eq!(harmless("\\\u{202e}\\"), "\\\\u{202e}\\");
    }

    #[test]
    fn text_is_fitted_and_wrapped_by_columns() {
        assert_eq!(fit("abc", 5), "abc  ");
        assert_eq!(fit("abcdef", 5), "abcd…");
        assert_eq!(fit("日本語", 5), "日本…");
        assert_eq!(fit("日本語", 4), "日… ");
        assert_eq!(fit("abc", 0), "");
        assert_eq!(fit_start("abc", 5), "abc");
        assert_eq!(fit_start("日本語", 4), "日…");
        assert_eq!(fit_right("7", 3), "  7");
        assert_eq!(fit_end("view x.pcapng", 20), "view x.pcapng");
        assert_eq!(fit_end("view /a/long/way/x.pcapng", 16), "view …y/x.pcapng");
        assert_eq!(fit_end("/a/long/way/x.pcapng", 9), "…x.pcapng");
        assert_eq!(fit_end("view /a/long/way/x.pcapng", 4), "vie…");
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh ij", 3), ["abc", "def", "gh", "ij"]);
        assert_eq!(wrap("", 3), [""]);
    }

    proptest! {
        #[test]
        fn fitted_text_has_its_width(text: String, width in 0usize..40) {
            prop_assert_eq!(fit(&text, width).width(), width);
            prop_assert!(fit_end(&text, width).width() <= width);
            prop_assert!(fit_start(&text, width).width() <= width);
        }

        #[test]
        fn making_harmless_is_done_once(text: String) {
            let once = harmless(&text).into_owned();
            prop_assert_eq!(harmless(&once), once.as_str());
        }
    }
}
