//! A buffer's way back into the ring, and what goes wrong on it.

use std::time::Duration;

use virtscope_driver::instrument::Instrument;
use virtscope_driver::memory::QueueMemory;
use virtscope_record::Layout;

use super::returns::Return;
use super::scribble::scribble;
use super::{FaultKind, FaultyQueue};
use crate::queue::{Chain, Lie};

impl<M: QueueMemory, I: Instrument> FaultyQueue<M, I> {
    /// What is to go wrong with a buffer that comes back.
    pub(super) fn twist(&mut self, chain: &Chain, written: u32) -> Return {
        let number = Some(chain.number);
        let mut back = Return {
            chain: chain.clone(),
            taken_as: chain.id,
            written,
            lie: false,
            twice: self.happens(FaultKind::ReturnTwice, number).is_some(),
            reorder: None,
            scribble: None,
        };
        if written > 0
            && let Some(hit) = self.happens(FaultKind::ShortLength, number)
        {
            back.written = written.saturating_sub(hit.amount as u32);
            back.lie = true;
        }
        if let Some(hit) = self.happens(FaultKind::WrongLength, number) {
            back.written = chain.writable_bytes().saturating_add(hit.amount as u32);
            back.lie = true;
        }
        if let Some(id) = self.other_id(chain) {
            back.chain.id = id;
            back.lie = true;
        }
        back.scribble = self.happens(FaultKind::Scribble, number);
        back.reorder = self.happens(FaultKind::Reorder, number);
        back
    }

    /// An id to return a buffer under instead of its own.
    fn other_id(&mut self, chain: &Chain) -> Option<u16> {
        let (number, size) = (Some(chain.number), self.queue.size().get());
        let mut id = None;
        let others = self.held.iter().filter(|id| **id != chain.id).count();
        if others > 0
            && let Some(hit) = self.happens(FaultKind::WrongId, number)
        {
            let nth = (hit.choice % others as u64) as usize;
            id = self
                .held
                .iter()
                .filter(|id| **id != chain.id)
                .nth(nth)
                .copied();
        }
        let unknown = usize::from(size).saturating_sub(self.held.len());
        if unknown > 0
            && let Some(hit) = self.happens(FaultKind::IdNotInFlight, number)
        {
            let nth = (hit.choice % unknown as u64) as usize;
            id = (0..size).filter(|id| !self.held.contains(id)).nth(nth);
        }
        if let Some(hit) = self.happens(FaultKind::IdOutOfRange, number) {
            let beyond = u64::from(u16::MAX - size) + 1;
            id = Some(size + (hit.choice % beyond) as u16);
        }
        id
    }

    /// The buffers that go on when this one comes to the window.
    pub(super) fn pass_window(&mut self, now: Duration, back: Return) -> Vec<Return> {
        match back.reorder {
            Some(hit) => self.returns.overtake(now, hit, back),
            None => vec![back],
        }
    }

    /// Puts a buffer into the ring.
    pub(super) fn emit(&mut self, back: Return) {
        self.held.remove(&back.taken_as);
        if let Some(hit) = back.scribble {
            let (layout, size) = (self.queue.layout(), self.queue.size());
            scribble(self.queue.memory(), layout, size, hit.amount, hit.choice);
        }
        // An entry that lies stands for no other buffer, and none for it.
        if back.lie {
            self.publish();
        }
        self.stage(&back.chain, back.written);
        if back.lie {
            self.publish();
        }
        if back.twice {
            self.twins.push((back.chain, back.written));
        }
        if self.twins.is_empty() {
            return;
        }
        let ready = |twin: &mut (Chain, u32)| self.queue.had_its_turn(&twin.0);
        let ready: Vec<_> = self.twins.extract_if(.., ready).collect();
        for (chain, written) in ready {
            self.publish();
            self.stage(&chain, written);
            self.publish();
        }
    }

    fn stage(&mut self, chain: &Chain, written: u32) {
        self.queue.stage_used(chain, written);
        self.staged |= self.queue.had_its_turn(chain);
    }

    pub(super) fn publish(&mut self) {
        if self.needs_reset || !std::mem::take(&mut self.staged) {
            return;
        }
        let mut lie = None;
        if let Some(hit) = self.happens(FaultKind::IndexJump, None) {
            lie = Some(Lie::Ahead(hit.amount as u16));
        }
        match self.queue.layout() {
            Layout::Split => {
                if let Some(hit) = self.happens(FaultKind::IndexBack, None) {
                    lie = Some(Lie::Behind(hit.amount as u16));
                }
            }
            Layout::Packed => {
                if self.happens(FaultKind::WrapLie, None).is_some() {
                    lie = Some(Lie::OtherRound);
                }
            }
        }
        match lie {
            Some(lie) => self.queue.publish_lie(lie),
            None => self.queue.publish_used(),
        }
    }
}
