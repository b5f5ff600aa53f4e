//! The HTTP surface: one endpoint for the protocol, and a few pages about the relay. actix is spoken here, and in `server`, which runs it.

mod client_address;
mod connection;
pub(crate) mod demo;
mod endpoint;
mod facts;
mod listen;
mod page;
mod places;

use std::{
    io::{self, Write as _},
    sync::Arc,
    time::Duration,
};

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder, Resource,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    guard::{self, GuardContext},
    http::{
        Method, StatusCode,
        header::{self, HeaderName, HeaderValue},
    },
    middleware::Next,
    web::{self, ServiceConfig},
};
use serde::Serialize;

pub(crate) use self::{
    client_address::Clients,
    listen::{Surface, listen},
};
pub use self::{
    client_address::{ClientAddress, ToldBy},
    listen::Connections,
};
use self::{
    connection::{Peer, in_work},
    demo::Demo,
};
use crate::{
    metrics::Metrics,
    protocol::{Refusal, RelayUrl},
    relay::{Limiter, Rates, Relay, Upkeep},
    store::Keep,
};

/// What the handlers share.
pub(crate) struct Shared {
    pub(crate) relay: Arc<Relay>,
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) clients: Clients,
    pub(crate) about: About,
    /// Where requests are answered. Handlers are dropped when a client goes away, and database connections belong to
    /// the runtime that opened them: neither must touch the work itself.
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) metrics: Arc<Metrics>,
    /// How long a body may take.
    pub(crate) body_timeout: Duration,
    /// What is done with requests, where the relay does nothing by itself.
    pub(crate) upkeep: Option<Upkeep>,
}

/// What the relay says of itself.
#[derive(Debug, Clone)]
pub(crate) struct About {
    pub(crate) urls: Vec<RelayUrl>,
    /// Whether, with no URLs, it is reached by https under the Host header of the request.
    pub(crate) led_by_host: bool,
    pub(crate) keep: Keep,
    pub(crate) answer_ttl: Duration,
    pub(crate) max_wait: Duration,
    /// Whether requests need an API key in `ext`.
    pub(crate) api_key: bool,
    pub(crate) rates: Rates,
    pub(crate) sweep_interval: Duration,
    pub(crate) sweep_with_requests: bool,
    /// Whether there is a demo.
    pub(crate) demo: bool,
}

/// A path that is only to be looked at.
fn only(path: &str) -> Resource {
    web::resource(path.to_owned()).route(options()).default_service(web::to(only_get))
}

/// Without a preflight: what other pages may not ask for needs none.
fn metrics() -> Resource {
    let others = || async { refuse(&method_not_allowed("GET, HEAD")) };
    web::resource("/metrics").route(get_or_head().to(facts::metrics)).default_service(web::to(others))
}

fn health() -> Resource {
    only("/health").route(get_or_head().to(facts::health))
}

/// Every path of a listener for metrics.
fn metrics_routes(config: &mut ServiceConfig) {
    config.service(metrics()).service(health()).default_service(web::to(elsewhere));
}

/// Every path of the relay. Its metrics are not among them if they have a listener of their own.
fn relay_routes(config: &mut ServiceConfig, with_metrics: bool, demo: Option<&Demo>) {
    // First: they are tried one after the other.
    config.service(
        web::resource("/")
            .route(web::route().guard(guard::fn_guard(is_post)).to(endpoint::post))
            .route(get_or_head().to(page::front))
            .route(options())
            .default_service(web::to(|| async { refuse(&method_not_allowed("GET, HEAD, OPTIONS, POST")) })),
    );
    if with_metrics {
        config.service(metrics());
    }
    if let Some(demo) = demo {
        demo.routes(config);
    }
    config
        .service(only("/privacy").route(get_or_head().to(page::privacy)))
        .service(only("/page.css").route(get_or_head().to(page::style)))
        .service(only("/page.js").route(get_or_head().to(page::script)))
        .service(only("/icon.svg").route(get_or_head().to(page::icon)))
        .service(only("/info").route(get_or_head().to(facts::info)))
        .service(health())
        .service(only("/ready").route(get_or_head().to(facts::ready)))
        .service(only("/openapi.yaml").route(get_or_head().to(facts::openapi)))
        .default_service(web::to(elsewhere));
}

/// A header of many replies.
type Header = (HeaderName, HeaderValue);

