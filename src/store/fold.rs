//! Folds SQLite's write-ahead log into its file beside the writer, which would keep every send waiting meanwhile.
//!
//! The log begins anew when all of it is folded. Under sends without a pause some pages come with every fold: when the log
//! has grown long, the writer folds those few itself, between two batches.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
};

use sqlx::{Pool, Sqlite};
use tokio::sync::Notify;

/// Folds as much as it can without making anybody wait.
pub(super) const FOLD: &str = "pragma wal_checkpoint(passive)";

/// Bytes of messages between two folds. The log has two to three times as many: other pages change with a message, too.
/// The slowest sends are those beside a fold: with 4 MiB they take four times as long as with these 512 KiB.
const EVERY: u64 = 512 << 10;

/// Pages of a log that is long: 32 MiB.
const LONG: i64 = 8_192;

/// How much was written, and what is to be done about it.
#[derive(Default)]
pub(super) struct Fold {
    written: AtomicU64,
    due: Notify,
    rest: AtomicBool,
}

impl Fold {
    /// Messages of so many bytes were written, or deleted.
    pub(super) fn wrote(&self, bytes: u64) {
        if self.written.fetch_add(bytes, SeqCst).saturating_add(bytes) >= EVERY {
            self.due.notify_one();
        }
    }

    /// Whether the writer is to fold the rest.
    pub(super) fn takes_rest(&self) -> bool {
        self.rest.swap(false, SeqCst)
    }

    /// Folds when it is time, until aborted.
    pub(super) async fn run(self: Arc<Self>, pool: Pool<Sqlite>) {
        loop {
            self.due.notified().await;
            self.written.store(0, SeqCst);
            let folded: Result<(i64, i64, i64), _> = sqlx::query_as(FOLD).fetch_one(&pool).await;
            match folded {
                Ok((_, log, folded)) => self.rest.store(log > LONG && folded < log, SeqCst),
                // SQLite does it itself when the log has grown long.
                Err(error) => tracing::warn!(%error, "the write-ahead log was not folded into the database"),
            }
        }
    }
}
