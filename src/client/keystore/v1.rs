//! The contacts of version 1 of the keys file: a name and the one box of its link.

use serde::Deserialize;

use super::secrets::{box_key, optional_secret};
use crate::{
    client::contact::{Contact, InboxNote, OwnBox, Seen, SharedLink},
    protocol::{Ext, LinkSecret, RelayUrl},
    seal::BoxKey,
};

#[derive(Deserialize)]
pub(super) struct ContactV1 {
    name: String,
    #[serde(with = "box_key")]
    key: BoxKey,
    #[serde(default, with = "optional_secret")]
    secret: Option<LinkSecret>,
    relays: Vec<RelayUrl>,
    #[serde(default)]
    ext: Option<Ext>,
    made: u64,
    #[serde(default)]
    expires: Option<u64>,
    #[serde(default)]
    seen: Vec<Seen>,
    #[serde(default)]
    inbox: Vec<InboxNote>,
}

impl From<ContactV1> for Contact {
    fn from(old: ContactV1) -> Self {
        let ContactV1 { name, key, secret, relays, ext, made, expires, seen, inbox } = old;
        let own = OwnBox { key, secret, relays, ext, confirmed: None, used: false };
        let mut contact = Self::shared(name, own, SharedLink::new(expires), made);
        (contact.seen, contact.inbox) = (seen, inbox);
        contact
    }
}
