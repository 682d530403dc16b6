//! What keys do.

use std::sync::Arc;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use virtscope_analyzer::Snapshot;

use super::fixture::{live, replay, snapshot, stream};
use super::{app, press, type_keys};
use crate::screen::app::{Action, App, View};
use crate::screen::feed::{Control, Mode};

fn selected(app: &App) -> u64 {
    let life = app.requests.selected(&app.snapshot);
    life.expect("there are requests").number
}

/// The same run a little later: two requests more, and one that has ended.
fn later() -> Arc<Snapshot> {
    let mut stream = stream();
    stream.at(1000).add(20, 10, &[]).add(22, 11, &[]);
    stream.at(1010).kick(9, 12, true).callback(7, 5);
    stream.at(1020).used(10, 5, &[]);
    Arc::new(stream.snapshot())
}

#[test]
fn screens_are_chosen_by_number_and_by_tab() {
    let mut app = app(snapshot(), live(), 80, 24);
    for (key, view) in [
        ('2', View::Requests),
        ('3', View::Ring),
        ('4', View::Operations),
        ('5', View::Findings),
        ('1', View::Overview),
    ] {
        assert_eq!(press(&mut app, KeyCode::Char(key)), Action::Redraw);
        assert_eq!(app.view, view);
    }
    for view in [
        View::Requests,
        View::Ring,
        View::Operations,
        View::Findings,
        View::Overview,
    ] {
        press(&mut app, KeyCode::Tab);
        assert_eq!(app.view, view);
    }
    press(&mut app, KeyCode::BackTab);
    assert_eq!(app.view, View::Findings);
}

#[test]
fn quitting_works_from_everywhere() {
    for keys in ["", "2", "2\n", "3", "4", "?"] {
        let mut app = app(snapshot(), live(), 80, 24);
        type_keys(&mut app, keys);
        assert_eq!(press(&mut app, KeyCode::Char('q')), Action::Quit);
        let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(app.on_key(control_c), Action::Quit);
    }
}

#[test]
fn a_key_without_meaning_does_nothing() {
    let mut app = app(snapshot(), live(), 80, 24);
    for code in [KeyCode::Char('x'), KeyCode::Char('s'), KeyCode::F(9)] {
        assert_eq!(press(&mut app, code), Action::Nothing);
    }
}

#[test]
fn the_newest_is_followed_until_one_is_chosen() {
    let mut app = app(snapshot(), live(), 80, 24);
    type_keys(&mut app, "2");
    let newest = selected(&app);
    app.observe(later(), live());
    assert!(selected(&app) > newest);
}

#[test]
fn the_selection_stays_on_its_request() {
    let mut app = app(snapshot(), live(), 80, 24);
    type_keys(&mut app, "2jj");
    let chosen = selected(&app);
    app.observe(later(), live());
    assert_eq!(selected(&app), chosen);
    let rows = app.requests.rows(&app.snapshot);
    // Two rows came in above it, and yet it stands where it stood.
    assert_eq!(app.requests.position(&rows), 4);
    assert_eq!(app.requests.first_visible(&rows, 5), 2);
    // Even a snapshot that has forgotten it does not take it away.
    app.observe(Arc::new(Snapshot::default()), live());
    assert_eq!(selected(&app), chosen);
    press(&mut app, KeyCode::Home);
    app.observe(later(), live());
    assert_eq!(app.requests.position(&app.requests.rows(&app.snapshot)), 0);
}

#[test]
fn details_go_on_living_and_are_left_by_escape() {
    let mut app = app(snapshot(), live(), 80, 24);
    type_keys(&mut app, "2jjjj\n");
    assert_eq!(app.view, View::Detail);
    let shown = app.detail.clone().expect("one is open");
    assert!(shown.moments.used.is_none());
    app.observe(later(), live());
    let now = app.detail.clone().expect("one is open");
    assert_eq!(now.number, shown.number);
    assert!(now.moments.used.is_some());
    press(&mut app, KeyCode::Esc);
    assert_eq!(app.view, View::Requests);
    assert_eq!(selected(&app), shown.number);
}

#[test]
fn scrolling_ends_with_the_text() {
    let mut app = app(snapshot(), live(), 80, 24);
    type_keys(&mut app, "2\n");
    for _ in 0..500 {
        press(&mut app, KeyCode::Down);
    }
    let bottom = app.detail_scroll;
    assert!(bottom > 0 && bottom < 100);
    press(&mut app, KeyCode::Up);
    assert_eq!(app.detail_scroll, bottom - 1);
}

#[test]
fn a_live_pause_keeps_the_moment() {
    let mut app = app(snapshot(), live(), 80, 24);
    let moment = app.snapshot.clone();
    assert_eq!(press(&mut app, KeyCode::Char(' ')), Action::Redraw);
    assert!(!app.observe(later(), live()));
    assert!(Arc::ptr_eq(&app.snapshot, &moment));
    press(&mut app, KeyCode::Char(' '));
    assert!(app.observe(later(), live()));
}

#[test]
fn a_capture_is_asked_to_pause_step_and_seek() {
    let mut app = app(snapshot(), replay(), 80, 24);
    for (key, control) in [
        (' ', Control::Pause(true)),
        ('s', Control::Step),
        ('+', Control::Faster),
        ('-', Control::Slower),
        (']', Control::SeekForward),
        ('[', Control::SeekBack),
        ('r', Control::Restart),
    ] {
        assert_eq!(
            press(&mut app, KeyCode::Char(key)),
            Action::Control(control)
        );
    }
    let mut paused = replay();
    if let Mode::Replay { paused, .. } = &mut paused.mode {
        *paused = true;
    }
    assert!(app.observe(app.snapshot.clone(), paused));
    let pause = press(&mut app, KeyCode::Char(' '));
    assert_eq!(pause, Action::Control(Control::Pause(false)));
}

