//! Files read in small pieces, one after the other.

use std::sync::Arc;

use crate::findings::case::{Case, Ended};
use crate::findings::finding::{Evidence, Found, Verdict};
use crate::findings::{About, Detector, FindingCode, Severity, Tally};
use crate::life::Life;
use crate::p9::{Asked, Fid};

/// A read is small if it asks for less than this part of what a message holds.
pub(in crate::findings) const SMALL_PART: u32 = 8;
/// The msize that is assumed where the agreement was not seen: the least that Linux
/// takes.
const LEAST_MSIZE: u32 = 4096;
/// The least number of small reads that go on where the one before ended.
pub(in crate::findings) const LEAST_SMALL: u64 = 1000;
/// Their share of all reads, in percent.
pub(in crate::findings) const SMALL_PERCENT: u64 = 50;
/// Files that are followed at a time.
const PLACES: usize = 64;
/// The fid that stands for none.
const NO_FID: Fid = Fid(u32::MAX);

pub(in crate::findings) const ABOUT: About = About {
    severity: Severity::Notice,
    sentence: "Files are read in pieces much smaller than a message holds, one after the other.",
    spec: "9P2000.L (Tread), virtio 1.4 §5 (device type 9)",
    advice: "Read with larger buffers (stdio and BufReader do), or mount with a cache that reads \
             ahead: cache=readahead, cache=mmap or cache=loose.",
};

/// Small reads that go on where the one before ended.
#[derive(Default, Debug)]
pub(in crate::findings) struct SmallReads {
    /// As of the latest read.
    msize: Option<u32>,
    /// By the low bits of the fid: which it is, and where its last read ended.
    places: Vec<(Fid, u64)>,
    all: u64,
    bytes: u64,
    small: Tally,
}

impl Detector for SmallReads {
    const CODE: FindingCode = FindingCode::NineSmallReads;

    #[inline]
    fn life(&mut self, ended: &Ended<'_>) {
        if let Asked::Read { fid, offset, count } = ended.life.subject.asked {
            self.read(ended.life, fid, offset, count);
        }
    }

    fn judge(&self, _: &Case<'_>) -> Verdict {
        let many = self.small.count;
        if many < LEAST_SMALL || many * 100 < self.all * SMALL_PERCENT {
            return Verdict::Nothing;
        }
        Verdict::Found(Found {
            summary: format!(
                "{many} of {} reads ask for the next {} bytes or so, where a message holds {}.",
                self.all,
                self.bytes / many,
                self.msize
                    .map_or_else(|| "more".to_owned(), |msize| msize.to_string())
            ),
            count: many,
            first: self.small.first,
            last: self.small.last,
            evidence: self.small.evidence.clone(),
        })
    }
}

impl SmallReads {
    #[inline]
    fn read(&mut self, life: &Life, fid: Fid, offset: u64, count: u32) {
        self.all += 1;
        self.msize = life.subject.msize;
        if self.places.is_empty() {
            self.places.resize(PLACES, (NO_FID, 0));
        }
        let Some(place) = self.places.get_mut(fid.0 as usize % PLACES) else {
            return;
        };
        let goes_on = *place == (fid, offset) && offset > 0;
        *place = (fid, offset.saturating_add(life.data_bytes));
        let holds = life.subject.msize.unwrap_or(LEAST_MSIZE);
        // The last piece of a file is no reason to complain.
        let full = life.data_bytes == u64::from(count) && count > 0;
        if goes_on && full && count <= holds / SMALL_PART {
            self.bytes += life.data_bytes;
            let ended = life.moments.used.unwrap_or_default();
            self.small.add(ended, || {
                let text = format!("fid {fid}: {count} bytes from {offset} on");
                Evidence::at(ended, text).of(&Arc::new(life.clone()))
            });
        }
    }
}
