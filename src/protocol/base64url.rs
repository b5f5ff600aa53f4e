//! RFC 4648 base64url without padding, in its only spelling: the one place where base64 is spoken.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// Text that is not canonical base64url: a foreign character, padding, a cut byte or trailing bits that are not zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not base64url: only A-Z a-z 0-9 - _ without padding, and the unused last bits zero (RFC 4648, section 5)"
)]
pub struct NotBase64url;

/// The base64url of `bytes`, without padding.
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Puts the base64url of `bytes` behind `text`, without padding.
pub fn append(bytes: impl AsRef<[u8]>, text: &mut String) {
    URL_SAFE_NO_PAD.encode_string(bytes, text);
}

/// The bytes behind `text`.
///
/// Without the canonical check each 49-byte key would have 16 spellings (66 characters hold 4 bits more than it), and
/// each spelling would be a mailbox of its own.
pub fn decode(text: &str) -> Result<Vec<u8>, NotBase64url> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| NotBase64url)
}

/// The bytes behind `text` if there are exactly `N` of them.
pub fn decode_exactly<const N: usize>(text: &str) -> Result<[u8; N], NotBase64url> {
    let mut bytes = [0; N];
    match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
        Ok(length) if length == N => Ok(bytes),
        _ => Err(NotBase64url),
    }
}

/// For `#[serde(with = "base64url::serde_bytes")]`: bytes as base64url text.
pub mod serde_bytes {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes the bytes as base64url.
    pub fn serialize<S: Serializer>(bytes: &[u8], out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&super::encode(bytes))
    }

    /// Reads base64url text.
    pub fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<u8>, D::Error> {
        super::decode(&String::deserialize(input)?).map_err(D::Error::custom)
    }
}

/// `N` bytes that are base64url text in JSON.
#[derive(Clone, Copy)]
pub(crate) struct Exactly<const N: usize>(pub(crate) [u8; N]);

impl<const N: usize> serde::Serialize for Exactly<N> {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        serde_bytes::serialize(&self.0, out)
    }
}

impl<'de, const N: usize> serde::Deserialize<'de> for Exactly<N> {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let bytes = serde_bytes::deserialize(input)?;
        bytes.try_into().map(Self).map_err(|_| serde::de::Error::custom("another length"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_only() {
        assert_eq!(encode([0xFB, 0xFF]), "-_8");
        assert_eq!(decode("-_8"), Ok(vec![0xFB, 0xFF]));
        for wrong in ["-_8=", "-_9", "+/8", "-_8 ", "A", "-_8\n"] {
            assert_eq!(decode(wrong), Err(NotBase64url), "{wrong:?}");
        }
    }

    #[test]
    fn exact_lengths() {
        assert_eq!(decode_exactly::<2>("-_8"), Ok([0xFB, 0xFF]));
        assert_eq!(decode_exactly::<3>("-_8"), Err(NotBase64url));
    }
}
