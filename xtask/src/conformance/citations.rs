//! Where tests cite requirements.
//!
//! A citation is either a comment on a line of its own, above a test or inside
//! it (or above a row of a table of cases, or inside it),
//!
//! ```text
//! // Shows: driver/2.7.13.3.1/1, driver/2.7.13.4.1/1
//! ```
//!
//! or, in test code, a string literal that is nothing but an id: a field of a
//! table's row, or a parameter of a case.
//!
//! The files are read as tokens, not as syntax trees: so tests inside macros
//! (`proptest!`) are found the same way as others.

mod tokens;

use std::ops::RangeInclusive;

use anyhow::Context;
use proc_macro2::{Delimiter, Group, Literal, TokenStream, TokenTree};

use super::requirements::parse_id;
use tokens::{
    attribute, first_line, is_cfg_test, is_qualifier, is_test_attribute, item_len, last_line,
    plain_string, row_name,
};

/// A requirement is said to be shown here.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Citation {
    /// The requirement's id, as it stands there.
    pub(crate) id: String,
    /// The test, or what holds the table of cases.
    pub(crate) item: String,
    /// The case, where one row of a table or of parameters cites it.
    pub(crate) case: Option<String>,
    /// The line it stands in, from 1.
    pub(crate) line: usize,
}

/// A citation that says nothing, and why.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Problem {
    /// The line, from 1.
    pub(crate) line: usize,
    pub(crate) what: String,
}

/// A function, constant or static, with the comments and attributes above it.
struct Item {
    name: String,
    is_test: bool,
    lines: RangeInclusive<usize>,
}

/// Where a token stands.
#[derive(Clone, Default)]
struct Place {
    /// Names of the modules around it, without those called `tests`.
    modules: Vec<String>,
    /// The innermost item around it.
    item: Option<String>,
    /// What the innermost row of a table around it is called.
    case: Option<String>,
    /// Whether literals can be citations here.
    is_test_code: bool,
}

/// What a file's tokens say.
#[derive(Default)]
struct Scan {
    items: Vec<Item>,
    rows: Vec<(String, RangeInclusive<usize>)>,
    /// Lines that begin inside a string.
    in_strings: Vec<RangeInclusive<usize>>,
    citations: Vec<Citation>,
}

/// The citations of one file. `is_test_code`: it is compiled for tests only.
pub(crate) fn read(
    text: &str,
    is_test_code: bool,
) -> anyhow::Result<(Vec<Citation>, Vec<Problem>)> {
    let tokens: TokenStream = text
        .parse()
        .map_err(|error: proc_macro2::LexError| {
            anyhow::anyhow!("line {}: {error}", error.span().start().line)
        })
        .context("not Rust")?;
    let mut scan = Scan::default();
    scan.walk(
        tokens,
        &Place {
            is_test_code,
            ..Place::default()
        },
    );
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    scan.reach_up_over_comments(&lines);
    let mut problems = Vec::new();
    scan.read_comments(&lines, &mut problems);
    scan.citations.sort();
    Ok((scan.citations, problems))
}

