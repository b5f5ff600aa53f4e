//! Many messages: what they take in memory and on the disk. The database is kept for the rows that need one.

use std::{fs, path::PathBuf};

use crate::{
    Outcome,
    figures::number,
    lab::{Lab, rng},
    report::{Found, Line, Mark},
    requests::Template,
    scripts::About,
};

/// A database with many messages in it, each in a box of its own, which no relay has now.
pub(crate) struct Stored {
    pub(crate) database: PathBuf,
    /// Bytes of the database's file for each message.
    bytes: f64,
    /// What the relay had in memory that took them all, bytes.
    resident: f64,
}

impl Lab {
    /// That database; made the first time.
    pub(crate) fn stored(&self) -> Outcome<&Stored> {
        if let Some(stored) = self.stored.get() {
            return Ok(stored);
        }
        let (name, count) = ("stored.db", self.extent.messages);
        let mut relay = self.side(self.relay(name, &[])?)?;
        relay.send_to(&Template::send(&mut rng()), &self.boxes(count))?;
        let resident = relay.server.memory()?.resident;
        relay.server.stop()?;
        let database = self.file(name);
        let bytes = fs::metadata(&database)?.len() as f64 / count as f64;
        Ok(self.stored.get_or_init(|| Stored { database, bytes, resident }))
    }
}

pub(crate) fn measure(lab: &Lab) -> Outcome<Found> {
    let mut idle = lab.side(lab.relay("idle.db", &[])?)?;
    // Every connection was used, and is let go of.
    let template = &Template::check(0);
    let boxes = &lab.boxes(crate::lab::CONNECTIONS);
    let expect = r#""found":false"#;
    idle.all(&mut About { template, boxes, next: 0, again: false, messages: false, expect })?;
    drop(idle.client);
    let idle = idle.server.memory()?.resident;
    let stored = lab.stored()?;
    let count = number(lab.extent.messages as f64);
    let line = |part, value, unit, mark, figures| Line {
        part,
        against: "",
        value,
        unit,
        mark,
        figures,
        disturbed: false,
    };
    let lines = vec![
        line("resident, idle", idle / 1e6, "MB", Mark::at_most(20.0, 12.0), String::new()),
        line(
            "resident, many stored",
            stored.resident / 1e6,
            "MB",
            Mark::at_most(100.0, 60.0),
            format!("{count} messages, all of them taken by this process"),
        ),
        line(
            "on disk per message",
            stored.bytes / 1e3,
            "kB",
            Mark::at_most(4.9, 4.5),
            format!("{count} messages of 4,096 bytes, each in a box of its own, all columns and indexes"),
        ),
    ];
    Ok(Found { lines, text: String::new() })
}
