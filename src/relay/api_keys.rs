//! API keys of a closed or paid relay: who may use it, and how much in a day.
//!
//! A key is looked up by its SHA-256, so nothing is compared that could be guessed bit by bit. What was looked up counts
//! for 5 s: so long may a new or a revoked key take. What is used is counted here and added to the database in steps, and
//! what other instances added is read back with it: within seconds they agree.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sha2::{Digest as _, Sha256};

use super::busy;
use crate::{
    metrics::Metrics,
    protocol::{Ext, Refusal, base64url},
    store::{ApiKey, Appended, Store, StoreError, Under, Usage, Used},
};

/// The length of a key in bytes.
const KEY_BYTES: usize = 32;

/// How long what was looked up counts, in microseconds.
const LOOK_AGAIN: i64 = 5 * 1_000_000;

/// Hashes remembered: 2 generations of 8,192 of each kind, known and unknown, each of about 150 bytes, 5 MB at most.
const GENERATION: usize = 8_192;

/// Keys whose usage is written in one transaction: few enough that no send waits for long.
const BATCH: usize = 500;

const DAY: i64 = 86_400 * 1_000_000;

/// How long after a key's last box it is worth another try, in seconds. Boxes go when their owner deletes them, or
/// after days.
const BOXES_RETRY: u32 = 3600;

/// Knows keys and counts what is used of them.
pub(super) struct ApiKeys {
    store: Arc<dyn Store>,
    looked_up: Mutex<LookedUp>,
    /// By key and day.
    counts: Mutex<HashMap<(i64, i64), Count>>,
    /// One at a time, or what is added would be added twice.
    flushing: tokio::sync::Mutex<()>,
    metrics: Arc<Metrics>,
}

/// Apart, so that guessing keys does not drive out those that are used.
#[derive(Default)]
struct LookedUp {
    known: Recent<ApiKey>,
    unknown: Recent<()>,
}

#[derive(Default)]
struct Count {
    /// What the database is known to hold.
    stored: Used,
    /// What was not added to it yet. Below 0 if more was given back than counted since.
    pending: Used,
}

/// A request that an API key allowed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Admitted {
    pub(super) under: Under,
    day: i64,
    bytes: i64,
}

impl ApiKeys {
    pub(super) fn new(store: Arc<dyn Store>, metrics: Arc<Metrics>) -> Self {
        Self {
            store,
            looked_up: Mutex::default(),
            counts: Mutex::default(),
            flushing: tokio::sync::Mutex::default(),
            metrics,
        }
    }

    /// Counts a request with this `ext` and this much data, if its key allows it. `now` is Unix time in microseconds.
    pub(super) async fn admit(&self, ext: Option<&Ext>, bytes: usize, now: i64) -> Result<Admitted, Refusal> {
        let key = match ext.and_then(hash) {
            Some(hash) => self.look_up(hash, now).await.map_err(busy(&self.metrics))?,
            None => None,
        };
        let Some(key) = key else {
            self.metrics.api_key_refused("unknown");
            return Err(Refusal::NotAllowed {
                detail: "this relay asks for an API key in ext: ask who runs it for one".into(),
            });
        };
        if key.revoked {
            self.metrics.api_key_refused("revoked");
            return Err(Refusal::NotAllowed {
                detail: "the API key in ext was revoked: ask who runs this relay for another".into(),
            });
        }
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.count(&key, bytes, now)?;
        let under = Under { key: key.id, boxes: key.quota.boxes };
        Ok(Admitted { under, day: day(now), bytes })
    }

    /// Takes note of what became of a message: only what is stored counts.
    pub(super) fn settle(&self, admitted: Admitted, appended: &Result<Appended, StoreError>) {
        if !matches!(appended, Ok(Appended::Stored(_) | Appended::Duplicate)) {
            let mut counts = lock(&self.counts);
            counts.entry((admitted.under.key, admitted.day)).or_default().pending.bytes -= admitted.bytes;
        }
    }

    /// Adds what was counted to the database. What cannot be added now is kept for the next time.
    ///
    /// Not to be cut short: what was added would be added again.
    pub(super) async fn flush(&self, now: i64) -> Result<(), StoreError> {
        let _one = self.flushing.lock().await;
        let mut pending: Vec<Usage> = lock(&self.counts)
            .iter()
            .filter(|(_, count)| count.pending != Used::default())
            .map(|(&(key, day), count)| Usage { key, day, used: count.pending })
            .collect();
        // Two instances that add in the same order cannot wait for each other.
        pending.sort_by_key(|usage| (usage.key, usage.day));
        for batch in pending.chunks(BATCH) {
            let totals = self.store.add_usage(batch.to_vec()).await?;
            let mut counts = lock(&self.counts);
            for (added, total) in batch.iter().zip(totals) {
                let count = counts.entry((added.key, added.day)).or_default();
                count.pending.requests -= added.used.requests;
                count.pending.bytes -= added.used.bytes;
                count.stored = total.used;
            }
        }
        let today = day(now);
        lock(&self.counts).retain(|&(_, day), count| day == today || count.pending != Used::default());
        Ok(())
    }

