//! The pages for browsers, as they go over the wire. What they do in a browser is tested in one: tests/page.

use std::time::Duration;

use connectoid::{relay::Rates, store::BoxCap};

use super::Wire;
use crate::harness::{Reply, TestRelay, get, request};

const CHROMIUM: &str =
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8";

fn page(relay: &TestRelay, path: &str) -> Reply {
    let page = request("GET", &format!("{}{path}", relay.url), &[("accept", CHROMIUM)], b"");
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(page.body.starts_with("<!doctype html>\n<html lang=\"en\">"), "{}", page.body);
    assert!(!page.body.contains("{{"), "a value is missing: {}", page.body);
    page
}

#[test]
fn browsers_get_a_page_and_others_a_text() {
    let relay = TestRelay::start();
    for (path, text) in [("/", "connectoid "), ("/privacy", "WHAT THIS RELAY KEEPS, AND FOR HOW LONG\n\n")] {
        assert_eq!(page(&relay, path).header("vary"), Some("Accept"));
        for accept in ["*/*", "text/plain", "application/json", "text/html;q=0"] {
            let reply = request("GET", &format!("{}{path}", relay.url), &[("accept", accept)], b"");
            assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"), "{accept}");
            assert_eq!(reply.header("vary"), Some("Accept"));
            assert_eq!(reply.header("content-security-policy"), None);
            assert!(reply.body.starts_with(text), "{accept}: {}", reply.body);
        }
    }
}

