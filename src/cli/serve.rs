//! `connectoid serve`: the relay as a program.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    process,
    time::Duration,
};

use clap::{
    Args, ValueEnum,
    builder::{BoolishValueParser, FalseyValueParser, PossibleValuesParser, TypedValueParser as _},
};
use ipnet::{IpNet, Ipv4Net};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use super::{
    Failure, database::Database, entropy, print_line, profile::Profile, say, size::size, systemd, variable,
};
use crate::{
    clock::SystemClock,
    protocol::{RelayUrl, base64url, limits},
    relay::{Rate, Rates},
    seal::question::Secrets,
    server::{ClientAddress, Config, Connections, Environment, Server, Sockets, StartError, StunUrl, ToldBy},
    shell,
    store::{BoxCap, Keep},
};

/// Run a relay
///
/// With no options: a SQLite file in this folder, on this machine only. The first line on standard output is the
/// address; the rest goes to standard error. SIGTERM and SIGINT finish what was accepted and end with exit code 0.
///
/// A socket that systemd gives (LISTEN_FDS) is taken instead of --listen, and one named metrics instead of
/// --metrics-listen; systemd is told when the relay is ready (Type=notify).
///
/// CONNECTOID_SECRETS may hold the secrets that answers are verified with, comma-separated, each 32 to 64 random bytes
/// in base64url: the first signs, all verify. Without it the relay keeps one in its database. This makes one: openssl rand
/// -base64 48 | tr '+/' '-_'
#[derive(Args)]
pub(super) struct Serve {
    /// Where to listen, HOST:PORT; port 0 takes a free one [default: 127.0.0.1:8080, or 0.0.0.0:$PORT if PORT is set]
    #[arg(long, env = "CONNECTOID_LISTEN", value_name = "ADDR")]
    listen: Option<String>,

    #[command(flatten)]
    database: Database,

    /// A URL that clients reach this relay under, as https://connecto.id; repeat it, or separate them with commas, if
    /// there are several. Without one the relay believes the Host header: for use on one machine only, and with the profiles
    /// cloud-run and lambda
    #[arg(long, env = "CONNECTOID_URL", value_name = "PUBLIC_URL", value_delimiter = ',')]
    url: Vec<RelayUrl>,

    /// How long a message is kept
    #[arg(long, help_heading = "Keeping", env = "CONNECTOID_MESSAGE_TTL", value_name = "TIME", default_value = "1h", value_parser = at_least_a_second)]
    message_ttl: Duration,

    /// How long an answer to a question counts
    #[arg(long, help_heading = "Keeping", env = "CONNECTOID_ANSWER_TTL", value_name = "TIME", default_value = "60s", value_parser = at_least_a_second)]
    answer_ttl: Duration,

    /// How long a box is kept that nobody checks
    #[arg(long, help_heading = "Keeping", env = "CONNECTOID_BOX_TTL", value_name = "TIME", default_value = "30d", value_parser = at_least_a_second)]
    box_ttl: Duration,

    /// The time between two sweeps of what has expired; expired messages are never shown, however late they are swept
    #[arg(long, help_heading = "Keeping", env = "CONNECTOID_SWEEP_INTERVAL", value_name = "TIME", default_value = "60s", value_parser = at_least_a_second)]
    sweep_interval: Duration,

    /// No other relay uses the same database on PostgreSQL: checks that find nothing are answered from memory, and an idle
    /// database may sleep. One on SQLite is always alone
    #[arg(long, help_heading = "Keeping", env = "CONNECTOID_SOLE_INSTANCE", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = BoolishValueParser::new())]
    sole_instance: Option<bool>,

    /// Sweep before the reply to a request, a part at a time, and not by itself: for platforms that freeze the relay
    /// between requests
    #[arg(long, help_heading = "Keeping", env = "CONNECTOID_SWEEP_WITH_REQUESTS", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = BoolishValueParser::new())]
    sweep_with_requests: Option<bool>,

