//! A PostgreSQL that is thrown away, as scripts/with-postgres makes one, on the server's core; and what reaches it.

use std::{
    cell::RefCell,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::runtime::Runtime;

use crate::{
    Outcome,
    load::now,
    machine::{self, Cores},
};

/// What runs beside the server: says where it is, then stays for as long as this program does, however that ends.
const KEEP: &str = r#"echo "$CONNECTOID_TEST_POSTGRES"; command -v pgbench || echo; exec cat"#;

/// How long the processes of connections that were closed may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// PostgreSQL, gone when it is dropped.
pub(crate) struct Postgres {
    keeper: Child,
    /// Up to the name of a database.
    cluster: String,
    pgbench: PathBuf,
    /// The parent of all its processes.
    postmaster: u32,
    runtime: Runtime,
    /// To a database that nothing else uses.
    connection: RefCell<PgConnection>,
}

impl Postgres {
    /// With its files in `folder`, or in /tmp where its user may not use that.
    pub(crate) fn start(cores: Cores, folder: &Path) -> Outcome<Self> {
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/with-postgres"));
        command.args(["sh", "-c", KEEP]).env("TMPDIR", folder);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut keeper = cores.on_servers(|| command.spawn())??;
        let out = keeper.stdout.take().ok_or("scripts/with-postgres has no output")?;
        let mut lines = BufReader::new(out).lines();
        let (Some(url), Some(pgbench)) = (lines.next().transpose()?, lines.next().transpose()?) else {
            drop(keeper.kill());
            keeper.wait()?;
            return Err("this row needs PostgreSQL, which did not start: the reason is above".into());
        };
        let (cluster, _) = url.rsplit_once('/').ok_or("scripts/with-postgres says no URL")?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut connection = runtime.block_on(PgConnection::connect(&url))?;
        // The first line of the file is the process that all others are children of.
        let postmaster = "select cast(split_part(pg_read_file('postmaster.pid'), E'\\n', 1) as bigint)";
        let (postmaster,): (i64,) =
            runtime.block_on(sqlx::query_as(postmaster).fetch_one(&mut connection))?;
        Ok(Self {
            keeper,
            cluster: cluster.to_owned(),
            pgbench: pgbench.into(),
            postmaster: postmaster.try_into()?,
            runtime,
            connection: RefCell::new(connection),
        })
    }

    /// The program pgbench of this PostgreSQL.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn pgbench(&self) -> Outcome<&Path> {
        if self.pgbench.as_os_str().is_empty() {
            return Err("pgbench is missing: install it (Debian: apt-get install postgresql, others: postgresql-contrib)".into());
        }
        Ok(&self.pgbench)
    }

    /// Makes a database of this name; its URL.
    pub(crate) fn create(&self, database: &str) -> Outcome<String> {
        let create = sqlx::raw_sql(AssertSqlSafe(format!("create database \"{database}\"")));
        self.runtime.block_on(create.execute(&mut *self.connection.borrow_mut()))?;
        Ok(format!("{}/{database}", self.cluster))
    }

    /// Runs some statements in the database with this URL.
    pub(crate) fn execute(&self, url: &str, statements: String) -> Outcome<()> {
        self.runtime.block_on(async {
            let mut connection = PgConnection::connect(url).await?;
            sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut connection).await?;
            Ok(connection.close().await?)
        })
    }

    /// The time of its core that all its processes used so far.
    pub(crate) fn cpu_time(&self) -> Outcome<Duration> {
        machine::cpu_time_of_family(self.postmaster)
    }

    /// The transactions that reached this database so far; a statement by itself is one. Waits until nobody is connected to it,
    /// for each connection adds its own to the count when it ends.
    pub(crate) fn transactions(&self, database: &str) -> Outcome<i64> {
        self.wait_for_end_of(database)?;
        // Until 14 they tell another process.
        sleep(Duration::from_millis(500));
        self.number("select xact_commit + xact_rollback from pg_stat_database where datname = $1", database)
    }

    /// Waits until all connections of the program of this name, or to the database of this name, have ended.
    pub(crate) fn wait_for_end_of(&self, name: &str) -> Outcome<()> {
        let connections = "select count(*) from pg_stat_activity where application_name = $1 or datname = $1";
        let start = now();
        while self.number(connections, name)? > 0 {
            if now() - start > PATIENCE {
                return Err(format!("{name} is still connected to PostgreSQL").into());
            }
            sleep(Duration::from_millis(50));
        }
        // Their processes say so before they end.
        sleep(Duration::from_millis(100));
        Ok(())
    }

    fn number(&self, statement: &'static str, name: &str) -> Outcome<i64> {
        let number = sqlx::query_as(statement).bind(name);
        let (number,): (i64,) =
            self.runtime.block_on(number.fetch_one(&mut *self.connection.borrow_mut()))?;
        Ok(number)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // What keeps it ends with its input; then scripts/with-postgres stops the server and deletes its files.
        drop(self.keeper.stdin.take());
        drop(self.keeper.wait());
    }
}
