//! The database that a relay and its operator's commands share.

use clap::Args;

use super::{Failure, profile::Profile, variable};
use crate::store::{OpenError, StoreError};

/// Where the relay keeps its messages.
#[derive(Args)]
pub(super) struct Database {
    /// sqlite://PATH, sqlite::memory: (gone with the process) or postgres://USER:PASSWORD@HOST/NAME [default:
    /// $DATABASE_URL, else that of the profile, else sqlite://connectoid.db]
    #[arg(
        long,
        env = "CONNECTOID_DATABASE",
        value_name = "URL",
        hide_env_values = true,
        hide_default_value = true
    )]
    database: Option<String>,

    /// Where the relay runs, for defaults that are right there. What is set otherwise counts, by an option or a variable
    #[arg(long, env = "CONNECTOID_PROFILE", value_name = "PROFILE")]
    pub(super) profile: Option<Profile>,
}

const DEFAULT_DATABASE: &str = "sqlite://connectoid.db";

impl Database {
    /// The database's URL, as far as one is given.
    pub(super) fn given(&self) -> Option<String> {
        self.database.clone().or_else(|| variable("DATABASE_URL"))
    }

    pub(super) fn url(self) -> String {
        self.given().unwrap_or_else(|| DEFAULT_DATABASE.to_owned())
    }
}

/// The exit code where a database cannot be used.
pub(super) const NO_DATABASE: u8 = 11;

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let code = if let OpenError::NewerSchema(_) = error { 12 } else { NO_DATABASE };
        Self::with(code, error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::with(NO_DATABASE, error)
    }
}

/// Runs a command that talks to a database.
pub(super) fn wait_for<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(Failure::new)?.block_on(work)
}
