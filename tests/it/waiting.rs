//! Long poll, and checks of many boxes.

use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use connectoid::{
    protocol::{PublicKey, base64url},
    seal::question::open_question,
};
use serde_json::{Value, json};

use crate::{
    harness::{
        Kind, NOW, Reply, Serving, TestDatabase, TestRelay, fresh_key, fresh_pub, metric, post, until,
    },
    proxy::Proxy,
    wire::Wire,
};

const NOTHING: &str = r#"{"ok":true,"found":false}"#;

fn wait_for(key: &PublicKey, seconds: u64) -> Value {
    json!({"pub": key, "ext": null, "action": "check", "at": 0, "wait": seconds})
}

/// A request on its way.
struct Asked(mpsc::Receiver<Reply>);

impl Asked {
    fn of(url: &str, body: &Value) -> Self {
        let (sender, receiver) = mpsc::channel();
        let (url, body) = (url.to_owned(), body.to_string());
        thread::spawn(move || drop(sender.send(post(&url, &body))));
        Self(receiver)
    }

    fn reply(self) -> Reply {
        self.0.recv_timeout(Duration::from_secs(20)).expect("no reply")
    }

    /// Whether it is not answered yet.
    fn waits(&self) -> bool {
        matches!(self.0.try_recv(), Err(mpsc::TryRecvError::Empty))
    }
}

#[test]
fn a_check_waits_for_the_message() {
    let relay = TestRelay::start();
    let key = fresh_key();
    let asked = Asked::of(&relay.url, &wait_for(&key.public(), 25));
    until(|| metric(&relay.url, "connectoid_waiters") == 1);
    relay.send(&fresh_pub(), b"to another box");
    assert!(asked.waits());
    relay.send(&key.public(), b"hello");
    let reply = asked.reply().json();
    assert_eq!(
        (&reply["ok"], &reply["found"], &reply["relay"]),
        (&json!(true), &json!(true), &json!("https://connecto.id"))
    );
    let url = "https://connecto.id".parse().unwrap();
    assert!(open_question(&key, &url, reply["question"].as_str().unwrap()).is_ok());

    // What is there is answered at once, and so is a check that asks.
    assert_eq!(relay.post(&wait_for(&key.public(), 25)).json()["found"], true);
    let mut asking = wait_for(&fresh_pub(), 25);
    asking["ask"] = json!(true);
    assert_eq!(relay.post(&asking).json()["found"], false);
}

#[test]
fn a_message_that_was_received_already_is_not_waited_for() {
    let relay = TestRelay::start();
    let key = fresh_pub();
    relay.send(&key, b"old");
    let mut behind = wait_for(&key, 25);
    behind["at"] = json!(NOW);
    let asked = Asked::of(&relay.url, &behind);
    until(|| metric(&relay.url, "connectoid_waiters") == 1);
    relay.send(&key, b"old");
    assert!(asked.waits(), "a retry is no news");
    relay.clock.advance(Duration::from_secs(1));
    relay.send(&key, b"new");
    assert_eq!(asked.reply().json()["found"], true);
}

#[test]
fn waiting_ends_when_it_was_asked_to_and_no_later_than_the_relay_lets() {
    let relay = TestRelay::with(|config| config.max_wait = Duration::from_secs(2));
    for (wait, at_least) in [(0, 0), (1, 1), (2, 2), (25, 2), (u64::MAX, 2)] {
        let started = Instant::now();
        assert_eq!(relay.post(&wait_for(&fresh_pub(), wait)).body, NOTHING);
        assert!(started.elapsed() >= Duration::from_secs(at_least), "{wait}");
    }
    // Had it waited for 25 s, the client would have given up at 30.
    let without = TestRelay::with(|config| {
        config.max_wait = Duration::ZERO;
        config.max_waiters = 0;
    });
    assert_eq!(without.post(&wait_for(&fresh_pub(), 25)).body, NOTHING);
}

