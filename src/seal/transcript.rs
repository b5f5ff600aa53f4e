//! What two sides prove to each other once they are connected, and what two people compare.
//!
//! Both depend on the signed offer and answer as sent, and on the secrets of the two boxes they were sealed to
//! (docs/protocol.md, sections 6.4 and 7).

use std::fmt;

use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha384};
use zeroize::Zeroizing;

use super::{hkdf, hmac, lp32};
use crate::protocol::{Fingerprint, LinkSecret, PublicKey};

const TRANSCRIPT: &[u8] = b"connectoid/1 transcript";
const DATA_CHANNEL: &[u8] = b"connectoid/1 dc";
const PROOF: &[u8] = b"connectoid/1 proof";
const SAS_COMMIT: &[u8] = b"connectoid/1 sas-commit";
const SAS: &[u8] = b"connectoid/1 sas";

/// Which side of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The side that sent the offer.
    Offerer,
    /// The side that sent the answer.
    Answerer,
}

impl Role {
    fn byte(self) -> u8 {
        match self {
            Self::Offerer => 0x4F,
            Self::Answerer => 0x41,
        }
    }
}

/// An offer, its answer, and the secrets of the boxes they went to. Shown by no `Debug`; erased when dropped.
#[derive(Clone)]
pub struct Transcript {
    /// `TH = SHA-384("connectoid/1 transcript" ‖ lp32(offer payload) ‖ lp32(answer payload))`
    hash: Zeroizing<[u8; 48]>,
    /// `secretO ‖ secretA`
    secrets: Zeroizing<[u8; 64]>,
}

impl Transcript {
    /// `offer_payload` and `answer_payload` are the decoded payload bytes as sent. `secret_o` is that of the box the
    /// offer was sealed to, `None` if it has none; `secret_a` that of the box the answer was sealed to.
    pub fn new(
        offer_payload: &[u8],
        answer_payload: &[u8],
        secret_o: Option<&LinkSecret>,
        secret_a: &LinkSecret,
    ) -> Self {
        let mut hash = Sha384::new_with_prefix(TRANSCRIPT);
        hash.update(lp32(offer_payload));
        hash.update(lp32(answer_payload));
        let mut secrets = Zeroizing::new([0; 64]);
        if let Some(secret_o) = secret_o {
            secrets[..32].copy_from_slice(secret_o.expose());
        }
        secrets[32..].copy_from_slice(secret_a.expose());
        Self { hash: Zeroizing::new(hash.finalize().into()), secrets }
    }

    /// What `prover` sends as `mac` in its `proof`. Own is the prover's, peer the other side's; `fp_*` are the
    /// fingerprints of the certificates of the connection itself.
    pub fn proof(
        &self,
        prover: Role,
        nonce_peer: &[u8; 32],
        nonce_own: &[u8; 32],
        fp_own: &Fingerprint,
        fp_peer: &Fingerprint,
    ) -> [u8; 48] {
        self.mac(prover, nonce_peer, nonce_own, fp_own, fp_peer).finalize().into_bytes().into()
    }

    /// Whether `mac` is the proof of `prover`; the other arguments are as they were for the prover. Compares in
    /// constant time.
    pub fn proves(
        &self,
        prover: Role,
        nonce_peer: &[u8; 32],
        nonce_own: &[u8; 32],
        fp_own: &Fingerprint,
        fp_peer: &Fingerprint,
        mac: &[u8; 48],
    ) -> bool {
        self.mac(prover, nonce_peer, nonce_own, fp_own, fp_peer).verify_slice(mac).is_ok()
    }

    /// `Kdc = HKDF-SHA384(TH, secretO ‖ secretA, "connectoid/1 dc", 48)`,
    /// `HMAC-SHA384(Kdc, "connectoid/1 proof" ‖ role ‖ nonce_peer ‖ nonce_own ‖ fp_own ‖ fp_peer)`
    fn mac(
        &self,
        prover: Role,
        nonce_peer: &[u8; 32],
        nonce_own: &[u8; 32],
        fp_own: &Fingerprint,
        fp_peer: &Fingerprint,
    ) -> Hmac<Sha384> {
        let mut mac = hmac(&hkdf(&self.hash, &*self.secrets, &[DATA_CHANNEL]));
        for part in [PROOF, &[prover.byte()], nonce_peer, nonce_own, &fp_own.0, &fp_peer.0] {
            mac.update(part);
        }
        mac
    }

    /// The short authentication string: `HKDF-SHA384(TH, secretO ‖ secretA, "connectoid/1 sas" ‖ rO ‖ rA, 8)`.
    ///
    /// `r_o` must have been checked against the offer's [`sas_commit`]; without that a man in the middle can choose it.
    pub fn sas(&self, r_o: &[u8; 32], r_a: &[u8; 32]) -> Sas {
        let bytes = hkdf(&self.hash, &*self.secrets, &[SAS, r_o, r_a]);
        let mut sas = [0; 8];
        sas.copy_from_slice(&bytes[..8]);
        Sas(sas)
    }
}

impl fmt::Debug for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transcript(…)")
    }
}

