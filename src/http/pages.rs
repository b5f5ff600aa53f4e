//! What a relay says of itself: its front page or help for curl, its limits, its health, its description.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, ContentType},
    web::Data,
};
use serde::Serialize;

use super::{About, Shared, endpoint::called_as, in_json, page, refuse};
use crate::{
    protocol::{RelayUrl, Reply, limits},
    relay::Rate,
    store::Keep,
};

/// The HTTP surface, as it stands at the root of the repository.
const OPENAPI: &str = include_str!("../../openapi.yaml");

/// `GET /`: a page for browsers, help for everyone else.
pub(super) async fn front(request: HttpRequest, shared: Data<Shared>) -> HttpResponse {
    let about = &shared.about;
    if page::wants_html(&request) {
        return page::index(&request, about);
    }
    HttpResponse::Ok()
        .content_type(ContentType::plaintext())
        .insert_header((header::VARY, "Accept"))
        .body(help_text(&shell_word(&url_of(&request, about)), about))
}

/// The URL to show for this relay: its own, else the one it was called by.
pub(super) fn url_of(request: &HttpRequest, about: &About) -> String {
    let url = about.urls.first().cloned().or_else(|| called_as(request));
    url.as_ref().map_or("http://THIS-RELAY", RelayUrl::as_str).to_owned()
}

/// A URL as one word for a shell: in quotes if it holds anything that a shell might take for its own. A host may.
pub(super) fn shell_word(url: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/.:_-+@%".contains(c);
    if url.chars().all(plain) { url.to_owned() } else { format!("'{}'", url.replace('\'', r"'\''")) }
}

fn help_text(url: &str, about: &About) -> String {
    let Keep { message_ttl, box_ttl, .. } = about.keep;
    format!(
        r#"connectoid {version}: a mailbox relay. Send a link; two apps connect.

A box is addressed by a P-384 public key (PUB: 66 characters of base64url). Whoever has the key may send;
whoever holds the private key may receive. Messages live {message_ttl}, unchecked boxes {box_ttl}.

  send     curl {url}/ -d '{{"pub":"PUB","ext":null,"action":"send","data":"BASE64URL"}}'
  check    curl {url}/ -d '{{"pub":"PUB","ext":null,"action":"check","at":0}}'
  receive  curl {url}/ -d '{{"pub":"PUB","ext":null,"answer":"ANSWER","action":"receive","at":0,"limit":1}}'

check replies with a sealed question; ANSWER is what the private key opens it to. The program does it:

  connectoid link --relay {url} --for Bob     makes a key and a link
  curl … check … | connectoid answer --for Bob | curl {url}/ -d @-

/info limits and time   /privacy what is kept   /openapi.yaml everything   /health and /ready for monitors
{closed}"#,
        version = env!("CARGO_PKG_VERSION"),
        message_ttl = in_words(message_ttl.as_secs()),
        box_ttl = in_words(box_ttl.as_secs()),
        closed = if about.api_key {
            "\nThis relay asks for an API key in ext: ask who runs it for one.\n"
        } else {
            ""
        },
    )
}

/// `3600` as "1 hour", `90` as "90 seconds": the largest unit that needs no fraction.
pub(super) fn in_words(seconds: u64) -> String {
    let (count, unit) = match seconds {
        s if s > 0 && s % 86_400 == 0 => (s / 86_400, "day"),
        s if s > 0 && s % 3600 == 0 => (s / 3600, "hour"),
        s if s > 0 && s % 60 == 0 => (s / 60, "minute"),
        s => (s, "second"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

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
    let About { urls, keep, answer_ttl, max_wait, api_key, rates } = &shared.about;
    let info = Info {
        ok: true,
        name: "connectoid",
        version: env!("CARGO_PKG_VERSION"),
        protocol: 1,
        time: shared.relay.now(),
        client: shared.clients.source(&request).text(),
        relays: urls,
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

/// `GET /metrics`
pub(super) async fn metrics(shared: Data<Shared>) -> HttpResponse {
    let held = shared.relay.held();
    let gauge = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    shared.metrics.messages.set(gauge(held.messages));
    shared.metrics.bytes.set(gauge(held.bytes));
    shared.metrics.boxes.set(gauge(held.boxes));
    shared.limiter.count_keys();
    match shared.metrics.text() {
        Ok(text) => HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(text),
        Err(error) => {
            tracing::error!(%error, "the metrics could not be written");
            refuse(&crate::protocol::Refusal::Busy { retry_after: 1 })
        }
    }
}

/// `GET /openapi.yaml`
pub(super) async fn openapi() -> HttpResponse {
    HttpResponse::Ok().content_type("application/yaml").body(OPENAPI)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_in_words() {
        let words: Vec<String> = [0, 1, 90, 60, 3600, 5400, 86_400, 2_592_000].map(in_words).into();
        assert_eq!(
            words,
            ["0 seconds", "1 second", "90 seconds", "1 minute", "1 hour", "90 minutes", "1 day", "30 days"]
        );
    }
}
