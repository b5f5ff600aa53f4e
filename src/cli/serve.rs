//! `connectoid serve`: the relay as a program.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    process,
    time::Duration,
};

use clap::{Args, builder::FalseyValueParser};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::{Failure, entropy, print_line, say};
use crate::{
    clock::SystemClock,
    protocol::{RelayUrl, base64url, limits},
    seal::question::Secrets,
    server::{Config, Environment, Server, StartError},
    store::{BoxCap, Keep, OpenError},
};

/// Run a relay
///
/// With no options: a SQLite file in this folder, on this machine only. The first line on standard output is the
/// address; the rest goes to standard error. SIGTERM and SIGINT finish what was accepted and end with exit code 0.
///
/// CONNECTOID_SECRETS may hold the secrets that answers are verified with, comma-separated, each 32 to 64 random bytes
/// in base64url: the first signs, all verify. Without it the relay keeps one in its database. This makes one: openssl rand
/// -base64 48 | tr '+/' '-_'
#[derive(Args)]
pub(super) struct Serve {
    /// Where to listen, HOST:PORT; port 0 takes a free one [default: 127.0.0.1:8080, or 0.0.0.0:$PORT if PORT is set]
    #[arg(long, env = "CONNECTOID_LISTEN", value_name = "ADDR")]
    listen: Option<String>,

    /// sqlite://PATH, sqlite::memory: (gone with the process) or postgres://USER:PASSWORD@HOST/NAME [default:
    /// $DATABASE_URL, else sqlite://connectoid.db]
    #[arg(long, env = "CONNECTOID_DATABASE", value_name = "URL", hide_env_values = true)]
    database: Option<String>,

    /// A URL that clients reach this relay under, as https://connecto.id; repeat it, or separate them with commas, if
    /// there are several. Without one the relay believes the Host header: for use on one machine only
    #[arg(long, env = "CONNECTOID_URL", value_name = "PUBLIC_URL", value_delimiter = ',')]
    url: Vec<RelayUrl>,

    /// No cap on what a box holds, for tests and private networks; sizes stay
    #[arg(long, env = "CONNECTOID_NO_LIMITS", value_parser = FalseyValueParser::new())]
    no_limits: bool,

    /// How long a message is kept
    #[arg(long, env = "CONNECTOID_MESSAGE_TTL", value_name = "TIME", default_value = "1h", value_parser = at_least_a_second)]
    message_ttl: Duration,

    /// How long an answer to a question counts
    #[arg(long, env = "CONNECTOID_ANSWER_TTL", value_name = "TIME", default_value = "60s", value_parser = at_least_a_second)]
    answer_ttl: Duration,

    /// How long a box is kept that nobody checks
    #[arg(long, env = "CONNECTOID_BOX_TTL", value_name = "TIME", default_value = "30d", value_parser = at_least_a_second)]
    box_ttl: Duration,

    /// The time between two sweeps of what has expired; expired messages are never shown, however late they are swept
    #[arg(long, env = "CONNECTOID_SWEEP_INTERVAL", value_name = "TIME", default_value = "60s", value_parser = at_least_a_second)]
    sweep_interval: Duration,

    /// What to log on standard error; no level ever names a box, a body, an answer, an ext or an address
    #[arg(long, env = "CONNECTOID_LOG_LEVEL", value_name = "LEVEL", default_value = "info", value_parser = ["error", "warn", "info", "debug"])]
    log_level: String,
}

const DEFAULT_LISTEN: &str = "127.0.0.1:8080";
const DEFAULT_DATABASE: &str = "sqlite://connectoid.db";

/// The longest time an option takes: 100 years, far from where microseconds in 64 bits end.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

fn at_least_a_second(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if (Duration::from_secs(1)..=LONGEST).contains(&time) => Ok(time),
        Ok(_) => Err("expected 1s to 100y".to_owned()),
        Err(error) => Err(format!("{error}; expected a number and a unit, as 60s, 5m, 1h or 30d")),
    }
}

impl Serve {
    pub(super) fn run(self) -> Result<(), Failure> {
        self.log();
        let config = self.config()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        runtime.map_err(Failure::new)?.block_on(serve(config))
    }

