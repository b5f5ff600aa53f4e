//! Who waits for which box: a message rings the bells of those who wait for its box, and of nobody else.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use tokio::sync::{Notify, watch};

use crate::protocol::PublicKey;

/// A box, short enough to tell other instances about many at once: 8 bytes of its key. Two boxes that share them (a
/// chance of 2^-64, or much work to make) are woken for each other's messages, look, and wait on.
pub(super) type BoxName = u64;

/// The name of a box: the 8 bytes behind the first.
pub(super) fn name(key: &PublicKey) -> BoxName {
    let [_, a, b, c, d, e, f, g, h, ..] = *key.as_bytes();
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// The bells of all who wait at this store.
#[derive(Default)]
pub struct Arrivals {
    bells: Mutex<HashMap<BoxName, Vec<Arc<Notify>>>>,
    someone: Notify,
    /// For other instances on the same database, where there can be any.
    others: Option<Untold>,
}

/// Boxes that messages came to, which other instances do not know yet.
#[derive(Default)]
struct Untold {
    names: Mutex<BTreeSet<BoxName>>,
    some: Notify,
    /// How often they were taken, and how often what was taken was told.
    taken: AtomicU64,
    told: watch::Sender<u64>,
}

/// Somebody who waits; no longer, once this is dropped.
pub struct Waiting<'a> {
    arrivals: &'a Arrivals,
    names: Vec<BoxName>,
    bell: Arc<Notify>,
}

impl Arrivals {
    /// For a database that several instances may use.
    pub(super) fn shared() -> Self {
        Self { others: Some(Untold::default()), ..Self::default() }
    }

    /// Waits for messages to any of these boxes from now on. What came before must be looked for after this.
    pub fn wait_for<'k>(&self, keys: impl IntoIterator<Item = &'k PublicKey>) -> Waiting<'_> {
        let names: Vec<BoxName> = keys.into_iter().map(name).collect();
        let bell = Arc::new(Notify::new());
        let mut bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        for name in &names {
            bells.entry(*name).or_default().push(bell.clone());
        }
        drop(bells);
        self.someone.notify_one();
        Waiting { arrivals: self, names, bell }
    }

    /// Messages were stored in these boxes by this instance.
    pub(super) fn stored(&self, names: Vec<BoxName>) {
        self.came(names.iter().copied());
        if let Some(others) = &self.others {
            others.names.lock().unwrap_or_else(PoisonError::into_inner).extend(names);
            others.some.notify_one();
        }
    }

    /// What other instances are to be told, as soon as there is anything.
    pub(super) async fn untold(&self) -> BTreeSet<BoxName> {
        let Some(others) = &self.others else {
            return std::future::pending().await;
        };
        loop {
            {
                let mut names = others.names.lock().unwrap_or_else(PoisonError::into_inner);
                if !names.is_empty() {
                    others.taken.fetch_add(1, SeqCst);
                    return std::mem::take(&mut *names);
                }
            }
            others.some.notified().await;
        }
    }

    /// What was taken last was told.
    pub(super) fn told(&self) {
        if let Some(others) = &self.others {
            others.told.send_modify(|times| *times += 1);
        }
    }

    /// Ready when other instances know all that this one has stored until now.
    pub async fn all_told(&self) {
        let Some(others) = &self.others else {
            return;
        };
        let last = {
            let names = others.names.lock().unwrap_or_else(PoisonError::into_inner);
            // They are taken under this lock.
            others.taken.load(SeqCst) + u64::from(!names.is_empty())
        };
        drop(others.told.subscribe().wait_for(|told| *told >= last).await);
    }

    /// Messages came to these boxes.
    pub(super) fn came(&self, names: impl IntoIterator<Item = BoxName>) {
        let bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        for name in names {
            bells.get(&name).into_iter().flatten().for_each(|bell| bell.notify_one());
        }
    }

    /// Messages may have come that nobody told us about: everyone looks again.
    pub(super) fn missed_some(&self) {
        let bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        bells.values().flatten().for_each(|bell| bell.notify_one());
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.bells.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Ready as soon as somebody waits.
    pub(super) async fn someone_waits(&self) {
        while self.is_empty() {
            self.someone.notified().await;
        }
    }
}

impl Waiting<'_> {
    /// Ready when something came since this was last ready, or may have.
    pub async fn arrived(&self) {
        self.bell.notified().await;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut bells = self.arrivals.bells.lock().unwrap_or_else(PoisonError::into_inner);
        for name in &self.names {
            if let Some(here) = bells.get_mut(name) {
                here.retain(|bell| !Arc::ptr_eq(bell, &self.bell));
                if here.is_empty() {
                    bells.remove(name);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;
    use crate::seal::BoxKey;

    #[tokio::test]
    async fn a_message_wakes_those_who_wait_for_its_box() {
        let mut rng = StdRng::seed_from_u64(1);
        let [mine, other] = [(); 2].map(|()| BoxKey::generate(&mut rng).public());
        let arrivals = Arrivals::default();
        assert!(arrivals.is_empty());
        let waiting = arrivals.wait_for([&mine]);
        let both = arrivals.wait_for([&mine, &other]);
        let is_woken = async |waiting: &Waiting| {
            let mut arrived = std::pin::pin!(waiting.arrived());
            std::future::poll_fn(|cx| Poll::Ready(arrived.as_mut().poll(cx).is_ready())).await
        };

        arrivals.came([name(&other)]);
        assert!(!is_woken(&waiting).await);
        assert!(is_woken(&both).await);
        assert!(!is_woken(&both).await, "once is enough");

        arrivals.came([name(&mine), name(&mine)]);
        assert!(is_woken(&waiting).await, "it came before it was waited for");
        assert!(!is_woken(&waiting).await);

        arrivals.missed_some();
        assert!(is_woken(&waiting).await);
        drop(waiting);
        assert!(!arrivals.is_empty());
        drop(both);
        assert!(arrivals.is_empty());
    }
}
