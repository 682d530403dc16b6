use std::sync::Arc;

use proptest::prelude::*;
use rstest::rstest;
use virtscope_record::Timestamp;

use super::{FIELDS, Filter, Verdict, filter_help};
use crate::life::Life;
use crate::testing::{Stream, message, rlerror, rread, tread};

const FIRST: Timestamp = Timestamp::from_nanos(0);

/// A read of 4 bytes, a walk that fails, and a read in flight.
fn lives() -> Vec<Arc<Life>> {
    let mut stream = Stream::with_facts();
    stream.at(1_000).add_message(0, 0, &tread(1, 5, 4096, 8192));
    stream.at(1_200).kick(0, 1).at(30_000).callback(1, 0);
    stream.at(31_000).used_message(0, 0, &rread(1, b"data"));
    let mut walk = [1_u32.to_le_bytes(), 2_u32.to_le_bytes()].concat();
    walk.extend([0, 0]);
    stream.at(40_000).add_message(1, 1, &message(110, 2, &walk));
    stream.at(40_100).kick(1, 2).at(50_000).callback(2, 1);
    stream.at(50_500).used_message(1, 1, &rlerror(2, 2));
    stream
        .at(60_000)
        .add_message(2, 2, &tread(3, 5, 0, 10))
        .kick(2, 3);
    let (analyzer, mut lives) = stream.analyze();
    lives.extend(analyzer.in_flight());
    assert_eq!(lives.len(), 3);
    lives
}

fn which(filter: &str) -> Vec<usize> {
    let filter = Filter::compile(filter).unwrap_or_else(|error| panic!("{error}"));
    let lives = lives().into_iter().enumerate();
    let matching = lives.filter(|(_, life)| filter.matches(life, FIRST));
    matching.map(|(at, _)| at).collect()
}

#[rstest]
#[case("true", &[0, 1, 2])]
#[case(r#"op == "read""#, &[0, 2])]
#[case(r#"op == "read" && latency > duration("1ns")"#, &[0])]
#[case(r#"latency > duration("1h")"#, &[])]
#[case("latency == null", &[2])]
#[case("error != null", &[1])]
#[case(r#"error == "ENOENT" && errno == 2"#, &[1])]
#[case(r#"error in ["ENOENT", "EIO"]"#, &[1])]
#[case(r#"state == "in flight""#, &[2])]
#[case(r#"queue == "virtio0.0" && number < 2"#, &[0, 1])]
#[case("bytes == 4 && written == 15", &[0])]
#[case("offset == 4096 && count == 8192 && fid == 5", &[0])]
#[case("tag == 3", &[2])]
#[case("name == null && op == \"read\"", &[0, 2])]
#[case(r#"queued + device + harvest == latency"#, &[0, 1])]
#[case(r#"op.startsWith("wa") || op.matches("^re.d$") && bytes > 0"#, &[0, 1])]
#[case(r#"[1, 2].exists(n, n == number)"#, &[1, 2])]
#[case(r#"op.matches("^walk$") || op.matches("ea") && op.matches(op)"#, &[0, 1, 2])]
#[case(r#"["^w", "x"].exists(p, op.matches(p))"#, &[1])]
#[case("!polled && kicked ? number == 0 : false", &[0])]
#[case("size(op) == 4 && latency.getMilliseconds() == 0", &[0, 1])]
fn these_match(#[case] filter: &str, #[case] expected: &[usize]) {
    assert_eq!(which(filter), expected, "{filter}");
}

