//! The database that a relay and its operator's commands share.

use clap::Args;

use super::{Failure, variable};
use crate::store::{OpenError, StoreError};

/// Where the relay keeps its messages.
#[derive(Args)]
pub(super) struct Database {
    /// sqlite://PATH, sqlite::memory: (gone with the process) or postgres://USER:PASSWORD@HOST/NAME [default:
    /// $DATABASE_URL, else sqlite://connectoid.db]
    #[arg(long, env = "CONNECTOID_DATABASE", value_name = "URL", hide_env_values = true)]
    database: Option<String>,
}

const DEFAULT_DATABASE: &str = "sqlite://connectoid.db";

impl Database {
    pub(super) fn url(self) -> String {
        self.database.or_else(|| variable("DATABASE_URL")).unwrap_or_else(|| DEFAULT_DATABASE.to_owned())
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
