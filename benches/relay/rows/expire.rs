//! Many messages expire at once while others are sent: what that does to those.
//!
//! A relay is started on a copy of a database full of messages that are older than it keeps them, so it sweeps them
//! all, at once and in its batches; sends come in at the same time until it is done. Then the same without the sweep,
//! where the messages may stay.

use std::{
    fs::{self, File},
    thread::sleep,
    time::Duration,
};

use crate::{
    Outcome,
    figures::{median, number, percentile},
    lab::{Lab, rng, sends},
    load::now,
    report::{Found, Line, Mark},
    requests::Template,
};

/// Sends a second.
const RATE: f64 = 2_000.0;

/// How long messages live where they are to expire.
const TTL: Duration = Duration::from_secs(5);

/// How often it is looked whether the sweep is done.
const PIECE: Duration = Duration::from_secs(1);

/// How long the sweep may take.
const PATIENCE: Duration = Duration::from_secs(120);

const SWEPT: &str = "connectoid_swept_messages_total";

pub(crate) fn measure(lab: &Lab) -> Outcome<Found> {
    lab.stored()?;
    sleep(TTL);
    let rounds = lab.rounds(|| {
        let without = latencies(lab, &[], false)?.0;
        let (with, took) = latencies(lab, &["--message-ttl", "5s", "--sweep-interval", "1h"], true)?;
        Ok((percentile(&with, 0.99), percentile(&without, 0.99), took))
    })?;
    let figures = format!(
        "{} messages swept in {} s under {}/s: p99 {} ms, else {} ms",
        number(lab.extent.messages as f64),
        number(median(rounds.iter().map(|(.., took)| *took))),
        number(RATE),
        number(median(rounds.iter().map(|(with, ..)| *with))),
        number(median(rounds.iter().map(|(_, without, _)| *without))),
    );
    Ok(Found::line(Line {
        part: "send, p99 while many expire",
        against: "p99 while none do",
        value: median(rounds.iter().map(|(with, without, _)| with / without)),
        unit: "",
        mark: Mark::at_most(2.0, 1.5),
        figures,
        disturbed: false,
    }))
}

/// What sends take: while the first sweep goes on, or for one round's time. And what that sweep took, in seconds.
fn latencies(lab: &Lab, options: &[&str], sweeping: bool) -> Outcome<(Vec<Duration>, f64)> {
    let database = "expire.db";
    for ending in ["", "-wal", "-shm"] {
        drop(fs::remove_file(lab.file(&format!("{database}{ending}"))));
    }
    fs::copy(&lab.stored()?.database, lab.file(database))?;
    // Or the disk would be busy with the copy.
    File::open(lab.file(database))?.sync_all()?;

    let template = &Template::send(&mut rng());
    let mut relay = lab.side(lab.relay(database, options)?)?;
    let start = now();
    let mut all = Vec::new();
    // More than these are swept, if it takes so long that the first of the new ones are too old, too.
    let all_stored = lab.extent.messages as f64;
    loop {
        let begun = now() - start;
        // Each time others, or they would be duplicates, which store nothing.
        let boxes = lab.boxes((RATE * PIECE.as_secs_f64()) as usize);
        let ran = relay.at_rate(RATE, PIECE, &mut sends(template, &boxes))?;
        all.extend(ran.replies.into_iter().map(|(since, latency)| (begun + since, latency)));
        let so_far = now() - start;
        let over =
            if sweeping { relay.server.metric(SWEPT)? >= all_stored } else { so_far >= lab.extent.length };
        if over {
            break;
        }
        if so_far > PATIENCE {
            return Err(format!("the sweep of {all_stored} messages does not end").into());
        }
    }
    let took = relay.server.metric("connectoid_sweep_seconds_sum")?;
    // It began when the relay did.
    let end = if sweeping { Duration::from_secs_f64(took) } else { Duration::MAX };
    Ok((all.into_iter().filter(|(since, _)| *since <= end).map(|(_, latency)| latency).collect(), took))
}
