//! One function a thing that tracing depends on.

use super::{Attempts, Check, FunctionCheck, Host, How, Refusal, State, Tried};
use crate::btf::{BtfError, Home, KernelBtf};
use crate::kallsyms::Symbol;
use crate::trace::Operation;
use crate::walk::Offsets;

/// Functions of the kernel that hardly ever run, one of which every kernel has.
const QUIET: [&str; 3] = ["virtqueue_get_vring_size", "do_init_module", "vfs_rename"];

const AS_ROOT: &str = "run it as root (sudo virtscope doctor) to have it tried";

/// The function to attach to for trying.
pub(super) fn quiet_function(btf: Option<&KernelBtf>) -> &'static str {
    // In the kernel itself: fentry does not reach into modules.
    let is_there = |name: &&str| btf.is_some_and(|btf| btf.function(name) == Some(Home::Vmlinux));
    QUIET.into_iter().find(is_there).unwrap_or(QUIET[1])
}

pub(super) fn all(
    host: &Host,
    btf: &Result<KernelBtf, BtfError>,
    functions: &[FunctionCheck],
    tried: &Tried,
    attempts: &dyn Attempts,
    kprobes_are_counted: bool,
) -> Vec<Check> {
    let (fentry, kprobe) = (&tried.fentry, &tried.kprobe);
    let mut checks = vec![
        privileges(host),
        type_information(btf),
        addresses(host),
        lockdown(host),
        memory(attempts),
        ring_buffer(attempts),
        fentry_check(fentry, functions, kprobe.is_ok()),
        kprobe_check(kprobe, functions, fentry.is_ok(), kprobes_are_counted),
        operations(functions, fentry.is_ok(), kprobe.is_ok()),
    ];
    checks.extend(ftrace(host));
    checks.extend(kprobes(host, functions));
    checks
}

/// What nobody thinks of, so nothing is said of it where it is well: the kernel attaches all
/// the same, and never runs what is attached.
fn ftrace(host: &Host) -> Option<Check> {
    (host.text("proc/sys/kernel/ftrace_enabled")? == "0").then(|| {
        check(
            "ftrace",
            State::Missing,
            "kernel.ftrace_enabled is 0: what is attached to functions is never run",
        )
        .advise("sysctl kernel.ftrace_enabled=1")
    })
}

/// The same for kprobes, where that can be seen.
fn kprobes(host: &Host, functions: &[FunctionCheck]) -> Option<Check> {
    let is_off = host.text("sys/kernel/debug/kprobes/enabled")? == "0";
    (is_off && wanting(functions, How::Kprobe) > 0).then(|| {
        check(
            "kprobes",
            State::Missing,
            "/sys/kernel/debug/kprobes/enabled is 0: none is ever run",
        )
        .advise("echo 1 > /sys/kernel/debug/kprobes/enabled")
    })
}

fn check(name: &'static str, state: State, found: impl Into<String>) -> Check {
    Check {
        name,
        state,
        found: found.into(),
        advice: None,
    }
}

impl Check {
    fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}

/// Bits of `CapEff` (Linux `include/uapi/linux/capability.h`).
const CAPABILITIES: [(u32, &str, &str); 3] = [
    (39, "CAP_BPF", "to load programs"),
    (
        38,
        "CAP_PERFMON",
        "to attach them and to read the kernel's memory",
    ),
    (34, "CAP_SYSLOG", "to see where the kernel's variables are"),
];
const SYS_ADMIN: u32 = 21;

fn privileges(host: &Host) -> Check {
    const NAME: &str = "privileges";
    let status = host.text("proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = line.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    let Some(bits) = bits else {
        return check(NAME, State::Unknown, "/proc/self/status does not tell")
            .advise("mount /proc");
    };
    let holds = |bit: u32| bits >> bit & 1 == 1;
    let missing: Vec<String> = CAPABILITIES
        .into_iter()
        .filter(|(bit, name, _)| {
            let by_admin = *name != "CAP_SYSLOG" && holds(SYS_ADMIN);
            !holds(*bit) && !by_admin
        })
        .map(|(_, name, why)| format!("{name} {why}"))
        .collect();
    if missing.is_empty() {
        return check(
            NAME,
            State::Fine,
            "CAP_BPF, CAP_PERFMON and CAP_SYSLOG, or root",
        );
    }
    // The doctor lacks them; a tracer started otherwise need not.
    check(
        NAME,
        State::Unknown,
        format!("not held: {}", missing.join(", ")),
    )
    .advise(
        "run it with sudo, or give the program the capabilities: \
         setcap cap_bpf,cap_perfmon,cap_syslog=ep virtscope",
    )
}

