//! What holds of any history.

use super::*;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// What the analyzer says of a whole stream is exactly what happened.
    #[test]
    fn a_whole_stream_is_rebuilt_exactly(
        steps in prop::collection::vec(step(), 0..400),
        setup in setup(),
    ) {
        // Positions of a packed ring come again, and within one moment nothing tells
        // the laps apart.
        let least = u64::from(setup.packed);
        let steps: Vec<_> = steps.into_iter().map(|(step, ns)| (step, ns + least)).collect();
        let model = Model::play(&steps, setup);
        let (analyzer, lives) = model.stream.analyze();

        let mut ended: Vec<_> = lives.iter().collect();
        ended.sort_by_key(|life| life.number);
        let expected: Vec<_> = model.requests.iter().filter(|r| r.used.is_some()).collect();
        prop_assert_eq!(ended.len(), expected.len());
        for (life, request) in ended.iter().zip(&expected) {
            prop_assert_eq!(life.head, request.head);
            let total = request.used.unwrap() - request.added;
            prop_assert_eq!(life.total_ns(), (!request.begun_before).then_some(total));
            match request.phases() {
                Some(phases) => {
                    prop_assert_eq!(life.outcome, Outcome::Complete(phases));
                    prop_assert_eq!(Some(phases.total_ns()), life.total_ns());
                    prop_assert_eq!(life.kick.unwrap().batch, request.batch);
                    prop_assert_eq!(life.overlap_ns, request.overlap());
                }
                None if request.begun_before => prop_assert_eq!(
                    life.outcome,
                    Outcome::Incomplete(Incomplete::BegunBefore)
                ),
                None => prop_assert_eq!(
                    life.outcome,
                    Outcome::Incomplete(Incomplete::Lost(Piece::Kick))
                ),
            }
            prop_assert_eq!(life.moments.taken, time(request.taken));
            prop_assert_eq!(life.moments.returned, time(request.returned));
            prop_assert_eq!(life.out_of_order, request.out_of_order);
            // A life that waited long ends without the interrupt decision.
            prop_assert!(life.interrupted.is_none() || life.interrupted == request.interrupted);
            prop_assert!(life.device_half_seen);
        }

        let totals = analyzer.request_totals();
        prop_assert_eq!(totals.in_flight, model.in_flight() as u64);
        prop_assert_eq!(
            totals.completed + totals.incomplete + totals.in_flight,
            model.requests.len() as u64
        );
        let records = analyzer.record_totals();
        prop_assert_eq!(records.emitted, model.stream.records.len() as u64);
        prop_assert_eq!((records.stored, records.lost, records.missed), (records.emitted, 0, 0));

        let snapshot = analyzer.snapshot(None);
        let occupancy = &snapshot.queues[0].occupancy;
        let observed = model.now - model.began;
        prop_assert_eq!(occupancy.in_flight.now as usize, model.in_flight());
        prop_assert_eq!(occupancy.in_flight.peak as usize, model.peak);
        prop_assert_eq!(occupancy.descriptors.peak, u32::from(model.peak_descriptors));
        prop_assert_eq!(occupancy.refused_no_space, model.refused);
        // The last stretch of time ends with the last statistics.
        prop_assert_eq!(occupancy.observed_ns, observed);
        prop_assert_eq!(occupancy.full_ns, model.full_ns);
        if observed > 0 {
            prop_assert_eq!(occupancy.in_flight.mean, model.area as f64 / observed as f64);
        }

        // The live order of in-flight lives is the order of adding.
        let in_flight: Vec<_> = analyzer.in_flight().iter().map(|life| life.head).collect();
        let expected: Vec<_> = model.requests.iter().filter(|r| r.used.is_none()).map(|r| r.head).collect();
        prop_assert_eq!(in_flight, expected);
    }

    /// Whatever is lost: no life is called complete with wrong times, nothing is
    /// counted twice, and the accounts are exact.
    #[test]
    fn losses_are_never_papered_over(
        steps in prop::collection::vec(step(), 0..300),
        setup in setup(),
        losses in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        run in 1_usize..6,
    ) {
        let least = u64::from(setup.packed);
        let steps: Vec<_> = steps.into_iter().map(|(step, ns)| (step, ns + least)).collect();
        let model = Model::play(&steps, setup);
        let first: Vec<_> = losses.iter().map(|loss| loss.index(model.stream.records.len())).collect();
        losses::check(&model, setup, &first, run)?;
    }

    /// The device half's records come a little early or late: no life is wrong
    /// because of it, at worst a moment of the device's is missing.
    #[test]
    fn disorder_between_the_halves_does_no_harm(
        steps in prop::collection::vec(step(), 0..300),
        shifts in prop::collection::vec(-8_i64..=8, 1..40),
    ) {
        let model = Model::play(&steps, Setup::default());
        let (_, in_order) = model.stream.analyze();
        let mut shift = shifts.iter().cycle();
        let mut latest = 0;
        let mut records: Vec<_> = model.stream.records.iter().enumerate().map(|(at, record)| {
            let mut place = at as i64 * 2;
            if record.0.producer() == Producer::DeviceHalf {
                // One producer's records stay in their order.
                latest = latest.max(place + 2 * shift.next().unwrap() + 1);
                place = latest;
            } else if record.0.producer() == Producer::Recorder {
                place = if at == 0 { i64::MIN } else { i64::MAX };
            }
            (place, record.clone())
        }).collect();
        records.sort_by_key(|(place, _)| *place);
        let records: Vec<_> = records.into_iter().map(|(_, record)| record).collect();
        let (analyzer, lives) = analyze(&records);

        prop_assert_eq!(lives.len(), in_order.len());
        for life in &lives {
            let was = in_order.iter().find(|was| was.number == life.number);
            let was = was.expect("lives are numbered by the driver's half");
            prop_assert_eq!(life.outcome, was.outcome);
            prop_assert_eq!(life.moments.callback, was.moments.callback);
            prop_assert_eq!(life.out_of_order, was.out_of_order);
            let (m, w) = (&life.moments, &was.moments);
            prop_assert!(m.taken.is_none() || m.taken == w.taken);
            prop_assert!(m.returned.is_none() || m.returned == w.returned);
            let request = model.request_of(life).expect("it is one of the model's");
            prop_assert!(life.interrupted.is_none() || life.interrupted == request.interrupted);
        }
        prop_assert_eq!(analyzer.record_totals().missed, 0);
    }

    /// The driver's half numbers its records in another order than that of time,
    /// and none is lost: every life is what it would have been.
    #[test]
    fn numbers_out_of_order_are_no_loss(
        steps in prop::collection::vec(step(), 0..400),
        keys in prop::collection::vec(0_usize..100, 1..60),
        cpus in 0_u8..3,
        setup in setup(),
    ) {
        // No two records of one moment, or their order would be open.
        let steps: Vec<_> = steps.into_iter().map(|(step, ns)| (step, ns + 1)).collect();
        let setup = Setup { begun_before: 0, ..setup };
        let model = Model::play(&steps, setup);
        let (whole, mut in_order) = model.stream.analyze();
        let mut records = model.stream.records.clone();
        // With CPUs: as many driver-side producers, which take turns.
        let producers: Vec<_> = match cpus {
            0 => vec![Producer::DriverHalf],
            _ => (0..cpus).map(|cpu| Producer::Cpu(cpu.into())).collect(),
        };
        for (turn, producer) in producers.iter().enumerate() {
            let mut places: Vec<_> = records
                .iter()
                .enumerate()
                .filter(|(at, (record, _))| {
                    record.producer() == Producer::DriverHalf && at % producers.len() == turn
                })
                .zip(keys.iter().cycle())
                .enumerate()
                .map(|(number, ((at, _), key))| (number + key, at))
                .collect();
            places.sort_unstable();
            for (number, (_, at)) in places.into_iter().enumerate() {
                renumber(&mut records[at].0, *producer, number);
            }
        }
        if cpus > 0 {
            records.retain(|(record, _)| !matches!(record.body(), Ok(Body::Statistics(_))));
        }
        let (analyzer, mut lives) = analyze(&records);

        in_order.sort_by_key(|life| life.number);
        lives.sort_by_key(|life| life.number);
        prop_assert!(format!("{lives:?}") == format!("{in_order:?}"), "{lives:#?}\n\nin order: {in_order:#?}");
        prop_assert_eq!(analyzer.request_totals(), whole.request_totals());
        prop_assert_eq!(format!("{:?}", analyzer.in_flight()), format!("{:?}", whole.in_flight()));
        let totals = analyzer.record_totals();
        prop_assert_eq!((totals.lost, totals.missed), (0, 0));
    }

    /// The driver's half's records arrive out of the order of time and number, and
    /// some never do: no life is called complete with times that are not its own.
    #[test]
    fn late_records_make_no_life_wrong(
        steps in prop::collection::vec(step(), 0..300),
        keys in prop::collection::vec(prop_oneof![9 => Just(0_usize), 1 => 0_usize..40], 1..60),
        losses in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        setup in setup(),
    ) {
        let least = u64::from(setup.packed);
        let steps: Vec<_> = steps.into_iter().map(|(step, ns)| (step, ns + least)).collect();
        let model = Model::play(&steps, setup);
        let mut places: Vec<_> = (0..model.stream.records.len())
            .zip(keys.iter().cycle())
            .map(|(at, key)| (if at == 0 { 0 } else { at + key }, at))
            .collect();
        places.sort_unstable();
        for loss in losses {
            let at = loss.index(places.len());
            if model.stream.records[places[at].1].0.producer() != Producer::Recorder {
                places.remove(at);
            }
        }
        let records: Vec<_> = places.iter().map(|(_, at)| model.stream.records[*at].clone()).collect();
        let (_, lives) = analyze(&records);
        for life in &lives {
            if let Outcome::Complete(phases) = life.outcome {
                let request = model.request_of(life);
                prop_assert!(request.is_some(), "{:?} never was", life);
                prop_assert!(are_of(phases, life, request.unwrap(), setup), "{:#?}", life);
            }
        }
    }

    /// The tracer finds out that completions were missed, and says so before its next
    /// record: no such request seems to be in flight, and no other is made wrong.
    #[test]
    fn missed_completions_hang_nothing(
        steps in prop::collection::vec(step(), 0..300),
        setup in setup(),
        skipped in prop::collection::vec(any::<prop::sample::Index>(), 1..6),
        heads_known: bool,
    ) {
        let steps: Vec<_> = steps.into_iter().map(|(step, ns)| (step, ns + 1)).collect();
        let model = Model::play(&steps, setup);
        let (_, whole) = model.stream.analyze();
        let mut records = model.stream.records.clone();
        let used: Vec<_> = (0..records.len())
            .filter(|at| matches!(records[*at].0.body(), Ok(Body::Used(_))))
            .collect();
        prop_assume!(!used.is_empty());
        let skipped: std::collections::BTreeSet<_> =
            skipped.iter().map(|at| used[at.index(used.len())]).collect();
        // In its place stands what the next operation of the driver's half found.
        for at in &skipped {
            let Ok(Body::Used(used)) = records[*at].0.body() else { continue };
            let places = if setup.packed { used.descriptors } else { 1 };
            let body = Body::Missed(Missed {
                free: used.free,
                count: 1,
                operation: virtscope_record::Kind::Used as u16,
                old: used.position,
                new: model.space.advance(used.position, places),
                head: if heads_known { used.head } else { Missed::NO_HEAD },
                ..Missed::default()
            });
            records[*at] = (Record::new(records[*at].0.common(), body), Vec::new());
        }
        let (analyzer, lives) = analyze(&records);
        prop_assert_eq!(analyzer.record_totals().missed, skipped.len() as u64);
        prop_assert_eq!(analyzer.record_totals().lost, 0);
        for life in &lives {
            if let Outcome::Complete(phases) = life.outcome {
                let request = model.request_of(life);
                prop_assert!(request.is_some(), "{:?} never was", life);
                prop_assert!(are_of(phases, life, request.unwrap(), setup), "{:#?}", life);
            }
        }
        let missed = lives.iter().filter(|life| {
            life.outcome == Outcome::Incomplete(Incomplete::CompletionMissed)
        });
        if heads_known {
            prop_assert_eq!(missed.count(), skipped.len());
            prop_assert_eq!(lives.len(), whole.len());
        }
        for life in analyzer.in_flight() {
            let request = model.request_of(&life);
            prop_assert!(request.is_some_and(|r| r.used.is_none()), "{:?} came back", life);
        }
    }

    /// Operations whose probe was skipped are told from the ring's positions.
    #[test]
    fn missed_adds_and_returns_are_counted(
        many in 3_u16..40,
        skipped in prop::collection::btree_set(1_u16..39, 0..10),
        start in prop_oneof![Just(0_u16), 65500_u16..=65535],
    ) {
        let mut stream = Stream::with_facts();
        let mut missed = 0;
        for i in 0..many {
            let position = start.wrapping_add(i);
            stream.at(u64::from(i) * 10).add(i % 8, position);
            if skipped.contains(&i) && i + 1 < many {
                stream.miss();
                missed += 1;
            }
            stream.kick(position, position.wrapping_add(1));
            stream.used(i % 8, position);
        }
        stream.final_statistics();
        let (analyzer, lives) = stream.analyze();
        prop_assert_eq!(analyzer.record_totals().missed, missed);
        let complete = lives.iter().filter(|life| life.phases().is_some()).count();
        prop_assert_eq!(complete as u64, u64::from(many) - missed);
    }
}
