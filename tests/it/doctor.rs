//! `connectoid doctor`: what it finds at a healthy relay, and at each that is not.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Output,
    sync::{
        LazyLock,
        atomic::{AtomicU16, Ordering::Relaxed},
    },
};

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use crate::{
    api_keys::add_key,
    cli::seen,
    documents::{blocks, matches, read as document},
    gateway::Gateway,
    harness::{
        Kind, Person, Serving, TestDatabase, TestRelay, block_on, fresh_pub, post, postgres_cluster, stdout,
    },
};

/// What every test says, so that the machine it runs on makes no difference.
const MODEST: [&str; 4] = ["--max-connections", "64", "--max-bytes", "1MiB"];

fn run(person: &Person, args: &[&str]) -> Output {
    person.run(&[&["doctor"], &MODEST[..], args].concat(), "")
}

/// The findings: level, check, and what was found with what to change.
fn findings(output: &Output) -> Vec<(String, String, String)> {
    let findings = stdout(output);
    let findings = findings.lines().map(|line| {
        let finding: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{output:?}"));
        let text = |name: &str| finding[name].as_str().unwrap().to_owned();
        let change = finding["change"].as_str().map(|change| format!(". {change}")).unwrap_or_default();
        (text("level"), text("check"), text("found") + &change)
    });
    findings.collect()
}

/// What is not ok, and the exit code.
fn complaints(person: &Person, args: &[&str]) -> (i32, Vec<(String, String, String)>) {
    let output = run(person, &[args, &["--json"]].concat());
    let mut findings = findings(&output);
    findings.retain(|(level, _, _)| level != "ok");
    let bad = findings.iter().filter(|(level, _, _)| level == "bad").count();
    let code = output.status.code().unwrap();
    assert_eq!(code, i32::from(bad > 0), "{output:?}");
    (code, findings)
}

/// The one complaint about this check, as `level text`.
fn complaint(person: &Person, check: &str, args: &[&str]) -> String {
    let (_, all) = complaints(person, args);
    let mut of_check: Vec<_> = all.iter().filter(|(_, name, _)| name == check).collect();
    assert_eq!(of_check.len(), 1, "{all:?}");
    let (level, _, text) = of_check.remove(0);
    format!("{level} {text}")
}

/// An address that nobody listens on, and no other test takes: they all listen on 127.0.0.1.
fn free_address() -> String {
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| rand::random_range(20_000..30_000).into());
    let mut addresses = std::iter::repeat_with(|| format!("127.0.0.77:{}", NEXT.fetch_add(1, Relaxed)));
    addresses.find(|address| TcpListener::bind(address).is_ok()).unwrap()
}

/// A relay behind Caddy, which knows itself by Caddy's URL.
struct Behind {
    gateway: Gateway,
    _relay: Serving,
    database: TestDatabase,
}

impl Behind {
    fn caddy(line: &str, args: &[&str]) -> Self {
        let (database, address) = (TestDatabase::new(Kind::Sqlite), free_address());
        let gateway = Gateway::with(&[&format!("http://{address}")], line);
        let own = ["--listen", &address, "--url", &gateway.url, "--database", &database.url];
        let relay = Serving::start(&[&own, args].concat());
        Self { gateway, _relay: relay, database }
    }

    /// The settings that doctor takes of it.
    fn settings(&self) -> [&str; 4] {
        ["--url", &self.gateway.url, "--database", &self.database.url]
    }
}

const HEALTHY: [&str; 4] = ["--metrics-listen", "127.0.0.1:0", "--trusted-proxies", "127.0.0.1"];

