//! `connectoid admin backup`: copies that are whole or not there, and what one restored is worth.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use connectoid::seal::BoxKey;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::{
    admin::execute,
    api_keys::{add_key, admin},
    cli::seen,
    harness::{
        Kind, NOW, Person, SECOND, Serving, TestDatabase, TestRelay, clean_environment, fresh_key, fresh_pub,
        get, metric, post, stdout, until,
    },
};

/// An operator's folder with a database in it, and nothing else.
struct Operator {
    person: Person,
    url: String,
}

impl Operator {
    fn new() -> Self {
        let person = Person::new();
        fs::create_dir(person.path("relay")).unwrap();
        let url = format!("sqlite://{}", person.path("relay/relay.db").display());
        drop(TestRelay::on(&url, |_| ()));
        Self { person, url }
    }

    /// With as many bytes in it.
    fn with(megabytes: u32) -> Self {
        let operator = Self::new();
        execute(
            &operator.url,
            &format!(
                "with recursive n(n) as (select 1 union all select n + 1 from n where n < {megabytes})
                 insert into messages (box, at, stored_at, tag, data) select n, n, n, n, randomblob(1000000) from n"
            ),
        );
        operator
    }

    fn backup(&self, to: &str) -> (i32, String, String) {
        seen(&self.person.run(&["admin", "backup", "--database", &self.url, to], ""))
    }

    /// What is in the folder beside the database's.
    fn files(&self) -> Vec<String> {
        let files = fs::read_dir(self.person.home.path()).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name != "relay").collect();
        names.sort();
        names
    }
}

fn one_line(code: i32, line: &str) -> (i32, String, String) {
    (code, String::new(), format!("connectoid: {line}\n"))
}

