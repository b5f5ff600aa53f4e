//! The database: whether a relay can use it, and keep what it promises.

use std::{path::Path, time::Duration};

use super::{Findings, clocks, machine};
use crate::{
    cli::{Failure, database::wait_for, serve::shown},
    clock::SystemClock,
    server::Config,
    store::{Facts, OpenError, PostgresFacts, Schema, SqliteFacts, facts},
};

const CHECK: &str = "database";

/// Connections of one instance: ten, and one that listens.
const INSTANCE: i64 = 11;

/// Above this, each request waits for the network more than for anything else.
const FAR: Duration = Duration::from_millis(50);

const SESSION_MODE: &str = "Connect directly, or through a pooler in session mode";

/// PostgreSQL's version, as `server_version_num` has it.
const OLDEST: i64 = 130_000;

pub(super) fn look(config: &Config, findings: &mut Findings) -> Result<(), Failure> {
    let name = shown(&config.database);
    match wait_for(async { Ok(facts(&config.database, &SystemClock).await) })? {
        Ok(Facts::Sqlite(facts)) => sqlite(&facts, config.keep.max_bytes, findings),
        Ok(Facts::Postgres(facts)) => postgres(&facts, &name, findings),
        Ok(Facts::InMemory) => findings.warn(
            CHECK,
            "in memory: what was acknowledged is gone when the relay stops",
            "Name a file, or PostgreSQL, with --database",
        ),
        Err(error) => {
            let said = error.to_string();
            let change = match &error {
                _ if said.contains("prepared statement") => SESSION_MODE,
                OpenError::Url(_) => "Correct --database",
                OpenError::Postgres(_) => {
                    "Correct --database, or let the server accept this machine and user"
                }
                _ => "Correct --database, or run this as the relay's user",
            };
            findings.bad(CHECK, said, change);
        }
    }
    Ok(())
}

fn sqlite(facts: &SqliteFacts, max_bytes: Option<u64>, findings: &mut Findings) {
    let SqliteFacts { path, in_use, schema, writes_ahead } = facts;
    let shown = path.display();
    match schema {
        None => findings.warn(
            CHECK,
            format!("there is no {shown} yet"),
            "Start the relay, which makes it, or correct --database if it should be there",
        ),
        Some(state) => {
            schema_of(*state, &shown.to_string(), findings);
            let running = if *in_use { "a relay runs on it" } else { "no relay runs on it" };
            match (state, writes_ahead) {
                (Schema::Missing, _) => {}
                (_, true) => findings.ok("journal", format!("write-ahead; {running}")),
                (_, false) => findings.warn(
                    "journal",
                    format!("not write-ahead, as the relay sets it; {running}"),
                    "Start the relay on it, and let no other program set its journal_mode",
                ),
            }
        }
    }
    machine::permissions(path, findings);
    machine::file_system(path.parent().unwrap_or(Path::new("/")), findings);
    machine::disk(path, max_bytes, findings);
}

fn schema_of(schema: Schema, name: &str, findings: &mut Findings) {
    match schema {
        Schema::Ours(version) => findings.ok(CHECK, format!("{name}, schema {version}")),
        Schema::Missing => {
            findings.ok(CHECK, format!("{name}, empty: the relay makes its tables at its start"))
        }
        Schema::Older(version) => findings.warn(
            CHECK,
            format!("{name}, schema {version} of an older connectoid"),
            "The next start of this relay brings it up to date: back it up before, if you might go back",
        ),
        Schema::Newer(version) => findings.bad(
            CHECK,
            format!("{name}, schema {version} of a newer connectoid"),
            "Run that one, or choose another database with --database",
        ),
    }
}

