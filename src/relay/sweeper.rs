//! When to sweep: the step is separate from the loop, and a clock that jumps sweeps nothing away.

use std::time::Duration;

use crate::{
    clock::micros,
    store::{Store, StoreError, Swept},
};

/// How many messages one sweep deletes at most, so that sends get their turn between two.
const SWEEP_BATCH: u32 = 500;

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

/// Decides, tick by tick, whether the store's clock can be trusted to say what has expired.
///
/// When the clock jumps ahead, everything looks old at once; when it jumps back, everything looks as if it came from the
/// future. The mail may be hidden until the clock is right again, which cannot be helped; but it is neither deleted nor
/// given another date: sweeping stops until a message's whole life has passed since the jump, when all that was there is
/// old in truth.
#[derive(Debug)]
pub struct Sweeper {
    message_ttl: Duration,
    last: Option<(i64, Duration)>,
    hold_until: Option<Duration>,
}

impl Sweeper {
    /// For messages that live this long.
    pub fn new(message_ttl: Duration) -> Self {
        Self { message_ttl, last: None, hold_until: None }
    }

    /// Whether to sweep now. `clock` is the store's time in Unix microseconds, `elapsed` the time that really passed
    /// since some fixed moment (a monotonic clock).
    pub fn may_sweep(&mut self, clock: i64, elapsed: Duration) -> bool {
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
