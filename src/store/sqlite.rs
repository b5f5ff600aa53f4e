//! Opening SQLite: one file, one process, one writer.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{ErrorKind, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
    time::Duration,
};

use sqlx::{
    ConnectOptions as _, Connection as _, Pool, Sqlite,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{
    Keep, OpenError,
    fold::Fold,
    migrations,
    room::Room,
    sql::{Batches, SqlStore, Tables},
};
use crate::clock::Clock;

/// "cnid", as the first migration sets it.
const APPLICATION_ID: i64 = 1_668_180_324;

/// Connections that read beside the one that writes. WAL lets them.
const READERS: u32 = 4;

/// Pages of the write-ahead log with which SQLite folds it by itself, and the writer waits: 64 MiB. [`Fold`] is earlier.
const LONGEST_LOG: &str = "16384";

/// The pages of indexes that the writer keeps in memory, in KiB as SQLite wants it: with a minus.
const WRITER_CACHE: &str = "-8192";

/// A transaction that writes says so from its first statement: one that reads first and then wants to write fails at
/// once with SQLITE_BUSY, whatever the busy timeout.
const BEGIN: &str = "begin immediate";

/// How long an operator's command waits for its turn to write. The relay may write without a pause, and SQLite keeps no
/// queue: who waits asks again every 100 ms.
const ADMIN_PATIENCE: Duration = Duration::from_secs(60);

/// SQLite numbers parameters as they stand. A number of one's own is a name to it, which sqlx looks for in all of them.
static BATCHES: LazyLock<Batches> = LazyLock::new(|| {
    let gather = "cast(json_group_array(json_array(last_at, seen_at, stored, before) order by pub) as blob)";
    Batches::new(gather, |text| {
        let mut parts = text.split('$');
        let start = parts.next().unwrap_or_default().to_owned();
        parts.fold(start, |text, part| text + "?" + part.trim_start_matches(|c: char| c.is_ascii_digit()))
    })
});

const NOT_OURS: &str = "it is the SQLite database of another program; it was left as it is";
const FOLDER: &str = "it is a folder: name a file in it";

pub(super) async fn open(
    path: &str,
    keep: Keep,
    clock: Option<Arc<dyn Clock>>,
) -> Result<SqlStore<Sqlite>, OpenError> {
    if path == ":memory:" {
        return open_in_memory(keep, clock).await;
    }
    let given = Path::new(path);
    // Errors speak of the file as the operator wrote it.
    open_file(given, keep, clock).await.map_err(|error| match error {
        OpenError::File { reason, .. } => OpenError::File { path: given.to_owned(), reason },
        OpenError::Locked(_) => OpenError::Locked(given.to_owned()),
        other => other,
    })
}

async fn open_file(
    given: &Path,
    keep: Keep,
    clock: Option<Arc<dyn Clock>>,
) -> Result<SqlStore<Sqlite>, OpenError> {
    let path = &canonical(given)?;
    let held = lock(path)?;
    prepare_file(path)?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(Duration::from_secs(5))
        .disable_statement_logging();
    // Looked at before anything is set: even the journal mode would change another program's file.
    if !is_ours(&options).await.map_err(|e| unreadable(path, &e))? {
        return Err(file_error(path, NOT_OURS));
    }
    let options = options
        .journal_mode(SqliteJournalMode::Wal)
        // `ok` to a `send` means durably stored: the sync of every commit.
        .synchronous(SqliteSynchronous::Full)
        .pragma("wal_autocheckpoint", LONGEST_LOG)
        // Else a statement with many rows writes every page that it changes into a file of its own first, to take it back.
        .pragma("temp_store", "memory");
    let write = options.clone().pragma("cache_size", WRITER_CACHE);
    let write = pool(1).connect_with(write).await.map_err(|e| unreadable(path, &e))?;
    migrations::sqlite().run(&write).await?;
    let read = pool(READERS).connect_with(options).await.map_err(|e| unreadable(path, &e))?;
    let mut tables = tables(read, write, false, keep, clock);
    let fold = Arc::<Fold>::default();
    let folding = tokio::spawn(fold.clone().run(tables.read.clone()));
    tables.fold = Some(fold);
    tables.into_store(1, Some(held), vec![folding]).await.map_err(|e| unreadable(path, &e))
}

fn tables(
    read: Pool<Sqlite>,
    write: Pool<Sqlite>,
    in_memory: bool,
    keep: Keep,
    clock: Option<Arc<dyn Clock>>,
) -> Tables<Sqlite> {
    Tables {
        read,
        write,
        begin: BEGIN,
        in_memory,
        keep,
        arrivals: Arc::default(),
        room: Arc::new(Room::new(keep.max_bytes)),
        index: Some(Arc::default()),
        fold: None,
        batches: &BATCHES,
        owner: None,
        ahead: Arc::default(),
        clock,
    }
}

/// For an operator's commands, beside the relay that owns the file: takes no lock, makes and sets nothing.
pub(super) async fn open_admin(path: &str) -> Result<Pool<Sqlite>, OpenError> {
    let path = Path::new(path);
    if path == Path::new(":memory:") {
        return Err(OpenError::InMemory);
    }
    look_at_file(path, OpenOptions::new().read(true))?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(ADMIN_PATIENCE)
        .synchronous(SqliteSynchronous::Full)
        .disable_statement_logging();
    if !is_ours(&options).await.map_err(|e| unreadable(path, &e))? {
        return Err(file_error(path, NOT_OURS));
    }
    pool(1).connect_with(options).await.map_err(|e| unreadable(path, &e))
}

/// Reads a copy of a database through: how many boxes and messages are in it, or what is wrong with it.
pub(super) async fn look_through(path: &Path) -> Result<Result<(i64, i64), String>, sqlx::Error> {
    // Nobody else knows of it yet, and no log is to be made beside it.
    let options = SqliteConnectOptions::new().filename(path).immutable(true).disable_statement_logging();
    if !is_ours(&options).await? {
        return Ok(Err("it is not a relay's".to_owned()));
    }
    let mut copy = options.read_only(true).connect().await?;
    let (found,): (String,) = sqlx::query_as("pragma integrity_check(1)").fetch_one(&mut copy).await?;
    if found != "ok" {
        return Ok(Err(found));
    }
    let count = "select (select count(*) from boxes), (select count(*) from messages)";
    let counted = sqlx::query_as(count).fetch_one(&mut copy).await?;
    copy.close().await?;
    Ok(Ok(counted))
}

/// What can be seen of a file.
pub(super) struct Seen {
    /// Its one name.
    pub(super) path: PathBuf,
    /// Whether a relay has it.
    pub(super) in_use: bool,
    /// To read it, and whether it writes ahead; none if it is not there.
    pub(super) file: Option<(Pool<Sqlite>, bool)>,
}

/// Looks at a file without changing anything, also while a relay has it.
pub(super) async fn look(given: &Path) -> Result<Seen, OpenError> {
    let path = canonical(given)?;
    let in_use = is_locked(&path);
    if !path.exists() {
        return Ok(Seen { path, in_use, file: None });
    }
    look_at_file(&path, OpenOptions::new().read(true))?;
    // Where there is no log to read, none is to be made: even a reader would.
    let has_log = beside(&path, "-wal").exists();
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .read_only(true)
        .immutable(!has_log)
        .busy_timeout(Duration::from_secs(5))
        .disable_statement_logging();
    if !is_ours(&options).await.map_err(|e| unreadable(&path, &e))? {
        return Err(file_error(&path, NOT_OURS));
    }
    let writes_ahead = writes_ahead(&path).map_err(|error| file_error(&path, error))?;
    let pool = pool(1).connect_with(options).await.map_err(|e| unreadable(&path, &e))?;
    Ok(Seen { path, in_use, file: Some((pool, writes_ahead)) })
}

/// As the file's header says (section 1.3.3 of SQLite's file format): a connection that is not to change anything does not know it.
fn writes_ahead(path: &Path) -> std::io::Result<bool> {
    let mut header = Vec::new();
    File::open(path)?.take(20).read_to_end(&mut header)?;
    Ok(header.get(18..20) == Some(&[2, 2]))
}

/// Whether a relay has the file. Takes a share of its lock to see it, and lets go at once.
fn is_locked(path: &Path) -> bool {
    let lock = File::open(beside(path, ".lock"));
    lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// A file beside this one, named by what comes behind its name.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// A database that is gone with the process, in its one connection.
async fn open_in_memory(keep: Keep, clock: Option<Arc<dyn Clock>>) -> Result<SqlStore<Sqlite>, OpenError> {
    let path = Path::new(":memory:");
    let options = SqliteConnectOptions::new().in_memory(true).disable_statement_logging();
    let only = pool(1).connect_with(options).await.map_err(|e| unreadable(path, &e))?;
    migrations::sqlite().run(&only).await?;
    let tables = tables(only.clone(), only, true, keep, clock);
    tables.into_store(1, None, Vec::new()).await.map_err(|e| unreadable(path, &e))
}

fn pool(connections: u32) -> SqlitePoolOptions {
    // A connection to a file does not grow old; one to memory must never be closed.
    SqlitePoolOptions::new()
        .max_connections(connections)
        .min_connections(connections)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
}

/// The file's one name, whatever links lead to it: the lock is beside it.
fn canonical(path: &Path) -> Result<PathBuf, OpenError> {
    if let Ok(path) = path.canonicalize() {
        return Ok(path);
    }
    // Not there yet.
    let name = path.file_name().ok_or_else(|| file_error(path, "it names no file"))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = folder.canonicalize().map_err(|error| match error.kind() {
        ErrorKind::NotFound => file_error(path, "its folder does not exist: create it first"),
        _ => file_error(folder, error),
    })?;
    Ok(folder.join(name))
}

/// Takes the lock beside the file: one process owns a SQLite database.
///
/// Not on the file itself, since closing it a second time would drop SQLite's own locks on it (POSIX).
fn lock(path: &Path) -> Result<File, OpenError> {
    let lock_path = beside(path, ".lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&lock_path);
    let file = file.map_err(|error| match error.kind() {
        ErrorKind::PermissionDenied => file_error(path, "this user may not write to its folder"),
        _ => file_error(&lock_path, error),
    })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(file_error(&lock_path, error)),
    }
}

/// Makes the file if it is missing, for this user only; looks at it before SQLite may change it.
fn prepare_file(path: &Path) -> Result<(), OpenError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    if look_at_file(path, &options)? == Look::Empty {
        // A new file survives a power cut only once its folder is synced too.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        return File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| file_error(path, error));
    }
    Ok(())
}

#[derive(PartialEq)]
enum Look {
    Empty,
    Sqlite,
}

/// What the file is, as far as one may tell before SQLite opens it.
fn look_at_file(path: &Path, options: &OpenOptions) -> Result<Look, OpenError> {
    let mut file = options.open(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => file_error(path, "there is no such file: start the relay on it once first"),
        ErrorKind::PermissionDenied => file_error(path, "this user may not read and write it"),
        ErrorKind::IsADirectory => file_error(path, FOLDER),
        _ => file_error(path, error),
    })?;
    let mut header = Vec::new();
    file.by_ref().take(16).read_to_end(&mut header).map_err(|error| match error.kind() {
        // A folder can be opened, but not read.
        ErrorKind::IsADirectory => file_error(path, FOLDER),
        _ => file_error(path, error),
    })?;
    if header.is_empty() {
        return Ok(Look::Empty);
    }
    if header == b"SQLite format 3\0" {
        return Ok(Look::Sqlite);
    }
    Err(file_error(path, "it is not a SQLite database; it was left as it is"))
}

/// Whether the database is new, or one of connectoid's.
async fn is_ours(options: &SqliteConnectOptions) -> Result<bool, sqlx::Error> {
    // Read only: another connection would fold another program's log into its file.
    let mut connection = options.clone().read_only(true).connect().await?;
    let (application,): (i64,) = sqlx::query_as("pragma application_id").fetch_one(&mut connection).await?;
    let (tables,): (i64,) =
        sqlx::query_as("select count(*) from sqlite_schema").fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok(application == APPLICATION_ID || (application == 0 && tables == 0))
}

fn unreadable(path: &Path, error: &sqlx::Error) -> OpenError {
    let reason = match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        other => other.to_string(),
    };
    file_error(path, format!("{reason}; restore it from a backup, or move it away to start anew"))
}

fn file_error(path: &Path, reason: impl ToString) -> OpenError {
    OpenError::File { path: path.to_owned(), reason: reason.to_string() }
}
