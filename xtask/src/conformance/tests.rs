//! The check, over lists and tests small enough to see through.

use super::*;

const LIST: &str = r#"
[[section]]
number = "2.7"
title = "Split Virtqueues"

[[section.requirement]]
id = "driver/2.7/1"
kind = "must"
lead = "If VIRTIO_F_EVENT_IDX is negotiated:"
text = "The driver MUST set flags to 0."

[[section.requirement]]
id = "driver/2.7/2"
kind = "may"
text = "The driver MAY add many."

[[section.requirement]]
id = "device/2.7/1"
kind = "should"
text = "The device SHOULD NOT send a notification."

[[section.requirement]]
id = "device/2.7/2"
kind = "must"
text = "The device MUST ignore used_event."
unobservable = "reading leaves no trace"
"#;

const TESTS: &str = "\
// Shows: driver/2.7/1
#[test]
fn flags_are_0() {}

const HOSTILE: &[(&str, &str)] = &[(\"storm\", \"device/2.7/1\")];
";

fn findings(tests: &str) -> Findings {
    let mut findings = Findings::new(Requirements::parse(LIST).unwrap());
    findings.read("driver/tests/ring.rs", tests).unwrap();
    findings
}

#[test]
fn all_is_well_when_everything_is_shown_and_the_page_is_new() {
    let findings = findings(TESTS);
    let page = page::page(&findings);
    assert_eq!(findings.wrong(&page), Vec::<String>::new());
}

#[test]
fn a_requirement_without_a_test_is_wrong() {
    let findings = findings("");
    let wrong = findings.wrong(&page::page(&findings));
    assert_eq!(wrong.len(), 2, "{wrong:?}");
    assert!(wrong[0].starts_with("driver/2.7/1 has neither a test nor a reason"));
    assert!(wrong[1].starts_with("device/2.7/1 has neither a test nor a reason"));
    let missing = page::missing(&findings);
    assert!(missing.contains("2.7 Split Virtqueues"));
    assert!(missing.contains("driver/2.7/1") && !missing.contains("device/2.7/2"));
}

#[test]
fn citing_what_is_not_in_the_list_is_wrong() {
    let unknown = format!("{TESTS}// Shows: driver/2.7/3\n#[test]\nfn more() {{}}\n");
    let findings = findings(&unknown);
    let wrong = findings.wrong(&page::page(&findings));
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    assert!(wrong[0].contains("driver/tests/ring.rs:6: \"driver/2.7/3\" is not in"));
}

#[test]
fn a_reason_must_not_contradict_a_test() {
    let list = LIST.replace("unobservable =", "not_applicable =");
    let mut findings = Findings::new(Requirements::parse(&list).unwrap());
    let tests = format!("{TESTS}// Shows: device/2.7/2\n#[test]\nfn more() {{}}\n");
    findings.read("driver/tests/ring.rs", &tests).unwrap();
    let wrong = findings.wrong(&page::page(&findings));
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    assert!(wrong[0].starts_with("device/2.7/2 does not apply"));
}

#[test]
fn a_page_that_was_made_before_is_wrong() {
    let before = page::page(&findings(TESTS));
    let renamed = findings(&TESTS.replace("flags_are_0", "flags_stay_0"));
    let wrong = renamed.wrong(&before);
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    assert!(wrong[0].contains("out of date"));
    assert_eq!(renamed.wrong(""), wrong, "as one that was never made");
}

#[test]
fn the_page_names_tests_cases_and_reasons() {
    let page = page::page(&findings(TESTS));
    for row in [
        "| `driver/2.7/1` | *If VIRTIO\\_F\\_EVENT\\_IDX is negotiated:* The driver MUST set flags to 0. | `driver/tests/ring.rs`: `flags_are_0` |",
        "| `driver/2.7/2` *may* | The driver MAY add many. |  |",
        "| `device/2.7/1` | The device SHOULD NOT send a notification. | `driver/tests/ring.rs`: `HOSTILE` (“storm”) |",
        "| `device/2.7/2` | The device MUST ignore used\\_event. | can't be observed: reading leaves no trace |",
        "| requirements and statements | 1 | 2 |",
        "| shown by tests | 1 | 1 |",
        "| can't be observed by a driver | 0 | 1 |",
        "| without a test yet | 0 | 0 |",
    ] {
        assert!(page.contains(row), "{row}\n{page}");
    }
}

#[test]
fn many_cases_are_counted() {
    let rows: String = (0..9)
        .map(|n| format!("(\"case {n}\", \"device/2.7/1\"), "))
        .collect();
    let page = page::page(&findings(&format!("const HOSTILE: &[C] = &[{rows}];")));
    let named = "`HOSTILE` (“case 0”, “case 1”, “case 2”, “case 3”, “case 4”, “case 5” and 3 more)";
    assert!(page.contains(named), "{page}");
}

/// The list that is committed is in order, and the workspace can be read.
#[test]
fn the_workspaces_own_list_and_tests_can_be_read() {
    let findings = Findings::gather(&root().unwrap()).unwrap();
    assert!(findings.requirements.iter().count() > 200);
    assert!(findings.requirements.iter().all(|one| {
        let words = ["MUST", "SHOULD", "RECOMMENDED", "MAY", "OPTIONAL"];
        let said = format!("{} {}", one.lead.as_deref().unwrap_or_default(), one.text);
        one.kind == requirements::Kind::Statement || words.iter().any(|word| said.contains(word))
    }));
}
