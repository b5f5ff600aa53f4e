//! When to sweep: the step is separate from the loop, and a clock that jumps sweeps nothing away.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::Limiter;
use crate::{
    clock::{Clock, micros},
    metrics::Metrics,
    store::{Keep, Store, StoreError, Swept},
};

/// How many messages one sweep deletes at most, so that sends get their turn between two.
const SWEEP_BATCH: u32 = 500;

/// How many messages, and how many boxes, a sweep deletes that a request waits for.
const PART: u32 = 50;

/// The time between two sweeps of boxes, by a relay that holds no message and lets its database sleep, in microseconds.
const SLEEP: i64 = 24 * 60 * 60 * 1_000_000;

/// How far the clock may gain or lose on the time that passed before it counts as a jump: slewing and a slow tick stay
/// below.
const TOLERANCE: i64 = 60 * 1_000_000;

/// Deletes all that has expired, in batches.
///
/// # Errors
/// If the store fails; what was deleted stays deleted.
pub async fn sweep_all(store: &dyn Store) -> Result<Swept, StoreError> {
    let mut all = Swept::default();
    loop {
        let swept = store.sweep(SWEEP_BATCH).await?;
        all.messages = all.messages.saturating_add(swept.messages);
        all.boxes = all.boxes.saturating_add(swept.boxes);
        if swept.messages < SWEEP_BATCH && swept.boxes < SWEEP_BATCH {
            return Ok(all);
        }
    }
}

/// Sweeps, time after time.
pub struct Sweeping {
    store: Arc<dyn Store>,
    sweeper: Sweeper,
    max_bytes: Option<u64>,
    /// Whether an idle relay leaves its database alone.
    lets_sleep: bool,
    limiter: Arc<Limiter>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    /// When it last swept, by this machine's clock.
    last: Option<i64>,
}

impl Sweeping {
    /// With `lets_sleep` a store that holds no message is left alone for a day.
    pub fn new(
        store: Arc<dyn Store>,
        keep: Keep,
        lets_sleep: bool,
        limiter: Arc<Limiter>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let sweeper = Sweeper::new(keep.message_ttl);
        let max_bytes = keep.max_bytes;
        Self { store, sweeper, max_bytes, lets_sleep, limiter, clock, metrics, last: None }
    }

    /// Deletes all that has expired, in batches. A failure is logged; the next sweep tries again.
    pub async fn sweep(&mut self) {
        let store = self.store.clone();
        self.sweep_by(sweep_all(&*store)).await;
    }

    /// Deletes a small part of what has expired. Whether there is more.
    pub async fn sweep_part(&mut self) -> bool {
        let store = self.store.clone();
        let swept = self.sweep_by(store.sweep(PART)).await;
        swept.is_some_and(|swept| swept.messages == PART || swept.boxes == PART)
    }

    async fn sweep_by(&mut self, deleting: impl Future<Output = Result<Swept, StoreError>>) -> Option<Swept> {
        self.limiter.forget_idle();
        let now = self.clock.now();
        // A clock that was set back makes it from the future: not recent either.
        let is_recent = self.last.is_some_and(|last| (0..SLEEP).contains(&now.saturating_sub(last)));
        if self.lets_sleep && is_recent && self.store.is_empty() {
            return None;
        }
        let started = Instant::now();
        match self.unless_the_clock_jumped(deleting).await {
            Ok(Some(swept)) => {
                self.last = Some(now);
                self.metrics.sweep("ok");
                self.metrics.sweep_took(started.elapsed());
                self.swept(swept);
                Some(swept)
            }
            Ok(None) => {
                self.metrics.sweep("held");
                None
            }
            Err(error) => {
                self.metrics.sweep("failed");
                self.metrics.store_error(error.kind());
                tracing::error!(%error, "a sweep failed; the next one tries again");
                None
            }
        }
    }

    async fn unless_the_clock_jumped(
        &mut self,
        deleting: impl Future<Output = Result<Swept, StoreError>>,
    ) -> Result<Option<Swept>, StoreError> {
        let may_sweep = self.sweeper.may_sweep(self.store.now().await?, self.clock.elapsed());
        if may_sweep { deleting.await.map(Some) } else { Ok(None) }
    }

    fn swept(&self, Swept { messages, boxes }: Swept) {
        self.metrics.swept_messages.inc_by(messages.into());
        self.metrics.swept_boxes.inc_by(boxes.into());
        if self.max_bytes.is_some_and(|most| self.store.held().on_disk() > most / 10 * 9) {
            // Here and not with each send, or strangers could fill the log.
            tracing::warn!("all boxes together hold nearly as much as they may (--max-bytes)");
        }
        if messages > 0 || boxes > 0 {
            tracing::debug!(messages, boxes, "swept");
        }
    }
}

/// Decides, tick by tick, whether the store's clock can be trusted to say what has expired.
///
/// When the clock jumps ahead, everything looks old at once; when it jumps back, everything looks as if it came from the
/// future. The mail may be hidden until the clock is right again, which cannot be helped; but it is neither deleted nor
/// given another date: sweeping stops until a message's whole life has passed since the jump, when all that was there is
/// old in truth.
#[derive(Debug)]
struct Sweeper {
    message_ttl: Duration,
    last: Option<(i64, Duration)>,
    hold_until: Option<Duration>,
}

impl Sweeper {
    /// For messages that live this long.
    fn new(message_ttl: Duration) -> Self {
        Self { message_ttl, last: None, hold_until: None }
    }

    /// Whether to sweep now. `clock` is the store's time in Unix microseconds, `elapsed` the time that really passed
    /// since some fixed moment (a monotonic clock).
    fn may_sweep(&mut self, clock: i64, elapsed: Duration) -> bool {
        if let Some((last_clock, last_elapsed)) = self.last.replace((clock, elapsed)) {
            let passed = micros(elapsed.saturating_sub(last_elapsed));
            if clock.saturating_sub(last_clock).saturating_sub(passed).saturating_abs() > TOLERANCE {
                tracing::warn!("the clock jumped: nothing is swept for the life of a message");
                self.hold_until = Some(elapsed + self.message_ttl);
            }
        }
        if self.hold_until.is_some_and(|until| elapsed >= until) {
            self.hold_until = None;
        }
        self.hold_until.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_jump_holds_the_sweep_for_a_messages_life() {
        let mut sweeper = Sweeper::new(HOUR);
        let mut tick = |clock_seconds: i64, elapsed_seconds: u64| {
            sweeper.may_sweep(clock_seconds * 1_000_000, Duration::from_secs(elapsed_seconds))
        };
        assert!(tick(1_000_000, 10));
        assert!(tick(1_000_060, 70));
        assert!(tick(1_000_180, 130), "60 s gained is within the tolerance");
        assert!(!tick(1_090_000, 190), "a day gained is a jump");
        assert!(!tick(1_003_789, 3_789), "set right again, but who knows: an hour has not passed");
        assert!(!tick(1_007_388, 7_388), "an hour after the second jump, but for a second");
        assert!(tick(1_007_389, 7_389));
    }
}
