//! openapi.yaml and the relay say the same: what it names occurs, what occurs it names.

mod document;
mod odd;

use std::{collections::BTreeSet, fs, path::Path};

use connectoid::relay::{Rate, Rates};
use rand::{SeedableRng as _, rngs::StdRng};
use serde::Deserialize;
use serde_json::{Value, json};

use self::{
    document::Document,
    odd::{good_requests, odd_requests, one_of, with_odd_bytes, with_odd_fields},
};
use crate::{
    api_keys::add_key,
    harness::{KEY, Kind, Reply, TestDatabase, TestRelay, fresh_key, fresh_pub, get, request},
    proxy::Proxy,
};

fn file() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.yaml")).unwrap()
}

/// Someone who compares every reply with the description, and notes which ones came.
struct Reader {
    document: Document,
    seen: BTreeSet<String>,
}

impl Reader {
    fn new() -> Self {
        Self { document: Document::parse(&file()), seen: BTreeSet::new() }
    }

    fn post(&mut self, relay: &TestRelay, body: impl AsRef<[u8]>) -> Reply {
        let body = body.as_ref();
        let reply = request("POST", &relay.url, &[("content-type", "text/plain")], body);
        let replies = self.document.replies("/", "POST");
        let name = self.document.recognize(replies, &action(body), &reply);
        self.seen.insert(name);
        reply
    }

    /// As [`Reader::post`]; the reply must have this name.
    fn expect(&mut self, name: &str, relay: &TestRelay, body: &Value) {
        let body = body.to_string();
        let reply = self.post(relay, &body);
        let replies = self.document.replies("/", "POST");
        let got = self.document.recognize(replies, &action(body.as_bytes()), &reply);
        assert_eq!(got, name, "{body:.300}");
    }

    fn get(&mut self, relay: &TestRelay, path: &str) {
        let reply = get(&format!("{}{path}", relay.url));
        let replies = self.document.replies(path, "GET");
        let name = self.document.recognize(replies, &path[1..], &reply);
        self.seen.insert(name);
    }
}

/// The action as far as a reader of the request can tell.
fn action(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Named {
        action: String,
    }
    let named = serde_json::from_slice::<Named>(body).map(|named| named.action);
    match named {
        Ok(action) if body.len() <= 32_768 && ["send", "check", "receive", "delete"].contains(&&*action) => {
            action
        }
        _ => "any".into(),
    }
}

