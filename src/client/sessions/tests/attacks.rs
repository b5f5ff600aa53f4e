//! What a dishonest relay does. Everything that it sends is made of what a relay has: the requests that came to it, its own
//! keys, and the questions of a relay it works together with.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use rand::{RngExt as _, rngs::StdRng, seq::IndexedRandom as _};

use super::{
    relay::{MemoryRelay, wire},
    world::START,
};
use crate::{
    client::{
        contact::OwnBox,
        exchange::{Misbehaviour, NoReply},
    },
    protocol::{
        At, Checked, CheckedMany, FoundBox, Message, PublicKey, Received, Refusal, Reply, Request,
        limits::MAX_RECEIVE,
    },
    seal::{
        SigningKey,
        message::{Content, Offer, OfferHash, Reason, SdpAnswer, seal_message},
    },
};

/// One kind of dishonesty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Attack {
    /// A message that was delivered is delivered again, under a new cursor.
    Replay,
    /// A message is delivered from another box than the one it was sent to.
    Swap,
    /// Random bytes of the right size.
    ForgedBytes,
    /// An offer, sealed without the secret and signed by the relay's own key; and so on.
    ForgedOffer,
    ForgedAnswer,
    ForgedRefusal,
    ForgedBye,
    ForgedNote,
    /// One bit of a message is another.
    ChangedByte,
    /// What was sent first is delivered last.
    Reorder,
    /// The relay says that it stored a message, and delivers it later.
    Withhold,
    /// The relay says that there is nothing.
    Hide,
    /// The same message twice in one reply.
    Duplicate,
    /// A stored message instead of a question.
    MessageAsQuestion,
    /// The question of another relay, as the own one or named as the other's.
    ForeignQuestion,
    ForeignQuestionNamed,
    /// A cursor in the far future.
    HugeAt,
    /// A cursor before the one asked about.
    AtBack,
    /// There is always more.
    EndlessMore,
    /// One message, where a list was asked for.
    OneForMany,
    NotJson,
    WrongTypes,
    OkFalseWith200,
    HtmlWith500,
    /// Something was found, but in no box.
    FoundNoBoxes,
    /// A box that was not asked about.
    UnaskedBox,
    BoxTwice,
    /// More than 1 MiB.
    Oversized,
    Redirect,
    /// The relay says that it stored a message, and did not.
    LyingOk,
    /// The relay says that it deleted what it keeps.
    KeepsDeleted,
    Busy,
    /// Come back in 136 years.
    HugeRetryAfter,
    /// A refusal that will not pass.
    NotAllowed,
    /// No reply before the client's patience ends.
    Silence,
}

impl Attack {
    pub(super) const ALL: [Self; 35] = [
        Self::Replay,
        Self::Swap,
        Self::ForgedBytes,
        Self::ForgedOffer,
        Self::ForgedAnswer,
        Self::ForgedRefusal,
        Self::ForgedBye,
        Self::ForgedNote,
        Self::ChangedByte,
        Self::Reorder,
        Self::Withhold,
        Self::Hide,
        Self::Duplicate,
        Self::MessageAsQuestion,
        Self::ForeignQuestion,
        Self::ForeignQuestionNamed,
        Self::HugeAt,
        Self::AtBack,
        Self::EndlessMore,
        Self::OneForMany,
        Self::NotJson,
        Self::WrongTypes,
        Self::OkFalseWith200,
        Self::HtmlWith500,
        Self::FoundNoBoxes,
        Self::UnaskedBox,
        Self::BoxTwice,
        Self::Oversized,
        Self::Redirect,
        Self::LyingOk,
        Self::KeepsDeleted,
        Self::Busy,
        Self::HugeRetryAfter,
        Self::NotAllowed,
        Self::Silence,
    ];
}

/// A reply that is not the honest one.
pub(super) struct Lie {
    pub(super) reply: Result<(u16, Vec<u8>), NoReply>,
    /// It comes when the client's patience ends.
    pub(super) late: bool,
    /// What the client must call it.
    pub(super) named: Option<Misbehaviour>,
}

