//! From the start of the process to the first reply: with no database yet, and with one that holds many messages.

use crate::{
    Outcome,
    figures::{median, number},
    lab::Lab,
    load::{Client, Pace, now},
    report::{Found, Line, Mark},
    requests::Template,
    scripts::About,
};

/// Starts for each figure: they are short.
const STARTS: usize = 9;

pub(crate) fn measure(lab: &Lab) -> Outcome<Found> {
    lab.stored()?;
    let empty: Vec<f64> =
        (0..STARTS).map(|n| first_reply(lab, &format!("start-{n}.db"))).collect::<Outcome<_>>()?;
    let stored: Vec<f64> = (0..STARTS).map(|_| first_reply(lab, "stored.db")).collect::<Outcome<_>>()?;
    let line = |part, starts: Vec<f64>, mark| {
        let longest = starts.iter().copied().fold(0.0, f64::max);
        let figures = format!("median of {STARTS}, the longest {} ms", number(longest));
        Line { part, against: "", value: median(starts), unit: "ms", mark, figures, disturbed: false }
    };
    let lines = vec![
        line("first reply, no database yet", empty, Mark::at_most(50.0, 20.0)),
        line("first reply, many stored", stored, Mark::at_most(300.0, 120.0)),
    ];
    Ok(Found { lines, text: String::new() })
}

/// Milliseconds from the start of a relay on this database to its reply to a check.
fn first_reply(lab: &Lab, database: &str) -> Outcome<f64> {
    let (template, boxes) = (&Template::check(0), &lab.boxes(1));
    let expect = r#""found":false"#;
    let start = now();
    let relay = lab.relay(database, &[])?;
    let script = &mut About { template, boxes, next: 0, again: false, messages: false, expect };
    Client::connect(&relay, 1)?.run(&relay, script, Pace::Closed, std::time::Duration::MAX)?;
    let took = now() - start;
    relay.stop()?;
    Ok(took.as_secs_f64() * 1e3)
}
