//! The terminal: taken over, drawn on, and given back on every way out.

use std::collections::VecDeque;
use std::io::{self, BufWriter, Stdout, Write};
use std::mem::ManuallyDrop;
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use crossterm::cursor;
use crossterm::event::{self, Event};
use crossterm::execute;
use crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
    is_raw_mode_enabled,
};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;

use super::app::{Action, App};
use super::feed::{Feed, Mode};
use super::frame;
use super::theme::Theme;

/// Between two looks at the feed.
const TICK: Duration = Duration::from_millis(100);
/// The same while somebody waits for the first that it shows.
const STARTING_TICK: Duration = Duration::from_millis(20);

/// Shows `feed` until the user quits, a live feed has finished, or `stop` is set.
///
/// Signals are the caller's to catch: its handler sets `stop`, which is looked at
/// ten times a second. Keys are read from the terminal even where standard input
/// is something else. Nothing of the screen is left behind, whatever ends it.
///
/// # Errors
/// There is no terminal, it went away, or a thread has panicked meanwhile (its
/// message stands on the screen then).
pub(crate) fn run(feed: &dyn Feed, stop: &AtomicBool) -> io::Result<()> {
    let panicked = Arc::new(AtomicBool::new(false));
    // Given back last: locals are dropped from the last one up.
    let _taken = Taken::over(panicked.clone())?;
    let mut keys = Keys::read()?;
    // Whole frames at a time: a terminal far away sees no half ones.
    let output = BufWriter::with_capacity(64 * 1024, io::stdout());
    // Never dropped: ratatui's drop shows the cursor, which `Taken` does as well,
    // and where the terminal is gone it panics over having nobody to tell.
    let mut terminal = ManuallyDrop::new(Terminal::new(CrosstermBackend::new(output))?);
    until_done(feed, stop, &panicked, &mut keys, &mut terminal)
}

/// Whether the terminal is large enough to begin on. One that is made smaller
/// later is told so on the screen, and can be made larger again.
///
/// # Errors
/// It is too small, or its size is not known.
pub(crate) fn check_size() -> io::Result<()> {
    let (width, height) = crossterm::terminal::size()?;
    let least = frame::SMALLEST;
    if width < least.width || height < least.height {
        return Err(io::Error::other(format!(
            "a terminal of {width}x{height} is too small for the screens: make it {}x{} or larger, or send the output to a file",
            least.width, least.height
        )));
    }
    Ok(())
}

type Screen = Terminal<CrosstermBackend<BufWriter<Stdout>>>;

fn until_done(
    feed: &dyn Feed,
    stop: &AtomicBool,
    panicked: &AtomicBool,
    keys: &mut Keys,
    terminal: &mut Screen,
) -> io::Result<()> {
    let size = terminal.size()?;
    let mut app = App::new(feed.snapshot(), feed.status(), Theme::from_env(), size);
    let mut is_stale = true;
    loop {
        if panicked.load(Ordering::Relaxed) {
            return Err(io::Error::other("a thread panicked; its message is above"));
        }
        let is_starting = app.is_starting();
        let is_over = app.status.finished && (is_starting || app.status.mode == Mode::Live);
        if stop.load(Ordering::Relaxed) || is_over {
            return Ok(());
        }
        if is_stale {
            terminal.draw(|frame| frame::draw(&app, frame.buffer_mut()))?;
        }
        is_stale = false;
        let tick = Instant::now() + if is_starting { STARTING_TICK } else { TICK };
        while let Some(event) = keys.before(tick)? {
            match event {
                Event::Key(key) => match app.on_key(key) {
                    Action::Quit => return Ok(()),
                    Action::Control(control) => {
                        feed.control(control);
                        is_stale = true;
                    }
                    Action::Filter => {
                        feed.filter(app.filter());
                        is_stale = true;
                    }
                    Action::Redraw => is_stale = true,
                    Action::Nothing => {}
                },
                Event::Resize(..) => {
                    terminal.autoresize()?;
                    app.resize(terminal.size()?);
                    is_stale = true;
                }
                _ => {}
            }
            // What was typed shows at once, together with what else is waiting;
            // but no flood of keys keeps the screen from being drawn.
            let is_waiting = keys.is_waiting();
            if (is_stale && !is_waiting) || Instant::now() >= tick {
                break;
            }
        }
        // In this order, because a feed stores its snapshot before it says that it
        // stands still: a picture that says so is of the last one.
        let status = feed.status();
        is_stale |= app.observe(feed.snapshot(), status);
    }
}

