//! The demo at `/demo/`: a shopping list that people share by a link. Its files are built from `web/demo` and are part of this
//! program; that these are what the sources build is seen to by `scripts/test`.

use std::{
    io::{self, Write as _},
    sync::{Arc, OnceLock},
};

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{
        self, AcceptEncoding, ContentEncoding, Encoding, EntityTag, Header as _, IfNoneMatch, LOCATION,
    },
    web::{Bytes, ServiceConfig},
};
use flate2::{Compression, write::GzEncoder};
use sha2::{Digest as _, Sha256};

use super::{get_or_head, only};
use crate::{
    ice::StunUrl,
    protocol::{RelayUrl, base64url},
};

/// What the page is told by its `meta` elements.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    /// The relay of new links; without one, what is served one folder above.
    pub(crate) relay: Option<RelayUrl>,
    /// The servers that tell a device which address the outside sees.
    pub(crate) stun: Vec<StunUrl>,
}

/// The files as these settings make them.
pub(crate) struct Demo {
    files: Vec<Arc<File>>,
}

/// A file was built without the place for a setting.
#[derive(Debug, thiserror::Error)]
#[error("{0} has no place for the setting")]
pub(crate) struct NoSetting(&'static str);

struct File {
    name: &'static str,
    content_type: &'static str,
    bytes: Bytes,
    /// What is made of it at the first request.
    forms: OnceLock<Forms>,
}

macro_rules! built {
    ($($name:literal: $content_type:expr,)*) => {
        [$(($name, $content_type, include_bytes!(concat!("demo/", $name)))),*]
    };
}

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The page, which is also what the folder itself shows.
const INDEX: &str = "index.html";

/// The service worker.
const WORKER: &str = "sw.js";

/// Each file as it is built: its name, its type, its bytes.
static BUILT: [(&str, &str, &[u8]); 9] = built![
    "app.css": "text/css; charset=utf-8",
    "app.js": SCRIPT,
    "icon-180.png": "image/png",
    "icon-512.png": "image/png",
    "icon.svg": "image/svg+xml",
    "index.html": HTML,
    "licenses.txt": "text/plain; charset=utf-8",
    "manifest.webmanifest": "application/manifest+json",
    "sw.js": SCRIPT,
];

/// What the page may do: what its own `meta` says, which a copy on any other host has, too, and not be put in a frame. It may ask
/// other relays than this one, for a link can name them. The service worker gets the same: it inherits nothing.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self' https: http://localhost:* http://127.0.0.1:*; manifest-src 'self'; worker-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

impl Demo {
    /// # Errors
    /// If a file has no place for what is set.
    pub(crate) fn new(settings: &Settings) -> Result<Self, NoSetting> {
        let mut files = BUILT.map(|(name, content_type, bytes)| File {
            name,
            content_type,
            bytes: Bytes::from_static(bytes),
            forms: OnceLock::new(),
        });
        let relay = settings.relay.as_ref().map(|url| url.as_str().to_owned()).unwrap_or_default();
        let stun: Vec<String> = settings.stun.iter().map(ToString::to_string).collect();
        let said = [("relay", relay), ("stun", stun.join(" "))];
        if said.iter().any(|(_, value)| !value.is_empty()) {
            let built = version(&files);
            for (name, value) in said {
                change(&mut files, INDEX, &meta(name, ""), &meta(name, &value))?;
            }
            // The service worker keeps the files under their version: with another page, too, it must be theirs, or who has the
            // page from before would keep it.
            let new = version(&files);
            change(&mut files, WORKER, &built, &new)?;
        }
        Ok(Self { files: files.into_iter().map(Arc::new).collect() })
    }

    /// The name and bytes of every file.
    #[cfg(any(test, feature = "cli"))]
    pub(crate) fn files(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        self.files.iter().map(|file| (file.name, &*file.bytes))
    }

    /// A path for each file: what is not in the list cannot be asked for.
    pub(super) fn routes(&self, config: &mut ServiceConfig) {
        for file in &self.files {
            let mut serve = |path: &str| {
                let file = file.clone();
                let reply = move |request: HttpRequest| {
                    let file = file.clone();
                    async move { file.reply(&request) }
                };
                config.service(only(path).route(get_or_head().to(reply)));
            };
            serve(&format!("/demo/{}", file.name));
            if file.name == INDEX {
                serve("/demo/");
            }
        }
        config.service(only("/demo").route(get_or_head().to(folder)));
    }
}

/// How a setting stands in the page.
fn meta(name: &str, value: &str) -> String {
    let value = value.replace('&', "&amp;").replace('"', "&quot;");
    format!(r#"<meta name="{name}" content="{value}">"#)
}

/// Puts `new` where `old` is, which must be at one place.
fn change(files: &mut [File], name: &'static str, old: &str, new: &str) -> Result<(), NoSetting> {
    let file = files.iter_mut().find(|file| file.name == name).ok_or(NoSetting(name))?;
    let text = std::str::from_utf8(&file.bytes).map_err(|_| NoSetting(name))?;
    if text.matches(old).count() != 1 {
        return Err(NoSetting(name));
    }
    file.bytes = text.replace(old, new).into();
    Ok(())
}

/// The version of all files but the service worker, which has it in it: as `web/scripts/demo.js` makes it.
fn version(files: &[File]) -> String {
    let mut files: Vec<_> = files.iter().filter(|file| file.name != WORKER).collect();
    files.sort_by_key(|file| file.name);
    let mut all = Sha256::new();
    for File { name, bytes, .. } in files {
        all.update(Sha256::new().chain_update(name).chain_update([0]).chain_update(bytes).finalize());
    }
    base64url::encode(&all.finalize()[..12])
}

/// `GET /demo`. Relative, so that it holds under whatever path a proxy shows the relay.
async fn folder() -> HttpResponse {
    HttpResponse::PermanentRedirect().insert_header((LOCATION, "demo/")).finish()
}

/// A file as it goes over the wire.
struct Forms {
    plain: Form,
    /// None for what does not get smaller.
    gzip: Option<Form>,
}

struct Form {
    bytes: Bytes,
    tag: EntityTag,
}

impl File {
    fn reply(&self, request: &HttpRequest) -> HttpResponse {
        let Forms { plain, gzip } = self.forms.get_or_init(|| Forms::of(&self.bytes));
        let gzip = gzip.as_ref().filter(|_| takes_gzip(request));
        let form = gzip.unwrap_or(plain);

        let is_there = has(request, &form.tag);
        let mut reply = if is_there { HttpResponse::NotModified() } else { HttpResponse::Ok() };
        // Kept, but never shown without asking: after an upgrade of the relay nobody has the page of before.
        reply
            .insert_header((header::CACHE_CONTROL, "no-cache"))
            .insert_header((header::VARY, "Accept-Encoding"))
            .insert_header((header::ETAG, form.tag.to_string()));
        if matches!(self.content_type, HTML | SCRIPT) {
            reply.insert_header((header::CONTENT_SECURITY_POLICY, POLICY));
        }
        if self.content_type == HTML {
            reply
                .insert_header((header::REFERRER_POLICY, "no-referrer"))
                .insert_header((header::CROSS_ORIGIN_OPENER_POLICY, "same-origin"))
                .insert_header((header::PERMISSIONS_POLICY, "camera=(), geolocation=(), microphone=()"));
        }
        if is_there {
            return reply.finish();
        }
        if gzip.is_some() {
            reply.insert_header(ContentEncoding::Gzip);
        }
        reply.content_type(self.content_type).body(form.bytes.clone())
    }
}

impl Forms {
    fn of(bytes: &Bytes) -> Self {
        let tag = base64url::encode(&Sha256::digest(bytes)[..16]);
        let gzip = compressed(bytes).ok().filter(|gzip| gzip.len() < bytes.len());
        let gzip = gzip.map(|gzip| (gzip.into(), EntityTag::new_strong(format!("{tag}-gzip"))));
        Self {
            plain: Form { bytes: bytes.clone(), tag: EntityTag::new_strong(tag) },
            gzip: gzip.map(|(bytes, tag)| Form { bytes, tag }),
        }
    }
}

fn compressed(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(bytes)?;
    gzip.finish()
}

/// Whether this client would rather have it compressed.
fn takes_gzip(request: &HttpRequest) -> bool {
    let forms = [Encoding::gzip(), Encoding::identity()];
    AcceptEncoding::parse(request)
        .is_ok_and(|accept| accept.negotiate(forms.iter()) == Some(Encoding::gzip()))
}

/// Whether the client has just this (RFC 9110, section 13.1.2). A proxy may have made its tag a weak one.
fn has(request: &HttpRequest, tag: &EntityTag) -> bool {
    match IfNoneMatch::parse(request) {
        Ok(IfNoneMatch::Any) => true,
        Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|one| one.weak_eq(tag)),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(demo: &Demo, name: &str) -> String {
        let (_, bytes) = demo.files().find(|(its, _)| *its == name).unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    /// If this fails, `web/demo` builds a page or a service worker in which a setting has no place, or `web/scripts/demo.js` makes
    /// the version in another way than is done here; or `npm --prefix web run demo` was not run.
    #[test]
    fn the_built_files_have_places_for_the_settings() {
        let demo = Demo::new(&Settings::default()).unwrap();
        let page = text(&demo, "index.html");
        assert_eq!(page.matches(r#"<meta name="relay" content="">"#).count(), 1);
        assert_eq!(page.matches(r#"<meta name="stun" content="">"#).count(), 1);
        for settings in [
            Settings { relay: Some("https://example.com".parse().unwrap()), stun: Vec::new() },
            Settings { relay: None, stun: vec!["stun:stun.example.org".parse().unwrap()] },
        ] {
            Demo::new(&settings).unwrap();
        }
    }

    #[test]
    fn values_are_no_markup() {
        let relay = Some("https://example.com/a&b\"c".parse().unwrap());
        let demo = Demo::new(&Settings { relay, stun: Vec::new() }).unwrap();
        let page = text(&demo, "index.html");
        assert!(page.contains(r#"<meta name="relay" content="https://example.com/a&amp;b%22c">"#), "{page}");
        assert_eq!(meta("x", "\"><b>&"), r#"<meta name="x" content="&quot;><b>&amp;">"#);
    }
}
