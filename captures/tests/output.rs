//! Outputs that fail, and inputs that grow.

mod support;

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rstest::rstest;
use support::*;
use virtscope_captures::{
    CaptureReader, CaptureWriter, End, Follow, Item, WriteError, create_file,
};

/// What takes this long would never end.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_full_disk_is_told() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let error = CaptureWriter::new(full, info(0)).unwrap_err();
    assert!(
        matches!(error, WriteError::DiskFull { written: 0, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("free some space"), "{error}");
}

/// Takes so many bytes and then fails.
#[derive(Debug)]
struct Small<'a> {
    room: usize,
    bytes: &'a mut Vec<u8>,
    error: ErrorKind,
}

impl Write for Small<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let count = buf.len().min(self.room);
        if count == 0 {
            return Err(self.error.into());
        }
        self.room -= count;
        self.bytes.extend(&buf[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_was_written_before_the_disk_was_full_stands() {
    let (records, whole) = small_capture();
    for room in 1..whole.len() {
        let mut bytes = Vec::new();
        let out = Small {
            room,
            bytes: &mut bytes,
            error: ErrorKind::StorageFull,
        };
        let written = CaptureWriter::new(out, info(8)).and_then(|mut writer| {
            for (record, payload) in &records {
                writer.write(record, payload)?;
                writer.flush()?;
            }
            writer.finish()
        });
        match written {
            Err(WriteError::DiskFull { written, .. }) => assert_eq!(written, room as u64),
            other => panic!("{other:?}"),
        }
        assert_eq!(bytes, whole[..room]);
        let end = read(&bytes).unwrap().end;
        assert!(matches!(end, Some(End::Truncated { .. })), "{end:?}");
    }
}

#[test]
fn after_an_error_nothing_more_is_written() {
    let mut bytes = Vec::new();
    let out = Small {
        room: 400,
        bytes: &mut bytes,
        error: ErrorKind::Other,
    };
    let mut writer = CaptureWriter::new(out, info(0)).unwrap();
    let (record, text) = facts(QUEUE, 0, 0, "q");
    let error = loop {
        if let Err(error) = writer.write(&record, &text).and_then(|()| writer.flush()) {
            break error;
        }
    };
    assert!(
        matches!(error, WriteError::Output { written: 400, .. }),
        "{error}"
    );
    assert!(matches!(
        writer.write(&record, &text),
        Err(WriteError::Ended)
    ));
    assert!(matches!(writer.flush(), Err(WriteError::Ended)));
    assert!(matches!(writer.finish(), Err(WriteError::Ended)));
}

#[test]
fn a_closed_pipe_is_told() {
    let (reader, pipe) = io::pipe().unwrap();
    let mut writer = CaptureWriter::new(pipe, info(0)).unwrap();
    drop(reader);
    let (record, text) = facts(QUEUE, 0, 0, "q");
    writer.write(&record, &text).unwrap();
    let error = writer.finish().unwrap_err();
    assert!(error.is_reader_gone(), "{error}");
}

#[rstest]
#[timeout(PATIENCE)]
fn a_pipe_carries_a_capture() {
    let (reader, pipe) = io::pipe().unwrap();
    let writing = thread::spawn(move || {
        let mut writer = CaptureWriter::new(pipe, info(64)).unwrap();
        let (record, text) = facts(QUEUE, 0, 0, "virtio0/requests");
        writer.write(&record, &text).unwrap();
        for number in 0..20_000 {
            let (record, payload) = add(QUEUE, number, b"0123456789");
            writer.write(&record, &payload).unwrap();
        }
        writer.finish().unwrap()
    });
    let mut reader = CaptureReader::new(reader).unwrap();
    let mut records = 0;
    let end = loop {
        match reader.next_item().unwrap() {
            Item::Record(_) => records += 1,
            Item::End(end) => break end,
            _ => {}
        }
    };
    assert_eq!(end, End::Complete);
    assert_eq!(records, writing.join().unwrap().stored);
}

#[rstest]
#[timeout(PATIENCE)]
fn a_growing_file_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("growing.pcapng");
    let mut file = create_file(&path).unwrap();
    let (records, bytes) = small_capture();
    let stop = Arc::new(AtomicBool::new(false));
    let writing = {
        let stop = Arc::clone(&stop);
        thread::spawn(move || {
            // In pieces that end anywhere.
            for piece in bytes.chunks(61) {
                file.write_all(piece).unwrap();
                thread::sleep(Duration::from_millis(1));
            }
            stop.store(true, Ordering::Release);
        })
    };
    let input = Follow::new(File::open(&path).unwrap(), stop).interval(Duration::from_millis(1));
    let mut reader = CaptureReader::new(input).unwrap();
    let mut found = Vec::new();
    let end = loop {
        match reader.next_item().unwrap() {
            Item::Record(packet) => found.push(packet.record),
            Item::End(end) => break end,
            _ => {}
        }
    };
    writing.join().unwrap();
    assert_eq!(end, End::Complete);
    let written: Vec<_> = records.iter().map(|(record, _)| *record).collect();
    assert_eq!(found, written);
}

#[rstest]
#[timeout(PATIENCE)]
fn following_ends_when_told() {
    let (_, bytes) = small_capture();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("half.pcapng");
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let input = Follow::new(File::open(&path).unwrap(), Arc::clone(&stop));
    let mut reader = CaptureReader::new(input).unwrap();
    let stopping = thread::spawn(move || {
        thread::sleep(Duration::from_millis(30));
        stop.store(true, Ordering::Release);
    });
    let end = loop {
        if let Item::End(end) = reader.next_item().unwrap() {
            break end;
        }
    };
    stopping.join().unwrap();
    assert!(matches!(end, End::Truncated { .. }), "{end}");
}

#[rstest]
#[timeout(PATIENCE)]
fn a_follower_sees_each_record_once_it_is_flushed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("live.pcapng");
    let mut writer = CaptureWriter::new(create_file(&path).unwrap(), info(8)).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let input = Follow::new(File::open(&path).unwrap(), Arc::clone(&stop));
    let mut reader = CaptureReader::new(input).unwrap();
    let (records, _) = small_capture();
    for (record, payload) in &records {
        writer.write(record, payload).unwrap();
        writer.flush().unwrap();
        loop {
            if let Item::Record(packet) = reader.next_item().unwrap() {
                break assert_eq!(packet.record, *record);
            }
        }
    }
    writer.finish().unwrap();
    stop.store(true, Ordering::Release);
    let end = loop {
        if let Item::End(end) = reader.next_item().unwrap() {
            break end;
        }
    };
    assert_eq!(end, End::Complete);
}
