//! The store in SQL: the same statements on every database; only opening and migrations know which one it is.
//!
//! Every statement counts ages from `coalesce($n, (select now from clock))`: a time that a test sets by hand, or the
//! database's own, so that several instances on one database agree.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use sqlx::{
    ColumnIndex, Connection, Database, Decode, Encode, Executor, IntoArguments, Pool, Type,
    pool::PoolConnection,
};
use tokio::{task::JoinHandle, time::timeout};

use super::{
    ApiKey, Appended, BoxFuture, Keep, Store, StoreError, Swept, Under, Usage,
    writer::{self, Append, Queue},
};
use crate::{
    clock::{Clock, micros},
    protocol::{At, Message, PublicKey},
};

/// How long a request waits for the database before it is told `Busy`.
const PATIENCE: Duration = Duration::from_secs(10);

/// Locks the box's row and takes the next cursor: max(last_at + 1, now). The lock is held until the commit, so
/// commits of one box come in the order of their cursors. A cursor taken outside the lock loses acknowledged mail:
/// a reader may see a later one committed first and ask from there on.
const TAKE_CURSOR: &str = "
    insert into boxes (pub, last_at, seen_at, api_key)
    values ($1, coalesce($2, (select now from clock)), coalesce($2, (select now from clock)), $3)
    on conflict (pub) do update set last_at =
        case when boxes.last_at < excluded.last_at then excluded.last_at else boxes.last_at + 1 end
    returning id, last_at, coalesce($2, (select now from clock)) as now";

/// Stores the message unless the box holds it already or is full; no row comes back if it was not stored.
const INSERT: &str = "
    insert into messages (box, at, stored_at, tag, data)
    select $1, $2, $3, $4, $5
    where not exists (select 1 from messages where box = $1 and tag = $4 and data = $5 and stored_at > $3 - $6)
      and ($7 is null or (select count(*) from messages where box = $1 and stored_at > $3 - $6) < $7)
      and ($8 is null or (select coalesce(sum(length(data)), 0) + length($5) from messages
                          where box = $1 and stored_at > $3 - $6) <= $8)
    returning at";

const FIND_DUPLICATE: &str = "
    select at from messages where box = $1 and tag = $2 and data = $3 and stored_at > $4 - $5";

/// One row if there is such a box: whether to note the check, and the newest message behind `$2` if there is one.
const LOOK: &str = "
    select cast(case when seen_at < coalesce($3, (select now from clock)) - $5 then 1 else 0 end as bigint) as stale,
           (select at from messages
            where box = boxes.id and at > $2 and stored_at > coalesce($3, (select now from clock)) - $4
            order by at desc limit 1) as newest
    from boxes where pub = $1";

const NOTE_CHECK: &str = "update boxes set seen_at = coalesce($2, (select now from clock)) where pub = $1";

const NEWER: &str = "
    select messages.at, messages.data from boxes join messages on messages.box = boxes.id
    where boxes.pub = $1 and messages.at > $2
      and messages.stored_at > coalesce($3, (select now from clock)) - $4
    order by messages.at limit $5";

const DELETE_UPTO: &str =
    "delete from messages where box = (select id from boxes where pub = $1) and at <= $2";

const DELETE_BOX: &str = "delete from boxes where pub = $1 returning id";

const DELETE_MESSAGES_OF: &str = "delete from messages where box = $1";

/// A clock that ran ahead stamped these; they would outlive all others. Taken as stored now.
const REDATE_MESSAGES: &str = "
    update messages set stored_at = coalesce($1, (select now from clock))
    where stored_at > coalesce($1, (select now from clock)) + $2";

const REDATE_BOXES: &str = "
    update boxes set seen_at = coalesce($1, (select now from clock))
    where seen_at > coalesce($1, (select now from clock)) + $2";

const SWEEP_MESSAGES: &str = "
    delete from messages where id in (
        select id from messages where stored_at <= coalesce($1, (select now from clock)) - $2
        order by stored_at limit $3)
    returning id";

