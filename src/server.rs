//! The server as a value: bind it, ask for its address, run it until told.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
    sync::Arc,
    time::Duration,
};

use actix_web::{App, HttpServer, dev::ServerHandle, web};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::{task::JoinHandle, time::MissedTickBehavior};

use crate::{
    clock::Clock,
    http::{self, About, Clients, Shared},
    protocol::RelayUrl,
    relay::{Limiter, Rates, Relay, SWEEP_BATCH, Sweeper},
    seal::question::Secrets,
    store::{self, Keep, OpenError, Store, StoreError},
};

pub use crate::http::{ClientAddress, ToldBy};

/// How long requests in flight have to end after the server was told to stop.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the database has to take what is still queued and to let go.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a connection is kept between requests. Above the minute that reverse proxies keep theirs, so that they
/// never send a request into a connection just closed.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// What a server needs to know. Not shown by `Debug`: the database's URL may hold a password.
#[derive(Clone)]
pub struct Config {
    /// `HOST:PORT`; port 0 for any that is free.
    pub listen: String,
    /// `sqlite://PATH`, `sqlite::memory:` or `postgres://…`
    pub database: String,
    /// The URLs clients reach the relay under; with none, questions are bound to the Host header of the request.
    pub urls: Vec<RelayUrl>,
    /// The secrets of the questions; with none, one kept in the database.
    pub secrets: Option<Secrets>,
    /// How long messages and boxes live, and how much a box holds.
    pub keep: Keep,
    /// How long an answer counts.
    pub answer_ttl: Duration,
    /// The time between two sweeps.
    pub sweep_interval: Duration,
    /// How to learn which address a request comes from.
    pub client_address: ClientAddress,
    /// How often one source may ask for what.
    pub rates: Rates,
}

/// Time and chance, for a server.
pub struct Environment {
    /// What questions are dated by.
    pub clock: Arc<dyn Clock>,
    /// What messages are dated by; without one, the database's own clock.
    pub store_clock: Option<Arc<dyn Clock>>,
    /// The source of questions' randomness and of the first secret.
    pub rng: StdRng,
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address.
    #[error("cannot listen on {listen}: {reason}")]
    Listen {
        /// As it was configured.
        listen: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The database.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The database, once open.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A server that has its address and is ready to run.
pub struct Server {
    address: SocketAddr,
    http: actix_web::dev::Server,
    store: Arc<dyn Store>,
    sweeping: JoinHandle<()>,
}

impl Server {
    /// Opens the database and takes the address. Connections wait until [`Server::run`].
    ///
    /// # Errors
    /// [`StartError`], with what to do; nothing is left behind.
    pub async fn bind(config: Config, environment: Environment) -> Result<Self, StartError> {
        let Environment { clock, store_clock, mut rng } = environment;
        // The address first: a second server on the same port must not touch the database.
        let listener = listen(&config.listen)?;
        let address = listener.local_addr().map_err(|error| listen_error(&config.listen, &error))?;

        let store = store::open(&config.database, config.keep, store_clock).await?;
        let secrets = match config.secrets {
            Some(secrets) => secrets,
            None => stored_secret(&*store, &mut rng).await?,
        };
        let relay = Relay::new(
            store.clone(),
            clock.clone(),
            StdRng::from_rng(&mut rng),
            config.urls.clone(),
            secrets,
            config.answer_ttl,
        );
        let limiter = Arc::new(Limiter::new(config.rates, clock.clone()));
        let shared = web::Data::new(Shared {
            relay: Arc::new(relay),
            limiter: limiter.clone(),
            clients: Clients::new(config.client_address),
            about: About {
                urls: config.urls,
                keep: config.keep,
                answer_ttl: config.answer_ttl,
                rates: config.rates,
            },
            runtime: tokio::runtime::Handle::current(),
        });
        let http = HttpServer::new(move || {
            App::new().app_data(shared.clone()).wrap(http::headers()).configure(http::routes)
        })
        .keep_alive(KEEP_ALIVE)
        .shutdown_timeout(SHUTDOWN_TIMEOUT.as_secs())
        .disable_signals()
        .listen(listener)
        .map_err(|error| listen_error(&config.listen, &error))?
        .run();
        let sweeper = Sweeper::new(config.keep.message_ttl);
        let sweeping = tokio::spawn(sweep(store.clone(), sweeper, limiter, clock, config.sweep_interval));
        Ok(Self { address, http, store, sweeping })
    }

    /// Where the server listens, with the port it got.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is ready, then finishes what was accepted and lets go of the database.
    ///
    /// # Errors
    /// If the server ends by itself.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        let Self { http, store, sweeping, .. } = self;
        let handle: ServerHandle = http.handle();
        let stopping = tokio::spawn(async move {
            stop.await;
            handle.stop(true).await;
        });
        let ended = http.await;
        stopping.abort();
        sweeping.abort();
        if tokio::time::timeout(CLOSE_TIMEOUT, store.close()).await.is_err() {
            tracing::error!("the database did not let go in time; what was acknowledged is stored");
        }
        ended
    }
}

fn listen(address: &str) -> Result<std::net::TcpListener, StartError> {
    let addresses: Vec<SocketAddr> =
        address.to_socket_addrs().map_err(|error| listen_error(address, &error))?.collect();
    let listener = std::net::TcpListener::bind(&*addresses);
    listener.map_err(|error| listen_error(address, &error))
}

fn listen_error(listen: &str, error: &io::Error) -> StartError {
    let reason = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "the port is taken: stop what listens there, or choose another with --listen HOST:PORT".to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            "this user may not use that port: choose one above 1023 with --listen HOST:PORT".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address".to_owned(),
        io::ErrorKind::InvalidInput => "expected HOST:PORT, as 127.0.0.1:8080 or [::]:8080".to_owned(),
        _ => error.to_string(),
    };
    StartError::Listen { listen: listen.to_owned(), reason }
}

/// The secret that every instance on this database shares; the first one makes it.
async fn stored_secret(store: &dyn Store, rng: &mut StdRng) -> Result<Secrets, StoreError> {
    let mut candidate = vec![0; 48];
    rng.fill_bytes(&mut candidate);
    let secret = store.secret(candidate).await?;
    Secrets::one(&secret).map_err(|error| StoreError::Database(format!("the stored secret: {error}")))
}

/// Sweeps at every tick, in batches, until it is aborted.
async fn sweep(
    store: Arc<dyn Store>,
    mut sweeper: Sweeper,
    limiter: Arc<Limiter>,
    clock: Arc<dyn Clock>,
    interval: Duration,
) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        limiter.forget_idle();
        if let Err(error) = sweep_once(&*store, &mut sweeper, clock.elapsed()).await {
            tracing::error!(%error, "a sweep failed; the next one tries again");
        }
    }
}

async fn sweep_once(store: &dyn Store, sweeper: &mut Sweeper, elapsed: Duration) -> Result<(), StoreError> {
    if !sweeper.may_sweep(store.now().await?, elapsed) {
        return Ok(());
    }
    loop {
        let swept = store.sweep(SWEEP_BATCH).await?;
        if swept.messages > 0 || swept.boxes > 0 {
            tracing::debug!(messages = swept.messages, boxes = swept.boxes, "swept");
        }
        if swept.messages < SWEEP_BATCH && swept.boxes < SWEEP_BATCH {
            return Ok(());
        }
    }
}
