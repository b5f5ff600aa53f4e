//! `connectoid admin`: what an operator does with a relay's database, also while the relay runs.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use rand::Rng as _;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::signal::unix::{SignalKind, signal};

use super::{
    Failure,
    contacts::date,
    database::{Database, NO_DATABASE, wait_for},
    entropy,
    link::nickname,
    now_ms, print_json, print_line, say,
    serve::at_least_a_second,
    size::size,
    there_is,
};
use crate::{
    protocol::base64url,
    store::{self, Admin, BackupError, NamedKey, Quota, open_admin},
};

#[derive(Subcommand)]
pub(super) enum AdminCommand {
    /// API keys for `serve --require-api-key`
    Keys {
        #[command(subcommand)]
        command: KeysCommand,
    },
    Stats(Stats),
    Backup(Backup),
}

#[derive(Subcommand)]
pub(super) enum KeysCommand {
    Add(Add),
    List(List),
    Revoke(Revoke),
    Usage(Usage),
}

/// Make an API key and print it, this once
///
/// Only its hash is kept. A relay that runs takes it within 5 seconds. connectoid link --api-key KEY makes a link that
/// carries it: who sends to the link uses the key, too.
#[derive(Args)]
pub(super) struct Add {
    #[command(flatten)]
    database: Database,
    /// What you call it: 1 to 64 characters, another name for each key
    #[arg(value_parser = nickname)]
    name: String,
    /// Requests it allows in a day (UTC) [default: no limit]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    requests_per_day: Option<u32>,
    /// Bytes of messages it allows to send in a day (UTC), as 10MB or 10MiB, before base64url [default: no limit]
    #[arg(long, value_name = "SIZE", value_parser = some_bytes)]
    bytes_per_day: Option<u64>,
    /// Boxes that may be there at once that were made with it [default: no limit]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    boxes: Option<u32>,
}

fn some_bytes(text: &str) -> Result<u64, String> {
    let bytes = size(text)?;
    (bytes > 0).then_some(bytes).ok_or_else(|| "expected 1 byte or more".to_owned())
}

/// List the API keys and what they allow
#[derive(Args)]
pub(super) struct List {
    #[command(flatten)]
    database: Database,
    /// One line of JSON per key
    #[arg(long)]
    json: bool,
}

/// Make an API key count no more
///
/// A relay that runs refuses it within 5 seconds. What is in its boxes stays.
#[derive(Args)]
pub(super) struct Revoke {
    #[command(flatten)]
    database: Database,
    /// The key's name
    name: String,
}

/// Show what is used of the API keys, by day (UTC)
///
/// A relay that runs adds to it every 5 seconds.
#[derive(Args)]
pub(super) struct Usage {
    #[command(flatten)]
    database: Database,
    /// One key's only
    name: Option<String>,
    /// How many days, with today
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..))]
    days: u16,
    /// One line of JSON per key
    #[arg(long)]
    json: bool,
}

/// Count what the database holds
#[derive(Args)]
pub(super) struct Stats {
    #[command(flatten)]
    database: Database,
    /// How long a message is kept, as the relay has it
    #[arg(long, env = "CONNECTOID_MESSAGE_TTL", value_name = "TIME", default_value = "1h", value_parser = at_least_a_second)]
    message_ttl: Duration,
    /// As one line of JSON
    #[arg(long)]
    json: bool,
}

/// Copy a database on SQLite into a new file, also while the relay runs
///
/// The copy is of one moment, and is read through before it gets its name. It holds the relay's secret: nobody but you may read
/// it. To restore it, stop the relay, delete the database's -wal and -shm files, and put the copy in the database's place: a -wal
/// that is left lies over the copy. On PostgreSQL use pg_dump.
#[derive(Args)]
pub(super) struct Backup {
    #[command(flatten)]
    database: Database,
    /// The copy; nothing is overwritten
    #[arg(value_name = "FILE")]
    to: PathBuf,
}

impl AdminCommand {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Keys { command: KeysCommand::Add(add) } => add.run(),
            Self::Keys { command: KeysCommand::List(list) } => list.run(),
            Self::Keys { command: KeysCommand::Revoke(revoke) } => revoke.run(),
            Self::Keys { command: KeysCommand::Usage(usage) } => usage.run(),
            Self::Stats(stats) => stats.run(),
            Self::Backup(backup) => backup.run(),
        }
    }
}

/// Does something with the relay's database.
fn on(database: Database, work: impl AsyncFnOnce(&dyn Admin) -> Result<(), Failure>) -> Result<(), Failure> {
    wait_for(async {
        let admin = open_admin(&database.url()).await?;
        let done = work(&*admin).await;
        admin.close().await;
        done
    })
}

