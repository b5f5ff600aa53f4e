//! The connectoid: the dotted value inside a link, all one needs to write to someone.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{NotAKey, NotARelayUrl, PublicKey, RelayUrl, base64url, limits};

/// `b64(pub) "." b64(relay URLs) [ "." ext [ "." b64(0x01 ‖ secret) ] ]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connectoid {
    /// The box to write to.
    pub key: PublicKey,
    /// The relays that hold the box, in order of preference: 1 to 4.
    pub relays: Vec<RelayUrl>,
    /// App data that the relays see, an API key for instance.
    pub ext: Option<Ext>,
    /// What only the people who have the link know; never sent to a relay.
    pub secret: Option<LinkSecret>,
}

/// The third part of a connectoid as it stands: base64url of whatever the app put there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ext(String);

/// The 32 random bytes of a link that no relay ever sees. Shown by no `Debug` or `Display`; erased when dropped.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct LinkSecret([u8; LinkSecret::BYTES]);

/// The version of the fourth part, its first byte.
const SECRET_VERSION: u8 = 1;

/// Why a text is not a connectoid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAConnectoid {
    /// Not 2, 3 or 4 parts.
    #[error(
        "a connectoid has 2, 3 or 4 parts joined by dots (key.relay.ext.secret), this one has {0}: was it cut?"
    )]
    Parts(usize),
    /// The first part.
    #[error("its first part is {0}")]
    Key(#[from] NotAKey),
    /// The second part is not base64url of text.
    #[error("its second part is not the base64url of the relays' URLs")]
    Relays,
    /// The second part names none or too many.
    #[error("it names {0} relays: a connectoid names 1 to 4")]
    RelayCount(usize),
    /// One of the relays.
    #[error("its relay: {0}")]
    Relay(#[from] NotARelayUrl),
    /// The third part.
    #[error("its third part (ext) must be base64url, at most 1024 characters")]
    Ext,
    /// A third part is there but empty, and no fourth follows.
    #[error("it ends with a dot: was it cut?")]
    EmptyEnd,
    /// The fourth part.
    #[error("its fourth part is not a link secret of 32 bytes: was it cut?")]
    Secret,
    /// The fourth part's version.
    #[error("its fourth part is of version {0}, this program knows version 1: update it")]
    SecretVersion(u8),
}

impl Ext {
    /// Data of the app, as the third part.
    pub fn from_data(data: &[u8]) -> Result<Self, NotAConnectoid> {
        Self::try_from(base64url::encode(data))
    }

    /// The part as it stands.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Ext {
    type Error = NotAConnectoid;

    fn try_from(text: String) -> Result<Self, NotAConnectoid> {
        let fits =
            !text.is_empty() && text.len() <= limits::MAX_EXT_CHARS && base64url::decode(&text).is_ok();
        if fits { Ok(Self(text)) } else { Err(NotAConnectoid::Ext) }
    }
}

impl From<Ext> for String {
    fn from(ext: Ext) -> Self {
        ext.0
    }
}

impl LinkSecret {
    /// The length in bytes.
    pub const BYTES: usize = 32;

    /// A fresh secret.
    pub fn generate(rng: &mut impl rand::CryptoRng) -> Self {
        let mut bytes = [0; Self::BYTES];
        rng.fill_bytes(&mut bytes);
        Self(bytes)
    }

    /// The secret with these bytes.
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes, for key derivation and for the keystore.
    pub fn expose(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    fn part(&self) -> String {
        let mut part = zeroize::Zeroizing::new([0; 1 + Self::BYTES]);
        part[0] = SECRET_VERSION;
        part[1..].copy_from_slice(&self.0);
        base64url::encode(part.as_slice())
    }

    fn from_part(text: &str) -> Result<Self, NotAConnectoid> {
        let bytes = zeroize::Zeroizing::new(base64url::decode(text).map_err(|_| NotAConnectoid::Secret)?);
        match bytes.split_first() {
            Some((&SECRET_VERSION, secret)) => {
                secret.try_into().map(Self).map_err(|_| NotAConnectoid::Secret)
            }
            Some((&version, _)) => Err(NotAConnectoid::SecretVersion(version)),
            None => Err(NotAConnectoid::Secret),
        }
    }
}

impl fmt::Debug for LinkSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkSecret(…)")
    }
}

impl FromStr for Connectoid {
    type Err = NotAConnectoid;

    fn from_str(text: &str) -> Result<Self, NotAConnectoid> {
        let parts: Vec<&str> = text.split('.').collect();
        let (key, relays, ext, secret) = match parts[..] {
            [key, relays] => (key, relays, "", None),
            [_, _, ""] => return Err(NotAConnectoid::EmptyEnd),
            [key, relays, ext] => (key, relays, ext, None),
            [key, relays, ext, secret] => (key, relays, ext, Some(secret)),
            _ => return Err(NotAConnectoid::Parts(parts.len())),
        };
        Ok(Self {
            key: key.parse()?,
            relays: parse_relays(relays)?,
            ext: if ext.is_empty() { None } else { Some(Ext::try_from(ext.to_owned())?) },
            secret: secret.map(LinkSecret::from_part).transpose()?,
        })
    }
}

