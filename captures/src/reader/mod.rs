//! Reading a capture from a file, a pipe, or a file that still grows.
//!
//! Reading never gives up what can be had: a broken record is counted and
//! skipped, a capture that is cut off yields everything before the cut and then
//! says so. Memory is bounded by the largest block and the number of interfaces.

mod block;
mod buffer;
mod follow;
mod item;
mod packet;
mod sniff;
mod step;

use std::io::Read;

use pcap_file::pcapng::blocks::interface_description::InterfaceTsResolution;
use pcap_file::pcapng::{Block, PcapNgParser, blocks};
use virtscope_record::{FORMAT_VERSION, FRAME_LEN};

use crate::CaptureInfo;
use block::ByteOrder;
use buffer::Buffer;
use step::{Counts, Known, Step, found};

pub use follow::Follow;
pub use item::{
    Damage, End, Interface, InterfaceStatistics, Item, Packet, PacketProblem, ReadError,
    SectionStart,
};
pub use sniff::LooksLike;

/// The longest block that is read; Wireshark's own limit.
const MAX_BLOCK: u32 = 16 * 1024 * 1024;

/// The most interfaces of a section; a machine with a thousand multi-queue
/// devices has fewer queues.
const MAX_INTERFACES: usize = 1 << 16;

/// Reads a capture block by block.
///
/// ```no_run
/// use virtscope_captures::{CaptureReader, Item};
///
/// let mut reader = CaptureReader::new(std::fs::File::open("x.pcapng")?)?;
/// loop {
///     match reader.next_item()? {
///         Item::Record(packet) => println!("{:?}", packet.record),
///         Item::End(end) => break println!("{end}"),
///         _ => {}
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct CaptureReader<R> {
    buffer: Buffer<R>,
    /// `None` until the first section header was read.
    parser: Option<PcapNgParser>,
    info: Option<CaptureInfo>,
    interfaces: Vec<Known>,
    counts: Counts,
    end: Option<End>,
}

/// The next block, or that there is none.
enum Framed {
    Block { len: usize, order: ByteOrder },
    End(End),
}

impl<R: Read> CaptureReader<R> {
    /// Begins to read `input`.
    ///
    /// # Errors
    /// Empty input, input that is not pcapng.
    pub fn new(input: R) -> Result<Self, ReadError> {
        let mut buffer = Buffer::new(input);
        buffer.fill(sniff::PCAPNG.len())?;
        let start = buffer.unread();
        if start.is_empty() {
            return Err(ReadError::Empty);
        }
        let start = start.get(..sniff::PCAPNG.len()).unwrap_or(start);
        if let Some(looks_like) = LooksLike::of(start) {
            return Err(ReadError::NotPcapng(looks_like));
        }
        Ok(Self {
            buffer,
            parser: None,
            info: None,
            interfaces: Vec::new(),
            counts: Counts::default(),
            end: None,
        })
    }

