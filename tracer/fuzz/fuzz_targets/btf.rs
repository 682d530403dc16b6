//! Any bytes are type information or an error, and whatever can be asked of them has
//! an end.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use virtscope_tracer::btf::{Btf, Kind, KernelBtf, TypeId};

fuzz_target!(|bytes: &[u8]| {
    // The magic number and the version are no challenge.
    let mut whole = vec![0x9f, 0xeb, 1, 0];
    whole.extend(bytes);
    let Ok(btf) = Btf::parse(whole.clone()) else {
        return;
    };
    let kernel = KernelBtf::of(whole.clone(), "0".to_owned()).expect("it was read before");
    for id in (0..=btf.end()).map(TypeId) {
        let Some(found) = btf.get(id) else { continue };
        assert!(btf.members(&found).count() <= whole.len());
        assert!(btf.values(&found).count() <= whole.len());
        let name = String::from_utf8_lossy(found.name);
        if found.kind == Kind::Struct {
            let _ = kernel.size_of(&name);
            for member in btf.members(&found) {
                let _ = kernel.member(&name, &String::from_utf8_lossy(member.name));
            }
        }
    }
    let _ = Btf::parse_module(whole, Arc::new(btf));
});
