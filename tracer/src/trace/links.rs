//! How often the kernel has skipped a kprobe before any program came into it.
//!
//! A program that is not run because another one is running counts that itself. A kprobe
//! that is hit while another one is handled, and a kretprobe that has no room for one more
//! return, don't come that far: Linux counts them in the kprobe (`nmissed`, of a kretprobe
//! the sum of both kinds), and from 6.7 on shows it of the link that holds the program to
//! it. aya keeps its links to itself, so they are looked for among our own descriptors.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::mem::{offset_of, size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use aya_obj::generated::{
    bpf_attr, bpf_cmd, bpf_link_info, bpf_link_info__bindgen_ty_1__bindgen_ty_11,
    bpf_link_info__bindgen_ty_1__bindgen_ty_11__bindgen_ty_1__bindgen_ty_2, bpf_link_type,
    bpf_perf_event_type,
};

const DESCRIPTORS: &str = "/proc/self/fd";
/// What a link's descriptor leads to, by kernel.
const NAMES: [&str; 2] = ["anon_inode:bpf_link", "anon_inode:bpf-link"];

/// Linux `info.perf_event.kprobe`.
type Kprobe = bpf_link_info__bindgen_ty_1__bindgen_ty_11__bindgen_ty_1__bindgen_ty_2;
/// Linux `info.perf_event`.
type Event = bpf_link_info__bindgen_ty_1__bindgen_ty_11;

/// How much of it a kernel has that knows of missed kprobes.
const TOLD: usize = offset_of!(bpf_link_info, __bindgen_anon_1)
    + offset_of!(Event, __bindgen_anon_1)
    + offset_of!(Kprobe, missed)
    + size_of::<u64>();

/// The links that hold some programs to kprobes and kretprobes.
#[derive(Debug, Default)]
pub(super) struct Links(Vec<Link>);

/// One of them, by a descriptor of our own: as long as it is open the link stays.
#[derive(Debug)]
struct Link {
    program: u32,
    fd: OwnedFd,
}

/// What the kernel says of a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Info {
    /// Its own number.
    link: u32,
    /// The number of its program.
    program: u32,
    /// Whether it is to a kprobe or a kretprobe; a kernel before 6.6 says that of none.
    is_kprobe: bool,
    /// How often that was skipped, if the kernel tells.
    missed: Option<u64>,
}

impl Links {
    /// Those of the programs with these numbers that this process has open.
    ///
    /// # Errors
    /// `/proc` can't be read.
    pub(super) fn of(programs: &[u32]) -> io::Result<Self> {
        // All of them before the first is duplicated: new ones would be read in their turn.
        let numbers: Vec<RawFd> = fs::read_dir(DESCRIPTORS)?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect();
        let mut links = BTreeMap::new();
        for number in numbers {
            let leads_to = fs::read_link(format!("{DESCRIPTORS}/{number}")).unwrap_or_default();
            // One that is closed meanwhile, or is something else now, is none of ours.
            if NAMES.iter().any(|name| leads_to.as_os_str() == *name)
                && let Ok(fd) = duplicate(number)
                && let Ok(info) = Info::of(&fd)
                && info.is_kprobe
                && programs.contains(&info.program)
            {
                let program = info.program;
                links.entry(info.link).or_insert(Link { program, fd });
            }
        }
        Ok(Self(links.into_values().collect()))
    }

    /// How many of them the kernel tells of how often they were skipped.
    pub(super) fn told(&self) -> usize {
        let infos = self.0.iter().filter_map(|link| Info::of(&link.fd).ok());
        infos.filter(|info| info.missed.is_some()).count()
    }

    /// How often those of this program were skipped, as far as the kernel tells.
    pub(super) fn missed(&self, program: u32) -> u64 {
        let links = self.0.iter().filter(|link| link.program == program);
        links
            .filter_map(|link| Info::of(&link.fd).ok()?.missed)
            .sum()
    }
}

impl Info {
    fn of(link: &OwnedFd) -> io::Result<Self> {
        // SAFETY: numbers alone, for all of which zero is a value.
        let (mut attr, mut info): (bpf_attr, bpf_link_info) = unsafe { (zeroed(), zeroed()) };
        attr.info.bpf_fd = link.as_raw_fd().cast_unsigned();
        attr.info.info_len = size_of::<bpf_link_info>() as u32;
        attr.info.info = (&raw mut info).expose_provenance() as u64;
        // SAFETY: the kernel reads `attr` and writes its length, and into `info` no more than
        // what that is; both live until the call is over.
        let done = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                bpf_cmd::BPF_OBJ_GET_INFO_BY_FD as libc::c_int,
                &raw mut attr,
                size_of::<bpf_attr>(),
            )
        };
        if done < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the member that was written.
        let told = unsafe { attr.info.info_len };
        Ok(Self::read(&info, told as usize))
    }

    /// What stands in `info`, of which the kernel has written `told` bytes.
    fn read(info: &bpf_link_info, told: usize) -> Self {
        // SAFETY: whatever the kernel has written, all members are numbers.
        let event = unsafe { &info.__bindgen_anon_1.perf_event };
        let is_kprobe = info.type_ == bpf_link_type::BPF_LINK_TYPE_PERF_EVENT as u32
            && [
                bpf_perf_event_type::BPF_PERF_EVENT_KPROBE as u32,
                bpf_perf_event_type::BPF_PERF_EVENT_KRETPROBE as u32,
            ]
            .contains(&event.type_);
        // SAFETY: as above.
        let missed = unsafe { event.__bindgen_anon_1.kprobe.missed };
        Self {
            link: info.id,
            program: info.prog_id,
            is_kprobe,
            missed: (is_kprobe && told >= TOLD).then_some(missed),
        }
    }
}

/// Another descriptor for what `number` is open for.
fn duplicate(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: a number alone; what is open for nothing is an error.
    let fd = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it, for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(type_: u32, event: u32, missed: u64) -> bpf_link_info {
        // SAFETY: numbers alone, for all of which zero is a value.
        let mut info: bpf_link_info = unsafe { zeroed() };
        info.type_ = type_;
        info.prog_id = 12;
        info.id = 7;
        info.__bindgen_anon_1.perf_event.type_ = event;
        // SAFETY: numbers alone.
        let event = unsafe { &mut info.__bindgen_anon_1.perf_event };
        event.__bindgen_anon_1.kprobe.missed = missed;
        info
    }

    #[test]
    fn only_kernels_that_write_it_tell_of_missed_kprobes() {
        // Linux 6.7 `struct bpf_link_info`: 16 bytes, 8, and 32 up to the end of the number.
        assert_eq!(TOLD, 56);
        let of = |event, told| Info::read(&info(7, event, 5), told);
        let expected = Info {
            link: 7,
            program: 12,
            is_kprobe: true,
            missed: Some(5),
        };
        assert_eq!(of(3, 64), expected);
        assert_eq!(of(4, 56), expected);
        assert_eq!(of(3, 48).missed, None);
        // A uprobe's link, and one that 6.1 says nothing of but its kind.
        assert!(!of(1, 64).is_kprobe && !of(0, 64).is_kprobe);
        assert!(!Info::read(&info(2, 3, 5), 64).is_kprobe);
    }

    #[test]
    fn what_is_no_link_is_passed_over() {
        let file = OwnedFd::from(fs::File::open("/dev/null").unwrap());
        assert!(Info::of(&file).is_err());
        let links = Links::of(&[1, 2, 3]).unwrap();
        assert_eq!((links.told(), links.missed(1)), (0, 0));
        assert!(duplicate(-1).is_err());
    }
}
