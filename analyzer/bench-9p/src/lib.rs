//! A mix of 9P2000.L messages, the same every time: what a guest sends that looks
//! about, reads and writes small pieces.

/// Messages, one behind the other.
#[derive(Debug, Default)]
pub struct Mix {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Mix {
    /// As many whole rounds of messages as have about so many bytes.
    pub fn of(bytes: usize) -> Self {
        let mut mix = Self::default();
        let mut file = 0_u32;
        while mix.bytes.len() < bytes {
            mix.round(file);
            file += 1;
        }
        mix
    }

    /// How many messages.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// All their bytes.
    pub fn byte_count(&self) -> usize {
        self.bytes.len()
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let message = &self.bytes[start..*end];
            start = *end;
            message
        })
    }

    fn push(&mut self, kind: u8, tag: u16, body: &[&[u8]]) {
        let length: usize = body.iter().map(|part| part.len()).sum();
        let size = u32::try_from(length + 7).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(&size.to_le_bytes());
        self.bytes.push(kind);
        self.bytes.extend_from_slice(&tag.to_le_bytes());
        for part in body {
            self.bytes.extend_from_slice(part);
        }
        self.ends.push(self.bytes.len());
    }

    /// One file: walked to, looked at, opened, read, written, and its directory listed.
    fn round(&mut self, file: u32) {
        let tag = (file % 64) as u16;
        let fid = (file % 4096).to_le_bytes();
        let newfid = (file % 4096 + 4096).to_le_bytes();
        let offset = u64::from(file % 977 * 512).to_le_bytes();
        let name = text(&format!("file-{}.txt", file % 10_000));
        let qid = |kind: u8, path: u32| {
            [
                &[kind][..],
                &7_u32.to_le_bytes(),
                &u64::from(path).to_le_bytes(),
            ]
            .concat()
        };
        let (dir, is) = (qid(0x80, file % 100), qid(0, file));
        let two = 2_u16.to_le_bytes();
        self.push(110, tag, &[&fid, &newfid, &two, &text("documents"), &name]);
        self.push(111, tag, &[&two, &dir, &is]);
        let mask = 0x7ff_u64.to_le_bytes();
        self.push(24, tag, &[&newfid, &mask]);
        let ids = [0o100_644_u32, 1000, 1000].map(u32::to_le_bytes).concat();
        let numbers: Vec<u8> = (0..15)
            .flat_map(|n| (u64::from(file) + n).to_le_bytes())
            .collect();
        self.push(25, tag, &[&mask, &is, &ids, &numbers]);
        let flags = 0o100_002_u32.to_le_bytes();
        self.push(12, tag, &[&newfid, &flags]);
        self.push(13, tag, &[&is, &4096_u32.to_le_bytes()]);
        let data = [file as u8; 512];
        let count = 512_u32.to_le_bytes();
        self.push(116, tag, &[&newfid, &offset, &count]);
        self.push(117, tag, &[&count, &data]);
        let count = 128_u32.to_le_bytes();
        self.push(118, tag, &[&newfid, &offset, &count, &data[..128]]);
        self.push(119, tag, &[&count]);
        let mut entries = Vec::new();
        for number in 0..4_u32 {
            entries.extend(qid(0, file + number));
            entries.extend_from_slice(&u64::from(number).to_le_bytes());
            entries.push(8);
            entries.extend(text(&format!("entry-{number}-{}", file % 1000)));
        }
        let length = (entries.len() as u32).to_le_bytes();
        self.push(40, tag, &[&fid, &offset, &8192_u32.to_le_bytes()]);
        self.push(41, tag, &[&length, &entries]);
        self.push(120, tag, &[&newfid]);
        self.push(121, tag, &[]);
        self.push(
            110,
            tag,
            &[&fid, &newfid, &1_u16.to_le_bytes(), &text("no such file")],
        );
        self.push(7, tag, &[&2_u32.to_le_bytes()]);
    }
}

fn text(s: &str) -> Vec<u8> {
    let length = u16::try_from(s.len()).unwrap_or(u16::MAX);
    [&length.to_le_bytes()[..], s.as_bytes()].concat()
}
