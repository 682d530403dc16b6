//! What a hit of a probe costs: `cargo bench -p virtscope-tracer --bench usdt`, as root,
//! with bpftrace.
//!
//! One program, started by this one, makes records of 64 bytes at the driver's probe,
//! which is a no-op of 5 bytes, or passes a probe that is a no-op of 1 byte. In turn,
//! several times over: nobody watches; `virtscope` takes the records, and they are
//! counted as they come, while the kernel counts what that costs and while it does not;
//! bpftrace counts hits of the same probe, and of the other one.
//! From each the time is subtracted that the same takes while nobody watches.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn main() -> anyhow::Result<()> {
    probes::main()
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
fn main() {
    println!("the probes are there on x86-64 Linux alone");
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod probes {
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
    use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
    use std::time::{Duration, Instant};

    use anyhow::{Context, bail, ensure};
    use clap::Parser;
    use rustix::process::{Pid, Signal, kill_process};
    use virtscope_driver::instrument::usdt::{self, Usdt};
    use virtscope_driver::instrument::{Event, Instrument, Payload};
    use virtscope_record::{Body, Flags, Notify, Producer, QueueId, Token};
    use virtscope_tracer::usdt::{Target, UsdtOptions, UsdtTracer};

    #[derive(Parser, Debug)]
    #[command(about = "What a hit of a probe costs, and how many a second come whole")]
    struct Args {
        /// Hits of one round.
        #[arg(long, default_value_t = 1_000_000)]
        hits: u64,

        /// Rounds of each.
        #[arg(long, default_value_t = 7)]
        rounds: usize,

        /// Bytes of the buffer between kernel and user space: a power of two.
        #[arg(long, value_name = "BYTES", default_value_t = 16 << 20)]
        buffer: u32,

        /// Is the program that is watched.
        #[arg(long, hide = true)]
        watched: bool,

        /// What cargo says to every benchmark.
        #[arg(long, hide = true)]
        bench: bool,
    }

    pub(super) fn main() -> anyhow::Result<()> {
        let args = Args::parse();
        if args.watched {
            return be_watched();
        }
        compare(&args)
    }

    /// Who watches the probe of one byte, as the kernel counts them.
    #[unsafe(link_section = ".probes")]
    #[used]
    static ONE_BYTE_WATCHED: AtomicU16 = AtomicU16::new(0);

    /// A probe like the driver's, but for its no-op.
    #[inline(never)]
    fn one_byte(record: u64, payload: u64, len: u64) {
        // SAFETY: a no-op, and notes in a section that is not loaded.
        unsafe {
            core::arch::asm!(
                "990: nop",
                ".pushsection .note.stapsdt, \"\", \"note\"",
                ".balign 4",
                ".4byte 992f-991f, 994f-993f, 3",
                "991: .asciz \"stapsdt\"",
                "992: .balign 4",
                "993: .8byte 990b",
                ".8byte _.stapsdt.base",
                ".8byte {watched}",
                ".asciz \"bench\"",
                ".asciz \"one_byte\"",
                ".asciz \"8@%rdi 8@%rsi 8@%rdx\"",
                "994: .balign 4",
                ".popsection",
                watched = sym ONE_BYTE_WATCHED,
                in("rdi") record,
                in("rsi") payload,
                in("rdx") len,
                options(att_syntax, nostack, preserves_flags),
            );
        }
    }

    /// Does what it is told, line by line: a word and a number.
    fn be_watched() -> anyhow::Result<()> {
        let probe = Usdt::new(QueueId::new(0, 0), Producer::DriverHalf, 0);
        for line in std::io::stdin().lines() {
            let line = line?;
            let (what, hits) = line.split_once(' ').context("a word and a number")?;
            let hits: u64 = hits.parse()?;
            let began = Instant::now();
            match what {
                "record" => {
                    for _ in 0..hits {
                        let event = Event {
                            time: probe.now(),
                            token: Token(1),
                            flags: Flags::empty(),
                            body: Body::Notify(Notify::default()),
                        };
                        probe.emit(event, Payload::none());
                    }
                }
                "one-byte" => {
                    for hit in 0..hits {
                        one_byte(hit, 0, 0);
                    }
                }
                "watched" => {
                    let watched =
                        usdt::is_watched() || ONE_BYTE_WATCHED.load(Ordering::Relaxed) != 0;
                    println!("{}", u8::from(watched));
                    continue;
                }
                other => bail!("{other}?"),
            }
            println!("{}", began.elapsed().as_nanos());
        }
        Ok(())
    }

    /// The program that is watched, from outside.
    struct Watched {
        child: Child,
        ask: ChildStdin,
        answers: BufReader<ChildStdout>,
    }

    impl Watched {
        fn start() -> anyhow::Result<Self> {
            let mut child = Command::new(std::env::current_exe()?)
                .arg("--watched")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?;
            let ask = child.stdin.take().context("no way to ask it")?;
            let answers = child.stdout.take().context("no way to hear it")?;
            Ok(Self {
                child,
                ask,
                answers: BufReader::new(answers),
            })
        }

        fn ask(&mut self, what: &str, hits: u64) -> anyhow::Result<u64> {
            writeln!(self.ask, "{what} {hits}")?;
            let mut line = String::new();
            self.answers.read_line(&mut line)?;
            line.trim().parse().context("the program ended")
        }

        /// Nanoseconds a hit.
        fn time(&mut self, what: &str, hits: u64) -> anyhow::Result<f64> {
            Ok(self.ask(what, hits)? as f64 / hits as f64)
        }

        fn wait_until(&mut self, watched: bool) -> anyhow::Result<()> {
            let end = Instant::now() + Duration::from_secs(60);
            while (self.ask("watched", 0)? != 0) != watched {
                ensure!(
                    Instant::now() < end,
                    "nobody came to watch the probe, or left it"
                );
                std::thread::sleep(Duration::from_millis(5));
            }
            Ok(())
        }
    }

    impl Drop for Watched {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    /// From one look for records to the next, as `virtscope trace` has it. Who looks all
    /// the time takes the buffer's cache lines from the program that fills it.
    const INTERVAL: Duration = Duration::from_millis(5);

    /// From being counted as watching until hits are counted: what bpftrace may take.
    const ATTACHING: Duration = Duration::from_millis(500);

    /// Records of one round that came, and that did not.
    #[derive(Clone, Copy, Default)]
    struct Delivered {
        records: u64,
        lost: u64,
        /// Until the last one was here, ns.
        nanos: u128,
    }

    /// One round of ours: ns a hit in the program, and what came of it.
    fn ours(
        program: &mut Watched,
        args: &Args,
        count_cost: bool,
    ) -> anyhow::Result<(f64, Delivered)> {
        let hits = args.hits;
        let target = Target::Process(program.child.id());
        let options = UsdtOptions {
            count_cost,
            buffer_bytes: args.buffer,
            ..UsdtOptions::default()
        };
        let mut tracer = UsdtTracer::start(&target, &options)?;
        program.wait_until(true)?;
        let over = AtomicBool::new(false);
        let began = Instant::now();
        let (nanos, mut delivered) = std::thread::scope(|scope| {
            let taker = scope.spawn(|| {
                let mut delivered = Delivered::default();
                loop {
                    // Before the look: what it made until then is found by it.
                    let last = over.load(Ordering::Acquire);
                    tracer.begun();
                    let frames = tracer.drain(|record, _| {
                        std::hint::black_box(record.sequence());
                        delivered.records += 1;
                    });
                    if frames > 0 {
                        delivered.nanos = began.elapsed().as_nanos();
                    } else if last && delivered.records > 0 {
                        break;
                    }
                    if !last {
                        std::thread::sleep(INTERVAL);
                    }
                }
                delivered
            });
            let nanos = program.time("record", hits);
            over.store(true, Ordering::Release);
            (nanos, taker.join().unwrap_or_default())
        });
        delivered.lost = tracer.counters().iter().map(|stream| stream.lost).sum();
        let nanos = nanos?;
        drop(tracer);
        program.wait_until(false)?;
        ensure!(
            delivered.records + delivered.lost == hits,
            "{hits} records were made, {} came and {} are said to be lost",
            delivered.records,
            delivered.lost
        );
        Ok((nanos, delivered))
    }

    /// One round of bpftrace, which counts hits.
    fn bpftrace(program: &mut Watched, probe: &str, what: &str, hits: u64) -> anyhow::Result<f64> {
        let exe = std::env::current_exe()?;
        let script = format!("usdt:{}:{probe} {{ @ = count(); }}", exe.display());
        let mut child = Command::new("bpftrace")
            .args(["-p", &program.child.id().to_string(), "-e", &script])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run bpftrace (Debian: apt-get install bpftrace)")?;
        program.wait_until(true)?;
        // The kernel counts who watches before the program that counts hits is there.
        std::thread::sleep(ATTACHING);
        let nanos = program.time(what, hits)?;
        let pid = Pid::from_raw(child.id() as i32).context("no process")?;
        // It may miss one that comes while it begins to wait.
        while child.try_wait()?.is_none() {
            kill_process(pid, Signal::INT)?;
            std::thread::sleep(ATTACHING);
        }
        let output = child.wait_with_output()?;
        program.wait_until(false)?;
        let text = String::from_utf8_lossy(&output.stdout);
        let counted = text.lines().find_map(|line| line.strip_prefix("@: "));
        let counted: u64 = counted
            .with_context(|| {
                format!(
                    "bpftrace said: {text}{}",
                    String::from_utf8_lossy(&output.stderr)
                )
            })?
            .trim()
            .parse()?;
        ensure!(counted == hits, "bpftrace counted {counted} of {hits} hits");
        Ok(nanos)
    }

    /// What was measured, round by round: ns a hit above those while nobody watches.
    #[derive(Default)]
    struct Measured {
        counting: Vec<f64>,
        plain: Vec<f64>,
        counted: Vec<f64>,
        one_counted: Vec<f64>,
    }

    fn compare(args: &Args) -> anyhow::Result<()> {
        let Args { hits, rounds, .. } = *args;
        let mut program = Watched::start()?;
        let mut off = Vec::new();
        let mut measured = Measured::default();
        let mut rates = Vec::new();
        let mut lost = 0;
        for _ in 0..rounds {
            let base = program.time("record", hits)?;
            let one_base = program.time("one-byte", hits)?;
            off.push(base);
            for count_cost in [true, false] {
                let (nanos, delivered) = ours(&mut program, args, count_cost)?;
                lost += delivered.lost;
                if count_cost {
                    measured.counting.push(nanos - base);
                } else {
                    measured.plain.push(nanos - base);
                    rates.push(delivered.records as f64 * 1e3 / delivered.nanos as f64);
                }
            }
            let nanos = bpftrace(&mut program, "virtscope:record", "record", hits)?;
            measured.counted.push(nanos - base);
            let nanos = bpftrace(&mut program, "bench:one_byte", "one-byte", hits)?;
            measured.one_counted.push(nanos - one_base);
        }
        println!("{rounds} rounds of {hits} hits each, medians");
        println!(
            "  ns a hit, nobody watches: {:.1}; above that:",
            median(off)
        );
        println!("                                            ns  / count()  / count(), 1 byte");
        let line = |what: &str, nanos: &[f64]| {
            let to = |other: &[f64]| {
                let ratios = nanos.iter().zip(other).map(|(ours, theirs)| ours / theirs);
                median(ratios.collect())
            };
            println!(
                "  {what:38} {:7.1} {:10.2} {:10.2}",
                median(nanos.to_vec()),
                to(&measured.counted),
                to(&measured.one_counted)
            );
        };
        line("virtscope, a record of 64 bytes", &measured.plain);
        line("the same, its cost counted", &measured.counting);
        line("bpftrace count(), the same probe", &measured.counted);
        line("bpftrace count(), a probe of 1 byte", &measured.one_counted);
        println!(
            "  records delivered: {:.2} M/s, {lost} of {} lost (a buffer of {} KiB)",
            median(rates),
            2 * hits * rounds as u64,
            args.buffer >> 10
        );
        Ok(())
    }

    fn median(mut values: Vec<f64>) -> f64 {
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    }
}
