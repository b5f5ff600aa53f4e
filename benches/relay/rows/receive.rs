//! `receive` of a message of 4096 bytes, with an answer that counts: of one that was sent just now, which the relay has in its
//! memory, and of one that waited until others took its place there.

use super::check::{Sides, side_by_side};
use crate::{
    Outcome,
    boxes::MailBox,
    lab::{Lab, Side, rng},
    report::{CONSTANT, Found, Line, Mark},
    requests::Template,
    scripts::{About, Asking, Receiving},
    server::Server,
};

/// Boxes that are received from again and again, and whose messages are in memory. Asking and answering for each takes a third
/// of a millisecond of either side.
pub(super) const BOXES: usize = 256;

/// Boxes whose messages are not; fewer in a quick run.
const WAITED: usize = 2_048;

/// Messages that are sent after those: more than what memory has room for.
const LATER: usize = 1_024;

/// The length of a message in base64url.
const MESSAGE_CHARS: usize = 5462;

pub(crate) fn measure(lab: &Lab) -> Outcome<Found> {
    let mut relay = lab.side(lab.relay("receive.db", &[])?)?;
    let reply =
        format!("{{\"ok\":true,\"at\":1795170000000000,\"data\":\"{}\"}}\n", "A".repeat(MESSAGE_CHARS));
    let mut constant = lab.side(Server::constant(lab.cores, &reply)?)?;
    let send = &Template::send(&mut rng());
    let waited = lab.boxes(WAITED.min(lab.extent.messages / 4));
    relay.send_to(send, &waited)?;
    relay.send_to(send, &lab.boxes(LATER))?;
    let from_database = received(lab, &mut relay, &mut constant, &waited)?;
    let recent = lab.boxes(BOXES);
    relay.send_to(send, &recent)?;
    let from_memory = received(lab, &mut relay, &mut constant, &recent)?;
    let lines = [("receive, from memory", from_memory), ("receive, from the database", from_database)];
    let lines = lines.map(|(part, Sides { value, disturbed, figures })| Line {
        part,
        against: CONSTANT,
        value,
        unit: "",
        mark: Mark::at_least(0.4, 0.6),
        figures,
        disturbed,
    });
    Ok(Found { lines: lines.into(), text: String::new() })
}

/// From these boxes in turn, again and again, beside the constant.
fn received(lab: &Lab, relay: &mut Side, constant: &mut Side, boxes: &[MailBox]) -> Outcome<Sides> {
    let (check, template) = (Template::check(0), &Template::receive());
    let rounds = lab.rounds(|| {
        // An answer counts for a minute.
        let mut asking = Asking::new(&check, boxes);
        relay.all(&mut asking)?;
        let answers = asking.answers()?;
        let expect = r#""data":""#;
        let mut same = About { template, boxes, next: 0, again: true, messages: false, expect };
        let mut receiving = Receiving { template, boxes, answers: &answers, next: 0, again: true };
        Ok((constant.run(&mut same)?, relay.run(&mut receiving)?))
    })?;
    Ok(side_by_side(&rounds))
}
