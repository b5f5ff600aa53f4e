//! What can be told of a database without changing it, also while a relay has it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{OpenError, admin::schema_of, migrations, postgres, sqlite};
use crate::clock::Clock;

/// What a database is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Facts {
    /// A SQLite file.
    Sqlite(SqliteFacts),
    /// SQLite in memory: gone with its relay.
    InMemory,
    /// A PostgreSQL server.
    Postgres(PostgresFacts),
}

/// What a SQLite file is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqliteFacts {
    /// Its one name, whatever links lead to it.
    pub path: PathBuf,
    /// Whether a relay has it.
    pub in_use: bool,
    /// None if there is no such file yet.
    pub schema: Option<Schema>,
    /// Whether it writes ahead (WAL).
    pub writes_ahead: bool,
}

/// What a PostgreSQL server is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresFacts {
    /// `server_version_num`: 150018 is 15.18.
    pub version: i64,
    /// The schema of the relay's tables.
    pub schema: Schema,
    /// Settings by name: `fsync`, `synchronous_commit`, `full_page_writes`.
    pub settings: [(&'static str, String); 3],
    /// Connections it allows to those who are no superusers.
    pub connections: i64,
    /// Whether it is a replica, which stores nothing.
    pub in_recovery: bool,
    /// The shortest time to an answer of a few.
    pub round_trip: Duration,
    /// How much its clock is ahead of ours, in microseconds.
    pub ahead: i64,
    /// Whether one connection hears what another says (LISTEN, NOTIFY): not so behind a pooler of transactions.
    pub hears: bool,
}

/// How far a database's schema is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schema {
    /// A relay has made no tables yet.
    Missing,
    /// An older connectoid's: the next start of a relay brings it up to date.
    Older(i64),
    /// This program's.
    Ours(i64),
    /// A newer connectoid's.
    Newer(i64),
}

/// Looks at a database by its URL. `clock` is compared with the database's.
///
/// # Errors
/// [`OpenError`], if it cannot be looked at, or is no relay's.
pub async fn facts(url: &str, clock: &dyn Clock) -> Result<Facts, OpenError> {
    if let Some(path) = super::sqlite_path(url) {
        if path == ":memory:" {
            return Ok(Facts::InMemory);
        }
        return of_file(Path::new(path)).await.map(Facts::Sqlite);
    }
    if super::is_postgres(url) {
        return postgres::facts(url, clock).await.map(Facts::Postgres);
    }
    Err(super::not_a_database(url))
}

async fn of_file(path: &Path) -> Result<SqliteFacts, OpenError> {
    let sqlite::Seen { path, in_use, file } = sqlite::look(path).await?;
    let mut facts = SqliteFacts { path, in_use, schema: None, writes_ahead: false };
    if let Some((pool, writes_ahead)) = file {
        let schema = schema_of(&pool, &migrations::sqlite()).await;
        pool.close().await;
        facts.schema = Some(schema?);
        facts.writes_ahead = writes_ahead;
    }
    Ok(facts)
}