    /// The next thing in the capture. With a [`Follow`] as input it waits for
    /// one.
    ///
    /// # Errors
    /// Input that cannot be read, a newer format, and at the end a capture in
    /// which nothing is ours. After an error of the input it may be called again.
    // Where it is called the kind of the item is asked for at once: then a packet need
    // not be put together in memory.
    #[inline(always)]
    pub fn next_item(&mut self) -> Result<Item<'_>, ReadError> {
        match self.plain_packet() {
            Some(plain) => {
                self.buffer.consume(plain.len);
                self.counts.packets += 1;
                let start = packet::PACKET_DATA + FRAME_LEN;
                let payload = start..start + plain.payload_len;
                Ok(Item::Record(Packet {
                    record: plain.record,
                    payload: self.buffer.consumed(plain.len, payload),
                    original_len: plain.original_len,
                    dropcount: plain.dropcount,
                    unix_ns: plain.unix_ns,
                    number: self.counts.packets,
                }))
            }
            None => self.next_odd_item(),
        }
    }

    /// The next packet, if it has been read and there is nothing special about it.
    #[inline(always)]
    fn plain_packet(&self) -> Option<packet::Plain> {
        let is_little = self.end.is_none() && self.order() == ByteOrder::Little;
        let interfaces = is_little.then_some(self.interfaces.as_slice())?;
        packet::plain(self.buffer.unread(), interfaces)
    }

    /// The next thing in the capture, whatever it is.
    #[inline(never)]
    fn next_odd_item(&mut self) -> Result<Item<'_>, ReadError> {
        loop {
            let offset = self.buffer.offset();
            let (len, order) = match self.frame()? {
                Framed::Block { len, order } => (len, order),
                Framed::End(end) => return Ok(Item::End(end)),
            };
            let step = self.read_block(len, order)?;
            if !matches!(step, Step::Damaged(_)) {
                self.buffer.consume(len);
            }
            return Ok(match step {
                Step::Nothing => continue,
                Step::Section(section) => Item::Section(section),
                Step::Interface(interface) => Item::Interface(interface),
                Step::Statistics(statistics) => Item::Statistics(statistics),
                Step::Corrupt(problem) => {
                    self.counts.corrupt += 1;
                    Item::Corrupt {
                        packet: self.counts.packets,
                        offset,
                        problem,
                    }
                }
                Step::Damaged(damage) => {
                    let end = End::Damaged { offset, damage };
                    self.end = Some(end);
                    Item::End(end)
                }
                Step::Record(found) => Item::Record(Packet {
                    record: found.record,
                    payload: self.buffer.consumed(len, found.payload),
                    original_len: found.original_len,
                    dropcount: found.dropcount,
                    unix_ns: found.unix_ns,
                    number: self.counts.packets,
                }),
            });
        }
    }

    /// What the current section says about itself, once it was read.
    pub const fn info(&self) -> Option<&CaptureInfo> {
        self.info.as_ref()
    }

    /// Packets so far, of whatever interface.
    pub const fn packets(&self) -> u64 {
        self.counts.packets
    }

    /// Packets so far of interfaces that are not ours; they were skipped.
    pub const fn foreign_packets(&self) -> u64 {
        self.counts.foreign_packets
    }

    /// Packets so far of our interfaces that held no sound record; they were
    /// skipped.
    pub const fn corrupt_packets(&self) -> u64 {
        self.counts.corrupt
    }

    /// Waits until a whole block is there and checks that it is one.
    fn frame(&mut self) -> Result<Framed, ReadError> {
        if let Some(end) = self.end {
            return Ok(Framed::End(end));
        }
        let offset = self.buffer.offset();
        if !self.buffer.fill(block::SHORTEST)? {
            return self.end_of_input();
        }
        let checked = block::frame_start(self.buffer.unread(), self.order());
        let (len, order) = match checked {
            Ok((len, order)) if len <= MAX_BLOCK => (len, order),
            Ok((len, _)) => return Ok(self.damaged(offset, Damage::Length { len })),
            Err(damage) => return Ok(self.damaged(offset, damage)),
        };
        if !self.buffer.fill(len as usize)? {
            return self.end_of_input();
        }
        if let Err(damage) = block::frame_end(self.buffer.unread(), len, order) {
            return Ok(self.damaged(offset, damage));
        }
        Ok(Framed::Block {
            len: len as usize,
            order,
        })
    }

    fn order(&self) -> ByteOrder {
        self.parser.as_ref().map_or(ByteOrder::Little, |parser| {
            parser.section().endianness.into()
        })
    }

    fn damaged(&mut self, offset: u64, damage: Damage) -> Framed {
        let end = End::Damaged { offset, damage };
        self.end = Some(end);
        Framed::End(end)
    }

    fn end_of_input(&mut self) -> Result<Framed, ReadError> {
        let Counts {
            our_sections,
            our_interfaces,
            foreign_interfaces,
            foreign_packets,
            ..
        } = self.counts;
        let leftover = self.buffer.unread().len() as u64;
        if leftover == 0 && our_interfaces == 0 && our_sections == 0 {
            return Err(ReadError::NoInterface {
                interfaces: foreign_interfaces,
                packets: foreign_packets,
            });
        }
        let unfinished = self.counts.unfinished + self.unfinished();
        let end = if leftover > 0 || our_interfaces == 0 || unfinished > 0 {
            End::Truncated {
                offset: self.buffer.offset(),
                leftover,
            }
        } else {
            End::Complete
        };
        self.end = Some(end);
        Ok(Framed::End(end))
    }

    /// Our interfaces of this section that have no statistics yet.
    fn unfinished(&self) -> u64 {
        let open = |known: &&Known| known.is_ours && !known.is_finished;
        self.interfaces.iter().filter(open).count() as u64
    }

    /// Reads the block of `len` bytes at the start of the buffer.
    fn read_block(&mut self, len: usize, order: ByteOrder) -> Result<Step, ReadError> {
        let bytes = self.buffer.unread();
        let bytes = bytes.get(..len).unwrap_or(bytes);
        let kind = order.u32_at(bytes, 0);
        let Some(parser) = &mut self.parser else {
            let Ok((_, parser)) = PcapNgParser::new(bytes) else {
                return Ok(Step::Damaged(Damage::SectionHeader));
            };
            self.parser = Some(parser);
            return self.begin_section();
        };
        if kind == blocks::ENHANCED_PACKET_BLOCK {
            self.counts.packets += 1;
            let interface = order.u32_at(bytes, 8);
            let Some(known) = self.interfaces.get(interface as usize) else {
                return Ok(Step::Corrupt(PacketProblem::Interface { interface }));
            };
            if !known.is_ours {
                self.counts.foreign_packets += 1;
                return Ok(Step::Nothing);
            }
            return match packet::packet(bytes, order, known.counts_nanos, parser) {
                Some(packet) => found(&packet, known.queue, self.info.as_ref()),
                None => Ok(Step::Corrupt(PacketProblem::Block)),
            };
        }
        let parsed = parser.next_raw_block(bytes).map(|(_, raw)| raw);
        match kind {
            blocks::SECTION_HEADER_BLOCK => match parsed {
                Ok(_) => self.begin_section(),
                Err(_) => Ok(Step::Damaged(Damage::SectionHeader)),
            },
            blocks::INTERFACE_DESCRIPTION_BLOCK => {
                if parsed.is_err() {
                    // The numbers of the interfaces behind it must not shift.
                    let stand_in = block::empty_interface(order);
                    if parser.next_raw_block(&stand_in).is_err() {
                        return Ok(Step::Nothing);
                    }
                }
                Ok(self.declare_interface())
            }
            blocks::SIMPLE_PACKET_BLOCK | blocks::PACKET_BLOCK => {
                self.counts.packets += 1;
                self.counts.foreign_packets += 1;
                Ok(Step::Nothing)
            }
            blocks::INTERFACE_STATISTIC_BLOCK => {
                let block = parsed.map(|raw| raw.try_into_block(parser.state()));
                let Ok(Ok(Block::InterfaceStatistics(statistics))) = block else {
                    return Ok(Step::Nothing);
                };
                let Some(known) = self.interfaces.get_mut(statistics.interface_id as usize) else {
                    return Ok(Step::Nothing);
                };
                known.is_finished = true;
                Ok(Step::Statistics(block::statistics(
                    &statistics,
                    known.queue,
                )))
            }
            _ => Ok(Step::Nothing),
        }
    }

    /// Takes over what the parser has just read of a section header.
    fn begin_section(&mut self) -> Result<Step, ReadError> {
        self.counts.unfinished += self.unfinished();
        self.interfaces.clear();
        let Some(parser) = &self.parser else {
            return Ok(Step::Nothing);
        };
        let header = parser.section();
        if header.major_version != 1 {
            return Ok(Step::Damaged(Damage::PcapngVersion {
                major: header.major_version,
            }));
        }
        let section = block::section(header);
        self.info = section.info;
        if let Some(info) = section.info {
            if info.format > FORMAT_VERSION {
                return Err(ReadError::NewerFormat { found: info.format });
            }
            self.counts.our_sections += 1;
        }
        Ok(Step::Section(section))
    }

    /// Takes over the interface that the parser has just read.
    fn declare_interface(&mut self) -> Step {
        let id = self.interfaces.len();
        let parser = self.parser.as_ref();
        let Some(block) = parser.and_then(|parser| parser.interfaces().get(id)) else {
            return Step::Nothing;
        };
        if id >= MAX_INTERFACES {
            return Step::Damaged(Damage::Interfaces {
                max: MAX_INTERFACES,
            });
        }
        let interface = block::interface(block, id, self.info.is_some());
        let counts_nanos =
            block.ts_resolution() == InterfaceTsResolution::NANO && block.ts_offset() == 0;
        if interface.is_ours {
            self.counts.our_interfaces += 1;
        } else {
            self.counts.foreign_interfaces += 1;
        }
        self.interfaces.push(Known {
            is_ours: interface.is_ours,
            queue: interface.queue,
            is_finished: false,
            counts_nanos,
        });
        Step::Interface(interface)
    }
}
