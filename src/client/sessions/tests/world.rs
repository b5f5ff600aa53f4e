//! The world of a test: ends with their disks and peer connections, relays, and a queue of what happens when.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::{
    super::{
        Asked, Event, Output, PersistPoint, RequestId, SessionId, Sessions, ShareOptions, Signal, Turn,
        outbox::Letter,
    },
    attacks::{Dishonesty, Lie},
    relay::{MemoryRelay, wire},
};
use crate::{
    client::{
        contact::{Contact, Goodbye, InboxNote, OwnBox},
        exchange::{self, Misbehaviour, NoReply},
    },
    protocol::{Answer, CheckedMany, Connectoid, Fingerprint, FoundLink, Frame, PublicKey, Request},
    seal::{
        message::{Content, seal_message},
        question::verify,
    },
};

/// When the tests begin, Unix milliseconds.
pub(super) const START: u64 = 1_795_170_000_000;

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_mins(1);
pub(super) const HOUR: Duration = Duration::from_hours(1);
pub(super) const DAY: Duration = Duration::from_hours(24);

/// Where the relay of most tests is.
pub(super) const RELAY: &str = "https://one.example";

/// What each of the two ends calls the other.
pub(super) const NAMES: [&str; 2] = ["Bob", "Alice"];

/// A session as one end knows it.
pub(super) type OneEnd = (usize, u64);

pub(super) struct World {
    /// The time that passed on steady clocks.
    pub(super) now: Duration,
    /// The time that passed while devices slept and those clocks stood still.
    pub(super) slept: Duration,
    pub(super) rng: StdRng,
    pub(super) ends: Vec<End>,
    pub(super) relays: Vec<MemoryRelay>,
    /// Which relays cannot be reached.
    pub(super) down: Vec<bool>,
    /// What a relay does wrong, if it does.
    pub(super) dishonesty: Option<Dishonesty>,
    /// Whether the channels open with other certificates than those signed.
    pub(super) foreign_certificates: bool,
    /// Whether proofs arrive as others than those sent: somebody in the middle of the channel makes them up.
    pub(super) garbled_proofs: bool,
    /// Whether no frame arrives.
    pub(super) lost_frames: bool,
    /// Everything that the app of an end was told, with the time.
    pub(super) events: Vec<(Duration, usize, Event)>,
    /// What was sent as an answer and is none to a question that this relay asked about this box.
    pub(super) leaks: Vec<(usize, Answer)>,
    /// What a relay did wrong and an end did not call by its name.
    pub(super) unnamed: Vec<(usize, Misbehaviour)>,
    /// Every session that an app was told of, with the one at its other end.
    pub(super) joined: Vec<(OneEnd, Option<OneEnd>)>,
    /// The end that is to crash, at which store, and whether before or after it is durable.
    pub(super) crash: Option<(usize, PersistPoint, bool)>,
    pub(super) crashed: u32,
    /// Every store, and by whom.
    pub(super) stored: Vec<(usize, PersistPoint)>,
    /// How many of them were on the first day, if the test has days.
    pub(super) stored_on_first_day: usize,
    /// Every own box that ever was on a disk, and whose.
    pub(super) boxes: Vec<(usize, OwnBox)>,
    /// Every signing key that was, by the end and its contact.
    pub(super) signers: Vec<(usize, String, PublicKey)>,
    /// Whether the apps gather candidates late, so that each offer and answer is followed by some.
    pub(super) late_candidates: bool,
    /// The end whose app wants no sessions that others offer.
    pub(super) declines: Option<usize>,
    /// How long a channel takes to open once offer and answer are exchanged.
    pub(super) opening: Duration,
    /// The end whose checks take a second to arrive.
    pub(super) slow_checks: Option<usize>,
    queue: BTreeMap<(Duration, u64), Happening>,
    waiting: Vec<Waiting>,
    sequence: u64,
    /// The peer connections, by the end and session that made them.
    peers: HashMap<(usize, u64), PeerConnection>,
}

pub(super) struct End {
    pub(super) sessions: Sessions,
    /// What is durable: contacts as JSON, and goodbyes.
    pub(super) disk: BTreeMap<String, String>,
    goodbyes: String,
    /// Which life of the program this is: what was asked for in another is lost.
    life: u32,
    cancelled: Vec<RequestId>,
    /// Every frame it sent, for tests to look at.
    pub(super) frames: Vec<String>,
}

