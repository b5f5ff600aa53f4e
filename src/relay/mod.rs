//! The rules of send, check, receive and delete: what a relay does, whatever stores it and whatever carries it.

mod api_keys;
mod asker;
mod limiter;
mod source;
mod sweeper;
mod upkeep;
mod waiting;

use std::{sync::Arc, time::Duration};

use rand::rngs::StdRng;
use tokio::sync::oneshot;

use self::{
    api_keys::{Admitted, ApiKeys},
    asker::Asker,
    waiting::WaitingRoom,
};
pub use self::{
    limiter::{Limiter, Rate, Rates},
    source::{Network, Source},
    sweeper::{Sweeping, sweep_all},
    upkeep::{USAGE_INTERVAL, Upkeep},
};
use crate::{
    clock::Clock,
    metrics::Metrics,
    protocol::{
        Answer, At, Checked, CheckedMany, FoundBox, KnownKeys, Message, PublicKey, Received, Refusal,
        RelayUrl, Reply, Request, Upto,
    },
    seal::question::{Secrets, verify},
    store::{Append, Appended, Held, Store, StoreError},
};

/// How long after a failure it is worth another try, in seconds.
const BUSY_RETRY: u32 = 2;

/// How long after a full box it is worth another try, in seconds. A message lives an hour, and owners check about
/// once a minute.
const FULL_RETRY: u32 = 60;

/// How long after a full relay it is worth another try, in seconds.
const NO_ROOM_RETRY: u32 = 60;

/// To a check of a box with nothing newer in it.
const NOTHING_FOUND: Checked = Checked { ok: true, found: false, question: None, relay: None };

/// To a check of many boxes with nothing newer in any.
const NONE_FOUND: CheckedMany = CheckedMany { ok: true, found: false, boxes: Vec::new(), relay: None };

/// To a check that brings a question.
fn with_question(found: bool, question: String, relay: &RelayUrl) -> Checked {
    Checked { ok: true, found, question: Some(question), relay: Some(relay.to_string()) }
}

/// A relay: the protocol's rules over a store.
pub struct Relay {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    rules: Rules,
    asker: Asker,
    waiting: WaitingRoom,
    known: KnownKeys,
    metrics: Arc<Metrics>,
    /// For a relay that asks for API keys.
    api_keys: Option<ApiKeys>,
}

/// What an operator decides.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The URLs clients reach the relay under; with none, it is the one it is called by.
    pub urls: Vec<RelayUrl>,
    /// What questions are made and answers are verified with.
    pub secrets: Secrets,
    /// How long an answer counts.
    pub answer_ttl: Duration,
    /// The longest that a check may wait; zero for no long poll.
    pub max_wait: Duration,
    /// How many checks may wait at once.
    pub max_waiters: usize,
    /// Whether requests need an API key of the store in `ext`.
    pub require_api_key: bool,
}

/// Who sends a request, and how.
#[derive(Debug)]
pub struct Caller {
    /// The URL by the Host header, for a relay that was given none.
    pub called: Option<RelayUrl>,
    /// Where the request comes from; `None` is held to no share of a box.
    pub source: Option<Source>,
    /// Ends when nobody waits for the reply any more.
    pub gone: oneshot::Receiver<()>,
}

/// What a request comes to without the store.
#[derive(Debug)]
pub enum AtOnce {
    /// This is the reply.
    Reply(Reply),
    /// A check: [`Relay::ask`] says the rest.
    Ask {
        /// Whose owner is asked.
        key: PublicKey,
        /// By which URL of the relay.
        relay: RelayUrl,
        /// Whether there is anything new.
        found: bool,
    },
}

