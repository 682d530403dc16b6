//! A plan in which nothing happens changes nothing: not a byte of memory, not an
//! answer, not a record.

use proptest::prelude::*;
use virtscope_device::fault::{FaultKind, Faults, FaultyQueue, SteppedClock};
use virtscope_device::queue::{Chain, DeviceQueue, DriverFault};
use virtscope_driver::memory::{GuestAddress, Segment, SharedQueueMemory};
use virtscope_driver::ring::Features;
use virtscope_record::{Layout, Token};

use super::common::{Plan, Rig};
use super::{SIZE, WRITABLE, Witness};

/// What a device does with its queue, whichever it is.
trait Device {
    fn take(&mut self) -> Result<Option<Chain>, DriverFault>;
    fn stage_used(&mut self, chain: &Chain, written: u32);
    fn publish_used(&mut self);
    fn put_used(&mut self, chain: &Chain, written: u32);
    fn returned_unsignalled(&self) -> u32;
    fn should_interrupt(&mut self) -> bool;
    fn disable_kicks(&mut self);
    fn enable_kicks(&mut self) -> bool;
}

macro_rules! device {
    ($queue:ident) => {
        impl Device for $queue<SharedQueueMemory, Witness> {
            fn take(&mut self) -> Result<Option<Chain>, DriverFault> {
                self.take()
            }
            fn stage_used(&mut self, chain: &Chain, written: u32) {
                self.stage_used(chain, written);
            }
            fn publish_used(&mut self) {
                self.publish_used();
            }
            fn put_used(&mut self, chain: &Chain, written: u32) {
                self.put_used(chain, written);
            }
            fn returned_unsignalled(&self) -> u32 {
                self.returned_unsignalled()
            }
            fn should_interrupt(&mut self) -> bool {
                self.should_interrupt()
            }
            fn disable_kicks(&mut self) {
                self.disable_kicks();
            }
            fn enable_kicks(&mut self) -> bool {
                self.enable_kicks()
            }
        }
    };
}

device!(DeviceQueue);
device!(FaultyQueue);

#[derive(Clone, Copy, Debug)]
enum Step {
    Add,
    Kick,
    Get,
    Callbacks(bool),
    Take,
    Put(prop::sample::Index, u32),
    Stage(prop::sample::Index, u32),
    Publish,
    Interrupt,
    Work,
    Sleep,
}

fn step() -> impl Strategy<Value = Step> {
    let held = any::<prop::sample::Index>;
    prop_oneof![
        4 => Just(Step::Add),
        1 => Just(Step::Kick),
        3 => Just(Step::Get),
        1 => any::<bool>().prop_map(Step::Callbacks),
        4 => Just(Step::Take),
        2 => (held(), 0..=WRITABLE).prop_map(|(held, written)| Step::Put(held, written)),
        2 => (held(), 0..=WRITABLE).prop_map(|(held, written)| Step::Stage(held, written)),
        1 => Just(Step::Publish),
        1 => Just(Step::Interrupt),
        1 => Just(Step::Work),
        1 => Just(Step::Sleep),
    ]
}

/// What came of all steps: every answer, the device's records, all of memory.
type Trace = (Vec<String>, String, Vec<u8>);

fn run<D: Device>(
    layout: Layout,
    features: Features,
    steps: &[Step],
    device: impl FnOnce(DeviceQueue<SharedQueueMemory, Witness>) -> D,
) -> Trace {
    let mut plan = Plan::new(layout, SIZE);
    plan.features = features;
    let witness = Witness::default();
    let rig = Rig::new(plan, Witness::default(), witness.clone());
    let (mut driver, mut device) = (rig.driver, device(rig.device));
    let segment = |len| Segment {
        address: rig.buffers,
        len,
    };
    let (mut answers, mut held) = (Vec::new(), Vec::<Chain>::new());
    for (number, step) in steps.iter().enumerate() {
        let number = number as u64;
        let pick = |held: &mut Vec<Chain>, at: prop::sample::Index| {
            (!held.is_empty()).then(|| held.swap_remove(at.index(held.len())))
        };
        answers.push(match *step {
            Step::Add => {
                let (readable, writable) = ([segment(4)], [segment(WRITABLE)]);
                let added = driver.add(&readable, &writable, Token(number), number);
                format!("{:?}", added.map_err(|error| error.kind))
            }
            Step::Kick => driver.kick_prepare().to_string(),
            Step::Get => format!("{:?}", driver.get_buf()),
            Step::Callbacks(true) => driver.enable_callbacks().to_string(),
            Step::Callbacks(false) => {
                driver.disable_callbacks();
                String::new()
            }
            Step::Take => {
                let taken = device.take();
                held.extend(taken.clone().unwrap());
                format!("{taken:?}")
            }
            Step::Put(at, written) => {
                let chain = pick(&mut held, at);
                chain.inspect(|chain| device.put_used(chain, written));
                String::new()
            }
            Step::Stage(at, written) => {
                let chain = pick(&mut held, at);
                chain.inspect(|chain| device.stage_used(chain, written));
                String::new()
            }
            Step::Publish => {
                device.publish_used();
                String::new()
            }
            Step::Interrupt => device.should_interrupt().to_string(),
            Step::Work => {
                device.disable_kicks();
                String::new()
            }
            Step::Sleep => {
                let mut answer = String::new();
                while device.returned_unsignalled() > 0 {
                    answer += &device.should_interrupt().to_string();
                }
                answer + &device.enable_kicks().to_string()
            }
        });
    }
    let mut bytes = vec![0; rig.memory.size()];
    rig.memory.read(GuestAddress(0), &mut bytes).unwrap();
    (answers, format!("{:?}", witness.seen()), bytes)
}

/// Every fault, on an occasion that never comes.
fn never() -> Faults {
    let clause = |kind: &FaultKind| match kind {
        // The only one whose last occasion can't be put off: there is one.
        FaultKind::SlowStart => "slow-start:p=0".to_owned(),
        kind => format!("{kind}:from={}", u64::MAX),
    };
    let clauses: Vec<String> = FaultKind::ALL.iter().map(clause).collect();
    clauses.join(";").parse().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: if cfg!(miri) { 4 } else { 500 },
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_plan_without_faults_changes_nothing(
        layout in prop::sample::select(vec![Layout::Split, Layout::Packed]),
        event_idx: bool,
        in_order: bool,
        steps in prop::collection::vec(step(), 0..150),
    ) {
        let features = super::features(event_idx, in_order);
        let honest = run(layout, features, &steps, |queue| queue);
        for plan in [Faults::none(), never()] {
            let faulty = run(layout, features, &steps, |queue| {
                FaultyQueue::new(queue, &plan, SteppedClock::new())
            });
            prop_assert_eq!(&honest, &faulty);
        }
    }
}
