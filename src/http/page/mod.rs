//! The pages for people: `/` in a browser, and `/privacy`. Plain files with a few values put in; they need nothing from
//! anywhere else.

mod template;

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, Accept, ContentType, Header as _, Quality},
    web::Data,
};

use self::template::{Row, Value, fill};
use super::{
    About, Shared,
    pages::{in_words, shell_word, url_of},
};
use crate::{
    protocol::{RelayUrl, base64url, limits},
    relay::{Rate, Rates},
    seal::EXAMPLE_PUB,
    store::Keep,
};

const INDEX: &str = include_str!("index.html");
const PRIVACY: &str = include_str!("privacy.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
const ICON: &str = include_str!("icon.svg");

/// What a page may do: load its own script, style and icon. It cannot ask anyone anything, the relay included, so a
/// slip in the script cannot send a key; and no text can become markup behind the template's back.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// Whether the client is a browser: it names `text/html`, and likes nothing plainer better. curl says `*/*`.
pub(super) fn wants_html(request: &HttpRequest) -> bool {
    let Ok(accept) = Accept::parse(request) else {
        return false;
    };
    let liked = accept.iter().filter(|item| item.quality > Quality::ZERO);
    let named = liked.filter(|item| matches!(item.item.essence_str(), "text/html" | "text/plain"));
    // Of equals the first: `rev` because `max_by_key` takes the last.
    let best = named.cloned().collect::<Vec<_>>().into_iter().rev().max_by_key(|item| item.quality);
    best.is_some_and(|item| item.item.essence_str() == "text/html")
}

/// `GET /` in a browser.
pub(super) fn index(request: &HttpRequest, about: &About) -> HttpResponse {
    let url = url_of(request, about);
    let word = shell_word(&format!("{url}/"));
    // One field a line, so that no line is much longer than a key.
    let body =
        |fields: &str| format!("'{{\n  \"pub\": \"{EXAMPLE_PUB}\",\n  \"ext\": null,\n  {fields}\n}}'");
    let send = body(&format!("\"action\": \"send\",\n  \"data\": \"{}\"", base64url::encode("hello")));
    let check = body("\"action\": \"check\",\n  \"at\": 0");
    let receive =
        format!("curl -s {word} -d {check} |\n  connectoid answer --example |\n  curl {word} -d @-");
    html(fill(
        INDEX,
        &[
            ("root", Value::Text(&root(&about.urls))),
            ("url", Value::Text(&url)),
            ("version", Value::Text(env!("CARGO_PKG_VERSION"))),
            ("message_ttl", Value::Text(&in_words(about.keep.message_ttl.as_secs()))),
            ("send", Value::Text(&format!("curl {word} -d {send}"))),
            ("check", Value::Text(&format!("curl {word} -d {check}"))),
            ("receive", Value::Text(&receive)),
            ("link", Value::Text(&format!("connectoid link --relay {} --for Bob", shell_word(&url)))),
            ("limits", Value::Rows(&limits(about))),
        ],
    ))
}

/// `GET /privacy`, as a page or as text.
pub(super) async fn privacy(request: HttpRequest, shared: Data<Shared>) -> HttpResponse {
    let about = &shared.about;
    if wants_html(&request) {
        let root = root(&about.urls);
        return html(fill(
            PRIVACY,
            &[
                ("root", Value::Text(&root)),
                ("home", Value::Text(if root.is_empty() { "." } else { &root })),
                ("url", Value::Text(&url_of(&request, about))),
                ("kept", Value::Rows(&kept(about))),
                ("not_kept", Value::Rows(&not_kept())),
            ],
        ));
    }
    let section = |title: &str, rows: &[Row]| {
        let rows: Vec<String> = rows.iter().map(|(label, text)| format!("{label}\n  {text}\n")).collect();
        format!("{title}\n\n{}", rows.join("\n"))
    };
    let kept = section("WHAT THIS RELAY KEEPS, AND FOR HOW LONG", &kept(about));
    let not_kept = section("WHAT IT DOES NOT KEEP", &not_kept());
    HttpResponse::Ok()
        .content_type(ContentType::plaintext())
        .insert_header((header::VARY, "Accept"))
        .body(format!("{kept}\n{not_kept}"))
}

/// `GET /page.css`
pub(super) async fn style() -> HttpResponse {
    HttpResponse::Ok().content_type("text/css; charset=utf-8").body(STYLE)
}

/// `GET /page.js`
pub(super) async fn script() -> HttpResponse {
    HttpResponse::Ok().content_type("text/javascript; charset=utf-8").body(SCRIPT)
}

/// `GET /icon.svg`
pub(super) async fn icon() -> HttpResponse {
    HttpResponse::Ok().content_type("image/svg+xml").body(ICON)
}

fn html(page: String) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(ContentType::html())
        .insert_header((header::VARY, "Accept"))
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header((header::CROSS_ORIGIN_OPENER_POLICY, "same-origin"))
        .insert_header((header::PERMISSIONS_POLICY, "camera=(), geolocation=(), microphone=()"))
        .body(page)
}

