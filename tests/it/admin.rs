//! What an operator does beside a relay: API keys, figures, pruning.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use connectoid::{
    clock::{Clock as _, HandClock, SystemClock},
    protocol::PublicKey,
    store::{self, Appended, Keep, Role, Store},
};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use crate::{
    api_keys::{add_key, admin},
    cli::seen,
    harness::{Kind, Person, SECOND, Serving, TestDatabase, TestRelay, block_on, fresh_pub, get, keep, post},
    store::letter,
};

const BOTH: [Kind; 2] = [Kind::Sqlite, Kind::Postgres];
const MINUTE: i64 = 60 * SECOND;
const DAY: i64 = 24 * 60 * MINUTE;

/// A database that a relay has made, and let go of.
fn made(kind: Kind) -> TestDatabase {
    let database = TestDatabase::new(kind);
    drop(TestRelay::on(&database.url, |_| ()));
    database
}

/// Runs a statement in the database, past everyone.
pub fn execute(url: &str, statement: &str) {
    let statement = AssertSqlSafe(statement.to_owned());
    block_on(async {
        if url.starts_with("sqlite") {
            let mut connection = sqlx::SqliteConnection::connect(url).await.unwrap();
            connection.execute(statement).await.unwrap();
            connection.close().await.unwrap();
        } else {
            let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
            connection.execute(statement).await.unwrap();
            connection.close().await.unwrap();
        }
    });
}

/// Stores messages in a database at times of a test's choice. Not through a relay: its first sweep would see the clock
/// jump.
struct Filled {
    store: Arc<dyn Store>,
    clock: Arc<HandClock>,
}

impl Filled {
    async fn new(database: &TestDatabase) -> Self {
        let clock = Arc::new(HandClock::at(SystemClock.now()));
        let keep = Keep { box_cap: None, ..keep() };
        let store = store::open(&database.url, keep, Role::Shared, Some(clock.clone())).await.unwrap();
        Self { store, clock }
    }

    async fn store(&self, at: i64, to: PublicKey, data: &[u8]) {
        self.clock.set(at);
        assert!(matches!(self.store.append(letter(to, data.to_vec())).await, Ok(Appended::Stored(_))));
    }
}

fn prune(url: &str, args: &[&str]) -> (i32, String, String) {
    seen(&Person::new().run(&[&["prune", "--database", url], args].concat(), ""))
}

#[test]
fn keys_as_they_are_listed() {
    for kind in BOTH {
        let database = made(kind);
        let url = &database.url;
        let run = |args: &[&str]| seen(&admin(url, &[&["keys"], args].concat()));
        assert_eq!(
            run(&["list"]),
            (0, String::new(), "no API keys yet: make one with connectoid admin keys add NAME\n".into())
        );
        assert_eq!(run(&["list", "--json"]), (0, String::new(), String::new()));
        let first = add_key(
            url,
            &["shop", "--requests-per-day", "100000", "--bytes-per-day", "10MiB", "--boxes", "5"],
        );
        let second = add_key(url, &["Zoë's Größe"]);
        assert_eq!((first.len(), second.len()), (43, 43));
        assert_ne!(first, second);
        assert_eq!(run(&["revoke", "Zoë's Größe"]).0, 0);

        let (_, listed, _) = run(&["list", "--json"]);
        let rows: Vec<Value> = listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let (made, revoked) = (rows[0]["made"].as_str().unwrap(), rows[1]["revoked"].as_str().unwrap());
        assert_eq!((made.len(), revoked.len()), ("2026-11-20T07:00:00Z".len(), 20));
        assert_eq!(
            rows,
            [
                json!({"name": "shop", "made": made, "revoked": null, "requestsPerDay": 100_000,
                       "bytesPerDay": 10_485_760, "boxes": 5}),
                json!({"name": "Zoë's Größe", "made": rows[1]["made"], "revoked": revoked, "requestsPerDay": null,
                       "bytesPerDay": null, "boxes": null}),
            ]
        );
        let other = rows[1]["made"].as_str().unwrap();
        assert_eq!(
            run(&["list"]).1,
            format!(
                "NAME         MADE                  STATE                         REQUESTS/DAY  BYTES/DAY  BOXES\n\
                 shop         {made}  counts                        100000        10485760   5\n\
                 Zoë's Größe  {other}  revoked {revoked}  -             -          -\n"
            )
        );
        // Revoked once and for all, at the first time.
        assert_eq!(run(&["revoke", "Zoë's Größe"]).0, 0);
        assert_eq!(run(&["list", "--json"]).1, listed);

        assert_eq!(
            run(&["usage"]).1,
            "NAME         DAY  REQUESTS  BYTES  BOXES NOW\n\
             shop         -    0         0      0\n\
             Zoë's Größe  -    0         0      0\n"
        );
        assert_eq!(run(&["usage", "shop", "--json"]).1, "{\"name\":\"shop\",\"boxes\":0,\"days\":[]}\n");
    }
}

