//! A captured message: its bytes on the left, what they say on the right.

use ratatui::text::Line;
use virtscope_analyzer::p9::{
    DirectoryEntries, End, Field, HeaderError, Message as Decoded, Value,
};
use virtscope_analyzer::{Message, sanitize};

use super::number::exact;
use super::theme::Theme;
use super::words::Words;
use crate::fit::{fit, fit_right};

/// Lines of `message`, `width` columns wide.
///
/// `decoded` is what the analyzer makes of it: nothing if the queue carries no
/// 9P or nothing was captured.
pub(super) fn lines(
    theme: &Theme,
    title: &str,
    message: &Message,
    decoded: Option<Result<Decoded<'_>, HeaderError>>,
    width: usize,
) -> Vec<Line<'static>> {
    let mut sheet = Sheet {
        theme,
        bytes: &message.bytes,
        per_line: if width >= 100 { 16 } else { 8 },
        lines: Vec::new(),
    };
    sheet.heading(title, message);
    match decoded {
        Some(Ok(decoded)) => sheet.decoded(&decoded),
        Some(Err(error)) => {
            sheet.remark(&format!("not decoded: {error}"));
            sheet.rest(0);
        }
        None if message.bytes.is_empty() => {}
        None => {
            sheet.remark("not decoded: this is not a 9P queue, as far as its facts say");
            sheet.rest(0);
        }
    }
    sheet.lines
}

struct Sheet<'a> {
    theme: &'a Theme,
    bytes: &'a [u8],
    per_line: usize,
    lines: Vec<Line<'static>>,
}

impl Sheet<'_> {
    fn heading(&mut self, title: &str, message: &Message) {
        let captured = message.bytes.len() as u64;
        let full = u64::from(message.full_length);
        let words = Words::new(self.theme)
            .styled(format!(" {title}"), self.theme.heading)
            .text(format!("  {} bytes", exact(full)));
        let cut =
            (captured < full).then(|| format!("  cut by the capture: {} kept", exact(captured)));
        let line = words
            .when(cut, |words, cut| words.styled(cut, self.theme.warn))
            .line();
        self.lines.push(line);
    }

    fn decoded(&mut self, decoded: &Decoded<'_>) {
        let mut end = 0;
        for field in decoded.header_fields() {
            end = field.range.end;
            self.field(&field);
        }
        let mut fields = decoded.fields();
        for field in fields.by_ref() {
            end = field.range.end;
            self.field(&field);
        }
        match fields.end() {
            End::Whole => {}
            how => self.remark(&how.to_string()),
        }
        self.rest(end);
    }

    fn field(&mut self, field: &Field<'_>) {
        let name = match field.index {
            Some(index) => format!("{}[{index}]", field.name),
            None => field.name.to_owned(),
        };
        let mut says = vec![(name, field.value.to_string())];
        if let Value::Directory { bytes, .. } = field.value {
            says.extend(DirectoryEntries::new(bytes).map(|entry| {
                let name = format!("\"{}\"", sanitize(entry.name));
                let kind = file_type(entry.kind);
                (String::new(), format!("{name} {kind} qid {}", entry.qid))
            }));
        }
        self.rows(field.range.start, field.range.end, &says);
    }

    /// The bytes that no field says anything about.
    fn rest(&mut self, from: usize) {
        if from < self.bytes.len() {
            let says = [(String::new(), "not decoded".to_owned())];
            self.rows(from, self.bytes.len(), &says[..usize::from(from > 0)]);
        }
    }

    /// Bytes `start..end` beside `says`, as many lines as the longer one needs.
    fn rows(&mut self, start: usize, end: usize, says: &[(String, String)]) {
        let end = end.min(self.bytes.len());
        let bytes = self.bytes.get(start..end).unwrap_or_default();
        let mut chunks = bytes.chunks(self.per_line);
        let mut says = says.iter();
        let mut offset = start;
        loop {
            let (chunk, said) = (chunks.next(), says.next());
            if chunk.is_none() && said.is_none() {
                return;
            }
            let chunk = chunk.unwrap_or_default();
            let place = if chunk.is_empty() {
                String::new()
            } else {
                format!("{offset:04x}")
            };
            offset += chunk.len();
            let mut words = Words::new(self.theme)
                .dim(format!(" {} ", fit_right(&place, 4)))
                .text(fit(&hex(chunk), self.per_line * 3))
                .dim(fit(&ascii(chunk), self.per_line + 2));
            if let Some((name, value)) = said {
                words = words
                    .dim(fit(name, 12))
                    .styled(value.clone(), self.theme.strong);
            }
            self.lines.push(words.line());
        }
    }

    fn remark(&mut self, text: &str) {
        let words = Words::new(self.theme).styled(format!(" ▲ {text}"), self.theme.warn);
        self.lines.push(words.line());
    }
}

fn hex(bytes: &[u8]) -> String {
    let pairs: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    pairs.join(" ")
}

/// What is printable of `bytes`; a dot for what is not.
fn ascii(bytes: &[u8]) -> String {
    let shown = |byte: &u8| match byte {
        // The backslash stands for itself here: the hexadecimal tells.
        b' '..=b'~' => char::from(*byte),
        _ => '.',
    };
    bytes.iter().map(shown).collect()
}

/// Linux `DT_*`.
fn file_type(kind: u8) -> String {
    match kind {
        4 => "directory".to_owned(),
        8 => "file".to_owned(),
        10 => "symlink".to_owned(),
        kind => format!("type {kind}"),
    }
}
