//! All sessions of an app as one state machine: share, connect, reconnect, rekey, verify, unshare.
//!
//! No I/O, no clock, no async, no randomness of its own. Whoever drives it hands in what happened ([`Sessions::replied`],
//! [`Sessions::frame`], …) with the time and a source of randomness ([`Turn`]), and after each call carries out what
//! [`Sessions::poll`] gives, **in that order**: what follows an [`Output::Store`] must not happen before the store is
//! durable. [`super::Client`] is such a driver; an app that brings its own HTTP or its own event loop writes another.

mod channel;
mod connect;
mod inbox;
mod mailbox;
mod outbox;
mod output;
mod rekey;
#[cfg(test)]
mod tests;
mod unshare;

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    time::Duration,
};

use rand::CryptoRng;

use self::{channel::Session, mailbox::Relay, outbox::Outgoing, unshare::Deletion};
pub use self::{
    connect::NotThisSession,
    output::{Alarm, Event, Output, PersistPoint, RequestId, SessionId, Signal, Skip},
};
pub use super::contact::Side;
use super::{
    contact::{Connecting, Contact, Ended, Goodbye, LinkState, OwnBox, SharedLink, Verification},
    exchange::NoReply,
};
use crate::protocol::{Connectoid, FoundLink, Place, PublicKey, RelayUrl};

/// What a step takes from outside: the time and randomness.
pub struct Turn<'a> {
    /// Unix time in milliseconds. May jump; used for what is kept on disk.
    pub now: u64,
    /// The time since some fixed moment, never going back; used for what is kept in memory.
    pub elapsed: Duration,
    /// Cryptographically secure randomness.
    pub rng: &'a mut dyn CryptoRng,
}

/// The state machine. One for as many contacts as the app likes; no contact in two at once.
#[derive(Default)]
pub struct Sessions {
    contacts: BTreeMap<String, Contact>,
    goodbyes: Vec<Goodbye>,
    /// The boxes of contacts that are not run here: nobody's offer may lead back to one of them.
    other_boxes: HashSet<PublicKey>,
    /// Where the other sides of those contacts are or were, and their nicknames: such a link was used already.
    other_peers: HashMap<PublicKey, String>,
    live: BTreeMap<String, Live>,
    relays: Vec<Relay>,
    outgoing: Vec<Outgoing>,
    deletions: Vec<Deletion>,
    asked: HashMap<RequestId, Asked>,
    down: HashSet<RelayUrl>,
    /// Whether boxes may have come or gone since the relays' lists of them were made.
    boxes_changed: bool,
    foreground: bool,
    /// When what is planned in the time of day was last looked at.
    looked: Duration,
    last_id: u64,
    outputs: VecDeque<Output>,
}

/// What is known of a contact only while the program runs.
#[derive(Default)]
struct Live {
    /// On its way to a proven channel.
    pending: Option<Session>,
    /// Proven.
    open: Option<Open>,
    /// When the next offer is due.
    next_try: Option<Duration>,
    /// Until when an answer or an offer may come any moment, so that waiting for it is worth a long poll.
    expecting: Duration,
    /// That no relay answers was said.
    told_down: bool,
}

/// A session that is open.
struct Open {
    id: SessionId,
    /// The boxes the other side moved to in it.
    moves: u32,
}

/// What a request was for.
enum Asked {
    Check { relay: RelayUrl, ext: mailbox::ExtKey },
    Receive { relay: RelayUrl, ext: mailbox::ExtKey, key: PublicKey },
    Acknowledge { relay: RelayUrl },
    Send { outgoing: u64, relay: RelayUrl },
    Delete { relay: RelayUrl, key: PublicKey },
}

/// Why a call had no effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotDone {
    /// A contact needs a name.
    #[error("a contact needs a name")]
    NoName,
    /// There is a contact of this name.
    #[error("there is a contact {0:?} already: choose another name")]
    NameTaken(String),
    /// There is none.
    #[error("there is no contact {0:?}")]
    NoContact(String),
    /// A link needs 1 to 4 relays.
    #[error("a link names 1 to 4 relays, not {0}")]
    Relays(usize),
    /// The link is one of one's own.
    #[error("this link was made here: open it on the other device")]
    OwnLink,
    /// The link was used here before. Its owner would take a second use for somebody else's.
    #[error("this link is that of {0:?} already: reconnect to that contact")]
    LinkTaken(String),
    /// Some relays of the link are on this machine, others are not.
    #[error("this link leads to an address of this machine beside its relays: do not use it")]
    ThisMachine,
    /// Nobody is known to be on the other side yet.
    #[error("nobody used the link for {0:?} yet: there is nobody to connect to")]
    NobodyThere(String),
    /// No session is open.
    #[error("{0:?} is not connected")]
    NotConnected(String),
    /// There is no short authentication string yet.
    #[error("there is nothing to compare with {0:?} yet: connect first")]
    NothingToCompare(String),
}

