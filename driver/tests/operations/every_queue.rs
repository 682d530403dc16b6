//! What the text of draft IV says of the operations, on every kind of queue.

use std::time::Duration;

use virtscope_driver::operations::{AddBufErrorKind, NotInQueue};
use virtscope_record::Token;

use crate::support::{ENTRIES, on_every_queue};

on_every_queue! {
    fn a_buffer_goes_there_and_back(world) {
        let (mut queue, mut device) = world.connect();
        let request: Vec<u8> = (0..9000u32).map(|i| (i * 7) as u8).collect();
        let answer: Vec<u8> = (0..6000u32).map(|i| (i * 11) as u8).collect();
        let mut buffer = world.pool.allocate(9000, 6001).unwrap();
        buffer.fill(0, &request).unwrap();
        queue.add_buf(buffer, Token(7)).unwrap();
        assert!(device.take().unwrap().is_none(), "seen before sync");
        queue.sync();
        assert!(queue.get_buf().unwrap().is_none());
        let taken = device.take().unwrap().unwrap();
        assert_eq!((&taken.readable, taken.writable), (&request, 6001));
        device.give_back(taken, &answer).unwrap();
        let (token, returned) = queue.get_buf().unwrap().unwrap();
        assert_eq!((token, returned.to_vec()), (Token(7), answer));
        // One byte of the buffer was not written, and can't be read.
        assert!(returned.read(5999, &mut [0; 2]).is_err());
        assert!(queue.get_buf().unwrap().is_none());
        drop(returned);
        world.assert_nothing_leaked();
    }
}

on_every_queue! {
    fn answers_come_in_any_order(world) {
        let (mut queue, mut device) = world.connect();
        let tokens = [40, 30, 20, 10].map(Token);
        for token in tokens {
            let mut buffer = world.pool.allocate(8, 8).unwrap();
            buffer.fill(0, &token.0.to_le_bytes()).unwrap();
            queue.add_buf(buffer, token).unwrap();
        }
        queue.sync();
        let mut taken = Vec::new();
        while let Some(request) = device.take().unwrap() {
            taken.push(request);
        }
        assert_eq!(taken.len(), tokens.len());
        for index in [2, 0, 1, 0] {
            let request = taken.remove(index);
            let answer = request.readable.clone();
            device.give_back(request, &answer).unwrap();
        }
        let mut back = Vec::new();
        while let Some((token, returned)) = queue.get_buf().unwrap() {
            assert_eq!(returned.to_vec(), token.0.to_le_bytes());
            back.push(token);
        }
        let expected = match world.kind.is_in_order() {
            true => tokens,
            false => [20, 40, 10, 30].map(Token),
        };
        assert_eq!(back, expected);
    }
}

on_every_queue! {
    fn a_full_queue_has_room_again(world) {
        let (mut queue, mut device) = world.connect();
        let mut added = 0;
        let refused = loop {
            let mut buffer = world.pool.allocate(4, 0).unwrap();
            buffer.fill(0, b"full").unwrap();
            match queue.add_buf(buffer, Token(added)) {
                Ok(()) => added += 1,
                Err(refused) => break refused,
            }
            assert!(added <= u64::from(ENTRIES), "the queue is never full");
        };
        assert_eq!(added, u64::from(ENTRIES));
        assert_eq!((refused.kind, refused.token), (AddBufErrorKind::Full, Token(added)));
        queue.sync();
        let taken = device.take().unwrap().unwrap();
        device.give_back(taken, &[]).unwrap();
        assert!(queue.get_buf().unwrap().is_some());
        // The buffer came back as it was, so it can be tried again.
        queue.add_buf(refused.buffer, refused.token).unwrap();
        queue.sync();
        let mut last = None;
        while let Some(request) = device.take().unwrap() {
            last = Some(request);
        }
        assert_eq!(last.unwrap().readable, b"full");
    }
}

