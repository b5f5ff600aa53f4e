//! `connectoid contacts rename` and `contacts remove`: a contact in the keys file, without a word to anybody.

use clap::Args;

use super::{Failure, Home, ask, known, link::nickname, say};

/// Give a contact another nickname
///
/// Only you see nicknames: nothing is sent, and the other side does not notice. No other program may be connected as the contact
/// meanwhile.
#[derive(Args)]
pub(super) struct Rename {
    #[command(flatten)]
    home: Home,
    /// The nickname it has
    old: String,
    /// The nickname it gets; no other contact may have it
    #[arg(value_parser = nickname)]
    new: String,
}

/// Delete a contact and its keys from this device, and tell nobody
///
/// The other side goes on writing to boxes that nobody can read any more. connectoid unshare tells it, and deletes the boxes
/// at the relays; that is usually what you want. This one needs no network.
#[derive(Args)]
pub(super) struct Remove {
    #[command(flatten)]
    home: Home,
    /// The contact's nickname
    name: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

impl Rename {
    pub(super) fn run(self) -> Result<(), Failure> {
        let Self { home, old, new } = self;
        let keystore = home.keystore()?;
        let taken = || Failure::new(format!("there is a contact {new:?} already: choose another name"));
        let keys = keystore.load()?;
        known(&keys, &old)?;
        if keys.contact(&new).is_some() {
            return Err(taken());
        }
        // Of both names: an app that makes a contact of the new one would write over this one.
        let _alone = [keystore.lock_contact(&old)?, keystore.lock_contact(&new)?];
        keystore.update(|keys| {
            known(keys, &old)?;
            if keys.contact(&new).is_some() {
                return Err(taken());
            }
            if let Some(contact) = keys.contact_mut(&old) {
                contact.name.clone_from(&new);
            }
            Ok(())
        })?;
        say(&format!("{old:?} is {new:?} now"));
        Ok(())
    }
}

impl Remove {
    pub(super) fn run(self) -> Result<(), Failure> {
        let Self { home, name, yes } = self;
        let keystore = home.keystore()?;
        known(&keystore.load()?, &name)?;
        let _alone = keystore.lock_contact(&name)?;
        if !yes {
            say(&format!(
                "This deletes the keys of {name:?} here and tells nobody; what is sent to you from there is lost.\n\
                 connectoid unshare {name:?} tells the other side, and is usually what is wanted."
            ));
            ask::confirm(&format!("Remove {name:?}?"), "--yes removes without asking")?;
        }
        keystore.update(|keys| {
            known(keys, &name)?;
            keys.contacts.retain(|contact| contact.name != name);
            Ok::<_, Failure>(())
        })?;
        say(&format!("{name:?} is removed, with all its keys; the other side was not told"));
        Ok(())
    }
}
