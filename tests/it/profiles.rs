//! `--profile`, each with the variables of its platform, and what is done with requests where a platform freezes the relay
//! between them.

use std::{
    fs,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use connectoid::{
    clock::Clock as _,
    protocol::{PublicKey, base64url},
    relay::Rate,
    seal::question::open_question,
};
use serde_json::{Value, json};

use crate::{
    api_keys::{add_key, used},
    cli::seen,
    documents::read,
    harness::{
        Kind, Person, Reply, SECOND, Serving, TestDatabase, TestRelay, fresh_key, fresh_pub, get, metric,
        post, request, stdout, until,
    },
    proxy::Proxy,
    wire::Wire,
};

/// Hops as platforms write them: what the client said, then theirs.
const HOPS: (&str, &str) = ("x-forwarded-for", "203.0.113.9, 198.51.100.7, 192.0.2.1");

/// A relay with this profile and these variables.
fn on_platform(profile: &str, args: &[&str], variables: &[(&str, &str)]) -> Serving {
    Serving::start_with(&[&["--profile", profile], args].concat(), |command| {
        command.envs(variables.iter().copied());
    })
}

fn info(relay: &Serving, headers: &[(&str, &str)]) -> Value {
    request("GET", &format!("{}/info", relay.url), headers, b"").json()
}

/// What a relay said of its profile, if it did, and of its URL.
fn said(relay: Serving) -> (String, bool) {
    relay.signal("TERM");
    let (code, said) = relay.wait();
    assert_eq!(code, Some(0), "{said}");
    let of_profile = said.lines().find_map(|line| Some(line.split_once("profile ")?.1.to_owned()));
    (of_profile.unwrap_or_default(), said.contains("no --url"))
}

#[test]
fn render() {
    let database = TestDatabase::new(Kind::Sqlite);
    let variables =
        [("RENDER_EXTERNAL_URL", "https://relay-ab1c.onrender.com"), ("DATABASE_URL", database.url.as_str())];
    let relay = on_platform("render", &[], &variables);
    let info = info(&relay, &[HOPS]);
    assert_eq!(info["relays"], json!(["https://relay-ab1c.onrender.com"]));
    assert_eq!(info["client"], "198.51.100.7");
    assert_eq!(info["limits"]["wait"], 25);
    let expected = "render sets --url https://relay-ab1c.onrender.com --sole-instance --client-address xff:2 \
                    --max-connections-per-source 16384";
    assert_eq!(said(relay), (expected.to_owned(), false));
}

/// The box of a fresh key is checked, asked about and read under the URL by which the platform leads requests to the relay.
fn is_reached_by_host(relay: &Serving, host: &str) {
    let key = fresh_key();
    let ask = |body: Value| request("POST", &relay.url, &[("host", host)], body.to_string().as_bytes());
    let letter = json!({"pub": key.public(), "action": "send", "data": "aGVsbG8"});
    assert_eq!(ask(letter).body, r#"{"ok":true}"#);
    let found = ask(json!({"pub": key.public(), "action": "check", "at": 0})).json();
    let url = format!("https://{host}");
    assert_eq!(found["relay"], url.as_str());
    let question = found["question"].as_str().unwrap();
    let answer = base64url::encode(open_question(&key, &url.parse().unwrap(), question).unwrap().0);
    let receive = json!({"pub": key.public(), "action": "receive", "answer": answer, "at": 0});
    assert_eq!(ask(receive.clone()).json()["data"], "aGVsbG8");
    let elsewhere = request("POST", &relay.url, &[("host", "other.example")], receive.to_string().as_bytes());
    assert_eq!(elsewhere.error(), "Wrong answer");
    let page = request("GET", &relay.url, &[("host", host)], b"").body;
    assert!(page.contains(&url), "{page}");
}

#[test]
fn cloud_run() {
    let host = "relay-123456.europe-west1.run.app";
    let relay = on_platform(
        "cloud-run",
        &["--database", "sqlite::memory:"],
        &[("K_SERVICE", "relay"), ("K_REVISION", "relay-00001"), ("PORT", "8080")],
    );
    let info = info(&relay, &[HOPS, ("host", host)]);
    assert_eq!(info["relays"], json!([format!("https://{host}")]));
    assert_eq!(info["client"], "192.0.2.1");
    assert_eq!(info["limits"]["wait"], 0);
    is_reached_by_host(&relay, host);
    let doctor = Person::new().shell("connectoid doctor --profile cloud-run --max-connections 64");
    for line in [
        "ok    settings: none contradicts another",
        "ok    url: the Host header's, by which the platform leads",
    ] {
        assert!(stdout(&doctor).contains(line), "{doctor:?}");
    }
    let expected = "cloud-run sets --sole-instance --sweep-with-requests --client-address xff:1 --max-wait 0s \
                    --max-connections-per-source 16384";
    assert_eq!(said(relay), (expected.to_owned(), false));
}

#[test]
fn lambda() {
    let host = "abcdefghijklmnopqrstuvwxyz012345.lambda-url.eu-central-1.on.aws";
    let database = TestDatabase::new(Kind::Postgres);
    let variables = [
        ("AWS_LAMBDA_FUNCTION_NAME", "relay"),
        ("DATABASE_URL", database.url.as_str()),
        ("CONNECTOID_LOG_FORMAT", "json"),
    ];
    let relay = on_platform("lambda", &[], &variables);
    let context = ("x-amzn-request-context", r#"{"http":{"method":"GET","sourceIp":"198.51.100.9"}}"#);
    let info = info(&relay, &[HOPS, context, ("host", host)]);
    assert_eq!(info["relays"], json!([format!("https://{host}")]));
    assert_eq!(info["client"], "198.51.100.9");
    assert_eq!(info["limits"]["wait"], 0);
    is_reached_by_host(&relay, host);
    let (profile, no_url) = said(relay);
    let expected = "lambda sets --sweep-with-requests --client-address lambda --max-wait 0s --max-connections-per-source 16384";
    assert!(profile.starts_with(expected) && !no_url, "{profile}");

    // Wherever it is, what is given counts.
    let relay = on_platform("lambda", &["--url", "https://connecto.id"], &variables);
    assert_eq!(get(&format!("{}/info", relay.url)).json()["relays"], json!(["https://connecto.id"]));
}

#[test]
fn fly() {
    let database = TestDatabase::new(Kind::Sqlite);
    let variables = [("FLY_APP_NAME", "my-relay"), ("CONNECTOID_PROFILE", "fly")];
    let relay = Serving::start_with(&["--database", &database.url], |command| {
        command.envs(variables);
    });
    let info = info(&relay, &[HOPS, ("fly-client-ip", "198.51.100.23")]);
    assert_eq!(info["relays"], json!(["https://my-relay.fly.dev"]));
    assert_eq!(info["client"], "198.51.100.23");
    let expected = "fly sets --url https://my-relay.fly.dev --sole-instance --client-address header:Fly-Client-IP \
                    --max-connections-per-source 16384";
    assert_eq!(said(relay), (expected.to_owned(), false));

    // Doctor and the others who look at the database take it for the same relay.
    let person = Person::new();
    let doctor = person.shell("FLY_APP_NAME=my-relay connectoid doctor --profile fly");
    assert!(stdout(&doctor).contains("/data/relay.db"), "{doctor:?}");
    for command in ["admin stats", "prune"] {
        let output =
            person.shell(&format!("CONNECTOID_PROFILE=fly DATABASE_URL=mysql://x connectoid {command}"));
        assert!(seen(&output).2.contains("\"mysql\" is not a database"), "{output:?}");
    }
}

#[test]
fn vps() {
    let person = Person::new();
    fs::create_dir(person.path("state")).unwrap();
    let folder = person.path("state").display().to_string();
    let folders = format!("{folder}:/var/lib/other");
    let relay = on_platform("vps", &["--url", "https://relay.example.com"], &[("STATE_DIRECTORY", &folders)]);
    assert_eq!(info(&relay, &[HOPS])["client"], "192.0.2.1");
    let expected = format!("vps sets --database sqlite://{folder}/relay.db --trusted-proxies 127.0.0.1,::1");
    assert_eq!(said(relay), (expected, false));
    assert!(person.path("state/relay.db").exists());
    let stats =
        person.shell(&format!("STATE_DIRECTORY={folders} connectoid admin stats --profile vps --json"));
    assert!(stdout(&stats).starts_with('{'), "{stats:?}");
}

#[test]
fn what_is_given_counts_before_a_profile() {
    let args = [
        ["--database", "sqlite::memory:"],
        ["--max-wait", "3s"],
        ["--client-address", "xff:3"],
        ["--max-connections-per-source", "7"],
    ];
    let variables = [("CONNECTOID_SWEEP_WITH_REQUESTS", "false"), ("CONNECTOID_SOLE_INSTANCE", "0")];
    let relay = on_platform("cloud-run", &args.concat(), &variables);
    let info = info(&relay, &[HOPS]);
    assert_eq!((&info["client"], &info["limits"]["wait"]), (&json!("203.0.113.9"), &json!(3)));
    assert_eq!(said(relay).0, "cloud-run sets nothing that was not set otherwise");

    // A flag can be turned off; the rest is the profile's.
    let off = ["--sole-instance=false", "--sweep-with-requests=false", "--database", "sqlite::memory:"];
    let relay = on_platform("cloud-run", &off, &[]);
    let expected = "cloud-run sets --client-address xff:1 --max-wait 0s --max-connections-per-source 16384";
    assert_eq!(said(relay).0, expected);
}

#[test]
fn help_shows_the_defaults_of_the_profile() {
    let person = Person::new();
    let help = |line: &str| stdout(&person.shell(line)).split_whitespace().collect::<Vec<_>>().join(" ");
    let plain = help("connectoid serve --help");
    assert!(plain.contains("[env: CONNECTOID_MAX_WAIT=] [default: 25s]"), "{plain}");
    let cloud_run = help("CONNECTOID_PROFILE=cloud-run connectoid serve --help");
    assert!(cloud_run.contains("[env: CONNECTOID_MAX_WAIT=] [default: 0s]"), "{cloud_run}");
    assert!(cloud_run.contains("[env: CONNECTOID_SWEEP_WITH_REQUESTS=] [default: true]"), "{cloud_run}");
    let fly = help("FLY_APP_NAME=a connectoid doctor --profile fly --help");
    assert!(fly.contains("[default: https://a.fly.dev]"), "{fly}");
    assert!(fly.contains("[default: header:Fly-Client-IP]"), "{fly}");
    for asks in ["--help --profile cloud-run", "-h --profile=cloud-run"] {
        let help = help(&format!("connectoid serve {asks}"));
        assert!(help.contains("[env: CONNECTOID_MAX_WAIT=] [default: 0s]"), "{asks}: {help}");
    }
}

#[test]
fn what_a_platform_should_have_said_is_named() {
    let person = Person::new();
    let declines = |line: &str| {
        let (code, out, error) = seen(&person.shell(line));
        assert_eq!((code, out.as_str()), (2, ""), "{line}: {error}");
        error
    };
    let advice = "set --url (CONNECTOID_URL) to the URL that clients use, or leave --profile away\n";
    assert_eq!(
        declines("connectoid serve --profile render"),
        format!(
            "connectoid: --profile render is for a web service of Render, where the platform says the relay's URL, but \
             RENDER_EXTERNAL_URL is not set: {advice}"
        )
    );
    let wrong = declines("RENDER_EXTERNAL_URL=http://relay.example connectoid serve --profile render");
    assert!(
        wrong.contains("http://relay.example would be unencrypted") && wrong.ends_with(advice),
        "{wrong}"
    );
    let fly = declines("connectoid doctor --profile fly");
    assert!(fly.contains("but FLY_APP_NAME is not set: set --url") && fly.ends_with(advice), "{fly}");
    assert_eq!(
        declines("connectoid serve --profile lambda"),
        "connectoid: --profile lambda is for AWS Lambda behind a function URL, where every instance has a disk of its own \
         and loses it: set --database (CONNECTOID_DATABASE or DATABASE_URL) to postgres://USER:PASSWORD@HOST/NAME\n"
    );
    let other = declines("connectoid serve --profile heroku");
    assert!(other.contains("[possible values: render, cloud-run, lambda, fly, vps]"), "{other}");
    // With a URL nobody needs the platform's.
    let relay = on_platform("render", &["--url", "https://a.example", "--database", "sqlite::memory:"], &[]);
    assert_eq!(info(&relay, &[])["relays"], json!(["https://a.example"]));
}

/// Sweeps with requests, every 60 s, of messages that live 10 minutes.
fn sweeping(database: &str, is_sole: bool) -> TestRelay {
    TestRelay::on(database, |config| {
        config.sweep_with_requests = true;
        config.sole_instance = is_sole;
        config.keep.message_ttl = Duration::from_secs(600);
    })
}

fn check(relay: &TestRelay, key: &PublicKey) -> Reply {
    relay.post(&json!({"pub": key, "ext": null, "action": "check", "at": 0}))
}

/// Sweeps that were done, and messages swept, and messages held.
fn swept(relay: &TestRelay) -> [u64; 3] {
    [r#"connectoid_sweeps_total{result="ok"}"#, "connectoid_swept_messages_total", "connectoid_messages"]
        .map(|name| metric(&relay.url, name))
}

#[test]
fn requests_sweep() {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let database = TestDatabase::new(kind);
        let relay = sweeping(&database.url, false);
        assert_eq!(swept(&relay), [0, 0, 0], "{kind:?}: not by itself");
        let boxes = [(); 4].map(|()| fresh_pub());
        check(&relay, &boxes[0]);
        assert_eq!(swept(&relay), [1, 0, 0], "{kind:?}: with the first");
        for n in 0..120u8 {
            relay.send(&boxes[usize::from(n) % 4], &[n]);
        }
        assert_eq!(swept(&relay), [1, 0, 120], "{kind:?}: with the first alone");
        relay.clock.advance(Duration::from_secs(601));
        // A part with each request, done when the reply is there.
        for expected in [[2, 50, 70], [3, 100, 20], [4, 120, 0], [4, 120, 0]] {
            assert_eq!(check(&relay, &boxes[0]).body, r#"{"ok":true,"found":false}"#);
            assert_eq!(swept(&relay), expected, "{kind:?}");
        }
        // Once in an interval, by requests of the protocol that were answered: what is refused costs nothing.
        relay.clock.advance(Duration::from_secs(59));
        check(&relay, &boxes[0]);
        assert_eq!(swept(&relay)[0], 4, "{kind:?}");
        relay.clock.advance(Duration::from_secs(1));
        assert_eq!(get(&format!("{}/health", relay.url)).status, 200);
        assert_eq!(swept(&relay)[0], 4, "{kind:?}");
        assert_eq!(post(&relay.url, "nonsense").status, 400);
        assert_eq!(swept(&relay)[0], 4, "{kind:?}");
        check(&relay, &boxes[0]);
        assert_eq!(swept(&relay)[0], 5, "{kind:?}");
    }
}

#[test]
fn many_requests_at_once_sweep_once() {
    let relay = TestRelay::with(|config| config.sweep_with_requests = true);
    for round in 1..=3 {
        thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| assert_eq!(check(&relay, &fresh_pub()).status, 200));
            }
        });
        assert_eq!(swept(&relay)[0], round);
        relay.clock.advance(Duration::from_secs(60));
    }
}

