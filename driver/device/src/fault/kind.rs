//! The faults there are.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

/// What a fault counts, and what it happens on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Occasion {
    /// The queue begins; there is one in its life.
    Start,
    /// A kick is on its way to the device.
    Kick,
    /// The device, woken from sleep, looks for buffers.
    WakeUp,
    /// The device is about to sleep and to ask for kicks.
    Sleep,
    /// The device has taken a buffer.
    BufferTaken,
    /// The device returns a buffer.
    BufferReturned,
    /// Returned buffers become visible to the driver.
    Publication,
    /// The device decides whether the driver wants an interrupt.
    Decision,
    /// The driver wants an interrupt.
    Interrupt,
}

impl fmt::Display for Occasion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "start of the queue",
            Self::Kick => "kick",
            Self::WakeUp => "wake-up of the device",
            Self::Sleep => "time the device is about to sleep",
            Self::BufferTaken => "buffer taken",
            Self::BufferReturned => "buffer returned",
            Self::Publication => "publication of used buffers",
            Self::Decision => "decision about an interrupt",
            Self::Interrupt => "interrupt the driver wants",
        })
    }
}

/// A parameter of a fault that is a whole number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Amount {
    /// Its name in a plan.
    pub name: &'static str,
    /// Its value where the plan gives none.
    pub default: u64,
    /// What it may be.
    pub range: RangeInclusive<u64>,
}

const fn amount(name: &'static str, default: u64, range: RangeInclusive<u64>) -> Option<Amount> {
    Some(Amount {
        name,
        default,
        range,
    })
}

macro_rules! faults {
    ($($kind:ident $name:literal on $occasion:ident: $about:literal;)+) => {
        /// What a device can be told to do wrong.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum FaultKind {
            $(#[doc = $about] $kind,)+
        }

        impl FaultKind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$kind),+];

            /// Its name in a plan.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)+
                }
            }

            /// What it does, in a sentence.
            pub const fn about(self) -> &'static str {
                match self {
                    $(Self::$kind => $about,)+
                }
            }

            /// What it counts, and what it happens on.
            pub const fn occasion(self) -> Occasion {
                match self {
                    $(Self::$kind => Occasion::$occasion,)+
                }
            }
        }
    };
}

faults! {
    SlowStart "slow-start" on Start:
        "Takes no buffer for the first `ms` milliseconds.";
    LoseKick "lose-kick" on Kick:
        "A kick does not reach the device, which sleeps on.";
    IgnoreKick "ignore-kick" on WakeUp:
        "The device, woken, takes no buffer until it has slept and is woken again.";
    ForgetKicks "forget-kicks" on Sleep:
        "Sleeps without asking for kicks and without looking for buffers once more.";
    StopConsuming "stop-consuming" on BufferTaken:
        "Takes no buffer after this one, for `ms` milliseconds or for good.";
    NeedsReset "needs-reset" on BufferTaken:
        "After taking this buffer the device does nothing any more and asks for a reset.";
    Delay "delay" on BufferReturned:
        "Returns the buffer `ms` milliseconds late.";
    Reorder "reorder" on BufferReturned:
        "Holds the buffer until `window` are held or the first has waited `ms` milliseconds, \
         and returns them in another order; with VIRTIO_F_IN_ORDER, together.";
    NeverReturn "never-return" on BufferReturned:
        "Keeps the buffer for ever; with VIRTIO_F_IN_ORDER, all behind it too.";
    ReturnTwice "return-twice" on BufferReturned:
        "Returns the buffer a second time.";
    ShortLength "short-length" on BufferReturned:
        "Says that it wrote `by` bytes fewer than it did, down to none.";
    WrongLength "wrong-length" on BufferReturned:
        "Says that it wrote `by` bytes more than the buffer has room for.";
    WrongId "wrong-id" on BufferReturned:
        "Returns the buffer under the id of another one it has, if there is one.";
    IdNotInFlight "id-not-in-flight" on BufferReturned:
        "Returns the buffer under an id that none it has goes by.";
    IdOutOfRange "id-out-of-range" on BufferReturned:
        "Returns the buffer under an id beyond the ring.";
    Scribble "scribble" on BufferReturned:
        "Writes nonsense into `words` words of the ring, in any area.";
    IndexJump "index-jump" on Publication:
        "Claims `by` used buffers that it never returned: by its index, or in a packed ring \
         by marking that many descriptors more as used.";
    IndexBack "index-back" on Publication:
        "Puts its used index `by` behind where it last was; a packed ring has none.";
    WrapLie "wrap-lie" on Publication:
        "Marks a used descriptor with the wrong wrap counter; a split ring has none.";
    DropInterrupt "drop-interrupt" on Interrupt:
        "Does not send an interrupt that the driver wants.";
    LateInterrupt "late-interrupt" on Interrupt:
        "Sends an interrupt that the driver wants `ms` milliseconds late.";
    StormInterrupts "storm-interrupts" on Decision:
        "Sends `count` interrupts more than it should, wanted or not.";
    SpuriousInterrupt "spurious-interrupt" on BufferTaken:
        "Sends an interrupt when it takes the buffer, before there is anything to tell.";
}

