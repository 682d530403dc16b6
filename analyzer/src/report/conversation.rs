//! What a report says of the conversation on a 9P queue.

use schemars::JsonSchema;
use serde::Serialize;

use super::text::plural;
use crate::p9::ConversationView;

/// How the conversation on a 9P queue stood at the end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, JsonSchema)]
pub struct ConversationReport {
    /// `9P2000`, `9P2000.u` or `9P2000.L`.
    pub dialect: String,
    /// The dialect is a guess: no `Tversion` was seen.
    pub dialect_guessed: bool,
    /// Bytes of the largest message; `null` if its agreement was not seen.
    pub msize: Option<u32>,
    /// Sessions begun by an `Rversion`.
    pub sessions: u64,
    /// Fids known to be in use.
    pub fids: u64,
    /// The most there ever were.
    pub fids_peak: u64,
    /// Times everything that was known of fids and paths had to be given up, because
    /// requests may have been lost.
    pub forgotten: u64,
    /// `Tflush` requests.
    pub flushes: u64,
    /// Requests that were answered though they were being given up.
    pub answered_while_flushed: u64,
    /// Requests that an `Rflush` ended, without an answer.
    pub given_up: u64,
}

impl From<ConversationView> for ConversationReport {
    fn from(view: ConversationView) -> Self {
        Self {
            dialect: view.dialect.to_string(),
            dialect_guessed: view.dialect_guessed,
            msize: view.msize,
            sessions: view.sessions,
            fids: view.fids as u64,
            fids_peak: view.fids_peak as u64,
            forgotten: view.forgotten,
            flushes: view.flushes,
            answered_while_flushed: view.answered_while_flushed,
            given_up: view.given_up,
        }
    }
}

impl ConversationReport {
    /// In one line.
    pub(super) fn in_words(&self) -> String {
        let mut text = self.dialect.clone();
        if self.dialect_guessed {
            text += " by guess: no Tversion was seen";
        }
        text += &match self.msize {
            Some(msize) => format!("; msize {msize}"),
            None => "; msize not known".to_owned(),
        };
        text += &format!(
            "; {} at the end, {} at most",
            plural(self.fids, "fid"),
            self.fids_peak
        );
        if self.flushes > 0 {
            text += &format!(
                "; {} flushed, {} of them answered all the same, {} given up",
                plural(self.flushes, "request"),
                self.answered_while_flushed,
                self.given_up
            );
        }
        if self.forgotten > 0 {
            text += &format!(
                "; all fids and paths forgotten {}, for requests may have been lost",
                plural(self.forgotten, "time")
            );
        }
        text
    }
}
