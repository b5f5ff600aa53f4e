//! Questions to the owners of boxes: sealed off the async threads, a few at a time, and asked again for a while.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rand::{SeedableRng as _, rngs::StdRng};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::Instant,
};

use crate::{
    metrics::Metrics,
    protocol::{PublicKey, Refusal, RelayUrl},
    seal::question::{Secrets, ask_quickly},
};

/// How long a question is asked again, at most. An answer counts for 60 s from the question's making, so the owner
/// still has 45.
const ASK_AGAIN: Duration = Duration::from_secs(15);

/// Questions kept for asking again: 2 generations of 8,192, each of about 400 bytes, 6 MB at most.
const GENERATION: usize = 8_192;

/// Questions that may wait to be sealed. At about 0.2 ms each, the last of 256 waits 50 ms on one core.
const WAITING: usize = 256;

/// Questions that are sealed before those who wait for them are woken, if so many are to be: each change between sealing and
/// answering empties the processor's caches of the other's code.
const GROUP: usize = 8;

/// Makes questions, within a budget.
pub(super) struct Asker(Arc<Sealer>);

struct Sealer {
    seed: Mutex<StdRng>,
    secrets: Secrets,
    ask_again: i64,
    cores: Arc<Semaphore>,
    /// Whose threads seal: who asks may be on another.
    runtime: Handle,
    waiting: Mutex<VecDeque<Waiting>>,
    asked: Mutex<[HashMap<Name, Asked>; 2]>,
    metrics: Arc<Metrics>,
}

/// Whose owner is asked, by which relay.
type Name = (PublicKey, RelayUrl);

/// Someone who waits for a question.
struct Waiting {
    name: Name,
    now: i64,
    question: oneshot::Sender<String>,
}

#[derive(Clone)]
struct Asked {
    at: i64,
    question: String,
}

impl Asker {
    pub(super) fn new(seed: StdRng, secrets: Secrets, answer_ttl: Duration, metrics: Arc<Metrics>) -> Self {
        // One core is left for everything else.
        let cores = std::thread::available_parallelism().map_or(1, usize::from).saturating_sub(1).max(1);
        let ask_again = ASK_AGAIN.min(answer_ttl / 4);
        Self(Arc::new(Sealer {
            seed: Mutex::new(seed),
            secrets,
            ask_again: i64::try_from(ask_again.as_secs()).unwrap_or(0),
            cores: Arc::new(Semaphore::new(cores)),
            runtime: Handle::current(),
            waiting: Mutex::default(),
            asked: Mutex::default(),
            metrics,
        }))
    }

    /// A question about this box from this relay that was asked not long ago.
    pub(super) fn asked_before(&self, key: PublicKey, relay: &RelayUrl, now: i64) -> Option<String> {
        self.0.asked_before(&(key, relay.clone()), now)
    }

    /// A question about this box from this relay: one asked not long ago, or a new one.
    ///
    /// `now` is Unix time in seconds. `Busy` if too many others wait for theirs.
    pub(super) async fn question(
        &self,
        key: PublicKey,
        relay: &RelayUrl,
        now: i64,
    ) -> Result<String, Refusal> {
        let name = (key, relay.clone());
        if let Some(question) = self.0.asked_before(&name, now) {
            return Ok(question);
        }
        let busy = Refusal::Busy { retry_after: 1 };
        let (question, sealed) = oneshot::channel();
        {
            let mut waiting = self.0.waiting();
            if let Ok(core) = self.0.cores.clone().try_acquire_owned() {
                let sealer = self.0.clone();
                self.0.runtime.spawn_blocking(move || sealer.seal_all(core));
            }
            if waiting.len() >= WAITING {
                return Err(busy);
            }
            waiting.push_back(Waiting { name, now, question });
        }
        sealed.await.map_err(|_| busy)
    }
}

impl Sealer {
    /// Seals until nobody waits, one after another: a thread for each would be one more change of threads for each.
    fn seal_all(&self, core: OwnedSemaphorePermit) {
        loop {
            let mut waiting = self.waiting();
            let length = waiting.len().min(GROUP);
            let group: Vec<Waiting> = waiting.drain(..length).collect();
            if group.is_empty() {
                // While the queue is locked: who comes next finds a core that is free, not one that is about to be.
                drop(core);
                return;
            }
            drop(waiting);
            let mut questions = Vec::with_capacity(group.len());
            for Waiting { name, now, question } in group {
                // Perhaps asked for someone else while this one waited.
                if let Some(sealed) = self.asked_before(&name, now).or_else(|| self.seal(name, now)) {
                    questions.push((question, sealed));
                }
            }
            for (question, sealed) in questions {
                // They may be gone by now, which is no failure.
                let _gone = question.send(sealed);
            }
        }
    }

