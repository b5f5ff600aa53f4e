//! Messages between peers: padded, signed inside, sealed to one box (docs/protocol.md, section 5).

use std::{borrow::Cow, fmt};

use rand::CryptoRng;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha384};
use zeroize::Zeroizing;

use super::{BoxKey, CannotOpen, CannotSeal, Mode, OVERHEAD, SigningKey, hkdf, keys, lp32, open, seal};
use crate::{
    defences::{Defence, holds},
    protocol::{
        Connectoid, Fingerprint, LinkSecret, PublicKey,
        base64url::{self, Exactly},
        json,
        limits::MAX_CANDIDATES,
    },
};

const INFO: &[u8] = b"connectoid/1 message";
const AAD: &[u8] = b"connectoid/1\x01";
const PSK_LABEL: &[u8; 16] = b"connectoid/1 psk";
const SIG_LABEL: &[u8] = b"connectoid/1 sig\0";
const ALG: &str = "ES384";

/// The three sizes sealed messages come in, so that a size tells nothing.
pub const SIZES: [usize; 3] = [4096, 8192, 16_384];

/// The largest integer in a payload: 2⁵³−1, which JavaScript counts to.
const MAX_INTEGER: u64 = (1 << 53) - 1;

/// A message whose seal, padding, signature and address hold. Shown by no `Debug`: an offer carries a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Opened {
    /// Who signed it: the `ik` it carries, or the known key. Carried by the message it proves no more than that its
    /// sender had the connectoid of this box.
    pub ik: PublicKey,
    /// The signer's counter: a pair of `ik` and `n` counts once.
    pub n: u64,
    /// When it was sealed as the sender says, Unix time in milliseconds.
    pub ts: u64,
    /// The payload's bytes as they were signed: what `re` and the transcript hash. That of an offer holds a secret.
    pub payload: Zeroizing<Vec<u8>>,
    /// What it says.
    pub content: Content,
}

/// What a message says. Its `Debug` names the type only.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// Somebody wants to connect.
    Offer(Offer),
    /// The reply to an offer.
    Answer(SdpAnswer),
    /// ICE candidates found after an offer or answer was sent.
    Candidate {
        /// The offer of the connection they are for.
        re: OfferHash,
        /// 1 to 32 objects, each an `RTCIceCandidateInit`.
        candidates: Vec<Value>,
    },
    /// An offer is not answered.
    Refuse {
        /// Which offer.
        re: OfferHash,
        /// Why not.
        reason: Reason,
    },
    /// The contact is ended.
    Bye,
    /// A one-way message for scripts and tools.
    Note(Vec<u8>),
}

/// What an offer says.
#[derive(Clone, PartialEq, Eq)]
pub struct Offer {
    /// Where the sender is written to; has a secret.
    pub connectoid: Connectoid,
    /// The commitment to `rO`, see [`super::transcript::sas_commit`].
    pub sas_commit: [u8; 48],
    /// The SDP offer; has exactly one fingerprint, see [`Fingerprint::of_sdp`].
    pub sdp: String,
}

/// What the answer to an offer says.
#[derive(Clone, PartialEq, Eq)]
pub struct SdpAnswer {
    /// Which offer it answers.
    pub re: OfferHash,
    /// `rA`, fresh for every answer.
    pub sas_nonce: [u8; 32],
    /// The SDP answer; has exactly one fingerprint, see [`Fingerprint::of_sdp`].
    pub sdp: String,
}

/// Why an offer is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum Reason {
    /// Somebody else used this link first.
    LinkUsed,
    /// The owner does not want to connect.
    Declined,
}

/// The name of an offer: SHA-384 of its payload's bytes as they were signed. base64url in JSON.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OfferHash([u8; OfferHash::BYTES]);

/// A message on its way out. Shown by no `Debug`: an offer's payload carries a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    /// What to send: 4096, 8192 or 16384 bytes.
    pub data: Vec<u8>,
    /// The payload's bytes as they were signed: what `re` and the transcript hash. That of an offer holds a secret.
    pub payload: Zeroizing<Vec<u8>>,
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
    /// The envelope or the payload is not what it should be. Found wherever a field is needed that is not there, stands
    /// twice or holds something else.
    #[error("holds no envelope of this protocol")]
    Envelope,
    /// Another algorithm than ES384.
    #[error("is not signed with ES384")]
    Alg,
    /// Of a type that carries no `ik`, from nobody known.
    #[error("is signed by a key that is not known here")]
    UnknownSigner,
    /// The signature does not hold.
    #[error("has a signature that does not hold")]
    Signature,
    /// Of another version of the protocol.
    #[error("is of another version of the protocol: update this program")]
    Version,
    /// Of a type that version 1 does not have.
    #[error("is of a type that this program does not know: update it")]
    Type,
    /// Addressed to another box.
    #[error("is addressed to another box")]
    Address,
}

