//! The rows: each measures one thing, and says what must be and what is the goal.

mod check;
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
    pub(crate) measure: fn(&Lab) -> Outcome<Found>,
}

/// All rows, in the order of the table.
pub(crate) const ROWS: &[Row] = &[
    Row { name: "deliver", measure: deliver::measure },
    Row { name: "check-nothing", measure: check::nothing },
    Row { name: "check-cached", measure: check::cached },
    Row { name: "check-fresh", measure: check::fresh },
    Row { name: "send", measure: send::measure },
    Row { name: "receive", measure: receive::measure },
    Row { name: "postgres-send", measure: postgres::send },
    Row { name: "postgres-check", measure: postgres::check },
    Row { name: "postgres-receive", measure: postgres::receive },
    Row { name: "expire", measure: expire::measure },
    Row { name: "wait", measure: wait::measure },
    Row { name: "stored", measure: stored::measure },
    Row { name: "start", measure: start::measure },
];
