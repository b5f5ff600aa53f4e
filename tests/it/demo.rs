//! The demo as it goes over the wire, and as a folder. What it does in a browser is tested in one: web/tests/demo.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Read as _,
    path::Path,
};

use flate2::read::GzDecoder;

use crate::{
    cli::seen,
    gateway::Gateway,
    harness::{Person, Serving, TestRelay, bytes, get, request, stdout},
    wire::Wire,
};

/// Every file: its name, its type, and how it begins.
const FILES: [(&str, &str, &[u8]); 9] = [
    ("app.css", "text/css; charset=utf-8", b""),
    ("app.js", "text/javascript; charset=utf-8", b""),
    ("icon-180.png", "image/png", b"\x89PNG\r\n\x1a\n"),
    ("icon-512.png", "image/png", b"\x89PNG\r\n\x1a\n"),
    ("icon.svg", "image/svg+xml", b"<svg "),
    ("index.html", "text/html; charset=utf-8", b"<!doctype html>\n<html lang=\"en\">"),
    ("licenses.txt", "text/plain; charset=utf-8", b""),
    ("manifest.webmanifest", "application/manifest+json", b"{"),
    ("sw.js", "text/javascript; charset=utf-8", b""),
];

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self' https: http://localhost:* http://127.0.0.1:*; manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

fn built(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/demo").join(name)).unwrap()
}

/// The names and bytes of what is in a folder.
fn folder(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(path).unwrap().map(|file| file.unwrap());
    files.map(|file| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap())).collect()
}

#[test]
fn every_file_is_served_plain_and_compressed() {
    let relay = TestRelay::start();
    for (name, kind, start) in FILES {
        let url = format!("{}/demo/{name}", relay.url);
        let (plain, body) = bytes("GET", &url, &[]);
        assert_eq!((plain.status, plain.header("content-type")), (200, Some(kind)), "{name}");
        assert_eq!(plain.header("content-encoding"), None);
        assert!(body.starts_with(start), "{name}");
        assert_eq!(body, built(name), "{name}");

        let (gzip, compressed) = bytes("GET", &url, &[("accept-encoding", "gzip, deflate, br, zstd")]);
        assert_eq!((gzip.status, gzip.header("content-type")), (200, Some(kind)), "{name}");
        if gzip.header("content-encoding").is_some() {
            assert_eq!(gzip.header("content-encoding"), Some("gzip"));
            assert!(compressed.len() < body.len(), "{name}");
            let mut unpacked = Vec::new();
            GzDecoder::new(&*compressed).read_to_end(&mut unpacked).unwrap();
            assert_eq!(unpacked, body, "{name}");
            assert_ne!(gzip.header("etag"), plain.header("etag"), "{name}");
        } else {
            assert_eq!(compressed, body, "{name}");
        }

        for (reply, size, encoding) in [(&plain, body.len(), "identity"), (&gzip, compressed.len(), "gzip")] {
            assert_eq!(reply.header("content-length"), Some(&*size.to_string()), "{name}");
            assert_eq!(reply.header("cache-control"), Some("no-cache"), "{name}");
            assert_eq!(reply.header("vary"), Some("Accept-Encoding"), "{name}");
            assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{name}");
            assert_eq!(reply.header("set-cookie"), None);
            let (head, nothing) = bytes("HEAD", &url, &[("accept-encoding", encoding)]);
            let without_date = |headers: &[(String, String)]| {
                let mut headers = headers.to_vec();
                headers.retain(|(name, _)| name != "date");
                headers.sort();
                headers
            };
            assert_eq!(without_date(&head.headers), without_date(&reply.headers), "{name}");
            assert_eq!((head.status, nothing.len()), (200, 0), "{name}");
        }
    }
}

#[test]
fn the_folder_is_its_page() {
    let relay = TestRelay::start();
    let (of_folder, body) = bytes("GET", &format!("{}/demo/", relay.url), &[]);
    let (of_page, page) = bytes("GET", &format!("{}/demo/index.html", relay.url), &[]);
    assert_eq!(body, page);
    assert_eq!(of_folder.header("etag"), of_page.header("etag"));
}

/// What a browser may take at the first visit, the icons included; the licences are for who follows the link to them.
#[test]
fn all_of_it_is_less_than_100_kilobytes() {
    let relay = TestRelay::start();
    let sizes: BTreeMap<&str, usize> = FILES
        .iter()
        .filter(|(name, ..)| *name != "licenses.txt")
        .map(|(name, ..)| {
            let url = format!("{}/demo/{name}", relay.url);
            (*name, bytes("GET", &url, &[("accept-encoding", "gzip")]).1.len())
        })
        .collect();
    assert!(sizes.values().sum::<usize>() < 100_000, "{sizes:?}");
}

