//! The previous release beside this one: as its operator goes from one to the other, and back.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::json;
use sqlx::Connection as _;

use crate::{
    admin::execute,
    api_keys::{add_key, admin},
    cli::seen,
    documents::{blocks, read},
    harness::{Kind, Person, Serving, TestDatabase, block_on, fresh_key, fresh_pub, metric, post, until},
    instances::{OK, Traffic, URL, receives, send, wait_for},
};

/// The schema of the previous release, and this one's.
const SCHEMAS: (i64, i64) = (3, 4);

/// The folder of the previous release.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_connectoid")).ancestors().nth(2).unwrap().join("previous")
}

/// Its program.
fn previous() -> PathBuf {
    let program = folder().join("debug/connectoid");
    let said = Command::new(&program).arg("--version").output();
    let version = said.map(|output| String::from_utf8(output.stdout).unwrap());
    assert!(
        version.as_ref().is_ok_and(|version| version == "connectoid 0.1.0\n"),
        "{} is not the previous release ({version:?}): run scripts/previous-release, or scripts/test, which does",
        program.display()
    );
    program
}

fn serve(program: impl AsRef<OsStr>, database: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(["serve", "--database", database, "--url", URL, "--no-limits"]).args(args);
    command
}

fn old(database: &str, args: &[&str]) -> Serving {
    Serving::start_by(serve(previous(), database, args), |_| ())
}

fn new(database: &str, args: &[&str]) -> Serving {
    Serving::start_by(serve(env!("CARGO_BIN_EXE_connectoid"), database, args), |_| ())
}

fn stop(relay: Serving) {
    relay.signal("TERM");
    assert_eq!(relay.wait().0, Some(0));
}

/// How a program ends that does not take the database.
fn refuses(mut command: Command) -> (i32, String) {
    command.args(["--listen", "127.0.0.1:0"]);
    let (code, said, why) = seen(&Person::new().at_home(command).output().unwrap());
    assert_eq!(said, "");
    (code, why)
}

fn schema(database: &str) -> i64 {
    let last = "select max(version) from _sqlx_migrations";
    block_on(async {
        if database.starts_with("sqlite") {
            let mut connection = sqlx::SqliteConnection::connect(database).await.unwrap();
            let last = sqlx::query_scalar(last).fetch_one(&mut connection).await.unwrap();
            connection.close().await.unwrap();
            last
        } else {
            let mut connection = sqlx::PgConnection::connect(database).await.unwrap();
            let last = sqlx::query_scalar(last).fetch_one(&mut connection).await.unwrap();
            connection.close().await.unwrap();
            last
        }
    })
}

#[test]
fn while_one_takes_over_from_the_other_nobody_is_refused_and_nothing_is_lost() {
    let database = TestDatabase::new(Kind::Postgres);
    let old = old(&database.url, &[]);
    let (relays, turn) = (Mutex::new(vec![old.url.clone()]), AtomicUsize::new(0));
    let next = || {
        let relays = relays.lock().unwrap();
        relays[turn.fetch_add(1, SeqCst) % relays.len()].clone()
    };
    let traffic = Traffic::new();
    let mut started = None; // until the last of them has what is theirs
    let received = traffic.run(&next, || {
        traffic.more(200);
        assert_eq!(schema(&database.url), SCHEMAS.0);
        let new = started.insert(new(&database.url, &[]));
        assert_eq!(schema(&database.url), SCHEMAS.1);
        // The old one goes on, and alone as yet.
        traffic.more(200);
        // Each request goes to the one or the other: what one stored, the other is asked for.
        relays.lock().unwrap().push(new.url.clone());
        traffic.more(400);
        relays.lock().unwrap().remove(0);
        traffic.more(200);
        stop(old);
        traffic.more(100);
    });
    traffic.assert_received(&received);
    assert!(traffic.count() >= 1100);
    assert_eq!(traffic.busy.load(SeqCst), 0);
}

