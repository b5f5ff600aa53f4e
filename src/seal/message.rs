//! Messages between peers: padded, signed inside, sealed to one box.
//!
//! Only `note` is made here so far; offers and answers are told apart when opened and left alone.

use hkdf::Hkdf;
use rand::CryptoRng;
use serde::{Deserialize, Serialize};
use sha2::Sha384;
use zeroize::Zeroizing;

use super::{BoxKey, CannotOpen, CannotSeal, Mode, OVERHEAD, SigningKey, keys, open, seal};
use crate::protocol::{LinkSecret, PublicKey, base64url};

const INFO: &[u8] = b"connectoid/1 message";
const AAD: &[u8] = b"connectoid/1\x01";
const PSK_LABEL: &[u8] = b"connectoid/1 psk";
const SIG_LABEL: &[u8] = b"connectoid/1 sig\0";
const ALG: &str = "ES384";

/// The three sizes sealed messages come in, so that a size tells nothing.
pub const SIZES: [usize; 3] = [4096, 8192, 16_384];

/// A signed, padded message as it stands inside the seal: `lp32(envelope) ‖ zeros`.
#[derive(Serialize, Deserialize)]
struct Envelope {
    alg: String,
    payload: String,
    sig: String,
}

/// What is signed. Fields that do not apply are absent.
#[derive(Serialize, Deserialize)]
struct Payload {
    v: u32,
    typ: String,
    n: u64,
    #[serde(default)]
    ts: u64,
    to: PublicKey,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ik: Option<PublicKey>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

/// A message whose seal, padding, signature and address hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Who signed it. A note proves no more than that its sender had the link.
    pub ik: PublicKey,
    /// The signer's counter: a pair of `ik` and `n` counts once.
    pub n: u64,
    /// When it was sealed as the sender says, Unix time in milliseconds.
    pub ts: u64,
    /// What it says.
    pub content: Content,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A one-way message for scripts and tools.
    Note(Vec<u8>),
    /// A message of another `typ`, for a client that speaks it.
    Other(String),
}

/// Why a message is not used. In the order of the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Junk {
    /// Not sealed to this box.
    #[error("cannot be opened with this box's key and secret")]
    Seal,
    /// Not 4096, 8192 or 16384 bytes.
    #[error("is not of one of the three sizes")]
    Size,
    /// The padding.
    #[error("is padded with something else than zeros")]
    Padding,
    /// The envelope or the payload is not what it should be.
    #[error("holds no envelope of this protocol")]
    Envelope,
    /// Another algorithm than ES384.
    #[error("is not signed with ES384")]
    Alg,
    /// The signature does not hold.
    #[error("has a signature that does not hold")]
    Signature,
    /// Of another version of the protocol.
    #[error("is of another version of the protocol: update this program")]
    Version,
    /// Addressed to another box.
    #[error("is addressed to another box")]
    Address,
}

/// Why a note was not sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotSealed {
    /// Too long.
    #[error("the note is {0} bytes, a message carries 8,892: send it in parts, or send where to fetch it")]
    TooLong(usize),
    /// The key.
    #[error(transparent)]
    Seal(#[from] CannotSeal),
}

/// Seals a note to a box: 4096, 8192 or 16384 bytes.
///
/// `secret` is that of the link, if it has one; `n` must be higher than in everything this signer signed before;
/// `ts` is Unix time in milliseconds.
pub fn seal_note(
    rng: &mut impl CryptoRng,
    to: &PublicKey,
    secret: Option<&LinkSecret>,
    signer: &SigningKey,
    n: u64,
    ts: u64,
    note: &[u8],
) -> Result<Vec<u8>, NotSealed> {
    let payload = Payload {
        v: 1,
        typ: "note".into(),
        n,
        ts,
        to: *to,
        ik: Some(signer.public()),
        note: Some(base64url::encode(note)),
    };
    let payload = base64url::encode(serde_json::to_vec(&payload).map_err(|_| CannotSeal)?);
    let sig = base64url::encode(signer.sign(&signed_bytes(&payload)));
    let envelope = serde_json::to_vec(&Envelope { alg: ALG.into(), payload, sig }).map_err(|_| CannotSeal)?;
    let length = u32::try_from(envelope.len()).map_err(|_| CannotSeal)?;
    let size = SIZES.iter().find(|size| OVERHEAD + 4 + envelope.len() <= **size);
    let size = size.ok_or(NotSealed::TooLong(note.len()))?;
    let mut plaintext = [&length.to_be_bytes(), envelope.as_slice()].concat();
    plaintext.resize(size - OVERHEAD, 0);
    with_mode(to, secret, |mode| Ok(seal(rng, to, mode, INFO, AAD, &plaintext)?))
}

