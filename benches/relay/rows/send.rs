//! `send`: as many as the relay can do, and how long they take at a rate below that.

use std::time::Duration;

use super::check::{Sides, side_by_side};
use crate::{
    Outcome,
    figures::{Speed, median, number, percentile},
    lab::{Lab, SENDS_A_SECOND, rng, sends},
    report::{CONSTANT, Found, Line, Mark},
    requests::Template,
    server::Server,
};

/// How much of what it can do is asked of it where latency is measured.
const SHARE: f64 = 0.8;

pub(crate) fn measure(lab: &Lab) -> Outcome<Found> {
    let mut relay = lab.side(lab.relay("send.db", &[])?)?;
    let mut constant = lab.side(Server::constant(lab.cores, "{\"ok\":true}\n")?)?;
    let template = &Template::send(&mut rng());
    let rounds = lab.rounds(|| {
        let boxes = lab.boxes_for_a_round(SENDS_A_SECOND);
        let appends = lab.appends()?;
        Ok(((constant.run(&mut sends(template, &boxes))?, relay.run(&mut sends(template, &boxes))?), appends))
    })?;
    let (pairs, appends): (Vec<_>, Vec<f64>) = rounds.into_iter().unzip();
    let speed = Speed::of(pairs.iter().map(|(_, relay)| relay));

    let rate = speed.rate * SHARE;
    let paced = lab.rounds(|| {
        let boxes = lab.boxes_for_a_round(rate);
        let ran = relay.at_rate(rate, lab.extent.length, &mut sends(template, &boxes))?;
        let latencies: Vec<Duration> = ran.replies.into_iter().map(|(_, latency)| latency).collect();
        Ok((percentile(&latencies, 0.5), percentile(&latencies, 0.99)))
    })?;
    let (p50, p99) = (median(paced.iter().map(|(p50, _)| *p50)), median(paced.iter().map(|(_, p99)| *p99)));

    // With as many in flight as there are connections it was quicker: it did not keep up, and what it has is a queue.
    let late = p50 > speed.p50;
    let Sides { value, disturbed, figures } = side_by_side(&pairs);
    let lines = vec![
        Line {
            part: "send, durable",
            against: CONSTANT,
            value,
            unit: "",
            mark: Mark::at_least(0.2, 0.3),
            figures,
            disturbed,
        },
        Line {
            part: "send, beside one sync each",
            against: "an append and fdatasync for each",
            value: median(pairs.iter().zip(&appends).map(|((_, relay), appends)| relay.rate() / appends)),
            unit: "",
            mark: Mark::at_least(4.0, 7.0),
            figures: format!("{}/s of {}/s", number(speed.rate), number(median(appends))),
            disturbed,
        },
        Line {
            part: "send, p99 at 80 %",
            against: "its p50",
            value: if late { f64::INFINITY } else { median(paced.iter().map(|(p50, p99)| p99 / p50)) },
            unit: "",
            mark: Mark::at_most(8.0, 4.0),
            figures: format!("at {}/s: p50 {} ms, p99 {} ms", number(rate), number(p50), number(p99)),
            disturbed: late,
        },
    ];
    Ok(Found { lines, text: String::new() })
}
