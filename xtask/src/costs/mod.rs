//! `cargo xtask costs`: the same work in a guest untraced, traced by us, and traced
//! by others, in turn.

use std::fs;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use clap::Args;

use crate::guest::{Device, Guest, Kernel, Machine, Profile, prepare, userland};
use crate::limit::Deadline;
use crate::steps::Failure;

/// All of it; emulation is slow.
const LIMIT: Duration = Duration::from_secs(3 * 60 * 60);
/// One run.
const RUN: Duration = Duration::from_secs(20 * 60);
/// What the peers need in the guest. The kernel's headers are what virtiostat is
/// compiled against.
const PACKAGES: [&str; 4] = [
    "bpftrace",
    "bpfcc-tools",
    "linux-headers-amd64",
    "coreutils",
];
const UNTRACED: &str = "untraced";
const WORKLOAD: &str = include_str!("workload.sh");
/// Where the guest has Debian's programs.
const ROOT: &str = "/mnt";

#[derive(Args, Debug)]
pub(crate) struct CostsArgs {
    /// The kernel.
    #[arg(long, value_enum, default_value = "6.12")]
    kernel: Kernel,

    /// How many CPUs it has.
    #[arg(long, value_name = "N", default_value_t = 1)]
    cpus: u32,

    /// How often each is run.
    #[arg(long, value_name = "ROUNDS", default_value_t = 5)]
    rounds: usize,

    /// Direct reads of the disk in one run.
    #[arg(long, value_name = "N", default_value_t = 2000)]
    reads: u32,

    /// Walks over the shared folder in one run.
    #[arg(long, value_name = "N", default_value_t = 4)]
    walks: u32,

    /// Only those whose names contain this, beside the untraced run.
    #[arg(long, value_name = "WORD")]
    only: Option<String>,

    /// A `virtscope` for the guest, instead of one that is built now.
    #[arg(long, value_name = "FILE")]
    program: Option<std::path::PathBuf>,
}

/// Who traces, and the script that runs `/tmp/workload` traced. `None`: nobody.
struct Tracer {
    name: &'static str,
    script: String,
}

fn tracers() -> Vec<Tracer> {
    let bpftrace = |script: &str| {
        format!(
            "PATH=/usr/local/bin:$PATH:/usr/sbin chroot {ROOT} bpftrace -o /tmp/out -c '/usr/local/bin/sh /tmp/workload' /tmp/{script} && \
             cp {ROOT}/tmp/took /tmp/took && wc -l < {ROOT}/tmp/out"
        )
    };
    vec![
        Tracer {
            name: UNTRACED,
            script: "sh /tmp/workload".to_owned(),
        },
        Tracer {
            name: "virtscope trace",
            script: "virtscope trace -w /tmp/out -- sh /tmp/workload".to_owned(),
        },
        Tracer {
            name: "bpftrace, a line an operation",
            script: bpftrace("events.bt"),
        },
        Tracer {
            name: "bpftrace, count()",
            script: bpftrace("counts.bt"),
        },
        Tracer {
            name: "virtiostat",
            script: format!(
                "PATH=$PATH:/usr/sbin PYTHONUNBUFFERED=1 chroot {ROOT} /usr/sbin/virtiostat-bpfcc 3600 > /tmp/out 2>&1 & peer=$!
                 for _ in $(seq 300); do
                     grep -q Tracing /tmp/out && break
                     kill -0 $peer 2> /dev/null || {{ tail -n 20 /tmp/out; exit 1; }}
                     sleep 1
                 done
                 grep -q Tracing /tmp/out || {{ echo 'it never began'; tail -n 20 /tmp/out; exit 1; }}
                 sh /tmp/workload; status=$?
                 # What a shell starts in the background ignores an interrupt.
                 kill -TERM $peer; wait $peer; exit $status"
            ),
        },
    ]
}