/// Opens a message: seal, size, padding, `alg`, signature, `v`, `to`, in this order. Whether `ik` and `n` are
/// acceptable is for the caller, who remembers.
pub fn open_message(key: &BoxKey, secret: Option<&LinkSecret>, sealed: &[u8]) -> Result<Opened, Junk> {
    let own = key.public();
    let plaintext = with_mode(&own, secret, |mode| open(key, mode, INFO, AAD, sealed));
    let plaintext = plaintext.map_err(|CannotOpen| Junk::Seal)?;
    if !SIZES.contains(&sealed.len()) {
        return Err(Junk::Size);
    }
    let (length, rest) = plaintext.split_first_chunk().ok_or(Junk::Envelope)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| Junk::Envelope)?;
    let (envelope, padding) = rest.split_at_checked(length).ok_or(Junk::Envelope)?;
    if padding.iter().any(|&byte| byte != 0) {
        return Err(Junk::Padding);
    }
    let envelope: Envelope = serde_json::from_slice(envelope).map_err(|_| Junk::Envelope)?;
    if envelope.alg != ALG {
        return Err(Junk::Alg);
    }
    let payload = base64url::decode(&envelope.payload).map_err(|_| Junk::Envelope)?;
    let payload: Payload = serde_json::from_slice(&payload).map_err(|_| Junk::Envelope)?;
    let sig = base64url::decode(&envelope.sig).map_err(|_| Junk::Signature)?;
    // Messages without `ik` are signed by a key pinned before; boxes that take notes have pinned none.
    let ik = payload.ik.ok_or(Junk::Signature)?;
    if !keys::verifies(&ik, &signed_bytes(&envelope.payload), &sig) {
        return Err(Junk::Signature);
    }
    if payload.v != 1 {
        return Err(Junk::Version);
    }
    let content = match (payload.typ.as_str(), payload.note) {
        ("note", Some(note)) => Content::Note(base64url::decode(&note).map_err(|_| Junk::Envelope)?),
        ("note", None) => return Err(Junk::Envelope),
        _ => Content::Other(payload.typ),
    };
    if payload.to != own {
        return Err(Junk::Address);
    }
    Ok(Opened { ik, n: payload.n, ts: payload.ts, content })
}

/// `"connectoid/1 sig" ‖ 0x00 ‖ the payload field as ASCII`
fn signed_bytes(payload: &str) -> Vec<u8> {
    [SIG_LABEL, payload.as_bytes()].concat()
}

