//! `docs/conformance.md`, made from the list and the citations.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::requirements::{Kind, Requirement, Role};
use super::{Findings, LIST};

/// More cases of one table than this are only counted.
const CASES_NAMED: usize = 6;

const HEAD: &str = "\
# Conformance

<!-- Made by `cargo xtask conformance`. Edit the list or the tests, not this page. -->

What virtio 1.4 requires of rings, device status, features, configuration and
notifications (§2.1 to §2.9, §3, §6), sentence by sentence, and the tests that
show it. A *driver* requirement is shown by what the driver half does. A *device*
requirement is shown by a device that breaks it: the driver must survive that,
and name it where it can tell. (Some stand by tests of our own device half, too.)

Besides the requirements (MUST, SHOULD) stand the permissions (*may*), which need
no test, and *statements*: sentences without such a word that the other side
relies on all the same.

## How a test cites

By a comment on a line of its own, above the test or inside it; a list that ends
with a comma goes on in the next line:

```rust
// Shows: driver/2.7.13.3.1/1, driver/2.7.13.4.1/1
#[test]
fn no_kick_is_lost() {
```

The same above or inside a row of a table of cases. In test code a string that is
nothing but an id is a citation as well: a field of a table's row, or a parameter
of a case. The first other string of the row is the case's name.

`cargo xtask conformance` makes this page anew, `--missing` lists what no test
shows yet, and `--check`, which is part of `cargo xtask test`, fails when a
requirement has neither a test nor a reason, when a test cites what is not in the
list (`LIST`), and when this page is out of date.
";

/// The whole page.
pub(crate) fn page(findings: &Findings) -> String {
    let mut page = HEAD.replace("LIST", LIST);
    page.push_str("\n## In figures\n\n");
    figures(&mut page, findings);
    for section in &findings.requirements.sections {
        let (number, title) = (&section.number, markdown(&section.title));
        let _ = write!(
            page,
            "\n## {number} {title}\n\n| Id | virtio 1.4 §{number} | Shown by |\n|---|---|---|\n"
        );
        for requirement in &section.requirements {
            row(&mut page, findings, requirement);
        }
    }
    page
}

/// How many of each role are shown, and how many are not.
fn figures(page: &mut String, findings: &Findings) {
    page.push_str("| | driver | device |\n|---|---:|---:|\n");
    let mut line = |what: &str, counts: &dyn Fn(&Requirement) -> bool| {
        let count = |role| {
            let of_role = findings
                .requirements
                .iter()
                .filter(|one| one.role() == role);
            of_role.filter(|one| counts(one)).count()
        };
        let (driver, device) = (count(Role::Driver), count(Role::Device));
        let _ = writeln!(page, "| {what} | {driver} | {device} |");
    };
    let shown = |one: &Requirement| findings.is_shown(one);
    line("requirements and statements", &|one| one.kind != Kind::May);
    line("shown by tests", &|one| one.kind != Kind::May && shown(one));
    line("do not apply", &|one| {
        one.not_applicable.is_some() && !shown(one)
    });
    line("can't be observed by a driver", &|one| {
        one.unobservable.is_some() && !shown(one)
    });
    line("without a test yet", &|one| one.is_due() && !shown(one));
    line("permissions", &|one| one.kind == Kind::May);
}

fn row(page: &mut String, findings: &Findings, requirement: &Requirement) {
    let Requirement {
        id,
        kind,
        lead,
        text,
        ..
    } = requirement;
    let kind = match kind {
        Kind::May => " *may*",
        Kind::Statement => " *statement*",
        Kind::Must | Kind::Should => "",
    };
    let lead = lead.as_ref().map_or(String::new(), |lead| {
        format!("*{}* ", markdown(lead).trim())
    });
    let text = markdown(text);
    let shown = shown_by(findings, requirement);
    let _ = writeln!(page, "| `{id}`{kind} | {lead}{text} | {shown} |");
}

/// The tests, or why there is none.
fn shown_by(findings: &Findings, requirement: &Requirement) -> String {
    let mut parts = Vec::new();
    if let Some(reason) = &requirement.not_applicable {
        parts.push(format!("does not apply: {}", markdown(reason)));
    }
    if let Some(reason) = &requirement.unobservable {
        parts.push(format!("can't be observed: {}", markdown(reason)));
    }
    // File by file: the tests, and the cases of each table.
    let mut files: BTreeMap<&str, BTreeMap<&str, BTreeSet<&str>>> = BTreeMap::new();
    for (file, citation) in findings.citations_of(&requirement.id) {
        let items = files.entry(file).or_default();
        let cases = items.entry(&citation.item).or_default();
        cases.extend(citation.case.as_deref());
    }
    for (file, items) in files {
        let items: Vec<String> = items
            .into_iter()
            .map(|(item, cases)| named(item, &cases))
            .collect();
        parts.push(format!("`{file}`: {}", items.join(", ")));
    }
    if parts.is_empty() && requirement.is_due() {
        parts.push("**no test yet**".to_owned());
    }
    parts.join("<br>")
}

/// A test, or a table with its cases.
fn named(item: &str, cases: &BTreeSet<&str>) -> String {
    if cases.is_empty() {
        return format!("`{item}`");
    }
    let shown: Vec<String> = cases
        .iter()
        .take(CASES_NAMED)
        .map(|case| format!("“{}”", markdown(case)))
        .collect();
    let more = match cases.len() - shown.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("`{item}` ({}{more})", shown.join(", "))
}

/// Plain text, so that it can stand in a cell of a table.
fn markdown(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        if matches!(letter, '|' | '*' | '_' | '<' | '`' | '[' | '\\') {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

/// The requirements that no test shows, section by section, for the terminal.
pub(crate) fn missing(findings: &Findings) -> String {
    let mut list = String::new();
    for section in &findings.requirements.sections {
        let missing = section.requirements.iter();
        let missing: Vec<&Requirement> = missing.filter(|one| findings.is_missing(one)).collect();
        if missing.is_empty() {
            continue;
        }
        let _ = writeln!(list, "{} {}", section.number, section.title);
        for Requirement { id, lead, text, .. } in missing {
            let lead = lead
                .as_ref()
                .map_or(String::new(), |lead| format!("{lead} "));
            let _ = writeln!(list, "  {id:24} {lead}{text}");
        }
    }
    list
}
