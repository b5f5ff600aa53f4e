//! Telling the other instances on a PostgreSQL database what came, and hearing it from them: NOTIFY and LISTEN.
//!
//! A notification is sent after the commit, in a statement by itself: inside the transaction of a send it would make
//! all sends of all instances wait for one lock. What gathers while one is on its way, and for a moment after, goes with
//! the next, so their number does not rise with the load. None is needed for correctness: a waiter that was not told finds the message with
//! its next check.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use sqlx::{
    Pool, Postgres,
    postgres::{PgListener, PgNotification},
};
use tokio::time::{sleep, timeout};

use super::{
    StoreError,
    arrivals::{Arrivals, BoxName},
    sql::patiently,
};
use crate::protocol::base64url;

const CHANNEL: &str = "connectoid";

const STILL_THERE: &str = "select 1";

const NOTIFY: &str = "select pg_notify($1, $2)";

/// Boxes in one notification: 11 characters each, and PostgreSQL takes 8,000 bytes.
const AT_ONCE: usize = 700;

/// The time between two notifications, in which names gather: a lone message is told of at once, and of many an instance
/// tells 50 times a second at most.
const GATHER: Duration = Duration::from_millis(20);

/// How long to wait before trying again what failed.
const AGAIN: Duration = Duration::from_secs(1);

/// After this much silence the database is asked whether it is still there; with nobody waiting the connection is closed.
const SILENCE: Duration = Duration::from_secs(60);

/// Tells the others, until aborted.
pub(super) async fn tell(pool: Pool<Postgres>, arrivals: Arc<Arrivals>, instance: u64) {
    loop {
        let names = arrivals.untold().await;
        for some in chunks(&names) {
            while let Err(error) = notify(&pool, instance, &some).await {
                tracing::warn!(%error, "other instances could not be told of messages");
                sleep(AGAIN).await;
            }
        }
        arrivals.told();
        sleep(GATHER).await;
    }
}

fn chunks(names: &BTreeSet<BoxName>) -> impl Iterator<Item = Vec<BoxName>> {
    let names: Vec<BoxName> = names.iter().copied().collect();
    let count = names.len().div_ceil(AT_ONCE);
    (0..count).map(move |n| names.iter().skip(n * AT_ONCE).take(AT_ONCE).copied().collect())
}

async fn notify(pool: &Pool<Postgres>, instance: u64, names: &[BoxName]) -> Result<(), StoreError> {
    let notify = sqlx::query(NOTIFY).bind(CHANNEL).bind(written(instance, names));
    patiently(notify.execute(pool)).await?;
    Ok(())
}

/// Listens to the others while somebody waits here, until aborted. `pool` makes a pool for this alone, of one connection.
pub(super) async fn listen(pool: impl Fn() -> Pool<Postgres>, arrivals: Arc<Arrivals>, instance: u64) {
    loop {
        arrivals.someone_waits().await;
        // Another one each time: the last one's connection may hang.
        if let Err(error) = listen_once(&pool(), &arrivals, instance).await {
            tracing::warn!(%error, "not told what comes through other instances; trying again");
            sleep(AGAIN).await;
        }
    }
}

/// Listens until the connection is lost, or for a while after the last one who waited is gone.
async fn listen_once(pool: &Pool<Postgres>, arrivals: &Arrivals, instance: u64) -> Result<(), StoreError> {
    let mut listener = patiently(async {
        let mut listener = PgListener::connect_with(pool).await?;
        listener.eager_reconnect(false);
        listener.listen(CHANNEL).await?;
        Ok(listener)
    })
    .await?;
    // What came before we listened was told to nobody here.
    arrivals.missed_some();
    loop {
        match timeout(SILENCE, listener.try_recv()).await {
            Ok(heard) => match heard? {
                Some(notification) => hear(&notification, arrivals, instance),
                None => return Ok(()),
            },
            Err(_) if arrivals.is_empty() => return Ok(()),
            // A network that went away is silent too.
            Err(_) => {
                patiently(sqlx::query(STILL_THERE).execute(&mut listener)).await?;
            }
        }
    }
}

/// A channel of its own, for trying.
const TRIAL: &str = "connectoid_trial";

const MARK: &str = "select cast(gen_random_uuid() as text)";

/// How long a notification may be on its way.
const ON_ITS_WAY: Duration = Duration::from_secs(3);

/// Whether one connection of this pool hears what another says.
pub(super) async fn hears(pool: &Pool<Postgres>) -> Result<bool, sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.eager_reconnect(false);
    listener.listen(TRIAL).await?;
    let (mark,): (String,) = sqlx::query_as(MARK).persistent(false).fetch_one(pool).await?;
    sqlx::query(NOTIFY).persistent(false).bind(TRIAL).bind(&mark).execute(pool).await?;
    let heard = async {
        while let Some(notification) = listener.try_recv().await? {
            if notification.payload() == mark {
                return Ok(true);
            }
        }
        Ok(false)
    };
    timeout(ON_ITS_WAY, heard).await.unwrap_or(Ok(false))
}

fn hear(notification: &PgNotification, arrivals: &Arrivals, instance: u64) {
    match read(notification.payload()) {
        Some((from, _)) if from == instance => {}
        Some((_, names)) => arrivals.came(names),
        None => arrivals.missed_some(),
    }
}

/// The instance, then the boxes, 8 bytes each, in base64url.
fn written(instance: u64, names: &[BoxName]) -> String {
    let bytes: Vec<u8> =
        std::iter::once(&instance).chain(names).flat_map(|number| number.to_be_bytes()).collect();
    base64url::encode(bytes)
}

fn read(payload: &str) -> Option<(u64, Vec<BoxName>)> {
    let bytes = base64url::decode(payload).ok()?;
    let (numbers, rest) = bytes.as_chunks();
    let mut numbers = numbers.iter().map(|bytes| u64::from_be_bytes(*bytes));
    let instance = numbers.next().filter(|_| rest.is_empty())?;
    Some((instance, numbers.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_and_read() {
        assert_eq!(written(1, &[2]), "AAAAAAAAAAEAAAAAAAAAAg");
        assert_eq!(read("AAAAAAAAAAEAAAAAAAAAAg"), Some((1, vec![2])));
        assert_eq!(read(""), None);
        assert_eq!(read("AAAA"), None);
        let most: BTreeSet<BoxName> = (0..1500).collect();
        let sizes: Vec<usize> = chunks(&most).map(|some| written(u64::MAX, &some).len()).collect();
        assert_eq!(sizes, [7478, 7478, 1078], "below PostgreSQL's 8,000 bytes");
        assert_eq!(chunks(&most).flatten().collect::<BTreeSet<_>>(), most);
    }
}
