//! Who a request comes from and how often it may: measured as rates through a real proxy, and to the second with a
//! clock in the test's hand.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use connectoid::{
    protocol::{PublicKey, base64url},
    relay::{Rate, Rates},
    store::BoxCap,
};
use serde_json::{Value, json};

use crate::{
    gateway::{Gateway, ask},
    harness::{KEY, NO_RATES, Person, Reply, Serving, TestRelay, fresh_pub, get, post, request},
    process::Running,
};

/// Two neighbours, and one who lives elsewhere.
const ALICE: &str = "127.0.0.2";
const BOB: &str = "127.0.0.3";
const CAROL: &str = "127.0.1.2";

const TRUST: &str = "--trusted-proxies=127.0.0.1";

fn serve(args: &[&str]) -> Serving {
    Serving::start(&[&["--database", "sqlite::memory:"], args].concat())
}

/// Well formed, so that it is a `receive`; and wrong, so that it needs no question.
fn wrong_answer() -> String {
    "A".repeat(75)
}

fn receive_from(from: &str, url: &str) -> Reply {
    let request = json!({"action": "receive", "pub": KEY, "answer": wrong_answer()});
    ask(from, "POST", url, &[], &request.to_string())
}

/// Whether it was let through to the relay's rules, which find the answer wrong; else it must be `Too often`.
fn passes(reply: &Reply) -> bool {
    match reply.status {
        200 | 403 => true,
        429 => {
            assert_eq!(reply.error(), "Too often");
            let seconds = reply.json()["retryAfter"].as_u64().unwrap();
            assert_eq!(reply.header("retry-after"), Some(seconds.to_string().as_str()));
            assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
            false
        }
        _ => panic!("{reply:?}"),
    }
}

/// Of so many tries, how many passed.
fn passed(tries: usize, mut attempt: impl FnMut() -> Reply) -> usize {
    (0..tries).filter(|_| passes(&attempt())).count()
}

/// A setting through Caddy, at two rates and off. Whatever the machine's pace, what passes is what the time gives.
fn is_a_rate(option: &str, whose: &str, attempt: impl Fn(&str, &str) -> Reply) {
    for (rate, burst, per_second) in [("60:3", 3.0, 1.0), ("180:6", 6.0, 3.0)] {
        let relay = serve(&[TRUST, &format!("{option}={rate}")]);
        let gateway = Gateway::before(&[&relay.url]);
        let mut count = 0.0;
        let before_first = Instant::now();
        let mut after_first = None;
        let time = loop {
            let before = Instant::now();
            let reply = attempt(ALICE, &gateway.url);
            let first = *after_first.get_or_insert_with(Instant::now);
            if passes(&reply) {
                count += 1.0;
                let most = burst + before_first.elapsed().as_secs_f64() * per_second;
                assert!(count <= most, "{option} {rate}: {count} passed, not {most} at most");
                continue;
            }
            assert_eq!(reply.json()["retryAfter"], 1, "{option} {rate}");
            let detail = reply.json()["detail"].to_string();
            assert!(detail.contains(whose), "{option} {rate}: {detail}");
            // The first refusal after 3 s: what was saved up in a pause of this test is used.
            if before - first > Duration::from_secs(3) {
                break before - first;
            }
        };
        let least = burst + (time.as_secs_f64() * per_second).floor();
        assert!(count >= least, "{option} {rate}: {count} passed, not {least} at least");
        assert!(passes(&attempt(BOB, &gateway.url)), "{option} {rate}: another source");
    }
    let relay = serve(&[TRUST, &format!("{option}=off")]);
    let gateway = Gateway::before(&[&relay.url]);
    assert_eq!(passed(60, || attempt(ALICE, &gateway.url)), 60, "{option} off");
}

#[test]
fn sends_have_a_rate() {
    let send = |from: &str, url: &str| {
        let request = json!({"action": "send", "pub": fresh_pub(), "data": "aGVsbG8"});
        ask(from, "POST", url, &[], &request.to_string())
    };
    is_a_rate("--limit-send", "too many sends from your address;", send);
}

#[test]
fn sends_to_one_box_have_a_rate() {
    let to = fresh_pub();
    // The same message again is stored once: the box does not fill up.
    let request = json!({"action": "send", "pub": to, "data": "aGVsbG8"}).to_string();
    let send = |from: &str, url: &str| ask(from, "POST", url, &[], &request);
    is_a_rate("--limit-send-to-box", "too many sends from your address to this box;", send);
}

