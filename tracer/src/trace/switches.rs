//! What keeps a kernel from tracing though it could, and who may not: looked at before it is
//! tried, because the kernel says no word of it, or none that helps.

use super::error::TraceError;
use super::hooks::{Attachment, Plan};
use super::privileges::missing_privileges;

/// # Errors
/// A privilege is missing, or what is attached to functions would never run.
pub(super) fn allow_tracing() -> Result<(), TraceError> {
    let missing = missing_privileges();
    if !missing.0.is_empty() {
        return Err(TraceError::Privileges {
            missing: missing.to_string(),
        });
    }
    if is_off("/proc/sys/kernel/ftrace_enabled") {
        return Err(TraceError::FtraceOff);
    }
    Ok(())
}

/// # Errors
/// What is planned takes kprobes, and none would ever run.
pub(super) fn allow(plan: &Plan) -> Result<(), TraceError> {
    if plan.attachments.iter().any(Attachment::by_kprobe)
        && is_off("/sys/kernel/debug/kprobes/enabled")
    {
        return Err(TraceError::KprobesOff);
    }
    Ok(())
}

/// Why this could not be attached, if it is for a rule that some distributions have beyond
/// Linux' own: kprobes are the administrator's alone.
pub(super) fn refusal(
    attachment: &Attachment,
    error: &(dyn std::error::Error + 'static),
) -> Option<TraceError> {
    let level = paranoia().filter(|_| attachment.by_kprobe() && is_denied(error))?;
    Some(TraceError::Paranoid { level })
}

/// The kernel's setting of who may open events, if it is one of those beyond Linux' own
/// (`perf_event_open(2)` has -1 to 2), by which some distributions allow nobody.
fn paranoia() -> Option<i32> {
    let text = std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").ok()?;
    text.trim().parse().ok().filter(|level| *level > 2)
}

/// Whether an error comes of the kernel's saying EACCES.
fn is_denied(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes.any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
    })
}

/// Whether this switch of the kernel's is off. What is attached all the same never runs.
fn is_off(switch: &str) -> bool {
    std::fs::read_to_string(switch).is_ok_and(|text| text.trim() == "0")
}