#[test]
fn a_healthy_relay_behind_a_proxy_is_ok_in_everything() {
    let person = Person::new();
    let relay = Behind::caddy("", &HEALTHY);
    let args = [&relay.settings()[..], &HEALTHY].concat();
    let output = run(&person, &[&args[..], &["--json"]].concat());
    let findings = findings(&output);
    assert_eq!(output.status.code(), Some(0), "{findings:?}");
    let checks: Vec<(&str, &str)> =
        findings.iter().map(|(level, check, _)| (level.as_str(), check.as_str())).collect();
    assert_eq!(
        checks,
        [
            ("ok", "open files"),
            ("ok", "settings"),
            ("ok", "database"),
            ("ok", "journal"),
            ("ok", "permissions"),
            ("ok", "file system"),
            ("ok", "disk"),
            ("ok", "url"),
            ("ok", "clock"),
            ("ok", "CORS"),
            ("ok", "question"),
            ("ok", "large requests"),
            ("ok", "long poll"),
            ("ok", "client address"),
            ("ok", "metrics"),
        ],
        "{findings:?}"
    );
    assert_eq!(findings[3].2, "write-ahead; a relay runs on it");
    assert_eq!(findings[7].2, format!("{} is this relay, connectoid 0.2.0", relay.gateway.url));
    // The same for people. How much of the disk is free may have changed.
    let (code, text, err) = seen(&run(&person, &args));
    assert_eq!((code, err.as_str()), (0, ""));
    for (line, (level, check, found)) in
        text.lines().zip(&findings).filter(|(_, (_, check, _))| check != "disk")
    {
        assert_eq!(line, format!("{level:4}  {check}: {found}"));
    }
    assert_eq!(text.lines().count(), 15);
    // As the documents show it, for a relay in the open.
    let (_, path) = relay.database.url.split_once("//").unwrap();
    let folder = Path::new(path).parent().unwrap().canonicalize().unwrap();
    let shown = [
        (folder.to_str().unwrap(), "/var/lib/connectoid"),
        (&relay.gateway.url, "https://relay.example.com"),
        ("takes this machine for 127.0.0.1", "takes this machine for 198.51.100.7"),
        ("--max-connections 64", "--max-connections 16384"),
        ("1.0 MiB", "1.0 GiB"),
    ];
    let text = shown.iter().fold(text, |text, (here, there)| text.replace(here, there));
    let document = document("docs/operations.md");
    let sample = blocks(&document, "text").into_iter().find(|block| block.starts_with("ok    open files"));
    let sample = sample.unwrap();
    assert!(matches(sample, text.trim_end()), "shown:\n{sample}\nprinted:\n{text}");
}

#[test]
fn postgresql_is_looked_at_too() {
    let person = Person::new();
    let database = TestDatabase::new(Kind::Postgres);
    let look = || {
        let output = run(&person, &["--database", &database.url, "--json"]);
        let mut findings = findings(&output);
        findings.retain(|(_, check, _)| !["open files", "settings", "url"].contains(&check.as_str()));
        (output.status.code(), findings)
    };
    let (code, before) = look();
    assert_eq!(code, Some(0));
    assert!(before[0].2.ends_with(", empty: the relay makes its tables at its start"), "{before:?}");
    let _relay = Serving::start(&["--database", &database.url]);
    let (code, findings) = look();
    assert_eq!(code, Some(0));
    let levels: Vec<(&str, &str)> =
        findings.iter().map(|(level, check, _)| (level.as_str(), check.as_str())).collect();
    assert_eq!(
        levels,
        [
            ("ok", "database"),
            ("ok", "PostgreSQL"),
            ("ok", "durability"),
            ("ok", "connections"),
            ("ok", "distance"),
            ("ok", "clock"),
            ("ok", "notifications"),
        ],
        "{findings:?}"
    );
    assert!(findings[0].2.ends_with(", schema 4"), "{findings:?}");
    assert!(!findings[0].2.contains('@'), "{findings:?}");
    assert_eq!(findings[2].2, "fsync on, synchronous_commit on, full_page_writes on");
    assert_eq!(findings[3].2, "the server allows 197, an instance takes up to 11");
}

