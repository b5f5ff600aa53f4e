//! The HTTP transport, on tokio: one request, one reply, under the client rules of the protocol.
//!
//! No redirects, no cookies, no credentials; a reply of at most 1 MiB within 10 seconds beyond the `wait` asked for.

use std::{
    error::Error,
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{
    Uri,
    body::Bytes,
    header::{CONTENT_TYPE, HeaderValue, USER_AGENT},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::{
        legacy::{
            Client,
            connect::{HttpConnector, proxy::Tunnel},
        },
        proxy::matcher::Matcher,
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use rustls::CertificateError;
use serde::de::DeserializeOwned;
use tokio::{net::TcpStream, time};
use tower_service::Service;

use super::exchange::{self, Misbehaviour, NoReply, one_line};
use crate::protocol::{RelayUrl, Request, limits::MAX_REPLY_BYTES};

/// How often a request is sent before its relay counts as down.
const TRIES: u32 = 3;

/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long a connection is kept without use. A relay closes it after 75 s: to be there first spares a failure.
const IDLE: Duration = Duration::from_secs(70);

/// The longest reason that is passed on, in characters.
const MAX_REASON_CHARS: usize = 200;

/// Talks to relays. Connections are kept and used again; a clone shares them.
///
/// It belongs to the tokio runtime (with I/O and time) in which it is used.
///
/// **Cancellation.** Any of its futures may be dropped at any time: that closes the request's connection, or the attempt
/// at one. (A name that the system is looking up is looked up to its end, and forgotten.) The relay may have done by
/// then what it was asked; to ask again with the same bytes is safe.
///
/// **Back-pressure.** It has no queue. Each request under way takes a connection, and at most 1 MiB for its reply; how
/// many there are at once is for the caller to bound.
#[derive(Clone)]
pub struct Transport {
    client: Client<HttpsConnector<Way>, Full<Bytes>>,
}

/// Why this relay gave no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{relay} {why}")]
pub struct TransportError {
    /// Which relay.
    pub relay: RelayUrl,
    /// What it did instead.
    pub why: NoReply,
}

impl Default for Transport {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").finish_non_exhaustive()
    }
}

impl Transport {
    /// A transport without connections yet. For https it takes the proxy of the environment: `HTTPS_PROXY` or
    /// `ALL_PROXY`, where `NO_PROXY` does not say otherwise; it must be an `http://` one.
    pub fn new() -> Self {
        let mut direct = HttpConnector::new();
        direct.enforce_http(false);
        direct.set_nodelay(true);
        // The authorities of the web come with the program, so that it needs nothing of the machine. Ring is named, for
        // an app may have brought a second provider. It speaks all versions: the second arm is never taken.
        let tls = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())
            .unwrap_or_else(|_| HttpsConnectorBuilder::new().with_webpki_roots());
        let way = Way { direct, proxies: Arc::new(Matcher::from_env()) };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(tls.https_or_http().enable_http1().wrap_connector(way));
        Self { client }
    }

    /// Sends a request and reads the reply to it. It has [`exchange::patience`]. May be dropped at any time.
    ///
    /// # Errors
    /// [`TransportError`]; trying again is safe after every one of them.
    pub async fn ask<T: DeserializeOwned>(
        &self,
        relay: &RelayUrl,
        request: &Request,
    ) -> Result<T, TransportError> {
        self.ask_with(relay, exchange::body(request), exchange::patience(request)).await
    }

    /// As [`Transport::ask`], and again if the relay was not reached or is busy: three times at most, the same bytes, so
    /// that nothing is stored twice. Pauses for a second, or for what a busy relay asks for if that is at most five.
    ///
    /// # Errors
    /// Those of the last try.
    pub async fn ask_patiently<T: DeserializeOwned>(
        &self,
        relay: &RelayUrl,
        request: &Request,
    ) -> Result<T, TransportError> {
        let (body, patience) = (exchange::body(request), exchange::patience(request));
        let mut tries = 1;
        loop {
            let error = match self.ask_with(relay, body.clone(), patience).await {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            let pause = match &error.why {
                NoReply::Unreachable(_) => Duration::from_secs(1),
                NoReply::Refused(body) if body.error == "Busy" => {
                    Duration::from_secs(body.retry_after.unwrap_or(1).into())
                }
                _ => return Err(error),
            };
            if tries == TRIES || pause > LONGEST_PAUSE {
                return Err(error);
            }
            tries += 1;
            time::sleep(pause).await;
        }
    }

    async fn ask_with<T: DeserializeOwned>(
        &self,
        relay: &RelayUrl,
        body: Vec<u8>,
        patience: Duration,
    ) -> Result<T, TransportError> {
        let posted = self.post(relay, body, patience).await;
        posted
            .and_then(|(status, reply)| exchange::read(status, &reply))
            .map_err(|why| TransportError { relay: relay.clone(), why })
    }

    /// Posts these bytes: the status and the body that came back, for [`exchange::read`]. `patience` is for all of it, from
    /// looking up the name to the last byte of the reply. May be dropped at any time.
    ///
    /// # Errors
    /// [`NoReply::Unreachable`], and [`Misbehaviour::TooLarge`] as soon as more than 1 MiB came.
    pub async fn post(
        &self,
        relay: &RelayUrl,
        body: Vec<u8>,
        patience: Duration,
    ) -> Result<(u16, Vec<u8>), NoReply> {
        // text/plain is what browsers send without a preflight; all clients look alike.
        let request = hyper::Request::post(relay.as_str()).header(CONTENT_TYPE, "text/plain").body(body);
        let request =
            request.map_err(|error| NoReply::Unreachable(format!("its URL cannot be asked: {error}")))?;
        let (head, body) = self.run(request, patience).await?.into_parts();
        Ok((head.status.as_u16(), body))
    }

    /// Any request of HTTP, under the same rules.
    pub(crate) async fn run(
        &self,
        request: hyper::Request<Vec<u8>>,
        patience: Duration,
    ) -> Result<hyper::Response<Vec<u8>>, NoReply> {
        let mut request = request.map(|body| Full::new(Bytes::from(body)));
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static("connectoid"));
        let replying = async {
            let response = self.client.request(request).await.map_err(|error| unreachable(&error))?;
            let (head, body) = response.into_parts();
            let most = usize::try_from(MAX_REPLY_BYTES).unwrap_or(usize::MAX);
            let body = Limited::new(body, most).collect().await.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    NoReply::Misbehaves(Misbehaviour::TooLarge)
                } else {
                    unreachable(&*error)
                }
            })?;
            Ok(hyper::Response::from_parts(head, body.to_bytes().into()))
        };
        time::timeout(patience, replying).await.unwrap_or_else(|_| {
            Err(NoReply::Unreachable(format!("no whole reply within {} s", patience.as_secs_f64())))
        })
    }
}

