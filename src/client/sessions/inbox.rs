//! What comes out of an own box: opened, counted, and what it leads to.

use zeroize::Zeroizing;

use super::{
    Alarm, Event, PersistPoint, Sessions, Signal, Skip, Turn,
    channel::{MOST_CANDIDATES, Session, Stage},
    outbox::Letter,
};
use crate::{
    client::contact::{Ended, InboxNote, LinkState, NotTaken, Peer, Unanswered},
    defences::{Defence, holds},
    protocol::{Message, PublicKey, RelayUrl},
    seal::{
        SigningKey,
        message::{Content, Junk, Offer, OfferHash, Opened, Reason, SdpAnswer, open_message, seal_message},
    },
};

/// The offers of others on one link that are refused; more get no reply.
const MOST_REFUSALS: usize = 8;

/// What became of messages.
pub(super) struct Taken {
    /// Whether all were understood, so that the relay need not keep them.
    pub(super) complete: bool,
    /// Whether anything was new.
    pub(super) news: bool,
    /// Whether anything was sealed by somebody who may not, which is not the relay's fault.
    pub(super) junk: bool,
}

/// An offer in a batch.
struct Incoming {
    ik: PublicKey,
    n: u64,
    payload: Zeroizing<Vec<u8>>,
    offer: Offer,
}

/// An answer to an offer.
struct IncomingAnswer {
    ik: PublicKey,
    n: u64,
    payload: Zeroizing<Vec<u8>>,
    answer: SdpAnswer,
}

impl Sessions {
    /// Takes messages out of the box `key` of a contact, in the order of their cursors.
    pub(super) fn take(
        &mut self,
        turn: &mut Turn<'_>,
        name: &str,
        key: PublicKey,
        relay: &RelayUrl,
        messages: &[Message],
    ) -> Taken {
        let mut taken = Taken { complete: true, news: false, junk: false };
        let (mut offers, mut later) = (Vec::new(), Vec::new());
        for message in messages {
            let before = offers.len();
            let result = self.take_one(turn, name, key, relay, &message.data, &mut offers);
            // Whether an offer is new is seen below.
            taken.news |= result.is_ok() && offers.len() == before;
            match result {
                // Candidates may come with the offer they belong to, whose signer is not known before that is taken.
                Err(Skip::Junk(Junk::UnknownSigner)) => later.push(message),
                Err(why) => {
                    // What is for a newer program stays at the relay, and what finds no room now.
                    taken.junk |= matches!(why, Skip::Junk(_));
                    taken.complete &=
                        !matches!(why, Skip::InboxFull | Skip::Junk(Junk::Version | Junk::Type));
                    self.skipped(name, relay, why);
                }
                Ok(()) => {}
            }
        }
        taken.news |= self.take_offers(turn, name, key, relay, offers);
        for message in later {
            match self.take_one(turn, name, key, relay, &message.data, &mut Vec::new()) {
                Ok(()) => taken.news = true,
                Err(why) => self.skipped(name, relay, why),
            }
        }
        taken
    }

    fn skipped(&mut self, name: &str, relay: &RelayUrl, why: Skip) {
        self.event(Event::Skipped { contact: name.to_owned(), relay: relay.clone(), why });
    }