    /// The messages a box may hold at once
    #[arg(long, help_heading = "Room", env = "CONNECTOID_BOX_MESSAGES", value_name = "COUNT", default_value_t = limits::BOX_MESSAGES, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    box_messages: u32,

    /// The bytes a box may hold at once, as 512KiB; 16KiB or more
    #[arg(long, help_heading = "Room", env = "CONNECTOID_BOX_BYTES", value_name = "SIZE", default_value = "512KiB", value_parser = box_size)]
    box_bytes: u32,

    /// The messages of one source that a box may hold at once; its last quarter is for sources with nothing in it. As
    /// many as the box holds: no shares
    #[arg(long, help_heading = "Room", env = "CONNECTOID_BOX_MESSAGES_PER_SOURCE", value_name = "COUNT", default_value_t = limits::BOX_MESSAGES_PER_SENDER, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    box_messages_per_source: u32,

    /// The bytes that all boxes may take together, with what each box and message takes beside its data; the database's
    /// file can be a fifth larger
    #[arg(long, help_heading = "Room", env = "CONNECTOID_MAX_BYTES", value_name = "SIZE", default_value = "1GiB", value_parser = total_size)]
    max_bytes: u64,

    /// How often one source may send, PER_MINUTE[:BURST] or off. A source is an IPv4 address or an IPv6 /64; all of a
    /// network (/24, /48) may 8 times as often
    #[arg(long, help_heading = "How often", env = "CONNECTOID_LIMIT_SEND", value_name = "RATE", default_value = "30:10", value_parser = rate_or_off)]
    limit_send: RateOrOff,

    /// How often one source may send to the same box
    #[arg(long, help_heading = "How often", env = "CONNECTOID_LIMIT_SEND_TO_BOX", value_name = "RATE", default_value = "10:5", value_parser = rate_or_off)]
    limit_send_to_box: RateOrOff,

    /// How often one source may check; requests that cannot be understood count as checks
    #[arg(long, help_heading = "How often", env = "CONNECTOID_LIMIT_CHECK", value_name = "RATE", default_value = "600:100", value_parser = rate_or_off)]
    limit_check: RateOrOff,

    /// How often one source may receive and delete, both together
    #[arg(long, help_heading = "How often", env = "CONNECTOID_LIMIT_RECEIVE", value_name = "RATE", default_value = "300:50", value_parser = rate_or_off)]
    limit_receive: RateOrOff,

    /// No rates, and no cap on what boxes hold, for tests and private networks; sizes stay
    #[arg(long, help_heading = "How often", env = "CONNECTOID_NO_LIMITS", value_parser = FalseyValueParser::new())]
    no_limits: bool,

    /// Answer only requests with an API key in ext, made by connectoid admin keys add, and within its quotas
    #[arg(long, help_heading = "How often", env = "CONNECTOID_REQUIRE_API_KEY", value_parser = FalseyValueParser::new())]
    require_api_key: bool,

    /// The reverse proxies before this relay, as addresses or networks, separated by commas: clients count by the right-most
    /// hop of X-Forwarded-For that is none of these. Without it every client of a proxy counts as the same
    #[arg(long, help_heading = "Behind a proxy", env = "CONNECTOID_TRUSTED_PROXIES", value_name = "CIDR", value_delimiter = ',', value_parser = network)]
    trusted_proxies: Vec<IpNet>,

    /// Where a platform says the client's address instead: xff:N (the Nth hop of X-Forwarded-For from the right),
    /// header:NAME, or lambda (what the Lambda Web Adapter passes on of a function URL's event). Believed from --trusted-proxies, or from everyone if there are none: then the relay must be
    /// reachable through the platform only
    #[arg(long, help_heading = "Behind a proxy", env = "CONNECTOID_CLIENT_ADDRESS", value_name = "WHERE")]
    client_address: Option<ToldBy>,

    /// The longest that a check may wait for something to come (long poll); 0s for none
    #[arg(long, help_heading = "Long poll", env = "CONNECTOID_MAX_WAIT", value_name = "TIME", default_value = "25s", value_parser = a_wait)]
    max_wait: Duration,