/// Why a message was not sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotSealed {
    /// A note that is too long.
    #[error("the note is {0} bytes, a message carries 8,892: send it in parts, or send where to fetch it")]
    TooLong(usize),
    /// Another message that is too long: the bytes of its payload.
    #[error(
        "the message is {0} bytes of JSON, too many for 16,384 sealed: its SDP or its candidates are too long"
    )]
    TooBig(usize),
    /// What every receiver would skip: a connectoid without a secret, an SDP without a fingerprint, too many
    /// candidates, an integer of more than 2⁵³−1.
    #[error("no receiver would take this message: it {0}")]
    Refused(Junk),
    /// The key.
    #[error(transparent)]
    Seal(#[from] CannotSeal),
}

/// A signed message as it stands inside the seal: `lp32(envelope) ‖ zeros`.
#[derive(Serialize, Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    alg: Cow<'a, str>,
    #[serde(borrow)]
    payload: Cow<'a, str>,
    #[serde(borrow)]
    sig: Cow<'a, str>,
}

/// What is signed, as it is written. It is read in steps, each of the fields that its check needs.
#[derive(Serialize)]
struct Payload<'a> {
    v: u64,
    typ: &'a str,
    n: u64,
    ts: u64,
    to: PublicKey,
    #[serde(skip_serializing_if = "Option::is_none")]
    ik: Option<PublicKey>,
    #[serde(flatten)]
    body: Body<'a>,
}

