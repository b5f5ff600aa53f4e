//! The store in SQL: the same statements on every database; only opening and migrations know which one it is.
//!
//! Every statement counts ages from `coalesce($n, (select now from clock))`: a time that a test sets by hand, or the
//! database's own, so that several instances on one database agree.
//!
//! Where a statement is about one box it says `stored_at + 0`, which no index has: else PostgreSQL may read the index of all
//! messages that live to find out which of this box do.

use std::{
    collections::HashMap,
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use sqlx::{
    ColumnIndex, Connection, Database, Decode, Encode, Executor, IntoArguments, Pool, Type,
    pool::PoolConnection,
};
use tokio::{runtime::Handle, task::JoinHandle, time::timeout};

use super::{
    ApiKey, Append, Appended, Arrivals, BoxFuture, Held, Keep, Store, StoreError, Swept, Usage, arrivals,
    fold::{FOLD, Fold},
    index::{Fresh, Index, Known},
    room::Room,
    writer::{self, Queue},
};
use crate::{
    clock::{Clock, SystemClock, micros},
    protocol::{At, Message, PublicKey},
};

/// How long a request waits for the database before it is told `Busy`.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a store that is closed tries to tell other instances what came last.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The statements about messages that come together, as a database takes them best. They give no row for each message: on
/// SQLite a row is a change of threads. What a shorter batch leaves empty is a row whose box has no name.
pub(super) struct Batches {
    take_cursors: ForMany,
    insert: ForMany,
    outcomes: ForMany,
}

impl Batches {
    const LENGTHS: [usize; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];

    /// `gather` is this database's word for the rows' JSON arrays in one, in the order of `pub`, as bytes. `write` writes a
    /// statement, whose parameters `$1`, `$2`, … stand in their order, once each, as this database likes it.
    pub(super) fn new(gather: &str, write: impl Fn(String) -> String) -> Self {
        let for_many =
            |text: &dyn Fn(usize) -> String| ForMany::new(Self::LENGTHS, |length| write(text(length)));
        Self {
            take_cursors: for_many(&|length| take_cursors(&values::<2>(length, 2))),
            insert: for_many(&|length| insert(&values::<4>(length, 6))),
            outcomes: for_many(&|length| outcomes(gather, &list(length, 1))),
        }
    }
}

/// Locks the boxes' rows, making those that are missing, and takes the next cursor of each: max(last_at + 1, now). The
/// locks are held until the commit, so commits of one box come in the order of their cursors. A cursor taken outside the
/// lock loses acknowledged mail: a reader may see a later one committed first and ask from there on.
///
/// `new` is first: SQLite takes the rows of the first as they are made, and copies all those of the others before.
fn take_cursors(rows: &str) -> String {
    format!(
        "
    with given (now) as (values ($1)), new (pub, api_key) as (values {rows})
    insert into boxes (pub, last_at, seen_at, api_key)
    select pub, now, now, api_key from new cross join given where length(pub) > 0
    on conflict (pub) do update set last_at =
        case when boxes.last_at < excluded.last_at then excluded.last_at else boxes.last_at + 1 end"
    )
}

/// Stores these messages, each to a box of its own, under the cursor that was taken; but not those whose box holds it
/// already or is full.
///
/// A sender may have `share` messages in the box, and none yet to get into its last quarter; a share as large as the box is
/// no share.
fn insert(rows: &str) -> String {
    format!(
        "
    with given (now, ttl, most, most_bytes, share) as (values ($1, $2, $3, $4, $5)),
         new (pub, tag, sender, data) as (values {rows})
    insert into messages (box, at, stored_at, tag, sender, data)
    select boxes.id, boxes.last_at, now, new.tag, new.sender, new.data
    from new cross join given cross join boxes
    where boxes.pub = new.pub
      and not exists (select 1 from messages as same
                      where same.box = boxes.id and same.tag = new.tag and same.data = new.data
                        and same.stored_at + 0 > now - ttl)
      and (most is null or (
        select messages < most and bytes <= most_bytes and own < share
               and (own = 0 or share >= most or (messages < most * 3 / 4 and bytes <= most_bytes * 3 / 4))
        from (select count(*) as messages, coalesce(sum(length(held.data)), 0) + length(new.data) as bytes,
                     count(case when held.sender = new.sender then 1 end) as own
              from messages as held
              where held.box = boxes.id and held.stored_at + 0 > now - ttl) as held))"
    )
}

/// What became of messages to these boxes, as one value: `[[last_at, seen_at, stored, before], …]` in JSON, in the order of the
/// boxes, with `stored` 1 if there is a message under the cursor that was taken last, else 0, and the cursor of the one before
/// that, null if there is none.
fn outcomes(gather: &str, list: &str) -> String {
    format!(
        "
    select {gather} from (
        select pub, last_at, seen_at,
               (select count(*) from messages where box = boxes.id and at = boxes.last_at) as stored,
               (select max(at) from messages where box = boxes.id and at < boxes.last_at) as before
        from boxes where pub in ({list})) as outcomes"
    )
}

/// The rows of a `values` with `N` columns, whose parameters begin at number `first`.
fn values<const N: usize>(length: usize, first: usize) -> String {
    let row = |n| format!("({})", list(N, first + n * N));
    (0..length).map(row).collect::<Vec<_>>().join(", ")
}

/// So many parameters, from number `first`.
fn list(length: usize, first: usize) -> String {
    (first..first + length).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ")
}

/// The owner that the database names, and the time. In a transaction that stores messages under the lock that its `begin`
/// took: whoever takes over waits for it.
const OWNER: &str = "select instance, coalesce($1, (select now from clock)) from relay_owner where id = 1";

/// Why it was not stored: how many messages of the box are the same, and whether the box itself has room for it.
const WHY_NOT: &str = "
    select count(case when tag = $2 and data = $3 then 1 end),
           cast(case when count(*) < $6 and coalesce(sum(length(data)), 0) + length($3) <= $7 then 1 else 0 end as bigint)
    from messages where box = (select id from boxes where pub = $1) and stored_at + 0 > $4 - $5";

const HOLDS: &str = "
    select messages.at from boxes join messages on messages.box = boxes.id
    where boxes.pub = $1 and tag = $2 and data = $3
      and messages.stored_at + 0 > coalesce($4, (select now from clock)) - $5
    limit 1";

/// One row for each of these boxes that there is: the newest message, expired or not, when it was stored, and when the
/// owner's last check was noted.
static LOOK: LazyLock<ForMany> = LazyLock::new(|| {
    ForMany::list(
        "
    select pub, seen_at, coalesce($1, (select now from clock)) as now,
           (select at from messages where box = boxes.id order by at desc limit 1) as newest,
           (select stored_at from messages where box = boxes.id order by at desc limit 1) as stored_at
    from boxes where pub in ",
        2,
    )
});

/// A row of that: its box, when a check was noted, the time, and the newest message's cursor and time.
type Looked = (Vec<u8>, i64, i64, Option<i64>, Option<i64>);

/// The newest message that lives. No join: PostgreSQL would read and sort the whole box for it, where it can walk along the index.
const NEWEST_ALIVE: &str = "
    select at from messages
    where box = (select id from boxes where pub = $1) and stored_at + 0 > coalesce($2, (select now from clock)) - $3
    order by at desc limit 1";

static NOTE_CHECKS: LazyLock<ForMany> = LazyLock::new(|| {
    ForMany::list("update boxes set seen_at = coalesce($1, (select now from clock)) where pub in ", 2)
});

/// A statement about some boxes, written out for a few lengths, so that a connection prepares few.
struct ForMany(Vec<(usize, String)>);

impl ForMany {
    /// `lengths` rise, from 1.
    fn new(lengths: impl IntoIterator<Item = usize>, write: impl Fn(usize) -> String) -> Self {
        Self(lengths.into_iter().map(|length| (length, write(length))).collect())
    }

    /// A statement that ends with a list of boxes, the first of which is parameter number `first`.
    fn list(start: &str, first: usize) -> Self {
        Self::new([1, 10, 100], |length| format!("{start}({})", list(length, first)))
    }

    /// The shortest that takes so many boxes, or the longest there is; and its length.
    fn for_all(&'static self, count: usize) -> (&'static str, usize) {
        let fits = self.0.iter().find(|(length, _)| *length >= count).or(self.0.last());
        fits.map_or(("", count), |(length, text)| (text, *length))
    }
}

/// No join, as above. `limit +$5`: a bare parameter there has SQLite make its plan anew each time (`sqlite3ExprIsInteger` looks
/// at the value).
const NEWER: &str = "
    select at, data from messages
    where box = (select id from boxes where pub = $1) and at > $2
      and stored_at + 0 > coalesce($3, (select now from clock)) - $4
    order by at limit +$5";

const DELETE_UPTO: &str = "
    delete from messages where box = (select id from boxes where pub = $1) and at <= $2
    returning cast(length(data) as bigint)";

const DELETE_BOX: &str = "delete from boxes where pub = $1 returning id";

const DELETE_MESSAGES_OF: &str = "delete from messages where box = $1 returning cast(length(data) as bigint)";

/// A clock that ran ahead stamped these; they would outlive all others. Taken as stored now.
const REDATE_MESSAGES: &str = "
    update messages set stored_at = coalesce($1, (select now from clock))
    where stored_at > coalesce($1, (select now from clock)) + $2
    returning id";

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
                      where box = boxes.id and stored_at + 0 > coalesce($2, (select now from clock)) - $4)
    returning id";