/// What stands before the names of the page's own files. Nothing, so that they are looked for beside the page; but if
/// the relay is known to live under a path, that path, since `/relay` without a slash at its end is the page too.
fn root(urls: &[RelayUrl]) -> String {
    let path = |url: &RelayUrl| {
        let (_, rest) = url.as_str().split_once("://")?;
        let (_, path) = rest.split_once('/')?;
        Some(format!("/{}/", path.trim_end_matches('/')))
    };
    match urls.first().and_then(path) {
        Some(first) if urls.iter().all(|url| path(url).as_ref() == Some(&first)) => first,
        _ => String::new(),
    }
}

/// The limits in force, in words.
fn limits(about: &About) -> Vec<Row> {
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
    let Rates { send, send_to_box, check, receive } = about.rates;
    let mut rows = vec![
        ("A message", format!("up to {}, sealed", size(limits::MAX_DATA_BYTES as u64))),
        ("A message lives", format!("{}, unless its owner deletes it", in_words(message_ttl.as_secs()))),
        ("A box holds", box_holds),
        ("All boxes hold", max_bytes.map_or_else(as_much, |bytes| format!("{} together", size(bytes)))),
        ("A box lives", format!("{} after its last check", in_words(box_ttl.as_secs()))),
        ("An answer counts", format!("{}, for any number of requests", in_words(about.answer_ttl.as_secs()))),
        ("A check", waiting(about.max_wait, about.rates.most_boxes())),
        ("One receive brings", format!("up to {} messages", limits::MAX_RECEIVE)),
        ("A request", format!("up to {}", size(limits::MAX_REQUEST_BYTES as u64))),
        ("One address sends", often(send)),
        ("One address to one box", often(send_to_box)),
        ("One address checks", often(check)),
        ("One address receives", often(receive)),
    ];
    if about.api_key {
        rows.push((
            "An API key",
            "is needed, as ext in every request: ask whoever runs this relay".to_owned(),
        ));
    }
    rows
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

/// What is kept, and for how long.
fn kept(about: &About) -> Vec<Row> {
    let message = in_words(about.keep.message_ttl.as_secs());
    let a_box = in_words(about.keep.box_ttl.as_secs());
    let mut rows = vec![(
        "Messages",
        format!(
            "{message}, or until the owner of the box deletes them. They are sealed: the relay keeps bytes that it \
             cannot read, and when they came."
        ),
    )];
    if about.keep.box_cap.is_some_and(|cap| cap.has_shares()) {
        rows.push((
            "A pseudonym of who sent",
            format!(
                "As long as the message, {message} at most. It is 8 bytes made from the sender’s address with a key that \
                 only the relay has, different for each box, so that one sender cannot fill a box for all others. It is \
                 not the address."
            ),
        ));
    }
    rows.push((
        "Boxes",
        format!(
            "{a_box} after the last check. Of a box the relay keeps its public key, the number of its last message, \
             and the day somebody last checked it. Its owner can delete it at once."
        ),
    ));
    if about.api_key {
        rows.push((
            "API keys",
            "As long as the operator keeps them: a hash of each, which boxes were made under it, and how many requests \
             and bytes were used of it on which day."
                .to_owned(),
        ));
    }
    rows
}

/// What is not kept.
fn not_kept() -> Vec<Row> {
    let row = |label, text: &str| (label, text.to_owned());
    vec![
        row(
            "Addresses",
            "Counted in memory for a few minutes, so that one cannot use up the relay. Never written to the disk or to a log.",
        ),
        row("Logs", "They name no box, message, answer, API key or address."),
        row(
            "Cookies",
            "None; nothing is stored in the browser, and these pages load nothing from anywhere else.",
        ),
        row(
            "Keys and link secrets",
            "The relay never gets a private key or the secret of a link. What you make or take apart on its page stays in \
             your browser.",
        ),
        row(
            "Others",
            "This is what the program does. Its operator’s proxy, host or platform may log more, addresses and times for \
             instance: ask whoever runs this relay.",
        ),
    ]
}

/// `16384` as "16 KiB": whole, or in bytes.
fn size(bytes: u64) -> String {
    match bytes {
        b if b > 0 && b % (1024 * 1024 * 1024) == 0 => format!("{} GiB", b / (1024 * 1024 * 1024)),
        b if b > 0 && b % (1024 * 1024) == 0 => format!("{} MiB", b / (1024 * 1024)),
        b if b > 0 && b % 1024 == 0 => format!("{} KiB", b / 1024),
        b => format!("{b} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn who_gets_the_page() {
        let chromium = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";
        for (accept, html) in [
            (chromium, true),
            ("text/html", true),
            ("TEXT/HTML;charset=utf-8", true),
            ("text/html, text/plain", true),
            ("text/html;q=0.5, */*", true),
            ("*/*", false),
            ("text/*", false),
            ("", false),
            ("text/plain, text/html", false),
            ("text/plain, text/html;q=0.9", false),
            ("text/html;q=0", false),
            ("application/json", false),
            ("text/html;q=nonsense", false),
            ("text/html;q=2", false),
            ("text", false),
        ] {
            let request = TestRequest::default().insert_header(("accept", accept)).to_http_request();
            assert_eq!(wants_html(&request), html, "{accept}");
        }
        assert!(!wants_html(&TestRequest::default().to_http_request()));
    }

    #[test]
    fn files_are_found_under_a_path() {
        for (urls, expected) in [
            (&[][..], ""),
            (&["https://connecto.id"], ""),
            (&["https://example.com/relay"], "/relay/"),
            (&["https://example.com/relay/"], "/relay/"),
            (&["https://example.com/a/b"], "/a/b/"),
            (&["https://example.com/relay", "https://other.example/relay"], "/relay/"),
            (&["https://example.com/relay", "https://connecto.id"], ""),
            (&["https://connecto.id", "https://example.com/relay"], ""),
        ] {
            let urls: Vec<RelayUrl> = urls.iter().map(|url| url.parse().unwrap()).collect();
            assert_eq!(root(&urls), expected, "{urls:?}");
        }
    }

    #[test]
    fn sizes_in_words() {
        assert_eq!(
            [0, 1000, 1024, 524_288, 1 << 30].map(size),
            ["0 bytes", "1000 bytes", "1 KiB", "512 KiB", "1 GiB"]
        );
    }

    #[test]
    fn what_a_page_weighs() {
        assert!([INDEX, STYLE, SCRIPT, ICON].map(str::len).iter().sum::<usize>() < 30_000);
    }
}