/// The fields of each type.
#[derive(Serialize)]
#[serde(untagged)]
enum Body<'a> {
    Offer(OfferBody<'a>),
    Answer(AnswerBody<'a>),
    Candidate { re: OfferHash, candidates: &'a [Value] },
    Refuse(RefuseBody),
    Bye {},
    Note { note: String },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfferBody<'a> {
    #[serde(borrow)]
    connectoid: Cow<'a, str>,
    sas_commit: Exactly<48>,
    #[serde(borrow, deserialize_with = "json::object")]
    sdp_offer: Sdp<'a>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnswerBody<'a> {
    re: OfferHash,
    sas_nonce: Exactly<32>,
    #[serde(borrow, deserialize_with = "json::object")]
    sdp_answer: Sdp<'a>,
}

#[derive(Deserialize)]
struct CandidateBody {
    re: OfferHash,
    candidates: Vec<Map<String, Value>>,
}

#[derive(Serialize, Deserialize)]
struct RefuseBody {
    re: OfferHash,
    reason: Reason,
}

#[derive(Deserialize)]
struct NoteBody<'a> {
    #[serde(borrow)]
    note: Cow<'a, str>,
}

/// An `RTCSessionDescriptionInit`.
#[derive(Serialize, Deserialize)]
struct Sdp<'a> {
    #[serde(borrow, rename = "type")]
    typ: Cow<'a, str>,
    #[serde(borrow)]
    sdp: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Kind {
    v: u64,
    typ: String,
}

#[derive(Deserialize)]
struct Ik {
    ik: PublicKey,
}

#[derive(Deserialize)]
struct Re {
    re: OfferHash,
}

#[derive(Deserialize)]
struct To {
    to: PublicKey,
}

#[derive(Deserialize)]
struct Counters {
    n: u64,
    ts: u64,
}

/// Seals a message to a box.
///
/// `secret` is that of the box, if it has one; `n` must be higher than in everything this signer signed before, and
/// stored before this call; `ts` is Unix time in milliseconds. Costs about a millisecond of curve arithmetic.
///
/// # Errors
/// If the message does not fit into 16,384 bytes, or if no receiver would take it.
pub fn seal_message(
    rng: &mut impl CryptoRng,
    to: &PublicKey,
    secret: Option<&LinkSecret>,
    signer: &SigningKey,
    n: u64,
    ts: u64,
    content: &Content,
) -> Result<Sealed, NotSealed> {
    let connectoid = match content {
        Content::Offer(offer) => Zeroizing::new(offer.connectoid.to_string()),
        _ => Zeroizing::default(),
    };
    let payload = Payload {
        v: 1,
        typ: content.typ(),
        n,
        ts,
        to: *to,
        ik: carries_ik(content.typ()).then(|| signer.public()),
        body: Body::of(content, &connectoid),
    };
    let payload = Zeroizing::new(serde_json::to_vec(&payload).map_err(|_| CannotSeal)?);
    read_body(content.typ(), &payload).map_err(NotSealed::Refused)?;
    let field = Zeroizing::new(base64url::encode(&payload));
    let sig = base64url::encode(signer.sign(&signed_bytes(&field)));
    let envelope = Envelope { alg: ALG.into(), payload: field.as_str().into(), sig: sig.into() };
    let envelope = Zeroizing::new(serde_json::to_vec(&envelope).map_err(|_| CannotSeal)?);
    let size = SIZES.iter().find(|size| OVERHEAD + 4 + envelope.len() <= **size);
    let size = size.ok_or(match content {
        Content::Note(note) => NotSealed::TooLong(note.len()),
        _ => NotSealed::TooBig(payload.len()),
    })?;
    let mut plaintext = Zeroizing::new(vec![0; size - OVERHEAD]);
    plaintext[..4 + envelope.len()].copy_from_slice(&Zeroizing::new(lp32(&envelope)));
    let data = with_mode(to, secret, |mode| seal(rng, to, mode, INFO, AAD, &plaintext))?;
    Ok(Sealed { data, payload })
}

/// Opens a message: seal, size, padding, `alg`, signature, `v`, `typ`, `to`, and what its type has to carry, in this
/// order. Whether `ik` may write here and `n` is new is for the caller, who remembers.
///
/// `known` gives the key of a message that carries no `ik`. It is asked with the `re` of a `candidate`, and with `None`
/// for a `bye`.
pub fn open_message(
    key: &BoxKey,
    secret: Option<&LinkSecret>,
    known: impl FnOnce(Option<&OfferHash>) -> Option<PublicKey>,
    sealed: &[u8],
) -> Result<Opened, Junk> {
    let own = key.public();
    let plaintext = match with_mode(&own, secret, |mode| open(key, mode, INFO, AAD, sealed)) {
        Err(_) if !holds(Defence::SecretUsed) => open_without_secret(key, sealed),
        opened => opened,
    };
    let plaintext = Zeroizing::new(plaintext.map_err(|CannotOpen| Junk::Seal)?);
    if !SIZES.contains(&sealed.len()) {
        return Err(Junk::Size);
    }
    let (length, rest) = plaintext.split_first_chunk().ok_or(Junk::Envelope)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| Junk::Envelope)?;
    let (envelope, padding) = rest.split_at_checked(length).ok_or(Junk::Envelope)?;
    if padding.iter().any(|&byte| byte != 0) {
        return Err(Junk::Padding);
    }
    let envelope: Envelope<'_> = read(envelope)?;
    if envelope.alg != ALG {
        return Err(Junk::Alg);
    }
    let payload = Zeroizing::new(base64url::decode(&envelope.payload).map_err(|_| Junk::Envelope)?);
    let Kind { v, typ } = read(&payload)?;
    let ik = match typ.as_str() {
        "candidate" => known(Some(&read::<Re>(&payload)?.re)).ok_or(Junk::UnknownSigner)?,
        "bye" => known(None).ok_or(Junk::UnknownSigner)?,
        _ => read::<Ik>(&payload)?.ik,
    };
    let sig = base64url::decode(&envelope.sig).map_err(|_| Junk::Signature)?;
    if !keys::verifies(&ik, &signed_bytes(&envelope.payload), &sig) && holds(Defence::Signature) {
        return Err(Junk::Signature);
    }
    if v != 1 {
        return Err(Junk::Version);
    }
    if !TYPES.contains(&typ.as_str()) {
        return Err(Junk::Type);
    }
    if read::<To>(&payload)?.to != own && holds(Defence::Address) {
        return Err(Junk::Address);
    }
    let (n, ts, content) = read_body(&typ, &payload)?;
    Ok(Opened { ik, n, ts, content, payload })
}

/// Opens what was sealed as a message by somebody who had no secret; the padded plaintext. Only what tests of a defence
/// switch off leads here, if the box has a secret.
pub(super) fn open_without_secret(key: &BoxKey, sealed: &[u8]) -> Result<Vec<u8>, CannotOpen> {
    open(key, Mode::Base, INFO, AAD, sealed)
}

/// What an offer says that was opened before: of its payload, as it was signed.
#[cfg(feature = "client")]
pub(crate) fn read_offer(payload: &[u8]) -> Option<Offer> {
    match read_body("offer", payload) {
        Ok((_, _, Content::Offer(offer))) => Some(offer),
        _ => None,
    }
}

const TYPES: [&str; 6] = ["offer", "answer", "candidate", "refuse", "bye", "note"];

/// The others come from a contact whose key is known.
fn carries_ik(typ: &str) -> bool {
    !matches!(typ, "candidate" | "bye")
}

/// The counters, and what a message of this type has to carry.
fn read_body(typ: &str, payload: &[u8]) -> Result<(u64, u64, Content), Junk> {
    let Counters { n, ts } = read(payload)?;
    if n > MAX_INTEGER || ts > MAX_INTEGER {
        return Err(Junk::Envelope);
    }
    let content = match typ {
        "offer" => {
            let OfferBody { connectoid, sas_commit, sdp_offer } = read(payload)?;
            let connectoid: Connectoid = connectoid.parse().map_err(|_| Junk::Envelope)?;
            if connectoid.secret.is_none() {
                return Err(Junk::Envelope);
            }
            Content::Offer(Offer { connectoid, sas_commit: sas_commit.0, sdp: sdp_offer.read("offer")? })
        }
        "answer" => {
            let AnswerBody { re, sas_nonce, sdp_answer } = read(payload)?;
            Content::Answer(SdpAnswer { re, sas_nonce: sas_nonce.0, sdp: sdp_answer.read("answer")? })
        }
        "candidate" => {
            let CandidateBody { re, candidates } = read(payload)?;
            if !(1..=MAX_CANDIDATES).contains(&candidates.len()) {
                return Err(Junk::Envelope);
            }
            Content::Candidate { re, candidates: candidates.into_iter().map(Value::Object).collect() }
        }
        "refuse" => {
            let RefuseBody { re, reason } = read(payload)?;
            Content::Refuse { re, reason }
        }
        "bye" => Content::Bye,
        "note" => {
            let NoteBody { note } = read(payload)?;
            Content::Note(base64url::decode(&note).map_err(|_| Junk::Envelope)?)
        }
        _ => return Err(Junk::Type),
    };
    Ok((n, ts, content))
}

fn read<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, Junk> {
    json::read(json).ok_or(Junk::Envelope)
}

/// `"connectoid/1 sig" ‖ 0x00 ‖ the payload field as ASCII`
fn signed_bytes(payload: &str) -> Zeroizing<Vec<u8>> {
    Zeroizing::new([SIG_LABEL, payload.as_bytes()].concat())
}

/// PSK mode for a box with a secret, base mode for one without; never the other.
/// `psk = HKDF-SHA384("connectoid/1 psk", secret, pub, 48)`
fn with_mode<T>(key: &PublicKey, secret: Option<&LinkSecret>, then: impl FnOnce(Mode<'_>) -> T) -> T {
    let Some(secret) = secret else {
        return then(Mode::Base);
    };
    let psk = hkdf(PSK_LABEL, secret.expose(), &[key.as_bytes()]);
    then(Mode::Psk { psk: &*psk, id: PSK_LABEL })
}

impl Content {
    /// The `typ` of the payload.
    pub fn typ(&self) -> &'static str {
        match self {
            Self::Offer(_) => "offer",
            Self::Answer(_) => "answer",
            Self::Candidate { .. } => "candidate",
            Self::Refuse { .. } => "refuse",
            Self::Bye => "bye",
            Self::Note(_) => "note",
        }
    }
}

impl<'a> Body<'a> {
    fn of(content: &'a Content, connectoid: &'a str) -> Self {
        match content {
            Content::Offer(Offer { connectoid: _, sas_commit, sdp }) => Self::Offer(OfferBody {
                connectoid: connectoid.into(),
                sas_commit: Exactly(*sas_commit),
                sdp_offer: Sdp { typ: "offer".into(), sdp: sdp.into() },
            }),
            Content::Answer(SdpAnswer { re, sas_nonce, sdp }) => Self::Answer(AnswerBody {
                re: *re,
                sas_nonce: Exactly(*sas_nonce),
                sdp_answer: Sdp { typ: "answer".into(), sdp: sdp.into() },
            }),
            Content::Candidate { re, candidates } => Self::Candidate { re: *re, candidates },
            Content::Refuse { re, reason } => Self::Refuse(RefuseBody { re: *re, reason: *reason }),
            Content::Bye => Self::Bye {},
            Content::Note(note) => Self::Note { note: base64url::encode(note) },
        }
    }
}

impl Sdp<'_> {
    /// Proofs are about one certificate, so an SDP names exactly one.
    fn read(self, typ: &str) -> Result<String, Junk> {
        let right = self.typ == typ && Fingerprint::of_sdp(&self.sdp).is_some();
        if right { Ok(self.sdp.into_owned()) } else { Err(Junk::Envelope) }
    }
}

