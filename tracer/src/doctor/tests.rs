//! Machines that are made up: what each is told.

use std::fs;
use std::path::Path;

use super::*;

/// What each attempt answers.
#[derive(Clone)]
struct Answers {
    memory: Result<(), Refusal>,
    ring_buffer: Result<(), Refusal>,
    fentry: Result<(), Refusal>,
    kprobe: Result<(), Refusal>,
}

impl Answers {
    fn all(answer: &Result<(), Refusal>) -> Self {
        Self {
            memory: answer.clone(),
            ring_buffer: answer.clone(),
            fentry: answer.clone(),
            kprobe: answer.clone(),
        }
    }
}

impl Attempts for Answers {
    fn memory(&self) -> Result<(), Refusal> {
        self.memory.clone()
    }

    fn ring_buffer(&self) -> Result<(), Refusal> {
        self.ring_buffer.clone()
    }

    fn fentry(&self, _: &str) -> Result<(), Refusal> {
        self.fentry.clone()
    }

    fn kprobe(&self, _: &str) -> Result<(), Refusal> {
        self.kprobe.clone()
    }
}

/// A machine with the type information of one of three kernels.
struct Machine(tempfile::TempDir);

const ROOT: &str = "Name:\tvirtscope\nCapEff:\t000001ffffffffff\n";
const NOBODY: &str = "Name:\tvirtscope\nCapEff:\t0000000000000000\n";
const KALLSYMS: &str = "\
ffffffff81000000 T _text
ffffffff81800000 T virtqueue_add_sgs
ffffffff81800010 T virtqueue_kick_prepare
ffffffff81800020 t vp_notify
ffffffff81800030 T vring_interrupt
ffffffff81800040 t detach_buf_split
ffffffff81800050 T virtqueue_disable_cb
ffffffff81800058 T virtqueue_enable_cb
ffffffff81800060 T vring_del_virtqueue
";

impl Machine {
    fn new(kernel: &str) -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        let btf = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/btf")
            .join(kernel);
        for entry in fs::read_dir(btf).unwrap() {
            let entry = entry.unwrap();
            let bytes = fs::read(entry.path()).unwrap();
            let name = entry.file_name().into_string().unwrap();
            machine.put(&format!("sys/kernel/btf/{name}"), &bytes);
        }
        machine.put("proc/kallsyms", KALLSYMS.as_bytes());
        machine.put("proc/self/status", ROOT.as_bytes());
        machine.put("proc/sys/kernel/kptr_restrict", b"1\n");
        machine.put(
            "sys/kernel/security/lockdown",
            b"[none] integrity confidentiality\n",
        );
        machine
    }

    fn put(&self, path: &str, bytes: &[u8]) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn diagnose(&self, attempts: &Answers) -> Diagnosis {
        diagnose(self.0.path(), "6.12.0-test", attempts)
    }
}

fn state(diagnosis: &Diagnosis, name: &str) -> State {
    let check = diagnosis.checks.iter().find(|check| check.name == name);
    check.unwrap_or_else(|| panic!("no check {name}")).state
}

#[test]
fn a_kernel_that_runs_nothing_at_functions_is_told_of() {
    let machine = Machine::new("6.12");
    machine.put("proc/sys/kernel/ftrace_enabled", b"1\n");
    let all = Answers::all(&Ok(()));
    assert_eq!(machine.diagnose(&all).verdict(), Verdict::Whole);
    machine.put("proc/sys/kernel/ftrace_enabled", b"0\n");
    let diagnosis = machine.diagnose(&all);
    assert_eq!(state(&diagnosis, "ftrace"), State::Missing);
    assert_eq!(diagnosis.verdict(), Verdict::NotAtAll);
    // Kprobes have a switch of their own, which is nothing to a kernel that needs none.
    let machine = Machine::new("6.1");
    machine.put("sys/kernel/debug/kprobes/enabled", b"1\n");
    assert_ne!(machine.diagnose(&all).verdict(), Verdict::NotAtAll);
    machine.put("sys/kernel/debug/kprobes/enabled", b"0\n");
    assert_eq!(state(&machine.diagnose(&all), "kprobes"), State::Missing);
    let machine = Machine::new("6.12");
    machine.put("sys/kernel/debug/kprobes/enabled", b"0\n");
    machine.put("proc/kallsyms", b"ffffffff81800000 T virtqueue_add_sgs\n");
    let diagnosis = machine.diagnose(&all);
    let by_kprobe = |each: &FunctionCheck| each.how == How::Kprobe;
    assert!(!diagnosis.functions.iter().any(by_kprobe));
    assert!(diagnosis.checks.iter().all(|check| check.name != "kprobes"));
}

