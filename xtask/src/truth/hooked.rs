//! Which operations a kernel shows to pairs of fentry and fexit, of which none may be missed.

use std::collections::BTreeSet;

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use virtscope_record::Kind;

use super::capture::GuestQueue;
use crate::guest::Kernel;

/// The operations that a ring, or a promise, shows to have been missed, by the name that
/// `virtscope doctor` has for each.
const COUNTED: [(&str, Kind); 4] = [
    ("add", Kind::Add),
    ("kick", Kind::Kick),
    ("notify", Kind::Notify),
    ("used", Kind::Used),
];

/// What shows it.
pub(super) const ASK: &str = "virtscope doctor --json";

/// Operations that are seen by pairs alone.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Paired(BTreeSet<Kind>);

impl Paired {
    /// By what `doctor --json` says in a guest with `kernel`.
    ///
    /// # Errors
    /// It is none of the kernel's own: with virtio in vmlinux all are seen by pairs, and with
    /// virtio as modules none.
    pub(super) fn of(kernel: Kernel, said: &str) -> anyhow::Result<Self> {
        let paired = Self::parse(said)?;
        let expected = match kernel {
            Kernel::V6_1 => 0,
            Kernel::V6_12 | Kernel::V7_2 => COUNTED.len(),
        };
        ensure!(
            paired.0.len() == expected,
            "by pairs of fentry and fexit there should be {expected} of the operations that can \
             be counted as missed, and the doctor says {paired}"
        );
        Ok(paired)
    }

    fn parse(said: &str) -> anyhow::Result<Self> {
        let all: Value = serde_json::from_str(said).with_context(|| format!("{ASK}: {said}"))?;
        let functions = all["functions"].as_array().context("no functions")?;
        let mut paired = BTreeSet::new();
        for (name, kind) in COUNTED {
            let mut these = functions
                .iter()
                .filter(|each| each["operation"] == name)
                .peekable();
            if these.peek().is_none() {
                bail!("the doctor knows no function that tells of {name}: {said}");
            }
            // One that a kprobe sees is enough for a miss.
            if these.all(|each| each["how"] == "fentry") {
                paired.insert(kind);
            }
        }
        Ok(Self(paired))
    }

    /// Whether they are all that can be counted as missed.
    pub(super) fn is_all(&self) -> bool {
        self.0.len() == COUNTED.len()
    }

    /// # Errors
    /// Operations of these kinds count as missed on this queue.
    pub(super) fn none_missed(&self, queue: &GuestQueue) -> anyhow::Result<()> {
        for kind in &self.0 {
            let missed = match kind {
                Kind::Add => queue.missed_adds(),
                Kind::Used => queue.missed_used(),
                other => queue.missed_of(*other),
            };
            ensure!(
                missed == 0,
                "{missed} operations of the kind {} were missed, which pairs of fentry and fexit \
                 should have seen",
                kind.name()
            );
        }
        Ok(())
    }
}

impl std::fmt::Display for Paired {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        let names: Vec<_> = self.0.iter().map(|kind| kind.name()).collect();
        f.write_str(&names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::truth::capture::{Added, Returned};

    fn said(hows: [&str; 4]) -> String {
        let functions: Vec<_> = COUNTED
            .iter()
            .zip(hows)
            .map(|((name, _), how)| serde_json::json!({ "operation": name, "how": how }))
            .collect();
        serde_json::json!({ "functions": functions }).to_string()
    }

    #[test]
    fn a_kernel_whose_hooks_are_others_than_its_own_fails() {
        let pairs = said(["fentry"; 4]);
        let probes = said(["kprobe"; 4]);
        assert!(Paired::of(Kernel::V6_12, &pairs).is_ok());
        assert!(Paired::of(Kernel::V7_2, &probes).is_err());
        assert!(Paired::of(Kernel::V6_1, &probes).is_ok());
        assert!(Paired::of(Kernel::V6_1, &pairs).is_err());
        assert!(Paired::of(Kernel::V6_12, "{\"functions\": []}").is_err());
        let one = Paired::parse(&said(["fentry", "kprobe", "kprobe", "kprobe"])).unwrap();
        assert_eq!(one.to_string(), "add");
    }

    #[test]
    fn what_pairs_should_have_seen_and_missed_is_found() {
        let missed = |kind| {
            let (position, count) = (0, 2);
            let mut queue = GuestQueue::default();
            match kind {
                Kind::Add => queue.adds.push(Added::Missed { position, count }),
                Kind::Used => queue.used.push(Returned::Missed { position, count }),
                other => drop(queue.missed_else.insert(Some(other), 2)),
            }
            queue
        };
        let pairs = Paired::parse(&said(["fentry"; 4])).unwrap();
        assert!(pairs.none_missed(&GuestQueue::default()).is_ok());
        for (at, (name, kind)) in COUNTED.into_iter().enumerate() {
            let error = pairs.none_missed(&missed(kind)).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("2 operations of the kind {name} ")),
                "{error}"
            );
            let mut hows = ["fentry"; 4];
            hows[at] = "kprobe";
            let others = Paired::parse(&said(hows)).unwrap();
            assert!(others.none_missed(&missed(kind)).is_ok());
        }
        // A notification that was promised and never came.
        let queue = GuestQueue {
            unkept: 1,
            ..GuestQueue::default()
        };
        assert!(pairs.none_missed(&queue).is_err());
    }
}
