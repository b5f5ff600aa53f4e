//! What the two sides tell each other on the data channel before and beside the app's own data.
//!
//! One JSON object per text frame (docs/protocol.md, section 6.4).

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Connectoid, PublicKey, base64url::Exactly, json, limits::MAX_FRAME_BYTES};

/// A frame of the protocol's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Each side's first frame.
    Hello {
        /// 32 random bytes, fresh for this connection.
        nonce: [u8; 32],
        /// From the offerer only: what its `sasCommit` was made of.
        r: Option<[u8; 32]>,
    },
    /// Each side's second frame.
    Proof {
        /// What [`crate::seal::transcript::Transcript::proof`] gives.
        mac: [u8; 48],
    },
    /// From now on the sender is reached in another box.
    Rekey {
        /// The new box, with its secret.
        connectoid: Connectoid,
    },
    /// The connectoid of a `rekey` is stored.
    RekeyOk {
        /// The new box.
        key: PublicKey,
    },
}

/// Why a text is not a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAFrame {
    /// More than 16 KiB.
    #[error("a frame of more than 16 KiB")]
    TooBig,
    /// Not an object of one of the four forms.
    #[error("not a frame of this protocol")]
    Malformed,
    /// A `hello` of another version.
    #[error("the other side speaks another version of the protocol: update this program")]
    Version,
    /// An object with another `t`.
    #[error("a frame of a type that this program does not know: update it")]
    Type,
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow)]
    t: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Version {
    v: u64,
}

#[derive(Deserialize)]
struct Hello {
    nonce: Exactly<32>,
    #[serde(default, deserialize_with = "json::present")]
    r: Option<Exactly<32>>,
}

#[derive(Deserialize)]
struct Proof {
    mac: Exactly<48>,
}

#[derive(Deserialize)]
struct Rekey<'a> {
    #[serde(borrow)]
    connectoid: Cow<'a, str>,
}

#[derive(Deserialize)]
struct RekeyOk {
    #[serde(rename = "pub")]
    key: PublicKey,
}

/// A frame as it is written, its fields in this order.
#[derive(Serialize)]
#[serde(tag = "t", rename_all = "kebab-case")]
enum Written<'a> {
    Hello {
        v: u64,
        nonce: Exactly<32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        r: Option<Exactly<32>>,
    },
    Proof {
        mac: Exactly<48>,
    },
    Rekey {
        connectoid: &'a str,
    },
    RekeyOk {
        #[serde(rename = "pub")]
        key: PublicKey,
    },
}

impl Frame {
    /// Reads a text frame, at most 16 KiB. Fields that the frame does not have are ignored; a name that stands twice is
    /// refused, and so is a `rekey` to a box without a secret.
    pub fn parse(text: &str) -> Result<Self, NotAFrame> {
        if text.len() > MAX_FRAME_BYTES {
            return Err(NotAFrame::TooBig);
        }
        let Kind { t } = read(text)?;
        Ok(match &*t {
            "hello" => {
                let Version { v: 1 } = read(text)? else {
                    return Err(NotAFrame::Version);
                };
                let Hello { nonce, r } = read(text)?;
                Self::Hello { nonce: nonce.0, r: r.map(|r| r.0) }
            }
            "proof" => Self::Proof { mac: read::<Proof>(text)?.mac.0 },
            "rekey" => {
                let connectoid: Connectoid =
                    read::<Rekey<'_>>(text)?.connectoid.parse().map_err(|_| NotAFrame::Malformed)?;
                if connectoid.secret.is_none() {
                    return Err(NotAFrame::Malformed);
                }
                Self::Rekey { connectoid }
            }
            "rekey-ok" => Self::RekeyOk { key: read::<RekeyOk>(text)?.key },
            _ => return Err(NotAFrame::Type),
        })
    }

