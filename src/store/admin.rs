//! What an operator's commands do with a relay's database, also while the relay runs: they take no lock, and make and
//! migrate nothing.

use std::{collections::BTreeSet, time::Duration};

use sqlx::{
    ColumnIndex, Database, Decode, Encode, Executor, IntoArguments, Pool, Type, database::HasStatementCache,
};

use super::{BoxFuture, OpenError, Quota, Schema, StoreError, Usage, Used, migrations, postgres, sqlite};
use crate::clock::micros;

/// An operator's view of a database.
pub trait Admin: Send + Sync {
    /// Keeps a new API key by the SHA-256 of its bytes; false if there is one of this name.
    fn add_api_key(
        &self,
        name: String,
        hash: [u8; 32],
        quota: Quota,
    ) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// All API keys, in the order in which they were made.
    fn api_keys(&self) -> BoxFuture<'_, Result<Vec<NamedKey>, StoreError>>;

    /// Makes an API key count no more; false if there is none of this name.
    fn revoke_api_key(&self, name: String) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// What was used of API keys since a day, by key and day.
    fn usage(&self, since: i64) -> BoxFuture<'_, Result<Vec<Usage>, StoreError>>;

    /// What the database holds, if messages live this long.
    fn stats(&self, message_ttl: Duration) -> BoxFuture<'_, Result<Stats, StoreError>>;

    /// Lets go of the database. On SQLite whoever is the last to do so clears its log away.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// An API key, without its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedKey {
    /// As in [`Usage`].
    pub id: i64,
    /// What the operator calls it.
    pub name: String,
    /// Unix time in microseconds.
    pub created_at: i64,
    /// Unix time in microseconds; none while it counts.
    pub revoked_at: Option<i64>,
    /// What it allows.
    pub quota: Quota,
    /// The boxes that were made under it and are there.
    pub boxes: i64,
}

/// What a database holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Boxes.
    pub boxes: i64,
    /// Messages that live.
    pub messages: i64,
    /// Their bytes, together.
    pub bytes: i64,
    /// How long ago the oldest of them was stored, in microseconds; none without messages.
    pub oldest: Option<i64>,
    /// Messages that expired and are not swept yet.
    pub expired: i64,
    /// API keys that count.
    pub api_keys: i64,
    /// API keys that were revoked.
    pub revoked_api_keys: i64,
    /// The last step of the schema.
    pub schema: i64,
}

/// Opens a database that a relay made.
///
/// # Errors
/// [`OpenError`], with what to do; also for a database that no relay has made yet, and for one of another schema.
pub async fn open_admin(url: &str) -> Result<Box<dyn Admin>, OpenError> {
    if let Some(path) = super::sqlite_path(url) {
        return Ok(Box::new(checked(sqlite::open_admin(path).await?, &migrations::sqlite()).await?));
    }
    if super::is_postgres(url) {
        return Ok(Box::new(checked(postgres::open_admin(url).await?, &migrations::postgres()).await?));
    }
    Err(super::not_a_database(url))
}

const SCHEMA: &str = "select version from _sqlx_migrations order by version";

const ADD_KEY: &str = "
    insert into api_keys (name, hash, created_at, requests_per_day, bytes_per_day, boxes)
    values ($1, $2, (select now from clock), $3, $4, $5)
    on conflict (name) do nothing
    returning id";

const KEYS: &str = "
    select id, name, created_at, revoked_at, requests_per_day, bytes_per_day, boxes,
           (select count(*) from boxes where boxes.api_key = api_keys.id)
    from api_keys order by id";

const REVOKE_KEY: &str = "
    update api_keys set revoked_at = coalesce(revoked_at, (select now from clock)) where name = $1 returning id";

const USAGE: &str = "select key, day, requests, bytes from api_key_usage where day >= $1 order by key, day";

const COUNT_BOXES: &str = "select count(*) from boxes";

const COUNT_MESSAGES: &str = "
    select count(case when stored_at > (select now from clock) - $1 then 1 end),
           cast(coalesce(sum(case when stored_at > (select now from clock) - $1 then length(data) end), 0) as bigint),
           (select now from clock) - min(case when stored_at > (select now from clock) - $1 then stored_at end),
           count(case when stored_at <= (select now from clock) - $1 then 1 end)
    from messages";

const COUNT_KEYS: &str = "select count(*), count(revoked_at) from api_keys";

struct SqlAdmin<DB: Database> {
    pool: Pool<DB>,
    schema: i64,
}

/// Refuses a schema that is not this program's.
async fn checked<DB>(pool: Pool<DB>, ours: &sqlx::migrate::Migrator) -> Result<SqlAdmin<DB>, OpenError>
where
    DB: Database + HasStatementCache,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    usize: ColumnIndex<DB::Row>,
    for<'q> i64: Decode<'q, DB> + Type<DB>,
{
    match schema_of(&pool, ours).await? {
        Schema::Ours(schema) => Ok(SqlAdmin { pool, schema }),
        Schema::Missing => Err(OpenError::NoSchema),
        Schema::Older(theirs) => Err(OpenError::OlderSchema(theirs)),
        Schema::Newer(unknown) => Err(OpenError::NewerSchema(unknown)),
    }
}

