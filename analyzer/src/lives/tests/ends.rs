//! How lives end that are not complete.

use super::*;
use virtscope_record::{Body, Flags, Producer, RingIndex, Used};

#[test]
fn in_flight_at_the_end_stays_in_flight() {
    let mut stream = Stream::with_facts();
    stream
        .at(100)
        .add(0, 0)
        .at(102)
        .kick(0, 1)
        .at(103)
        .add(1, 1);
    stream.final_statistics();
    let (analyzer, lives) = stream.analyze();
    assert!(lives.is_empty());
    assert_eq!(analyzer.request_totals().in_flight, 2);
    let in_flight = analyzer.in_flight();
    assert_eq!((in_flight[0].head, in_flight[1].head), (0, 1));
    assert_eq!(in_flight[0].moments.kicked, ns(102));
}

#[test]
fn what_was_in_flight_before_is_incomplete() {
    let mut stream = Stream::new();
    stream.facts(8, 1);
    stream.at(10).used(5, 40).at(20).used(6, 41);
    assert_eq!(
        outcomes(&stream),
        [
            (5, Outcome::Incomplete(Incomplete::BegunBefore)),
            (6, Outcome::Incomplete(Incomplete::Lost(Piece::Add))),
        ]
    );
}

fn lossy(lose: impl Fn(&mut Stream, &str)) -> Life {
    let mut stream = Stream::with_facts();
    stream.at(100).add(0, 0);
    lose(&mut stream, "add");
    stream.at(110).kick(0, 1);
    lose(&mut stream, "kick");
    stream.at(120).callback(1, 0);
    lose(&mut stream, "callback");
    stream.at(130).used(0, 0);
    lose(&mut stream, "used");
    stream.at(140).kick(1, 1);
    stream.final_statistics();
    stream.only_life()
}

#[test]
fn each_lost_piece_is_named() {
    for (name, piece) in [
        ("add", Piece::Add),
        ("kick", Piece::Kick),
        ("callback", Piece::Callback),
        ("used", Piece::Used),
    ] {
        let life = lossy(|stream, just| {
            if just == name {
                stream.lose();
            }
        });
        assert_eq!(
            life.outcome,
            Outcome::Incomplete(Incomplete::Lost(piece)),
            "{name}"
        );
    }
}

/// Probes that were skipped leave no hole in the sequence, but the ring's
/// positions tell.
#[test]
fn a_missed_operation_touches_lives_too() {
    let mut stream = Stream::with_facts();
    stream.at(10).add(0, 0).at(11).add(1, 1).at(12).kick(0, 2);
    stream.at(20).used(1, 0).miss();
    stream.at(21).add(1, 2).miss();
    stream.at(22).kick(2, 3);
    stream.at(30).used(0, 1).at(31).used(1, 2);
    let (analyzer, lives) = stream.analyze();
    let lost = |piece| Outcome::Incomplete(Incomplete::Lost(piece));
    assert_eq!(lives[0].outcome, lost(Piece::Callback));
    assert_eq!(lives[1].outcome, lost(Piece::Callback));
    assert_eq!(analyzer.record_totals().missed, 1);
}

#[test]
fn a_loss_of_the_device_half_costs_only_detail() {
    let mut stream = Stream::with_facts();
    stream.at(100).add(0, 0).at(110).kick(0, 1);
    stream.at(112).taken(0, 0).lose().at(114).returned(0, 0);
    stream.at(120).callback(1, 0).at(130).used(0, 0);
    let life = stream.only_life();
    assert_eq!(life.outcome, complete(10, 10, 10));
    assert_eq!((life.moments.taken, life.moments.returned), (None, ns(114)));
}

#[test]
fn an_id_added_again_ends_the_life_before() {
    let mut stream = Stream::with_facts();
    stream.at(10).add(0, 0).at(20).add(0, 1);
    assert_eq!(
        stream.only_life().outcome,
        Outcome::Incomplete(Incomplete::IdReused)
    );
}

#[test]
fn another_token_is_another_buffer() {
    let mut stream = Stream::with_facts();
    stream
        .at(10)
        .add(0, 0)
        .at(11)
        .kick(0, 1)
        .at(20)
        .used_as(0, 0, 99, &[]);
    let lost = |piece| Outcome::Incomplete(Incomplete::Lost(piece));
    assert_eq!(
        outcomes(&stream),
        [(0, lost(Piece::Used)), (0, lost(Piece::Add))]
    );
}

#[test]
fn a_reset_ends_what_is_in_flight() {
    let mut stream = Stream::with_facts();
    stream.at(10).add(0, 0).at(11).kick(0, 1).at(20).reset();
    stream.generation(1).at(30).facts(8, 0);
    stream
        .at(40)
        .add(0, 0)
        .at(41)
        .kick(0, 1)
        .at(50)
        .callback(1, 0);
    stream.at(60).used(0, 0);
    assert_eq!(
        outcomes(&stream),
        [
            (0, Outcome::Incomplete(Incomplete::QueueReset)),
            (0, complete(1, 9, 10)),
        ]
    );
}

/// The record of the reset may be lost; the generation still tells.
#[test]
fn a_new_generation_ends_the_one_before() {
    let mut stream = Stream::with_facts();
    stream.at(10).add(0, 0).at(20).reset().lose();
    stream.generation(1).at(40).add(0, 0);
    // A late word of the old generation is about nothing in flight.
    stream.generation(0).at(41).used(0, 0);
    let (analyzer, lives) = stream.analyze();
    assert_eq!(lives.len(), 1);
    assert_eq!(
        lives[0].outcome,
        Outcome::Incomplete(Incomplete::QueueReset)
    );
    assert_eq!(analyzer.request_totals().in_flight, 1);
}

#[test]
fn a_detached_buffer_was_never_used() {
    let mut stream = Stream::with_facts();
    stream.at(10).add(0, 0).at(20).detach(0);
    assert_eq!(
        stream.only_life().outcome,
        Outcome::Incomplete(Incomplete::Detached)
    );
}

#[test]
fn used_order_is_compared_with_add_order() {
    let mut stream = Stream::with_facts();
    stream.at(1).add(0, 0).add(1, 1).add(2, 2).kick(0, 3);
    stream.at(9).used(1, 0).used(0, 1).used(2, 2);
    let (_, lives) = stream.analyze();
    let order: Vec<_> = lives.iter().map(|life| life.out_of_order).collect();
    assert_eq!(order, [true, false, false]);
}

/// A tracer that did not see the add does not know what room the buffer has.
#[test]
fn of_a_buffer_that_was_added_unseen_no_length_is_too_long() {
    let anomalies = |is_seen: bool, writable_bytes| {
        let mut stream = Stream::with_facts();
        if is_seen {
            stream.at(10).add(0, 0).kick(0, 1);
        } else {
            stream.at(10).in_flight(0);
        }
        let body = Body::Used(Used {
            used_length: 512,
            writable_bytes,
            used_index: RingIndex(1),
            ..Used::default()
        });
        stream.at(20);
        stream.push(Producer::DriverHalf, 0x1000, Flags::empty(), body, &[]);
        stream.only_life().anomalies
    };
    let too_long = |writable| {
        vec![Anomaly::UsedLength {
            used: 512,
            writable,
        }]
    };
    assert_eq!(anomalies(false, 0), []);
    assert_eq!(anomalies(false, 100), too_long(100));
    let seen = anomalies(true, 0);
    assert!(seen.contains(&too_long(0)[0]), "{seen:?}");
}