#[test]
fn checks_have_a_rate() {
    let check = |from: &str, url: &str| {
        ask(from, "POST", url, &[], &json!({"action": "check", "pub": KEY}).to_string())
    };
    is_a_rate("--limit-check", "too many checks from your address;", check);
}

#[test]
fn receives_and_deletes_have_a_rate() {
    let turn = Cell::new(0);
    let both = |from: &str, url: &str| {
        turn.set(1 - turn.get());
        let action = ["receive", "delete"][turn.get()];
        let request = json!({"action": action, "pub": KEY, "answer": wrong_answer(), "at": 0});
        ask(from, "POST", url, &[], &request.to_string())
    };
    is_a_rate("--limit-receive", "too many receives and deletes from your address;", both);
}

#[test]
fn a_network_has_8_times_the_rate() {
    let relay = serve(&[TRUST, "--limit-receive=1:2"]);
    let gateway = Gateway::before(&[&relay.url]);
    let started = Instant::now();
    let neighbours = (2..=9).map(|n| passed(4, || receive_from(&format!("127.0.0.{n}"), &gateway.url)));
    assert_eq!(neighbours.sum::<usize>(), 16);
    // A ninth one gets what time gives to the network: one in 7.5 s.
    let ninth = (0..4).map(|_| receive_from("127.0.0.10", &gateway.url));
    let ninth: Vec<Reply> = ninth.filter(|reply| !passes(reply)).collect();
    assert!(ninth.len() >= 4 - (started.elapsed().as_secs_f64() / 7.5) as usize);
    for reply in ninth {
        assert_eq!(
            reply.json()["detail"],
            "too many receives and deletes from your network; wait as long as retryAfter says"
        );
        assert!((1..=8).contains(&reply.json()["retryAfter"].as_u64().unwrap()), "{reply:?}");
    }
    assert_eq!(passed(3, || receive_from(CAROL, &gateway.url)), 2, "another network");
}

#[test]
fn the_rate_of_one_box_stops_neither_other_boxes_nor_other_sources() {
    let relay = serve(&[TRUST, "--limit-send-to-box=1:2"]);
    let gateway = Gateway::before(&[&relay.url]);
    let send = |from: &str, to: &Value| {
        let request = json!({"action": "send", "pub": to, "data": "aGVsbG8"});
        ask(from, "POST", &gateway.url, &[], &request.to_string())
    };
    let (one, two) = (json!(fresh_pub()), json!(fresh_pub()));
    assert_eq!(passed(5, || send(ALICE, &one)), 2);
    assert_eq!(passed(5, || send(ALICE, &two)), 2, "another box");
    assert_eq!(passed(5, || send(BOB, &one)), 2, "another source");
}

fn client(from: &str, url: &str, headers: &[(&str, &str)]) -> String {
    let info: Value = ask(from, "GET", &format!("{url}/info"), headers, "").json();
    info["client"].as_str().unwrap().to_owned()
}

/// Whether two askers through the gateway have a rate each; `/info` must agree.
fn told_apart(relay: &Serving, gateway: &Gateway) -> bool {
    let url = &gateway.url;
    assert_eq!(passed(3, || receive_from(ALICE, url)), 2, "{}", relay.url);
    let apart = match passed(3, || receive_from(CAROL, url)) {
        0 => false,
        2 => true,
        other => panic!("{other}"),
    };
    let expected = if apart { [ALICE, CAROL] } else { ["127.0.0.1"; 2] };
    assert_eq!([client(ALICE, url, &[]), client(CAROL, url, &[])], expected);
    apart
}

const TWO: &str = "--limit-receive=1:2";

#[test]
fn trusted_proxies_tell_clients_apart() {
    for (trusted, expected) in [
        (None, false),
        (Some("127.0.0.1"), true),
        (Some("10.0.0.0/8,127.0.0.0/31"), true),
        (Some("10.0.0.0/8"), false),
    ] {
        let trusted = trusted.map(|list| format!("--trusted-proxies={list}"));
        let relay = serve(&[&[TWO], trusted.as_deref().as_slice()].concat());
        let gateway = Gateway::before(&[&relay.url]);
        assert_eq!(told_apart(&relay, &gateway), expected, "{trusted:?}");
    }
}