#[test]
fn a_server_that_does_not_sync() {
    let person = Person::new();
    let database = TestDatabase::new(Kind::Postgres);
    let (_, name) = database.url.rsplit_once('/').unwrap();
    block_on(async {
        let mut connection = sqlx::PgConnection::connect(&postgres_cluster()).await.unwrap();
        let off = format!("alter database {name} set synchronous_commit = off");
        connection.execute(AssertSqlSafe(off)).await.unwrap();
        connection.close().await.unwrap();
    });
    assert_eq!(
        complaint(&person, "durability", &["--database", &database.url]),
        "bad synchronous_commit is off, and the relay does not start on it. \
         Set synchronous_commit = on: what was acknowledged could be lost"
    );
}

#[test]
fn a_database_that_cannot_be_reached() {
    let person = Person::new();
    let found = complaint(&person, "database", &["--database", "postgres://me:hunter2@127.0.0.1:9/name"]);
    assert!(found.starts_with("bad cannot use PostgreSQL: 127.0.0.1:9: "), "{found}");
    assert!(!found.contains("hunter2"), "{found}");
    assert_eq!(
        complaint(&person, "database", &["--database", "sqlite://missing/relay.db"]),
        "bad cannot open missing/relay.db: its folder does not exist: create it first. \
         Correct --database, or run this as the relay's user"
    );
    assert_eq!(
        complaint(&person, "database", &["--database", "sqlite::memory:"]),
        "warn in memory: what was acknowledged is gone when the relay stops. Name a file, or PostgreSQL, with --database"
    );
}

/// The names of the files in a folder, and what they hold.
fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(folder).unwrap().map(|entry| {
        let entry = entry.unwrap();
        (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
    });
    let mut files: Vec<_> = files.collect();
    files.sort();
    files
}

#[test]
fn a_database_that_is_not_there_yet_is_not_made() {
    let person = Person::new();
    let found = complaint(&person, "database", &["--database", "sqlite://relay.db"]);
    let folder = person.home.path().canonicalize().unwrap();
    assert_eq!(
        found,
        format!(
            "warn there is no {}/relay.db yet. \
             Start the relay, which makes it, or correct --database if it should be there",
            folder.display()
        )
    );
    assert_eq!(contents(person.home.path()), []);
}

#[test]
fn a_newer_schema_is_bad_and_left_as_it_is() {
    let person = Person::new();
    let database = format!("sqlite://{}", person.path("relay.db").display());
    drop(TestRelay::on(&database, |_| ()));
    let before = contents(person.home.path());
    let (code, all) = complaints(&person, &["--database", "sqlite://relay.db"]);
    assert_eq!((code, all.len()), (0, 1), "{all:?}");
    assert!(contents(person.home.path()) == before, "nothing is made, not even a log");
    let execute = |statement: &'static str| {
        block_on(async {
            let file = person.path("relay.db");
            let mut database = sqlx::SqliteConnection::connect(file.to_str().unwrap()).await.unwrap();
            database.execute(statement).await.unwrap();
            database.close().await.unwrap();
        });
    };
    execute(
        "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
         values (9999, 'later', true, x'00', 0)",
    );
    let before = contents(person.home.path());
    let found = complaint(&person, "database", &["--database", "sqlite://relay.db"]);
    assert!(found.starts_with("bad ") && found.contains("schema 9999 of a newer connectoid"), "{found}");
    assert!(contents(person.home.path()) == before);
    execute("delete from _sqlx_migrations where version in (4, 9999)");
    let found = complaint(&person, "database", &["--database", "sqlite://relay.db"]);
    assert!(found.starts_with("warn ") && found.contains("schema 3 of an older connectoid"), "{found}");
    execute("pragma journal_mode = delete");
    let found = complaint(&person, "journal", &["--database", "sqlite://relay.db"]);
    assert!(found.starts_with("warn not write-ahead, as the relay sets it; no relay runs on it"), "{found}");
}