    /// The frame as text, to send. That of a `rekey` holds a secret.
    pub fn to_text(&self) -> Zeroizing<String> {
        let connectoid = match self {
            Self::Rekey { connectoid } => Zeroizing::new(connectoid.to_string()),
            _ => Zeroizing::default(),
        };
        let written = match self {
            Self::Hello { nonce, r } => Written::Hello { v: 1, nonce: Exactly(*nonce), r: r.map(Exactly) },
            Self::Proof { mac } => Written::Proof { mac: Exactly(*mac) },
            Self::Rekey { .. } => Written::Rekey { connectoid: &connectoid },
            Self::RekeyOk { key } => Written::RekeyOk { key: *key },
        };
        // Writing text, numbers and bytes into memory does not fail.
        Zeroizing::new(serde_json::to_string(&written).unwrap_or_default())
    }
}

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, NotAFrame> {
    json::read(text.as_bytes()).ok_or(NotAFrame::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "A3cF4dUliud11gULRbSbiyThJ8-nj--k8m_lctINRixWu9LVtRFfqKsa6XU9Q6j0hw";
    const HELLO: &str = r#"{"t":"hello","v":1,"nonce":"GxsbGxsbGxsbGxsbGxsbGxsbGxsbGxsbGxsbGxsbGxs","r":"CwsLCwsLCwsLCwsLCwsLCwsLCwsLCwsLCwsLCwsLCws"}"#;
    const PROOF: &str =
        r#"{"t":"proof","mac":"bJGN5jUMI5KiGV8VHynDWI0p3seq4HRxX63tYa1nvBgOyeylNE2VspUwM8tdZF-O"}"#;

    fn rekey() -> String {
        format!(
            r#"{{"t":"rekey","connectoid":"{KEY}.aHR0cHM6Ly9jb25uZWN0by5pZA..AQcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH"}}"#
        )
    }

    #[test]
    fn there_and_back() {
        let r = r#","r":"CwsLCwsLCwsLCwsLCwsLCwsLCwsLCwsLCwsLCwsLCws""#;
        for text in [
            HELLO.to_owned(),
            HELLO.replace(r, ""),
            PROOF.to_owned(),
            rekey(),
            format!(r#"{{"t":"rekey-ok","pub":"{KEY}"}}"#),
        ] {
            assert_eq!(*Frame::parse(&text).unwrap().to_text(), text);
        }
        assert_eq!(Frame::parse(HELLO), Ok(Frame::Hello { nonce: [0x1B; 32], r: Some([0x0B; 32]) }));
        assert_eq!(Frame::parse(&HELLO.replace(r, "")), Ok(Frame::Hello { nonce: [0x1B; 32], r: None }));
        let more = HELLO.replace(r#""v""#, r#""later":{"a":[]},"v""#);
        assert_eq!(Frame::parse(&more), Frame::parse(HELLO));
        assert!(!format!("{:?}", Frame::parse(&rekey())).contains("AQcH"));
    }

    #[test]
    fn refused() {
        let full = format!("{HELLO}{}", " ".repeat(MAX_FRAME_BYTES - HELLO.len()));
        assert!(Frame::parse(&full).is_ok());
        assert_eq!(Frame::parse(&format!("{full} ")), Err(NotAFrame::TooBig));
        assert_eq!(Frame::parse(&HELLO.replace(":1,", ":2,")), Err(NotAFrame::Version));
        assert_eq!(Frame::parse(r#"{"t":"later"}"#), Err(NotAFrame::Type));
        for wrong in [
            "",
            "hello",
            "null",
            r#"["hello",1]"#,
            "{}",
            r#"{"t":1}"#,
            r#"{"t":"later","a":1,"a":2}"#,
            &HELLO.replace(r#""v":1,"#, ""),
            &HELLO.replace(r#""v":1,"#, r#""v":"1","#),
            &HELLO.replace(r#""v":1,"#, r#""v":1,"v":1,"#),
            &HELLO.replace("Gxs\"", "Gx\""),
            &HELLO.replace("Gxs\"", "Gxt\""),
            &HELLO.replace("nonce", "Nonce"),
            r#"{"t":"hello","v":1,"nonce":"GxsbGxsbGxsbGxsbGxsbGxsbGxsbGxsbGxsbGxsbGxs","r":null}"#,
            &PROOF.replace("ZF-O", "ZF-"),
            &PROOF.replace("mac", "tag"),
            &format!("{PROOF}{PROOF}"),
            &rekey().replace("..AQcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH", ""),
            &rekey().replace("AQcH", "AgcH"),
            r#"{"t":"rekey"}"#,
            r#"{"t":"rekey-ok"}"#,
            r#"{"t":"rekey-ok","pub":"A3cF"}"#,
        ] {
            assert_eq!(Frame::parse(wrong), Err(NotAFrame::Malformed), "{wrong}");
        }
    }
}
