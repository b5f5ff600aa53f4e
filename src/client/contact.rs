//! A contact: the person and device on the other side, and all that is kept of them.
//!
//! Only the keystore writes these. What they mean is in the rules of [`super::sessions`].

use std::collections::BTreeSet;

use rand::CryptoRng;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::keystore::secrets::{
    box_key, connectoid, optional_sas, optional_secret, optional_signing_key, secret_bytes,
};
use crate::{
    defences::{Defence, holds},
    protocol::{Connectoid, Ext, LinkSecret, PublicKey, RelayUrl, base64url},
    seal::{BoxKey, SigningKey, message::OfferHash, transcript::Sas},
};

/// The counters kept per signer: of each signer the 64 highest seen; anything below all of them is refused.
const WINDOW: usize = 64;

/// The signers of notes remembered per link. Beyond, new ones are refused: to forget one would let the relay replay its
/// notes.
const SIGNERS: usize = 1024;

/// The notes an inbox holds, and their bytes. More stay at the relay until it is emptied.
const INBOX_NOTES: usize = 256;
const INBOX_BYTES: usize = 1024 * 1024;

/// The boxes of the other side that were replaced and are remembered, so that an old offer cannot bring one back.
const REPLACED: usize = 16;

/// How long somebody who claimed a link goes on trying to connect, in milliseconds: 48 hours.
const CLAIM_LIFE: u64 = 2 * 86_400_000;

/// A contact.
///
/// It holds private keys and has no `Debug` for that reason. It serializes with them, for the keys file and for an app
/// that brings its own [`Disk`](super::Disk); nothing else should write it.
#[derive(Clone, Serialize, Deserialize)]
pub struct Contact {
    /// The nickname; unique.
    pub name: String,
    /// When the contact was made, Unix milliseconds.
    pub made: u64,
    /// When the other side last proved to be there, Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<u64>,
    /// What the two people said of the short authentication string.
    #[serde(default)]
    pub verification: Verification,
    /// The short authentication string of the first session under the pinned keys.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_sas")]
    pub sas: Option<Sas>,
    /// Whether no app data may flow before the string was confirmed: the link had no secret, came in a query, or was
    /// used twice.
    #[serde(default)]
    pub unproven: bool,
    /// The own boxes for this contact, oldest first; the last is the one to write to.
    pub boxes: Vec<OwnBox>,
    /// The link that was shared; none if it was the other side that shared one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<SharedLink>,
    /// What signs for this contact.
    #[serde(default)]
    pub signer: Signer,
    /// Who is on the other side, as far as it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<Peer>,
    /// An attempt to connect that goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connecting: Option<Connecting>,
    /// When the own box was last replaced, Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rekeyed: Option<u64>,
    /// Why there is no attempt to connect any more, until the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
    /// Who ended this contact, if it is over: what is left to do is to delete its boxes at the relays, and then all keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaving: Option<Side>,
    /// The counters of those who wrote notes to the link, against replay.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) seen: Vec<Seen>,
    /// Notes received and not handed over yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inbox: Vec<InboxNote>,
}

/// What the two people said of the short authentication string.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verification {
    /// Nothing yet.
    #[default]
    Unverified,
    /// It is the same on both sides.
    Verified,
    /// It is not: somebody stands in the middle.
    Mismatch,
}

/// Who did something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// This device.
    Own,
    /// The other one.
    Peer,
}

/// How an attempt to connect ended without a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Ended {
    /// Somebody else had used the link.
    LinkUsed,
    /// The other side did not want to.
    Declined,
    /// Nobody answered for 48 hours.
    GaveUp,
}