#[test]
fn two_proxies_in_a_row() {
    for (args, expected) in [
        (&["--client-address=xff:1"][..], false),
        (&["--client-address=xff:2"], true),
        (&["--client-address=xff:2", TRUST], true),
        (&["--client-address=xff:2", "--trusted-proxies=10.0.0.0/8"], false),
        (&[TRUST], true),
        (&["--client-address=header:Fly-Client-IP"], false),
    ] {
        let relay = serve(&[&[TWO], args].concat());
        let inner = Gateway::with(&[&relay.url], "trusted_proxies 127.0.0.1");
        let outer = Gateway::before(&[&inner.url]);
        assert_eq!(told_apart(&relay, &outer), expected, "{args:?}");
    }
}

#[test]
fn a_platforms_own_header() {
    for (args, expected) in [
        (&["--client-address=header:Fly-Client-IP"][..], true),
        (&["--client-address=header:X-Real-IP"], false),
        (&["--client-address=xff:1"], true),
        (&[], false),
    ] {
        let relay = serve(&[&[TWO], args].concat());
        let gateway = Gateway::with(&[&relay.url], "header_up Fly-Client-IP {remote_host}");
        assert_eq!(told_apart(&relay, &gateway), expected, "{args:?}");
    }
    let relay = serve(&[TWO, "--client-address=lambda"]);
    let adapter = r#"header_up X-Amzn-Request-Context "{\"http\":{\"sourceIp\":\"{remote_host}\"}}""#;
    assert!(told_apart(&relay, &Gateway::with(&[&relay.url], adapter)));
}

#[test]
fn what_a_client_says_of_itself_changes_nothing() {
    let forged = [
        ("X-Forwarded-For", "203.0.113.9"),
        ("Forwarded", "for=203.0.113.9"),
        ("X-Real-IP", "203.0.113.9"),
        ("Fly-Client-IP", "203.0.113.9"),
    ];
    let relay = serve(&[TWO, "--trusted-proxies=10.0.0.0/8"]);
    let receive = json!({"action": "receive", "pub": KEY, "answer": wrong_answer()}).to_string();
    assert_eq!(passed(3, || ask(ALICE, "POST", &relay.url, &[], &receive)), 2);
    assert_eq!(passed(3, || ask(ALICE, "POST", &relay.url, &forged, &receive)), 0);
    assert_eq!(client(ALICE, &relay.url, &forged), ALICE);

    let relay = serve(&[TWO, TRUST]);
    let gateway = Gateway::before(&[&relay.url]);
    assert_eq!(passed(3, || ask(ALICE, "POST", &gateway.url, &[], &receive)), 2);
    assert_eq!(passed(3, || ask(ALICE, "POST", &gateway.url, &forged, &receive)), 0);
    assert_eq!(client(ALICE, &gateway.url, &forged), ALICE);
}

#[test]
fn an_ipv6_client_counts_by_its_64_and_its_48() {
    let relay = TestRelay::with(|config| {
        config.client_address.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
        config.rates = Rates { receive: Rate::new(1, 2), ..Rates::OFF };
    });
    let receive = |from: &str| {
        let body = json!({"action": "receive", "pub": KEY, "answer": wrong_answer()}).to_string();
        request("POST", &relay.url, &[("x-forwarded-for", from)], body.as_bytes())
    };
    assert_eq!(passed(3, || receive("2001:db8::1")), 2);
    assert_eq!(passed(3, || receive("[2001:db8::ffff:0:0:1]:4711")), 0, "the same /64");
    for n in 1..8 {
        assert_eq!(passed(3, || receive(&format!("2001:db8:0:{n}::1"))), 2, "another /64");
    }
    assert_eq!(passed(3, || receive("2001:db8:0:8::1")), 0, "8 of the same /48");
    assert_eq!(passed(3, || receive("2001:db8:1::1")), 2, "another /48");
    let info = request("GET", &format!("{}/info", relay.url), &[("x-forwarded-for", "2001:db8:0:8::1")], b"");
    assert_eq!(info.json()["client"], "2001:db8:0:8::/64");
}