    /// How many checks may wait at once, at most three quarters of the connections; more get Busy
    #[arg(long, help_heading = "Long poll", env = "CONNECTOID_MAX_WAITERS", value_name = "COUNT", default_value_t = MAX_WAITERS, value_parser = count)]
    pub(super) max_waiters: usize,

    /// How long the head of a request may take; a connection must begin with one
    #[arg(long, help_heading = "Connections", env = "CONNECTOID_HEAD_TIMEOUT", value_name = "TIME", default_value = "5s", value_parser = at_least_a_second)]
    head_timeout: Duration,

    /// How long the body of a request may take
    #[arg(long, help_heading = "Connections", env = "CONNECTOID_BODY_TIMEOUT", value_name = "TIME", default_value = "8s", value_parser = at_least_a_second)]
    body_timeout: Duration,

    /// How long a connection is kept between two requests; more than the proxy before it keeps it
    #[arg(long, help_heading = "Connections", env = "CONNECTOID_IDLE_TIMEOUT", value_name = "TIME", default_value = "75s", value_parser = at_least_a_second)]
    idle_timeout: Duration,

    /// Connections at once; fewer if the limit of open files does not allow it
    #[arg(long, help_heading = "Connections", env = "CONNECTOID_MAX_CONNECTIONS", value_name = "NUMBER", default_value = "16384", value_parser = at_least_one)]
    pub(super) max_connections: usize,

    /// Connections at once from one IPv4 address or IPv6 /64
    #[arg(long, help_heading = "Connections", env = "CONNECTOID_MAX_CONNECTIONS_PER_SOURCE", value_name = "NUMBER", default_value = "512", value_parser = at_least_one)]
    max_connections_per_source: usize,

    /// Do not serve the demo at /demo/, a shopping list that people share by a link. A relay with --require-api-key never does
    #[arg(long, help_heading = "The demo", env = "CONNECTOID_NO_DEMO", value_parser = FalseyValueParser::new())]
    no_demo: bool,

    /// A STUN server for the demo, which tells each device the address that the outside sees, as stun:stun.example.org:3478; repeat
    /// it, or separate them with commas. Without one, only devices on one network connect, mostly; with one, it sees who has the
    /// demo open, and when
    #[arg(
        long,
        help_heading = "The demo",
        env = "CONNECTOID_DEMO_STUN",
        value_name = "URL",
        value_delimiter = ','
    )]
    demo_stun: Vec<StunUrl>,

    /// Where to serve /metrics instead, HOST:PORT, out of strangers' sight; without it they are where the relay is
    #[arg(long, help_heading = "To watch it", env = "CONNECTOID_METRICS_LISTEN", value_name = "ADDR")]
    metrics_listen: Option<String>,

    /// What to log on standard error; no level ever names a box, a body, an answer, an ext or an address
    #[arg(long, help_heading = "To watch it", env = "CONNECTOID_LOG_LEVEL", value_name = "LEVEL", default_value = "info", value_parser = PossibleValuesParser::new(["error", "warn", "info", "debug"]).try_map(|level| level.parse::<LevelFilter>()))]
    log_level: LevelFilter,

    /// How to log: text for people, or json, one object a line
    #[arg(
        long,
        help_heading = "To watch it",
        env = "CONNECTOID_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text"
    )]
    log_format: LogFormat,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

/// Under a name of its own, since clap takes an `Option` for an option that may be absent.
type RateOrOff = Option<Rate>;

fn rate_or_off(text: &str) -> Result<RateOrOff, String> {
    if text == "off" { Ok(None) } else { text.parse().map(Some) }
}

/// A network, or an address alone.
fn network(text: &str) -> Result<IpNet, String> {
    let address = text.trim().parse::<IpAddr>().map(|address| IpNet::from(address.to_canonical()));
    address
        .or_else(|_| text.trim().parse().map(canonical))
        .map_err(|_| "expected an address or a network, as 127.0.0.1, 10.0.0.0/8 or fd00::/8".to_owned())
}