/// How a link is shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareOptions {
    /// Where its box is: 1 to 4 relays, in order of preference.
    pub relays: Vec<RelayUrl>,
    /// What it carries for the relays, as an API key.
    pub ext: Option<crate::protocol::Ext>,
    /// When it stops being answered if nobody used it; never, if absent.
    pub expires_in: Option<Duration>,
    /// Leave out the secret, for a link in the original form: everyone who sees it can answer in the other's place until the
    /// short authentication string was compared.
    pub without_secret: bool,
}

/// How long a link is answered by default.
pub const LINK_LIFE: Duration = Duration::from_hours(7 * 24);

impl ShareOptions {
    /// A link at these relays, as it is by default: [`LINK_LIFE`], with a secret, no `ext`.
    pub fn at(relays: impl IntoIterator<Item = RelayUrl>) -> Self {
        Self { relays: relays.into_iter().collect(), ..Self::default() }
    }
}

impl Default for ShareOptions {
    /// No relay yet, no `ext`, [`LINK_LIFE`], with a secret.
    fn default() -> Self {
        Self { relays: Vec::new(), ext: None, expires_in: Some(LINK_LIFE), without_secret: false }
    }
}

/// How often what is planned in the time of day is looked at, if nothing else is to be done.
const LOOK_EVERY: Duration = Duration::from_mins(10);

impl Sessions {
    /// The sessions of these contacts. `others` are contacts that are not run here, but by another process for instance.
    pub fn new(contacts: Vec<Contact>, goodbyes: Vec<Goodbye>, others: &[Contact]) -> Self {
        let contacts = contacts.into_iter().map(|contact| (contact.name.clone(), contact)).collect();
        let other_boxes = others.iter().flat_map(|other| &other.boxes).map(|own| own.key.public()).collect();
        let boxes_of_peer = |other: &Contact| {
            let boxes = other.peer.iter().flat_map(|peer| peer.boxes());
            boxes.map(|key| (key, other.name.clone())).collect::<Vec<_>>()
        };
        let other_peers = others.iter().flat_map(boxes_of_peer).collect();
        Self { contacts, goodbyes, other_boxes, other_peers, boxes_changed: true, ..Self::default() }
    }

    /// Takes up what was on its way when the program ended. Once, before anything else. Says again what the app may not have heard
    /// before that end, as far as it still holds.
    pub fn start(&mut self, turn: &mut Turn<'_>) {
        let names: Vec<String> = self.contacts.keys().cloned().collect();
        for name in names {
            self.live.entry(name.clone()).or_default();
            self.say_again(&name);
            let Some(contact) = self.contacts.get_mut(&name) else { continue };
            // The clock may have been set back since.
            contact.rekeyed = contact.rekeyed.map(|at| at.min(turn.now));
            if let Some(connecting) = &mut contact.connecting {
                connecting.since = connecting.since.min(turn.now);
            }
            let connecting = contact.connecting.is_some();
            if contact.leaving.is_some() {
                self.delete_boxes(turn, &name);
                continue;
            }
            self.answer(turn, &name);
            let Some(live) = self.live.get_mut(&name) else { continue };
            if live.pending.is_some() {
                self.plan_next_try(turn, &name);
            } else if connecting {
                // The peer connection of an offer that was made before is gone: another one at once.
                live.next_try = Some(turn.elapsed);
            }
        }
        self.tick(turn);
    }

    /// What is stored was told, unless the program ended in between.
    fn say_again(&mut self, name: &str) {
        let Some(contact) = self.contacts.get(name) else { return };
        let contact_name = || name.to_owned();
        let mut events = Vec::new();
        if contact.leaving == Some(Side::Peer) {
            events.push(Event::Unshared { contact: contact_name(), by: Side::Peer });
        }
        if !contact.inbox.is_empty() {
            events.push(Event::Note { contact: contact_name() });
        }
        events.extend(contact.ended.map(|ended| ended_event(ended, contact_name())));
        if let Some(link) = &contact.link {
            if let Some(second) = link.used_twice.filter(|_| !contact.may_exchange()) {
                let first = link.claimed.unwrap_or(contact.made);
                let alarm = Alarm::LinkUsedTwice { first, second };
                events.push(Event::Alarm { contact: contact_name(), alarm });
            }
            if link.state == LinkState::Closed && contact.pinned().is_none() {
                events.push(match link.answered < connect::MOST_ANSWERS {
                    true => Event::LinkExpired { contact: contact_name() },
                    false => Event::Alarm { contact: contact_name(), alarm: Alarm::TooManyOffers },
                });
            }
        }
        events.into_iter().for_each(|event| self.event(event));
    }

