//! Loads the programs and attaches them, each where the plan has it.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use aya::programs::{FEntry, FExit, KProbe, Program, ProgramError};
use aya::{Btf, Ebpf};

use super::cost::CostWatch;
use super::error::{TraceError, explain};
use super::hooks::{Attachment, How, Operation, Plan};
use super::kernel::Stopped;
use super::switches;

/// Loads and attaches all that is planned, and has `cost` watch it.
///
/// # Errors
/// What the kernel refuses, or it has been `stopped` meanwhile.
pub(super) fn attach(
    ebpf: &mut Ebpf,
    plan: &Plan,
    cost: &mut CostWatch,
    stopped: Stopped<'_>,
) -> Result<(), TraceError> {
    let attachments = &plan.attachments;
    let by_btf = attachments
        .iter()
        .any(|each| matches!(each.how, How::Fentry | How::Fexit));
    let btf = by_btf
        .then(Btf::from_sys_fs)
        .transpose()
        .map_err(|error| TraceError::Object(error.to_string()))?;
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
    let mut loaded = BTreeMap::new();
    for operation in order {
        // Of the two copies of a program the one attached last runs first, and that has
        // to be the first one: else the other takes an operation for a new one.
        for attachment in attachments
            .iter()
            .rev()
            .filter(|each| each.operation == operation)
        {
            stopped.check()?;
            let first = loaded.insert(attachment.program, ()).is_none();
            attach_one(ebpf, attachment, first, btf.as_ref(), cost)?;
        }
    }
    let kprobes = attachments.iter().filter(|each| each.by_kprobe());
    cost.attached(kprobes.count());
    Ok(())
}

fn attach_one(
    ebpf: &mut Ebpf,
    attachment: &Attachment,
    first: bool,
    btf: Option<&Btf>,
    cost: &mut CostWatch,
) -> Result<(), TraceError> {
    let refused = |error: &dyn std::error::Error| TraceError::Attach {
        function: attachment.function.to_owned(),
        how: attachment.how,
        // The verifier has nothing to say of what is not allowed at all.
        message: explain(error)
            .trim_end()
            .trim_end_matches(". Verifier output:")
            .to_owned(),
    };
    let program = ebpf
        .program_mut(attachment.program)
        .ok_or_else(|| TraceError::Object(format!("no program {}", attachment.program)))?;
    let done = match (attachment.how, btf) {
        (How::Fentry, Some(btf)) => attach_fentry(program, attachment.function, btf),
        (How::Fexit, Some(btf)) => attach_fexit(program, attachment.function, btf),
        _ => attach_kprobe(program, attachment.function, first),
    };
    done.map_err(|error| switches::refusal(attachment, &error).unwrap_or_else(|| refused(&error)))?;
    if first {
        let fd = program.fd().map_err(|error| refused(&error))?;
        let fd = fd
            .as_fd()
            .try_clone_to_owned()
            .map_err(|error| refused(&error))?;
        cost.watch(attachment.program, attachment.function, fd);
    }
    Ok(())
}

fn attach_fentry(program: &mut Program, function: &str, btf: &Btf) -> Result<(), ProgramError> {
    let program: &mut FEntry = program.try_into()?;
    program.load(function, btf)?;
    program.attach()?;
    Ok(())
}

fn attach_fexit(program: &mut Program, function: &str, btf: &Btf) -> Result<(), ProgramError> {
    let program: &mut FExit = program.try_into()?;
    program.load(function, btf)?;
    program.attach()?;
    Ok(())
}

fn attach_kprobe(program: &mut Program, function: &str, first: bool) -> Result<(), ProgramError> {
    let program: &mut KProbe = program.try_into()?;
    if first {
        program.load()?;
    }
    program.attach(function, 0)?;
    Ok(())
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