#[test]
fn a_backup_beside_a_busy_relay() {
    let operator = Operator::new();
    let relay = Serving::start(&["--database", &operator.url, "--no-limits"]);
    let stop = Arc::new(AtomicBool::new(false));
    let sender = thread::spawn({
        let (url, stop) = (relay.url.clone(), stop.clone());
        move || {
            let mut sent = 0;
            while !stop.load(Ordering::SeqCst) {
                let data = connectoid::protocol::base64url::encode(format!("{sent}"));
                let send = json!({"pub": fresh_pub(), "action": "send", "data": data});
                assert_eq!(post(&url, &send.to_string()).body, r#"{"ok":true}"#);
                sent += 1;
            }
            sent
        }
    });
    let stored = || {
        let (code, out, err) = seen(&admin(&operator.url, &["stats", "--json"]));
        assert_eq!(code, 0, "{err}");
        serde_json::from_str::<Value>(&out).unwrap()["messages"].as_u64().unwrap()
    };
    until(|| stored() > 10);
    for copy in ["one.db", "two.db"] {
        let before = stored();
        let (code, out, err) = operator.backup(copy);
        assert_eq!((code, out.as_str()), (0, ""), "{err}");
        let bytes = fs::metadata(operator.person.path(copy)).unwrap().len();
        let said = err.strip_prefix(&format!("{copy} is a backup: ")).unwrap();
        let count: u64 = said.split(' ').next().unwrap().parse().unwrap();
        assert_eq!(said, format!("{count} boxes, {count} messages, {bytes} bytes\n"));
        assert!((before..=stored()).contains(&count), "{count}");
    }
    stop.store(true, Ordering::SeqCst);
    let sent: u64 = sender.join().unwrap();
    assert_eq!(stored(), sent);
    assert_eq!(operator.files(), ["one.db", "two.db"]);
    let mode = fs::metadata(operator.person.path("one.db")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    relay.signal("TERM");
    let (code, log) = relay.wait();
    assert_eq!(code, Some(0));
    assert!(!log.contains("ERROR") && !log.contains("locked"), "{log}");

    // A relay takes it as its own.
    let copy = format!("sqlite://{}", operator.person.path("one.db").display());
    let relay = Serving::start(&["--database", &copy]);
    assert_eq!(get(&format!("{}/ready", relay.url)).status, 200);
}

#[test]
fn what_is_in_the_way_of_a_backup() {
    let operator = Operator::new();
    fs::write(operator.person.path("there"), "mine").unwrap();
    std::os::unix::fs::symlink("nowhere", operator.person.path("link")).unwrap();
    let taken = |name: &str| format!("cannot write {name}: it is there already: a backup overwrites nothing");
    for name in ["there", "link", "relay/relay.db"] {
        assert_eq!(operator.backup(name), one_line(1, &taken(name)));
    }
    assert_eq!(
        operator.backup("missing/copy.db"),
        one_line(1, "cannot write missing/copy.db: its folder does not exist: create it first")
    );
    assert_eq!(
        operator.backup(".."),
        one_line(1, "cannot write ..: it is there already: a backup overwrites nothing")
    );
    assert_eq!(fs::read_to_string(operator.person.path("there")).unwrap(), "mine");

    // One that was killed, or is being made.
    fs::write(operator.person.path("copy.db.part"), "").unwrap();
    let part = operator.person.home.path().canonicalize().unwrap().join("copy.db.part");
    assert_eq!(
        operator.backup("copy.db"),
        one_line(
            1,
            &format!(
                "cannot write copy.db: {} is there: of a backup that is being made, or of one that was killed; delete it if \
                 none is",
                part.display()
            )
        )
    );
    assert_eq!(operator.files(), ["copy.db.part", "link", "there"]);

    // A name that SQLite would take for a URI, and one with a quote.
    for name in ["file:x?mode=memory", "Bob's.db"] {
        assert_eq!(operator.backup(name).0, 0);
        assert!(operator.person.path(name).exists());
    }
}

#[test]
fn what_no_backup_is_made_of() {
    let folder = Person::new();
    fs::write(folder.path("text"), "a text of more than sixteen bytes").unwrap();
    fs::write(folder.path("empty"), "").unwrap();
    let postgres = TestDatabase::new(Kind::Postgres);
    for (database, line) in [
        (
            postgres.url.as_str(),
            "PostgreSQL has its own tools: pg_dump --host HOST --username USER NAME makes a backup, also while relays run; put the password into ~/.pgpass, and umask 077 before it",
        ),
        (
            "sqlite::memory:",
            "sqlite::memory: is inside its relay, where no other command reaches it: keep the database in a file",
        ),
        ("sqlite://missing", "cannot open missing: there is no such file: start the relay on it once first"),
        ("sqlite://text", "cannot open text: it is not a SQLite database; it was left as it is"),
        ("sqlite://empty", "there is no relay's data in the database: start the relay on it once first"),
        (
            "mysql://me:hunter2@host/name",
            "\"mysql\" is not a database: expected sqlite://PATH, sqlite::memory: or postgres://USER:PASSWORD@HOST/NAME",
        ),
    ] {
        let got = seen(&folder.run(&["admin", "backup", "copy.db", "--database", database], ""));
        assert_eq!(got, one_line(11, line));
        assert!(!folder.path("copy.db").exists() && !folder.path("copy.db.part").exists());
    }
}

#[test]
fn a_backup_that_ends_halfway_leaves_nothing() {
    let operator = Operator::with(60);
    let command = |line: &str| {
        let mut command = Command::new("bash");
        clean_environment(&mut command);
        command.args(["-c", line]).env("DATABASE", &operator.url).current_dir(operator.person.home.path());
        command.env("PROGRAM", env!("CARGO_BIN_EXE_connectoid"));
        command
    };
    // A disk with room for 1 MiB.
    let full = r#"trap '' XFSZ; ulimit -f 1024; exec "$PROGRAM" admin backup copy.db --database "$DATABASE""#;
    let (code, out, err) = seen(&command(full).output().unwrap());
    assert_eq!((code, out.as_str()), (11, ""));
    assert!(err.starts_with("connectoid: there is no backup: database: "), "{err}");
    assert_eq!(operator.files(), [""; 0]);

    // An operator who thinks better of it.
    for signal in [Signal::INT, Signal::TERM] {
        let line = r#"exec "$PROGRAM" admin backup copy.db --database "$DATABASE" 2> /dev/null"#;
        let mut child = command(line).spawn().unwrap();
        until(|| operator.person.path("copy.db.part").exists());
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130));
        assert_eq!(operator.files(), [""; 0]);
    }

    // A database that cannot be read to its end.
    let path = operator.person.path("relay/relay.db");
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(fs::metadata(&path).unwrap().len() / 2).unwrap();
    let (code, out, err) = operator.backup("copy.db");
    assert_eq!((code, out.as_str()), (11, ""));
    assert!(err.contains("malformed"), "{err}");
    assert_eq!(operator.files(), [""; 0]);
}

