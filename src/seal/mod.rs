//! HPKE (RFC 9180) in the protocol's one suite: DHKEM(P-384, HKDF-SHA384), HKDF-SHA384, AES-256-GCM.
//!
//! A sealed thing is `0x01 ‖ enc(97) ‖ ct`; one context seals one message. What is sealed, and under which `info`
//! and `aad`, is said in [`question`] and [`message`].

mod keys;
pub mod message;
pub mod question;
#[cfg(feature = "server")]
mod quick;
pub mod transcript;

use hmac::{Hmac, KeyInit as _, Mac as _};
use hpke::{
    Deserializable, HpkeError, Kem as _, OpModeR, OpModeS, PskBundle, Serializable, aead::AesGcm256,
    kdf::HkdfSha384, kem::DhP384HkdfSha384,
};
pub use keys::{BoxKey, NotAPrivateKey, SigningKey};
use rand::CryptoRng;
use sha2::Sha384;
use zeroize::Zeroizing;

use crate::protocol::PublicKey;

type Kem = DhP384HkdfSha384;

/// The first byte of everything sealed: this suite, base or PSK mode.
const VERSION: u8 = 1;

/// The length of an encapsulated key: an uncompressed point (RFC 9180, section 7.1).
const ENC_BYTES: usize = 97;

/// What sealing adds to a plaintext: the version, the encapsulated key and the tag of AES-GCM.
pub const OVERHEAD: usize = 1 + ENC_BYTES + 16;

/// Whether sender and receiver share a secret beyond the public key.
#[derive(Clone, Copy)]
pub enum Mode<'a> {
    /// RFC 9180, section 5.1.1.
    Base,
    /// RFC 9180, section 5.1.2.
    Psk {
        /// The pre-shared key, at least 32 bytes of entropy.
        psk: &'a [u8],
        /// Its name.
        id: &'a [u8],
    },
}

/// The bytes were not sealed to this key, in this mode, for this purpose; or they were changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot be opened: not sealed to this key and purpose, or changed on the way")]
pub struct CannotOpen;

/// The key could not be sealed to; does not happen with a [`PublicKey`], which is on the curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot be sealed")]
pub struct CannotSeal;

impl From<HpkeError> for CannotSeal {
    fn from(_: HpkeError) -> Self {
        Self
    }
}

/// Seals `plaintext` to a public key: `0x01 ‖ enc ‖ ct`, [`OVERHEAD`] bytes longer than it.
///
/// Costs about a millisecond: two P-384 multiplications.
pub fn seal(
    rng: &mut impl CryptoRng,
    to: &PublicKey,
    mode: Mode<'_>,
    info: &[u8],
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, CannotSeal> {
    let to = <Kem as hpke::Kem>::PublicKey::from_bytes(&to.uncompressed().map_err(|_| CannotSeal)?)?;
    let mode: OpModeS<'_, Kem> = match mode {
        Mode::Base => OpModeS::Base,
        Mode::Psk { psk, id } => OpModeS::Psk(PskBundle::new(psk, id)?),
    };
    let (enc, ct) =
        hpke::single_shot_seal_with_rng::<AesGcm256, HkdfSha384, Kem>(&mode, &to, info, plaintext, aad, rng)?;
    Ok([[VERSION].as_slice(), &enc.to_bytes(), &ct].concat())
}

/// Opens what [`seal`] made.
pub fn open(
    key: &BoxKey,
    mode: Mode<'_>,
    info: &[u8],
    aad: &[u8],
    sealed: &[u8],
) -> Result<Vec<u8>, CannotOpen> {
    let (&VERSION, rest) = sealed.split_first().ok_or(CannotOpen)? else {
        return Err(CannotOpen);
    };
    let (enc, ct) = rest.split_at_checked(ENC_BYTES).ok_or(CannotOpen)?;
    let mode: OpModeR<'_, Kem> = match mode {
        Mode::Base => OpModeR::Base,
        Mode::Psk { psk, id } => OpModeR::Psk(PskBundle::new(psk, id).map_err(|_| CannotOpen)?),
    };
    let key = <Kem as hpke::Kem>::PrivateKey::from_bytes(&*key.to_bytes()).map_err(|_| CannotOpen)?;
    let enc = <Kem as hpke::Kem>::EncappedKey::from_bytes(enc).map_err(|_| CannotOpen)?;
    hpke::single_shot_open::<AesGcm256, HkdfSha384, Kem>(&mode, &key, &enc, info, ct, aad)
        .map_err(|_| CannotOpen)
}