/// `sasCommit = SHA-384("connectoid/1 sas-commit" ‖ rO ‖ pub in the offer's connectoid ‖ the offer's ik)`
///
/// `r_o` is fresh for every offer: with one used twice, a man in the middle can try keys until a short string matches.
pub fn sas_commit(r_o: &[u8; 32], key: &PublicKey, ik: &PublicKey) -> [u8; 48] {
    let hash = Sha384::new_with_prefix(SAS_COMMIT).chain_update(r_o);
    hash.chain_update(key.as_bytes()).chain_update(ik.as_bytes()).finalize().into()
}

/// The short authentication string: what two people compare, as emoji or as numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sas([u8; 8]);

/// One of the 64 pictures of the Matrix specification's table for short strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Emoji {
    /// The picture.
    pub symbol: &'static str,
    /// Its name in English.
    pub name: &'static str,
}

impl fmt::Display for Sas {
    /// The seven emoji, with spaces between.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.emoji().map(|emoji| emoji.symbol).join(" "))
    }
}

impl Sas {
    /// The string with these bytes, from the keystore.
    pub fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// The bytes, for the keystore.
    pub fn to_bytes(self) -> [u8; 8] {
        self.0
    }

    /// 7 groups of 6 bits, from the most significant.
    pub fn emoji(self) -> [Emoji; 7] {
        std::array::from_fn(|i| EMOJI[usize::from(self.bits(6 * i, 6)) % EMOJI.len()])
    }

    /// 3 groups of 13 bits, from the most significant, each plus 1000: four digits.
    pub fn numbers(self) -> [u16; 3] {
        std::array::from_fn(|i| self.bits(13 * i, 13) + 1000)
    }

    /// `count` bits (at most 16) after the first `skip`.
    fn bits(self, skip: usize, count: usize) -> u16 {
        let kept = u64::from_be_bytes(self.0) << skip >> (64 - count);
        u16::try_from(kept).unwrap_or_default()
    }
}

impl fmt::Debug for Sas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sas(…)")
    }
}

const fn emoji(symbol: &'static str, name: &'static str) -> Emoji {
    Emoji { symbol, name }
}