/// A mailbox of one's own.
#[derive(Clone, Serialize, Deserialize)]
pub struct OwnBox {
    /// Its private key.
    #[serde(with = "box_key")]
    pub key: BoxKey,
    /// Its secret; none for a link in the original two- or three-part form.
    #[serde(default, with = "optional_secret", skip_serializing_if = "Option::is_none")]
    pub secret: Option<LinkSecret>,
    /// The relays it is at, in order of preference.
    pub relays: Vec<RelayUrl>,
    /// What its connectoid carries for the relays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ext: Option<Ext>,
    /// When the other side said that it will write here from now on, Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<u64>,
    /// Whether the other side wrote here.
    #[serde(default)]
    pub used: bool,
}

/// A link that was shared, and what became of it.
#[derive(Clone, Serialize, Deserialize)]
pub struct SharedLink {
    /// When it stops being answered if nobody used it, Unix milliseconds; never, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// How far it is.
    #[serde(default)]
    pub state: LinkState,
    /// When it was claimed, Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed: Option<u64>,
    /// The offers answered before a proof succeeded.
    #[serde(default)]
    pub answered: u32,
    /// When somebody else was first seen to use it, Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_twice: Option<u64>,
    /// The offers of others that were refused: at most eight, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<OfferHash>,
}

/// How far a link is. It never goes back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkState {
    /// Whoever has it may use it.
    #[default]
    Open,
    /// Somebody's offer came.
    Claimed,
    /// That one proved to have made it.
    Connected,
    /// Its box was replaced; kept to notice that the link is used twice. Since when, Unix milliseconds.
    Retired(u64),
    /// Its box is gone.
    Closed,
}

/// A signing key, made when it is first needed, and its counter.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Signer {
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_signing_key")]
    key: Option<SigningKey>,
    #[serde(default)]
    n: u64,
}

/// The other side.
#[derive(Clone, Serialize, Deserialize)]
pub struct Peer {
    /// Where to write to.
    #[serde(with = "connectoid")]
    pub connectoid: Connectoid,
    /// The highest counter of an offer that said so.
    #[serde(default)]
    said_at: u64,
    /// Boxes that were written to before, the latest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    replaced: Vec<PublicKey>,
    /// The signing key of the other side; none before its first message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ik: Option<PublicKey>,
    /// Whether a proof under `ik` succeeded; until then it is provisional.
    #[serde(default)]
    pub pinned: bool,
    #[serde(default)]
    seen: BTreeSet<u64>,
    /// The payload of an offer that is not answered yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unanswered: Option<Unanswered>,
}

/// An offer that is not answered yet.
#[derive(Clone, Serialize, Deserialize)]
pub struct Unanswered {
    /// Its payload as it was signed.
    #[serde(with = "secret_bytes")]
    pub payload: Zeroizing<Vec<u8>>,
    /// The own box it came to.
    pub to: PublicKey,
    /// When it came, Unix milliseconds.
    pub came: u64,
}

/// An attempt to connect that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connecting {
    /// Since when, Unix milliseconds.
    pub since: u64,
    /// The offers made.
    pub tries: u32,
}

/// The counters of one signer of notes.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Seen {
    ik: PublicKey,
    n: BTreeSet<u64>,
}

/// A note on its way from the relay to the user.
#[derive(Clone, Serialize, Deserialize)]
pub struct InboxNote {
    /// Which relay it came from.
    pub relay: RelayUrl,
    /// Who signed it; proves no more than possession of the link, unless it is the contact's pinned key.
    pub ik: PublicKey,
    /// The signer's counter.
    pub n: u64,
    /// When it was sealed as its sender says, Unix milliseconds.
    pub ts: u64,
    /// What it says.
    #[serde(with = "base64url::serde_bytes")]
    pub note: Vec<u8>,
}

/// What is left of a contact that was unshared: a sealed `bye`, which is sent again for a while.
#[derive(Clone, Serialize, Deserialize)]
pub struct Goodbye {
    /// The box it is for.
    pub to: PublicKey,
    /// Its relays.
    pub relays: Vec<RelayUrl>,
    /// What its connectoid carries for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ext: Option<Ext>,
    /// The sealed message.
    #[serde(with = "base64url::serde_bytes")]
    pub data: Vec<u8>,
    /// When it was sealed, Unix milliseconds.
    pub made: u64,
    /// How often it was sent.
    pub sent: u32,
    /// When that was last, Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<u64>,
}

