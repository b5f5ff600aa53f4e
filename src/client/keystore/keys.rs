//! What the keys file holds: contacts, the counters of what was sent and seen, notes not handed over yet.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use zeroize::Zeroizing;

use crate::{
    protocol::{Connectoid, Ext, LinkSecret, PublicKey, RelayUrl, base64url},
    seal::{BoxKey, SigningKey},
};

/// The counters kept per signer: of each signer the 64 highest seen; anything below all of them is refused.
const WINDOW: usize = 64;

/// The signers remembered per box. Beyond, new ones are refused: to forget one would let the relay replay its notes.
const SIGNERS: usize = 1024;

/// How far a counter jumps when its key moves to a new device: more than the old one will have sent since the export.
const MOVED: u64 = 1 << 20;

/// All that this user keeps.
#[derive(Default, Serialize, Deserialize)]
pub struct Keys {
    pub(super) version: u32,
    /// The people links were made for.
    pub contacts: Vec<Contact>,
    /// The links that were written to.
    #[serde(default)]
    pub sent: Vec<Sent>,
}

/// Someone a link was made for, and the box that the link leads to.
#[derive(Serialize, Deserialize)]
pub struct Contact {
    /// The nickname; unique.
    pub name: String,
    /// The private key of the box.
    #[serde(with = "box_key")]
    pub key: BoxKey,
    /// The link's secret; none for a link in the original two-part form.
    #[serde(default, with = "secret", skip_serializing_if = "Option::is_none")]
    pub secret: Option<LinkSecret>,
    /// The relays of the link, in order of preference.
    pub relays: Vec<RelayUrl>,
    /// What the link carries for the relays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ext: Option<Ext>,
    /// When the link was made, Unix milliseconds.
    pub made: u64,
    /// When it stops being read, Unix milliseconds; never, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// The counters of signers seen, against replay.
    #[serde(default)]
    seen: Vec<Seen>,
    /// Notes received and not handed over yet.
    #[serde(default)]
    pub inbox: Vec<InboxNote>,
}

/// The counters of one signer.
#[derive(Serialize, Deserialize)]
struct Seen {
    ik: PublicKey,
    n: BTreeSet<u64>,
}

/// A note on its way from the relay to the user.
#[derive(Clone, Serialize, Deserialize)]
pub struct InboxNote {
    /// Which relay it came from.
    pub relay: RelayUrl,
    /// Who signed it; proves no more than possession of the link.
    pub ik: PublicKey,
    /// The signer's counter.
    pub n: u64,
    /// When it was sealed as its sender says, Unix milliseconds.
    pub ts: u64,
    /// What it says.
    #[serde(with = "base64url::serde_bytes")]
    pub note: Vec<u8>,
}

/// A link that was written to: the key that signs for it and its counter.
#[derive(Serialize, Deserialize)]
pub struct Sent {
    /// The box.
    pub to: PublicKey,
    #[serde(with = "signing_key")]
    key: SigningKey,
    pub(super) n: u64,
}

/// Why a note was not taken into the inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// Its signer's counter was seen before, or is below all that are remembered.
    #[error("was received before")]
    Repeated,
    /// Its signer is new, and the box remembers as many as it can.
    #[error("is of one sender too many: this link was used by {SIGNERS} senders, make a new one")]
    TooManySigners,
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
                if here.key.public() == contact.key.public() {
                    contact.was_also(here);
                }
            }
            self.contacts.push(contact);
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

impl Contact {
    /// A contact whose link was made at `made` (Unix milliseconds) and was not used yet.
    pub fn new(name: String, key: BoxKey, relays: Vec<RelayUrl>, made: u64) -> Self {
        Self {
            name,
            key,
            secret: None,
            relays,
            ext: None,
            made,
            expires: None,
            seen: Vec::new(),
            inbox: Vec::new(),
        }
    }

    /// What the link carries: all that one needs to write to this box.
    pub fn connectoid(&self) -> Connectoid {
        Connectoid {
            key: self.key.public(),
            relays: self.relays.clone(),
            ext: self.ext.clone(),
            secret: self.secret.clone(),
        }
    }

    /// Whether the link has expired at `now`, Unix milliseconds.
    pub fn has_expired(&self, now: u64) -> bool {
        self.expires.is_some_and(|expires| now >= expires)
    }

    /// Whether the two cannot both be kept.
    fn is_like(&self, other: &Contact) -> bool {
        self.name == other.name || self.key.public() == other.key.public()
    }

