//! A relay that asks for API keys: who may use it, and how much.

use std::{
    fs,
    process::Output,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use connectoid::{
    clock::{Clock as _, HandClock},
    metrics::Metrics,
    protocol::{Ext, PublicKey, Refusal, Request, base64url},
    relay::{Caller, Relay, Rules},
    seal::question::Secrets,
    store,
};
use rand::{SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::{
    cli::{parts, seen},
    harness::{
        KEY, Kind, NOW, Person, Reply, SECOND, Serving, TestDatabase, TestRelay, block_on, fresh_key,
        fresh_pub, get, keep, post, stdout,
    },
    proxy::Proxy,
};

const BOTH: [Kind; 2] = [Kind::Sqlite, Kind::Postgres];

/// 2026-11-20T23:59:50.5Z
const NEARLY_MIDNIGHT: i64 = 1_795_219_190_500_000;

fn closed(database: &TestDatabase) -> TestRelay {
    TestRelay::on(&database.url, |config| config.require_api_key = true)
}

/// `connectoid admin` on this database.
pub fn admin(url: &str, args: &[&str]) -> Output {
    Person::new().run(&[&["admin"], args, &["--database", url]].concat(), "")
}

/// Makes an API key: what `keys add` printed.
pub fn add_key(url: &str, args: &[&str]) -> String {
    let (code, key, err) = seen(&admin(url, &[&["keys", "add"], args].concat()));
    assert_eq!(
        (code, err.as_str()),
        (0, "it is not shown again; connectoid link --api-key KEY makes a link that carries it\n")
    );
    key.trim_end().to_owned()
}

/// All that was used of an API key, on whatever day: requests, bytes, boxes now.
pub fn used(url: &str, name: &str) -> (i64, i64, i64) {
    let output = admin(url, &["keys", "usage", name, "--days", "60000", "--json"]);
    let usage: Value = serde_json::from_str(&stdout(&output)).unwrap_or_else(|_| panic!("{output:?}"));
    let days = usage["days"].as_array().unwrap();
    let sum = |what: &str| days.iter().map(|day| day[what].as_i64().unwrap()).sum();
    (sum("requests"), sum("bytes"), usage["boxes"].as_i64().unwrap())
}

fn send(key: &PublicKey, ext: &str, text: &str) -> Value {
    json!({"pub": key, "ext": ext, "action": "send", "data": base64url::encode(text)})
}

fn check(key: &PublicKey, ext: &str) -> Value {
    json!({"pub": key, "ext": ext, "action": "check", "at": 0})
}

fn ok(reply: &Reply) {
    assert_eq!(reply.status, 200, "{reply:?}");
}

fn refused(reply: &Reply, status: u16, body: &str) {
    assert_eq!((reply.status, reply.body.as_str()), (status, body));
}

const NO_KEY: &str = r#"{"ok":false,"error":"Not allowed","detail":"this relay asks for an API key in ext: ask who runs it for one"}"#;
const REVOKED: &str = r#"{"ok":false,"error":"Not allowed","detail":"the API key in ext was revoked: ask who runs this relay for another"}"#;

#[test]
fn a_closed_relay_answers_to_keys_only() {
    for kind in BOTH {
        let database = TestDatabase::new(kind);
        let relay = closed(&database);
        let api_key = add_key(&database.url, &["for the shop"]);
        assert_eq!(base64url::decode(&api_key).unwrap().len(), 32);

        let key = fresh_key();
        let to = key.public();
        for ext in [
            json!(null),
            json!(""),
            json!(base64url::encode([7; 32])),
            json!("ZXh0"),
            json!(base64url::encode([7; 31])),
        ] {
            for mut request in [
                send(&to, "", "hello"),
                check(&to, ""),
                json!({"pub": to, "action": "receive", "answer": base64url::encode([7; 56]), "at": 0}),
                json!({"pub": to, "action": "delete", "answer": base64url::encode([7; 56]), "all": true}),
            ] {
                request["ext"] = ext.clone();
                refused(&relay.post(&request), 403, NO_KEY);
            }
        }

        refused(&relay.post(&send(&to, &api_key, "hello")), 200, r#"{"ok":true}"#);
        let mut asking = check(&to, &api_key);
        asking["relay"] = json!("https://connecto.id");
        let found = relay.post(&asking).json();
        let question = found["question"].as_str().unwrap();
        let answer = connectoid::seal::question::open_question(
            &key,
            &"https://connecto.id".parse().unwrap(),
            question,
        );
        let answer = base64url::encode(answer.unwrap().0);
        let receive = json!({"pub": to, "ext": api_key, "action": "receive", "answer": answer, "at": 0});
        assert_eq!(relay.post(&receive).json()["data"], "aGVsbG8");
        let delete = json!({"pub": to, "ext": api_key, "action": "delete", "answer": answer, "all": true});
        refused(&relay.post(&delete), 200, r#"{"ok":true}"#);

        assert_eq!(get(&format!("{}/info", relay.url)).json()["apiKey"], true);
        let help = get(&relay.url).body;
        assert!(
            help.ends_with("\nAPI-KEY in ext is one that you get from whoever runs this relay: it answers nobody without.\n"),
            "{help}"
        );
    }
}

#[test]
fn an_open_relay_does_not_look_at_ext() {
    let relay = TestRelay::start();
    ok(&relay.post(&send(&fresh_pub(), "ZXh0", "hello")));
    ok(&relay.post(&check(&fresh_pub(), &base64url::encode([7; 32]))));
    assert_eq!(get(&format!("{}/info", relay.url)).json()["apiKey"], false);
    assert!(!get(&relay.url).body.contains("API key"));
}

#[test]
fn a_revoked_key_counts_for_5_seconds_more() {
    let database = TestDatabase::new(Kind::Sqlite);
    let relay = closed(&database);
    let (first, second) = (add_key(&database.url, &["first"]), add_key(&database.url, &["second"]));
    let to = fresh_pub();
    ok(&relay.post(&check(&to, &first)));
    ok(&relay.post(&check(&to, &second)));
    let revoked = seen(&admin(&database.url, &["keys", "revoke", "first"]));
    assert_eq!(
        revoked,
        (0, String::new(), "revoked; a relay that runs refuses it within 5 seconds\n".into())
    );
    relay.clock.advance(Duration::from_micros(4_999_999));
    ok(&relay.post(&check(&to, &first)));
    relay.clock.advance(Duration::from_micros(1));
    refused(&relay.post(&check(&to, &first)), 403, REVOKED);
    ok(&relay.post(&check(&to, &second)));
}

#[test]
fn keys_come_and_go_while_the_program_runs() {
    let database = TestDatabase::new(Kind::Sqlite);
    let relay = Serving::start_with(&["--database", &database.url], |command| {
        command.env("CONNECTOID_REQUIRE_API_KEY", "1");
    });
    let request = |api_key: &str| post(&relay.url, &check(&KEY.parse().unwrap(), api_key).to_string());
    let api_key = add_key(&database.url, &["shop"]);
    ok(&request(&api_key));
    assert_eq!(seen(&admin(&database.url, &["keys", "revoke", "shop"])).0, 0);
    let started = Instant::now();
    loop {
        let reply = request(&api_key);
        if reply.status != 200 {
            refused(&reply, 403, REVOKED);
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "{reply:?}");
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn requests_a_day() {
    let database = TestDatabase::new(Kind::Sqlite);
    let relay = closed(&database);
    relay.clock.set(NEARLY_MIDNIGHT);
    let api_key = add_key(&database.url, &["shop", "--requests-per-day", "3"]);
    let other = add_key(&database.url, &["other"]);
    let to = fresh_pub();
    ok(&relay.post(&check(&to, &api_key)));
    ok(&relay.post(&send(&to, &api_key, "hello")));
    ok(&relay.post(&check(&to, &api_key)));
    for _ in 0..2 {
        let reply = relay.post(&check(&to, &api_key));
        refused(
            &reply,
            429,
            r#"{"ok":false,"error":"Too often","detail":"the API key in ext has used up its requests of this day (UTC)","retryAfter":10}"#,
        );
        assert_eq!(reply.header("retry-after"), Some("10"));
    }
    ok(&relay.post(&check(&to, &other)));
    relay.clock.set(NEARLY_MIDNIGHT + 9 * SECOND);
    assert_eq!(relay.post(&check(&to, &api_key)).json()["retryAfter"], 1);
    relay.clock.set(NEARLY_MIDNIGHT + 9 * SECOND + SECOND / 2);
    ok(&relay.post(&check(&to, &api_key)));
}

const NO_BYTES: &str = r#"{"ok":false,"error":"Too often","detail":"the API key in ext has fewer bytes left on this day (UTC) than this message has","retryAfter":10}"#;

#[test]
fn bytes_a_day() {
    let database = TestDatabase::new(Kind::Sqlite);
    let relay = TestRelay::on(&database.url, |config| {
        config.require_api_key = true;
        config.keep.box_cap.as_mut().unwrap().messages = 1;
        // The relay's first sweep may see the clock jump: not beyond a message's life.
        config.keep.message_ttl = Duration::from_secs(2 * 86_400);
    });
    relay.clock.set(NEARLY_MIDNIGHT);
    let api_key = add_key(&database.url, &["shop", "--bytes-per-day", "16B"]);
    let to = fresh_pub();
    ok(&relay.post(&send(&to, &api_key, "hello")));
    // The box is full: nothing is stored, nothing counts.
    let full = relay.post(&send(&to, &api_key, "world"));
    assert_eq!(full.json()["retryAfter"], 60);
    // Stored already: it counts.
    ok(&relay.post(&send(&to, &api_key, "hello")));
    refused(&relay.post(&send(&fresh_pub(), &api_key, "seven..")), 429, NO_BYTES);
    ok(&relay.post(&send(&fresh_pub(), &api_key, "six...")));
    refused(&relay.post(&send(&fresh_pub(), &api_key, "x")), 429, NO_BYTES);
    ok(&relay.post(&check(&to, &api_key)));
    relay.clock.advance(Duration::from_secs(10));
    ok(&relay.post(&send(&fresh_pub(), &api_key, "sixteen bytes...")));
}

#[test]
fn boxes_at_once() {
    for kind in BOTH {
        let database = TestDatabase::new(kind);
        let before = fresh_pub();
        {
            let open = TestRelay::on(&database.url, |_| ());
            open.send(&before, b"hello");
        }
        let relay = closed(&database);
        let api_key = add_key(&database.url, &["shop", "--boxes", "2"]);
        let other = add_key(&database.url, &["other"]);
        let key = fresh_key();
        let (first, second, third) = (key.public(), fresh_pub(), fresh_pub());
        for to in [&first, &second, &first, &before] {
            ok(&relay.post(&send(to, &api_key, "one")));
        }
        refused(
            &relay.post(&send(&third, &api_key, "two")),
            429,
            r#"{"ok":false,"error":"Too often","detail":"the API key in ext has as many boxes as it may: delete one that is not needed","retryAfter":3600}"#,
        );
        ok(&relay.post(&check(&third, &api_key)));
        ok(&relay.post(&send(&second, &api_key, "three")));
        // It is there, whoever made it.
        ok(&relay.post(&send(&third, &other, "four")));
        ok(&relay.post(&send(&third, &api_key, "five")));

        let fourth = fresh_pub();
        assert_eq!(relay.post(&send(&fourth, &api_key, "six")).status, 429);
        let mut asking = check(&first, &api_key);
        asking["ask"] = json!(true);
        let asked = relay.post(&asking).json();
        let relay_url = asked["relay"].as_str().unwrap().parse().unwrap();
        let question = asked["question"].as_str().unwrap();
        let answer = connectoid::seal::question::open_question(&key, &relay_url, question).unwrap();
        let answer = base64url::encode(answer.0);
        ok(&relay
            .post(&json!({"pub": first, "ext": api_key, "action": "delete", "answer": answer, "all": true})));
        ok(&relay.post(&send(&fourth, &api_key, "six")));
        drop(relay);
        assert_eq!(used(&database.url, "shop").2, 2);
        assert_eq!(used(&database.url, "other"), (1, 4, 1));
    }
}

#[test]
fn usage_outlives_a_restart() {
    for kind in BOTH {
        let database = TestDatabase::new(kind);
        let relay = closed(&database);
        let api_key = add_key(&database.url, &["shop", "--requests-per-day", "5", "--bytes-per-day", "8"]);
        ok(&relay.post(&send(&fresh_pub(), &api_key, "hello")));
        ok(&relay.post(&check(&fresh_pub(), &api_key)));
        drop(relay);
        assert_eq!(used(&database.url, "shop"), (2, 5, 1));
        let relay = closed(&database);
        assert_eq!(relay.post(&send(&fresh_pub(), &api_key, "four")).status, 429);
        ok(&relay.post(&send(&fresh_pub(), &api_key, "san")));
        for _ in 0..2 {
            ok(&relay.post(&check(&fresh_pub(), &api_key)));
        }
        let reply = relay.post(&check(&fresh_pub(), &api_key));
        assert_eq!(reply.json()["retryAfter"], 17 * 3600, "{reply:?}");
        drop(relay);
        let (code, table, _) = seen(&admin(&database.url, &["keys", "usage", "--days", "60000"]));
        assert_eq!(
            (code, table.as_str()),
            (0, "NAME  DAY         REQUESTS  BYTES  BOXES NOW\nshop  2026-11-20  5         8      2\n")
        );
    }
}

#[test]
fn a_program_that_is_stopped_has_stored_what_was_used() {
    let database = TestDatabase::new(Kind::Sqlite);
    let relay = Serving::start(&["--database", &database.url, "--require-api-key"]);
    let api_key = add_key(&database.url, &["shop"]);
    for _ in 0..7 {
        ok(&post(&relay.url, &check(&fresh_pub(), &api_key).to_string()));
    }
    relay.signal("TERM");
    assert_eq!(relay.wait().0, Some(0));
    assert_eq!(used(&database.url, "shop"), (7, 0, 0));
}

#[test]
fn usage_is_stored_while_the_program_runs() {
    let database = TestDatabase::new(Kind::Sqlite);
    let relay = Serving::start(&["--database", &database.url, "--require-api-key"]);
    let api_key = add_key(&database.url, &["shop"]);
    for _ in 0..3 {
        ok(&post(&relay.url, &check(&fresh_pub(), &api_key).to_string()));
    }
    let started = Instant::now();
    while used(&database.url, "shop") != (3, 0, 0) {
        assert!(started.elapsed() < Duration::from_secs(60));
        thread::sleep(Duration::from_millis(100));
    }
}

/// An instance without HTTP, whose usage is added to the database when the test says so.
async fn instance(url: &str, clock: &Arc<HandClock>) -> Relay {
    let store = store::open(url, keep(), store::Role::Shared, Some(clock.clone())).await.unwrap();
    let rules = Rules {
        urls: vec!["https://connecto.id".parse().unwrap()],
        secrets: Secrets::one(&[7; 48]).unwrap(),
        answer_ttl: Duration::from_secs(60),
        max_wait: Duration::ZERO,
        max_waiters: 0,
        require_api_key: true,
    };
    let metrics = Arc::new(Metrics::new().unwrap());
    Relay::new(store, clock.clone(), StdRng::seed_from_u64(1), rules, metrics)
}

/// An instance checks so many times: how many times it was let.
async fn let_through(relay: &Relay, api_key: &str, times: usize) -> usize {
    let mut done = 0;
    for _ in 0..times {
        let body = check(&KEY.parse().unwrap(), api_key).to_string();
        let request = relay.parse(body.as_bytes(), |_| Ok(())).unwrap();
        assert!(
            matches!(&request, Request::Check { ext: Some(ext), .. } if *ext == Ext::try_from(api_key.to_owned()).unwrap())
        );
        let (_here, gone) = oneshot::channel();
        match relay.answer(request, Caller { called: None, source: None, gone }).await {
            Ok(_) => done += 1,
            Err(Refusal::TooOften { .. }) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    done
}

#[test]
fn two_instances_share_a_keys_day() {
    let database = TestDatabase::new(Kind::Postgres);
    block_on(async {
        let clock = Arc::new(HandClock::at(NOW));
        let one = instance(&database.url, &clock).await;
        let two = instance(&database.url, &clock).await;
        let api_key = add_key(&database.url, &["shop", "--requests-per-day", "10"]);
        assert_eq!(let_through(&one, &api_key, 4).await, 4);
        assert_eq!(let_through(&two, &api_key, 3).await, 3);
        one.flush_usage().await.unwrap();
        two.flush_usage().await.unwrap();
        assert_eq!(used(&database.url, "shop"), (7, 0, 0));
        // The second learnt of the first's when it added its own.
        assert_eq!(let_through(&two, &api_key, 9).await, 3);
        // The first does when it looks again, 5 s after it did.
        two.flush_usage().await.unwrap();
        clock.advance(Duration::from_secs(5));
        assert_eq!(let_through(&one, &api_key, 9).await, 0);
        one.flush_usage().await.unwrap();
        assert_eq!(used(&database.url, "shop"), (10, 0, 0));
        // Nothing was counted twice, and the next day begins with nothing.
        clock.advance(Duration::from_secs(86_400));
        assert_eq!(let_through(&one, &api_key, 11).await, 10);
        assert!(clock.now() > NOW);
    });
}

#[test]
fn usage_that_cannot_be_stored_is_kept() {
    let database = TestDatabase::new(Kind::Postgres);
    let proxy = Proxy::before(&database.url);
    block_on(async {
        let clock = Arc::new(HandClock::at(NOW));
        let relay = instance(&proxy.url, &clock).await;
        let api_key = add_key(&database.url, &["shop", "--requests-per-day", "5"]);
        assert_eq!(let_through(&relay, &api_key, 3).await, 3);
        proxy.cut();
        assert!(relay.flush_usage().await.is_err());
        proxy.mend();
        relay.flush_usage().await.unwrap();
        relay.flush_usage().await.unwrap();
        assert_eq!(used(&database.url, "shop"), (3, 0, 0));
        assert_eq!(let_through(&relay, &api_key, 9).await, 2);
    });
}

#[test]
fn what_is_no_key_does_not_ask_the_database_each_time() {
    let database = TestDatabase::new(Kind::Postgres);
    let proxy = Proxy::before(&database.url);
    let relay = TestRelay::on(&proxy.url, |config| config.require_api_key = true);
    let guessed = base64url::encode([7; 32]);
    refused(&relay.post(&check(&fresh_pub(), &guessed)), 403, NO_KEY);
    proxy.cut();
    refused(&relay.post(&check(&fresh_pub(), &guessed)), 403, NO_KEY);
    refused(&relay.post(&check(&fresh_pub(), "")), 403, NO_KEY);
    let another = relay.post(&check(&fresh_pub(), &base64url::encode([8; 32])));
    assert_eq!((another.status, another.error()), (503, "Busy".into()));
    proxy.mend();
}

#[test]
fn keys_are_nowhere_in_the_database() {
    let database = TestDatabase::new(Kind::Sqlite);
    let relay = Serving::start(&["--database", &database.url, "--require-api-key", "--log-level", "debug"]);
    let api_key = add_key(&database.url, &["shop"]);
    ok(&post(&relay.url, &send(&fresh_pub(), &api_key, "a text that is found in the database").to_string()));
    let path = database.url.strip_prefix("sqlite://").unwrap();
    let mut bytes = fs::read(path).unwrap();
    bytes.extend(fs::read(format!("{path}-wal")).unwrap());
    let holds = |what: &[u8]| bytes.windows(what.len()).any(|window| window == what);
    assert!(holds(b"a text that is found in the database") && holds(b"shop"));
    let raw = base64url::decode(&api_key).unwrap();
    assert!(
        !holds(&raw) && !holds(&raw[..12]) && !holds(api_key.as_bytes()) && !holds(&api_key.as_bytes()[..12])
    );
    relay.signal("TERM");
    let (_, log) = relay.wait();
    assert!(log.contains("action=\"send\"") && !log.contains(&api_key[..12]), "{log}");
}

#[test]
fn the_banner_of_a_closed_relay_and_a_link_with_a_key() {
    let folder = Person::new();
    let url = format!("sqlite://{}", folder.path("relay.db").display());
    let relay = Serving::start(&["--database", &url, "--require-api-key"]);
    let api_key = add_key(&url, &["shop"]);
    let (alice, bob) = (Person::new(), Person::new());
    let link = alice.ok(&["link", "--relay", &relay.url, "--for", "Bob", "--api-key", &api_key], "");
    assert_eq!(parts(&link)[2], api_key);
    bob.ok(&["send", link.trim()], "Bread, please");
    assert!(alice.ok(&["receive", "Bob", "--json"], "").contains("\"text\":\"Bread, please\""));
    // Without the key the same link is refused.
    let without: Vec<&str> =
        parts(&link).iter().enumerate().map(|(n, part)| if n == 2 { "" } else { part }).collect();
    let (code, _, err) = seen(&bob.run(&["send", &without.join(".")], "Bread, please"));
    assert_eq!(code, 4);
    assert!(
        err.contains("Not allowed (this relay asks for an API key in ext: ask who runs it for one)"),
        "{err}"
    );

    for wrong in ["not base64url", "A", "AB"] {
        let refusal = alice.run(&["link", "--relay", &relay.url, "--for", "Eve", "--api-key", wrong], "");
        assert_eq!(refusal.status.code(), Some(2));
    }
    let both = ["link", "--relay", &relay.url, "--for", "Eve", "--api-key", &api_key, "--ext", "x"];
    assert_eq!(alice.run(&both, "").status.code(), Some(2));

    // The same from the environment; what the command line says goes before it.
    let with = |variable: &str, arguments: &str| {
        seen(&alice.shell(&format!(
            "CONNECTOID_API_KEY='{variable}' connectoid link --relay {} {arguments}",
            relay.url
        )))
    };
    assert_eq!(parts(&with(&api_key, "--for Carol").1)[2], api_key);
    assert_eq!(parts(&with(&api_key, "--for Dave --ext x").1)[2], "eA");
    assert_eq!(parts(&with("AA", &format!("--for Erin --api-key {api_key}")).1)[2], api_key);
    let wrong = "connectoid: CONNECTOID_API_KEY: expected base64url, as the operator gave it\n";
    assert_eq!(with("AB", "--for Frank"), (2, String::new(), wrong.to_owned()));
    assert_eq!(
        alice.shell(&format!("CONNECTOID_API_KEY={api_key} connectoid link --for Bob --again")).stdout,
        link.as_bytes()
    );

    let address = relay.url.clone();
    relay.signal("TERM");
    let (_, said) = relay.wait();
    let banner = said.split_once("\n\nIt asks").unwrap().1.split("\"#").next().unwrap();
    assert!(
        banner.starts_with(" for an API key in ext. One is made, and used in a link, with:\n\n"),
        "{said}"
    );
    assert!(banner.contains(&format!(" admin keys add NAME --database {url}\n")), "{said}");
    assert!(banner.contains(&format!(" link --relay {address} --api-key KEY --for Bob\n")), "{said}");
}
