//! JSON, which is looked at on terminals too.

use std::borrow::Cow;

use serde::Serialize;
use virtscope_analyzer::sanitize;

/// `value` as pretty JSON with a line break at its end. What could change what a terminal
/// shows is written as JSON's own escapes, so that it means the same.
///
/// # Errors
/// `value` can't be written as JSON.
pub(crate) fn to_text(value: &impl Serialize) -> serde_json::Result<String> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    let is_harmless = |c: char| {
        matches!(c, '\n' | '\\') || matches!(sanitize(c.encode_utf8(&mut [0; 4])), Cow::Borrowed(_))
    };
    if text.is_ascii() && !text.contains('\x7f') {
        // serde_json escapes all others of ASCII itself.
        return Ok(text);
    }
    // Only strings have anything else, and in them each character may be escaped.
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if is_harmless(c) {
            escaped.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    Ok(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        let text = to_text(&["\u{1b}\u{7f}\u{9b}\u{202e}\u{e0041}ä\\"]).unwrap();
        let escaped = r#""\u001b\u007f\u009b\u202e\udb40\udc41ä\\""#;
        assert_eq!(text, format!("[\n  {escaped}\n]\n"));
    }

    proptest! {
        #[test]
        fn it_means_the_same(key: String, value: String) {
            let value = serde_json::json!({ key: [value, 1.5], "b": null });
            let text = to_text(&value).unwrap();
            prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
            prop_assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
        }
    }
}
