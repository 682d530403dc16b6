//! What colours say, and that they can be done without.

use ratatui::style::Color;
use rstest::rstest;

use super::fixture::{live, with_notes};
use super::{app, drawn, type_keys};
use crate::screen::theme::Theme;

const SCREENS: [&str; 6] = ["1", "2", "2G\n", "3", "4", "?"];

#[test]
fn without_colours_there_are_none() {
    for keys in SCREENS {
        let mut app = app(with_notes(), live(), 120, 40);
        type_keys(&mut app, keys);
        for cell in drawn(&app, 120, 40).content() {
            assert_eq!((cell.fg, cell.bg), (Color::Reset, Color::Reset));
        }
    }
}

/// Without colours, every part of a life and every state of a slot has a
/// character of its own.
#[test]
fn nothing_is_told_by_colour_alone() {
    use crate::screen::ring::STATES;
    use crate::screen::waterfall::Part;
    let parts = Part::ALL.map(Part::symbol);
    let states = STATES.map(|(_, letter, _)| letter);
    for symbols in [&parts[..], &states[..]] {
        for (i, symbol) in symbols.iter().enumerate() {
            assert!(
                !symbols[..i].contains(symbol),
                "{symbol} stands for two things"
            );
        }
    }
}

#[rstest]
fn losses_are_loud(#[values("1", "2", "2\n", "3", "4", "?")] keys: &str) {
    let mut app = app(with_notes(), live(), 80, 24);
    app.theme = Theme::colour();
    type_keys(&mut app, keys);
    let buffer = drawn(&app, 80, 24);
    let loud: String = (0..80)
        .filter(|x| buffer[(*x, 1)].bg == Color::Red)
        .map(|x| buffer[(x, 1)].symbol())
        .collect();
    assert_eq!(loud, " 1 RECORDS LOST ");
}
