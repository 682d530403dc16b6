//! Loads the programs of the plan and attaches them, each where the plan has it.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use aya::programs::{FEntry, FExit, KProbe, Program, ProgramError};
use aya::{Btf, Ebpf, Endianness};

use super::cost::CostWatch;
use super::error::{TraceError, explain};
use super::hooks::{Attachment, How, Operation, Plan};
use super::kernel::Stopped;
use super::start::{Counter, OnProgress, Step};
use super::switches;
use crate::btf::KernelBtf;

/// Programs that are loaded at once at most.
const AT_ONCE: usize = 8;

/// Loads and attaches all that is planned, and has `cost` watch it.
///
/// # Errors
/// What the kernel refuses, or it has been `stopped` meanwhile.
pub(super) fn attach(
    ebpf: &mut Ebpf,
    plan: &Plan,
    kernel: &KernelBtf,
    cost: &mut CostWatch,
    stopped: Stopped<'_>,
    progress: &OnProgress<'_>,
) -> Result<(), TraceError> {
    load(ebpf, plan, kernel, stopped, progress)?;
    let attached = Counter::new(Step::Attaching, plan.attachments.len(), progress);
    // What ends a request before what begins one. None of them takes up a queue before
    // all are there (`control::OPEN`).
    let order = [
        Operation::Reset,
        Operation::Used,
        Operation::Callback,
        Operation::Notify,
        Operation::Kick,
        Operation::CallbacksDisabled,
        Operation::CallbacksEnabled,
        Operation::Add,
    ];
    for operation in order {
        // Of the two copies of a program the one attached last runs first, and that has
        // to be the first one: else the other takes an operation for a new one.
        let all = plan.attachments.iter().rev();
        for attachment in all.filter(|each| each.operation == operation) {
            stopped.check()?;
            attach_one(ebpf, attachment)?;
            attached.count();
        }
    }
    for (program, attachment) in programs(plan) {
        let about = |error: &dyn std::error::Error| refusal(attachment, error);
        let loaded = ebpf.program(program).ok_or_else(|| none(program))?;
        let fd = loaded.fd().map_err(|error| about(&error))?;
        let fd = fd.as_fd().try_clone_to_owned();
        cost.watch(
            program,
            attachment.function,
            fd.map_err(|error| about(&error))?,
        );
    }
    let kprobes = plan.attachments.iter().filter(|each| each.by_kprobe());
    cost.attached(kprobes.count());
    Ok(())
}

/// The programs of a plan, each with what it is attached to, or with one of several.
fn programs(plan: &Plan) -> HashMap<&'static str, &Attachment> {
    let all = plan.attachments.iter();
    all.map(|attachment| (attachment.program, attachment))
        .collect()
}

/// Loads the programs that are planned: several at once where there are several CPUs, since
/// what takes the time is that the kernel verifies them.
fn load(
    ebpf: &mut Ebpf,
    plan: &Plan,
    kernel: &KernelBtf,
    stopped: Stopped<'_>,
    progress: &OnProgress<'_>,
) -> Result<(), TraceError> {
    let planned = programs(plan);
    let functions: Vec<_> = planned.values().map(|each| each.function).collect();
    let btf = Btf::parse(
        &kernel.index_of_functions(&functions),
        Endianness::default(),
    )
    .map_err(|error| TraceError::Object(error.to_string()))?;
    let waiting: Vec<_> = ebpf
        .programs_mut()
        .filter_map(|(name, program)| Some((*planned.get(name)?, program)))
        .collect();
    let at_once = thread::available_parallelism().map_or(1, usize::from);
    let others = at_once.min(AT_ONCE).min(waiting.len()).saturating_sub(1);
    let verified = Counter::new(Step::Loading, waiting.len(), progress);
    let waiting = Mutex::new(waiting);
    let over = AtomicBool::new(false);
    let load_next = || {
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let (attachment, program) = next.filter(|_| !over.load(Ordering::Relaxed))?;
        let loaded = load_one(program, attachment, &btf);
        over.fetch_or(loaded.is_err(), Ordering::Relaxed);
        verified.count();
        // What the verifier refuses is refused by the same error as a lack of rights.
        Some(loaded.map_err(|error| refusal(attachment, &error)))
    };
    let load_all = || {
        let mut all = std::iter::from_fn(load_next);
        all.find_map(Result::err).map_or(Ok(()), Err)
    };
    thread::scope(|scope| {
        // Where no thread can be had, fewer do all of it.
        let others: Vec<_> = (0..others)
            .map_while(|_| thread::Builder::new().spawn_scoped(scope, load_all).ok())
            .collect();
        let mut done = Ok(());
        // This thread alone may ask whether it is to end.
        while done.is_ok()
            && let Some(loaded) = load_next()
        {
            done = loaded.and_then(|()| stopped.check());
        }
        over.fetch_or(done.is_err(), Ordering::Relaxed);
        for other in others {
            let loaded = other
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            done = done.and(loaded);
        }
        done
    })
}