fn type_information(btf: &Result<KernelBtf, BtfError>) -> Check {
    const NAME: &str = "type information";
    let btf = match btf {
        Ok(btf) => btf,
        Err(error) => return check(NAME, State::Missing, error.to_string()),
    };
    match Offsets::of(btf) {
        Ok(_) => {
            let home = btf.structure("vring_virtqueue");
            let home = home.map_or("nowhere".to_owned(), |home| home.to_string());
            check(
                NAME,
                State::Fine,
                format!("all structs are understood; `vring_virtqueue` is in {home}"),
            )
        }
        Err(error) => {
            let hint = match btf.structure("vring_virtqueue") {
                Some(_) => None,
                None => Some(
                    "if virtio is built as modules, load them (modprobe virtio_pci); else this \
                     kernel has no virtio",
                ),
            };
            let check = check(NAME, State::Missing, error.to_string());
            match hint {
                Some(hint) => check.advise(hint),
                None => check,
            }
        }
    }
}

fn addresses(host: &Host) -> Check {
    const NAME: &str = "addresses";
    let restrict = host.text("proc/sys/kernel/kptr_restrict");
    let restrict = restrict.as_deref().unwrap_or("unknown");
    let shown = first_address(host);
    let found = format!("kptr_restrict is {restrict}");
    match shown {
        Some(0) if restrict == "2" => check(
            NAME,
            State::Missing,
            format!("{found}: nobody sees the kernel's addresses"),
        )
        .advise("sysctl kernel.kptr_restrict=1 shows them to root"),
        Some(0) => check(
            NAME,
            State::Unknown,
            format!("{found}; the kernel's addresses are hidden from this user"),
        )
        .advise(AS_ROOT),
        Some(_) => check(
            NAME,
            State::Fine,
            format!("{found}; the kernel's addresses are shown"),
        ),
        None => check(NAME, State::Missing, "there is no /proc/kallsyms")
            .advise("run a kernel with CONFIG_KALLSYMS=y, and mount /proc"),
    }
}

/// The first address in kallsyms: all are zero where they are hidden. The first symbols
/// of some kernels are per-CPU offsets that begin at zero, so a few are looked at.
fn first_address(host: &Host) -> Option<u64> {
    use std::io::{BufRead, BufReader};
    let file = std::fs::File::open(host.path("proc/kallsyms")).ok()?;
    let lines = BufReader::new(file).split(b'\n').map_while(Result::ok);
    let addresses = lines.filter_map(|line| Some(Symbol::parse(&line)?.address));
    addresses.take(100_000).max()
}

fn lockdown(host: &Host) -> Check {
    const NAME: &str = "lockdown";
    let Some(text) = host.text("sys/kernel/security/lockdown") else {
        return check(NAME, State::Fine, "the kernel shows none");
    };
    let chosen = text
        .split_whitespace()
        .find_map(|word| word.strip_prefix('[')?.strip_suffix(']'));
    match chosen {
        Some("confidentiality") => check(
            NAME,
            State::Missing,
            "confidentiality: no program may read the kernel's memory",
        )
        .advise("boot with lockdown=integrity or without lockdown"),
        Some(mode) => check(NAME, State::Fine, mode),
        None => check(NAME, State::Unknown, text),
    }
}

fn memory(attempts: &dyn Attempts) -> Check {
    const NAME: &str = "kernel memory";
    match attempts.memory() {
        Ok(()) => check(NAME, State::Fine, "a program that reads it can be loaded"),
        Err(Refusal::Privileges) => check(NAME, State::Unknown, "not tried").advise(AS_ROOT),
        Err(Refusal::Kernel(why)) => check(NAME, State::Missing, format!("refused: {why}"))
            .advise("virtscope list and inspect need it: look at lockdown and privileges"),
    }
}

fn ring_buffer(attempts: &dyn Attempts) -> Check {
    const NAME: &str = "ring buffer";
    match attempts.ring_buffer() {
        Ok(()) => check(NAME, State::Fine, "BPF_MAP_TYPE_RINGBUF works"),
        Err(Refusal::Privileges) => check(NAME, State::Unknown, "not tried").advise(AS_ROOT),
        Err(Refusal::Kernel(why)) => check(NAME, State::Missing, format!("refused: {why}"))
            .advise("it takes Linux 5.8 or newer"),
    }
}