impl FaultKind {
    /// Whether it takes the parameter `ms`.
    pub const fn takes_time(self) -> bool {
        self.default_time().is_some() || matches!(self, Self::StopConsuming)
    }

    /// How long it lasts where the plan does not say; `None` also for good.
    pub const fn default_time(self) -> Option<Duration> {
        match self {
            Self::Delay | Self::LateInterrupt => Some(Duration::from_millis(1)),
            Self::Reorder => Some(Duration::from_millis(10)),
            Self::SlowStart => Some(Duration::from_millis(100)),
            _ => None,
        }
    }

    /// The parameter it takes beside conditions and `ms`, if there is one.
    pub const fn amount(self) -> Option<Amount> {
        const MOST: u64 = u32::MAX as u64;
        match self {
            Self::Reorder => amount("window", 4, 2..=32_768),
            Self::ShortLength => amount("by", MOST, 1..=MOST),
            Self::WrongLength => amount("by", 1, 1..=MOST),
            Self::Scribble => amount("words", 1, 1..=65_536),
            // Further than any ring is long: no driver can believe it.
            Self::IndexJump => amount("by", 32_768, 1..=65_534),
            Self::IndexBack => amount("by", 1, 1..=32_767),
            Self::StormInterrupts => amount("count", 16, 1..=1_000_000),
            _ => None,
        }
    }

    /// The fault of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        let mut all = Self::ALL.iter().copied();
        all.find(|kind| kind.name() == name)
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kebab_case_and_each_has_a_sentence() {
        for &kind in FaultKind::ALL {
            assert_eq!(FaultKind::from_name(kind.name()), Some(kind));
            let kebab = |c: char| c.is_ascii_lowercase() || c == '-';
            assert!(kind.name().chars().all(kebab), "{kind}");
            let about = kind.about();
            assert!(about.ends_with('.') && !about.contains(". "), "{about}");
        }
        assert_eq!(FaultKind::from_name("Delay"), None);
    }

    #[test]
    fn sentences_name_the_parameters() {
        for &kind in FaultKind::ALL {
            let about = kind.about();
            assert_eq!(about.contains("`ms`"), kind.takes_time(), "{kind}");
            let quoted = about.split('`').skip(1).step_by(2);
            let other: Vec<&str> = quoted.filter(|name| *name != "ms").collect();
            let names: Vec<&str> = kind.amount().iter().map(|amount| amount.name).collect();
            assert_eq!(other, names, "{kind}");
            if let Some(amount) = kind.amount() {
                assert!(amount.range.contains(&amount.default), "{kind}");
            }
        }
    }
}
