use proptest::prelude::*;

use super::*;

#[test]
fn what_is_no_program_is_told() {
    let no_elf = read(b"#!/bin/sh\n".as_slice()).unwrap_err();
    assert!(matches!(no_elf, NotesError::NotElf(_)), "{no_elf}");
    assert!(read(b"".as_slice()).is_err());
    let narrow = read(b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".as_slice()).unwrap_err();
    assert!(narrow.to_string().contains("32 bits"), "{narrow}");
}

#[test]
fn a_description_is_read_to_its_end_and_no_further() {
    let mut bytes = Vec::new();
    for number in [0x1000u64, 0x2000, 0x3000] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(b"virtscope\0record\08@%rdi\0");
    let raw = Raw::parse(&bytes, Endianness::Little).unwrap();
    assert_eq!(
        (raw.location, raw.base, raw.semaphore),
        (0x1000, 0x2000, 0x3000)
    );
    assert_eq!(
        (raw.provider.as_str(), raw.name.as_str()),
        ("virtscope", "record")
    );
    assert_eq!(raw.arguments, "8@%rdi");
    for end in 0..24 {
        assert!(Raw::parse(&bytes[..end], Endianness::Little).is_none());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever stands in an ELF file's headers, there is an answer.
    #[test]
    fn no_file_makes_a_panic(at in 0usize..4096, bytes in prop::collection::vec(any::<u8>(), 1..32)) {
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        let mut program = vec![0; 1 << 20];
        let len = std::io::Read::read(&mut &file, &mut program).unwrap();
        program.truncate(len);
        // The section headers are made up: they stand behind where this copy ends.
        program[40..48].copy_from_slice(&64u64.to_le_bytes());
        for (place, byte) in program.iter_mut().skip(at).zip(&bytes) {
            *place = *byte;
        }
        let _ = read(program.as_slice());
    }
}
