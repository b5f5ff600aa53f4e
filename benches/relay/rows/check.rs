//! `check`: with nothing there, with a question that was asked not long ago, and with a fresh one.

use connectoid::{
    protocol::PublicKey,
    seal::{self, Mode},
};

use crate::{
    Outcome,
    figures::{Speed, median, number, percent, share},
    hpke,
    lab::{Lab, rng},
    load::Ran,
    report::{CONSTANT, Found, Line, Mark},
    requests::Template,
    scripts::About,
};

/// Beyond every cursor: nothing is newer.
pub(super) const NEVER: u64 = (1 << 53) - 1;

/// Boxes that are checked again and again. More than connections, and few enough for a relay to know all of them.
const POLLED: usize = 1024;

/// The length of a question in base64url.
const QUESTION_CHARS: usize = 227;

/// Boxes made for a round, by the second; with fewer it would end early.
const FRESH_A_SECOND: f64 = 6_000.0;

pub(crate) fn nothing(lab: &Lab) -> Outcome<Found> {
    let Sides { value, disturbed, figures } =
        polled(lab, NEVER, POLLED, r#""found":false"#, "{\"ok\":true,\"found\":false}\n")?;
    let mark = Mark::at_least(0.8, 0.95);
    Ok(Found::line(Line {
        part: "check, nothing there",
        against: CONSTANT,
        value,
        unit: "",
        mark,
        figures,
        disturbed,
    }))
}

pub(crate) fn cached(lab: &Lab) -> Outcome<Found> {
    let question = "A".repeat(QUESTION_CHARS);
    let reply = format!(
        "{{\"ok\":true,\"found\":true,\"question\":\"{question}\",\"relay\":\"{}\"}}\n",
        crate::server::RELAY
    );
    // A question is asked again for 15 s: one for each connection is little work in between.
    let Sides { value, disturbed, figures } =
        polled(lab, 0, crate::lab::CONNECTIONS, r#""question":""#, &reply)?;
    let mark = Mark::at_least(0.7, 0.9);
    Ok(Found::line(Line {
        part: "check, question cached",
        against: CONSTANT,
        value,
        unit: "",
        mark,
        figures,
        disturbed,
    }))
}

/// Checks of the same boxes again and again, each of which has a message, against a constant.
fn polled(lab: &Lab, at: u64, count: usize, expect: &'static str, reply: &str) -> Outcome<Sides> {
    let mut relay = lab.side(lab.relay("check.db", &[])?)?;
    let mut constant = lab.side(crate::server::Server::constant(lab.cores, reply)?)?;
    let boxes = lab.boxes(count);
    relay.send_to(&Template::send(&mut rng()), &boxes)?;
    let template = &Template::check(at);
    let script = || About { template, boxes: &boxes, next: 0, again: true, messages: false, expect };
    let rounds = lab.rounds(|| {
        // So that what is asked again was asked just now.
        relay.all(&mut About { again: false, ..script() })?;
        Ok((constant.run(&mut script())?, relay.run(&mut script())?))
    })?;
    Ok(side_by_side(&rounds))
}

/// The relay beside the constant.
pub(super) struct Sides {
    /// The relay's [`share`].
    pub(super) value: f64,
    /// Whether other processes took the core.
    pub(super) disturbed: bool,
    pub(super) figures: String,
}

/// Both of them, from the rounds of the constant and the relay.
pub(super) fn side_by_side(rounds: &[(Ran, Ran)]) -> Sides {
    let constant = Speed::of(rounds.iter().map(|(constant, _)| constant));
    let relay = Speed::of(rounds.iter().map(|(_, relay)| relay));
    let limit = if constant.client > constant.server { ", and was the constant's limit" } else { "" };
    let figures = format!(
        "{}/s of {}/s; {} µs of the core for each, of {} ({}); p50 {} ms, p99 {} ms; its core was busy {}, of {}; the client takes {} µs{limit}",
        number(relay.rate),
        number(constant.rate),
        number(relay.cpu),
        number(constant.cpu),
        number(constant.cpu / relay.cpu),
        number(relay.p50),
        number(relay.p99),
        percent(relay.server),
        percent(constant.server),
        number(constant.own),
    );
    let value = median(rounds.iter().map(|(constant, relay)| share(constant, relay)));
    Sides { value, disturbed: constant.is_disturbed(), figures }
}

/// Every check about another box, in which something is: the seal of a question each.
pub(crate) fn fresh(lab: &Lab) -> Outcome<Found> {
    let mut relay = lab.side(lab.relay("fresh.db", &[])?)?;
    let send = Template::send(&mut rng());
    let template = &Template::check(0);
    hpke::proven(&lab.boxes(1))?;
    let rounds = lab.rounds(|| {
        let boxes = lab.boxes_for_a_round(FRESH_A_SECOND);
        relay.send_to(&send, &boxes)?;
        let fastest = lab.a_second(&boxes, |to| Ok(hpke::seal(to, &[0; 56]).map(drop)?))?;
        let ours = lab.a_second(&boxes, |to| {
            let key = PublicKey::from_bytes(&to.key)?;
            Ok(seal::seal(&mut rng(), &key, Mode::Base, b"", b"", &[0; 56]).map(drop)?)
        })?;
        let expect = r#""question":""#;
        let script = &mut About { template, boxes: &boxes, next: 0, again: false, messages: false, expect };
        Ok((relay.run(script)?, fastest, ours))
    })?;
    let speed = Speed::of(rounds.iter().map(|(checks, ..)| checks));
    let fastest = median(rounds.iter().map(|(_, fastest, _)| *fastest));
    let ours = median(rounds.iter().map(|(.., ours)| *ours));
    let figures = format!(
        "{}/s; {} seals/s by aws-lc-rs, {} by RustCrypto; {} µs of the core; p50 {} ms, p99 {} ms",
        number(speed.rate),
        number(fastest),
        number(ours),
        number(speed.cpu),
        number(speed.p50),
        number(speed.p99),
    );
    Ok(Found::line(Line {
        part: "check, a fresh question",
        against: "seals by aws-lc-rs alone",
        value: median(rounds.iter().map(|(checks, fastest, _)| checks.rate() / fastest)),
        unit: "",
        mark: Mark::at_least(0.75, 0.85),
        figures,
        disturbed: speed.server < 0.9,
    }))
}
