//! Private keys. A key is used for one thing only: box keys open, signing keys sign.

use std::fmt;

use p384::{
    SecretKey,
    ecdsa::{Signature, signature::Signer as _},
    elliptic_curve::Generate as _,
    pkcs8::DecodePrivateKey as _,
};
use rand::CryptoRng;
use zeroize::Zeroizing;

use crate::protocol::PublicKey;

/// The length of a private key in bytes.
const BYTES: usize = 48;

/// The private key of a mailbox, for HPKE only. Shown by no `Debug`; erased when dropped.
#[derive(Clone)]
pub struct BoxKey {
    secret: SecretKey,
    /// Kept, since it takes a multiplication to find.
    public: PublicKey,
}

/// The key that signs messages to one contact (ES384). Shown by no `Debug`; erased when dropped.
#[derive(Clone)]
pub struct SigningKey(p384::ecdsa::SigningKey);

/// Why bytes or a file are not a private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAPrivateKey {
    /// Not 48 bytes that are a scalar of P-384.
    #[error("not a P-384 private key")]
    Malformed,
    /// A PEM file without a private key.
    #[error("there is no private key in this PEM file: expected BEGIN PRIVATE KEY or BEGIN EC PRIVATE KEY")]
    NoKey,
    /// A PEM file under a passphrase.
    #[error(
        "this private key is encrypted: take the passphrase off first (openssl pkey -in FILE -out PLAIN)"
    )]
    Encrypted,
    /// A key of another algorithm or curve.
    #[error("not a P-384 key: make one with openssl ecparam -name secp384r1 -genkey -noout")]
    OtherCurve,
}

impl BoxKey {
    /// A fresh key.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        SecretKey::generate_from_rng(rng).into()
    }

    /// The key with these 48 bytes, a big-endian scalar.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NotAPrivateKey> {
        read(bytes).map(Self::from)
    }

    /// The key in a PEM file as OpenSSL writes it: PKCS#8, or SEC 1 with or without its parameters before it.
    pub fn from_pem(pem: &str) -> Result<Self, NotAPrivateKey> {
        if pem.contains("BEGIN ENCRYPTED PRIVATE KEY") || pem.contains("Proc-Type: 4,ENCRYPTED") {
            return Err(NotAPrivateKey::Encrypted);
        }
        let key = match (block(pem, "PRIVATE KEY"), block(pem, "EC PRIVATE KEY")) {
            (Some(pkcs8), _) => SecretKey::from_pkcs8_pem(pkcs8).ok(),
            (None, Some(sec1)) => SecretKey::from_sec1_pem(sec1).ok(),
            (None, None) => return Err(NotAPrivateKey::NoKey),
        };
        key.map(Self::from).ok_or(NotAPrivateKey::OtherCurve)
    }

    /// The 48 bytes, for the keystore.
    pub fn to_bytes(&self) -> Zeroizing<[u8; BYTES]> {
        Zeroizing::new(self.secret.to_bytes().into())
    }

    /// The address of the box.
    pub fn public(&self) -> PublicKey {
        self.public
    }
}

impl From<SecretKey> for BoxKey {
    fn from(secret: SecretKey) -> Self {
        Self { public: secret.public_key().into(), secret }
    }
}

impl SigningKey {
    /// A fresh key.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self(SecretKey::generate_from_rng(rng).into())
    }

    /// The key with these 48 bytes, a big-endian scalar.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NotAPrivateKey> {
        Ok(Self(read(bytes)?.into()))
    }

    /// The 48 bytes, for the keystore.
    pub fn to_bytes(&self) -> Zeroizing<[u8; BYTES]> {
        Zeroizing::new(self.0.to_bytes().into())
    }

    /// What others know the signer by: `ik`.
    pub fn public(&self) -> PublicKey {
        p384::PublicKey::from(self.0.verifying_key()).into()
    }

    /// ES384: ECDSA on P-384 with SHA-384, `r ‖ s`, 96 bytes; deterministic (RFC 6979).
    pub fn sign(&self, bytes: &[u8]) -> [u8; 96] {
        let signature: Signature = self.0.sign(bytes);
        signature.to_bytes().into()
    }
}

/// Whether `signature` is ES384 of `bytes` by `signer`.
pub(crate) fn verifies(signer: &PublicKey, bytes: &[u8], signature: &[u8]) -> bool {
    use p384::ecdsa::signature::Verifier as _;
    let (Ok(key), Ok(signature)) = (signer.to_verifying_key(), Signature::from_slice(signature)) else {
        return false;
    };
    key.verify(bytes, &signature).is_ok()
}

fn read(bytes: &[u8]) -> Result<SecretKey, NotAPrivateKey> {
    // The crate would also pad shorter keys.
    if bytes.len() != BYTES {
        return Err(NotAPrivateKey::Malformed);
    }
    SecretKey::from_slice(bytes).map_err(|_| NotAPrivateKey::Malformed)
}

/// The PEM block with this label, its lines included.
fn block<'a>(pem: &'a str, label: &str) -> Option<&'a str> {
    let end_line = format!("-----END {label}-----");
    let start = pem.find(&format!("-----BEGIN {label}-----"))?;
    let end = start + pem[start..].find(&end_line)? + end_line.len();
    pem.get(start..end)
}

impl fmt::Debug for BoxKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BoxKey(…)")
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn bytes_there_and_back() {
        let mut rng = StdRng::seed_from_u64(1);
        let key = BoxKey::generate(&mut rng);
        assert_eq!(BoxKey::from_bytes(&*key.to_bytes()).unwrap().public(), key.public());
        let signer = SigningKey::generate(&mut rng);
        assert_eq!(SigningKey::from_bytes(&*signer.to_bytes()).unwrap().public(), signer.public());
        assert_eq!(format!("{key:?} {signer:?}"), "BoxKey(…) SigningKey(…)");
        for wrong in [&[][..], &[0; 48], &[0xFF; 48], &[1; 47], &[1; 49]] {
            assert_eq!(BoxKey::from_bytes(wrong).err(), Some(NotAPrivateKey::Malformed));
        }
    }

    #[test]
    fn a_signature_holds_for_its_bytes_and_signer() {
        let mut rng = StdRng::seed_from_u64(1);
        let (signer, other) = (SigningKey::generate(&mut rng), SigningKey::generate(&mut rng));
        let signature = signer.sign(b"hello");
        assert!(verifies(&signer.public(), b"hello", &signature));
        assert!(!verifies(&signer.public(), b"hallo", &signature));
        assert!(!verifies(&other.public(), b"hello", &signature));
        assert!(!verifies(&signer.public(), b"hello", &signature[..95]));
        assert!(!verifies(&signer.public(), b"hello", &[0; 96]));
    }

    #[test]
    fn pem_errors_say_what_to_do() {
        assert_eq!(BoxKey::from_pem("hello").err(), Some(NotAPrivateKey::NoKey));
        let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n";
        assert_eq!(BoxKey::from_pem(encrypted).err(), Some(NotAPrivateKey::Encrypted));
        let other = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert_eq!(BoxKey::from_pem(other).err(), Some(NotAPrivateKey::OtherCurve));
    }
}
