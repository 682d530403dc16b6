//! Any bytes are a program's notes or an error, and what is found lies in the file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use virtscope_tracer::usdt::notes;

fuzz_target!(|bytes: &[u8]| {
    // The beginning of an ELF file of 64 bits is no challenge.
    let mut whole = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    whole.extend(bytes);
    for found in notes::read(whole.as_slice()).unwrap_or_default() {
        assert!(found.provider.len() + found.name.len() + found.arguments.len() <= whole.len());
    }
});
