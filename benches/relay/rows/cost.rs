//! What it costs that people look for messages while there are none: requests, the relay's core, bytes and the database's
//! wake-ups, counted for one request each and multiplied out to a month.
//!
//! Requests come evenly and are few, as in life: of many at once each takes less of the core.

use std::{process::Command, thread::sleep, time::Duration};

use super::{
    check::NEVER,
    wait::{OTHERS, allow_connections},
};
use crate::{
    Outcome,
    boxes::MailBox,
    figures::{median, number, whole},
    lab::{CONNECTIONS, Lab, rng},
    load::{Client, Pace, Ran},
    postgres::Postgres,
    report::Found,
    requests::Template,
    scripts::About,
    server::Server,
};

/// A month, in seconds: 30 days.
const MONTH: f64 = 30.0 * 86_400.0;

/// How often who polls asks, in seconds.
const POLL_EVERY: f64 = 60.0;

/// Boxes in a check of many: as many as it takes.
const MANY: usize = 100;

/// Requests a second where each is about one box, and where each is about many.
const RATE: f64 = 1_000.0;
const RATE_OF_MANY: f64 = 100.0;

/// How many times as long it is asked about many, so that what PostgreSQL does by itself meanwhile does not look like theirs.
const LONGER: u32 = 5;

/// How long a check waits, in seconds: as long as a relay allows if nothing else is said.
pub(crate) const WAIT: u64 = 25;

/// Checks that wait, of which each is to have a connection of its own.
const WAITERS: usize = 4_000;

/// The time between two sweeps, in seconds, if nothing else is said.
const SWEEP_EVERY: f64 = 60.0;

/// The time between two sweeps of a relay that holds nothing and lets its database sleep, and between two notes that an owner
/// checked, in seconds.
const A_DAY: f64 = 86_400.0;

/// The time between two sweeps, where they are not to count and where they are.
const SELDOM: &str = "1h";
const OFTEN: &str = "1s";

/// How long a relay has to start, with its first sweep.
const SETTLED: Duration = Duration::from_millis(500);

/// How long a database stays awake after the last transaction, in seconds, before it falls asleep.
const FALLS_ASLEEP: f64 = 300.0;

/// Where the relay keeps what it has.
struct Kind {
    name: &'static str,
    database: &'static str,
    postgres: bool,
    options: &'static [&'static str],
}

const KINDS: [Kind; 3] = [
    Kind { name: "SQLite", database: "cost_sqlite", postgres: false, options: &[] },
    Kind { name: "PostgreSQL", database: "cost_postgres", postgres: true, options: &[] },
    Kind {
        name: "PostgreSQL, `--sole-instance`",
        database: "cost_sole",
        postgres: true,
        options: &["--sole-instance"],
    },
];

impl Kind {
    /// Whether the relay lets its database sleep.
    fn sleeps(&self) -> bool {
        self.options.contains(&"--sole-instance")
    }
}

/// What somebody does again and again.
struct Habit {
    name: &'static str,
    request: &'static str,
    /// Requests a month.
    requests: f64,
    /// Contacts that each request is about.
    contacts: f64,
}

const HABITS: [Habit; 3] = [
    Habit {
        name: "polled once a minute",
        request: "`check` of one box",
        requests: MONTH / POLL_EVERY,
        contacts: 1.0,
    },
    Habit {
        name: "one of 100 in a check once a minute",
        request: "`check` of 100 boxes",
        requests: MONTH / POLL_EVERY,
        contacts: MANY as f64,
    },
    Habit {
        name: "waited for, 25 s after 25 s",
        request: "`check` that waits 25 s",
        requests: MONTH / WAIT as f64,
        contacts: 1.0,
    },
];

/// What one request takes, on average.
struct Each {
    counted: usize,
    /// Of the relay's core, seconds.
    core: f64,
    /// Bytes at the client, heads included.
    sent: f64,
    received: f64,
    /// That reach the database; none is counted on SQLite.
    transactions: Option<f64>,
    /// The median, seconds.
    latency: f64,
}