#[test]
fn names_and_numbers_that_are_not_right() {
    let database = made(Kind::Sqlite);
    let run = |args: &[&str]| seen(&admin(&database.url, &[&["keys"], args].concat()));
    let one_line = |code, line: &str| (code, String::new(), format!("connectoid: {line}\n"));
    assert_eq!(run(&["revoke", "shop"]), one_line(3, "there is no API key \"shop\""));
    add_key(&database.url, &["shop"]);
    assert_eq!(
        run(&["add", "shop"]),
        one_line(1, "there is an API key \"shop\" already: choose another name")
    );
    assert_eq!(run(&["revoke", "Shop"]), one_line(3, "there is no API key \"Shop\" (there is shop)"));
    assert_eq!(run(&["usage", "x"]), one_line(3, "there is no API key \"x\" (there is shop)"));
    let long = "x".repeat(65);
    for wrong in [
        &["add", ""][..],
        &["add", &long],
        &["add", "two\nlines"],
        &["add"],
        &["add", "x", "--bytes-per-day", "1.5MB"],
        &["add", "x", "--requests-per-day", "-1"],
        &["add", "x", "--boxes", "many"],
        &["usage", "--days", "0"],
    ] {
        assert_eq!(run(wrong).0, 2, "{wrong:?}");
    }
    assert_eq!(run(&["list", "--json"]).1.lines().count(), 1);
}

#[test]
fn days_of_usage() {
    for kind in BOTH {
        let database = made(kind);
        add_key(&database.url, &["shop"]);
        let today = SystemClock.now() / DAY;
        for (day, requests) in [(today, 1), (today - 6, 20), (today - 7, 300)] {
            let insert = "insert into api_key_usage (key, day, requests, bytes) select id,";
            execute(&database.url, &format!("{insert} {day}, {requests}, {requests}000 from api_keys"));
        }
        let counted = |args: &[&str]| -> Vec<(i64, i64)> {
            let (code, out, err) =
                seen(&admin(&database.url, &[&["keys", "usage", "--json"], args].concat()));
            assert_eq!((code, err.as_str()), (0, ""));
            let account: Value = serde_json::from_str(&out).unwrap();
            let days = account["days"].as_array().unwrap();
            let day = |day: &Value| (day["requests"].as_i64().unwrap(), day["bytes"].as_i64().unwrap());
            days.iter().map(day).collect()
        };
        // Midnight may fall between here and there: then the oldest day is out of sight.
        if today == SystemClock.now() / DAY {
            assert_eq!(counted(&["--days", "1"]), [(1, 1000)]);
            assert_eq!(counted(&[]), [(20, 20_000), (1, 1000)]);
        }
        assert_eq!(counted(&["--days", "20"]), [(300, 300_000), (20, 20_000), (1, 1000)]);
    }
}

