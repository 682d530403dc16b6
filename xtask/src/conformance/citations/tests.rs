//! What is a citation, whose it is, and what only looks like one.

use rstest::rstest;

use super::*;

/// The citations in `text`, a file of tests, as (id, item, case).
fn cited(text: &str) -> Vec<(String, String, Option<String>)> {
    let (citations, problems) = read(text, true).unwrap();
    assert_eq!(problems, []);
    citations
        .into_iter()
        .map(|one| (one.id, one.item, one.case))
        .collect()
}

fn by(id: &str, item: &str, case: Option<&str>) -> (String, String, Option<String>) {
    (id.to_owned(), item.to_owned(), case.map(str::to_owned))
}

#[rstest]
#[case::above("// Shows: driver/2.7/1\n#[test]\nfn shown() {}\n")]
#[case::above_its_documentation(
    "// Shows: driver/2.7/1\n/// What it does.\n#[test]\nfn shown() {}\n"
)]
#[case::between_attributes("#[test]\n// Shows: driver/2.7/1\n#[should_panic]\nfn shown() {}\n")]
#[case::among_other_comments("// One.\n// Shows: driver/2.7/1\n// Two.\n#[test]\nfn shown() {}\n")]
#[case::inside("#[test]\nfn shown() {\n    // Shows: driver/2.7/1\n    loop {}\n}\n")]
#[case::rstest("#[rstest]\n// Shows: driver/2.7/1\n#[case::one(1)]\nfn shown(#[case] _: u8) {}\n")]
#[case::in_a_macro(
    "proptest! {\n    // Shows: driver/2.7/1\n    #[test]\n    fn shown(x in 0..3u8) { let _ = x; }\n}\n"
)]
#[case::another_test_before(
    "#[test]\nfn other() {}\n// Shows: driver/2.7/1\n#[test]\nfn shown() {}\n"
)]
#[case::of_a_path("// Shows: driver/2.7/1\n#[tokio::test]\nasync fn shown() {}\n")]
#[case::in_a_helper_inside(
    "#[test]\nfn shown() {\n    if true {\n        // Shows: driver/2.7/1\n    }\n}\n"
)]
#[case::parameter_of_the_test("#[test]\nfn shown() { check(\"driver/2.7/1\"); }\n")]
fn a_citation_belongs_to_the_test_around_or_below_it(#[case] text: &str) {
    assert_eq!(cited(text), [by("driver/2.7/1", "shown", None)]);
}

#[test]
fn a_list_may_go_on_in_the_next_line() {
    let text = "// Shows: driver/2.7/1, device/2.8/2,\n//   driver/6.1/3\n#[test]\nfn shown() {}\n";
    let ids: Vec<String> = cited(text).into_iter().map(|one| one.0).collect();
    assert_eq!(ids, ["device/2.8/2", "driver/2.7/1", "driver/6.1/3"]);
}

#[rstest]
#[case::field("const CASES: &[Case] = &[Case { name: \"jump\", breaks: \"device/2.7/1\" }];")]
#[case::id_first("const CASES: &[Case] = &[Case { breaks: \"device/2.7/1\", name: \"jump\" }];")]
#[case::tuple("static CASES: [(&str, &str); 1] = [(\"jump\", \"device/2.7/1\")];")]
#[case::function("fn CASES() -> Vec<Case> { vec![case(\"jump\", || {}, \"device/2.7/1\")] }")]
#[case::wrapped("const CASES: &[Case] = &[case(\"jump\", Some(Sentence(\"device/2.7/1\")))];")]
#[case::parameter("#[rstest]\n#[case::jump(1, \"device/2.7/1\")]\nfn CASES() {}")]
#[case::macro_rows("const CASES: &[Case] = cases![(\"jump\", \"device/2.7/1\")];")]
#[case::comment_above(
    "const CASES: &[Case] = &[\n    // Shows: device/2.7/1\n    Case { name: \"jump\" },\n    Case { name: \"back\" },\n];"
)]
#[case::comment_inside(
    "const CASES: &[Case] = &[\n    Case {\n        // Shows: device/2.7/1\n        name: \"jump\",\n    },\n];"
)]
fn a_row_of_a_table_has_a_name(#[case] text: &str) {
    assert_eq!(cited(text), [by("device/2.7/1", "CASES", Some("jump"))]);
}