/// PSK mode for a box with a secret, base mode for one without; never the other.
/// `psk = HKDF-SHA384("connectoid/1 psk", secret, pub, 48)`
fn with_mode<T, E: From<CannotDerive>>(
    key: &PublicKey,
    secret: Option<&LinkSecret>,
    then: impl FnOnce(Mode<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let Some(secret) = secret else {
        return then(Mode::Base);
    };
    let mut psk = Zeroizing::new([0; 48]);
    let hkdf = Hkdf::<Sha384>::new(Some(PSK_LABEL), secret.expose());
    hkdf.expand(key.as_bytes(), &mut *psk).map_err(|_| CannotDerive)?;
    then(Mode::Psk { psk: &*psk, id: PSK_LABEL })
}

/// HKDF gives at most 255 × 48 bytes; 48 are asked for.
struct CannotDerive;

impl From<CannotDerive> for CannotOpen {
    fn from(_: CannotDerive) -> Self {
        Self
    }
}

impl From<CannotDerive> for NotSealed {
    fn from(_: CannotDerive) -> Self {
        Self::Seal(CannotSeal)
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    struct Peers {
        rng: StdRng,
        key: BoxKey,
        secret: LinkSecret,
        signer: SigningKey,
    }

    fn peers() -> Peers {
        let mut rng = StdRng::seed_from_u64(1);
        let (key, signer) = (BoxKey::generate(&mut rng), SigningKey::generate(&mut rng));
        Peers { key, secret: LinkSecret::generate(&mut rng), signer, rng }
    }

    impl Peers {
        fn note(&mut self, note: &[u8]) -> Result<Vec<u8>, NotSealed> {
            seal_note(&mut self.rng, &self.key.public(), Some(&self.secret), &self.signer, 1, 5, note)
        }

        /// A message that is right but for what `spoil` does to its plaintext.
        fn spoilt(&mut self, spoil: impl Fn(&mut Vec<u8>)) -> Result<Opened, Junk> {
            let sealed = self.note(b"hello").unwrap();
            let Peers { rng, key, secret, .. } = self;
            let to = key.public();
            let mut plaintext =
                with_mode(&to, Some(secret), |mode| open(key, mode, INFO, AAD, &sealed)).unwrap();
            spoil(&mut plaintext);
            let sealed = with_mode(&to, Some(secret), |mode| {
                Ok::<_, NotSealed>(seal(rng, &to, mode, INFO, AAD, &plaintext)?)
            });
            open_message(key, Some(secret), &sealed.unwrap())
        }
    }

    /// Rewrites the envelope in a plaintext, keeping its length.
    fn with_envelope(plaintext: &mut Vec<u8>, change: impl Fn(&mut Envelope)) {
        let length = u32::from_be_bytes(plaintext[..4].try_into().unwrap()) as usize;
        let mut envelope: Envelope = serde_json::from_slice(&plaintext[4..4 + length]).unwrap();
        change(&mut envelope);
        let bytes = serde_json::to_vec(&envelope).unwrap();
        let size = plaintext.len();
        *plaintext = [&(bytes.len() as u32).to_be_bytes(), bytes.as_slice()].concat();
        plaintext.resize(size, 0);
    }

    /// Rewrites the payload and signs it anew.
    fn resign(plaintext: &mut Vec<u8>, by: &SigningKey, change: impl Fn(&mut Payload)) {
        with_envelope(plaintext, |envelope| {
            let payload = base64url::decode(&envelope.payload).unwrap();
            let mut payload: Payload = serde_json::from_slice(&payload).unwrap();
            change(&mut payload);
            envelope.payload = base64url::encode(serde_json::to_vec(&payload).unwrap());
            envelope.sig = base64url::encode(by.sign(&signed_bytes(&envelope.payload)));
        });
    }

    #[test]
    fn a_note_there_and_back_in_three_sizes() {
        let mut peers = peers();
        for (bytes, size) in
            [(0, 4096), (1800, 4096), (2100, 8192), (4000, 8192), (5000, 16_384), (8900, 16_384)]
        {
            let note = vec![b'x'; bytes];
            let sealed = peers.note(&note).unwrap();
            assert_eq!(sealed.len(), size, "{bytes}");
            let opened = open_message(&peers.key, Some(&peers.secret), &sealed).unwrap();
            let ik = peers.signer.public();
            assert_eq!(opened, Opened { ik, n: 1, ts: 5, content: Content::Note(note) });
        }
        assert_eq!(peers.note(&[0; 9500]), Err(NotSealed::TooLong(9500)));
    }

    #[test]
    fn with_and_without_secret_do_not_mix() {
        let mut peers = peers();
        let with = peers.note(b"hello").unwrap();
        let Peers { rng, key, secret, signer } = &mut peers;
        let without = seal_note(rng, &key.public(), None, signer, 1, 5, b"hello").unwrap();
        assert!(open_message(key, Some(secret), &with).is_ok());
        assert!(open_message(key, None, &without).is_ok());
        assert_eq!(open_message(key, None, &with), Err(Junk::Seal));
        assert_eq!(open_message(key, Some(secret), &without), Err(Junk::Seal));
        assert_eq!(open_message(key, Some(&LinkSecret::from_bytes([1; 32])), &with), Err(Junk::Seal));
    }

    #[test]
    fn each_check_catches_what_it_is_for() {
        let mut peers = peers();
        assert!(peers.spoilt(|_| ()).is_ok());
        assert_eq!(peers.spoilt(|p| p.push(0)), Err(Junk::Size));
        assert_eq!(peers.spoilt(|p| *p.last_mut().unwrap() = 1), Err(Junk::Padding));
        assert_eq!(peers.spoilt(|p| p[..4].fill(0xFF)), Err(Junk::Envelope));
        assert_eq!(peers.spoilt(|p| p[4] = b'x'), Err(Junk::Envelope));
        assert_eq!(peers.spoilt(|p| with_envelope(p, |e| e.alg = "none".into())), Err(Junk::Alg));
        assert_eq!(peers.spoilt(|p| with_envelope(p, |e| e.sig = String::new())), Err(Junk::Signature));
        assert_eq!(peers.spoilt(|p| with_envelope(p, |e| e.payload = String::new())), Err(Junk::Envelope));
        let signer = peers.signer.clone();
        let other = BoxKey::generate(&mut peers.rng).public();
        let stranger = SigningKey::generate(&mut peers.rng);
        assert_eq!(peers.spoilt(|p| resign(p, &stranger, |_| ())), Err(Junk::Signature));
        assert_eq!(peers.spoilt(|p| resign(p, &signer, |p| p.ik = None)), Err(Junk::Signature));
        assert_eq!(peers.spoilt(|p| resign(p, &signer, |p| p.v = 2)), Err(Junk::Version));
        assert_eq!(peers.spoilt(|p| resign(p, &signer, |p| p.to = other)), Err(Junk::Address));
        assert_eq!(peers.spoilt(|p| resign(p, &signer, |p| p.note = None)), Err(Junk::Envelope));
        let offer = peers.spoilt(|p| resign(p, &signer, |p| p.typ = "offer".into())).unwrap();
        assert_eq!(offer.content, Content::Other("offer".into()));
    }
}