    /// What is to be done next, if anything. To be called until it gives none, after every other call.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// What may be done even if something that is to be stored before it cannot be: a session that is to be closed must not
    /// stay open because a disk is full, and people must hear of an alarm.
    pub fn poll_urgent(&mut self) -> Option<Output> {
        let is_urgent = |output: &Output| {
            matches!(output, Output::Signal(Signal::Close { .. } | Signal::Event(Event::Alarm { .. })))
        };
        self.outputs.remove(self.outputs.iter().position(is_urgent)?)
    }

    /// When [`Sessions::tick`] is due, on the clock of [`Turn::elapsed`]; `None` if nothing is planned.
    pub fn wake_at(&self) -> Option<Duration> {
        let tries = self.live.values().filter_map(|live| live.next_try);
        let handshakes = self.live.values().filter_map(|live| live.pending.as_ref()?.deadline());
        let relays = self.relays.iter().filter_map(Relay::due);
        let sends = self.outgoing.iter().filter_map(Outgoing::due);
        let deletions = self.deletions.iter().filter_map(Deletion::due);
        let goodbyes = (!self.goodbyes.is_empty()).then_some(self.looked + LOOK_EVERY);
        tries.chain(handshakes).chain(relays).chain(sends).chain(deletions).chain(goodbyes).min()
    }

    /// Does what is due. Also worth a call when the device wakes up.
    pub fn tick(&mut self, turn: &mut Turn<'_>) {
        self.looked = turn.elapsed;
        let names: Vec<String> = self.contacts.keys().cloned().collect();
        for name in &names {
            self.drop_old_boxes(turn, name);
            self.expire(turn, name);
            self.try_again(turn, name);
            self.give_up_handshake(turn, name);
        }
        self.delete_due(turn);
        self.send_goodbyes(turn);
        self.send_due(turn);
        self.check_due(turn);
    }

    /// Whether somebody looks at the app: then it waits at the relays for whatever comes, instead of checking once a minute.
    pub fn set_foreground(&mut self, turn: &mut Turn<'_>, foreground: bool) {
        self.foreground = foreground;
        self.tick(turn);
    }

    /// The device woke up, or has a network again: relays are asked anew and now, what could not be sent is sent now, and a try that
    /// was missed meanwhile is made.
    pub fn woke_up(&mut self, turn: &mut Turn<'_>) {
        let names: Vec<String> = self.contacts.keys().cloned().collect();
        for name in names {
            self.try_now_if_missed(turn, &name);
        }
        self.check_now(turn);
        self.send_now(turn);
        self.tick(turn);
    }

    /// Makes a link for somebody. It is on disk before [`Signal::Event`] gives it as [`Event::Shared`].
    ///
    /// # Errors
    /// If the name is taken or the relays are none or too many.
    pub fn share(
        &mut self,
        turn: &mut Turn<'_>,
        name: &str,
        options: ShareOptions,
    ) -> Result<Connectoid, NotDone> {
        self.free_name(name)?;
        if !(1..=crate::protocol::limits::MAX_RELAYS).contains(&options.relays.len()) {
            return Err(NotDone::Relays(options.relays.len()));
        }
        let mut own = OwnBox::generate(&mut turn.rng, options.relays, options.ext);
        if options.without_secret {
            own.secret = None;
        }
        let connectoid = own.connectoid();
        let life = options.expires_in.map(|life| u64::try_from(life.as_millis()).unwrap_or(u64::MAX));
        let link = SharedLink::new(life.map(|life| turn.now.saturating_add(life)));
        self.add(Contact::shared(name.to_owned(), own, link, turn.now));
        self.store(name, PersistPoint::Shared);
        self.event(Event::Shared { contact: name.to_owned() });
        self.tick(turn);
        Ok(connectoid)
    }

