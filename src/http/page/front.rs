//! The front page: in a browser a page to try the relay from, for everyone else a text.

use std::time::Duration;

use super::{
    template::{Row, Value, fill},
    words::{in_words, size},
};
use crate::{
    http::About,
    protocol::{base64url, limits},
    relay::{Rate, Rates},
    seal::EXAMPLE_PUB,
    shell,
    store::Keep,
};

pub(super) const INDEX: &str = include_str!("index.html");

/// What is said of the calls.
const OPEN: &str =
    "These run as they stand. Their box is an example whose key everybody has: put nothing real in it.";
const CLOSED: &str = "This relay answers only who has an API key: ask whoever runs it for one, and put it for API-KEY. \
    The box is an example whose key everybody has: put nothing real in it.";

/// The page. `root` stands before the names of its files.
pub(super) fn page(url: &str, root: &str, about: &About) -> String {
    let closed = about.api_key;
    let ext = ext(about);
    let word = shell::word(&format!("{url}/"));
    // One field a line, so that no line is much longer than a key.
    let body =
        |fields: &str| format!("'{{\n  \"pub\": \"{EXAMPLE_PUB}\",\n  \"ext\": {ext},\n  {fields}\n}}'");
    let send = body(&format!("\"action\": \"send\",\n  \"data\": \"{}\"", base64url::encode("hello")));
    let check = body("\"action\": \"check\",\n  \"at\": 0");
    let with_key = if closed { " --api-key API-KEY" } else { "" };
    let receive = format!(
        "curl -s {word} -d {check} |\n  connectoid answer --example{with_key} |\n  curl {word} -d @-"
    );
    fill(
        INDEX,
        &[
            ("root", Value::Text(root)),
            ("url", Value::Text(url)),
            ("version", Value::Text(env!("CARGO_PKG_VERSION"))),
            ("message_ttl", Value::Text(&in_words(about.keep.message_ttl.as_secs()))),
            ("api_key", Value::Text(if closed { "needed" } else { "" })),
            ("how", Value::Text(if closed { CLOSED } else { OPEN })),
            ("send", Value::Text(&format!("curl {word} -d {send}"))),
            ("check", Value::Text(&format!("curl {word} -d {check}"))),
            ("receive", Value::Text(&receive)),
            ("demo", Value::Part(about.demo)),
            ("link", Value::Text(&link_command(&shell::word(url), about))),
            ("holding", Value::Rows(&holding(about))),
            ("asking", Value::Rows(&asking(about))),
            ("rates", Value::Rows(&rates(about.rates))),
        ],
    )
}

/// What stands as `ext` in the calls that are shown.
fn ext(about: &About) -> &'static str {
    if about.api_key { "\"API-KEY\"" } else { "null" }
}

fn link_command(url: &str, about: &About) -> String {
    let api_key = if about.api_key { " --api-key API-KEY" } else { "" };
    format!("connectoid link --relay {url}{api_key} --for Bob")
}

/// The text.
pub(super) fn text(url: &str, about: &About) -> String {
    let url = shell::word(url);
    let Keep { message_ttl, box_ttl, .. } = about.keep;
    format!(
        r#"connectoid {version}: a mailbox relay. Send a link; two apps connect.

A box is addressed by a P-384 public key (PUB: 66 characters of base64url). Whoever has the key may send;
whoever holds the private key may receive. Messages live {message_ttl}, unchecked boxes {box_ttl}.

  send     curl {url}/ -d '{{"pub":"PUB","ext":{ext},"action":"send","data":"BASE64URL"}}'
  check    curl {url}/ -d '{{"pub":"PUB","ext":{ext},"action":"check","at":0}}'
  receive  curl {url}/ -d '{{"pub":"PUB","ext":{ext},"answer":"ANSWER","action":"receive","at":0,"limit":1}}'

check replies with a sealed question; ANSWER is what the private key opens it to. The program does it:

  {link}     makes a key and a link
  curl … check … | connectoid answer --for Bob | curl {url}/ -d @-

/info limits and time   /privacy what is kept   /openapi.yaml everything   /health and /ready for monitors
{demo}{closed}"#,
        version = env!("CARGO_PKG_VERSION"),
        ext = ext(about),
        link = link_command(&url, about),
        message_ttl = in_words(message_ttl.as_secs()),
        box_ttl = in_words(box_ttl.as_secs()),
        demo = if about.demo {
            "/demo/ in a browser: a shopping list that people share by a link\n"
        } else {
            ""
        },
        closed = if about.api_key {
            "\nAPI-KEY in ext is one that you get from whoever runs this relay: it answers nobody without.\n"
        } else {
            ""
        },
    )
}

/// What is held and for how long, in words.
fn holding(about: &About) -> Vec<Row> {
    let Keep { message_ttl, box_ttl, box_cap, max_bytes } = about.keep;
    let as_much = || "as much as comes".to_owned();
    let box_holds = match box_cap {
        Some(cap) if cap.has_shares() => format!(
            "{} messages, {} together, {} messages from one address",
            cap.messages,
            size(u64::from(cap.bytes)),
            cap.messages_per_sender
        ),
        Some(cap) => format!("{} messages, {} together", cap.messages, size(u64::from(cap.bytes))),
        None => as_much(),
    };
    vec![
        ("A message", format!("up to {}, sealed", size(limits::MAX_DATA_BYTES as u64))),
        ("A message lives", format!("{}, unless its owner deletes it", in_words(message_ttl.as_secs()))),
        ("A box holds", box_holds),
        ("A box lives", format!("{} after its last check", in_words(box_ttl.as_secs()))),
        ("All boxes hold", max_bytes.map_or_else(as_much, |bytes| format!("{} together", size(bytes)))),
    ]
}

/// What a request may be.
fn asking(about: &About) -> Vec<Row> {
    let mut rows = vec![
        ("A request", format!("up to {}", size(limits::MAX_REQUEST_BYTES as u64))),
        ("A check", waiting(about.max_wait, about.rates.most_boxes())),
        ("An answer counts", format!("{}, for any number of requests", in_words(about.answer_ttl.as_secs()))),
        ("One receive brings", format!("up to {} messages", limits::MAX_RECEIVE)),
    ];
    if about.api_key {
        rows.push((
            "An API key",
            "is needed, as ext in every request: ask whoever runs this relay".to_owned(),
        ));
    }
    rows
}

/// How often one address may ask for what.
fn rates(Rates { send, send_to_box, check, receive }: Rates) -> Vec<Row> {
    vec![
        ("Send", often(send)),
        ("Send to one box", often(send_to_box)),
        ("Check", often(check)),
        ("Receive or delete", often(receive)),
    ]
}

fn waiting(longest: Duration, boxes: u32) -> String {
    if longest.is_zero() {
        return format!("names up to {boxes} boxes");
    }
    format!("names up to {boxes} boxes, and waits up to {} for a message", in_words(longest.as_secs()))
}

fn often(rate: Option<Rate>) -> String {
    match rate {
        Some(rate) => format!("{} times a minute, {} of them at once", rate.per_minute, rate.burst),
        None => "as often as it likes".to_owned(),
    }
}