impl Scan {
    fn walk(&mut self, tokens: TokenStream, place: &Place) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        // Where the item began whose attributes and qualifiers have been read.
        let mut begun: Option<usize> = None;
        let mut attributes: Vec<Group> = Vec::new();
        while at < tokens.len() {
            let line = first_line(&tokens[at]);
            if let Some((attribute, len)) = attribute(&tokens[at..]) {
                begun.get_or_insert(line);
                attributes.push(attribute.clone());
                at += len;
                continue;
            }
            let first = begun.unwrap_or(line);
            if let Some(len) = item_len(&tokens, at) {
                let item = &tokens[at..at + len];
                self.item(item, first, &attributes, place);
                at += len;
            } else if is_qualifier(&tokens[at]) {
                begun = Some(first);
                at += 1;
                continue;
            } else {
                self.other(&tokens, at, &attributes, place);
                at += 1;
            }
            begun = None;
            attributes.clear();
        }
    }

    /// A function, constant, static or module.
    fn item(&mut self, tokens: &[TokenTree], first: usize, attributes: &[Group], place: &Place) {
        let is = |name: &str| tokens[0].to_string() == name;
        let name = tokens[1].to_string();
        let mut inside = place.clone();
        inside.case = None;
        if is("mod") {
            inside.is_test_code |= attributes.iter().any(is_cfg_test);
            if name != "tests" {
                inside.modules.push(name);
            }
        } else {
            let mut path = place.modules.clone();
            path.push(name);
            let name = path.join("::");
            let last = tokens.last().map_or(first, last_line);
            self.items.push(Item {
                name: name.clone(),
                is_test: is("fn") && attributes.iter().any(is_test_attribute),
                lines: first..=last,
            });
            inside.item = Some(name);
        }
        for attribute in attributes {
            self.attribute(attribute, &inside);
        }
        for token in &tokens[2..] {
            match token {
                // A block: what stands loose in it is no row of a table.
                TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                    self.walk(group.stream(), &inside);
                }
                TokenTree::Group(group) => self.group(group, None, &inside),
                TokenTree::Literal(literal) => self.literal(literal, &inside),
                _ => {}
            }
        }
    }

    /// Any other token.
    fn other(&mut self, tokens: &[TokenTree], at: usize, attributes: &[Group], place: &Place) {
        for attribute in attributes {
            self.attribute(attribute, place);
        }
        match &tokens[at] {
            TokenTree::Literal(literal) => self.literal(literal, place),
            TokenTree::Group(group) => {
                let mut inside = place.clone();
                // A macro outside of everything stands for the item it makes.
                if place.item.is_none()
                    && let [.., TokenTree::Ident(name), TokenTree::Punct(mark)] = &tokens[..at]
                    && mark.as_char() == '!'
                {
                    inside.item = Some(format!("{name}!"));
                }
                self.group(group, None, &inside);
            }
            _ => {}
        }
    }

    /// What stands between brackets. `case`: what it is called, if known.
    fn group(&mut self, group: &Group, case: Option<String>, place: &Place) {
        let mut inside = place.clone();
        if let Some(case) = case.or_else(|| row_name(group)) {
            let lines = group.span_open().start().line..=group.span_close().end().line;
            self.rows.push((case.clone(), lines));
            inside.case = Some(case);
        }
        self.walk(group.stream(), &inside);
    }

    /// An attribute may hold a row: `#[case::name("…")]`.
    fn attribute(&mut self, attribute: &Group, place: &Place) {
        let tokens: Vec<TokenTree> = attribute.stream().into_iter().collect();
        match tokens.as_slice() {
            [
                TokenTree::Ident(path),
                TokenTree::Punct(_),
                TokenTree::Punct(_),
                TokenTree::Ident(case),
                TokenTree::Group(row),
            ] if path == "case" => self.group(row, Some(case.to_string()), place),
            _ => self.walk(attribute.stream(), place),
        }
    }

    fn literal(&mut self, literal: &Literal, place: &Place) {
        let span = literal.span();
        let (first, last) = (span.start().line, span.end().line);
        if first < last {
            self.in_strings.push(first + 1..=last);
        }
        let Some(text) = plain_string(literal) else {
            return;
        };
        if !place.is_test_code || parse_id(&text).is_none() {
            return;
        }
        if let Some(item) = &place.item {
            self.citations.push(Citation {
                id: text,
                item: item.clone(),
                case: place.case.clone(),
                line: first,
            });
        }
    }

    /// Comments right above an item or a row belong to it.
    fn reach_up_over_comments(&mut self, lines: &[&str]) {
        let first_of = |first: usize| {
            let above = lines[..first - 1].iter().rev();
            first - above.take_while(|line| line.starts_with("//")).count()
        };
        let items = self.items.iter_mut().map(|item| &mut item.lines);
        for range in items.chain(self.rows.iter_mut().map(|row| &mut row.1)) {
            *range = first_of(*range.start())..=*range.end();
        }
    }

    fn read_comments(&mut self, lines: &[&str], problems: &mut Vec<Problem>) {
        let mut at = 0;
        while at < lines.len() {
            let line = at + 1;
            let text = lines[at];
            at += 1;
            if self.in_strings.iter().any(|range| range.contains(&line)) {
                continue;
            }
            let Some(mut list) = text.strip_prefix("// Shows:").map(str::to_owned) else {
                if text.contains("// Shows:") {
                    problems.push(Problem {
                        line,
                        what: "a citation is a plain comment, on a line of its own".to_owned(),
                    });
                }
                continue;
            };
            // A list that ends with a comma goes on in the next line.
            while list.trim_end().ends_with(',')
                && let Some(more) = lines.get(at).and_then(|next| next.strip_prefix("//"))
            {
                list.push_str(more);
                at += 1;
            }
            let Some((item, case)) = self.shown_by(line) else {
                problems.push(Problem {
                    line,
                    what: "stands by no test, and by no row of a table of cases".to_owned(),
                });
                continue;
            };
            for id in list.split(',').map(str::trim) {
                self.citations.push(Citation {
                    id: id.to_owned(),
                    item: item.clone(),
                    case: case.clone(),
                    line,
                });
            }
        }
    }

    /// The test, or the table and its row, that a comment in this line is about.
    fn shown_by(&self, line: usize) -> Option<(String, Option<String>)> {
        let innermost = |range: &RangeInclusive<usize>| range.end() - range.start();
        let items = self.items.iter().filter(|item| item.lines.contains(&line));
        let item = items.min_by_key(|item| innermost(&item.lines))?;
        if item.is_test {
            return Some((item.name.clone(), None));
        }
        let rows = self.rows.iter().filter(|(_, lines)| lines.contains(&line));
        let row = rows.min_by_key(|(_, lines)| innermost(lines))?;
        Some((item.name.clone(), Some(row.0.clone())))
    }
}

#[cfg(test)]
mod tests;