    /// Connects to whoever shared a link, and goes on trying for 48 hours.
    ///
    /// The own box is at the relays of the link, with its `ext`.
    ///
    /// # Errors
    /// If the name is taken, or the link is one's own, was used here before, or leads to this machine beside its relays.
    pub fn connect(&mut self, turn: &mut Turn<'_>, link: &FoundLink, name: &str) -> Result<(), NotDone> {
        self.free_name(name)?;
        let FoundLink { connectoid, place } = link;
        if self.is_own(&connectoid.key) {
            return Err(NotDone::OwnLink);
        }
        let own = OwnBox::generate(&mut turn.rng, connectoid.relays.clone(), connectoid.ext.clone());
        let taken =
            |contact: &&Contact| contact.peer.as_ref().is_some_and(|peer| peer.was_at(&connectoid.key));
        let contact = self.contacts.values().find(taken).map(|contact| &contact.name);
        if let Some(name) = contact.or(self.other_peers.get(&connectoid.key)) {
            return Err(NotDone::LinkTaken(name.clone()));
        }
        let here = connectoid.relays.iter().filter(|relay| relay.is_loopback()).count();
        if here > 0 && here < connectoid.relays.len() {
            return Err(NotDone::ThisMachine);
        }
        let seen = *place == Some(Place::Query);
        let mut contact = Contact::linked(name.to_owned(), own, connectoid.clone(), seen, turn.now);
        contact.connecting = Some(Connecting { since: turn.now, tries: 0 });
        self.add(contact);
        self.store(name, PersistPoint::ConnectBegun);
        self.plan_next_try(turn, name);
        self.tick(turn);
        Ok(())
    }

    /// Connects to a contact again, and goes on trying for 48 hours from now. An offer that is under way stands; nothing happens if
    /// it is connected.
    ///
    /// # Errors
    /// If there is no such contact, or nobody used its link yet.
    pub fn reconnect(&mut self, turn: &mut Turn<'_>, name: &str) -> Result<(), NotDone> {
        let contact = self.contacts.get_mut(name).ok_or_else(|| NotDone::NoContact(name.to_owned()))?;
        let unproven_link = contact.link.is_some() && contact.pinned().is_none();
        if contact.peer.is_none() || unproven_link || contact.leaving.is_some() {
            return Err(NotDone::NobodyThere(name.to_owned()));
        }
        if self.live.get(name).is_some_and(|live| live.open.is_some()) {
            return Ok(());
        }
        self.try_now(turn, name);
        Ok(())
    }

    /// Makes a session again that is open, but whose packets do not get through any more: a new offer is made, for the same peer
    /// connection (an ICE restart) or another. The open session stays until the new one is proven, or the app closes it.
    ///
    /// # Errors
    /// If there is no such contact, or it is not connected.
    pub fn renew(&mut self, turn: &mut Turn<'_>, name: &str) -> Result<(), NotDone> {
        if !self.contacts.contains_key(name) {
            return Err(NotDone::NoContact(name.to_owned()));
        }
        if self.live.get(name).is_none_or(|live| live.open.is_none()) {
            return Err(NotDone::NotConnected(name.to_owned()));
        }
        self.try_now(turn, name);
        Ok(())
    }

    /// Makes an offer, unless one is under way, and goes on with others.
    fn try_now(&mut self, turn: &mut Turn<'_>, name: &str) {
        let under_way = self.is_under_way(turn, name);
        let Some(contact) = self.contacts.get_mut(name) else { return };
        contact.connecting = Some(Connecting { since: turn.now, tries: u32::from(under_way) });
        contact.ended = None;
        self.store(name, PersistPoint::ConnectBegun);
        self.plan_next_try(turn, name);
        self.tick(turn);
    }

    /// Ends the session with a contact, and any attempt to make one. It can be made again.
    ///
    /// # Errors
    /// If there is no such contact.
    pub fn disconnect(&mut self, turn: &mut Turn<'_>, name: &str) -> Result<(), NotDone> {
        if !self.contacts.contains_key(name) {
            return Err(NotDone::NoContact(name.to_owned()));
        }
        self.stop_trying(name, PersistPoint::Disconnected);
        self.close_sessions(name);
        self.tick(turn);
        Ok(())
    }

    /// Records what the two people said of the short authentication string. If it differs the session ends.
    ///
    /// # Errors
    /// If there is no such contact, or nothing was there to compare yet.
    pub fn verify(&mut self, turn: &mut Turn<'_>, name: &str, same: bool) -> Result<(), NotDone> {
        let contact = self.contacts.get_mut(name).ok_or_else(|| NotDone::NoContact(name.to_owned()))?;
        if contact.sas.is_none() {
            return Err(NotDone::NothingToCompare(name.to_owned()));
        }
        let held = !contact.may_exchange();
        contact.verification = if same { Verification::Verified } else { Verification::Mismatch };
        self.store(name, PersistPoint::Verified);
        if !same {
            self.alarm(name, Alarm::StringsDiffer);
            self.disconnect(turn, name)?;
        } else if held && self.live.get(name).is_some_and(|live| live.open.is_some()) {
            self.event(Event::MayExchange { contact: name.to_owned() });
        }
        Ok(())
    }