/// The mind of one dishonest relay.
pub(super) struct Dishonesty {
    /// Which relay it is.
    pub(super) relay: usize,
    /// Until when it attacks, Unix microseconds; then it is honest.
    pub(super) until: i64,
    /// What it does.
    mix: Vec<Attack>,
    /// To how many of a hundred requests.
    percent: u32,
    /// How often each attack took effect.
    pub(super) counts: BTreeMap<Attack, u64>,
    /// Every message that came, and for which box.
    vault: Vec<(PublicKey, Vec<u8>)>,
    /// What it put into boxes, to be counted when it is received.
    planted: Vec<(PublicKey, At, Attack)>,
    withheld: Vec<(i64, PublicKey, Vec<u8>)>,
    /// Of which boxes there is always more, and how many replies said so.
    endless: HashMap<PublicKey, u32>,
    /// A second relay, for worlds in which there is no other.
    other: MemoryRelay,
    signer: SigningKey,
    n: u64,
    /// What it forged, for each box: made once, delivered again and again.
    forged: HashMap<(PublicKey, Attack), Vec<u8>>,
    /// Where answers to its own offers would go.
    own: OwnBox,
}

impl Dishonesty {
    pub(super) fn new(relay: usize, mix: Vec<Attack>, percent: u32, until: i64, rng: &mut StdRng) -> Self {
        let own = OwnBox::generate(rng, vec!["https://one.example".parse().unwrap()], None);
        Self {
            relay,
            until,
            mix,
            percent,
            counts: BTreeMap::new(),
            vault: Vec::new(),
            planted: Vec::new(),
            withheld: Vec::new(),
            endless: HashMap::new(),
            other: MemoryRelay::new("https://other.example", rng.random()),
            signer: SigningKey::generate(rng),
            // Above what anybody else has counted to.
            n: 1000,
            forged: HashMap::new(),
            own,
        }
    }

    /// It does nothing but this from now on, to every request.
    pub(super) fn turns_to(&mut self, attack: Attack, until: i64) {
        (self.mix, self.percent, self.until) = (vec![attack], 100, until);
    }

    /// What the relay replies instead of the truth, if it lies. Before a true reply it may have put something into the box.
    pub(super) fn instead(
        &mut self,
        relays: &mut [MemoryRelay],
        relay: usize,
        request: &Request,
        now: i64,
        rng: &mut StdRng,
    ) -> Option<Lie> {
        if relay != self.relay {
            return None;
        }
        if let Request::Send { key, data, .. } = request
            && !self.vault.iter().any(|(_, known)| known == data)
        {
            self.vault.push((*key, data.clone()));
        }
        self.deliver_withheld(&mut relays[relay], now);
        let lie = (now < self.until && rng.random_range(0..100) < self.percent)
            .then(|| self.mix.choose(rng).copied())
            .flatten()
            .and_then(|attack| self.attack(attack, relays, request, now, rng));
        if let (None, Request::Receive { key, at, .. }) = (&lie, request) {
            if now < self.until && self.endless.contains_key(key) {
                return Some(self.no_end(*key, *at));
            }
            self.count_planted(&relays[relay], key, *at);
        }
        lie
    }

    fn took_effect(&mut self, attack: Attack) {
        *self.counts.entry(attack).or_default() += 1;
    }

    fn deliver_withheld(&mut self, relay: &mut MemoryRelay, now: i64) {
        let over = now >= self.until;
        for (_, key, data) in self.withheld.extract_if(.., |(due, ..)| *due <= now || over) {
            relay.store(key, data, now);
            *self.counts.entry(Attack::Withhold).or_default() += 1;
        }
    }

    fn count_planted(&mut self, relay: &MemoryRelay, key: &PublicKey, at: At) {
        let ats: Vec<At> =
            relay.newer(key, at).take(MAX_RECEIVE as usize).map(|message| message.at).collect();
        let delivered: Vec<Attack> = self
            .planted
            .extract_if(.., |(to, at, _)| to == key && ats.contains(at))
            .map(|(_, _, attack)| attack)
            .collect();
        delivered.into_iter().for_each(|attack| self.took_effect(attack));
    }