fn postgres(facts: &PostgresFacts, name: &str, findings: &mut Findings) {
    schema_of(facts.schema, name, findings);
    let (major, minor) = (facts.version / 10_000, facts.version % 10_000);
    let found = format!("{major}.{minor}");
    if facts.version < OLDEST {
        findings.bad("PostgreSQL", found, "Use version 13 or later");
    } else {
        findings.ok("PostgreSQL", found);
    }
    durability(facts, findings);
    connections(facts.connections, findings);
    let milliseconds = facts.round_trip.as_micros().div_ceil(1000);
    let found = format!("an answer takes {milliseconds} ms");
    if facts.round_trip > FAR {
        findings.warn(
            "distance",
            found,
            "Run the relay near its database: each request asks it once or twice",
        );
    } else {
        findings.ok("distance", found);
    }
    clocks(facts.ahead, "the database", findings);
    if facts.in_recovery {
        findings.bad("replica", "the server is one, and stores nothing", "Name the primary with --database");
    } else if facts.hears {
        findings.ok("notifications", "one connection hears what another says");
    } else {
        findings.bad(
            "notifications",
            "one connection does not hear what another says: a pooler of transactions is between, it seems",
            SESSION_MODE,
        );
    }
}

fn durability(facts: &PostgresFacts, findings: &mut Findings) {
    const CHECK: &str = "durability";
    let off: Vec<&str> =
        facts.settings.iter().filter(|(_, value)| value == "off").map(|(name, _)| *name).collect();
    let change = |name: &str| format!("Set {name} = on: what was acknowledged could be lost");
    for name in &off {
        let found = format!("{name} is off");
        // The relay starts without this one; some file systems do not need it.
        if *name == "full_page_writes" {
            findings.warn(CHECK, found, change(name));
        } else {
            findings.bad(CHECK, format!("{found}, and the relay does not start on it"), change(name));
        }
    }
    if off.is_empty() {
        let settings: Vec<String> =
            facts.settings.iter().map(|(name, value)| format!("{name} {value}")).collect();
        findings.ok(CHECK, settings.join(", "));
    }
}

fn connections(allowed: i64, findings: &mut Findings) {
    const CHECK: &str = "connections";
    let found = format!("the server allows {allowed}, an instance takes up to {INSTANCE}");
    if allowed < INSTANCE {
        findings.bad(CHECK, found, format!("Set max_connections so that {} are left", 2 * INSTANCE));
    } else if allowed < 2 * INSTANCE {
        findings.warn(
            CHECK,
            found,
            "Raise max_connections before a second instance, or admin commands beside it",
        );
    } else {
        findings.ok(CHECK, found);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Level, *};

    fn healthy() -> PostgresFacts {
        PostgresFacts {
            version: 150_018,
            schema: Schema::Ours(3),
            settings: ["fsync", "synchronous_commit", "full_page_writes"].map(|name| (name, "on".to_owned())),
            connections: 97,
            in_recovery: false,
            round_trip: Duration::from_millis(1),
            ahead: 0,
            hears: true,
        }
    }

    /// What is not well on a server like this.
    fn complaints(change: impl FnOnce(&mut PostgresFacts)) -> Vec<(Level, &'static str)> {
        let (mut facts, mut findings) = (healthy(), Findings::default());
        change(&mut facts);
        postgres(&facts, "postgres://db/name", &mut findings);
        let levels = findings.0.iter().map(|finding| (finding.level, finding.check));
        levels.filter(|(level, _)| *level != Level::Ok).collect()
    }

    #[test]
    fn servers_that_will_not_do() {
        use Level::{Bad, Warn};
        assert_eq!(complaints(|_| ()), []);
        assert_eq!(complaints(|facts| facts.version = 120_022), [(Bad, "PostgreSQL")]);
        assert_eq!(complaints(|facts| facts.settings[0].1 = "off".into()), [(Bad, "durability")]);
        assert_eq!(complaints(|facts| facts.settings[2].1 = "off".into()), [(Warn, "durability")]);
        assert_eq!(complaints(|facts| facts.connections = 10), [(Bad, "connections")]);
        assert_eq!(complaints(|facts| facts.connections = 21), [(Warn, "connections")]);
        assert_eq!(complaints(|facts| facts.round_trip = Duration::from_millis(51)), [(Warn, "distance")]);
        assert_eq!(complaints(|facts| facts.ahead = 6_000_000), [(Bad, "clock")]);
        assert_eq!(complaints(|facts| facts.in_recovery = true), [(Bad, "replica")]);
        assert_eq!(complaints(|facts| facts.hears = false), [(Bad, "notifications")]);
        assert_eq!(complaints(|facts| facts.schema = Schema::Older(2)), [(Warn, "database")]);
    }
}
