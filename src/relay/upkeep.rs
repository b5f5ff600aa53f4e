//! What a relay does beside answering, for platforms that freeze the process between requests: there it is done with a
//! request, before its reply goes out.

use std::{sync::Arc, time::Duration};

use tokio::{runtime::Handle, sync::Mutex, time::timeout};

use super::{Relay, Sweeping};
use crate::clock::{Clock, micros};

/// The time between two additions of what was used of API keys to the database: what a crash loses at most.
pub const USAGE_INTERVAL: Duration = Duration::from_secs(5);

/// How long a request may wait for this. What is not done then is done after the reply, or at the next thaw.
const PATIENCE: Duration = Duration::from_secs(5);

/// Sweeps, stores what is used of API keys, and lets other instances be told of messages.
pub struct Upkeep {
    relay: Arc<Relay>,
    clock: Arc<dyn Clock>,
    /// Locked by the one who does it.
    due: Arc<Mutex<Due>>,
}

struct Due {
    sweeping: Sweeping,
    sweep_interval: Duration,
    /// By the clock, Unix microseconds; none if it is to be done with the next request.
    swept: Option<i64>,
    flushed: Option<i64>,
}

impl Upkeep {
    /// Sweeps so long after the last sweep has found all that had expired.
    pub fn new(
        relay: Arc<Relay>,
        sweeping: Sweeping,
        clock: Arc<dyn Clock>,
        sweep_interval: Duration,
    ) -> Self {
        let due = Due { sweeping, sweep_interval, swept: None, flushed: None };
        Self { relay, clock, due: Arc::new(Mutex::new(due)) }
    }

    /// Does what is due, unless another request does just now. It takes a small part of a second as a rule and 5 s at most, and
    /// does not fail.
    ///
    /// To be called when a request was answered and its reply was not sent; may be dropped. The work is done on `runtime`, the
    /// store's.
    pub async fn with_request(&self, runtime: &Handle) {
        let work = async {
            self.relay.others_told().await;
            // By the time of day: a monotonic clock may stand still while the process is frozen.
            let now = self.clock.now();
            let Ok(mut due) = self.due.clone().try_lock_owned() else {
                return;
            };
            let sweeps = is_due(due.swept, due.sweep_interval, now);
            let flushes = is_due(due.flushed, USAGE_INTERVAL, now);
            if !sweeps && !flushes {
                return;
            }
            let relay = self.relay.clone();
            let work = runtime.spawn(async move {
                if sweeps {
                    // What failed is tried again after an interval, too.
                    let there_is_more = due.sweeping.sweep_part().await;
                    due.swept = (!there_is_more).then_some(now);
                }
                if flushes {
                    relay.store_usage().await;
                    due.flushed = Some(now);
                }
            });
            drop(work.await);
        };
        drop(timeout(PATIENCE, work).await);
    }
}

/// A clock that was set back makes the last time one of the future: it is due.
fn is_due(last: Option<i64>, interval: Duration, now: i64) -> bool {
    !last.is_some_and(|last| (0..micros(interval)).contains(&now.saturating_sub(last)))
}
