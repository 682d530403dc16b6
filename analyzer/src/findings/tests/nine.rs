//! Findings about a 9P conversation.

use super::{Stream, codes, ms, none, only};
use crate::FindingCode::{
    NineErrors, NineFidLeak, NineFlushStorm, NineMetadataStorm, NineMsize, NineSmallReads,
    NineTagReuse,
};
use crate::testing::{message, rlerror, rread, tread};

/// A client that waits for each reply.
struct Session {
    s: Stream,
    now: u64,
    position: u16,
    /// Time between requests, ns.
    step: u64,
}

impl Session {
    fn new(step: u64) -> Self {
        Self {
            s: Stream::with_facts(),
            now: 1000,
            position: 0,
            step,
        }
    }

    /// With a session of this msize.
    fn with_msize(step: u64, msize: u32) -> Self {
        let mut session = Self::new(step);
        let mut body = msize.to_le_bytes().to_vec();
        body.extend(8_u16.to_le_bytes());
        body.extend(b"9P2000.L");
        session.call(
            &message(100, u16::MAX, &body),
            &message(101, u16::MAX, &body),
        );
        session
    }

    fn call(&mut self, request: &[u8], reply: &[u8]) {
        let (at, position) = (self.now, self.position);
        self.s
            .at(at)
            .add_message(0, position, request)
            .kick(position, position.wrapping_add(1))
            .taken(0, position)
            .at(at + 100)
            .returned(0, position)
            .interrupt(position, position.wrapping_add(1), true)
            .at(at + 200)
            .callback(position.wrapping_add(1), position)
            .used_message(0, position, reply);
        self.position = position.wrapping_add(1);
        self.now += self.step;
    }

    fn read(&mut self, offset: u64, count: u32, moved: u32) {
        let reply = rread(1, &vec![0; moved as usize]);
        self.call(&tread(1, 2, offset, count), &reply);
    }

    fn walk(&mut self, newfid: u32) {
        let mut body = 1_u32.to_le_bytes().to_vec();
        body.extend(newfid.to_le_bytes());
        body.extend([0, 0]);
        self.call(&message(110, 1, &body), &message(111, 1, &[0, 0]));
    }

    fn look_up(&mut self, newfid: u32) {
        let mut body = 1_u32.to_le_bytes().to_vec();
        body.extend(newfid.to_le_bytes());
        body.extend(b"\x01\0\x01\0a");
        let met = [&[1, 0][..], &[0; 13]].concat();
        self.call(&message(110, 1, &body), &message(111, 1, &met));
    }

    fn clunk(&mut self, fid: u32) {
        self.call(&message(120, 1, &fid.to_le_bytes()), &message(121, 1, &[]));
    }

    fn getattr(&mut self) {
        let body = [&2_u32.to_le_bytes()[..], &0x7ff_u64.to_le_bytes()].concat();
        self.call(&message(24, 1, &body), &message(25, 1, &[0; 153]));
    }

    fn flush(&mut self, tag: u16) {
        self.call(&message(108, 3, &tag.to_le_bytes()), &message(109, 3, &[]));
    }
}

#[test]
fn one_io_error_is_enough_and_no_number_of_missing_files_is() {
    let with = |errno, many: u64, all: u64| {
        let mut session = Session::new(10_000);
        for number in 0..all {
            if number < many {
                session.call(&tread(1, 2, 0, 100), &rlerror(1, errno));
            } else {
                session.read(0, 100, 10);
            }
        }
        session.s
    };
    let finding = only(&mut with(5, 1, 200), NineErrors);
    assert_eq!(
        finding.summary,
        "1 request was answered with an error; most often read with EIO (5), once."
    );
    assert_eq!(finding.evidence[0].text, "read: EIO (5), once");
    none(&mut with(2, 200, 200));
    // No permission: once in a while, or nearly always.
    none(&mut with(13, 99, 200));
    only(&mut with(13, 101, 200), NineErrors);
}

#[test]
fn flushes_among_few_requests_are_a_storm() {
    let with = |flushes: u64, requests: u64| {
        let mut session = Session::new(1_000_000);
        for number in 0..requests {
            match number < flushes {
                true => session.flush(9),
                false => session.read(0, 100, 10),
            }
        }
        session.s
    };
    assert_eq!(only(&mut with(20, 100), NineFlushStorm).count, 1);
    none(&mut with(19, 100));
    none(&mut with(20, 300));
}

/// A second is a second, also where the clock is set back in it: what comes until it has
/// caught up is no storm.
#[test]
fn a_clock_that_is_set_back_makes_no_storm() {
    let mut session = Session::new(100_000_000);
    session.now = ms(3_600_000);
    session.read(0, 100, 10);
    session.now = ms(1000);
    for _ in 0..30 {
        session.flush(9);
        for _ in 0..4 {
            session.read(0, 100, 10);
        }
    }
    none(&mut session.s);
}

