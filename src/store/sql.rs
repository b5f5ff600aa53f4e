//! The store in SQL: the same statements on every database; only opening and migrations know which one it is.
//!
//! Every statement counts ages from `coalesce($n, (select now from clock))`: a time that a test sets by hand, or the
//! database's own, so that several instances on one database agree.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use sqlx::{
    ColumnIndex, Connection, Database, Decode, Encode, Executor, IntoArguments, Pool, Type,
    pool::PoolConnection,
};
use tokio::{task::JoinHandle, time::timeout};

use super::{
    ApiKey, Append, Appended, Arrivals, BoxFuture, Held, Keep, Store, StoreError, Swept, Usage, arrivals,
    room::Room,
    writer::{self, Queue},
};
use crate::{
    clock::{Clock, micros},
    protocol::{At, Message, PublicKey},
};

/// How long a request waits for the database before it is told `Busy`.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a store that is closed tries to tell other instances what came last.
const LAST_WORDS: Duration = Duration::from_secs(1);

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
///
/// A sender may have `$9` messages in the box, and none yet to get into its last quarter; a share as large as the box is
/// no share.
const INSERT: &str = "
    insert into messages (box, at, stored_at, tag, sender, data)
    select $1, $2, $3, $4, $10, $5
    from (select count(*) as messages, coalesce(sum(length(data)), 0) + length($5) as bytes,
                 count(case when sender = $10 then 1 end) as own
          from messages where box = $1 and stored_at > $3 - $6) as held
    where not exists (select 1 from messages where box = $1 and tag = $4 and data = $5 and stored_at > $3 - $6)
      and ($7 is null or (messages < $7 and bytes <= $8 and own < $9
                          and (own = 0 or $9 >= $7 or (messages < $7 * 3 / 4 and bytes <= $8 * 3 / 4))))
    returning at";

/// Why it was not stored: how many messages of the box are the same, and whether the box itself has room for it.
const WHY_NOT: &str = "
    select count(case when tag = $2 and data = $3 then 1 end),
           cast(case when count(*) < $6 and coalesce(sum(length(data)), 0) + length($3) <= $7 then 1 else 0 end as bigint)
    from messages where box = $1 and stored_at > $4 - $5";

const HOLDS: &str = "
    select messages.at from boxes join messages on messages.box = boxes.id
    where boxes.pub = $1 and tag = $2 and data = $3
      and messages.stored_at > coalesce($4, (select now from clock)) - $5
    limit 1";

/// One row for each of these boxes that there is: whether to note the check, and the newest message if there is one.
static LOOK: LazyLock<ForMany> = LazyLock::new(|| {
    ForMany::new(
        "
    select pub,
           cast(case when seen_at < coalesce($1, (select now from clock)) - $3 then 1 else 0 end as bigint) as stale,
           (select at from messages
            where box = boxes.id and stored_at > coalesce($1, (select now from clock)) - $2
            order by at desc limit 1) as newest
    from boxes where pub in ",
        4,
    )
});

static NOTE_CHECKS: LazyLock<ForMany> = LazyLock::new(|| {
    ForMany::new("update boxes set seen_at = coalesce($1, (select now from clock)) where pub in ", 2)
});

/// A statement that ends with a list of boxes, written out for a few lengths, so that a connection prepares few.
struct ForMany([(usize, String); 3]);

impl ForMany {
    /// `first` is the number of the list's first parameter.
    fn new(start: &str, first: usize) -> Self {
        Self([1, 10, 100].map(|length| {
            let list: Vec<String> = (first..first + length).map(|n| format!("${n}")).collect();
            (length, format!("{start}({})", list.join(", ")))
        }))
    }

    /// The shortest that takes so many boxes, or the longest there is; and its length.
    fn for_boxes(&'static self, count: usize) -> (&'static str, usize) {
        let [.., longest] = &self.0;
        let (length, text) = self.0.iter().find(|(length, _)| *length >= count).unwrap_or(longest);
        (text, *length)
    }
}

const NEWER: &str = "
    select messages.at, messages.data from boxes join messages on messages.box = boxes.id
    where boxes.pub = $1 and messages.at > $2
      and messages.stored_at > coalesce($3, (select now from clock)) - $4
    order by messages.at limit $5";

