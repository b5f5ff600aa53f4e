//! A P-384 public key in the one spelling the protocol accepts: the address of a mailbox.

use std::{
    collections::HashSet,
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
    sync::{Mutex, PoisonError},
};

use p384::elliptic_curve::sec1::ToSec1Point;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{base64url, on_curve};

/// A point of P-384, SEC 1 compressed: 49 bytes, the first 02 or 03; 66 characters of base64url.
///
/// Keys are compared and ordered by these bytes. Every value has been checked to be a point on the curve.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublicKey([u8; PublicKey::BYTES]);

impl Hash for PublicKey {
    /// Without a length: all have the same.
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write(&self.0);
    }
}

/// Text or bytes that are not a public key in its only accepted spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a public key: expected 66 characters of base64url that are a P-384 point, SEC 1 compressed (49 bytes, first 02 or 03)"
)]
pub struct NotAKey;

impl PublicKey {
    /// The length of a key in bytes.
    pub const BYTES: usize = 49;

    /// The key with these 49 bytes, if they are a point on the curve in its compressed spelling.
    ///
    /// Costs about 3 µs; see [`KnownKeys`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NotAKey> {
        let bytes: [u8; Self::BYTES] = bytes.try_into().map_err(|_| NotAKey)?;
        match bytes.split_first_chunk() {
            // Both tags are of points: their y is never 0, since the curve has a prime order.
            Some(([2 | 3], x)) if x.try_into().is_ok_and(on_curve::has_points) => Ok(Self(bytes)),
            _ => Err(NotAKey),
        }
    }

    /// The 49 bytes: what formulas call `pub`.
    pub fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// The same point uncompressed (97 bytes, first 04), as HPKE's P-384 takes it (RFC 9180, section 7.1.1).
    pub(crate) fn uncompressed(&self) -> Result<[u8; 97], NotAKey> {
        let [tag, x @ ..] = self.0;
        let mut point = [4; 97];
        point[1..49].copy_from_slice(&x);
        point[49..].copy_from_slice(&on_curve::y(&x, tag == 3).ok_or(NotAKey)?);
        Ok(point)
    }

    /// The same key for ECDSA.
    pub(crate) fn to_verifying_key(self) -> Result<p384::ecdsa::VerifyingKey, NotAKey> {
        p384::ecdsa::VerifyingKey::from_sec1_bytes(&self.0).map_err(|_| NotAKey)
    }
}

impl From<p384::PublicKey> for PublicKey {
    fn from(point: p384::PublicKey) -> Self {
        let mut bytes = [0; Self::BYTES];
        bytes.copy_from_slice(point.to_sec1_point(true).as_bytes());
        Self(bytes)
    }
}

impl FromStr for PublicKey {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, NotAKey> {
        Self::from_bytes(&base64url::decode(text).map_err(|_| NotAKey)?)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base64url::encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A box must not reach a log by way of `{:?}`.
        f.write_str("PublicKey(…)")
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input)?.parse().map_err(D::Error::custom)
    }
}

/// Keys seen to be on the curve not long ago, so that a box polled again and again costs no arithmetic.
///
/// Two generations of a fixed size: when the young one is full it becomes the old one, and what was asked for since
/// stays known. At most 2 × 32,768 keys, about 5 MB.
#[derive(Default)]
pub struct KnownKeys {
    generations: Mutex<[HashSet<PublicKey>; 2]>,
}

impl KnownKeys {
    const GENERATION: usize = 32_768;

    /// Parses a key, without the curve arithmetic if it was parsed here before.
    pub fn parse(&self, text: &str) -> Result<PublicKey, NotAKey> {
        // Kept here until it is known to be one.
        let key = PublicKey(base64url::decode_exactly(text).map_err(|_| NotAKey)?);
        if self.knows(&key) {
            return Ok(key);
        }
        let key = PublicKey::from_bytes(key.as_bytes())?;
        self.remember(key);
        Ok(key)
    }

    fn knows(&self, key: &PublicKey) -> bool {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let [young, old] = &mut *generations;
        if young.contains(key) {
            return true;
        }
        let known = old.remove(key);
        if known {
            Self::insert(&mut generations, *key);
        }
        known
    }

    fn remember(&self, key: PublicKey) {
        Self::insert(&mut self.generations.lock().unwrap_or_else(PoisonError::into_inner), key);
    }

    fn insert([young, old]: &mut [HashSet<PublicKey>; 2], key: PublicKey) {
        if young.len() >= Self::GENERATION {
            *old = std::mem::take(young);
        }
        young.insert(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "A3cF4dUliud11gULRbSbiyThJ8-nj--k8m_lctINRixWu9LVtRFfqKsa6XU9Q6j0hw";

    #[test]
    fn one_spelling_only() {
        let key: PublicKey = KEY.parse().unwrap();
        assert_eq!(key.to_string(), KEY);
        assert_eq!(key.as_bytes()[0], 3);
        assert_eq!(format!("{key:?}"), "PublicKey(…)");

        let with = |index: usize, byte: u8| {
            let mut bytes = *key.as_bytes();
            bytes[index] = byte;
            base64url::encode(bytes)
        };
        let not_on_the_curve =
            (0..=255u8).map(|last| with(48, last)).find(|text| text.parse::<PublicKey>().is_err());
        let mut field_prime_plus = [0xFF; 49];
        field_prime_plus[0] = 2;
        for wrong in [
            "",
            &KEY[..65],
            &format!("{KEY}A"),
            // Another spelling of the last character: the same 49 bytes with a trailing bit set.
            &format!("{}x", &KEY[..65]),
            &with(0, 5),
            &with(0, 4),
            &with(0, 0),
            &not_on_the_curve.unwrap(),
            &base64url::encode(field_prime_plus),
            &base64url::encode(key.uncompressed().unwrap()),
        ] {
            assert_eq!(wrong.parse::<PublicKey>(), Err(NotAKey), "{wrong:?}");
            assert_eq!(KnownKeys::default().parse(wrong), Err(NotAKey), "{wrong:?}");
        }
        // The other point with the same x is another key.
        assert_ne!(with(0, 2).parse::<PublicKey>().unwrap(), key);
    }

    #[test]
    fn known_keys_stay_known_while_they_are_asked_for() {
        let known = KnownKeys::default();
        let key = known.parse(KEY).unwrap();
        assert!(known.knows(&key));
        for filler in 0..2 * KnownKeys::GENERATION as u32 + 10 {
            let mut bytes = [0; 49];
            bytes[..4].copy_from_slice(&filler.to_be_bytes());
            known.remember(PublicKey(bytes));
            if filler % 1000 == 0 {
                assert!(known.knows(&key), "asked for every 1000 keys, forgotten at {filler}");
            }
        }
        let size: usize = known.generations.lock().unwrap().iter().map(HashSet::len).sum();
        assert!(size <= 2 * KnownKeys::GENERATION, "{size}");
        let mut long_ago = [0; 49];
        long_ago[..4].copy_from_slice(&5u32.to_be_bytes());
        assert!(!known.knows(&PublicKey(long_ago)));
    }
}
