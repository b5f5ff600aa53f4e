//! Questions to the owners of boxes: sealed off the async threads, a few at a time, and asked again for a while.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rand::{SeedableRng as _, rngs::StdRng};
use tokio::{sync::Semaphore, time::Instant};

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

/// Seals that may wait for a core. At about 0.2 ms each, the last of 256 waits 50 ms on one.
const WAITING: usize = 256;

/// Makes questions, within a budget.
pub(super) struct Asker {
    seed: Mutex<StdRng>,
    secrets: Secrets,
    ask_again: i64,
    cores: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    asked: Mutex<[HashMap<(PublicKey, RelayUrl), Asked>; 2]>,
    metrics: Arc<Metrics>,
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
        Self {
            seed: Mutex::new(seed),
            secrets,
            ask_again: i64::try_from(ask_again.as_secs()).unwrap_or(0),
            cores: Arc::new(Semaphore::new(cores)),
            waiting: Arc::new(Semaphore::new(WAITING + cores)),
            asked: Mutex::default(),
            metrics,
        }
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
        if let Some(question) = self.asked_before(key, relay, now) {
            return Ok(question);
        }
        let busy = || Refusal::Busy { retry_after: 1 };
        let _place = self.waiting.clone().try_acquire_owned().map_err(|_| busy())?;
        let core = self.cores.clone().acquire_owned().await.map_err(|_| busy())?;
        // Asked by someone else while this one waited.
        if let Some(question) = self.asked_before(key, relay, now) {
            return Ok(question);
        }
        let name = (key, relay.clone());
        let mut rng = StdRng::from_rng(&mut *self.seed.lock().unwrap_or_else(PoisonError::into_inner));
        let (secrets, relay) = (self.secrets.clone(), relay.clone());
        let sealing = tokio::task::spawn_blocking(move || {
            let started = Instant::now();
            let question = ask_quickly(&mut rng, &secrets, &relay, &key, now);
            (question, started.elapsed(), core)
        });
        let (question, took, core) = sealing.await.map_err(|_| busy())?;
        let question = question.map_err(|_| busy())?;
        self.metrics.question("sealed");
        self.metrics.seal(took);
        self.remember(name, Asked { at: now, question: question.clone() });
        // Only now: whoever waits for this core may be waiting for this question.
        drop(core);
        Ok(question)
    }

    /// A question about this box from this relay that was asked not long ago.
    pub(super) fn asked_before(&self, key: PublicKey, relay: &RelayUrl, now: i64) -> Option<String> {
        let name = (key, relay.clone());
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = asked.iter().find_map(|generation| generation.get(&name))?;
        // A clock that was set back makes a question from the future: not asked again either.
        let is_young = (0..=self.ask_again).contains(&(now - asked.at));
        is_young.then(|| {
            self.metrics.question("cached");
            asked.question.clone()
        })
    }

    fn remember(&self, name: (PublicKey, RelayUrl), question: Asked) {
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
        let mut questions = std::collections::BTreeSet::new();
        for asked in asking {
            questions.insert(asked.await.unwrap());
        }
        assert!(questions.len() <= asker.cores.available_permits(), "{}", questions.len());
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
        let asker = Asker::new(rng, Secrets::one(&[7; 32]).unwrap(), Duration::from_secs(60), metrics());
        let all = asker.waiting.clone().try_acquire_many_owned(asker.waiting.available_permits() as u32);
        assert_eq!(asker.question(key, &relay, 1000).await, Err(Refusal::Busy { retry_after: 1 }));
        drop(all);
        assert!(asker.question(key, &relay, 1000).await.is_ok());
    }
}
