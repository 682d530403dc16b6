//! Making requests slow on purpose.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::p9::wire::request::Request;
use crate::p9::wire::{Header, MessageType};

/// What a [`Delay`] decides by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Operation {
    /// Which message.
    pub kind: MessageType,
    /// Bytes that a read, write or readdir asks to move; 0 for the others.
    pub bytes: u32,
}

type Policy = dyn Fn(Operation) -> Option<Duration> + Send + Sync;

/// Which requests are held up before they are answered, and for how long: a
/// stand-in for a slow disk, for tests and demonstrations.
#[derive(Clone)]
pub struct Delay(Option<Arc<Policy>>);

impl Delay {
    /// No request is held up.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// Requests are held up for as long as `policy` says. It is called by the
    /// workers, several at once.
    #[must_use]
    pub fn by(policy: impl Fn(Operation) -> Option<Duration> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(policy)))
    }

    /// How long to hold up this request; not at all if it has no header.
    pub(super) fn of(&self, request: &[u8]) -> Option<Duration> {
        let policy = self.0.as_ref()?;
        let kind = Header::peek(request)?.kind;
        let bytes = match Request::parse(request) {
            Ok(Request::Read { count, .. } | Request::Readdir { count, .. }) => count,
            Ok(Request::Write { data, .. }) => u32::try_from(data.len()).unwrap_or(u32::MAX),
            _ => 0,
        };
        policy(Operation { kind, bytes })
    }
}

impl Default for Delay {
    fn default() -> Self {
        Self::none()
    }
}

impl fmt::Debug for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            None => "Delay::none()",
            Some(_) => "Delay::by(..)",
        })
    }
}