#[test]
fn an_empty_sole_relay_sweeps_once_a_day() {
    let database = TestDatabase::new(Kind::Postgres);
    let relay = sweeping(&database.url, true);
    let key = fresh_pub();
    for (hours, expected) in [(0, 1), (1, 1), (22, 1), (1, 2), (23, 2)] {
        relay.clock.advance(Duration::from_secs(hours * 3600));
        assert_eq!(check(&relay, &key).status, 200);
        assert_eq!(swept(&relay)[0], expected, "{hours}");
    }
    // Not so with a message.
    relay.clock.advance(Duration::from_secs(60));
    relay.send(&key, b"hello");
    assert_eq!(swept(&relay)[0], 3);
}

#[test]
fn a_sweep_that_fails_fails_no_request() {
    let database = TestDatabase::new(Kind::Postgres);
    let proxy = Proxy::before(&database.url);
    let relay = sweeping(&proxy.url, true);
    let [key, other] = [(); 2].map(|()| fresh_pub());
    relay.send(&other, b"hello");
    assert_eq!(check(&relay, &key).status, 200);
    relay.clock.advance(Duration::from_secs(61));
    proxy.cut();
    // Answered from memory; what is due cannot be done.
    assert_eq!(check(&relay, &key).body, r#"{"ok":true,"found":false}"#);
    until(|| metric(&relay.url, r#"connectoid_sweeps_total{result="failed"}"#) == 1);
    proxy.mend();
    relay.clock.advance(Duration::from_secs(600));
    until(|| {
        check(&relay, &key);
        let swept = swept(&relay)[1] == 1;
        relay.clock.advance(Duration::from_secs(if swept { 0 } else { 60 }));
        swept
    });
}

#[test]
fn the_program_sweeps_with_requests() {
    let options = ["--database", "sqlite::memory:", "--message-ttl", "1s", "--sweep-interval", "1s"];
    let [by_itself, with_requests] = [&[][..], &["--sweep-with-requests"]].map(|more| {
        let relay = Serving::start(&[&options, more].concat());
        let letter = json!({"pub": fresh_pub(), "action": "send", "data": "aGVsbG8"}).to_string();
        assert_eq!(post(&relay.url, &letter).status, 200);
        relay
    });
    until(|| metric(&by_itself.url, "connectoid_swept_messages_total") == 1);
    assert_eq!(metric(&with_requests.url, "connectoid_swept_messages_total"), 0);
    until(|| {
        post(&with_requests.url, &json!({"pub": fresh_pub(), "action": "check"}).to_string());
        metric(&with_requests.url, "connectoid_swept_messages_total") == 1
    });
}

/// A platform may end a process that it froze, without a word.
#[test]
fn what_a_request_used_of_an_api_key_is_stored_before_its_reply() {
    let database = TestDatabase::new(Kind::Sqlite);
    let relay = Serving::start(&["--database", &database.url, "--require-api-key", "--sweep-with-requests"]);
    let api_key = add_key(&database.url, &["shop"]);
    let check = json!({"pub": fresh_pub(), "ext": api_key, "action": "check", "at": 0}).to_string();
    assert_eq!(post(&relay.url, &check).status, 200);
    relay.signal("KILL");
    assert_eq!(relay.wait().0, None);
    assert_eq!(used(&database.url, "shop"), (1, 0, 0));
}

/// The first instance is frozen as soon as it has replied; who waits at the second learns of the message all the same.
#[test]
fn others_are_told_before_the_reply() {
    let database = TestDatabase::new(Kind::Postgres);
    let [frozen, awake] = [&["--sweep-with-requests"][..], &[]].map(|more| {
        Serving::start(&[&["--database", &database.url, "--url", "https://connecto.id"], more].concat())
    });
    for _ in 0..5 {
        let key = fresh_pub();
        let (found, finds) = mpsc::channel();
        let url = awake.url.clone();
        let wait = json!({"pub": key, "action": "check", "at": 0, "wait": 25}).to_string();
        let waiting = thread::spawn(move || drop(found.send(post(&url, &wait).json()["found"].clone())));
        until(|| metric(&awake.url, "connectoid_waiters") == 1);
        let letter = json!({"pub": key, "action": "send", "data": "aGVsbG8"}).to_string();
        assert_eq!(post(&frozen.url, &letter).body, r#"{"ok":true}"#);
        frozen.signal("STOP");
        assert_eq!(finds.recv_timeout(Duration::from_secs(10)), Ok(json!(true)));
        waiting.join().unwrap();
        frozen.signal("CONT");
    }
}

/// A request that came while the process was frozen is answered, though the deadline of its connection has passed.
#[test]
fn deadlines_after_a_freeze() {
    const IDLE: Duration = Duration::from_secs(3);
    let relay = Serving::start(&["--database", "sqlite::memory:", "--idle-timeout", "3s", "--no-limits"]);
    let check = json!({"pub": fresh_pub(), "action": "check"}).to_string();
    let request = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{check}", check.len());
    let frozen_in_time = || {
        let mut connections = [(); 8].map(|()| Wire::at(&relay.url));
        let began = Instant::now();
        for wire in &mut connections {
            // One that waited too long for its turn is closed.
            if began.elapsed() < IDLE {
                assert_eq!(wire.write(&request).reply().status, 200);
            }
        }
        relay.signal("STOP");
        until(|| relay.is_stopped());
        (began.elapsed() < IDLE).then_some(connections)
    };
    // Again, should this machine have stood still meanwhile: then deadlines passed before the freeze.
    let mut connections = (0..20)
        .find_map(|_| {
            let connections = frozen_in_time();
            if connections.is_none() {
                relay.signal("CONT");
            }
            connections
        })
        .unwrap();
    for wire in &mut connections {
        wire.write(&request);
    }
    // Nothing shows that a deadline passed: who would keep it is frozen.
    thread::sleep(IDLE + Duration::from_secs(1));
    relay.signal("CONT");
    for wire in &mut connections {
        assert_eq!(wire.reply().status, 200);
    }
}

/// The table of docs/operations.md is what `--help` says.
#[test]
fn the_table_of_profiles_is_the_programs() {
    let person = Person::new();
    let help = person.ok(&["serve", "--help"], "").split_whitespace().collect::<Vec<_>>().join(" ");
    let (_, help) = help.split_once("Possible values: - ").unwrap();
    let (help, _) = help.split_once(" [env: CONNECTOID_PROFILE").unwrap();
    let document = read("docs/operations.md");
    for profile in help.split(" - ") {
        let [name, is, sets] = profile.splitn(3, ": ").collect::<Vec<_>>().try_into().unwrap();
        let row = format!("| `{name}` | {is} | `{sets}` |");
        assert!(document.contains(&row), "{row}");
    }
}

/// A platform that freezes the process may stop its monotonic clock: the time of day alone goes on.
#[test]
fn rates_count_the_time_of_a_freeze() {
    for with_requests in [true, false] {
        let relay = TestRelay::with(|config| {
            config.sweep_with_requests = with_requests;
            config.rates.check = Rate::new(60, 1);
        });
        let key = fresh_pub();
        assert_eq!(check(&relay, &key).status, 200);
        assert_eq!(check(&relay, &key).status, 429);
        relay.clock.set(relay.clock.now() + 60 * SECOND);
        assert_eq!(check(&relay, &key).status, if with_requests { 200 } else { 429 });
    }
}