/// The way to a relay: straight for http, which is for this machine, else through the proxy of the environment if
/// there is one.
#[derive(Clone)]
struct Way {
    direct: HttpConnector,
    proxies: Arc<Matcher>,
}

/// Why there is no way, in a few words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NoWay(String);

impl Service<Uri> for Way {
    type Response = TokioIo<TcpStream>;
    type Error = NoWay;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, NoWay>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), NoWay>> {
        self.direct.poll_ready(cx).map_err(|error| NoWay(words(&error)))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let local = to.scheme_str() == Some("http");
        let Some(proxy) = self.proxies.intercept(&to).filter(|_| !local) else {
            let connecting = self.direct.call(to);
            return Box::pin(async move {
                let stream = connecting.await.map_err(|error| NoWay(words(&error)))?;
                if local {
                    stream.inner().peer_addr().map_err(|error| NoWay(words(&error))).and_then(is_here)?;
                }
                Ok(stream)
            });
        };
        if proxy.uri().scheme_str() != Some("http") {
            return Box::pin(async { Err(NoWay("the environment's proxy must be an http:// one".into())) });
        }
        let mut tunnel = Tunnel::new(proxy.uri().clone(), self.direct.clone());
        if let Some(password) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(password.clone());
        }
        let connecting = tunnel.call(to);
        Box::pin(async move {
            connecting
                .await
                .map_err(|error| NoWay(format!("through the environment's proxy: {}", words(&error))))
        })
    }
}

