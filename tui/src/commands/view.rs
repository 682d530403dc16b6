//! `virtscope view`.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};

use super::{Outcome, complain};
use crate::cli::ViewArgs;
use crate::playback::{Pace, Playback};
use crate::screen;

/// Plays a capture on the screens.
pub(crate) fn view(args: &ViewArgs, stop: &Arc<AtomicBool>) -> anyhow::Result<Outcome> {
    if !io::stdout().is_terminal() {
        bail!("the screens need a terminal: use `virtscope report` or `virtscope print` instead");
    }
    screen::check_size()?;
    let live = args.follow || crate::input::is_pipe(&args.capture);
    let pace = if live {
        Pace::AsItComes
    } else {
        Pace::Times(args.speed)
    };
    let Some(playback) = Playback::start(
        &args.capture,
        pace,
        args.follow,
        args.filter.filter.clone(),
        Arc::clone(stop),
    )?
    else {
        return Ok(Outcome::Clean);
    };
    let shown = screen::run(&playback, stop).context("the terminal failed");
    stop.store(true, Ordering::Release);
    let trouble = playback.end();
    shown?;
    if let Some(trouble) = trouble {
        complain(&trouble);
        return Ok(Outcome::Failed);
    }
    Ok(Outcome::Clean)
}