const UNCHECKED_BOXES: &str = "
    select id from boxes where seen_at <= coalesce($1, (select now from clock)) - $2 order by seen_at limit $3";

/// All is looked at again under the row's lock: a box checked or written to meanwhile stays. Mail that was acknowledged
/// keeps its box for as long as it lives.
const SWEEP_BOX: &str = "
    delete from boxes where id = $1 and seen_at <= coalesce($2, (select now from clock)) - $3
      and not exists (select 1 from messages
                      where box = boxes.id and stored_at > coalesce($2, (select now from clock)) - $4)
    returning id";

const NOW: &str = "select coalesce($1, now) as now from clock";

const KEEP_SECRET: &str = "insert into relay_secret (id, secret) values (1, $1) on conflict (id) do nothing";

const READ_SECRET: &str = "select secret from relay_secret";

/// A check is noted at most this often.
const NOTE_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// A store on a database that sqlx speaks.
pub(super) struct SqlStore<DB: Database> {
    tables: Tables<DB>,
    /// Taken when the store is closed.
    queues: Mutex<Vec<Queue>>,
    writers: Mutex<Vec<JoinHandle<()>>>,
    /// What is held while the store is open: the lock of a SQLite file.
    held: Mutex<Option<std::fs::File>>,
}

/// An open database, and the rules of what is kept in it.
pub(super) struct Tables<DB: Database> {
    /// For reading.
    pub(super) read: Pool<DB>,
    /// For writing: one connection where the database has one writer.
    pub(super) write: Pool<DB>,
    /// How a transaction begins that writes.
    pub(super) begin: &'static str,
    /// Whether the database lives in its one connection.
    pub(super) in_memory: bool,
    pub(super) keep: Keep,
    /// A clock set by hand; without one, the database's own.
    pub(super) clock: Option<Arc<dyn Clock>>,
}

impl<DB: Database> Clone for Tables<DB> {
    fn clone(&self) -> Self {
        let Self { read, write, begin, in_memory, keep, clock } = self;
        Self {
            read: read.clone(),
            write: write.clone(),
            begin,
            in_memory: *in_memory,
            keep: *keep,
            clock: clock.clone(),
        }
    }
}

impl<DB: Database> Tables<DB> {
    /// The time set by hand, if it is.
    fn now(&self) -> Option<i64> {
        self.clock.as_ref().map(|clock| clock.now())
    }

    fn message_ttl(&self) -> i64 {
        micros(self.keep.message_ttl)
    }

    fn box_ttl(&self) -> i64 {
        micros(self.keep.box_ttl)
    }
}

impl<DB: Database> SqlStore<DB> {
    /// The queue of a box: always the same one, so that a box's messages keep their order.
    fn queue(&self, key: &PublicKey) -> Result<Queue, StoreError> {
        let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let [.., last] = key.as_bytes();
        let index = usize::from(*last).checked_rem(queues.len()).ok_or(StoreError::Closed)?;
        queues.get(index).cloned().ok_or(StoreError::Closed)
    }

    async fn queue_up(&self, append: Append) -> Result<Appended, StoreError> {
        let queue = self.queue(&append.key)?;
        timeout(PATIENCE, queue.append(append)).await.map_err(|_| StoreError::Slow)?
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::PoolTimedOut => Self::Slow,
            sqlx::Error::PoolClosed => Self::Closed,
            // The message without its details, which may quote a row.
            sqlx::Error::Database(error) => Self::Database(error.message().to_owned()),
            other => Self::Database(other.to_string()),
        }
    }
}

/// Waits for the database, but not for ever.
async fn patiently<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
    Ok(timeout(PATIENCE, work).await.map_err(|_| StoreError::Slow)??)
}

/// Two transactions waited for each other, or one saw the other's rows change: nothing happened, and trying again
/// helps (SQLSTATE 40P01 and 40001).
fn worth_another_try(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code == "40P01" || code == "40001")
}

/// Does it, and does it once more if that is worth it.
async fn insistently<T, F>(work: impl Fn() -> F) -> Result<T, sqlx::Error>
where
    F: Future<Output = Result<T, sqlx::Error>>,
{
    match work().await {
        Err(error) if worth_another_try(&error) => work().await,
        result => result,
    }
}

