//! A 9P2000.L file server: bytes in, bytes out.
//!
//! [`FileServer`] serves a real directory to a client that may be hostile. It
//! knows nothing of rings or threads: [`FileServer::handle`] turns one request
//! into one answer and may be called by many threads at once. [`Pool`] runs it
//! on worker threads, so that a slow request holds up no other, and takes back
//! what a client flushes.
//!
//! **Answered**: every message of 9P2000.L. Auth gets `EOPNOTSUPP`, because nobody is
//! asked who they are, and so does what is no message of 9P2000.L. Before a version is
//! agreed on everything gets `EPROTO`.
//!
//! **Contained**: nothing outside the directory can be reached, whatever names
//! are sent and whatever links are, or are put, inside. A file is held by a
//! descriptor and never looked up again; each step down is one checked name
//! that is opened without following links; a step up goes where the walk came
//! from. Only regular files and directories are opened. (A directory that
//! someone on the host moves out of the tree stays reachable to those who
//! already hold a fid in it, as it would to a process that is in it.)
//!
//! **Errors** are Linux errno values. The ones a client meets by its own doing:
//! `EINVAL` malformed message, name or fid; `EBADF` unknown fid, or one that is
//! not open; `EROFS` a change on a server that only reads; `ELOOP` opening a
//! link; `ENXIO` opening a FIFO, socket or device; `EMFILE` too many fids or
//! descriptors; `EMSGSIZE` no room for the answer; `EINTR` taken back.

mod budget;
mod error;
mod fids;
mod flags;
mod locks;
mod name;
mod pool;
mod server;
mod stat;
mod tree;
pub mod wire;

pub use error::ServeError;
pub use pool::{Delay, Done, Job, Operation, Pool};
pub use server::FileServer;

/// The smallest message size a session can have, in bytes: Linux clients ask
/// for at least as much.
pub const MIN_MSIZE: u32 = 4096;

/// The largest message size the server agrees to, in bytes: twice what Linux
/// can send through a ring of 128 pages.
pub const MAX_MSIZE: u32 = 1 << 20;

/// Whether clients may change what is served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Every change, and every open that could lead to one, gets `EROFS`.
    ReadOnly,
    /// Clients may do what the user that the server runs as may do.
    ReadWrite,
}