/// How far the schema is, compared with our steps.
pub(super) async fn schema_of<DB>(
    pool: &Pool<DB>,
    ours: &sqlx::migrate::Migrator,
) -> Result<Schema, OpenError>
where
    DB: Database + HasStatementCache,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    usize: ColumnIndex<DB::Row>,
    for<'q> i64: Decode<'q, DB> + Type<DB>,
{
    let steps: Vec<(i64,)> = match sqlx::query_as(SCHEMA).persistent(false).fetch_all(pool).await {
        Ok(steps) => steps,
        Err(error) if is_missing_table(&error) => return Ok(Schema::Missing),
        Err(error) => return Err(OpenError::Unreadable(StoreError::from(error).to_string())),
    };
    let theirs: BTreeSet<i64> = steps.into_iter().map(|(version,)| version).collect();
    let ours: BTreeSet<i64> = ours.iter().map(|step| step.version).collect();
    if let Some(unknown) = theirs.difference(&ours).last() {
        return Ok(Schema::Newer(*unknown));
    }
    Ok(match ours.last() {
        Some(&schema) if theirs == ours => Schema::Ours(schema),
        _ => Schema::Older(theirs.last().copied().unwrap_or_default()),
    })
}

/// SQLite has no code of its own for it; PostgreSQL's is SQLSTATE 42P01.
fn is_missing_table(error: &sqlx::Error) -> bool {
    let error = error.as_database_error();
    error.is_some_and(|e| {
        e.code().is_some_and(|code| code == "42P01") || e.message().starts_with("no such table")
    })
}

type KeyRow = (i64, String, i64, Option<i64>, Option<i64>, Option<i64>, Option<i64>, i64);

impl<DB> Admin for SqlAdmin<DB>
where
    DB: Database,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    usize: ColumnIndex<DB::Row>,
    for<'q> i64: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> Option<i64>: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> Vec<u8>: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> String: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
{
    fn add_api_key(
        &self,
        name: String,
        hash: [u8; 32],
        quota: Quota,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            let add = sqlx::query_as(ADD_KEY).bind(name).bind(hash.to_vec());
            let add = add.bind(quota.requests_per_day).bind(quota.bytes_per_day).bind(quota.boxes);
            let row: Option<(i64,)> = add.fetch_optional(&self.pool).await?;
            Ok(row.is_some())
        })
    }

    fn api_keys(&self) -> BoxFuture<'_, Result<Vec<NamedKey>, StoreError>> {
        Box::pin(async move {
            let rows: Vec<KeyRow> = sqlx::query_as(KEYS).fetch_all(&self.pool).await?;
            let keys = rows.into_iter().map(
                |(id, name, created_at, revoked_at, requests_per_day, bytes_per_day, most, boxes)| NamedKey {
                    id,
                    name,
                    created_at,
                    revoked_at,
                    quota: Quota { requests_per_day, bytes_per_day, boxes: most },
                    boxes,
                },
            );
            Ok(keys.collect())
        })
    }

    fn revoke_api_key(&self, name: String) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            let revoke = sqlx::query_as(REVOKE_KEY).bind(name);
            let row: Option<(i64,)> = revoke.fetch_optional(&self.pool).await?;
            Ok(row.is_some())
        })
    }

    fn usage(&self, since: i64) -> BoxFuture<'_, Result<Vec<Usage>, StoreError>> {
        Box::pin(async move {
            let rows: Vec<(i64, i64, i64, i64)> =
                sqlx::query_as(USAGE).bind(since).fetch_all(&self.pool).await?;
            let usage = rows.into_iter().map(|(key, day, requests, bytes)| Usage {
                key,
                day,
                used: Used { requests, bytes },
            });
            Ok(usage.collect())
        })
    }

    fn stats(&self, message_ttl: Duration) -> BoxFuture<'_, Result<Stats, StoreError>> {
        Box::pin(async move {
            let (boxes,): (i64,) = sqlx::query_as(COUNT_BOXES).fetch_one(&self.pool).await?;
            let count = sqlx::query_as(COUNT_MESSAGES).bind(micros(message_ttl));
            let (messages, bytes, oldest, expired): (i64, i64, Option<i64>, i64) =
                count.fetch_one(&self.pool).await?;
            let (all, revoked): (i64, i64) = sqlx::query_as(COUNT_KEYS).fetch_one(&self.pool).await?;
            Ok(Stats {
                boxes,
                messages,
                bytes,
                oldest,
                expired,
                api_keys: all - revoked,
                revoked_api_keys: revoked,
                schema: self.schema,
            })
        })
    }
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.pool.close())
    }
}
