//! The relay over HTTP, as a stranger with curl sees it.

mod answers;
mod fields;
mod messages;
mod page;
mod sizes;

use std::{io::Read as _, time::Duration};

use connectoid::{
    protocol::{RelayUrl, base64url},
    relay::Rates,
    seal::{BoxKey, question::open_question},
};
use serde_json::{Value, json};

use crate::{
    harness::{
        KEY, Kind, Person, Reply, TestDatabase, TestRelay, fresh_key, fresh_pub, get, post, request, stdout,
    },
    proxy::Proxy,
    wire::Wire,
};

/// `POST /` with exactly these headers.
fn raw_post(relay: &TestRelay, headers: &str, body: &str) -> Reply {
    let length = body.len();
    let message = format!("POST / HTTP/1.1\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
    Wire::to(relay).write(message).reply()
}

fn send(to: impl serde::Serialize, data: &str) -> Value {
    json!({"pub": to, "ext": null, "action": "send", "data": data})
}

fn check(key: impl serde::Serialize) -> Value {
    json!({"pub": key, "ext": null, "action": "check", "at": 0})
}

fn receive(key: &BoxKey, answer: &str, at: i64, limit: u32) -> Value {
    json!({"pub": key.public(), "ext": null, "answer": answer, "action": "receive", "at": at, "limit": limit})
}

fn text(reply: &Reply) -> (u16, &str) {
    (reply.status, &reply.body)
}

/// The answer to the question in this reply, which must name this relay.
fn open(key: &BoxKey, reply: &Reply, relay: &str) -> String {
    let json = reply.json();
    assert_eq!(json["relay"], relay);
    // Names of a local network are no relay's URL in a link, but a Host header may hold them.
    let url = RelayUrl::from_host_header(relay.strip_prefix("http://").unwrap_or_default(), false);
    let url = url.unwrap_or_else(|| relay.parse().unwrap());
    let answer = open_question(key, &url, json["question"].as_str().unwrap()).unwrap();
    base64url::encode(answer.0)
}

/// The calls of the draft, with real values in the place of its shortened ones, and the comma that it forgot.
#[test]
fn the_drafts_own_curl_calls() {
    let relay = TestRelay::start();
    let person = Person::new();
    let key = fresh_key();
    let pub_ = key.public();
    let url = &relay.url;
    let curl = |line: String| {
        let output = person.shell(&line.replacen("curl ", "curl --silent --show-error --max-time 20 ", 1));
        assert!(output.status.success(), "{output:?}");
        stdout(&output)
    };

    let sent = curl(format!(
        r#"curl {url}/ -d '{{
"pub": "{pub_}",
"ext": null,
"action": "send",
"data": "vttf66efd34dttf66fg6fde57gg"
}}'"#
    ));
    assert_eq!(sent, "{\"ok\":true}\n");

    let checked = curl(format!(
        r#"curl {url}/ -d '{{
"pub": "{pub_}",
"ext": null,
"action": "check",
"at": 0
}}'"#
    ));
    let (before, rest) = checked.split_at(34);
    assert_eq!(before, r#"{"ok":true,"found":true,"question""#);
    assert!(rest.ends_with("\",\"relay\":\"https://connecto.id\"}\n"), "{checked}");

    let answer = relay.answer(&key);
    let received = curl(format!(
        r#"curl {url}/ -d '{{
"pub": "{pub_}",
"ext": null,
"answer": "{answer}",
"action": "receive",
"at": 0,
"limit": 1
}}'"#
    ));
    assert_eq!(received, "{\"ok\":true,\"at\":1795158000000000,\"data\":\"vttf66efd34dttf66fg6fde57gg\"}\n");
}

#[test]
fn the_drafts_shortened_values_are_told_what_is_wrong() {
    let relay = TestRelay::start();
    let shortened =
        post(&relay.url, "{\n\"pub\": \"123abc\",\n\"ext\": null,\n\"action\": \"check\",\n\"at\": 0\n}");
    assert_eq!(shortened.status, 400);
    assert_eq!(
        shortened.body,
        r#"{"ok":false,"error":"Bad key","detail":"pub must be a P-384 public key, SEC 1 compressed, as 66 characters of base64url"}"#
    );
    let without_comma = post(
        &relay.url,
        "{\n\"pub\": \"42abc123def456\",\n\"ext\": null,\n\"answer\": \"hghy64egyu7yguy5\"\n\"action\": \"receive\",\n\"at\": 0,\n\"limit\": 1\n}",
    );
    assert_eq!(
        (without_comma.status, without_comma.body.as_str()),
        (
            400,
            r#"{"ok":false,"error":"Bad request","detail":"the body must be one JSON object: expected `,` or `}` at line 5 column 1"}"#
        )
    );
}

