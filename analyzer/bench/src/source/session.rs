//! What is said on a queue: 9P2000.L as the demo's threads speak it.
//!
//! Each request goes by a fid of its own, that of its head, so that any number may be in
//! flight and come back in any order without one changing what another is about.

use super::{Random, SIZE, SNAPLEN};

/// A request and its reply, each as much as is kept of it, and how long they are.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) request: Vec<u8>,
    pub(super) request_len: u32,
    pub(super) reply: Vec<u8>,
    pub(super) reply_len: u32,
}

/// What a fid stands for.
#[derive(Clone, Copy, Default)]
enum Fid {
    #[default]
    Nothing,
    File,
    OpenFile,
}

/// The fids of a session.
pub(super) struct Session([Fid; SIZE as usize]);

impl Default for Session {
    fn default() -> Self {
        Self([Fid::Nothing; SIZE as usize])
    }
}

const ROOT: u32 = 0;
const NOTAG: u16 = u16::MAX;
/// The largest message.
const MSIZE: u32 = 32 * 1024;
const DIR: [u8; 13] = [0x80, 1, 0, 0, 0, 41, 0, 0, 0, 0, 0, 0, 0];

fn qid(file: u8) -> [u8; 13] {
    [0, 1, 0, 0, 0, file, 1, 0, 0, 0, 0, 0, 0]
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_le_bytes()[..], text.as_bytes()].concat()
}

impl Session {
    /// How a session begins.
    pub(super) fn beginning() -> [Call; 2] {
        let version = [&MSIZE.to_le_bytes()[..], &text("9P2000.L")].concat();
        let attach = [
            &ROOT.to_le_bytes()[..],
            &u32::MAX.to_le_bytes(),
            &text("root"),
            &text("scratch"),
            &0_u32.to_le_bytes(),
        ]
        .concat();
        [
            Call::new(100, NOTAG, &version, &version),
            Call::new(104, 0, &attach, &DIR),
        ]
    }

    /// What is asked next under this head.
    pub(super) fn next(&mut self, head: u16, random: &mut Random) -> Call {
        let state = &mut self.0[usize::from(head)];
        let fid = (1 + u32::from(head)).to_le_bytes();
        // Each fid goes through the same files, one after the other.
        let file = (head % 50) as u8;
        let offset = (random.below(16) * 4096).to_le_bytes();
        match *state {
            Fid::Nothing => {
                *state = Fid::File;
                let names = [text("src"), text(&format!("file-{file}.rs"))].concat();
                let walk = [&ROOT.to_le_bytes()[..], &fid, &2_u16.to_le_bytes(), &names].concat();
                let met = [&2_u16.to_le_bytes()[..], &DIR, &qid(file)].concat();
                Call::new(110, head, &walk, &met)
            }
            Fid::File if random.below(100) < 39 => {
                let getattr = [&fid[..], &0x3fff_u64.to_le_bytes()].concat();
                let is = [&0x3fff_u64.to_le_bytes()[..], &qid(file), &[0; 132]].concat();
                Call::new(24, head, &getattr, &is)
            }
            Fid::File => {
                *state = Fid::OpenFile;
                let open = [&fid[..], &0_u32.to_le_bytes()].concat();
                Call::new(12, head, &open, &[&qid(file)[..], &[0; 4]].concat())
            }
            Fid::OpenFile => match random.below(100) {
                0..55 => {
                    let read = [&fid[..], &offset, &4096_u32.to_le_bytes()].concat();
                    let mut call = Call::new(116, head, &read, &data(4096));
                    call.set_reply_len(11 + 4096);
                    call
                }
                55..62 => {
                    let entry = [&qid(1)[..], &1_u64.to_le_bytes(), &[8], &text("Cargo.toml")];
                    let entries = entry.concat().repeat(6);
                    let readdir = [&fid[..], &0_u64.to_le_bytes(), &8192_u32.to_le_bytes()];
                    let read = [&(entries.len() as u32).to_le_bytes()[..], &entries];
                    Call::new(40, head, &readdir.concat(), &read.concat())
                }
                62..70 => {
                    let write = [&fid[..], &offset, &data(2048)].concat();
                    let mut call = Call::new(118, head, &write, &2048_u32.to_le_bytes());
                    call.set_request_len(23 + 2048);
                    call
                }
                70..75 => {
                    let name = text(&format!("scratch-{head}"));
                    let unlink = [&ROOT.to_le_bytes()[..], &name, &[0; 4]].concat();
                    Call::new(76, head, &unlink, &[])
                }
                _ => {
                    *state = Fid::Nothing;
                    Call::new(120, head, &fid, &[])
                }
            },
        }
    }
}

impl Call {
    fn new(kind: u8, tag: u16, request: &[u8], reply: &[u8]) -> Self {
        let mut call = Self {
            request: message(kind, tag, request),
            request_len: 0,
            reply: message(kind + 1, tag, reply),
            reply_len: 0,
        };
        call.set_request_len(7 + request.len() as u32);
        call.set_reply_len(7 + reply.len() as u32);
        call
    }

    /// It says that it is so long, of which a part is kept.
    fn set_request_len(&mut self, len: u32) {
        self.request_len = len;
        self.request[..4].copy_from_slice(&len.to_le_bytes());
    }

    fn set_reply_len(&mut self, len: u32) {
        self.reply_len = len;
        self.reply[..4].copy_from_slice(&len.to_le_bytes());
    }
}

/// Data of so many bytes, of which a part is kept.
fn data(many: u32) -> Vec<u8> {
    let kept = vec![7; many.min(SNAPLEN) as usize];
    [&many.to_le_bytes()[..], &kept].concat()
}

fn message(kind: u8, tag: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes.push(kind);
    bytes.extend(tag.to_le_bytes());
    bytes.extend(body);
    bytes.truncate(SNAPLEN as usize);
    bytes
}