/// Why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotTaken {
    /// Its signer's counter was seen before, or is below all that are remembered.
    #[error("was received before")]
    Repeated,
    /// Its signer is new, and the box remembers as many as it can.
    #[error("is of one sender too many: this link was used by {SIGNERS} senders, make a new one")]
    TooManySigners,
    /// Its signer may not write to this box.
    #[error("is signed by a key that may not write here")]
    UnknownSigner,
    /// The inbox is full.
    #[error("has no room in the inbox: take the notes that are in it")]
    InboxFull,
}

impl Contact {
    /// Somebody a link to `own` was made for at `made` (Unix milliseconds).
    pub fn shared(name: String, own: OwnBox, link: SharedLink, made: u64) -> Self {
        let unproven = own.secret.is_none();
        Self { link: Some(link), unproven, ..Self::new(name, own, made) }
    }

    /// Somebody whose link is used, from `made` (Unix milliseconds) on; `own` is where the answer comes. `seen` says that others
    /// saw the link on its way, in a query for instance.
    pub fn linked(name: String, own: OwnBox, link: Connectoid, seen: bool, made: u64) -> Self {
        let unproven = link.secret.is_none() || seen;
        Self { peer: Some(Peer::at(link)), unproven, ..Self::new(name, own, made) }
    }

    fn new(name: String, own: OwnBox, made: u64) -> Self {
        Self {
            name,
            made,
            last_seen: None,
            verification: Verification::Unverified,
            sas: None,
            unproven: false,
            boxes: vec![own],
            link: None,
            signer: Signer::default(),
            peer: None,
            connecting: None,
            rekeyed: None,
            ended: None,
            leaving: None,
            seen: Vec::new(),
            inbox: Vec::new(),
        }
    }

    /// The box of the link that was shared, while it is kept.
    pub fn link_box(&self) -> Option<&OwnBox> {
        let link = self.link.as_ref()?;
        if link.state == LinkState::Closed { None } else { self.boxes.first() }
    }

    /// Whether this is one of the own boxes for this contact.
    pub fn owns(&self, key: &PublicKey) -> bool {
        self.boxes.iter().any(|own| own.key.public() == *key)
    }

    /// The box to read by hand: that of the link while it is kept, else the latest.
    pub fn mailbox(&self) -> Option<&OwnBox> {
        self.link_box().or(self.boxes.last())
    }

    /// Whether the link has expired at `now` (Unix milliseconds) before anybody connected by it. Whoever claimed it has 48
    /// hours to connect, as long as he tries.
    pub fn has_expired(&self, now: u64) -> bool {
        let connected = self.pinned().is_some();
        self.link.as_ref().filter(|_| !connected).is_some_and(|link| {
            let claimed_until = link.claimed.map_or(0, |claimed| claimed.saturating_add(CLAIM_LIFE));
            link.expires.is_some_and(|expires| now >= expires.max(claimed_until))
        })
    }

    /// The boxes to read: none once the link closed before anybody connected.
    pub fn read_boxes(&self) -> &[OwnBox] {
        let closed = self.link.as_ref().is_some_and(|link| link.state == LinkState::Closed);
        let gone = self.leaving.is_some() || (closed && self.pinned().is_none());
        if gone { &[] } else { &self.boxes }
    }

    /// Whether a connectoid of the other side has relays on this machine, though one's own are elsewhere: what posts to them
    /// would post to whatever runs here.
    pub(super) fn is_led_here_by(&self, connectoid: &Connectoid) -> bool {
        let own_here = self.boxes.iter().flat_map(|own| &own.relays).all(RelayUrl::is_loopback);
        !own_here && connectoid.relays.iter().any(RelayUrl::is_loopback)
    }

