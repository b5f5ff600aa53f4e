//! What keeps `connectoid serve` from starting: one line, an exit code, and nothing changed.

use std::{
    fs,
    net::TcpListener,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    process::Command,
};

use serde_json::json;
use sqlx::Connection as _;

use crate::{
    cli::seen,
    harness::{
        KEY, Kind, Person, Serving, TestDatabase, block_on, clean_environment, post, postgres_cluster,
    },
    process::Running,
};

/// A start that is to fail at once: exit code, standard output, standard error.
fn failing(operator: &Person, line: &str) -> (i32, String, String) {
    seen(&operator.shell(&format!("timeout 20 env {line}")))
}

fn one_line(code: i32, line: &str) -> (i32, String, String) {
    (code, String::new(), format!("connectoid: {line}\n"))
}

#[test]
fn a_taken_port_touches_no_database() {
    let operator = Person::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    assert_eq!(
        failing(&operator, &format!("connectoid serve --listen {address} --database sqlite://relay.db")),
        one_line(
            10,
            &format!(
                "cannot listen on {address}: the port is taken: stop what listens there, \
                 or choose another with --listen HOST:PORT"
            )
        )
    );
    assert_eq!(fs::read_dir(operator.home.path()).unwrap().count(), 0);
    assert_eq!(
        failing(&operator, "connectoid serve --listen nonsense --database sqlite://relay.db"),
        one_line(10, "cannot listen on nonsense: expected HOST:PORT, as 127.0.0.1:8080 or [::]:8080")
    );
    assert_eq!(fs::read_dir(operator.home.path()).unwrap().count(), 0);
}

#[test]
fn databases_that_cannot_be_used() {
    let operator = Person::new();
    fs::create_dir(operator.path("folder")).unwrap();
    fs::write(operator.path("text"), "a text of more than sixteen bytes").unwrap();
    let _first =
        Running::start(&operator, "exec $PROGRAM serve --listen 127.0.0.1:0 --database sqlite://used.db");
    for (database, line) in [
        (
            "sqlite://used.db",
            "used.db is in use by another connectoid: stop that one, or choose another file with --database",
        ),
        (
            "sqlite://missing/relay.db",
            "cannot open missing/relay.db: its folder does not exist: create it first",
        ),
        ("sqlite://folder", "cannot open folder: it is a folder: name a file in it"),
        ("sqlite://text", "cannot open text: it is not a SQLite database; it was left as it is"),
        (
            "mysql://me:hunter2@host/name",
            "\"mysql\" is not a database: expected sqlite://PATH, sqlite::memory: or postgres://USER:PASSWORD@HOST/NAME",
        ),
    ] {
        assert_eq!(
            failing(&operator, &format!("connectoid serve --listen 127.0.0.1:0 --database {database}")),
            one_line(11, line)
        );
    }
    let text = fs::read(operator.path("text")).unwrap();
    assert_eq!(text, b"a text of more than sixteen bytes");
    assert!(!operator.path("missing").exists());
}

#[test]
fn a_file_of_someone_else() {
    let operator = Person::new();
    // Root may read everything, so it becomes nobody; the folder must be theirs, and the program in reach.
    let root = fs::metadata(operator.home.path()).unwrap().uid() == 0;
    let program = operator.path("connectoid");
    fs::copy(env!("CARGO_BIN_EXE_connectoid"), &program).unwrap();
    fs::write(operator.path("relay.db"), "").unwrap();
    fs::set_permissions(operator.path("relay.db"), fs::Permissions::from_mode(0o000)).unwrap();
    let mut command = Command::new(program);
    clean_environment(&mut command);
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--database", "sqlite://relay.db"])
        .current_dir(operator.home.path());
    if root {
        chown(operator.home.path(), Some(65_534), Some(65_534)).unwrap();
        command.uid(65_534).gid(65_534);
    }
    assert_eq!(
        seen(&command.output().unwrap()),
        one_line(11, "cannot open relay.db: this user may not read and write it")
    );
    assert_eq!(fs::metadata(operator.path("relay.db")).unwrap().len(), 0);
}

