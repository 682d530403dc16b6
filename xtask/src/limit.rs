//! Commands that have an end: by themselves, at a deadline, or with us.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::failures::{Failed, Failures};

/// What a step may take unless it says otherwise: several times what the longest
/// takes on a slow machine, so that only what hangs takes longer.
pub(crate) const LIMIT: Duration = Duration::from_secs(20 * 60);
/// Between being asked to end and being killed.
const GRACE: Duration = Duration::from_secs(3);
/// Between two looks at a command that runs.
const LOOK: Duration = Duration::from_millis(20);

/// The process groups that run now. A group stands here from before its first
/// process can be seen until after the last was killed, so the number is its own.
static RUNNING: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// When the commands of one step must be over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    at: Instant,
    limit: Duration,
}

impl Deadline {
    /// So much time from now on.
    pub(crate) fn after(limit: Duration) -> Self {
        Self {
            at: Instant::now() + limit,
            limit,
        }
    }

    /// Runs `command` with its output shown.
    ///
    /// # Errors
    /// It can't be started, fails, or is killed at the deadline. What it printed
    /// last stands right above the error then.
    pub(crate) fn run(self, command: &mut Command) -> anyhow::Result<()> {
        let shown = announce(command);
        let status = self.wait(start(command)?).context(shown.clone())?;
        ensure!(status.success(), "{shown}: {status}");
        Ok(())
    }

    /// [`run`](Self::run) of a `cargo test`: the error names the tests that failed as well,
    /// wherever in the output they stand.
    pub(crate) fn run_tests(self, command: &mut Command) -> anyhow::Result<()> {
        let shown = announce(command);
        let (reader, writer) = std::io::pipe()?;
        command.stdout(writer.try_clone()?).stderr(writer);
        let child = start(command);
        // Ours; as long as one is open, the output has no end.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = child?;
        let reader = std::thread::spawn(move || pass_through(reader));
        let status = self.wait(child).context(shown.clone());
        let failures = reader.join().unwrap_or_default();
        let what = match status {
            Ok(status) if status.success() => return Ok(()),
            Ok(status) => format!("{shown}: {status}"),
            Err(error) => format!("{error:#}"),
        };
        Err(Failed { what, failures }.into())
    }

    /// What `command` prints on its standard output.
    ///
    /// # Errors
    /// As [`run`](Self::run); or it prints something that is no text.
    pub(crate) fn text_of(self, command: &mut Command) -> anyhow::Result<String> {
        let shown = announce(command);
        let mut child = start(command.stdout(Stdio::piped()))?;
        let mut pipe = child.stdout.take().context("no pipe")?;
        // Read beside it: a full pipe would stop it.
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            pipe.read_to_string(&mut text).map(|_| text)
        });
        let status = self.wait(child).context(shown.clone())?;
        ensure!(status.success(), "{shown}: {status}");
        // Nobody of its group is left who could hold the pipe open.
        let Ok(text) = reader.join() else {
            bail!("{shown}: its output can't be read");
        };
        text.with_context(|| format!("{shown}: its output can't be read"))
    }

    /// Whether `command` succeeds; nothing of it is shown.
    pub(crate) fn succeeds(self, command: &mut Command) -> bool {
        command.stdout(Stdio::null()).stderr(Stdio::null());
        start(command)
            .and_then(|child| self.wait(child))
            .is_ok_and(|status| status.success())
    }

    /// Until it is over, and its whole group with it: nothing that a test leaves
    /// behind may keep our own output open.
    fn wait(self, mut child: Child) -> anyhow::Result<ExitStatus> {
        let group = Pid::from_child(&child);
        loop {
            let mut running = running();
            let is_over = is_over(group);
            let is_late = Instant::now() >= self.at;
            if is_over || is_late {
                end(group);
                running.retain(|other| *other != group);
                drop(running);
                let status = child.wait()?;
                ensure!(is_over, "not over after {:?}: killed", self.limit);
                return Ok(status);
            }
            drop(running);
            sleep(LOOK);
        }
    }
}

/// A command that runs beside us, and ends with this.
#[derive(Debug)]
pub(crate) struct Background {
    /// `None` once it has been waited for.
    child: Option<Child>,
    group: Pid,
}