/// Someone waits at one relay for what comes through the other.
fn wakes(at: &Serving, through: &Serving) {
    let to = fresh_pub();
    let (url, body) = (at.url.clone(), wait_for(&to));
    let waiting = thread::spawn(move || post(&url, &body));
    until(|| metric(&at.url, "connectoid_waiters") == 1);
    let began = Instant::now();
    assert_eq!(post(&through.url, &send(&to, "hello")).body, OK);
    assert_eq!(waiting.join().unwrap().json()["found"], true);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn each_wakes_those_who_wait_at_the_other() {
    let database = TestDatabase::new(Kind::Postgres);
    let (old, new) = (old(&database.url, &[]), new(&database.url, &[]));
    wakes(&old, &new);
    wakes(&new, &old);
}

#[test]
fn an_api_key_of_either_is_good_at_both() {
    let database = TestDatabase::new(Kind::Postgres);
    let closed = ["--require-api-key"];
    let old = old(&database.url, &closed);
    let mut command = Command::new(previous());
    command.args(["admin", "keys", "add", "theirs", "--database", &database.url]);
    let (code, theirs, why) = seen(&Person::new().at_home(command).output().unwrap());
    assert_eq!(code, 0, "{why}");
    let new = new(&database.url, &closed);
    let ours = add_key(&database.url, &["ours"]);
    for api_key in [theirs.trim_end(), &ours] {
        for relay in [&old, &new] {
            let message = json!({"pub": fresh_pub(), "ext": api_key, "action": "send", "data": "aGk"});
            assert_eq!(post(&relay.url, &message.to_string()).body, OK);
        }
    }
    for relay in [&old, &new] {
        let message = json!({"pub": fresh_pub(), "ext": null, "action": "send", "data": "aGk"});
        assert_eq!(post(&relay.url, &message.to_string()).error(), "Not allowed");
    }
    // The commands of the old one leave a schema alone that they do not know; this one's show both keys.
    let mut command = Command::new(previous());
    command.args(["admin", "keys", "list", "--database", &database.url]);
    assert_eq!(seen(&Person::new().at_home(command).output().unwrap()).0, 12);
    let (_, listed, _) = seen(&admin(&database.url, &["keys", "list"]));
    assert!(listed.contains("theirs") && listed.contains("ours"), "{listed}");
}

const NEWER: &str = "the database was last used by a newer connectoid (schema 4 is unknown to this one)";

#[test]
fn there_and_back_again_with_all_messages() {
    let document = read("docs/operations.md");
    let chapter = document.split("\n## Upgrades\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let ways_back = blocks(chapter, "sql");
    for (kind, way_back) in [Kind::Postgres, Kind::Sqlite].into_iter().zip(ways_back) {
        let database = TestDatabase::new(kind);
        let (key, mut at, busy) = (fresh_key(), json!(0), AtomicUsize::new(0));
        let mut receive = |relay: &Serving| receives(&|| relay.url.clone(), &key, &mut at, &busy);
        let put = |relay: &Serving, text: &str| {
            assert_eq!(post(&relay.url, &send(&key.public(), text)).body, OK);
        };

        let relay = old(&database.url, &[]);
        ["one", "two", "three"].iter().for_each(|text| put(&relay, text));
        stop(relay);
        let relay = new(&database.url, &[]);
        assert_eq!(schema(&database.url), SCHEMAS.1);
        assert_eq!(receive(&relay), ["one", "two", "three"], "{kind:?}");
        put(&relay, "four");
        stop(relay);

        // The old one does not take it as it is, and leaves it as it was.
        let file = database.url.strip_prefix("sqlite://");
        let before = file.map(|file| fs::read(file).unwrap());
        let (code, why) = refuses(serve(previous(), &database.url, &[]));
        assert_eq!(code, 12);
        assert!(why.contains(NEWER), "{why}");
        assert_eq!(file.map(|file| fs::read(file).unwrap()), before);
        assert_eq!(schema(&database.url), SCHEMAS.1);

        execute(&database.url, way_back);
        let relay = old(&database.url, &[]);
        assert_eq!(receive(&relay), ["four"], "{kind:?}");
        put(&relay, "five");
        stop(relay);
        let relay = new(&database.url, &[]);
        assert_eq!(schema(&database.url), SCHEMAS.1);
        assert_eq!(receive(&relay), ["five"], "{kind:?}");
        stop(relay);
    }
}

#[test]
fn a_sole_instance_starts_when_no_old_one_is_left() {
    let database = TestDatabase::new(Kind::Postgres);
    let old = old(&database.url, &[]);
    let sole = || serve(env!("CARGO_BIN_EXE_connectoid"), &database.url, &["--sole-instance"]);
    let expected = "connectoid: cannot use PostgreSQL: a relay of connectoid 0.1.0 has the database, and a sole one would not see \
                    what that one stores: stop it first, or start this one without --sole-instance\n";
    assert_eq!(refuses(sole()), (11, expected.to_owned()));
    assert_eq!(schema(&database.url), SCHEMAS.0, "the old one could start again");
    let new = new(&database.url, &[]);
    assert_eq!(refuses(sole()), (11, expected.to_owned()));
    let message = send(&fresh_pub(), "hello");
    assert_eq!(post(&new.url, &message).body, OK, "it was not displaced");
    stop(old);
    // A sole one of this version takes over from any of this version.
    let sole = Serving::start_by(sole(), |_| ());
    assert_eq!(post(&sole.url, &message).body, OK);
    assert_eq!(post(&new.url, &message).status, 503);
}

// --- The rule for migrations (docs/design.md) ---

const DATABASES: [&str; 2] = ["postgres", "sqlite"];

/// What is in a folder of migrations, by name.
fn steps(folder: &Path) -> Vec<(String, String)> {
    let files = fs::read_dir(folder).unwrap_or_else(|error| {
        panic!("{}: {error}: run scripts/previous-release, or scripts/test, which does", folder.display())
    });
    let mut steps: Vec<(String, String)> = files
        .map(|file| {
            let file = file.unwrap();
            (file.file_name().into_string().unwrap(), fs::read_to_string(file.path()).unwrap())
        })
        .collect();
    steps.sort();
    steps
}

/// Why a step cannot be taken while the previous release serves, if so.
fn stops_the_old(database: &str, step: &str) -> Option<String> {
    let lines = step.lines().map(|line| line.split("--").next().unwrap());
    let text = lines.collect::<Vec<_>>().join(" ").to_lowercase();
    // A file has one owner: nobody waits for its locks.
    let (mut born, mut gives_up) = (BTreeSet::new(), database == "sqlite");
    for statement in text.split(';') {
        let words: Vec<&str> = statement.split(|c: char| c.is_whitespace() || c == '(').collect();
        let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
        let is_fine = match &words[..] {
            [] | ["select", "1"] | ["create", "view", ..] => true,
            ["set", "local", "lock_timeout", ..] => {
                gives_up = true;
                true
            }
            ["create", "table", table, ..] => {
                born.insert(*table);
                true
            }
            ["create", "index", _, "on", table, ..] | ["create", "unique", "index", _, "on", table, ..] => {
                born.contains(table)
            }
            ["insert", "into", table, ..] => born.contains(table),
            ["alter", "table", table, "add", "column", column @ ..] => {
                let is_bound =
                    ["primary", "unique", "references", "check"].iter().any(|word| column.contains(word));
                let is_free = !column.contains(&"null") || column.contains(&"default");
                !is_bound && is_free && (gives_up || born.contains(table))
            }
            _ => false,
        };
        if !is_fine {
            return Some(statement.trim().to_owned());
        }
    }
    None
}

#[test]
fn the_steps_of_the_previous_release_are_as_they_were_and_newer_ones_only_add() {
    previous();
    for database in DATABASES {
        let released = steps(&folder().join("connectoid-0.1.0/migrations").join(database));
        let now = steps(&Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(database));
        assert_eq!(released.len(), 3);
        assert_eq!(now[..3], released, "a step that was released is never changed");
        for (name, step) in &now[3..] {
            assert_eq!(
                stops_the_old(database, step),
                None,
                "{database}/{name}: not while the previous release serves; see \"Migrations\" in docs/design.md"
            );
        }
    }
}

#[test]
fn steps_that_stop_the_previous_release_are_found() {
    for step in [
        "drop table boxes",
        "alter table boxes drop column seen_at",
        "alter table boxes rename to mailboxes",
        "set local lock_timeout = '5s'; alter table boxes rename column seen_at to looked_at",
        "set local lock_timeout = '5s'; alter table boxes alter column seen_at type integer",
        "set local lock_timeout = '5s'; alter table boxes add column x bigint not null",
        "set local lock_timeout = '5s'; alter table boxes add column x bigint unique",
        "alter table boxes add column x bigint",
        "create index boxes_by_last_at on boxes (last_at)",
        "create table t (a bigint); create unique index on_boxes on boxes(last_at)",
        "update boxes set seen_at = 0",
        "insert into boxes (pub) values ('')",
        "select 1; -- nothing\ntruncate boxes",
    ] {
        assert!(stops_the_old("postgres", step).is_some(), "{step}");
    }
    for step in [
        "-- drop table boxes;\nselect 1;",
        "set local lock_timeout = '5s'; alter table boxes add column x bigint;",
        "set local lock_timeout = '5s'; alter table boxes add column x bigint not null default 0;",
        "create table t (a bigint not null); create index t_by_a on t(a); insert into t (a) values (1);
         alter table t add column b bigint; create view v as select a from t;",
    ] {
        assert_eq!(stops_the_old("postgres", step), None, "{step}");
    }
}