/// Measures and prints the table.
pub(crate) fn costs(args: &CostsArgs) -> anyhow::Result<bool> {
    ensure!(args.rounds > 0, "no rounds, no result");
    let deadline = Deadline::after(LIMIT);
    let failed = |failure| match failure {
        Failure::Missing(what) => anyhow!("missing: {what}"),
        Failure::Failed(error) => error,
    };
    let place = match &args.program {
        Some(program) => crate::guest::Place::with_program(program),
        None => prepare(Profile::Release, deadline),
    };
    let place = place.map_err(failed)?;
    let disk = userland(args.kernel.suite(), &PACKAGES, deadline).map_err(failed)?;
    let share = place.share()?;
    for number in 0..100 {
        let path = share.path().join(format!("file-{number}"));
        fs::write(&path, vec![0; 4096]).context("filling the shared folder")?;
    }
    let machine = Machine {
        kernel: args.kernel,
        cpus: args.cpus,
        memory: 2048,
        devices: vec![Device::P9, Device::Blk],
        disk: Some(disk),
        ..Machine::default()
    };
    let mut guest = place
        .boot(&machine, share.path(), &[], deadline)
        .map_err(failed)?;
    println!("Linux {} is up", guest.release);
    set_up(&mut guest, args)?;

    // The first run finds nothing translated and no inode known.
    time(&mut guest, "sh /tmp/workload")?;

    let mut tracers: Vec<(Tracer, Vec<u64>)> = tracers()
        .into_iter()
        .filter(|tracer| {
            let only = args.only.as_deref().unwrap_or_default();
            tracer.name == UNTRACED || tracer.name.contains(only)
        })
        .map(|tracer| (tracer, Vec::new()))
        .collect();
    for round in 0..args.rounds {
        tracers.retain_mut(|(tracer, times)| {
            let taken = time(&mut guest, &tracer.script);
            match taken {
                Ok(taken) => {
                    println!("round {round}, {}: {taken} ms", tracer.name);
                    times.push(taken);
                    true
                }
                Err(error) => {
                    println!("{} DOES NOT RUN HERE: {error:#}", tracer.name);
                    false
                }
            }
        });
    }
    guest.power_off()?;
    table(&tracers)?;
    Ok(true)
}

fn set_up(guest: &mut Guest, args: &CostsArgs) -> anyhow::Result<()> {
    let rounds: Vec<String> = (0..args.walks).map(|round| round.to_string()).collect();
    let mut script = format!(
        "mount -o noatime /dev/sda {ROOT}
         for folder in proc sys dev share; do mount --rbind /$folder {ROOT}/$folder; done
         mount -t tmpfs tmpfs {ROOT}/tmp
         mkdir -p {ROOT}/lib/modules/$(uname -r)
         test -e {ROOT}/lib/modules/$(uname -r)/build ||
             ln -s /usr/src/linux-headers-$(uname -r) {ROOT}/lib/modules/$(uname -r)/build\n"
    );
    let rounds = rounds.join(" ");
    // The peers' system has no shell but the one that is put there below.
    let workload = |shell: &str| {
        let reads = args.reads;
        format!("#!{shell}\nREADS={reads}\nROUNDS='{rounds}'\n{WORKLOAD}")
    };
    for (path, content) in [
        ("/tmp/workload", workload("/bin/sh")),
        ("/mnt/tmp/workload", workload("/usr/local/bin/sh")),
        ("/mnt/tmp/events.bt", include_str!("events.bt").to_owned()),
        ("/mnt/tmp/counts.bt", include_str!("counts.bt").to_owned()),
    ] {
        script.push_str(&format!(
            "cat > {path} << 'END OF FILE'\n{content}END OF FILE\n"
        ));
    }
    // The same commands for both, so that they take the same time.
    script.push_str("chmod +x /tmp/workload /mnt/tmp/workload\n");
    script.push_str("mkdir -p /mnt/usr/local/bin && cp /bin/busybox /mnt/usr/local/bin/ && for name in find cat dd sh; do ");
    script.push_str("ln -sf busybox /mnt/usr/local/bin/$name; done\n");
    guest.succeed(&script, RUN)?;
    Ok(())
}

/// Milliseconds that the workload took in this run.
fn time(guest: &mut Guest, script: &str) -> anyhow::Result<u64> {
    let script = format!("rm -f /tmp/took {ROOT}/tmp/took /tmp/out\n({script})");
    guest.succeed(&script, RUN)?;
    let took = guest.succeed("cat /tmp/took", RUN)?;
    let hundredths: u64 = took.trim().parse().context("how long it took")?;
    Ok(hundredths * 10)
}

fn median(times: &[u64]) -> Option<u64> {
    let mut times = times.to_vec();
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

fn table(tracers: &[(Tracer, Vec<u64>)]) -> anyhow::Result<()> {
    let untraced = tracers
        .iter()
        .find(|(tracer, _)| tracer.name == UNTRACED)
        .and_then(|(_, times)| median(times))
        .context("the workload does not run")?;
    println!("\n| traced by | median | slowdown | all runs, ms |\n|---|---|---|---|");
    for (tracer, times) in tracers {
        let Some(median) = median(times) else {
            continue;
        };
        let slowdown = median as f64 / untraced as f64;
        println!(
            "| {} | {median} ms | {slowdown:.2}× | {times:?} |",
            tracer.name
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_several_runs_is_taken() {
        assert_eq!(median(&[30, 10, 20]), Some(20));
        assert_eq!(median(&[]), None);
    }
}