/// A box has a share for each source: an address, or all of an IPv6 /64.
#[test]
fn a_source_has_a_share_of_a_box() {
    let relay = TestRelay::with(|config| {
        config.client_address.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
        config.keep.box_cap = Some(BoxCap { messages: 32, bytes: 524_288, messages_per_sender: 8 });
    });
    let (to, other) = (fresh_pub(), fresh_pub());
    let send = |from: &str, to: &PublicKey, n: usize| {
        let data = base64url::encode(format!("{from} {n}"));
        let body = json!({"action": "send", "pub": to, "data": data}).to_string();
        request("POST", &relay.url, &[("x-forwarded-for", from)], body.as_bytes())
    };
    for n in 0..8 {
        assert_eq!(send("192.0.2.1", &to, n).status, 200);
        let from = if n % 2 == 0 { "2001:db8::1" } else { "2001:db8::2" };
        assert_eq!(send(from, &to, n).status, 200);
    }
    for from in ["192.0.2.1", "2001:db8::1", "2001:db8::3"] {
        let more = send(from, &to, 8);
        assert_eq!(
            (more.status, more.body.as_str()),
            (
                429,
                r#"{"ok":false,"error":"Too often","detail":"this box takes no more from your address until its owner deletes messages or they expire","retryAfter":60}"#
            ),
            "{from}"
        );
        assert_eq!(send(from, &other, 8).status, 200, "another box");
    }
    assert_eq!(send("192.0.2.1", &to, 7).status, 200, "a retry");
    for n in 0..8 {
        assert_eq!(send("192.0.2.2", &to, n).status, 200);
    }
    // The last quarter is for those who have nothing in it.
    assert_eq!(send("192.0.2.3", &to, 0).status, 200);
    assert_eq!(send("192.0.2.3", &to, 1).error(), "Too often");
    assert_eq!(send("2001:db8:0:1::1", &to, 0).status, 200);
}

