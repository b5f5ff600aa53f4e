//! The server as a value: bind it, ask for its address, run it until told.

use std::{
    io,
    net::{SocketAddr, TcpListener, ToSocketAddrs},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use actix_web::web;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::{net::TcpSocket, sync::oneshot, task::JoinHandle, time::MissedTickBehavior};

use crate::{
    clock::{Clock, FreezingClock},
    http::{
        self, About, Clients, Shared, Surface,
        demo::{self, Demo},
    },
    metrics::{Metrics, Most},
    protocol::RelayUrl,
    relay::{Limiter, Rates, Relay, Rules, Sweeping, USAGE_INTERVAL, Upkeep},
    seal::question::Secrets,
    store::{self, Keep, OpenError, Role, Store, StoreError},
};
pub use crate::{
    http::{ClientAddress, Connections, ToldBy},
    ice::StunUrl,
};

/// Connections that may wait to be taken: with the usual 128, a flood of others makes a client wait a second for its next
/// try.
const BACKLOG: u32 = 1024;

/// Connections of those who watch.
const WATCHERS: usize = 64;

/// How long those who connected have to send their request, when the relay stops and others wait at a given socket.
const SETTLE: Duration = Duration::from_millis(500);

/// How long the database has to take what is still queued and to let go.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(15);

/// What a server needs to know. Not shown by `Debug`: the database's URL may hold a password.
#[derive(Clone)]
pub struct Config {
    /// `HOST:PORT`; port 0 for any that is free.
    pub listen: String,
    /// Where `/metrics` is served, and only there; without one it is on `listen`.
    pub metrics_listen: Option<String>,
    /// `sqlite://PATH`, `sqlite::memory:` or `postgres://…`
    pub database: String,
    /// Whether no other relay uses the same database on PostgreSQL, so that this one need not ask it whether there is
    /// anything new, and lets it sleep.
    pub sole_instance: bool,
    /// The URLs clients reach the relay under; with none, questions are bound to the Host header of the request.
    pub urls: Vec<RelayUrl>,
    /// Whether what stands in front takes TLS off, and leads nothing here but what is for this relay's host: the Host header is
    /// then as good as a URL, and it is one of https.
    pub led_by_host: bool,
    /// The secrets of the questions; with none, one kept in the database.
    pub secrets: Option<Secrets>,
    /// How long messages and boxes live, and how much a box holds.
    pub keep: Keep,
    /// How long an answer counts.
    pub answer_ttl: Duration,
    /// The time between two sweeps.
    pub sweep_interval: Duration,
    /// Whether requests sweep, a part each, and store what is used of API keys; and nothing does by itself.
    pub sweep_with_requests: bool,
    /// The longest that a check may wait for something to come; zero for no long poll.
    pub max_wait: Duration,
    /// How many checks may wait at once.
    pub max_waiters: usize,
    /// What a connection may take, and how many there may be.
    pub connections: Connections,
    /// Whether requests need an API key of the database in `ext`.
    pub require_api_key: bool,
    /// How to learn which address a request comes from.
    pub client_address: ClientAddress,
    /// How often one source may ask for what.
    pub rates: Rates,
    /// Whether the demo, an app that uses this relay, is served at `/demo/`. It has no API key to give: a relay that requires
    /// one does not serve it.
    pub demo: bool,
    /// The STUN servers that the demo asks. Each sees who has it open, and when; without any, only devices on one network connect.
    pub demo_stun: Vec<StunUrl>,
}

/// Time and chance, for a server, and what was opened for it.
pub struct Environment {
    /// What questions are dated by.
    pub clock: Arc<dyn Clock>,
    /// What messages are dated by; without one, the database's own clock.
    pub store_clock: Option<Arc<dyn Clock>>,
    /// The source of questions' randomness and of the first secret.
    pub rng: StdRng,
    /// Sockets that listen already, as systemd gives them.
    pub sockets: Sockets,
}

/// Sockets that listen already. Who connected to them is answered, also before the server was there.
#[derive(Debug, Default)]
pub struct Sockets {
    /// In the place of [`Config::listen`].
    pub relay: Option<TcpListener>,
    /// In the place of [`Config::metrics_listen`].
    pub metrics: Option<TcpListener>,
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
    /// The metrics.
    #[error("the metrics are not right: {0}")]
    Metrics(String),
    /// The demo.
    #[error("the demo is not right: {0}")]
    Demo(String),
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
    http: actix_server::Server,
    /// Whether its socket stays open without it.
    given: bool,
    /// What serves the metrics, if they have an address of their own.
    watching: Option<(SocketAddr, actix_server::Server)>,
    relay: Arc<Relay>,
    stopping: Arc<AtomicBool>,
    store: Arc<dyn Store>,
    /// Where requests do not sweep.
    sweeping: Option<JoinHandle<()>>,
    /// Adds up what is used of API keys until its sender is gone.
    accounting: (oneshot::Sender<()>, JoinHandle<()>),
}

impl Server {
    /// Opens the database and takes the address. Connections wait until [`Server::run`].
    ///
    /// # Errors
    /// [`StartError`], with what to do; nothing is left behind.
    pub async fn bind(config: Config, environment: Environment) -> Result<Self, StartError> {
        let Environment { clock, store_clock, mut rng, sockets } = environment;
        let store_clock_is_its_own = store_clock.is_none();
        // The address first: a second server on the same port must not touch the database.
        let given = sockets.relay.is_some();
        let (listener, address) = match sockets.relay {
            Some(given) => given_socket(given)?,
            None => listen("--listen", &config.listen)?,
        };
        let watched = match (sockets.metrics, config.metrics_listen) {
            (Some(given), ignored) => {
                if let Some(ignored) = ignored {
                    tracing::warn!(
                        "--metrics-listen {ignored} counts nothing beside the socket that systemd gives for it"
                    );
                }
                Some(given_socket(given)?)
            }
            (None, watched) => watched.map(|watched| listen("--metrics-listen", &watched)).transpose()?,
        };

        let role = if config.sole_instance { Role::Sole } else { Role::Shared };
        let store = store::open(&config.database, config.keep, role, store_clock).await?;
        let secrets = match config.secrets {
            Some(secrets) => secrets,
            None => stored_secret(&*store, &mut rng).await?,
        };
        let rules = Rules {
            urls: config.urls.clone(),
            secrets,
            answer_ttl: config.answer_ttl,
            max_wait: config.max_wait,
            max_waiters: config.max_waiters,
            require_api_key: config.require_api_key,
        };
        let most = Most {
            connections: config.connections.max,
            waiters: config.max_waiters,
            bytes: config.keep.max_bytes,
        };
        let metrics = watched_by(most, &config.database, &*clock);
        let metrics = Arc::new(metrics.map_err(|error| StartError::Metrics(error.to_string()))?);
        let rng = StdRng::from_rng(&mut rng);
        let relay = Arc::new(Relay::new(store.clone(), clock.clone(), rng, rules, metrics.clone()));
        let with_requests = config.sweep_with_requests;
        let passing: Arc<dyn Clock> =
            if with_requests { Arc::new(FreezingClock::new(clock.clone())) } else { clock.clone() };
        let limiter = Arc::new(Limiter::new(config.rates, passing.clone(), metrics.clone()));
        // A clock that jumps is known by another: where the database has the same one, only a monotonic clock is another.
        let is_elsewhere = store_clock_is_its_own && config.database.starts_with("postgres");
        let sweeping = Sweeping::new(
            store.clone(),
            config.keep,
            config.sole_instance,
            limiter.clone(),
            if is_elsewhere { passing } else { clock.clone() },
            metrics.clone(),
        );
        let demo = (config.demo && !config.require_api_key)
            .then(|| Demo::new(&demo::Settings { relay: None, stun: config.demo_stun }))
            .transpose()
            .map_err(|error| StartError::Demo(error.to_string()))?
            .map(Arc::new);
        let (sweeping, upkeep) = if with_requests {
            (None, Some(Upkeep::new(relay.clone(), sweeping, clock, config.sweep_interval)))
        } else {
            (Some(sweeping), None)
        };
        let shared = web::Data::new(Shared {
            relay: relay.clone(),
            limiter,
            clients: Clients::new(config.client_address),
            about: About {
                urls: config.urls,
                led_by_host: config.led_by_host,
                keep: config.keep,
                answer_ttl: config.answer_ttl,
                max_wait: config.max_wait,
                api_key: config.require_api_key,
                rates: config.rates,
                sweep_interval: config.sweep_interval,
                sweep_with_requests: with_requests,
                demo: demo.is_some(),
            },
            runtime: tokio::runtime::Handle::current(),
            metrics,
            body_timeout: config.connections.body_timeout,
            upkeep,
        });
        let stopping = Arc::<AtomicBool>::default();
        let surface = Surface::Relay { metrics: watched.is_none(), demo };
        let http = http::listen(listener, surface, shared.clone(), &config.connections, stopping.clone())
            .map_err(|error| listen_error("--listen", &config.listen, &error))?;
        let watching = watched.map(|(listener, address)| {
            let few = Connections { max: WATCHERS, max_per_source: WATCHERS, ..config.connections };
            let server = http::listen(listener, Surface::Metrics, shared, &few, stopping.clone());
            let server = server.map_err(|e| listen_error("--metrics-listen", &address.to_string(), &e))?;
            Ok::<_, StartError>((address, server))
        });
        let watching = watching.transpose()?;
        let sweeping = sweeping.map(|sweeping| tokio::spawn(sweep(sweeping, config.sweep_interval)));
        let (stop_accounting, stopped) = oneshot::channel();
        let accounting = (stop_accounting, tokio::spawn(account(relay.clone(), !with_requests, stopped)));
        Ok(Self { address, http, given, watching, relay, stopping, store, sweeping, accounting })
    }

    /// Where the server listens, with the port it got.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the metrics are served, if they have an address of their own.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.watching.as_ref().map(|(address, _)| *address)
    }

    /// Serves until `stop` is ready, then finishes what was accepted and lets go of the database.
    ///
    /// # Errors
    /// If the server ends by itself.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        let Self {
            http,
            given,
            watching,
            relay,
            stopping,
            store,
            sweeping,
            accounting: (stop_accounting, accounting),
            ..
        } = self;
        let handle = http.handle();
        let stopping = tokio::spawn(async move {
            stop.await;
            relay.stop_waiting();
            stopping.store(true, SeqCst);
            if given {
                // Who connects from here on waits for the next one; who did before is answered by this one.
                handle.pause().await;
                tokio::time::sleep(SETTLE).await;
            }
            handle.stop(true).await;
        });
        let watching = watching.map(|(_, server)| (server.handle(), tokio::spawn(server)));
        let ended = http.await;
        // Watched to the end.
        if let Some((handle, served)) = watching {
            handle.stop(true).await;
            drop(served.await);
        }
        stopping.abort();
        if let Some(sweeping) = sweeping {
            sweeping.abort();
        }
        drop(stop_accounting);
        let closing = async {
            drop(accounting.await);
            store.close().await;
        };
        if tokio::time::timeout(CLOSE_TIMEOUT, closing).await.is_err() {
            tracing::error!("the database did not let go in time; what was acknowledged is stored");
        }
        ended
    }
}

