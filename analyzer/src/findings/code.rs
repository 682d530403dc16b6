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
    UsedLength "used-length" = super::used_length::ABOUT;
    StuckRequest "stuck-request" = super::stuck_request::ABOUT;
    RingFull "ring-full" = super::ring_full::ABOUT;
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