#[test]
fn what_is_not_known_is_neither_true_nor_false() {
    let in_flight = &lives()[2];
    for filter in [
        r#"latency > duration("1ms")"#,
        r#"!(latency > duration("1ms"))"#,
        r#"latency <= duration("1ms")"#,
        r#"name.matches("^a")"#,
        r#"!name.matches("^a")"#,
    ] {
        let filter = Filter::compile(filter).unwrap();
        assert_eq!(filter.judge(in_flight, FIRST), Verdict::Unknown);
        assert_eq!(filter.failed(), 0);
    }
    // What decides without it decides.
    assert_eq!(
        which(r#"latency > duration("1ns") || op == "read""#),
        [0, 1, 2]
    );
}

#[test]
fn what_cannot_be_evaluated_is_counted() {
    let filter = Filter::compile("10 / (number - 1) > 0").unwrap();
    let verdicts: Vec<_> = lives().iter().map(|l| filter.judge(l, FIRST)).collect();
    assert_eq!(
        verdicts,
        [Verdict::Differs, Verdict::Fails, Verdict::Matches]
    );
    assert_eq!(filter.failed(), 1);
}

/// Expressions that are wrong.
const MISTAKES: [&str; 27] = [
    "latncy > 3",
    "op == 3",
    r#"op == "read" && latency > 1000"#,
    r#"op == "read" &&"#,
    r#"op = "read""#,
    r#"op == "read"#,
    "latency",
    "op && true",
    "!number",
    "op.startsWit(\"a\")",
    "number.startsWith(\"a\")",
    "op.startsWith(3)",
    "op.startsWith()",
    "op in \"read\"",
    "number in [\"a\"]",
    "op == null",
    "op.name == \"x\"",
    "latency > duration(\"1 parsec\")",
    "op.matches(\"(\")",
    "-op == op",
    "number + op == 3",
    "latency * 2 > latency",
    "number > 1 ? op : number",
    "has(op.x)",
    "",
    "@",
    "op == \"a\" &&\n  nmber == 3",
];

#[test]
fn mistakes_are_pointed_at() {
    let mut all = String::new();
    for filter in MISTAKES {
        let error = Filter::compile(filter).unwrap_err();
        all += &format!("== {filter:?}\n{error}\n");
    }
    insta::assert_snapshot!("mistakes", all);
}

#[test]
fn every_field_can_be_asked_for() {
    for field in FIELDS {
        let filter = match field.type_name() {
            "string" => format!("{} != \"x\"", field.name),
            "int" => format!("{} >= 0", field.name),
            "bool" => format!("{0} || !{0}", field.name),
            "duration" => format!("{} >= duration(\"0s\")", field.name),
            other => panic!("{other}"),
        };
        let filter = Filter::compile(&filter).unwrap_or_else(|error| panic!("{error}"));
        for life in lives() {
            let verdict = filter.judge(&life, FIRST);
            let known = verdict == Verdict::Matches;
            assert!(known || field.is_nullable, "{}: {verdict:?}", field.name);
        }
    }
}

#[test]
fn the_help_lists_every_field_and_its_examples_compile() {
    let help = filter_help();
    for field in FIELDS {
        assert!(
            help.contains(&format!("\n  {:<14}", field.name)),
            "{}",
            field.name
        );
    }
    assert_eq!(help.matches("--filter '").count(), 4);
    assert!(help.lines().all(|line| line.chars().count() <= 100));
    insta::assert_snapshot!(help);
}

proptest! {
    /// No text is too strange.
    #[test]
    fn nothing_panics(text in ".{0,60}") {
        if let Ok(filter) = Filter::compile(&text) {
            for life in lives() {
                filter.judge(&life, FIRST);
            }
        }
    }

    /// What looks like an expression, neither.
    #[test]
    fn nothing_like_an_expression_panics(
        words in prop::collection::vec(prop::sample::select(vec![
            "op", "latency", "number", "error", "null", "true", "\"read\"", "1", "-", "!", "(", ")",
            "[", "]", "==", "<", "&&", "||", "?", ":", "in", ".", "size(", "duration(\"1s\")",
            ".startsWith(", ",", ".exists(x, x", "{", "}", "1u", "2.5", "b\"x\"", "/", "%",
        ]), 0..20)
    ) {
        if let Ok(filter) = Filter::compile(&words.join(" ")) {
            for life in lives() {
                filter.judge(&life, FIRST);
            }
        }
    }

    /// What is nested too deep is told, not followed.
    #[test]
    fn nesting_has_an_end(depth in 0_usize..2000, open in prop::sample::select(vec!["(", "[", "!", "-", "1 ? 1 : ", "op.size("])) {
        let text = open.repeat(depth);
        if let Err(error) = Filter::compile(&text) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}