    /// Whether app data may flow in a session: the other side proved who it is, and the link was safe and used once, or the two
    /// people compared the string.
    pub fn may_exchange(&self) -> bool {
        self.pinned().is_some()
            && match self.verification {
                Verification::Verified => true,
                Verification::Unverified => !self.unproven,
                Verification::Mismatch => false,
            }
    }

    /// The signing key of the other side, once a proof under it succeeded.
    pub fn pinned(&self) -> Option<PublicKey> {
        self.peer.as_ref().filter(|peer| peer.pinned).and_then(|peer| peer.ik)
    }

    /// Whether the two cannot both be kept.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.name == other.name || self.shares_a_box_with(other)
    }

    fn shares_a_box_with(&self, other: &Self) -> bool {
        self.boxes.iter().any(|own| other.owns(&own.key.public()))
    }

    /// How far a contact has come; it never goes back.
    fn progress(&self) -> (bool, Option<LinkState>, u64) {
        (self.pinned().is_some(), self.link.as_ref().map(|link| link.state), self.rekeyed.unwrap_or(0))
    }

    /// Takes over what came to the same contact here: what was seen stays seen, what was handed over is not again, what people were
    /// warned of stays so, and of the two states the later one counts; that here, if neither is.
    pub(super) fn was_also(&mut self, mut here: Self) {
        if !self.shares_a_box_with(&here) {
            return;
        }
        for note in self.inbox.drain(..) {
            // Refused if it was seen here, by whichever count.
            let of_peer = here.peer.as_mut().filter(|peer| peer.ik == Some(note.ik));
            if of_peer.is_none_or(|peer| peer.count(note.n).is_ok()) {
                let _ = here.count_note(note);
            }
        }
        self.inbox = std::mem::take(&mut here.inbox);
        if here.progress() >= self.progress() {
            here.inbox = std::mem::take(&mut self.inbox);
            std::mem::swap(self, &mut here);
            // It was imported under this name.
            std::mem::swap(&mut self.name, &mut here.name);
        }
        self.unproven |= here.unproven;
        self.leaving = self.leaving.or(here.leaving);
        if here.verification == Verification::Mismatch {
            self.verification = Verification::Mismatch;
        }
        if let (Some(link), Some(there)) = (&mut self.link, here.link) {
            link.used_twice = link.used_twice.or(there.used_twice);
            for refused in there.refused {
                if !link.refused.contains(&refused) {
                    link.refused.push(refused);
                }
            }
        }
        for there in here.seen {
            match self.seen.iter_mut().find(|seen| seen.ik == there.ik) {
                Some(seen) => merge(&mut seen.n, there.n),
                None => self.seen.push(there),
            }
        }
        if self.signer.ik() == here.signer.ik() {
            self.signer.n = self.signer.n.max(here.signer.n);
        }
        if let (Some(peer), Some(there)) = (&mut self.peer, here.peer)
            && peer.ik == there.ik
        {
            merge(&mut peer.seen, there.seen);
        }
    }

    /// Takes a note that came out of the own box `to` into the inbox, once. Anyone may write one to a link that is kept, elsewhere only
    /// the pinned key.
    ///
    /// # Errors
    /// If it was taken before or cannot be told from one that was, if its signer may not write there, or if there is no room:
    /// then it was not counted.
    pub fn take_note(&mut self, to: &PublicKey, note: InboxNote) -> Result<(), NotTaken> {
        if !self.has_room_for(note.note.len()) {
            return Err(NotTaken::InboxFull);
        }
        let to_link = self.link_box().is_some_and(|link| link.key.public() == *to);
        let pinned = self.pinned().is_some();
        let of_peer = self.peer.as_mut().filter(|peer| peer.ik == Some(note.ik) && (to_link || pinned));
        match of_peer {
            Some(peer) => peer.count(note.n)?,
            None if to_link => return self.count_note(note),
            None => return Err(NotTaken::UnknownSigner),
        }
        self.inbox.push(note);
        Ok(())
    }

    /// Takes a note of somebody who is not the contact for all that is known.
    fn count_note(&mut self, note: InboxNote) -> Result<(), NotTaken> {
        let index = match self.seen.iter().position(|seen| seen.ik == note.ik) {
            Some(index) => index,
            None if self.seen.len() >= SIGNERS => return Err(NotTaken::TooManySigners),
            None => {
                self.seen.push(Seen { ik: note.ik, n: BTreeSet::new() });
                self.seen.len() - 1
            }
        };
        count(&mut self.seen[index].n, note.n)?;
        self.inbox.push(note);
        Ok(())
    }

    /// Whether a note to the link by `ik` used up the counter `n`.
    pub(super) fn counted_note(&self, ik: &PublicKey, n: u64) -> bool {
        self.seen.iter().any(|seen| seen.ik == *ik && !is_new(&seen.n, n))
    }

    /// Whether another note of so many bytes has room in the inbox.
    fn has_room_for(&self, bytes: usize) -> bool {
        let held: usize = self.inbox.iter().map(|note| note.note.len()).sum();
        self.inbox.len() < INBOX_NOTES && held + bytes <= INBOX_BYTES
    }

    /// Takes a signing key for the other side's, provisionally, with the counters of the notes it signed.
    pub(super) fn peer_signs_with(&mut self, ik: PublicKey) {
        let notes = self.seen.iter().position(|seen| seen.ik == ik).map(|index| self.seen.swap_remove(index));
        if let Some(peer) = &mut self.peer {
            peer.signs_with(ik);
            merge(&mut peer.seen, notes.map(|notes| notes.n).unwrap_or_default());
        }
    }
}

