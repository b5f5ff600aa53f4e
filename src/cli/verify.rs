//! `connectoid verify`: the short string that two people compare, and what they said of it.

use clap::Args;
use serde::Serialize;

use super::{Failure, Home, ask::ask, known, online::tell, print_json, print_line, say};
use crate::{
    client::{Client, Event, contact::Verification, sessions::Alarm, sessions::NotDone},
    seal::transcript::Sas,
};

/// Compare the seven emoji with a contact, and record whether they are the same
///
/// Whoever stood in between when you connected would have made you see other emoji than the other side. So call each other, or meet,
/// and compare them: seven emoji, or three numbers, which say the same. Once is enough, also for all later connections.
///
/// Without a terminal, and without --same or --different, it prints them and records nothing.
#[derive(Args)]
pub(super) struct Verify {
    #[command(flatten)]
    home: Home,
    /// The contact's nickname
    name: String,
    /// They are the same on both sides: record it without asking
    #[arg(long, conflicts_with = "different")]
    same: bool,
    /// They differ: record it without asking. Nothing is exchanged with this contact any more
    #[arg(long)]
    different: bool,
    /// As one line of JSON: the emoji, the numbers, and what is recorded. Asks nothing
    #[arg(long)]
    json: bool,
}

/// The string as a script reads it.
#[derive(Serialize)]
struct Shown<'a> {
    name: &'a str,
    emoji: [Picture; 7],
    numbers: [u16; 3],
    verification: Verification,
}

#[derive(Serialize)]
struct Picture {
    symbol: &'static str,
    name: &'static str,
}

impl Verify {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let keystore = self.home.keystore()?;
        let keys = keystore.load()?;
        let contact = known(&keys, &self.name)?;
        let sas = contact.sas.ok_or_else(|| Failure::new(NotDone::NothingToCompare(self.name.clone())))?;
        let recorded = contact.verification;
        if !self.json {
            show(sas, recorded, &self.name)?;
        }
        let Some(same) = self.answer(recorded)? else {
            return if self.json { self.print_json(sas, recorded) } else { Ok(()) };
        };
        let mut client = Client::open_only(keystore, &[&self.name])?;
        // Asking took its time: what is confirmed must be what was shown.
        if client.contact(&self.name).and_then(|contact| contact.sas) != Some(sas) {
            return Err(Failure::new(format!(
                "{:?} was changed meanwhile; nothing was recorded, look again",
                self.name
            )));
        }
        client.verify(&self.name, same)?;
        let contact = self.name.clone();
        if self.json {
            return self.print_json(sas, if same { Verification::Verified } else { Verification::Mismatch });
        }
        if same {
            say(&format!("recorded: {contact:?} is verified"));
        } else {
            tell(&Event::Alarm { contact, alarm: Alarm::StringsDiffer });
        }
        Ok(())
    }

    /// Whether they are the same, as an option or a person says; none if nobody does.
    fn answer(&self, recorded: Verification) -> Result<Option<bool>, Failure> {
        if self.same || self.different {
            return Ok(Some(self.same));
        }
        if self.json || recorded == Verification::Verified {
            return Ok(None);
        }
        match ask("Are they the same on both sides? [y/n]")?.as_deref() {
            None => Ok(None),
            Some("y" | "yes") => Ok(Some(true)),
            Some("n" | "no") => Ok(Some(false)),
            Some(_) => Err(Failure::new("nothing was recorded: answer y or n")),
        }
    }

    fn print_json(&self, sas: Sas, verification: Verification) -> Result<(), Failure> {
        let emoji = sas.emoji().map(|emoji| Picture { symbol: emoji.symbol, name: emoji.name });
        print_json(&Shown { name: &self.name, emoji, numbers: sas.numbers(), verification })
    }
}

/// The string, and what to do with it.
fn show(sas: Sas, recorded: Verification, name: &str) -> Result<(), Failure> {
    print_line(sas.to_string())?;
    print_line(sas.emoji().map(|emoji| emoji.name).join(", "))?;
    print_line(sas.numbers().map(|number| number.to_string()).join(" "))?;
    let compare = format!(
        "Call {name:?}, or meet, and compare: these emoji in this order, or the three numbers. Not by the way the link took.\n\
         If they are the same nobody stands in between; if one differs, somebody does."
    );
    say(&match recorded {
        Verification::Unverified => compare,
        Verification::Verified => {
            "They were compared already, and are the same: nothing is left to do.".into()
        }
        Verification::Mismatch => {
            format!("They were compared already, and differ: somebody stands in between.\n{compare}")
        }
    });
    Ok(())
}
