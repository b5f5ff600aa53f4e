//! The protocol's nouns, parsed at the door: no I/O, no clock, no async.
//!
//! A value of any type here is well formed: a [`PublicKey`] is a point on the curve in its only spelling, an [`At`]
//! fits JavaScript, a [`RelayUrl`] is canonical. docs/protocol.md is the specification.

mod at;
pub mod base64url;
mod connectoid;
mod fingerprint;
mod frame;
pub(crate) mod json;
pub mod limits;
mod link;
mod on_curve;
mod public_key;
mod refusal;
mod relay_url;
mod reply;
mod request;

pub use at::At;
pub use connectoid::{Connectoid, Ext, LinkSecret, NotAConnectoid};
pub use fingerprint::Fingerprint;
pub use frame::{Frame, NotAFrame};
pub use link::{FoundLink, NotALink, Place, find_connectoid, make_link};
pub use public_key::{KnownKeys, NotAKey, PublicKey};
pub use refusal::{Refusal, RefusalBody};
pub use relay_url::{NotARelayUrl, RelayUrl};
pub use reply::{Checked, CheckedMany, FoundBox, Message, Received, Reply};
pub use request::{Answer, Request, Upto};
