//! `connectoid prune`: the relay's sweep, for platforms where no relay runs long enough to do it.

use std::time::Duration;

use clap::Args;

use super::{
    Failure,
    database::{Database, NO_DATABASE, wait_for},
    print_line,
    serve::at_least_a_second,
};
use crate::{
    relay::sweep_all,
    store::{self, Keep, OpenError, Swept},
};

/// Delete what has expired, for cron where the relay sleeps
///
/// A relay that runs does this by itself. On SQLite the relay must not run; on PostgreSQL it may.
#[derive(Args)]
pub(super) struct Prune {
    #[command(flatten)]
    database: Database,

    /// How long a message is kept, as the relay has it
    #[arg(long, env = "CONNECTOID_MESSAGE_TTL", value_name = "TIME", default_value = "1h", value_parser = at_least_a_second)]
    message_ttl: Duration,

    /// How long a box is kept that nobody checks, as the relay has it
    #[arg(long, env = "CONNECTOID_BOX_TTL", value_name = "TIME", default_value = "30d", value_parser = at_least_a_second)]
    box_ttl: Duration,
}

impl Prune {
    pub(super) fn run(self) -> Result<(), Failure> {
        let keep =
            Keep { message_ttl: self.message_ttl, box_ttl: self.box_ttl, box_cap: None, max_bytes: None };
        let Swept { messages, boxes } = wait_for(prune(&self.database.url(), keep))?;
        print_line(format!(
            "deleted {messages} message{} and {boxes} box{}",
            if messages == 1 { "" } else { "s" },
            if boxes == 1 { "" } else { "es" },
        ))
    }
}

async fn prune(url: &str, keep: Keep) -> Result<Swept, Failure> {
    // Opening to write would make a database that is not there, and migrate one that older instances use.
    store::open_admin(url).await?.close().await;
    let store = store::open(url, keep, store::Role::Visitor, None).await.map_err(|error| match error {
        OpenError::Locked(path) => Failure::with(
            NO_DATABASE,
            format!("{} is in use by a relay, which sweeps by itself: nothing is to be done", path.display()),
        ),
        other => other.into(),
    })?;
    let swept = sweep_all(&*store).await;
    store.close().await;
    Ok(swept?)
}
