//! The end of a contact: a sealed goodbye, the boxes deleted at the relays, then all keys.

use super::{
    Asked, Event, NotDone, Output, PersistPoint, RequestId, Sessions, Side, Turn, mailbox::PATIENCE,
    outbox::Letter,
};
use crate::{
    client::{
        contact::Goodbye,
        exchange::{Misbehaviour, NoReply},
    },
    protocol::{Checked, Connectoid, Ext, PublicKey, RelayUrl, Request, Upto},
    seal::{
        message::{Content, seal_message},
        question::open_question,
    },
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
    /// Whether the question was answered: what is awaited is the reply to the delete.
    answered: bool,
}

impl Sessions {
    /// Ends a contact: the other side is told, the boxes are deleted at the relays, then every key. It cannot be undone.
    ///
    /// # Errors
    /// If there is no such contact.
    pub fn unshare(&mut self, turn: &mut Turn<'_>, name: &str) -> Result<(), NotDone> {
        let contact = self.contacts.get_mut(name).ok_or_else(|| NotDone::NoContact(name.to_owned()))?;
        if contact.leaving {
            return Ok(());
        }
        contact.leaving = true;
        if contact.pinned().is_some()
            && let Some(peer) = &contact.peer
        {
            let to = peer.connectoid.clone();
            let (signer, n) = contact.signer.next(&mut turn.rng);
            let sealed =
                seal_message(&mut turn.rng, &to.key, to.secret.as_ref(), &signer, n, turn.now, &Content::Bye);
            if let Ok(sealed) = sealed {
                let Connectoid { key, relays, ext, .. } = to;
                let (data, made, sent) = (sealed.data, turn.now, 0);
                self.goodbyes.push(Goodbye { to: key, relays, ext, data, made, sent });
            }
        }
        self.close_sessions(name);
        self.recall_all(name);
        self.store(name, PersistPoint::UnshareBegun);
        self.delete_boxes(turn, name);
        self.over(name, Side::Own);
        self.tick(turn);
        Ok(())
    }

    /// The other side ended the contact.
    pub(super) fn bye_taken(&mut self, turn: &mut Turn<'_>, name: &str) {
        if let Some(contact) = self.contacts.get_mut(name) {
            contact.leaving = true;
        }
        self.close_sessions(name);
        self.recall_all(name);
        self.store(name, PersistPoint::ByeTaken);
        self.over(name, Side::Peer);
        self.delete_boxes(turn, name);
    }

    /// Deletes all boxes of a contact at their relays, and then the contact.
    pub(super) fn delete_boxes(&mut self, turn: &mut Turn<'_>, name: &str) {
        let Some(contact) = self.contacts.get(name) else { return };
        let mut deletions = Vec::new();
        for own in &contact.boxes {
            for relay in &own.relays {
                let (contact, relay, key) = (name.to_owned(), relay.clone(), own.key.public());
                deletions.push(Deletion {
                    contact,
                    relay,
                    key,
                    ext: own.ext.clone(),
                    tries: 0,
                    answered: false,
                });
            }
        }
        let keys: Vec<_> = deletions.iter().map(|deletion| (deletion.relay.clone(), deletion.key)).collect();
        self.deletions.append(&mut deletions);
        for (relay, key) in keys {
            self.ask_to_delete(turn, &relay, key);
        }
        self.forget_if_deleted(name);
    }

    fn ask_to_delete(&mut self, _: &mut Turn<'_>, relay: &RelayUrl, key: PublicKey) {
        let found =
            self.deletions.iter_mut().find(|deletion| deletion.relay == *relay && deletion.key == key);
        let Some(deletion) = found else { return };
        deletion.tries += 1;
        deletion.answered = false;
        let request = Request::Check {
            key,
            ext: deletion.ext.clone(),
            at: crate::protocol::At::START,
            ask: true,
            relay: Some(relay.to_string()),
            wait: 0,
        };
        self.delete_request(relay, key, request);
    }

    fn delete_request(&mut self, relay: &RelayUrl, key: PublicKey, request: Request) {
        let id = RequestId(self.new_id());
        self.asked.insert(id, Asked::Delete { relay: relay.clone(), key });
        self.outputs.push_back(Output::Request { id, relay: relay.clone(), request, patience: PATIENCE });
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
        let done = if self.deletions[index].answered {
            self.read::<serde_json::Value>(relay, reply).is_ok()
        } else {
            let checked = self.read::<Checked>(relay, reply).ok();
            let replied = checked.is_some();
            let question = checked.and_then(|checked| checked.question);
            let asked = question.is_some();
            let mut boxes = self.contacts.get(&name).into_iter().flat_map(|contact| &contact.boxes);
            let own = boxes.find(|own| own.key.public() == key);
            let answer =
                own.zip(question).and_then(|(own, question)| open_question(&own.key, relay, &question).ok());
            if let Some(answer) = answer {
                let deletion = &mut self.deletions[index];
                deletion.answered = true;
                let request = Request::Delete { key, ext: deletion.ext.clone(), answer, upto: Upto::All };
                return self.delete_request(relay, key, request);
            }
            if replied {
                let what = if asked { Misbehaviour::ForeignQuestion } else { Misbehaviour::NoQuestion };
                self.event(Event::Misbehaves { relay: relay.clone(), what });
            }
            false
        };
        if done || self.deletions[index].tries >= TRIES {
            self.deletions.remove(index);
            self.forget_if_deleted(&name);
        } else {
            self.ask_to_delete(turn, relay, key);
        }
    }

    /// Deletes a contact with all its keys once there is nothing left to delete at the relays.
    fn forget_if_deleted(&mut self, name: &str) {
        if self.deletions.iter().any(|deletion| deletion.contact == name) {
            return;
        }
        self.contacts.remove(name);
        self.live.remove(name);
        self.store(name, PersistPoint::Unshared);
    }

    /// Sends the goodbyes that are due.
    pub(super) fn send_goodbyes(&mut self, turn: &Turn<'_>) {
        let before = self.goodbyes.len();
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
                GOODBYES.get(goodbye.sent as usize).is_some_and(|after| since >= *after)
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
    pub(super) fn goodbye_sent(&mut self, to: &PublicKey) {
        if let Some(goodbye) = self.goodbyes.iter_mut().find(|goodbye| goodbye.to == *to) {
            goodbye.sent += 1;
            self.store("", PersistPoint::ByeSent);
        }
    }
}