    /// Tries an attack on a request. Not every one fits every request.
    fn attack(
        &mut self,
        attack: Attack,
        relays: &mut [MemoryRelay],
        request: &Request,
        now: i64,
        rng: &mut StdRng,
    ) -> Option<Lie> {
        let lie = match request {
            Request::Send { key, data, .. } => self.lie_to_send(attack, *key, data, now, rng),
            Request::CheckMany { boxes, .. } => self.lie_to_check(attack, relays, boxes, now, rng),
            Request::Check { key, .. } => self.lie_to_ask(attack, relays, *key, now, rng),
            Request::Receive { key, at, .. } => {
                self.lie_to_receive(attack, &mut relays[self.relay], *key, *at, rng)
            }
            Request::Delete { .. } => (attack == Attack::KeepsDeleted).then(|| Lie::reply(Reply::DONE)),
        };
        let lie = lie.or_else(|| lie_to_any(attack))?;
        // These two are counted later, and with each reply.
        if !matches!(attack, Attack::Withhold | Attack::EndlessMore) {
            self.took_effect(attack);
        }
        Some(lie)
    }

    fn lie_to_send(
        &mut self,
        attack: Attack,
        key: PublicKey,
        data: &[u8],
        now: i64,
        rng: &mut StdRng,
    ) -> Option<Lie> {
        match attack {
            Attack::LyingOk => Some(Lie::reply(Reply::DONE)),
            Attack::NotAllowed => {
                Some(Lie::new(wire(Err(Refusal::NotAllowed { detail: "not you".into() })), None))
            }
            Attack::Withhold => {
                let due = now + rng.random_range(1_000_000..100_000_000);
                self.withheld.push((due, key, data.to_vec()));
                Some(Lie::reply(Reply::DONE))
            }
            _ => None,
        }
    }

    fn lie_to_check(
        &mut self,
        attack: Attack,
        relays: &mut [MemoryRelay],
        boxes: &[(PublicKey, At)],
        now: i64,
        rng: &mut StdRng,
    ) -> Option<Lie> {
        let (key, at) = *boxes.choose(rng)?;
        let url = relays[self.relay].url.to_string();
        let found = |boxes: Vec<(PublicKey, String)>, relay: &str, named| {
            let boxes = boxes.into_iter().map(|(key, question)| FoundBox { key, question }).collect();
            let reply =
                Reply::CheckedMany(CheckedMany { ok: true, found: true, boxes, relay: Some(relay.into()) });
            Some(Lie::new(wire(Ok(reply)), Some(named)))
        };
        match attack {
            Attack::Hide => {
                relays[self.relay].newer(&key, at).next()?;
                let nothing = CheckedMany { ok: true, found: false, boxes: Vec::new(), relay: None };
                Some(Lie::reply(Reply::CheckedMany(nothing)))
            }
            Attack::FoundNoBoxes => found(Vec::new(), &url, Misbehaviour::NoQuestion),
            Attack::UnaskedBox => {
                let other = self.own.key.public();
                found(vec![(other, relays[self.relay].question(&other, now))], &url, Misbehaviour::NoQuestion)
            }
            Attack::BoxTwice => {
                let question = relays[self.relay].question(&key, now);
                found(vec![(key, question.clone()), (key, question)], &url, Misbehaviour::NoQuestion)
            }
            Attack::MessageAsQuestion => {
                let question = self.message_as_question(&key, rng)?;
                found(vec![(key, question)], &url, Misbehaviour::ForeignQuestion)
            }
            Attack::ForeignQuestion => {
                let question = self.colluding(relays).question(&key, now);
                found(vec![(key, question)], &url, Misbehaviour::ForeignQuestion)
            }
            Attack::ForeignQuestionNamed => {
                let other = self.colluding(relays);
                let (question, named) = (other.question(&key, now), other.url.to_string());
                found(vec![(key, question)], &named, Misbehaviour::OtherRelay)
            }
            _ => {
                self.plant(attack, &mut relays[self.relay], key, now, rng);
                None
            }
        }
    }

    /// The question before a box is deleted.
    fn lie_to_ask(
        &mut self,
        attack: Attack,
        relays: &mut [MemoryRelay],
        key: PublicKey,
        now: i64,
        rng: &mut StdRng,
    ) -> Option<Lie> {
        let (question, relay) = match attack {
            Attack::MessageAsQuestion => {
                (self.message_as_question(&key, rng)?, relays[self.relay].url.to_string())
            }
            Attack::ForeignQuestion => {
                (self.colluding(relays).question(&key, now), relays[self.relay].url.to_string())
            }
            Attack::ForeignQuestionNamed => {
                let other = self.colluding(relays);
                (other.question(&key, now), other.url.to_string())
            }
            _ => return None,
        };
        let what = match attack {
            Attack::ForeignQuestionNamed => Misbehaviour::OtherRelay,
            _ => Misbehaviour::ForeignQuestion,
        };
        let checked = Checked { ok: true, found: false, question: Some(question), relay: Some(relay) };
        Some(Lie::new(wire(Ok(Reply::Checked(checked))), Some(what)))
    }