const DELETE_UPTO: &str = "
    delete from messages where box = (select id from boxes where pub = $1) and at <= $2
    returning cast(length(data) as bigint)";

const DELETE_BOX: &str = "delete from boxes where pub = $1 returning id";

const DELETE_MESSAGES_OF: &str = "delete from messages where box = $1 returning cast(length(data) as bigint)";

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
    returning cast(length(data) as bigint)";

const UNCHECKED_BOXES: &str = "
    select id from boxes where seen_at <= coalesce($1, (select now from clock)) - $2 order by seen_at limit $3";

/// All is looked at again under the row's lock: a box checked or written to meanwhile stays. Mail that was acknowledged
/// keeps its box for as long as it lives.
const SWEEP_BOX: &str = "
    delete from boxes where id = $1 and seen_at <= coalesce($2, (select now from clock)) - $3
      and not exists (select 1 from messages
                      where box = boxes.id and stored_at > coalesce($2, (select now from clock)) - $4)
    returning id";

const COUNT: &str = "select count(*), coalesce(sum(length(data)), 0) from messages";

const COUNT_BOXES: &str = "select count(*) from boxes";

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
    /// What runs beside it until it is closed.
    tasks: Vec<JoinHandle<()>>,
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
    /// Whether other instances may use the same database.
    pub(super) shared: bool,
    pub(super) arrivals: Arc<Arrivals>,
    pub(super) room: Arc<Room>,
    /// A clock set by hand; without one, the database's own.
    pub(super) clock: Option<Arc<dyn Clock>>,
}

