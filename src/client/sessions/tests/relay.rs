//! A relay in memory that keeps to the protocol, under the time of the test. What it does wrong is in `attacks.rs`.

use std::collections::{HashMap, VecDeque};

use rand::{SeedableRng as _, rngs::StdRng};

use crate::{
    protocol::{
        At, Checked, CheckedMany, FoundBox, KnownKeys, Message, PublicKey, Received, Refusal, RelayUrl,
        Reply, Request, Upto,
    },
    seal::question::{Secrets, ask, verify},
};

/// How long a message is kept, in microseconds.
const LIFE: i64 = 3_600_000_000;

pub(super) struct MemoryRelay {
    pub(super) url: RelayUrl,
    pub(super) secrets: Secrets,
    pub(super) boxes: HashMap<PublicKey, Vec<Message>>,
    pub(super) rng: StdRng,
    /// Every body that came, for the search for secrets.
    pub(super) seen: VecDeque<Vec<u8>>,
    known: KnownKeys,
    /// The questions of the last 15 s, and when they were asked: a relay does not seal one anew for every check.
    asked: HashMap<PublicKey, (i64, String)>,
}

impl MemoryRelay {
    pub(super) fn new(url: &str, seed: u64) -> Self {
        let secret: [u8; 32] = [seed as u8 ^ 0x5A; 32];
        Self {
            url: url.parse().unwrap(),
            secrets: Secrets::one(&secret).unwrap(),
            boxes: HashMap::new(),
            rng: StdRng::seed_from_u64(seed),
            seen: VecDeque::new(),
            known: KnownKeys::default(),
            asked: HashMap::new(),
        }
    }

    /// Reads a request as a relay does.
    pub(super) fn parse(&mut self, body: &[u8]) -> Result<Request, Refusal> {
        self.seen.push_back(body.to_vec());
        Request::parse(body, &self.known, |_| Ok(()))
    }

    /// The reply at `now` (Unix microseconds), or `None` while the request may go on waiting.
    pub(super) fn answer(
        &mut self,
        request: &Request,
        now: i64,
        may_wait: bool,
    ) -> Option<Result<Reply, Refusal>> {
        for messages in self.boxes.values_mut() {
            messages.retain(|message| message.at.as_i64() > now - LIFE);
        }
        Some(Ok(match request {
            Request::Send { key, data, .. } => {
                self.store(*key, data.clone(), now);
                Reply::DONE
            }
            Request::Check { key, at, ask, .. } => {
                let found = self.newer(key, *at).next().is_some();
                let question = (found || *ask).then(|| self.question(key, now));
                let relay = question.is_some().then(|| self.url.to_string());
                Reply::Checked(Checked { ok: true, found, question, relay })
            }
            Request::CheckMany { boxes, wait, .. } => {
                let found: Vec<PublicKey> = boxes
                    .iter()
                    .filter(|(key, at)| self.newer(key, *at).next().is_some())
                    .map(|(key, _)| *key)
                    .collect();
                if found.is_empty() && *wait > 0 && may_wait {
                    return None;
                }
                let relay = (!found.is_empty()).then(|| self.url.to_string());
                let boxes: Vec<FoundBox> = found
                    .into_iter()
                    .map(|key| FoundBox { key, question: self.question(&key, now) })
                    .collect();
                Reply::CheckedMany(CheckedMany { ok: true, found: !boxes.is_empty(), boxes, relay })
            }
            Request::Receive { key, answer, at, limit, .. } => {
                if !verify(&self.secrets, std::slice::from_ref(&self.url), key, answer, now / 1_000_000, 60) {
                    return Some(Err(Refusal::WrongAnswer));
                }
                let all: Vec<Message> = self.newer(key, *at).cloned().collect();
                let more = all.len() > *limit as usize;
                let messages: Vec<Message> = all.into_iter().take(*limit as usize).collect();
                Reply::Received(match messages.last() {
                    None => Received::Nothing { ok: true, found: false, at: *at },
                    Some(last) => Received::Many { ok: true, at: last.at, messages: messages.clone(), more },
                })
            }
            Request::Delete { key, answer, upto, .. } => {
                if !verify(&self.secrets, std::slice::from_ref(&self.url), key, answer, now / 1_000_000, 60) {
                    return Some(Err(Refusal::WrongAnswer));
                }
                match upto {
                    Upto::All => drop(self.boxes.remove(key)),
                    Upto::At(at) => self.boxes.entry(*key).or_default().retain(|message| message.at > *at),
                }
                Reply::DONE
            }
        }))
    }

    pub(super) fn store(&mut self, key: PublicKey, data: Vec<u8>, now: i64) {
        let messages = self.boxes.entry(key).or_default();
        if messages.iter().any(|message| message.data == data) {
            return;
        }
        let last = messages.last().map_or(0, |message| message.at.as_i64());
        messages.push(Message { at: At::from(now.max(last + 1)), data });
    }

    pub(super) fn newer(&self, key: &PublicKey, at: At) -> impl Iterator<Item = &Message> {
        self.boxes.get(key).into_iter().flatten().filter(move |message| message.at > at)
    }

    pub(super) fn question(&mut self, key: &PublicKey, now: i64) -> String {
        if let Some((at, question)) = self.asked.get(key)
            && now - at < 15_000_000
        {
            return question.clone();
        }
        let question = ask(&mut self.rng, &self.secrets, &self.url, key, now / 1_000_000).unwrap();
        self.asked.insert(*key, (now, question.clone()));
        question
    }
}

/// A reply as it stands on the wire.
pub(super) fn wire(reply: Result<Reply, Refusal>) -> (u16, Vec<u8>) {
    match reply {
        Ok(reply) => (200, serde_json::to_vec(&reply).unwrap()),
        Err(refusal) => (refusal.status(), serde_json::to_vec(&refusal.body()).unwrap()),
    }
}
