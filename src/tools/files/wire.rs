//! The messages of a `connectoid.file` channel (docs/tools.md, "Files"). Both sides name a file by its place in the listing, from 0.

use serde::{Deserialize, Serialize};

use crate::protocol::base64url::Exactly;

/// The version of these messages.
pub(super) const VERSION: u32 = 1;

/// One message of a listing holds about as much JSON as this.
pub(super) const BATCH: usize = 32 * 1024;

/// What has ended may be ahead of what was answered by so many files: else the messages about a million small files, which no
/// window of bytes holds back, could pile up at a receiver with a slow disk.
pub(super) const UNANSWERED: usize = 1024;

/// So many beginnings of one file the receiver may tell.
pub(super) const MOST_HAVES: usize = 4;

/// What the sender says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "lowercase")]
pub(super) enum FromSender {
    /// A part of the listing.
    List { v: u32, entries: Vec<Entry> },
    /// The listing is complete, with so many files and bytes.
    Listed { files: u64, bytes: u64 },
    /// What follows are the bytes of this file from here on.
    File { file: usize, from: u64 },
    /// That was all of it; the hash is that of the whole file.
    End { file: usize, sha256: Hash },
    /// This file is no longer what was listed: what came of it, if anything, is not to be kept as the file.
    Changed { file: usize },
}

/// What the receiver says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "lowercase")]
pub(super) enum FromReceiver {
    /// So many bytes are here that may be the beginning of this file, or all of it.
    Have { file: usize, bytes: u64, sha256: Hash },
    /// Send.
    Go,
    /// It takes nothing, or nothing more.
    Refused { why: String },
    /// This file is in its place.
    Kept { file: usize },
    /// This file came damaged: send it once more, from its beginning, after all others.
    Bad { file: usize },
    /// All is in its place.
    Done { files: u64, bytes: u64 },
}

/// A file or folder as it stands in a listing: a folder has `dir`, a file `size` and `mtime`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) path: String,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) dir: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) size: Option<u64>,
    /// Unix time in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) mtime: Option<i64>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) exec: bool,
}

/// A SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Exactly<32>", into = "Exactly<32>")]
pub(super) struct Hash(pub(super) [u8; 32]);

impl From<Exactly<32>> for Hash {
    fn from(bytes: Exactly<32>) -> Self {
        Self(bytes.0)
    }
}

impl From<Hash> for Exactly<32> {
    fn from(hash: Hash) -> Self {
        Self(hash.0)
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json, to_value};

    use super::*;

    #[test]
    fn the_messages_as_they_are_written() {
        let file = Entry {
            path: "photos/a.jpg".to_owned(),
            dir: false,
            size: Some(0),
            mtime: Some(1_700_000_000_123),
            exec: true,
        };
        let folder =
            Entry { path: "photos/empty".to_owned(), dir: true, size: None, mtime: None, exec: false };
        let list = FromSender::List { v: 1, entries: vec![file, folder] };
        let sha256 = Hash([0xff; 32]);
        let hash = "__________________________________________8";
        for (message, written) in [
            (
                list,
                json!({"t": "list", "v": 1, "entries": [
                    {"path": "photos/a.jpg", "size": 0, "mtime": 1_700_000_000_123_u64, "exec": true},
                    {"path": "photos/empty", "dir": true},
                ]}),
            ),
            (FromSender::Listed { files: 1, bytes: 2 }, json!({"t": "listed", "files": 1, "bytes": 2})),
            (FromSender::File { file: 3, from: 4 }, json!({"t": "file", "file": 3, "from": 4})),
            (FromSender::End { file: 3, sha256 }, json!({"t": "end", "file": 3, "sha256": hash})),
            (FromSender::Changed { file: 3 }, json!({"t": "changed", "file": 3})),
        ] {
            assert_eq!(to_value(&message).unwrap(), written);
            assert_eq!(serde_json::from_value::<FromSender>(written).unwrap(), message);
        }
        for (message, written) in [
            (
                FromReceiver::Have { file: 3, bytes: 4, sha256 },
                json!({"t": "have", "file": 3, "bytes": 4, "sha256": hash}),
            ),
            (FromReceiver::Go, json!({"t": "go"})),
            (FromReceiver::Refused { why: "no".to_owned() }, json!({"t": "refused", "why": "no"})),
            (FromReceiver::Kept { file: 3 }, json!({"t": "kept", "file": 3})),
            (FromReceiver::Bad { file: 3 }, json!({"t": "bad", "file": 3})),
            (FromReceiver::Done { files: 1, bytes: 2 }, json!({"t": "done", "files": 1, "bytes": 2})),
        ] {
            assert_eq!(to_value(&message).unwrap(), written);
            assert_eq!(serde_json::from_value::<FromReceiver>(written).unwrap(), message);
        }
        let short: Result<FromSender, _> =
            serde_json::from_value::<FromSender>(json!({"t": "end", "file": 3, "sha256": "____"}));
        assert_eq!(short.unwrap_err().to_string(), "another length");
        assert!(serde_json::from_value::<FromSender>(Value::Null).is_err());
    }
}