    fn seal(&self, name: Name, now: i64) -> Option<String> {
        let mut rng = StdRng::from_rng(&mut *self.seed.lock().unwrap_or_else(PoisonError::into_inner));
        let started = Instant::now();
        let question = ask_quickly(&mut rng, &self.secrets, &name.1, &name.0, now).ok()?;
        self.metrics.question("sealed");
        self.metrics.seal(started.elapsed());
        self.remember(name, Asked { at: now, question: question.clone() });
        Some(question)
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn asked_before(&self, name: &Name, now: i64) -> Option<String> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = asked.iter().find_map(|generation| generation.get(name))?;
        // A clock that was set back makes a question from the future: not asked again either.
        let is_young = (0..=self.ask_again).contains(&(now - asked.at));
        is_young.then(|| {
            self.metrics.question("cached");
            asked.question.clone()
        })
    }

    fn remember(&self, name: Name, question: Asked) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let [young, old] = &mut *asked;
        if young.len() >= GENERATION {
            *old = std::mem::take(young);
        }
        young.insert(name, question);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::BoxKey;

    fn metrics() -> Arc<Metrics> {
        Arc::new(Metrics::new().unwrap())
    }

    #[tokio::test]
    async fn the_same_question_for_a_while_then_a_new_one() {
        let mut rng = StdRng::seed_from_u64(1);
        let key = BoxKey::generate(&mut rng).public();
        let relay: RelayUrl = "https://connecto.id".parse().unwrap();
        let other: RelayUrl = "https://two.example".parse().unwrap();
        let asker = Asker::new(rng, Secrets::one(&[7; 32]).unwrap(), Duration::from_secs(60), metrics());
        let first = asker.question(key, &relay, 1000).await.unwrap();
        assert_eq!(asker.question(key, &relay, 1015).await.unwrap(), first);
        assert_ne!(asker.question(key, &other, 1015).await.unwrap(), first);
        let second = asker.question(key, &relay, 1016).await.unwrap();
        assert_ne!(second, first);
        assert_ne!(asker.question(key, &relay, 999).await.unwrap(), second, "the clock was set back");
    }

    #[tokio::test]
    async fn many_at_once_share_few_questions() {
        let mut rng = StdRng::seed_from_u64(1);
        let key = BoxKey::generate(&mut rng).public();
        let relay: RelayUrl = "https://connecto.id".parse().unwrap();
        let asker =
            Arc::new(Asker::new(rng, Secrets::one(&[7; 32]).unwrap(), Duration::from_secs(60), metrics()));
        let asking: Vec<_> = (0..40)
            .map(|_| {
                let (asker, relay) = (asker.clone(), relay.clone());
                tokio::spawn(async move { asker.question(key, &relay, 1000).await.unwrap() })
            })
            .collect();
        let cores = asker.0.cores.available_permits();
        let mut questions = std::collections::BTreeSet::new();
        for asked in asking {
            questions.insert(asked.await.unwrap());
        }
        assert!(questions.len() <= cores, "{}", questions.len());
    }

    #[tokio::test]
    async fn a_short_answer_ttl_shortens_the_while() {
        let mut rng = StdRng::seed_from_u64(1);
        let key = BoxKey::generate(&mut rng).public();
        let relay: RelayUrl = "https://connecto.id".parse().unwrap();
        let asker = Asker::new(rng, Secrets::one(&[7; 32]).unwrap(), Duration::from_secs(4), metrics());
        let first = asker.question(key, &relay, 1000).await.unwrap();
        assert_eq!(asker.question(key, &relay, 1001).await.unwrap(), first);
        assert_ne!(asker.question(key, &relay, 1002).await.unwrap(), first);
    }

    #[tokio::test]
    async fn beyond_the_budget_it_is_busy() {
        let mut rng = StdRng::seed_from_u64(1);
        let key = BoxKey::generate(&mut rng).public();
        let relay: RelayUrl = "https://connecto.id".parse().unwrap();
        let asker =
            Arc::new(Asker::new(rng, Secrets::one(&[7; 32]).unwrap(), Duration::from_secs(60), metrics()));
        let cores = asker.0.cores.clone().try_acquire_many_owned(asker.0.cores.available_permits() as u32);
        let waiting: Vec<_> = (0..256).map(|_| waiting_for(&asker, key, &relay)).collect();
        while asker.0.waiting().len() < 256 {
            tokio::task::yield_now().await;
        }
        assert_eq!(asker.question(key, &relay, 1000).await, Err(Refusal::Busy { retry_after: 1 }));
        drop(cores);
        // Also who is refused sees to it that a free core is used.
        assert_eq!(asker.question(key, &relay, 1000).await, Err(Refusal::Busy { retry_after: 1 }));
        for asked in waiting {
            asked.await.unwrap().unwrap();
        }
        assert!(asker.question(key, &relay, 1000).await.is_ok());
    }

    fn waiting_for(
        asker: &Arc<Asker>,
        key: PublicKey,
        relay: &RelayUrl,
    ) -> tokio::task::JoinHandle<Result<String, Refusal>> {
        let (asker, relay) = (asker.clone(), relay.clone());
        tokio::spawn(async move { asker.question(key, &relay, 1000).await })
    }
}