/// What a relay takes that nobody asks, in a month.
struct Idle {
    core: f64,
    transactions: Option<f64>,
}

/// What one contact takes in a month.
struct Monthly {
    requests: f64,
    core: f64,
    bytes: f64,
    transactions: Option<f64>,
}

impl Each {
    fn a_month(&self, habit: &Habit) -> Monthly {
        let requests = habit.requests / habit.contacts;
        Monthly {
            requests,
            core: requests * self.core,
            bytes: requests * (self.sent + self.received),
            transactions: self.transactions.map(|each| requests * each),
        }
    }
}

pub(crate) fn measure(lab: &Lab) -> Outcome<Found> {
    let waiters = WAITERS.min(lab.extent.waiters);
    allow_connections(waiters as u64 + OTHERS)?;
    let costs = KINDS.iter().map(|kind| Ok((kind, Cost::of(lab, kind, waiters)?)));
    let costs: Vec<(&Kind, Cost)> = costs.collect::<Outcome<_>>()?;
    Ok(Found { lines: Vec::new(), text: text(&costs) })
}

/// All that was counted of one kind of relay.
struct Cost {
    habits: Vec<Each>,
    idle: Idle,
}

impl Cost {
    fn of(lab: &Lab, kind: &Kind, waiters: usize) -> Outcome<Self> {
        let relays = Relays::new(lab, kind)?;
        let boxes = lab.boxes(waiters.max(CONNECTIONS));
        let others = lab.boxes(MANY - 1);
        // Boxes as life has them: there is one as soon as somebody sent to it, and its owner has seen the message.
        let relay = relays.start(SELDOM)?;
        let all: Vec<MailBox> = boxes.iter().chain(&others).cloned().collect();
        lab.side(relay)?.send_to(&Template::send(&mut rng()), &all)?;

        let length = lab.extent.length * u32::try_from(lab.extent.rounds)?;
        let (one, many) = (&Template::check(NEVER), &Template::check_many(&others, NEVER));
        let habits = vec![
            relays.count(one, one, &boxes[..CONNECTIONS], RATE, length)?,
            relays.count(many, many, &boxes[..CONNECTIONS], RATE_OF_MANY, length * LONGER)?,
            relays.count_waits(&boxes[..waiters], lab.extent.wait)?,
        ];
        Ok(Self { habits, idle: relays.idle(length.max(SETTLED * 6))? })
    }
}

/// Relays of one kind on one database, one after the other.
struct Relays<'a> {
    lab: &'a Lab,
    kind: &'a Kind,
    url: String,
    postgres: Option<&'a Postgres>,
}

impl<'a> Relays<'a> {
    fn new(lab: &'a Lab, kind: &'a Kind) -> Outcome<Self> {
        let postgres = if kind.postgres { Some(lab.postgres()?) } else { None };
        let url = match postgres {
            Some(postgres) => postgres.create(kind.database)?,
            None => format!("sqlite://{}", lab.file(kind.database).display()),
        };
        Ok(Self { lab, kind, url, postgres })
    }

    /// A relay on the server's core that sweeps this often.
    fn start(&self, sweep_every: &str) -> Outcome<Server> {
        let options = [self.kind.options, &["--sweep-interval", sweep_every]].concat();
        let log = self.lab.file(&format!("{}.log", self.kind.database));
        Server::relay(Command::new(&self.lab.program), Some(self.lab.cores), &self.url, &log, &options)
    }

    /// Does it, and counts the transactions that reach the database meanwhile. Nobody is connected to it before and after.
    fn transactions<T>(&self, work: impl FnOnce() -> Outcome<T>) -> Outcome<(T, Option<f64>)> {
        let count = || self.postgres.map(|postgres| postgres.transactions(self.kind.database)).transpose();
        let before = count()?;
        let done = work()?;
        Ok((done, count()?.zip(before).map(|(after, before)| (after - before) as f64)))
    }

