//! `connectoid serve` as its operator sees it: how it starts, what it says, and how it declines.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use connectoid::{protocol::base64url, seal::question::open_question};
use serde_json::{Value, json};
use sqlx::Connection as _;

use crate::{
    cli::seen,
    harness::{
        KEY, Kind, Person, Serving, TestDatabase, block_on, clean_environment, fresh_key, fresh_pub, get,
        post, request, stderr,
    },
};

/// `connectoid serve` started by a line of shell, with its standard error in a file, to be read while it runs.
pub struct Running<'a> {
    operator: &'a Person,
    pub child: Child,
    /// What it printed first.
    pub url: String,
}

impl<'a> Running<'a> {
    /// `line` is to end in an `exec`.
    pub fn start(operator: &'a Person, line: &str) -> Self {
        let mut command = Command::new("bash");
        command.args(["-c", &format!("{line} 2> stderr")]);
        clean_environment(&mut command);
        command
            .env("HOME", operator.home.path())
            .current_dir(operator.home.path())
            .env("PROGRAM", env!("CARGO_BIN_EXE_connectoid"))
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        let url = url.trim_end().to_owned();
        let running = Self { operator, child, url };
        assert!(running.url.starts_with("http://"), "{line}: {}", running.said());
        running
    }

    pub fn said(&self) -> String {
        fs::read_to_string(self.operator.path("stderr")).unwrap()
    }

    /// Waits until it said this.
    pub fn hears(&self, words: &str) -> String {
        let started = Instant::now();
        while !self.said().contains(words) {
            assert!(started.elapsed() < Duration::from_secs(10), "{}", self.said());
            thread::sleep(Duration::from_millis(5));
        }
        self.said()
    }

