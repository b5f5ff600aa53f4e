//! Every setting of `serve` changes an outcome, and for each it is said which test shows it.

use std::{collections::BTreeSet, fs, path::Path};

use connectoid::{
    protocol::{PublicKey, base64url},
    seal::question::open_question,
};
use serde_json::json;
use sqlx::Connection as _;

use crate::{
    gateway::{Gateway, ask},
    harness::{
        Kind, Person, Reply, Serving, TestDatabase, block_on, fresh_key, fresh_pub, metric, post, until,
    },
};

/// The tests that turn each option of the real program.
const TESTS: [(&str, &str); 34] = [
    ("--listen", "process::settings_from_the_environment"),
    ("--database", "process::settings_from_the_environment"),
    ("--profile", "profiles::render"),
    ("--url", "process::several_urls_are_one_relay"),
    ("--sole-instance", "settings::a_sole_instance_lets_its_database_sleep"),
    ("--box-messages", "settings::a_box_holds_so_many_messages"),
    ("--box-bytes", "settings::a_box_holds_so_many_bytes"),
    ("--box-messages-per-source", "settings::a_box_holds_so_many_messages_of_one_source"),
    ("--max-bytes", "settings::all_boxes_hold_so_many_bytes_until_they_expire"),
    ("--max-wait", "waiting::the_settings_of_waiting"),
    ("--max-waiters", "waiting::the_settings_of_waiting"),
    ("--trusted-proxies", "limits::trusted_proxies_tell_clients_apart"),
    ("--client-address", "limits::a_platforms_own_header"),
    ("--limit-send", "limits::sends_have_a_rate"),
    ("--limit-send-to-box", "limits::sends_to_one_box_have_a_rate"),
    ("--limit-check", "limits::checks_have_a_rate"),
    ("--limit-receive", "limits::receives_and_deletes_have_a_rate"),
    ("--no-limits", "settings::no_limits_lifts_them"),
    ("--require-api-key", "api_keys::a_program_that_is_stopped_has_stored_what_was_used"),
    ("--no-demo", "demo::a_relay_without_it"),
    ("--demo-stun", "demo::a_relay_names_stun_servers"),
    ("--message-ttl", "settings::all_boxes_hold_so_many_bytes_until_they_expire"),
    ("--answer-ttl", "settings::an_answer_counts_so_long"),
    ("--box-ttl", "settings::an_unchecked_box_lives_so_long"),
    ("--sweep-interval", "settings::sweeps_come_so_often"),
    ("--sweep-with-requests", "profiles::the_program_sweeps_with_requests"),
    ("--head-timeout", "slow::the_settings_of_serve"),
    ("--body-timeout", "slow::the_settings_of_serve"),
    ("--idle-timeout", "slow::the_settings_of_serve"),
    ("--max-connections", "slow::the_settings_of_serve"),
    ("--max-connections-per-source", "slow::the_settings_of_serve"),
    ("--metrics-listen", "metrics::the_program_says_where_its_metrics_are"),
    ("--log-level", "settings::the_log_says_so_much"),
    ("--log-format", "shell::the_log_as_json_is_one_object_a_line"),
];

#[test]
fn every_setting_has_its_test() {
    let help = Person::new().ok(&["serve", "--help"], "");
    let flags = help.lines().filter_map(|line| line.trim().strip_prefix("--"));
    let flags = flags.map(|rest| format!("--{}", rest.split([' ', '[', '\n']).next().unwrap()));
    let mut flags: BTreeSet<String> = flags.collect();
    for general in ["--help", "--keys", "--version"] {
        flags.remove(general);
    }
    let listed: BTreeSet<String> = TESTS.iter().map(|(option, _)| (*option).to_owned()).collect();
    assert_eq!(flags, listed);
    for (option, test) in TESTS {
        let (module, name) = test.split_once("::").unwrap();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/it/{module}.rs"));
        let tests = fs::read_to_string(path).unwrap();
        assert!(tests.contains(&format!("#[test]\nfn {name}()")), "{test}");
        let variable = format!("CONNECTOID{}", option[1..].replace('-', "_").to_uppercase());
        assert!(tests.contains(option) || tests.contains(&variable), "{test} turns {option}");
    }
}