#[test]
fn the_relay_serves_the_file_at_the_root() {
    let relay = TestRelay::start();
    let reply = get(&format!("{}/openapi.yaml", relay.url));
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some("application/yaml"));
    assert_eq!(reply.body, file());
    let document = Document::parse(&reply.body);
    assert_eq!(document.at("/openapi"), "3.1.0");
    assert_eq!(document.at("/info/version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(document.at("/info/license/identifier"), env!("CARGO_PKG_LICENSE"));
}

#[test]
fn every_example_fits_its_schema() {
    let document = Document::parse(&file());
    let examples = document.examples();
    assert!(examples.len() > 40, "{}", examples.len());
    for (name, schema, value) in examples {
        document.must_fit(schema, value, name);
    }
}

#[test]
fn every_path_answers_every_method_as_it_says() {
    let relay = TestRelay::start();
    let document = Document::parse(&file());
    let ask = |method: &str, path: &str| request(method, &format!("{}{path}", relay.url), &[], b"{}");
    let all = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"];
    let all: BTreeSet<String> = all.map(str::to_owned).into();
    let paths = document.paths();
    assert_eq!(paths.len(), 21);
    for (path, methods) in &paths {
        assert!(methods.is_subset(&all), "{path}");
        for method in methods {
            let reply = ask(method, path);
            let asked = if method == "POST" { "any" } else { &path[1..] };
            document.recognize(document.replies(path, method), asked, &reply);
            let expected = match method.as_str() {
                "OPTIONS" => 204,
                _ if *path == "/demo" => 308,
                "POST" => 400,
                _ => 200,
            };
            assert_eq!(reply.status, expected, "{method} {path}");
            assert_eq!(reply.body.is_empty(), method == "HEAD" || method == "OPTIONS" || expected == 308);
        }
        for method in all.difference(methods) {
            let reply = ask(method, path);
            let name = document.recognize(document.elsewhere(), "elsewhere", &reply);
            assert_eq!(name, "elsewhere: Method not allowed", "{method} {path}");
            let allow = reply.header("allow").unwrap().split(", ").map(str::to_owned);
            assert_eq!(&allow.collect::<BTreeSet<_>>(), methods, "{method} {path}");
        }
    }

    for path in ["/", "/privacy"] {
        for method in ["GET", "HEAD"] {
            let page = request(method, &format!("{}{path}", relay.url), &[("accept", "text/html")], b"");
            document.recognize(document.replies(path, method), path, &page);
            assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"), "{method} {path}");
        }
    }

    for path in
        ["/x", "//", "/info/", "/Info", "/openapi.json", "/index.html", "/health/x", "/..%2finfo", "/%00"]
    {
        for method in all.iter().filter(|method| *method != "OPTIONS") {
            let reply = ask(method, path);
            if method == "HEAD" {
                assert_eq!((reply.status, reply.body.as_str()), (404, ""), "{path}");
                continue;
            }
            let name = document.recognize(document.elsewhere(), "elsewhere", &reply);
            assert_eq!(name, "elsewhere: Not found", "{method} {path}");
        }
        let preflight = document.replies("/", "OPTIONS");
        let reply = ask("OPTIONS", path);
        assert_eq!(document.recognize(preflight, path, &reply), format!("{path}: 204"));
    }
}

#[test]
fn everything_it_names_occurs() {
    let database = TestDatabase::new(Kind::Postgres);
    let proxy = Proxy::before(&database.url);
    let relay = TestRelay::on(&proxy.url, |_| ());
    let mut reader = Reader::new();
    let r = &mut reader;

    let key = fresh_key();
    let to = key.public();
    let answer = relay.answer(&key);
    let send = |data: &str| json!({"action": "send", "pub": to, "data": data});
    let check = json!({"action": "check", "pub": to, "at": 0});
    let receive = |limit: u32| json!({"action": "receive", "pub": to, "answer": answer, "limit": limit});
    let delete = json!({"action": "delete", "pub": to, "answer": answer, "all": true});

    r.expect("check: nothing", &relay, &check);
    r.expect("check: asked", &relay, &json!({"action": "check", "pub": to, "ask": true}));
    r.expect("receive: nothing", &relay, &receive(1));
    r.expect("send: ok", &relay, &send("aGVsbG8"));
    r.expect("check: found", &relay, &check);
    let many = json!({"action": "check", "boxes": [{"pub": to, "at": 0}, {"pub": fresh_pub()}]});
    r.expect("check: found among many", &relay, &many);
    let none = json!({"action": "check", "boxes": [{"pub": fresh_pub()}], "wait": 0});
    r.expect("check: nothing in many", &relay, &none);
    r.expect("receive: one", &relay, &receive(1));
    r.expect("receive: many", &relay, &receive(2));
    for n in 1..32 {
        r.expect("send: ok", &relay, &send(&format!("{n:04}")));
    }
    r.expect("send: Too often", &relay, &send("one_more"));
    r.expect("delete: ok", &relay, &delete);

    r.expect("any: Bad request", &relay, &json!([]));
    r.expect("any: Too big", &relay, &json!("x".repeat(40_000)));
    r.expect("send: Too big", &relay, &send(&"A".repeat(21_848)));
    for action in ["send", "check", "receive", "delete"] {
        r.expect(&format!("{action}: Bad request"), &relay, &json!({"action": action}));
        r.expect(&format!("{action}: Bad key"), &relay, &json!({"action": action, "pub": "123abc"}));
    }
    for action in ["receive", "delete"] {
        let wrong = json!({"action": action, "pub": to, "answer": "x", "at": 0});
        r.expect(&format!("{action}: Wrong answer"), &relay, &wrong);
    }

    // A relay that asks for API keys: without one, and with one that is used up.
    let closed = TestRelay::on(&database.url, |config| config.require_api_key = true);
    let api_key = add_key(&database.url, &["shop", "--requests-per-day", "1"]);
    r.expect(
        "check: nothing",
        &closed,
        &json!({"action": "check", "pub": fresh_key().public(), "ext": api_key}),
    );
    for mut request in [send("aGVsbG8"), check.clone(), receive(1), delete.clone()] {
        let action = request["action"].as_str().unwrap().to_owned();
        r.expect(&format!("{action}: Not allowed"), &closed, &request);
        request["ext"] = json!(api_key);
        r.expect(&format!("{action}: Too often"), &closed, &request);
    }
    let rate = Rate::new(1, 1);
    let rates = Rates { send: None, send_to_box: None, check: rate, receive: rate };
    let limited = TestRelay::with(|config| config.rates = rates);
    r.expect("any: Bad request", &limited, &json!([]));
    r.expect("any: Too often", &limited, &json!([]));
    r.expect("check: Too often", &limited, &check);
    r.expect("receive: nothing", &limited, &receive(1));
    r.expect("receive: Too often", &limited, &receive(1));
    r.expect("delete: Too often", &limited, &delete);
    r.get(&limited, "/info");

    for path in ["/info", "/health", "/ready"] {
        r.get(&relay, path);
    }
    proxy.cut();
    r.expect("send: Busy", &relay, &send("aGVsbG8"));
    r.expect("check: Busy", &relay, &check);
    r.expect("receive: Busy", &relay, &receive(1));
    r.expect("delete: Busy", &relay, &delete);
    for path in ["/health", "/ready"] {
        r.get(&relay, path);
    }
    proxy.mend();
    r.expect("send: ok", &relay, &send("aGVsbG8"));
    r.expect("receive: one", &relay, &receive(1));

    let mut named = BTreeSet::new();
    for (path, methods) in reader.document.paths() {
        for method in methods {
            named.extend(reader.document.names(reader.document.replies(path, &method)));
        }
    }
    assert_eq!(reader.seen, named);
}

#[test]
fn nothing_occurs_that_it_does_not_name() {
    let relay = TestRelay::start();
    let mut reader = Reader::new();
    let key = fresh_key();
    let answer = relay.answer(&key);
    for body in odd_requests(&key, &answer) {
        reader.post(&relay, body);
    }

    let mut rng = StdRng::seed_from_u64(20_261_120);
    let good = good_requests(&key, &answer);
    for request in &good {
        assert_eq!(reader.post(&relay, request.to_string()).status, 200, "{request}");
    }
    for _ in 0..300 {
        let request = one_of(&mut rng, &good).clone();
        let bytes = with_odd_bytes(&mut rng, &request);
        reader.post(&relay, bytes);
    }
    assert!(reader.seen.len() > 12, "{:?}", reader.seen);
}

/// The relay takes a request if the schema does.
#[test]
fn the_schema_of_requests_is_what_the_relay_takes() {
    let relay = TestRelay::start();
    let mut reader = Reader::new();
    let key = fresh_key();
    let answer = relay.answer(&key);
    let mut rng = StdRng::seed_from_u64(11_202_026);
    let good = good_requests(&key, &answer);
    let integers = [0, 1, -1, 2, 32, 33, 4_294_967_295, 4_294_967_296, i64::MIN, i64::MAX];
    let texts =
        ["", "x", "7", "-7", "+7", "1.0", "-", "20261120070000000000", "AA", "AB", "AAA", "AAAA", "a b"];
    let actions = ["send", "check", "receive", "delete", "Send"];
    let mut values: Vec<Value> = integers.map(Value::from).into();
    values.extend(texts.map(Value::from));
    values.extend(actions.map(Value::from));
    values.extend([
        json!(null),
        json!(true),
        json!(false),
        json!(1.5),
        json!(u64::MAX),
        json!([]),
        json!({}),
        json!([{"pub": KEY}]),
        json!([{"pub": KEY, "at": "7"}, {"pub": fresh_pub(), "x": 1}]),
        json!([{"pub": KEY, "at": 1.5}]),
        json!([{"at": 0}]),
    ]);
    values.extend([1024, 1025, 21_846, 21_847, 21_848].map(|length| "A".repeat(length).into()));
    values.extend([json!(KEY), json!(fresh_pub()), json!(answer), json!("A".repeat(75))]);
    let mut taken = 0;
    for request in with_odd_fields(&mut rng, &good, &values) {
        let reply = reader.post(&relay, request.to_string());
        let verdict = reader.document.fits(reader.document.at("/components/schemas/Request"), &request);
        let error = if reply.status == 200 { String::new() } else { reply.error() };
        match error.as_str() {
            "" | "Too often" => {
                taken += 1;
                assert_eq!(verdict, Ok(()), "the relay takes {request:.300}");
            }
            "Bad request" | "Too big" => {
                assert!(verdict.is_err(), "the relay refuses {request:.300}: {}", reply.body);
            }
            // The schema cannot know whether a key is on the curve, nor whether an answer is right.
            _ => {}
        }
    }
    assert!((500..2_000).contains(&taken), "{taken}");
}