#[test]
fn a_check_of_many_boxes_costs_their_number() {
    let relay = TestRelay::with(|config| config.rates = Rates { check: Rate::new(60, 10), ..Rates::OFF });
    let check = |count: usize| {
        let boxes: Vec<Value> = (0..count).map(|_| json!({"pub": fresh_pub()})).collect();
        relay.post(&json!({"action": "check", "boxes": boxes}))
    };
    let nothing = (200, r#"{"ok":true,"found":false,"boxes":[]}"#.to_owned());
    let seen = |reply: Reply| (reply.status, reply.body);
    assert_eq!(seen(check(6)), nothing);
    assert_eq!(seen(check(6)), refused("too many checks from your address", 2));
    assert_eq!(seen(check(4)), nothing);
    assert_eq!(seen(check(1)), refused("too many checks from your address", 1));
    relay.clock.advance(Duration::from_secs(10));
    // More than may ever pass, and what cannot be understood, cost one.
    assert_eq!(
        seen(check(11)),
        (
            400,
            r#"{"ok":false,"error":"Bad request","detail":"a check may name 10 boxes at most"}"#.to_owned()
        )
    );
    assert_eq!(seen(check(10)), refused("too many checks from your address", 1));
    assert_eq!(seen(check(9)), nothing);
    assert_eq!(get(&format!("{}/info", relay.url)).json()["limits"]["checkBoxes"], 10);
}

#[test]
fn a_proxy_that_was_not_declared_is_said_once() {
    let operator = Person::new();
    let relay = Running::start(
        &operator,
        "exec $PROGRAM serve --listen 127.0.0.1:0 --database sqlite::memory: --url https://relay.example",
    );
    get(&relay.url);
    assert!(!relay.said().contains("proxy"), "{}", relay.said());
    for name in ["X-Forwarded-For", "Forwarded", "X-Forwarded-For"] {
        client(ALICE, &relay.url, &[(name, "203.0.113.9")]);
    }
    let said = relay.hears("a request came through a proxy that is not in --trusted-proxies");
    assert_eq!(said.matches("--trusted-proxies:").count(), 1, "{said}");
    assert!(!said.contains("203.0.113.9") && !said.contains(ALICE), "{said}");
}

/// The first line of a refusal's body that a stranger sees.
fn refused(detail: &str, retry_after: u32) -> (u16, String) {
    let detail = format!("{detail}; wait as long as retryAfter says");
    (429, format!(r#"{{"ok":false,"error":"Too often","detail":"{detail}","retryAfter":{retry_after}}}"#))
}

#[test]
fn by_the_clock_ten_sends_at_once_and_then_one_every_two_seconds() {
    let relay = TestRelay::with(|config| config.rates = Rates { send_to_box: None, ..Rates::DEFAULT });
    let to = fresh_pub();
    let send = |n: u32| {
        let data = base64url::encode(n.to_string());
        relay.post(&json!({"action": "send", "pub": to, "data": data}))
    };
    let too_many = "too many sends from your address";
    for n in 0..10 {
        assert_eq!(send(n).body, r#"{"ok":true}"#, "{n}");
    }
    for n in 10..13 {
        let reply = send(n);
        assert_eq!((reply.status, reply.body.clone()), refused(too_many, 2));
        assert_eq!(reply.header("retry-after"), Some("2"));
    }
    for n in 13..20 {
        relay.clock.advance(Duration::from_millis(500));
        let reply = send(n);
        assert_eq!((reply.status, reply.body), refused(too_many, 2));
        relay.clock.advance(Duration::from_millis(500));
        let reply = send(n);
        assert_eq!((reply.status, reply.body), refused(too_many, 1));
        relay.clock.advance(Duration::from_secs(1));
        assert_eq!(send(n).body, r#"{"ok":true}"#, "{n}");
    }
}

#[test]
fn by_the_clock_five_sends_to_one_box_and_then_one_every_six_seconds() {
    let relay = TestRelay::with(|config| config.rates = Rates::DEFAULT);
    let send = |to| relay.post(&json!({"action": "send", "pub": to, "data": "aGVsbG8"}));
    let (one, two) = (fresh_pub(), fresh_pub());
    for to in [one, two] {
        for _ in 0..5 {
            assert_eq!(send(to).status, 200);
        }
        let reply = send(to);
        assert_eq!((reply.status, reply.body), refused("too many sends from your address to this box", 6));
    }
    relay.clock.advance(Duration::from_secs(6));
    assert_eq!(send(one).status, 200);
    assert_eq!(send(one).status, 429);
}

#[test]
fn what_cannot_be_understood_costs_a_check() {
    let relay = TestRelay::with(|config| config.rates = Rates { check: Rate::new(6, 3), ..Rates::OFF });
    let too_many = refused("too many checks from your address", 10);
    let check = || relay.post(&json!({"action": "check", "pub": KEY}));
    assert_eq!(post(&relay.url, "nonsense").error(), "Bad request");
    assert_eq!(post(&relay.url, &"x".repeat(40_000)).error(), "Too big");
    assert_eq!(check().status, 200);
    for reply in [check(), post(&relay.url, "nonsense"), post(&relay.url, &"x".repeat(40_000))] {
        assert_eq!((reply.status, reply.body), too_many);
    }
    // Pages and preflights are not limited, nor are the other actions.
    for _ in 0..50 {
        assert_eq!(get(&format!("{}/info", relay.url)).status, 200);
        assert_eq!(request("OPTIONS", &relay.url, &[], b"").status, 204);
    }
    assert_eq!(relay.post(&json!({"action": "send", "pub": KEY, "data": "aGVsbG8"})).status, 200);
    relay.clock.advance(Duration::from_secs(10));
    assert_eq!(check().status, 200);
}

#[test]
fn limits_are_there_by_default_and_in_info() {
    let by_default = Serving::start_with(&["--database", "sqlite::memory:"], |command| {
        for (name, _) in NO_RATES {
            command.env_remove(name);
        }
    });
    let rates = |relay: &Serving| {
        let limits = get(&format!("{}/info", relay.url)).json()["limits"].clone();
        ["sendRate", "sendToBoxRate", "checkRate", "receiveRate"].map(|name| limits[name].clone())
    };
    let rate = |per_minute: u32, burst: u32| json!({"perMinute": per_minute, "burst": burst});
    assert_eq!(rates(&by_default), [rate(30, 10), rate(10, 5), rate(600, 100), rate(300, 50)]);

    let turned = ["--limit-send=1:2", "--limit-send-to-box=3:4", "--limit-check=5:6", "--limit-receive=60"];
    assert_eq!(rates(&serve(&turned)), [rate(1, 2), rate(3, 4), rate(5, 6), rate(60, 10)]);

    let none = serve(&[&turned[..], &["--no-limits"]].concat());
    assert_eq!(rates(&none), [Value::Null, Value::Null, Value::Null, Value::Null]);
    assert_eq!(passed(60, || receive_from(ALICE, &none.url)), 60);
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let person = Person::new();
    for (arg, message) in [
        ("--limit-send=0", "expected PER_MINUTE or PER_MINUTE:BURST, each 1 to 1000000, as 30:10; or off"),
        ("--limit-check=on", "expected PER_MINUTE or PER_MINUTE:BURST, each 1 to 1000000, as 30:10; or off"),
        ("--trusted-proxies=caddy", "expected an address or a network, as 127.0.0.1, 10.0.0.0/8 or fd00::/8"),
        (
            "--client-address=xff:0",
            "expected xff:N with N from 1 to 100, header:NAME as header:Fly-Client-IP, or lambda",
        ),
    ] {
        let output = person.run(&["serve", arg], "");
        assert_eq!(output.status.code(), Some(2), "{arg}");
        let said = crate::harness::stderr(&output);
        assert!(said.contains(message), "{arg}: {said}");
    }
}