    fn lie_to_receive(
        &mut self,
        attack: Attack,
        relay: &mut MemoryRelay,
        key: PublicKey,
        at: At,
        rng: &mut StdRng,
    ) -> Option<Lie> {
        let mut honest: Vec<Message> = relay.newer(&key, at).take(MAX_RECEIVE as usize).cloned().collect();
        let count = i64::try_from(honest.len()).unwrap();
        match attack {
            Attack::HugeAt if count > 0 => {
                for (message, before) in honest.iter_mut().rev().zip(0..) {
                    message.at = At::from(At::MAX.as_i64() - before);
                }
                Some(list(honest, false, Some(Misbehaviour::CursorAhead)))
            }
            Attack::AtBack => {
                let back = Message { at: At::START, data: b"x".to_vec() };
                Some(list(vec![back], false, Some(Misbehaviour::Cursor)))
            }
            Attack::OneForMany => {
                let one = Received::One { ok: true, at: At::from(at.as_i64() + 1), data: b"x".to_vec() };
                Some(Lie::new(wire(Ok(Reply::Received(one))), Some(Misbehaviour::NotAList)))
            }
            Attack::EndlessMore => Some(self.no_end(key, at)),
            Attack::Duplicate if count > 0 => {
                let twice = honest.iter().chain(&honest).take(MAX_RECEIVE as usize).cloned();
                Some(list(numbered(twice.collect(), at), false, None))
            }
            Attack::Reorder if count > 1 => {
                honest.reverse();
                Some(list(numbered(honest, at), false, None))
            }
            Attack::ChangedByte if count > 0 => {
                let message = &mut honest[rng.random_range(0..count as usize)];
                let byte = rng.random_range(0..message.data.len());
                message.data[byte] ^= 1 << rng.random_range(0..8);
                Some(list(honest, false, None))
            }
            _ => None,
        }
    }

    /// There is one message more, and another behind it: 64 replies long, which is when a client gives up.
    fn no_end(&mut self, key: PublicKey, at: At) -> Lie {
        self.took_effect(Attack::EndlessMore);
        let replies = self.endless.entry(key).or_default();
        *replies += 1;
        if *replies >= 64 {
            self.endless.remove(&key);
        }
        list(vec![Message { at: At::from(at.as_i64() + 1), data: b"x".to_vec() }], true, None)
    }

    /// Puts something of its own making into a box.
    fn plant(&mut self, attack: Attack, relay: &mut MemoryRelay, key: PublicKey, now: i64, rng: &mut StdRng) {
        let Some(data) = self.forge(attack, key, now, rng) else { return };
        let messages = relay.boxes.entry(key).or_default();
        let last = messages.last().map_or(0, |message| message.at.as_i64());
        let at = At::from(now.max(last + 1));
        messages.push(Message { at, data });
        self.planted.push((key, at, attack));
    }

    pub(super) fn forge(
        &mut self,
        attack: Attack,
        key: PublicKey,
        now: i64,
        rng: &mut StdRng,
    ) -> Option<Vec<u8>> {
        let sdp = || {
            let colons = ["AB"; 32].join(":");
            format!("v=0\r\na=fingerprint:sha-256 {colons}\r\n")
        };
        let re = OfferHash::of(b"one that it never saw");
        let content = match attack {
            Attack::Replay | Attack::Swap => {
                let same = attack == Attack::Replay;
                let fit: Vec<_> = self.vault.iter().filter(|(to, _)| (*to == key) == same).collect();
                return fit.choose(rng).map(|(_, data)| data.clone());
            }
            Attack::ForgedBytes => {
                let mut data = vec![0; 4096];
                rng.fill(&mut data[..]);
                // Even with a point on the curve, so that it is no junk before the tag is looked at.
                let from = self.vault.choose(rng).map(|(_, data)| data[..98].to_vec());
                from.into_iter().for_each(|from| data[..98].copy_from_slice(&from));
                return Some(data);
            }
            Attack::ForgedOffer => {
                Content::Offer(Offer { connectoid: self.own.connectoid(), sas_commit: [7; 48], sdp: sdp() })
            }
            Attack::ForgedAnswer => Content::Answer(SdpAnswer { re, sas_nonce: [7; 32], sdp: sdp() }),
            Attack::ForgedRefusal => Content::Refuse { re, reason: Reason::LinkUsed },
            Attack::ForgedBye => Content::Bye,
            Attack::ForgedNote => Content::Note(b"of the relay".to_vec()),
            _ => return None,
        };
        let forged = self.forged.entry((key, attack)).or_insert_with(|| {
            self.n += 1;
            let ts = u64::try_from(now / 1000).unwrap_or(START);
            seal_message(rng, &key, None, &self.signer, self.n, ts, &content).unwrap().data
        });
        Some(forged.clone())
    }