    async fn look_up(&self, hash: [u8; 32], now: i64) -> Result<Option<ApiKey>, StoreError> {
        {
            let looked_up = lock(&self.looked_up);
            if let Some(key) = looked_up.known.recall(&hash, now) {
                return Ok(Some(key));
            }
            if looked_up.unknown.recall(&hash, now).is_some() {
                return Ok(None);
            }
        }
        let found = self.store.api_key(hash, day(now)).await?;
        match found {
            Some(key) => {
                let mut counts = lock(&self.counts);
                let stored = &mut counts.entry((key.id, day(now))).or_default().stored;
                // What a flush read back meanwhile may be newer.
                stored.requests = stored.requests.max(key.used.requests);
                stored.bytes = stored.bytes.max(key.used.bytes);
                drop(counts);
                lock(&self.looked_up).known.remember(hash, now, key);
            }
            None => lock(&self.looked_up).unknown.remember(hash, now, ()),
        }
        Ok(found)
    }

    fn count(&self, key: &ApiKey, bytes: i64, now: i64) -> Result<(), Refusal> {
        let mut counts = lock(&self.counts);
        let Count { stored, pending } = counts.entry((key.id, day(now))).or_default();
        let used_up = |what: &str, detail: &'static str| {
            self.metrics.api_key_refused(what);
            Err(Refusal::TooOften { detail: detail.into(), retry_after: seconds_to_midnight(now) })
        };
        let requests = stored.requests + pending.requests;
        if key.quota.requests_per_day.is_some_and(|most| requests >= most) {
            return used_up("requests", "the API key in ext has used up its requests of this day (UTC)");
        }
        let used = stored.bytes + pending.bytes;
        if bytes > 0 && key.quota.bytes_per_day.is_some_and(|most| used.saturating_add(bytes) > most) {
            return used_up(
                "bytes",
                "the API key in ext has fewer bytes left on this day (UTC) than this message has",
            );
        }
        pending.requests += 1;
        pending.bytes += bytes;
        Ok(())
    }
}

/// What a `send` is told that would make a box too many.
pub(super) fn no_more_boxes() -> Refusal {
    Refusal::TooOften {
        detail: "the API key in ext has as many boxes as it may: delete one that is not needed".into(),
        retry_after: BOXES_RETRY,
    }
}

/// The SHA-256 of the key in `ext`, if it has the form of one.
fn hash(ext: &Ext) -> Option<[u8; 32]> {
    let key: [u8; KEY_BYTES] = base64url::decode_exactly(ext.as_str()).ok()?;
    Some(Sha256::digest(key).into())
}

/// Days since 1970-01-01, UTC.
fn day(now: i64) -> i64 {
    now.div_euclid(DAY)
}

/// Until the next day, rounded up.
fn seconds_to_midnight(now: i64) -> u32 {
    u32::try_from((DAY - now.rem_euclid(DAY) + 999_999) / 1_000_000).unwrap_or(1)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What was found out not long ago, by hash.
struct Recent<T> {
    young: HashMap<[u8; 32], (i64, T)>,
    old: HashMap<[u8; 32], (i64, T)>,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self { young: HashMap::new(), old: HashMap::new() }
    }
}

impl<T: Copy> Recent<T> {
    fn recall(&self, hash: &[u8; 32], now: i64) -> Option<T> {
        let &(at, what) = self.young.get(hash).or_else(|| self.old.get(hash))?;
        // A clock that was set back makes it from the future: looked up again.
        (0..LOOK_AGAIN).contains(&(now - at)).then_some(what)
    }

    fn remember(&mut self, hash: [u8; 32], now: i64, what: T) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(hash, (now, what));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_looked_up_counts_for_5_seconds() {
        let mut recent = Recent::default();
        recent.remember([1; 32], 1_000_000, 'a');
        assert_eq!(recent.recall(&[1; 32], 5_999_999), Some('a'));
        assert_eq!(recent.recall(&[1; 32], 6_000_000), None);
        assert_eq!(recent.recall(&[1; 32], 999_999), None, "the clock was set back");
        assert_eq!(recent.recall(&[2; 32], 1_000_000), None);
    }

    #[test]
    fn no_more_is_remembered_than_two_generations() {
        let mut recent = Recent::default();
        for n in 0..40_000u64 {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&n.to_be_bytes());
            recent.remember(hash, 0, n);
            assert_eq!(recent.recall(&hash, 0), Some(n));
        }
        assert!(recent.young.len() + recent.old.len() <= 16_384);
    }

    #[test]
    fn days_end_at_midnight_utc() {
        // 2026-11-20T07:00:00Z is 20,777 days and 7 hours.
        assert_eq!(day(1_795_158_000_000_000), 20_777);
        assert_eq!(seconds_to_midnight(1_795_158_000_000_000), 17 * 3600);
        assert_eq!(seconds_to_midnight(1_795_219_199_999_999), 1);
        assert_eq!(seconds_to_midnight(1_795_219_200_000_000), 86_400);
    }
}
