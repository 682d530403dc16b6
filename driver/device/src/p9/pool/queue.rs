//! Which request is where: waiting, running, done. No threads here, so that
//! every order of events can be tested one step at a time.

use std::collections::VecDeque;

use rustix::io::Errno;

use super::{Done, Job};
use crate::p9::wire::reply::{Reply, encode_error};
use crate::p9::wire::request::Request;
use crate::p9::wire::{Header, RLERROR_LEN, Tag};

/// A submission's number, unlike a tag or an id never used twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ticket(u64);

/// A request that a worker is to answer.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) ticket: Ticket,
    pub(super) job: Job,
}

/// All requests that were submitted and not collected.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<Waiting>,
    running: Vec<Running>,
    flushes: Vec<Flush>,
    done: VecDeque<Done>,
    submitted: u64,
}

#[derive(Debug)]
struct Waiting {
    ticket: Ticket,
    /// `None` for what is too short to have one, and cannot be flushed.
    tag: Option<Tag>,
    /// Runs by itself: a `Tversion`.
    alone: bool,
    job: Job,
}

#[derive(Debug)]
struct Running {
    ticket: Ticket,
    tag: Option<Tag>,
    alone: bool,
}

/// A `Tflush` that waits for what it wanted to take back.
#[derive(Debug)]
struct Flush {
    ticket: Ticket,
    tag: Tag,
    /// More than one only if the client used a tag twice.
    behind: Vec<Ticket>,
    job: Job,
}

impl Queue {
    pub(super) fn submit(&mut self, job: Job) {
        let ticket = Ticket(self.submitted);
        self.submitted += 1;
        let tag = Header::peek(&job.request).map(|header| header.tag);
        // What is malformed is the server's to refuse, in its turn.
        let alone = match (Request::parse(&job.request), tag) {
            (Ok(Request::Flush { oldtag }), Some(tag)) => {
                return self.flush(ticket, tag, oldtag, job);
            }
            (Ok(Request::Version { .. }), _) => {
                self.cancel(|_| true);
                true
            }
            _ => false,
        };
        self.waiting.push_back(Waiting {
            ticket,
            tag,
            alone,
            job,
        });
    }

    /// The next request to work on, if there is one that may begin.
    pub(super) fn start(&mut self) -> Option<Started> {
        if !self.has_startable() {
            return None;
        }
        let Waiting {
            ticket,
            tag,
            alone,
            job,
        } = self.waiting.pop_front()?;
        self.running.push(Running { ticket, tag, alone });
        Some(Started { ticket, job })
    }

    /// Whether [`Self::start`] would give one.
    pub(super) fn has_startable(&self) -> bool {
        let no_session_change = !self.running.iter().any(|running| running.alone);
        self.waiting
            .front()
            .is_some_and(|next| no_session_change && (!next.alone || self.running.is_empty()))
    }

    /// A request that was started is answered.
    pub(super) fn finish(&mut self, ticket: Ticket, done: Done) {
        self.running.retain(|running| running.ticket != ticket);
        self.done.push_back(done);
        self.release(ticket);
    }

    pub(super) fn has_completed(&self) -> bool {
        !self.done.is_empty()
    }

    pub(super) fn completed(&mut self) -> Option<Done> {
        self.done.pop_front()
    }

    /// flush(5); see [the pool](super).
    fn flush(&mut self, ticket: Ticket, tag: Tag, oldtag: Tag, job: Job) {
        self.cancel(|waiting| waiting.tag == Some(oldtag));
        let running = self
            .running
            .iter()
            .filter(|running| running.tag == Some(oldtag))
            .map(|running| running.ticket);
        // A flush that waits is in flight as well, and can itself be flushed:
        // it is answered first.
        let flushes = self
            .flushes
            .iter()
            .filter(|flush| flush.tag == oldtag)
            .map(|flush| flush.ticket);
        let behind: Vec<_> = running.chain(flushes).collect();
        if behind.is_empty() {
            self.done.push_back(flushed(job));
        } else {
            self.flushes.push(Flush {
                ticket,
                tag,
                behind,
                job,
            });
        }
    }

    /// Takes back what has not been started.
    fn cancel(&mut self, which: impl Fn(&Waiting) -> bool) {
        let (cancelled, kept) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition::<VecDeque<_>, _>(|waiting| which(waiting));
        self.waiting = kept;
        self.done.extend(
            cancelled
                .into_iter()
                .map(|waiting| interrupted(waiting.job)),
        );
    }

    /// Answers the flushes that waited for `ticket`, and those that waited for
    /// them, in the order they came. One pass is enough: a flush only ever
    /// waits for what was submitted before it.
    fn release(&mut self, ticket: Ticket) {
        let mut settled = vec![ticket];
        let mut still = Vec::new();
        for mut flush in std::mem::take(&mut self.flushes) {
            flush.behind.retain(|other| !settled.contains(other));
            if flush.behind.is_empty() {
                settled.push(flush.ticket);
                self.done.push_back(flushed(flush.job));
            } else {
                still.push(flush);
            }
        }
        self.flushes = still;
    }
}

/// Answered with `Rflush`.
fn flushed(job: Job) -> Done {
    let mut reply = Vec::new();
    if let Some(header) = Header::peek(&job.request) {
        // An error means that there is no room, and then none for an error.
        let _ = Reply::new(&mut reply, job.reply_capacity, header).empty();
    }
    Done {
        id: job.id,
        reply,
        request: job.request,
    }
}

