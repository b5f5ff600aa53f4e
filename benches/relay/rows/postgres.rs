//! `send`, `check` and `receive` on PostgreSQL, beside pgbench doing the same statements: what the relay adds to the database,
//! or, where it stores many messages with one commit, saves.
//!
//! PostgreSQL alone has the server's core in both cases. Who asks it has the other one: pgbench, or the relay together with
//! the client that asks the relay.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use connectoid::protocol::{base64url, limits};
use rand::Rng as _;

use super::{check::NEVER, receive::BOXES};
use crate::{
    Outcome,
    boxes::MailBox,
    figures::{Speed, median, number, percent},
    lab::{Lab, Side, rng, sends},
    load,
    pgbench::{self, Ran},
    report::{Found, Line, Mark},
    requests::{MESSAGE_BYTES, Template},
    scripts::{About, Asking, Receiving},
    server::Server,
};

/// Boxes made for a round, by the second; with fewer it would end early.
const A_SECOND: f64 = 45_000.0;

/// Boxes that are checked again and again.
const CHECKED: usize = 1024;

/// How long the relay keeps a message if nothing else is said, in microseconds.
const MESSAGE_TTL: &str = "3600000000";

pub(crate) fn send(lab: &Lab) -> Outcome<Found> {
    let mut relay = Beside::new(lab, "send")?;
    let template = &Template::send(&mut rng());
    let data = message();
    let (messages, bytes) = (limits::BOX_MESSAGES.to_string(), limits::BOX_BYTES.to_string());
    let share = limits::BOX_MESSAGES_PER_SENDER.to_string();
    let variables = [
        ("data", data.as_str()),
        ("message_ttl", MESSAGE_TTL),
        ("box_messages", &messages),
        ("box_bytes", &bytes),
        ("share", &share),
    ];
    let rounds = lab.rounds(|| {
        let pgbench = relay.pgbench(&variables)?;
        let boxes = lab.boxes_for_a_round(A_SECOND);
        Ok((pgbench, relay.run(|side| side.run(&mut sends(template, &boxes)))?))
    })?;
    // Both wait for the disk: that no core was busy says nothing.
    Ok(found("PostgreSQL: send", &rounds, false))
}

pub(crate) fn check(lab: &Lab) -> Outcome<Found> {
    let mut relay = Beside::new(lab, "check")?;
    let boxes = lab.boxes(CHECKED);
    relay.fill(&boxes)?;
    let count = CHECKED.to_string();
    let variables = [("boxes", count.as_str())];
    let (template, expect) = (&Template::check(NEVER), r#""found":false"#);
    let rounds = lab.rounds(|| {
        let pgbench = relay.pgbench(&variables)?;
        let script = &mut About { template, boxes: &boxes, next: 0, again: true, messages: false, expect };
        Ok((pgbench, relay.run(|side| side.run(script))?))
    })?;
    Ok(found("PostgreSQL: check", &rounds, true))
}

pub(crate) fn receive(lab: &Lab) -> Outcome<Found> {
    let mut relay = Beside::new(lab, "receive")?;
    let boxes = lab.boxes(BOXES);
    relay.fill(&boxes)?;
    let count = BOXES.to_string();
    let variables = [("boxes", count.as_str()), ("message_ttl", MESSAGE_TTL), ("at", "0"), ("limit", "1")];
    let (check, template) = (Template::check(0), &Template::receive());
    let rounds = lab.rounds(|| {
        let pgbench = relay.pgbench(&variables)?;
        // An answer counts for a minute.
        let mut asking = Asking::new(&check, &boxes);
        relay.side.all(&mut asking)?;
        let answers = asking.answers()?;
        let script = &mut Receiving { template, boxes: &boxes, answers: &answers, next: 0, again: true };
        Ok((pgbench, relay.run(|side| side.run(script))?))
    })?;
    Ok(found("PostgreSQL: receive", &rounds, true))
}

/// A message of as many bytes as the relay's, in letters that PostgreSQL takes as they are.
fn message() -> String {
    let mut message = [0; MESSAGE_BYTES / 4 * 3];
    rng().fill_bytes(&mut message);
    base64url::encode(message)
}

/// A relay and pgbench, on one database.
struct Beside<'a> {
    lab: &'a Lab,
    side: Side,
    url: String,
    script: PathBuf,
}

