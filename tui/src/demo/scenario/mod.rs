//! Trouble on purpose: for each finding a scenario that raises it, and one that comes
//! near and does not.
//!
//! A scenario is a device made in a certain way, with faults or without, and a script
//! that a driver follows: the real driver on a real ring. What goes wrong goes wrong at
//! the same request each time.

mod conversation;
mod hangs;
mod pair;
mod rings;
mod stage;
mod traffic;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use virtscope_analyzer::{FindingCode, Options};
use virtscope_driver::instrument::live::Hub;
use virtscope_driver::p9::client::ClientError;

use super::mounts::{Machine, MountError};
use super::scratch::Scratch;
use super::{DemoError, Running, StopOnDrop, Summary};
use crate::recorder::{Limits, Output, Recorder};
pub use stage::Setup;
pub(crate) use stage::Stage;

/// Something that goes wrong, or nearly.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// The finding's name, with `-near-miss` behind it if it is not raised.
    pub name: &'static str,
    /// The finding it is about.
    pub finding: FindingCode,
    /// Whether it raises that finding. If not, it raises none at all.
    pub raises: bool,
    /// What happens, in a sentence.
    pub about: &'static str,
    /// How the device is made.
    setup: fn() -> Setup,
    /// What the driver does.
    script: Script,
}

type Script = fn(&Stage<'_>) -> Result<(), ClientError>;

impl std::fmt::Debug for Scenario {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// How long a script that is told to end may take to do so by itself.
const GRACE: Duration = Duration::from_secs(1);

/// A scenario, and the twin that does not raise the finding.
const fn twins(
    code: FindingCode,
    [name, near]: [&'static str; 2],
    [about, about_near]: [&'static str; 2],
    [setup, setup_near]: [fn() -> Setup; 2],
    [script, script_near]: [Script; 2],
) -> [Scenario; 2] {
    [
        Scenario {
            name,
            finding: code,
            raises: true,
            about,
            setup,
            script,
        },
        Scenario {
            name: near,
            finding: code,
            raises: false,
            about: about_near,
            setup: setup_near,
            script: script_near,
        },
    ]
}

impl Scenario {
    /// All of them, each with its twin behind it.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        [hangs::ALL, rings::ALL, traffic::ALL, conversation::ALL]
            .into_iter()
            .flatten()
            .flatten()
    }

    /// The scenario of this name.
    pub fn of_name(name: &str) -> Option<&'static Self> {
        Self::all().find(|scenario| scenario.name == name)
    }
}

/// Plays a scenario, at most until `wait` returns.
///
/// # Errors
/// It could not begin. What goes wrong on purpose stands in the [`Summary`]'s report.
pub fn play(
    scenario: &Scenario,
    snaplen: u32,
    ring_bytes: usize,
    output: Option<Output>,
    wait: impl FnOnce(&Running<'_>),
) -> Result<Summary, DemoError> {
    let scratch = Scratch::make().map_err(|source| DemoError::Scratch { source })?;
    let hub = Hub::new(ring_bytes, snaplen);
    let machine = Machine::new(&hub)?;
    let setup = (scenario.setup)();
    let device = machine.bring_up("scenario", scratch.path(), setup.access(), &setup.mount)?;
    let mut notices = vec![device.notice.clone()];
    notices.extend(pair::notices(scenario.finding));
    let recorder = Recorder::start(
        Arc::clone(&hub),
        &notices,
        output,
        Limits::default(),
        Some(Options::default()),
    )?;
    let stop = AtomicBool::new(false);
    let played = std::thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        let (hub, machine, device, stop) = (&hub, &machine, &device, &stop);
        let path = scratch.path();
        let script = std::thread::Builder::new()
            .name("scenario".to_owned())
            .spawn_scoped(scope, move || {
                let _stop = StopOnDrop(stop);
                let client = match device.mount() {
                    Ok(client) => client,
                    Err(error) => return Err(error),
                };
                let stage = Stage::new(&client, machine, device, hub, path, stop);
                // Errors are what the script is about; the report says what they are.
                let _ = (scenario.script)(&stage);
                if !stage.is_removed() {
                    // Of a queue that broke there is nothing to unmount.
                    let _ = client.unmount();
                }
                Ok(())
            })
            .map_err(|source| MountError::Thread { source })?;
        wait(&Running {
            recorder: recorder.shared(),
            stop,
        });
        stop.store(true, Ordering::Release);
        let told = Instant::now();
        while !script.is_finished() && told.elapsed() < GRACE {
            std::thread::sleep(GRACE / 100);
        }
        // Whoever waits for the device still would do so for ever.
        machine.remove(device);
        match script.join() {
            Ok(played) => played,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    });
    machine.remove(&device);
    let recorded = recorder.finish();
    played?;
    Ok(Summary {
        recorded,
        issued: Vec::new(),
        trouble: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finding_has_a_scenario_and_a_near_miss() {
        for &code in FindingCode::ALL {
            let of_code = |raises: bool| {
                let mut all = Scenario::all();
                all.find(|scenario| scenario.finding == code && scenario.raises == raises)
            };
            assert_eq!(of_code(true).map(|each| each.name), Some(code.name()));
            let near = format!("{code}-near-miss");
            assert_eq!(of_code(false).map(|each| each.name), Some(&*near));
        }
        assert_eq!(Scenario::all().count(), 2 * FindingCode::ALL.len());
    }

    #[test]
    fn each_says_in_one_sentence_what_happens() {
        for scenario in Scenario::all() {
            let about = scenario.about;
            assert!(about.ends_with('.') && !about.contains(". "), "{about}");
        }
    }
}
