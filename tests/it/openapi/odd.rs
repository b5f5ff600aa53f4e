//! Requests good and odd.

use connectoid::seal::BoxKey;
use rand::{RngExt as _, rngs::StdRng};
use serde_json::{Value, json};

use crate::harness::KEY;

/// Requests that someone might send, or might send to see what happens.
pub fn odd_requests(key: &BoxKey, answer: &str) -> Vec<Vec<u8>> {
    let to = key.public();
    let check = format!(r#""action":"check","pub":"{to}""#);
    let texts = [
        String::new(),
        " ".into(),
        "null".into(),
        "[]".into(),
        "{}".into(),
        "\"check\"".into(),
        "action=check&pub=x".into(),
        "\u{FEFF}{}".into(),
        format!("\u{FEFF}{{{check}}}"),
        format!(" \t\r\n{{{check}}}\n"),
        format!("{{{check}}}{{}}"),
        format!("{{{check},}}"),
        format!("{{{check},\"at\":1,\"at\":2}}"),
        format!("{{{check},\"x\":1,\"x\":2}}"),
        format!("{{{check},\"x\":{}}}", "[".repeat(10_000)),
        format!("{{{check},\"x\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000)),
        format!("{{{check},\"at\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000)),
        format!("{{{check},\"at\":1e400}}"),
        format!("{{{check},\"at\":{}}}", "9".repeat(30_000)),
        format!("{{{check},\"relay\":\"{}\"}}", "x".repeat(30_000)),
        format!("{{{check},\"ask\":true,\"relay\":\"https://elsewhere.example\"}}"),
        format!("{{{check},\"wait\":\"for ever\"}}"),
        format!(r#"{{"action":"check","boxes":[{{"pub":"{to}","at":0}}]}}"#),
        format!(r#"{{"\u0061ction":"check","p\u0075b":"{to}"}}"#),
        format!(r#"{{"action":"CHECK","pub":"{to}"}}"#),
        format!(r#"{{"action":"check","pub":"{to}="}}"#),
        r#"{"action":"check","pub":"\ud800"}"#.into(),
        format!(r#"{{"action":"receive","pub":"{KEY}","answer":"{answer}"}}"#),
        format!(r#"{{"action":"receive","pub":"{to}","answer":"{answer}","boxes":[]}}"#),
        format!(r#"{{"action":"delete","pub":"{to}","answer":"{answer}"}}"#),
        format!(r#"{{"action":"send","pub":"{to}","data":"{}"}}"#, "A".repeat(21_846)),
        format!(r#"{{"action":"send","pub":"{to}","data":"{}"}}"#, "A".repeat(21_847)),
        format!(r#"{{"action":"send","pub":"{to}","data":"{}"}}"#, "A".repeat(32_768)),
        "[".repeat(32_768),
        "{\"a\":".repeat(6_000),
    ];
    let mut requests: Vec<Vec<u8>> = texts.map(String::into_bytes).into();
    requests.push(b"\xFF\xFE".into());
    requests.push(format!("{{{check},\"x\":\"\u{E9}\"}}").replace('\u{E9}', "\0").into_bytes());
    requests.push([b"{\"x\":\"\xC3\",", check.as_bytes(), b"}"].concat());
    requests.push(vec![0; 32_769]);
    requests
}

/// Requests as they should be.
pub fn good_requests(key: &BoxKey, answer: &str) -> Vec<Value> {
    let to = key.public();
    vec![
        json!({"action": "send", "pub": to, "ext": null, "data": "aGVsbG8"}),
        json!({"action": "check", "pub": to, "ext": null, "at": 0}),
        json!({"action": "check", "pub": to, "at": "0", "ask": true, "relay": "https://connecto.id"}),
        json!({"action": "check", "boxes": [{"pub": to, "at": 0}, {"pub": KEY}], "relay": "https://connecto.id"}),
        json!({"action": "receive", "pub": to, "ext": null, "answer": answer, "at": 0, "limit": 1}),
        json!({"action": "receive", "pub": to, "answer": answer, "at": 0, "limit": 32}),
        json!({"action": "delete", "pub": to, "answer": answer, "at": 0}),
        json!({"action": "delete", "pub": to, "answer": answer, "all": true}),
    ]
}

pub fn one_of<'a, T>(rng: &mut StdRng, choices: &'a [T]) -> &'a T {
    &choices[rng.random_range(0..choices.len())]
}

/// Every request with any one of its fields left out or given any of these values; then some with two such changes.
pub fn with_odd_fields(rng: &mut StdRng, requests: &[Value], values: &[Value]) -> Vec<Value> {
    let names =
        ["action", "pub", "ext", "data", "answer", "relay", "at", "limit", "wait", "ask", "all", "boxes"];
    let change = |request: &Value, name: &str, value: Option<&Value>| {
        let mut request = request.clone();
        let fields = request.as_object_mut().unwrap();
        match value {
            Some(value) => fields.insert(name.into(), value.clone()),
            None => fields.remove(name),
        };
        request
    };
    let values: Vec<Option<&Value>> = values.iter().map(Some).chain([None]).collect();
    let mut changed = Vec::new();
    for request in requests {
        for name in names {
            changed.extend(values.iter().map(|value| change(request, name, *value)));
        }
    }
    for _ in 0..500 {
        let once = one_of(rng, &changed).clone();
        let (name, value) = (*one_of(rng, &names), *one_of(rng, &values));
        changed.push(change(&once, name, value));
    }
    changed
}

/// Changes, inserts, removes or repeats bytes.
pub fn with_odd_bytes(rng: &mut StdRng, request: &Value) -> Vec<u8> {
    let mut bytes = request.to_string().into_bytes();
    for _ in 0..rng.random_range(1..4) {
        let at = rng.random_range(0..bytes.len());
        let end = rng.random_range(at..bytes.len().min(at + 20));
        let byte = *one_of(rng, b"\0\"\\{}[]:,0 9-.eAx\x7F\xC3\xFF");
        match rng.random_range(0..4) {
            0 => bytes[at] = byte,
            1 => bytes.insert(at, byte),
            2 => drop(bytes.drain(at..end)),
            _ => {
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
        }
        if bytes.is_empty() {
            break;
        }
    }
    bytes
}
