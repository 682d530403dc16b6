//! The probe `virtscope:record`, as tracers outside the process see it: `bpftrace` runs
//! beside this very process. Every command stands in the book, in `docs/probes.md`.

#![cfg(all(target_arch = "x86_64", target_os = "linux", not(miri), not(loom)))]

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use virtscope_driver::instrument::usdt::{Usdt, is_watched};
use virtscope_driver::instrument::{Event, Instrument, Payload};
use virtscope_record::{Body, Detach, Flags, Notify, Producer, QueueId, Timestamp, Token, Used};

const BOOK: &str = include_str!("../../docs/probes.md");
const QUEUE: QueueId = QueueId::new(7, 3);

/// The book's command number `n`, about this process.
fn one_liner(n: usize) -> String {
    let mut lines = BOOK
        .lines()
        .filter_map(|line| line.strip_prefix("$ bpftrace -p PID -e '"));
    let line = lines.nth(n).expect("the book has it");
    let program = line.strip_suffix('\'').expect("it ends with the program");
    let exe = std::env::current_exe().unwrap();
    program.replace("PROGRAM", exe.to_str().unwrap())
}

/// Waits, for a minute at most.
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < end, "{what}");
        sleep(Duration::from_millis(5));
    }
}

/// `bpftrace` on this process.
struct Watcher {
    child: Child,
    printed: JoinHandle<()>,
    lines: Arc<Mutex<String>>,
}

/// Starts it, and waits until it watches; `None` where it is not there and need not be.
///
/// It is attached a moment after it is counted. So there is a second probe behind the
/// first, which says when the records of a queue that does not count arrive.
fn watch(program: &str) -> Option<Watcher> {
    let marker = Usdt::new(QueueId::new(0, 9), Producer::DriverHalf, 0);
    let (probe, _) = program.split_once(' ').unwrap();
    let says =
        format!("{program} {probe} / *(uint8*)(arg0+36) == 9 / {{ printf(\"attached\\n\"); }}");
    let child = Command::new("bpftrace")
        .args([
            "-B",
            "none",
            "-p",
            &std::process::id().to_string(),
            "-e",
            &says,
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            let allowed = std::env::var("VIRTSCOPE_ALLOW_MISSING").as_deref() == Ok("1");
            assert!(allowed, "bpftrace (Debian: bpftrace): {error}");
            return None;
        }
    };
    let mut stdout = child.stdout.take().unwrap();
    let lines = Arc::new(Mutex::new(String::new()));
    let into = Arc::clone(&lines);
    let printed = std::thread::spawn(move || {
        let mut part = [0; 4096];
        while let Ok(len @ 1..) = stdout.read(&mut part) {
            into.lock()
                .unwrap()
                .push_str(&String::from_utf8_lossy(&part[..len]));
        }
    });
    wait_until("nobody watches", || {
        if let Some(status) = child.try_wait().unwrap() {
            let mut said = String::new();
            child
                .stderr
                .take()
                .unwrap()
                .read_to_string(&mut said)
                .unwrap();
            panic!("bpftrace ends with {status}: {said}");
        }
        marker.emit(event(Body::Detach(Detach::default())), Payload::none());
        lines.lock().unwrap().contains("attached")
    });
    assert!(is_watched());
    Some(Watcher {
        child,
        printed,
        lines,
    })
}

/// Ends it, and waits until the kernel counts it no more. What it printed.
fn end(mut watcher: Watcher) -> String {
    let pid = rustix::process::Pid::from_child(&watcher.child);
    // bpftrace may overlook a signal that comes when it has only just begun to look. A
    // second one while it prints would end it, so there is time between them.
    let mut asked: Option<Instant> = None;
    wait_until("bpftrace does not end", || {
        if asked.is_none_or(|asked| asked.elapsed() > Duration::from_secs(5)) {
            asked = Some(Instant::now());
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::INT);
        }
        watcher.child.try_wait().unwrap().is_some()
    });
    watcher.printed.join().unwrap();
    wait_until("the semaphore stays set", || !is_watched());
    let printed = watcher.lines.lock().unwrap();
    printed.clone()
}

fn event(body: Body) -> Event {
    Event {
        time: Timestamp::default(),
        token: Token(1),
        flags: Flags::empty(),
        body,
    }
}

/// 5 notifications and 3 used buffers of 100 bytes.
fn emit(usdt: &Usdt) {
    for _ in 0..5 {
        usdt.emit(event(Body::Notify(Notify::default())), Payload::none());
    }
    for _ in 0..3 {
        let used = Used {
            used_length: 100,
            writable_bytes: 100,
            ..Used::default()
        };
        usdt.emit(event(Body::Used(used)), Payload::none());
    }
}

/// One test, because there is one semaphore in the process.
#[test]
fn who_watches_sees_every_record_and_nobody_costs_nothing() {
    let usdt = Usdt::new(QUEUE, Producer::DriverHalf, 0);
    assert!(!is_watched());
    assert_eq!(
        usdt.now(),
        Timestamp::default(),
        "no clock is read for nobody"
    );
    emit(&usdt);

    // By kind: 4 is a notification, 6 a used buffer.
    let Some(watcher) = watch(&one_liner(0)) else {
        return;
    };
    assert_ne!(usdt.now(), Timestamp::default());
    emit(&usdt);
    let printed = end(watcher);
    assert!(printed.contains("@[4]: 5\n"), "{printed}");
    assert!(printed.contains("@[6]: 3\n"), "{printed}");

    // By device and queue.
    let watcher = watch(&one_liner(1)).unwrap();
    emit(&usdt);
    let printed = end(watcher);
    assert!(printed.contains("@[7, 3]: 8\n"), "{printed}");

    // How much devices wrote.
    let watcher = watch(&one_liner(2)).unwrap();
    emit(&usdt);
    let printed = end(watcher);
    let bucket = printed.lines().find(|line| line.starts_with("[64, 128)"));
    let count = bucket.and_then(|line| line.split_whitespace().nth(2));
    assert_eq!(count, Some("3"), "{printed}");

    // The kernel takes back what it counted for a tracer that was killed.
    let mut watcher = watch(&one_liner(0)).unwrap();
    watcher.child.kill().unwrap();
    watcher.child.wait().unwrap();
    watcher.printed.join().unwrap();
    wait_until("the semaphore stays set", || !is_watched());
    assert_eq!(usdt.now(), Timestamp::default());
}
