//! `POST /`: the protocol. Any content type, since `curl -d` sends a form's and browsers spare themselves the
//! preflight with text/plain.

use std::{sync::Arc, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{ConnectionType, header},
    web::{Bytes, Data, Payload},
};
use futures_util::StreamExt as _;
use tokio::{sync::oneshot, time::Instant};

use super::{About, Peer, Shared, in_json, json, refuse};
use crate::{
    protocol::{At, Checked, Received, Refusal, RelayUrl, Reply, Request, base64url, limits::MAX_MANY_BYTES},
    relay::{AtOnce, Caller},
};

/// What most requests are answered, by far: that nothing is found.
const NOTHING_FOUND: &str = "{\"ok\":true,\"found\":false}\n";

/// Answers a request of the protocol.
pub(super) async fn post(request: HttpRequest, payload: Payload, shared: Data<Shared>) -> HttpResponse {
    let peer = request.conn_data::<Arc<Peer>>().cloned().unwrap_or_default();
    let body = peer.reads_body().within(shared.body_timeout, read_body(&request, payload)).await;
    let Some(body) = body else {
        count(&shared, "none", "Bad request", shared.body_timeout);
        shared.metrics.closed("body");
        let seconds = shared.body_timeout.as_secs_f64();
        let mut reply = refuse(&Refusal::bad(format!("the body did not arrive within {seconds} seconds")));
        reply.head_mut().set_connection_type(ConnectionType::Close);
        return reply;
    };
    let answered = answer(&request, body, &shared).await;
    // What is refused is to cost nothing.
    if let (Some(upkeep), true) = (&shared.upkeep, answered.is_ok()) {
        upkeep.with_request(&shared.runtime).await;
    }
    match answered {
        Ok(reply) => written(&reply),
        Err(refusal) => refuse(&refusal),
    }
}

/// A reply in JSON. Those that are given most are not worked out as the others are.
fn written(reply: &Reply) -> HttpResponse {
    match reply {
        Reply::Checked(Checked { ok: true, found: false, question: None, relay: None }) => {
            json(HttpResponse::Ok(), NOTHING_FOUND)
        }
        Reply::Received(Received::One { ok: true, at, data }) => json(HttpResponse::Ok(), one(*at, data)),
        reply => in_json(HttpResponse::Ok(), reply),
    }
}

/// One message: in its base64url there is nothing for JSON to escape, so nobody looks for it.
fn one(at: At, data: &[u8]) -> String {
    let mut text = String::with_capacity(64 + data.len().div_ceil(3) * 4);
    text.push_str("{\"ok\":true,\"at\":");
    text.push_str(&at.as_i64().to_string());
    text.push_str(",\"data\":\"");
    base64url::append(data, &mut text);
    text.push_str("\"}\n");
    text
}

/// Counts a request, and logs it.
fn count(shared: &Shared, action: &'static str, result: &'static str, took: Duration) {
    shared.metrics.request(action, result, took);
    // Never a box, a body, an answer, an ext or an address.
    tracing::debug!(action, result);
}

async fn answer(
    request: &HttpRequest,
    body: Result<Bytes, Refusal>,
    shared: &Data<Shared>,
) -> Result<Reply, Refusal> {
    let started = Instant::now();
    let log = |action, result| count(shared, action, result, started.elapsed());
    let source = shared.clients.source(request);
    let relay = &shared.relay;
    let many = |boxes| shared.limiter.check(source, boxes);
    let parsed = match body.and_then(|body| relay.parse(&body, many)) {
        Ok(parsed) => parsed,
        Err(refusal) => {
            // Else nonsense would be the one thing that costs nothing.
            let counted = matches!(refusal, Refusal::TooOften { .. });
            let too_often = if counted { None } else { shared.limiter.check(source, 1).err() };
            let refusal = too_often.unwrap_or(refusal);
            log("none", refusal.error());
            return Err(refusal);
        }
    };
    let action = if parsed.waits() { "wait" } else { parsed.action() };
    shared.limiter.admit(source, &parsed).inspect_err(|refusal| log(action, refusal.error()))?;
    let called = called_as(request, &shared.about);
    let answer = match relay.answer_at_once(&parsed, called.as_ref()) {
        Err(refusal) => Err(refusal),
        Ok(Some(AtOnce::Reply(reply))) => Ok(reply),
        Ok(Some(AtOnce::Ask { key, relay: url, found })) => relay.ask(key, &url, found).await,
        Ok(None) => {
            let (here, gone) = oneshot::channel();
            let caller = Caller { called, source: Some(source), gone };
            // In boxes: actix moves this future about, and the replies that come at once need none of that room.
            if relay.may_be_dropped(&parsed) {
                Box::pin(relay.answer(parsed, caller)).await
            } else {
                Box::pin(work_out(request, parsed, caller, here, shared)).await
            }
        }
    };
    log(action, answer.as_ref().map_or_else(Refusal::error, |_| "ok"));
    answer
}

