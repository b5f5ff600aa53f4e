//! `POST /`: the protocol. Any content type, since `curl -d` sends a form's and browsers spare themselves the
//! preflight with text/plain.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header,
    web::{Data, Payload},
};
use futures_util::StreamExt as _;

use super::{Shared, refuse};
use crate::protocol::{Refusal, RelayUrl, Reply, limits::MAX_REQUEST_BYTES};

/// Answers a request of the protocol.
pub(super) async fn post(request: HttpRequest, payload: Payload, shared: Data<Shared>) -> HttpResponse {
    match answer(&request, payload, &shared).await {
        Ok(reply) => HttpResponse::Ok().json(reply),
        Err(refusal) => refuse(&refusal),
    }
}

async fn answer(request: &HttpRequest, payload: Payload, shared: &Data<Shared>) -> Result<Reply, Refusal> {
    let source = shared.clients.source(request);
    let relay = shared.relay.clone();
    let parsed = match read_body(request, payload).await.and_then(|body| relay.parse(&body)) {
        Ok(parsed) => parsed,
        Err(refusal) => {
            log("none", refusal.error());
            // Else nonsense would be the one thing that costs nothing.
            shared.limiter.check(source, 1)?;
            return Err(refusal);
        }
    };
    let action = parsed.action();
    shared.limiter.admit(source, &parsed).inspect_err(|refusal| log(action, refusal.error()))?;
    // With URLs of its own the relay never reads the Host header.
    let called = if shared.about.urls.is_empty() { called_as(request) } else { None };
    let work = shared.runtime.spawn(async move { relay.answer(parsed, called).await });
    let answer = work.await.unwrap_or(Err(Refusal::Busy { retry_after: 1 }));
    log(action, answer.as_ref().map_or_else(Refusal::error, |_| "ok"));
    answer
}

/// Which action and what came of it; never a box, a body, an answer, an ext or an address.
fn log(action: &'static str, result: &'static str) {
    tracing::debug!(action, result);
}

/// The whole body, as long as it is not too big.
async fn read_body(request: &HttpRequest, mut payload: Payload) -> Result<Vec<u8>, Refusal> {
    let too_big = || Refusal::TooBig { detail: "a request is at most 32768 bytes".into() };
    let announced =
        request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: u64| length > MAX_REQUEST_BYTES as u64) {
        return Err(too_big());
    }
    let mut body = Vec::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| Refusal::bad("the body ended early or was not well formed"))?;
        if body.len() + chunk.len() > MAX_REQUEST_BYTES {
            return Err(too_big());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The URL this relay was called by. Only read by a relay that was given none of its own.
pub(super) fn called_as(request: &HttpRequest) -> Option<RelayUrl> {
    RelayUrl::from_host_header(request.headers().get(header::HOST)?.to_str().ok()?)
}
