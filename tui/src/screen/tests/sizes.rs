//! No size of terminal and no size of ring is too much.

use proptest::prelude::*;
use ratatui::buffer::Buffer;
use ratatui::layout::{Rect, Size};
use virtscope_analyzer::Snapshot;

use super::fixture::{live, many_found, replay, starting, with_notes};
use super::stream::Stream;
use super::{app, text, type_keys};
use crate::screen::feed::Starting;
use crate::screen::frame;

#[test]
fn every_screen_is_drawn_at_every_size() {
    for keys in [
        "1",
        "2jj",
        "2G\nG",
        "3",
        "4G",
        "?G",
        "/op == 'é日",
        "/x\n",
        "/\t",
    ] {
        let found = starting(Starting::Reading, many_found(40));
        for status in [live(), replay(), found] {
            let mut app = app(with_notes(), status, 80, 24);
            type_keys(&mut app, keys);
            for width in 1..=90 {
                for height in 1..=30 {
                    app.resize(Size::new(width, height));
                    let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
                    frame::draw(&app, &mut buffer);
                }
            }
        }
    }
}

#[test]
fn a_small_terminal_is_told_what_is_needed() {
    let app = app(with_notes(), live(), 59, 15);
    let shown = text(&app, 59, 15);
    assert_eq!(shown.trim(), "59x15 is too small: 60x15 needed, q quits");
    let shown = text(&app, 20, 3);
    assert_eq!(shown.trim(), "60x15 needed");
    assert!(text(&app, 60, 15).contains("Overview"));
}

fn ring_of(size: u16, first: u16, count: u16) -> Snapshot {
    let mut stream = Stream::new();
    stream.queue(0, 0).facts(size, 9, "virtio0/requests");
    for i in 0..count.min(size / 2) {
        stream.at(i.into()).add(i * 2, first.wrapping_add(i), &[]);
    }
    stream
        .kick(first, first.wrapping_add(count / 2), true)
        .at(100_000)
        .snapshot()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// The chosen slot is in sight, whatever the ring's size.
    #[test]
    fn rings_of_every_size_are_drawn(
        size in prop_oneof![Just(1u16), Just(2), Just(128), Just(1024), Just(32768), 1u16..=32768],
        first: u16,
        count in 0u16..40,
        width in 60u16..220,
        height in 15u16..60,
        keys in "3[jkG]{0,12}",
    ) {
        let mut app = app(ring_of(size, first, count), live(), width, height);
        type_keys(&mut app, &keys);
        let shown = text(&app, width, height);
        prop_assert!(shown.contains("available ring"), "{}", shown);
    }
}

#[test]
fn indices_wrap_into_the_ring() {
    let mut app = app(ring_of(128, 65534, 4), live(), 80, 24);
    type_keys(&mut app, "3");
    let shown = text(&app, 80, 24);
    // Slots 126, 127, 0 and 1; the first two are kicked.
    assert!(shown.contains("    0 AA··"), "{shown}");
    assert!(shown.contains("··PP\n"), "{shown}");
    assert!(shown.contains("a avail_idx 2 "), "{shown}");
}