    fn take_one(
        &mut self,
        turn: &mut Turn<'_>,
        name: &str,
        key: PublicKey,
        relay: &RelayUrl,
        data: &[u8],
        offers: &mut Vec<Incoming>,
    ) -> Result<(), Skip> {
        let Some(contact) = self.contacts.get(name).filter(|contact| contact.leaving.is_none()) else {
            return Err(Skip::LinkClosed);
        };
        // Not those of a link that closed while this was on its way.
        let own = contact.read_boxes().iter().find(|own| own.key.public() == key).ok_or(Skip::LinkClosed)?;
        let session = self.live.get(name).and_then(|live| live.pending.as_ref());
        let outstanding = session.and_then(Session::offer);
        let (peer_ik, pinned) = (contact.peer.as_ref().and_then(|peer| peer.ik), contact.pinned());
        let known = |re: Option<&OfferHash>| match re {
            Some(re) if Some(*re) == outstanding => peer_ik,
            Some(_) => None,
            None => pinned,
        };
        let opened = open_message(&own.key, own.secret.as_ref(), known, data).map_err(Skip::Junk)?;
        let Opened { ik, n, ts, payload, content } = opened;
        match content {
            Content::Offer(offer) => {
                offers.push(Incoming { ik, n, payload, offer });
                Ok(())
            }
            Content::Answer(answer) => {
                self.take_answer(turn, name, key, IncomingAnswer { ik, n, payload, answer })
            }
            Content::Candidate { candidates, .. } => {
                self.count(name, ik, n)?;
                self.box_used(turn, name, &key);
                self.store(name, PersistPoint::CandidatesTaken);
                let pending = self.live.get_mut(name).and_then(|live| live.pending.as_mut());
                if let Some(pending) = pending.filter(|pending| pending.candidates_taken < MOST_CANDIDATES) {
                    pending.candidates_taken += 1;
                    let session = pending.id;
                    self.signal(Signal::AddCandidates { session, candidates });
                }
                Ok(())
            }
            Content::Refuse { re, reason } => {
                let other = pinned.is_some_and(|pinned| pinned != ik);
                if Some(re) != outstanding || !self.offered(name) {
                    return Err(Skip::NoSuchOffer);
                }
                if other && holds(Defence::Pinned) {
                    return Err(Skip::UnknownSigner);
                }
                self.drop_pending(name);
                let ended = match reason {
                    Reason::LinkUsed => Ended::LinkUsed,
                    Reason::Declined => Ended::Declined,
                };
                self.end_trying(name, ended, PersistPoint::Refused);
                Ok(())
            }
            Content::Bye => {
                self.count(name, ik, n)?;
                self.bye_taken(turn, name);
                Ok(())
            }
            Content::Note(note) => {
                self.take_note(turn, name, key, InboxNote { relay: relay.clone(), ik, n, ts, note })
            }
        }
    }

    fn take_answer(
        &mut self,
        turn: &Turn<'_>,
        name: &str,
        to: PublicKey,
        incoming: IncomingAnswer,
    ) -> Result<(), Skip> {
        let IncomingAnswer { ik, n, payload, answer } = incoming;
        let pinned = self.contacts.get(name).and_then(super::Contact::pinned);
        if pinned.is_some_and(|pinned| pinned != ik) && holds(Defence::Pinned) {
            return Err(Skip::UnknownSigner);
        }
        let session = self.live.get(name).and_then(|live| live.pending.as_ref());
        let matches = session.and_then(Session::offer) == Some(answer.re) || !holds(Defence::Outstanding);
        if !matches || !self.offered(name) {
            // Counted all the same, if its signer is known: it cannot become right later.
            if pinned.is_some() {
                self.count(name, ik, n)?;
                self.store(name, PersistPoint::AnswerTaken);
            }
            return Err(Skip::NoSuchOffer);
        }
        if let Some(contact) = self.contacts.get_mut(name) {
            contact.peer_signs_with(ik);
        }
        self.count(name, ik, n)?;
        if let Some(peer) = self.contacts.get_mut(name).and_then(|contact| contact.peer.as_mut()) {
            peer.answers(n);
        }
        self.box_used(turn, name, &to);
        self.store(name, PersistPoint::AnswerTaken);
        self.join(turn, name, &to, ik, &payload, answer);
        Ok(())
    }