#[test]
fn what_no_relay_made_is_left_alone() {
    let folder = Person::new();
    let path = |name: &str| format!("sqlite://{name}");
    let run = |args: &[&str]| {
        let (code, out, err) = seen(&folder.run(args, ""));
        assert_eq!(out, "");
        (code, err.strip_prefix("connectoid: ").unwrap_or(&err).trim_end().to_owned())
    };
    fs::write(folder.path("text"), "a text of more than sixteen bytes").unwrap();
    fs::write(folder.path("empty"), "").unwrap();
    fs::create_dir(folder.path("folder")).unwrap();
    block_on(async {
        let other =
            sqlx::sqlite::SqliteConnectOptions::new().filename(folder.path("other")).create_if_missing(true);
        let mut other = sqlx::SqliteConnection::connect_with(&other).await.unwrap();
        other.execute("create table notes (text text)").await.unwrap();
        other.close().await.unwrap();
    });
    let before = fs::read(folder.path("other")).unwrap();
    for (database, line) in [
        (path("missing"), "cannot open missing: there is no such file: start the relay on it once first"),
        (path("text"), "cannot open text: it is not a SQLite database; it was left as it is"),
        (path("empty"), "there is no relay's data in the database: start the relay on it once first"),
        (path("folder"), "cannot open folder: it is a folder: name a file in it"),
        (
            path("other"),
            "cannot open other: it is the SQLite database of another program; it was left as it is",
        ),
        (
            "sqlite::memory:".into(),
            "sqlite::memory: is inside its relay, where no other command reaches it: keep the database in a file",
        ),
        (
            "mysql://me:hunter2@host/name".into(),
            "\"mysql\" is not a database: expected sqlite://PATH, sqlite::memory: or postgres://USER:PASSWORD@HOST/NAME",
        ),
        (
            TestDatabase::new(Kind::Postgres).url,
            "there is no relay's data in the database: start the relay on it once first",
        ),
    ] {
        for command in [&["admin", "keys", "add", "shop"][..], &["admin", "stats"], &["prune"]] {
            let args = [command, &["--database", &database]].concat();
            assert_eq!(run(&args), (11, line.to_owned()), "{args:?}");
        }
    }
    // By default the relay's own default.
    assert_eq!(
        run(&["admin", "stats"]).1,
        "cannot open connectoid.db: there is no such file: start the relay on it once first"
    );
    let mut left: Vec<String> = fs::read_dir(folder.home.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["empty", "folder", "other", "text"]);
    assert_eq!(fs::read(folder.path("other")).unwrap(), before);
    assert_eq!(fs::read(folder.path("empty")).unwrap(), b"");
}

#[test]
fn schemas_of_other_versions_are_left_alone() {
    for kind in BOTH {
        let database = made(kind);
        execute(&database.url, "delete from _sqlx_migrations where version = 3");
        for command in [&["admin", "keys", "list"][..], &["prune"]] {
            let args = [command, &["--database", &database.url]].concat();
            let (code, out, err) = seen(&Person::new().run(&args, ""));
            assert_eq!((code, out.as_str()), (11, ""));
            assert!(
                err.ends_with("): start this one's relay on it once first, which brings it up to date\n"),
                "{err}"
            );
            assert!(
                err.starts_with("connectoid: the database was last used by an older connectoid (schema "),
                "{err}"
            );
        }

        let database = made(kind);
        execute(
            &database.url,
            "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
             values (9999, 'later', true, '', 0)",
        );
        for command in [&["admin", "keys", "list"][..], &["prune"]] {
            let args = [command, &["--database", &database.url]].concat();
            let (code, _, err) = seen(&Person::new().run(&args, ""));
            assert_eq!(code, 12);
            assert!(
                err.contains("last used by a newer connectoid (schema 9999 is unknown to this one)"),
                "{err}"
            );
        }
    }
}

