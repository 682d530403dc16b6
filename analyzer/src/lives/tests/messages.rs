//! What a 9P request is, and what its reply says.

use super::*;

#[test]
fn a_request_is_decoded_with_its_reply() {
    let mut stream = Stream::with_facts();
    stream
        .at(1)
        .add_message(0, 0, &tread(7, 3, 4096, 512))
        .kick(0, 1);
    stream.at(9).used_message(0, 0, &rread(7, &[1; 100]));
    let life = stream.only_life();
    assert_eq!(life.operation, Operation::P9(MessageType::Tread));
    assert_eq!((life.data_bytes, life.error), (100, None));
    assert!(life.anomalies.is_empty());
    let request = life.request_9p().unwrap().unwrap();
    assert_eq!(
        request.to_string(),
        "Tread tag 7 fid 3 offset 4096 count 512"
    );
}

#[test]
fn an_error_reply_is_an_answer_to_anything() {
    let mut stream = Stream::with_facts();
    stream
        .at(1)
        .add_message(0, 0, &tread(7, 3, 0, 512))
        .kick(0, 1);
    stream.at(9).used_message(0, 0, &rlerror(7, 2));
    let life = stream.only_life();
    assert_eq!(life.error, Some(Errno(2)));
    assert!(life.anomalies.is_empty());
}

#[test]
fn a_reply_that_does_not_fit_is_an_anomaly() {
    let mut stream = Stream::with_facts();
    stream
        .at(1)
        .add_message(0, 0, &tread(7, 3, 0, 512))
        .kick(0, 1);
    stream.at(9).used_message(0, 0, &message(119, 8, &[0; 4]));
    assert_eq!(
        stream.only_life().anomalies,
        [
            Anomaly::ReplyTag {
                request: 7,
                reply: 8
            },
            Anomaly::ReplyType {
                request: MessageType::Tread,
                reply: MessageType::Rwrite
            },
        ]
    );
}

#[test]
fn malformed_messages_are_anomalies() {
    let mut stream = Stream::with_facts();
    stream.at(1).add_message(0, 0, b"\x02\0\0\0rea").kick(0, 1);
    stream.at(9).used_message(0, 0, b"\x0a\0\0\0\x07\0\0abc");
    let life = stream.only_life();
    assert_eq!(life.operation, Operation::Unknown9p);
    assert_eq!(
        life.anomalies,
        [Anomaly::MalformedRequest, Anomaly::MalformedReply]
    );
}

#[test]
fn a_request_that_was_not_captured_is_unknown_but_no_anomaly() {
    let mut stream = Stream::with_facts();
    stream
        .at(1)
        .add_message(0, 0, &tread(7, 3, 0, 512))
        .kick(0, 1);
    stream
        .records
        .iter_mut()
        .for_each(|(_, payload)| payload.truncate(0));
    stream.records[0].1 = b"q".to_vec();
    stream.at(9).used(0, 0);
    let (_, lives) = analyze(&stream.records);
    assert_eq!(lives[0].operation, Operation::Unknown9p);
    // A reply of no bytes was captured whole, and is none.
    assert_eq!(lives[0].anomalies, [Anomaly::MalformedReply]);
}