fn wanting(functions: &[FunctionCheck], how: How) -> usize {
    functions.iter().filter(|each| each.how == how).count()
}

fn fentry_check(
    fentry: &Result<(), Refusal>,
    functions: &[FunctionCheck],
    kprobes_work: bool,
) -> Check {
    const NAME: &str = "fentry, fexit";
    let count = wanting(functions, How::Fentry);
    match fentry {
        Ok(()) if count == 0 && !functions.is_empty() => check(
            NAME,
            State::Degraded,
            "it works, and reaches none of the functions: all are in modules",
        )
        .advise("kprobes are used: they cost more, and the kernel skips some of them"),
        Ok(()) => check(
            NAME,
            State::Fine,
            format!("it works, for {count} functions"),
        ),
        Err(Refusal::Privileges) => check(NAME, State::Unknown, "not tried").advise(AS_ROOT),
        Err(Refusal::Kernel(why)) if kprobes_work => {
            check(NAME, State::Degraded, format!("refused: {why}"))
                .advise("kprobes are used: they cost more, and the kernel skips some of them")
        }
        Err(Refusal::Kernel(why)) => check(NAME, State::Missing, format!("refused: {why}")).advise(
            "it takes CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS=y and a kernel that allows \
                 tracing; kprobes would do instead",
        ),
    }
}

fn kprobe_check(
    kprobe: &Result<(), Refusal>,
    functions: &[FunctionCheck],
    fentry_works: bool,
    are_counted: bool,
) -> Check {
    const NAME: &str = "kprobe, kretprobe";
    let count = wanting(functions, How::Kprobe);
    match kprobe {
        Ok(()) if count > 0 && !are_counted => check(
            NAME,
            State::Fine,
            format!(
                "it works; {count} functions need it. How often it skips them this kernel does \
                 not tell (Linux 6.7 and newer do): rings' positions show what was missed"
            ),
        ),
        Ok(()) => check(
            NAME,
            State::Fine,
            format!("it works; {count} functions need it"),
        ),
        Err(Refusal::Privileges) => check(NAME, State::Unknown, "not tried").advise(AS_ROOT),
        Err(Refusal::Kernel(why)) if fentry_works && count == 0 => check(
            NAME,
            State::Fine,
            format!("refused: {why}; no function needs it"),
        ),
        Err(Refusal::Kernel(why)) => check(NAME, State::Missing, format!("refused: {why}")).advise(
            "it takes CONFIG_KPROBES=y and CONFIG_KPROBE_EVENTS=y; and without root \
                 kernel.perf_event_paranoid at 2 or below (sysctl kernel.perf_event_paranoid=2)",
        ),
    }
}

fn operations(functions: &[FunctionCheck], fentry: bool, kprobe: bool) -> Check {
    const NAME: &str = "operations";
    if functions.is_empty() {
        return check(
            NAME,
            State::Missing,
            "this kernel has none of virtio's functions",
        )
        .advise("if virtio is built as modules, load them: modprobe virtio_pci");
    }
    let is_seen = |each: &FunctionCheck| match each.how {
        How::Fentry => fentry || kprobe,
        How::Kprobe => kprobe,
        How::NotAtAll => false,
    };
    let unseen = |only: fn(&FunctionCheck, bool) -> bool| -> Vec<&str> {
        Operation::ALL
            .into_iter()
            .filter(|operation| {
                let mut these = functions.iter().filter(|each| each.operation == *operation);
                !these.any(|each| only(each, is_seen(each)))
            })
            .map(|operation| operation.kind().name())
            .collect()
    };
    // By place alone, so that an answer is there also where nothing may be tried.
    let absent = unseen(|each, _| each.how != How::NotAtAll);
    let needed = |names: &[&str]| {
        let mut all = Operation::ALL.into_iter();
        all.any(|operation| operation.is_needed() && names.contains(&operation.kind().name()))
    };
    if !absent.is_empty() {
        let state = if needed(&absent) {
            State::Missing
        } else {
            State::Degraded
        };
        return check(
            NAME,
            state,
            format!("no function of this kernel tells of: {}", absent.join(", ")),
        )
        .advise("what is missing is left out of requests' lives; report the kernel to us");
    }
    if fentry || kprobe {
        let dark = unseen(|_, seen| seen);
        if !dark.is_empty() {
            let state = if needed(&dark) {
                State::Missing
            } else {
                State::Degraded
            };
            return check(NAME, state, format!("out of reach: {}", dark.join(", ")));
        }
    }
    check(NAME, State::Fine, "each has a function that tells of it")
}