#[test]
fn figures_of_a_database() {
    for kind in BOTH {
        let database = TestDatabase::new(kind);
        let now = SystemClock.now();
        block_on(async {
            let filled = Filled::new(&database).await;
            filled.store(now - 90 * MINUTE, fresh_pub(), b"an old one").await;
            let to = fresh_pub();
            filled.store(now - 10 * MINUTE, to, b"hello").await;
            filled.store(now - 10 * MINUTE, to, &[7; 4096]).await;
            filled.store(now - 2 * MINUTE, fresh_pub(), b"hello").await;
            filled.store.close().await;
        });
        add_key(&database.url, &["one"]);
        add_key(&database.url, &["two"]);
        add_key(&database.url, &["three"]);
        assert_eq!(seen(&admin(&database.url, &["keys", "revoke", "two"])).0, 0);

        let figures = |args: &[&str]| -> Value {
            let (code, out, err) = seen(&admin(&database.url, &[&["stats", "--json"], args].concat()));
            assert_eq!((code, err.as_str()), (0, ""));
            serde_json::from_str(&out).unwrap()
        };
        let got = figures(&[]);
        let age = got["oldestMessage"].as_i64().unwrap();
        assert!((600..3600).contains(&age), "{got}");
        let schema = got["schema"].as_i64().unwrap();
        assert!(schema >= 4);
        assert_eq!(
            got,
            json!({"boxes": 3, "messages": 3, "messageBytes": 4106, "oldestMessage": age, "expiredNotSwept": 1,
                   "apiKeys": 2, "revokedApiKeys": 1, "schema": schema})
        );
        // As the relay would count with another life of a message.
        assert_eq!(figures(&["--message-ttl", "2h"])["messages"], 4);
        let none = figures(&["--message-ttl", "1s"]);
        assert_eq!(
            [&none["messages"], &none["messageBytes"], &none["oldestMessage"], &none["expiredNotSwept"]],
            [&json!(0), &json!(0), &Value::Null, &json!(4)]
        );
        let (_, text, _) = seen(&admin(&database.url, &["stats", "--message-ttl", "1s"]));
        assert_eq!(
            text,
            format!(
                "boxes              3\nmessages           0\nbytes of messages  0\noldest message     -\n\
                 expired, not swept 4\nAPI keys           2\nrevoked API keys   1\nschema             {schema}\n"
            )
        );
        let (_, text, _) = seen(&admin(&database.url, &["stats"]));
        assert!(text.contains("\noldest message     10m"), "{text}");
    }
}

#[test]
fn a_prune_deletes_what_expired_and_nothing_else() {
    for kind in BOTH {
        let database = TestDatabase::new(kind);
        let now = SystemClock.now();
        block_on(async {
            let filled = Filled::new(&database).await;
            filled.store(now - 31 * DAY, fresh_pub(), b"one").await;
            filled.store(now - 31 * DAY, fresh_pub(), b"another box").await;
            let living = fresh_pub();
            filled.store(now - 90 * MINUTE, living, b"two").await;
            filled.store(now - MINUTE, living, b"three").await;
            filled.store.close().await;
        });
        let deleted = |args: &[&str]| prune(&database.url, args);
        let ok = |line: &str| (0, format!("{line}\n"), String::new());
        assert_eq!(
            deleted(&["--message-ttl", "32d", "--box-ttl", "32d"]),
            ok("deleted 0 messages and 0 boxes")
        );
        assert_eq!(
            deleted(&["--message-ttl", "2h", "--box-ttl", "32d"]),
            ok("deleted 2 messages and 0 boxes")
        );
        assert_eq!(deleted(&[]), ok("deleted 1 message and 2 boxes"));
        assert_eq!(deleted(&[]), ok("deleted 0 messages and 0 boxes"));
        assert_eq!(deleted(&["--message-ttl", "1s", "--box-ttl", "1s"]), ok("deleted 1 message and 1 box"));
    }
}

