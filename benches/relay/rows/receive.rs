//! `receive` of a message of 4096 bytes, with an answer that counts.

use super::check::{Sides, side_by_side};
use crate::{
    Outcome,
    lab::{Lab, rng},
    report::{CONSTANT, Found, Line, Mark},
    requests::Template,
    scripts::{About, Asking, Receiving},
    server::Server,
};

/// Boxes that are received from again and again; asking and answering for each takes a millisecond of either side.
pub(super) const BOXES: usize = 256;

/// The length of a message in base64url.
const MESSAGE_CHARS: usize = 5462;

pub(crate) fn measure(lab: &Lab) -> Outcome<Found> {
    let mut relay = lab.side(lab.relay("receive.db", &[])?)?;
    let reply =
        format!("{{\"ok\":true,\"at\":1795170000000000,\"data\":\"{}\"}}\n", "A".repeat(MESSAGE_CHARS));
    let mut constant = lab.side(Server::constant(lab.cores, &reply)?)?;
    let boxes = lab.boxes(BOXES);
    relay.send_to(&Template::send(&mut rng()), &boxes)?;
    let (check, receive) = (Template::check(0), &Template::receive());
    let rounds = lab.rounds(|| {
        // An answer counts for a minute.
        let mut asking = Asking::new(&check, &boxes);
        relay.all(&mut asking)?;
        let answers = asking.answers()?;
        let script =
            || Receiving { template: receive, boxes: &boxes, answers: &answers, next: 0, again: true };
        let expect = r#""data":""#;
        let same =
            &mut About { template: receive, boxes: &boxes, next: 0, again: true, messages: false, expect };
        Ok((constant.run(same)?, relay.run(&mut script())?))
    })?;
    let Sides { value, disturbed, figures } = side_by_side(&rounds);
    Ok(Found::line(Line {
        part: "receive",
        against: CONSTANT,
        value,
        unit: "",
        mark: Mark::at_least(0.4, 0.6),
        figures,
        disturbed,
    }))
}
