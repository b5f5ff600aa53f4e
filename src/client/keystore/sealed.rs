//! The passphrase: how the keys are sealed under it, on disk and in an export.
//!
//! Argon2id (RFC 9106) makes 64 bytes of the passphrase and a salt: the key of AES-256-GCM (32), a check that tells a wrong
//! passphrase from a damaged file (16), and a key for the names of locks (16). Only the check is written down; it lets
//! one try a passphrase, which the sealed data does as well.

use aes_gcm::{Aes256Gcm, KeyInit as _, aead::AeadInOut as _};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use hmac::{Hmac, Mac as _};
use rand::{CryptoRng, RngExt as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::protocol::base64url;

/// What deriving a key costs (RFC 9106, section 4, second recommendation, but with one lane: we compute on one thread).
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 1;

/// The most that a file may ask for: 256 MiB and 16 passes, some seconds. A hostile one would ask for more.
const MOST_MEMORY_KIB: u32 = 256 * 1024;
const MOST_PASSES: u32 = 16;
const MOST_LANES: u32 = 4;

/// The length of AES-GCM's tag, in bytes.
const TAG: usize = 16;

/// A passphrase, which is wiped from memory when it is dropped. Never empty.
///
/// Compared as bytes: letters with accents must be typed in the same Unicode form each time, as keyboards do.
#[derive(Clone, PartialEq, Eq)]
pub struct Passphrase(Zeroizing<String>);

/// A passphrase of no characters protects nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a passphrase cannot be empty")]
pub struct EmptyPassphrase;

impl Passphrase {
    /// This text as a passphrase.
    ///
    /// # Errors
    /// If it is empty.
    pub fn new(text: String) -> Result<Self, EmptyPassphrase> {
        if text.is_empty() { Err(EmptyPassphrase) } else { Ok(Self(Zeroizing::new(text))) }
    }
}

/// What is sealed: no other may be passed off as it.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Purpose {
    Keys,
    Export,
}

/// Keys sealed under a passphrase, as they are in a file.
#[derive(Serialize, Deserialize)]
pub(super) struct Sealed {
    #[serde(flatten)]
    header: Header,
    /// Fresh for each write.
    #[serde(with = "base64url::serde_bytes")]
    nonce: Vec<u8>,
    #[serde(with = "base64url::serde_bytes")]
    data: Vec<u8>,
}

/// All that one needs to derive the key again, beside the passphrase.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    kdf: Kdf,
    /// KiB.
    m: u32,
    /// Passes.
    t: u32,
    /// Lanes.
    p: u32,
    #[serde(with = "base64url::serde_bytes")]
    salt: Vec<u8>,
    #[serde(with = "base64url::serde_bytes")]
    check: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kdf {
    Argon2id,
}

/// Why nothing was sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotOpened {
    /// The file is whole, as far as one can see.
    #[error("the passphrase is wrong")]
    WrongPassphrase,
    #[error("its seal is broken")]
    Damaged,
    #[error("it asks for more memory or time than any program of ours would")]
    TooCostly,
    #[error("the key cannot be derived: there is too little memory")]
    Memory,
}

/// The key that a passphrase gives with one salt.
pub(super) struct Key {
    header: Header,
    aes: Zeroizing<[u8; 32]>,
    names: Zeroizing<[u8; 16]>,
}

impl Key {
    /// A key with a new salt.
    pub(super) fn fresh(rng: &mut impl CryptoRng, passphrase: &Passphrase) -> Result<Self, NotOpened> {
        let salt = rng.random::<[u8; 16]>().to_vec();
        let header =
            Header { kdf: Kdf::Argon2id, m: MEMORY_KIB, t: PASSES, p: LANES, salt, check: Vec::new() };
        let (mut key, check) = derive(passphrase, header)?;
        key.header.check = check.to_vec();
        Ok(key)
    }

    /// The key that this was sealed with.
    pub(super) fn of(sealed: &Sealed, passphrase: &Passphrase) -> Result<Self, NotOpened> {
        let (key, check) = derive(passphrase, sealed.header.clone())?;
        if key.header.check == check { Ok(key) } else { Err(NotOpened::WrongPassphrase) }
    }