#[test]
fn a_machine_on_which_all_works() {
    let machine = Machine::new("6.12");
    let diagnosis = machine.diagnose(&Answers::all(&Ok(())));
    assert_eq!(diagnosis.verdict(), Verdict::Whole, "{diagnosis:#?}");
    let sgs = &diagnosis.functions[0];
    assert_eq!(
        (sgs.function, sgs.how, sgs.home.as_str()),
        ("virtqueue_add_sgs", How::Fentry, "vmlinux")
    );
}

#[test]
fn functions_in_modules_take_kprobes() {
    let machine = Machine::new("6.1");
    let modules = KALLSYMS.replace("virtqueue_add_sgs", "virtqueue_add_sgs\t[virtio_ring]");
    machine.put("proc/kallsyms", modules.as_bytes());
    let diagnosis = machine.diagnose(&Answers::all(&Ok(())));
    let sgs = &diagnosis.functions[0];
    assert_eq!((sgs.how, sgs.home.as_str()), (How::Kprobe, "virtio_ring"));
    assert!(sgs.why.as_ref().unwrap().contains("virtio_ring"));
    assert_eq!(diagnosis.verdict(), Verdict::Partly);
    assert_eq!(state(&diagnosis, "fentry, fexit"), State::Degraded);
}

#[test]
fn without_privileges_nothing_is_called_missing() {
    let machine = Machine::new("6.12");
    machine.put("proc/self/status", NOBODY.as_bytes());
    let hidden: String = KALLSYMS
        .lines()
        .map(|line| format!("0000000000000000{}\n", &line[16..]))
        .collect();
    machine.put("proc/kallsyms", hidden.as_bytes());
    let diagnosis = machine.diagnose(&Answers::all(&Err(Refusal::Privileges)));
    assert_eq!(diagnosis.verdict(), Verdict::Unknown, "{diagnosis:#?}");
    assert_eq!(state(&diagnosis, "type information"), State::Fine);
    assert_eq!(state(&diagnosis, "operations"), State::Fine);
    let advised = diagnosis
        .checks
        .iter()
        .filter(|check| check.state == State::Unknown);
    assert!(advised.clone().count() >= 5);
    assert!(advised.clone().all(|check| check.advice.is_some()));
}

#[test]
fn a_kernel_that_refuses_to_be_traced_says_so() {
    let machine = Machine::new("6.12");
    let refused = Err(Refusal::Kernel(
        "Operation not permitted (os error 1)".to_owned(),
    ));
    let diagnosis = machine.diagnose(&Answers {
        fentry: refused.clone(),
        kprobe: refused.clone(),
        ..Answers::all(&Ok(()))
    });
    assert_eq!(diagnosis.verdict(), Verdict::NotAtAll);
    assert_eq!(state(&diagnosis, "fentry, fexit"), State::Missing);
    assert_eq!(state(&diagnosis, "kernel memory"), State::Fine);
    let mut hows = diagnosis.functions.iter().map(|function| function.how);
    assert!(hows.all(|how| how == How::NotAtAll));

    let diagnosis = machine.diagnose(&Answers {
        fentry: refused,
        ..Answers::all(&Ok(()))
    });
    assert_eq!(diagnosis.verdict(), Verdict::Partly, "kprobes do it");
    assert_eq!(diagnosis.functions[0].how, How::Kprobe);
}