    fn log(&self) {
        // Other crates may log what they carry: of them only warnings are heard.
        let filter =
            EnvFilter::new(format!("warn,actix_server=error,sqlx=error,connectoid={}", self.log_level));
        let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        drop(subscriber.with_ansi(false).with_target(false).try_init());
    }

    fn config(self) -> Result<Config, Failure> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let secrets = variable("CONNECTOID_SECRETS").map(|list| Secrets::parse(&list)).transpose();
        let box_cap = BoxCap { messages: limits::BOX_MESSAGES, bytes: limits::BOX_BYTES };
        Ok(Config {
            listen: self
                .listen
                .or_else(|| variable("PORT").map(|port| format!("0.0.0.0:{port}")))
                .unwrap_or_else(|| DEFAULT_LISTEN.to_owned()),
            database: self
                .database
                .or_else(|| variable("DATABASE_URL"))
                .unwrap_or_else(|| DEFAULT_DATABASE.to_owned()),
            urls: self.url,
            secrets: secrets.map_err(|error| Failure::with(2, format!("CONNECTOID_SECRETS: {error}")))?,
            keep: Keep {
                message_ttl: self.message_ttl,
                box_ttl: self.box_ttl,
                box_cap: (!self.no_limits).then_some(box_cap),
            },
            answer_ttl: self.answer_ttl,
            sweep_interval: self.sweep_interval,
        })
    }
}

async fn serve(config: Config) -> Result<(), Failure> {
    let environment =
        Environment { clock: std::sync::Arc::new(SystemClock), store_clock: None, rng: entropy()? };
    let (urls, database) = (config.urls.clone(), shown(&config.database));
    let stop = stop_signal()?;
    let server = Server::bind(config, environment).await?;
    let address = server.address();
    let local = format!("http://{}", reachable(address));
    print_line(&local)?;
    say(&banner(urls.first().map_or(&local, |url| url.as_str()), address, &database));
    if urls.is_empty() {
        tracing::warn!(
            "no --url: questions are bound to the Host header; set --url before others use this relay"
        );
    }
    server.run(stop).await.map_err(Failure::new)?;
    tracing::info!("stopped; everything accepted is stored");
    Ok(())
}

/// The address as this machine reaches it: 0.0.0.0 and [::] are no addresses to connect to.
fn reachable(mut address: SocketAddr) -> SocketAddr {
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
        tracing::info!("stopping: finishing what was accepted (again to stop at once)");
        tokio::spawn(async move {
            tokio::select! { _ = term.recv() => {}, _ = interrupt.recv() => {} }
            process::exit(130);
        });
    })
}

/// The database as it may be shown: without its password.
fn shown(url: &str) -> String {
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
fn banner(url: &str, address: SocketAddr, database: &str) -> String {
    let key = crate::seal::EXAMPLE_PUB;
    let data = base64url::encode("hello");
    let program = program();
    let version = env!("CARGO_PKG_VERSION");
    format!(
        r#"connectoid {version} listens on http://{address}, keeps its messages in {database}

Try it from another terminal; the box of this example is everybody's:

  curl {url}/ -d '{{"pub":"{key}","ext":null,"action":"send","data":"{data}"}}'

  curl {url}/ -d '{{"pub":"{key}","ext":null,"action":"check","at":0}}'

  curl -s {url}/ -d '{{"pub":"{key}","ext":null,"action":"check","at":0}}' | {program} answer --example | curl {url}/ -d @-

A box of your own:  {program} link --relay {url} --for Bob
"#
    )
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
        Some(shorter) => quoted(&format!("./{}", shorter.display())),
        None => quoted(&path.display().to_string()),
    }
}

/// A word for the shell: as it stands if it may, else in quotes.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%".contains(c);
    if word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let code = match error {
            StartError::Listen { .. } => 10,
            StartError::Open(OpenError::NewerSchema(_)) => 12,
            StartError::Open(_) | StartError::Store(_) => 11,
        };
        Self::with(code, error)
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
    fn times_of_a_second_to_a_century() {
        assert_eq!(at_least_a_second("30d"), Ok(Duration::from_secs(2_592_000)));
        for wrong in ["0s", "500ms", "101y", "1", "soon", "-1s"] {
            assert!(at_least_a_second(wrong).is_err(), "{wrong}");
        }
    }
}
