//! Whatever anybody writes into a ring, at any moment: neither half panics, loops or
//! reaches outside, and the driver gives every token back exactly once.
#![no_main]

// One conversation for the fuzzer and for the driver's property tests.
#[path = "../../../tests/hostile/conversation.rs"]
mod conversation;
#[path = "../../../tests/hostile/harness/mod.rs"]
mod harness;

use conversation::Conversation;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| Conversation::from_bytes(bytes).hold());