fn parse_relays(part: &str) -> Result<Vec<RelayUrl>, NotAConnectoid> {
    let text = base64url::decode(part).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let text = text.ok_or(NotAConnectoid::Relays)?;
    let urls: Vec<&str> = text.split(' ').filter(|url| !url.is_empty()).collect();
    if !(1..=limits::MAX_RELAYS).contains(&urls.len()) {
        return Err(NotAConnectoid::RelayCount(urls.len()));
    }
    let mut relays: Vec<RelayUrl> = Vec::new();
    for url in urls {
        let relay = url.parse()?;
        // Named twice is no second relay.
        if !relays.contains(&relay) {
            relays.push(relay);
        }
    }
    Ok(relays)
}

impl fmt::Display for Connectoid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let relays: Vec<&str> = self.relays.iter().map(RelayUrl::as_str).collect();
        write!(f, "{}.{}", self.key, base64url::encode(relays.join(" ")))?;
        match (&self.ext, &self.secret) {
            (None, None) => Ok(()),
            (Some(ext), None) => write!(f, ".{}", ext.as_str()),
            (ext, Some(secret)) => {
                write!(f, ".{}.{}", ext.as_ref().map_or("", Ext::as_str), secret.part())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "A3cF4dUliud11gULRbSbiyThJ8-nj--k8m_lctINRixWu9LVtRFfqKsa6XU9Q6j0hw";
    const SECRET: &str = "AQcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH";

    fn parse(text: &str) -> Result<Connectoid, NotAConnectoid> {
        text.parse()
    }

    #[test]
    fn the_four_forms() {
        let url = "aHR0cHM6Ly9jb25uZWN0by5pZA";
        for text in [
            format!("{KEY}.{url}"),
            format!("{KEY}.{url}.YXBpa2V5"),
            format!("{KEY}.{url}..{SECRET}"),
            format!("{KEY}.{url}.YXBpa2V5.{SECRET}"),
        ] {
            let connectoid = parse(&text).unwrap();
            assert_eq!(connectoid.to_string(), text);
            assert_eq!(connectoid.key.to_string(), KEY);
            assert_eq!(connectoid.relays[0].as_str(), "https://connecto.id");
            assert_eq!(connectoid.ext.is_some(), text.contains("YXBpa2V5"));
            assert_eq!(connectoid.secret.is_some(), text.ends_with(SECRET));
            assert_eq!(connectoid.secret.map_or([7; 32], |s| *s.expose()), [7; 32]);
        }
    }

    #[test]
    fn relays_are_canonical_and_few() {
        let with = |urls: &str| parse(&format!("{KEY}.{}", base64url::encode(urls)));
        let two = with("https://one.example/ https://TWO.example/relay").unwrap();
        assert_eq!(
            two.relays.iter().map(RelayUrl::as_str).collect::<Vec<_>>(),
            ["https://one.example", "https://two.example/relay"]
        );
        assert_eq!(with(""), Err(NotAConnectoid::RelayCount(0)));
        assert_eq!(with(&"https://a.example ".repeat(5)), Err(NotAConnectoid::RelayCount(5)));
        assert!(matches!(
            with("http://example.com"),
            Err(NotAConnectoid::Relay(NotARelayUrl::Unencrypted(_)))
        ));
        assert_eq!(with("https://a.example").unwrap().relays.len(), 1);
        assert_eq!(with("https://a.example https://A.example/").unwrap().relays.len(), 1);
        assert_eq!(parse(&format!("{KEY}.{}", base64url::encode([0xFF]))), Err(NotAConnectoid::Relays));
    }

    #[test]
    fn what_a_messenger_may_do_to_it() {
        let url = "aHR0cHM6Ly9jb25uZWN0by5pZA";
        assert_eq!(parse(""), Err(NotAConnectoid::Parts(1)));
        assert_eq!(parse(&format!("{KEY}.{url}.")), Err(NotAConnectoid::EmptyEnd));
        assert_eq!(parse(&format!("{KEY}.{url}..{SECRET}.")), Err(NotAConnectoid::Parts(5)));
        assert_eq!(parse(&format!("{KEY}.{url}..{}", &SECRET[..40])), Err(NotAConnectoid::Secret));
        assert_eq!(parse(&format!("{KEY}.{url}..")), Err(NotAConnectoid::Secret));
        let newer = base64url::encode([[2u8; 1].as_slice(), &[7; 32]].concat());
        assert_eq!(parse(&format!("{KEY}.{url}..{newer}")), Err(NotAConnectoid::SecretVersion(2)));
        assert_eq!(parse(&format!("{}.{url}", &KEY[..60])), Err(NotAConnectoid::Key(NotAKey)));
        assert_eq!(parse(&format!("{KEY}.{url}.a+b")), Err(NotAConnectoid::Ext));
        assert_eq!(parse(&format!("{KEY}.{url}.{}", "A".repeat(1025))), Err(NotAConnectoid::Ext));
    }

    #[test]
    fn secrets_do_not_show() {
        assert_eq!(format!("{:?}", LinkSecret::from_bytes([7; 32])), "LinkSecret(…)");
    }
}
