//! Which record belongs to which request, as far as a slice must know it.

use std::collections::{HashMap, VecDeque};
use std::ops::RangeInclusive;

use virtscope_record::{Body, Flags, Generation, Kind, QueueId, Record, RingIndex, Token};

/// Requests of one queue.
#[derive(Debug, Default)]
struct Queue {
    generation: Option<Generation>,
    /// By descriptor or buffer id; one that has ended stays until the id is in
    /// use again, for the device half's records that come late.
    by_head: HashMap<u16, Request>,
    /// Added, and not covered by a kick decision yet.
    unkicked: VecDeque<(RingIndex, bool)>,
    /// Chosen ones that have not been returned.
    chosen_in_flight: usize,
}

#[derive(Clone, Copy, Debug)]
struct Request {
    token: Token,
    chosen: bool,
    in_flight: bool,
}

/// What a record has to do with requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Belongs {
    /// To a request that was chosen.
    Chosen,
    /// To one that was not.
    NotChosen,
    /// To one whose beginning was not seen.
    Unknown,
    /// To none: it is the queue's own.
    Queue,
}

/// Follows the requests of all queues and numbers them as the analyzer does: in
/// the order of their first records.
#[derive(Debug, Default)]
pub(super) struct Requests {
    queues: HashMap<QueueId, Queue>,
    next: u64,
    chosen: usize,
}

impl Requests {
    /// The number of the next request.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Whether a chosen request of `queue` waits for more records.
    pub(super) fn waits(&self, queue: QueueId) -> bool {
        self.queues.get(&queue).is_some_and(Queue::waits)
    }

    /// Whether any does.
    pub(super) fn any_waits(&self) -> bool {
        self.chosen > 0 || self.queues.values().any(Queue::waits)
    }

    /// Requests of `queue` in flight.
    pub(super) fn in_flight(&self, queue: QueueId) -> u16 {
        self.queues.get(&queue).map_or(0, |queue| {
            let in_flight = queue.by_head.values().filter(|request| request.in_flight);
            u16::try_from(in_flight.count()).unwrap_or(u16::MAX)
        })
    }

    /// Takes in a record and says what it has to do with requests. A request that
    /// begins here is chosen if `choose` says so of its number.
    pub(super) fn follow(&mut self, record: &Record, choose: impl FnOnce(u64) -> bool) -> Belongs {
        let Ok(body) = record.body() else {
            return Belongs::Queue;
        };
        let queue = self.queues.entry(record.queue()).or_default();
        if !matches!(body, Body::Statistics(_)) {
            let generation = record.generation();
            let ahead = queue.generation.map(|now| generation.0.wrapping_sub(now.0));
            match ahead.map(u16::cast_signed) {
                Some(0) => {}
                Some(..0) => return Belongs::Unknown,
                Some(_) => queue.end_all(),
                None => {}
            }
            queue.generation = Some(generation);
        }
        let before = queue.chosen_in_flight;
        let belongs = match body {
            Body::Add(add) => {
                let chosen = choose(self.next);
                self.next += 1;
                queue.begin(add.head, record.token(), add.position, chosen);
                Belongs::of(chosen)
            }
            Body::Kick(kick) => queue.kick(record.flags(), kick.old, kick.new),
            Body::Taken(taken) => queue.of(taken.head),
            Body::Returned(returned) => queue.of(returned.head),
            Body::Detach(detach) => queue.end(detach.head),
            Body::InFlight(found) => {
                let known = queue.by_head.get(&found.head);
                if known.is_some_and(|known| known.in_flight) {
                    queue.of(found.head)
                } else {
                    let chosen = choose(self.next);
                    self.next += 1;
                    queue.open(found.head, record.token(), chosen);
                    Belongs::of(chosen)
                }
            }
            Body::Missed(missed) if missed.operation() == Some(Kind::Used) => {
                missed.head().map_or(Belongs::Queue, |head| queue.end(head))
            }
            Body::Used(used) if used.error == 0 => {
                let found = queue.by_head.get(&used.head).copied();
                let belongs = queue.end(used.head);
                let known =
                    found.is_some_and(|found| found.in_flight && found.token == record.token());
                if known {
                    belongs
                } else {
                    self.next += 1;
                    Belongs::Unknown
                }
            }
            Body::Reset(_) => {
                queue.end_all();
                Belongs::Queue
            }
            _ => Belongs::Queue,
        };
        self.chosen = self.chosen + queue.chosen_in_flight - before;
        belongs
    }
}

impl Belongs {
    fn of(chosen: bool) -> Self {
        if chosen {
            Self::Chosen
        } else {
            Self::NotChosen
        }
    }
}

impl Queue {
    fn waits(&self) -> bool {
        self.chosen_in_flight > 0 || self.unkicked.iter().any(|(_, chosen)| *chosen)
    }

    fn begin(&mut self, head: u16, token: Token, position: RingIndex, chosen: bool) {
        self.open(head, token, chosen);
        // More than a ring holds are waiting only if kicks are missing.
        if self.unkicked.len() > usize::from(u16::MAX) {
            self.unkicked.pop_front();
        }
        self.unkicked.push_back((position, chosen));
    }

    fn open(&mut self, head: u16, token: Token, chosen: bool) {
        self.end(head);
        self.chosen_in_flight += usize::from(chosen);
        let request = Request {
            token,
            chosen,
            in_flight: true,
        };
        self.by_head.insert(head, request);
    }

    fn end(&mut self, head: u16) -> Belongs {
        let Some(request) = self.by_head.get_mut(&head) else {
            return Belongs::Unknown;
        };
        if std::mem::take(&mut request.in_flight) && request.chosen {
            self.chosen_in_flight -= 1;
        }
        Belongs::of(request.chosen)
    }

    fn end_all(&mut self) {
        self.by_head.clear();
        self.unkicked.clear();
        self.chosen_in_flight = 0;
    }

    fn of(&self, head: u16) -> Belongs {
        let request = self.by_head.get(&head);
        request.map_or(Belongs::Unknown, |request| Belongs::of(request.chosen))
    }

    /// A decision covers what stands in its range, and what should have had one
    /// before. The positions of a packed ring wrap where its size is: there it is
    /// taken to cover all that was added before it, which a driver sees to.
    fn kick(&mut self, flags: Flags, old: RingIndex, new: RingIndex) -> Belongs {
        let range = new.distance_from(old);
        let mut belongs = Belongs::Queue;
        while let Some((position, chosen)) = self.unkicked.front().copied() {
            let at = position.distance_from(old);
            let is_later = at >= range && at.cast_signed() >= 0;
            if !flags.contains(Flags::PACKED) && is_later {
                break;
            }
            self.unkicked.pop_front();
            if chosen || belongs == Belongs::Queue {
                belongs = Belongs::of(chosen);
            }
        }
        belongs
    }
}

/// Whether `number` lies in one of `ranges`.
pub(super) fn contains(ranges: &[RangeInclusive<u64>], number: u64) -> bool {
    ranges.iter().any(|range| range.contains(&number))
}