    /// Takes over what came to the same box here: what was seen stays seen, and what was handed over is not again.
    fn was_also(&mut self, mut here: Contact) {
        for note in self.inbox.drain(..) {
            // Refused if it was seen here.
            let _ = here.take(note);
        }
        self.inbox = here.inbox;
        for there in here.seen {
            match self.seen.iter_mut().find(|seen| seen.ik == there.ik) {
                Some(seen) => {
                    seen.n.extend(there.n);
                    while seen.n.len() > WINDOW {
                        seen.n.pop_first();
                    }
                }
                None => self.seen.push(there),
            }
        }
    }

    /// Takes a note into the inbox, once.
    ///
    /// # Errors
    /// If it was taken before, or cannot be told from one that was.
    pub fn take(&mut self, note: InboxNote) -> Result<(), NotTaken> {
        let index = match self.seen.iter().position(|seen| seen.ik == note.ik) {
            Some(index) => index,
            None if self.seen.len() >= SIGNERS => return Err(NotTaken::TooManySigners),
            None => {
                self.seen.push(Seen { ik: note.ik, n: BTreeSet::new() });
                self.seen.len() - 1
            }
        };
        let seen = &mut self.seen[index].n;
        let below_all = seen.len() >= WINDOW && seen.first().is_some_and(|lowest| note.n < *lowest);
        if below_all || !seen.insert(note.n) {
            return Err(NotTaken::Repeated);
        }
        if seen.len() > WINDOW {
            seen.pop_first();
        }
        self.inbox.push(note);
        Ok(())
    }
}

/// Private keys in the file, as base64url. Nothing else in the program writes them anywhere.
macro_rules! key_in_file {
    ($module:ident, $key:ty) => {
        mod $module {
            use super::*;

            pub(super) fn serialize<S: Serializer>(key: &$key, out: S) -> Result<S::Ok, S::Error> {
                out.serialize_str(&Zeroizing::new(base64url::encode(key.to_bytes().as_slice())))
            }

            pub(super) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<$key, D::Error> {
                let text = Zeroizing::new(String::deserialize(input)?);
                let bytes = Zeroizing::new(base64url::decode(&text).map_err(D::Error::custom)?);
                <$key>::from_bytes(&bytes).map_err(D::Error::custom)
            }
        }
    };
}

key_in_file!(box_key, BoxKey);
key_in_file!(signing_key, SigningKey);

mod secret {
    use super::*;

    pub(super) fn serialize<S: Serializer>(secret: &Option<LinkSecret>, out: S) -> Result<S::Ok, S::Error> {
        match secret {
            Some(secret) => out.serialize_str(&Zeroizing::new(base64url::encode(secret.expose()))),
            None => out.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Option<LinkSecret>, D::Error> {
        let text: Option<Zeroizing<String>> = Option::<String>::deserialize(input)?.map(Zeroizing::new);
        let secret = text.map(|text| base64url::decode_exactly(&text).map(LinkSecret::from_bytes));
        secret.transpose().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    fn contact(rng: &mut StdRng, name: &str) -> Contact {
        let relay = "https://connecto.id".parse().unwrap();
        Contact::new(name.into(), BoxKey::generate(rng), vec![relay], 5)
    }

    fn note(ik: PublicKey, n: u64) -> InboxNote {
        InboxNote { relay: "https://connecto.id".parse().unwrap(), ik, n, ts: 5, note: b"x".to_vec() }
    }

    #[test]
    fn each_counter_counts_once() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut bob = contact(&mut rng, "Bob");
        let ik = SigningKey::generate(&mut rng).public();
        for n in [5, 3, 100, 4] {
            assert_eq!(bob.take(note(ik, n)), Ok(()), "{n}");
            assert_eq!(bob.take(note(ik, n)), Err(NotTaken::Repeated), "{n}");
        }
        for n in 101..200 {
            assert_eq!(bob.take(note(ik, n)), Ok(()), "{n}");
        }
        // 64 are remembered, 136 to 199; all below count as seen.
        for n in [1, 5, 100, 135, 136, 199] {
            assert_eq!(bob.take(note(ik, n)), Err(NotTaken::Repeated), "{n}");
        }
        assert_eq!(bob.take(note(ik, 200)), Ok(()));
    }

    #[test]
    fn signers_are_remembered_for_ever_up_to_a_number() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut bob = contact(&mut rng, "Bob");
        let some = SigningKey::generate(&mut rng).public();
        bob.seen = (0..SIGNERS).map(|_| Seen { ik: some, n: BTreeSet::new() }).collect();
        let ik = SigningKey::generate(&mut rng).public();
        assert_eq!(bob.take(note(ik, 1)), Err(NotTaken::TooManySigners));
    }

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
}