/// The public key of the published examples, whose private key everybody has: DeriveKeyPair of 48 × 0xA1.
pub const EXAMPLE_PUB: &str = "A3cF4dUliud11gULRbSbiyThJ8-nj--k8m_lctINRixWu9LVtRFfqKsa6XU9Q6j0hw";

/// The key pair of RFC 9180's DeriveKeyPair: how the published vectors name their keys.
pub fn derive_box_key(ikm: &[u8]) -> Result<BoxKey, NotAPrivateKey> {
    let (key, _) = Kem::derive_keypair(ikm);
    BoxKey::from_bytes(&key.to_bytes())
}

/// HMAC-SHA384 under a key no longer than the hash's block of 128 bytes, which it fills up with zeros (RFC 2104,
/// section 2). So, unlike for keys of any length, there is no error to handle.
fn hmac<const N: usize>(key: &[u8; N]) -> Hmac<Sha384> {
    const { assert!(N <= 128) };
    let mut block = Zeroizing::new([0; 128]);
    block[..N].copy_from_slice(key);
    Hmac::new((&*block).into())
}

/// HKDF-SHA384(salt, ikm, info, 48), `info` in parts: extract, then the first block of expand (RFC 5869, section 2).
/// Fewer bytes are a prefix of these.
fn hkdf<const N: usize>(salt: &[u8; N], ikm: &[u8], info: &[&[u8]]) -> Zeroizing<[u8; 48]> {
    let mut extract = hmac(salt);
    extract.update(ikm);
    let prk = Zeroizing::new(extract.finalize().into_bytes().into());
    let mut expand = hmac::<48>(&prk);
    info.iter().for_each(|part| expand.update(part));
    expand.update(&[1]);
    Zeroizing::new(expand.finalize().into_bytes().into())
}

/// `lp32(x)`: a big-endian length of four bytes, then `x`.
fn lp32(x: &[u8]) -> Vec<u8> {
    let length = u32::try_from(x.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), x].concat()
}

/// `lp16(x)`: a big-endian length of two bytes, then `x`.
fn lp16(x: &[u8]) -> Vec<u8> {
    let length = u16::try_from(x.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes(), x].concat()
}

#[cfg(test)]
mod tests {
    use hkdf::Hkdf;
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn hkdf_is_that_of_the_crate() {
        for salt in [[0; 48], [0xFF; 48]] {
            let mut theirs = [0; 48];
            Hkdf::<Sha384>::new(Some(&salt), &[5; 64]).expand(b"two parts", &mut theirs).unwrap();
            assert_eq!(*hkdf(&salt, &[5; 64], &[b"two ", b"parts"]), theirs);
        }
        let mut short = [0; 8];
        Hkdf::<Sha384>::new(Some(b"s"), b"").expand(b"", &mut short).unwrap();
        assert_eq!(hkdf(b"s", b"", &[])[..8], short);
    }

    #[test]
    fn only_the_same_key_mode_and_purpose_open() {
        let mut rng = StdRng::seed_from_u64(1);
        let (key, other) = (BoxKey::generate(&mut rng), BoxKey::generate(&mut rng));
        let psk = Mode::Psk { psk: &[5; 48], id: b"id" };
        let sealed = seal(&mut rng, &key.public(), psk, b"info", b"aad", b"hello").unwrap();
        assert_eq!(sealed.len(), 5 + OVERHEAD);
        assert_eq!(open(&key, psk, b"info", b"aad", &sealed), Ok(b"hello".to_vec()));

        assert_eq!(open(&other, psk, b"info", b"aad", &sealed), Err(CannotOpen));
        assert_eq!(open(&key, Mode::Base, b"info", b"aad", &sealed), Err(CannotOpen));
        let wrong = Mode::Psk { psk: &[6; 48], id: b"id" };
        assert_eq!(open(&key, wrong, b"info", b"aad", &sealed), Err(CannotOpen));
        assert_eq!(open(&key, psk, b"other", b"aad", &sealed), Err(CannotOpen));
        assert_eq!(open(&key, psk, b"info", b"other", &sealed), Err(CannotOpen));
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert_eq!(open(&key, psk, b"info", b"aad", &changed), Err(CannotOpen), "byte {index}");
            assert_eq!(open(&key, psk, b"info", b"aad", &sealed[..index]), Err(CannotOpen), "cut at {index}");
        }
    }
}