/// The terminal is ours; dropping this gives it back.
struct Taken {
    /// What panics did before.
    hook: Arc<Hook>,
}

type Hook = dyn Fn(&panic::PanicHookInfo<'_>) + Sync + Send;

impl Taken {
    fn over(panicked: Arc<AtomicBool>) -> io::Result<Self> {
        enable_raw_mode().map_err(|error| {
            io::Error::new(
                error.kind(),
                format!(
                    "no terminal to draw on ({error}): run it in one, or send the output elsewhere"
                ),
            )
        })?;
        let hook: Arc<Hook> = panic::take_hook().into();
        let before = hook.clone();
        panic::set_hook(Box::new(move |info| {
            // Only the first: from then on nothing is drawn any more.
            if !panicked.swap(true, Ordering::Relaxed) {
                give_back();
            }
            before(info);
        }));
        let taken = Self { hook };
        execute!(io::stdout(), EnterAlternateScreen, cursor::Hide)?;
        Ok(taken)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        give_back();
        // The hook may not be changed by a thread that is panicking.
        if !thread::panicking() {
            let before = self.hook.clone();
            panic::set_hook(Box::new(move |info| before(info)));
        }
    }
}

/// Gives the terminal back if it was taken. As far as it goes: where it is gone
/// there is nothing to restore.
pub(crate) fn give_back() {
    if !is_raw_mode_enabled().unwrap_or(false) {
        return;
    }
    let mut output = io::stdout();
    let _ = execute!(output, cursor::Show, LeaveAlternateScreen);
    let _ = output.flush();
    let _ = disable_raw_mode();
}

/// Events, read by a thread of their own.
///
/// crossterm blocks inside an escape sequence that is not finished (Alt-[ alone
/// is one), and reads without end from a terminal that is gone. Neither may stop
/// the drawing or keep the program from ending. Dropping this ends the thread,
/// unless it is stuck so: then it ends with the program.
struct Keys {
    events: Receiver<io::Result<Event>>,
    /// Received, and not yet given out.
    waiting: VecDeque<io::Result<Event>>,
    is_done: Arc<AtomicBool>,
}

impl Keys {
    fn read() -> io::Result<Self> {
        let (sender, events) = mpsc::channel();
        let is_done = Arc::new(AtomicBool::new(false));
        let ask = is_done.clone();
        thread::Builder::new()
            .name("keys".to_owned())
            .spawn(move || read_events(&sender, &ask))?;
        Ok(Self {
            events,
            waiting: VecDeque::new(),
            is_done,
        })
    }

    /// The next event, if one comes before `deadline`.
    fn before(&mut self, deadline: Instant) -> io::Result<Option<Event>> {
        if let Some(event) = self.waiting.pop_front() {
            return event.map(Some);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        match self.events.recv_timeout(left) {
            Ok(event) => event.map(Some),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                Err(io::Error::other("the terminal gives no more keys"))
            }
        }
    }

    fn is_waiting(&mut self) -> bool {
        self.waiting.extend(self.events.try_iter());
        !self.waiting.is_empty()
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.is_done.store(true, Ordering::Relaxed);
    }
}

/// Until nobody listens any more, or the terminal fails.
fn read_events(sender: &Sender<io::Result<Event>>, is_done: &AtomicBool) {
    while !is_done.load(Ordering::Relaxed) {
        let event = match event::poll(TICK) {
            Ok(false) => continue,
            Ok(true) => event::read(),
            Err(error) => Err(error),
        };
        let is_last = event.is_err();
        if sender.send(event).is_err() || is_last {
            return;
        }
    }
}
