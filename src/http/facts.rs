//! What a relay says of itself to programs: its limits, its health, its metrics, its description.

use std::slice;

use actix_web::{HttpRequest, HttpResponse, http::header, web::Data};
use serde::Serialize;

use super::{About, Shared, endpoint::called_as, in_json, refuse};
use crate::{
    protocol::{RelayUrl, Reply, limits},
    relay::Rate,
};

/// The HTTP surface, as it stands at the root of the repository.
const OPENAPI: &str = include_str!("../../openapi.yaml");

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Info<'a> {
    ok: bool,
    name: &'static str,
    version: &'static str,
    protocol: u32,
    /// Unix microseconds, as in `at`.
    time: i64,
    /// The source that the asker counts as.
    client: String,
    relays: &'a [RelayUrl],
    /// Whether requests need an API key in `ext`.
    api_key: bool,
    limits: Limits,
}

/// Bytes, counts and seconds. `null` where there is no limit.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Limits {
    request_bytes: usize,
    message_bytes: usize,
    receive: u32,
    check_boxes: u32,
    check_bytes: usize,
    wait: u64,
    box_messages: Option<u32>,
    box_bytes: Option<u32>,
    box_messages_per_source: Option<u32>,
    total_bytes: Option<u64>,
    message_ttl: u64,
    answer_ttl: u64,
    box_ttl: u64,
    send_rate: Option<Rate>,
    send_to_box_rate: Option<Rate>,
    check_rate: Option<Rate>,
    receive_rate: Option<Rate>,
}

/// `GET /info`
pub(super) async fn info(request: HttpRequest, shared: Data<Shared>) -> HttpResponse {
    let About { urls, led_by_host, keep, answer_ttl, max_wait, api_key, rates, .. } = &shared.about;
    let called = if *led_by_host { called_as(&request, &shared.about) } else { None };
    let info = Info {
        ok: true,
        name: "connectoid",
        version: env!("CARGO_PKG_VERSION"),
        protocol: 1,
        time: shared.relay.now(),
        client: shared.clients.source(&request).text(),
        relays: called.as_ref().map_or(urls, slice::from_ref),
        api_key: *api_key,
        limits: Limits {
            request_bytes: limits::MAX_REQUEST_BYTES,
            message_bytes: limits::MAX_DATA_BYTES,
            receive: limits::MAX_RECEIVE,
            check_boxes: rates.most_boxes(),
            check_bytes: limits::MAX_MANY_BYTES,
            wait: max_wait.as_secs(),
            box_messages: keep.box_cap.map(|cap| cap.messages),
            box_bytes: keep.box_cap.map(|cap| cap.bytes),
            box_messages_per_source: keep.box_cap.map(|cap| cap.messages_per_sender),
            total_bytes: keep.max_bytes,
            message_ttl: keep.message_ttl.as_secs(),
            answer_ttl: answer_ttl.as_secs(),
            box_ttl: keep.box_ttl.as_secs(),
            send_rate: rates.send,
            send_to_box_rate: rates.send_to_box,
            check_rate: rates.check,
            receive_rate: rates.receive,
        },
    };
    in_json(HttpResponse::Ok(), &info)
}

/// `GET /health`: the process answers. Touches no database.
pub(super) async fn health() -> HttpResponse {
    in_json(HttpResponse::Ok(), &Reply::DONE)
}

/// `GET /ready`: the database answers too.
pub(super) async fn ready(shared: Data<Shared>) -> HttpResponse {
    let relay = shared.relay.clone();
    match shared.runtime.spawn(async move { relay.ready().await }).await {
        Ok(Ok(_)) => health().await,
        Ok(Err(refusal)) => refuse(&refusal),
        Err(_) => refuse(&crate::protocol::Refusal::Busy { retry_after: 1 }),
    }
}

/// `GET /metrics`: for who watches, and not for the pages of others in a browser that reaches this relay.
pub(super) async fn metrics(shared: Data<Shared>) -> HttpResponse {
    let held = shared.relay.held();
    let gauge = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    shared.metrics.messages.set(gauge(held.messages));
    shared.metrics.bytes.set(gauge(held.bytes));
    shared.metrics.boxes.set(gauge(held.boxes));
    shared.metrics.taken.set(gauge(held.on_disk()));
    shared.limiter.count_keys();
    let mut reply = match shared.metrics.text() {
        Ok(text) => HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(text),
        Err(error) => {
            tracing::error!(%error, "the metrics could not be written");
            refuse(&crate::protocol::Refusal::Busy { retry_after: 1 })
        }
    };
    reply
        .headers_mut()
        .insert(header::CROSS_ORIGIN_RESOURCE_POLICY, header::HeaderValue::from_static("same-origin"));
    reply
}

/// `GET /openapi.yaml`
pub(super) async fn openapi() -> HttpResponse {
    HttpResponse::Ok().content_type("application/yaml").body(OPENAPI)
}
