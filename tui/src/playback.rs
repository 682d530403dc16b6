//! Plays a capture into an analyzer at a chosen speed, and lets the screens
//! pause it, step it and move it about.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use arc_swap::ArcSwap;
use virtscope_analyzer::{Filter, Options, Snapshot};
use virtscope_captures::{CaptureReader, Item, ReadError};
use virtscope_record::Timestamp;

use crate::analysis::{Analysis, Progress};
use crate::input::{Input, is_pipe, name, open, open_live};
use crate::present::Present;
use crate::screen::{Control, Feed, FeedStatus, Mode};

/// How often the screens get something new.
const FRAME: Duration = Duration::from_millis(50);
/// How far `[` and `]` go.
const SEEK_NS: u64 = 1_000_000_000;
/// The bounds of `+` and `-`.
const SPEEDS: std::ops::RangeInclusive<f64> = 1e-6..=1e6;
/// Records read in one go before it is looked at what the screens want.
const CHUNK: usize = 4096;

/// How fast to play.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Pace {
    /// As fast as it comes: a pipe or a growing file has a pace of its own.
    AsItComes,
    /// So many times as fast as it was recorded.
    Times(f64),
}

/// A capture being played.
pub(crate) struct Playback {
    shared: Arc<Shared>,
    wishes: Mutex<Sender<Wish>>,
    title: String,
    /// What comes as it comes, if it does.
    what: Option<&'static str>,
    thread: JoinHandle<()>,
}

/// What the screens want of it.
enum Wish {
    Control(Control),
    /// Only requests that match, or all again.
    Filter(Option<Arc<Filter>>),
}

struct Shared {
    snapshot: ArcSwap<Snapshot>,
    state: Mutex<State>,
}

/// What the status line says.
#[derive(Clone, Debug)]
struct State {
    position_ns: u64,
    speed: f64,
    paused: bool,
    ended: bool,
    /// For how long nothing has come, where something should have.
    silence: Option<Duration>,
    message: Option<String>,
    /// Whether the message is merely a wish that can't be granted, and no trouble
    /// with the capture.
    is_notice: bool,
}

impl Playback {
    /// Opens the capture and begins to play it.
    ///
    /// `None` if `stop` was set before anything of a pipe came.
    ///
    /// # Errors
    /// It can't be opened or is no capture.
    pub(crate) fn start(
        path: &Path,
        pace: Pace,
        follow: bool,
        filter: Option<Arc<Filter>>,
        stop: Arc<AtomicBool>,
    ) -> anyhow::Result<Option<Self>> {
        let options = Options {
            filter,
            ..Options::default()
        };
        let source = Source {
            options,
            path: path.to_owned(),
            is_live: pace == Pace::AsItComes,
            what: if follow { "FOLLOWING" } else { "PIPE" },
            follow: follow.then(|| Arc::clone(&stop)),
        };
        let what = source.is_live.then_some(source.what);
        let Some(reader) = source.open(&stop)? else {
            return Ok(None);
        };
        let analysis = Analysis::new(source.options.clone());
        let shared = Arc::new(Shared {
            snapshot: ArcSwap::from_pointee(analysis.analyzer.snapshot(None)),
            state: Mutex::new(State {
                position_ns: 0,
                speed: match pace {
                    Pace::AsItComes => 1.0,
                    Pace::Times(speed) => speed,
                },
                paused: false,
                ended: false,
                silence: None,
                message: None,
                is_notice: false,
            }),
        });
        let (sender, wishes) = channel();
        let player = Player {
            source,
            pace,
            reader,
            analysis,
            present: Present::default(),
            first: None,
            position_ns: 0,
            clock: Clock::new(),
            paused: false,
            ended: false,
            message: None,
            is_notice: false,
            shared: Arc::clone(&shared),
            stop,
        };
        let thread = std::thread::Builder::new()
            .name("playback".into())
            .spawn(move || player.run(&wishes))
            .context("no thread for playing the capture")?;
        Ok(Some(Self {
            shared,
            wishes: Mutex::new(sender),
            title: format!("view {}", name(path)),
            what,
            thread,
        }))
    }

    /// Ends it; says what was wrong with the capture as far as it was read. A
    /// read that never ends is left to itself.
    pub(crate) fn end(self) -> Option<String> {
        let deadline = Instant::now() + 4 * FRAME;
        while !self.thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(FRAME / 10);
        }
        let state = lock(&self.shared.state);
        state.message.clone().filter(|_| !state.is_notice)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Feed for Playback {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.snapshot.load_full()
    }