    pub fn info(&self) -> Value {
        get(&format!("{}/info", self.url)).json()
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn check(key: &impl serde::Serialize) -> Value {
    json!({"pub": key, "ext": null, "action": "check", "at": 0, "ask": true})
}

#[test]
fn the_banners_lines_run_as_they_are() {
    let operator = Person::new();
    let program = Path::new(env!("CARGO_BIN_EXE_connectoid")).parent().unwrap();
    let path = format!("PATH={}:$PATH", program.display());
    let running = Running::start(
        &operator,
        &format!("{path} exec connectoid serve --listen 127.0.0.1:0 --database sqlite://relay.db"),
    );
    let url = &running.url;
    let said = running.hears("no --url");
    let check = format!(r#"{{"pub":"{KEY}","ext":null,"action":"check","at":0}}"#);
    let lines = [
        format!(r#"curl {url}/ -d '{{"pub":"{KEY}","ext":null,"action":"send","data":"aGVsbG8"}}'"#),
        format!("curl {url}/ -d '{check}'"),
        format!("curl -s {url}/ -d '{check}' | connectoid answer --example | curl {url}/ -d @-"),
    ];
    assert_eq!(
        said.split_once("\n\nA box of your own").unwrap().0,
        format!(
            "connectoid 0.2.0 listens on {url}, keeps its messages in sqlite://relay.db\n\n\
             Try it from another terminal; the box of this example is everybody's:\n\n  {}",
            lines.join("\n\n  ")
        )
    );
    let run = |line: &str| {
        let (code, out, err) = seen(&operator.shell(line));
        assert_eq!(code, 0, "{line}: {err}");
        out
    };
    assert_eq!(run(&lines[0]), "{\"ok\":true}\n");
    let checked = run(&lines[1]);
    let question = serde_json::from_str::<Value>(&checked).unwrap()["question"].clone();
    let question = question.as_str().unwrap();
    assert_eq!(question.len(), 227);
    assert_eq!(
        checked,
        format!("{{\"ok\":true,\"found\":true,\"question\":\"{question}\",\"relay\":\"{url}\"}}\n")
    );
    let received = run(&lines[2]);
    let at = serde_json::from_str::<Value>(&received).unwrap()["at"].clone();
    assert_eq!(received, format!("{{\"ok\":true,\"at\":{at},\"data\":\"aGVsbG8\"}}\n"));
    let own = said.split_once("A box of your own:  ").unwrap().1.lines().next().unwrap();
    assert_eq!(own, format!("connectoid link --relay {url} --for Bob"));
    assert_eq!(run(own).lines().count(), 1);
}

#[test]
fn the_banner_names_the_program_as_it_can_be_called_from_there() {
    for (folder, call) in
        [("", "./connectoid"), ("bin", "./bin/connectoid"), ("my tools", "'./my tools/connectoid'")]
    {
        let operator = Person::new();
        fs::create_dir_all(operator.path(folder)).unwrap();
        let program = operator.path(folder).join("connectoid");
        fs::copy(env!("CARGO_BIN_EXE_connectoid"), program).unwrap();
        let running = Running::start(
            &operator,
            &format!("exec {call} serve --listen 127.0.0.1:0 --database sqlite::memory:"),
        );
        let said = running.hears("no --url");
        assert!(said.contains(&format!("| {call} answer --example | curl")), "{call}: {said}");
        assert!(said.contains(&format!("A box of your own:  {call} link --relay")), "{call}: {said}");
    }
}

/// Once for each sweep: with each send strangers could fill the log.
#[test]
fn a_relay_that_is_nearly_full_says_so() {
    let operator = Person::new();
    let running = Running::start(
        &operator,
        "exec $PROGRAM serve --listen 127.0.0.1:0 --max-bytes 32KiB --limit-send-to-box off --sweep-interval 1s --url https://connecto.id",
    );
    let to = fresh_pub();
    // A message takes 256 bytes more than it has, and the box 160 once a sweep has counted it.
    let send = |bytes: usize| {
        let data = base64url::encode(vec![bytes as u8; bytes]);
        let body = json!({"action": "send", "pub": to, "data": data}).to_string();
        post(&running.url, &body).status
    };
    assert_eq!((send(16_384), send(15_072)), (200, 200));
    // Of 32,768 bytes 800 are left.
    assert_eq!((send(90), send(200)), (200, 503));
    assert_eq!((send(38), send(1), send(2)), (200, 503, 503));
    let said = running.hears("all boxes together hold nearly as much as they may (--max-bytes)");
    assert!(said.matches("all boxes").count() <= 2, "{said}");
}

#[test]
fn settings_that_no_relay_can_work_with() {
    let operator = Person::new();
    let small = "expected at least 16384, or the largest message does not fit";
    let smaller = "expected at least 32768, or the largest message does not fit";
    let never = "0 is not in 1..=4294967295";
    for (arguments, words) in [
        ("serve --box-bytes 0", small),
        ("serve --box-bytes 16383", small),
        ("serve --max-bytes 0", smaller),
        ("serve --max-bytes 32767", smaller),
        ("serve --box-bytes 4GiB", "expected less than 4GiB"),
        ("serve --max-waiters x", "expected a number, 0 or more"),
        ("serve --max-waiters=-1", "expected a number, 0 or more"),
        ("admin keys add $'a\\nb'", "expected text without control characters"),
        ("admin keys add zero --requests-per-day 0", never),
        ("admin keys add zero --boxes 0", never),
        ("admin keys add zero --bytes-per-day 0", "expected 1 byte or more"),
        ("completions", "<bash|zsh|fish|elvish|powershell>"),
    ] {
        let output = operator.shell(&format!("connectoid {arguments}"));
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {said}");
        assert!(said.contains(words), "{arguments}: {said}");
    }
    let output = operator.shell("connectoid admin stats --database sqlite::memory:");
    let said = "connectoid: sqlite::memory: is inside its relay, where no other command reaches it: keep the database in a file\n";
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(11), said));
    // The least that works.
    Running::start(&operator, "exec $PROGRAM serve --listen 127.0.0.1:0 --box-bytes 16KiB --max-bytes 32768");
}

#[test]
fn settings_from_the_environment() {
    let operator = Person::new();
    let running = Running::start(&operator, "PORT=0 DATABASE_URL=sqlite://by-url.db exec $PROGRAM serve");
    assert!(running.url.starts_with("http://127.0.0.1:"), "{}", running.url);
    assert!(running.hears("no --url").contains("listens on http://0.0.0.0:"));
    assert!(operator.path("by-url.db").exists());
    assert_eq!(running.info()["limits"]["messageTtl"], 3600);
    drop(running);

    // Ours before the platform's; what the command line says before both.
    let running = Running::start(
        &operator,
        "PORT=1 DATABASE_URL=sqlite://other.db CONNECTOID_LISTEN=127.0.0.1:0 CONNECTOID_DATABASE=sqlite://ours.db \
         CONNECTOID_URL=https://a.example,https://b.example/relay CONNECTOID_NO_LIMITS=1 \
         CONNECTOID_TRUSTED_PROXIES=10.0.0.1,127.0.0.1 CONNECTOID_CLIENT_ADDRESS=header:X-Client \
         CONNECTOID_MESSAGE_TTL=2h CONNECTOID_ANSWER_TTL=30s CONNECTOID_BOX_TTL=1d exec $PROGRAM serve --answer-ttl 20s",
    );
    assert!(running.url.starts_with("http://127.0.0.1:"), "{}", running.url);
    assert!(operator.path("ours.db").exists() && !operator.path("other.db").exists());
    let info = running.info();
    assert_eq!(info["relays"], json!(["https://a.example", "https://b.example/relay"]));
    let limits = &info["limits"];
    assert_eq!(
        [&limits["messageTtl"], &limits["answerTtl"], &limits["boxTtl"], &limits["boxMessages"]],
        [&json!(7200), &json!(20), &json!(86400), &Value::Null]
    );
    let said_by_proxy = request("GET", &format!("{}/info", running.url), &[("x-client", "203.0.113.9")], b"");
    assert_eq!(said_by_proxy.json()["client"], "203.0.113.9");
    assert!(!running.said().contains("no --url"));
    drop(running);

    // Empty is unset, as files of environment variables have it.
    let running = Running::start(
        &operator,
        "PORT=0 DATABASE_URL= CONNECTOID_LISTEN= CONNECTOID_DATABASE= CONNECTOID_URL= CONNECTOID_SECRETS= \
         CONNECTOID_NO_LIMITS= CONNECTOID_TRUSTED_PROXIES= CONNECTOID_CLIENT_ADDRESS= CONNECTOID_LIMIT_SEND= \
         CONNECTOID_METRICS_LISTEN= CONNECTOID_MESSAGE_TTL= CONNECTOID_LOG_LEVEL= CONNECTOID_LOG_FORMAT= CONNECTOID_REQUIRE_API_KEY= \
         CONNECTOID_KEYS= exec $PROGRAM serve",
    );
    assert!(running.url.starts_with("http://127.0.0.1:"), "{}", running.url);
    assert!(running.hears("no --url").contains("listens on http://0.0.0.0:"));
    assert!(operator.path("connectoid.db").exists());
    let info = running.info();
    assert_eq!(info["relays"], json!([]));
    assert_eq!(info["limits"]["boxMessages"], 32);
    assert_eq!(info["limits"]["sendRate"], json!({"perMinute": 30, "burst": 10}));
    assert_eq!(info["client"], "127.0.0.1");
    drop(running);

    let running = Running::start(
        &operator,
        "CONNECTOID_LIMIT_SEND=1:2 CONNECTOID_LIMIT_SEND_TO_BOX=off CONNECTOID_LIMIT_CHECK=3:4 \
         CONNECTOID_LIMIT_RECEIVE=5:6 exec $PROGRAM serve --listen 127.0.0.1:0 --limit-receive 7:8",
    );
    let limits = &running.info()["limits"];
    assert_eq!(
        ["sendRate", "sendToBoxRate", "checkRate", "receiveRate"].map(|name| limits[name]["burst"].clone()),
        [json!(2), Value::Null, json!(4), json!(8)]
    );
}

#[test]
fn several_urls_are_one_relay() {
    let relay = Serving::start(&[
        "--database",
        "sqlite::memory:",
        "--url",
        "https://a.example",
        "--url",
        "https://b.example/relay",
    ]);
    let named = |name: Value| {
        let mut request = check(&KEY);
        request["relay"] = name;
        post(&relay.url, &request.to_string()).json()["relay"].clone()
    };
    assert_eq!(named(json!("https://b.example/relay")), "https://b.example/relay");
    assert_eq!(named(json!("https://else.example")), "https://a.example");
    assert_eq!(named(json!(relay.url)), "https://a.example", "the Host header is not read");
}

#[test]
fn secrets_are_renewed_without_a_gap() {
    let operator = Person::new();
    let made = || {
        // As the help of `serve` says.
        let output = operator.shell("openssl rand -base64 48 | tr '+/' '-_'");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    };
    let (old, new) = (made(), made());
    let database = TestDatabase::new(Kind::Sqlite);
    let start = |secrets: &str| {
        Serving::start_with(&["--database", &database.url, "--url", "https://connecto.id"], |command| {
            command.env("CONNECTOID_SECRETS", secrets);
        })
    };
    let key = fresh_key();
    let relay = start(&old);
    let question = post(&relay.url, &check(&key.public()).to_string()).json();
    let answer =
        open_question(&key, &"https://connecto.id".parse().unwrap(), question["question"].as_str().unwrap());
    let answer = base64url::encode(answer.unwrap().0);
    let receive =
        json!({"pub": key.public(), "ext": null, "action": "receive", "answer": answer, "at": 0, "limit": 1});
    let found = |secrets: &str| {
        let relay = start(secrets);
        let reply = post(&relay.url, &receive.to_string());
        let (_, said) = {
            relay.signal("TERM");
            relay.wait()
        };
        for secret in secrets.split(',') {
            assert!(!said.contains(secret), "{said}");
        }
        (reply.status, reply.json()["error"].clone())
    };
    drop(relay);
    assert_eq!(found(&old), (200, Value::Null));
    assert_eq!(found(&format!("{new},{old}")), (200, Value::Null));
    assert_eq!(found(&new), (403, json!("Wrong answer")));
}

#[test]
fn what_expired_is_swept_from_the_file() {
    let operator = Person::new();
    let running = Running::start(
        &operator,
        "exec $PROGRAM serve --listen 127.0.0.1:0 --database sqlite://relay.db --message-ttl 1s --sweep-interval 1s",
    );
    let send = json!({"pub": KEY, "ext": null, "action": "send", "data": "aGVsbG8"});
    assert_eq!(post(&running.url, &send.to_string()).body, r#"{"ok":true}"#);
    let file = operator.path("relay.db");
    let rows = || -> i64 {
        block_on(async {
            let mut database = sqlx::SqliteConnection::connect(file.to_str().unwrap()).await.unwrap();
            let count = sqlx::query_scalar("select count(*) from messages");
            let rows = count.fetch_one(&mut database).await.unwrap();
            database.close().await.unwrap();
            rows
        })
    };
    let (started, mut seen_there) = (Instant::now(), false);
    while rows() > 0 {
        seen_there = true;
        assert!(started.elapsed() < Duration::from_secs(10), "{}", running.said());
        thread::sleep(Duration::from_millis(50));
    }
    assert!(seen_there);
}

#[test]
fn health_asks_the_relay_of_its_environment_or_the_named_one() {
    let operator = Person::new();
    let health = |line: &str| seen(&operator.shell(line));
    let said = |words: String| (1, String::new(), format!("connectoid: {words}\n"));
    let relay = Serving::start(&["--database", "sqlite::memory:"]);
    let url = relay.url.clone();
    let address = url.strip_prefix("http://").unwrap();
    let port = address.rsplit_once(':').unwrap().1;
    for line in [
        format!("connectoid health {url}"),
        format!("CONNECTOID_LISTEN={address} connectoid health"),
        format!("CONNECTOID_LISTEN=0.0.0.0:{port} PORT=1 connectoid health"),
        format!("PORT={port} connectoid health"),
    ] {
        assert_eq!(health(&line), (0, String::new(), String::new()), "{line}");
    }
    assert_eq!(
        health(&format!("connectoid health {url}/nothing")),
        said(format!("{url}/nothing/health answers with status 404"))
    );
    assert_eq!(
        health("CONNECTOID_LISTEN=nonsense connectoid health"),
        said("CONNECTOID_LISTEN: nonsense is no address".into())
    );
    drop(relay);
    assert_eq!(
        health(&format!("PORT={port} connectoid health")),
        said(format!("{url}/health cannot be reached: nothing listens there (connection refused)"))
    );
}

#[test]
fn every_command_explains_itself() {
    let operator = Person::new();
    for (command, options) in [
        (&[][..], &["--version", "Exit codes:"][..]),
        (
            &["serve"],
            &[
                "--listen",
                "--metrics-listen",
                "--database",
                "--url",
                "--no-limits",
                "--require-api-key",
                "--message-ttl",
                "--answer-ttl",
                "--box-ttl",
                "--sweep-interval",
                "--log-level",
                "--log-format",
                "CONNECTOID_SECRETS",
                "CONNECTOID_DATABASE",
                "[default: 1h]",
            ],
        ),
        (
            &["doctor"],
            &[
                "--json",
                "--api-key",
                "--database",
                "--url",
                "exit code is 1 if anything is bad",
                "[default: 1h]",
            ],
        ),
        (&["health"], &["[URL]", "The relay, by https or on this machine", "CONNECTOID_LISTEN", "/health"]),
        (
            &["link"],
            &[
                "--for",
                "--relay",
                "--app",
                "--ext",
                "--api-key",
                "--no-secret",
                "--query",
                "--expires",
                "--replace",
                "--qr",
                "--svg",
                "--json",
                "--again",
                "show",
            ],
        ),
        (&["link", "show"], &["<LINK>", "--json"]),
        (&["key"], &["import"]),
        (&["key", "import"], &["<FILE>", "--for", "--relay", "--link", "openssl ecparam"]),
        (&["contacts"], &["--keys", "--json"]),
        (&["send"], &["<LINK>", "--file", "--json", "8,892 bytes"]),
        (&["receive"], &["<NAME>", "--json", "--keep"]),
        (&["seal"], &["<LINK>", "--file"]),
        (&["answer"], &["--for", "--example", "--at", "--limit", "--delete"]),
        (&["open"], &["--for", "--json"]),
        (&["admin"], &["keys", "stats"]),
        (&["admin", "keys"], &["add", "list", "revoke", "usage"]),
        (
            &["admin", "keys", "add"],
            &[
                "<NAME>",
                "--requests-per-day",
                "--bytes-per-day",
                "--boxes",
                "CONNECTOID_DATABASE",
                "--api-key",
            ],
        ),
        (&["admin", "keys", "list"], &["--json", "--database"]),
        (&["admin", "keys", "revoke"], &["<NAME>", "--database"]),
        (&["admin", "keys", "usage"], &["[NAME]", "--days", "[default: 7]", "--json", "--database"]),
        (&["admin", "stats"], &["--message-ttl", "--json", "--database"]),
        (&["prune"], &["--message-ttl", "--box-ttl", "[default: 30d]", "--database"]),
        (
            &["completions"],
            &["<bash|zsh|fish|elvish|powershell>", "fpath", "bash, elvish, fish, powershell, zsh"],
        ),
        (&["man"], &["<DIR>", "share/man/man1"]),
    ] {
        let (code, help, err) = seen(&operator.run(&[command, &["--help"]].concat(), ""));
        assert_eq!((code, err.as_str()), (0, ""), "{command:?}");
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for option in options {
            assert!(help.contains(option), "{command:?} does not mention {option}: {help}");
        }
    }
    assert_eq!(operator.ok(&["--version"], ""), "connectoid 0.2.0\n");
}

#[test]
fn no_log_names_anyone() {
    let operator = Person::new();
    let relay = Serving::start(&["--database", "sqlite::memory:", "--no-limits", "--log-level", "debug"]);
    let url = &relay.url;
    let key = fresh_key();
    let key_text = key.public().to_string();
    let mut said = vec![key_text.clone(), "127.7.7.7".into(), "203.0.113.9".into()];
    let mut ask = |mut request: Value| {
        request["pub"] = json!(key_text);
        request["ext"] = json!("ZXh0LW9mLXRoZS1hcHA");
        let line = format!(
            "curl -s --interface 127.7.7.7 -H 'X-Forwarded-For: 203.0.113.9' -H 'Cookie: cookie-of-the-app' \
             '{url}/?query-of-the-app' -d '{request}'"
        );
        let (code, reply, err) = seen(&operator.shell(&line));
        assert_eq!(code, 0, "{err}");
        let reply: Value = serde_json::from_str(&reply).unwrap();
        for value in request.as_object().unwrap().values().chain(reply.as_object().unwrap().values()) {
            said.extend(value.as_str().filter(|text| text.len() > 12).map(str::to_owned));
        }
        reply
    };
    let data = base64url::encode("what the peers say to each other");
    assert_eq!(ask(json!({"action": "send", "data": data})), json!({"ok": true}));
    let asked = ask(json!({"action": "check", "at": 0}));
    let relay_url = asked["relay"].as_str().unwrap().parse().unwrap();
    let answer = open_question(&key, &relay_url, asked["question"].as_str().unwrap()).unwrap();
    let answer = base64url::encode(answer.0);
    let receive = json!({"action": "receive", "answer": answer, "at": 0, "limit": 1});
    assert_eq!(ask(receive.clone())["data"], json!(data));
    assert_eq!(ask(json!({"action": "delete", "answer": answer, "all": true})), json!({"ok": true}));
    // Refusals too.
    ask(json!({"action": "receive", "answer": base64url::encode([7; 56]), "at": 0}));
    ask(json!({"action": "send", "data": "not base64url: what the peers say"}));
    ask(json!({"action": "action-of-the-app"}));
    let (key, url) = (said[0].clone(), relay.url.clone());
    relay.signal("TERM");
    let (code, log) = relay.wait();
    assert_eq!(code, Some(0));
    assert!(log.contains("DEBUG") && log.contains("action=\"delete\""), "{log}");
    said.retain(|text| *text != url);
    said.extend(["cookie-of-the-app".into(), "query-of-the-app".into(), key[..20].to_owned()]);
    assert!(said.len() > 12, "{said:?}");
    for text in said {
        assert!(!log.contains(&text), "{text:?} is in the log: {log}");
    }
}

#[test]
fn fresh_files_are_for_this_user_only() {
    let operator = Person::new();
    let running = Running::start(
        &operator,
        "umask 000; exec $PROGRAM serve --listen 127.0.0.1:0 --database sqlite://relay.db",
    );
    let send = json!({"pub": KEY, "ext": null, "action": "send", "data": "aGVsbG8"});
    assert_eq!(post(&running.url, &send.to_string()).body, r#"{"ok":true}"#);
    let mut names = Vec::new();
    for entry in fs::read_dir(operator.home.path()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name.starts_with("relay.db") {
            assert_eq!(entry.metadata().unwrap().mode() & 0o777, 0o600, "{name}");
            names.push(name);
        }
    }
    names.sort();
    assert_eq!(names, ["relay.db", "relay.db-shm", "relay.db-wal", "relay.db.lock"]);
}