#[test]
fn a_newer_database_is_left_as_it_is() {
    let operator = Person::new();
    drop(Running::start(&operator, "exec $PROGRAM serve --listen 127.0.0.1:0 --database sqlite://relay.db"));
    let file = operator.path("relay.db");
    block_on(async {
        let mut database = sqlx::SqliteConnection::connect(file.to_str().unwrap()).await.unwrap();
        let later = "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
                     values (9999, 'later', true, x'00', 0)";
        sqlx::query(later).execute(&mut database).await.unwrap();
        database.close().await.unwrap();
    });
    let before = fs::read(&file).unwrap();
    for _ in 0..2 {
        assert_eq!(
            failing(&operator, "connectoid serve --listen 127.0.0.1:0 --database sqlite://relay.db"),
            one_line(
                12,
                "the database was last used by a newer connectoid (schema 9999 is unknown to this one): \
                 update connectoid, or choose another database with --database; nothing was changed"
            )
        );
        assert!(fs::read(&file).unwrap() == before);
    }
}

#[test]
fn secrets_that_are_none() {
    let operator = Person::new();
    for wrong in ["c2hvcnQ", "not base64url, hunter2", ","] {
        let line = format!(
            "CONNECTOID_SECRETS='{wrong}' connectoid serve --listen 127.0.0.1:0 --database sqlite://relay.db"
        );
        assert_eq!(
            failing(&operator, &line),
            one_line(
                2,
                "CONNECTOID_SECRETS: expected a comma-separated list of secrets, \
                 each 32 to 64 random bytes in base64url"
            )
        );
    }
    assert!(!operator.path("relay.db").exists());
}

#[test]
fn the_databases_password_is_in_no_output() {
    let operator = Person::new();
    let cluster = postgres_cluster();
    let (user, rest) = cluster.split_once("://").unwrap().1.split_once(':').unwrap();
    let (password, host) = rest.split_once('@').unwrap();
    let database = TestDatabase::new(Kind::Postgres);
    let relay = Serving::start(&["--database", &database.url, "--log-level", "debug"]);
    let send = json!({"pub": KEY, "ext": null, "action": "send", "data": "aGVsbG8"});
    assert_eq!(post(&relay.url, &send.to_string()).body, r#"{"ok":true}"#);
    relay.signal("TERM");
    let (code, log) = relay.wait();
    assert_eq!(code, Some(0));
    let name = database.url.rsplit('/').next().unwrap();
    let server = host.split('/').next().unwrap();
    assert!(log.contains(&format!("keeps its messages in postgres://{server}/{name}\n")), "{log}");
    assert!(!log.contains(password), "{log}");

    for (url, line) in [
        (
            format!("postgres://{user}:{password}@{server}/nope"),
            format!("cannot use PostgreSQL: {server}: database \"nope\" does not exist"),
        ),
        (
            format!("postgres://{user}:hunter2@{server}/postgres"),
            format!("cannot use PostgreSQL: {server}: password authentication failed for user \"{user}\""),
        ),
    ] {
        let line_of_shell = format!("DATABASE_URL='{url}' connectoid serve --listen 127.0.0.1:0");
        assert_eq!(failing(&operator, &line_of_shell), one_line(11, &line));
    }
    for url in [
        "postgres://me:hunter2@127.0.0.1:port/name",
        "postgres://me:hunter2@127.0.0.1:1/name",
        "postgres://me@127.0.0.1:1/name?password=hunter2",
        "postgres://me:hunter2@[/name",
        "postgres:/me:hunter2@127.0.0.1:1/name",
        "me:hunter2@127.0.0.1:1/name",
    ] {
        let line = format!("DATABASE_URL='{url}' connectoid serve --listen 127.0.0.1:0");
        let (code, out, err) = failing(&operator, &line);
        assert_eq!((code, out.as_str(), err.lines().count()), (11, "", 1), "{url}: {err}");
        assert!(!err.contains("hunter2"), "{err}");
    }
}
