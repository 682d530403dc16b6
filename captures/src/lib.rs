//! Captures of ring-event records: writing, reading, ordering, accounting.
//!
//! A capture is a pcapng file or pipe. [`CaptureWriter`] makes one and
//! [`CaptureReader`] reads it back; [`Merge`] puts the records of many
//! producers into the order of time before they are written or analysed, and
//! [`Ledger`] keeps the one equation that every report rests on:
//! *emitted = stored + lost + filtered*.
//!
//! What each block and option holds is described in the book, in
//! `docs/capture-format.md`.
//!
//! ```
//! use virtscope_captures::{CaptureInfo, CaptureReader, CaptureWriter, ClockOffset, Item};
//! use virtscope_record::{Body, Common, Producer, QueueFacts, Record};
//!
//! let facts = Record::new(
//!     Common { producer: Producer::Recorder.id(), ..Common::default() },
//!     Body::QueueFacts(QueueFacts { size: 128, ..QueueFacts::default() }),
//! );
//! let mut file = Vec::new();
//! let mut writer = CaptureWriter::new(&mut file, CaptureInfo::new(256, ClockOffset::measure()))?;
//! writer.write(&facts, b"virtio0/requests\ndriver=9pnet_virtio")?;
//! writer.finish()?;
//!
//! let mut reader = CaptureReader::new(file.as_slice())?;
//! let mut records = 0;
//! loop {
//!     match reader.next_item()? {
//!         Item::Record(packet) => {
//!             assert_eq!(packet.record, facts);
//!             records += 1;
//!         }
//!         Item::End(end) => {
//!             assert!(end.is_complete());
//!             break;
//!         }
//!         _ => {}
//!     }
//! }
//! assert_eq!(records, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod accounting;
mod clock;
mod description;
pub mod edit;
mod info;
mod merge;
mod output;
mod reader;
mod recent;
mod sequence;
mod writer;

pub use accounting::{Inconsistencies, Ledger, Totals};
pub use clock::{ClockOffset, monotonic_now};
pub use description::QueueDescription;
pub use info::{CaptureInfo, Origin, Selection};
pub use merge::{Merge, MergeConfig, StreamKey};
pub use output::{CreateError, NewFile, create_file};
pub use reader::{
    CaptureReader, Damage, End, Follow, Interface, InterfaceStatistics, Item, LooksLike, Packet,
    PacketProblem, ReadError, SectionStart,
};
pub use writer::{CaptureWriter, MAX_SNAPLEN, WIRESHARK_SNAPLEN, WriteError};

/// The link type of every interface of ours: `LINKTYPE_USER0`.
pub const LINK_TYPE: u16 = 147;