impl OwnBox {
    /// A fresh box.
    pub fn generate(rng: &mut impl CryptoRng, relays: Vec<RelayUrl>, ext: Option<Ext>) -> Self {
        let (key, secret) = (BoxKey::generate(rng), Some(LinkSecret::generate(rng)));
        Self { key, secret, relays, ext, confirmed: None, used: false }
    }

    /// All that one needs to write to this box.
    pub fn connectoid(&self) -> Connectoid {
        Connectoid {
            key: self.key.public(),
            relays: self.relays.clone(),
            ext: self.ext.clone(),
            secret: self.secret.clone(),
        }
    }
}

impl SharedLink {
    /// A link that nobody used yet, which stops being answered at `expires` (Unix milliseconds).
    pub fn new(expires: Option<u64>) -> Self {
        let (state, claimed, answered) = (LinkState::Open, None, 0);
        Self { expires, state, claimed, answered, used_twice: None, refused: Vec::new() }
    }
}

impl Signer {
    /// What others know it by: `ik`; none before it signed anything.
    pub fn ik(&self) -> Option<PublicKey> {
        self.key.as_ref().map(SigningKey::public)
    }

    /// The key with the next counter, which counts as used. Must be on disk before anything that it signs is sent.
    pub fn next(&mut self, rng: &mut impl CryptoRng) -> (SigningKey, u64) {
        self.n += 1;
        (self.key.get_or_insert_with(|| SigningKey::generate(rng)).clone(), self.n)
    }

    /// Leaves a gap: what another copy of this key signs meanwhile keeps below it.
    pub(super) fn skip(&mut self, counters: u64) {
        self.n = self.n.saturating_add(counters);
    }
}

impl Peer {
    /// Somebody of whom only a connectoid is known.
    pub fn at(connectoid: Connectoid) -> Self {
        Self {
            connectoid,
            said_at: 0,
            replaced: Vec::new(),
            ik: None,
            pinned: false,
            seen: BTreeSet::new(),
            unanswered: None,
        }
    }