    fn status(&self) -> FeedStatus {
        let state = lock(&self.shared.state).clone();
        FeedStatus {
            title: self.title.clone(),
            mode: match self.what {
                Some(what) => Mode::Stream {
                    what,
                    silence: state.silence,
                    ended: state.ended,
                },
                None => Mode::Replay {
                    position_ns: state.position_ns,
                    length_ns: state.ended.then_some(state.position_ns),
                    speed: state.speed,
                    paused: state.paused,
                    ended: state.ended,
                },
            },
            capture: None,
            message: state.message,
            // The last picture stays until it is closed.
            finished: false,
            found: Arc::default(),
        }
    }

    fn control(&self, control: Control) {
        // A player that is gone has nothing left to control.
        let _ = lock(&self.wishes).send(Wish::Control(control));
    }

    fn filter(&self, filter: Option<Arc<Filter>>) {
        let _ = lock(&self.wishes).send(Wish::Filter(filter));
    }
}

/// Where the playing should be by now.
struct Clock {
    base: Instant,
    base_ns: u64,
    speed: f64,
}

impl Clock {
    fn new() -> Self {
        Self {
            base: Instant::now(),
            base_ns: 0,
            speed: 1.0,
        }
    }

    fn target_ns(&self) -> u64 {
        let played = self.base.elapsed().as_secs_f64() * self.speed * 1e9;
        self.base_ns.saturating_add(played as u64)
    }

    /// From here on at this speed.
    fn set(&mut self, position_ns: u64, speed: f64) {
        self.base = Instant::now();
        self.base_ns = position_ns;
        self.speed = speed;
    }
}

/// The capture, to be opened once more when it is played from the start again.
struct Source {
    /// What the analyzer of each time it is played keeps.
    options: Options,
    path: PathBuf,
    is_live: bool,
    /// What it is called where it is live.
    what: &'static str,
    follow: Option<Arc<AtomicBool>>,
}

impl Source {
    /// `None` if told to stop before anything came.
    fn open(&self, stop: &AtomicBool) -> anyhow::Result<Option<CaptureReader<Input>>> {
        let follow = self.follow.clone();
        if self.is_live {
            open_live(&self.path, follow, Duration::ZERO, stop)
        } else {
            open(&self.path, follow).map(Some)
        }
    }
}

struct Player {
    source: Source,
    pace: Pace,
    reader: CaptureReader<Input>,
    analysis: Analysis,
    /// What time it is, where the capture comes as it comes.
    present: Present,
    first: Option<Timestamp>,
    position_ns: u64,
    clock: Clock,
    paused: bool,
    ended: bool,
    message: Option<String>,
    /// Whether the message is merely a wish that can't be granted, and no trouble
    /// with the capture.
    is_notice: bool,
    shared: Arc<Shared>,
    stop: Arc<AtomicBool>,
}