fn serve(args: &[&str]) -> Serving {
    Serving::start(&[&["--database", "sqlite::memory:"], args].concat())
}

fn letter(to: &PublicKey, n: u8, bytes: usize) -> String {
    let data = base64url::encode(vec![n; bytes]);
    json!({"pub": to, "ext": null, "action": "send", "data": data}).to_string()
}

/// Of so many messages of so many bytes to one box, how many were taken before the first was refused.
fn fit(messages: u8, mut send: impl FnMut(u8) -> Reply, refused: (u16, &str)) -> u8 {
    for n in 0..messages {
        let reply = send(n);
        if reply.body == r#"{"ok":true}"# {
            continue;
        }
        assert_eq!((reply.status, reply.body.as_str()), refused);
        return n;
    }
    messages
}

const FULL: (u16, &str) = (
    429,
    r#"{"ok":false,"error":"Too often","detail":"this box is full until its owner deletes messages or they expire","retryAfter":60}"#,
);

#[test]
fn a_box_holds_so_many_messages() {
    for (args, expected) in [(&["--box-messages", "3"][..], 3), (&["--box-messages", "7"], 7), (&[], 32)] {
        let (relay, to) = (serve(&[args, &["--box-messages-per-source", "1000"]].concat()), fresh_pub());
        assert_eq!(fit(40, |n| post(&relay.url, &letter(&to, n, 10)), FULL), expected);
    }
}

#[test]
fn a_box_holds_so_many_bytes() {
    for (size, expected) in [("16384", 2), ("16KiB", 2), ("48kB", 5)] {
        let (relay, to) = (serve(&["--box-bytes", size, "--box-messages-per-source", "32"]), fresh_pub());
        assert_eq!(fit(10, |n| post(&relay.url, &letter(&to, n, 8192)), FULL), expected, "{size}");
    }
}

#[test]
fn a_box_holds_so_many_messages_of_one_source() {
    const SHARE: (u16, &str) = (
        429,
        r#"{"ok":false,"error":"Too often","detail":"this box takes no more from your address until its owner deletes messages or they expire","retryAfter":60}"#,
    );
    for (share, expected) in [("2", 2), ("4", 4)] {
        let relay = serve(&["--box-messages-per-source", share, "--trusted-proxies", "127.0.0.1"]);
        let gateway = Gateway::before(&[&relay.url]);
        let to = fresh_pub();
        for (from, first) in [("127.0.0.2", 0), ("127.0.0.3", 100)] {
            let send = |n: u8| ask(from, "POST", &gateway.url, &[], &letter(&to, first + n, 10));
            assert_eq!(fit(10, send, SHARE), expected, "{from}");
        }
    }
}