    fn take_note(
        &mut self,
        turn: &Turn<'_>,
        name: &str,
        key: PublicKey,
        note: InboxNote,
    ) -> Result<(), Skip> {
        let contact = self.contacts.get_mut(name).ok_or(Skip::LinkClosed)?;
        let ik = note.ik;
        contact.take_note(&key, note)?;
        if contact.peer.as_ref().is_some_and(|peer| peer.ik == Some(ik)) {
            self.box_used(turn, name, &key);
        }
        self.store(name, PersistPoint::NoteTaken);
        self.event(Event::Note { contact: name.to_owned() });
        Ok(())
    }

    /// Whether an offer of one's own is outstanding.
    fn offered(&self, name: &str) -> bool {
        let pending = self.live.get(name).and_then(|live| live.pending.as_ref());
        pending.is_some_and(|pending| matches!(pending.stage, Stage::Offered(_)))
    }

    /// Counts a message of the other side, if `ik` is its key.
    fn count(&mut self, name: &str, ik: PublicKey, n: u64) -> Result<(), Skip> {
        let peer = self.contacts.get_mut(name).and_then(|contact| contact.peer.as_mut());
        let peer = peer.filter(|peer| peer.ik == Some(ik)).ok_or(Skip::UnknownSigner)?;
        Ok(peer.count(n)?)
    }

    /// Takes the offers of one batch: the first claims an open link, and of each sender only the latest counts. Whether any
    /// was new.
    fn take_offers(
        &mut self,
        turn: &mut Turn<'_>,
        name: &str,
        key: PublicKey,
        relay: &RelayUrl,
        offers: Vec<Incoming>,
    ) -> bool {
        let link = self.contacts.get(name).and_then(|contact| contact.link.as_ref());
        let was_open = link.is_some_and(|link| link.state == LinkState::Open);
        let mut latest: Option<Incoming> = None;
        for incoming in offers {
            match self.admit_offer(turn, name, key, &incoming) {
                Ok(()) if latest.as_ref().is_none_or(|latest| incoming.n > latest.n) => {
                    latest = Some(incoming)
                }
                Ok(()) => {}
                Err(why) => self.skipped(name, relay, why),
            }
        }
        let Some(Incoming { ik, n, payload, offer }) = latest else { return false };
        let Some(contact) = self.contacts.get_mut(name) else { return false };
        let claims = was_open && contact.link.as_ref().is_some_and(|link| link.state == LinkState::Claimed);
        let Some(peer) = contact.peer.as_mut() else { return false };
        let connectoid = offer.connectoid;
        if !peer.offers_from(connectoid.clone(), n) {
            if holds(Defence::Overtaken) {
                self.store(name, PersistPoint::OfferTaken);
                self.skipped(name, relay, Skip::Overtaken);
                return true;
            }
            peer.moves_to(connectoid);
        }
        peer.unanswered = Some(Unanswered { payload, to: key, came: turn.now });
        let stands = self.own_offer_stands(turn, name, &ik);
        if stands && let Some(peer) = self.contacts.get_mut(name).and_then(|contact| contact.peer.as_mut()) {
            peer.unanswered = None;
        }
        self.box_used(turn, name, &key);
        self.store(name, PersistPoint::OfferTaken);
        if claims {
            self.event(Event::Claimed { contact: name.to_owned() });
        }
        if !stands && !self.too_many_offers(name) {
            self.answer(turn, name);
        }
        true
    }

