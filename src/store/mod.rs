//! Where messages are kept: one set of promises, on SQLite and PostgreSQL.
//!
//! sqlx is spoken in this folder only. The promises are run as one test against every database (tests/it/store.rs).

mod admin;
mod api_keys;
mod arrivals;
mod backup;
mod facts;
mod fold;
mod index;
mod migrations;
mod notify;
mod postgres;
mod recent;
mod room;
mod sql;
mod sqlite;
mod writer;

use std::{path::PathBuf, pin::Pin, sync::Arc, time::Duration};

pub use self::{
    admin::{Admin, NamedKey, Stats, open_admin},
    api_keys::{ApiKey, Quota, Under, Usage, Used},
    arrivals::{Arrivals, Waiting},
    backup::{Backup, BackupError, backup},
    facts::{Facts, PostgresFacts, Schema, SqliteFacts, facts},
};
use crate::{
    clock::Clock,
    protocol::{At, Message, PublicKey},
};

/// A future as trait objects return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Keeps messages.
///
/// Every operation that returned `Ok` is durable. Reads never show what has expired, however late it is swept.
pub trait Store: Send + Sync {
    /// Appends a message to a box, making the box if need be.
    ///
    /// The message gets a cursor above every other that this box ever showed, so that whoever reads with the last
    /// cursor seen misses nothing. A message with the same bytes as one that is still kept is not stored again.
    ///
    /// May be polled on another runtime than the store's, and dropped: the message is stored all the same.
    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, StoreError>>;

    /// For each of these boxes, whether it holds a message newer than its `at`; notes, at most once a day, that their
    /// owners looked. Never makes a box.
    fn have_newer(&self, boxes: Vec<(PublicKey, At)>) -> BoxFuture<'_, Result<Vec<bool>, StoreError>>;

    /// Whether any of these boxes holds a message newer than its `at`, if that can be told of all of them without the database.
    fn known_newer(&self, boxes: &[(PublicKey, At)]) -> Option<bool>;

    /// Who waits for which box. Rung when messages come, here or through another instance on the same database.
    fn arrivals(&self) -> &Arrivals;

    /// The API key with this SHA-256, and what was used of it on this day.
    fn api_key(&self, hash: [u8; 32], day: i64) -> BoxFuture<'_, Result<Option<ApiKey>, StoreError>>;

    /// Adds to what was used of API keys; all or nothing. The totals, in the order of `usage`, which is to be that of
    /// the keys: two instances must not wait for each other.
    fn add_usage(&self, usage: Vec<Usage>) -> BoxFuture<'_, Result<Vec<Usage>, StoreError>>;

    /// The messages newer than `at`, oldest first, at most `limit`.
    fn newer(&self, key: PublicKey, at: At, limit: u32) -> BoxFuture<'_, Result<Vec<Message>, StoreError>>;

    /// The same at once, if it can be told without the database.
    fn known_messages(&self, key: &PublicKey, at: At, limit: u32) -> Option<Vec<Message>>;

    /// Deletes what is stored now up to and including `at`.
    fn delete_upto(&self, key: PublicKey, at: At) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Deletes the box and all in it.
    fn delete_box(&self, key: PublicKey) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Deletes a batch of at most `limit` expired messages and of at most `limit` boxes that nobody checked for too
    /// long. Safe to run in several processes at once. Call again while a batch comes back full.
    fn sweep(&self, limit: u32) -> BoxFuture<'_, Result<Swept, StoreError>>;

    /// What all boxes hold together; several instances agree on it as of the last sweep.
    fn held(&self) -> Held;

    /// Whether no message is held, for sure, nor on its way.
    fn is_empty(&self) -> bool;

    /// The time this store counts ages by, Unix time in microseconds. Shows that the database answers, and that no other relay
    /// has taken it over.
    fn now(&self) -> BoxFuture<'_, Result<i64, StoreError>>;

    /// The secret of the relay: `candidate`, unless an instance stored one before.
    fn secret(&self, candidate: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, StoreError>>;

    /// Finishes what was accepted, and lets go of the database.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// A message on its way into a box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// The box.
    pub key: PublicKey,
    /// The message, decoded.
    pub data: Vec<u8>,
    /// Who sends it, as a pseudonym that holds for this box alone; `None` is held to no share.
    pub sender: Option<i64>,
    /// The API key it comes under, on a relay that asks for them: a box that the message makes is this key's.
    pub under: Option<Under>,
}

/// What became of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// Stored durably under this cursor.
    Stored(At),
    /// The box holds these bytes already.
    Duplicate,
    /// The box holds as much as it may.
    Full,
    /// The box holds as much from this sender as it may.
    ShareUsed,
    /// There is no such box, and its API key has as many as it may.
    NoMoreBoxes,
    /// All boxes together hold as much as they may.
    NoRoom,
}

/// What all boxes hold together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    /// Messages, expired ones that were not swept yet among them.
    pub messages: u64,
    /// Their bytes, decoded.
    pub bytes: u64,
    /// Boxes, as of the last sweep.
    pub boxes: u64,
}

impl Held {
    /// What a message takes on the disk beside its bytes, and a box, with their indexes: measured on SQLite, where a
    /// message of one byte in a box of its own took 266 bytes more than none, and an empty box 153.
    const BESIDE_A_MESSAGE: u64 = 256;
    const A_BOX: u64 = 160;