impl Player {
    fn run(mut self, wishes: &Receiver<Wish>) {
        let speed = match self.pace {
            Pace::AsItComes => 1.0,
            Pace::Times(speed) => speed,
        };
        self.clock.set(0, speed);
        while !self.stop.load(Ordering::Acquire) {
            while let Ok(wish) = wishes.try_recv() {
                self.grant(wish);
            }
            let more = !self.paused && !self.ended && self.play();
            self.publish();
            if more {
                continue;
            }
            match wishes.recv_timeout(FRAME) {
                Ok(wish) => self.grant(wish),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Plays up to where it should be by now, or for one frame's time; `true` if
    /// it is behind.
    fn play(&mut self) -> bool {
        let began = Instant::now();
        loop {
            let target = match self.pace {
                Pace::AsItComes => u64::MAX,
                Pace::Times(_) => self.clock.target_ns(),
            };
            for _ in 0..CHUNK {
                if self.ended || self.position_ns >= target || !self.advance() {
                    return false;
                }
            }
            if began.elapsed() >= FRAME {
                return true;
            }
        }
    }

    /// Reads the next record, or finds the end; `false` if nothing is there yet.
    fn advance(&mut self) -> bool {
        loop {
            let item = match self.reader.next_item() {
                Ok(item) => item,
                Err(ReadError::Input(error)) if error.kind() == ErrorKind::WouldBlock => {
                    // What is wrong shows while it is, also when nothing comes.
                    if let Some(now) = self.present.at(Instant::now()) {
                        self.analysis.analyzer.tick(now);
                    }
                    return false;
                }
                Err(error) => {
                    self.message = Some(format!("{}: {error}", name(&self.source.path)));
                    self.is_notice = false;
                    self.ended = true;
                    self.analysis.analyzer.finish();
                    return true;
                }
            };
            if let Item::Record(packet) = &item
                && self.pace == Pace::AsItComes
            {
                self.present.observe(&packet.record);
            }
            match self.analysis.observe(&item) {
                Progress::Record(time) => {
                    let first = *self.first.get_or_insert(time);
                    self.position_ns = self.position_ns.max(time.nanos_since(first));
                    return true;
                }
                Progress::Other => {}
                Progress::End => {
                    self.ended = true;
                    self.is_notice = false;
                    self.message = self
                        .analysis
                        .trouble()
                        .map(|trouble| format!("{}: {trouble}", name(&self.source.path)));
                    return true;
                }
            }
        }
    }

    fn grant(&mut self, wish: Wish) {
        match wish {
            Wish::Control(control) => self.obey(control),
            Wish::Filter(filter) => self.filter(filter),
        }
    }

    /// A capture is read once more up to where it is, so that what is shown is of all of
    /// it. Of what comes as it comes only the latest requests are still there.
    fn filter(&mut self, filter: Option<Arc<Filter>>) {
        self.source.options.filter.clone_from(&filter);
        if self.source.is_live {
            self.analysis.analyzer.show_only(filter);
            return;
        }
        let (there, was_ended) = (self.position_ns, self.ended);
        if self.begin_again() {
            self.go_on_to(if was_ended { u64::MAX } else { there });
        }
    }

    fn obey(&mut self, control: Control) {
        match control {
            Control::Pause(paused) => {
                self.paused = paused;
                self.clock.set(self.position_ns, self.clock.speed);
            }
            Control::Step => {
                self.paused = true;
                if !self.ended {
                    self.advance();
                }
            }
            Control::Faster => self.change_speed(2.0),
            Control::Slower => self.change_speed(0.5),
            Control::SeekForward => self.go_to(self.position_ns.saturating_add(SEEK_NS)),
            Control::SeekBack => self.go_to(self.position_ns.saturating_sub(SEEK_NS)),
            Control::Restart => self.go_to(0),
        }
    }

    fn change_speed(&mut self, factor: f64) {
        if let Pace::Times(speed) = self.pace {
            let speed = (speed * factor).clamp(*SPEEDS.start(), *SPEEDS.end());
            self.pace = Pace::Times(speed);
            self.clock.set(self.position_ns, speed);
        }
    }

    /// Goes to `target_ns`; back means from the start again, because what the
    /// analyzer knows can't be unlearnt.
    fn go_to(&mut self, target_ns: u64) {
        if target_ns < self.position_ns {
            if is_pipe(&self.source.path) {
                // What is wrong with the capture is worth more than this.
                if self.message.is_none() {
                    self.message = Some("a pipe can't be played again".to_owned());
                    self.is_notice = true;
                }
                return;
            }
            if !self.begin_again() {
                return;
            }
        }
        self.go_on_to(target_ns);
    }

    /// Opens the capture once more; `false` if it can't be.
    fn begin_again(&mut self) -> bool {
        match self.source.open(&self.stop) {
            Ok(Some(reader)) => self.reader = reader,
            Ok(None) => return false,
            Err(error) => {
                self.message = Some(format!("{error:#}"));
                self.is_notice = false;
                return false;
            }
        }
        self.analysis = Analysis::new(self.source.options.clone());
        self.first = None;
        self.position_ns = 0;
        self.ended = false;
        self.message = None;
        true
    }

    fn go_on_to(&mut self, target_ns: u64) {
        while self.position_ns < target_ns && !self.ended && !self.stop.load(Ordering::Relaxed) {
            if !self.advance() {
                break;
            }
        }
        self.clock.set(self.position_ns, self.clock.speed);
    }

    fn publish(&self) {
        let snapshot = self.analysis.analyzer.snapshot(None);
        self.shared.snapshot.store(Arc::new(snapshot));
        *lock(&self.shared.state) = State {
            position_ns: self.position_ns,
            speed: self.clock.speed,
            paused: self.paused,
            ended: self.ended,
            silence: if self.ended {
                None
            } else {
                self.present.silence(Instant::now())
            },
            message: self.message.clone(),
            is_notice: self.is_notice,
        };
    }
}