/// Of every reply that does not say so itself, errors included: it is not cached.
static NO_STORE: Header = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));

/// Of every reply: it is not taken for another type.
static NO_SNIFF: Header = (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));

/// Of all that is for everybody: any page may ask.
static ANY_ORIGIN: Header = (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));

/// And may read when it is worth another try, where the reply says so.
static RETRY_IS_READ: Header =
    (header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Retry-After"));

/// The middleware around all handlers: [`in_work`], and the headers on each reply. One that says it is for its own origin only gets
/// no CORS.
async fn around(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let mut reply = in_work(request, next).await?;
    let headers = reply.headers_mut();
    let for_all = !headers.contains_key(header::CROSS_ORIGIN_RESOURCE_POLICY);
    let says_when = headers.contains_key(header::RETRY_AFTER);
    let may_be_stored = headers.contains_key(header::CACHE_CONTROL);
    let mut insert = |(name, value): &Header| headers.insert(name.clone(), value.clone());
    insert(&NO_SNIFF);
    if !may_be_stored {
        insert(&NO_STORE);
    }
    if for_all {
        insert(&ANY_ORIGIN);
        if says_when {
            insert(&RETRY_IS_READ);
        }
    }
    Ok(reply)
}

/// As `guard::Post`, which also notes for each request which methods were asked about, in memory of its own.
fn is_post(request: &GuardContext<'_>) -> bool {
    request.head().method == Method::POST
}

fn get_or_head() -> actix_web::Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

/// The CORS preflight: never limited, remembered for a day.
fn options() -> actix_web::Route {
    web::method(Method::OPTIONS).to(preflight)
}

async fn preflight() -> HttpResponse {
    HttpResponse::NoContent()
        .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, OPTIONS, POST"))
        .insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, "Content-Type"))
        .insert_header((header::ACCESS_CONTROL_MAX_AGE, "86400"))
        .finish()
}

async fn elsewhere(request: HttpRequest) -> HttpResponse {
    if request.method() == Method::OPTIONS { preflight().await } else { refuse(&Refusal::NotFound) }
}

async fn only_get() -> HttpResponse {
    refuse(&method_not_allowed("GET, HEAD, OPTIONS"))
}

fn method_not_allowed(allow: &'static str) -> Refusal {
    Refusal::MethodNotAllowed { allow }
}

/// A reply in JSON. It ends its line, for people with curl: their prompt stands on the next.
fn in_json(reply: HttpResponseBuilder, value: &impl Serialize) -> HttpResponse {
    match serde_json::to_vec(value) {
        Ok(mut body) => {
            body.push(b'\n');
            json(reply, body)
        }
        Err(error) => {
            tracing::error!(%error, "a reply could not be written");
            HttpResponse::InternalServerError().finish()
        }
    }
}

fn json(mut reply: HttpResponseBuilder, body: impl MessageBody + 'static) -> HttpResponse {
    reply.insert_header((header::CONTENT_TYPE, HeaderValue::from_static("application/json"))).body(body)
}

/// The one place where a refusal becomes a status, headers and bytes.
fn refuse(refusal: &Refusal) -> HttpResponse {
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut reply = HttpResponse::build(status);
    if let Some(seconds) = refusal.retry_after() {
        reply.insert_header((header::RETRY_AFTER, HeaderValue::from(seconds)));
    }
    if let Refusal::MethodNotAllowed { allow } = refusal {
        reply.insert_header((header::ALLOW, *allow));
    }
    in_json(reply, &refusal.body())
}

/// A refusal for a connection that gets no further than that, as all of its bytes.
fn refusal_on_the_wire(refusal: &Refusal) -> io::Result<Vec<u8>> {
    let reply = refuse(refusal);
    let mut bytes = format!("HTTP/1.1 {}\r\n", reply.status()).into_bytes();
    let retry = reply.headers().contains_key(header::RETRY_AFTER).then_some(&RETRY_IS_READ);
    let ours =
        [&NO_STORE, &NO_SNIFF, &ANY_ORIGIN].into_iter().chain(retry).map(|(name, value)| (name, value));
    for (name, value) in reply.headers().iter().chain(ours) {
        bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    let mut body = serde_json::to_vec(&refusal.body())?;
    body.push(b'\n');
    write!(bytes, "content-length: {}\r\nconnection: close\r\n\r\n", body.len())?;
    bytes.extend(body);
    Ok(bytes)
}
