//! The rules of send, check, receive and delete: what a relay does, whatever stores it and whatever carries it.

mod asker;
mod limiter;
mod source;
mod sweeper;

use std::{sync::Arc, time::Duration};

use rand::rngs::StdRng;

use self::asker::Asker;
pub use self::{
    limiter::{Limiter, Rate, Rates},
    source::{Network, Source},
    sweeper::{SWEEP_BATCH, Sweeper},
};
use crate::{
    clock::Clock,
    protocol::{
        Answer, At, Checked, KnownKeys, PublicKey, Received, Refusal, RelayUrl, Reply, Request, Upto,
    },
    seal::question::{Secrets, verify},
    store::{Appended, Store, StoreError},
};

/// How long after a failure it is worth another try, in seconds.
const BUSY_RETRY: u32 = 2;

/// How long after a full box it is worth another try, in seconds. A message lives an hour, and owners check about
/// once a minute.
const FULL_RETRY: u32 = 60;

/// A relay: the protocol's rules over a store.
pub struct Relay {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    urls: Vec<RelayUrl>,
    secrets: Secrets,
    answer_ttl: Duration,
    asker: Asker,
    known: KnownKeys,
}

impl Relay {
    /// A relay reachable under `urls`; under whatever URL it is called by, if there are none.
    ///
    /// `rng` seeds the questions' randomness.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        rng: StdRng,
        urls: Vec<RelayUrl>,
        secrets: Secrets,
        answer_ttl: Duration,
    ) -> Self {
        let asker = Asker::new(rng, secrets.clone(), answer_ttl);
        Self { store, clock, urls, secrets, answer_ttl, asker, known: KnownKeys::default() }
    }

    /// Reads a request's body.
    ///
    /// # Errors
    /// As [`Request::parse`].
    pub fn parse(&self, body: &[u8]) -> Result<Request, Refusal> {
        Request::parse(body, &self.known)
    }

    /// Does what a request asks. `called` is the URL by the Host header, for a relay that was given none.
    ///
    /// # Errors
    /// A [`Refusal`] of the closed list.
    pub async fn answer(&self, request: Request, called: Option<RelayUrl>) -> Result<Reply, Refusal> {
        let urls = if self.urls.is_empty() { called.as_slice() } else { &self.urls };
        match request {
            Request::Send { key, ext: _, data } => self.send(key, data).await,
            Request::Check { key, ext: _, at, ask, relay } => {
                self.check(key, at, ask, relay.as_deref(), urls).await
            }
            Request::Receive { key, ext: _, answer, at, limit } => {
                self.prove(&key, &answer, urls)?;
                self.receive(key, at, limit).await
            }
            Request::Delete { key, ext: _, answer, upto } => {
                self.prove(&key, &answer, urls)?;
                self.delete(key, upto).await
            }
        }
    }

    async fn send(&self, key: PublicKey, data: Vec<u8>) -> Result<Reply, Refusal> {
        match self.store.append(key, data).await.map_err(busy)? {
            Appended::Stored(_) | Appended::Duplicate => Ok(Reply::DONE),
            Appended::Full => Err(Refusal::TooOften {
                detail: "this box is full until its owner deletes messages or they expire".into(),
                retry_after: FULL_RETRY,
            }),
        }
    }

    async fn check(
        &self,
        key: PublicKey,
        at: At,
        ask: bool,
        asked_as: Option<&str>,
        urls: &[RelayUrl],
    ) -> Result<Reply, Refusal> {
        let found = self.store.has_newer(key, at).await.map_err(busy)?;
        if !found && !ask {
            return Ok(Reply::Checked(Checked { ok: true, found, question: None, relay: None }));
        }
        let ours = asked_as.and_then(|name| urls.iter().find(|url| url.as_str() == name));
        let relay = ours.or(urls.first()).ok_or_else(|| {
            Refusal::bad("this relay has no URL of its own: the Host header must say how it was reached")
        })?;
        let question = self.asker.question(key, relay, self.seconds()).await?;
        Ok(Reply::Checked(Checked {
            ok: true,
            found,
            question: Some(question),
            relay: Some(relay.to_string()),
        }))
    }

    /// Whether the answer shows that the box is the asker's own; before anything is read from the store.
    fn prove(&self, key: &PublicKey, answer: &Answer, urls: &[RelayUrl]) -> Result<(), Refusal> {
        let ttl = i64::try_from(self.answer_ttl.as_secs()).unwrap_or(i64::MAX);
        let proven = verify(&self.secrets, urls, key, answer, self.seconds(), ttl);
        if proven { Ok(()) } else { Err(Refusal::WrongAnswer) }
    }

    async fn receive(&self, key: PublicKey, at: At, limit: u32) -> Result<Reply, Refusal> {
        // One more than asked for shows whether there is more.
        let wanted = if limit == 1 { 1 } else { limit + 1 };
        let mut messages = self.store.newer(key, at, wanted).await.map_err(busy)?;
        let more = messages.len() > limit as usize;
        messages.truncate(limit as usize);
        Ok(Reply::Received(match messages.last().map(|last| last.at) {
            None => Received::Nothing { ok: true, found: false, at },
            Some(at) if limit == 1 => {
                let data = messages.pop().map(|message| message.data).unwrap_or_default();
                Received::One { ok: true, at, data }
            }
            Some(at) => Received::Many { ok: true, at, messages, more },
        }))
    }

    async fn delete(&self, key: PublicKey, upto: Upto) -> Result<Reply, Refusal> {
        match upto {
            Upto::At(at) => self.store.delete_upto(key, at).await,
            Upto::All => self.store.delete_box(key).await,
        }
        .map_err(busy)?;
        Ok(Reply::DONE)
    }

    /// Whether the store answers; its time, Unix microseconds.
    ///
    /// # Errors
    /// `Busy`, if it does not.
    pub async fn ready(&self) -> Result<i64, Refusal> {
        self.store.now().await.map_err(busy)
    }

    /// This relay's time, Unix microseconds.
    pub fn now(&self) -> i64 {
        self.clock.now()
    }

    fn seconds(&self) -> i64 {
        self.now().div_euclid(1_000_000)
    }
}

fn busy(error: StoreError) -> Refusal {
    tracing::error!(%error, "a request was told to come back later");
    Refusal::Busy { retry_after: BUSY_RETRY }
}
