//! 9P messages in a capture, held against the guest kernel's tracepoints and
//! against what QEMU's file server logs.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::{Range, RangeInclusive};

use anyhow::{Context, ensure};

use super::capture::GuestQueue;
use super::compare::Disagreements;
use super::log::{Event, Logged};
use super::tracepoints::Traced;

/// Requests that QEMU logs when it reads them, by number and name.
const LOGGED: [(u8, &str); 28] = [
    (14, "lcreate"),
    (12, "open"),
    (16, "symlink"),
    (18, "mknod"),
    (22, "readlink"),
    (24, "getattr"),
    (26, "setattr"),
    (30, "xattrwalk"),
    (32, "xattrcreate"),
    (40, "readdir"),
    (50, "fsync"),
    (52, "lock"),
    (54, "getlock"),
    (70, "link"),
    (72, "mkdir"),
    (100, "version"),
    (104, "attach"),
    (108, "flush"),
    (110, "walk"),
    (112, "open"),
    (114, "create"),
    (116, "read"),
    (118, "write"),
    (120, "clunk"),
    (122, "remove"),
    (124, "stat"),
    (126, "wstat"),
    // Answers a flush, and is no request: it is here so that its name is known.
    (109, "rcancel"),
];
/// `Rlerror`, the answer to a request that failed.
const RLERROR: u8 = 7;

/// What a message's first seven bytes say, and an error's number behind them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Message {
    kind: u8,
    tag: u16,
    errno: Option<u32>,
}

impl Message {
    fn read(payload: &[u8]) -> anyhow::Result<Self> {
        ensure!(
            payload.len() >= 7,
            "{} bytes of a 9P message, and its head has 7",
            payload.len()
        );
        let kind = payload[4];
        let errno = payload.get(7..11).filter(|_| kind == RLERROR);
        Ok(Self {
            kind,
            tag: u16::from_le_bytes([payload[5], payload[6]]),
            errno: errno.map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])),
        })
    }
}

/// A request, or how it was answered, among those of its tag.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Request(u8),
    /// By what kind of request it answers.
    Reply {
        kind: u8,
        errno: Option<u32>,
    },
}

type ByTag = BTreeMap<u16, Vec<Step>>;

/// What was compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct ComparedMessages {
    /// Messages that the guest's kernel traced, each with its record.
    pub(crate) traced: usize,
    /// Lines of QEMU's, each with its record.
    pub(crate) logged: usize,
}

/// Holds the messages of one queue against both.
///
/// # Errors
/// What they do not agree on.
pub(crate) fn compare(
    queue: &GuestQueue,
    traced: &[Traced],
    log: &[Logged],
    window: &Range<u64>,
) -> anyhow::Result<ComparedMessages> {
    let mut wrong = Disagreements::default();
    let missed = (queue.missed_adds() + queue.missed_used()) as usize;
    let ours = match missed {
        0 => ours(queue)?,
        _ => ours_in_part(queue)?,
    };

    // A tag has one request at a time, so each tag's steps have an order that all
    // agree on, whatever other tags do meanwhile.
    let theirs = kernel(traced);
    let logged = qemu(log, window, &mut wrong);
    let loggable: ByTag = only(&ours, |step| match step {
        Step::Request(kind) => LOGGED.iter().any(|(other, _)| *other == kind),
        // Other answers are logged by some and not by others.
        Step::Reply { errno, .. } => errno.is_some(),
    });
    let number = |steps: &ByTag| steps.values().map(Vec::len).sum();
    if missed > 0 {
        // An error whose request was missed and a reply whose buffer's add was missed say too
        // little to be compared, so either may be absent as well.
        let most = 2 * missed;
        in_part(
            "the kernel's tracepoints",
            &ours,
            &theirs,
            missed..=most,
            &mut wrong,
        );
        // What was missed may be of what QEMU does not log.
        in_part("QEMU's log", &loggable, &logged, 0..=most, &mut wrong);
        wrong.none()?;
        return Ok(ComparedMessages {
            traced: number(&ours),
            logged: number(&loggable),
        });
    }
    differences("the kernel's tracepoints", &ours, &theirs, &mut wrong);
    differences("QEMU's log", &loggable, &logged, &mut wrong);
    wrong.none()?;
    Ok(ComparedMessages {
        traced: traced.len(),
        logged: number(&logged),
    })
}