/// What is not encrypted does not leave this machine, whatever a name under localhost leads to.
fn is_here(peer: SocketAddr) -> Result<(), NoWay> {
    if peer.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    Err(NoWay(format!("http is for this machine only, and its name leads to {}", peer.ip())))
}

fn unreachable(error: &(dyn Error + 'static)) -> NoReply {
    NoReply::Unreachable(words(error))
}

/// An error as a few words for a person: of the first of its causes that is known here, else of the deepest.
fn words(error: &(dyn Error + 'static)) -> String {
    let (mut cause, mut deepest) = (Some(error), error);
    while let Some(error) = cause {
        if let Some(NoWay(words)) = error.downcast_ref() {
            return words.clone();
        }
        let tls = error.downcast_ref().map(words_of_tls);
        let http = error.downcast_ref().and_then(words_of_http);
        let io = error.downcast_ref::<io::Error>();
        if let Some(words) = tls.or(http).or(io.and_then(words_of_io)) {
            return words.into();
        }
        deepest = error;
        // What an io::Error was made of is not among its sources.
        cause = match io.and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    one_line(&deepest.to_string(), MAX_REASON_CHARS)
}

/// An end that came too early, wherever it was noticed.
const CUT: &str = "it closed the connection without a whole reply";

fn words_of_io(error: &io::Error) -> Option<&'static str> {
    Some(match error.kind() {
        io::ErrorKind::ConnectionRefused => "nothing listens there (connection refused)",
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => CUT,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "there is no way to it",
        io::ErrorKind::TimedOut => "nothing answers there",
        _ => return None,
    })
}

fn words_of_http(error: &hyper::Error) -> Option<&'static str> {
    if error.is_parse() {
        return Some("its reply is not HTTP");
    }
    error.is_incomplete_message().then_some(CUT)
}

fn words_of_tls(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired, or this machine's clock is wrong"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet, or this machine's clock is wrong"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate is for another name"
            }
            // One that signed itself is either.
            CertificateError::UnknownIssuer | CertificateError::Other(_) => {
                "its certificate is from no authority that is known here"
            }
            _ => "its certificate is not valid",
        },
        rustls::Error::InvalidMessage(_) => "it does not speak TLS",
        rustls::Error::AlertReceived(_) => "it refused the TLS connection",
        _ => "no TLS connection came about with it",
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read as _,
        net::{TcpListener, UdpSocket},
    };

    use super::*;

    #[test]
    fn what_is_not_encrypted_stays_here() {
        for here in ["127.0.0.1:80", "127.9.9.9:8080", "[::1]:80", "[::ffff:127.0.0.1]:80"] {
            assert!(is_here(here.parse().unwrap()).is_ok(), "{here}");
        }
        for (elsewhere, address) in [
            ("192.168.1.5:80", "192.168.1.5"),
            ("0.0.0.0:80", "0.0.0.0"),
            ("[2001:db8::1]:80", "2001:db8::1"),
            ("[::ffff:10.0.0.1]:80", "::ffff:10.0.0.1"),
        ] {
            assert_eq!(
                is_here(elsewhere.parse().unwrap()).unwrap_err().to_string(),
                format!("http is for this machine only, and its name leads to {address}")
            );
        }
    }

    #[test]
    fn a_request_over_http_stays_here_too() {
        // What routes lead through; nothing is sent.
        let way = UdpSocket::bind("0.0.0.0:0").unwrap();
        let own = way.connect("192.0.2.1:9").and_then(|()| way.local_addr()).map(|address| address.ip());
        let own = own.expect("needs a network beside the loopback: run this where there is a default route");
        let listener = TcpListener::bind((own, 0)).unwrap();
        let (name, port) = (own.to_string(), listener.local_addr().unwrap().port());
        let request = hyper::Request::post(format!("http://{name}:{port}/")).body(b"hi".to_vec()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let asked = async { Transport::new().run(request, Duration::from_secs(30)).await };
        let why = runtime.block_on(asked).unwrap_err();
        let words = format!("http is for this machine only, and its name leads to {name}");
        assert_eq!(why, NoReply::Unreachable(words));
        let mut sent = Vec::new();
        listener.accept().unwrap().0.read_to_end(&mut sent).unwrap();
        assert!(sent.is_empty());
    }
}
