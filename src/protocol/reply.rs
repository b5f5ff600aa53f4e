//! What a relay answers when it does not refuse.

use serde::{Deserialize, Serialize};

use super::{At, PublicKey, base64url};

/// A reply to any action, as it stands on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Reply {
    /// `send` and `delete`: it is done.
    Done {
        /// Always true.
        ok: bool,
    },
    /// To `check`.
    Checked(Checked),
    /// To `check` of many boxes.
    CheckedMany(CheckedMany),
    /// To `receive`.
    Received(Received),
}

impl Reply {
    /// `{"ok":true}`
    pub const DONE: Self = Self::Done { ok: true };
}

/// The reply to a `check` of one box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// Always true.
    pub ok: bool,
    /// Whether the box holds anything newer than the `at` asked about.
    pub found: bool,
    /// A sealed question, in base64url: where something was found, or where `ask` was set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// The URL of the relay that the question is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<String>,
}

/// The reply to a `check` of many boxes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckedMany {
    /// Always true.
    pub ok: bool,
    /// Whether any of them holds anything newer than was asked about.
    pub found: bool,
    /// Those that do, in the order asked.
    pub boxes: Vec<FoundBox>,
    /// The URL of the relay that the questions are bound to, where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<String>,
}

/// A box that holds something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundBox {
    /// The box.
    #[serde(rename = "pub")]
    pub key: PublicKey,
    /// A sealed question about it, in base64url.
    pub question: String,
}

/// The reply to a `receive`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Received {
    /// To a `limit` above 1.
    Many {
        /// Always true.
        ok: bool,
        /// The cursor to use next.
        at: At,
        /// Oldest first.
        messages: Vec<Message>,
        /// Whether the box holds more behind these.
        more: bool,
    },
    /// To a `limit` of 1.
    One {
        /// Always true.
        ok: bool,
        /// The cursor to use next.
        at: At,
        /// The message, in base64url on the wire.
        #[serde(with = "base64url::serde_bytes")]
        data: Vec<u8>,
    },
    /// Nothing newer, whatever the `limit`.
    Nothing {
        /// Always true.
        ok: bool,
        /// Always false.
        found: bool,
        /// The cursor as it was asked.
        at: At,
    },
}

/// A stored message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its place in its box.
    pub at: At,
    /// The bytes that were sent, in base64url on the wire.
    #[serde(with = "base64url::serde_bytes")]
    pub data: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_a_stranger_sees_them() {
        let text = |reply: &Reply| serde_json::to_string(reply).unwrap();
        assert_eq!(text(&Reply::DONE), r#"{"ok":true}"#);
        let nothing = Checked { ok: true, found: false, question: None, relay: None };
        assert_eq!(text(&Reply::Checked(nothing)), r#"{"ok":true,"found":false}"#);
        let one = Received::One { ok: true, at: At::from(7), data: b"hello".to_vec() };
        assert_eq!(text(&Reply::Received(one)), r#"{"ok":true,"at":7,"data":"aGVsbG8"}"#);
        let many = Received::Many {
            ok: true,
            at: At::from(7),
            messages: vec![Message { at: At::from(7), data: b"hello".to_vec() }],
            more: false,
        };
        assert_eq!(
            text(&Reply::Received(many)),
            r#"{"ok":true,"at":7,"messages":[{"at":7,"data":"aGVsbG8"}],"more":false}"#
        );
        let nothing = Received::Nothing { ok: true, found: false, at: At::START };
        assert_eq!(text(&Reply::Received(nothing)), r#"{"ok":true,"found":false,"at":0}"#);
    }

    #[test]
    fn read_back_by_a_client() {
        let read = |text: &str| serde_json::from_str::<Received>(text).unwrap();
        assert!(matches!(read(r#"{"ok":true,"at":7,"data":"aGVsbG8"}"#), Received::One { .. }));
        assert!(matches!(read(r#"{"ok":true,"found":false,"at":0}"#), Received::Nothing { .. }));
        assert!(matches!(read(r#"{"ok":true,"at":7,"messages":[],"more":true}"#), Received::Many { .. }));
    }
}
