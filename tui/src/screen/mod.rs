//! The screens.
//!
//! State and I/O are apart: [`App`] is what the user has chosen to see, each
//! screen is a function of it and of the latest snapshot, and only [`run`]
//! touches a terminal. All text goes through the `canvas` module, which makes it
//! harmless.

mod app;
mod canvas;
mod detail;
mod feed;
mod findings;
mod found;
mod frame;
mod help;
mod keys;
mod message;
mod number;
mod operations;
mod overview;
mod prompt;
mod request_list;
mod requests;
mod ring;
mod ring_grid;
mod ring_layout;
mod ring_packed;
mod terminal;
#[cfg(test)]
mod tests;
mod theme;
mod waterfall;
mod words;

pub(crate) use feed::{Control, Feed, FeedStatus, FoundQueue, Mode, Starting};
pub(crate) use found::counted;
pub(crate) use terminal::{check_size, give_back, run};
