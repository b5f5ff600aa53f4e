//! HPKE's base mode a second time, on aws-lc-rs, which takes a quarter of the time: how the relay seals its questions.
//!
//! With the same ephemeral key it makes the same bytes as [`super::seal`], which the tests hold it to. Nothing is erased
//! here: whoever could read the relay's memory has the secret that the plaintext comes from.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    agreement::{ECDH_P384, PrivateKey, UnparsedPublicKey, agree},
    error::Unspecified,
    hmac::{Context, HMAC_SHA384, Key, Tag},
};

use super::{CannotSeal, ENC_BYTES, OVERHEAD, VERSION};
use crate::protocol::PublicKey;

/// DHKEM(P-384, HKDF-SHA384) (RFC 9180, sections 4.1 and 7.1).
const KEM: &[u8] = b"KEM\x00\x11";

/// The same with HKDF-SHA384 and AES-256-GCM (section 5.1).
const SUITE: &[u8] = b"HPKE\x00\x11\x00\x02\x00\x02";

/// `mode_base` (section 5).
const BASE: &[u8] = &[0];

fn cannot(_: Unspecified) -> CannotSeal {
    CannotSeal
}

/// Seals `plaintext` to a public key: `0x01 ‖ enc ‖ ct`.
///
/// The ephemeral key is drawn by aws-lc-rs itself. From bytes of ours it would compute the public key twice, which makes the
/// whole a fifth dearer.
pub(super) fn seal(to: &PublicKey, info: &[u8], aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, CannotSeal> {
    seal_with(&PrivateKey::generate(&ECDH_P384).map_err(cannot)?, to, info, aad, plaintext)
}

fn seal_with(
    ephemeral: &PrivateKey,
    to: &PublicKey,
    info: &[u8],
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, CannotSeal> {
    // By p384, since its uncompressed bytes are hashed too; aws-lc-rs would take the compressed ones, in the same time.
    let to = to.uncompressed().map_err(|_| CannotSeal)?;
    let enc = ephemeral.compute_public_key().map_err(cannot)?;
    // Encap, section 4.1.
    let shared_secret = agree(ephemeral, UnparsedPublicKey::new(&ECDH_P384, &to), Unspecified, |dh| {
        let prk = extract(KEM, &[], b"eae_prk", dh);
        Ok(expand(KEM, &prk, b"shared_secret", &[enc.as_ref(), &to], 48))
    })
    .map_err(cannot)?;
    let (key, nonce) = key_schedule(&shared_secret, info).map_err(cannot)?;
    let mut sealed = Vec::with_capacity(OVERHEAD + plaintext.len());
    sealed.push(VERSION);
    sealed.extend_from_slice(enc.as_ref());
    sealed.extend_from_slice(plaintext);
    let tag = key
        .seal_in_place_separate_tag(nonce, Aad::from(aad), &mut sealed[1 + ENC_BYTES..])
        .map_err(cannot)?;
    sealed.extend_from_slice(tag.as_ref());
    Ok(sealed)
}

/// KeySchedule, section 5.1, without a pre-shared key.
fn key_schedule(shared_secret: &Tag, info: &[u8]) -> Result<(LessSafeKey, Nonce), Unspecified> {
    let psk_id_hash = extract(SUITE, &[], b"psk_id_hash", &[]);
    let info_hash = extract(SUITE, &[], b"info_hash", info);
    let context = [BASE, psk_id_hash.as_ref(), info_hash.as_ref()];
    let secret = extract(SUITE, shared_secret.as_ref(), b"secret", &[]);
    let key = expand(SUITE, &secret, b"key", &context, 32);
    let base_nonce = expand(SUITE, &secret, b"base_nonce", &context, 12);
    // The nonce of a context's first message is its base nonce (section 5.2).
    let nonce = Nonce::try_assume_unique_for_key(&base_nonce.as_ref()[..12])?;
    Ok((LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key.as_ref()[..32])?), nonce))
}

/// LabeledExtract, section 4.
fn extract(suite: &[u8], salt: &[u8], label: &[u8], ikm: &[u8]) -> Tag {
    let mut mac = Context::with_key(&Key::new(HMAC_SHA384, salt));
    [b"HPKE-v1".as_slice(), suite, label, ikm].iter().for_each(|part| mac.update(part));
    mac.sign()
}

/// LabeledExpand, section 4: the first block of 48 bytes, of which `length` count.
fn expand(suite: &[u8], prk: &Tag, label: &[u8], info: &[&[u8]], length: u16) -> Tag {
    let mut mac = Context::with_key(&Key::new(HMAC_SHA384, prk.as_ref()));
    [length.to_be_bytes().as_slice(), b"HPKE-v1", suite, label].iter().for_each(|part| mac.update(part));
    info.iter().for_each(|part| mac.update(part));
    mac.update(&[1]);
    mac.sign()
}

#[cfg(test)]
mod tests {
    use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

    use super::*;
    use crate::seal::{self, BoxKey, Mode, derive_box_key};

    #[test]
    fn with_the_same_ephemeral_key_the_same_bytes() {
        let mut rng = StdRng::seed_from_u64(1);
        for length in [0, 1, 55, 56, 57, 500, 4_000] {
            let to = BoxKey::generate(&mut rng);
            let (mut info, mut aad, mut plaintext) =
                (vec![0; length % 60], vec![0; length % 70], vec![0; length]);
            [&mut info, &mut aad, &mut plaintext].into_iter().for_each(|bytes| rng.fill_bytes(bytes));
            // What HPKE draws an ephemeral key from (RFC 9180, section 7.1.3).
            let seed = || StdRng::seed_from_u64(length as u64);
            let mut ikm = [0; 48];
            seed().fill_bytes(&mut ikm);
            let theirs = seal::seal(&mut seed(), &to.public(), Mode::Base, &info, &aad, &plaintext).unwrap();
            let ephemeral = derive_box_key(&ikm).unwrap();
            let ephemeral = PrivateKey::from_private_key(&ECDH_P384, &*ephemeral.to_bytes()).unwrap();
            let ours = seal_with(&ephemeral, &to.public(), &info, &aad, &plaintext).unwrap();
            assert_eq!(ours, theirs, "{length} bytes");
        }
    }

    #[test]
    fn no_two_are_sealed_alike_and_each_opens() {
        let to = BoxKey::generate(&mut StdRng::seed_from_u64(1));
        let [one, two] = [(); 2].map(|()| seal(&to.public(), b"info", b"aad", b"hello").unwrap());
        assert_ne!(one[..1 + ENC_BYTES], two[..1 + ENC_BYTES]);
        for sealed in [one, two] {
            assert_eq!(seal::open(&to, Mode::Base, b"info", b"aad", &sealed), Ok(b"hello".to_vec()));
        }
    }
}