/// The messages in a queue's records, by tag: each request by its add, each reply
/// by the same buffer's return.
fn ours(queue: &GuestQueue) -> anyhow::Result<ByTag> {
    let mut requests: BTreeMap<u16, Vec<(Step, u64)>> = BTreeMap::new();
    for add in queue.adds_seen() {
        let message = Message::read(&add.payload).context("an add")?;
        let steps = requests.entry(message.tag).or_default();
        steps.push((Step::Request(message.kind), add.token));
    }
    let mut replies: BTreeMap<u16, Vec<Message>> = BTreeMap::new();
    for used in queue.used_seen() {
        let message = Message::read(&used.payload).context("a used buffer")?;
        replies.entry(message.tag).or_default().push(message);
    }
    let mut all = ByTag::new();
    for (tag, requests) in requests {
        let replies = replies.remove(&tag).unwrap_or_default();
        ensure!(
            replies.len() == requests.len(),
            "tag {tag} has {} requests and {} replies",
            requests.len(),
            replies.len()
        );
        let steps = all.entry(tag).or_default();
        for ((request, _), reply) in requests.into_iter().zip(replies) {
            let Step::Request(kind) = request else {
                continue;
            };
            ensure!(
                reply.kind == kind + 1 || reply.kind == RLERROR,
                "a request of kind {kind} with tag {tag} is answered by {}",
                reply.kind
            );
            steps.push(request);
            let errno = reply.errno;
            steps.push(Step::Reply { kind, errno });
        }
    }
    ensure!(replies.is_empty(), "replies without a request: {replies:?}");
    Ok(all)
}

/// The same where some were missed: what is there, in the order of its records. What kind
/// of request an error answers is not known if the request was missed.
fn ours_in_part(queue: &GuestQueue) -> anyhow::Result<ByTag> {
    let mut all: BTreeMap<u16, BTreeMap<u64, Step>> = BTreeMap::new();
    for add in queue.adds_seen() {
        let message = Message::read(&add.payload).context("an add")?;
        let steps = all.entry(message.tag).or_default();
        steps.insert(add.at, Step::Request(message.kind));
    }
    for used in queue.used_seen() {
        // One whose add was missed has no payload.
        let Ok(message) = Message::read(&used.payload) else {
            continue;
        };
        let steps = all.entry(message.tag).or_default();
        let asked = steps.range(..used.at).next_back();
        let kind = match (message.kind, asked) {
            (RLERROR, Some((_, Step::Request(kind)))) => *kind,
            (RLERROR, _) => continue,
            (kind, _) => kind.wrapping_sub(1),
        };
        let errno = message.errno;
        steps.insert(used.at, Step::Reply { kind, errno });
    }
    Ok(all
        .into_iter()
        .map(|(tag, steps)| (tag, steps.into_values().collect()))
        .collect())
}

/// Of each tag, `theirs` must have all of `ours` in order; and of theirs so many may be absent
/// from ours in all.
fn in_part(
    who: &str,
    ours: &ByTag,
    theirs: &ByTag,
    allowed: RangeInclusive<usize>,
    wrong: &mut Disagreements,
) {
    let mut absent = 0;
    for (tag, ours) in ours {
        if !theirs.contains_key(tag) {
            wrong.say(|| format!("tag {tag}: {who} has none of {ours:?}"));
        }
    }
    for (tag, theirs) in theirs {
        let mut left = theirs.iter();
        let ours = ours.get(tag).map_or(&[][..], Vec::as_slice);
        for step in ours {
            if !left.any(|other| other == step) {
                wrong.say(|| format!("tag {tag}: {who} does not have {step:?} there"));
                break;
            }
        }
        absent += theirs.len().saturating_sub(ours.len());
    }
    if !allowed.contains(&absent) {
        wrong.say(|| {
            format!(
                "{absent} messages of {who} have no record, and by what was missed it should be \
                 {} to {}",
                allowed.start(),
                allowed.end()
            )
        });
    }
}

fn kernel(traced: &[Traced]) -> ByTag {
    let mut all = ByTag::new();
    for event in traced {
        let (tag, step) = match *event {
            Traced::Request { tag, kind } => (tag, Step::Request(kind)),
            Traced::Reply { tag, kind, errno } => (tag, Step::Reply { kind, errno }),
        };
        all.entry(tag).or_default().push(step);
    }
    all
}

/// Requests and errors of QEMU's log.
fn qemu(log: &[Logged], window: &Range<u64>, wrong: &mut Disagreements) -> ByTag {
    let mut all = ByTag::new();
    for logged in log.iter().filter(|logged| window.contains(&logged.at)) {
        match &logged.event {
            Event::Request { name, tag, kind } => {
                if !LOGGED.contains(&(*kind, name.as_str())) {
                    wrong.say(|| format!("QEMU logs a request {name} of kind {kind}"));
                }
                all.entry(*tag).or_default().push(Step::Request(*kind));
            }
            Event::Error { tag, kind, errno } => all.entry(*tag).or_default().push(Step::Reply {
                kind: *kind,
                errno: Some(*errno),
            }),
            _ => {}
        }
    }
    all
}