#[test]
fn a_row_without_a_name_stands_for_its_table() {
    assert_eq!(
        cited("const CASES: &[&str] = &[\"device/2.7/1\"];"),
        [by("device/2.7/1", "CASES", None)]
    );
    assert_eq!(
        cited("cases! { jump => \"device/2.7/1\" }"),
        [by("device/2.7/1", "cases!", None)]
    );
}

#[test]
fn modules_are_part_of_the_name() {
    let text = "mod packed {\n    mod tests {\n        // Shows: driver/2.8/1\n        #[test]\n        fn shown() {}\n    }\n}\n";
    assert_eq!(cited(text), [by("driver/2.8/1", "packed::shown", None)]);
}

#[rstest]
fn literals_count_in_test_code_only(#[values("test", "all(test, not(loom))")] only: &str) {
    let text = format!(
        "const NAME: &str = \"driver/2.7/1\";\n#[cfg({only})]\nmod tests {{\n    const NAME: &str = \"driver/2.7/2\";\n}}\n"
    );
    let (citations, problems) = read(&text, false).unwrap();
    assert_eq!(problems, []);
    let ids: Vec<&str> = citations.iter().map(|one| one.id.as_str()).collect();
    assert_eq!(ids, ["driver/2.7/2"]);
}

#[rstest]
#[case::other_text("const PATH: &str = \"driver/2.7/1.rs\"; const A: &str = \"see driver/2.7/1\";")]
#[case::in_a_string("#[test]\nfn f() { let _ = \"\n// Shows: driver/2.7/1\n\"; }\n")]
#[case::mentioned("// As driver/2.7/1 says.\n#[test]\nfn f() {}\n")]
fn what_only_looks_like_one_is_none(#[case] text: &str) {
    assert_eq!(cited(text), []);
}

#[rstest]
#[case::no_test("// Shows: driver/2.7/1\nfn helper() {}\n", 1)]
#[case::type_only("// Shows: driver/2.7/1\nstruct Ring;\n", 1)]
#[case::blank_line_between("// Shows: driver/2.7/1\n\n#[test]\nfn f() {}\n", 1)]
#[case::doc_comment("/// Shows: driver/2.7/1\n#[test]\nfn f() {}\n", 1)]
#[case::end_of_line("#[test]\nfn f() {\n    check(); // Shows: driver/2.7/1\n}\n", 3)]
fn citations_that_say_nothing_are_named(#[case] text: &str, #[case] line: usize) {
    let (citations, problems) = read(text, true).unwrap();
    assert_eq!(citations, []);
    let lines: Vec<usize> = problems.iter().map(|one| one.line).collect();
    assert_eq!(lines, [line]);
}

/// What stands between an item and its name, and what only begins like one.
#[rstest]
#[case("impl<const N: usize> Ring<N> { }")]
#[case("pub(crate) const fn size() -> usize { 1 }")]
#[case("fn array() -> [u8; 2] { const A: [u8; 2] = [0; 2]; A }")]
#[case("struct Words(*const u8);")]
#[case("macro_rules! words { ($name:ident) => { fn $name() {} } }")]
#[case("mod other;")]
#[case("#![allow(dead_code)]")]
fn the_rest_of_rust_is_passed_over(#[case] before: &str) {
    let text = format!("{before}\n// Shows: driver/2.7/1\n#[test]\nfn shown() {{}}\n");
    assert_eq!(cited(&text), [by("driver/2.7/1", "shown", None)]);
}

#[test]
fn a_file_that_is_no_rust_is_an_error() {
    let error = read("fn f() {\n    (\n}\n", true).unwrap_err();
    assert!(format!("{error:#}").contains("line"), "{error:#}");
}