struct PeerConnection {
    fingerprint: Fingerprint,
    /// The offer it answers, or the answer it took.
    other: Option<(usize, u64)>,
    open: bool,
}

struct Waiting {
    end: usize,
    life: u32,
    id: RequestId,
    relay: usize,
    request: Request,
    until: Duration,
}

enum Happening {
    Asked { end: usize, life: u32, id: RequestId, relay: usize, body: Vec<u8>, patience: Duration },
    Replied { end: usize, life: u32, id: RequestId, relay: usize, lie: Lie },
    Sdp { end: usize, life: u32, session: SessionId, answers: bool },
    Declines { end: usize, life: u32, session: SessionId },
    Open { end: usize, life: u32, session: u64, certificate: Fingerprint },
    Frame { end: usize, life: u32, session: u64, text: String },
    Closed { end: usize, life: u32, session: u64 },
}

impl World {
    /// A world with so many ends and one relay for each URL.
    pub(super) fn new(seed: u64, ends: usize, relays: &[&str]) -> Self {
        let end = || End {
            sessions: Sessions::default(),
            disk: BTreeMap::new(),
            goodbyes: "[]".into(),
            life: 0,
            cancelled: Vec::new(),
            frames: Vec::new(),
        };
        Self {
            now: Duration::ZERO,
            slept: Duration::ZERO,
            rng: StdRng::seed_from_u64(seed),
            ends: (0..ends).map(|_| end()).collect(),
            relays: relays.iter().zip(seed..).map(|(url, seed)| MemoryRelay::new(url, seed)).collect(),
            down: vec![false; relays.len()],
            dishonesty: None,
            foreign_certificates: false,
            garbled_proofs: false,
            lost_frames: false,
            events: Vec::new(),
            leaks: Vec::new(),
            unnamed: Vec::new(),
            joined: Vec::new(),
            crash: None,
            crashed: 0,
            stored: Vec::new(),
            stored_on_first_day: 0,
            boxes: Vec::new(),
            signers: Vec::new(),
            late_candidates: false,
            declines: None,
            opening: Duration::from_millis(40),
            slow_checks: None,
            queue: BTreeMap::new(),
            waiting: Vec::new(),
            sequence: 0,
            peers: HashMap::new(),
        }
    }

    /// Unix milliseconds.
    pub(super) fn unix(&self) -> u64 {
        START + u64::try_from((self.now + self.slept).as_millis()).unwrap()
    }

    fn micros(&self) -> i64 {
        i64::try_from(self.unix() * 1000).unwrap()
    }