fn only(all: &ByTag, keep: impl Fn(Step) -> bool) -> ByTag {
    let kept = all.iter().map(|(tag, steps)| {
        let steps = steps.iter().copied().filter(|step| keep(*step)).collect();
        (*tag, steps)
    });
    kept.filter(|(_, steps): &(u16, Vec<Step>)| !steps.is_empty())
        .collect()
}

fn differences<T: PartialEq + Debug>(
    who: &str,
    ours: &BTreeMap<u16, Vec<T>>,
    theirs: &BTreeMap<u16, Vec<T>>,
    wrong: &mut Disagreements,
) {
    let none = Vec::new();
    let mut tags: Vec<u16> = ours.keys().chain(theirs.keys()).copied().collect();
    tags.sort_unstable();
    tags.dedup();
    for tag in tags {
        let ours = ours.get(&tag).unwrap_or(&none);
        let theirs = theirs.get(&tag).unwrap_or(&none);
        if ours.len() != theirs.len() {
            wrong.say(|| {
                format!(
                    "tag {tag}: the capture has {} messages, {who} {}",
                    ours.len(),
                    theirs.len()
                )
            });
        }
        let pairs = ours.iter().zip(theirs).enumerate();
        if let Some((number, (ours, theirs))) = pairs.into_iter().find(|(_, (a, b))| a != b) {
            wrong.say(|| {
                format!("tag {tag}, message {number}: the capture has {ours:?}, {who} {theirs:?}")
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::capture::{AddSeen, Added, Returned, UsedSeen};
    use super::super::log;
    use super::*;

    fn message(kind: u8, tag: u16, errno: Option<u32>) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        bytes.push(kind);
        bytes.extend(tag.to_le_bytes());
        bytes.extend(errno.unwrap_or_default().to_le_bytes());
        bytes
    }

    fn queue(messages: &[(u8, u16, Option<u32>)]) -> GuestQueue {
        let mut queue = GuestQueue::default();
        for (number, (kind, tag, errno)) in messages.iter().enumerate() {
            queue.adds.push(Added::Seen(AddSeen {
                at: 2 * number as u64,
                position: number as u16,
                token: 1,
                head: 0,
                readable_segments: 1,
                writable_segments: 1,
                readable_bytes: 11,
                writable_bytes: 11,
                descriptors: 2,
                payload: message(*kind, *tag, None),
            }));
            let reply = if errno.is_some() { RLERROR } else { kind + 1 };
            queue.used.push(Returned::Seen(UsedSeen {
                at: 2 * number as u64 + 1,
                position: number as u16,
                token: 1,
                head: 0,
                used_length: 11,
                payload: message(reply, *tag, *errno),
            }));
        }
        queue
    }

    const LOG: &str = "v9fs_walk tag 0 id 110 fid 1\nv9fs_rerror tag 0 id 110 err 2\n\
                       v9fs_clunk tag 3 id 120 fid 1\n";
    const MESSAGES: [(u8, u16, Option<u32>); 3] =
        [(110, 0, Some(2)), (120, 3, None), (76, 0, None)];

    fn traced() -> Vec<Traced> {
        let mut events = Vec::new();
        for (kind, tag, errno) in MESSAGES {
            events.push(Traced::Request { tag, kind });
            events.push(Traced::Reply { tag, kind, errno });
        }
        events
    }

    fn run(queue: &GuestQueue, traced: &[Traced], log: &str) -> anyhow::Result<ComparedMessages> {
        let log = log::parse(log)?;
        compare(queue, traced, &log, &(0..u64::MAX))
    }

    #[test]
    fn three_that_agree_agree() {
        let compared = run(&queue(&MESSAGES), &traced(), LOG).unwrap();
        assert_eq!((compared.traced, compared.logged), (6, 3));
    }

    #[test]
    fn each_difference_is_seen() {
        let whole = queue(&MESSAGES);
        let mut another = traced();
        another.swap(0, 1);
        assert!(run(&whole, &another, LOG).is_err());
        assert!(run(&whole, &traced()[..4], LOG).is_err());
        assert!(run(&whole, &traced(), &LOG.replace("err 2", "err 13")).is_err());
        assert!(run(&whole, &traced(), &LOG.replace("id 120", "id 116")).is_err());
        assert!(run(&whole, &traced(), "").is_err());
        // A request that QEMU logs, though the capture has none.
        let more = format!("{LOG}v9fs_clunk tag 9 id 120 fid 1\n");
        assert!(run(&whole, &traced(), &more).is_err());
        assert!(run(&queue(&MESSAGES[..2]), &traced(), LOG).is_err());
        let mut unanswered = queue(&MESSAGES);
        unanswered.used.pop();
        assert!(run(&unanswered, &traced(), LOG).is_err());
    }
}