/// The answer to a request that needs the database, off this thread: see [`Shared::runtime`]. `here` is what the caller
/// knows by that somebody waits.
async fn work_out(
    request: &HttpRequest,
    parsed: Request,
    caller: Caller,
    here: oneshot::Sender<()>,
    shared: &Shared,
) -> Result<Reply, Refusal> {
    let relay = shared.relay.clone();
    let mut work = shared.runtime.spawn(async move { relay.answer(parsed, caller).await });
    let left = async {
        match request.conn_data::<Arc<Peer>>() {
            Some(peer) => peer.gone().await,
            None => std::future::pending().await,
        }
    };
    let done = tokio::select! {
        done = &mut work => done,
        () = left => {
            // A check that waits is answered now: its client is gone, or says that nothing more will come from it.
            drop(here);
            work.await
        }
    };
    done.unwrap_or(Err(Refusal::Busy { retry_after: 1 }))
}

/// The whole body, as long as it is not too big.
async fn read_body(request: &HttpRequest, mut payload: Payload) -> Result<Bytes, Refusal> {
    let mut encodings = request.headers().get_all(header::CONTENT_ENCODING);
    if !encodings.all(|encoding| encoding.is_empty() || encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
    {
        return Err(Refusal::bad("bodies are taken uncompressed: send it without Content-Encoding"));
    }
    let announced =
        request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: u64| length > MAX_MANY_BYTES as u64) {
        return Err(Request::too_big());
    }
    // Most come in one piece, which needs no other place.
    let (mut first, mut body) = (Bytes::new(), Vec::new());
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| Refusal::bad("the body ended early or was not well formed"))?;
        if body.len().max(first.len()) + chunk.len() > MAX_MANY_BYTES {
            return Err(Request::too_big());
        }
        if first.is_empty() && body.is_empty() {
            first = chunk;
            continue;
        }
        // It is a part of what actix reads into, which can be used again then.
        body.extend_from_slice(&std::mem::take(&mut first));
        body.extend_from_slice(&chunk);
    }
    Ok(if body.is_empty() { first } else { body.into() })
}

/// The URL this relay was called by. With URLs of its own it never reads the Host header.
pub(super) fn called_as(request: &HttpRequest, about: &About) -> Option<RelayUrl> {
    if !about.urls.is_empty() {
        return None;
    }
    let host = request.headers().get(header::HOST)?.to_str().ok()?;
    RelayUrl::from_host_header(host, about.led_by_host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_by_hand_is_what_would_be_written() {
        let as_the_others = |reply: Reply| serde_json::to_string(&reply).unwrap() + "\n";
        let nothing = Checked { ok: true, found: false, question: None, relay: None };
        assert_eq!(as_the_others(Reply::Checked(nothing)), NOTHING_FOUND);
        for (at, length) in [(0, 1), (7, 2), (1_795_158_000_000_000, 4096), (At::MAX.as_i64(), 16_384)] {
            let (at, data) = (At::from(at), (0..length).map(|n| n as u8).collect::<Vec<u8>>());
            let text = one(at, &data);
            assert!(text.capacity() < 96 + length * 4 / 3, "made in one piece");
            assert_eq!(as_the_others(Reply::Received(Received::One { ok: true, at, data })), text);
        }
    }
}
