//! HPKE (RFC 9180) in the protocol's suite on aws-lc-rs, the fastest library for P-384 that is well kept: the limit of what
//! a fresh question may cost, and how the client opens questions, so that it has time for the rest. The relay seals with it
//! too, by code of its own: what is slow there is not slow here.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    agreement::{ECDH_P384, PrivateKey, UnparsedPublicKey, agree},
    error::Unspecified,
    hmac::{self, HMAC_SHA384},
};
use connectoid::{
    protocol::base64url,
    seal::{BoxKey, question::open_question},
};

use crate::{Outcome, boxes::MailBox, server::RELAY};

const INFO: &[u8] = b"connectoid/1 question";

/// DHKEM(P-384, HKDF-SHA384) (RFC 9180, sections 4.1 and 7.1).
const KEM: &[u8] = b"KEM\x00\x11";

/// That with HKDF-SHA384 and AES-256-GCM (section 5.1).
const SUITE: &[u8] = b"HPKE\x00\x11\x00\x02\x00\x02";

/// What is sealed once in base mode: `0x01 ‖ enc ‖ ct`.
pub(crate) fn seal(to: &MailBox, plaintext: &[u8]) -> Result<Vec<u8>, Unspecified> {
    let ephemeral = PrivateKey::generate(&ECDH_P384)?;
    let enc = ephemeral.compute_public_key()?;
    let (key, nonce) = schedule(&ephemeral, &to.point, enc.as_ref(), &to.point)?;
    let mut sealed = [[1].as_slice(), enc.as_ref(), plaintext].concat();
    let tag = key.seal_in_place_separate_tag(nonce, Aad::from(aad(to)), &mut sealed[98..])?;
    sealed.extend_from_slice(tag.as_ref());
    Ok(sealed)
}

/// Whether what is sealed here opens with the protocol's own code: else it would be no limit.
pub(crate) fn proven(boxes: &[MailBox]) -> Outcome<()> {
    for to in boxes {
        let question = base64url::encode(seal(to, &[7; 56])?);
        open_question(&BoxKey::from_bytes(&to.private)?, &RELAY.parse()?, &question)?;
    }
    Ok(())
}

/// The owner of a box, ready to open questions.
pub(crate) struct Owner {
    private: PrivateKey,
    pub(crate) of: MailBox,
}

impl Owner {
    pub(crate) fn new(of: MailBox) -> Outcome<Self> {
        Ok(Self { private: PrivateKey::from_private_key(&ECDH_P384, &of.private)?, of })
    }

    /// The answer to a question, both in base64url.
    pub(crate) fn answer(&self, question: &str) -> Outcome<String> {
        let mut sealed = base64url::decode(question)?;
        if sealed.len() < 98 {
            return Err("not a question".into());
        }
        let (enc, ciphertext) = sealed[1..].split_at_mut(97);
        let (key, nonce) = schedule(&self.private, enc, enc, &self.of.point)?;
        Ok(base64url::encode(key.open_in_place(nonce, Aad::from(aad(&self.of)), ciphertext)?))
    }
}

/// What a question is bound to: the relay and the box.
fn aad(to: &MailBox) -> Vec<u8> {
    let length = u16::try_from(RELAY.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes(), RELAY.as_bytes(), &to.key].concat()
}

/// Key and nonce of a message, between one's private key and the other's public one (sections 4.1 and 5.1).
fn schedule(
    private: &PrivateKey,
    other: &[u8],
    enc: &[u8],
    recipient: &[u8],
) -> Result<(LessSafeKey, Nonce), Unspecified> {
    let shared = agree(private, UnparsedPublicKey::new(&ECDH_P384, other), Unspecified, |dh| {
        let prk = extract(HMAC_SHA384, KEM, &[], b"eae_prk", dh);
        Ok(expand(HMAC_SHA384, KEM, prk.as_ref(), b"shared_secret", &[enc, recipient].concat(), 48))
    })?;
    let id = extract(HMAC_SHA384, SUITE, &[], b"psk_id_hash", &[]);
    let info = extract(HMAC_SHA384, SUITE, &[], b"info_hash", INFO);
    let context = [[0].as_slice(), id.as_ref(), info.as_ref()].concat();
    let secret = extract(HMAC_SHA384, SUITE, shared.as_ref(), b"secret", &[]);
    let key = expand(HMAC_SHA384, SUITE, secret.as_ref(), b"key", &context, 32);
    let nonce = expand(HMAC_SHA384, SUITE, secret.as_ref(), b"base_nonce", &context, 12);
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key.as_ref()[..32])?);
    Ok((key, Nonce::try_assume_unique_for_key(&nonce.as_ref()[..12])?))
}

/// LabeledExtract (section 4).
pub(crate) fn extract(
    hash: hmac::Algorithm,
    suite: &[u8],
    salt: &[u8],
    label: &[u8],
    secret: &[u8],
) -> hmac::Tag {
    mac(hash, salt, &[b"HPKE-v1", suite, label, secret])
}

/// LabeledExpand (section 4), of which one block of the hash is enough for everything here.
pub(crate) fn expand(
    hash: hmac::Algorithm,
    suite: &[u8],
    secret: &[u8],
    label: &[u8],
    info: &[u8],
    length: u16,
) -> hmac::Tag {
    mac(hash, secret, &[&length.to_be_bytes(), b"HPKE-v1", suite, label, info, &[1]])
}

/// HMAC of the parts, one after the other.
pub(crate) fn mac(hash: hmac::Algorithm, key: &[u8], parts: &[&[u8]]) -> hmac::Tag {
    let mut mac = hmac::Context::with_key(&hmac::Key::new(hash, key));
    parts.iter().for_each(|part| mac.update(part));
    mac.sign()
}
