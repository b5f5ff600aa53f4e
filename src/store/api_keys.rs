//! API keys as the relay reads them, and what was used of them.

use sqlx::{ColumnIndex, Connection, Database, Decode, Encode, Executor, IntoArguments, Type};

use super::sql::Tables;
use crate::protocol::PublicKey;

/// An API key, as its hash found it. Counts and bytes are never negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiKey {
    /// Its name in the database.
    pub id: i64,
    /// Whether it counts no more.
    pub revoked: bool,
    /// What it allows.
    pub quota: Quota,
    /// What was used of it on the day asked about, by all instances.
    pub used: Used,
}

/// What an API key allows; `None` for as much as comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quota {
    /// Requests in a day (UTC).
    pub requests_per_day: Option<i64>,
    /// Bytes of messages in a day (UTC), decoded.
    pub bytes_per_day: Option<i64>,
    /// Boxes that are there at once.
    pub boxes: Option<i64>,
}

/// What was used of an API key in a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Used {
    /// Requests.
    pub requests: i64,
    /// Bytes of messages, decoded.
    pub bytes: i64,
}

/// What was used of an API key on a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// [`ApiKey::id`].
    pub key: i64,
    /// Days since 1970-01-01, UTC.
    pub day: i64,
    /// How much.
    pub used: Used,
}

/// Under which API key a message is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Under {
    /// [`ApiKey::id`].
    pub key: i64,
    /// [`Quota::boxes`].
    pub boxes: Option<i64>,
}

const FIND: &str = "
    select id, cast(case when revoked_at is null then 0 else 1 end as bigint), requests_per_day, bytes_per_day, boxes,
           coalesce(requests, 0), coalesce(bytes, 0)
    from api_keys left join api_key_usage on api_key_usage.key = api_keys.id and day = $2
    where hash = $1";

const ADD_USAGE: &str = "
    insert into api_key_usage (key, day, requests, bytes) values ($1, $2, $3, $4)
    on conflict (key, day) do update set requests = api_key_usage.requests + excluded.requests,
                                         bytes = api_key_usage.bytes + excluded.bytes
    returning requests, bytes";

/// A row if the box is not there, and the API key has made as many as it may. Two transactions on PostgreSQL that make
/// a box at the same moment do not see each other's: a few may be too many.
const NO_MORE_BOXES: &str = "
    select $2 where not exists (select 1 from boxes where pub = $1)
      and (select count(*) from boxes where api_key = $2) >= $3";

type Found = (i64, i64, Option<i64>, Option<i64>, Option<i64>, i64, i64);

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
    pub(super) async fn api_key(&self, hash: [u8; 32], day: i64) -> Result<Option<ApiKey>, sqlx::Error> {
        let find = sqlx::query_as(FIND).bind(hash.to_vec()).bind(day);
        let found: Option<Found> = find.fetch_optional(&self.read).await?;
        Ok(found.map(|(id, revoked, requests_per_day, bytes_per_day, boxes, requests, bytes)| ApiKey {
            id,
            revoked: revoked == 1,
            quota: Quota { requests_per_day, bytes_per_day, boxes },
            used: Used { requests, bytes },
        }))
    }

    pub(super) async fn add_usage(&self, usage: &[Usage]) -> Result<Vec<Usage>, sqlx::Error> {
        let mut connection = self.write.acquire().await?;
        let done = self.add_usage_in(&mut connection, usage).await;
        self.give_back(connection, done.is_ok());
        done
    }

    async fn add_usage_in(
        &self,
        connection: &mut DB::Connection,
        usage: &[Usage],
    ) -> Result<Vec<Usage>, sqlx::Error> {
        let mut transaction = connection.begin_with(self.begin).await?;
        let mut totals = Vec::with_capacity(usage.len());
        for &Usage { key, day, used } in usage {
            let add = sqlx::query_as(ADD_USAGE).bind(key).bind(day).bind(used.requests).bind(used.bytes);
            let (requests, bytes): (i64, i64) = add.fetch_one(&mut *transaction).await?;
            totals.push(Usage { key, day, used: Used { requests, bytes } });
        }
        transaction.commit().await?;
        Ok(totals)
    }

    /// Whether this message would make a box too many.
    pub(super) async fn no_more_boxes(
        &self,
        connection: &mut DB::Connection,
        box_key: &PublicKey,
        under: Under,
    ) -> Result<bool, sqlx::Error> {
        let Some(boxes) = under.boxes else {
            return Ok(false);
        };
        let row: Option<(i64,)> = sqlx::query_as(NO_MORE_BOXES)
            .bind(box_key.as_bytes().to_vec())
            .bind(under.key)
            .bind(boxes)
            .fetch_optional(connection)
            .await?;
        Ok(row.is_some())
    }
}