/// Networks are compared with addresses in their canonical form: `::ffff:10.0.0.0/104` is 10.0.0.0/8.
fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(mapped) = network else {
        return network;
    };
    let v4 = mapped.addr().to_ipv4_mapped().zip(mapped.prefix_len().checked_sub(96));
    v4.and_then(|(address, bits)| Ipv4Net::new(address, bits).ok()).map_or(network, IpNet::from)
}

/// Checks that may wait at once, if nothing else is said.
pub(super) const MAX_WAITERS: usize = 12_288;

const DEFAULT_LISTEN: &str = "127.0.0.1:8080";

/// The longest time an option takes: 100 years, far from where microseconds in 64 bits end.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

pub(super) fn at_least_a_second(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if (Duration::from_secs(1)..=LONGEST).contains(&time) => Ok(time),
        Ok(_) => Err("expected 1s to 100y".to_owned()),
        Err(error) => Err(format!("{error}; expected a number and a unit, as 60s, 5m, 1h or 30d")),
    }
}

/// Long enough for any proxy's patience, short enough to notice a client that vanished without a word.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

fn a_wait(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if time <= LONGEST_WAIT && time.subsec_nanos() == 0 => Ok(time),
        Ok(_) => Err("expected 0s to 5m, in whole seconds".to_owned()),
        Err(error) => Err(format!("{error}; expected a number and a unit, as 25s")),
    }
}

fn box_size(text: &str) -> Result<u32, String> {
    let bytes = at_least(limits::MAX_DATA_BYTES as u64, text)?;
    u32::try_from(bytes).map_err(|_| "expected less than 4GiB".to_owned())
}

/// Twice the largest message: it takes some bytes beside its data, and so does its box.
fn total_size(text: &str) -> Result<u64, String> {
    at_least(2 * limits::MAX_DATA_BYTES as u64, text)
}

fn at_least(least: u64, text: &str) -> Result<u64, String> {
    let bytes = size(text)?;
    let too_small = || format!("expected at least {least}, or the largest message does not fit");
    (bytes >= least).then_some(bytes).ok_or_else(too_small)
}

fn count(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "expected a number, 0 or more".to_owned())
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "expected a number, 1 or more".to_owned())
}

/// Descriptors for all that is no connection: databases, files, the runtimes.
pub(super) const OTHER_DESCRIPTORS: usize = 256;

/// As many descriptors as a process may have, but no more than are of use.
pub(super) const DESCRIPTORS: u64 = 65_536;

/// Takes as many descriptors as this process may have. How many connections that allows.
fn connections_allowed() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.unwrap_or(u64::MAX).min(DESCRIPTORS);
    let mut have = current.unwrap_or(u64::MAX);
    if have < wanted && setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).is_ok() {
        have = wanted;
    }
    let have = usize::try_from(have).unwrap_or(usize::MAX);
    // Where there are very few, half of them.
    have - OTHER_DESCRIPTORS.min(have / 2)
}

impl Serve {
    /// `profile` says which is in force.
    pub(super) fn run(self, profile: Option<String>) -> Result<(), Failure> {
        self.log();
        let format = self.log_format;
        let config = self.config()?;
        // Before there is a second thread: the environment is changed.
        let sockets = systemd::sockets()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        runtime.map_err(Failure::new)?.block_on(serve(config, sockets, format, profile))
    }

    fn log(&self) {
        // Other crates may log what they carry: of them only warnings are heard. actix_http has a line for every request
        // that is none, so that a stranger could fill the disk.
        let filter = Targets::new().with_default(LevelFilter::WARN).with_targets([
            ("actix_server", LevelFilter::ERROR),
            ("actix_http", LevelFilter::OFF),
            ("sqlx", LevelFilter::ERROR),
            ("connectoid", self.log_level),
        ]);
        let subscriber = tracing_subscriber::fmt().with_max_level(self.log_level.max(LevelFilter::WARN));
        let subscriber = subscriber.with_writer(std::io::stderr).with_ansi(false).with_target(false);
        drop(match self.log_format {
            LogFormat::Text => subscriber.finish().with(filter).try_init(),
            LogFormat::Json => {
                let subscriber = subscriber.json().flatten_event(true).with_current_span(false);
                subscriber.finish().with(filter).try_init()
            }
        });
    }

