//! Files and folders over a channel: `connectoid.file`, one for each transfer, opened by the sender (docs/tools.md).
//!
//! What is here already is not sent again, what came is verified by its hash, and nothing is replaced.

mod paths;
mod place;
mod receiver;
mod sender;
#[cfg(test)]
mod tests;
mod wire;

use std::{
    io,
    path::{Path, PathBuf},
};

pub(crate) use receiver::{Offer, Received, receive};
pub(crate) use sender::{Plan, Sent, scan, send};
#[cfg(test)]
use sender::{Skipped, Unsent};

use super::{flow::Broken, quoted};
use crate::webrtc::NotSent;

/// What a channel of a transfer is called.
pub(crate) const LABEL: &str = "connectoid.file";

/// Learns how a transfer gets on: at each file and each piece of it, so thousands of times a second.
pub(crate) trait Progress: Sync {
    /// This is how far it is.
    fn at(&self, status: &Status<'_>);
}

/// How far a transfer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Status<'a> {
    /// What is done right now.
    pub(crate) phase: Phase,
    /// The path of the file, `/` between its names. It was chosen by the sender.
    pub(crate) path: &'a str,
    /// Bytes that are done, and bytes in all.
    pub(crate) bytes: u64,
    /// See `bytes`.
    pub(crate) total: u64,
    /// How many of the bytes that are done did not have to be moved: they were there.
    pub(crate) skipped: u64,
}

/// What a transfer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Reads what the receiver has already.
    Checking,
    /// Moves bytes.
    Moving,
}

/// Why a transfer ended before all was in its place.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilesError {
    #[error("the connection ended before all was there: connect again, and it goes on from where it was")]
    Ended,
    /// The other side's words.
    #[error("the other side refused: {0}")]
    Refused(String),
    #[error("declined: nothing was written")]
    Declined,
    /// The other side breaks the rules.
    #[error("the other side does not keep to the protocol: {0}")]
    Misbehaves(String),
    #[error(
        "too much for one transfer, which takes 1,000,000 files and folders and 64 MiB of paths: send it in parts"
    )]
    TooMany,
    #[error("{}: {why}", path.display())]
    NotSendable { path: PathBuf, why: String },
    #[error("{0:?} is not a folder here: move it away, or receive into another folder")]
    InTheWay(String),
    #[error(
        "no room: {needed} bytes are to come, and {free} are free on the disk: make room and connect again"
    )]
    NoRoom { needed: u64, free: u64 },
    #[error("{path:?} came damaged twice: is the disk sound?")]
    Damaged { path: String },
    #[error("other transfers write {path:?} right now: wait for them, or receive into another folder")]
    InUse { path: String },
    #[error("cannot write {}: {error}{}", path.display(), advice(error))]
    Disk { path: PathBuf, error: io::Error },
}

impl FilesError {
    /// Of a path below the target folder, empty if it is the folder itself.
    fn disk(path: impl AsRef<Path>, error: io::Error) -> Self {
        Self::Disk { path: path.as_ref().to_owned(), error }
    }
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ": make room and connect again, it goes on from where it was"
        }
        _ => "",
    }
}

impl From<NotSent> for FilesError {
    fn from(_: NotSent) -> Self {
        Self::Ended
    }
}

impl From<Broken> for FilesError {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Closed(_) => Self::Ended,
            Broken::NotUnderstood(why) => {
                Self::Misbehaves(format!("it sends what cannot be understood: {}", quoted(&why)))
            }
            Broken::TooMuch => Self::Misbehaves("it sends more than it was asked for".to_owned()),
        }
    }
}
