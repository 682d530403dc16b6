//! A file in memory stands for the buffer, and a thread for the kernel, by the rules of Linux
//! `kernel/bpf/ringbuf.c`.

use std::os::fd::OwnedFd;
use std::thread;

use proptest::prelude::*;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

use super::*;

/// The kernel's side, which may write to every page.
struct Kernel {
    pages: Pages,
    written: usize,
}

/// What was reserved and not submitted yet.
struct Reserved {
    position: usize,
    len: usize,
}

/// A buffer and its reader, both at this position.
fn buffer(bytes: usize, position: usize) -> (Kernel, Reader) {
    let page = page_size();
    let file = memfd_create("buffer", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&file, (2 * page + bytes) as u64).unwrap();
    let kernel = twice(&file, bytes);
    kernel.consumer().store(position, Ordering::Release);
    kernel.producer().store(position, Ordering::Release);
    let kernel = Kernel {
        pages: kernel,
        written: position,
    };
    (kernel, Reader::new(twice(&file, bytes)))
}

/// As the kernel maps them: a file's bytes are there once, so the second time they are put
/// behind the first.
fn twice(file: &OwnedFd, bytes: usize) -> Pages {
    let page = page_size();
    let all = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: new mappings, and one in the place of a part of the second, which is ours.
    unsafe {
        let shared = MapFlags::SHARED;
        let consumer = mmap(std::ptr::null_mut(), page, all, shared, file, 0).unwrap();
        let len = page + 2 * bytes;
        let producer = mmap(std::ptr::null_mut(), len, all, shared, file, page as u64).unwrap();
        let second = producer.cast::<u8>().add(page + bytes).cast();
        let fixed = shared | MapFlags::FIXED;
        mmap(second, bytes, all, fixed, file, 2 * page as u64).unwrap();
        Pages {
            consumer: NonNull::new(consumer.cast()).unwrap(),
            producer: NonNull::new(producer.cast()).unwrap(),
            bytes,
        }
    }
}

impl Kernel {
    /// Room for a record (Linux `__bpf_ringbuf_reserve`); none, if there is not enough.
    fn reserve(&mut self, len: usize) -> Option<Reserved> {
        let read = self.pages.consumer().load(Ordering::Acquire);
        let end = self.written.wrapping_add(footprint(len));
        if end.wrapping_sub(read) > self.pages.bytes - 1 {
            return None;
        }
        let position = self.written;
        let header = self.pages.header_at(position);
        header.store(len as u32 | BUSY, Ordering::Relaxed);
        self.pages.producer().store(end, Ordering::Release);
        self.written = end;
        Some(Reserved { position, len })
    }

    /// Linux `bpf_ringbuf_commit`.
    fn submit(&self, reserved: &Reserved, record: &[u8], is_kept: bool) {
        let at = self.pages.at(reserved.position);
        // SAFETY: reserved, so that nobody else looks there before the header says so.
        unsafe {
            let to = at.add(HEADER).as_ptr();
            to.copy_from_nonoverlapping(record.as_ptr(), reserved.len);
        }
        let discarded = if is_kept { 0 } else { DISCARDED };
        let header = self.pages.header_at(reserved.position);
        header.swap(reserved.len as u32 | discarded, Ordering::SeqCst);
    }
}

fn record(number: u32, len: usize) -> Vec<u8> {
    let bytes = number.to_le_bytes();
    bytes.iter().copied().cycle().take(len).collect()
}

#[derive(Clone, Debug)]
enum Step {
    Reserve(usize),
    /// The one of those that are reserved, and whether it is kept.
    Submit(prop::sample::Index, bool),
    Drain,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let len = prop_oneof![8 => 0..200_usize, 1 => 0..5000_usize];
    let step = prop_oneof![
        4 => len.prop_map(Step::Reserve),
        4 => any::<(prop::sample::Index, bool)>().prop_map(|(at, is_kept)| Step::Submit(at, is_kept)),
        1 => Just(Step::Drain),
    ];
    prop::collection::vec(step, 0..400)
}

