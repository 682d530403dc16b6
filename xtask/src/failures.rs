//! Which tests have failed, from what `cargo test` prints: whoever sees the end of a long
//! output alone still learns it.

use std::fmt;
use std::mem::take;

/// What is told of a failure, at most, in characters.
const SHOWN: usize = 300;
/// How many lines of what a test has said are looked at for a reason.
const READ: usize = 200;

/// What has failed so far.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    told: Vec<String>,
    /// The file of tests that runs.
    file: String,
    /// The test whose last words are being read, and those.
    test: Option<(String, Vec<String>)>,
}

impl Failures {
    /// Takes the next line of the output.
    pub(crate) fn line(&mut self, line: &str) {
        let trimmed = line.trim();
        if let Some(run) = trimmed.strip_prefix("Running ") {
            self.end_test();
            // As in "Running tests/rotate.rs (target/debug/deps/rotate-0123)".
            run.rsplit_once(" (")
                .map_or(run, |(file, _)| file)
                .clone_into(&mut self.file);
        } else if let Some(package) = trimmed.strip_prefix("Doc-tests ") {
            self.end_test();
            self.file = format!("documentation of {package}");
        } else if let Some(name) = trimmed
            .strip_prefix("---- ")
            .and_then(|rest| rest.strip_suffix(" stdout ----"))
        {
            self.end_test();
            self.test = Some((name.to_owned(), Vec::new()));
        } else if trimmed == "failures:" || trimmed.starts_with("test result:") {
            self.end_test();
        } else if let Some((_, said)) = &mut self.test {
            if said.len() < READ && !trimmed.is_empty() {
                said.push(trimmed.to_owned());
            }
        } else if trimmed.starts_with("error")
            || trimmed.starts_with("process didn't exit successfully")
        {
            // What does not build, and what ended without a word of the harness.
            self.tell(trimmed.to_owned());
        }
    }

    /// What has failed, a line each; empty if nothing has.
    pub(crate) fn end(mut self) -> Vec<String> {
        self.end_test();
        self.told
    }

    fn end_test(&mut self) {
        let Some((name, said)) = take(&mut self.test) else {
            return;
        };
        // A panic's message stands in the line after its place; what the test printed
        // before is in the way.
        let panic = said.iter().position(|line| line.contains("panicked at "));
        let reason = said[panic.unwrap_or_default()..]
            .iter()
            .take(4)
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(" ");
        self.tell(format!("{}: {name}: {reason}", self.file));
    }

    fn tell(&mut self, what: String) {
        let mut what = what;
        if let Some((end, _)) = what.char_indices().nth(SHOWN) {
            what.truncate(end);
            what.push('…');
        }
        self.told.push(what);
    }
}

/// A command that ran and failed: what it was and how it ended, then a line a failure.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) what: String,
    pub(crate) failures: Vec<String>,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        for failure in &self.failures {
            write!(f, "\n{failure}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failed {}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(output: &str) -> Vec<String> {
        let mut failures = Failures::default();
        for line in output.lines() {
            failures.line(line);
        }
        failures.end()
    }

    #[test]
    fn a_test_that_fails_is_named_with_its_file_and_reason() {
        let output = "
     Running unittests src/lib.rs (target/debug/deps/a-1)
test result: ok. 3 passed; 0 failed
     Running tests/rotate.rs (target/debug/deps/rotate-1)

running 2 tests
test fine ... ok
test files ... FAILED
test late ... FAILED

failures:

---- files stdout ----
error: that the program it runs has printed

thread 'files' (12) panicked at tui/tests/rotate.rs:7:9:
assertion `left == right` failed: files
  left: 1
 right: 2

---- late stdout ----
thread 'late' (13) panicked at tui/tests/rotate.rs:9:9:
too late
note: run with `RUST_BACKTRACE=1`

failures:
    files
    late

test result: FAILED. 1 passed; 2 failed
error: test failed, to rerun pass `-p tui --test rotate`
";
        assert_eq!(
            told(output),
            [
                "tests/rotate.rs: files: thread 'files' (12) panicked at \
                 tui/tests/rotate.rs:7:9: assertion `left == right` failed: files \
                 left: 1 right: 2",
                "tests/rotate.rs: late: thread 'late' (13) panicked at \
                 tui/tests/rotate.rs:9:9: too late note: run with `RUST_BACKTRACE=1`",
                "error: test failed, to rerun pass `-p tui --test rotate`",
            ]
        );
    }

    #[test]
    fn what_dies_or_does_not_build_is_told() {
        let output = "
error[E0308]: mismatched types
error: test failed, to rerun pass `--lib`

Caused by:
  process didn't exit successfully: `target/a` (signal: 6, SIGABRT: process abort signal)
";
        assert_eq!(told(output).len(), 3);
    }

    #[test]
    fn where_all_is_well_nothing_is_told() {
        assert!(told("running 1 test\ntest errors ... ok\n").is_empty());
    }

    #[test]
    fn a_long_reason_is_cut() {
        let output = format!("---- a stdout ----\n{}\n", "é".repeat(2 * SHOWN));
        let told = told(&output);
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].chars().count(), SHOWN + 1);
        assert!(told[0].ends_with("é…"));
    }
}