impl Add {
    fn run(self) -> Result<(), Failure> {
        let mut key = [0; 32];
        entropy()?.fill_bytes(&mut key);
        let quota = Quota {
            requests_per_day: self.requests_per_day.map(i64::from),
            bytes_per_day: self.bytes_per_day.and_then(|bytes| i64::try_from(bytes).ok()),
            boxes: self.boxes.map(i64::from),
        };
        let hash = Sha256::digest(key).into();
        let name = self.name;
        on(self.database, async |admin| {
            if !admin.add_api_key(name.clone(), hash, quota).await? {
                return Err(Failure::new(format!(
                    "there is an API key {name:?} already: choose another name"
                )));
            }
            print_line(base64url::encode(key))?;
            say("it is not shown again; connectoid link --api-key KEY makes a link that carries it");
            Ok(())
        })
    }
}

/// A key as it is listed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row<'a> {
    name: &'a str,
    made: String,
    revoked: Option<String>,
    requests_per_day: Option<i64>,
    bytes_per_day: Option<i64>,
    boxes: Option<i64>,
}

impl<'a> Row<'a> {
    fn of(key: &'a NamedKey) -> Self {
        let Quota { requests_per_day, bytes_per_day, boxes } = key.quota;
        Self {
            name: &key.name,
            made: moment(key.created_at),
            revoked: key.revoked_at.map(moment),
            requests_per_day,
            bytes_per_day,
            boxes,
        }
    }
}

impl List {
    fn run(self) -> Result<(), Failure> {
        on(self.database, async |admin| {
            let keys = admin.api_keys().await?;
            if self.json {
                return keys.iter().try_for_each(|key| print_json(&Row::of(key)));
            }
            if keys.is_empty() {
                say("no API keys yet: make one with connectoid admin keys add NAME");
                return Ok(());
            }
            print_keys(&keys)
        })
    }
}

fn print_keys(keys: &[NamedKey]) -> Result<(), Failure> {
    let quota = |most: Option<i64>| most.map_or("-".to_owned(), |most| most.to_string());
    let rows = keys.iter().map(Row::of).map(|row| {
        let state = row.revoked.map_or("counts".to_owned(), |date| format!("revoked {date}"));
        let (requests, bytes) = (quota(row.requests_per_day), quota(row.bytes_per_day));
        [row.name.to_owned(), row.made, state, requests, bytes, quota(row.boxes)]
    });
    print_table(["NAME", "MADE", "STATE", "REQUESTS/DAY", "BYTES/DAY", "BOXES"], rows)
}

impl Revoke {
    fn run(self) -> Result<(), Failure> {
        on(self.database, async |admin| {
            if !admin.revoke_api_key(self.name.clone()).await? {
                return Err(no_such_key(&self.name, &admin.api_keys().await?));
            }
            say("revoked; a relay that runs refuses it within 5 seconds");
            Ok(())
        })
    }
}

/// What was used of a key.
#[derive(Serialize)]
struct Account<'a> {
    name: &'a str,
    boxes: i64,
    /// Those on which it was used, oldest first.
    days: Vec<Day>,
}

#[derive(Serialize)]
struct Day {
    day: String,
    requests: i64,
    bytes: i64,
}

impl Usage {
    fn run(self) -> Result<(), Failure> {
        on(self.database, async |admin| {
            let mut keys = admin.api_keys().await?;
            if let Some(name) = &self.name {
                if !keys.iter().any(|key| key.name == *name) {
                    return Err(no_such_key(name, &keys));
                }
                keys.retain(|key| key.name == *name);
            }
            let accounts = accounts(admin, &keys, self.days).await?;
            if self.json { accounts.iter().try_for_each(print_json) } else { print_accounts(accounts) }
        })
    }
}

fn print_accounts(accounts: Vec<Account<'_>>) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for Account { name, boxes, mut days } in accounts {
        if days.is_empty() {
            days.push(Day { day: "-".to_owned(), requests: 0, bytes: 0 });
        }
        rows.extend(days.into_iter().map(|Day { day, requests, bytes }| {
            [name.to_owned(), day, requests.to_string(), bytes.to_string(), boxes.to_string()]
        }));
    }
    print_table(["NAME", "DAY", "REQUESTS", "BYTES", "BOXES NOW"], rows.into_iter())
}