proptest! {
    /// Whatever is written in whichever order, the reader is given those that are kept, in the
    /// order in which they were reserved, up to the first that is still being written.
    #[test]
    fn what_is_written_is_read_in_order(steps in steps(), start in any::<usize>()) {
        let (mut kernel, mut reader) = buffer(4096, start & !7);
        // Those that were reserved and not read: number, length, and what became of it.
        let mut model: Vec<(Reserved, u32, Option<bool>)> = Vec::new();
        for (number, step) in (0..).zip(steps) {
            match step {
                Step::Reserve(len) => {
                    let used: usize = model.iter().map(|(it, ..)| footprint(it.len)).sum();
                    let reserved = kernel.reserve(len);
                    prop_assert_eq!(reserved.is_some(), used + footprint(len) < 4096);
                    model.extend(reserved.map(|reserved| (reserved, number, None)));
                }
                Step::Submit(which, is_kept) => {
                    let mut open: Vec<_> = model.iter_mut().filter(|it| it.2.is_none()).collect();
                    if !open.is_empty() {
                        let which = which.index(open.len());
                        let it = &mut open[which];
                        kernel.submit(&it.0, &record(it.1, it.0.len), is_kept);
                        it.2 = Some(is_kept);
                    }
                }
                Step::Drain => {
                    let used: usize = model.iter().map(|(it, ..)| footprint(it.len)).sum();
                    prop_assert_eq!(reader.waiting(), used);
                    let done = model.iter().position(|it| it.2.is_none()).unwrap_or(model.len());
                    let wanted: Vec<_> = model
                        .drain(..done)
                        .filter(|it| it.2 == Some(true))
                        .map(|(it, number, _)| record(number, it.len))
                        .collect();
                    let mut got = Vec::new();
                    reader.drain(|frame| got.push(frame.to_vec()));
                    prop_assert_eq!(got, wanted);
                    prop_assert_eq!(reader.is_held_up, !model.is_empty());
                }
            }
        }
    }
}

/// The room of what has been read is given back while the rest is still being read.
#[test]
fn the_kernel_is_told_in_between() {
    for (bytes, at_once) in [(4096, 64), (1 << 20, 1 << 14), (8 << 20, TOLD_AT_ONCE)] {
        let (mut kernel, mut reader) = buffer(bytes, 0);
        for _ in 0..(2 * at_once / footprint(56)).min(bytes / footprint(56) - 1) {
            let reserved = kernel.reserve(56).unwrap();
            kernel.submit(&reserved, &record(7, 56), true);
        }
        let told = || kernel.pages.consumer().load(Ordering::Relaxed);
        let (mut most, mut read) = (0, 0);
        reader.drain(|_| {
            most = most.max(read - told());
            read += footprint(56);
        });
        assert_eq!(most, at_once - footprint(56));
        assert_eq!(told(), read);
    }
}

/// Who writes faster than this reads does not keep it from ending.
#[test]
fn what_comes_meanwhile_is_left() {
    let (mut kernel, mut reader) = buffer(4096, 0);
    let mut write = || {
        let reserved = kernel.reserve(8).unwrap();
        kernel.submit(&reserved, &record(1, 8), true);
    };
    write();
    write();
    for _ in 0..3 {
        let mut taken = 0;
        reader.drain(|_| {
            taken += 1;
            assert!(taken <= 2);
            write();
        });
        assert_eq!(taken, 2);
    }
}

#[test]
fn it_says_whether_it_had_to_stop() {
    let (mut kernel, mut reader) = buffer(4096, 0);
    let [first, second] = [(); 2].map(|()| kernel.reserve(8).unwrap());
    kernel.submit(&second, &record(2, 8), true);
    reader.drain(|_| panic!("the first is not there"));
    assert!(reader.is_held_up);
    kernel.submit(&first, &record(1, 8), false);
    let mut taken = Vec::new();
    reader.drain(|frame| taken.push(frame.to_vec()));
    assert_eq!(taken, [record(2, 8)]);
    assert!(!reader.is_held_up);
}

#[test]
fn a_size_that_the_kernel_refuses_is_an_error() {
    let file = memfd_create("buffer", MemfdFlags::CLOEXEC).unwrap();
    for bytes in [0, 100, page_size() + 8, 3 * page_size()] {
        assert_eq!(Pages::map(file.as_fd(), bytes).unwrap_err(), Errno::INVAL);
    }
}

/// While one writes and the other reads, nothing is lost, doubled or torn.
#[test]
fn two_threads_agree() {
    const RECORDS: u32 = 200_000;
    let (mut kernel, mut reader) = buffer(4096, usize::MAX & !0xffff);
    let writer = thread::spawn(move || {
        for number in 0..RECORDS {
            let len = 4 + (number as usize % 37) * 4;
            let reserved = loop {
                match kernel.reserve(len) {
                    Some(reserved) => break reserved,
                    None => thread::yield_now(),
                }
            };
            kernel.submit(&reserved, &record(number, len), number % 5 != 0);
        }
        kernel
    });
    let mut wanted = (0..RECORDS).filter(|number| number % 5 != 0);
    let mut next = wanted.next();
    while next.is_some() {
        reader.drain(|frame| {
            let number = next.unwrap();
            assert_eq!(frame, record(number, 4 + (number as usize % 37) * 4));
            next = wanted.next();
        });
        thread::yield_now();
    }
    writer.join().unwrap();
    assert_eq!(reader.waiting(), 0);
}

#[test]
fn a_record_takes_its_header_and_whole_words() {
    let footprints = [0, 1, 8, 64, 72].map(footprint);
    assert_eq!(footprints, [8, 16, 16, 72, 80]);
}
