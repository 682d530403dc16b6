//! The network driver and the network device, with whatever queues between them.

use std::time::{Duration, Instant};

use virtscope_device::net::{NetDevice, WireEnd};
use virtscope_device::requests::Requests;
use virtscope_driver::net::{MAX_FRAME, NetHeader, Nic, SendError};
use virtscope_driver::operations::{Operations, QueueFailure};

use crate::blk::{PATIENCE, Stop};
use crate::support::{ENTRIES, World, on_every_queue};

/// A card and its device at this end of a wire.
fn card<Q: Operations, R: Requests>(
    world: &mut World<Q, R>,
    wire: WireEnd,
) -> (Nic<Q>, NetDevice<R>) {
    let (receive, receive_end) = world.connect();
    let (transmit, transmit_end) = world.connect();
    (
        Nic::new(receive, transmit, world.pool.clone()),
        NetDevice::new(receive_end, transmit_end, wire),
    )
}

/// Packets of all lengths, of which each byte tells which it is.
fn packet(number: usize) -> Vec<u8> {
    let len = 1 + number * 211 % MAX_FRAME;
    (0..len).map(|i| (number * 5 + i) as u8).collect()
}

/// Sends a packet, while the devices make room for it.
fn send<Q: Operations>(nic: &mut Nic<Q>, packet: &[u8], mut step: impl FnMut()) {
    let started = Instant::now();
    loop {
        match nic.send(packet) {
            Ok(()) => return,
            Err(SendError::Queue(kind)) if kind.is_temporary() => step(),
            Err(error) => panic!("{error}"),
        }
        assert!(started.elapsed() < PATIENCE, "never any room");
    }
}

on_every_queue! {
    fn packets_arrive_in_order_and_whole(world) {
        let (left, right) = WireEnd::pair();
        let (mut ours, mut our_device) = card(&mut world, left);
        let (mut theirs, mut their_device) = card(&mut world, right);
        for nic in [&mut ours, &mut theirs] {
            let added = nic.fill(usize::from(ENTRIES)).unwrap();
            assert!(added >= usize::from(ENTRIES) / 2, "{added}");
        }
        // Both directions at once, with more packets than fit queues and wire.
        let total = 300;
        let mut received = [0, 0];
        let mut sent = 0;
        let started = Instant::now();
        while received != [total; 2] {
            assert!(started.elapsed() < Duration::from_secs(60), "{sent} {received:?}");
            if sent < total {
                let mut step = || {
                    our_device.step().unwrap();
                    their_device.step().unwrap();
                };
                send(&mut ours, &packet(sent), &mut step);
                send(&mut theirs, &packet(sent + 1000), &mut step);
                sent += 1;
            }
            our_device.step().unwrap();
            their_device.step().unwrap();
            for (nic, first, count) in [(&mut theirs, 0, 0), (&mut ours, 1000, 1)] {
                while let Some(frame) = nic.receive().unwrap() {
                    assert_eq!(frame, packet(first + received[count]));
                    received[count] += 1;
                }
            }
        }
        assert_eq!((our_device.dropped(), their_device.dropped()), (0, 0));
        for mut nic in [ours, theirs] {
            nic.reap().unwrap();
            assert_eq!((nic.unsent(), nic.malformed()), (0, 0));
            assert_eq!(nic.shut_down().transmit, 0);
        }
        world.assert_nothing_leaked();
    }
}