fn load_one(program: &mut Program, attachment: &Attachment, btf: &Btf) -> Result<(), ProgramError> {
    match attachment.how {
        How::Fentry => <&mut FEntry>::try_from(program)?.load(attachment.function, btf),
        How::Fexit => <&mut FExit>::try_from(program)?.load(attachment.function, btf),
        How::Kprobe | How::Kretprobe => <&mut KProbe>::try_from(program)?.load(),
    }
}

fn attach_one(ebpf: &mut Ebpf, attachment: &Attachment) -> Result<(), TraceError> {
    let program = ebpf
        .program_mut(attachment.program)
        .ok_or_else(|| none(attachment.program))?;
    attach_to(program, attachment).map_err(|error| refused(attachment, &error))
}

fn attach_to(program: &mut Program, attachment: &Attachment) -> Result<(), ProgramError> {
    match attachment.how {
        How::Fentry => <&mut FEntry>::try_from(program)?.attach().map(|_| ()),
        How::Fexit => <&mut FExit>::try_from(program)?.attach().map(|_| ()),
        How::Kprobe | How::Kretprobe => <&mut KProbe>::try_from(program)?
            .attach(attachment.function, 0)
            .map(|_| ()),
    }
}

fn none(program: &str) -> TraceError {
    TraceError::Object(format!("no program {program}"))
}

/// What the kernel refuses, and what to do about it where that is known.
fn refused(attachment: &Attachment, error: &ProgramError) -> TraceError {
    switches::refusal(attachment, error).unwrap_or_else(|| refusal(attachment, error))
}

fn refusal(attachment: &Attachment, error: &dyn std::error::Error) -> TraceError {
    TraceError::Attach {
        function: attachment.function.to_owned(),
        how: attachment.how,
        // The verifier has nothing to say of what is not allowed at all.
        message: explain(error)
            .trim_end()
            .trim_end_matches(". Verifier output:")
            .to_owned(),
    }
}

/// What `start` makes; where fentry or fexit is refused, what it makes with kprobes only,
/// and the refusal.
///
/// # Errors
/// `start` fails; if with both, why it did without kprobes alone.
pub(super) fn or_by_kprobes<T>(
    kprobes_only: bool,
    mut start: impl FnMut(bool) -> Result<T, TraceError>,
) -> Result<(T, Option<TraceError>), TraceError> {
    match start(kprobes_only) {
        Ok(started) => Ok((started, None)),
        Err(refused) if !kprobes_only && refused.is_of_fentry() => match start(true) {
            Ok(started) => Ok((started, Some(refused))),
            Err(_) => Err(refused),
        },
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_fentry_is_refused_kprobes_are_tried() {
        let refusal = |how| TraceError::Attach {
            function: "vring_interrupt".to_owned(),
            how,
            message: "no".to_owned(),
        };
        let start = |works: bool, first: How| {
            move |kprobes_only| match (kprobes_only, works) {
                (false, _) => Err(refusal(first)),
                (true, true) => Ok("by kprobes"),
                (true, false) => Err(refusal(How::Kprobe)),
            }
        };
        for how in [How::Fentry, How::Fexit] {
            let (started, refused) = or_by_kprobes(false, start(true, how)).unwrap();
            assert_eq!(started, "by kprobes");
            assert!(refused.unwrap().is_of_fentry());
            // Where nothing works the first is what has to be done something about.
            assert!(
                or_by_kprobes(false, start(false, how))
                    .unwrap_err()
                    .is_of_fentry()
            );
        }
        assert!(or_by_kprobes(false, start(true, How::Kretprobe)).is_err());
        assert!(or_by_kprobes(true, start(false, How::Fentry)).is_err());
        let (_, refused) = or_by_kprobes(true, start(true, How::Fentry)).unwrap();
        assert!(refused.is_none());
    }
}
