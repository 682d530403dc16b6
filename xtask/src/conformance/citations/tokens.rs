//! Small questions to tokens: is this an item, a test, a row of a table?

use proc_macro2::{Delimiter, Group, Literal, Span, TokenTree};

use crate::conformance::requirements::parse_id;

pub(super) fn first_line(token: &TokenTree) -> usize {
    match token {
        TokenTree::Group(group) => group.span_open().start().line,
        other => other.span().start().line,
    }
}

pub(super) fn last_line(token: &TokenTree) -> usize {
    let end: Span = match token {
        TokenTree::Group(group) => group.span_close(),
        other => other.span(),
    };
    end.end().line
}

fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

/// An attribute at the beginning of `tokens`, and of how many tokens it is.
pub(super) fn attribute(tokens: &[TokenTree]) -> Option<(&Group, usize)> {
    if !is_punct(tokens.first(), '#') {
        return None;
    }
    let inner = usize::from(is_punct(tokens.get(1), '!'));
    match tokens.get(1 + inner)? {
        TokenTree::Group(group) if group.delimiter() == Delimiter::Bracket => {
            Some((group, 2 + inner))
        }
        _ => None,
    }
}

/// Words between an item's attributes and its own.
pub(super) fn is_qualifier(token: &TokenTree) -> bool {
    match token {
        TokenTree::Ident(word) => {
            let words = ["pub", "const", "unsafe", "async", "extern"];
            words.iter().any(|qualifier| word == qualifier)
        }
        // `pub(crate)`
        TokenTree::Group(group) => matches!(group.stream().to_string().as_str(), "crate" | "super"),
        _ => false,
    }
}

/// Of how many tokens the item is that begins at `at`, if one does.
pub(super) fn item_len(tokens: &[TokenTree], at: usize) -> Option<usize> {
    let (TokenTree::Ident(word), TokenTree::Ident(_)) = (&tokens[at], tokens.get(at + 1)?) else {
        return None;
    };
    let is_body = |token: &TokenTree| matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace);
    let is_end = |token: &TokenTree| is_punct(Some(token), ';');
    let rest = &tokens[at..];
    let len = if word == "fn" || word == "mod" {
        rest.iter()
            .position(|token| is_body(token) || is_end(token))?
    } else if word == "const" || word == "static" {
        // Neither `const fn` nor a parameter, `<const N: usize>`.
        let before = at.checked_sub(1).map(|before| &tokens[before]);
        if !is_punct(rest.get(2), ':') || is_punct(before, '<') || is_punct(before, ',') {
            return None;
        }
        rest.iter().position(is_end)?
    } else {
        return None;
    };
    Some(len + 1)
}

/// `#[test]`, `#[rstest]`, `#[tokio::test]`, …
pub(super) fn is_test_attribute(attribute: &Group) -> bool {
    let path = attribute
        .stream()
        .into_iter()
        .take_while(|token| !matches!(token, TokenTree::Group(_)));
    let last = path.last().map(|token| token.to_string());
    matches!(last.as_deref(), Some("test" | "rstest"))
}

/// `#[cfg(test)]`, `#[cfg(all(test, …))]`
pub(super) fn is_cfg_test(attribute: &Group) -> bool {
    let text = attribute.stream().to_string().replace(' ', "");
    text == "cfg(test)" || text.starts_with("cfg(all(test,")
}

/// The string of a literal without escapes.
pub(super) fn plain_string(literal: &Literal) -> Option<String> {
    let text = literal.to_string();
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    Some(inner.to_owned())
}

/// What a row of a table is called: the first string in it that is no citation.
/// A row is what stands in parentheses, or between the braces of a struct.
pub(super) fn row_name(group: &Group) -> Option<String> {
    let tokens: Vec<TokenTree> = group.stream().into_iter().collect();
    let is_row = match group.delimiter() {
        Delimiter::Parenthesis => true,
        Delimiter::Brace => {
            matches!(tokens.first(), Some(TokenTree::Ident(_)))
                && is_punct(tokens.get(1), ':')
                && !is_punct(tokens.get(2), ':')
        }
        Delimiter::Bracket | Delimiter::None => false,
    };
    if !is_row {
        return None;
    }
    tokens.iter().find_map(|token| match token {
        TokenTree::Literal(literal) => {
            plain_string(literal).filter(|text| parse_id(text).is_none())
        }
        _ => None,
    })
}
