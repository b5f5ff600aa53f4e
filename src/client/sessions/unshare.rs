//! The end of a contact: a sealed goodbye, the boxes deleted at the relays, then all keys.

use std::time::Duration;

use super::{
    Asked, Event, NotDone, Output, PersistPoint, RequestId, Sessions, Turn, mailbox::doubled, outbox::Letter,
};
use crate::{
    client::{
        contact::{Goodbye, Side},
        exchange::{Done, Misbehaviour, NoReply},
        reading,
    },
    protocol::{Answer, At, Checked, Connectoid, Ext, PublicKey, RelayUrl, Request, Upto},
    seal::message::{Content, seal_message},
};

/// When a goodbye is sent, in milliseconds after it was sealed. A relay keeps it for an hour each time.
const GOODBYES: [u64; 3] = [0, 3_600_000, 86_400_000];

/// When it is given up, in milliseconds.
const GOODBYE_LIFE: u64 = 2 * 86_400_000;

/// How often a relay is asked to delete a box. What it does not delete expires there.
const TRIES: u32 = 3;

/// A box that is to be deleted at a relay.
pub(super) struct Deletion {
    contact: String,
    relay: RelayUrl,
    key: PublicKey,
    ext: Option<Ext>,
    tries: u32,
    step: Step,
}

/// How far the deletion of a box is.
enum Step {
    /// To be asked for a question, from then on.
    Due(Duration),
    /// The question is awaited.
    Asked,
    /// It was answered; what is awaited is the reply to the delete.
    Answered,
}

impl Deletion {
    pub(super) fn due(&self) -> Option<Duration> {
        match self.step {
            Step::Due(due) => Some(due),
            Step::Asked | Step::Answered => None,
        }
    }
}

impl Sessions {
    /// Ends a contact: the other side is told, the boxes are deleted at the relays, then every key. It cannot be undone.
    ///
    /// # Errors
    /// If there is no such contact.
    pub fn unshare(&mut self, turn: &mut Turn<'_>, name: &str) -> Result<(), NotDone> {
        let contact = self.contacts.get_mut(name).ok_or_else(|| NotDone::NoContact(name.to_owned()))?;
        if contact.leaving.is_some() {
            return Ok(());
        }
        contact.leaving = Some(Side::Own);
        if contact.pinned().is_some()
            && let Some(peer) = &contact.peer
        {
            let to = peer.connectoid.clone();
            let (signer, n) = contact.signer.next(&mut turn.rng);
            let sealed =
                seal_message(&mut turn.rng, &to.key, to.secret.as_ref(), &signer, n, turn.now, &Content::Bye);
            if let Ok(sealed) = sealed {
                let Connectoid { key, relays, ext, .. } = to;
                let (data, made) = (sealed.data, turn.now);
                self.goodbyes.push(Goodbye { to: key, relays, ext, data, made, sent: 0, last: None });
            }
        }
        self.leave(turn, name, PersistPoint::UnshareBegun);
        self.tick(turn);
        Ok(())
    }

    /// The other side ended the contact.
    pub(super) fn bye_taken(&mut self, turn: &mut Turn<'_>, name: &str) {
        if let Some(contact) = self.contacts.get_mut(name) {
            contact.leaving = Some(Side::Peer);
        }
        self.leave(turn, name, PersistPoint::ByeTaken);
    }

    fn leave(&mut self, turn: &Turn<'_>, name: &str, why: PersistPoint) {
        self.no_more_tries(name);
        self.close_sessions(name);
        self.recall_all(name);
        self.store(name, why);
        if why == PersistPoint::ByeTaken {
            self.event(Event::Unshared { contact: name.to_owned(), by: Side::Peer });
        }
        self.delete_boxes(turn, name);
    }

    /// Deletes all boxes of a contact at their relays, and then the contact.
    pub(super) fn delete_boxes(&mut self, turn: &Turn<'_>, name: &str) {
        let Some(contact) = self.contacts.get(name) else { return };
        for own in &contact.boxes {
            for relay in &own.relays {
                self.deletions.push(Deletion {
                    contact: name.to_owned(),
                    relay: relay.clone(),
                    key: own.key.public(),
                    ext: own.ext.clone(),
                    tries: 0,
                    step: Step::Due(turn.elapsed),
                });
            }
        }
        self.delete_due(turn);
        self.forget_if_deleted(name);
    }

    /// Asks for the questions that are due.
    pub(super) fn delete_due(&mut self, turn: &Turn<'_>) {
        let mut due = Vec::new();
        for deletion in &mut self.deletions {
            if deletion.due().is_some_and(|due| due <= turn.elapsed) {
                deletion.tries += 1;
                deletion.step = Step::Asked;
                due.push((deletion.relay.clone(), deletion.key, deletion.ext.clone()));
            }
        }
        for (relay, key, ext) in due {
            let named = Some(relay.to_string());
            let check = Request::Check { key, ext, at: At::START, ask: true, relay: named, wait: 0 };
            self.delete_request(&relay, key, check);
        }
    }

