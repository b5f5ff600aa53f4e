//! The rows: each measures one thing, and says what must be and what is the goal.

mod check;
pub(crate) mod cost;
mod deliver;
mod expire;
mod postgres;
mod receive;
mod send;
mod start;
pub(crate) mod stored;
mod wait;

use crate::{Outcome, lab::Lab, report::Found};

/// A row by its name.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// The part of docs/performance.md it is in.
    pub(crate) part: &'static str,
    pub(crate) measure: fn(&Lab) -> Outcome<Found>,
}

/// All rows, in the order of the table.
pub(crate) const ROWS: &[Row] = &[
    Row { name: "deliver", part: "relay", measure: deliver::measure },
    Row { name: "check-nothing", part: "relay", measure: check::nothing },
    Row { name: "check-cached", part: "relay", measure: check::cached },
    Row { name: "check-fresh", part: "relay", measure: check::fresh },
    Row { name: "send", part: "relay", measure: send::measure },
    Row { name: "receive", part: "relay", measure: receive::measure },
    Row { name: "postgres-send", part: "relay", measure: postgres::send },
    Row { name: "postgres-check", part: "relay", measure: postgres::check },
    Row { name: "postgres-receive", part: "relay", measure: postgres::receive },
    Row { name: "expire", part: "relay", measure: expire::measure },
    Row { name: "wait", part: "relay", measure: wait::measure },
    Row { name: "stored", part: "relay", measure: stored::measure },
    Row { name: "start", part: "relay", measure: start::measure },
    Row { name: "cost", part: "cost", measure: cost::measure },
];
