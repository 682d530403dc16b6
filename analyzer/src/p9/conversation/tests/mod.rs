//! Conversations held against a model: a server whose tree is trusted, and a client
//! whose requests are answered in any order that the protocol allows.

mod examples;
mod model;
mod random;
mod session;