    /// Whether this was sealed with the key.
    pub(super) fn is_of(&self, sealed: &Sealed) -> bool {
        self.header == sealed.header
    }

    /// Seals a text, in its place, under a fresh nonce.
    pub(super) fn seal(
        &self,
        rng: &mut impl CryptoRng,
        purpose: Purpose,
        version: u32,
        mut text: Zeroizing<Vec<u8>>,
    ) -> Result<Sealed, NotOpened> {
        let nonce: [u8; 12] = rng.random();
        let bound = self.bound(purpose, version);
        let tag = Aes256Gcm::new(&(*self.aes).into())
            .encrypt_inout_detached(&nonce.into(), &bound, text.as_mut_slice().into())
            .map_err(|_| NotOpened::Damaged)?;
        let data = [text.as_slice(), tag.as_slice()].concat();
        Ok(Sealed { header: self.header.clone(), nonce: nonce.to_vec(), data })
    }

    /// Opens what was sealed with this key, for this purpose, in a file of this version.
    pub(super) fn open(
        &self,
        purpose: Purpose,
        version: u32,
        sealed: Sealed,
    ) -> Result<Zeroizing<Vec<u8>>, NotOpened> {
        let nonce: [u8; 12] = sealed.nonce.try_into().map_err(|_| NotOpened::Damaged)?;
        let mut text = Zeroizing::new(sealed.data);
        let length = text.len().checked_sub(TAG).ok_or(NotOpened::Damaged)?;
        let tag: [u8; TAG] = text.split_off(length).try_into().map_err(|_| NotOpened::Damaged)?;
        let bound = self.bound(purpose, version);
        Aes256Gcm::new(&(*self.aes).into())
            .decrypt_inout_detached(&nonce.into(), &bound, text.as_mut_slice().into(), &tag.into())
            .map_err(|_| NotOpened::Damaged)?;
        Ok(text)
    }

    /// A name that says nothing to who has not the key.
    pub(super) fn hide(&self, name: &str) -> String {
        hide(&*self.names, name)
    }

    /// The associated data: what the file says in clear.
    fn bound(&self, purpose: Purpose, version: u32) -> Vec<u8> {
        // Numbers and text always become JSON.
        serde_json::to_vec(&("connectoid", purpose, version, &self.header)).unwrap_or_default()
    }
}

/// A name as one that any file may have: 32 hexadecimal digits.
pub(super) fn hide(key: &[u8], name: &str) -> String {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return String::new();
    };
    mac.update(name.as_bytes());
    mac.finalize().into_bytes().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// The key of a header, and the check that belongs to it.
