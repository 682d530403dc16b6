//! Every screen as it looks.

use rstest::rstest;

use super::fixture::{live, packed, replay, snapshot, stream, with_findings, with_notes};
use super::{app, text, type_keys};
use virtscope_analyzer::Snapshot;

/// The sizes that the screens are made for.
const SIZES: [(u16, u16); 2] = [(80, 24), (200, 50)];

/// Each screen, by the keys that lead to it.
#[rstest]
#[case::overview("overview", "1")]
#[case::second_queue("overview_second_queue", "1j")]
#[case::requests("requests", "2")]
#[case::failed("requests_in_trouble", "2ff")]
#[case::detail_not_decoded("detail_not_decoded", "2jj\n")]
#[case::detail_in_flight("detail_returned", "2jjj\n")]
#[case::detail_incomplete("detail_incomplete", "2jjjjjjj\n")]
#[case::detail_polled("detail_polled", "2jjjjjjjj\n")]
#[case::detail_entries("detail_entries", "2jjjjjjjjj\n")]
#[case::detail_error("detail_error", "2jjjjjjjjjj\n")]
#[case::detail_read("detail_read", "2G\n")]
#[case::detail_read_scrolled("detail_read_scrolled", "2G\njjjjjjjjjjjjjjjjjj")]
#[case::ring("ring", "3jjjjj")]
#[case::ring_free("ring_free_slot", "3")]
#[case::ring_of_second("ring_second_queue", "3nj")]
#[case::operations("operations", "4jjjj")]
#[case::paused("paused", " ")]
#[case::help("help", "?")]
#[case::help_end("help_end", "?G")]
fn screens(#[case] name: &str, #[case] keys: &str) {
    for (width, height) in SIZES {
        let mut app = app(snapshot(), live(), width, height);
        type_keys(&mut app, keys);
        insta::assert_snapshot!(
            format!("{name}_{width}x{height}"),
            text(&app, width, height)
        );
    }
}

/// What is wrong, and the way to a request that proves it.
#[rstest]
#[case::overview("findings_overview", "1")]
#[case::list("findings", "5")]
#[case::second("finding_second", "5jn")]
#[case::undecided("finding_undecided", "5G")]
#[case::request("finding_request", "5\n")]
fn findings(#[case] name: &str, #[case] keys: &str) {
    for (width, height) in SIZES {
        let mut app = app(with_findings(), live(), width, height);
        type_keys(&mut app, keys);
        insta::assert_snapshot!(
            format!("{name}_{width}x{height}"),
            text(&app, width, height)
        );
    }
}

/// A filter being typed, refused, helped with, and on.
#[rstest]
#[case::typed("prompt", "2/op == \"rea")]
#[case::refused("prompt_refused", "2/op == \"read\" && latncy > duration(\"1ms\")\n")]
#[case::fields("prompt_fields", "2/op ==\t")]
#[case::requests("filtered_requests", "2")]
#[case::operations("filtered_operations", "4")]
#[case::overview("filtered_overview", "1")]
fn filters(#[case] name: &str, #[case] keys: &str) {
    for (width, height) in SIZES {
        let snapshot = match name.starts_with("filtered") {
            true => stream().show_only("op.startsWith(\"read\")").snapshot(),
            false => snapshot(),
        };
        let mut app = app(snapshot, live(), width, height);
        type_keys(&mut app, keys);
        insta::assert_snapshot!(
            format!("{name}_{width}x{height}"),
            text(&app, width, height)
        );
    }
}

/// A packed ring that has turned its wrap counter over, and a large one in its
/// first lap.
#[rstest]
#[case::used_over_another("packed_used", 16, "3jj")]
#[case::written_over("packed_written_over", 16, "3")]
#[case::second_of_a_list("packed_second_of_list", 16, "3jjjjj")]
#[case::large("packed_large", 1024, "3")]
fn packed_rings(#[case] name: &str, #[case] size: u16, #[case] keys: &str) {
    for (width, height) in SIZES {
        let mut app = app(packed(size), live(), width, height);
        type_keys(&mut app, keys);
        insta::assert_snapshot!(
            format!("{name}_{width}x{height}"),
            text(&app, width, height)
        );
    }
}

#[test]
fn a_capture_has_its_own_keys() {
    for (width, height) in SIZES {
        let app = app(with_notes(), replay(), width, height);
        insta::assert_snapshot!(
            format!("replay_{width}x{height}"),
            text(&app, width, height)
        );
    }
}

#[test]
fn before_the_first_record() {
    for keys in ["1", "2", "3", "4"] {
        let mut app = app(Snapshot::default(), live(), 80, 24);
        type_keys(&mut app, keys);
        insta::assert_snapshot!(format!("empty_{keys}"), text(&app, 80, 24));
    }
}

#[test]
fn a_message_and_losses_stand_on_every_screen() {
    for keys in ["1", "2", "2\n", "3", "4", "?"] {
        let mut status = live();
        status.message = Some("x.pcapng: no space left on the device".to_owned());
        let mut app = app(snapshot(), status, 80, 24);
        type_keys(&mut app, keys);
        let text = text(&app, 80, 24);
        assert!(text.contains("no space left on the device"), "{text}");
        assert!(text.contains("1 RECORDS LOST"), "{text}");
    }
}
