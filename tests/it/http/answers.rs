//! Questions and answers: who is asked in whose name, and which answers count.

use connectoid::{
    protocol::base64url,
    seal::question::{Secrets, open_question},
};
use serde_json::json;

use super::{Wire, check, open, raw_post, receive, text};
use crate::harness::{NOW, SECOND, TestRelay, fresh_key, post};

#[test]
fn ask_gives_a_question_in_any_case() {
    let relay = TestRelay::start();
    let key = fresh_key();
    let ask = json!({"action": "check", "pub": key.public(), "ask": true});
    let asked = relay.post(&ask);
    assert_eq!(asked.json()["found"], false);
    let answer = open(&key, &asked, "https://connecto.id");
    assert_eq!(relay.post(&receive(&key, &answer, 0, 1)).body, r#"{"ok":true,"found":false,"at":0}"#);
    let not_asked = json!({"action": "check", "pub": key.public(), "ask": false});
    assert_eq!(relay.post(&not_asked).body, r#"{"ok":true,"found":false}"#);

    relay.send(&key.public(), b"hello");
    let found = relay.post(&ask).json();
    assert_eq!(found["found"], true);
    assert_eq!(found.as_object().unwrap().len(), 4);
    let newer = json!({"action": "check", "pub": key.public(), "at": NOW});
    assert_eq!(relay.post(&newer).body, r#"{"ok":true,"found":false}"#);
}

#[test]
fn a_question_is_bound_to_a_configured_url() {
    let relay = TestRelay::with(|config| {
        config.urls =
            ["https://one.example", "https://two.example/relay"].map(|url| url.parse().unwrap()).into();
    });
    let key = fresh_key();
    let ask = |by: Option<&str>, host: &str| {
        let mut body = json!({"action": "check", "pub": key.public(), "ask": true});
        if let Some(by) = by {
            body["relay"] = by.into();
        }
        raw_post(&relay, &format!("Host: {host}\r\n"), &body.to_string())
    };
    let [one, two] = ["https://one.example", "https://two.example/relay"];
    for (by, host, expected) in [
        (None, "one.example", one),
        (None, "two.example", one),
        (None, "evil.example", one),
        (None, "no/host", one),
        (Some(one), "two.example", one),
        (Some(two), "one.example", two),
        // Compared as bytes, and never an address of someone else's.
        (Some("https://two.example/relay/"), "x", one),
        (Some("https://TWO.example/relay"), "x", one),
        (Some("https://evil.example"), "x", one),
        (Some(""), "x", one),
    ] {
        let reply = ask(by, host);
        let answer = open(&key, &reply, expected);
        let received = relay.post(&receive(&key, &answer, 0, 1));
        assert_eq!(received.body, r#"{"ok":true,"found":false,"at":0}"#, "{by:?} {host}");
    }
    let question = ask(Some(two), "x").json()["question"].as_str().unwrap().to_owned();
    assert!(open_question(&key, &one.parse().unwrap(), &question).is_err());
    assert!(open_question(&fresh_key(), &two.parse().unwrap(), &question).is_err());
}

#[test]
fn without_a_configured_url_the_host_header_decides() {
    let relay = TestRelay::with(|config| config.urls = vec![]);
    let key = fresh_key();
    let ask = json!({"action": "check", "pub": key.public(), "ask": true}).to_string();
    let by_address = open(&key, &post(&relay.url, &ask), &relay.url);
    let received = relay.post(&receive(&key, &by_address, 0, 1));
    assert_eq!(received.body, r#"{"ok":true,"found":false,"at":0}"#);

    for (host, name) in [
        ("localhost:8080", "http://localhost:8080"),
        ("Relay.LAN", "http://relay.lan"),
        ("192.168.1.5:80", "http://192.168.1.5"),
        ("[::1]:8080", "http://[::1]:8080"),
    ] {
        let header = format!("Host: {host}\r\n");
        let answer = open(&key, &raw_post(&relay, &header, &ask), name);
        let body = receive(&key, &answer, 0, 1).to_string();
        assert_eq!(raw_post(&relay, &header, &body).body, r#"{"ok":true,"found":false,"at":0}"#, "{host}");
        assert_eq!(post(&relay.url, &body).error(), "Wrong answer", "another name, another question");
        // The field chooses among the relay's names, and it has only this one.
        let mut by = json!({"action": "check", "pub": key.public(), "ask": true});
        by["relay"] = "https://evil.example".into();
        open(&key, &raw_post(&relay, &header, &by.to_string()), name);
    }

    // HTTP/1.0 may come without the header.
    let ask_with = |version: &str, headers: &str, body: &str| {
        let length = body.len();
        let message = format!("POST / HTTP/{version}\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
        Wire::to(&relay).write(message).reply()
    };
    for (version, headers) in [
        ("1.0", ""),
        ("1.1", "Host:\r\n"),
        ("1.1", "Host: a/b\r\n"),
        ("1.1", "Host: user@x\r\n"),
        ("1.1", "Host: a b\r\n"),
        ("1.1", "Host: x:99999\r\n"),
        ("1.1", "Host: \u{FC}\r\n"),
        ("1.1", "Host:\r\nX-Forwarded-Host: connecto.id\r\n"),
    ] {
        let reply = ask_with(version, headers, &ask);
        assert_eq!(
            text(&reply),
            (
                400,
                r#"{"ok":false,"error":"Bad request","detail":"this relay has no URL of its own: the Host header must say how it was reached"}"#
            ),
            "{headers}"
        );
        // Where no question is needed, it does not matter.
        let idle = ask_with(version, headers, &check(key.public()).to_string());
        assert_eq!(text(&idle), (200, r#"{"ok":true,"found":false}"#), "{headers}");
    }
    // What is no HTTP/1.1 gets no further than the parser.
    for headers in ["", "Host: x\r\nHost: y\r\n"] {
        assert_eq!(text(&ask_with("1.1", headers, &ask)), (400, ""), "{headers}");
    }
}

#[test]
fn wrong_answers_do_not_tell_why_they_are_wrong() {
    let relay = TestRelay::start();
    let (key, other, unknown) = (fresh_key(), fresh_key(), fresh_key());
    relay.send(&key.public(), b"hello");
    relay.send(&other.public(), b"hello");
    let answer_at = |now: i64| {
        relay.clock.set(now);
        let answer = relay.answer(&key);
        relay.clock.set(NOW);
        answer
    };
    let late = answer_at(NOW - 61 * SECOND);
    let future = answer_at(NOW + 6 * SECOND);
    let (right, foreign) = (answer_at(NOW), relay.answer(&other));
    let elsewhere = TestRelay::with(|config| config.secrets = Some(Secrets::one(&[0x4C; 48]).unwrap()));
    let elsewhere = elsewhere.answer(&key);
    let changed = |at: usize| {
        let mut bytes = base64url::decode(&right).unwrap();
        bytes[at] ^= 1;
        base64url::encode(bytes)
    };
    // The last character holds 2 bits that are none of the answer's.
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = alphabet.find(&right[74..]).unwrap();
    let respelled = format!("{}{}", &right[..74], &alphabet[last + 1..last + 2]);

    let mut replies = Vec::new();
    for answer in [
        String::new(),
        "x".into(),
        "A".repeat(75),
        "A".repeat(20_000),
        format!("{right}="),
        right[..74].into(),
        respelled,
        changed(7),
        changed(8),
        changed(24),
        changed(55),
        late,
        future,
        foreign.clone(),
        elsewhere,
    ] {
        for what in [json!({"action": "receive", "at": 0}), json!({"action": "delete", "all": true})] {
            for asker in [&key, &unknown] {
                let mut body = what.clone();
                body["pub"] = json!(asker.public());
                body["answer"] = json!(answer);
                replies.push(relay.post(&body));
            }
        }
    }
    replies.push(relay.post(&receive(&unknown, &right, 0, 1)));
    for mut reply in replies {
        reply.headers.retain(|(name, _)| name != "date");
        reply.headers.sort();
        assert_eq!(
            text(&reply),
            (
                403,
                r#"{"ok":false,"error":"Wrong answer","detail":"send check with \"ask\":true, open the question and send its 56 bytes as answer while they count (answerTtl in /info)"}"#
            )
        );
        let headers = [
            ("access-control-allow-origin", "*"),
            ("cache-control", "no-store"),
            ("content-length", "165"),
            ("content-type", "application/json"),
            ("x-content-type-options", "nosniff"),
        ];
        assert_eq!(reply.headers, headers.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
    // The right ones, and nothing was deleted.
    for (key, answer) in [(&key, &right), (&other, &foreign)] {
        assert_eq!(relay.post(&receive(key, answer, 0, 1)).json()["data"], "aGVsbG8");
    }
    // A right answer for a box that does not exist is one for an empty box.
    let answer = relay.answer(&unknown);
    assert_eq!(relay.post(&receive(&unknown, &answer, 0, 1)).body, r#"{"ok":true,"found":false,"at":0}"#);
}

#[test]
fn an_answer_counts_for_a_minute() {
    let relay = TestRelay::start();
    let key = fresh_key();
    relay.send(&key.public(), b"hello");
    let answer = relay.answer(&key);
    for (moved, status) in
        [(0, 200), (0, 200), (-5, 200), (-6, 403), (30, 200), (60, 200), (61, 403), (3600, 403), (10, 200)]
    {
        relay.clock.set(NOW + moved * SECOND);
        assert_eq!(relay.post(&receive(&key, &answer, 0, 1)).status, status, "{moved} s");
    }
}