#[test]
fn queues_are_chosen_in_a_circle() {
    let mut app = app(snapshot(), live(), 80, 24);
    type_keys(&mut app, "3");
    let name = |app: &App| app.chosen_queue().map(|queue| queue.name.clone());
    assert_eq!(name(&app).as_deref(), Some("virtio0/requests"));
    press(&mut app, KeyCode::Right);
    assert_eq!(name(&app).as_deref(), Some("virtio1/requests"));
    press(&mut app, KeyCode::Char('n'));
    assert_eq!(name(&app).as_deref(), Some("virtio0/requests"));
    press(&mut app, KeyCode::Left);
    assert_eq!(name(&app).as_deref(), Some("virtio1/requests"));
}

#[test]
fn a_queue_on_the_overview_opens_its_ring() {
    let mut app = app(snapshot(), live(), 80, 24);
    type_keys(&mut app, "j\n");
    assert_eq!(app.view, View::Ring);
    let name = app.chosen_queue().map(|queue| queue.name.as_str());
    assert_eq!(name, Some("virtio1/requests"));
}

#[test]
fn filters_go_in_a_circle() {
    let mut app = app(snapshot(), live(), 80, 24);
    type_keys(&mut app, "2");
    let count = |app: &App| app.requests.rows(&app.snapshot).len();
    let all = count(&app);
    type_keys(&mut app, "f");
    assert_eq!(count(&app), app.snapshot.in_flight.len());
    type_keys(&mut app, "f");
    assert!(count(&app) < all && count(&app) > 0);
    type_keys(&mut app, "f");
    assert_eq!(count(&app), all);
}

#[test]
fn operations_are_sorted_by_the_column_that_is_asked_for() {
    let mut app = app(snapshot(), live(), 80, 24);
    type_keys(&mut app, "4");
    let names = |app: &App| -> Vec<_> {
        let rows = app.order.sorted(&app.snapshot.operations);
        rows.iter().map(|row| row.operation.name()).collect()
    };
    let by_time = ["read", "buffer", "readdir", "walk", "clunk", "getattr"];
    assert_eq!(names(&app), by_time);
    // The chosen one stays chosen, wherever it moves.
    type_keys(&mut app, "jo");
    let mut by_name = by_time;
    by_name.sort_unstable();
    assert_eq!(names(&app), by_name);
    assert_eq!(app.operation_row(), 0);
    type_keys(&mut app, "O");
    by_name.reverse();
    assert_eq!(names(&app), by_name);
    assert_eq!(app.operation_row(), 5);
    // Done, then errors: the direction is the column's own again.
    type_keys(&mut app, "oo");
    assert_eq!(names(&app)[0], "walk");
    // Round all columns, and by time again.
    type_keys(&mut app, "oooooo");
    assert_eq!(names(&app), by_time);
}

#[test]
fn a_filter_is_typed_applied_and_cleared() {
    let mut app = app(snapshot(), live(), 80, 24);
    let filter = |app: &App| app.filter().map(|filter| filter.text().to_owned());
    // What are commands elsewhere are letters here.
    type_keys(&mut app, "2/q != 2");
    assert_eq!(press(&mut app, KeyCode::Enter), Action::Redraw);
    assert!(
        app.prompt.is_some() && filter(&app).is_none(),
        "there is no field `q`"
    );
    let cut = KeyEvent::new(KeyCode::Char('u'), KeyModifiers::CONTROL);
    app.on_key(KeyEvent::from(KeyCode::End));
    app.on_key(cut);
    type_keys(&mut app, "op == 'read'");
    assert_eq!(press(&mut app, KeyCode::Enter), Action::Filter);
    assert!(app.prompt.is_none());
    assert_eq!(filter(&app).as_deref(), Some("op == 'read'"));
    // It is there to be changed; the fields are a page that Escape closes first.
    type_keys(&mut app, "/ && errno == 2\t");
    assert_eq!(press(&mut app, KeyCode::Esc), Action::Redraw);
    assert_eq!(press(&mut app, KeyCode::Enter), Action::Filter);
    assert_eq!(filter(&app).as_deref(), Some("op == 'read' && errno == 2"));
    assert_eq!(press(&mut app, KeyCode::Esc), Action::Filter);
    assert_eq!(filter(&app), None);
    assert_eq!(press(&mut app, KeyCode::Esc), Action::Redraw);
    type_keys(&mut app, "/op == 'walk'\n/");
    assert_eq!(press(&mut app, KeyCode::Esc), Action::Filter);
    assert_eq!((filter(&app), app.prompt.is_none()), (None, true));
    type_keys(&mut app, "/");
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(app.on_key(control_c), Action::Quit);
}

#[test]
fn help_is_laid_over_and_taken_away() {
    let mut app = app(snapshot(), live(), 80, 24);
    type_keys(&mut app, "4?jj");
    assert_eq!(app.help, Some(2));
    press(&mut app, KeyCode::Esc);
    assert_eq!((app.help, app.view), (None, View::Operations));
    type_keys(&mut app, "?");
    assert_eq!(app.help, Some(0));
    type_keys(&mut app, "?");
    assert_eq!(app.help, None);
    type_keys(&mut app, "?2");
    assert_eq!((app.help, app.view), (None, View::Requests));
}