    pub(super) fn config(self) -> Result<Config, Failure> {
        let profile = self.database.profile;
        if let Some(profile) = profile {
            if self.url.is_empty() {
                profile.needs_url()?;
            }
            if self.database.given().is_none() {
                profile.needs_database()?;
            }
        }
        let allowed = connections_allowed();
        if allowed < self.max_connections {
            tracing::warn!(
                "--max-connections is {allowed}: the limit of open files (ulimit -n) allows no more"
            );
        }
        if !self.demo_stun.is_empty() && (self.no_demo || self.require_api_key) {
            tracing::warn!(
                "--demo-stun changes nothing: with --no-demo or --require-api-key there is no demo"
            );
        }
        let secrets = variable("CONNECTOID_SECRETS").map(|list| Secrets::parse(&list)).transpose();
        let database = self.database.url();
        if self.require_api_key && database.ends_with(":memory:") {
            let reason =
                "--require-api-key needs a database that API keys can be kept in: a file, or PostgreSQL";
            return Err(Failure::with(2, reason));
        }
        let rates = Rates {
            send: self.limit_send,
            send_to_box: self.limit_send_to_box,
            check: self.limit_check,
            receive: self.limit_receive,
        };
        let box_cap = BoxCap {
            messages: self.box_messages,
            bytes: self.box_bytes,
            messages_per_sender: self.box_messages_per_source,
        };
        Ok(Config {
            listen: listen_address(self.listen),
            metrics_listen: self.metrics_listen,
            database,
            sole_instance: self.sole_instance.unwrap_or_default(),
            urls: self.url,
            led_by_host: profile.is_some_and(Profile::leads_by_host),
            secrets: secrets.map_err(|error| Failure::with(2, format!("CONNECTOID_SECRETS: {error}")))?,
            keep: Keep {
                message_ttl: self.message_ttl,
                box_ttl: self.box_ttl,
                box_cap: (!self.no_limits).then_some(box_cap),
                max_bytes: (!self.no_limits).then_some(self.max_bytes),
            },
            answer_ttl: self.answer_ttl,
            sweep_interval: self.sweep_interval,
            sweep_with_requests: self.sweep_with_requests.unwrap_or_default(),
            max_wait: self.max_wait,
            // So that a quarter of the connections is left for those who do not wait.
            max_waiters: self.max_waiters.min((self.max_connections.min(allowed) * 3).div_ceil(4)),
            connections: Connections {
                head_timeout: self.head_timeout,
                body_timeout: self.body_timeout,
                idle_timeout: self.idle_timeout,
                max: self.max_connections.min(allowed),
                max_per_source: self.max_connections_per_source,
            },
            require_api_key: self.require_api_key,
            client_address: ClientAddress {
                trusted_proxies: self.trusted_proxies,
                told_by: self.client_address,
            },
            rates: if self.no_limits { Rates::OFF } else { rates },
            demo: !self.no_demo,
            demo_stun: self.demo_stun,
        })
    }
}

/// Where to listen: as it was told, else at the platform's port.
pub(super) fn listen_address(told: Option<String>) -> String {
    told.or_else(|| variable("PORT").map(|port| format!("0.0.0.0:{port}")))
        .unwrap_or_else(|| DEFAULT_LISTEN.to_owned())
}