fn derive(passphrase: &Passphrase, header: Header) -> Result<(Key, [u8; 16]), NotOpened> {
    if header.m > MOST_MEMORY_KIB || header.t > MOST_PASSES || header.p > MOST_LANES {
        return Err(NotOpened::TooCostly);
    }
    let mut out = Zeroizing::new([0; 64]);
    let params =
        Params::new(header.m, header.t, header.p, Some(out.len())).map_err(|_| NotOpened::Damaged)?;
    // The crate would not wipe a memory of its own.
    let mut memory = Zeroizing::new(Vec::new());
    memory.try_reserve_exact(params.block_count()).map_err(|_| NotOpened::Memory)?;
    memory.resize(params.block_count(), Block::new());
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(
            passphrase.0.as_bytes(),
            &header.salt,
            out.as_mut_slice(),
            memory.as_mut_slice(),
        )
        .map_err(|_| NotOpened::Damaged)?;
    let mut key = Key { header, aes: Zeroizing::new([0; 32]), names: Zeroizing::new([0; 16]) };
    let mut check = [0; 16];
    key.aes.copy_from_slice(&out[..32]);
    check.copy_from_slice(&out[32..48]);
    key.names.copy_from_slice(&out[48..]);
    Ok((key, check))
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};
    use serde_json::{Value, json};

    use super::*;

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new(text.into()).unwrap()
    }

    fn sealed() -> (Key, Value) {
        let mut rng = StdRng::seed_from_u64(1);
        let key = Key::fresh(&mut rng, &passphrase("correct horse")).unwrap();
        let sealed = key.seal(&mut rng, Purpose::Keys, 2, Zeroizing::new(b"secret".to_vec())).unwrap();
        (key, serde_json::to_value(sealed).unwrap())
    }

    fn read(value: &Value) -> Sealed {
        serde_json::from_value(value.clone()).unwrap()
    }

    #[test]
    fn only_the_passphrase_opens_it() {
        let (key, value) = sealed();
        assert_eq!(
            (&value["kdf"], &value["m"], &value["t"], &value["p"]),
            (&json!("argon2id"), &json!(65536), &json!(3), &json!(1))
        );
        let again = Key::of(&read(&value), &passphrase("correct horse")).unwrap();
        assert_eq!(*again.open(Purpose::Keys, 2, read(&value)).unwrap(), b"secret");
        assert_eq!(key.hide("Bob"), again.hide("Bob"));
        assert!(matches!(
            Key::of(&read(&value), &passphrase("Correct horse")),
            Err(NotOpened::WrongPassphrase)
        ));
    }

    #[test]
    fn what_another_implementation_sealed_is_opened() {
        // By `Argon2id` and `AESGCM` of PyPI's cryptography.
        let sealed =
            read(&json!({"kdf": "argon2id", "m": 64, "t": 2, "p": 2, "salt": "AQEBAQEBAQEBAQEBAQEBAQ",
            "check": "2bGKPo0jECWzHpP3mPBfRg", "nonce": "AgICAgICAgICAgIC",
            "data": "jYaMwAGDf7EnzmsO2gIsuvvHuCH48rIRLoUzBouriA"}));
        let key = Key::of(&sealed, &passphrase("correct horse")).unwrap();
        assert_eq!(*key.open(Purpose::Keys, 2, sealed).unwrap(), b"{\"contacts\":[]}");
    }

    #[test]
    fn every_byte_counts() {
        let (key, value) = sealed();
        assert_eq!(key.open(Purpose::Export, 2, read(&value)), Err(NotOpened::Damaged));
        assert_eq!(key.open(Purpose::Keys, 3, read(&value)), Err(NotOpened::Damaged));
        for field in ["nonce", "data"] {
            let bytes = base64url::decode(value[field].as_str().unwrap()).unwrap();
            for index in 0..bytes.len() {
                let (mut bytes, mut value) = (bytes.clone(), value.clone());
                bytes[index] ^= 1;
                value[field] = json!(base64url::encode(&bytes));
                assert_eq!(key.open(Purpose::Keys, 2, read(&value)), Err(NotOpened::Damaged), "{field}");
                value[field] = json!(base64url::encode(&bytes[..index.min(15)]));
                assert_eq!(key.open(Purpose::Keys, 2, read(&value)), Err(NotOpened::Damaged), "{field}");
            }
        }
    }

    #[test]
    fn two_seals_share_no_nonce() {
        let mut rng = StdRng::seed_from_u64(1);
        let key = Key::fresh(&mut rng, &passphrase("x")).unwrap();
        let mut seal =
            || key.seal(&mut rng, Purpose::Keys, 2, Zeroizing::new(b"secret".to_vec())).unwrap().nonce;
        assert_ne!(seal(), seal());
    }

    #[test]
    fn a_file_cannot_ask_for_all_memory() {
        let (_, value) = sealed();
        for (field, number, expected) in [
            ("m", 262_145, NotOpened::TooCostly),
            ("m", u32::MAX, NotOpened::TooCostly),
            ("t", 17, NotOpened::TooCostly),
            ("p", 5, NotOpened::TooCostly),
            ("m", 7, NotOpened::Damaged),
            ("t", 0, NotOpened::Damaged),
            ("p", 0, NotOpened::Damaged),
            // Weaker than it was made: another key.
            ("m", 8, NotOpened::WrongPassphrase),
        ] {
            let mut value = value.clone();
            value[field] = json!(number);
            let error = Key::of(&read(&value), &passphrase("correct horse")).err();
            assert_eq!(error, Some(expected), "{field} {number}");
        }
    }

    #[test]
    fn names_become_harmless() {
        assert_eq!(hide(b"", "../../etc/passwd").len(), 32);
        assert_eq!(hide(b"", "Bob"), "0d6ee662beb1c303614a6c36a5794852");
        assert_ne!(hide(b"key", "Bob"), hide(b"", "Bob"));
    }
}
