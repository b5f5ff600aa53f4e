//! What a relay counts of itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::TcpListener,
    time::Duration,
};

use connectoid::{clock::Clock as _, relay::Rate};
use serde_json::json;

use crate::{
    api_keys::add_key,
    cli::seen,
    documents::read,
    harness::{
        Kind, Person, Serving, TestDatabase, TestRelay, fresh_key, fresh_pub, get, metric, post, request,
        until,
    },
    proxy::Proxy,
    wire::Wire,
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
    assert_eq!(metric(&relay.url, "connectoid_seal_seconds_count"), 1);
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
    // Counted right after the sweep itself.
    assert!(value("connectoid_sweep_seconds_count") + 1 >= value(r#"connectoid_sweeps_total{result="ok"}"#));
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

/// The values of all metrics of this name, with their labels as they stand there.
fn values(url: &str, name: &str) -> Vec<(String, u64)> {
    let metrics = get(&format!("{url}/metrics")).body;
    let of_name = metrics.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{'));
    let values = of_name.map(|line| line.split_once("} ").unwrap());
    values.map(|(labels, value)| (labels.to_owned(), value.parse().unwrap())).collect()
}

/// Those that are not 0.
fn counted(url: &str, name: &str) -> Vec<(String, u64)> {
    values(url, name).into_iter().filter(|(_, value)| *value > 0).collect()
}

fn one(labels: &str, value: u64) -> (String, u64) {
    (labels.to_owned(), value)
}

#[test]
fn all_that_can_be_foretold_is_there_from_the_start() {
    let relay = TestRelay::start();
    for (name, labels) in [
        ("connectoid_questions_total", &[r#"how="cached""#, r#"how="sealed""#][..]),
        (
            "connectoid_limited_total",
            &[
                r#"by="network",limit="check""#,
                r#"by="network",limit="receive""#,
                r#"by="network",limit="send""#,
                r#"by="source",limit="check""#,
                r#"by="source",limit="receive""#,
                r#"by="source",limit="send""#,
                r#"by="source",limit="send_to_box""#,
            ],
        ),
        (
            "connectoid_api_key_refusals_total",
            &[
                r#"why="boxes""#,
                r#"why="bytes""#,
                r#"why="requests""#,
                r#"why="revoked""#,
                r#"why="unknown""#,
            ],
        ),
        ("connectoid_connections_turned_away_total", &[r#"why="cap""#, r#"why="source""#]),
        (
            "connectoid_requests_total",
            // What is not understood is never ok.
            &[
                r#"action="check",result="Busy""#,
                r#"action="check",result="ok""#,
                r#"action="delete",result="Busy""#,
                r#"action="delete",result="ok""#,
                r#"action="receive",result="Busy""#,
                r#"action="receive",result="ok""#,
                r#"action="send",result="Busy""#,
                r#"action="send",result="ok""#,
                r#"action="wait",result="Busy""#,
                r#"action="wait",result="ok""#,
            ],
        ),
        (
            "connectoid_connections_closed_total",
            &[r#"why="body""#, r#"why="head""#, r#"why="idle""#, r#"why="write""#],
        ),
    ] {
        let expected: Vec<_> = labels.iter().map(|labels| one(labels, 0)).collect();
        assert_eq!(values(&relay.url, name), expected, "{name}");
    }
    assert_eq!(values(&relay.url, "connectoid_limiter_keys").len(), 7);
    assert_eq!(metric(&relay.url, "connectoid_seal_seconds_count"), 0);
}

/// Alarms ask how near it is.
#[test]
fn how_much_there_may_be_is_said() {
    let relay = TestRelay::with(|config| {
        config.connections.max = 300;
        config.max_waiters = 200;
        config.keep.max_bytes = Some(1 << 20);
        config.sweep_interval = Duration::from_millis(20);
    });
    let value = |name: &str| metric(&relay.url, name);
    assert_eq!(
        ["connections", "waiters", "bytes"].map(|what| value(&format!("connectoid_max_{what}"))),
        [300, 200, 1_048_576]
    );
    assert_eq!(value("connectoid_taken_bytes"), 0);
    relay.send(&fresh_pub(), b"hello");
    // 256 beside the message's own 5, and 160 for the box when it is counted.
    until(|| value("connectoid_taken_bytes") == 421);
    let endless = TestRelay::with(|config| config.keep.max_bytes = None);
    assert!(get(&format!("{}/metrics", endless.url)).body.contains("\nconnectoid_max_bytes inf\n"));
}

#[test]
fn the_process_and_the_databases_disk_are_looked_at() {
    let database = TestDatabase::new(Kind::Sqlite);
    let relay = TestRelay::on(&database.url, |_| ());
    let started = relay.clock.now() as f64 / 1e6;
    relay.clock.advance(Duration::from_secs(90));
    let value = |name: &str| number(&relay.url, name);
    let open = value("process_open_fds");
    let _kept: Vec<_> = (0..20).map(|_| Wire::to(&relay)).collect();
    // Those of other tests come and go.
    until(|| value("connectoid_connections") == 21.0);
    assert!(value("process_open_fds") > 20.0 && open > 0.0 && value("process_max_fds") > 100.0);
    assert!(value("process_resident_memory_bytes") > 1e6);
    let used = value("process_cpu_seconds_total");
    until(|| value("process_cpu_seconds_total") > used);
    assert_eq!(value("process_start_time_seconds"), started);

    let file = |name: &str| value(&format!(r#"connectoid_database_bytes{{file="{name}"}}"#));
    let before = file("log");
    relay.send(&fresh_pub(), &[7; 16_384]);
    assert!(file("main") > 0.0 && file("log") >= before + 16_384.0, "{before}");
    assert!(0.0 < value("connectoid_disk_free_bytes"));
    assert!(value("connectoid_disk_free_bytes") <= value("connectoid_disk_bytes"));
    // One in memory has none.
    let relay = TestRelay::on("sqlite::memory:", |_| ());
    assert!(!get(&format!("{}/metrics", relay.url)).body.contains("connectoid_disk"));
}

/// A value that need not be whole.
fn number(url: &str, name: &str) -> f64 {
    let metrics = get(&format!("{url}/metrics")).body;
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {metrics}")).parse().unwrap()
}

#[test]
fn refusals_of_the_limiter_are_counted_by_limit() {
    let relay = TestRelay::with(|config| {
        config.rates.send = Rate::new(60, 2);
        config.rates.send_to_box = Rate::new(60, 1);
        config.rates.check = Rate::new(60, 1);
        config.rates.receive = Rate::new(60, 1);
    });
    let key = fresh_pub();
    let send = |to| relay.post(&json!({"pub": to, "action": "send", "data": "aGVsbG8"})).status;
    assert_eq!([send(key), send(key), send(fresh_pub()), send(fresh_pub())], [200, 429, 200, 429]);
    for action in ["check", "receive"] {
        let body = json!({"pub": key, "action": action, "answer": "A".repeat(75)});
        assert_ne!(relay.post(&body).status, 429);
        assert_eq!(relay.post(&body).status, 429);
    }
    assert_eq!(
        counted(&relay.url, "connectoid_limited_total"),
        [
            one(r#"by="source",limit="check""#, 1),
            one(r#"by="source",limit="receive""#, 1),
            one(r#"by="source",limit="send""#, 1),
            one(r#"by="source",limit="send_to_box""#, 1),
        ]
    );
    let keys = || values(&relay.url, "connectoid_limiter_keys");
    assert_eq!(
        keys(),
        [
            one(r#"by="network",limit="check""#, 1),
            one(r#"by="network",limit="receive""#, 1),
            one(r#"by="network",limit="send""#, 1),
            one(r#"by="source",limit="check""#, 1),
            one(r#"by="source",limit="receive""#, 1),
            one(r#"by="source",limit="send""#, 1),
            one(r#"by="source",limit="send_to_box""#, 2),
        ]
    );
    // Nine sources of one network ask as often as eight may.
    let check = json!({"pub": key, "action": "check"}).to_string();
    let head = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", check.len());
    let statuses = (2..=9)
        .map(|n| Wire::from(&format!("127.0.0.{n}"), &relay.url).write(&head).write(&check).reply().status);
    assert_eq!(statuses.collect::<Vec<_>>(), [200, 200, 200, 200, 200, 200, 200, 429]);
    assert_eq!(metric(&relay.url, r#"connectoid_limited_total{by="network",limit="check"}"#), 1);
}

#[test]
fn refusals_of_api_keys_are_counted_by_why() {
    let database = TestDatabase::new(Kind::Sqlite);
    drop(TestRelay::on(&database.url, |_| ()));
    let once = add_key(&database.url, &["once", "--requests-per-day", "1"]);
    let few_bytes = add_key(&database.url, &["bytes", "--bytes-per-day", "4"]);
    let few_boxes = add_key(&database.url, &["boxes", "--boxes", "1"]);
    let revoked = add_key(&database.url, &["revoked"]);
    let url = database.url.as_str();
    Person::new().ok(&["admin", "keys", "revoke", "revoked", "--database", url], "");
    let relay = TestRelay::on(&database.url, |config| config.require_api_key = true);
    let send = |ext: Option<&str>| {
        relay.post(&json!({"pub": fresh_pub(), "ext": ext, "action": "send", "data": "aGVsbG8"})).status
    };
    assert_eq!([send(None), send(Some("bm90IGEga2V5")), send(Some(&revoked))], [403, 403, 403]);
    assert_eq!([send(Some(&few_bytes)), send(Some(&once)), send(Some(&once))], [429, 200, 429]);
    assert_eq!([send(Some(&few_boxes)), send(Some(&few_boxes))], [200, 429]);
    assert_eq!(
        values(&relay.url, "connectoid_api_key_refusals_total"),
        [
            one(r#"why="boxes""#, 1),
            one(r#"why="bytes""#, 1),
            one(r#"why="requests""#, 1),
            one(r#"why="revoked""#, 1),
            one(r#"why="unknown""#, 2),
        ]
    );
}

#[test]
fn connections_are_counted_and_those_without_a_place() {
    let relay = TestRelay::with(|config| {
        config.metrics_listen = Some("127.0.0.1:0".into());
        config.connections.max = 3;
        config.connections.max_per_source = 2;
    });
    let metrics = relay.metrics_url.as_deref().unwrap();
    // The one that asks for the metrics is open, too.
    let others = |count: u64| until(|| metric(metrics, "connectoid_connections") == 1 + count);
    let of_one_source = [Wire::to(&relay), Wire::to(&relay)];
    others(2);
    assert_eq!(Wire::to(&relay).reply().status, 503);
    let third = Wire::from("127.0.0.2", &relay.url);
    others(3);
    assert_eq!(Wire::from("127.0.0.3", &relay.url).reply().status, 503);
    assert_eq!(
        values(metrics, "connectoid_connections_turned_away_total"),
        [one(r#"why="cap""#, 1), one(r#"why="source""#, 1)]
    );
    drop((of_one_source, third));
    others(0);
    assert_eq!(counted(metrics, "connectoid_connections_closed_total"), []);
}

#[test]
fn deadlines_that_pass_are_counted() {
    let relay = TestRelay::with(|config| {
        config.connections.head_timeout = Duration::from_secs(3);
        config.connections.body_timeout = Duration::from_secs(1);
        config.connections.idle_timeout = Duration::from_secs(1);
    });
    let begun = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n";
    let [mut head, mut body, mut idle] = [(); 3].map(|()| Wire::to(&relay));
    assert_eq!(idle.write("GET /health HTTP/1.1\r\nHost: x\r\n\r\n").reply().status, 200);
    assert_eq!(body.write(begun).reply().status, 400);
    assert_eq!(head.write("GET").reply().status, 408);
    assert!(head.is_closed() && body.is_closed() && idle.is_closed());
    assert_eq!(
        counted(&relay.url, "connectoid_connections_closed_total"),
        [one(r#"why="body""#, 1), one(r#"why="head""#, 1), one(r#"why="idle""#, 1)]
    );
}

#[test]
fn metrics_may_have_a_listener_of_their_own() {
    let relay = TestRelay::with(|config| config.metrics_listen = Some("127.0.0.1:0".into()));
    let metrics = relay.metrics_url.as_deref().unwrap();
    assert_eq!(get(&format!("{}/metrics", relay.url)).status, 404);
    assert_eq!(get(&format!("{}/health", relay.url)).status, 200);
    let send = json!({"pub": fresh_pub(), "action": "send", "data": "aGVsbG8"});
    assert_eq!(relay.post(&send).status, 200);
    assert_eq!(metric(metrics, r#"connectoid_requests_total{action="send",result="ok"}"#), 1);
    assert_eq!(get(&format!("{metrics}/health")).body, r#"{"ok":true}"#);
    for path in ["/", "/info", "/ready", "/openapi.yaml", "/privacy"] {
        assert_eq!(get(&format!("{metrics}{path}")).error(), "Not found", "{path}");
    }
    assert_eq!(post(metrics, &send.to_string()).error(), "Not found");
    assert_eq!(post(&format!("{metrics}/metrics"), "").error(), "Method not allowed");

    let relay = TestRelay::start();
    assert_eq!(relay.metrics_url, None);
    assert_eq!(get(&format!("{}/metrics", relay.url)).status, 200);
}

#[test]
fn the_program_says_where_its_metrics_are() {
    let relay = Serving::start_with(&["--database", "sqlite::memory:"], |command| {
        command.env("CONNECTOID_METRICS_LISTEN", "127.0.0.1:0");
    });
    assert_eq!(get(&format!("{}/metrics", relay.url)).status, 404);
    relay.signal("TERM");
    let (code, said) = relay.wait();
    assert_eq!(code, Some(0));
    assert!(said.contains(" INFO metrics address=127.0.0.1:"), "{said}");

    let operator = Person::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (listen, reason) in [
        (
            address.as_str(),
            "the port is taken: stop what listens there, or choose another with --metrics-listen HOST:PORT",
        ),
        ("nonsense", "expected HOST:PORT, as 127.0.0.1:8080 or [::]:8080"),
    ] {
        let output = operator.run(&["serve", "--listen", "127.0.0.1:0", "--metrics-listen", listen], "");
        let said = format!("connectoid: cannot listen on {listen}: {reason}\n");
        assert_eq!(seen(&output), (10, String::new(), said));
    }
    assert_eq!(std::fs::read_dir(operator.home.path()).unwrap().count(), 0);
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
        assert!(name.starts_with("connectoid_") || name.starts_with("process_"), "{name}");
        assert!(
            text.contains(&format!("# HELP {name} ")) && text.contains(&format!("# TYPE {name} ")),
            "{name}"
        );
    }
    let labels: BTreeSet<&str> =
        text.split(['{', ',']).filter_map(|part| part.split_once("=\"").map(|(label, _)| label)).collect();
    assert_eq!(
        labels,
        BTreeSet::from(["action", "by", "file", "how", "kind", "le", "limit", "result", "version", "why"])
    );
}

#[derive(serde::Deserialize)]
struct Alarms {
    groups: Vec<Group>,
}

#[derive(serde::Deserialize)]
struct Group {
    rules: Vec<Alarm>,
}

#[derive(serde::Deserialize)]
struct Alarm {
    alert: String,
    r#for: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

/// Each alarm says how bad it is, what it is and where to read on; there is a section about it, and a series that makes it ring.
#[test]
fn every_alarm_has_its_page_and_its_test() {
    let alarms: Alarms = serde_saphyr::from_str(&read("deploy/monitoring/alerts.yaml")).unwrap();
    let alarms: Vec<Alarm> = alarms.groups.into_iter().flat_map(|group| group.rules).collect();
    let rings = read("deploy/monitoring/alerts_test.yaml");
    let handbook = read("docs/operations.md");
    let (_, pages) = handbook.split_once("\n## Alarms\n").unwrap();
    let pages = pages.split("\n## ").next().unwrap();
    for Alarm { alert, r#for, labels, annotations } in &alarms {
        assert!(matches!(labels["severity"].as_str(), "critical" | "warning" | "info"), "{alert}");
        assert!(r#for.ends_with('m'), "{alert}: {}", r#for);
        assert_eq!(
            annotations.keys().collect::<Vec<_>>(),
            ["description", "runbook_url", "summary"],
            "{alert}"
        );
        let page = format!("docs/operations.md#{}", alert.to_lowercase());
        assert_eq!(annotations["runbook_url"], page, "{alert}");
        assert!(rings.contains(&format!(r#"ALERTS{{alertname="{alert}", alertstate="firing""#)), "{alert}");
        let (_, page) =
            pages.split_once(&format!("\n### {alert}\n")).unwrap_or_else(|| panic!("no page: {alert}"));
        let page = page.split("\n### ").next().unwrap();
        for part in ["Means", "People notice", "Look", "Do", "Do not"] {
            assert!(page.contains(&format!("\n- **{part}**: ")), "{alert}: {part}");
        }
    }
    let named: Vec<&str> = alarms.iter().map(|alarm| alarm.alert.as_str()).collect();
    let written: Vec<&str> = pages.split("\n### ").skip(1).map(|page| page.lines().next().unwrap()).collect();
    assert_eq!(written, named, "the pages stand in the order of the alarms");
}

/// What alarms, dashboard and documents ask for is what a relay has.
#[test]
fn every_metric_that_is_asked_for_is_there() {
    let database = TestDatabase::new(Kind::Sqlite);
    let relay = TestRelay::on(&database.url, |_| ());
    relay.send(&fresh_pub(), b"hello");
    let metrics = get(&format!("{}/metrics", relay.url)).body;
    let samples = metrics.lines().filter(|line| !line.starts_with('#'));
    let there: BTreeSet<&str> = samples.map(|line| line.split(['{', ' ']).next().unwrap()).collect();
    let asked = |text: &str| -> BTreeSet<String> {
        let words = text.split(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'));
        let names = words.filter(|word| word.starts_with("connectoid_") || word.starts_with("process_"));
        names.map(str::to_owned).collect()
    };
    for (document, least) in [
        ("deploy/monitoring/alerts.yaml", 15),
        ("deploy/monitoring/alerts_test.yaml", 15),
        ("deploy/monitoring/dashboard.json", 25),
    ] {
        let asked = asked(&read(document));
        let missing: Vec<&String> = asked.iter().filter(|name| !there.contains(name.as_str())).collect();
        assert!(missing.is_empty(), "{document}: {missing:?}");
        assert!(asked.len() >= least, "{document}: {asked:?}");
    }
    // The other way: the table of metrics names each, and no other. A histogram is three.
    let ends = ["_bucket", "_sum", "_count"];
    let there: BTreeSet<&str> =
        there.iter().map(|name| ends.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)).collect();
    let handbook = read("docs/operations.md");
    let (_, table) = handbook.split_once("\n| Metric | Means |").unwrap();
    let rows = table.lines().take_while(|line| !line.is_empty()).filter(|line| line.starts_with("| `"));
    let cells = rows.flat_map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2));
    let full = |name: &str| match name.split('{').next().unwrap() {
        name if name.starts_with("process_") => name.to_owned(),
        name => format!("connectoid_{name}"),
    };
    let named: Vec<String> = cells.map(full).collect();
    assert_eq!(named.iter().map(String::as_str).collect::<BTreeSet<_>>(), there);
}

/// Else any website could read, in a browser that reaches a relay, what the relay counts.
#[test]
fn metrics_are_not_for_the_pages_of_others() {
    let apart = TestRelay::with(|config| config.metrics_listen = Some("127.0.0.1:0".to_owned()));
    let relay = TestRelay::start();
    for url in [format!("{}/metrics", relay.url), format!("{}/metrics", apart.metrics_url.as_ref().unwrap())]
    {
        for (method, status) in [("GET", 200), ("HEAD", 200), ("OPTIONS", 405)] {
            let reply = request(method, &url, &[("origin", "https://elsewhere.example")], b"");
            assert_eq!(reply.status, status, "{method} {url}");
            if status == 200 {
                let cors: Vec<_> =
                    reply.headers.iter().filter(|(name, _)| name.starts_with("access-control-")).collect();
                assert!(cors.is_empty(), "{method} {url}: {cors:?}");
                assert_eq!(reply.header("cross-origin-resource-policy"), Some("same-origin"));
                assert_eq!(reply.header("cache-control"), Some("no-store"));
                assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
            }
            assert_eq!(reply.header("access-control-allow-methods"), None, "no preflight: {method} {url}");
        }
    }
}
