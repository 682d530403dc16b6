//! The findings by name.

use schemars::JsonSchema;
use serde::Serialize;

use super::Severity;

/// What is always the same about a finding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct About {
    /// How bad it is.
    pub severity: Severity,
    /// What it means, in one sentence.
    pub sentence: &'static str,
    /// Where the rule stands that is broken, or the mechanism is described.
    pub spec: &'static str,
    /// What to try.
    pub advice: &'static str,
}

/// Declares the codes and where each detector is.
macro_rules! codes {
    ($($code:ident $name:literal = $detector:path;)+) => {
        /// What kind of trouble a finding is. Names never change their meaning; new
        /// ones may appear in minor versions.
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, JsonSchema,
        )]
        #[non_exhaustive]
        pub enum FindingCode {
            $(
                #[doc = concat!("`", $name, "`: see the book's page on findings.")]
                #[serde(rename = $name)]
                $code,
            )+
        }

        impl FindingCode {
            /// All of them, causes before what follows from them.
            pub const ALL: &'static [Self] = &[$(Self::$code),+];

            /// The stable name: in JSON, on the command line and in the book.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$code => $name,)+
                }
            }

            /// What is always the same about it.
            pub const fn about(self) -> &'static About {
                match self {
                    $(Self::$code => &$detector,)+
                }
            }
        }
    };
}

codes! {
    LostKick "lost-kick" = super::lost_kick::ABOUT;
    LostInterrupt "lost-interrupt" = super::lost_interrupt::ABOUT;
    DeviceNotConsuming "device-not-consuming" = super::device_not_consuming::ABOUT;
    TokenNeverReturned "token-never-returned" = super::token_never_returned::ABOUT;
    IndexJump "index-jump" = super::index_jump::ABOUT;
    UnknownOrRepeatedId "unknown-or-repeated-id" = super::unknown_or_repeated_id::ABOUT;
    UsedLength "used-length" = super::used_length::ABOUT;
    NineTagReuse "9p-tag-reuse" = super::nine::tag_reuse::ABOUT;
    StuckRequest "stuck-request" = super::stuck_request::ABOUT;
    ResetInFlight "reset-in-flight" = super::reset_in_flight::ABOUT;
    RingFull "ring-full" = super::ring_full::ABOUT;
    ChainTooLong "chain-too-long" = super::chain_too_long::ABOUT;
    HeadOfLineBlocking "head-of-line-blocking" = super::head_of_line_blocking::ABOUT;
    LatencyOutliers "latency-outliers" = super::latency_outliers::ABOUT;
    InterruptStorm "interrupt-storm" = super::interrupt_storm::ABOUT;
    NineErrors "9p-errors" = super::nine::errors::ABOUT;
    NineFlushStorm "9p-flush-storm" = super::nine::flush_storm::ABOUT;
    NineMsize "9p-msize" = super::nine::msize::ABOUT;
    NineFidLeak "9p-fid-leak" = super::nine::fid_leak::ABOUT;
    SpuriousInterrupts "spurious-interrupts" = super::spurious_interrupts::ABOUT;
    KicksWithoutBatching "kicks-without-batching" = super::kicks_without_batching::ABOUT;
    UnbalancedQueues "unbalanced-queues" = super::unbalanced_queues::ABOUT;
    NineMetadataStorm "9p-metadata-storm" = super::nine::metadata_storm::ABOUT;
    NineSmallReads "9p-small-reads" = super::nine::small_reads::ABOUT;
}

impl FindingCode {
    /// The finding of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        let mut all = Self::ALL.iter().copied();
        all.find(|code| code.name() == name)
    }
}

impl std::fmt::Display for FindingCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_name_a_sentence_a_section_and_advice() {
        for &code in FindingCode::ALL {
            assert_eq!(FindingCode::from_name(code.name()), Some(code));
            let kebab = |c: char| c.is_ascii_lowercase() || c == '-' || c == '9';
            assert!(code.name().chars().all(kebab), "{code}");
            let about = code.about();
            for text in [about.sentence, about.advice] {
                assert!(text.ends_with('.'), "{code}: {text}");
            }
            assert!(!about.sentence.contains(". "), "{code}: one sentence");
            assert!(
                about.spec.contains('§') || about.spec.contains('('),
                "{code}"
            );
        }
        assert_eq!(FindingCode::from_name("Ring-Full"), None);
    }
}
