//! What is wrong with an expression, and where.

use std::fmt;

use cel::ParseErrors;

use crate::text::sanitize;

/// An expression that cannot be used. Its text points at the place:
///
/// ```text
/// there is no field `latncy`: did you mean `latency`?
///   op == "read" && latncy > duration("1ms")
///                   ^
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FilterError {
    message: String,
    line: String,
    column: usize,
}

impl FilterError {
    /// Something wrong at the byte `offset` of `text`.
    pub(super) fn new(text: &str, offset: usize, message: impl Into<String>) -> Self {
        let offset = text.floor_char_boundary(offset.min(text.len()));
        let start = text[..offset].rfind('\n').map_or(0, |at| at + 1);
        let end = text[offset..]
            .find('\n')
            .map_or(text.len(), |at| offset + at);
        Self {
            message: message.into(),
            line: text[start..end].to_owned(),
            column: text[start..offset].chars().count(),
        }
    }

    pub(super) fn of_syntax(text: &str, errors: &ParseErrors) -> Self {
        // The first says it; the others follow from it.
        let Some(error) = errors.errors.first() else {
            return Self::new(text, 0, "it cannot be understood");
        };
        let (line, column) = error.pos;
        let (line, column) = (line.max(1).cast_unsigned(), column.max(1).cast_unsigned());
        let start: usize = text
            .split_inclusive('\n')
            .take(line - 1)
            .map(str::len)
            .sum();
        let rest = text.get(start..).unwrap_or_default();
        let within = rest.char_indices().nth(column - 1);
        let offset = start + within.map_or(rest.trim_end().len(), |(at, _)| at);
        Self::new(
            text,
            offset,
            say(&error.msg, text.get(offset..).unwrap_or_default()),
        )
    }

    /// What is wrong, in one line.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// In which column of its line, from 1.
    pub fn column(&self) -> usize {
        self.column + 1
    }
}

/// The parser's message in fewer words.
fn say(message: &str, rest: &str) -> String {
    if rest.trim().is_empty() {
        return "something is missing at the end".to_owned();
    }
    let expecting = message.find(" expecting {");
    let message = expecting.map_or(message, |at| &message[..at]);
    let message = message.strip_prefix("Syntax error: ").unwrap_or(message);
    let token = || rest.split_whitespace().next().unwrap_or(rest);
    match message.split_once(' ') {
        Some(("mismatched" | "extraneous" | "no", _)) => {
            format!("`{}` cannot stand here", token())
        }
        Some(("token", _)) => format!("`{}` means nothing in an expression", token()),
        _ => message.to_owned(),
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is escaped takes more columns.
        let before: String = self.line.chars().take(self.column).collect();
        let indent = sanitize(&before).chars().count();
        writeln!(f, "{}", sanitize(&self.message))?;
        writeln!(f, "  {}", sanitize(&self.line))?;
        write!(f, "  {:indent$}^", "")
    }
}

impl std::error::Error for FilterError {}