/// A socket that listens already, and where.
fn given_socket(listener: TcpListener) -> Result<(TcpListener, SocketAddr), StartError> {
    let address =
        listener.local_addr().map_err(|error| listen_error("--listen", "the given socket", &error))?;
    Ok((listener, address))
}

/// Counters of a relay that starts now.
fn watched_by(most: Most, database: &str, clock: &dyn Clock) -> Result<Metrics, prometheus::Error> {
    let mut metrics = Metrics::new()?;
    metrics.may_be(most, clock.now() as f64 / 1e6)?;
    if let Some(file) = store::file(database) {
        metrics.watch_file(file)?;
    }
    Ok(metrics)
}

/// A listener for what this option says, and the address it got.
fn listen(option: &str, address: &str) -> Result<(TcpListener, SocketAddr), StartError> {
    let addresses = address.to_socket_addrs().map_err(|error| listen_error(option, address, &error))?;
    let mut failed = io::Error::from(io::ErrorKind::InvalidInput);
    for one in addresses {
        match listen_on(one).and_then(|listener| Ok((listener.local_addr()?, listener))) {
            Ok((address, listener)) => return Ok((listener, address)),
            Err(error) => failed = error,
        }
    }
    Err(listen_error(option, address, &failed))
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

fn listen_error(option: &str, listen: &str, error: &io::Error) -> StartError {
    let reason = match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("the port is taken: stop what listens there, or choose another with {option} HOST:PORT")
        }
        io::ErrorKind::PermissionDenied => {
            format!("this user may not use that port: choose one above 1023 with {option} HOST:PORT")
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

/// Adds what was used of API keys to the database at every tick, if there are any, and once more when `stop` is gone.
async fn account(relay: Arc<Relay>, ticks: bool, mut stop: oneshot::Receiver<()>) {
    let mut interval = tokio::time::interval(USAGE_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let stopped = tokio::select! { _ = interval.tick(), if ticks => false, _ = &mut stop => true };
        // Between the ticks and never within one: an addition cut short could count twice.
        relay.store_usage().await;
        if stopped {
            return;
        }
    }
}

/// Sweeps at every tick, until it is aborted.
async fn sweep(mut sweeping: Sweeping, interval: Duration) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        sweeping.sweep().await;
    }
}