impl<'a> Beside<'a> {
    /// On a new database with the name of the script.
    fn new(lab: &'a Lab, name: &str) -> Outcome<Self> {
        let url = lab.postgres()?.create(name)?;
        let log = lab.file(&format!("postgres-{name}.log"));
        let side = lab.side(Server::relay(Command::new(&lab.program), None, &url, &log, &[])?)?;
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/relay/rows/postgres");
        Ok(Self { lab, side, url, script: scripts.join(name).with_extension("sql") })
    }

    /// A message into each of these boxes, and into as many that pgbench knows: the number of each is its name.
    fn fill(&mut self, boxes: &[MailBox]) -> Outcome<()> {
        self.side.send_to(&Template::send(&mut rng()), boxes)?;
        let fill = format!(
            "insert into boxes (pub, last_at, seen_at)
             select cast(lpad(cast(n as text), 49, '0') as bytea), now, now from generate_series(1, {}) as n, clock;
             insert into messages (box, at, stored_at, tag, data)
             select id, last_at, last_at, id, cast('{}' as bytea) from boxes where id not in (select box from messages);
             analyze",
            boxes.len(),
            message(),
        );
        self.lab.postgres()?.execute(&self.url, fill)
    }

    fn pgbench(&self, variables: &[(&str, &str)]) -> Outcome<Ran> {
        pgbench::run(self.lab.postgres()?, &self.url, &self.script, variables, self.lab.extent.length)
    }

    /// What the relay does, and the time that PostgreSQL used of its core meanwhile, in seconds.
    fn run(&mut self, ask: impl FnOnce(&mut Side) -> Outcome<load::Ran>) -> Outcome<(load::Ran, f64)> {
        let postgres = self.lab.postgres()?;
        let before = postgres.cpu_time()?;
        let ran = ask(&mut self.side)?;
        Ok((ran, postgres.cpu_time()?.saturating_sub(before).as_secs_f64()))
    }
}

/// `busy`: whether pgbench keeps a core busy all the time, if nothing else does.
fn found(part: &'static str, rounds: &[(Ran, (load::Ran, f64))], busy: bool) -> Found {
    let relay = Speed::of(rounds.iter().map(|(_, (relay, _))| relay));
    let sum = |of: fn(&Ran) -> f64| rounds.iter().map(|(pgbench, _)| of(pgbench)).sum::<f64>();
    let (times, took) = (sum(|ran| ran.times), sum(|ran| ran.took.as_secs_f64()));
    let (own, theirs) = (sum(|ran| ran.pgbench.as_secs_f64()), sum(|ran| ran.postgres.as_secs_f64()));
    let replies: usize = rounds.iter().map(|(_, (ran, _))| ran.replies.len()).sum();
    let postgres: f64 = rounds.iter().map(|(_, (_, postgres))| postgres).sum();
    let figures = format!(
        "{}/s of {}/s; of PostgreSQL's core {} µs for each, of {}; of the other one {} µs by the relay and {} by the client, of {} by pgbench; PostgreSQL's core was busy {}, of {}; p50 {} ms, p99 {} ms",
        number(relay.rate),
        number(median(rounds.iter().map(|(pgbench, _)| rate(pgbench)))),
        number(postgres * 1e6 / replies as f64),
        number(theirs * 1e6 / times),
        number(relay.cpu),
        number(relay.own),
        number(own * 1e6 / times),
        percent(postgres / rounds.iter().map(|(_, (ran, _))| ran.took.as_secs_f64()).sum::<f64>()),
        percent(theirs / took),
        number(relay.p50),
        number(relay.p99),
    );
    Found::line(Line {
        part,
        against: "pgbench doing the same",
        value: median(rounds.iter().map(|(pgbench, (relay, _))| relay.rate() / rate(pgbench))),
        unit: "",
        mark: Mark::at_least(0.5, 0.8),
        figures,
        disturbed: busy && own.max(theirs) < 0.9 * took,
    })
}

/// Runs of the script a second.
fn rate(ran: &Ran) -> f64 {
    ran.times / ran.took.as_secs_f64()
}
