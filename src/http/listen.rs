//! Connections come in: who gets one, and actix behind it. actix-web's own server takes no stream but TCP's, so this does
//! what it does, around a [`Connection`].

use std::{
    future::ready,
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener},
    num::NonZeroUsize,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use actix_http::{HttpService, KeepAlive, error::DispatchError};
use actix_server::Server;
use actix_service::{IntoServiceFactory as _, ServiceFactoryExt as _, fn_service, map_config};
use actix_web::{
    App,
    dev::AppConfig,
    middleware::from_fn,
    web::{self, ServiceConfig},
};
use tokio::net::TcpStream;

use super::{
    Shared, around,
    connection::{Connection, Deadlines, LINGER},
    demo::Demo,
    metrics_routes,
    places::{NoPlace, Places},
    refusal_on_the_wire, relay_routes,
};
use crate::{metrics::Metrics, protocol::Refusal};

/// How long requests in flight have to end after the server was told to stop. Their own deadlines come before.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);

/// Connections beyond the cap that may be there at once, to be told so. The others wait in the system's queue.
const TURNED_AWAY: usize = 128;

/// When a client there is no place for may try again, in seconds.
const FULL_RETRY: u32 = 5;

/// What a connection may take, and how many there may be. No time may be longer than 100 years: its end is to be a moment of
/// the system's clock.
#[derive(Debug, Clone)]
pub struct Connections {
    /// How long the head of a request may take, from its first byte or the connection's start.
    pub head_timeout: Duration,
    /// How long the body of a request may take, from the head's end.
    pub body_timeout: Duration,
    /// How long a connection is kept between requests.
    pub idle_timeout: Duration,
    /// Connections at once.
    pub max: usize,
    /// Connections at once from one IPv4 address or IPv6 /64. Trusted proxies are not held to it: theirs are those of many.
    pub max_per_source: usize,
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            head_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(8),
            // Above the minute that reverse proxies keep theirs, so that they never send into a connection just closed.
            idle_timeout: Duration::from_secs(75),
            max: 16_384,
            max_per_source: 512,
        }
    }
}

/// What is served on a listener.
#[derive(Clone)]
pub(crate) enum Surface {
    /// The relay, each of these with it or not.
    Relay { metrics: bool, demo: Option<Arc<Demo>> },
    /// The metrics alone, for those who watch it.
    Metrics,
}

impl Surface {
    /// Threads that serve it.
    fn workers(&self) -> usize {
        match self {
            Self::Relay { .. } => std::thread::available_parallelism().map_or(2, NonZeroUsize::get).min(512),
            Self::Metrics => 1,
        }
    }

    fn routes(&self, config: &mut ServiceConfig) {
        match self {
            Self::Relay { metrics, demo } => relay_routes(config, *metrics, demo.as_deref()),
            Self::Metrics => metrics_routes(config),
        }
    }
}

/// Serves a surface to whoever connects. `stopping` is to be set before the server is told to stop.
pub(crate) fn listen(
    listener: TcpListener,
    surface: Surface,
    shared: web::Data<Shared>,
    settings: &Connections,
    stopping: Arc<AtomicBool>,
) -> io::Result<Server> {
    let address = listener.local_addr()?;
    let workers = surface.workers();
    let door = Arc::new(Door {
        places: Places::new(settings.max, settings.max_per_source, shared.clients.proxies().to_vec()),
        deadlines: Deadlines {
            head: settings.head_timeout,
            idle: settings.idle_timeout,
            stop: settings.body_timeout,
            stopping,
        },
        full: refusal_on_the_wire(&Refusal::Busy { retry_after: FULL_RETRY })?,
        metrics: shared.metrics.clone(),
    });
    let head_timeout = settings.head_timeout;
    let builder = Server::build();
    let stop = builder.graceful_shutdown_signal();
    let builder = builder
        .workers(workers)
        .max_concurrent_connections(settings.max.saturating_add(TURNED_AWAY).div_ceil(workers))
        .shutdown_timeout(SHUTDOWN_TIMEOUT.as_secs())
        .disable_signals()
        .listen("connectoid", listener, move || {
            let app = App::new().app_data(shared.clone()).wrap(from_fn(around));
            let app = app.configure(|config| surface.routes(config));
            let app = app.into_factory().map_err(|error: actix_web::Error| error.error_response());
            let stop = stop.clone();
            let http = HttpService::build()
                .graceful_shutdown_signal(move || {
                    let stop = stop.clone();
                    async move { stop.notified().await }
                })
                // Kept as long as the connection says.
                .keep_alive(KeepAlive::Os)
                .client_request_timeout(head_timeout)
                .client_disconnect_timeout(LINGER)
                .local_addr(address)
                .on_connect_ext(|connection: &Connection<TcpStream>, data| {
                    data.insert(connection.peer());
                })
                .h1(map_config(app, |()| AppConfig::default()));
            let door = door.clone();
            fn_service(move |stream| ready(door.admit(stream))).and_then(http)
        })?;
    Ok(builder.run())
}

/// Who is let in.
struct Door {
    places: Arc<Places>,
    deadlines: Deadlines,
    full: Vec<u8>,
    metrics: Arc<Metrics>,
}

impl Door {
    fn admit(&self, stream: TcpStream) -> Result<(Connection<TcpStream>, Option<SocketAddr>), DispatchError> {
        let address = stream.peer_addr()?;
        match self.places.take(address.ip()) {
            Ok(place) => {
                let (deadlines, metrics) = (self.deadlines.clone(), self.metrics.clone());
                Ok((Connection::new(stream, deadlines, Some(place), metrics), Some(address)))
            }
            Err(why) => {
                self.metrics.turned_away(match why {
                    NoPlace::Cap => "cap",
                    NoPlace::Source => "source",
                });
                self.turn_away(stream)?;
                Err(DispatchError::Io(io::ErrorKind::ConnectionRefused.into()))
            }
        }
    }

    /// Says `Busy` as well as it goes without waiting: the reply fits the system's buffer.
    fn turn_away(&self, stream: TcpStream) -> io::Result<()> {
        // It does not block: it was tokio's.
        let mut stream = stream.into_std()?;
        stream.write_all(&self.full)?;
        stream.shutdown(Shutdown::Write)?;
        // What is left unread at the close would make it a reset, which might overtake the reply.
        drop(stream.read(&mut [0; 4096]));
        Ok(())
    }
}