#[test]
fn a_backup_takes_the_place_of_a_relays_database_that_was_killed() {
    let operator = Operator::new();
    let relay = Serving::start(&["--database", &operator.url]);
    let send = || {
        let send = json!({"pub": fresh_pub(), "action": "send", "data": "aGVsbG8"}).to_string();
        assert_eq!(post(&relay.url, &send).body, r#"{"ok":true}"#);
    };
    send();
    assert_eq!(operator.backup("copy.db").0, 0);
    send();
    relay.signal("KILL");
    assert_eq!(relay.wait().0, None);
    let help = stdout(&operator.person.run(&["admin", "backup", "--help"], ""));
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let says =
        "stop the relay, delete the database's -wal and -shm files, and put the copy in the database's place";
    assert!(help.contains(says), "{help}");
    for ending in ["-wal", "-shm"] {
        fs::remove_file(operator.person.path(&format!("relay/relay.db{ending}"))).unwrap();
    }
    fs::rename(operator.person.path("copy.db"), operator.person.path("relay/relay.db")).unwrap();
    let relay = TestRelay::on(&operator.url, |_| ());
    assert_eq!(metric(&relay.url, "connectoid_messages"), 1);
}

/// The messages of a box above a cursor, and the next cursor.
fn received(relay: &TestRelay, key: &BoxKey, at: u64) -> (Vec<String>, u64) {
    let check = relay.post(&json!({"pub": key.public(), "action": "check", "at": at})).json();
    if check["found"] == false {
        return (vec![], at);
    }
    let answer = relay.answer(key);
    let (mut got, mut at) = (vec![], at);
    loop {
        let receive =
            json!({"pub": key.public(), "action": "receive", "answer": answer, "at": at, "limit": 1});
        let reply = relay.post(&receive).json();
        let Some(data) = reply["data"].as_str() else { return (got, at) };
        got.push(String::from_utf8(connectoid::protocol::base64url::decode(data).unwrap()).unwrap());
        at = reply["at"].as_u64().unwrap();
    }
}

#[test]
fn a_restored_backup_hides_nothing_that_comes_after_it() {
    let operator = Operator::new();
    let database = operator.person.path("relay/relay.db");
    let key = fresh_key();
    let relay = TestRelay::on(&operator.url, |_| ());
    relay.send(&key.public(), b"one");
    let (shop, late) = ("shop", "late");
    add_key(&operator.url, &[shop]);
    assert_eq!(operator.backup("copy.db").0, 0);
    relay.clock.set(NOW + SECOND);
    relay.send(&key.public(), b"two");
    add_key(&operator.url, &[late]);
    assert_eq!(seen(&admin(&operator.url, &["keys", "revoke", shop])).0, 0);
    let (got, at) = received(&relay, &key, 0);
    assert_eq!(got, ["one", "two"]);
    drop(relay);

    // As docs/operations.md has it: the file alone, its log away.
    fs::rename(operator.person.path("copy.db"), &database).unwrap();
    assert!(!Path::new(&format!("{}-wal", database.display())).exists());
    let relay = TestRelay::on(&operator.url, |_| ());
    relay.clock.set(NOW + 2 * SECOND);
    // Who read on reads on: neither what is back comes again, nor is what is new left out.
    assert_eq!(received(&relay, &key, at), (vec![], at));
    relay.send(&key.public(), b"three");
    let (got, next) = received(&relay, &key, at);
    assert_eq!(got, ["three"]);
    assert!(next > at);
    // What came after the backup is lost, and who asks from the start gets what was deleted since once more.
    assert_eq!(received(&relay, &key, 0).0, ["one", "three"]);
    let keys = seen(&admin(&operator.url, &["keys", "list", "--json"])).1;
    let keys: Vec<Value> = keys.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((keys.len(), &keys[0]["name"], &keys[0]["revoked"]), (1, &json!("shop"), &Value::Null));
}