    /// Counts these requests, so many a second, on a connection for each of the boxes; after `first` on each.
    fn count(
        &self,
        first: &Template,
        template: &Template,
        boxes: &[MailBox],
        rate: f64,
        length: Duration,
    ) -> Outcome<Each> {
        let expect = r#""found":false"#;
        let script = |template, again| About { template, boxes, next: 0, again, messages: false, expect };
        let attempt = |length: Option<Duration>| -> Outcome<Option<Ran>> {
            let relay = self.start(SELDOM)?;
            let mut client = Client::connect(&relay, boxes.len())?;
            // What it takes that a connection is new, or a statement, is not counted.
            client.run(&relay, &mut script(first, false), Pace::Closed, Duration::MAX)?;
            let ran = length
                .map(|length| client.run(&relay, &mut script(template, true), Pace::Open(rate), length))
                .transpose()?;
            drop(client);
            relay.stop()?;
            Ok(ran)
        };
        // All but the requests that count: start, connections, end.
        let (_, without) = self.transactions(|| attempt(None))?;
        let (ran, with) = self.transactions(|| attempt(Some(length)))?;
        let ran = ran.ok_or("nothing was asked")?;
        let counted = ran.replies.len();
        let each = |sum: f64| sum / counted as f64;
        Ok(Each {
            counted,
            core: each(ran.server.as_secs_f64()),
            sent: each(ran.sent as f64),
            received: each(ran.received as f64),
            // To a hundredth: PostgreSQL cleans up by itself now and then, and what a connection prepares is a transaction too. So
            // what costs none may come out below none.
            transactions: with
                .zip(without)
                .map(|(with, without)| (each((with - without).max(0.0)) * 100.0).round() / 100.0),
            latency: median(ran.replies.iter().map(|(_, latency)| latency.as_secs_f64())),
        })
    }

    /// Counts checks that wait so many seconds, one on each connection.
    fn count_waits(&self, boxes: &[MailBox], wait: u64) -> Outcome<Each> {
        let length = Duration::from_secs_f64(boxes.len() as f64 / RATE);
        let each = self.count(&Template::check(NEVER), &Template::wait(NEVER, wait), boxes, RATE, length)?;
        if each.latency < wait as f64 {
            return Err(format!("the relay let checks wait {} s instead of {wait}", each.latency).into());
        }
        Ok(each)
    }

    /// What a relay takes by itself, with its sweeps as often as they are if nothing else is said.
    fn idle(&self, length: Duration) -> Outcome<Idle> {
        // Sweeps in all, and the share of its core.
        let attempt = |sweep_every| -> Outcome<(f64, f64)> {
            let relay = self.start(sweep_every)?;
            sleep(SETTLED);
            let before = relay.cpu_time_of_threads()?;
            sleep(length);
            let used = relay.cpu_time_of_threads()? - before;
            let sweeps = relay.metric("connectoid_sweeps_total{result=\"ok\"}")?;
            relay.stop()?;
            Ok((sweeps, used.as_secs_f64() / length.as_secs_f64()))
        };
        let ((once, seldom), without) = self.transactions(|| attempt(SELDOM))?;
        let ((many, often), with) = self.transactions(|| attempt(OFTEN))?;
        let sweeps = MONTH / if self.kind.sleeps() { A_DAY } else { SWEEP_EVERY };
        Ok(Idle {
            // Often is once a second.
            core: MONTH * seldom + sweeps * (often - seldom).max(0.0),
            transactions: with
                .zip(without)
                .map(|(with, without)| sweeps * ((with - without) / (many - once)).round()),
        })
    }
}

