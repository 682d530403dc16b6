//! Where a program's probes are: the section `.note.stapsdt`, in the form that
//! SystemTap's `sys/sdt.h` gave it.
//!
//! A note says where the probe stands, where its semaphore is, provider and name, and
//! where its arguments are. Addresses are the program's own; the kernel wants places in
//! the file, so both are looked up in the segments.

use object::elf::{ELFCLASS64, FileHeader64, PT_LOAD};
use object::read::elf::{ElfFile, FileHeader, ProgramHeader, SectionHeader};
use object::{Endianness, Object, ObjectSection, ReadRef};

/// The section's name, and the name and type of its notes.
const SECTION: &str = ".note.stapsdt";
const NOTE_NAME: &[u8] = b"stapsdt";
const NOTE_TYPE: u32 = 3;
/// The section whose address all others count from: a tool that moved the program after
/// it was linked moved this one, too. Linkers may drop it.
const BASE: &str = ".stapsdt.base";

/// A probe of a program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    /// Who provides it.
    pub provider: String,
    /// What it is called.
    pub name: String,
    /// Where its arguments are, as an assembler writes it: `8@%rdi 4@$1`.
    pub arguments: String,
    /// Where it stands in the file.
    pub offset: u64,
    /// Where in the file its semaphore is, if it has one.
    pub semaphore: Option<u64>,
}

/// A file that has no notes to read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotesError {
    /// No ELF file of 64 bits, or a damaged one.
    #[error("{0}")]
    NotElf(String),
    /// It has no section headers at all.
    #[error("no section headers")]
    NoSections,
}

/// The probes in the program `data`; none where it has no such section. Notes that make
/// no sense are left out.
///
/// # Errors
/// It is no ELF file of 64 bits, or has no section headers.
pub fn read<'a>(data: impl ReadRef<'a>) -> Result<Vec<Note>, NotesError> {
    let not_elf = |error: object::Error| NotesError::NotElf(error.to_string());
    let ident = data.read_bytes_at(0, 5).unwrap_or_default();
    if ident.get(..4) != Some(b"\x7fELF") {
        return Err(NotesError::NotElf("it does not begin like one".to_owned()));
    }
    if ident.get(4) != Some(&ELFCLASS64) {
        return Err(NotesError::NotElf("it is one of 32 bits".to_owned()));
    }
    let file = ElfFile::<FileHeader64<Endianness>, _>::parse(data).map_err(not_elf)?;
    let endian = file.endian();
    let header = file.elf_header();
    if header
        .section_headers(endian, data)
        .map_err(not_elf)?
        .is_empty()
    {
        return Err(NotesError::NoSections);
    }
    let Some(section) = file.section_by_name(SECTION) else {
        return Ok(Vec::new());
    };
    let base = file.section_by_name(BASE).map(|section| section.address());
    let segments = header.program_headers(endian, data).map_err(not_elf)?;
    let place = |address: u64| {
        segments.iter().find_map(|segment| {
            let from = segment.p_vaddr(endian);
            let within = address.checked_sub(from)?;
            let is_there = segment.p_type(endian) == PT_LOAD && within < segment.p_filesz(endian);
            is_there.then(|| segment.p_offset(endian).checked_add(within))?
        })
    };
    let mut found = section
        .elf_section_header()
        .notes(endian, data)
        .map_err(not_elf)?;
    let mut notes = Vec::new();
    while let Some(note) = found.as_mut().and_then(|notes| notes.next().ok().flatten()) {
        let is_probe = note.n_type(endian) == NOTE_TYPE && note.name() == NOTE_NAME;
        let raw = is_probe.then(|| Raw::parse(note.desc(), endian)).flatten();
        let Some(raw) = raw else {
            continue;
        };
        let moved = base.map_or(0, |base| base.wrapping_sub(raw.base));
        let Some(offset) = place(raw.location.wrapping_add(moved)) else {
            continue;
        };
        let semaphore = match raw.semaphore {
            0 => None,
            address => Some(place(address.wrapping_add(moved))),
        };
        // One that has a semaphore outside of the file can't be counted there.
        if semaphore == Some(None) {
            continue;
        }
        notes.push(Note {
            provider: raw.provider,
            name: raw.name,
            arguments: raw.arguments,
            offset,
            semaphore: semaphore.flatten(),
        });
    }
    Ok(notes)
}

/// What stands in a note, with the program's own addresses.
struct Raw {
    location: u64,
    base: u64,
    semaphore: u64,
    provider: String,
    name: String,
    arguments: String,
}

impl Raw {
    fn parse(description: &[u8], endian: Endianness) -> Option<Self> {
        let number = |at: usize| u64_at(description, at, endian);
        let mut texts = description.get(24..)?.split(|byte| *byte == 0);
        let mut text = || String::from_utf8(texts.next()?.to_vec()).ok();
        Some(Self {
            location: number(0)?,
            base: number(8)?,
            semaphore: number(16)?,
            provider: text()?,
            name: text()?,
            arguments: text()?,
        })
    }
}

fn u64_at(bytes: &[u8], at: usize, endian: Endianness) -> Option<u64> {
    let bytes: [u8; 8] = bytes.get(at..at.checked_add(8)?)?.try_into().ok()?;
    Some(match endian {
        Endianness::Little => u64::from_le_bytes(bytes),
        Endianness::Big => u64::from_be_bytes(bytes),
    })
}

#[cfg(test)]
mod tests;