impl Background {
    /// Starts it, with its output shown unless it was told where that goes.
    ///
    /// # Errors
    /// It can't be started.
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let child = start(command)?;
        Ok(Self {
            group: Pid::from_child(&child),
            child: Some(child),
        })
    }

    /// Whether it has ended by itself.
    pub(crate) fn is_over(&self) -> bool {
        self.child.is_none() || is_over(self.group)
    }

    /// Until it has ended by itself, or is killed at the deadline.
    ///
    /// # Errors
    /// It had to be killed.
    pub(crate) fn wait(mut self, deadline: Deadline) -> anyhow::Result<ExitStatus> {
        let child = self.child.take().context("it has been waited for")?;
        deadline.wait(child)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let mut running = running();
            end(self.group);
            running.retain(|other| *other != self.group);
            drop(running);
            let _ = child.wait();
        }
    }
}

/// Says what is run, as it can be typed; returns it without the environment.
fn announce(command: &Command) -> String {
    println!("$ {}", format!("{command:?}").replace('"', ""));
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(OsStr::to_string_lossy).collect();
    words.join(" ")
}

/// Shows what a `cargo test` prints as it comes; what has failed in it.
fn pass_through(output: impl Read) -> Vec<String> {
    let mut failures = Failures::default();
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    while output
        .read_until(b'\n', &mut line)
        .is_ok_and(|read| read > 0)
    {
        // Whoever reads us may have gone; the tests go on.
        let _ = std::io::stdout().write_all(&line);
        failures.line(&String::from_utf8_lossy(&line));
        line.clear();
    }
    failures.end()
}

/// Starts it as the first of a process group, so that it can be killed with all
/// it starts. From then on the terminal's keys do not reach it: see
/// [`pass_on_signals`].
fn start(command: &mut Command) -> anyhow::Result<Child> {
    pass_on_signals();
    let mut running = running();
    let child = command
        // A group that is not the terminal's must not read from it.
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    running.push(Pid::from_child(&child));
    Ok(child)
}

fn running() -> MutexGuard<'static, Vec<Pid>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the group's first process has ended. It is not reaped: as long as it
/// is not, nobody else gets its number.
fn is_over(group: Pid) -> bool {
    let peek = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    !matches!(waitid(WaitId::Pid(group), peek), Ok(None))
}

/// Ends a group whose first process is not reaped yet: a request first, because
/// a package manager wants to leave things in order.
fn end(group: Pid) {
    // Fails if nobody is left, which is what is wanted.
    let _ = kill_process_group(group, Signal::TERM);
    let asked = Instant::now();
    while !is_over(group) && asked.elapsed() < GRACE {
        sleep(LOOK);
    }
    let _ = kill_process_group(group, Signal::KILL);
}

