//! Opening PostgreSQL: several instances on one database.

use std::{
    str::FromStr as _,
    sync::{Arc, LazyLock},
    time::Duration,
};

use sqlx::{
    ConnectOptions as _, Connection as _, Executor as _, Pool, Postgres,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{
    Arrivals, Keep, OpenError, PostgresFacts, Role,
    admin::schema_of,
    migrations, notify,
    room::Room,
    sql::{Batches, SqlStore, Tables},
};
use crate::clock::{Clock, micros};

/// Connections of one instance. Free tiers allow 20 to 100 in all.
const CONNECTIONS: u32 = 10;

/// Transactions of messages side by side; the other connections read.
const WRITERS: usize = 4;

/// How long to wait for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// Each statement must see what was committed while it waited for the box's row: not so under a stricter level, which
/// a database may have as its default.
///
/// The lock, "cnid" as a number, is one for all who write; whoever takes the database over waits for them, and they for it.
const BEGIN: &str = "begin isolation level read committed; select pg_advisory_xact_lock_shared(1668180324)";

/// Longer than a transaction of messages may take.
const BEGIN_TO_TAKE_OVER: &str = "begin isolation level read committed; set local lock_timeout = '30s';
    select pg_advisory_xact_lock(1668180324)";

static BATCHES: LazyLock<Batches> = LazyLock::new(|| {
    let gather = "convert_to(cast(json_agg(json_build_array(last_at, seen_at, stored, before) order by pub) as text), 'UTF8')";
    Batches::new(gather, |text| text)
});

const TAKE_OVER: &str = "update relay_owner set instance = $1 where id = 1 and instance is distinct from $1";

/// What a connection is called in the server's views and log.
const NAME: &str = concat!("connectoid ", env!("CARGO_PKG_VERSION"));

/// Programs until 0.1.0, which do not look at `relay_owner`, give their connections this name; later ones add their version.
const UNAWARE: &str = "select count(*) from pg_stat_activity
    where datname = current_database() and application_name = 'connectoid'";

/// Everything here is looked up in an index. Left to itself, PostgreSQL reads all boxes for every batch as soon as its figures of a
/// growing table are old, and plans a long statement anew each time, which takes longer than to do it.
const PLANS: &str = "set enable_seqscan = off; set enable_hashjoin = off; set enable_mergejoin = off;
    set plan_cache_mode = force_generic_plan";

/// A random name for this instance, to know its own notifications by.
const INSTANCE: &str = "select cast(cast('x' || left(replace(cast(gen_random_uuid() as text), '-', ''), 16) as bit(64)) as bigint)";

pub(super) async fn open(
    url: &str,
    keep: Keep,
    role: Role,
    clock: Option<Arc<dyn Clock>>,
) -> Result<SqlStore<Postgres>, OpenError> {
    let pool = connect(url, CONNECTIONS, Some(PLANS)).await?;
    let listening = options(url)?;
    for setting in ["fsync", "synchronous_commit"] {
        check_durable(&pool, setting).await?;
    }
    let is_sole = role == Role::Sole;
    if is_sole {
        refuse_unaware(&pool).await?;
    }
    migrations::postgres().run(&pool).await?;
    if is_sole {
        // Once more: from here on no other of them can start.
        refuse_unaware(&pool).await?;
    }
    let (instance,): (i64,) =
        sqlx::query_as(INSTANCE).fetch_one(&pool).await.map_err(|e| cannot(text(&e)))?;
    let owner = is_sole.then_some(instance);
    let instance = instance.cast_unsigned();
    let arrivals = Arc::new(if is_sole { Arrivals::default() } else { Arrivals::shared() });
    let mut tasks = Vec::new();
    if !is_sole {
        tasks.push(tokio::spawn(notify::tell(pool.clone(), arrivals.clone(), instance)));
        tasks.push(tokio::spawn(notify::listen(
            move || pool_of(1).connect_lazy_with(listening.clone()),
            arrivals.clone(),
            instance,
        )));
    }
    let tables = Tables {
        read: pool.clone(),
        write: pool,
        begin: BEGIN,
        in_memory: false,
        keep,
        arrivals,
        room: Arc::new(Room::new(keep.max_bytes)),
        index: is_sole.then(Arc::default),
        fold: None,
        batches: &BATCHES,
        owner: (role != Role::Visitor).then_some(owner),
        ahead: Arc::default(),
        clock,
    };
    if role != Role::Visitor {
        // Last: an opening that fails displaces nobody.
        take_over(&tables.write, owner).await.map_err(|error| cannot(text(&error)))?;
    }
    tables.into_store(WRITERS, None, tasks).await.map_err(|error| cannot(text(&error)))
}

/// A sole relay would never see what a relay stores that does not look at whose the database is.
async fn refuse_unaware(pool: &Pool<Postgres>) -> Result<(), OpenError> {
    let (count,): (i64,) = sqlx::query_as(UNAWARE).fetch_one(pool).await.map_err(|e| cannot(text(&e)))?;
    if count == 0 {
        return Ok(());
    }
    Err(cannot(
        "a relay of connectoid 0.1.0 has the database, and a sole one would not see what that one stores: stop it first, \
         or start this one without --sole-instance",
    ))
}

/// What others stored until then is seen by whoever looks from then on, and they store nothing more.
async fn take_over(pool: &Pool<Postgres>, owner: Option<i64>) -> Result<(), sqlx::Error> {
    let mut connection = pool.acquire().await?;
    let mut transaction = connection.begin_with(BEGIN_TO_TAKE_OVER).await?;
    sqlx::query(TAKE_OVER).bind(owner).execute(&mut *transaction).await?;
    transaction.commit().await
}

/// For an operator's commands, beside the instances of the relay.
pub(super) async fn open_admin(url: &str) -> Result<Pool<Postgres>, OpenError> {
    connect(url, 1, None).await
}

/// Looks at a server, and compares this clock with its own.
pub(super) async fn facts(url: &str, clock: &dyn Clock) -> Result<PostgresFacts, OpenError> {
    // One connection hears what the other says.
    let pool = connect(url, 2, None).await?;
    let facts = look(&pool, clock).await;
    pool.close().await;
    facts
}

const SETTINGS: &str = "
    select cast(current_setting('server_version_num') as bigint), current_setting('fsync'),
           current_setting('synchronous_commit'), current_setting('full_page_writes'),
           cast(current_setting('max_connections') as bigint)
             - cast(current_setting('superuser_reserved_connections') as bigint),
           pg_is_in_recovery()";

const CLOCK: &str = "select cast(extract(epoch from clock_timestamp()) * 1000000 as bigint)";

/// Answers that are waited for.
const ROUND_TRIPS: u32 = 5;

/// No statement is persistent: it would stay behind in a connection of a pooler, for another program to stumble over.
async fn look(pool: &Pool<Postgres>, clock: &dyn Clock) -> Result<PostgresFacts, OpenError> {
    let said = |error: sqlx::Error| cannot(text(&error));
    let (version, fsync, synchronous_commit, full_page_writes, connections, in_recovery): (
        i64,
        String,
        String,
        String,
        i64,
        bool,
    ) = sqlx::query_as(SETTINGS).persistent(false).fetch_one(pool).await.map_err(said)?;
    let (mut round_trip, mut ahead) = (Duration::MAX, 0);
    for _ in 0..ROUND_TRIPS {
        let (began, before) = (clock.elapsed(), clock.now());
        let (theirs,): (i64,) =
            sqlx::query_as(CLOCK).persistent(false).fetch_one(pool).await.map_err(said)?;
        let took = clock.elapsed().saturating_sub(began);
        if took < round_trip {
            (round_trip, ahead) = (took, theirs - before - micros(took) / 2);
        }
    }
    Ok(PostgresFacts {
        version,
        schema: schema_of(pool, &migrations::postgres()).await?,
        settings: [
            ("fsync", fsync),
            ("synchronous_commit", synchronous_commit),
            ("full_page_writes", full_page_writes),
        ],
        connections,
        in_recovery,
        round_trip,
        ahead,
        // A replica knows no notifications. A pooler that mixes connections up may make an error of them.
        hears: !in_recovery && notify::hears(pool).await.unwrap_or(false),
    })
}

/// With these `settings` for each connection.
async fn connect(
    url: &str,
    connections: u32,
    settings: Option<&'static str>,
) -> Result<Pool<Postgres>, OpenError> {
    let options = options(url)?;
    let server = format!("{}:{}", options.get_host(), options.get_port());
    let pool = pool_of(connections).after_connect(move |connection, _| {
        Box::pin(async move {
            match settings {
                Some(settings) => connection.execute(settings).await.map(drop),
                None => Ok(()),
            }
        })
    });
    let pool = pool.connect_with(options).await;
    pool.map_err(|error| cannot(format!("{server}: {}", text(&error))))
}

fn options(url: &str) -> Result<PgConnectOptions, OpenError> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|error| cannot(format!("its URL does not parse: {error}")))?;
    Ok(options.application_name(NAME).disable_statement_logging())
}

fn pool_of(connections: u32) -> PgPoolOptions {
    PgPoolOptions::new().max_connections(connections).acquire_timeout(ACQUIRE_TIMEOUT)
}

/// `ok` to a `send` means durably stored; a server that does not sync cannot keep that.
async fn check_durable(pool: &Pool<Postgres>, setting: &'static str) -> Result<(), OpenError> {
    let value: (String,) = sqlx::query_as("select current_setting($1)")
        .bind(setting)
        .fetch_one(pool)
        .await
        .map_err(|error| cannot(text(&error)))?;
    if value.0 == "off" {
        return Err(cannot(format!(
            "{setting} is off there, so a message could be lost after it was acknowledged: set {setting} = on"
        )));
    }
    Ok(())
}

fn text(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        sqlx::Error::PoolTimedOut => format!("no connection within {} seconds", ACQUIRE_TIMEOUT.as_secs()),
        other => other.to_string(),
    }
}

fn cannot(reason: impl Into<String>) -> OpenError {
    OpenError::Postgres(reason.into())
}
