//! New boxes for old: what a link or an old device backup opens should end.
//!
//! A new box is stored before the other side hears of it, and the other side stores it before it says so; until it said so and
//! a day has passed, or until it wrote there, both boxes are read. So a crash at any point leaves both able to reach each other.

use super::{PersistPoint, SessionId, Sessions, Turn};
use crate::{
    client::contact::{LinkState, OwnBox},
    defences::{Defence, holds},
    protocol::{Connectoid, Frame, PublicKey},
};

/// How often a box is replaced, at most, in milliseconds: once a day.
const REKEY_EVERY: u64 = 86_400_000;

/// How long an old box is read after the other side said that it writes to the new one, in milliseconds.
const OLD_BOX_LIFE: u64 = 86_400_000;

/// How long the box of a link is read after it was replaced, in milliseconds: to notice that the link is used twice.
const RETIRED_LIFE: u64 = 2 * 86_400_000;

/// How often the other side may move in one session. Once is enough; each is written to disk.
const MOST_MOVES: u32 = 4;

impl Sessions {
    /// Replaces the own box if it is time to; proposes again what the other side did not confirm.
    pub(super) fn rekey(&mut self, turn: &mut Turn<'_>, name: &str, session: SessionId) {
        let Some(contact) = self.contacts.get_mut(name) else { return };
        let proposed = contact.boxes.len() > 1
            && contact.boxes.last().is_some_and(|own| own.confirmed.is_none() && !own.used);
        if !proposed {
            let recent = contact.rekeyed.is_some_and(|at| turn.now.saturating_sub(at) < REKEY_EVERY);
            let Some(current) = contact.boxes.last().filter(|_| !recent) else { return };
            let fresh = OwnBox::generate(&mut turn.rng, current.relays.clone(), current.ext.clone());
            contact.boxes.push(fresh);
            contact.rekeyed = Some(turn.now);
            self.store(name, PersistPoint::BoxMade);
        }
        let connectoid =
            self.contacts.get(name).and_then(|contact| contact.boxes.last()).map(OwnBox::connectoid);
        if let Some(connectoid) = connectoid {
            self.send_frame(session, &Frame::Rekey { connectoid });
        }
    }

    /// The other side has a new box.
    pub(super) fn peer_moves(&mut self, name: &str, session: SessionId, connectoid: Connectoid) {
        let key = connectoid.key;
        if self.is_own(&key) && holds(Defence::NotOwnBox) {
            return self.close_sessions(name);
        }
        let (Some(contact), Some(live)) = (self.contacts.get_mut(name), self.live.get_mut(name)) else {
            return;
        };
        let moves = live.open.as_mut().map_or(0, |open| {
            open.moves += 1;
            open.moves
        });
        if moves > MOST_MOVES || (contact.is_led_here_by(&connectoid) && holds(Defence::NotThisMachine)) {
            return self.close_sessions(name);
        }
        let Some(peer) = &mut contact.peer else { return };
        peer.moves_to(connectoid);
        self.store(name, PersistPoint::PeerMoved);
        self.send_frame(session, &Frame::RekeyOk { key });
    }

    /// The other side stored the new own box.
    pub(super) fn box_confirmed(&mut self, turn: &Turn<'_>, name: &str, key: PublicKey) {
        let Some(contact) = self.contacts.get_mut(name) else { return };
        let own = contact.boxes.iter_mut().find(|own| own.key.public() == key);
        let Some(own) = own.filter(|own| own.confirmed.is_none()) else { return };
        own.confirmed = Some(turn.now);
        self.store(name, PersistPoint::BoxConfirmed);
        self.drop_old_boxes(turn, name);
    }

    /// The other side wrote to this own box: it knows it. The state is stored by the caller.
    pub(super) fn box_used(&mut self, turn: &Turn<'_>, name: &str, key: &PublicKey) {
        let Some(contact) = self.contacts.get_mut(name) else { return };
        let from_peer = contact.peer.is_some();
        let own = contact.boxes.iter_mut().find(|own| own.key.public() == *key);
        if let Some(own) = own.filter(|own| from_peer && !own.used) {
            own.used = true;
            self.drop_old_boxes(turn, name);
        }
    }

    /// Deletes the keys of boxes that the other side does not write to any more.
    pub(super) fn drop_old_boxes(&mut self, turn: &Turn<'_>, name: &str) {
        let Some(contact) = self.contacts.get_mut(name).filter(|contact| contact.leaving.is_none()) else {
            return;
        };
        let known = |own: &OwnBox| own.used || own.confirmed.is_some();
        let replaced = contact.boxes.iter().skip(1).any(known);
        let mut changed = false;
        if let Some(link) = contact.link.as_mut().filter(|_| replaced)
            && link.state < LinkState::Retired(0)
        {
            link.state = LinkState::Retired(turn.now);
            changed = true;
        }
        let established = |own: &OwnBox| {
            own.used || own.confirmed.is_some_and(|at| turn.now.saturating_sub(at) >= OLD_BOX_LIFE)
        };
        let Some(upto) = contact.boxes.iter().rposition(established) else {
            return if changed {
                self.store(name, PersistPoint::BoxDropped)
            };
        };
        let keep_link = match contact.link.as_mut().map(|link| &mut link.state) {
            Some(state @ LinkState::Retired(_)) => {
                let LinkState::Retired(since) = *state else { return };
                let keep = turn.now.saturating_sub(since) < RETIRED_LIFE;
                if !keep {
                    *state = LinkState::Closed;
                }
                keep
            }
            Some(LinkState::Closed) | None => false,
            Some(_) => true,
        };
        let before = contact.boxes.len();
        let mut index = 0;
        contact.boxes.retain(|_| {
            let keep = index >= upto || (index == 0 && keep_link);
            index += 1;
            keep
        });
        if changed || contact.boxes.len() != before {
            self.store(name, PersistPoint::BoxDropped);
        }
    }
}
