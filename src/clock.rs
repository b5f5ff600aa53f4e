//! Time as an argument: the system's in production, a hand-set one in tests.

use std::{
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Unix time in microseconds.
    fn now(&self) -> i64;

    /// The time since some fixed moment. Never goes back, whatever is done to the time of day.
    fn elapsed(&self) -> Duration;
}

/// The operating system's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn now(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => micros(since),
            Err(before) => -micros(before.duration()),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
    fn elapsed(&self) -> Duration {
        static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);
        STARTED.elapsed()
    }
}

/// The clock of a process that may be frozen, and with it the monotonic clock: what the time of day gains on that by a second or more
/// has passed, too. So has what it gains when somebody sets it, but not what it lost before: a time of day that swings adds nothing up.
pub struct FreezingClock {
    clock: Arc<dyn Clock>,
    frozen: Mutex<Frozen>,
}

#[derive(Debug)]
struct Frozen {
    /// By how much the time of day was ahead of the monotonic clock at most, in microseconds.
    ahead: i64,
    /// How long the process was frozen, in all.
    passed: Duration,
}

/// What counts as frozen, in microseconds: two clocks are never read at once, and one of them may be adjusted.
const FROZEN: i64 = 1_000_000;

impl FreezingClock {
    /// That clock, with what it misses.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let frozen = Frozen { ahead: ahead(&*clock, clock.elapsed()), passed: Duration::ZERO };
        Self { clock, frozen: Mutex::new(frozen) }
    }
}

fn ahead(clock: &dyn Clock, elapsed: Duration) -> i64 {
    clock.now().saturating_sub(micros(elapsed))
}

impl Clock for FreezingClock {
    fn now(&self) -> i64 {
        self.clock.now()
    }

    fn elapsed(&self) -> Duration {
        let mut frozen = self.frozen.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = self.clock.elapsed();
        let ahead = ahead(&*self.clock, elapsed);
        let gained = ahead.saturating_sub(frozen.ahead);
        // A time of day that was set back takes nothing back, and first has to make up for it.
        if gained >= FROZEN {
            frozen.ahead = ahead;
            frozen.passed += Duration::from_micros(gained.unsigned_abs());
        }
        elapsed + frozen.passed
    }
}

/// A clock that stands still until it is moved, so that a month passes in one line.
#[derive(Debug)]
pub struct HandClock {
    now: AtomicI64,
    elapsed: AtomicU64,
}

impl HandClock {
    /// A clock that shows `now`, Unix time in microseconds.
    pub fn at(now: i64) -> Self {
        Self { now: AtomicI64::new(now), elapsed: AtomicU64::new(0) }
    }

    /// Shows another time of day from now on, earlier or later. No time passes.
    pub fn set(&self, now: i64) {
        self.now.store(now, Ordering::SeqCst);
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        self.now.fetch_add(micros(by), Ordering::SeqCst);
        self.elapsed.fetch_add(micros(by).unsigned_abs(), Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> i64 {
        self.now.load(Ordering::SeqCst)
    }

    fn elapsed(&self) -> Duration {
        Duration::from_micros(self.elapsed.load(Ordering::SeqCst))
    }
}

/// A duration in microseconds, at most 292,000 years.
pub fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_monotonic_clock_misses_has_passed_too() {
        let hand = Arc::new(HandClock::at(1_795_158_000_000_000));
        let clock = FreezingClock::new(hand.clone());
        let seconds = |clock: &FreezingClock| clock.elapsed().as_secs_f64();
        assert_eq!(seconds(&clock), 0.0);
        hand.advance(Duration::from_secs(7));
        assert_eq!(seconds(&clock), 7.0);
        // Frozen for an hour.
        hand.set(hand.now() + 3_600_000_000);
        assert_eq!(seconds(&clock), 3607.0);
        hand.set(hand.now() + 600_000);
        assert_eq!(seconds(&clock), 3607.0, "too little to tell");
        hand.set(hand.now() + 600_000);
        assert_eq!(seconds(&clock), 3608.2, "but it adds up");
        hand.set(hand.now() - 7_200_000_000);
        assert_eq!(seconds(&clock), 3608.2, "it never goes back");
        hand.advance(Duration::from_secs(2));
        assert_eq!(seconds(&clock), 3610.2, "and goes on");
        hand.set(hand.now() + 7_200_000_000);
        assert_eq!(seconds(&clock), 3610.2, "what was lost is no gain");
        for _ in 0..3 {
            for swing in [-900_000_000, 900_000_000, 900_000, -900_000] {
                hand.set(hand.now() + swing);
                assert_eq!(seconds(&clock), 3610.2, "a swing adds nothing up");
            }
        }
        hand.set(hand.now() - 60_000_000);
        assert_eq!(seconds(&clock), 3610.2);
        hand.set(hand.now() + 100_000_000);
        assert_eq!(seconds(&clock), 3650.2, "what is more has passed");
        assert_eq!(clock.now(), hand.now());
    }
}