    /// Takes a signing key for the other side's, provisionally. A key that is known already keeps its counters.
    fn signs_with(&mut self, ik: PublicKey) {
        if self.ik != Some(ik) {
            (self.ik, self.pinned, self.said_at, self.unanswered) = (Some(ik), false, 0, None);
            self.seen.clear();
        }
    }

    /// The other side answers with counter `n`: offers that it made before do not count any more.
    pub fn answers(&mut self, n: u64) {
        self.said_at = self.said_at.max(n);
    }

    /// Whether this box is or was the other side's.
    pub(super) fn was_at(&self, key: &PublicKey) -> bool {
        self.boxes().any(|known| known == *key)
    }

    /// The boxes that are or were the other side's, as far as they are remembered.
    pub(super) fn boxes(&self) -> impl Iterator<Item = PublicKey> {
        self.replaced.iter().copied().chain([self.connectoid.key])
    }

    /// Counts a message of the other side.
    ///
    /// # Errors
    /// [`NotTaken::Repeated`].
    pub fn count(&mut self, n: u64) -> Result<(), NotTaken> {
        count(&mut self.seen, n)
    }

    /// An offer with counter `n` says that this is where to write to. Whether that counts: not for an offer older than the
    /// latest, nor from a box that was replaced, since a relay can deliver an offer late.
    pub fn offers_from(&mut self, connectoid: Connectoid, n: u64) -> bool {
        if n <= self.said_at || self.replaced.contains(&connectoid.key) {
            return false;
        }
        self.said_at = n;
        self.replace(connectoid);
        true
    }

    /// The other side moved, as it said on a channel that was proven.
    pub fn moves_to(&mut self, connectoid: Connectoid) {
        self.said_at = self.said_at.max(self.seen.last().copied().unwrap_or(0));
        self.replace(connectoid);
    }

    fn replace(&mut self, connectoid: Connectoid) {
        if connectoid.key == self.connectoid.key {
            return;
        }
        self.replaced.push(self.connectoid.key);
        if self.replaced.len() > REPLACED {
            self.replaced.remove(0);
        }
        self.connectoid = connectoid;
    }
}

/// Counts `n` among the highest seen.
fn count(seen: &mut BTreeSet<u64>, n: u64) -> Result<(), NotTaken> {
    if !is_new(seen, n) && holds(Defence::Counter) {
        return Err(NotTaken::Repeated);
    }
    seen.insert(n);
    if seen.len() > WINDOW {
        seen.pop_first();
    }
    Ok(())
}

/// Whether a counter was not seen before, and is not below all that are remembered.
fn is_new(seen: &BTreeSet<u64>, n: u64) -> bool {
    let below_all = seen.len() >= WINDOW && seen.first().is_some_and(|lowest| n < *lowest);
    !below_all && !seen.contains(&n)
}

