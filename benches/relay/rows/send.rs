//! `send`: as many as the relay can do, and how long they take at a rate below that.

use std::{fs::File, io::Write as _, time::Duration};

use super::check::{Sides, share, side_by_side};
use crate::{
    Outcome,
    barest::Storage,
    figures::{Speed, median, number, percentile},
    lab::{Lab, Side, rng, sends},
    load::{Ran, now},
    report::{CONSTANT, Found, Line, Mark},
    requests::{MESSAGE_BYTES, Template},
    server::Server,
};

/// Boxes made for a round, by the second; with fewer it would end early.
const A_SECOND: f64 = 45_000.0;

/// How much of what it can do is asked of it where latency is measured.
const SHARE: f64 = 0.8;

/// Servers that do no more than store.
const LEAST: [(Storage, &str); 3] = [
    (Storage::Table, "in a table of SQLite without an index"),
    (Storage::TableInLargePages, "that in pages of 64 KiB"),
    (Storage::File, "in a file, one behind the other"),
];

const LEAST_HEAD: &str = "\
### The least that a durable send takes

Servers in the relay's place that take a message out of its JSON and base64url and store it, many with one sync, and do nothing else: no box is
found again, no key is looked at, nothing is limited or counted.

| | a second | µs of the core | of the constant | of one sync each |
|---|---|---|---|---|
";

/// What each did, one after the other.
struct Round {
    /// Messages a second that were appended with a sync each.
    appends: f64,
    constant: Ran,
    relay: Ran,
    /// As many as there are in [`LEAST`].
    least: Vec<Ran>,
}

pub(crate) fn measure(lab: &Lab) -> Outcome<Found> {
    let mut relay = lab.side(lab.relay("send.db", &[])?)?;
    let mut constant = lab.side(Server::constant(lab.cores, "{\"ok\":true}\n")?)?;
    let barest = |(storage, _)| lab.side(Server::barest(lab.cores, storage, lab.folder())?);
    let mut least = LEAST.into_iter().map(barest).collect::<Outcome<Vec<_>>>()?;
    let template = &Template::send(&mut rng());
    let rounds = lab.rounds(|| {
        let boxes = lab.boxes_for_a_round(A_SECOND);
        let run = |side: &mut Side| side.run(&mut sends(template, &boxes));
        Ok(Round {
            appends: appends(lab)?,
            constant: run(&mut constant)?,
            relay: run(&mut relay)?,
            least: least.iter_mut().map(run).collect::<Outcome<_>>()?,
        })
    })?;
    let speed = Speed::of(rounds.iter().map(|round| &round.relay));

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
    let Sides { value, disturbed, figures } =
        side_by_side(rounds.iter().map(|round| (&round.constant, &round.relay)));
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
            value: median(rounds.iter().map(|round| round.relay.rate() / round.appends)),
            unit: "",
            mark: Mark::at_least(4.0, 7.0),
            figures: format!(
                "{}/s of {}/s",
                number(speed.rate),
                number(median(rounds.iter().map(|round| round.appends)))
            ),
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
    Ok(Found { lines, text: the_least(&rounds) })
}

/// The servers beside one another, the least first.
fn the_least(rounds: &[Round]) -> String {
    let mut text = LEAST_HEAD.to_owned();
    let mut row = |what: &str, of: &dyn Fn(&Round) -> &Ran| {
        let speed = Speed::of(rounds.iter().map(of));
        text += &format!(
            "| {what} | {} | {} | {} | {} |\n",
            number(speed.rate),
            number(speed.cpu),
            number(median(rounds.iter().map(|round| share(&round.constant, of(round))))),
            number(median(rounds.iter().map(|round| of(round).rate() / round.appends))),
        );
    };
    row("the constant, nowhere", &|round| &round.constant);
    for (n, (_, what)) in LEAST.into_iter().enumerate() {
        row(what, &|round| &round.least[n]);
    }
    row("the relay", &|round| &round.relay);
    text
}

/// Messages a second that one after the other are appended to a file and synced, in the folder of the database.
fn appends(lab: &Lab) -> Outcome<f64> {
    let mut file = File::create(lab.file("appended"))?;
    let message = [7; MESSAGE_BYTES];
    let start = now();
    let mut count = 0;
    while now() - start < lab.extent.length / 2 {
        file.write_all(&message)?;
        file.sync_data()?;
        count += 1;
    }
    Ok(f64::from(count) / (now() - start).as_secs_f64())
}