#[test]
fn what_a_page_may_do_is_little() {
    let relay = TestRelay::start();
    for path in ["/", "/privacy"] {
        let page = page(&relay, path);
        assert_eq!(
            page.header("content-security-policy"),
            Some(
                "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
            )
        );
        assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(page.header("cross-origin-opener-policy"), Some("same-origin"));
        assert_eq!(page.header("permissions-policy"), Some("camera=(), geolocation=(), microphone=()"));
        assert_eq!(page.header("set-cookie"), None);
    }
    for (path, kind) in [
        ("/page.css", "text/css; charset=utf-8"),
        ("/page.js", "text/javascript; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
    ] {
        assert_eq!(get(&format!("{}{path}", relay.url)).header("content-type"), Some(kind));
    }
}

#[test]
fn the_page_says_the_limits_in_force() {
    let holds = |relay: &TestRelay, rows: &[(&str, &str)]| {
        let page = page(relay, "/").body;
        for (label, text) in rows {
            let row = format!("<div><dt>{label}</dt><dd>{text}</dd></div>");
            assert!(page.contains(&row), "{row}: {page}");
        }
    };
    holds(
        &TestRelay::start(),
        &[
            ("A message", "up to 16 KiB, sealed"),
            ("A message lives", "1 hour, unless its owner deletes it"),
            ("A box holds", "32 messages, 512 KiB together"),
            ("A box lives", "30 days after its last check"),
            ("An answer counts", "1 minute, for any number of requests"),
            ("One receive brings", "up to 32 messages"),
            ("A request", "up to 32 KiB"),
            ("All boxes hold", "as much as comes"),
            ("A check", "names up to 100 boxes, and waits up to 25 seconds for a message"),
            ("Send", "as often as it likes"),
        ],
    );
    let other = TestRelay::with(|config| {
        config.keep.box_cap = None;
        config.keep.max_bytes = Some(1 << 30);
        config.max_wait = Duration::ZERO;
        config.rates = Rates::DEFAULT;
        config.keep.message_ttl = Duration::from_secs(7200);
        config.keep.box_ttl = Duration::from_secs(86_400);
        config.answer_ttl = Duration::from_secs(90);
    });
    holds(
        &other,
        &[
            ("A message lives", "2 hours, unless its owner deletes it"),
            ("A box holds", "as much as comes"),
            ("All boxes hold", "1 GiB together"),
            ("A box lives", "1 day after its last check"),
            ("A check", "names up to 100 boxes"),
            ("Send", "30 times a minute, 10 of them at once"),
            ("Send to one box", "10 times a minute, 5 of them at once"),
            ("Check", "600 times a minute, 100 of them at once"),
            ("Receive or delete", "300 times a minute, 50 of them at once"),
            ("An answer counts", "90 seconds, for any number of requests"),
        ],
    );
}

#[test]
fn privacy_names_the_times_in_force() {
    for (message_ttl, box_ttl, message, a_box) in
        [(3600, 2_592_000, "1 hour", "30 days"), (7200, 604_800, "2 hours", "7 days")]
    {
        let relay = TestRelay::with(|config| {
            config.keep.message_ttl = Duration::from_secs(message_ttl);
            config.keep.box_ttl = Duration::from_secs(box_ttl);
            config.keep.box_cap = Some(BoxCap { messages: 32, bytes: 524_288, messages_per_sender: 8 });
        });
        let html = page(&relay, "/privacy").body;
        assert!(html.contains(&format!("<dt>Messages</dt><dd>{message}, or until")), "{html}");
        assert!(html.contains(&format!("<dd>As long as the message, {message} at most.")), "{html}");
        assert!(html.contains(&format!("<dt>Boxes</dt><dd>{a_box} after the last check.")), "{html}");
        let text = get(&format!("{}/privacy", relay.url)).body;
        assert!(text.contains(&format!("\nMessages\n  {message}, or until")), "{text}");
        assert!(text.contains(&format!("\nBoxes\n  {a_box} after the last check.")), "{text}");
        assert!(text.contains("\nWHAT IT DOES NOT KEEP\n\nAddresses\n  "), "{text}");
        assert!(!text.contains("API keys\n"), "{text}");
    }
    // What is not done is not said.
    let other = TestRelay::with(|config| config.require_api_key = true);
    let text = get(&format!("{}/privacy", other.url)).body;
    assert!(!text.contains("pseudonym"), "{text}");
    assert!(text.contains("\nAPI keys\n  As long as the operator keeps them: of each its name, a hash, when it was made and revoked"), "{text}");
}

#[test]
fn privacy_says_how_long_addresses_are_counted() {
    let rates = |text: &str| Rates { send: Some(text.parse().unwrap()), ..Rates::OFF };
    // A bucket of 100 that gets one a minute needs 100 minutes, and the sweep comes within another.
    for (rates, sweep, counted) in [
        (Rates::DEFAULT, 60, "and for at most 2 minutes after their last request, "),
        (rates("1:100"), 60, "and for at most 101 minutes after their last request, "),
        (rates("1:100"), 1200, "and for at most 2 hours after their last request, "),
        (Rates::OFF, 60, ""),
    ] {
        let relay = TestRelay::with(|config| {
            config.rates = rates;
            config.sweep_interval = Duration::from_secs(sweep);
        });
        let text = get(&format!("{}/privacy", relay.url)).body;
        let row = format!(
            "\nAddresses\n  In memory only: counted while their connections are open, {counted}so that one cannot use up the relay. Never"
        );
        assert!(text.contains(&row), "{row}: {text}");
    }
}

/// A relay without a URL of its own shows what the Host header says, in a page and in lines for a shell.
#[test]
fn a_host_header_is_neither_markup_nor_a_command() {
    let relay = TestRelay::with(|config| config.urls = vec![]);
    let ask = |accept: &str| {
        let head = format!("GET / HTTP/1.1\r\nHost: a\"b&c'$(id).example\r\nAccept: {accept}\r\n\r\n");
        Wire::to(&relay).write(head).reply().body
    };
    let html = ask("text/html");
    assert!(
        html.contains("<body data-relay=\"http://a&quot;b&amp;c&#39;$(id).example\" data-api-key=\"\">"),
        "{html}"
    );
    assert!(
        html.contains(">curl &#39;http://a&quot;b&amp;c&#39;\\&#39;&#39;$(id).example/&#39; -d &#39;{"),
        "{html}"
    );
    assert!(!html.contains("a\"b"), "{html}");
    let help = ask("*/*");
    assert!(help.contains(r#"curl 'http://a"b&c'\''$(id).example'/ -d '{"pub":"PUB""#), "{help}");
}

/// `https://example.com/relay` is the page as well as `https://example.com/relay/`.
#[test]
fn a_relay_under_a_path_names_its_files_by_it() {
    let relay = TestRelay::with(|config| config.urls = vec!["https://example.com/relay".parse().unwrap()]);
    let index = page(&relay, "/").body;
    for name in [r#"href="/relay/page.css""#, r#"src="/relay/page.js""#, r#"href="/relay/privacy""#] {
        assert!(index.contains(name), "{name}: {index}");
    }
    assert!(page(&relay, "/privacy").body.contains(r#"<a href="/relay/">"#));
    let elsewhere = TestRelay::start();
    assert!(page(&elsewhere, "/").body.contains(r#"href="page.css""#));
    assert!(page(&elsewhere, "/privacy").body.contains(r#"<a href=".">"#));
}