    fn delete_request(&mut self, relay: &RelayUrl, key: PublicKey, request: Request) {
        let id = RequestId(self.new_id());
        self.asked.insert(id, Asked::Delete { relay: relay.clone(), key });
        self.outputs.push_back(Output::Request { id, relay: relay.clone(), request });
    }

    /// The reply to one of the two requests that delete a box.
    pub(super) fn deletion_step(
        &mut self,
        turn: &mut Turn<'_>,
        relay: &RelayUrl,
        key: PublicKey,
        reply: Result<(u16, &[u8]), NoReply>,
    ) {
        let is = |deletion: &Deletion| deletion.relay == *relay && deletion.key == key;
        let Some(index) = self.deletions.iter().position(is) else { return };
        let name = self.deletions[index].contact.clone();
        let deletion = &self.deletions[index];
        let done = match deletion.step {
            Step::Answered => self.read::<Done>(relay, reply).is_ok(),
            Step::Due(_) | Step::Asked => {
                let ext = deletion.ext.clone();
                let checked = self.read::<Checked>(relay, reply).ok();
                let answer = checked.map(|checked| self.answer_to_delete(&name, relay, key, &checked));
                match answer {
                    Some(Ok(answer)) => {
                        self.deletions[index].step = Step::Answered;
                        let request = Request::Delete { key, ext, answer, upto: Upto::All };
                        return self.delete_request(relay, key, request);
                    }
                    Some(Err(what)) => self.event(Event::Misbehaves { relay: relay.clone(), what }),
                    None => {}
                }
                false
            }
        };
        let deletion = &mut self.deletions[index];
        if done || deletion.tries >= TRIES {
            self.deletions.remove(index);
            self.forget_if_deleted(&name);
        } else {
            deletion.step = Step::Due(turn.elapsed + doubled(deletion.tries));
        }
    }

    fn answer_to_delete(
        &self,
        name: &str,
        relay: &RelayUrl,
        key: PublicKey,
        checked: &Checked,
    ) -> Result<Answer, Misbehaviour> {
        let mut boxes = self.contacts.get(name).into_iter().flat_map(|contact| &contact.boxes);
        let own = boxes.find(|own| own.key.public() == key).ok_or(Misbehaviour::ForeignQuestion)?;
        reading::answer(&own.key, relay, checked.relay.as_deref(), checked.question.as_deref())
    }

    /// Deletes a contact with all its keys once there is nothing left to delete at the relays.
    fn forget_if_deleted(&mut self, name: &str) {
        if self.deletions.iter().any(|deletion| deletion.contact == name) {
            return;
        }
        self.close_sessions(name);
        let leaving = self.contacts.remove(name).and_then(|contact| contact.leaving);
        self.live.remove(name);
        self.store(name, PersistPoint::Unshared);
        if leaving == Some(Side::Own) {
            self.event(Event::Unshared { contact: name.to_owned(), by: Side::Own });
        }
    }

    /// Sends the goodbyes that are due.
    pub(super) fn send_goodbyes(&mut self, turn: &Turn<'_>) {
        let before = self.goodbyes.len();
        // The clock may have been set back since.
        for goodbye in &mut self.goodbyes {
            (goodbye.made, goodbye.last) =
                (goodbye.made.min(turn.now), goodbye.last.map(|last| last.min(turn.now)));
        }
        self.goodbyes.retain(|goodbye| {
            (goodbye.sent as usize) < GOODBYES.len() && turn.now.saturating_sub(goodbye.made) < GOODBYE_LIFE
        });
        if self.goodbyes.len() != before {
            self.store("", PersistPoint::ByeSent);
        }
        let due: Vec<Goodbye> = self
            .goodbyes
            .iter()
            .filter(|goodbye| {
                let since = turn.now.saturating_sub(goodbye.made);
                // Within the hour the relay would know it, and keep it no longer.
                let rested = goodbye.last.is_none_or(|last| turn.now.saturating_sub(last) >= GOODBYES[1]);
                rested && GOODBYES.get(goodbye.sent as usize).is_some_and(|after| since >= *after)
            })
            .cloned()
            .collect();
        for goodbye in due {
            let letter = Letter::Goodbye(goodbye.to);
            if self.is_on_its_way(&letter) {
                continue;
            }
            let Goodbye { to: key, relays, ext, data, .. } = goodbye;
            self.post(turn, "", &Connectoid { key, relays, ext, secret: None }, letter, data);
        }
    }

    /// A relay took a goodbye.
    pub(super) fn goodbye_sent(&mut self, turn: &Turn<'_>, to: &PublicKey) {
        if let Some(goodbye) = self.goodbyes.iter_mut().find(|goodbye| goodbye.to == *to) {
            goodbye.sent += 1;
            goodbye.last = Some(turn.now);
            self.store("", PersistPoint::ByeSent);
        }
    }
}
