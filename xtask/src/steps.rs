//! A list of steps, run one after the other, with a summary at the end.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::limit::{Background, Deadline, LIMIT};

/// What the last part of our output begins with.
const SUMMARY: &str = "──── summary";
/// What a failure's line in it begins with.
const FAILURE: &str = "  - ";
/// How many failures of one step it names.
const FAILURES: usize = 10;

/// Why a step did not pass.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something it needs can't be had here; says what and what to do.
    Missing(String),
    /// It ran and failed.
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

struct Done {
    name: String,
    took: Duration,
    /// Processor time of the commands it ran, if the system tells.
    worked: Option<Duration>,
    result: Result<(), Failure>,
}

/// What has been run so far.
#[derive(Default)]
pub(crate) struct Steps {
    done: Vec<Done>,
    /// Names of steps that were not asked for.
    skipped: Vec<String>,
    /// What the summary says besides.
    notes: Vec<String>,
    /// If there are any: words of which one is in the name of each step that is run.
    only: Vec<String>,
}

/// Steps that another process runs, beside ours.
#[must_use = "what they print and whether they pass is known once they are waited for"]
pub(crate) struct Beside {
    name: String,
    began: Instant,
    child: anyhow::Result<Background>,
    /// What it prints meanwhile.
    output: PathBuf,
}

impl Steps {
    /// Runs only steps whose names contain one of the words in `only`, if there are any.
    pub(crate) fn new(only: Vec<String>) -> Self {
        Self {
            done: Vec::new(),
            skipped: Vec::new(),
            notes: Vec::new(),
            only,
        }
    }

    /// Runs a step, whatever became of those before it. Its commands are over by
    /// the deadline that it is handed.
    pub(crate) fn step(&mut self, name: &str, run: impl FnOnce(Deadline) -> Result<(), Failure>) {
        self.step_within(LIMIT, name, run);
    }

    /// [`step`](Self::step), with a limit of its own.
    pub(crate) fn step_within(
        &mut self,
        limit: Duration,
        name: &str,
        run: impl FnOnce(Deadline) -> Result<(), Failure>,
    ) {
        if !self.is_wanted(name) {
            self.skipped.push(name.to_owned());
            return;
        }
        println!("\n──── {name}");
        let began = Instant::now();
        let before = worked();
        let result = run(Deadline::after(limit));
        let worked = worked()
            .zip(before)
            .and_then(|(now, before)| now.checked_sub(before));
        match &result {
            Ok(()) => {}
            Err(Failure::Missing(what)) => println!("missing: {what}"),
            Err(Failure::Failed(error)) => println!("failed: {error:#}"),
        }
        self.done.push(Done {
            name: name.to_owned(),
            took: began.elapsed(),
            worked,
            result,
        });
    }

    fn is_wanted(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|word| name.contains(word))
    }

    /// Starts `command`, which runs steps of its own, while ours go on; what it prints goes
    /// to the file `output` until it is [waited for](Self::wait).
    pub(crate) fn beside(name: &str, command: &mut Command, output: &Path) -> Beside {
        println!("\n──── {name}: begins, and is shown when it is over");
        let mut start = || {
            if let Some(folder) = output.parent() {
                std::fs::create_dir_all(folder)?;
            }
            let file = File::create(output)?;
            let errors = file.try_clone()?;
            Background::start(command.stdout(file).stderr(errors))
        };
        Beside {
            name: name.to_owned(),
            began: Instant::now(),
            child: start().with_context(|| output.display().to_string()),
            output: output.to_owned(),
        }
    }

    /// Waits for what runs beside us, at most `limit`, and shows what it printed.
    pub(crate) fn wait(&mut self, beside: Beside, limit: Duration) {
        let waited = beside
            .child
            .and_then(|child| child.wait(Deadline::after(limit)));
        println!("\n──── {}", beside.name);
        let printed = std::fs::read(&beside.output).unwrap_or_default();
        let printed = String::from_utf8_lossy(&printed);
        println!("{printed}");
        let result = waited.and_then(|status| {
            ensure!(status.success(), "{status}{}", what_failed(&printed));
            Ok(())
        });
        if let Err(error) = &result {
            println!("failed: {error:#}");
        }
        self.done.push(Done {
            name: beside.name,
            took: beside.began.elapsed(),
            // Of what runs at once nobody can tell it apart.
            worked: None,
            result: result.map_err(Failure::Failed),
        });
    }

    /// Whether the step of this name was asked for and has been run.
    pub(crate) fn has_run(&self, name: &str) -> bool {
        self.done.iter().any(|done| done.name == name)
    }

    /// Has the summary say this: what a step that passed has left out.
    pub(crate) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Prints what became of each step; whether all is well. What is missing is
    /// not well unless allowed.
    pub(crate) fn conclude(&self, allow_missing: bool) -> bool {
        println!("\n{SUMMARY}");
        if self.done.is_empty() {
            println!("no step has that word in its name; the steps are:");
            for name in &self.skipped {
                println!("  {name}");
            }
            return false;
        }
        let mut passed = 0;
        let mut missing = 0;
        let mut failed = 0;
        for done in &self.done {
            let (word, why) = match &done.result {
                Ok(()) => {
                    passed += 1;
                    ("passed", String::new())
                }
                Err(Failure::Missing(what)) => {
                    missing += 1;
                    ("MISSING", format!(": {what}"))
                }
                Err(Failure::Failed(error)) => {
                    failed += 1;
                    // The rest follows below the list.
                    let said = format!("{error:#}");
                    let first = said.lines().next().unwrap_or_default();
                    ("FAILED", format!(": {first}"))
                }
            };
            let seconds = done.took.as_secs_f64();
            // What a step keeps busy says whether a quicker machine or less waiting would help.
            let cores = done.worked.map_or_else(String::new, |worked| {
                format!("{:.1}", worked.as_secs_f64() / seconds.max(0.001))
            });
            println!(
                "{word:8} {seconds:7.1} s {cores:>4} cores  {}{why}",
                done.name
            );
        }
        for done in &self.done {
            if let Err(Failure::Failed(error)) = &done.result {
                for failure in format!("{error:#}").lines().skip(1).take(FAILURES) {
                    println!("{FAILURE}{failure}");
                }
            }
        }
        for note in &self.notes {
            println!("note: {note}");
        }
        if missing > 0 && !allow_missing {
            println!(
                "{missing} steps could not run; install what is missing, or accept it with --allow-missing"
            );
            failed += missing;
            missing = 0;
        }
        println!("{passed} passed, {failed} failed, {missing} skipped");
        failed == 0
    }
}