/// What ends us ends the commands first.
fn pass_on_signals() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).and_then(|mut signals| {
            std::thread::Builder::new()
                .name("signals".into())
                .spawn(move || {
                    for signal in signals.forever() {
                        // Kept: nothing is started any more.
                        let running = running();
                        for group in running.iter() {
                            end(*group);
                        }
                        let _ = signal_hook::low_level::emulate_default_handler(signal);
                    }
                })
        });
        if let Err(error) = signals {
            eprintln!("xtask: a signal will not end what it runs: {error}");
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Far more than anything here takes, and less than the sleepers sleep.
    const SOON: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    /// Has `run` be late, in as little time as gets it to say its words: a busy machine may
    /// keep a shell from beginning for a while.
    fn late<T>(run: impl Fn(Duration) -> (T, bool)) -> T {
        for limit in [200, 1000, 5000, 20_000].map(Duration::from_millis) {
            let (seen, has_spoken) = run(limit);
            if has_spoken {
                return seen;
            }
        }
        panic!("it never begins");
    }

    /// Runs it to the deadline; returns the error once nobody is left who could
    /// write to its output.
    fn run_out(script: &str) -> String {
        late(|limit| {
            let began = Instant::now();
            let (mut reader, writer) = std::io::pipe().unwrap();
            let mut command = shell(script);
            command.stdout(writer);
            let error = Deadline::after(limit).run(&mut command).unwrap_err();
            drop(command);
            let mut printed = String::new();
            reader.read_to_string(&mut printed).unwrap();
            assert!(began.elapsed() < SOON, "it was left alone");
            let error = format!("{error:#}");
            let expected = format!("not over after {limit:?}: killed");
            assert!(error.contains(&expected), "{error}");
            let has_spoken = printed == "last words\n";
            assert!(has_spoken || printed.is_empty(), "{printed}");
            (error, has_spoken)
        })
    }

    #[test]
    fn a_command_that_takes_too_long_is_killed() {
        let error = run_out("echo last words; sleep 120");
        assert!(
            error.starts_with("sh -c echo last words; sleep 120: "),
            "{error}"
        );
    }

    #[test]
    fn what_it_has_started_is_killed_with_it() {
        run_out("echo last words; sleep 120 & wait");
    }

    #[test]
    fn tests_that_fail_are_in_the_error() {
        let script = "echo '---- one stdout ----'; echo why >&2; exit 101";
        let error = Deadline::after(SOON)
            .run_tests(&mut shell(script))
            .unwrap_err();
        let said = error.to_string();
        let lines: Vec<_> = said.lines().collect();
        assert_eq!(lines[0], format!("sh -c {script}: exit status: 101"));
        assert_eq!(lines[1..], [": one: why"]);
        Deadline::after(SOON).run_tests(&mut shell("true")).unwrap();
    }

    #[test]
    fn tests_that_hang_are_killed_and_those_before_are_named() {
        let script = "echo '---- one stdout ----'; echo $((2 * 21)); sleep 120 & wait";
        let error = late(|limit| {
            let began = Instant::now();
            let deadline = Deadline::after(limit);
            let error = deadline.run_tests(&mut shell(script)).unwrap_err();
            assert!(began.elapsed() < SOON, "it was left alone");
            let error = error.to_string();
            let has_spoken = error.contains("42");
            (error, has_spoken)
        });
        assert!(error.contains(": killed\n: one: 42"), "{error}");
    }

    #[test]
    fn a_request_to_end_that_is_ignored_is_followed_by_force() {
        run_out("trap '' TERM; echo last words; sleep 120; sleep 120");
    }

    #[test]
    fn what_a_command_leaves_behind_ends_with_it() {
        let began = Instant::now();
        let text = Deadline::after(SOON).text_of(&mut shell("sleep 120 & echo over"));
        assert_eq!(text.unwrap(), "over\n");
        assert!(began.elapsed() < SOON);
    }

    #[test]
    fn what_a_command_prints_is_handed_over_whole() {
        // More than a pipe holds.
        let text = Deadline::after(SOON).text_of(&mut shell("seq 100000"));
        assert_eq!(text.unwrap().lines().count(), 100_000);
    }

    #[test]
    fn what_runs_beside_us_ends_with_its_value() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut command = shell("echo up; sleep 120 & wait");
        command.stdout(writer);
        let background = Background::start(&mut command).unwrap();
        drop(command);
        let mut up = [0; 3];
        reader.read_exact(&mut up).unwrap();
        assert!(!background.is_over());
        let began = Instant::now();
        drop(background);
        // Nobody is left who could write.
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert!(began.elapsed() < SOON);
    }

    #[test]
    fn what_runs_beside_us_can_be_waited_for() {
        let background = Background::start(&mut shell("exit 3")).unwrap();
        let status = background.wait(Deadline::after(SOON)).unwrap();
        assert_eq!(status.code(), Some(3));
    }

    #[test]
    fn an_error_says_what_was_run() {
        let error = Deadline::after(SOON).run(&mut shell("exit 3")).unwrap_err();
        assert_eq!(error.to_string(), "sh -c exit 3: exit status: 3");
        assert!(Deadline::after(SOON).succeeds(&mut shell("true")));
        assert!(!Deadline::after(SOON).succeeds(&mut shell("false")));
        let nothing = Deadline::after(SOON).run(&mut Command::new("no-such-program"));
        let error = nothing.unwrap_err().to_string();
        assert_eq!(error, "cannot start no-such-program");
    }
}