    /// Whether an offer may be answered: it is counted then. Claims an open link.
    fn admit_offer(
        &mut self,
        turn: &mut Turn<'_>,
        name: &str,
        key: PublicKey,
        incoming: &Incoming,
    ) -> Result<(), Skip> {
        let connectoid = &incoming.offer.connectoid;
        if self.is_own(&connectoid.key) && holds(Defence::NotOwnBox) {
            return Err(Skip::OwnBox);
        }
        let contact = self.contacts.get_mut(name).filter(|contact| contact.leaving.is_none());
        let contact = contact.ok_or(Skip::LinkClosed)?;
        if contact.is_led_here_by(connectoid) && holds(Defence::NotThisMachine) {
            return Err(Skip::ThisMachine);
        }
        // Counters begin at 1.
        if incoming.n == 0 {
            return Err(Skip::Repeated);
        }
        let to_link = contact.link_box().is_some_and(|link| link.key.public() == key);
        let counted = contact.counted_note(&incoming.ik, incoming.n);
        if let (true, Some(link)) = (to_link, &mut contact.link) {
            let same = contact.peer.as_ref().is_some_and(|peer| peer.ik == Some(incoming.ik));
            match link.state {
                LinkState::Closed => return Err(Skip::LinkClosed),
                // What does not count must not claim.
                LinkState::Open if !same && counted => return Err(Skip::Repeated),
                LinkState::Open if !same => {
                    (link.state, link.claimed) = (LinkState::Claimed, Some(turn.now));
                    contact.peer = Some(Peer::at(connectoid.clone()));
                    contact.peer_signs_with(incoming.ik);
                }
                _ if !same && holds(Defence::FirstClaim) => return self.refuse(turn, name, incoming),
                _ if !same => {
                    contact.peer = Some(Peer::at(connectoid.clone()));
                    contact.peer_signs_with(incoming.ik);
                }
                _ => {}
            }
        } else {
            // Who knows the secret of a box that awaits its first answer has it from the offer.
            let awaits_first =
                contact.link.is_none() && contact.peer.as_ref().is_some_and(|peer| peer.ik.is_none());
            if awaits_first || !holds(Defence::Pinned) {
                contact.peer_signs_with(incoming.ik);
            }
        }
        self.count(name, incoming.ik, incoming.n)
    }

    /// Somebody else uses a link that is taken: both are told.
    fn refuse(&mut self, turn: &mut Turn<'_>, name: &str, incoming: &Incoming) -> Result<(), Skip> {
        let Some(contact) = self.contacts.get_mut(name) else { return Err(Skip::LinkClosed) };
        let Some(link) = &mut contact.link else { return Err(Skip::LinkClosed) };
        let re = OfferHash::of(&incoming.payload);
        if link.refused.contains(&re) {
            return Err(Skip::Repeated);
        }
        if link.refused.len() >= MOST_REFUSALS {
            return Err(Skip::UnknownSigner);
        }
        let could_exchange = contact.may_exchange();
        let Some(link) = &mut contact.link else { return Err(Skip::LinkClosed) };
        link.refused.push(re);
        let first_alarm = link.used_twice.is_none();
        link.used_twice.get_or_insert(turn.now);
        let first = link.claimed.unwrap_or(contact.made);
        contact.unproven = true;
        self.store(name, PersistPoint::StrangerCame);
        if first_alarm {
            self.alarm(name, Alarm::LinkUsedTwice { first, second: turn.now });
        }
        if could_exchange && self.contacts.get(name).is_some_and(|contact| !contact.may_exchange()) {
            // Who is in the open session may be the wrong one.
            self.close_sessions(name);
        }
        // Signed by a key made for this alone: the stranger learns nothing that holds for the contact.
        let throw_away = SigningKey::generate(&mut turn.rng);
        let to = &incoming.offer.connectoid;
        let content = Content::Refuse { re, reason: Reason::LinkUsed };
        let sealed =
            seal_message(&mut turn.rng, &to.key, to.secret.as_ref(), &throw_away, 1, turn.now, &content);
        if let Ok(sealed) = sealed {
            self.post(turn, name, to, Letter::Refusal, sealed.data);
        }
        Err(Skip::UnknownSigner)
    }
}

impl From<NotTaken> for Skip {
    fn from(why: NotTaken) -> Self {
        match why {
            NotTaken::Repeated => Self::Repeated,
            NotTaken::TooManySigners => Self::TooManySigners,
            NotTaken::UnknownSigner => Self::UnknownSigner,
            NotTaken::InboxFull => Self::InboxFull,
        }
    }
}
