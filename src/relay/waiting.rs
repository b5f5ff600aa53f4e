//! Long poll: a check that finds nothing may wait until something comes.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Semaphore, SemaphorePermit, oneshot, watch},
    time::{Instant, sleep, timeout_at},
};

use super::busy;
use crate::{
    metrics::Metrics,
    protocol::{At, PublicKey, Refusal},
    store::Store,
};

/// How long after the last place was taken it is worth another try, in seconds.
const PLACES_RETRY: u32 = 10;

/// How long the bell is not heeded after it rang a second time; twice as long each time, up to the longest.
const PAUSE: Duration = Duration::from_millis(50);

const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// The places for those who wait.
pub(super) struct WaitingRoom {
    longest: Duration,
    places: Semaphore,
    closing: watch::Sender<bool>,
    metrics: Arc<Metrics>,
}

/// A place that is taken, and counted.
struct Place<'a> {
    _permit: SemaphorePermit<'a>,
    metrics: &'a Metrics,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.metrics.waiters.dec();
    }
}

impl WaitingRoom {
    /// For `places` at once, each for `longest` at most.
    pub(super) fn new(longest: Duration, places: usize, metrics: Arc<Metrics>) -> Self {
        let places = Semaphore::new(places.min(Semaphore::MAX_PERMITS));
        Self { longest, places, closing: watch::Sender::new(false), metrics }
    }

    /// How long a check may wait that would like to for so long.
    pub(super) fn longest_wait(&self, wait: Duration) -> Duration {
        wait.min(self.longest)
    }

    /// Looks whether these boxes hold anything newer, and if none does waits until one may: for `wait` at most, until
    /// the caller is gone, or until the relay stops.
    pub(super) async fn look(
        &self,
        store: &dyn Store,
        boxes: &[(PublicKey, At)],
        wait: Duration,
        mut gone: oneshot::Receiver<()>,
    ) -> Result<Vec<bool>, Refusal> {
        let wait = self.longest_wait(wait);
        if wait.is_zero() {
            return store.have_newer(boxes.to_vec()).await.map_err(busy(&self.metrics));
        }
        // Before looking: what comes after the look rings.
        let waiting = store.arrivals().wait_for(boxes.iter().map(|(key, _)| key));
        let mut closing = self.closing.subscribe();
        let deadline = Instant::now() + wait;
        let mut pause = Duration::ZERO;
        let mut place = None;
        loop {
            let found = store.have_newer(boxes.to_vec()).await.map_err(busy(&self.metrics))?;
            if found.contains(&true) {
                return Ok(found);
            }
            if place.is_none() {
                place = Some(self.place()?);
            }
            let called_off = async {
                tokio::select! {
                    _ = &mut gone => {}
                    _ = closing.wait_for(|closing| *closing) => {}
                }
            };
            let arrived = async {
                sleep(pause).await;
                waiting.arrived().await;
            };
            let arrived = async {
                tokio::select! {
                    () = arrived => true,
                    () = called_off => false,
                }
            };
            if timeout_at(deadline, arrived).await != Ok(true) {
                return Ok(found);
            }
            // Rung in vain, whoever asks about the future would make the database look at each message of a stranger.
            pause = (pause * 2).clamp(PAUSE, LONGEST_PAUSE);
        }
    }

    fn place(&self) -> Result<Place<'_>, Refusal> {
        let full = |_| Refusal::Busy { retry_after: PLACES_RETRY };
        let permit = self.places.try_acquire().map_err(full)?;
        self.metrics.waiters.inc();
        Ok(Place { _permit: permit, metrics: &self.metrics })
    }

    /// Lets everyone go who waits, now and later.
    pub(super) fn close(&self) {
        self.closing.send_replace(true);
    }
}