    fn message_as_question(&self, key: &PublicKey, rng: &mut StdRng) -> Option<String> {
        let fit: Vec<_> = self.vault.iter().filter(|(to, _)| to == key).collect();
        let (_, data) = fit.choose(rng).copied().or_else(|| self.vault.first())?;
        Some(crate::protocol::base64url::encode(data))
    }

    /// The relay that works together with this one; it may be an honest one that is merely asked.
    fn colluding<'a>(&'a mut self, relays: &'a mut [MemoryRelay]) -> &'a mut MemoryRelay {
        let honest = (0..relays.len()).find(|relay| *relay != self.relay);
        honest.map_or(&mut self.other, |honest| &mut relays[honest])
    }
}

/// What fits any request.
fn lie_to_any(attack: Attack) -> Option<Lie> {
    let json = |status: u16, text: &str, named| Some(Lie::new((status, text.into()), named));
    match attack {
        Attack::NotJson => json(200, "ok", Some(Misbehaviour::NotTheProtocol)),
        Attack::WrongTypes => json(
            200,
            r#"{"ok":"yes","found":1,"boxes":{},"messages":"","at":{}}"#,
            Some(Misbehaviour::NotTheProtocol),
        ),
        Attack::OkFalseWith200 => {
            json(200, r#"{"ok":false,"error":"Busy"}"#, Some(Misbehaviour::NotTheProtocol))
        }
        Attack::HtmlWith500 => json(500, "<!doctype html><h1>Oops</h1>", Some(Misbehaviour::Status(500))),
        Attack::Redirect => json(302, "", Some(Misbehaviour::Redirect(302))),
        Attack::Oversized => Some(Lie::new((200, vec![b' '; 1024 * 1024 + 1]), Some(Misbehaviour::TooLarge))),
        Attack::Busy => json(503, r#"{"ok":false,"error":"Busy"}"#, None),
        Attack::HugeRetryAfter => {
            json(429, r#"{"ok":false,"error":"Too often","retryAfter":4294967295}"#, None)
        }
        Attack::Silence => {
            let reply = Err(NoReply::Unreachable("timed out".into()));
            Some(Lie { reply, late: true, named: None })
        }
        _ => None,
    }
}

fn list(messages: Vec<Message>, more: bool, named: Option<Misbehaviour>) -> Lie {
    let at = messages.last().map_or(At::START, |message| message.at);
    Lie::new(wire(Ok(Reply::Received(Received::Many { ok: true, at, messages, more }))), named)
}

/// New cursors, one after the other.
fn numbered(mut messages: Vec<Message>, after: At) -> Vec<Message> {
    for (message, at) in messages.iter_mut().zip(after.as_i64() + 1..) {
        message.at = At::from(at);
    }
    messages
}

impl Lie {
    /// None.
    pub(super) fn honest(reply: Result<(u16, Vec<u8>), NoReply>) -> Self {
        Self { reply, late: false, named: None }
    }

    fn new(reply: (u16, Vec<u8>), named: Option<Misbehaviour>) -> Self {
        Self { reply: Ok(reply), late: false, named }
    }

    fn reply(reply: Reply) -> Self {
        Self::new(wire(Ok(reply)), None)
    }
}

/// So long after the tests' beginning, as a relay says it.
pub(super) fn micros(elapsed: Duration) -> i64 {
    i64::try_from(START * 1000).unwrap() + i64::try_from(elapsed.as_micros()).unwrap()
}
