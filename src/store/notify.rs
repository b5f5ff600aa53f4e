//! Telling the other instances on a PostgreSQL database what came, and hearing it from them: NOTIFY and LISTEN.
//!
//! A notification is sent after the commit, on a connection of its own: inside the transaction of a send it would make
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
};
use crate::protocol::base64url;

const CHANNEL: &str = "connectoid";

const NOTIFY: &str = "select pg_notify($1, $2)";

/// Boxes in one notification: 11 characters each, and PostgreSQL takes 8,000 bytes.
const AT_ONCE: usize = 700;

/// The time between two notifications, in which names gather: a lone message is told of at once, and of many an instance
/// tells 50 times a second at most.
const GATHER: Duration = Duration::from_millis(20);

/// How long to wait before trying again what failed.
const AGAIN: Duration = Duration::from_secs(1);

/// After this much silence the connection that listens is made anew: a network that went away says nothing either. With
/// nobody waiting it is not, so that an idle database may fall asleep.
const SILENCE: Duration = Duration::from_secs(60);

/// Tells the others, until aborted.
pub(super) async fn tell(pool: Pool<Postgres>, arrivals: Arc<Arrivals>, instance: u64) {
    loop {
        let names = arrivals.untold().await;
        for some in chunks(&names) {
            while let Err(error) = notify(&pool, instance, &some).await {
                tracing::warn!(error = %StoreError::from(error), "other instances could not be told of messages");
                sleep(AGAIN).await;
            }
        }
        sleep(GATHER).await;
    }
}

fn chunks(names: &BTreeSet<BoxName>) -> impl Iterator<Item = Vec<BoxName>> {
    let names: Vec<BoxName> = names.iter().copied().collect();
    let count = names.len().div_ceil(AT_ONCE);
    (0..count).map(move |n| names.iter().skip(n * AT_ONCE).take(AT_ONCE).copied().collect())
}

async fn notify(pool: &Pool<Postgres>, instance: u64, names: &[BoxName]) -> Result<(), sqlx::Error> {
    sqlx::query(NOTIFY).bind(CHANNEL).bind(written(instance, names)).execute(pool).await?;
    Ok(())
}

/// Listens to the others while somebody waits here, until aborted. `pool` is for this alone.
pub(super) async fn listen(pool: Pool<Postgres>, arrivals: Arc<Arrivals>, instance: u64) {
    loop {
        arrivals.someone_waits().await;
        if let Err(error) = listen_once(&pool, &arrivals, instance).await {
            tracing::warn!(error = %StoreError::from(error), "not told what comes through other instances; trying again");
            sleep(AGAIN).await;
        }
    }
}

/// Listens until the connection is lost or silent for too long.
async fn listen_once(pool: &Pool<Postgres>, arrivals: &Arrivals, instance: u64) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    // What came before we listened was told to nobody here.
    arrivals.missed_some();
    while let Ok(heard) = timeout(SILENCE, listener.try_recv()).await {
        match heard? {
            Some(notification) => hear(&notification, arrivals, instance),
            None => break,
        }
    }
    Ok(())
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