#[test]
fn who_gets_it_compressed() {
    let relay = TestRelay::start();
    let url = format!("{}/demo/", relay.url);
    for (accept, expected) in [
        ("gzip", Some("gzip")),
        ("GZIP;q=0.1", Some("gzip")),
        ("br, gzip;q=0.5", Some("gzip")),
        ("gzip, identity;q=0", Some("gzip")),
        ("gzip;q=0", None),
        ("identity, gzip;q=0", None),
        ("br", None),
        ("identity", None),
        ("", None),
        (";;;", None),
    ] {
        let (reply, _) = bytes("GET", &url, &[("accept-encoding", accept)]);
        assert_eq!((reply.status, reply.header("content-encoding")), (200, expected), "{accept}");
    }
    // As a stranger unpacks it.
    let out = Person::new().shell(&format!("curl -s --compressed {url}"));
    assert_eq!(out.stdout, built("index.html"));
}

#[test]
fn what_somebody_has_is_not_sent_again() {
    let relay = TestRelay::start();
    let url = format!("{}/demo/", relay.url);
    for encoding in ["identity", "gzip"] {
        let ask = |tag: &str| bytes("GET", &url, &[("accept-encoding", encoding), ("if-none-match", tag)]);
        let tag = bytes("GET", &url, &[("accept-encoding", encoding)]).0.header("etag").unwrap().to_owned();
        assert!(tag.starts_with('"') && tag.ends_with('"'), "a strong one: {tag}");
        for same in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".to_owned()] {
            let (reply, body) = ask(&same);
            assert_eq!((reply.status, body.len()), (304, 0), "{same}");
            assert_eq!(reply.header("etag"), Some(&*tag));
            assert_eq!(reply.header("cache-control"), Some("no-cache"));
            assert_eq!(reply.header("vary"), Some("Accept-Encoding"));
            assert_eq!(reply.header("content-security-policy"), Some(POLICY));
            assert_eq!(reply.header("content-encoding"), None);
        }
        for other in ["\"other\"", "W/\"other\"", "nonsense", ""] {
            assert_eq!(ask(other).0.status, 200, "{other}");
        }
    }
    let tag = get(&url).header("etag").unwrap().to_owned();
    assert_eq!(bytes("GET", &url, &[("accept-encoding", "gzip"), ("if-none-match", &tag)]).0.status, 200);
}

#[test]
fn what_the_page_may_do() {
    let relay = TestRelay::start();
    for name in ["", "index.html"] {
        let page = get(&format!("{}/demo/{name}", relay.url));
        assert_eq!(page.header("content-security-policy"), Some(POLICY));
        assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(page.header("cross-origin-opener-policy"), Some("same-origin"));
        // Not the clipboard, nor the share sheet: the page offers both.
        assert_eq!(page.header("permissions-policy"), Some("camera=(), geolocation=(), microphone=()"));
    }
    // A service worker goes by its own.
    for name in ["sw.js", "app.js"] {
        let script = get(&format!("{}/demo/{name}", relay.url));
        assert_eq!(script.header("content-security-policy"), Some(POLICY));
    }
    // A copy elsewhere has it from the page itself; only frames are for a header to forbid.
    let own = POLICY.strip_suffix("; frame-ancestors 'none'").unwrap();
    let page = String::from_utf8(built("index.html")).unwrap();
    assert!(page.contains(&format!("<meta http-equiv=\"Content-Security-Policy\" content=\"{own}\">")));
}

#[test]
fn without_its_slash_it_is_found_under_any_path() {
    let relay = TestRelay::start();
    for path in ["/demo", "/demo?x=1"] {
        for method in ["GET", "HEAD"] {
            let reply = request(method, &format!("{}{path}", relay.url), &[], b"");
            assert_eq!((reply.status, reply.header("location")), (308, Some("demo/")), "{method} {path}");
            assert_eq!((reply.body.as_str(), reply.header("cache-control")), ("", Some("no-store")));
        }
    }
    let address = relay.url.strip_prefix("http://").unwrap();
    let gateway = Gateway::site(&format!("handle_path /a/relay/* {{\n reverse_proxy {address}\n }}"));
    let url = format!("{}/a/relay/demo", gateway.url);
    let out = Person::new().shell(&format!("curl -sL -w '%{{stderr}}%{{url_effective}}' {url}"));
    let (code, page, ended_at) = seen(&out);
    assert_eq!((code, ended_at), (0, format!("{url}/")));
    assert_eq!(page.as_bytes(), built("index.html"));
}