const COUNT: &str = "select count(*), coalesce(sum(length(data)), 0) from messages";

const COUNT_BOXES: &str = "select count(*) from boxes";

const NOW: &str = "select coalesce($1, now) as now from clock";

const KEEP_SECRET: &str = "insert into relay_secret (id, secret) values (1, $1) on conflict (id) do nothing";

const READ_SECRET: &str = "select secret from relay_secret";

/// A check is noted at most this often.
const NOTE_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// What became of a message's box, as [`outcomes`] says it: its last cursor, when its owner was seen, whether there is a
/// message under that cursor, and the cursor of the one before.
type Outcome = (i64, i64, u8, Option<i64>);

/// What became of a message; and of one that was stored, the cursor of the one before it, and when its box's owner was seen.
type Became = (Appended, Option<(At, i64)>);

/// Until when a check needs no note, after one that was noted then.
fn noted_until(seen_at: i64) -> i64 {
    seen_at.saturating_add(micros(NOTE_EVERY))
}

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
    /// The connections' own: a caller may be polled elsewhere, and dropped.
    runtime: Handle,
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
    pub(super) arrivals: Arc<Arrivals>,
    pub(super) room: Arc<Room>,
    /// Where nobody else writes.
    pub(super) index: Option<Arc<Index>>,
    pub(super) batches: &'static Batches,
    /// Where other processes could write: whom the database is to name as its owner, for this one to store messages; nobody, for
    /// one of several.
    pub(super) owner: Option<Option<i64>>,
    /// By how much the database's clock is ahead of this machine's, in microseconds.
    pub(super) ahead: Arc<AtomicI64>,
    /// Where there is a log to fold.
    pub(super) fold: Option<Arc<Fold>>,
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
            arrivals: self.arrivals.clone(),
            room: self.room.clone(),
            index: self.index.clone(),
            fold: self.fold.clone(),
            batches: self.batches,
            owner: self.owner,
            ahead: self.ahead.clone(),
            clock: self.clock.clone(),
        }
    }
}