/// The first 8 bytes of the SHA-256. Only narrows the search: bytes are compared in full.
fn tag(data: &[u8]) -> i64 {
    let digest = Sha256::digest(data);
    digest.first_chunk().map_or(0, |first| i64::from_be_bytes(*first))
}

impl<DB> Tables<DB>
where
    DB: Database,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    usize: ColumnIndex<DB::Row>,
    for<'q> i64: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> Option<i64>: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> Vec<u8>: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
{
    /// Starts the writers. `held` is let go of when the store is closed.
    pub(super) fn into_store(self, writers: usize, held: Option<std::fs::File>) -> SqlStore<DB> {
        let (queues, tasks) = (0..writers)
            .map(|_| {
                let tables = self.clone();
                writer::start(move |batch| {
                    let tables = tables.clone();
                    async move { Ok(insistently(|| tables.append_all(&batch)).await?) }
                })
            })
            .unzip();
        SqlStore {
            tables: self,
            queues: Mutex::new(queues),
            writers: Mutex::new(tasks),
            held: Mutex::new(held),
        }
    }

    /// Within a time: a database that hangs must not hold up the writer, nor the end of the program.
    async fn append_all(&self, batch: &[Append]) -> Result<Vec<Appended>, sqlx::Error> {
        let mut connection = self.write.acquire().await?;
        let done = timeout(PATIENCE, self.append_in(&mut connection, batch)).await;
        self.give_back(connection, matches!(done, Ok(Ok(_))));
        done.unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }

    /// Gives a connection back to the pool, or closes it if its transaction did not end well: on a full disk SQLite has
    /// rolled back by itself, and sqlx does not know; one that hangs would be waited for.
    pub(super) fn give_back(&self, mut connection: PoolConnection<DB>, ended_well: bool) {
        // A database in memory lives in its connection.
        if !ended_well && !self.in_memory {
            connection.close_on_drop();
        }
    }

    async fn append_in(
        &self,
        connection: &mut DB::Connection,
        batch: &[Append],
    ) -> Result<Vec<Appended>, sqlx::Error> {
        let mut transaction = connection.begin_with(self.begin).await?;
        let mut results = Vec::with_capacity(batch.len());
        for append in batch {
            results.push(self.append_one(&mut transaction, append).await?);
        }
        transaction.commit().await?;
        Ok(results)
    }

    async fn append_one(
        &self,
        connection: &mut DB::Connection,
        append: &Append,
    ) -> Result<Appended, sqlx::Error> {
        if let Some(under) = append.under
            && self.no_more_boxes(&mut *connection, &append.key, under).await?
        {
            return Ok(Appended::NoMoreBoxes);
        }
        let tag = tag(&append.data);
        let (row, at, now): (i64, i64, i64) = sqlx::query_as(TAKE_CURSOR)
            .bind(append.key.as_bytes().to_vec())
            .bind(self.now())
            .bind(append.under.map(|under| under.key))
            .fetch_one(&mut *connection)
            .await?;
        // Twice, for the duplicate that kept it out may have been deleted before it was looked for.
        for _ in 0..2 {
            let stored: Option<(i64,)> = sqlx::query_as(INSERT)
                .bind(row)
                .bind(at)
                .bind(now)
                .bind(tag)
                .bind(append.data.clone())
                .bind(self.message_ttl())
                .bind(self.keep.box_cap.map(|cap| i64::from(cap.messages)))
                .bind(self.keep.box_cap.map(|cap| i64::from(cap.bytes)))
                .fetch_optional(&mut *connection)
                .await?;
            if let Some((at,)) = stored {
                return Ok(Appended::Stored(At::from(at)));
            }
            let same: Option<(i64,)> = sqlx::query_as(FIND_DUPLICATE)
                .bind(row)
                .bind(tag)
                .bind(append.data.clone())
                .bind(now)
                .bind(self.message_ttl())
                .fetch_optional(&mut *connection)
                .await?;
            if same.is_some() {
                return Ok(Appended::Duplicate);
            }
        }
        Ok(Appended::Full)
    }

    async fn has_newer(&self, key: &PublicKey, at: At) -> Result<bool, sqlx::Error> {
        let look: Option<(i64, Option<i64>)> = sqlx::query_as(LOOK)
            .bind(key.as_bytes().to_vec())
            .bind(at.as_i64())
            .bind(self.now())
            .bind(self.message_ttl())
            .bind(micros(NOTE_EVERY))
            .fetch_optional(&self.read)
            .await?;
        let Some((stale, newest)) = look else {
            return Ok(false);
        };
        if stale == 1 {
            let note = sqlx::query(NOTE_CHECK).bind(key.as_bytes().to_vec()).bind(self.now());
            // Noted at the next check if not now: a full disk must not keep owners from their mail.
            if let Err(error) = note.execute(&self.write).await {
                tracing::warn!(error = %StoreError::from(error), "a check was not noted");
            }
        }
        Ok(newest.is_some())
    }

    async fn newer(&self, key: &PublicKey, at: At, limit: u32) -> Result<Vec<Message>, sqlx::Error> {
        let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as(NEWER)
            .bind(key.as_bytes().to_vec())
            .bind(at.as_i64())
            .bind(self.now())
            .bind(self.message_ttl())
            .bind(i64::from(limit))
            .fetch_all(&self.read)
            .await?;
        Ok(rows.into_iter().map(|(at, data)| Message { at: At::from(at), data }).collect())
    }

    async fn delete_upto(&self, key: &PublicKey, at: At) -> Result<(), sqlx::Error> {
        let delete = sqlx::query(DELETE_UPTO).bind(key.as_bytes().to_vec()).bind(at.as_i64());
        delete.execute(&self.write).await?;
        Ok(())
    }

    async fn delete_box(&self, key: &PublicKey) -> Result<(), sqlx::Error> {
        let mut connection = self.write.acquire().await?;
        let done = self.delete_box_in(&mut connection, key).await;
        self.give_back(connection, done.is_ok());
        done
    }

    async fn delete_box_in(
        &self,
        connection: &mut DB::Connection,
        key: &PublicKey,
    ) -> Result<(), sqlx::Error> {
        let mut transaction = connection.begin_with(self.begin).await?;
        // The box first: its row is the lock under which messages are appended.
        let row: Option<(i64,)> = sqlx::query_as(DELETE_BOX)
            .bind(key.as_bytes().to_vec())
            .fetch_optional(&mut *transaction)
            .await?;
        if let Some((row,)) = row {
            sqlx::query(DELETE_MESSAGES_OF).bind(row).execute(&mut *transaction).await?;
        }
        transaction.commit().await
    }

    async fn sweep(&self, limit: u32) -> Result<Swept, sqlx::Error> {
        let redate = sqlx::query(REDATE_MESSAGES).bind(self.now()).bind(self.message_ttl());
        redate.execute(&self.write).await?;
        let messages: Vec<(i64,)> = sqlx::query_as(SWEEP_MESSAGES)
            .bind(self.now())
            .bind(self.message_ttl())
            .bind(i64::from(limit))
            .fetch_all(&self.write)
            .await?;
        let redate = sqlx::query(REDATE_BOXES).bind(self.now()).bind(self.box_ttl());
        redate.execute(&self.write).await?;

        let unchecked: Vec<(i64,)> = sqlx::query_as(UNCHECKED_BOXES)
            .bind(self.now())
            .bind(self.box_ttl())
            .bind(i64::from(limit))
            .fetch_all(&self.write)
            .await?;
        let mut boxes = 0;
        // One at a time: with two boxes locked it could wait for a batch of messages that waits for it.
        for (row,) in unchecked {
            boxes += u32::from(self.sweep_box(row).await?);
        }
        // At most `limit`, a u32.
        Ok(Swept { messages: messages.len() as u32, boxes })
    }

    async fn sweep_box(&self, row: i64) -> Result<bool, sqlx::Error> {
        let mut connection = self.write.acquire().await?;
        let done = self.sweep_box_in(&mut connection, row).await;
        self.give_back(connection, done.is_ok());
        done
    }

    async fn sweep_box_in(&self, connection: &mut DB::Connection, row: i64) -> Result<bool, sqlx::Error> {
        let mut transaction = connection.begin_with(self.begin).await?;
        let swept: Option<(i64,)> = sqlx::query_as(SWEEP_BOX)
            .bind(row)
            .bind(self.now())
            .bind(self.box_ttl())
            .bind(self.message_ttl())
            .fetch_optional(&mut *transaction)
            .await?;
        if swept.is_some() {
            sqlx::query(DELETE_MESSAGES_OF).bind(row).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(swept.is_some())
    }

    async fn database_now(&self) -> Result<i64, sqlx::Error> {
        let (now,): (i64,) = sqlx::query_as(NOW).bind(self.now()).fetch_one(&self.read).await?;
        Ok(now)
    }

    async fn secret(&self, candidate: Vec<u8>) -> Result<Vec<u8>, sqlx::Error> {
        sqlx::query(KEEP_SECRET).bind(candidate).execute(&self.write).await?;
        let (secret,): (Vec<u8>,) = sqlx::query_as(READ_SECRET).fetch_one(&self.write).await?;
        Ok(secret)
    }
}

impl<DB> Store for SqlStore<DB>
where
    DB: Database,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    usize: ColumnIndex<DB::Row>,
    for<'q> i64: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> Option<i64>: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> Vec<u8>: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
{
    fn append(&self, key: PublicKey, data: Vec<u8>) -> BoxFuture<'_, Result<Appended, StoreError>> {
        Box::pin(self.queue_up(Append { key, data, under: None }))
    }

    fn append_under(
        &self,
        under: Under,
        key: PublicKey,
        data: Vec<u8>,
    ) -> BoxFuture<'_, Result<Appended, StoreError>> {
        Box::pin(self.queue_up(Append { key, data, under: Some(under) }))
    }

    fn api_key(&self, hash: [u8; 32], day: i64) -> BoxFuture<'_, Result<Option<ApiKey>, StoreError>> {
        Box::pin(async move { patiently(self.tables.api_key(hash, day)).await })
    }

    fn add_usage(&self, usage: Vec<Usage>) -> BoxFuture<'_, Result<Vec<Usage>, StoreError>> {
        Box::pin(async move { patiently(insistently(|| self.tables.add_usage(&usage))).await })
    }

    fn has_newer(&self, key: PublicKey, at: At) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { patiently(self.tables.has_newer(&key, at)).await })
    }

    fn newer(&self, key: PublicKey, at: At, limit: u32) -> BoxFuture<'_, Result<Vec<Message>, StoreError>> {
        Box::pin(async move { patiently(self.tables.newer(&key, at, limit)).await })
    }

    fn delete_upto(&self, key: PublicKey, at: At) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { patiently(insistently(|| self.tables.delete_upto(&key, at))).await })
    }

    fn delete_box(&self, key: PublicKey) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { patiently(insistently(|| self.tables.delete_box(&key))).await })
    }

    fn sweep(&self, limit: u32) -> BoxFuture<'_, Result<Swept, StoreError>> {
        Box::pin(async move { patiently(insistently(|| self.tables.sweep(limit))).await })
    }

    fn now(&self) -> BoxFuture<'_, Result<i64, StoreError>> {
        Box::pin(async move { patiently(self.tables.database_now()).await })
    }

    fn secret(&self, candidate: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, StoreError>> {
        Box::pin(async move { patiently(self.tables.secret(candidate)).await })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.queues.lock().unwrap_or_else(PoisonError::into_inner).clear();
            let writers = std::mem::take(&mut *self.writers.lock().unwrap_or_else(PoisonError::into_inner));
            for writer in writers {
                if let Err(error) = writer.await {
                    tracing::error!(%error, "a writer ended early");
                }
            }
            self.tables.read.close().await;
            self.tables.write.close().await;
            drop(self.held.lock().unwrap_or_else(PoisonError::into_inner).take());
        })
    }
}
