//! The reader that polls with its cursor while eight writers commit: what the cursor is for.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use connectoid::{
    clock::{Clock as _, SystemClock},
    protocol::{At, PublicKey},
    store::{Appended, BoxFuture, Store},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use sqlx::Executor as _;

use super::{Kind, World, block_on, without_caps};
use crate::harness::fresh_pub;

promises! {
    a_reader_with_its_cursor_misses_nothing
    a_naive_store_loses_mail_in_the_same_test
}

/// Appends and reads, however it is done: the reader's test runs on our store and on a naive one.
trait Mail: Send + Sync {
    fn put(&self, key: PublicKey, data: Vec<u8>) -> BoxFuture<'_, ()>;
    fn get(&self, key: PublicKey, at: At) -> BoxFuture<'_, Vec<(At, Vec<u8>)>>;
}

struct Ours(Vec<Arc<dyn Store>>);

impl Mail for Ours {
    fn put(&self, key: PublicKey, data: Vec<u8>) -> BoxFuture<'_, ()> {
        // Each message by another instance, where there are several.
        let store = &self.0[data[0] as usize % self.0.len()];
        Box::pin(async move {
            assert!(matches!(store.append(super::letter(key, data)).await.unwrap(), Appended::Stored(_)))
        })
    }

    fn get(&self, key: PublicKey, at: At) -> BoxFuture<'_, Vec<(At, Vec<u8>)>> {
        Box::pin(async move {
            // As an owner does: who is told that there is nothing does not ask for it.
            if self.0[0].have_newer(vec![(key, at)]).await.unwrap() == [false] {
                // From memory it is always ready.
                tokio::task::yield_now().await;
                return Vec::new();
            }
            let newer = self.0[0].newer(key, at, 32).await.unwrap();
            assert!(newer.iter().map(|message| message.at).is_sorted_by(|one, next| at < *one && one < next));
            newer.into_iter().map(|message| (message.at, message.data)).collect()
        })
    }
}

/// How many of 8 × 50 acknowledged messages a reader misses that polls with its cursor.
async fn missed(mail: Arc<dyn Mail>) -> usize {
    let key = fresh_pub();
    let writing = Arc::new(AtomicBool::new(true));
    let reader = {
        let (mail, writing) = (mail.clone(), writing.clone());
        tokio::spawn(async move {
            let (mut at, mut read) = (At::START, BTreeSet::new());
            loop {
                let last_round = !writing.load(Ordering::SeqCst);
                let batch = mail.get(key, at).await;
                if batch.is_empty() && last_round {
                    return read;
                }
                for (next, data) in batch {
                    at = next;
                    read.insert(data);
                }
            }
        })
    };
    let writers = (0..8u8).map(|writer| {
        let mail = mail.clone();
        tokio::spawn(async move {
            for n in 0..50u8 {
                mail.put(key, vec![writer, n]).await;
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    writing.store(false, Ordering::SeqCst);
    400 - reader.await.unwrap().len()
}

async fn a_reader_with_its_cursor_misses_nothing(world: World) {
    // PostgreSQL has several instances on one database; a SQLite file has one owner.
    let instances = if world.is_shared() { 3 } else { 1 };
    let mut stores = Vec::new();
    for _ in 0..instances {
        stores.push(world.open_in_real_time(without_caps()).await);
    }
    assert_eq!(missed(Arc::new(Ours(stores))).await, 0);
}

/// What one would write first: the time as cursor, taken before the transaction that stores it.
struct Naive<DB: sqlx::Database>(sqlx::Pool<DB>);

macro_rules! naive {
    ($database:ty) => {
        impl Mail for Naive<$database> {
            fn put(&self, key: PublicKey, data: Vec<u8>) -> BoxFuture<'_, ()> {
                Box::pin(async move {
                    let at = SystemClock.now();
                    let pause = StdRng::seed_from_u64(u64::from(data[0]) << 8 | u64::from(data[1]))
                        .random_range(0..4);
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                    let insert = sqlx::query("insert into naive (pub, at, data) values ($1, $2, $3)");
                    insert.bind(key.as_bytes().to_vec()).bind(at).bind(data).execute(&self.0).await.unwrap();
                })
            }

            fn get(&self, key: PublicKey, at: At) -> BoxFuture<'_, Vec<(At, Vec<u8>)>> {
                Box::pin(async move {
                    let newer = "select at, data from naive where pub = $1 and at > $2 order by at limit 32";
                    let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as(newer)
                        .bind(key.as_bytes().to_vec())
                        .bind(at.as_i64())
                        .fetch_all(&self.0)
                        .await
                        .unwrap();
                    rows.into_iter().map(|(at, data)| (At::from(at), data)).collect()
                })
            }
        }
    };
}
naive!(sqlx::Sqlite);
naive!(sqlx::Postgres);

async fn a_naive_store_loses_mail_in_the_same_test(world: World) {
    let url = &world.database.url;
    let mail: Arc<dyn Mail> = match world.kind {
        Kind::Sqlite => {
            let options: sqlx::sqlite::SqliteConnectOptions = url.parse().unwrap();
            let options = options.create_if_missing(true).journal_mode(sqlx::sqlite::SqliteJournalMode::Wal);
            let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
            pool.execute("create table naive (pub blob, at integer, data blob)").await.unwrap();
            Arc::new(Naive(pool))
        }
        Kind::Postgres => {
            let pool = sqlx::PgPool::connect(url).await.unwrap();
            pool.execute("create table naive (pub bytea, at bigint, data bytea)").await.unwrap();
            Arc::new(Naive(pool))
        }
    };
    let missed = missed(mail).await;
    assert!(missed > 0, "a test that this store passes shows nothing");
}
