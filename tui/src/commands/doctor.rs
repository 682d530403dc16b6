//! `virtscope doctor`.

use std::fmt::{self, Write as _};
use std::io::{self, Write};

use anyhow::Context;
use virtscope_analyzer::sanitize;
use virtscope_tracer::doctor::{Check, Diagnosis, How, State, Verdict, diagnose_running};
use virtscope_tracer::trace::Operation;

use super::{OUTPUT_FAILED, Outcome};
use crate::cli::DoctorArgs;
use crate::json;

/// Columns of the text.
const WIDTH: usize = 96;
/// Where a check's words begin.
const INDENT: usize = 28;

/// Says what this kernel lets us trace.
pub(crate) fn doctor(args: &DoctorArgs) -> anyhow::Result<Outcome> {
    let diagnosis = diagnose_running();
    let text = match args.json {
        true => json(&diagnosis)?,
        false => text(&diagnosis),
    };
    io::stdout()
        .write_all(text.as_bytes())
        .context(OUTPUT_FAILED)?;
    Ok(match diagnosis.verdict() {
        Verdict::Whole | Verdict::Partly => Outcome::Clean,
        Verdict::NotAtAll | Verdict::Unknown => Outcome::Failed,
    })
}

fn json(diagnosis: &Diagnosis) -> anyhow::Result<String> {
    let mut value = serde_json::to_value(diagnosis).context("the diagnosis as JSON")?;
    value["version"] = 1.into();
    value["verdict"] =
        serde_json::to_value(diagnosis.verdict()).context("the diagnosis as JSON")?;
    json::to_text(&value).context("the diagnosis as JSON")
}

fn text(diagnosis: &Diagnosis) -> String {
    let mut text = format!("kernel {}\n\n", sanitize(&diagnosis.kernel));
    for check in &diagnosis.checks {
        // Writing to a string cannot fail.
        let _ = write_check(&mut text, check);
    }
    let _ = write_functions(&mut text, diagnosis);
    text += match diagnosis.verdict() {
        Verdict::Whole => "virtscope trace would see every operation on every virtqueue.\n",
        Verdict::Partly => {
            "virtscope trace works here, not as well as it could: see what is marked !.\n"
        }
        Verdict::NotAtAll => {
            "virtscope trace does not work here: see what is marked ✗. Captures, the demo and \
             USDT\nprobes of the reference driver do not depend on it.\n"
        }
        Verdict::Unknown => {
            "What is marked ? could not be tried, so whether virtscope trace works here is not \
             known.\n"
        }
    };
    text
}

fn write_check(text: &mut String, check: &Check) -> fmt::Result {
    let mark = match check.state {
        State::Fine => '✓',
        State::Degraded => '!',
        State::Missing => '✗',
        State::Unknown => '?',
    };
    let found = wrapped(&sanitize(&check.found), WIDTH - INDENT);
    let mut lines = found.iter();
    writeln!(
        text,
        "{mark} {:<width$}{}",
        check.name,
        lines.next().map_or("", String::as_str),
        width = INDENT - 2,
    )?;
    for line in lines {
        writeln!(text, "{:INDENT$}{line}", "")?;
    }
    let advice = check
        .advice
        .iter()
        .flat_map(|advice| wrapped(advice, WIDTH - INDENT - 2));
    for (n, line) in advice.enumerate() {
        let arrow = if n == 0 { "→ " } else { "  " };
        writeln!(text, "{:INDENT$}{arrow}{line}", "")?;
    }
    Ok(())
}

fn write_functions(text: &mut String, diagnosis: &Diagnosis) -> fmt::Result {
    writeln!(text)?;
    if diagnosis.functions.is_empty() {
        return Ok(());
    }
    writeln!(
        text,
        "{:<20}{:<32}{:<14}WHERE",
        "OPERATION", "FUNCTION", "BY"
    )?;
    for operation in Operation::ALL {
        let mut functions = diagnosis
            .functions
            .iter()
            .filter(|function| function.operation == operation)
            .peekable();
        if functions.peek().is_none() {
            writeln!(
                text,
                "{:<20}none that this kernel has",
                operation.kind().name()
            )?;
        }
        for (n, function) in functions.enumerate() {
            let name = if n == 0 { operation.kind().name() } else { "" };
            let how = match function.how {
                How::Fentry => "fentry/fexit",
                How::Kprobe => "kprobe",
                How::NotAtAll => "nothing",
            };
            writeln!(
                text,
                "{name:<20}{:<32}{how:<14}{}",
                function.function,
                sanitize(&function.home),
            )?;
        }
    }
    writeln!(text)
}

/// Words in lines of at most `width` characters.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
