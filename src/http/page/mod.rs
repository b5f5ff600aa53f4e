//! What people read: `/` and `/privacy`, each as a page for browsers and as a text for curl. The pages are plain files
//! with a few values put in; they need nothing from anywhere else.

mod front;
mod privacy;
mod template;
mod words;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, Accept, ContentType, Header as _, Quality},
    web::Data,
};

use super::{About, Shared, endpoint::called_as};
use crate::protocol::RelayUrl;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
const ICON: &str = include_str!("icon.svg");

/// What a page may do: load its own script, style and icon. It cannot ask anyone anything, the relay included, so a
/// slip in the script cannot send a key; and no text can become markup behind the template's back.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// `GET /`
pub(super) async fn front(request: HttpRequest, shared: Data<Shared>) -> HttpResponse {
    let about = &shared.about;
    let url = url_of(&request, about);
    if wants_html(&request) {
        html(front::page(&url, &root(&about.urls), about))
    } else {
        text(front::text(&url, about))
    }
}

/// `GET /privacy`
pub(super) async fn privacy(request: HttpRequest, shared: Data<Shared>) -> HttpResponse {
    let about = &shared.about;
    if wants_html(&request) {
        html(privacy::page(&url_of(&request, about), &root(&about.urls), about))
    } else {
        text(privacy::text(about))
    }
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

/// Whether the client is a browser: it names `text/html`, and likes nothing plainer better. curl says `*/*`.
fn wants_html(request: &HttpRequest) -> bool {
    let Ok(accept) = Accept::parse(request) else {
        return false;
    };
    let liked = accept.iter().filter(|item| item.quality > Quality::ZERO);
    let named = liked.filter(|item| matches!(item.item.essence_str(), "text/html" | "text/plain"));
    // Of equals the first: `rev` because `max_by_key` takes the last.
    let best = named.cloned().collect::<Vec<_>>().into_iter().rev().max_by_key(|item| item.quality);
    best.is_some_and(|item| item.item.essence_str() == "text/html")
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

fn text(page: String) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(ContentType::plaintext())
        .insert_header((header::VARY, "Accept"))
        .body(page)
}

/// The URL to show for this relay: its own, else the one it was called by.
fn url_of(request: &HttpRequest, about: &About) -> String {
    let url = about.urls.first().cloned().or_else(|| called_as(request, about));
    url.as_ref().map_or("http://THIS-RELAY", RelayUrl::as_str).to_owned()
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
    fn what_a_page_weighs() {
        assert!([front::INDEX, STYLE, SCRIPT, ICON].map(str::len).iter().sum::<usize>() < 30_000);
    }
}