async fn serve(
    config: Config,
    sockets: Sockets,
    format: LogFormat,
    profile: Option<String>,
) -> Result<(), Failure> {
    let given = sockets.relay.is_some();
    let environment =
        Environment { clock: std::sync::Arc::new(SystemClock), store_clock: None, rng: entropy()?, sockets };
    let (urls, database) = (config.urls.clone(), shown(&config.database));
    let believes_anyone = urls.is_empty() && !config.led_by_host;
    let closed = config.require_api_key.then(|| add_key(&config.database));
    let demo = config.demo;
    let stop = stop_signal()?;
    let server = Server::bind(config, environment).await?;
    let address = server.address();
    let local = format!("http://{}", reachable(address));
    print_line(&local)?;
    match format {
        LogFormat::Text => {
            let url = urls.first().map_or(local.as_str(), |url| url.as_str());
            let place = format!("http://{address}{}", if given { " (systemd's socket)" } else { "" });
            say(&match closed {
                Some(add_key) => closed_banner(url, &place, &database, &add_key),
                None => banner(url, &place, &database, demo),
            });
        }
        // Every line is to be an object.
        LogFormat::Json => {
            tracing::info!(%address, database, socket = given.then_some("systemd's"), "listening");
        }
    }
    if let Some(profile) = profile {
        tracing::info!("{profile}");
    }
    if let Some(address) = server.metrics_address() {
        tracing::info!(%address, "metrics");
    }
    if believes_anyone {
        tracing::warn!(
            "no --url: questions are bound to the Host header; set --url before others use this relay"
        );
    }
    // Whoever connects now is answered: the socket listens, and nothing is left that could fail.
    systemd::notify(&[NotifyState::Ready, NotifyState::Status(&format!("listens on {address}"))]);
    server.run(stop).await.map_err(Failure::new)?;
    tracing::info!("stopped; everything accepted is stored");
    Ok(())
}

/// The address as this machine reaches it: 0.0.0.0 and [::] are no addresses to connect to.
pub(super) fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

/// Ready at the first SIGTERM or SIGINT. A second one does not wait for the requests in flight.
fn stop_signal() -> Result<impl Future<Output = ()>, Failure> {
    let mut term = signal(SignalKind::terminate()).map_err(Failure::new)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::new)?;
    Ok(async move {
        tokio::select! { _ = term.recv() => {}, _ = interrupt.recv() => {} }
        systemd::notify(&[NotifyState::Stopping, NotifyState::Status("finishing what was accepted")]);
        tracing::info!("stopping: finishing what was accepted (again to stop at once)");
        tokio::spawn(async move {
            tokio::select! { _ = term.recv() => {}, _ = interrupt.recv() => {} }
            process::exit(130);
        });
    })
}

/// The database as it may be shown: without its password.
pub(super) fn shown(url: &str) -> String {
    match url.split_once("://").filter(|(scheme, _)| scheme.starts_with("postgres")) {
        Some((scheme, rest)) => {
            let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
            format!("{scheme}://{}", host.split('?').next().unwrap_or(host))
        }
        None => url.to_owned(),
    }
}

/// What to paste into another terminal. The key is the published example: its private half is in the program, so the
/// third call works; and in everyone else's, so nothing real goes to it.
fn banner(url: &str, place: &str, database: &str, demo: bool) -> String {
    let key = crate::seal::EXAMPLE_PUB;
    let data = base64url::encode("hello");
    let program = program();
    let version = env!("CARGO_PKG_VERSION");
    let in_a_browser = if demo {
        format!("\nIn a browser, a shopping list to share:  {url}/demo/\n")
    } else {
        String::new()
    };
    format!(
        r#"connectoid {version} listens on {place}, keeps its messages in {database}

Try it from another terminal; the box of this example is everybody's:

  curl {url}/ -d '{{"pub":"{key}","ext":null,"action":"send","data":"{data}"}}'

  curl {url}/ -d '{{"pub":"{key}","ext":null,"action":"check","at":0}}'

  curl -s {url}/ -d '{{"pub":"{key}","ext":null,"action":"check","at":0}}' | {program} answer --example | curl {url}/ -d @-

A box of your own:  {program} link --relay {url} --for Bob
{in_a_browser}"#
    )
}