    /// About what it takes on the disk.
    pub fn on_disk(&self) -> u64 {
        let beside = self.messages.saturating_mul(Self::BESIDE_A_MESSAGE);
        self.bytes.saturating_add(beside).saturating_add(self.boxes.saturating_mul(Self::A_BOX))
    }
}

/// What one sweep deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Expired messages.
    pub messages: u32,
    /// Boxes that nobody checked for too long.
    pub boxes: u32,
}

/// How long things are kept, and how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// The life of a message.
    pub message_ttl: Duration,
    /// How long a box lives that nobody checks.
    pub box_ttl: Duration,
    /// What a box may hold; `None` for as much as there is room.
    pub box_cap: Option<BoxCap>,
    /// The bytes that all boxes may take together, as [`Held::on_disk`] counts; `None` for as much as there is room.
    pub max_bytes: Option<u64>,
}

/// What a box may hold at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoxCap {
    /// Messages.
    pub messages: u32,
    /// Their bytes, together.
    pub bytes: u32,
    /// Messages of one sender. The last quarter of a box is for senders who have nothing in it.
    pub messages_per_sender: u32,
}

impl BoxCap {
    /// Whether senders have shares: one that is as large as the box is none.
    pub fn has_shares(&self) -> bool {
        self.messages_per_sender < self.messages
    }
}

/// The database could not do it now. The text is for the operator's log and names no box.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// More is waiting to be stored than the queue holds.
    #[error("more messages are waiting to be stored than the queue holds")]
    QueueFull,
    /// No answer in time.
    #[error("the database did not answer in time")]
    Slow,
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// Another relay has the database since.
    #[error(
        "another relay has taken the database over: stop one of the two, or start all of them without --sole-instance"
    )]
    Displaced,
    /// What the database said.
    #[error("database: {0}")]
    Database(String),
}

impl StoreError {
    /// A word for it, of few.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::QueueFull => "queue full",
            Self::Slow => "slow",
            Self::Closed => "closed",
            Self::Displaced => "displaced",
            Self::Database(_) => "database",
        }
    }
}

/// Why a store could not be opened. Nothing was created or changed in a file that was not ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Not a database URL.
    #[error(
        "{0:?} is not a database: expected sqlite://PATH, sqlite::memory: or postgres://USER:PASSWORD@HOST/NAME"
    )]
    Url(String),
    /// The file cannot be used.
    #[error("cannot open {path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// Nobody but its relay reaches a database in memory.
    #[error(
        "sqlite::memory: is inside its relay, where no other command reaches it: keep the database in a file"
    )]
    InMemory,
    /// Another process has the file.
    #[error("{0} is in use by another connectoid: stop that one, or choose another file with --database")]
    Locked(PathBuf),
    /// Written by a newer program.
    #[error(
        "the database was last used by a newer connectoid (schema {0} is unknown to this one): update connectoid, or choose another database with --database; nothing was changed"
    )]
    NewerSchema(i64),
    /// Written by an older program, and this is no time to migrate it.
    #[error(
        "the database was last used by an older connectoid (schema {0}): start this one's relay on it once first, which brings it up to date"
    )]
    OlderSchema(i64),
    /// No relay has made its tables there.
    #[error("there is no relay's data in the database: start the relay on it once first")]
    NoSchema,
    /// It could not be looked at.
    #[error("cannot read the database: {0}")]
    Unreadable(String),
    /// A migration failed.
    #[error("the database's schema could not be brought up to date: {0}")]
    Migration(String),
    /// PostgreSQL.
    #[error("cannot use PostgreSQL: {0}")]
    Postgres(String),
}

/// Who stores messages in a database on PostgreSQL. A file of SQLite always has one owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A relay, and the only one: it keeps an index of the boxes in memory, so that an idle check does not ask the database.
    /// From now on no other can store a message, until another one is opened.
    Sole,
    /// A relay, one of any number. From now on a sole one can store no message.
    Shared,
    /// Something that passes by and stores no messages.
    Visitor,
}

/// Opens a database by its URL, creating and migrating it as needed.
///
/// `clock` is for tests; without one the store goes by the database's own, so that several instances agree.
///
/// # Errors
/// [`OpenError`], with what to do.
pub async fn open(
    url: &str,
    keep: Keep,
    role: Role,
    clock: Option<Arc<dyn Clock>>,
) -> Result<Arc<dyn Store>, OpenError> {
    if let Some(path) = sqlite_path(url) {
        return Ok(Arc::new(sqlite::open(path, keep, clock).await?));
    }
    if is_postgres(url) {
        return Ok(Arc::new(postgres::open(url, keep, role, clock).await?));
    }
    Err(not_a_database(url))
}

/// The file that a database of this URL is kept in, if it is one of this machine.
pub fn file(url: &str) -> Option<PathBuf> {
    sqlite_path(url).filter(|path| *path != ":memory:").map(PathBuf::from)
}

/// The file of a SQLite URL.
fn sqlite_path(url: &str) -> Option<&str> {
    let path = url.strip_prefix("sqlite:")?;
    let is_path = !matches!(path, "" | "//") && !path.contains('?');
    is_path.then(|| path.strip_prefix("//").unwrap_or(path))
}

fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

/// The URL may hold a password, even one that is not well formed: only its scheme is repeated.
fn not_a_database(url: &str) -> OpenError {
    OpenError::Url(url.split_once(':').map_or(url, |(scheme, _)| scheme).to_owned())
}