/// The table of the Matrix specification (client-server API, "SAS method: emoji"), in its order.
const EMOJI: [Emoji; 64] = [
    emoji("🐶", "Dog"),
    emoji("🐱", "Cat"),
    emoji("🦁", "Lion"),
    emoji("🐎", "Horse"),
    emoji("🦄", "Unicorn"),
    emoji("🐷", "Pig"),
    emoji("🐘", "Elephant"),
    emoji("🐰", "Rabbit"),
    emoji("🐼", "Panda"),
    emoji("🐓", "Rooster"),
    emoji("🐧", "Penguin"),
    emoji("🐢", "Turtle"),
    emoji("🐟", "Fish"),
    emoji("🐙", "Octopus"),
    emoji("🦋", "Butterfly"),
    emoji("🌷", "Flower"),
    emoji("🌳", "Tree"),
    emoji("🌵", "Cactus"),
    emoji("🍄", "Mushroom"),
    emoji("🌏", "Globe"),
    emoji("🌙", "Moon"),
    emoji("☁️", "Cloud"),
    emoji("🔥", "Fire"),
    emoji("🍌", "Banana"),
    emoji("🍎", "Apple"),
    emoji("🍓", "Strawberry"),
    emoji("🌽", "Corn"),
    emoji("🍕", "Pizza"),
    emoji("🎂", "Cake"),
    emoji("❤️", "Heart"),
    emoji("😀", "Smiley"),
    emoji("🤖", "Robot"),
    emoji("🎩", "Hat"),
    emoji("👓", "Glasses"),
    emoji("🔧", "Spanner"),
    emoji("🎅", "Santa"),
    emoji("👍", "ThumbsUp"),
    emoji("☂️", "Umbrella"),
    emoji("⌛", "Hourglass"),
    emoji("⏰", "Clock"),
    emoji("🎁", "Gift"),
    emoji("💡", "LightBulb"),
    emoji("📕", "Book"),
    emoji("✏️", "Pencil"),
    emoji("📎", "Paperclip"),
    emoji("✂️", "Scissors"),
    emoji("🔒", "Lock"),
    emoji("🔑", "Key"),
    emoji("🔨", "Hammer"),
    emoji("☎️", "Telephone"),
    emoji("🏁", "Flag"),
    emoji("🚂", "Train"),
    emoji("🚲", "Bicycle"),
    emoji("✈️", "Aeroplane"),
    emoji("🚀", "Rocket"),
    emoji("🏆", "Trophy"),
    emoji("⚽", "Ball"),
    emoji("🎸", "Guitar"),
    emoji("🎺", "Trumpet"),
    emoji("🔔", "Bell"),
    emoji("⚓", "Anchor"),
    emoji("🎧", "Headphones"),
    emoji("📁", "Folder"),
    emoji("📌", "Pin"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn transcript(secret_o: Option<[u8; 32]>) -> Transcript {
        let secret_o = secret_o.map(LinkSecret::from_bytes);
        Transcript::new(b"offer", b"answer", secret_o.as_ref(), &LinkSecret::from_bytes([8; 32]))
    }

    #[test]
    fn a_proof_holds_for_all_it_binds() {
        let (nonce_peer, nonce_own) = ([1; 32], [2; 32]);
        let (fp_own, fp_peer) = (Fingerprint([3; 32]), Fingerprint([4; 32]));
        let made = transcript(Some([7; 32]));
        let mac = made.proof(Role::Offerer, &nonce_peer, &nonce_own, &fp_own, &fp_peer);
        let proves = |transcript: &Transcript,
                      role,
                      nonces: [&[u8; 32]; 2],
                      fps: [&Fingerprint; 2],
                      mac: &[u8; 48]| {
            transcript.proves(role, nonces[0], nonces[1], fps[0], fps[1], mac)
        };
        let (nonces, fps) = ([&nonce_peer, &nonce_own], [&fp_own, &fp_peer]);
        assert!(proves(&made, Role::Offerer, nonces, fps, &mac));
        // A proof sent back to its maker, another connection, other certificates.
        assert!(!proves(&made, Role::Answerer, nonces, fps, &mac));
        assert!(!proves(&made, Role::Offerer, [&nonce_own, &nonce_peer], fps, &mac));
        assert!(!proves(&made, Role::Offerer, [&nonce_own, &nonce_own], fps, &mac));
        assert!(!proves(&made, Role::Offerer, nonces, [&fp_peer, &fp_own], &mac));
        assert!(!proves(&made, Role::Offerer, nonces, [&fp_own, &fp_own], &mac));
        // Another secret, none, another offer or answer, or the boundary between them moved.
        for other in [
            transcript(Some([6; 32])),
            transcript(None),
            Transcript::new(
                b"offer",
                b"answer",
                Some(&LinkSecret::from_bytes([7; 32])),
                &LinkSecret::from_bytes([9; 32]),
            ),
            Transcript::new(
                b"offera",
                b"nswer",
                Some(&LinkSecret::from_bytes([7; 32])),
                &LinkSecret::from_bytes([8; 32]),
            ),
        ] {
            assert!(!proves(&other, Role::Offerer, nonces, fps, &mac));
        }
        for byte in 0..48 {
            let mut changed = mac;
            changed[byte] ^= 1;
            assert!(!proves(&made, Role::Offerer, nonces, fps, &changed), "byte {byte}");
        }
        assert_eq!(format!("{made:?}"), "Transcript(…)");
        let zeros = transcript(Some([0; 32]));
        assert!(zeros.proves(
            Role::Answerer,
            &nonce_peer,
            &nonce_own,
            &fp_own,
            &fp_peer,
            &transcript(None).proof(Role::Answerer, &nonce_peer, &nonce_own, &fp_own, &fp_peer)
        ));
    }

    #[test]
    fn a_short_string_depends_on_both_nonces() {
        let made = transcript(Some([7; 32]));
        let sas = made.sas(&[1; 32], &[2; 32]);
        assert_ne!(made.sas(&[2; 32], &[1; 32]), sas);
        assert_ne!(made.sas(&[1; 32], &[1; 32]), sas);
        assert_ne!(transcript(None).sas(&[1; 32], &[2; 32]), sas);
        assert_eq!(format!("{sas:?}"), "Sas(…)");
        let key: PublicKey =
            "A3cF4dUliud11gULRbSbiyThJ8-nj--k8m_lctINRixWu9LVtRFfqKsa6XU9Q6j0hw".parse().unwrap();
        let ik: PublicKey =
            "Av84M2yjxzpDq5HW8j3eiQY7aYnqpVWuak9xI_YJQjRrFp0zBNG2LsFIfB9mVn9RCA".parse().unwrap();
        let commit = sas_commit(&[1; 32], &key, &ik);
        assert_ne!(sas_commit(&[2; 32], &key, &ik), commit);
        assert_ne!(sas_commit(&[1; 32], &ik, &key), commit);
    }

    #[test]
    fn emoji_and_numbers_from_the_first_bits() {
        let names = |bytes| Sas::from_bytes(bytes).emoji().map(|emoji| emoji.name);
        assert_eq!(names([0; 8]), ["Dog"; 7]);
        assert_eq!(names([0xFF; 8]), ["Pin"; 7]);
        assert_eq!(Sas::from_bytes([0; 8]).numbers(), [1000, 1000, 1000]);
        assert_eq!(Sas::from_bytes([0xFF; 8]).numbers(), [9191, 9191, 9191]);
        let vectors = Sas::from_bytes(0x6793_d17c_ef3c_28ef_u64.to_be_bytes());
        assert_eq!(vectors.to_string(), "🍓 🎸 🌷 🌵 🤖 🦋 ⚓");
        assert_eq!(vectors.numbers(), [4314, 4909, 8799]);
        assert_eq!(Sas::from_bytes(vectors.to_bytes()), vectors);
        // All of the table, each once.
        let mut all: Vec<_> = EMOJI.iter().flat_map(|emoji| [emoji.symbol, emoji.name]).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 128);
    }
}
