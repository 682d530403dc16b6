//! One module a command.

pub(crate) mod demo;
pub(crate) mod diff;
pub(crate) mod doctor;
mod edit;
pub(crate) mod export;
pub(crate) mod inspect;
mod kernel;
pub(crate) mod list;
pub(crate) mod merge;
pub(crate) mod print;
pub(crate) mod redact;
pub(crate) mod report;
pub(crate) mod slice;
pub(crate) mod stat;
pub(crate) mod trace;
pub(crate) mod view;

use std::io::{self, Write};

use virtscope_analyzer::sanitize;

/// What is said when standard output takes no more; the cause follows.
pub(crate) const OUTPUT_FAILED: &str = "cannot write to standard output; send it somewhere else";

/// What a command amounts to, as an exit code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// All is well.
    Clean,
    /// It worked, and something was found.
    Findings,
    /// It worked as far as it went, and went not all the way; why was said on
    /// standard error.
    Failed,
}

/// Says on standard error, in one line, what went wrong; nobody can be told if
/// that fails.
pub(crate) fn complain(message: &str) {
    let _ = writeln!(io::stderr(), "virtscope: {}", one_line(message));
}

/// `message` without line breaks, escape sequences and what reorders text, which
/// the names of files may have. Backslashes stay: some names were sanitised before.
fn one_line(message: &str) -> String {
    let mut line = String::with_capacity(message.len());
    for c in message.chars() {
        match c {
            '\\' => line.push(c),
            _ => line.push_str(&sanitize(c.encode_utf8(&mut [0; 4]))),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn a_complaint_is_one_line() {
        assert_eq!(
            one_line("no\nwhere/\x1b[31mx is größer"),
            r"no\nwhere/\x1b[31mx is größer"
        );
    }

    #[test]
    fn a_complaint_reads_as_it_is_written() {
        assert_eq!(
            one_line("a\u{202e}gnp\u{200b}.x\u{feff}"),
            r"a\u{202e}gnp\u{200b}.x\u{feff}"
        );
        let name = virtscope_analyzer::sanitize("a\\b\n\u{2066}").into_owned();
        assert_eq!(
            one_line(&name),
            name,
            "what is escaped is not escaped again"
        );
    }
}
