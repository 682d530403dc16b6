//! The 9P file server, message by message, from a client's side: what it
//! answers, what it keeps to itself, and how it bears what makes no sense.

mod changes;
mod client;
mod containment;
mod content;
mod directories;
mod fids;
mod limits;
mod malformed;
mod pool;
mod read_only;
mod sessions;
