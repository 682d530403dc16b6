//! What is shown from the moment on in which tracing begins, until records tell more.

use std::sync::Arc;

use virtscope_analyzer::Snapshot;
use virtscope_record::{QueueFacts, QueueId};
use virtscope_tracer::trace::{Progress, Step};

use super::fixture::{found, found_queue, live, many_found, snapshot, starting};
use super::{app, press, text, type_keys};
use crate::screen::app::Action;
use crate::screen::feed::{FeedStatus, FoundQueue, Starting};
use crossterm::event::KeyCode;

const LOADING: Starting = Starting::Programs(Progress {
    step: Step::Loading,
    done: 12,
    of: 42,
});

#[test]
fn before_the_queues_are_found() {
    let status = starting(Starting::Reading, Vec::new());
    let app = app(Snapshot::default(), status, 80, 24);
    insta::assert_snapshot!("found_none_80x24", text(&app, 80, 24));
}

#[test]
fn found_queues_are_shown_while_programs_are_loaded() {
    for (width, height) in [(80, 24), (60, 15), (200, 50)] {
        let status = starting(LOADING, found());
        let app = app(Snapshot::default(), status, width, height);
        insta::assert_snapshot!(format!("found_{width}x{height}"), text(&app, width, height));
    }
}

/// On the same rows before and after all is attached, and before the first records.
#[test]
fn they_stand_where_they_stood_when_it_goes_live() {
    let mut app = app(Snapshot::default(), starting(LOADING, found()), 80, 24);
    let rows = |text: &str| -> Vec<(usize, String)> {
        let lines = text.lines().enumerate();
        let named = lines.filter(|(_, line)| line.starts_with(" virtio") && line.contains('/'));
        named.map(|(row, line)| (row, line.to_owned())).collect()
    };
    let before = text(&app, 80, 24);
    assert!(before.contains("found, not traced yet"), "{before}");
    assert_eq!(rows(&before).len(), 5, "{before}");
    app.observe(Arc::default(), traced(found()));
    let after = text(&app, 80, 24);
    assert_eq!(rows(&after), rows(&before), "{after}");
    assert!(!after.contains("not traced"), "{after}");
    assert!(after.contains("found, no record yet"), "{after}");
}

/// Live, and these queues are there.
fn traced(found: Vec<FoundQueue>) -> FeedStatus {
    FeedStatus {
        found: found.into(),
        ..live()
    }
}

#[test]
fn those_without_records_stay_below_those_that_have_some() {
    for (width, height) in [(80, 24), (200, 50)] {
        let app = app(snapshot(), traced(found()), width, height);
        insta::assert_snapshot!(
            format!("found_beside_records_{width}x{height}"),
            text(&app, width, height)
        );
    }
    let app = app(snapshot(), traced(found()[..2].to_vec()), 80, 24);
    let shown = text(&app, 80, 24);
    assert!(!shown.contains("no record yet"), "{shown}");
}

#[test]
fn queues_that_do_not_fit_are_scrolled_to() {
    let status = starting(LOADING, many_found(40));
    let mut app = app(Snapshot::default(), status, 80, 24);
    let shown = text(&app, 80, 24);
    assert!(shown.contains("virtio0/req.0 "), "{shown}");
    assert!(shown.contains("18 of 40 queues shown"), "{shown}");
    assert!(
        shown.contains("40 queues of 1 device, not traced"),
        "{shown}"
    );
    type_keys(&mut app, "G");
    let shown = text(&app, 80, 24);
    assert!(shown.contains("virtio0/req.39 "), "{shown}");
    type_keys(&mut app, "k");
    assert!(text(&app, 80, 24).contains("virtio0/req.38 "));
    type_keys(&mut app, "g");
    assert!(text(&app, 80, 24).contains("virtio0/req.0 "));
}

#[test]
fn there_is_nothing_to_pause_before_it_has_begun() {
    let mut app = app(Snapshot::default(), starting(LOADING, found()), 80, 24);
    assert_eq!(press(&mut app, KeyCode::Char(' ')), Action::Nothing);
    app.observe(Arc::new(snapshot()), live());
    assert!(text(&app, 80, 24).contains("LIVE"));
    let mut app = super::app(Snapshot::default(), starting(LOADING, found()), 80, 24);
    assert_eq!(press(&mut app, KeyCode::Char('q')), Action::Quit);
}

/// Names that a driver gave its queues reach the terminal harmless.
#[test]
fn names_of_found_queues_are_made_harmless() {
    let name = "virtio0/\u{1b}[31m\u{202e}\ndriver=\u{9b}2J";
    let queue = found_queue(QueueId::new(0, 0), &QueueFacts::default(), name);
    let app = app(Snapshot::default(), starting(LOADING, vec![queue]), 80, 24);
    let shown = text(&app, 80, 24);
    assert!(shown.contains(r"virtio0/\x1b[31m"), "{shown}");
    assert!(!shown.contains(['\u{1b}', '\u{202e}', '\u{9b}']), "{shown}");
}