#[test]
fn all_boxes_hold_so_many_bytes_until_they_expire() {
    const NO_ROOM: (u16, &str) = (
        503,
        r#"{"ok":false,"error":"Busy","detail":"the relay cannot do this just now; send the same request again","retryAfter":60}"#,
    );
    for (size, expected) in [("40kB", 3), ("66000", 5)] {
        let relay = serve(&["--max-bytes", size, "--message-ttl", "4s", "--sweep-interval", "1s"]);
        let to = fresh_pub();
        // With what each takes beside, 12,256 bytes.
        let send = |n: u8| post(&relay.url, &letter(&to, n, 12_000));
        assert_eq!(fit(10, send, NO_ROOM), expected);
        // Nobody deletes anything: it expires, and is swept.
        until(|| send(99).body == r#"{"ok":true}"#);
    }
}

#[test]
fn no_limits_lifts_them() {
    let caps = ["--box-messages", "2", "--box-bytes", "16KiB", "--max-bytes", "32KiB"];
    let with = serve(&caps);
    let without = serve(&[&caps[..], &["--no-limits"]].concat());
    let to = fresh_pub();
    assert_eq!(fit(40, |n| post(&with.url, &letter(&to, n, 10)), FULL), 2);
    assert_eq!(fit(40, |n| post(&without.url, &letter(&to, n, 10)), FULL), 40);
}

#[test]
fn an_answer_counts_so_long() {
    let [strict, patient] = ["1s", "1h"]
        .map(|time| serve(&["--answer-ttl", time, "--url", "https://connecto.id"]))
        .map(|relay| {
            let key = fresh_key();
            let check = json!({"pub": key.public(), "action": "check", "ask": true}).to_string();
            let question = post(&relay.url, &check).json();
            let url = "https://connecto.id".parse().unwrap();
            let answer = open_question(&key, &url, question["question"].as_str().unwrap()).unwrap();
            let answer = base64url::encode(answer.0);
            let receive = json!({"pub": key.public(), "action": "receive", "answer": answer}).to_string();
            (relay, receive)
        });
    let status = |(relay, receive): &(Serving, String)| post(&relay.url, receive).status;
    until(|| status(&strict) == 403);
    assert_eq!(status(&patient), 200);
}

#[test]
fn an_unchecked_box_lives_so_long() {
    let [strict, patient] = ["1s", "1h"].map(|time| {
        let relay = serve(&["--box-ttl", time, "--message-ttl", "1s", "--sweep-interval", "1s"]);
        assert_eq!(post(&relay.url, &letter(&fresh_pub(), 1, 10)).status, 200);
        relay
    });
    until(|| metric(&strict.url, "connectoid_swept_boxes_total") == 1);
    until(|| metric(&patient.url, "connectoid_swept_messages_total") == 1);
    assert_eq!(metric(&patient.url, "connectoid_swept_boxes_total"), 0);
}

#[test]
fn sweeps_come_so_often() {
    let [often, seldom] = ["1s", "1h"].map(|time| {
        let relay = serve(&["--message-ttl", "1s", "--sweep-interval", time]);
        assert_eq!(post(&relay.url, &letter(&fresh_pub(), 1, 10)).status, 200);
        relay
    });
    until(|| metric(&often.url, "connectoid_swept_messages_total") == 1);
    assert_eq!(metric(&seldom.url, "connectoid_swept_messages_total"), 0);
}

#[test]
fn a_sole_instance_lets_its_database_sleep() {
    for (options, sleeps) in
        [(&["--sole-instance"][..], true), (&["--sole-instance=false"], false), (&[], false)]
    {
        let database = TestDatabase::new(Kind::Postgres);
        let ours = ["--database", &database.url, "--sweep-interval", "1s"];
        let relay = Serving::start(&[&ours, options].concat());
        let idle = json!({"action": "check", "pub": fresh_pub(), "at": 0, "wait": 1}).to_string();
        post(&relay.url, &idle);
        let before = last_asked(&database.url);
        // Each takes a second, and so does a sweep.
        for _ in 0..3 {
            assert_eq!(post(&relay.url, &idle).json()["found"], false);
        }
        assert_eq!(last_asked(&database.url) == before, sleeps, "{options:?}");
        // It is asked what is not known, and told what comes.
        assert_eq!(post(&relay.url, &letter(&fresh_pub(), 1, 10)).status, 200);
        assert_ne!(last_asked(&database.url), before);
    }
}

/// When the relay last asked its database for anything.
fn last_asked(database: &str) -> String {
    const LAST: &str = "select cast(max(state_change) as text) from pg_stat_activity
                        where datname = current_database() and pid <> pg_backend_pid()";
    block_on(async {
        let mut connection = sqlx::PgConnection::connect(database).await.unwrap();
        let (last,): (String,) = sqlx::query_as(LAST).fetch_one(&mut connection).await.unwrap();
        last
    })
}

#[test]
fn the_log_says_so_much() {
    let words = ["no --url", "stopping: finishing", "action="];
    for (level, expected) in [
        ("error", [false; 3]),
        ("warn", [true, false, false]),
        ("info", [true, true, false]),
        ("debug", [true; 3]),
    ] {
        let relay = serve(&["--log-level", level]);
        assert_eq!(post(&relay.url, &letter(&fresh_pub(), 1, 10)).status, 200);
        relay.signal("TERM");
        let (_, said) = relay.wait();
        assert_eq!(words.map(|word| said.contains(word)), expected, "{level}: {said}");
    }
}
