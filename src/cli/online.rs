//! Commands that run a client: what they tell a person of its events, and how long they go on.

use std::time::Duration;

use tokio::time;

use super::{Failure, contacts::date, say};
use crate::client::{
    Client, Event, Signal,
    sessions::{Alarm, Side},
};

/// How often what makes no signal is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Runs a client until it is `done`, for this long at most; whether it was. For commands without peer connections. `hear` is given
/// the events on the way: [`tell`], or less.
pub(super) async fn until(
    client: &mut Client,
    patience: Duration,
    mut hear: impl FnMut(&Event),
    mut done: impl FnMut(&Client) -> bool,
) -> Result<bool, Failure> {
    let running = async {
        while !done(client) {
            match time::timeout(LOOK_AGAIN, client.next()).await {
                Ok(Ok(Signal::Event(event))) => hear(&event),
                Ok(Ok(_)) | Err(_) => {}
                Ok(Err(error)) => return Err(error.into()),
            }
        }
        Ok(true)
    };
    time::timeout(patience, running).await.unwrap_or(Ok(false))
}

/// Tells a person of an event, on standard error.
pub(super) fn tell(event: &Event) {
    if let Some(words) = words(event) {
        say(&words);
    }
}

/// An event in words; none if it is what a command waits for, which has words of its own.
pub(super) fn words(event: &Event) -> Option<String> {
    Some(match event {
        Event::Shared { .. }
        | Event::Connected { .. }
        | Event::MayExchange { .. }
        | Event::Unshared { by: Side::Own, .. } => return None,
        Event::Claimed { contact } => format!("the link for {contact:?} is used: connecting"),
        Event::Disconnected { contact } => format!("{contact:?} is not connected any more"),
        Event::LinkUsed { contact } => format!(
            "somebody else used the link of {contact:?} before: ask for a new one, over another way than this one came"
        ),
        Event::Declined { contact } => format!("{contact:?} does not want to connect"),
        Event::GaveUp { contact } => format!("{contact:?} did not answer for 48 hours: no more tries"),
        Event::LinkExpired { contact } => {
            format!("the link for {contact:?} was not used in time, and is not answered any more")
        }
        Event::Unshared { contact, by: Side::Peer } => {
            format!("{contact:?} ended this contact: its keys are deleted here, too")
        }
        Event::Note { contact } => {
            format!("a note for you is in the inbox of {contact:?}: connectoid receive {contact:?} prints it")
        }
        Event::Alarm { contact, alarm } => format!("ALARM: {}", alarm_in_words(contact, *alarm)),
        Event::Skipped { contact, relay, why } => {
            format!("skipped: a message for {contact:?} at {relay} {why}")
        }
        Event::Misbehaves { relay, what } => format!("{relay} misbehaves: {what}"),
        Event::NotSent { contact, relay, why } => {
            format!("{relay} does not take a message for {contact:?}: {why}")
        }
        Event::RelaysDown { contact } => {
            format!("no relay of {contact:?} can be reached: trying goes on")
        }
        Event::RelaysBack { contact } => format!("a relay of {contact:?} can be reached again"),
    })
}

fn alarm_in_words(contact: &str, alarm: Alarm) -> String {
    match alarm {
        Alarm::LinkUsedTwice { first, second } => format!(
            "two people used the link for {contact:?}, first {}, then {}. One of them is not who it was for: ask, and compare with \
             connectoid verify {contact:?} before anything is exchanged",
            date(first),
            date(second)
        ),
        Alarm::TooManyOffers => format!(
            "somebody kept trying the link for {contact:?} and never proved to be there: it is closed, make a new one"
        ),
        Alarm::StringsDiffer => format!(
            "what you compared with {contact:?} differs: somebody stands in between. Nothing is exchanged any more; \
             connectoid unshare {contact:?}, and send a new link over another way"
        ),
        Alarm::BrokenCommitment | Alarm::ForeignCertificate | Alarm::NoProof => format!(
            "whoever answered as {contact:?} could not prove it: somebody may try to stand in between. The connection was ended"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::exchange::Misbehaviour;

    #[test]
    fn people_are_told_in_words() {
        let contact = || "Bob".to_owned();
        let relay = || "https://connecto.id".parse().unwrap();
        for (event, expected) in [
            (Event::Shared { contact: contact() }, None),
            (Event::Unshared { contact: contact(), by: Side::Own }, None),
            (
                Event::Unshared { contact: contact(), by: Side::Peer },
                Some("\"Bob\" ended this contact: its keys are deleted here, too"),
            ),
            (
                Event::RelaysDown { contact: contact() },
                Some("no relay of \"Bob\" can be reached: trying goes on"),
            ),
            (
                Event::Misbehaves { relay: relay(), what: Misbehaviour::NoQuestion },
                Some("https://connecto.id misbehaves: it found something and asked no question"),
            ),
            (
                Event::NotSent { contact: contact(), relay: relay(), why: "Box full".into() },
                Some("https://connecto.id does not take a message for \"Bob\": Box full"),
            ),
            (
                Event::Alarm {
                    contact: contact(),
                    alarm: Alarm::LinkUsedTwice { first: 1_795_170_000_000, second: 1_795_173_600_000 },
                },
                Some(
                    "ALARM: two people used the link for \"Bob\", first 2026-11-20T10:20:00Z, then 2026-11-20T11:20:00Z. \
                     One of them is not who it was for: ask, and compare with connectoid verify \"Bob\" before anything is exchanged",
                ),
            ),
        ] {
            assert_eq!(words(&event).as_deref(), expected, "{event:?}");
        }
    }
}