    /// A contact as it is now: what is to be stored at an [`Output::Store`]. None if its keys are to be deleted.
    pub fn contact(&self, name: &str) -> Option<&Contact> {
        self.contacts.get(name)
    }

    /// All contacts, by name.
    pub fn contacts(&self) -> impl Iterator<Item = &Contact> {
        self.contacts.values()
    }

    /// What is left of contacts that were unshared, to be stored with every [`Output::Store`].
    pub fn goodbyes(&self) -> &[Goodbye] {
        &self.goodbyes
    }

    /// The first `count` notes of a contact's inbox ([`Contact::inbox`]) were handed over: they are forgotten.
    pub fn notes_handed_over(&mut self, name: &str, count: usize) {
        let Some(contact) = self.contacts.get_mut(name).filter(|_| count > 0) else { return };
        contact.inbox.drain(..count.min(contact.inbox.len()));
        self.store(name, PersistPoint::NotesHandedOver);
    }

    /// What a relay replied to [`Output::Request`], or why it did not: the status and the body as they came, at most 1 MiB.
    pub fn replied(&mut self, turn: &mut Turn<'_>, request: RequestId, reply: Result<(u16, &[u8]), NoReply>) {
        match self.asked.remove(&request) {
            // Cancelled meanwhile, or none of ours.
            None => return,
            Some(Asked::Check { relay, ext }) => self.checked(turn, &relay, &ext, reply),
            Some(Asked::Receive { relay, ext, key }) => self.received(turn, &relay, &ext, key, reply),
            Some(Asked::Acknowledge { relay }) => {
                let _ = self.read::<serde_json::Value>(&relay, reply);
            }
            Some(Asked::Send { outgoing, relay }) => self.sent(turn, outgoing, &relay, reply),
            Some(Asked::Delete { relay, key }) => self.deletion_step(turn, &relay, key, reply),
        }
        self.tick(turn);
    }

    fn free_name(&self, name: &str) -> Result<(), NotDone> {
        match self.contacts.contains_key(name) {
            _ if name.is_empty() => Err(NotDone::NoName),
            true => Err(NotDone::NameTaken(name.to_owned())),
            false => Ok(()),
        }
    }

    fn add(&mut self, contact: Contact) {
        self.live.insert(contact.name.clone(), Live::default());
        self.contacts.insert(contact.name.clone(), contact);
        self.tell_reachable();
    }

    /// Whether a box is one's own, of any contact.
    fn is_own(&self, key: &PublicKey) -> bool {
        let mut boxes = self.contacts.values().flat_map(|contact| &contact.boxes);
        boxes.any(|own| own.key.public() == *key) || self.other_boxes.contains(key)
    }

    /// Closes a link by which nobody connected in time, and says so once.
    fn expire(&mut self, turn: &Turn<'_>, name: &str) {
        let Some(contact) = self.contacts.get_mut(name).filter(|contact| contact.has_expired(turn.now))
        else {
            return;
        };
        let Some(link) = contact.link.as_mut().filter(|link| link.state != LinkState::Closed) else { return };
        link.state = LinkState::Closed;
        self.store(name, PersistPoint::LinkExpired);
        self.event(Event::LinkExpired { contact: name.to_owned() });
    }

    fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn store(&mut self, contact: &str, point: PersistPoint) {
        self.boxes_changed = true;
        self.outputs.push_back(Output::Store { contact: contact.to_owned(), point });
    }

    fn signal(&mut self, signal: Signal) {
        self.outputs.push_back(Output::Signal(signal));
    }

    fn event(&mut self, event: Event) {
        self.signal(Signal::Event(event));
    }

    fn alarm(&mut self, contact: &str, alarm: Alarm) {
        self.event(Event::Alarm { contact: contact.to_owned(), alarm });
    }
}

/// What the app is told of an attempt that ended.
fn ended_event(ended: Ended, contact: String) -> Event {
    match ended {
        Ended::LinkUsed => Event::LinkUsed { contact },
        Ended::Declined => Event::Declined { contact },
        Ended::GaveUp => Event::GaveUp { contact },
    }
}