/// The same for a relay that asks for API keys: the example's calls would be refused.
fn closed_banner(url: &str, place: &str, database: &str, add_key: &str) -> String {
    let (program, url) = (program(), shell::word(url));
    let version = env!("CARGO_PKG_VERSION");
    format!(
        r#"connectoid {version} listens on {place}, keeps its messages in {database}

It asks for an API key in ext. One is made, and used in a link, with:

  {add_key}

  {program} link --relay {url} --api-key KEY --for Bob
"#
    )
}

/// The command that makes an API key. A URL of PostgreSQL is not shown whole, for its password.
fn add_key(database: &str) -> String {
    let program = program();
    if !database.starts_with("postgres") {
        format!("{program} admin keys add NAME --database {}", shell::word(database))
    } else {
        format!("{program} admin keys add NAME  # with this relay's CONNECTOID_DATABASE")
    }
}

/// This program as a shell can call it from here.
fn program() -> String {
    let Ok(path) = std::env::current_exe() else {
        return "connectoid".to_owned();
    };
    let on_path = std::env::var_os("PATH")
        .is_some_and(|folders| std::env::split_paths(&folders).any(|folder| path.parent() == Some(&folder)));
    if on_path {
        return "connectoid".to_owned();
    }
    let here = std::env::current_dir().ok();
    match here.and_then(|here| path.strip_prefix(here).ok()) {
        // A bare name would be looked for on the path.
        Some(shorter) => shell::word(&format!("./{}", shorter.display())),
        None => shell::word(&path.display().to_string()),
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Listen { .. } => Self::with(10, error),
            StartError::Metrics(_) | StartError::Demo(_) => Self::new(error),
            StartError::Open(error) => error.into(),
            StartError::Store(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(shown("postgres://me:secret@db.example/name?x=y"), "postgres://db.example/name");
        assert_eq!(shown("sqlite://connectoid.db"), "sqlite://connectoid.db");
    }

    #[test]
    fn how_to_make_an_api_key() {
        let command = |database: &str| add_key(database).split_once(" admin ").unwrap().1.to_owned();
        assert_eq!(command("sqlite://my relay.db"), "keys add NAME --database 'sqlite://my relay.db'");
        for database in
            ["postgres://me:secret@db.example/name", "postgres://db.example/name", "postgresql:///name"]
        {
            assert_eq!(command(database), "keys add NAME  # with this relay's CONNECTOID_DATABASE");
        }
    }

    #[test]
    fn the_rates_are_the_librarys() {
        #[derive(clap::Parser)]
        struct Alone {
            #[command(flatten)]
            serve: Serve,
        }
        // Its own environment is not the tester's: only what the command line leaves out is looked at.
        let alone = <Alone as clap::Parser>::try_parse_from(["alone"]).unwrap();
        assert_eq!(alone.serve.config().unwrap().rates, Rates::DEFAULT);
    }

    #[test]
    fn rates_may_be_off() {
        assert_eq!(rate_or_off("off"), Ok(None));
        assert_eq!(rate_or_off("30:10"), Ok(Rate::new(30, 10)));
        assert!(rate_or_off("Off").is_err());
    }

    #[test]
    fn networks_and_addresses() {
        for (text, network_of) in [
            ("127.0.0.1", "127.0.0.1/32"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            (" fd00::/8 ", "fd00::/8"),
            ("::1", "::1/128"),
            ("::ffff:10.0.0.1", "10.0.0.1/32"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(network(text).unwrap().to_string(), network_of);
        }
        for wrong in ["", "caddy", "10.0.0.0/33", "10.0.0", "10.0.0.1:80"] {
            assert_eq!(
                network(wrong),
                Err("expected an address or a network, as 127.0.0.1, 10.0.0.0/8 or fd00::/8".into()),
                "{wrong}"
            );
        }
    }

    #[test]
    fn times_of_a_second_to_a_century() {
        assert_eq!(at_least_a_second("30d"), Ok(Duration::from_secs(2_592_000)));
        for wrong in ["0s", "500ms", "101y", "1", "soon", "-1s"] {
            assert!(at_least_a_second(wrong).is_err(), "{wrong}");
        }
    }
}
