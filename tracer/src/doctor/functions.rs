//! The kernel's functions that tell of a ring's operations, and how each can be seen.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};

use serde::Serialize;

use super::{Host, Refusal, Tried};
use crate::btf::{Home, KernelBtf};
use crate::kallsyms::Symbol;
use crate::trace::{Hook, Operation};

/// How a function can be seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// By fentry and fexit: it is in vmlinux, with type information.
    Fentry,
    /// By kprobe and kretprobe: it is in a module, or has no type information.
    Kprobe,
    /// Not at all.
    NotAtAll,
}

/// A function, and how it can be seen.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct FunctionCheck {
    /// Linux' name for it.
    pub function: &'static str,
    /// What it tells of.
    pub operation: Operation,
    /// Where it is: `vmlinux` or a module.
    pub home: String,
    /// How it can be seen, as far as its place tells.
    pub how: How,
    /// Why no better.
    pub why: Option<String>,
}

impl FunctionCheck {
    /// What trying to attach has shown. Where nothing could be tried, the function's
    /// place has the word.
    pub(super) fn settle(&mut self, tried: &Tried) {
        if self.how == How::Fentry
            && let Err(Refusal::Kernel(why)) = &tried.fentry
        {
            self.how = How::Kprobe;
            self.why = Some(format!("fentry is refused: {why}"));
        }
        if self.how == How::Kprobe
            && let Err(Refusal::Kernel(why)) = &tried.kprobe
        {
            self.how = How::NotAtAll;
            self.why = Some(format!("kprobes are refused: {why}"));
        }
    }
}

/// The functions that would be hooked on this kernel, as the tracer chooses them.
pub(super) fn look(host: &Host, btf: Option<&KernelBtf>) -> Vec<FunctionCheck> {
    let symbols = symbols(host);
    let traceable = traceable(host);
    let is_there = |function: &str| {
        symbols.contains_key(function) || btf.is_some_and(|btf| btf.function(function).is_some())
    };
    Hook::of_kernel_with(is_there)
        .filter_map(|hook| {
            let (operation, function) = (hook.operation, hook.function);
            let typed = btf.and_then(|btf| btf.function(function));
            let symbol = symbols.get(function);
            let home = match (&typed, symbol) {
                (Some(home), _) => home.clone(),
                (None, Some(home)) => home.clone(),
                (None, None) => return None,
            };
            let refused = traceable
                .as_ref()
                .is_some_and(|all| !all.iter().any(|each| each == function));
            let (how, why) = match (&typed, &home) {
                _ if refused => (
                    How::NotAtAll,
                    Some("the kernel lists it among no functions that can be traced".to_owned()),
                ),
                (Some(Home::Vmlinux), _) => (How::Fentry, None),
                (_, Home::Module(module)) => (
                    How::Kprobe,
                    Some(format!(
                        "it is in the module {module}, where fentry does not reach"
                    )),
                ),
                (_, Home::Vmlinux) => (
                    How::Kprobe,
                    Some("the kernel has no type information of it".to_owned()),
                ),
            };
            Some(FunctionCheck {
                function,
                operation,
                home: home.to_string(),
                how,
                why,
            })
        })
        .collect()
}

/// Functions by name and where they are. Names are shown without privileges.
fn symbols(host: &Host) -> HashMap<&'static str, Home> {
    let mut found = HashMap::new();
    let Ok(file) = File::open(host.path("proc/kallsyms")) else {
        return found;
    };
    for line in BufReader::new(file).split(b'\n').map_while(Result::ok) {
        let Some(symbol) = Symbol::parse(&line) else {
            continue;
        };
        if !symbol.kind.eq_ignore_ascii_case(b"t") {
            continue;
        }
        let mut hooks = Hook::ALL.iter();
        if let Some(hook) = hooks.find(|hook| hook.function.as_bytes() == symbol.name) {
            let home = symbol.module.map_or(Home::Vmlinux, |module| {
                Home::Module(String::from_utf8_lossy(module).into_owned())
            });
            found.entry(hook.function).or_insert(home);
        }
    }
    found
}

/// The functions that ftrace can reach, which fentry and most kprobes go through; `None`
/// where that list cannot be read.
fn traceable(host: &Host) -> Option<Vec<String>> {
    let list = ["sys/kernel/tracing", "sys/kernel/debug/tracing"]
        .iter()
        .find_map(|at| host.text(&format!("{at}/available_filter_functions")))?;
    let names = list
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    let ours: Vec<String> = names
        .filter(|name| Hook::ALL.iter().any(|hook| hook.function == *name))
        .map(str::to_owned)
        .collect();
    // A list without any of them is of another kind than expected.
    (!ours.is_empty()).then_some(ours)
}
