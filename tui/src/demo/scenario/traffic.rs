//! How the two halves notify each other.

use std::time::Duration;

use virtscope_analyzer::FindingCode as Code;
use virtscope_driver::p9::channel::Message;
use virtscope_driver::p9::client::ClientError;
use virtscope_driver::p9::message::Request;

use super::stage::{PAUSE, Setup, Stage};
use super::{Scenario, twins};

pub(super) const ALL: &[[Scenario; 2]] = &[
    twins(
        Code::InterruptStorm,
        ["interrupt-storm", "interrupt-storm-near-miss"],
        [
            "Now and then the device interrupts hundreds of thousands of times too often.",
            "Now and then the device interrupts a few times too often.",
        ],
        [
            || Setup::faulty("storm-interrupts:every=10,count=300000"),
            || Setup::faulty("storm-interrupts:every=10,count=4"),
        ],
        [ask, ask],
    ),
    twins(
        Code::SpuriousInterrupts,
        ["spurious-interrupts", "spurious-interrupts-near-miss"],
        [
            "The device interrupts for each buffer it takes, too.",
            "The device interrupts for one in twenty buffers it takes, too.",
        ],
        [
            || Setup::faulty("spurious-interrupt;delay:ms=1"),
            || Setup::faulty("spurious-interrupt:every=20;delay:ms=1"),
        ],
        [ask_longer, ask_longer],
    ),
    twins(
        Code::KicksWithoutBatching,
        ["kicks-without-batching", "kicks-without-batching-near-miss"],
        [
            "A driver sends requests three at a time, and kicks for each.",
            "A driver sends requests three at a time, and kicks once.",
        ],
        [|| Setup::sound().by_flags(), || Setup::sound().by_flags()],
        [kick_for_each, kick_once],
    ),
];

fn ask(stage: &Stage<'_>) -> Result<(), ClientError> {
    stage.ask_often(60, PAUSE)
}

fn ask_longer(stage: &Stage<'_>) -> Result<(), ClientError> {
    stage.ask_often(400, Duration::from_millis(1))
}

/// Sends of three requests each.
const ROUNDS: u16 = 1500;
/// Long enough for the device to fall asleep.
const REST: Duration = Duration::from_micros(500);

fn question(stage: &Stage<'_>) -> Request<'static> {
    Request::Statfs {
        fid: stage.client.root(),
    }
}

fn kick_for_each(stage: &Stage<'_>) -> Result<(), ClientError> {
    for _ in 0..ROUNDS {
        if stage.over() {
            break;
        }
        let sent = [0x8000, 0x8001, 0x8002].map(|tag| stage.send(tag, &question(stage)));
        for pending in sent {
            pending?.wait()?;
        }
        std::thread::sleep(REST);
    }
    Ok(())
}

fn kick_once(stage: &Stage<'_>) -> Result<(), ClientError> {
    for _ in 0..ROUNDS {
        if stage.over() {
            break;
        }
        let mut encoded = [Vec::new(), Vec::new(), Vec::new()];
        let question = question(stage);
        for (tag, bytes) in (0x8000..).zip(&mut encoded) {
            question.encode(tag, stage.client.msize(), bytes)?;
        }
        let messages: Vec<_> = encoded
            .iter()
            .map(|request| Message {
                request,
                reply_capacity: question.reply_capacity() as usize,
            })
            .collect();
        let (sent, result) = stage.client.channel().request_batch(&messages);
        for pending in sent {
            pending.wait()?;
        }
        result?;
        std::thread::sleep(REST);
    }
    Ok(())
}