/// Keeps the highest of both.
fn merge(seen: &mut BTreeSet<u64>, others: BTreeSet<u64>) {
    seen.extend(others);
    while seen.len() > WINDOW {
        seen.pop_first();
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    fn contact(rng: &mut StdRng, name: &str) -> Contact {
        let own = OwnBox::generate(rng, vec!["https://connecto.id".parse().unwrap()], None);
        Contact::shared(name.into(), own, SharedLink::new(None), 5)
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
            assert_eq!(bob.count_note(note(ik, n)), Ok(()), "{n}");
            assert_eq!(bob.count_note(note(ik, n)), Err(NotTaken::Repeated), "{n}");
        }
        for n in 101..200 {
            assert_eq!(bob.count_note(note(ik, n)), Ok(()), "{n}");
        }
        // 64 are remembered, 136 to 199; all below count as seen.
        for n in [1, 5, 100, 135, 136, 199] {
            assert_eq!(bob.count_note(note(ik, n)), Err(NotTaken::Repeated), "{n}");
        }
        assert_eq!(bob.count_note(note(ik, 200)), Ok(()));
    }

    #[test]
    fn signers_are_remembered_for_ever_up_to_a_number() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut bob = contact(&mut rng, "Bob");
        let some = SigningKey::generate(&mut rng).public();
        bob.seen = (0..SIGNERS).map(|_| Seen { ik: some, n: BTreeSet::new() }).collect();
        let ik = SigningKey::generate(&mut rng).public();
        assert_eq!(bob.count_note(note(ik, 1)), Err(NotTaken::TooManySigners));
    }

    #[test]
    fn an_inbox_holds_256_notes_or_a_mebibyte() {
        let mut rng = StdRng::seed_from_u64(1);
        let ik = SigningKey::generate(&mut rng).public();
        let mut bob = contact(&mut rng, "Bob");
        for n in 1..=256 {
            assert!(bob.has_room_for(1), "{n}");
            bob.count_note(note(ik, n)).unwrap();
        }
        assert!(!bob.has_room_for(1));
        let mut bob = contact(&mut rng, "Bob");
        assert!(bob.has_room_for(1_048_576) && !bob.has_room_for(1_048_577));
        bob.count_note(InboxNote { note: vec![b'x'; 1_048_575], ..note(ik, 1) }).unwrap();
        assert!(bob.has_room_for(1) && !bob.has_room_for(2));
    }

    /// A contact as it was when it was exported, and as it is here by now: connected, and its link dead.
    fn older_and_further(rng: &mut StdRng) -> (Contact, Contact) {
        let older = contact(rng, "Bob");
        let mut further = older.clone();
        let link = further.link.as_mut().unwrap();
        (link.state, link.claimed) = (LinkState::Retired(8), Some(6));
        let theirs = OwnBox::generate(rng, vec!["https://connecto.id".parse().unwrap()], None);
        further.peer = Some(Peer::at(theirs.connectoid()));
        further.peer_signs_with(SigningKey::generate(rng).public());
        further.peer.as_mut().unwrap().pinned = true;
        (older, further)
    }

    #[test]
    fn an_older_export_takes_nothing_back() {
        let mut rng = StdRng::seed_from_u64(1);
        let (older, further) = older_and_further(&mut rng);
        let pinned = further.pinned();
        for (mut export, here) in [(older.clone(), further.clone()), (further, older)] {
            export.was_also(here);
            let link = export.link.as_ref().unwrap();
            assert_eq!((link.state, link.claimed), (LinkState::Retired(8), Some(6)));
            assert!(pinned.is_some());
            assert_eq!(export.pinned(), pinned);
        }
        let mut export = contact(&mut rng, "Bob");
        let mut here = export.clone();
        here.link.as_mut().unwrap().state = LinkState::Claimed;
        export.was_also(here);
        assert_eq!(export.link.unwrap().state, LinkState::Claimed);
    }

    #[test]
    fn an_export_of_the_same_state_takes_no_warning_back() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut export = contact(&mut rng, "Bob");
        export.verification = Verification::Verified;
        let mut here = export.clone();
        (here.unproven, here.verification, here.leaving) = (true, Verification::Mismatch, Some(Side::Own));
        here.link.as_mut().unwrap().used_twice = Some(7);
        here.name = "Robert".into();
        export.was_also(here);
        assert!(export.unproven && !export.may_exchange());
        assert_eq!((export.verification, export.leaving), (Verification::Mismatch, Some(Side::Own)));
        assert_eq!(export.link.unwrap().used_twice, Some(7));
        assert_eq!(export.name, "Bob");
    }

    #[test]
    fn a_note_that_was_handed_over_does_not_come_back_with_an_older_export() {
        let mut rng = StdRng::seed_from_u64(1);
        let (mut older, mut further) = older_and_further(&mut rng);
        let ik = SigningKey::generate(&mut rng).public();
        older.count_note(note(ik, 1)).unwrap();
        further.count_note(note(ik, 1)).unwrap();
        further.inbox.clear();
        further.count_note(note(ik, 2)).unwrap();
        older.was_also(further);
        assert_eq!(older.inbox.iter().map(|note| note.n).collect::<Vec<u64>>(), [2]);
    }

    #[test]
    fn nor_does_one_of_the_pinned_key() {
        let mut rng = StdRng::seed_from_u64(1);
        let (_, mut older) = older_and_further(&mut rng);
        let ik = older.pinned().unwrap();
        older.peer.as_mut().unwrap().count(1).unwrap();
        older.inbox.push(note(ik, 1));
        let mut further = older.clone();
        further.inbox.clear();
        older.was_also(further);
        assert!(older.inbox.is_empty());
    }

    #[test]
    fn the_other_side_does_not_lead_to_this_machine() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut bob = contact(&mut rng, "Bob");
        let mut at = |url: &str| OwnBox::generate(&mut rng, vec![url.parse().unwrap()], None);
        for url in ["http://127.0.0.1:631", "http://localhost", "https://[::1]:8443/x"] {
            assert!(bob.is_led_here_by(&at(url).connectoid()), "{url}");
        }
        assert!(!bob.is_led_here_by(&at("https://connecto.id").connectoid()));
        // Who tries it out on one machine has a relay here.
        bob.boxes = vec![at("http://127.0.0.1:8080")];
        assert!(!bob.is_led_here_by(&at("http://127.0.0.1:8080").connectoid()));
    }

    #[test]
    fn whoever_claimed_a_link_in_time_may_still_connect() {
        let mut bob = contact(&mut StdRng::seed_from_u64(1), "Bob");
        let link = bob.link.as_mut().unwrap();
        link.expires = Some(604_800_000);
        assert!(!bob.has_expired(604_799_999) && bob.has_expired(604_800_000));
        let link = bob.link.as_mut().unwrap();
        (link.state, link.claimed) = (LinkState::Claimed, Some(604_000_000));
        assert!(!bob.has_expired(604_800_000) && bob.has_expired(604_000_000 + 172_800_000));
        let mut peer = Peer::at(bob.boxes[0].connectoid());
        (peer.ik, peer.pinned) = (Some(bob.boxes[0].key.public()), true);
        bob.peer = Some(peer);
        assert!(!bob.has_expired(u64::MAX));
    }

    #[test]
    fn an_old_offer_brings_no_old_box_back() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut boxes = (0..4).map(|_| OwnBox::generate(&mut rng, Vec::new(), None).connectoid());
        let mut next = || boxes.next().unwrap();
        let (link, first, second) = (next(), next(), next());
        let mut peer = Peer::at(link);
        assert!(peer.offers_from(first.clone(), 3));
        assert!(!peer.offers_from(first.clone(), 3) && !peer.offers_from(next(), 2), "overtaken");
        peer.count(3).unwrap();
        peer.moves_to(second.clone());
        // Sent before the move, delivered after it: its counter is new, its box is not.
        assert!(!peer.offers_from(first, 4));
        assert_eq!(peer.connectoid, second);
    }

    #[test]
    fn an_offer_made_before_a_move_does_not_count_after_it() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut boxes = (0..3).map(|_| OwnBox::generate(&mut rng, Vec::new(), None).connectoid());
        let mut next = || boxes.next().unwrap();
        let (link, second, never_replaced) = (next(), next(), next());
        let mut peer = Peer::at(link);
        for n in [2, 5, 3] {
            peer.count(n).unwrap();
        }
        peer.moves_to(second.clone());
        for n in [1, 4, 5] {
            assert!(!peer.offers_from(never_replaced.clone(), n), "{n}");
        }
        assert_eq!(peer.connectoid, second);
        assert!(peer.offers_from(never_replaced.clone(), 6));
        assert_eq!(peer.connectoid, never_replaced);
    }
}
