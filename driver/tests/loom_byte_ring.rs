//! The byte ring between a producing thread and the drainer, every interleaving
//! of them. The ring's own atomics must be loom's, so this needs a build of its
//! own:
//!
//! ```text
//! RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom \
//!     cargo test -p virtscope-driver --test loom_byte_ring
//! ```
//!
//! Beside the atomics loom watches the words themselves: two sides that touch
//! the same one without an order between them fail the model.

#![cfg(loom)]

use virtscope_driver::instrument::byte_ring::{Reader, Writer, byte_ring};
use virtscope_record::{Body, Common, FRAME_LEN, Notify, Record, Token};

/// Room for one frame, and for a second only once the first was drained: it then
/// skips the ring's end.
const ONE_FRAME: usize = FRAME_LEN;
/// Room for three frames.
const THREE_FRAMES: usize = 3 * FRAME_LEN;

/// Writes frame `number`, of 9 words if it is a multiple of three and else of 10;
/// says whether it fitted.
fn write(writer: &mut Writer, number: u64) -> bool {
    let record = Record::new(
        Common {
            token: Token(number),
            ..Common::default()
        },
        Body::Notify(Notify::default()),
    );
    let len = payload_len(number);
    writer
        .write(&record, len, |bytes| bytes.fill(number as u8))
        .is_ok()
}

fn payload_len(number: u64) -> usize {
    (number as usize % 3) * 4
}

/// Drains the ring into `seen`, and checks that no frame is torn.
fn drain(reader: &mut Reader, seen: &mut Vec<u64>) {
    reader.drain(|record, payload| {
        let number = record.token().0;
        assert_eq!(payload.len(), payload_len(number));
        assert!(payload.iter().all(|byte| *byte == number as u8));
        seen.push(number);
    });
}

/// What the writer was told to be in the ring comes out, once and in order.
fn frames_are_handed_over(ring_bytes: usize, frames: u64) {
    loom::model(move || {
        let (mut writer, mut reader) = byte_ring(ring_bytes);
        let draining = loom::thread::spawn(move || {
            let mut seen = Vec::new();
            drain(&mut reader, &mut seen);
            drain(&mut reader, &mut seen);
            (reader, seen)
        });
        let accepted: Vec<u64> = (0..frames)
            .filter(|number| write(&mut writer, *number))
            .collect();
        let (mut reader, mut seen) = draining.join().unwrap();
        drain(&mut reader, &mut seen);
        assert_eq!(seen, accepted);
        // The ring is empty and both sides know: a frame is not refused.
        assert!(write(&mut writer, 6), "refused by an empty ring");
        drain(&mut reader, &mut seen);
        assert_eq!(seen.pop(), Some(6));
    });
}

#[test]
fn one_frame_at_a_time() {
    frames_are_handed_over(ONE_FRAME, 3);
}

#[test]
fn several_frames_and_the_end_of_the_ring() {
    frames_are_handed_over(THREE_FRAMES, 4);
}

/// As long as the reader has not freed a frame's room, the next one that needs
/// it is refused; once it has, and the writer can know, it is not.
#[test]
fn full_only_when_full() {
    loom::model(|| {
        let (mut writer, mut reader) = byte_ring(ONE_FRAME);
        assert!(write(&mut writer, 0));
        assert!(!write(&mut writer, 3), "written over an unread frame");
        let draining = loom::thread::spawn(move || {
            let mut seen = Vec::new();
            drain(&mut reader, &mut seen);
            (reader, seen)
        });
        let early = write(&mut writer, 3);
        let (mut reader, mut seen) = draining.join().unwrap();
        assert!(seen == [0] || (early && seen == [0, 3]));
        if !early {
            assert!(write(&mut writer, 3), "refused although there is room");
        }
        drain(&mut reader, &mut seen);
        assert_eq!(seen, [0, 3]);
    });
}

/// A drainer that asks first and drains then misses nothing of a thread that
/// ends: this is how a finished thread's ring is given up.
#[test]
fn closing_loses_nothing() {
    loom::model(|| {
        let (mut writer, mut reader) = byte_ring(THREE_FRAMES);
        let writing = loom::thread::spawn(move || {
            let accepted: Vec<u64> = (0..2)
                .filter(|number| write(&mut writer, *number))
                .collect();
            drop(writer);
            accepted
        });
        let mut seen = Vec::new();
        loop {
            let closed = reader.is_closed();
            drain(&mut reader, &mut seen);
            if closed {
                break;
            }
            loom::thread::yield_now();
        }
        assert_eq!(seen, writing.join().unwrap());
        assert_eq!(seen, [0, 1]);
    });
}