/// The failures in the summary of steps that ran beside us, a line each.
fn what_failed(printed: &str) -> String {
    let summary = printed
        .rsplit_once(SUMMARY)
        .map_or("", |(_, summary)| summary);
    summary
        .lines()
        .filter(|line| {
            ["FAILED ", "MISSING ", FAILURE]
                .iter()
                .any(|mark| line.starts_with(mark))
        })
        .map(|line| format!("\n{}", line.trim()))
        .collect()
}

/// Processor time of all commands that are over (`proc_pid_stat(5)`: cutime and cstime).
fn worked() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name before the bracket may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(13);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    let seconds = ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
    Some(Duration::from_secs_f64(seconds))
}

/// Runs `command` outside any step, with its output shown.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    Deadline::after(LIMIT).run(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_fits_no_step_is_no_success() {
        let mut steps = Steps::new(vec!["typo".to_owned()]);
        steps.step("tests", |_| panic!("it was not asked for"));
        assert!(!steps.has_run("tests"));
        assert!(!steps.conclude(false));
        assert!(!steps.conclude(true));
    }

    #[test]
    fn what_commands_worked_is_told() {
        let before = worked().unwrap();
        let mut busy = Command::new("sh");
        busy.args(["-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"]);
        run(&mut busy).unwrap();
        assert!(worked().unwrap() > before);
    }

    #[test]
    fn only_what_is_missing_can_be_allowed() {
        let mut steps = Steps::new(Vec::new());
        steps.step("demo", |_| Err(Failure::Missing("capinfos".to_owned())));
        assert!(!steps.conclude(false));
        assert!(steps.conclude(true));
        steps.step("tests", |_| Err(anyhow::anyhow!("one failed").into()));
        assert!(steps.has_run("tests"));
        assert!(!steps.conclude(true));
    }

    #[test]
    fn what_runs_beside_others_is_shown_and_counts() {
        let folder = tempfile::tempdir().unwrap();
        let mut steps = Steps::new(Vec::new());
        for (script, expected) in [("echo shown", true), ("echo shown >&2; exit 1", false)] {
            let output = folder.path().join("new/output");
            let mut command = Command::new("sh");
            let beside = Steps::beside("beside", command.args(["-c", script]), &output);
            steps.wait(beside, Duration::from_secs(60));
            assert_eq!(std::fs::read_to_string(&output).unwrap(), "shown\n");
            assert_eq!(steps.conclude(false), expected);
        }
    }

    #[test]
    fn failures_of_what_ran_beside_are_told_again() {
        let printed = "FAILED elsewhere\n──── summary\npassed  1 s  Miri\nFAILED  2 s  fuzz: a\n\
                       \u{20} - error: why\n1 passed, 1 failed, 0 skipped\n";
        assert_eq!(what_failed(printed), "\nFAILED  2 s  fuzz: a\n- error: why");
    }

    #[test]
    fn a_step_that_hangs_fails_and_the_next_one_runs() {
        let mut steps = Steps::new(Vec::new());
        let began = Instant::now();
        steps.step_within(Duration::from_millis(200), "hangs", |deadline| {
            Ok(deadline.run(Command::new("sleep").arg("120"))?)
        });
        assert!(began.elapsed() < Duration::from_secs(60));
        steps.step("tests", |deadline| {
            Ok(deadline.run(&mut Command::new("true"))?)
        });
        let results: Vec<bool> = steps.done.iter().map(|done| done.result.is_ok()).collect();
        assert_eq!(results, [false, true]);
        assert!(!steps.conclude(true));
    }
}
