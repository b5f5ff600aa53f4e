//! `connectoid contacts`

use std::time::{Duration, UNIX_EPOCH};

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{Failure, Home, keys_file, mailbox, now_ms, print_json, print_line, rename, say};
use crate::{
    client::contact::{Contact, OwnBox, Verification},
    protocol::{Ext, PublicKey, RelayUrl},
};

/// List the people links were made for; rename them, move them to a new device, seal them under a passphrase
///
/// Without a command it lists them.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Contacts {
    #[command(subcommand)]
    command: Option<ContactsCommand>,
    #[command(flatten)]
    home: Home,
    /// One line of JSON per contact
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum ContactsCommand {
    Rename(rename::Rename),
    Remove(rename::Remove),
    Export(keys_file::Export),
    Import(keys_file::Import),
    Passphrase(keys_file::SetPassphrase),
}

/// A contact as it is listed: nothing secret.
#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    #[serde(rename = "pub")]
    public: PublicKey,
    relays: &'a [RelayUrl],
    ext: Option<&'a str>,
    secret: bool,
    made: String,
    expires: Option<String>,
    expired: bool,
    /// Whether an app connected with this contact.
    connected: bool,
    /// Whether the two people compared their strings, and they were the same.
    verified: bool,
    /// Whether it is being unshared: what is left to do is to delete its boxes.
    leaving: bool,
}

impl<'a> Row<'a> {
    fn of(contact: &'a Contact, own: &'a OwnBox) -> Self {
        Self {
            name: &contact.name,
            public: own.key.public(),
            relays: &own.relays,
            ext: own.ext.as_ref().map(Ext::as_str),
            secret: own.secret.is_some(),
            made: date(contact.made),
            expires: contact.link.as_ref().and_then(|link| link.expires).map(date),
            expired: contact.has_expired(now_ms()),
            connected: contact.pinned().is_some(),
            verified: contact.verification == Verification::Verified,
            leaving: contact.leaving.is_some(),
        }
    }
}

impl Contacts {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.command {
            Some(ContactsCommand::Rename(rename)) => rename.run(),
            Some(ContactsCommand::Remove(remove)) => remove.run(),
            Some(ContactsCommand::Export(export)) => export.run(),
            Some(ContactsCommand::Import(import)) => import.run(),
            Some(ContactsCommand::Passphrase(passphrase)) => passphrase.run(),
            None => self.list(),
        }
    }

    fn list(&self) -> Result<(), Failure> {
        let keystore = self.home.keystore()?;
        let keys = keystore.load()?;
        if keys.contacts.is_empty() {
            say("no contacts yet: connectoid share --for NAME makes a link and waits for whoever uses it");
        }
        for contact in &keys.contacts {
            let row = Row::of(contact, mailbox(contact)?);
            if self.json {
                print_json(&row)?;
                continue;
            }
            let until = match (&row.expires, row.expired) {
                _ if row.leaving => "being unshared".to_owned(),
                _ if row.verified => "connected, verified".to_owned(),
                _ if row.connected => "connected".to_owned(),
                (None, _) => "does not expire".to_owned(),
                (Some(date), false) => format!("until {date}"),
                (Some(date), true) => format!("expired {date}"),
            };
            let relays: Vec<&str> = row.relays.iter().map(RelayUrl::as_str).collect();
            print_line(format!("{}\t{}\t{}\t{until}", row.name, row.public, relays.join(" ")))?;
        }
        Ok(())
    }
}

/// Unix milliseconds as RFC 3339, to the second.
pub(super) fn date(ms: u64) -> String {
    // Beyond the year 9999 the crate would not write it.
    let ms = ms.min(253_402_300_799_000);
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(ms)).to_string()
}
