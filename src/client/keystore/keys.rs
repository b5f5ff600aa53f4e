//! What the keys file holds: contacts, the counters of what was sent, goodbyes on their way.

use serde::{Deserialize, Serialize};

use super::{secrets::signing_key, v1::ContactV1};
use crate::{
    client::contact::{Contact, Goodbye},
    protocol::PublicKey,
    seal::SigningKey,
};

/// How far a counter jumps when its key moves to a new device: more than the old one will have sent since the export.
const MOVED: u64 = 1 << 20;

/// All that this user keeps.
#[derive(Default, Serialize, Deserialize)]
pub struct Keys {
    pub(super) version: u32,
    /// The people on the other side.
    pub contacts: Vec<Contact>,
    /// The links that notes were sent to.
    #[serde(default)]
    pub sent: Vec<Sent>,
    /// What is left of contacts that were unshared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub goodbyes: Vec<Goodbye>,
}

/// The keys in version 1 of the file.
#[derive(Deserialize)]
pub(super) struct KeysV1 {
    contacts: Vec<ContactV1>,
    #[serde(default)]
    sent: Vec<Sent>,
}

/// A link that notes were sent to: the key that signs for it and its counter.
#[derive(Serialize, Deserialize)]
pub struct Sent {
    /// The box.
    pub to: PublicKey,
    #[serde(with = "signing_key")]
    key: SigningKey,
    pub(super) n: u64,
}

impl From<KeysV1> for Keys {
    fn from(old: KeysV1) -> Self {
        let contacts = old.contacts.into_iter().map(Contact::from).collect();
        Self { version: 1, contacts, sent: old.sent, goodbyes: Vec::new() }
    }
}

impl Keys {
    /// The contact with this nickname.
    pub fn contact(&self, name: &str) -> Option<&Contact> {
        self.contacts.iter().find(|contact| contact.name == name)
    }

    /// The contact with this nickname, to change it.
    pub fn contact_mut(&mut self, name: &str) -> Option<&mut Contact> {
        self.contacts.iter_mut().find(|contact| contact.name == name)
    }

    /// The signing key for a box and the next counter under it, which counts as used.
    ///
    /// `fresh` becomes the key if the box was never written to.
    pub fn next_signature(&mut self, to: PublicKey, fresh: SigningKey) -> (SigningKey, u64) {
        let index = match self.sent.iter().position(|sent| sent.to == to) {
            Some(index) => index,
            None => {
                self.sent.push(Sent { to, key: fresh, n: 0 });
                self.sent.len() - 1
            }
        };
        let sent = &mut self.sent[index];
        sent.n += 1;
        (sent.key.clone(), sent.n)
    }

    /// Makes the keys of an old device those of a new one: every signing key's counter jumps far ahead.
    ///
    /// A counter that is used twice makes one of two messages vanish, so what the old device sent after the export must not
    /// meet what the new one sends. The old one must not be used on: it does not know where this one is.
    pub fn moved_to_a_new_device(&mut self) {
        for sent in &mut self.sent {
            sent.n = sent.n.saturating_add(MOVED);
        }
        for contact in &mut self.contacts {
            contact.signer.skip(MOVED);
        }
    }

    /// The nicknames of the contacts here that have the name or the key of one there.
    pub(super) fn in_the_way_of(&self, moved: &Keys) -> Vec<String> {
        let here = self.contacts.iter().filter(|here| moved.contacts.iter().any(|there| there.is_like(here)));
        here.map(|here| here.name.clone()).collect()
    }

    /// Takes over contacts and signing keys, which go before those that are here. No counter goes back.
    pub(super) fn take_over(&mut self, moved: Keys) {
        for mut contact in moved.contacts {
            let like: Vec<Contact> = self.contacts.extract_if(.., |here| contact.is_like(here)).collect();
            for here in like {
                contact.was_also(here);
            }
            self.contacts.push(contact);
        }
        for goodbye in moved.goodbyes {
            self.goodbyes.retain(|here| here.to != goodbye.to || here.sent > goodbye.sent);
            if self.goodbyes.iter().all(|here| here.to != goodbye.to) {
                self.goodbyes.push(goodbye);
            }
        }
        for mut sent in moved.sent {
            let to = sent.to;
            for here in self.sent.extract_if(.., |here| here.to == to) {
                if here.key.public() == sent.key.public() {
                    sent.n = sent.n.max(here.n);
                }
            }
            self.sent.push(sent);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;
    use crate::{
        client::contact::{OwnBox, SharedLink},
        seal::BoxKey,
    };

    #[test]
    fn counters_go_up_per_box() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut keys = Keys::default();
        let (one, two) = (BoxKey::generate(&mut rng).public(), BoxKey::generate(&mut rng).public());
        let (first, n) = keys.next_signature(one, SigningKey::generate(&mut rng));
        assert_eq!(n, 1);
        let (again, n) = keys.next_signature(one, SigningKey::generate(&mut rng));
        assert_eq!((n, again.public()), (2, first.public()));
        let (other, n) = keys.next_signature(two, SigningKey::generate(&mut rng));
        assert_eq!(n, 1);
        assert_ne!(other.public(), first.public());
    }

    #[test]
    fn on_a_new_device_the_counter_of_a_contact_jumps_too() {
        let mut rng = StdRng::seed_from_u64(1);
        let own = OwnBox::generate(&mut rng, vec!["https://connecto.id".parse().unwrap()], None);
        let mut bob = Contact::shared("Bob".into(), own, SharedLink::new(None), 5);
        let (before, n) = bob.signer.next(&mut rng);
        assert_eq!(n, 1);
        let mut keys = Keys { contacts: vec![bob], ..Keys::default() };
        keys.moved_to_a_new_device();
        let (after, n) = keys.contact_mut("Bob").unwrap().signer.next(&mut rng);
        assert_eq!((n, after.public()), (1_048_578, before.public()));
    }
}