#[test]
fn files_that_others_may_read() {
    let person = Person::new();
    let file = person.path("relay.db");
    drop(TestRelay::on(&format!("sqlite://{}", file.display()), |_| ()));
    let chmod = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    for (mode, level) in [(0o644, "bad"), (0o640, "warn")] {
        chmod(&file, mode);
        let found = complaint(&person, "permissions", &["--database", "sqlite://relay.db"]);
        assert!(
            found.starts_with(level) && found.contains(&format!("relay.db has mode {mode:o}: others")),
            "{found}"
        );
        assert!(found.contains(". chmod 600 "), "{found}");
    }
    chmod(&file, 0o600);
    chmod(person.home.path(), 0o777);
    let found = complaint(&person, "permissions", &["--database", "sqlite://relay.db"]);
    assert!(found.contains("has mode 777: others than its user may replace the database"), "{found}");
    chmod(person.home.path(), 0o1777);
    let (_, all) = complaints(&person, &["--database", "sqlite://relay.db"]);
    assert!(all.iter().all(|(_, check, _)| check != "permissions"), "{all:?}");
}

#[test]
fn a_disk_that_is_too_small() {
    let person = Person::new();
    let args = ["doctor", "--json", "--database", "sqlite://relay.db", "--max-bytes", "1000000TiB"];
    let output = person.run(&args, "");
    assert_eq!(output.status.code(), Some(1));
    let findings = findings(&output);
    let disk = findings.iter().find(|(_, check, _)| check == "disk").unwrap();
    assert!(
        disk.0 == "bad"
            && disk.2.contains("--max-bytes 1000000.0 TiB takes 1200000.0 TiB. Lower --max-bytes below "),
        "{disk:?}"
    );
}

#[test]
fn a_low_limit_of_open_files() {
    let person = Person::new();
    let found = |limit: u32, most: u32| {
        let line = format!("ulimit -n {limit}; exec connectoid doctor --json --max-connections {most}");
        let found = findings(&person.shell(&line)).remove(0);
        assert_eq!(found.1, "open files");
        (found.0, found.2)
    };
    assert_eq!(
        found(64, 1000),
        (
            "bad".into(),
            "soft limit 64, hard limit 64 here, hardly enough for a database. Raise it to 1256 where the relay is \
             started (ulimit -Hn, or LimitNOFILE= in its systemd unit), or lower --max-connections"
                .into()
        )
    );
    assert_eq!(found(600, 1000).0, "warn");
    assert_eq!(
        found(600, 344),
        ("ok".into(), "soft limit 600, hard limit 600 here, enough for --max-connections 344".into())
    );
}

#[test]
fn settings_that_contradict_each_other() {
    let person = Person::new();
    for (args, level, words) in [
        (&["--max-wait", "0s", "--max-waiters", "5"][..], "warn", "--max-waiters counts for nothing"),
        (&["--max-waiters", "49"], "warn", "--max-waiters 49 counts as 48, three quarters of 64 connections"),
        (&["--max-waiters", "0"], "warn", "every check that waits is told Busy"),
        (
            &["--trusted-proxies", "10.0.0.0/8", "--idle-timeout", "59s"],
            "warn",
            "--idle-timeout 59 s is shorter",
        ),
        (&["--trusted-proxies", "10.0.0.0/8,::/0"], "bad", "--trusted-proxies has all addresses in it"),
        (&["--client-address", "xff:1", "--max-connections-per-source", "63"], "warn", "per-source 63 holds"),
        (&["--box-messages-per-source", "33"], "warn", "33 is more than --box-messages 32"),
        (&["--box-ttl", "59m"], "warn", "--box-ttl is shorter than --message-ttl"),
        (&["--no-limits", "--url", "http://127.0.0.1:9"], "warn", "lets anyone fill it"),
    ] {
        let found = complaint(&person, "settings", args);
        assert!(found.starts_with(level) && found.contains(words), "{args:?}: {found}");
    }
    for args in [
        &["--max-wait", "0s"][..],
        &["--max-waiters", "48"],
        &["--idle-timeout", "59s"],
        &["--trusted-proxies", "10.0.0.0/8", "--idle-timeout", "60s"],
        &["--client-address", "xff:1", "--max-connections-per-source", "64"],
        &["--box-messages-per-source", "32"],
        &["--no-limits"],
    ] {
        let (_, all) = complaints(&person, args);
        assert!(all.iter().all(|(_, check, _)| check != "settings"), "{args:?}: {all:?}");
    }
    let (code, _, err) = seen(&person.shell("CONNECTOID_SECRETS=short connectoid doctor"));
    assert_eq!(code, 2, "{err}");
}