impl<DB: Database> Tables<DB> {
    /// The time set by hand, if it is.
    fn now(&self) -> Option<i64> {
        self.clock.as_ref().map(|clock| clock.now())
    }

    /// Whether other connections than the one writer's lock and delete: always on PostgreSQL.
    fn others_write(&self) -> bool {
        self.owner.is_some()
    }

    /// About what the database's clock shows, without asking it.
    fn time(&self) -> i64 {
        self.now().unwrap_or_else(|| SystemClock.now().saturating_add(self.ahead.load(Relaxed)))
    }

    /// What the database's clock showed just now.
    fn showed(&self, time: i64) {
        self.ahead.store(time.saturating_sub(SystemClock.now()), Relaxed);
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

/// Our own among sqlx's errors.
#[derive(Debug, thiserror::Error)]
#[error("another relay has the database")]
struct Displaced;

impl Displaced {
    fn is(error: &sqlx::Error) -> bool {
        matches!(error, sqlx::Error::Configuration(error) if error.is::<Self>())
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if Displaced::is(&error) {
            return Self::Displaced;
        }
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

/// The batch, which is in the order of its boxes, in rounds of messages to different boxes; with the place of each. A box's
/// messages keep their order.
fn rounds(batch: &[Append]) -> Vec<Vec<(usize, &Append)>> {
    let mut rounds: Vec<Vec<_>> = Vec::new();
    let boxes = batch.chunk_by(|a, b| a.key == b.key);
    let mut n = 0..;
    for messages in boxes {
        rounds.resize_with(rounds.len().max(messages.len()), Vec::new);
        for (round, (message, n)) in rounds.iter_mut().zip(messages.iter().zip(&mut n)) {
            round.push((n, message));
        }
    }
    rounds
}

/// How many of the first ones are appended at once: one whose API key may only have so many boxes waits for those before it.
fn group(rest: &[(usize, &Append)]) -> usize {
    let is_limited = |append: &Append| append.under.is_some_and(|under| under.boxes.is_some());
    let free = rest.iter().take_while(|(_, append)| !is_limited(append)).count();
    free.max(1)
}

/// What the index is told of a message of a batch. Nothing, if it was not stored: a duplicate's first copy may be of a commit of
/// which nobody knew.
fn fresh(append: &Append, became: Became, now: i64) -> (PublicKey, Option<Fresh>) {
    let (Appended::Stored(at), Some((before, seen_at))) = became else { return (append.key, None) };
    let message = Message { at, data: append.data.clone() };
    (append.key, Some(Fresh { message, stored_at: now, before, noted_until: noted_until(seen_at) }))
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
            runtime: Handle::current(),
        })
    }

    /// Counts what all boxes hold, if that is in doubt, and the boxes.
    async fn count(&self) -> Result<(), sqlx::Error> {
        if self.others_write() || self.room.is_unsure() {
            let changes = self.room.changes();
            let (messages, bytes): (i64, i64) = sqlx::query_as(COUNT).fetch_one(&self.read).await?;
            self.room.counted(messages.unsigned_abs(), bytes.unsigned_abs(), changes);
        }
        let (boxes,): (i64,) = sqlx::query_as(COUNT_BOXES).fetch_one(&self.read).await?;
        self.room.counted_boxes(boxes.unsigned_abs());
        Ok(())
    }

    /// Stores a batch; then settles the room that was taken for it, and tells those who wait.
    async fn append_settled(&self, batch: &[Append]) -> Result<Vec<Appended>, StoreError> {
        let results = insistently(|| self.append_all(batch)).await;
        match &results {
            Ok(results) => {
                self.wrote(batch.iter().map(|append| append.data.len() as u64).sum());
                for (append, appended) in batch.iter().zip(results) {
                    self.room.settle(append.data.len() as u64, matches!(appended, Appended::Stored(_)));
                }
            }
            // Nobody knows for sure.
            Err(_) => {
                self.room.doubt();
                for append in batch {
                    self.room.settle(append.data.len() as u64, false);
                    self.forget(&append.key);
                }
            }
        }
        // Of a commit that failed nobody knows for sure, and a duplicate's first copy may be of such a one.
        self.arrivals.stored(batch.iter().map(|append| arrivals::name(&append.key)).collect());
        Ok(results?)
    }

    /// Within a time: a database that hangs must not hold up the writer, nor the end of the program.
    async fn append_all(&self, batch: &[Append]) -> Result<Vec<Appended>, sqlx::Error> {
        let mut connection = self.write.acquire().await?;
        if self.fold.as_ref().is_some_and(|fold| fold.takes_rest()) {
            let folded = timeout(PATIENCE, sqlx::query(FOLD).execute(&mut *connection)).await;
            if !matches!(folded, Ok(Ok(_))) {
                tracing::warn!("the rest of the write-ahead log was not folded into the database");
            }
        }
        let look = self.index.as_ref().map(|index| index.look(batch.iter().map(|append| append.key)));
        let done = timeout(PATIENCE, self.append_in(&mut connection, batch)).await;
        if let (Some(look), Ok(Ok((now, results)))) = (look, &done) {
            look.stored(batch.iter().zip(results).map(|(append, became)| fresh(append, *became, *now)));
        }
        self.give_back(connection, matches!(done, Ok(Ok(_))));
        let (_, results) = done.unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
        Ok(results.into_iter().map(|(appended, _)| appended).collect())
    }

    /// A message is there already, perhaps from a commit of which nobody knew: neither the index nor those who wait.
    fn found_again(&self, key: &PublicKey) {
        self.forget(key);
        self.arrivals.stored(vec![arrivals::name(key)]);
    }

    /// Messages of so many bytes were written.
    fn wrote(&self, bytes: u64) {
        if let Some(fold) = &self.fold {
            fold.wrote(bytes);
        }
    }

    /// Messages of these sizes were deleted.
    fn deleted(&self, sizes: &[(i64,)]) {
        let bytes = sizes.iter().map(|(size,)| size.unsigned_abs()).sum();
        self.room.deleted(sizes.len() as u64, bytes);
        self.wrote(bytes);
    }

    /// The box changed, or may have.
    fn forget(&self, key: &PublicKey) {
        if let Some(index) = &self.index {
            index.forget(key);
        }
    }

    /// Gives a connection back to the pool, or closes it if its transaction did not end well: on a full disk SQLite has
    /// rolled back by itself, and sqlx does not know; one that hangs would be waited for.
    pub(super) fn give_back(&self, mut connection: PoolConnection<DB>, ended_well: bool) {
        // A database in memory lives in its connection.
        if !ended_well && !self.in_memory {
            connection.close_on_drop();
        }
    }

    /// The time of the batch, and what became of each message.
    async fn append_in(
        &self,
        connection: &mut DB::Connection,
        batch: &[Append],
    ) -> Result<(i64, Vec<Became>), sqlx::Error> {
        let mut transaction = connection.begin_with(self.begin).await?;
        // Before the boxes are locked: who waits for one has its messages dated as much earlier, at most [`PATIENCE`].
        let now = self.now_as_owner(&mut transaction).await?;
        let mut results: Vec<_> = batch.iter().map(|_| (Appended::NoMoreBoxes, None)).collect();
        for round in rounds(batch) {
            let mut rest = round.as_slice();
            while let Some(&(_, first)) = rest.first() {
                let (group, others) = rest.split_at(group(rest));
                rest = others;
                if let Some(under) = first.under
                    && self.no_more_boxes(&mut transaction, &first.key, under).await?
                {
                    continue;
                }
                let appended = self.append_group(&mut transaction, group, now).await?;
                for ((n, _), result) in group.iter().zip(appended) {
                    results[*n] = result;
                }
            }
        }
        transaction.commit().await?;
        Ok((now, results))
    }

    /// The database's time, if it names this one as its owner where it names any.
    async fn now_as_owner(&self, connection: &mut DB::Connection) -> Result<i64, sqlx::Error> {
        let Some(owner) = self.owner else {
            let (now,): (i64,) = sqlx::query_as(NOW).bind(self.now()).fetch_one(connection).await?;
            return Ok(now);
        };
        let (named, now): (Option<i64>, i64) =
            sqlx::query_as(OWNER).bind(self.now()).fetch_one(connection).await?;
        if named == owner {
            return Ok(now);
        }
        if let Some(index) = &self.index {
            index.close();
        }
        Err(sqlx::Error::Configuration(Box::new(Displaced)))
    }

    /// Messages to different boxes, in the order of those. What became of each.
    async fn append_group(
        &self,
        connection: &mut DB::Connection,
        group: &[(usize, &Append)],
        now: i64,
    ) -> Result<Vec<Became>, sqlx::Error> {
        let group: Vec<&Append> = group.iter().map(|(_, append)| *append).collect();
        let (text, length) = self.batches.take_cursors.for_all(group.len());
        let mut take = sqlx::query(text).bind(now);
        for append in &group {
            take = take.bind(append.key.as_bytes().to_vec()).bind(append.under.map(|under| under.key));
        }
        for _ in group.len()..length {
            take = take.bind(Vec::new()).bind(None::<i64>);
        }
        take.execute(&mut *connection).await?;
        let mut results = Vec::with_capacity(group.len());
        for (append, outcome) in group.iter().zip(self.insert(connection, &group, now).await?) {
            results.push(self.append_again(connection, append, outcome, now).await?);
        }
        Ok(results)
    }

    /// Stores what may be stored of messages to different boxes, whose cursors were taken.
    async fn insert(
        &self,
        connection: &mut DB::Connection,
        group: &[&Append],
        now: i64,
    ) -> Result<Vec<Outcome>, sqlx::Error> {
        let (text, length) = self.batches.insert.for_all(group.len());
        let cap = self.keep.box_cap;
        let mut insert = sqlx::query(text)
            .bind(now)
            .bind(self.message_ttl())
            .bind(cap.map(|cap| i64::from(cap.messages)))
            .bind(cap.map(|cap| i64::from(cap.bytes)))
            .bind(cap.map(|cap| i64::from(cap.messages_per_sender)));
        for append in group {
            insert = insert
                .bind(append.key.as_bytes().to_vec())
                .bind(tag(&append.data))
                // Without shares nobody needs to know.
                .bind(append.sender.filter(|_| cap.is_some_and(|cap| cap.has_shares())))
                .bind(append.data.clone());
        }
        for _ in group.len()..length {
            insert = insert.bind(Vec::new()).bind(0i64).bind(None::<i64>).bind(Vec::new());
        }
        insert.execute(&mut *connection).await?;

        let (text, length) = self.batches.outcomes.for_all(group.len());
        let keys = filled_up(group.iter().map(|append| append.key.as_bytes().to_vec()), length);
        let ask = keys.fold(sqlx::query_as(text), |ask, key| ask.bind(key));
        let (outcomes,): (Vec<u8>,) = ask.fetch_one(connection).await?;
        let outcomes: Vec<Outcome> =
            serde_json::from_slice(&outcomes).map_err(|error| sqlx::Error::Decode(error.into()))?;
        if outcomes.len() == group.len() { Ok(outcomes) } else { Err(sqlx::Error::RowNotFound) }
    }

    /// What became of a message. If it was not stored, why; and tries once more, for what kept it out may have been deleted
    /// before it was looked for.
    async fn append_again(
        &self,
        connection: &mut DB::Connection,
        append: &Append,
        outcome: Outcome,
        now: i64,
    ) -> Result<Became, sqlx::Error> {
        let mut outcome = outcome;
        for last in [false, true] {
            if let (at, seen_at, 1, before) = outcome {
                return Ok((
                    Appended::Stored(At::from(at)),
                    Some((before.map_or(At::START, At::from), seen_at)),
                ));
            }
            if let Some(why) = self.why_not(connection, append, now).await? {
                return Ok((why, None));
            }
            if !last && let [again] = self.insert(connection, &[append], now).await?.as_slice() {
                outcome = *again;
            }
        }
        Ok((Appended::ShareUsed, None))
    }

    /// Nothing, if the box neither has it nor is full.
    async fn why_not(
        &self,
        connection: &mut DB::Connection,
        append: &Append,
        now: i64,
    ) -> Result<Option<Appended>, sqlx::Error> {
        let (same, has_room): (i64, i64) = sqlx::query_as(WHY_NOT)
            .bind(append.key.as_bytes().to_vec())
            .bind(tag(&append.data))
            .bind(append.data.clone())
            .bind(now)
            .bind(self.message_ttl())
            .bind(self.keep.box_cap.map(|cap| i64::from(cap.messages)))
            .bind(self.keep.box_cap.map(|cap| i64::from(cap.bytes)))
            .fetch_one(connection)
            .await?;
        Ok(match (same, has_room) {
            (1.., _) => Some(Appended::Duplicate),
            (_, 0) => Some(Appended::Full),
            _ => None,
        })
    }

    /// As the index knows it.
    fn known_newer(&self, boxes: &[(PublicKey, At)]) -> Option<bool> {
        let now = self.time();
        self.index.as_ref()?.any_newer(boxes, now, now.saturating_sub(self.message_ttl()))
    }

    async fn have_newer(&self, boxes: &[(PublicKey, At)]) -> Result<Vec<bool>, sqlx::Error> {
        let now = self.time();
        let alive = now.saturating_sub(self.message_ttl());
        if let Some(newer) = self.index.as_ref().and_then(|index| index.have_newer(boxes, now, alive)) {
            return Ok(newer);
        }
        let look = self.index.as_ref().map(|index| index.look(boxes.iter().map(|(key, _)| *key)));
        let mut found = HashMap::with_capacity(boxes.len());
        let mut stale = Vec::new();
        let (text, length) = LOOK.for_all(boxes.len());
        let mut time = now;
        for some in boxes.chunks(length) {
            let look = filled_up(some.iter().map(|(key, _)| key.as_bytes().to_vec()), length)
                .fold(sqlx::query_as(text).bind(self.now()), |look, key| look.bind(key));
            let rows: Vec<Looked> = look.fetch_all(&self.read).await?;
            for (key, seen_at, now, newest, stored_at) in rows {
                time = now;
                self.showed(now);
                let noted_until = noted_until(seen_at);
                if noted_until < now {
                    stale.push(key.clone());
                }
                let newest = newest.zip(stored_at).map(|(at, stored_at)| (At::from(at), stored_at));
                found.insert(key, Known { newest, noted_until });
            }
        }
        let noted_until = noted_until(time);
        // Noted at the next check if not now: a full disk or a busy writer must not keep owners from their mail.
        let noted = timeout(PATIENCE / 10, self.note_checks(&stale)).await;
        match noted.unwrap_or(Err(sqlx::Error::PoolTimedOut)) {
            Ok(()) => {
                for key in &stale {
                    if let Some(known) = found.get_mut(key) {
                        known.noted_until = noted_until;
                    }
                }
            }
            Err(error) => tracing::warn!(error = %StoreError::from(error), "a check was not noted"),
        }
        let no_such_box = Known { newest: None, noted_until };
        let held = |key: &PublicKey| found.get(key.as_bytes().as_slice()).copied().unwrap_or(no_such_box);
        if let Some(look) = look {
            look.saw(boxes.iter().map(|(key, _)| (*key, held(key))));
        }
        let alive = time.saturating_sub(self.message_ttl());
        let mut newer = Vec::with_capacity(boxes.len());
        for (key, at) in boxes {
            newer.push(match held(key).newest {
                Some((newest, stored_at)) if newest > *at => {
                    stored_at > alive || self.lives_behind(key, *at).await?
                }
                _ => false,
            });
        }
        Ok(newer)
    }

    /// Whether the box holds a message behind `at` that lives, though the newest has expired: the clock was set back
    /// between them.
    async fn lives_behind(&self, key: &PublicKey, at: At) -> Result<bool, sqlx::Error> {
        let newest: Option<(i64,)> = sqlx::query_as(NEWEST_ALIVE)
            .bind(key.as_bytes().to_vec())
            .bind(self.now())
            .bind(self.message_ttl())
            .fetch_optional(&self.read)
            .await?;
        Ok(newest.is_some_and(|(newest,)| newest > at.as_i64()))
    }

    async fn note_checks(&self, keys: &[Vec<u8>]) -> Result<(), sqlx::Error> {
        // Where others write too, one by one: several rows locked at once could wait for a batch that waits for them.
        let (text, length) = NOTE_CHECKS.for_all(if self.others_write() { 1 } else { keys.len() });
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

    /// As the index knows it.
    fn known_messages(&self, key: &PublicKey, at: At, limit: u32) -> Option<Vec<Message>> {
        self.index.as_ref()?.newer(key, at, self.time().saturating_sub(self.message_ttl()), limit)
    }

    async fn newer(&self, key: &PublicKey, at: At, limit: u32) -> Result<Vec<Message>, sqlx::Error> {
        if let Some(messages) = self.known_messages(key, at, limit) {
            return Ok(messages);
        }
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
        self.deleted(&delete.fetch_all(&self.write).await?);
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
        self.deleted(&sizes);
        Ok(())
    }

    async fn sweep(&self, limit: u32) -> Result<Swept, sqlx::Error> {
        let redate = sqlx::query_as(REDATE_MESSAGES).bind(self.now()).bind(self.message_ttl());
        let redated: Vec<(i64,)> = redate.fetch_all(&self.write).await?;
        if let Some(index) = self.index.as_ref().filter(|_| !redated.is_empty()) {
            index.forget_all();
        }
        let messages: Vec<(i64,)> = sqlx::query_as(SWEEP_MESSAGES)
            .bind(self.now())
            .bind(self.message_ttl())
            .bind(i64::from(limit))
            .fetch_all(&self.write)
            .await?;
        self.deleted(&messages);
        if let Some(index) = &self.index {
            index.expire(self.time().saturating_sub(self.message_ttl()));
        }
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
        self.deleted(&sizes);
        Ok(swept.is_some())
    }

    async fn database_now(&self) -> Result<i64, sqlx::Error> {
        let now = self.now_as_owner(&mut *self.read.acquire().await?).await?;
        self.showed(now);
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
                let (tables, key) = (self.tables.clone(), append.key);
                let look = self.runtime.spawn(async move { patiently(tables.holds(&append)).await });
                if !look.await.map_err(|_| StoreError::Closed)?? {
                    return Ok(Appended::NoRoom);
                }
                self.tables.found_again(&key);
                return Ok(Appended::Duplicate);
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

    fn known_newer(&self, boxes: &[(PublicKey, At)]) -> Option<bool> {
        self.tables.known_newer(boxes)
    }

    fn known_messages(&self, key: &PublicKey, at: At, limit: u32) -> Option<Vec<Message>> {
        self.tables.known_messages(key, at, limit)
    }

    fn arrivals(&self) -> &Arrivals {
        &self.tables.arrivals
    }

    fn held(&self) -> Held {
        self.tables.room.held()
    }

    fn is_empty(&self) -> bool {
        self.tables.room.is_empty()
    }

    fn newer(&self, key: PublicKey, at: At, limit: u32) -> BoxFuture<'_, Result<Vec<Message>, StoreError>> {
        Box::pin(async move { patiently(self.tables.newer(&key, at, limit)).await })
    }

    fn delete_upto(&self, key: PublicKey, at: At) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let done = patiently(insistently(|| self.tables.delete_upto(&key, at))).await;
            self.tables.forget(&key);
            self.changed(done)
        })
    }

    fn delete_box(&self, key: PublicKey) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let done = patiently(insistently(|| self.tables.delete_box(&key))).await;
            self.tables.forget(&key);
            self.changed(done)
        })
    }

    fn sweep(&self, limit: u32) -> BoxFuture<'_, Result<Swept, StoreError>> {
        Box::pin(async move {
            let done = patiently(insistently(|| self.tables.sweep(limit))).await;
            // What was redated then, is not known.
            if let (Some(index), Err(_)) = (&self.tables.index, &done) {
                index.forget_all();
            }
            self.changed(done)
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A statement in the words of a script for pgbench: its parameters by name or value, without a time set by hand, in one line.
    fn in_a_script(statement: &str, parameters: &[(&str, &str)]) -> String {
        let times = [1, 3].map(|n| format!("coalesce(${n}, (select now from clock))"));
        let statement = times
            .iter()
            .fold(statement.to_owned(), |statement, time| statement.replace(time, "(select now from clock)"));
        let named =
            parameters.iter().fold(statement, |statement, (number, name)| statement.replace(number, name));
        named.split_whitespace().collect::<Vec<_>>().join(" ") + ";"
    }

    /// The statement of a script for pgbench.
    fn of_script(script: &str) -> String {
        let is_said = |line: &&str| !line.starts_with("--") && !line.starts_with('\\');
        script.lines().filter(is_said).flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
    }

    /// What the benchmark calls the same statements, is the same.
    #[test]
    fn pgbench_is_given_the_statements_of_the_relay() {
        let a_box = "cast(lpad(:box, 49, '0') as bytea)";
        let check = in_a_script(LOOK.for_all(1).0, &[("$2", a_box)]);
        assert_eq!(of_script(include_str!("../../benches/relay/rows/postgres/check.sql")), check);
        let receive = [
            ("$1", a_box),
            ("$2", "cast(:at as bigint)"),
            ("$4", "cast(:message_ttl as bigint)"),
            ("$5", "cast(:limit as bigint)"),
        ];
        let receive = in_a_script(NEWER, &receive);
        assert_eq!(of_script(include_str!("../../benches/relay/rows/postgres/receive.sql")), receive);
    }
}