    /// Calls an end, and carries out what it then wants.
    pub(super) fn call<T>(&mut self, end: usize, call: impl FnOnce(&mut Sessions, &mut Turn<'_>) -> T) -> T {
        let now = self.unix();
        let result = {
            let mut turn = Turn { now, elapsed: self.now, rng: &mut self.rng };
            call(&mut self.ends[end].sessions, &mut turn)
        };
        self.drain(end);
        result
    }

    /// Calls an end, and gives what it wants without carrying it out.
    pub(super) fn outputs(
        &mut self,
        end: usize,
        call: impl FnOnce(&mut Sessions, &mut Turn<'_>),
    ) -> Vec<Output> {
        let mut turn = Turn { now: self.unix(), elapsed: self.now, rng: &mut self.rng };
        let sessions = &mut self.ends[end].sessions;
        call(sessions, &mut turn);
        std::iter::from_fn(|| sessions.poll()).collect()
    }

    /// Puts a message into a box at the first relay.
    pub(super) fn put(&mut self, key: PublicKey, data: Vec<u8>) {
        let now = self.micros();
        self.relays[0].store(key, data, now);
        self.answer_waiting();
    }

    /// Shares a link at all relays.
    /// Alice and Bob with one honest relay, connected by her link some time ago.
    pub(super) fn of_two(seed: u64, ago: Duration) -> Self {
        let mut world = Self::new(seed, 2, &[RELAY]);
        let link = world.share(0, "Bob");
        world.connect(1, &link, "Alice");
        assert!(world.run(5 * MINUTE, |world| world.connected(0) == 1 && world.connected(1) == 1));
        world.pass(ago);
        world
    }

    pub(super) fn share(&mut self, end: usize, name: &str) -> Connectoid {
        let relays = self.relays.iter().map(|relay| relay.url.clone()).collect();
        let options = ShareOptions { relays, ..ShareOptions::default() };
        self.call(end, |sessions, turn| sessions.share(turn, name, options)).unwrap()
    }

    pub(super) fn connect(&mut self, end: usize, connectoid: &Connectoid, name: &str) {
        let link = FoundLink { connectoid: connectoid.clone(), place: None };
        self.call(end, |sessions, turn| sessions.connect(turn, &link, name)).unwrap();
    }

    /// The notes of an inbox, which is emptied.
    pub(super) fn take_notes(&mut self, end: usize, name: &str) -> Vec<InboxNote> {
        let notes = self.ends[end].sessions.contact(name).map(|contact| contact.inbox.clone());
        let notes = notes.unwrap_or_default();
        self.call(end, |sessions, _| sessions.notes_handed_over(name, notes.len()));
        notes
    }

    pub(super) fn foreground(&mut self, end: usize) {
        self.call(end, |sessions, turn| sessions.set_foreground(turn, true));
    }

    /// Writes a note to a contact, as a script of the same user does: signed by the contact's key, to its box.
    pub(super) fn note(&mut self, end: usize, name: &str, note: &str) {
        self.call(end, |sessions, turn| {
            let contact = sessions.contacts.get_mut(name).unwrap();
            let to = contact.peer.as_ref().unwrap().connectoid.clone();
            let (signer, n) = contact.signer.next(&mut turn.rng);
            let content = Content::Note(note.into());
            let sealed =
                seal_message(&mut turn.rng, &to.key, to.secret.as_ref(), &signer, n, turn.now, &content);
            sessions.store(name, PersistPoint::OfferCounted);
            sessions.post(turn, name, &to, Letter::Answer, sealed.unwrap().data);
        });
    }

    /// Ends the program of an end and starts it again from its disk.
    pub(super) fn restart(&mut self, end: usize) {
        let this = &mut self.ends[end];
        this.life += 1;
        // The new program counts its requests from one again.
        this.cancelled.clear();
        self.waiting.retain(|waiting| waiting.end != end);
        let this = &mut self.ends[end];
        let contacts: Vec<Contact> =
            this.disk.values().map(|contact| serde_json::from_str(contact).unwrap()).collect();
        let goodbyes: Vec<Goodbye> = serde_json::from_str(&this.goodbyes).unwrap();
        this.sessions = Sessions::new(contacts, goodbyes, &[]);
        // The other ends of its channels notice.
        let mine: Vec<_> =
            self.peers.iter().filter(|(who, _)| who.0 == end).map(|(who, peer)| (*who, peer.other)).collect();
        for (who, other) in mine {
            self.peers.remove(&who);
            if let Some((end, session)) = other {
                let life = self.ends[end].life;
                self.at(Duration::from_millis(20), Happening::Closed { end, life, session });
            }
        }
        self.call(end, |sessions, turn| sessions.start(turn));
    }

    /// Lets time pass until nothing is left to happen before `until`, or `done` says so. Whether it did.
    pub(super) fn run(&mut self, until: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let until = self.now + until;
        loop {
            if done(self) {
                return true;
            }
            let next = self.queue.keys().next().map(|(time, _)| *time);
            let wakes =
                self.ends.iter().enumerate().filter_map(|(end, this)| Some((this.sessions.wake_at()?, end)));
            let wake = wakes.min();
            let timeout = self.waiting.iter().map(|waiting| waiting.until).min();
            let Some(time) = [next, wake.map(|(time, _)| time), timeout].into_iter().flatten().min() else {
                return false;
            };
            if time > until {
                self.now = until;
                return false;
            }
            self.now = self.now.max(time);
            if timeout == Some(time) {
                self.answer_waiting();
            } else if next == Some(time) {
                let (_, happening) = self.queue.pop_first().unwrap();
                self.happens(happening);
            } else if let Some((_, end)) = wake {
                self.call(end, |sessions, turn| sessions.tick(turn));
            }
        }
    }

    /// Lets so much time pass.
    pub(super) fn pass(&mut self, time: Duration) {
        self.run(time, |_| false);
    }

    /// How often an end was told something.
    pub(super) fn told(&self, end: usize, is: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|(_, who, event)| *who == end && is(event)).count()
    }

    pub(super) fn connected(&self, end: usize) -> usize {
        self.told(end, |event| matches!(event, Event::Connected { .. }))
    }

    pub(super) fn contact(&self, end: usize, name: &str) -> &Contact {
        self.ends[end].sessions.contact(name).unwrap()
    }

    fn at(&mut self, after: Duration, happening: Happening) {
        self.sequence += 1;
        self.queue.insert((self.now + after, self.sequence), happening);
    }

    fn latency(&mut self) -> Duration {
        Duration::from_micros(self.rng.random_range(1_000..30_000))
    }

    fn drain(&mut self, end: usize) {
        while let Some(output) = self.ends[end].sessions.poll() {
            let life = self.ends[end].life;
            match output {
                Output::Store { contact, point } => {
                    self.stored.push((end, point));
                    let crashes = self.crash.filter(|(who, at, _)| *who == end && *at == point);
                    if matches!(crashes, Some((_, _, true))) || crashes.is_none() {
                        self.store(end, &contact);
                    }
                    if crashes.is_some() {
                        self.crash = None;
                        self.crashed += 1;
                        return self.restart(end);
                    }
                }
                Output::Request { id, relay, request } => {
                    let patience = exchange::patience(&request);
                    let Some(relay) = self.relays.iter().position(|known| known.url == relay) else {
                        continue;
                    };
                    let (body, mut after) = (exchange::body(&request), self.latency());
                    if self.slow_checks == Some(end) && matches!(request, Request::CheckMany { .. }) {
                        after += Duration::from_secs(1);
                    }
                    self.at(after, Happening::Asked { end, life, id, relay, body, patience });
                }
                Output::Cancel(id) => {
                    self.ends[end].cancelled.push(id);
                    self.waiting.retain(|waiting| (waiting.end, waiting.id) != (end, id));
                }
                Output::Signal(Signal::MakeOffer { session, .. }) => {
                    self.new_peer(end, session, None);
                    self.at(
                        Duration::from_millis(100),
                        Happening::Sdp { end, life, session, answers: false },
                    );
                }
                Output::Signal(Signal::MakeAnswer { session, .. }) if self.declines == Some(end) => {
                    self.at(Duration::ZERO, Happening::Declines { end, life, session });
                }
                Output::Signal(Signal::MakeAnswer { session, sdp, .. }) => {
                    self.new_peer(end, session, token(&sdp));
                    self.at(Duration::from_millis(100), Happening::Sdp { end, life, session, answers: true });
                }
                Output::Signal(Signal::AcceptAnswer { session, sdp }) => self.join(end, session, token(&sdp)),
                Output::Signal(Signal::AddCandidates { .. }) => {}
                Output::Signal(Signal::Frame { session, text }) => {
                    self.ends[end].frames.push(text.to_string());
                    // Always the same, so that frames keep their order.
                    let after = Duration::from_millis(20);
                    if let Some((to, other)) = self.other(end, session.0).filter(|_| !self.lost_frames) {
                        let (life, mut text) = (self.ends[to].life, text.to_string());
                        if self.garbled_proofs && text.contains(r#""t":"proof""#) {
                            text = Frame::Proof { mac: [7; 48] }.to_text().to_string();
                        }
                        self.at(after, Happening::Frame { end: to, life, session: other, text });
                    }
                }
                Output::Signal(Signal::Close { session }) => {
                    if let Some((to, other)) = self.other(end, session.0) {
                        let life = self.ends[to].life;
                        // In order behind the frames.
                        self.at(
                            Duration::from_millis(30),
                            Happening::Closed { end: to, life, session: other },
                        );
                    }
                    self.peers.remove(&(end, session.0));
                }
                Output::Signal(Signal::Event(event)) => {
                    if let Event::Connected { session, .. } = &event {
                        self.joined.push(((end, session.0), self.other(end, session.0)));
                    }
                    self.events.push((self.now, end, event));
                }
            }
        }
    }

    fn store(&mut self, end: usize, contact: &str) {
        let this = &mut self.ends[end];
        for own in this.sessions.contact(contact).into_iter().flat_map(|contact| &contact.boxes) {
            if self.boxes.iter().all(|(_, known)| known.key.public() != own.key.public()) {
                self.boxes.push((end, own.clone()));
            }
        }
        if let Some(ik) = this.sessions.contact(contact).and_then(|contact| contact.signer.ik()) {
            let signer = (end, contact.to_owned(), ik);
            if !self.signers.contains(&signer) {
                self.signers.push(signer);
            }
        }
        match this.sessions.contact(contact) {
            Some(stored) => {
                this.disk.insert(contact.to_owned(), serde_json::to_string(stored).unwrap());
            }
            None => drop(this.disk.remove(contact)),
        }
        this.goodbyes = serde_json::to_string(this.sessions.goodbyes()).unwrap();
    }

    fn happens(&mut self, happening: Happening) {
        match happening {
            Happening::Asked { end, life, id, relay, body, patience } => {
                if self.ends[end].life != life || self.ends[end].cancelled.contains(&id) {
                    return;
                }
                if self.down[relay] {
                    let lie = Lie::honest(Err(NoReply::Unreachable("connection refused".into())));
                    return self.happens(Happening::Replied { end, life, id, relay, lie });
                }
                self.asked(end, life, id, relay, body, patience);
            }
            Happening::Replied { end, life, id, relay, lie }
                if self.ends[end].life == life && !self.ends[end].cancelled.contains(&id) =>
            {
                self.replied(end, id, relay, &lie);
            }
            Happening::Sdp { end, life, session, answers } if self.ends[end].life == life => {
                let Some(peer) = self.peers.get(&(end, session.0)) else { return };
                let sdp = sdp(end, session.0, &peer.fingerprint);
                let _ = self.call(end, |sessions, turn| match answers {
                    false => sessions.local_offer(turn, session, sdp),
                    true => sessions.local_answer(turn, session, sdp),
                });
                if self.late_candidates {
                    let candidate =
                        serde_json::json!({"candidate": "candidate:1 1 udp 1 192.0.2.1 1 typ host"});
                    let _ = self.call(end, |sessions, turn| {
                        sessions.local_candidates(turn, session, vec![candidate])
                    });
                }
            }
            Happening::Declines { end, life, session } if self.ends[end].life == life => {
                let _ = self.call(end, |sessions, turn| sessions.decline(turn, session));
            }
            Happening::Open { end, life, session, certificate } if self.ends[end].life == life => {
                self.call(end, |sessions, turn| {
                    sessions.channel_open(turn, SessionId(session), Some(certificate))
                });
            }
            Happening::Frame { end, life, session, text } if self.ends[end].life == life => {
                self.call(end, |sessions, turn| sessions.frame(turn, SessionId(session), &text));
            }
            Happening::Closed { end, life, session } if self.ends[end].life == life => {
                self.peers.remove(&(end, session));
                self.call(end, |sessions, turn| sessions.channel_closed(turn, SessionId(session)));
            }
            _ => {}
        }
    }

    fn asked(
        &mut self,
        end: usize,
        life: u32,
        id: RequestId,
        relay: usize,
        body: Vec<u8>,
        patience: Duration,
    ) {
        let now = self.micros();
        let parsed = self.relays[relay].parse(&body);
        let request =
            parsed.unwrap_or_else(|refusal| panic!("a request of ours was refused: {:?}", refusal.body()));
        self.look_at_answer(relay, &request);
        if let Some(mut dishonesty) = self.dishonesty.take() {
            let lie = dishonesty.instead(&mut self.relays, relay, &request, now, &mut self.rng);
            self.dishonesty = Some(dishonesty);
            if let Some(lie) = lie {
                let after = if lie.late { patience } else { self.latency() };
                return self.at(after, Happening::Replied { end, life, id, relay, lie });
            }
        }
        match self.relays[relay].answer(&request, now, true) {
            Some(reply) => self.reply(end, life, id, relay, Ok(wire(reply))),
            None => {
                let until = self.now + patience.saturating_sub(Duration::from_secs(10));
                self.waiting.push(Waiting { end, life, id, relay, request: request.clone(), until });
            }
        }
        if matches!(request, Request::Send { .. }) {
            self.answer_waiting();
        }
    }

    fn reply(
        &mut self,
        end: usize,
        life: u32,
        id: RequestId,
        relay: usize,
        reply: Result<(u16, Vec<u8>), NoReply>,
    ) {
        let after = self.latency();
        self.at(after, Happening::Replied { end, life, id, relay, lie: Lie::honest(reply) });
    }

    fn replied(&mut self, end: usize, id: RequestId, relay: usize, lie: &Lie) {
        let (awaited, openable) = (self.is_awaited(end, id), self.can_open(end, lie));
        let before = self.events.len();
        self.call(end, |sessions, turn| {
            let reply = lie.reply.as_ref().map(|(status, body)| (*status, &**body)).map_err(Clone::clone);
            sessions.replied(turn, id, reply);
        });
        let Some(named) = lie.named.as_ref().filter(|_| awaited && openable) else { return };
        let expected = Event::Misbehaves { relay: self.relays[relay].url.clone(), what: named.clone() };
        if !self.events[before..].iter().any(|(_, who, event)| *who == end && *event == expected) {
            self.unnamed.push((end, named.clone()));
        }
    }

    /// Whether an end will look at the reply to a request: not if it is cancelled, or concerns a box that is gone.
    fn is_awaited(&self, end: usize, id: RequestId) -> bool {
        let sessions = &self.ends[end].sessions;
        let own = |key| sessions.contacts().any(|contact| contact.leaving.is_none() && contact.owns(key));
        match sessions.asked.get(&id) {
            Some(Asked::Receive { key, .. }) => own(key),
            Some(Asked::Check { .. }) => sessions.contacts().any(|contact| contact.leaving.is_none()),
            Some(_) => true,
            None => false,
        }
    }

    /// Whether an end has the keys of all boxes that a reply asks a question about: it cannot judge that of a box which it dropped
    /// since it asked.
    fn can_open(&self, end: usize, lie: &Lie) -> bool {
        let body = lie.reply.as_ref().map(|(_, body)| body.as_slice()).unwrap_or_default();
        let checked: Option<CheckedMany> = serde_json::from_slice(body).ok();
        let sessions = &self.ends[end].sessions;
        let own = |key: &PublicKey| sessions.contacts().any(|contact| contact.owns(key));
        lie.named != Some(Misbehaviour::ForeignQuestion)
            || checked.is_none_or(|checked| checked.boxes.iter().all(|found| own(&found.key)))
    }

    /// Whether what is sent as an answer is one to a question of this relay about this box, however old.
    fn look_at_answer(&mut self, relay: usize, request: &Request) {
        let (Request::Receive { key, answer, .. } | Request::Delete { key, answer, .. }) = request else {
            return;
        };
        let MemoryRelay { url, secrets, .. } = &self.relays[relay];
        let (now, ever) = (self.micros() / 1_000_000, i64::MAX);
        if !verify(secrets, std::slice::from_ref(url), key, answer, now, ever) {
            self.leaks.push((relay, *answer));
        }
    }

    /// Replies to those who wait and for whom something came, or whose time is up.
    pub(super) fn answer_waiting(&mut self) {
        let now = self.micros();
        for waiting in std::mem::take(&mut self.waiting) {
            let may_wait = waiting.until > self.now;
            match self.relays[waiting.relay].answer(&waiting.request, now, may_wait) {
                Some(reply) => {
                    self.reply(waiting.end, waiting.life, waiting.id, waiting.relay, Ok(wire(reply)));
                }
                None => self.waiting.push(waiting),
            }
        }
    }

    fn new_peer(&mut self, end: usize, session: SessionId, other: Option<(usize, u64)>) {
        let fingerprint = Fingerprint(self.rng.random());
        self.peers.insert((end, session.0), PeerConnection { fingerprint, other, open: false });
    }

    fn other(&self, end: usize, session: u64) -> Option<(usize, u64)> {
        let other = self.peers.get(&(end, session))?.other?;
        let back = self.peers.get(&other)?.other?;
        (back == (end, session)).then_some(other)
    }

    /// The offerer takes an answer: if that was made for its offer, both see their channel open.
    fn join(&mut self, end: usize, session: SessionId, answer: Option<(usize, u64)>) {
        let own = (end, session.0);
        if let Some(peer) = self.peers.get_mut(&own) {
            peer.other = answer;
        }
        let Some(other) = self.other(end, session.0) else { return };
        for (this, that) in [(own, other), (other, own)] {
            let mut certificate = self.peers[&that].fingerprint;
            if self.foreign_certificates {
                certificate.0[0] ^= 1;
            }
            if let Some(peer) = self.peers.get_mut(&this)
                && !std::mem::replace(&mut peer.open, true)
            {
                let life = self.ends[this.0].life;
                self.at(self.opening, Happening::Open { end: this.0, life, session: this.1, certificate });
            }
        }
    }
}

/// An SDP as far as it matters here: a fingerprint, and which peer connection made it.
fn sdp(end: usize, session: u64, fingerprint: &Fingerprint) -> String {
    let hex: Vec<String> = fingerprint.0.iter().map(|byte| format!("{byte:02X}")).collect();
    format!("v=0\r\na=fingerprint:sha-256 {}\r\na=x-made-by:{end} {session}\r\n", hex.join(":"))
}

fn token(sdp: &str) -> Option<(usize, u64)> {
    let (end, session) = sdp.split_once("a=x-made-by:")?.1.trim_end().split_once(' ')?;
    Some((end.parse().ok()?, session.parse().ok()?))
}