impl<DB: Database> Clone for Tables<DB> {
    fn clone(&self) -> Self {
        Self {
            read: self.read.clone(),
            write: self.write.clone(),
            begin: self.begin,
            in_memory: self.in_memory,
            keep: self.keep,
            shared: self.shared,
            arrivals: self.arrivals.clone(),
            room: self.room.clone(),
            clock: self.clock.clone(),
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

    /// What failed may have been done all the same: then what is held is to be counted.
    fn changed<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        result.inspect_err(|_| self.tables.room.doubt())
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
pub(super) async fn patiently<T>(
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, StoreError> {
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

/// The keys, the last one repeated up to this length.
fn filled_up(
    keys: impl DoubleEndedIterator<Item = Vec<u8>> + Clone,
    length: usize,
) -> impl Iterator<Item = Vec<u8>> {
    let last = keys.clone().next_back();
    keys.chain(std::iter::from_fn(move || last.clone())).take(length)
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
    /// Counts what is there and starts the writers. `held` is let go of when the store is closed, `tasks` are ended.
    pub(super) async fn into_store(
        self,
        writers: usize,
        held: Option<std::fs::File>,
        tasks: Vec<JoinHandle<()>>,
    ) -> Result<SqlStore<DB>, sqlx::Error> {
        self.count().await?;
        let (queues, writers) = (0..writers)
            .map(|_| {
                let tables = self.clone();
                writer::start(move |batch| {
                    let tables = tables.clone();
                    async move { tables.append_settled(&batch).await }
                })
            })
            .unzip();
        Ok(SqlStore {
            tables: self,
            queues: Mutex::new(queues),
            writers: Mutex::new(writers),
            held: Mutex::new(held),
            tasks,
        })
    }

    /// Counts what all boxes hold, if that is in doubt, and the boxes.
    async fn count(&self) -> Result<(), sqlx::Error> {
        if self.shared || self.room.is_unsure() {
            let changes = self.room.changes();
            let (messages, bytes): (i64, i64) = sqlx::query_as(COUNT).fetch_one(&self.read).await?;
            self.room.counted(messages.unsigned_abs(), bytes.unsigned_abs(), changes);
        }
        let (boxes,): (i64,) = sqlx::query_as(COUNT_BOXES).fetch_one(&self.read).await?;
        self.room.counted_boxes(boxes.unsigned_abs());
        Ok(())
    }

    /// Stores a batch; then settles the room that was taken for it, and rings for those who wait.
    async fn append_settled(&self, batch: &[Append]) -> Result<Vec<Appended>, StoreError> {
        let results = insistently(|| self.append_all(batch)).await;
        let stored = |n: usize| {
            let result = results.as_ref().ok().and_then(|results| results.get(n));
            matches!(result, Some(Appended::Stored(_)))
        };
        if results.is_err() {
            self.room.doubt();
        }
        for (n, append) in batch.iter().enumerate() {
            self.room.settle(append.data.len() as u64, stored(n));
        }
        // Of a commit that failed nobody knows for sure, and a duplicate's first copy may be of such a one.
        self.arrivals.stored(batch.iter().map(|append| arrivals::name(&append.key)).collect());
        Ok(results?)
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
        // Twice, for the message that kept it out may have been deleted before it was looked for.
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
                .bind(self.keep.box_cap.map(|cap| i64::from(cap.messages_per_sender)))
                // Without shares nobody needs to know.
                .bind(append.sender.filter(|_| self.keep.box_cap.is_some_and(|cap| cap.has_shares())))
                .fetch_optional(&mut *connection)
                .await?;
            if let Some((at,)) = stored {
                return Ok(Appended::Stored(At::from(at)));
            }
            let (same, has_room): (i64, i64) = sqlx::query_as(WHY_NOT)
                .bind(row)
                .bind(tag)
                .bind(append.data.clone())
                .bind(now)
                .bind(self.message_ttl())
                .bind(self.keep.box_cap.map(|cap| i64::from(cap.messages)))
                .bind(self.keep.box_cap.map(|cap| i64::from(cap.bytes)))
                .fetch_one(&mut *connection)
                .await?;
            match (same, has_room) {
                (1.., _) => return Ok(Appended::Duplicate),
                (_, 0) => return Ok(Appended::Full),
                _ => {}
            }
        }
        Ok(Appended::ShareUsed)
    }

    async fn have_newer(&self, boxes: &[(PublicKey, At)]) -> Result<Vec<bool>, sqlx::Error> {
        let mut newest: HashMap<Vec<u8>, Option<i64>> = HashMap::with_capacity(boxes.len());
        let mut stale = Vec::new();
        let (text, length) = LOOK.for_boxes(boxes.len());
        for some in boxes.chunks(length) {
            let look =
                sqlx::query_as(text).bind(self.now()).bind(self.message_ttl()).bind(micros(NOTE_EVERY));
            let look = filled_up(some.iter().map(|(key, _)| key.as_bytes().to_vec()), length)
                .fold(look, |look, key| look.bind(key));
            let found: Vec<(Vec<u8>, i64, Option<i64>)> = look.fetch_all(&self.read).await?;
            for (key, is_stale, at) in found {
                if is_stale == 1 {
                    stale.push(key.clone());
                }
                newest.insert(key, at);
            }
        }
        // Noted at the next check if not now: a full disk or a busy writer must not keep owners from their mail.
        let noted = timeout(PATIENCE / 10, self.note_checks(&stale)).await;
        if let Err(error) = noted.unwrap_or(Err(sqlx::Error::PoolTimedOut)) {
            tracing::warn!(error = %StoreError::from(error), "a check was not noted");
        }
        let is_newer = |(key, at): &(PublicKey, At)| {
            let newest = newest.get(key.as_bytes().as_slice()).copied().flatten();
            newest.is_some_and(|newest| newest > at.as_i64())
        };
        Ok(boxes.iter().map(is_newer).collect())
    }

    async fn note_checks(&self, keys: &[Vec<u8>]) -> Result<(), sqlx::Error> {
        // Where others write too, one by one: several rows locked at once could wait for a batch that waits for them.
        let (text, length) = NOTE_CHECKS.for_boxes(if self.shared { 1 } else { keys.len() });
        for some in keys.chunks(length) {
            let note = sqlx::query(text).bind(self.now());
            let note = filled_up(some.iter().cloned(), length).fold(note, |note, key| note.bind(key));
            note.execute(&self.write).await?;
        }
        Ok(())
    }

    /// Whether the box holds these bytes.
    async fn holds(&self, append: &Append) -> Result<bool, sqlx::Error> {
        let same: Option<(i64,)> = sqlx::query_as(HOLDS)
            .bind(append.key.as_bytes().to_vec())
            .bind(tag(&append.data))
            .bind(append.data.clone())
            .bind(self.now())
            .bind(self.message_ttl())
            .fetch_optional(&self.read)
            .await?;
        Ok(same.is_some())
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
        let delete = sqlx::query_as(DELETE_UPTO).bind(key.as_bytes().to_vec()).bind(at.as_i64());
        self.room.deleted(&delete.fetch_all(&self.write).await?);
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
        let mut sizes = Vec::new();
        if let Some((row,)) = row {
            sizes = sqlx::query_as(DELETE_MESSAGES_OF).bind(row).fetch_all(&mut *transaction).await?;
        }
        transaction.commit().await?;
        self.room.deleted(&sizes);
        Ok(())
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
        self.room.deleted(&messages);
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
        // After the last batch. A count that fails must not keep the rest from being swept.
        if messages.len() < limit as usize
            && boxes < limit
            && let Err(error) = self.count().await
        {
            tracing::warn!(error = %StoreError::from(error), "what all boxes hold was not counted");
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
        let mut sizes = Vec::new();
        if swept.is_some() {
            sizes = sqlx::query_as(DELETE_MESSAGES_OF).bind(row).fetch_all(&mut *transaction).await?;
        }
        transaction.commit().await?;
        self.room.deleted(&sizes);
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
    fn append(&self, append: Append) -> BoxFuture<'_, Result<Appended, StoreError>> {
        Box::pin(async move {
            let queue = self.queue(&append.key)?;
            let bytes = append.data.len() as u64;
            if !self.tables.room.take(bytes) {
                // A retry is safe even then.
                let is_there = patiently(self.tables.holds(&append)).await?;
                return Ok(if is_there { Appended::Duplicate } else { Appended::NoRoom });
            }
            let queued = queue.append(append).inspect_err(|_| self.tables.room.settle(bytes, false))?;
            timeout(PATIENCE, queued).await.map_err(|_| StoreError::Slow)?
        })
    }

    fn api_key(&self, hash: [u8; 32], day: i64) -> BoxFuture<'_, Result<Option<ApiKey>, StoreError>> {
        Box::pin(async move { patiently(self.tables.api_key(hash, day)).await })
    }

    fn add_usage(&self, usage: Vec<Usage>) -> BoxFuture<'_, Result<Vec<Usage>, StoreError>> {
        Box::pin(async move { patiently(insistently(|| self.tables.add_usage(&usage))).await })
    }

    fn have_newer(&self, boxes: Vec<(PublicKey, At)>) -> BoxFuture<'_, Result<Vec<bool>, StoreError>> {
        Box::pin(async move { patiently(self.tables.have_newer(&boxes)).await })
    }

    fn arrivals(&self) -> &Arrivals {
        &self.tables.arrivals
    }

    fn held(&self) -> Held {
        self.tables.room.held()
    }

    fn newer(&self, key: PublicKey, at: At, limit: u32) -> BoxFuture<'_, Result<Vec<Message>, StoreError>> {
        Box::pin(async move { patiently(self.tables.newer(&key, at, limit)).await })
    }

    fn delete_upto(&self, key: PublicKey, at: At) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(
            async move { self.changed(patiently(insistently(|| self.tables.delete_upto(&key, at))).await) },
        )
    }

    fn delete_box(&self, key: PublicKey) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { self.changed(patiently(insistently(|| self.tables.delete_box(&key))).await) })
    }

    fn sweep(&self, limit: u32) -> BoxFuture<'_, Result<Swept, StoreError>> {
        Box::pin(async move { self.changed(patiently(insistently(|| self.tables.sweep(limit))).await) })
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
            // Other instances are told of the last ones, too.
            drop(timeout(LAST_WORDS, self.tables.arrivals.all_told()).await);
            self.tasks.iter().for_each(JoinHandle::abort);
            self.tables.read.close().await;
            self.tables.write.close().await;
            drop(self.held.lock().unwrap_or_else(PoisonError::into_inner).take());
        })
    }
}
