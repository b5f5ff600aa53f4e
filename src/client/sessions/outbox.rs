//! Sealed messages on their way to all relays of a box: the same bytes again until each relay took them or will not.

use std::time::Duration;

use super::{Asked, Event, Output, RequestId, Sessions, Turn, mailbox::doubled};
use crate::{
    client::exchange::NoReply,
    protocol::{Connectoid, Ext, PublicKey, RelayUrl, Request},
};

/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// How long a message is sent again at most: as long as a relay keeps it.
const LIFE: Duration = Duration::from_hours(1);

/// What a message is, for what happens when it was delivered or replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Letter {
    /// The next offer or answer makes it pointless.
    Offer,
    /// So it does this.
    Answer,
    /// And these.
    Candidates,
    /// That somebody is not answered.
    Refusal,
    /// What tells the other side that it was unshared: to which box.
    Goodbye(PublicKey),
}

/// One sealed message.
pub(super) struct Outgoing {
    id: u64,
    contact: String,
    letter: Letter,
    to: PublicKey,
    ext: Option<Ext>,
    data: Vec<u8>,
    until: Duration,
    delivered: bool,
    legs: Vec<Leg>,
}

/// Its way to one relay.
struct Leg {
    relay: RelayUrl,
    tries: u32,
    due: Duration,
    asked: Option<RequestId>,
}

impl Outgoing {
    pub(super) fn due(&self) -> Option<Duration> {
        self.legs.iter().filter(|leg| leg.asked.is_none()).map(|leg| leg.due).min()
    }
}

impl Sessions {
    /// Sends sealed bytes to every relay of a box, from now on.
    pub(super) fn post(
        &mut self,
        turn: &Turn<'_>,
        contact: &str,
        to: &Connectoid,
        letter: Letter,
        data: Vec<u8>,
    ) {
        if matches!(letter, Letter::Offer | Letter::Answer) {
            self.recall_offers(contact);
        }
        let id = self.new_id();
        let legs = to.relays.iter().map(|relay| Leg {
            relay: relay.clone(),
            tries: 0,
            due: turn.elapsed,
            asked: None,
        });
        self.outgoing.push(Outgoing {
            id,
            contact: contact.to_owned(),
            letter,
            to: to.key,
            ext: to.ext.clone(),
            data,
            until: turn.elapsed + LIFE,
            delivered: false,
            legs: legs.collect(),
        });
        self.send_due(turn);
    }

    /// Stops sending offers, answers and candidates of a contact: there is a newer one, or none is wanted any more.
    pub(super) fn recall_offers(&mut self, contact: &str) {
        self.recall(|outgoing| {
            let overtaken = matches!(outgoing.letter, Letter::Offer | Letter::Answer | Letter::Candidates);
            outgoing.contact == contact && overtaken
        });
    }

    /// Stops sending anything of a contact but its goodbye.
    pub(super) fn recall_all(&mut self, contact: &str) {
        self.recall(|outgoing| outgoing.contact == contact && !matches!(outgoing.letter, Letter::Goodbye(_)));
    }

    fn recall(&mut self, which: impl Fn(&Outgoing) -> bool) {
        for outgoing in self.outgoing.extract_if(.., |outgoing| which(outgoing)) {
            for id in outgoing.legs.into_iter().filter_map(|leg| leg.asked) {
                self.asked.remove(&id);
                self.outputs.push_back(Output::Cancel(id));
            }
        }
    }

    /// Makes all that waits to be sent again due.
    pub(super) fn send_now(&mut self, turn: &Turn<'_>) {
        for leg in self.outgoing.iter_mut().flat_map(|outgoing| &mut outgoing.legs) {
            leg.due = turn.elapsed;
        }
    }

    pub(super) fn send_due(&mut self, turn: &Turn<'_>) {
        self.outgoing.retain(|outgoing| outgoing.until > turn.elapsed && !outgoing.legs.is_empty());
        for index in 0..self.outgoing.len() {
            for leg in 0..self.outgoing[index].legs.len() {
                let new_id = RequestId(self.new_id());
                let Outgoing { id, to, ext, data, legs, .. } = &mut self.outgoing[index];
                let leg = &mut legs[leg];
                if leg.asked.is_some() || leg.due > turn.elapsed {
                    continue;
                }
                leg.asked = Some(new_id);
                let (relay, outgoing) = (leg.relay.clone(), *id);
                let request = Request::Send { key: *to, ext: ext.clone(), data: data.clone() };
                self.asked.insert(new_id, Asked::Send { outgoing, relay: relay.clone() });
                self.outputs.push_back(Output::Request { id: new_id, relay, request });
            }
        }
    }

    pub(super) fn sent(
        &mut self,
        turn: &mut Turn<'_>,
        outgoing: u64,
        url: &RelayUrl,
        reply: Result<(u16, &[u8]), NoReply>,
    ) {
        let reason = match &reply {
            Ok((status, body)) => match super::super::exchange::read::<serde_json::Value>(*status, body) {
                Err(NoReply::Refused(body)) if !PASSING.contains(&&*body.error) => {
                    Some(body.error.into_owned())
                }
                _ => None,
            },
            Err(_) => None,
        };
        let read = self.read::<serde_json::Value>(url, reply);
        let Some(index) = self.outgoing.iter().position(|found| found.id == outgoing) else { return };
        let found = &mut self.outgoing[index];
        let Some(leg) = found.legs.iter().position(|leg| leg.relay == *url) else { return };
        match (read, reason) {
            (Ok(_), _) => {
                found.legs.remove(leg);
                if !std::mem::replace(&mut found.delivered, true) {
                    let (letter, contact) = (found.letter.clone(), found.contact.clone());
                    self.delivered(turn, &contact, letter);
                }
            }
            (Err(_), Some(why)) => {
                found.legs.remove(leg);
                let contact = found.contact.clone();
                // A goodbye has no contact any more. One that no relay takes was tried: the next is due in its time, not at once.
                if let Letter::Goodbye(to) = found.letter {
                    if found.legs.is_empty() && !found.delivered {
                        self.goodbye_sent(turn, &to);
                    }
                } else {
                    self.event(Event::NotSent { contact, relay: url.clone(), why });
                }
            }
            (Err(pause), None) => {
                let leg = &mut found.legs[leg];
                leg.asked = None;
                leg.due = turn.elapsed + doubled(leg.tries).min(LONGEST_PAUSE).max(pause.unwrap_or_default());
                leg.tries += 1;
            }
        }
    }

    /// Whether a message like this was not taken by all relays yet.
    pub(super) fn is_on_its_way(&self, letter: &Letter) -> bool {
        self.outgoing.iter().any(|outgoing| outgoing.letter == *letter)
    }

    /// The first relay took a message.
    fn delivered(&mut self, turn: &Turn<'_>, contact: &str, letter: Letter) {
        match letter {
            Letter::Goodbye(to) => self.goodbye_sent(turn, &to),
            // The other side may answer any moment.
            Letter::Offer | Letter::Answer | Letter::Candidates | Letter::Refusal => {
                self.expect(turn, contact)
            }
        }
    }
}

/// What a relay refuses for a while only.
const PASSING: [&str; 2] = ["Busy", "Too often"];
