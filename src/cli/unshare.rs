//! `connectoid unshare`: the end of a contact, which the other side is told.

use std::time::Duration;

use clap::Args;

use super::{
    Failure, Home, ask, known,
    online::{tell, until},
    say,
};
use crate::client::{Client, Event};

/// End a contact for good: tell the other side, delete its boxes at the relays, and all its keys
///
/// Also for a link that nobody used: it stops working at once. It cannot be undone; to connect again, make a new link.
///
/// The other side is told by up to three messages within two days: one now, the others whenever a command that goes online as
/// somebody (share, connect, unshare) runs with these keys. Interrupted, or without a relay, it goes on when it is called again.
#[derive(Args)]
pub(super) struct Unshare {
    #[command(flatten)]
    home: Home,
    /// The contact's nickname
    name: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// How long to try at most
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    patience: Duration,
}

impl Unshare {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let name = &self.name;
        let keystore = self.home.keystore()?;
        let has_begun = known(&keystore.load()?, name)?.leaving.is_some();
        let mut client = Client::open_only(keystore, &[name])?;
        if !self.yes && !has_begun {
            let notes = match client.notes(name).len() {
                0 => String::new(),
                count => format!(" Notes that you did not receive yet are lost, too: {count}."),
            };
            let question = format!(
                "End the contact {name:?} for good? The other side is told, and all keys are deleted.{notes}"
            );
            ask::confirm(&question, "--yes unshares without asking")?;
        }
        let contact = client.contact(name);
        let peer = contact.and_then(|contact| contact.peer.as_ref()).map(|peer| peer.connectoid.key);
        client.unshare(name)?;
        say(&format!("deleting the boxes of {name:?} at their relays"));
        let is_to_be_told = |client: &Client| {
            let mut goodbyes = client.goodbyes().iter();
            goodbyes.find(|goodbye| Some(goodbye.to) == peer).map(|goodbye| goodbye.sent == 0)
        };
        let is_done = |client: &Client| client.contact(name).is_none() && is_to_be_told(client) != Some(true);
        // What else there was to tell of this contact is over with it.
        let hear = |event: &Event| match event {
            Event::RelaysDown { .. } | Event::RelaysBack { .. } | Event::Misbehaves { .. } => tell(event),
            _ => {}
        };
        let done = until(&mut client, self.patience, hear, is_done).await?;
        if !done && client.contact(name).is_some() {
            return Err(Failure::with(
                Failure::UNREACHABLE,
                format!(
                    "{name:?} is not unshared yet, for its relays do not answer. Its keys are still there, to delete its boxes with: \
                     call connectoid unshare {name:?} again later, it goes on from here"
                ),
            ));
        }
        say(&format!("{name:?} is unshared: all its keys are deleted"));
        match is_to_be_told(&client) {
            None => Ok(()),
            Some(false) => {
                say(
                    "the other side was sent word; in case it does not look within the hour, it is sent again twice within two days, \
                     whenever connectoid share, connect or unshare runs",
                );
                Ok(())
            }
            Some(true) => Err(Failure::with(
                Failure::UNREACHABLE,
                "the other side could not be told yet, for no relay of it answers: it is told within two days, \
                 whenever connectoid share, connect or unshare runs",
            )),
        }
    }
}