#[test]
fn only_so_many_wait() {
    let relay = TestRelay::with(|config| config.max_waiters = 2);
    let keys = [fresh_pub(), fresh_pub()];
    let asked = keys.map(|key| Asked::of(&relay.url, &wait_for(&key, 25)));
    until(|| metric(&relay.url, "connectoid_waiters") == 2);
    let busy = relay.post(&wait_for(&fresh_pub(), 25));
    assert_eq!(
        (busy.status, busy.body.as_str()),
        (
            503,
            r#"{"ok":false,"error":"Busy","detail":"the relay cannot do this just now; send the same request again","retryAfter":10}"#
        )
    );
    assert_eq!(
        relay.post(&json!({"action": "check", "pub": fresh_pub()})).body,
        NOTHING,
        "who does not wait"
    );
    relay.send(&keys[0], b"hello");
    let [first, second] = asked;
    assert_eq!(first.reply().json()["found"], true);
    until(|| metric(&relay.url, "connectoid_waiters") == 1);
    assert!(second.waits());
    relay.send(&keys[1], b"hello");
    assert_eq!(second.reply().json()["found"], true);
}

#[test]
fn many_boxes_in_one_check() {
    let relay = TestRelay::start();
    let keys = [fresh_key(), fresh_key(), fresh_key()];
    let [a, b, c] = [0, 1, 2].map(|n: usize| keys[n].public());
    let check = |at: i64| json!({"action": "check", "ext": null, "boxes": [{"pub": a, "at": at}, {"pub": b, "at": 0}, {"pub": c}]});
    assert_eq!(relay.post(&check(0)).body, r#"{"ok":true,"found":false,"boxes":[]}"#);
    relay.send(&c, b"to c");
    relay.send(&a, b"to a");
    let reply = relay.post(&check(0)).json();
    assert_eq!((&reply["found"], &reply["relay"]), (&json!(true), &json!("https://connecto.id")));
    let boxes = reply["boxes"].as_array().unwrap();
    assert_eq!(boxes.len(), 2);
    let url = "https://connecto.id".parse().unwrap();
    for (found, key) in boxes.iter().zip([&keys[0], &keys[2]]) {
        assert_eq!(found["pub"], json!(key.public()), "in the order asked");
        let answer = open_question(key, &url, found["question"].as_str().unwrap()).unwrap();
        let receive =
            json!({"action": "receive", "pub": key.public(), "answer": base64url::encode(answer.0)});
        assert_eq!(relay.post(&receive).status, 200);
    }
    let rest = relay.post(&check(NOW)).json();
    assert_eq!(rest["boxes"].as_array().unwrap().len(), 1);
    assert_eq!(rest["boxes"][0]["pub"], json!(c));

    let none = [fresh_pub(), fresh_pub()];
    let mut waiting = json!({"action": "check", "boxes": [{"pub": none[0]}, {"pub": none[1]}], "wait": 25});
    let asked = Asked::of(&relay.url, &waiting);
    until(|| metric(&relay.url, "connectoid_waiters") == 1);
    relay.send(&none[1], b"hello");
    let reply = asked.reply().json();
    assert_eq!((reply["boxes"].as_array().unwrap().len(), &reply["boxes"][0]["pub"]), (1, &json!(none[1])));
    waiting["boxes"] = json!([{"pub": none[0]}]);
    waiting["wait"] = json!(1);
    assert_eq!(relay.post(&waiting).body, r#"{"ok":true,"found":false,"boxes":[]}"#);
}

#[test]
fn a_hundred_questions_in_one_reply() {
    let relay = TestRelay::start();
    let keys: Vec<PublicKey> = (0..100).map(|_| fresh_pub()).collect();
    keys.iter().for_each(|key| relay.send(key, b"hello"));
    let boxes: Vec<Value> = keys.iter().map(|key| json!({"pub": key})).collect();
    let reply = relay.post(&json!({"action": "check", "boxes": boxes})).json();
    let found: Vec<&Value> = reply["boxes"].as_array().unwrap().iter().map(|found| &found["pub"]).collect();
    assert_eq!(found, keys.iter().map(|key| json!(key)).collect::<Vec<_>>().iter().collect::<Vec<_>>());
}

#[test]
fn a_message_through_another_instance_wakes_whoever_waits_here() {
    let database = TestDatabase::new(Kind::Postgres);
    let here = TestRelay::on(&database.url, |_| ());
    let there = TestRelay::on(&database.url, |_| ());
    for n in 0..5u8 {
        let key = fresh_pub();
        let asked = Asked::of(&here.url, &wait_for(&key, 25));
        until(|| metric(&here.url, "connectoid_waiters") == 1);
        there.send(&key, &[n]);
        assert_eq!(asked.reply().json()["found"], true);
        until(|| metric(&here.url, "connectoid_waiters") == 0);
    }
}

#[test]
fn what_came_while_the_database_was_away_is_found_when_it_is_back() {
    let database = TestDatabase::new(Kind::Postgres);
    let proxy = Proxy::before(&database.url);
    let here = TestRelay::on(&proxy.url, |_| ());
    let there = TestRelay::on(&database.url, |_| ());
    let first = fresh_pub();
    let asked = Asked::of(&here.url, &wait_for(&first, 25));
    until(|| metric(&here.url, "connectoid_waiters") == 1);
    there.send(&first, b"it listens");
    assert_eq!(asked.reply().json()["found"], true);

    let key = fresh_pub();
    until(|| metric(&here.url, "connectoid_waiters") == 0);
    let asked = Asked::of(&here.url, &wait_for(&key, 25));
    until(|| metric(&here.url, "connectoid_waiters") == 1);
    proxy.cut();
    there.send(&key, b"told to nobody");
    proxy.mend();
    assert_eq!(asked.reply().json()["found"], true);
}

#[test]
fn a_waiter_whose_client_went_away_is_gone_at_once() {
    let relay = TestRelay::start();
    let body = wait_for(&fresh_pub(), 25).to_string();
    let request = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    for n in 0..3 {
        let mut wire = Wire::at(&relay.url);
        wire.write(&request);
        until(|| metric(&relay.url, "connectoid_waiters") == 1);
        match n {
            0 => drop(wire),
            // Half closed: whoever still reads gets its reply at once.
            1 => assert_eq!(wire.end().reply().body, NOTHING),
            _ => {
                // A request behind it changes nothing.
                wire.write(&request);
                drop(wire);
            }
        }
        until(|| metric(&relay.url, "connectoid_waiters") == 0);
    }
}

#[test]
fn a_stop_lets_everyone_go() {
    let relay = Serving::start(&["--database", "sqlite::memory:"]);
    let asked = Asked::of(&relay.url, &wait_for(&fresh_pub(), 25));
    until(|| metric(&relay.url, "connectoid_waiters") == 1);
    let started = Instant::now();
    relay.signal("TERM");
    assert_eq!(asked.reply().body, NOTHING);
    let (code, _) = relay.wait();
    assert_eq!(code, Some(0));
    assert!(started.elapsed() < Duration::from_secs(10), "it did not wait for the 25 s to pass");
}

#[test]
fn the_settings_of_waiting() {
    let relay = Serving::start(&["--database", "sqlite::memory:", "--max-wait", "1s"]);
    let started = Instant::now();
    assert_eq!(post(&relay.url, &wait_for(&fresh_pub(), 25).to_string()).body, NOTHING);
    assert!((Duration::from_secs(1)..Duration::from_secs(20)).contains(&started.elapsed()));
    let relay = Serving::start(&["--database", "sqlite::memory:", "--max-waiters", "1"]);
    let asked = Asked::of(&relay.url, &wait_for(&fresh_pub(), 25));
    until(|| metric(&relay.url, "connectoid_waiters") == 1);
    assert_eq!(post(&relay.url, &wait_for(&fresh_pub(), 25).to_string()).status, 503);
    assert!(asked.waits());
}
