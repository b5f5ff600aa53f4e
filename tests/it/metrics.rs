//! What a relay counts of itself.

use std::{collections::BTreeSet, time::Duration};

use connectoid::clock::Clock as _;
use serde_json::json;

use crate::{
    harness::{Kind, TestDatabase, TestRelay, fresh_key, get, metric, post, until},
    proxy::Proxy,
};

#[test]
fn every_request_is_counted_by_action_and_result() {
    let relay = TestRelay::start();
    let key = fresh_key();
    let to = key.public();
    let count = |action: &str, result: &str| {
        metric(&relay.url, &format!(r#"connectoid_requests_total{{action="{action}",result="{result}"}}"#))
    };
    relay.send(&to, b"hello");
    relay.send(&to, b"world");
    let answer = relay.answer(&key);
    relay.post(&json!({"action": "check", "pub": to}));
    relay.post(&json!({"action": "check", "boxes": [{"pub": to}]}));
    relay.post(&json!({"action": "check", "pub": to, "wait": 25}));
    relay.post(&json!({"action": "receive", "pub": to, "answer": answer}));
    relay.post(&json!({"action": "receive", "pub": to, "answer": "A".repeat(75)}));
    relay.post(&json!({"action": "send", "pub": "x", "data": "AA"}));
    relay.post(&json!({"action": "steal"}));
    post(&relay.url, &"x".repeat(70_000));
    relay.post(&json!({"action": "delete", "pub": to, "answer": answer, "all": true}));
    for (action, result, times) in [
        ("send", "ok", 2),
        ("check", "ok", 3),
        ("wait", "ok", 1),
        ("receive", "ok", 1),
        ("receive", "Wrong answer", 1),
        ("none", "Bad key", 1),
        ("none", "Bad request", 1),
        ("none", "Too big", 1),
        ("delete", "ok", 1),
    ] {
        assert_eq!(count(action, result), times, "{action} {result}");
    }
    assert_eq!(metric(&relay.url, r#"connectoid_request_seconds_count{action="send"}"#), 2);
    // The first was asked for by the answer, at the same second.
    assert_eq!(metric(&relay.url, r#"connectoid_questions_total{how="sealed"}"#), 1);
    assert_eq!(metric(&relay.url, r#"connectoid_questions_total{how="cached"}"#), 3);
}

#[test]
fn what_is_stored_and_swept_is_counted() {
    let relay = TestRelay::with(|config| {
        config.sweep_interval = Duration::from_millis(20);
        config.keep.message_ttl = Duration::from_secs(5);
    });
    let key = fresh_key();
    let value = |name: &str| metric(&relay.url, name);
    relay.send(&key.public(), b"hello");
    relay.send(&key.public(), b"world!");
    assert_eq!((value("connectoid_messages"), value("connectoid_message_bytes")), (2, 11));
    until(|| value("connectoid_boxes") == 1);
    assert_eq!(value("connectoid_swept_messages_total"), 0);
    relay.clock.advance(Duration::from_secs(5));
    until(|| value("connectoid_swept_messages_total") == 2);
    assert_eq!((value("connectoid_messages"), value("connectoid_message_bytes")), (0, 0));
    assert_eq!(value(r#"connectoid_sweeps_total{result="held"}"#), 0);
    relay.clock.set(relay.clock.now() + 3_600_000_000);
    until(|| value(r#"connectoid_sweeps_total{result="held"}"#) > 0);
}

#[test]
fn a_database_in_trouble_is_counted() {
    let database = TestDatabase::new(Kind::Postgres);
    let proxy = Proxy::before(&database.url);
    let relay = TestRelay::on(&proxy.url, |_| ());
    proxy.cut();
    let check = json!({"action": "check", "pub": fresh_key().public()});
    assert_eq!(relay.post(&check).status, 503);
    let errors =
        |kind: &str| metric(&relay.url, &format!(r#"connectoid_store_errors_total{{kind="{kind}"}}"#));
    // A sweep may have failed, too.
    assert!(errors("slow") + errors("database") > 0);
    assert_eq!(metric(&relay.url, r#"connectoid_requests_total{action="check",result="Busy"}"#), 1);
}

#[test]
fn nothing_is_named_that_nobody_may_know() {
    let relay = TestRelay::start();
    let key = fresh_key();
    relay.send(&key.public(), b"hello");
    relay.post(
        &json!({"action": "check", "pub": key.public(), "ext": "c2VjcmV0", "relay": "https://named.example"}),
    );
    let reply = get(&format!("{}/metrics", relay.url));
    assert_eq!(reply.header("content-type"), Some("text/plain; version=0.0.4"));
    let text = reply.body;
    for secret in [key.public().to_string().as_str(), "c2VjcmV0", "named.example", "127.0.0.1"] {
        assert!(!text.contains(secret), "{secret}");
    }
    // Every metric says what it is; labels are these alone.
    let names: BTreeSet<&str> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(['{', ' ']).next().unwrap())
        .map(|name| {
            ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
        })
        .collect();
    for name in &names {
        assert!(name.starts_with("connectoid_"), "{name}");
        assert!(
            text.contains(&format!("# HELP {name} ")) && text.contains(&format!("# TYPE {name} ")),
            "{name}"
        );
    }
    let labels: BTreeSet<&str> =
        text.split(['{', ',']).filter_map(|part| part.split_once("=\"").map(|(label, _)| label)).collect();
    assert_eq!(labels, BTreeSet::from(["action", "how", "kind", "le", "result"]));
}