#[test]
fn there_is_nothing_else() {
    let relay = TestRelay::start();
    for path in [
        "/demo/x",
        "/demo/index.htm",
        "/demo/INDEX.HTML",
        "/demo/index.html/",
        "/demo//",
        "/demo//index.html",
        "/demo/demo/",
        "/demos",
        "/demo/.",
        "/demo/..",
        "/demo/../index.html",
        "/demo/../../Cargo.toml",
        "/demo/%2e%2e/Cargo.toml",
        "/demo/..%2f..%2fCargo.toml",
        "/demo/%00",
        "/demo/\\..\\index.html",
    ] {
        let reply = Wire::to(&relay).write(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).reply();
        assert_eq!(
            (reply.status, reply.body.as_str()),
            (404, r#"{"ok":false,"error":"Not found","detail":"requests go to POST /; see GET / for help"}"#),
            "{path}"
        );
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{path}");
    }
}

#[test]
fn a_stun_server_for_no_demo_is_told() {
    for (option, told) in [("--no-demo", true), ("--require-api-key", true), ("--no-limits", false)] {
        let person = Person::new();
        let database = format!("sqlite://{}", person.path("relay.db").display());
        let relay =
            Serving::start(&["--database", &database, "--demo-stun", "stun:stun.example.org:3478", option]);
        relay.signal("TERM");
        let (_, said) = relay.wait();
        assert_eq!(said.contains("--demo-stun changes nothing"), told, "{option}: {said}");
    }
}

/// `--no-demo`, and the variable.
#[test]
fn a_relay_without_it() {
    let person = Person::new();
    let start = |args: &[&str], variable: Option<&str>| {
        let kept_at = person.path("relay.db");
        let database = format!("sqlite://{}", kept_at.display());
        Serving::start_with(&[&["--database", &database], args].concat(), |command| {
            command.envs(variable.map(|value| ("CONNECTOID_NO_DEMO", value)));
        })
    };
    // A page has no API key to give.
    for (args, variable, there) in [
        (&[][..], None, true),
        (&[], Some("false"), true),
        (&[], Some(""), true),
        (&["--no-demo"], None, false),
        (&[], Some("1"), false),
        (&["--require-api-key"], None, false),
    ] {
        let relay = start(args, variable);
        let status = |path: &str| get(&format!("{}{path}", relay.url)).status;
        let found = if there { (308, 200) } else { (404, 404) };
        assert_eq!((status("/demo"), status("/demo/")), found);
        for (name, ..) in FILES {
            assert_eq!(status(&format!("/demo/{name}")), found.1, "{name}");
        }
        let page = request("GET", &relay.url, &[("accept", "text/html")], b"").body;
        assert_eq!(page.contains("<a href=\"demo/\">Try it: a shopping list</a>"), there, "{page}");
        assert_eq!(page.contains("demo"), there);
        let text = get(&relay.url).body;
        let line = "\n/demo/ in a browser: a shopping list that people share by a link\n";
        assert_eq!(text.contains(line), there, "{text}");
        assert_eq!(text.contains("demo"), there);
        let url = relay.url.clone();
        relay.signal("TERM");
        let (_, said) = relay.wait();
        let line = format!("\nIn a browser, a shopping list to share:  {url}/demo/\n");
        assert_eq!(said.contains(&line), there, "{said}");
        assert_eq!(said.contains("/demo/"), there, "{said}");
    }
}

#[test]
fn the_page_links_to_it_under_a_path() {
    let relay = TestRelay::with(|config| config.urls = vec!["https://example.com/relay".parse().unwrap()]);
    let page = request("GET", &relay.url, &[("accept", "text/html")], b"").body;
    assert!(page.contains("<a href=\"/relay/demo/\">"), "{page}");
}

#[test]
fn as_a_folder_it_is_what_a_relay_serves() {
    let person = Person::new();
    // As it is made, and as it is found empty.
    fs::create_dir(person.path("empty")).unwrap();
    for into in ["new/list", "empty"] {
        let (code, out, err) = seen(&person.run(&["demo", "--into", into], ""));
        assert_eq!((code, out.as_str()), (0, ""), "{err}");
        assert_eq!(
            err,
            format!(
                "{into}: 9 files. The relay of its links is whatever is served one folder above it; --relay URL names one.\n\
                 Put the folder on any host of static files, with https. Good to have, if the host can set headers:\n  \
                 Cache-Control: no-cache\n  \
                 Content-Security-Policy: frame-ancestors 'none'\n  \
                 Referrer-Policy: no-referrer\n  \
                 X-Content-Type-Options: nosniff\n"
            )
        );
        let files: BTreeMap<String, Vec<u8>> =
            FILES.iter().map(|(name, ..)| ((*name).to_owned(), built(name))).collect();
        assert_eq!(folder(&person.path(into)), files);
    }
}

/// `--demo-stun`, and the variable. The service worker is another one, so that a page that was installed before sees the change.
#[test]
fn a_relay_names_stun_servers() {
    let serve = |args: &[&str], variable: Option<&str>| {
        Serving::start_with(&[&["--database", "sqlite::memory:"], args].concat(), |command| {
            command.envs(variable.map(|value| ("CONNECTOID_DEMO_STUN", value)));
        })
    };
    let text = |relay: &Serving, name: &str| get(&format!("{}/demo/{name}", relay.url)).body;
    let one = &["--demo-stun", "stun:STUN.example.org:3478"][..];
    let two = &["--demo-stun", "stun:a.example", "--demo-stun", "stuns:b.example:443"];
    let mut workers = BTreeSet::new();
    let mut tags = BTreeSet::new();
    for (args, variable, said) in [
        (&[][..], None, ""),
        (one, None, "stun:stun.example.org"),
        (two, None, "stun:a.example stuns:b.example:443"),
        (&[], Some("stun:[2001:db8::1]:5,stun:192.0.2.1"), "stun:[2001:db8::1]:5 stun:192.0.2.1"),
    ] {
        let relay = serve(args, variable);
        let page = String::from_utf8(built("index.html")).unwrap();
        let expected = page
            .replace(r#"<meta name="stun" content="">"#, &format!(r#"<meta name="stun" content="{said}">"#));
        assert!(expected.contains(&format!("content=\"{said}\"")));
        for name in ["", "index.html"] {
            assert_eq!(text(&relay, name), expected);
        }
        // As it goes to a browser, which has another tag than without the setting.
        let url = format!("{}/demo/", relay.url);
        let (reply, compressed) = bytes("GET", &url, &[("accept-encoding", "gzip")]);
        let mut unpacked = String::new();
        GzDecoder::new(&*compressed).read_to_string(&mut unpacked).unwrap();
        assert_eq!(unpacked, expected);
        tags.insert(reply.header("etag").unwrap().to_owned());
        tags.insert(get(&url).header("etag").unwrap().to_owned());
        workers.insert(text(&relay, "sw.js"));
        assert_eq!(text(&relay, "app.js").into_bytes(), built("app.js"));
    }
    assert_eq!((workers.len(), tags.len()), (4, 8));
    assert!(workers.contains(&String::from_utf8(built("sw.js")).unwrap()));
}

#[test]
fn what_is_no_stun_server_is_refused() {
    let person = Person::new();
    for wrong in
        ["", "stun.example.org", "turn:turn.example.org", "https://stun.example.org", "stun:a b", "stun:a\"b"]
    {
        for args in [
            &["serve", "--database", "sqlite::memory:", "--demo-stun", wrong][..],
            &["demo", "--into", "list", "--stun", wrong],
        ] {
            let (code, out, err) = seen(&person.run(args, ""));
            assert_eq!((code, out.as_str()), (2, ""), "{wrong}");
            let why = format!("{wrong:?} is not a STUN server: expected one like stun:stun.example.org:3478");
            assert!(err.contains(&why), "{err}");
        }
    }
    assert!(!person.path("list").exists());
}

/// In a folder as from a relay.
#[test]
fn a_folder_names_stun_servers() {
    let person = Person::new();
    let relay =
        Serving::start(&["--database", "sqlite::memory:", "--demo-stun", "stun:a.example,stun:b.example"]);
    let (code, _, err) = seen(
        &person.run(&["demo", "--into", "list", "--stun", "stun:a.example", "--stun", "stun:b.example"], ""),
    );
    assert_eq!(code, 0);
    assert!(err.contains("names one. It asks stun:a.example. It asks stun:b.example.\n"), "{err}");
    for (name, written) in folder(&person.path("list")) {
        assert_eq!(written, bytes("GET", &format!("{}/demo/{name}", relay.url), &[]).1, "{name}");
    }
    // Both settings beside each other.
    let both = ["demo", "--into", "both", "--relay", "https://relay.example", "--stun", "stun:a.example"];
    person.ok(&both, "");
    let page = fs::read_to_string(person.path("both/index.html")).unwrap();
    assert!(page.contains(r#"<meta name="relay" content="https://relay.example">"#));
    assert!(page.contains(r#"<meta name="stun" content="stun:a.example">"#));
}

/// The page says which relay, and the service worker is another one for each: a page that was installed before sees the change.
#[test]
fn it_is_told_the_relay() {
    let person = Person::new();
    let written = |into: &str, relay: &str| {
        person.ok(&["demo", "--into", into, "--relay", relay], "");
        folder(&person.path(into))
    };
    let one = written("one", "HTTPS://Relay.Example.com:443/");
    let again = written("again", "https://relay.example.com");
    let other = written("other", "https://other.example/a&b");
    assert_eq!(one, again);

    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    for (files, relay) in [(&one, "https://relay.example.com"), (&other, "https://other.example/a&amp;b")] {
        let page = text(&built("index.html")).replace(
            r#"<meta name="relay" content="">"#,
            &format!(r#"<meta name="relay" content="{relay}">"#),
        );
        assert_eq!(text(&files["index.html"]), page);
        assert!(page.contains(relay));
        for (name, ..) in FILES {
            if !matches!(name, "index.html" | "sw.js") {
                assert_eq!(files[name], built(name), "{name}");
            }
        }
    }
    // Of one length, and alike but for 16 characters.
    let workers = [built("sw.js"), one["sw.js"].clone(), other["sw.js"].clone()].map(|bytes| text(&bytes));
    for (here, there) in [(0, 1), (0, 2), (1, 2)] {
        let (here, there) = (&workers[here], &workers[there]);
        assert_eq!(here.len(), there.len());
        let differ: Vec<usize> =
            (0..here.len()).filter(|at| here.as_bytes()[*at] != there.as_bytes()[*at]).collect();
        let (first, last) = (differ[0], differ[differ.len() - 1]);
        assert!(last - first < 16, "{differ:?}");
    }
}

#[test]
fn a_relay_that_a_page_cannot_ask_is_refused() {
    let person = Person::new();
    for (relay, why) in [
        ("http://relay.example.com", "would be unencrypted"),
        ("http://192.168.1.5:8080", "would be unencrypted"),
        ("http://[::1]:8080", "by http the page may ask localhost and 127.0.0.1 only"),
        ("http://127.0.0.2:8080", "by http the page may ask localhost and 127.0.0.1 only"),
        ("http://list.localhost", "by http the page may ask localhost and 127.0.0.1 only"),
        ("ftp://relay.example.com", "is not a relay's URL"),
        ("relay.example.com", "is not a URL"),
        ("", "is not a URL"),
    ] {
        let (code, out, err) = seen(&person.run(&["demo", "--into", "list", "--relay", relay], ""));
        assert_eq!((code, out.as_str()), (2, ""), "{relay}");
        assert!(err.contains(why), "{relay}: {err}");
        assert!(!person.path("list").exists(), "{relay}");
    }
    for relay in ["http://localhost:8080", "http://127.0.0.1:8080", "http://localhost/relay"] {
        person.ok(&["demo", "--into", "list", "--relay", relay], "");
        fs::remove_dir_all(person.path("list")).unwrap();
    }
    let twice = ["demo", "--into", "list", "--relay", "https://a.example", "--relay", "https://b.example"];
    assert_eq!(person.run(&twice, "").status.code(), Some(2));
    assert_eq!(person.run(&["demo"], "").status.code(), Some(2));
}

#[test]
fn nothing_is_overwritten() {
    let person = Person::new();
    fs::create_dir(person.path("mine")).unwrap();
    fs::write(person.path("mine/.htaccess"), "mine").unwrap();
    let (code, out, err) = seen(&person.run(&["demo", "--into", "mine"], ""));
    assert_eq!((code, out.as_str()), (1, ""));
    assert_eq!(
        err,
        "connectoid: mine is not empty, and nothing in it is overwritten: name a new folder with --into\n"
    );
    assert_eq!(folder(&person.path("mine")), BTreeMap::from([(".htaccess".to_owned(), b"mine".to_vec())]));

    fs::write(person.path("file"), "mine").unwrap();
    for into in ["file", "file/list"] {
        let (code, _, err) = seen(&person.run(&["demo", "--into", into], ""));
        assert_eq!((code, err), (1, format!("connectoid: {into}: Not a directory (os error 20)\n")));
    }
    assert_eq!(fs::read(person.path("file")).unwrap(), b"mine");
}

#[test]
fn its_help_says_what_to_do_with_it() {
    let help = stdout(&Person::new().run(&["demo", "--help"], ""));
    for line in [
        "connectoid demo --into list --relay https://connecto.id",
        "--into <FOLDER>",
        "--relay <URL>",
        "--stun <URL>",
    ] {
        assert!(help.contains(line), "{help}");
    }
}