/// Answered with `Rlerror EINTR`.
fn interrupted(job: Job) -> Done {
    let mut reply = Vec::new();
    if let Some(header) = Header::peek(&job.request)
        && job.reply_capacity >= RLERROR_LEN
    {
        encode_error(&mut reply, header.tag, Errno::INTR);
    }
    Done {
        id: job.id,
        reply,
        request: job.request,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::p9::wire::MessageType;

    /// A message with an empty body is malformed for every type used here, so
    /// those with a meaning for the queue get one.
    fn message(kind: MessageType, tag: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 0, 0, kind.0];
        bytes.extend(tag.to_le_bytes());
        bytes.extend(body);
        bytes[0] = u8::try_from(bytes.len()).expect("short");
        bytes
    }

    #[derive(Clone, Debug)]
    enum Event {
        Request(u16),
        Flush(u16, u16),
        Version,
        Start,
        /// The n-th of those running.
        Finish(prop::sample::Index),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            4 => (0..6_u16).prop_map(Event::Request),
            2 => (0..6_u16, 0..6_u16).prop_map(|(tag, old)| Event::Flush(tag, old)),
            1 => Just(Event::Version),
            5 => Just(Event::Start),
            4 => any::<prop::sample::Index>().prop_map(Event::Finish),
        ]
    }

    const FINISHED: u8 = 0xfe;

    #[derive(Default)]
    struct Run {
        queue: Queue,
        /// Submitted requests by id, and the tag that each flush is after.
        jobs: Vec<(Vec<u8>, Option<u16>)>,
        running: Vec<Started>,
        done: Vec<Done>,
    }

    impl Run {
        fn submit(&mut self, request: Vec<u8>, oldtag: Option<u16>) {
            let id = self.jobs.len() as u64;
            self.jobs.push((request.clone(), oldtag));
            self.queue.submit(Job {
                id,
                request,
                reply_capacity: 100,
            });
        }

        fn start(&mut self) {
            let startable = self.queue.has_startable();
            let started = self.queue.start();
            assert_eq!(started.is_some(), startable);
            if let Some(started) = started {
                let alone = |started: &Started| started.job.request[4] == MessageType::TVERSION.0;
                if alone(&started) || self.running.iter().any(alone) {
                    assert!(self.running.is_empty(), "a version runs by itself");
                }
                self.running.push(started);
            }
        }

        fn finish(&mut self, index: usize) {
            let Started { ticket, job } = self.running.remove(index);
            let done = Done {
                id: job.id,
                reply: vec![FINISHED],
                request: job.request,
            };
            self.queue.finish(ticket, done);
        }

        fn collect(&mut self) {
            while let Some(done) = self.queue.completed() {
                self.done.push(done);
            }
            assert!(!self.queue.has_completed());
        }
    }

    proptest! {
        /// Whatever happens in whatever order, tags used twice included: each
        /// request is answered once, and a flush after all that it was after.
        #[test]
        fn every_request_is_answered_once_and_before_its_flush(
            events in prop::collection::vec(event(), 0..120),
        ) {
            let mut run = Run::default();
            for event in events {
                match event {
                    Event::Request(tag) => run.submit(message(MessageType::TCLUNK, tag, &[0; 4]), None),
                    Event::Flush(tag, old) => {
                        run.submit(message(MessageType::TFLUSH, tag, &old.to_le_bytes()), Some(old));
                    }
                    Event::Version => {
                        run.submit(message(MessageType::TVERSION, 0xffff, b"\0\x20\0\0\0\0"), None);
                    }
                    Event::Start => run.start(),
                    Event::Finish(index) if !run.running.is_empty() => {
                        run.finish(index.index(run.running.len()));
                    }
                    Event::Finish(_) => {}
                }
                run.collect();
            }
            while run.queue.has_startable() || !run.running.is_empty() {
                run.start();
                if !run.running.is_empty() {
                    run.finish(0);
                }
            }
            run.collect();

            let mut place = HashMap::new();
            for (at, done) in run.done.iter().enumerate() {
                prop_assert!(place.insert(done.id, at).is_none(), "answered once");
                prop_assert_eq!(&done.request, &run.jobs[done.id as usize].0);
            }
            prop_assert_eq!(place.len(), run.jobs.len(), "and none forgotten");
            for (id, (request, oldtag)) in run.jobs.iter().enumerate() {
                let done = &run.done[place[&(id as u64)]];
                let Some(oldtag) = oldtag else {
                    prop_assert!(done.reply == [FINISHED] || done.reply[4] == 7);
                    continue;
                };
                prop_assert_eq!(done.reply[4], MessageType::TFLUSH.answer().0);
                prop_assert_eq!(&done.reply[5..7], &request[5..7]);
                for (earlier, (other, _)) in run.jobs[..id].iter().enumerate() {
                    if other[5..7] == oldtag.to_le_bytes() {
                        prop_assert!(place[&(earlier as u64)] < place[&(id as u64)]);
                    }
                }
            }
        }
    }

    #[test]
    fn an_answer_without_room_is_left_empty() {
        let mut queue = Queue::default();
        let submit = |queue: &mut Queue, request: Vec<u8>, reply_capacity| {
            queue.submit(Job {
                id: 0,
                request,
                reply_capacity,
            });
        };
        submit(&mut queue, message(MessageType::TCLUNK, 1, &[0; 4]), 10);
        submit(&mut queue, message(MessageType::TFLUSH, 2, &[1, 0]), 6);
        let replies = std::iter::from_fn(|| queue.completed()).map(|done| done.reply);
        assert_eq!(replies.collect::<Vec<_>>(), [vec![], vec![]]);
    }
}
