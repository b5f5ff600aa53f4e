//! How much the relay takes, and what becomes of bodies that are too long, cut short or lie about their length.

use super::{Wire, check, raw_post, send};
use crate::harness::{Reply, TestRelay, fresh_pub, post};

const REQUEST_TOO_BIG: &str = r#"{"ok":false,"error":"Too big","detail":"a request is at most 32768 bytes; a check of many boxes 65536"}"#;

/// A check of this many bytes.
fn check_of(length: usize) -> String {
    let bare = format!(r#"{{"action":"check","pub":"{}","x":""}}"#, fresh_pub());
    let filler = "x".repeat(length - bare.len());
    let body = bare.replace(r#""x":"""#, &format!(r#""x":"{filler}""#));
    assert_eq!(body.len(), length);
    body
}

fn chunked(relay: &TestRelay, body: &str, chunk: usize) -> Reply {
    let mut wire = Wire::to(relay);
    wire.write("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    for part in body.as_bytes().chunks(chunk) {
        wire.write(format!("{:x}\r\n", part.len())).write(part).write("\r\n");
    }
    wire.write("0\r\n\r\n").reply()
}

#[test]
fn requests_of_32768_bytes_and_not_one_more() {
    let relay = TestRelay::start();
    let found = (200, r#"{"ok":true,"found":false}"#);
    let too_big = (413, REQUEST_TOO_BIG);
    for (length, expected) in [(32_767, found), (32_768, found), (32_769, too_big), (200_000, too_big)] {
        let body = check_of(length);
        let reply = post(&relay.url, &body);
        assert_eq!((reply.status, reply.body.as_str()), expected, "{length}");
        for chunk in [1_000, 200_000] {
            let reply = chunked(&relay, &body, chunk);
            assert_eq!((reply.status, reply.body.as_str()), expected, "{length} in chunks of {chunk}");
        }
    }
}

#[test]
fn checks_of_many_boxes_of_65536_bytes_and_not_one_more() {
    let relay = TestRelay::start();
    for (length, status, body) in [
        (65_536, 200, r#"{"ok":true,"found":false,"boxes":[]}"#),
        (65_537, 413, REQUEST_TOO_BIG),
        (200_000, 413, REQUEST_TOO_BIG),
    ] {
        let bare = format!(r#"{{"action":"check","boxes":[{{"pub":"{}","at":0}}],"x":""}}"#, fresh_pub());
        let filler = "x".repeat(length - bare.len());
        let check = bare.replace(r#""x":"""#, &format!(r#""x":"{filler}""#));
        let reply = post(&relay.url, &check);
        assert_eq!((reply.status, reply.body.as_str()), (status, body), "{length}");
    }
}

#[test]
fn messages_of_1_to_16384_bytes() {
    let relay = TestRelay::start();
    for (characters, status, body) in [
        (2, 200, r#"{"ok":true}"#),
        (21_846, 200, r#"{"ok":true}"#),
        (
            21_847,
            413,
            r#"{"ok":false,"error":"Too big","detail":"a message is at most 16384 bytes before base64url"}"#,
        ),
        (0, 400, r#"{"ok":false,"error":"Bad request","detail":"\"data\" is empty"}"#),
    ] {
        let reply = relay.post(&send(fresh_pub(), &"A".repeat(characters)));
        assert_eq!((reply.status, reply.body.as_str()), (status, body), "{characters}");
    }
}

#[test]
fn a_length_that_is_too_large_is_refused_before_the_body_comes() {
    let relay = TestRelay::start();
    for length in ["65537", "10000000000", "18446744073709551615"] {
        let mut wire = Wire::to(&relay);
        let reply =
            wire.write(format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n")).reply();
        assert_eq!((reply.status, reply.body.as_str()), (413, REQUEST_TOO_BIG), "{length}");
        assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
    }
    // A stream of chunks without end, too: the reply comes while the sender is still at it.
    let mut wire = Wire::to(&relay);
    wire.write("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    wire.write(format!("10001\r\n{}\r\n", "x".repeat(0x1_0001)));
    let reply = wire.reply();
    assert_eq!((reply.status, reply.body.as_str()), (413, REQUEST_TOO_BIG));
}

#[test]
fn what_is_behind_a_refused_request_is_not_taken_for_another_one() {
    let relay = TestRelay::start();
    let to = fresh_pub();
    let hidden = send(to, "aGVsbG8").to_string();
    let hidden = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{hidden}", hidden.len());
    let filler = "x".repeat(70_000 - hidden.len());
    let mut wire = Wire::to(&relay);
    wire.write("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n");
    assert_eq!(wire.reply().status, 413);
    wire.write(filler).write(hidden).end();
    assert!(wire.is_closed());
    assert_eq!(relay.post(&check(to)).body, r#"{"ok":true,"found":false}"#);
}

#[test]
fn bodies_that_end_early_do_nothing() {
    let relay = TestRelay::start();
    let to = fresh_pub();
    let body = send(to, "aGVsbG8").to_string();
    let longer = body.len() + 10;
    let heads = [
        format!("Content-Length: {longer}\r\n\r\n{body}"),
        format!("Transfer-Encoding: chunked\r\n\r\n{longer:x}\r\n{body}"),
        // Whole, but for the last chunk, which says that it is the last.
        format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n", body.len()),
        format!("Transfer-Encoding: chunked\r\n\r\nzz\r\n{body}\r\n0\r\n\r\n"),
    ];
    for head in heads {
        let mut wire = Wire::to(&relay);
        wire.write(format!("POST / HTTP/1.1\r\nHost: x\r\n{head}")).end();
        let mut reply = Vec::new();
        // A reply or none: either way it is not ok, and the connection ends.
        drop(std::io::Read::read_to_end(&mut wire.0, &mut reply));
        let reply = String::from_utf8(reply).unwrap();
        assert!(!reply.contains(r#""ok":true"#), "{head}: {reply}");
        assert!(reply.is_empty() || reply.starts_with("HTTP/1.1 400 "), "{head}: {reply}");
    }
    assert_eq!(relay.post(&check(to)).body, r#"{"ok":true,"found":false}"#);
}

#[test]
fn lengths_that_contradict_each_other_are_refused() {
    let relay = TestRelay::start();
    let to = fresh_pub();
    let body = send(to, "aGVsbG8").to_string();
    let length = body.len();
    for headers in [
        format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"),
        format!("Content-Length: {length}\r\nContent-Length: {}\r\n", length - 1),
        format!("Content-Length: +{length}\r\n"),
        format!("Content-Length: {length}, {length}\r\n"),
        "Content-Length: -1\r\n".to_owned(),
        "Content-Length: 99999999999999999999999\r\n".to_owned(),
    ] {
        let reply = Wire::to(&relay)
            .write(format!("POST / HTTP/1.1\r\nHost: x\r\n{headers}\r\n{body}"))
            .end()
            .reply();
        assert_eq!(reply.status, 400, "{headers}");
    }
    assert_eq!(relay.post(&check(to)).body, r#"{"ok":true,"found":false}"#);
}

/// Whatever the chunks say of themselves: the request is refused, or none was made, and the relay goes on.
#[test]
fn chunks_that_lie_about_their_size() {
    let relay = TestRelay::start();
    let to = fresh_pub();
    let body = send(to, "aGVsbG8").to_string();
    let length = body.len();
    for chunks in [
        format!("{:x}\r\n{body}\r\n0\r\n\r\n", length - 1),
        format!("{:x}\r\n{body}\r\n0\r\n\r\n", length + 1),
        format!("{length:x}\r\n{body}0\r\n\r\n"),
        format!("-{length:x}\r\n{body}\r\n0\r\n\r\n"),
        format!("+{length:x}\r\n{body}\r\n0\r\n\r\n"),
        format!("0x{length:x}\r\n{body}\r\n0\r\n\r\n"),
        format!("\r\n{body}\r\n0\r\n\r\n"),
        format!("ffffffffffffffff\r\n{body}\r\n0\r\n\r\n"),
        format!("1{length:016x}\r\n{body}\r\n0\r\n\r\n"),
        "fffffffffffffffff\r\n\r\n".to_owned(),
    ] {
        let mut wire = Wire::to(&relay);
        wire.write(format!("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"));
        let reply = wire.end().reply();
        assert_eq!(reply.status, 400, "{chunks}");
        assert!(wire.is_closed(), "{chunks}");
    }
    assert_eq!(relay.post(&check(to)).body, r#"{"ok":true,"found":false}"#);
}

#[test]
fn what_is_longer_than_it_says_is_no_second_request() {
    let relay = TestRelay::start();
    let body = check(fresh_pub()).to_string();
    let length = body.len();
    let mut wire = Wire::to(&relay);
    wire.write(format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}{body}\r\n\r\n"));
    assert_eq!(wire.reply().body, r#"{"ok":true,"found":false}"#);
    assert_eq!(wire.reply().status, 400);
    assert!(wire.is_closed());
}

#[test]
fn requests_follow_each_other_on_one_connection() {
    let relay = TestRelay::start();
    let body = check(fresh_pub()).to_string();
    let one = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut wire = Wire::to(&relay);
    wire.write(one.repeat(3));
    for _ in 0..3 {
        assert_eq!(wire.reply().body, r#"{"ok":true,"found":false}"#);
    }
    // A refusal does not end it, where the request was whole.
    wire.write("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}");
    assert_eq!(wire.reply().status, 400);
    wire.write(one);
    assert_eq!(wire.reply().status, 200);
    assert_eq!(raw_post(&relay, "Host: x\r\nConnection: close\r\n", &body).status, 200);
}

#[test]
fn a_client_may_ask_whether_to_go_on() {
    let relay = TestRelay::start();
    let body = check(fresh_pub()).to_string();
    let mut wire = Wire::to(&relay);
    let length = body.len();
    wire.write(format!(
        "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
    ));
    assert_eq!(wire.reply().status, 100);
    assert_eq!(wire.write(body).reply().body, r#"{"ok":true,"found":false}"#);
}
