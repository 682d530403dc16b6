//! The five operations of Virtio draft IV (2007), from before virtio had a ring
//! layout: a driver written against [`Operations`] does not know how its buffers
//! travel.
//!
//! There are two implementations, as there were then: [`DescriptorRing`], over a
//! virtqueue of either layout in memory that the device reaches, and
//! [`StreamSocket`], which sends the device-readable bytes of a buffer through a
//! stream socket and reads what is to stand in its device-writable part
//! ([`frame`]). [`blk`](crate::blk) and [`net`](crate::net) run on both.
//!
//! | draft IV | here |
//! |---|---|
//! | `struct virtqueue_ops` | [`Operations`] |
//! | `struct virtqueue`, `cb` | [`Callbacks`], [`Callbacks::dispatch`] |
//! | `struct scatterlist sg[]`, `out_num`, `in_num` | [`Buffer`] |
//! | `void *data` | [`Token`] |
//! | `-ENOENT` | [`NotInQueue`] |
//!
//! "No two operations may be invoked simultaneously": they take `&mut self`.
//!
//! ```compile_fail,E0499
//! # use virtscope_driver::{buffer::*, operations::*};
//! fn simultaneously<Q: Operations + Send>(queue: &mut Q) {
//!     std::thread::scope(|scope| {
//!         scope.spawn(|| queue.sync());
//!         scope.spawn(|| queue.sync());
//!     });
//! }
//! ```
//!
//! "The driver is responsible for locking":
//!
//! ```
//! # use std::sync::Mutex;
//! # use virtscope_driver::{buffer::*, operations::*};
//! fn one_after_the_other<Q: Operations + Send>(queue: &Mutex<Q>) {
//!     std::thread::scope(|scope| {
//!         scope.spawn(|| queue.lock().unwrap().sync());
//!         scope.spawn(|| queue.lock().unwrap().sync());
//!     });
//! }
//! ```

mod error;
mod ring;
mod socket;

use std::time::Duration;

use virtscope_record::Token;

use crate::buffer::{Buffer, ReturnedBuffer};

pub use error::{AddBufError, AddBufErrorKind, NotInQueue, QueueFailure};
pub use ring::{DescriptorRing, InRing, LetGo};
pub use socket::{SocketViolation, StreamSocket, frame};

/// Virtio draft IV `struct virtqueue_ops`.
///
/// None of them waits for the device.
pub trait Operations {
    /// Exposes a buffer to the other end, which need not see it before
    /// [`sync`](Self::sync). `token` identifies it; two buffers in the queue should
    /// not share one.
    ///
    /// # Errors
    /// See [`AddBufErrorKind`]; the buffer comes back in the error.
    fn add_buf(&mut self, buffer: Buffer, token: Token) -> Result<(), AddBufError>;

    /// Kicks the other end, after one or more buffers were added.
    ///
    /// A device that can't be reached any more is reported by
    /// [`get_buf`](Self::get_buf).
    fn sync(&mut self);

    /// The next used buffer, if there is one, and its token.
    ///
    /// # Errors
    /// The device broke a rule or is gone. Nothing comes back from it any more;
    /// what it still has is to be detached.
    fn get_buf(&mut self) -> Result<Option<(Token, ReturnedBuffer)>, QueueFailure>;

    /// "Unadds" an unused buffer, usually for shutdown.
    ///
    /// # Errors
    /// No such buffer (`ENOENT`): it was never added, or it is used, and
    /// [`get_buf`](Self::get_buf) returns it or has done so.
    fn detach_buf(&mut self, token: Token) -> Result<Buffer, NotInQueue>;

    /// Restarts callbacks after the callback returned `false`.
    ///
    /// Returns `false`, and does not restart them, if there is something for
    /// [`get_buf`](Self::get_buf) to say already, to avoid a race: call that, then
    /// try again.
    fn restart(&mut self) -> bool;
}

/// What stands beside the operations in draft IV's `struct virtqueue`: when the
/// driver's callback is invoked.
pub trait Callbacks: Operations {
    /// Waits for an interrupt, and says whether one came within `timeout`: from
    /// then on [`get_buf`](Operations::get_buf) has something to say, unless it said
    /// it before.
    fn wait(&mut self, timeout: Duration) -> bool;

    /// No callbacks from now on, until [`restart`](Operations::restart).
    fn stop_callbacks(&mut self);

    /// Whether callbacks are stopped.
    fn callbacks_stopped(&self) -> bool;

    /// Waits for an interrupt and invokes the driver's callback; if that returns
    /// `false`, callbacks are stopped. Says whether it was invoked: not after
    /// `timeout`, and not while callbacks are stopped, when it returns at once.
    fn dispatch(&mut self, timeout: Duration, callback: impl FnOnce(&mut Self) -> bool) -> bool
    where
        Self: Sized,
    {
        if self.callbacks_stopped() || !self.wait(timeout) {
            return false;
        }
        if !callback(self) {
            self.stop_callbacks();
        }
        true
    }
}