async fn accounts<'a>(
    admin: &dyn Admin,
    keys: &'a [NamedKey],
    days: u16,
) -> Result<Vec<Account<'a>>, Failure> {
    const DAY_MS: u64 = 86_400_000;
    let today = i64::try_from(now_ms() / DAY_MS).unwrap_or(0);
    let usage = admin.usage(today - i64::from(days) + 1).await?;
    let accounts = keys.iter().map(|key| {
        let days = usage.iter().filter(|usage| usage.key == key.id).map(|usage| {
            let mut day = date(u64::try_from(usage.day).unwrap_or(0).saturating_mul(DAY_MS));
            day.truncate("2026-11-20".len());
            Day { day, requests: usage.used.requests, bytes: usage.used.bytes }
        });
        Account { name: &key.name, boxes: key.boxes, days: days.collect() }
    });
    Ok(accounts.collect())
}

/// What the database holds, as it is shown.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Figures {
    boxes: i64,
    messages: i64,
    message_bytes: i64,
    /// Seconds; null without messages.
    oldest_message: Option<i64>,
    /// Messages.
    expired_not_swept: i64,
    api_keys: i64,
    revoked_api_keys: i64,
    schema: i64,
}

impl Stats {
    fn run(self) -> Result<(), Failure> {
        on(self.database, async |admin| {
            let figures = Figures::of(admin.stats(self.message_ttl).await?);
            if self.json { print_json(&figures) } else { figures.print() }
        })
    }
}

impl Figures {
    fn of(stats: store::Stats) -> Self {
        Self {
            boxes: stats.boxes,
            messages: stats.messages,
            message_bytes: stats.bytes,
            oldest_message: stats.oldest.map(|age| age / 1_000_000),
            expired_not_swept: stats.expired,
            api_keys: stats.api_keys,
            revoked_api_keys: stats.revoked_api_keys,
            schema: stats.schema,
        }
    }

    fn print(&self) -> Result<(), Failure> {
        let oldest = self.oldest_message.map_or("-".to_owned(), |age| {
            humantime::format_duration(Duration::from_secs(u64::try_from(age).unwrap_or(0))).to_string()
        });
        print_line(format!("boxes              {}", self.boxes))?;
        print_line(format!("messages           {}", self.messages))?;
        print_line(format!("bytes of messages  {}", self.message_bytes))?;
        print_line(format!("oldest message     {oldest}"))?;
        print_line(format!("expired, not swept {}", self.expired_not_swept))?;
        print_line(format!("API keys           {}", self.api_keys))?;
        print_line(format!("revoked API keys   {}", self.revoked_api_keys))?;
        print_line(format!("schema             {}", self.schema))
    }
}

impl Backup {
    fn run(self) -> Result<(), Failure> {
        let (url, to) = (self.database.url(), self.to);
        let made = wait_for(async {
            let mut term = signal(SignalKind::terminate()).map_err(Failure::new)?;
            let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::new)?;
            tokio::select! {
                made = store::backup(&url, &to) => Ok(made?),
                _ = term.recv() => Err(Failure::with(Failure::INTERRUPTED, "stopped: there is no backup")),
                _ = interrupt.recv() => Err(Failure::with(Failure::INTERRUPTED, "stopped: there is no backup")),
            }
        })?;
        let store::Backup { bytes, boxes, messages } = made;
        say(&format!(
            "{} is a backup: {boxes} box{}, {messages} message{}, {bytes} bytes",
            to.display(),
            if boxes == 1 { "" } else { "es" },
            if messages == 1 { "" } else { "s" },
        ));
        Ok(())
    }
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        match error {
            BackupError::Open(error) => error.into(),
            BackupError::File { .. } => Self::new(error),
            BackupError::Postgres | BackupError::Store(_) | BackupError::Damaged(_) => {
                Self::with(NO_DATABASE, error)
            }
        }
    }
}

fn no_such_key(name: &str, keys: &[NamedKey]) -> Failure {
    let others = there_is(keys.iter().map(|key| key.name.as_str()));
    Failure::with(Failure::NOTHING, format!("there is no API key {name:?}{others}"))
}

/// Unix microseconds as RFC 3339, to the second.
fn moment(micros: i64) -> String {
    date(u64::try_from(micros / 1000).unwrap_or(0))
}

/// Columns under their heads, as wide as they need to be.
fn print_table<const N: usize>(
    heads: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> Result<(), Failure> {
    let mut lines = vec![heads.map(str::to_owned)];
    lines.extend(rows);
    let widths: Vec<usize> = (0..N)
        .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0))
        .collect();
    for line in lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        print_line(cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}
