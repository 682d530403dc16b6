//! The book's chapter on a buffer's way shows the bytes of a ring at each step.
//! They are taken from this run of both halves; where the book says anything
//! else, this test fails.
//!
//! `VIRTSCOPE_UPDATE_BOOK=1 cargo test -p virtscope-driver --test book_walk`
//! writes them anew.

#[path = "../common/mod.rs"]
mod common;
mod picture;
mod steps;

use std::fmt::Write;
use std::path::Path;

/// What stands around each block: its name in a comment, then the block.
const BEGIN: &str = "<!-- ring: ";

/// The chapter with every block replaced by what this run shows.
fn renewed(chapter: &str) -> Result<String, String> {
    let mut pictures = steps::all();
    let mut renewed = String::new();
    let mut lines = chapter.lines();
    while let Some(line) = lines.next() {
        writeln!(renewed, "{line}").expect("a string takes all");
        let Some(name) = line.strip_prefix(BEGIN) else {
            continue;
        };
        let name = name.trim_end_matches(" -->");
        let text = pictures
            .remove(name)
            .ok_or_else(|| format!("no step is called {name}, or it is shown twice"))?;
        if lines.next() != Some("```text") || !lines.any(|line| line == "```") {
            return Err(format!("no block behind the name {name}"));
        }
        write!(renewed, "```text\n{text}```\n").expect("a string takes all");
    }
    if let Some(left) = pictures.keys().next() {
        return Err(format!("the chapter does not show the step {left}"));
    }
    Ok(renewed)
}

#[test]
fn the_book_shows_what_really_stands_in_the_ring() {
    if cfg!(miri) {
        // The bytes are those of any other run, and the book is not at hand.
        return;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/a-buffers-way.md");
    let chapter = std::fs::read_to_string(&path).expect("the chapter is there");
    let renewed = renewed(&chapter).expect("each step is shown once");
    if std::env::var_os("VIRTSCOPE_UPDATE_BOOK").is_some() {
        std::fs::write(&path, &renewed).expect("the chapter can be written");
        return;
    }
    assert!(
        renewed == chapter,
        "docs/a-buffers-way.md shows other bytes than this run; run this test with VIRTSCOPE_UPDATE_BOOK=1 and look at the difference"
    );
}
