//! What an answer gives: messages in pages, and their end.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Wire, check, open, receive, send, text};
use crate::harness::{
    Kind, NOW, SECOND, Serving, TestDatabase, TestRelay, fresh_key, fresh_pub, post, request,
};

#[test]
fn pages_and_their_cursors() {
    let relay = TestRelay::start();
    let key = fresh_key();
    for data in ["one", "two", "three"] {
        relay.send(&key.public(), data.as_bytes());
        relay.clock.advance(Duration::from_secs(1));
    }
    let answer = relay.answer(&key);
    let page = |at: i64, limit: u32| relay.post(&receive(&key, &answer, at, limit));
    let [one, two, three] = [NOW, NOW + SECOND, NOW + 2 * SECOND];

    assert_eq!(page(0, 1).body, format!(r#"{{"ok":true,"at":{one},"data":"b25l"}}"#));
    assert_eq!(page(one, 1).body, format!(r#"{{"ok":true,"at":{two},"data":"dHdv"}}"#));
    assert_eq!(
        page(0, 2).body,
        format!(
            r#"{{"ok":true,"at":{two},"messages":[{{"at":{one},"data":"b25l"}},{{"at":{two},"data":"dHdv"}}],"more":true}}"#
        )
    );
    assert_eq!(
        page(one, 2).body,
        format!(
            r#"{{"ok":true,"at":{three},"messages":[{{"at":{two},"data":"dHdv"}},{{"at":{three},"data":"dGhyZWU"}}],"more":false}}"#
        )
    );
    assert_eq!(
        page(two, 32).body,
        format!(r#"{{"ok":true,"at":{three},"messages":[{{"at":{three},"data":"dGhyZWU"}}],"more":false}}"#)
    );
    for limit in [1, 2, 32] {
        assert_eq!(page(three, limit).body, format!(r#"{{"ok":true,"found":false,"at":{three}}}"#));
        let all = page(0, limit).json();
        assert_eq!(all["at"].as_i64().unwrap(), NOW + SECOND * i64::from(limit.min(3) - 1), "not deleted");
    }
    for limit in [0, 33, u32::MAX] {
        let refused = r#"{"ok":false,"error":"Bad request","detail":"\"limit\" must be 1 to 32"}"#;
        assert_eq!(text(&page(0, limit)), (400, refused));
    }
}

#[test]
fn a_full_box_in_one_page() {
    let relay = TestRelay::start();
    let key = fresh_key();
    for n in 0..32 {
        relay.send(&key.public(), &[n; 16_384]);
    }
    let full = relay.post(&send(key.public(), "b25lIG1vcmU"));
    assert_eq!(
        text(&full),
        (
            429,
            r#"{"ok":false,"error":"Too often","detail":"this box is full until its owner deletes messages or they expire","retryAfter":60}"#
        )
    );
    assert_eq!(full.header("retry-after"), Some("60"));
    relay.send(&key.public(), &[31; 16_384]);

    let answer = relay.answer(&key);
    let page = |limit: u32| relay.post(&receive(&key, &answer, 0, limit)).json();
    let all = page(32);
    assert_eq!((all["messages"].as_array().unwrap().len(), &all["more"]), (32, &json!(false)));
    let most = page(31);
    assert_eq!((most["messages"].as_array().unwrap().len(), &most["more"]), (31, &json!(true)));

    let delete = json!({"action": "delete", "pub": key.public(), "answer": answer, "at": NOW});
    assert_eq!(text(&relay.post(&delete)), (200, r#"{"ok":true}"#));
    assert_eq!(relay.post(&send(key.public(), "b25lIG1vcmU")).status, 200);
}

#[test]
fn the_same_data_is_stored_once() {
    let relay = TestRelay::start();
    let key = fresh_key();
    for data in ["aGVsbG8", "aGVsbG8", "d29ybGQ", "aGVsbG8"] {
        assert_eq!(text(&relay.post(&send(key.public(), data))), (200, r#"{"ok":true}"#));
        relay.clock.advance(Duration::from_secs(1));
    }
    let answer = relay.answer(&key);
    let all = relay.post(&receive(&key, &answer, 0, 32));
    assert_eq!(
        all.body,
        r#"{"ok":true,"at":1795158002000000,"messages":[{"at":1795158000000000,"data":"aGVsbG8"},{"at":1795158002000000,"data":"d29ybGQ"}],"more":false}"#
    );
}

#[test]
fn deleting_up_to_a_cursor_and_the_whole_box() {
    let relay = TestRelay::start();
    let key = fresh_key();
    let answer = relay.answer(&key);
    let delete = |what: Value| {
        let mut body = json!({"action": "delete", "pub": key.public(), "answer": answer});
        body.as_object_mut().unwrap().extend(what.as_object().unwrap().clone());
        relay.post(&body)
    };
    let held = || {
        let reply = relay.post(&receive(&key, &answer, 0, 32)).json();
        let messages = reply["messages"].as_array().cloned().unwrap_or_default();
        messages.iter().map(|message| message["at"].as_i64().unwrap() - NOW).collect::<Vec<_>>()
    };
    let ok = (200, r#"{"ok":true}"#);
    assert_eq!(text(&delete(json!({"at": 0}))), ok, "there is no such box");
    assert_eq!(text(&delete(json!({"all": true}))), ok);
    for data in ["one", "two", "three"] {
        relay.send(&key.public(), data.as_bytes());
    }
    assert_eq!(held(), [0, 1, 2]);
    assert_eq!(text(&delete(json!({"at": NOW - 1}))), ok);
    assert_eq!(held(), [0, 1, 2]);
    assert_eq!(text(&delete(json!({"at": NOW + 1, "all": false}))), ok);
    assert_eq!(held(), [2]);
    relay.send(&key.public(), b"one");
    assert_eq!(held(), [2, 3], "deleted, so stored anew, with a later cursor");
    for neither_or_both in [json!({}), json!({"all": false}), json!({"at": NOW, "all": true})] {
        let refused = r#"{"ok":false,"error":"Bad request","detail":"delete takes exactly one of \"at\" and \"all\":true"}"#;
        assert_eq!(text(&delete(neither_or_both)), (400, refused));
    }
    assert_eq!(text(&delete(json!({"all": true}))), ok);
    assert_eq!(held(), [0_i64; 0]);
    assert_eq!(relay.post(&check(key.public())).body, r#"{"ok":true,"found":false}"#);
}

/// Neither the question nor what was acknowledged is lost, however the relay ends. Its secret is in the database.
#[test]
fn a_restart_between_check_and_receive_goes_unnoticed() {
    for signal in ["TERM", "KILL"] {
        let database = TestDatabase::new(Kind::Sqlite);
        let args = ["--database", &database.url, "--url", "https://connecto.id"];
        let relay = Serving::start(&args);
        let key = fresh_key();
        assert_eq!(post(&relay.url, &send(key.public(), "aGVsbG8").to_string()).body, r#"{"ok":true}"#);
        let checked = post(&relay.url, &check(key.public()).to_string());
        relay.signal(signal);
        relay.wait();

        let relay = Serving::start(&args);
        let answer = open(&key, &checked, "https://connecto.id");
        let received = post(&relay.url, &receive(&key, &answer, 0, 1).to_string());
        assert_eq!(received.json()["data"], "aGVsbG8", "after {signal}: {received:?}");
    }
}

#[test]
fn two_relays_on_one_database_are_one() {
    let database = TestDatabase::new(Kind::Postgres);
    let args = ["--database", &database.url, "--url", "https://connecto.id"];
    let (one, two) = (Serving::start(&args), Serving::start(&args));
    let key = fresh_key();
    assert_eq!(post(&one.url, &send(key.public(), "aGVsbG8").to_string()).body, r#"{"ok":true}"#);
    let checked = post(&two.url, &check(key.public()).to_string());
    let answer = open(&key, &checked, "https://connecto.id");
    let received = post(&one.url, &receive(&key, &answer, 0, 1).to_string()).json();
    assert_eq!(received["data"], "aGVsbG8");
    let delete = json!({"action": "delete", "pub": key.public(), "answer": answer, "at": received["at"]});
    assert_eq!(post(&two.url, &delete.to_string()).body, r#"{"ok":true}"#);
    assert_eq!(post(&one.url, &check(key.public()).to_string()).body, r#"{"ok":true,"found":false}"#);
}

#[test]
fn one_connection_serves_different_boxes() {
    let relay = TestRelay::start();
    let (key, other) = (fresh_key(), fresh_pub());
    relay.send(&key.public(), b"hello");
    let mut wire = Wire::to(&relay);
    for (to, found) in [(key.public(), true), (other, false), (key.public(), true)] {
        let body = check(to).to_string();
        wire.write(format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        assert_eq!(wire.reply().json()["found"], found);
    }
    let body = check(other).to_string();
    assert_eq!(request("POST", &relay.url, &[], body.as_bytes()).json()["found"], false);
}