impl Relay {
    /// A relay over a store. `rng` seeds the questions' randomness.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        rng: StdRng,
        rules: Rules,
        metrics: Arc<Metrics>,
    ) -> Self {
        let asker = Asker::new(rng, rules.secrets.clone(), rules.answer_ttl, metrics.clone());
        let waiting = WaitingRoom::new(rules.max_wait, rules.max_waiters, metrics.clone());
        let api_keys = rules.require_api_key.then(|| ApiKeys::new(store.clone(), metrics.clone()));
        Self { store, clock, rules, asker, waiting, known: KnownKeys::default(), metrics, api_keys }
    }

    /// Reads a request's body. `admit_many` is asked about a check of so many boxes.
    ///
    /// # Errors
    /// As [`Request::parse`].
    pub fn parse(
        &self,
        body: &[u8],
        admit_many: impl FnOnce(u32) -> Result<(), Refusal>,
    ) -> Result<Request, Refusal> {
        Request::parse(body, &self.known, admit_many)
    }

    /// Does what a request asks.
    ///
    /// # Errors
    /// A [`Refusal`] of the closed list.
    pub async fn answer(&self, request: Request, caller: Caller) -> Result<Reply, Refusal> {
        let Caller { called, source, gone } = caller;
        let urls = self.urls(called.as_ref());
        let admitted = match &self.api_keys {
            Some(keys) => {
                let bytes = if let Request::Send { data, .. } = &request { data.len() } else { 0 };
                Some(keys.admit(request.ext(), bytes, self.now()).await?)
            }
            None => None,
        };
        match request {
            Request::Send { key, ext: _, data } => self.send(key, data, source, admitted).await,
            Request::Check { key, ext: _, at, ask, relay, wait } => {
                let wait = Duration::from_secs(if ask { 0 } else { wait });
                let found = self.waiting.look(&*self.store, &[(key, at)], wait, gone).await?.contains(&true);
                self.checked(key, found, ask, relay.as_deref(), urls).await
            }
            Request::CheckMany { boxes, ext: _, relay, wait } => {
                let found = self.waiting.look(&*self.store, &boxes, Duration::from_secs(wait), gone).await?;
                let found = boxes.into_iter().zip(found).filter(|(_, found)| *found);
                self.checked_many(found.map(|((key, _), _)| key).collect(), relay.as_deref(), urls).await
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

    /// What a request comes to that needs nothing but memory, and then perhaps a question; none, if it needs the store.
    /// `called` is as [`Caller`] has it.
    ///
    /// # Errors
    /// As [`Relay::answer`].
    pub fn answer_at_once(
        &self,
        request: &Request,
        called: Option<&RelayUrl>,
    ) -> Result<Option<AtOnce>, Refusal> {
        // An API key is looked up.
        if self.api_keys.is_some() {
            return Ok(None);
        }
        let waits = |wait| !self.waiting.longest_wait(Duration::from_secs(wait)).is_zero();
        Ok(match request {
            Request::Check { key, ext: _, at, ask, relay, wait } => {
                match self.store.known_newer(&[(*key, *at)]) {
                    Some(false) if !ask && waits(*wait) => None,
                    Some(false) if !ask => Some(AtOnce::Reply(Reply::Checked(NOTHING_FOUND))),
                    Some(found) => {
                        let relay = bound_to(relay.as_deref(), self.urls(called))?;
                        Some(match self.asker.asked_before(*key, relay, self.seconds()) {
                            Some(question) => {
                                AtOnce::Reply(Reply::Checked(with_question(found, question, relay)))
                            }
                            None => AtOnce::Ask { key: *key, relay: relay.clone(), found },
                        })
                    }
                    None => None,
                }
            }
            Request::CheckMany { boxes, ext: _, relay: _, wait } => {
                let nothing = self.store.known_newer(boxes) == Some(false);
                (nothing && !waits(*wait)).then_some(AtOnce::Reply(Reply::CheckedMany(NONE_FOUND)))
            }
            Request::Receive { key, ext: _, answer, at, limit } => {
                self.prove(key, answer, self.urls(called))?;
                let known = self.store.known_messages(key, *at, wanted(*limit));
                known.map(|messages| AtOnce::Reply(received(messages, *at, *limit)))
            }
            Request::Send { .. } | Request::Delete { .. } => None,
        })
    }

    /// The reply to a check that was found to need a question. May be polled anywhere, and dropped midway.
    ///
    /// # Errors
    /// `Busy`, if too many wait for one.
    pub async fn ask(&self, key: PublicKey, relay: &RelayUrl, found: bool) -> Result<Reply, Refusal> {
        let question = self.asker.question(key, relay, self.seconds()).await?;
        Ok(Reply::Checked(with_question(found, question, relay)))
    }

    /// Whether [`Relay::answer`] to this request may be polled on another runtime than the store's, and dropped midway.
    pub fn may_be_dropped(&self, request: &Request) -> bool {
        // What an API key uses is settled at the end.
        matches!(request, Request::Send { .. }) && self.api_keys.is_none()
    }

    /// Lets go everyone whose check waits: the relay is about to stop.
    pub fn stop_waiting(&self) {
        self.waiting.close();
    }

    async fn send(
        &self,
        key: PublicKey,
        data: Vec<u8>,
        source: Option<Source>,
        admitted: Option<Admitted>,
    ) -> Result<Reply, Refusal> {
        let sender = source.map(|source| self.rules.secrets.pseudonym(&key, source.octets()));
        let under = admitted.map(|admitted| admitted.under);
        let appended = self.store.append(Append { key, data, sender, under }).await;
        if let (Some(keys), Some(admitted)) = (&self.api_keys, admitted) {
            keys.settle(admitted, &appended);
        }
        match appended.map_err(busy(&self.metrics))? {
            Appended::Stored(_) | Appended::Duplicate => Ok(Reply::DONE),
            Appended::Full => Err(Refusal::TooOften {
                detail: "this box is full until its owner deletes messages or they expire".into(),
                retry_after: FULL_RETRY,
            }),
            Appended::ShareUsed => Err(Refusal::TooOften {
                detail:
                    "this box takes no more from your address until its owner deletes messages or they expire"
                        .into(),
                retry_after: FULL_RETRY,
            }),
            Appended::NoRoom => Err(Refusal::Busy { retry_after: NO_ROOM_RETRY }),
            Appended::NoMoreBoxes => {
                self.metrics.api_key_refused("boxes");
                Err(api_keys::no_more_boxes())
            }
        }
    }

    async fn checked(
        &self,
        key: PublicKey,
        found: bool,
        ask: bool,
        asked_as: Option<&str>,
        urls: &[RelayUrl],
    ) -> Result<Reply, Refusal> {
        if !found && !ask {
            return Ok(Reply::Checked(NOTHING_FOUND));
        }
        self.ask(key, bound_to(asked_as, urls)?, found).await
    }

    async fn checked_many(
        &self,
        found: Vec<PublicKey>,
        asked_as: Option<&str>,
        urls: &[RelayUrl],
    ) -> Result<Reply, Refusal> {
        let mut reply = CheckedMany { found: !found.is_empty(), ..NONE_FOUND };
        for key in found {
            let relay = bound_to(asked_as, urls)?;
            // One after the other: a single request takes no more than its turn of the cores.
            let question = self.asker.question(key, relay, self.seconds()).await?;
            reply.boxes.push(FoundBox { key, question });
            reply.relay = Some(relay.to_string());
        }
        Ok(Reply::CheckedMany(reply))
    }

    /// Whether the answer shows that the box is the asker's own; before anything is read from the store.
    fn prove(&self, key: &PublicKey, answer: &Answer, urls: &[RelayUrl]) -> Result<(), Refusal> {
        let ttl = i64::try_from(self.rules.answer_ttl.as_secs()).unwrap_or(i64::MAX);
        let proven = verify(&self.rules.secrets, urls, key, answer, self.seconds(), ttl);
        if proven { Ok(()) } else { Err(Refusal::WrongAnswer) }
    }

    async fn receive(&self, key: PublicKey, at: At, limit: u32) -> Result<Reply, Refusal> {
        let messages = self.store.newer(key, at, wanted(limit)).await.map_err(busy(&self.metrics))?;
        Ok(received(messages, at, limit))
    }

    async fn delete(&self, key: PublicKey, upto: Upto) -> Result<Reply, Refusal> {
        match upto {
            Upto::At(at) => self.store.delete_upto(key, at).await,
            Upto::All => self.store.delete_box(key).await,
        }
        .map_err(busy(&self.metrics))?;
        Ok(Reply::DONE)
    }

    /// Adds to the store what was used of API keys since the last time. Not to be cut short.
    ///
    /// # Errors
    /// If the store does not take it now; it is kept for the next time.
    pub async fn flush_usage(&self) -> Result<(), StoreError> {
        match &self.api_keys {
            Some(keys) => keys.flush(self.now()).await,
            None => Ok(()),
        }
    }

    /// The same, where nobody hears of an error but the log.
    pub async fn store_usage(&self) {
        if let Err(error) = self.flush_usage().await {
            tracing::error!(%error, "the usage of API keys was not stored; the next time tries again");
        }
    }

    /// Ready when other instances on the same database know of what was stored here.
    pub async fn others_told(&self) {
        self.store.arrivals().all_told().await;
    }

    /// Whether the store answers; its time, Unix microseconds.
    ///
    /// # Errors
    /// `Busy`, if it does not.
    pub async fn ready(&self) -> Result<i64, Refusal> {
        self.store.now().await.map_err(busy(&self.metrics))
    }

    /// What all boxes hold together.
    pub fn held(&self) -> Held {
        self.store.held()
    }

    /// This relay's time, Unix microseconds.
    pub fn now(&self) -> i64 {
        self.clock.now()
    }

    /// The URLs that questions are bound to.
    fn urls<'a>(&'a self, called: Option<&'a RelayUrl>) -> &'a [RelayUrl] {
        if self.rules.urls.is_empty() { called.map_or(&[], std::slice::from_ref) } else { &self.rules.urls }
    }

    fn seconds(&self) -> i64 {
        self.now().div_euclid(1_000_000)
    }
}

/// How many messages are read for a request of so many: one more than asked for shows whether there is more.
fn wanted(limit: u32) -> u32 {
    if limit == 1 { 1 } else { limit + 1 }
}

/// The reply to a request of so many messages behind `at`, from those that were read for it.
fn received(mut messages: Vec<Message>, at: At, limit: u32) -> Reply {
    let more = messages.len() > limit as usize;
    messages.truncate(limit as usize);
    Reply::Received(match messages.last().map(|last| last.at) {
        None => Received::Nothing { ok: true, found: false, at },
        Some(at) if limit == 1 => {
            let data = messages.pop().map(|message| message.data).unwrap_or_default();
            Received::One { ok: true, at, data }
        }
        Some(at) => Received::Many { ok: true, at, messages, more },
    })
}

/// The URL of ours that a question is bound to: the one that the client says it contacted, else the first.
fn bound_to<'a>(asked_as: Option<&str>, urls: &'a [RelayUrl]) -> Result<&'a RelayUrl, Refusal> {
    let ours = asked_as.and_then(|name| urls.iter().find(|url| url.as_str() == name));
    ours.or(urls.first()).ok_or_else(|| {
        Refusal::bad("this relay has no URL of its own: the Host header must say how it was reached")
    })
}

/// Counts and logs what the store did not do; the client is told to come back later.
fn busy(metrics: &Metrics) -> impl FnOnce(StoreError) -> Refusal {
    |error| {
        metrics.store_error(error.kind());
        tracing::error!(%error, "a request was told to come back later");
        Refusal::Busy { retry_after: BUSY_RETRY }
    }
}