on_every_queue! {
    fn an_empty_buffer_is_refused(world) {
        let (mut queue, _device) = world.connect();
        let buffer = world.pool.allocate(0, 0).unwrap();
        let refused = queue.add_buf(buffer, Token(1)).unwrap_err();
        assert!(matches!(refused.kind, AddBufErrorKind::Unfit(_)), "{:?}", refused.kind);
    }
}

on_every_queue! {
    fn callbacks_stop_until_restarted(world) {
        let soon = Duration::from_millis(1);
        let (mut queue, mut device) = world.connect();
        for token in 0..3 {
            queue.add_buf(world.pool.allocate(1, 1).unwrap(), Token(token)).unwrap();
        }
        queue.sync();
        assert!(!queue.dispatch(soon, |_| panic!("a callback for nothing")));
        let mut answer_one = || {
            let request = device.take().unwrap().unwrap();
            device.give_back(request, b"x").unwrap();
        };

        // A callback that wants to be called again is.
        answer_one();
        let mut seen = Vec::new();
        assert!(queue.dispatch(Duration::from_secs(10), |queue| {
            while let Some((token, _)) = queue.get_buf().unwrap() {
                seen.push(token);
            }
            true
        }));
        assert_eq!(seen, [Token(0)]);

        // One that does not is not, whatever is returned.
        answer_one();
        assert!(queue.dispatch(Duration::from_secs(10), |_| false));
        assert!(queue.callbacks_stopped());
        answer_one();
        assert!(!queue.dispatch(soon, |_| panic!("called after it returned false")));

        // What is pending keeps callbacks stopped.
        assert!(!queue.restart());
        assert!(queue.callbacks_stopped());
        assert!(queue.get_buf().unwrap().is_some());
        assert!(!queue.restart());
        assert!(queue.get_buf().unwrap().is_some());
        assert!(queue.restart());
        assert!(!queue.callbacks_stopped());

        queue.add_buf(world.pool.allocate(1, 1).unwrap(), Token(3)).unwrap();
        queue.sync();
        let request = device.take().unwrap().unwrap();
        device.give_back(request, b"x").unwrap();
        let mut called = 0;
        let mut callback = |queue: &mut Q| {
            called += usize::from(queue.get_buf().unwrap().is_some());
            true
        };
        // An interrupt that was late may come before the one that is meant.
        while queue.dispatch(soon, &mut callback) {}
        assert_eq!(called, 1);
    }
}

on_every_queue! {
    fn unused_buffers_are_detached_once(world) {
        let (mut queue, mut device) = world.connect();
        for token in 0..6 {
            let mut buffer = world.pool.allocate(1, 1).unwrap();
            buffer.fill(0, &[token as u8]).unwrap();
            queue.add_buf(buffer, Token(token)).unwrap();
            // The last two are never synced.
            if token == 3 {
                queue.sync();
            }
        }
        for _ in 0..2 {
            let request = device.take().unwrap().unwrap();
            let answer = request.readable.clone();
            device.give_back(request, &answer).unwrap();
        }
        let (token, returned) = queue.get_buf().unwrap().unwrap();
        assert_eq!((token, returned.to_vec()), (Token(0), vec![0]));
        // Taken back already; never added; answered, though nobody has asked yet.
        assert_eq!(queue.detach_buf(Token(0)).unwrap_err(), NotInQueue { token: Token(0) });
        assert!(queue.detach_buf(Token(9)).is_err());
        assert!(queue.detach_buf(Token(1)).is_err());
        for token in [4, 2, 3, 5] {
            let buffer = queue.detach_buf(Token(token)).unwrap();
            assert_eq!((buffer.readable_len(), buffer.writable_len()), (1, 1));
            assert!(queue.detach_buf(Token(token)).is_err(), "twice");
        }
        let (token, second) = queue.get_buf().unwrap().unwrap();
        assert_eq!((token, second.to_vec()), (Token(1), vec![1]));
        assert!(queue.get_buf().unwrap().is_none());
        drop((returned, second, queue));
        world.assert_nothing_leaked();
    }
}