on_every_queue! {
    /// Nothing is lost where nobody receives: it waits on the wire, then in the
    /// queue, then with the sender.
    fn a_sender_waits_for_a_receiver(world) {
        let (mut nic, mut device) = card(&mut world, WireEnd::echo());
        let mut sent = 0;
        let full = loop {
            match nic.send(&packet(sent)) {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
            while device.step().unwrap() {}
            assert!(sent < 1000, "the wire holds everything");
        };
        assert!(matches!(full, SendError::Queue(kind) if kind.is_temporary()), "{full}");
        nic.fill(8).unwrap();
        let mut received = 0;
        let started = Instant::now();
        while received < sent {
            assert!(started.elapsed() < PATIENCE, "{received} of {sent}");
            device.step().unwrap();
            while let Some(frame) = nic.receive().unwrap() {
                assert_eq!(frame, packet(received));
                received += 1;
            }
        }
        nic.send(&packet(sent)).unwrap();
    }
}

on_every_queue! {
    fn what_is_no_packet_is_not_sent(world) {
        let (mut nic, _device) = card(&mut world, WireEnd::echo());
        let error = nic.send(&[]).unwrap_err();
        assert_eq!(error, SendError::Length { len: 0 });
        let error = nic.send(&vec![0; MAX_FRAME + 1]).unwrap_err();
        assert_eq!(error, SendError::Length { len: MAX_FRAME + 1 });
        nic.send(&vec![0; MAX_FRAME]).unwrap();
    }
}

on_every_queue! {
    /// Buffers that come back with less than a packet, or with one that was not
    /// asked for, are counted and used again.
    fn what_is_no_packet_is_not_received(world) {
        let (receive, mut receive_end) = world.connect();
        let (transmit, _transmit_end) = world.connect();
        let mut nic = Nic::new(receive, transmit, world.pool.clone());
        assert_eq!(nic.fill(2).unwrap(), 2);
        let sound = NetHeader { num_buffers: 1, ..NetHeader::default() };
        let spread = NetHeader { num_buffers: 2, ..sound };
        let segmented = NetHeader { gso_type: 1, ..sound };
        // Flags without meaning to us are ignored.
        let flagged = NetHeader { flags: 0xff, ..sound };
        let answers = [
            (Vec::new(), false),
            (sound.to_bytes()[..11].to_vec(), false),
            (sound.to_bytes().to_vec(), false),
            ([&spread.to_bytes()[..], b"frame"].concat(), false),
            ([&NetHeader::default().to_bytes()[..], b"frame"].concat(), false),
            ([&segmented.to_bytes()[..], b"frame"].concat(), false),
            ([&flagged.to_bytes()[..], b"frame"].concat(), true),
            ([&sound.to_bytes()[..], b"frame"].concat(), true),
        ];
        let mut malformed = 0;
        for (answer, expected) in answers {
            let request = receive_end.take().unwrap().unwrap();
            receive_end.give_back(request, &answer).unwrap();
            let frame = nic.receive().unwrap();
            malformed += u64::from(!expected);
            assert_eq!(frame.as_deref(), expected.then_some(&b"frame"[..]), "{answer:?}");
            assert_eq!(nic.malformed(), malformed);
        }
        assert_eq!(nic.shut_down().receive, 2);
        world.assert_nothing_leaked();
    }
}

on_every_queue! {
    /// A device that has no room for a packet says so, and goes on.
    fn packets_that_fit_no_buffer_are_dropped(world) {
        let (receive, receive_end) = world.connect();
        let (mut transmit, transmit_end) = world.connect();
        let (mut receive, pool) = (receive, world.pool.clone());
        let mut device = NetDevice::new(receive_end, transmit_end, WireEnd::echo());
        let header = NetHeader::default().to_bytes();
        // Too short to be a packet; too long for the buffer below; just right.
        let packets = [&header[..11], &header[..], &[&header[..], b"12345"].concat(),
            &[&header[..], b"1234"].concat()];
        for (token, packet) in packets.into_iter().enumerate() {
            let mut buffer = pool.allocate(packet.len() as u32, 0).unwrap();
            buffer.fill(0, packet).unwrap();
            transmit.add_buf(buffer, virtscope_record::Token(token as u64)).unwrap();
        }
        transmit.sync();
        let buffer = pool.allocate(0, 16).unwrap();
        receive.add_buf(buffer, virtscope_record::Token(0)).unwrap();
        receive.sync();
        while device.step().unwrap() {}
        assert_eq!(device.dropped(), 3);
        let (_, returned) = receive.get_buf().unwrap().unwrap();
        let expected = NetHeader { num_buffers: 1, ..NetHeader::default() };
        let expected = [&expected.to_bytes()[..], b"1234"].concat();
        assert_eq!(returned.to_vec(), expected);
    }
}

on_every_queue! {
    fn shutting_down_takes_all_buffers_back(world) {
        let (mut nic, device) = card(&mut world, WireEnd::echo());
        nic.fill(5).unwrap();
        for number in 0..3 {
            nic.send(&packet(number)).unwrap();
        }
        let detached = nic.shut_down();
        assert_eq!((detached.receive, detached.transmit), (5, 3));
        drop(device);
        world.assert_nothing_leaked();
    }
}

on_every_queue! {
    fn a_device_that_goes_away_is_noticed(world) {
        let (mut nic, device) = card(&mut world, WireEnd::echo());
        nic.fill(2).unwrap();
        drop(device);
        // Noticed by the first packet or by the next, which looks at what became of
        // it.
        let error = (0..3).find_map(|number| nic.send(&packet(number)).err());
        let gone = QueueFailure::DeviceGone;
        assert_eq!(error, Some(SendError::Failed(gone)));
        assert_eq!(nic.shut_down().receive, 2);
        world.assert_nothing_leaked();
    }
}

on_every_queue! {
    /// A card that sleeps until a packet comes, and processes all of them before it
    /// asks for the next interrupt.
    fn packets_of_a_device_on_its_own_thread_are_waited_for(world) {
        let (mut nic, mut device) = card(&mut world, WireEnd::echo());
        nic.fill(8).unwrap();
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let stop_device = Stop(&stop);
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    match device.step() {
                        Ok(true) => {}
                        Ok(false) => std::thread::sleep(Duration::from_micros(200)),
                        // The driver may go first.
                        Err(_) => break,
                    }
                }
            });
            let started = Instant::now();
            for round in 0..50 {
                // Who is not woken sleeps for all of the patience below.
                assert!(started.elapsed() < PATIENCE, "slow in round {round}");
                for number in 0..3 {
                    send(&mut nic, &packet(3 * round + number), std::thread::yield_now);
                }
                for number in 0..3 {
                    let frame = nic.wait(PATIENCE).unwrap();
                    assert_eq!(frame.expect("nothing came"), packet(3 * round + number));
                }
            }
            assert_eq!(nic.wait(Duration::from_millis(1)).unwrap(), None);
            drop(stop_device);
        });
    }
}