#[test]
fn a_prune_goes_on_until_all_is_done() {
    let database = TestDatabase::new(Kind::Sqlite);
    block_on(async {
        let filled = Filled::new(&database).await;
        let (then, to) = (SystemClock.now() - 120 * MINUTE, fresh_pub());
        // More than a batch of the sweep.
        for n in 0..501u32 {
            filled.store(then, to, &n.to_be_bytes()).await;
        }
        filled.store.close().await;
    });
    assert_eq!(prune(&database.url, &[]).1, "deleted 501 messages and 0 boxes\n");
}

#[test]
fn a_prune_beside_a_relay() {
    let database = TestDatabase::new(Kind::Sqlite);
    let relay = Serving::start(&["--database", &database.url]);
    let path = database.url.strip_prefix("sqlite://").unwrap();
    assert_eq!(
        prune(&database.url, &[]),
        (
            11,
            String::new(),
            format!(
                "connectoid: {path} is in use by a relay, which sweeps by itself: nothing is to be done\n"
            )
        )
    );
    drop(relay);
    assert_eq!(prune(&database.url, &[]).0, 0);

    let database = TestDatabase::new(Kind::Postgres);
    let relay = Serving::start(&["--database", &database.url]);
    assert_eq!(prune(&database.url, &[]).1, "deleted 0 messages and 0 boxes\n");
    assert_eq!(get(&format!("{}/ready", relay.url)).status, 200);
}

#[test]
fn a_database_in_memory_holds_no_keys() {
    let line = "connectoid serve --listen 127.0.0.1:0 --require-api-key --database sqlite::memory:";
    assert_eq!(
        seen(&Person::new().shell(line)),
        (
            2,
            String::new(),
            "connectoid: --require-api-key needs a database that API keys can be kept in: a file, or PostgreSQL\n"
                .into()
        )
    );
}

#[test]
fn a_file_is_left_without_a_log_beside_it() {
    let folder = Person::new();
    let url = format!("sqlite://{}", folder.path("relay.db").display());
    drop(TestRelay::on(&url, |_| ()));
    add_key(&url, &["shop"]);
    assert_eq!(seen(&admin(&url, &["keys", "list"])).0, 0);
    let files = fs::read_dir(folder.home.path()).unwrap();
    let mut files: Vec<String> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    assert_eq!(files, ["relay.db", "relay.db.lock"]);
}

/// Eight senders without a pause; meanwhile an operator does everything, time and again.
#[test]
fn an_operator_beside_a_busy_relay() {
    for kind in BOTH {
        let database = TestDatabase::new(kind);
        let relay = Serving::start(&["--database", &database.url, "--no-limits"]);
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let senders: Vec<_> = (0..8)
            .map(|sender| {
                let (url, stop, sent) = (relay.url.clone(), stop.clone(), sent.clone());
                thread::spawn(move || {
                    let to = fresh_pub();
                    for n in 0.. {
                        if stop.load(Ordering::SeqCst) {
                            return;
                        }
                        let data = connectoid::protocol::base64url::encode(format!("{sender} {n}"));
                        let reply =
                            post(&url, &json!({"pub": to, "action": "send", "data": data}).to_string());
                        assert_eq!(reply.body, r#"{"ok":true}"#);
                        sent.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        while sent.load(Ordering::SeqCst) < 8 {
            thread::sleep(Duration::from_millis(1));
        }
        for n in 0..5 {
            let name = format!("key {n}");
            let before = sent.load(Ordering::SeqCst);
            add_key(&database.url, &[&name]);
            for args in
                [&["keys", "list"][..], &["keys", "revoke", &name], &["keys", "usage", &name], &["stats"]]
            {
                let (code, _, err) = seen(&admin(&database.url, args));
                assert_eq!(code, 0, "{args:?}: {err}");
            }
            assert!(sent.load(Ordering::SeqCst) > before, "no send meanwhile: this shows nothing");
        }
        stop.store(true, Ordering::SeqCst);
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        relay.signal("TERM");
        let (code, log) = relay.wait();
        assert_eq!(code, Some(0));
        assert!(!log.contains("ERROR") && !log.contains("locked"), "{log}");
    }
}