impl TryFrom<String> for Reason {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.as_str() {
            "link-used" => Ok(Self::LinkUsed),
            "declined" => Ok(Self::Declined),
            _ => Err("expected link-used or declined"),
        }
    }
}

impl From<Reason> for &'static str {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::LinkUsed => "link-used",
            Reason::Declined => "declined",
        }
    }
}

impl OfferHash {
    /// The length in bytes.
    pub const BYTES: usize = 48;

    /// The name of the offer with this payload, its bytes as they were signed.
    pub fn of(payload: &[u8]) -> Self {
        Self(Sha384::digest(payload).into())
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

impl Serialize for OfferHash {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        Exactly(self.0).serialize(out)
    }
}

impl<'de> Deserialize<'de> for OfferHash {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        Ok(Self(Exactly::deserialize(input)?.0))
    }
}

impl fmt::Debug for OfferHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OfferHash(…)")
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opened({} {})", self.content.typ(), self.n)
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({})", self.data.len())
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.typ())
    }
}

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Offer(…)")
    }
}

impl fmt::Debug for SdpAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SdpAnswer(…)")
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};
    use serde_json::json;

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

    fn nobody(_: Option<&OfferHash>) -> Option<PublicKey> {
        None
    }

    fn sdp() -> String {
        format!("v=0\r\na=fingerprint:sha-256 {}\r\n", ["5B"; 32].join(":"))
    }

    const SECRET: &str = "AQcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH";

    fn connectoid() -> String {
        format!(
            "A3cF4dUliud11gULRbSbiyThJ8-nj--k8m_lctINRixWu9LVtRFfqKsa6XU9Q6j0hw.aHR0cHM6Ly9jb25uZWN0by5pZA..{SECRET}"
        )
    }

    fn one_of_each() -> [Content; 7] {
        let re = OfferHash::of(b"offer");
        let connectoid = connectoid().parse().unwrap();
        [
            Content::Offer(Offer { connectoid, sas_commit: [6; 48], sdp: sdp() }),
            Content::Answer(SdpAnswer { re, sas_nonce: [10; 32], sdp: sdp() }),
            Content::Candidate { re, candidates: vec![json!({"candidate": "", "sdpMid": "0"})] },
            Content::Refuse { re, reason: Reason::LinkUsed },
            Content::Refuse { re, reason: Reason::Declined },
            Content::Bye,
            Content::Note(b"hello".into()),
        ]
    }

    impl Peers {
        fn seal(&mut self, content: &Content) -> Result<Sealed, NotSealed> {
            seal_message(&mut self.rng, &self.key.public(), Some(&self.secret), &self.signer, 1, 5, content)
        }

        fn note(&mut self, note: &[u8]) -> Result<Vec<u8>, NotSealed> {
            self.seal(&Content::Note(note.into())).map(|sealed| sealed.data)
        }

        /// A message that is right but for what `spoil` does to its plaintext.
        fn spoilt(&mut self, content: &Content, spoil: impl Fn(&mut Vec<u8>)) -> Result<Opened, Junk> {
            let sealed = self.seal(content).unwrap().data;
            let Peers { rng, key, secret, signer } = self;
            let to = key.public();
            let mut plaintext =
                with_mode(&to, Some(secret), |mode| open(key, mode, INFO, AAD, &sealed)).unwrap();
            spoil(&mut plaintext);
            let sealed = with_mode(&to, Some(secret), |mode| seal(rng, &to, mode, INFO, AAD, &plaintext));
            open_message(key, Some(secret), |_| Some(signer.public()), &sealed.unwrap())
        }

        fn spoilt_note(&mut self, spoil: impl Fn(&mut Vec<u8>)) -> Result<Opened, Junk> {
            self.spoilt(&Content::Note(b"hello".into()), spoil)
        }

        /// A message whose payload `change` edits as text, signed anew.
        fn rewritten(&mut self, content: &Content, from: &str, to: &str) -> Result<Opened, Junk> {
            let signer = self.signer.clone();
            self.spoilt(content, |plaintext| {
                resign(plaintext, &signer, |payload| {
                    assert!(payload.contains(from), "{from} is not in {payload}");
                    payload.replacen(from, to, 1)
                })
            })
        }
    }

    /// Rewrites the envelope in a plaintext, keeping its length.
    fn with_envelope(plaintext: &mut Vec<u8>, change: impl Fn(&str) -> String) {
        let length = u32::from_be_bytes(plaintext[..4].try_into().unwrap()) as usize;
        let envelope = change(std::str::from_utf8(&plaintext[4..4 + length]).unwrap());
        let size = plaintext.len();
        *plaintext = lp32(envelope.as_bytes());
        plaintext.resize(size, 0);
    }

    /// Rewrites the payload and signs it anew.
    fn resign(plaintext: &mut Vec<u8>, by: &SigningKey, change: impl Fn(&str) -> String) {
        with_envelope(plaintext, |envelope| {
            let envelope: Envelope<'_> = read(envelope.as_bytes()).unwrap();
            let payload = String::from_utf8(base64url::decode(&envelope.payload).unwrap()).unwrap();
            let payload = base64url::encode(change(&payload));
            let sig = base64url::encode(by.sign(&signed_bytes(&payload)));
            format!(r#"{{"alg":"ES384","payload":"{payload}","sig":"{sig}"}}"#)
        });
    }

    #[test]
    fn every_type_there_and_back_in_both_modes() {
        let Peers { mut rng, key, secret, signer } = peers();
        let stranger = SigningKey::generate(&mut rng).public();
        for content in one_of_each() {
            for secret in [Some(&secret), None] {
                let sealed =
                    seal_message(&mut rng, &key.public(), secret, &signer, (1 << 53) - 1, 5, &content)
                        .unwrap();
                assert_eq!(sealed.data.len(), 4096);
                let open = |ik| open_message(&key, secret, ik, &sealed.data);
                let (ik, carried) = (signer.public(), carries_ik(content.typ()));
                let right = |re: Option<&OfferHash>| {
                    assert_eq!(
                        re,
                        matches!(content, Content::Candidate { .. }).then_some(&OfferHash::of(b"offer"))
                    );
                    assert!(!carried);
                    Some(ik)
                };
                let opened = open(&right).unwrap();
                let same = Opened {
                    ik,
                    n: 9_007_199_254_740_991,
                    ts: 5,
                    payload: sealed.payload.clone(),
                    content: content.clone(),
                };
                assert_eq!(opened, same);
                assert_eq!(
                    open_message(&key, secret, nobody, &sealed.data).err(),
                    (!carried).then_some(Junk::UnknownSigner)
                );
                let other = open_message(&key, secret, |_| Some(stranger), &sealed.data);
                assert_eq!(other.err(), (!carried).then_some(Junk::Signature));
                let shown = format!("Opened({0} 9007199254740991) Sealed(4096) {0}", content.typ());
                assert_eq!(format!("{opened:?} {sealed:?} {content:?}"), shown);
            }
        }
    }

    #[test]
    fn payloads_as_they_are_written() {
        let mut peers = peers();
        let (to, ik) = (peers.key.public(), peers.signer.public());
        let sdp = sdp().replace("\r\n", "\\r\\n");
        let connectoid = connectoid();
        let head = |typ: &str| format!(r#"{{"v":1,"typ":"{typ}","n":1,"ts":5,"to":"{to}""#);
        let re = OfferHash::of(b"offer");
        let re = format!(r#""re":"{}""#, base64url::encode(re.as_bytes()));
        let (commit, nonce) = ("BgYG".repeat(16), "CgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgo");
        let expected = [
            format!(
                r#"{},"ik":"{ik}","connectoid":"{connectoid}","sasCommit":"{commit}","sdpOffer":{{"type":"offer","sdp":"{sdp}"}}}}"#,
                head("offer")
            ),
            format!(
                r#"{},"ik":"{ik}",{re},"sasNonce":"{nonce}","sdpAnswer":{{"type":"answer","sdp":"{sdp}"}}}}"#,
                head("answer")
            ),
            format!(r#"{},{re},"candidates":[{{"candidate":"","sdpMid":"0"}}]}}"#, head("candidate")),
            format!(r#"{},"ik":"{ik}",{re},"reason":"link-used"}}"#, head("refuse")),
            format!(r#"{},"ik":"{ik}",{re},"reason":"declined"}}"#, head("refuse")),
            format!("{}}}", head("bye")),
            format!(r#"{},"ik":"{ik}","note":"aGVsbG8"}}"#, head("note")),
        ];
        for (content, expected) in one_of_each().iter().zip(expected) {
            assert_eq!(String::from_utf8_lossy(&peers.seal(content).unwrap().payload), expected);
        }
    }

    #[test]
    fn three_sizes_and_no_more() {
        let mut peers = peers();
        for (bytes, size) in
            [(0, 4096), (1800, 4096), (2100, 8192), (4000, 8192), (5000, 16_384), (8900, 16_384)]
        {
            let note = vec![b'x'; bytes];
            let sealed = peers.note(&note).unwrap();
            assert_eq!(sealed.len(), size, "{bytes}");
            let opened = open_message(&peers.key, Some(&peers.secret), nobody, &sealed).unwrap();
            assert!(opened.content == Content::Note(note));
        }
        assert_eq!(peers.note(&[0; 9500]), Err(NotSealed::TooLong(9500)));
        let [Content::Offer(offer), ..] = one_of_each() else { panic!("an offer first") };
        let long = Content::Offer(Offer { sdp: sdp() + &"a=x\n".repeat(3000), ..offer });
        assert_eq!(peers.seal(&long), Err(NotSealed::TooBig(15_581)));
    }

    #[test]
    fn what_no_receiver_would_take_is_not_sealed() {
        let mut peers = peers();
        let refused = Err(NotSealed::Refused(Junk::Envelope));
        let [Content::Offer(offer), Content::Answer(answer), ..] = one_of_each() else {
            panic!("an offer and an answer first")
        };
        let re = answer.re;
        let mut bare = offer.connectoid.clone();
        bare.secret = None;
        for content in [
            Content::Offer(Offer { connectoid: bare, ..offer.clone() }),
            Content::Offer(Offer { sdp: "v=0".into(), ..offer }),
            Content::Answer(SdpAnswer { sdp: sdp() + &sdp().replace("5B", "5A"), ..answer }),
            Content::Candidate { re, candidates: vec![] },
            Content::Candidate { re, candidates: vec![json!({}); 33] },
            Content::Candidate { re, candidates: vec![json!("candidate")] },
        ] {
            assert_eq!(peers.seal(&content), refused, "{content:?}");
        }
        assert!(peers.seal(&Content::Candidate { re, candidates: vec![json!({}); 32] }).is_ok());
        let Peers { rng, key, signer, .. } = &mut peers;
        for (n, ts) in [(1 << 53, 1), (1, 1 << 53)] {
            assert_eq!(seal_message(rng, &key.public(), None, signer, n, ts, &Content::Bye), refused);
        }
    }

    #[test]
    fn with_and_without_secret_do_not_mix() {
        let mut peers = peers();
        let with = peers.note(b"hello").unwrap();
        let Peers { rng, key, secret, signer } = &mut peers;
        let note = Content::Note(b"hello".into());
        let without = seal_message(rng, &key.public(), None, signer, 1, 5, &note).unwrap().data;
        assert!(open_message(key, Some(secret), nobody, &with).is_ok());
        assert!(open_message(key, None, nobody, &without).is_ok());
        assert_eq!(open_message(key, None, nobody, &with), Err(Junk::Seal));
        assert_eq!(open_message(key, Some(secret), nobody, &without), Err(Junk::Seal));
        assert_eq!(open_message(key, Some(&LinkSecret::from_bytes([1; 32])), nobody, &with), Err(Junk::Seal));
    }

    #[test]
    fn each_check_catches_what_it_is_for() {
        let mut peers = peers();
        assert!(peers.spoilt_note(|_| ()).is_ok());
        assert_eq!(peers.spoilt_note(|p| p.push(0)), Err(Junk::Size));
        assert_eq!(peers.spoilt_note(|p| *p.last_mut().unwrap() = 1), Err(Junk::Padding));
        assert_eq!(peers.spoilt_note(|p| p[..4].fill(0xFF)), Err(Junk::Envelope));
        assert_eq!(peers.spoilt_note(|p| p[4] = b'x'), Err(Junk::Envelope));
        let mut envelope = |from: &str, to: &str| {
            peers.spoilt_note(|p| {
                with_envelope(p, |envelope| {
                    assert!(envelope.contains(from));
                    envelope.replacen(from, to, 1)
                })
            })
        };
        assert!(envelope("{", r#"{"later":1,"#).is_ok());
        assert_eq!(envelope("{", r#"{"alg":"ES384","#), Err(Junk::Envelope));
        assert_eq!(envelope("ES384", "none"), Err(Junk::Alg));
        assert_eq!(envelope("ES384", "es384"), Err(Junk::Alg));
        assert_eq!(envelope(r#""alg":"ES384","#, ""), Err(Junk::Envelope));
        assert_eq!(envelope(r#""sig":""#, r#""sig":"A"#), Err(Junk::Signature));
        assert_eq!(envelope(r#""sig":""#, r#""sig":"","was":""#), Err(Junk::Signature));
        assert_eq!(envelope(r#""payload":""#, r#""payload":"","was":""#), Err(Junk::Envelope));
        assert_eq!(envelope(r#""payload":""#, r#""payload":"="#), Err(Junk::Envelope));

        let stranger = SigningKey::generate(&mut peers.rng);
        assert_eq!(peers.spoilt_note(|p| resign(p, &stranger, str::to_owned)), Err(Junk::Signature));
        let note = Content::Note(b"hello".into());
        let other = format!(r#""to":"{}","#, peers.signer.public());
        for (from, to, junk) in [
            (r#""v":1"#, r#""v":2"#, Junk::Version),
            (r#""v":1"#, r#""v":"1""#, Junk::Envelope),
            (r#""v":1"#, r#""v":1.0"#, Junk::Envelope),
            (r#""v":1"#, r#""v":1,"v":1"#, Junk::Envelope),
            (r#""v":1"#, r#""x":1,"x":1,"v":1"#, Junk::Envelope),
            (r#""note","#, r#""later","#, Junk::Type),
            (r#""typ":"note","#, "", Junk::Envelope),
            (r#""to":""#, &format!(r#"{other}"was":""#), Junk::Address),
            (r#""to":""#, r#""to":"A"#, Junk::Envelope),
            (r#""ik":""#, r#""was":""#, Junk::Envelope),
            (r#""n":1"#, r#""n":9007199254740992"#, Junk::Envelope),
            (r#""n":1"#, r#""n":-1"#, Junk::Envelope),
            (r#""n":1"#, r#""n":1e0"#, Junk::Envelope),
            (r#""n":1,"#, "", Junk::Envelope),
            (r#""ts":5,"#, "", Junk::Envelope),
            (r#""note":"#, r#""text":"#, Junk::Envelope),
            (r#""aGVsbG8""#, r#""aGVsbG9""#, Junk::Envelope),
            (r#""aGVsbG8""#, "null", Junk::Envelope),
        ] {
            assert_eq!(peers.rewritten(&note, from, to), Err(junk), "{from} {to}");
        }
        assert!(peers.rewritten(&note, r#""v":1"#, r#""later":[1.5,null],"v":1"#).is_ok());
        // Both of its faults are there; that which is checked first is said.
        assert_eq!(peers.rewritten(&note, r#"1,"typ":"note""#, r#"2,"typ":"later""#), Err(Junk::Version));
    }

    #[test]
    fn payloads_cut_or_changed_anywhere_are_no_panic() {
        let mut peers = peers();
        for content in one_of_each() {
            let payload = peers.seal(&content).unwrap().payload;
            for index in 0..payload.len() {
                assert_eq!(
                    read_body(content.typ(), &payload[..index]).err(),
                    Some(Junk::Envelope),
                    "{index}"
                );
                for byte in [0, b'"', b'0', b'{', b']', 0xFF] {
                    let mut changed = payload.clone();
                    changed[index] = byte;
                    let _: Result<_, Junk> = read_body(content.typ(), &changed);
                }
            }
        }
    }

    #[test]
    fn what_each_type_has_to_carry() {
        let mut peers = peers();
        let [offer, answer, candidate, refuse, _, bye, _] = one_of_each();
        let cut = format!("..{SECRET}");
        let line = format!("a=fingerprint:sha-256 {}", ["5B"; 32].join(":"));
        for (content, from, to) in [
            (&offer, cut.as_str(), ""),
            (&offer, r#""connectoid":""#, r#""connectoid":"A"#),
            (&offer, "sasCommit", "sasNonce"),
            (&offer, "BgYG", ""),
            (&offer, "sdpOffer", "sdpAnswer"),
            (&offer, r#""type":"offer""#, r#""type":"answer""#),
            (&offer, r#"{"type":"offer","sdp":"#, r#"["offer","#),
            (&offer, &line, ""),
            (&offer, &line, &format!("{line}\\na=fingerprint:sha-256 5A")),
            (&answer, r#""re":"#, r#""was":"#),
            (&answer, r#""re":""#, r#""re":"A"#),
            (&answer, "CgoK", ""),
            (&answer, r#""type":"answer""#, r#""type":"pranswer""#),
            (&answer, &line, ""),
            (&candidate, r#""re":""#, r#""re":"A"#),
            (&candidate, r#"[{"candidate":"","sdpMid":"0"}]"#, "[]"),
            (&candidate, r#"[{"candidate":"","sdpMid":"0"}]"#, r#"["candidate"]"#),
            (&candidate, r#"[{"candidate":"","sdpMid":"0"}]"#, r#"{"candidate":""}"#),
            (&candidate, r#""sdpMid":"0""#, r#""candidate":"0""#),
            (&refuse, "link-used", "used"),
            (&refuse, r#""link-used""#, r#"{"link-used":null}"#),
            (&refuse, r#""re":"#, r#""was":"#),
            (&bye, r#""n":1"#, r#""n":"1""#),
        ] {
            assert_eq!(peers.rewritten(content, from, to), Err(Junk::Envelope), "{content:?} {from} {to}");
        }
        // An `ik` that is none of its fields does not make anybody its signer.
        let stranger = SigningKey::generate(&mut peers.rng);
        let claimed = format!(r#""ik":"{}","v":1"#, stranger.public());
        let forged =
            |p: &mut Vec<u8>| resign(p, &stranger, |payload| payload.replacen(r#""v":1"#, &claimed, 1));
        for content in [&bye, &candidate] {
            assert_eq!(peers.spoilt(content, forged), Err(Junk::Signature));
            assert_eq!(peers.rewritten(content, r#""v":1"#, &claimed).unwrap().ik, peers.signer.public());
        }
    }
}
