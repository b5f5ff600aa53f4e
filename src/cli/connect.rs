//! `connectoid connect`: use a link, or meet somebody again.

use clap::Args;

use super::{
    Failure, Home,
    link::nickname,
    meet::{Meeting, Work},
};
use crate::{
    client::{ClientError, sessions::NotDone},
    protocol::{FoundLink, find_connectoid},
};

/// Connect to whoever sent a link, or to a contact again; then send files, join pipes, forward ports
///
/// With a link and --for NAME a contact is made, which is kept: the next time connectoid connect NAME is enough, on either side.
/// It waits until the other side is there, and tries again for 48 hours.
#[derive(Args)]
pub(super) struct Connect {
    #[command(flatten)]
    home: Home,
    /// The link, or text with the link in it; or the nickname of a contact
    #[arg(value_name = "LINK|NAME")]
    whom: String,
    /// Who sent the link: a nickname that only you see
    #[arg(long = "for", value_name = "NAME", value_parser = nickname)]
    name: Option<String>,
    #[command(flatten)]
    work: Work,
}

impl Connect {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let link = find_connectoid(&self.whom);
        let name = match (&link, &self.name) {
            (Ok(_), Some(name)) => name.clone(),
            (Ok(_), None) => {
                let why = "say who sent the link, by a nickname that only you see: connectoid connect LINK --for NAME";
                return Err(Failure::with(2, why));
            }
            (Err(_), None) => self.contact(&link)?,
            (Err(_), Some(_)) if self.home.keystore()?.load()?.contact(&self.whom).is_some() => {
                return Err(Failure::with(2, "--for goes with a link: a contact has its name already"));
            }
            (Err(error), Some(_)) => return Err(Failure::new(error.to_string())),
        };
        let mut meeting = Meeting::new(&self.home, &name, &self.work).await?;
        match link {
            Ok(link) => use_link(&mut meeting, &link, &name)?,
            Err(_) => meet_again(&mut meeting, &name)?,
        }
        meeting.run(&format!("waiting for {name:?} (Ctrl-C ends)")).await
    }

    /// The contact that is named; else why it is none.
    fn contact(&self, link: &Result<FoundLink, impl ToString>) -> Result<String, Failure> {
        let keys = self.home.keystore()?.load()?;
        if keys.contact(&self.whom).is_some() {
            return Ok(self.whom.clone());
        }
        // What looks like a link was meant as one.
        if let Err(error) = link
            && self.whom.len() > 64
        {
            return Err(Failure::new(error.to_string()));
        }
        let others = super::there_is(keys.contacts.iter().map(|contact| contact.name.as_str()));
        let why = format!(
            "there is no contact {:?}{others}, and it is no link: connectoid connect LINK --for NAME uses a link",
            self.whom
        );
        Err(Failure::with(Failure::NOTHING, why))
    }
}

fn use_link(meeting: &mut Meeting, link: &FoundLink, name: &str) -> Result<(), Failure> {
    let client = meeting.client();
    let to = client.contact(name).and_then(|contact| contact.peer.as_ref());
    // Called again, after it was stopped for instance.
    if to.is_some_and(|peer| peer.connectoid.key == link.connectoid.key) {
        return Ok(client.reconnect(name)?);
    }
    match client.connect(link, name) {
        Err(ClientError::NotDone(NotDone::LinkTaken(contact))) if contact == name => {
            Ok(client.reconnect(name)?)
        }
        done => Ok(done?),
    }
}

fn meet_again(meeting: &mut Meeting, name: &str) -> Result<(), Failure> {
    match meeting.client().reconnect(name) {
        // Who made the link waits for the other one.
        Ok(()) | Err(ClientError::NotDone(NotDone::NobodyThere(_))) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