#[test]
fn what_the_administrator_has_forbidden_is_named() {
    let machine = Machine::new("6.12");
    machine.put(
        "sys/kernel/security/lockdown",
        b"none integrity [confidentiality]\n",
    );
    machine.put("proc/sys/kernel/kptr_restrict", b"2\n");
    machine.put("proc/kallsyms", b"0000000000000000 T _text\n");
    let diagnosis = machine.diagnose(&Answers::all(&Ok(())));
    assert_eq!(state(&diagnosis, "lockdown"), State::Missing);
    assert_eq!(state(&diagnosis, "addresses"), State::Missing);
    let advice = |name: &str| {
        let check = diagnosis.checks.iter().find(|check| check.name == name);
        check.and_then(|check| check.advice.clone()).unwrap()
    };
    assert!(advice("addresses").contains("kptr_restrict=1"));
    assert!(advice("lockdown").contains("integrity"));
}

#[test]
fn a_function_that_ftrace_does_not_list_is_out_of_reach() {
    let machine = Machine::new("6.12");
    machine.put(
        "sys/kernel/tracing/available_filter_functions",
        b"virtqueue_add_sgs\nvirtqueue_kick_prepare\nvring_interrupt\nvp_notify [virtio_pci]\n\
          virtqueue_disable_cb\nvirtqueue_enable_cb\nvring_del_virtqueue\n",
    );
    let diagnosis = machine.diagnose(&Answers::all(&Ok(())));
    assert_eq!(diagnosis.verdict(), Verdict::NotAtAll);
    let check = diagnosis
        .checks
        .iter()
        .find(|check| check.name == "operations");
    assert_eq!(
        check.unwrap().found,
        "no function of this kernel tells of: used"
    );
}

/// What the doctor names is what the tracer attaches to.
#[test]
fn functions_are_those_of_the_tracers_plan() {
    for kernel in ["6.1", "6.12", "7.2"] {
        let machine = Machine::new(kernel);
        let diagnosis = machine.diagnose(&Answers::all(&Ok(())));
        let mut named: Vec<_> = diagnosis
            .functions
            .iter()
            .map(|each| each.function)
            .collect();
        let btf = KernelBtf::open(&machine.0.path().join("sys/kernel/btf"), String::new()).unwrap();
        let names: Vec<_> = crate::trace::Hook::ALL
            .iter()
            .map(|hook| hook.function)
            .collect();
        let symbols = crate::kallsyms::Symbols::read(KALLSYMS.as_bytes(), &names).unwrap();
        let plan = crate::trace::Plan::new(&btf, &symbols, false);
        let mut planned: Vec<_> = plan.attachments.iter().map(|each| each.function).collect();
        planned.dedup();
        named.sort_unstable();
        planned.sort_unstable();
        assert!(!planned.is_empty());
        assert_eq!(named, planned, "{kernel}");
    }
}

#[test]
fn an_empty_machine_is_told_what_it_lacks() {
    let empty = tempfile::tempdir().unwrap();
    let diagnosis = diagnose(
        empty.path(),
        "5.4.0",
        &Answers::all(&Err(Refusal::Privileges)),
    );
    assert_eq!(diagnosis.verdict(), Verdict::NotAtAll);
    assert_eq!(diagnosis.functions, []);
    let text = format!("{diagnosis:?}");
    assert!(text.contains("CONFIG_DEBUG_INFO_BTF=y"), "{text}");
}

#[test]
fn kernels_that_do_not_count_skipped_kprobes_are_told_of() {
    let all = Answers::all(&Ok(()));
    let found = |machine: &Machine, release: &str| {
        let diagnosis = diagnose(machine.0.path(), release, &all);
        let mut checks = diagnosis.checks.into_iter();
        let check = checks.find(|check| check.name == "kprobe, kretprobe");
        check.unwrap().found
    };
    let modules = Machine::new("6.1");
    for release in ["6.1.0-49-amd64", "6.6.15", "5.15", "4.19.0", "6"] {
        let found = found(&modules, release);
        assert!(
            found.contains("Linux 6.7 and newer do"),
            "{release}: {found}"
        );
    }
    for release in ["6.7.0-rc1", "6.12.48+deb13-amd64", "7.2", "10.0"] {
        let found = found(&modules, release);
        assert!(!found.contains("6.7"), "{release}: {found}");
    }
    // Where no kprobe is needed, it is nothing to anybody.
    let built_in = Machine::new("6.12");
    built_in.put("proc/kallsyms", b"ffffffff81800000 T virtqueue_add_sgs\n");
    assert!(!found(&built_in, "6.1.0").contains("6.7"));
}