#[test]
fn a_tag_in_use_twice_is_a_finding() {
    let overlap = |tag: u16, flushed: bool| {
        let mut s = Stream::with_facts();
        let read = |tag| tread(tag, 2, 0, 100);
        s.at(100).add_message(0, 0, &read(7)).kick(0, 1).taken(0, 0);
        if flushed {
            s.at(200)
                .add_message(1, 1, &message(108, 3, &7_u16.to_le_bytes()))
                .kick(1, 2)
                .taken(1, 1)
                .returned(1, 0)
                .interrupt(0, 1, true)
                .callback(1, 0)
                .used_message(1, 0, &message(109, 3, &[]));
        }
        let (position, used) = if flushed { (2, 1) } else { (1, 0) };
        s.at(300)
            .add_message(2, position, &read(tag))
            .kick(position, position + 1)
            .taken(2, position);
        for (nth, (id, tag)) in [(2, tag), (0, 7)].into_iter().enumerate() {
            let used = used + nth as u16;
            s.at(400 + 100 * nth as u64)
                .returned(id, used)
                .interrupt(used, used + 1, true)
                .callback(used + 1, used)
                .used_message(id, used, &rread(tag, &[0; 10]));
        }
        s
    };
    let finding = only(&mut overlap(7, false), NineTagReuse);
    assert_eq!(
        finding.evidence[0].text,
        "a Tread was given tag 7, which request 0 had until now"
    );
    none(&mut overlap(8, false));
    // After its flush was answered the tag is free, whatever becomes of the request.
    none(&mut overlap(7, true));
}

#[test]
fn reads_that_fill_short_messages_are_a_finding() {
    let with = |msize: u32, moved: u32| {
        let mut session = Session::with_msize(10_000, msize);
        for number in 0..100 {
            session.read(number * u64::from(moved), msize - 24, moved);
        }
        session.s
    };
    let finding = only(&mut with(8192, 8168), NineMsize);
    assert_eq!(
        finding.summary,
        "100 of 100 reads and writes fill a message of 8192 bytes: msize is too small."
    );
    none(&mut with(8192, 8100));
    none(&mut with(32_768, 8000));
}

#[test]
fn without_the_agreement_a_short_msize_is_a_guess() {
    let mut session = Session::new(10_000);
    for number in 0..100 {
        session.read(number * 8168, 8168, 8168);
    }
    let findings = super::findings(&mut session.s);
    assert_eq!(findings.found, []);
    assert_eq!(findings.undecided[0].code, NineMsize);
    assert_eq!(
        findings.undecided[0].reason,
        "100 of 100 reads and writes move 8168 bytes and none more, but the agreement on msize was \
         not seen."
    );
}

#[test]
fn fids_that_are_not_given_up_are_a_leak() {
    let with = |made: u32, clunked: u32| {
        let mut session = Session::new(10_000_000);
        for fid in 0..made {
            session.walk(100 + fid);
            if fid < clunked {
                session.clunk(100 + fid);
            }
        }
        session.s
    };
    let finding = only(&mut with(1000, 0), NineFidLeak);
    assert_eq!(finding.summary, "1000 of 1000 fids were never given up.");
    none(&mut with(999, 0));
    none(&mut with(2100, 1060));
}

#[test]
fn nothing_but_lookups_is_a_storm() {
    let with = |reads_every: u64, step, walk: fn(&mut Session, u32)| {
        let mut session = Session::new(step);
        for number in 0..3000_u64 {
            walk(&mut session, 7);
            session.getattr();
            session.clunk(7);
            if number % reads_every == 0 {
                session.read(0, 4000, 100);
            }
        }
        session.s
    };
    let look_up = Session::look_up;
    let found = only(&mut with(100, 400_000, look_up), NineMetadataStorm);
    assert!(found.count >= 2, "{found:?}");
    // With work between; or not that many a second.
    none(&mut with(3, 400_000, look_up));
    none(&mut with(100, 2_000_000, look_up));
    // A second fid for the same file looks nothing up.
    none(&mut with(100, 400_000, Session::walk));
}

#[test]
fn many_small_reads_in_a_row_are_a_finding() {
    let with = |many: u64, count: u32, gap: u64| {
        let mut session = Session::with_msize(10_000, 32_768);
        for number in 0..many {
            session.read(number * (u64::from(count) + gap), count, count);
        }
        session.s
    };
    let finding = only(&mut with(1100, 512, 0), NineSmallReads);
    assert_eq!(
        finding.summary,
        "1099 of 1100 reads ask for the next 512 bytes or so, where a message holds 32768."
    );
    none(&mut with(1000, 512, 0));
    none(&mut with(1100, 4097, 0));
    // Here and there, not one after the other.
    none(&mut with(1100, 512, 1));
}

#[test]
fn a_clean_session_is_clean() {
    let mut session = Session::with_msize(ms(1), 32_768);
    for fid in 0..500 {
        session.walk(100 + fid);
        session.getattr();
        session.read(0, 32_000, 8_000);
        session.clunk(100 + fid);
    }
    assert_eq!(codes(&mut session.s), []);
}