#[test]
fn any_content_type_and_none() {
    let relay = TestRelay::start();
    let body = check(fresh_pub()).to_string();
    for header in [
        "",
        "Content-Type: application/json\r\n",
        "Content-Type: application/json; charset=utf-16\r\n",
        "Content-Type: text/plain;charset=UTF-8\r\n",
        "Content-Type: application/x-www-form-urlencoded\r\n",
        "Content-Type: multipart/form-data; boundary=x\r\n",
        "Content-Type: image/png\r\n",
        "Content-Type:\r\n",
        "Content-Type: nonsense\r\n",
        "Content-Type: a/b\r\nContent-Type: c/d\r\n",
        "Content-Encoding: identity\r\n",
        "Content-Encoding:\r\n",
        "Accept: image/png\r\n",
        "Authorization: Bearer x\r\nCookie: a=b\r\n",
    ] {
        let reply = raw_post(&relay, &format!("Host: x\r\n{header}"), &body);
        assert_eq!((reply.status, reply.body.as_str()), (200, r#"{"ok":true,"found":false}"#), "{header}");
        assert_eq!(reply.header("content-type"), Some("application/json"));
        assert_eq!(reply.header("set-cookie"), None);
    }
    let reply = request("POST", &format!("{}/?a=b", relay.url), &[], body.as_bytes());
    assert_eq!(reply.body, r#"{"ok":true,"found":false}"#, "a query changes nothing");
}

#[test]
fn compressed_bodies_are_refused() {
    let relay = TestRelay::start();
    let body = check(fresh_pub()).to_string();
    for encodings in [
        "Content-Encoding: gzip\r\n",
        "content-encoding: BR\r\n",
        "Content-Encoding: identity, gzip\r\n",
        "Content-Encoding: identity\r\nContent-Encoding: deflate\r\n",
        "Content-Encoding: nonsense\r\n",
    ] {
        let reply = raw_post(&relay, &format!("Host: x\r\n{encodings}"), &body);
        assert_eq!(
            text(&reply),
            (
                400,
                r#"{"ok":false,"error":"Bad request","detail":"bodies are taken uncompressed: send it without Content-Encoding"}"#
            ),
            "{encodings}"
        );
        assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
    }
    // A compressed transfer gets no further than the parser.
    for transfer in ["gzip", "gzip, chunked"] {
        let reply = Wire::to(&relay)
            .write(format!("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: {transfer}\r\n\r\n0\r\n\r\n"))
            .end()
            .reply();
        assert_eq!(text(&reply), (400, ""), "{transfer}");
    }
}

/// The exception to "every error is JSON, and any page may read it": what is refused before it is a request.
#[test]
fn what_the_parser_refuses_itself() {
    let relay = TestRelay::with(|config| config.connections.head_timeout = Duration::from_secs(1));
    let long = "x".repeat(140_000);
    for (status, bytes) in [
        (400, "GET / HTTP/1.1\r\n\r\n".to_owned()),
        (400, "GET / HTTP/3.7\r\nHost: x\r\n\r\n".to_owned()),
        (400, "nonsense\r\n\r\n".to_owned()),
        (400, "\x16\x03\x01\x02\0\x01\0\x01\u{7f}\r\n\r\n".to_owned()),
        (431, format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(200))),
        (431, format!("GET / HTTP/1.1\r\nHost: x\r\nA: {long}")),
        (408, "GET / HTTP/1.1\r\nHost: x\r\n".to_owned()),
        (408, String::new()),
    ] {
        let mut wire = Wire::to(&relay);
        let reply = wire.write(&bytes).reply();
        let start: String = bytes.chars().take(40).collect();
        assert_eq!(text(&reply), (status, ""), "{start}");
        for header in ["access-control-allow-origin", "cache-control", "content-type"] {
            assert_eq!(reply.header(header), None, "{start}: {header}");
        }
        assert!(wire.is_closed(), "{start}");
    }
}

#[test]
fn every_reply_says_who_may_read_it_and_that_it_is_not_kept() {
    let relay = TestRelay::start();
    let to = fresh_pub();
    for n in 0..32 {
        relay.send(&to, &[n]);
    }
    let receive = json!({"pub": to, "action": "receive", "answer": "x"});
    let replies = [
        (200, relay.post(&check(to))),
        (400, relay.post(&json!({}))),
        (400, relay.post(&check("x"))),
        (403, relay.post(&receive)),
        (404, get(&format!("{}/nothing", relay.url))),
        (405, request("PUT", &relay.url, &[], b"{}")),
        (413, post(&relay.url, &"x".repeat(65_537))),
        (429, relay.post(&send(to, "b25lIG1vcmU"))),
        (200, get(&relay.url)),
        (200, get(&format!("{}/info", relay.url))),
        (200, get(&format!("{}/health", relay.url))),
        (200, get(&format!("{}/ready", relay.url))),
        (200, get(&format!("{}/openapi.yaml", relay.url))),
        (200, request("GET", &relay.url, &[("accept", "text/html")], b"")),
        (200, get(&format!("{}/privacy", relay.url))),
        (200, get(&format!("{}/page.css", relay.url))),
        (200, get(&format!("{}/page.js", relay.url))),
        (200, get(&format!("{}/icon.svg", relay.url))),
        (204, request("OPTIONS", &relay.url, &[], b"")),
    ];
    for (status, reply) in replies {
        assert_eq!(reply.status, status, "{reply:?}");
        assert_eq!(reply.header("access-control-allow-origin"), Some("*"), "{reply:?}");
        assert_eq!(reply.header("access-control-allow-credentials"), None);
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(reply.header("retry-after"), (status == 429).then_some("60"));
        assert_eq!(reply.header("access-control-expose-headers"), (status == 429).then_some("Retry-After"));
        assert_eq!(reply.header("allow").is_some(), status == 405);
    }
}

#[test]
fn the_preflight_of_a_browser_anywhere() {
    let relay = TestRelay::start();
    for path in ["/", "/info", "/ready", "/openapi.yaml", "/nothing", "/nothing/at/all"] {
        let asked = [
            ("origin", "https://app.example.com"),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "content-type"),
        ];
        let reply = request("OPTIONS", &format!("{}{path}", relay.url), &asked, b"");
        assert_eq!((reply.status, reply.body.as_str()), (204, ""), "{path}");
        assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
        assert_eq!(reply.header("access-control-allow-methods"), Some("GET, HEAD, OPTIONS, POST"));
        assert_eq!(reply.header("access-control-allow-headers"), Some("Content-Type"));
        assert_eq!(reply.header("access-control-max-age"), Some("86400"));
    }
    let asterisk = Wire::to(&relay).write("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n").reply();
    assert_eq!(asterisk.status, 204);
}

#[test]
fn head_is_get_without_the_body() {
    let relay = TestRelay::start();
    for path in ["/", "/privacy", "/page.css", "/info", "/health", "/ready", "/openapi.yaml", "/nothing"] {
        let get = get(&format!("{}{path}", relay.url));
        let asked = format!("HEAD {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let mut wire = Wire::to(&relay);
        let mut head = String::new();
        wire.write(asked).0.read_to_string(&mut head).unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {} ", get.status)), "{path}: {head}");
        assert!(head.ends_with("\r\n\r\n"), "{path}: a body: {head}");
        let length = format!("\r\ncontent-length: {}\r\n", get.header("content-length").unwrap());
        assert!(head.to_lowercase().contains(&length), "{path}: {head}");
    }
}

/// Else the prompt of a shell stands behind what curl printed.
#[test]
fn json_ends_its_line() {
    let relay = TestRelay::start();
    let person = Person::new();
    for (path, body, printed) in [
        ("/health", "", "{\"ok\":true}\n"),
        ("/ready", "", "{\"ok\":true}\n"),
        ("/", &check(fresh_pub()).to_string(), "{\"ok\":true,\"found\":false}\n"),
        (
            "/nothing",
            "",
            "{\"ok\":false,\"error\":\"Not found\",\"detail\":\"requests go to POST /; see GET / for help\"}\n",
        ),
    ] {
        let data = if body.is_empty() { String::new() } else { format!("-d '{body}'") };
        let output = person.shell(&format!("curl --silent --max-time 20 {}{path} {data}", relay.url));
        assert_eq!(stdout(&output), printed, "{path}");
    }
    assert!(get(&format!("{}/info", relay.url)).header("content-length").is_some());
}

#[test]
fn what_is_not_there() {
    let relay = TestRelay::start();
    let nothing = get(&format!("{}/nothing", relay.url));
    assert_eq!(
        (nothing.status, nothing.body.as_str()),
        (404, r#"{"ok":false,"error":"Not found","detail":"requests go to POST /; see GET / for help"}"#)
    );
    let body = check(KEY).to_string();
    let elsewhere = request("POST", &format!("{}/api", relay.url), &[], body.as_bytes());
    assert_eq!((elsewhere.status, elsewhere.body), (404, nothing.body));
    let method = r#"{"ok":false,"error":"Method not allowed","detail":"requests of the protocol are POST /; the Allow header says what this path takes"}"#;
    for (path, allow) in [("/", "GET, HEAD, OPTIONS, POST"), ("/info", "GET, HEAD, OPTIONS")] {
        let reply = request("DELETE", &format!("{}{path}", relay.url), &[], b"");
        assert_eq!((reply.status, reply.body.as_str()), (405, method));
        assert_eq!(reply.header("allow"), Some(allow));
    }
}

#[test]
fn info_says_what_holds() {
    let relay = TestRelay::start();
    let version = env!("CARGO_PKG_VERSION");
    let info = get(&format!("{}/info", relay.url));
    assert_eq!(info.header("content-type"), Some("application/json"));
    assert_eq!(
        info.body,
        format!(
            r#"{{"ok":true,"name":"connectoid","version":"{version}","protocol":1,"time":1795158000000000,"client":"127.0.0.1","relays":["https://connecto.id"],"apiKey":false,"limits":{{"requestBytes":32768,"messageBytes":16384,"receive":32,"checkBoxes":100,"checkBytes":65536,"wait":25,"boxMessages":32,"boxBytes":524288,"boxMessagesPerSource":32,"totalBytes":null,"messageTtl":3600,"answerTtl":60,"boxTtl":2592000,"sendRate":null,"sendToBoxRate":null,"checkRate":null,"receiveRate":null}}}}"#
        )
    );

    let other = TestRelay::with(|config| {
        config.urls = vec![];
        config.require_api_key = true;
        config.keep.box_cap = None;
        config.keep.max_bytes = Some(10);
        config.max_wait = Duration::from_secs(5);
        config.keep.message_ttl = Duration::from_secs(7);
        config.keep.box_ttl = Duration::from_secs(8);
        config.answer_ttl = Duration::from_secs(9);
        config.rates = Rates::DEFAULT;
    });
    other.clock.advance(Duration::from_micros(1));
    assert_eq!(
        get(&format!("{}/info", other.url)).body,
        format!(
            r#"{{"ok":true,"name":"connectoid","version":"{version}","protocol":1,"time":1795158000000001,"client":"127.0.0.1","relays":[],"apiKey":true,"limits":{{"requestBytes":32768,"messageBytes":16384,"receive":32,"checkBoxes":100,"checkBytes":65536,"wait":5,"boxMessages":null,"boxBytes":null,"boxMessagesPerSource":null,"totalBytes":10,"messageTtl":7,"answerTtl":9,"boxTtl":8,"sendRate":{{"perMinute":30,"burst":10}},"sendToBoxRate":{{"perMinute":10,"burst":5}},"checkRate":{{"perMinute":600,"burst":100}},"receiveRate":{{"perMinute":300,"burst":50}}}}}}"#
        )
    );
}

#[test]
fn health_is_the_process_and_ready_is_the_database_too() {
    let database = TestDatabase::new(Kind::Postgres);
    let proxy = Proxy::before(&database.url);
    let relay = TestRelay::on(&proxy.url, |_| ());
    let ask = |path: &str| {
        let reply = get(&format!("{}{path}", relay.url));
        assert_eq!(reply.header("content-type"), Some("application/json"));
        let after = reply.header("retry-after").map(str::to_owned);
        (reply.status, reply.body, after)
    };
    let ok = (200, r#"{"ok":true}"#.to_owned(), None);
    assert_eq!(ask("/health"), ok);
    assert_eq!(ask("/ready"), ok);
    proxy.cut();
    assert_eq!(ask("/health"), ok);
    assert_eq!(
        ask("/ready"),
        (
            503,
            r#"{"ok":false,"error":"Busy","detail":"the relay cannot do this just now; send the same request again","retryAfter":2}"#.to_owned(),
            Some("2".to_owned())
        )
    );
    proxy.mend();
    assert_eq!(ask("/ready"), ok);
}

#[test]
fn the_curl_lines_of_the_help_work() {
    let relay = TestRelay::start();
    let help = get(&relay.url);
    assert_eq!(help.header("content-type"), Some("text/plain; charset=utf-8"));
    assert!(help.body.starts_with("connectoid "), "{}", help.body);
    let key = fresh_key();
    let lines: Vec<String> = help
        .body
        .lines()
        .filter_map(|line| line.find("curl ").map(|at| &line[at..]))
        .filter(|line| line.contains("-d '"))
        .map(|line| line.replace("https://connecto.id/", &format!("{}/", relay.url)))
        .map(|line| line.replace("curl ", "curl --silent --show-error --max-time 20 "))
        .map(|line| line.replace("\"PUB\"", &format!("\"{}\"", key.public())))
        .map(|line| line.replace("BASE64URL", "aGVsbG8"))
        .collect();
    assert_eq!(lines.len(), 3, "{}", help.body);
    let person = Person::new();
    let run = |line: &str| {
        let output = person.shell(line);
        assert!(output.status.success(), "{line}: {output:?}");
        stdout(&output)
    };
    assert_eq!(run(&lines[0]), "{\"ok\":true}\n");
    assert!(run(&lines[1]).starts_with(r#"{"ok":true,"found":true,"question":""#));
    let receive = lines[2].replace("ANSWER", &relay.answer(&key));
    assert_eq!(run(&receive), "{\"ok\":true,\"at\":1795158000000000,\"data\":\"aGVsbG8\"}\n");
}