#[test]
fn urls_that_lead_nowhere_or_elsewhere() {
    let person = Person::new();
    let found = complaint(&person, "url", &["--url", "http://127.0.0.1:9"]);
    assert!(found.starts_with("bad http://127.0.0.1:9 cannot be reached: "), "{found}");
    let (code, out, err) = seen(&run(&person, &["--url", "http://127.0.0.1:9"]));
    assert_eq!((code, err.as_str()), (1, "connectoid: one check is bad\n"));
    assert!(out.contains("\nbad   url: http://127.0.0.1:9 cannot be reached: "), "{out}");

    let gateway = Gateway::before(&[&format!("http://{}", free_address())]);
    assert_eq!(
        complaint(&person, "url", &["--url", &gateway.url]),
        format!(
            "bad {} answers with status 502: a proxy is there, and reaches no relay. \
             Start the relay, or correct the address that the proxy passes requests to",
            gateway.url
        )
    );

    let relay = Serving::start(&["--database", "sqlite::memory:", "--url", "https://connecto.id"]);
    let url = relay.url.as_str();
    let found = complaint(&person, "url", &["--url", url]);
    assert_eq!(
        found,
        format!(
            "bad the relay at {url} calls itself https://connecto.id: clients refuse its questions. \
             Start it with --url {url}, or correct the --url of this check"
        )
    );
    let found = complaint(&person, "question", &["--url", url]);
    assert!(found.starts_with(&format!("bad that of {url} is bound to \"https://connecto.id\"")), "{found}");
    let found = complaint(&person, "url", &["--url", &format!("{url}/relay")]);
    assert!(found.starts_with(&format!("bad {url}/relay has no /info: status 404")), "{found}");
    let found = complaint(&person, "url", &[]);
    assert!(found.starts_with("warn there is no --url"), "{found}");
}

#[test]
fn a_proxy_that_was_not_declared() {
    let person = Person::new();
    let relay = Behind::caddy("", &["--metrics-listen", "127.0.0.1:0"]);
    let found = complaint(&person, "client address", &relay.settings());
    assert!(
        found.starts_with(&format!("bad {} is behind a proxy (", relay.gateway.url))
            && found.ends_with(
                "Caddy) that the relay was not told of: all its clients share one limit. Set --trusted-proxies to the \
                 proxy's addresses, or --client-address where a platform says it"
            ),
        "{found}"
    );
}

#[test]
fn forged_headers_that_are_believed() {
    let person = Person::new();
    let by_header = ["--client-address", "header:X-Client", "--max-connections-per-source", "64"];
    let relay = Behind::caddy("", &by_header);
    let found = complaint(&person, "client address", &[&relay.settings()[..], &by_header].concat());
    assert!(
        found.starts_with(&format!("bad {} believes what a client says of itself", relay.gateway.url))
            && found.contains(". Let the proxy set x-client itself"),
        "{found}"
    );
    let relay = Behind::caddy("header_up X-Client {remote_host}", &by_header);
    let (code, all) = complaints(&person, &[&relay.settings()[..], &by_header].concat());
    assert_eq!((code, all.len(), all[0].1.as_str()), (0, 1, "metrics"), "{all:?}");

    // Nothing is before this one.
    for (told_by, change) in [
        ("xff:2", "Lower the N of --client-address xff:N"),
        ("lambda", "Use --client-address lambda behind the Lambda Web Adapter only"),
    ] {
        let address = free_address();
        let url = format!("http://{address}");
        let settings = ["--listen", &address, "--url", &url, "--client-address", told_by];
        let _relay = Serving::start(&[&settings[..], &["--database", "sqlite::memory:"]].concat());
        let found = complaint(&person, "client address", &settings);
        assert!(found.starts_with("bad ") && found.contains(&format!(". {change}")), "{found}");
    }
}