fn text(costs: &[(&Kind, Cost)]) -> String {
    let mut month = "In a month of 30 days, for one contact:\n\n\
        | a contact that is | on | requests | seconds of the relay's core | MB | transactions of the database | hours it is awake |\n|---|---|---|---|---|---|---|\n"
        .to_owned();
    let mut counted = "Counted for one request:\n\n\
        | request | on | requests counted | µs of the relay's core | bytes of the request | bytes of the reply | transactions |\n|---|---|---|---|---|---|---|\n"
        .to_owned();
    for (n, habit) in HABITS.iter().enumerate() {
        for (kind, cost) in costs {
            let each = &cost.habits[n];
            let Monthly { requests, core, bytes, transactions } = each.a_month(habit);
            // Too seldom to be counted in seconds: the first check of a box in a day.
            let notes = if kind.sleeps() { MONTH / A_DAY } else { 0.0 };
            let transactions = transactions.map(|transactions| transactions + notes);
            month += &format!(
                "| {} | {} | {} | {} | {} | {} | {} |\n",
                habit.name,
                kind.name,
                number(requests),
                number(core),
                number(bytes / 1e6),
                or_none(transactions),
                or_none(transactions.map(|each| awake(each * habit.contacts))),
            );
            // All that was counted of the core's time: others reckon with it.
            counted += &format!(
                "| {} | {} | {} | {:.1} | {} | {} | {} |\n",
                habit.request,
                kind.name,
                whole(each.counted as f64),
                each.core * 1e6,
                number(each.sent),
                number(each.received),
                or_none(each.transactions),
            );
        }
    }
    for (kind, Cost { idle, .. }) in costs {
        month += &format!(
            "| nobody: the relay by itself | {} | 0 | {} | 0 | {} | {} |\n",
            kind.name,
            number(idle.core),
            or_none(idle.transactions),
            or_none(idle.transactions.map(awake)),
        );
    }
    format!("{month}\n{counted}\n{}", tiers(costs))
}

fn or_none(value: Option<f64>) -> String {
    value.map_or("–".to_owned(), number)
}

/// The hours of a month in which a database is awake that so many transactions reach, evenly.
fn awake(transactions: f64) -> f64 {
    MONTH.min(transactions * FALLS_ASLEEP) / 3600.0
}

/// What free tiers carry, in general terms.
fn tiers(costs: &[(&Kind, Cost)]) -> String {
    // How many contacts of each habit a month of so much carries.
    let carried = |much: f64, cost: &Cost, of: fn(&Monthly) -> f64| {
        let contacts: Vec<String> = HABITS
            .iter()
            .zip(&cost.habits)
            .map(|(habit, each)| whole(much / of(&each.a_month(habit))))
            .collect();
        let [polled, many, waited] = [0, 1, 2].map(|n| contacts.get(n).map_or("", String::as_str));
        format!(
            "{polled} contacts that are polled once a minute, or {many} in checks of 100, or {waited} that are waited for"
        )
    };
    let mut text = "What that makes of a free tier:\n\n".to_owned();
    if let Some((_, cost)) = costs.first() {
        text +=
            &format!("- 2 million requests a month carry {}.\n", carried(2e6, cost, |month| month.requests));
        text += &format!(
            "- 1 GB a month, both ways together, carries {}.\n",
            carried(1e9, cost, |month| month.bytes)
        );
    }
    for (kind, cost) in costs {
        text += &format!(
            "- 50 hours of a core a month, less what the relay takes by itself, carry on {} {}.\n",
            kind.name,
            carried(180_000.0 - cost.idle.core, cost, |month| month.core),
        );
    }
    let wakes = 100.0 * 3600.0 / FALLS_ASLEEP;
    text += &format!(
        "- 100 hours a month of a database that falls asleep after {} minutes carry {} transactions far from each other, one in {} minutes. \
         Whatever reaches it more often than every {} minutes keeps it awake all the {} hours of the month.\n",
        whole(FALLS_ASLEEP / 60.0),
        whole(wakes),
        whole(MONTH / 60.0 / wakes),
        whole(FALLS_ASLEEP / 60.0),
        whole(MONTH / 3600.0),
    );
    text += &format!(
        "- Where the time counts in which a request is open, one contact that is waited for takes all the {} hours, and as many as wait at one \
         instance at the same time take no more.\n",
        whole(MONTH / 3600.0),
    );
    text
}
