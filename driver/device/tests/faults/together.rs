//! Faults that meet, and that come again.

use std::collections::BTreeSet;
use std::fmt::Write;

use proptest::prelude::*;
use virtscope_device::fault::{FaultKind, Injected};
use virtscope_driver::ring::Violation;
use virtscope_record::Layout;

use super::{FEATURES, Ring, WRITABLE};

/// One buffer is held back, lied about and returned twice, and the driver is not
/// told of it.
#[test]
fn one_buffer_can_suffer_all() {
    let plan = "delay:at=1,ms=5; short-length:at=1,by=4; return-twice:at=1; drop-interrupt:at=2";
    let mut ring = Ring::new(plan, Layout::Packed, FEATURES[0]);
    let chains = ring.exchange(0..2);
    ring.put(&chains[0]);
    ring.put(&chains[1]);
    assert_eq!(ring.interrupts(), 1);
    assert_eq!(ring.drain(), [1], "the first is late");
    ring.pass(5);
    ring.device.advance();
    assert_eq!(ring.interrupts(), 0, "dropped");
    assert_eq!(ring.get(), Ok(Some((0, WRITABLE - 4))));
    let id = chains[0].id;
    assert_eq!(ring.violation(), Violation::IdNotInFlight { id });
    let happened: Vec<_> = ring.log.entries().iter().map(|one| one.kind).collect();
    let expected = [
        FaultKind::ReturnTwice,
        FaultKind::ShortLength,
        FaultKind::Delay,
        FaultKind::DropInterrupt,
    ];
    assert_eq!(happened, expected);
}

#[test]
fn where_two_would_change_a_word_the_later_has_its_way() {
    let plan = "id-out-of-range;wrong-id;wrong-length;short-length";
    let mut ring = Ring::new(plan, Layout::Split, FEATURES[0]);
    let chains = ring.exchange(0..2);
    ring.put(&chains[0]);
    let violation = ring.violation();
    assert!(
        matches!(violation, Violation::IdOutOfRange { .. }),
        "{violation:?}"
    );
    let mut ring = Ring::new("wrong-length;short-length", Layout::Split, FEATURES[0]);
    let chains = ring.exchange(0..1);
    ring.put(&chains[0]);
    let expected = Violation::UsedLengthTooLong {
        used_length: WRITABLE + 1,
        writable: WRITABLE,
    };
    assert_eq!(ring.violation(), expected);
}

/// A late buffer goes through the window too when its time has come.
#[test]
fn a_late_buffer_can_be_overtaken_again() {
    let plan = "delay:at=1,ms=5;reorder:window=2,ms=60000";
    let mut ring = Ring::new(plan, Layout::Split, FEATURES[0]);
    let chains = ring.exchange(0..3);
    ring.put(&chains[0]);
    ring.put(&chains[1]);
    assert_eq!(ring.drain(), []);
    ring.pass(5);
    ring.device.advance();
    assert_eq!(ring.drain(), [0, 1], "the other came first into the window");
    ring.put(&chains[2]);
    assert_eq!(ring.drain(), []);
    ring.pass(60_000);
    ring.device.advance();
    assert_eq!(ring.drain(), [2]);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Add,
    Get,
    Take,
    Put(prop::sample::Index),
    Interrupts,
    Sleep,
    Kick,
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Add),
        3 => Just(Step::Get),
        4 => Just(Step::Take),
        4 => any::<prop::sample::Index>().prop_map(Step::Put),
        1 => Just(Step::Interrupts),
        1 => Just(Step::Sleep),
        1 => Just(Step::Kick),
        1 => (0u64..20).prop_map(Step::Pass),
    ]
}

/// Up to four faults, at some time or other.
fn plan() -> impl Strategy<Value = String> {
    let when = [
        "",
        ":p=0.3",
        ":every=2",
        ":at=3",
        ":from=2,times=2",
        ":at=1",
    ];
    let clause = (
        prop::sample::select(FaultKind::ALL),
        prop::sample::select(when.to_vec()),
    );
    let clauses = prop::collection::vec(clause, 1..=4);
    (any::<u32>(), clauses).prop_map(|(seed, clauses)| {
        clauses
            .iter()
            .fold(format!("seed={seed}"), |mut plan, (kind, when)| {
                let _ = write!(plan, ";{kind}{when}");
                plan
            })
    })
}

#[derive(PartialEq, Debug)]
struct Trace {
    answers: Vec<String>,
    happened: Vec<Injected>,
    bytes: Vec<u8>,
}

/// Whatever the device does, the driver gives each buffer back once.
fn run(plan: &str, layout: Layout, features: (bool, bool), steps: &[Step]) -> Trace {
    let mut ring = Ring::new(plan, layout, super::features(features.0, features.1));
    let (mut answers, mut held) = (Vec::new(), Vec::new());
    let (mut added, mut back) = (BTreeSet::new(), Vec::new());
    for (number, step) in steps.iter().enumerate() {
        let number = number as u64;
        answers.push(match *step {
            Step::Add if ring.driver.free_descriptors() < 2 || ring.driver.broken().is_some() => {
                continue;
            }
            Step::Add => {
                ring.add(number);
                added.insert(number);
                String::new()
            }
            Step::Get => {
                let got = ring.get();
                if let Ok(Some((number, _))) = got {
                    back.push(number);
                }
                format!("{got:?}")
            }
            Step::Take => {
                let taken = ring.device.take();
                // An error where the ring is full of scribbles.
                held.extend(taken.clone().ok().flatten());
                format!("{taken:?}")
            }
            Step::Put(_) if held.is_empty() => continue,
            Step::Put(at) => {
                let chain = held.swap_remove(at.index(held.len()));
                ring.put(&chain);
                String::new()
            }
            Step::Interrupts => ring.interrupts().to_string(),
            Step::Sleep => ring.device.enable_kicks().to_string(),
            Step::Kick => (ring.driver.kick_prepare() && ring.device.kicked()).to_string(),
            Step::Pass(ms) => {
                ring.pass(ms);
                format!("{:?}", ring.device.next_due())
            }
        });
    }
    while let Some(unused) = ring.driver.detach_unused() {
        back.push(unused.data);
    }
    back.sort_unstable();
    assert_eq!(back, Vec::from_iter(added), "each comes back once");
    assert_eq!(ring.driver.in_flight(), 0);
    Trace {
        answers,
        happened: ring.log.entries(),
        bytes: ring.bytes(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: if cfg!(miri) { 4 } else { 1000 },
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_same_plan_and_steps_give_the_same(
        plan in plan(),
        layout in prop::sample::select(vec![Layout::Split, Layout::Packed]),
        features: (bool, bool),
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let first = run(&plan, layout, features, &steps);
        let second = run(&plan, layout, features, &steps);
        prop_assert_eq!(first, second);
    }
}