#[test]
fn proxies_that_do_not_pass_everything_on() {
    let person = Person::new();
    for (line, check, words) in [
        (
            "}\nhandle /info {\nredir https://elsewhere.example/info",
            "url",
            "redirects, with status 302. Let --url be where it leads, https://elsewhere.example/info",
        ),
        ("}\nhandle /info {\nrespond hello", "url", "is no relay: its /info is status 200"),
        (
            "header_down Access-Control-Allow-Origin https://app.example",
            "CORS",
            "sends 1 headers Access-Control-Allow-Origin, not one that is *",
        ),
        ("header_down +Access-Control-Allow-Origin *", "CORS", "sends 2 headers Access-Control-Allow-Origin"),
        (
            "transport http {\nresponse_header_timeout 1s\n}",
            "long poll",
            "answers a check that waits 2 s with status 504",
        ),
        ("}\nrequest_body {\nmax_size 16KB", "large requests", "answers one of 60 KiB with status "),
        ("header_down Date \"Fri, 20 Nov 2020 07:00:00 GMT\"", "clock", "s ahead of "),
    ] {
        let relay = Behind::caddy(line, &HEALTHY);
        let found = complaint(&person, check, &[&relay.settings()[..], &HEALTHY].concat());
        assert!(found.starts_with("bad ") && found.contains(words), "{line}: {found}");
    }
}

#[test]
fn metrics_that_anyone_can_read() {
    let person = Person::new();
    let relay = Behind::caddy("", &["--trusted-proxies", "127.0.0.1"]);
    let url = &relay.gateway.url;
    let args = [&relay.settings()[..], &["--trusted-proxies", "127.0.0.1"]].concat();
    assert_eq!(
        complaint(&person, "metrics", &args),
        format!(
            "warn anyone can read {url}/metrics. Set --metrics-listen, as 127.0.0.1:9090, or let the proxy refuse /metrics"
        )
    );
}

#[test]
fn a_relay_that_asks_for_api_keys() {
    let person = Person::new();
    let closed = [&HEALTHY[..], &["--require-api-key"]].concat();
    let relay = Behind::caddy("", &closed);
    let args = [&relay.settings()[..], &closed].concat();
    let (code, all) = complaints(&person, &args);
    assert_eq!((code, all.len(), all[0].1.as_str()), (0, 1, "question"), "{all:?}");
    let key = add_key(&relay.database.url, &["doctor"]);
    assert_eq!(complaints(&person, &[&args[..], &["--api-key", &key]].concat()), (0, vec![]));
    let line = format!("CONNECTOID_API_KEY={key} connectoid doctor --json {}", args.join(" "));
    let by_variable = stdout(&person.shell(&line));
    assert!(
        by_variable.contains("\"ok\",\"check\":\"question\"") && !by_variable.contains(&key),
        "{by_variable}"
    );
    let help = stdout(&person.shell(&format!("CONNECTOID_API_KEY={key} connectoid doctor --help")));
    assert!(help.contains("CONNECTOID_API_KEY") && !help.contains(&key), "{help}");
    let check = serde_json::json!({"pub": fresh_pub(), "action": "check"});
    assert_eq!(post(&relay.gateway.url, &check.to_string()).status, 403, "it is closed indeed");
}
