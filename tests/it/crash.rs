//! What was acknowledged is there, however the program ended.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use connectoid::{
    protocol::{RelayUrl, base64url},
    seal::{BoxKey, question::open_question},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};

use crate::harness::{Client, Kind, Serving, TestDatabase, fresh_key, post};

/// Someone who sends from several threads until the relay is gone, and what was acknowledged to them.
struct Load {
    boxes: Vec<BoxKey>,
    acknowledged: Mutex<BTreeSet<(usize, String)>>,
}

impl Load {
    fn new() -> Self {
        Self { boxes: (0..24).map(|_| fresh_key()).collect(), acknowledged: Mutex::default() }
    }

    fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    /// Sends from 8 threads; when this many were acknowledged, `end` is to end the relay.
    fn run<T>(&self, relay: Serving, enough: usize, end: impl FnOnce(Serving) -> T) -> T {
        let url = relay.url.clone();
        thread::scope(|scope| {
            for sender in 0..8 {
                let url = &url;
                scope.spawn(move || self.send(url, sender));
            }
            let started = Instant::now();
            while self.count() < enough {
                assert!(started.elapsed() < Duration::from_secs(60), "{}", self.count());
                thread::sleep(Duration::from_millis(1));
            }
            end(relay)
        })
    }

    fn send(&self, url: &str, sender: usize) {
        let client = Client::new();
        for n in 0.. {
            let to = (n + sender) % self.boxes.len();
            let data = base64url::encode(format!("message {n} of {sender}"));
            let request =
                json!({"pub": self.boxes[to].public(), "ext": null, "action": "send", "data": data});
            let Ok(reply) = client.request("POST", url, &[], request.to_string().as_bytes()) else {
                return;
            };
            if reply.body == r#"{"ok":true}"# {
                self.acknowledged.lock().unwrap().insert((to, data));
            }
        }
    }

    /// Everything that was acknowledged is found by its owner.
    fn assert_all_there(&self, url: &str) {
        let acknowledged = self.acknowledged.lock().unwrap();
        let mut found = BTreeSet::new();
        for (index, key) in self.boxes.iter().enumerate() {
            found.extend(received(url, key).into_iter().map(|data| (index, data)));
        }
        let lost: Vec<_> = acknowledged.difference(&found).collect();
        assert!(lost.is_empty(), "lost {} of {} acknowledged: {lost:?}", lost.len(), acknowledged.len());
    }
}

/// All that is in a box.
fn received(url: &str, key: &BoxKey) -> Vec<String> {
    let check = json!({"pub": key.public(), "ext": null, "action": "check", "at": 0, "ask": true});
    let asked = post(url, &check.to_string()).json();
    let relay: RelayUrl = asked["relay"].as_str().unwrap().parse().unwrap();
    let answer = open_question(key, &relay, asked["question"].as_str().unwrap()).unwrap();
    let answer = base64url::encode(answer.0);
    let (mut at, mut all) = (json!(0), Vec::new());
    loop {
        let receive = json!({"pub": key.public(), "ext": null, "action": "receive", "answer": answer, "at": at, "limit": 32});
        let reply = post(url, &receive.to_string()).json();
        let messages = reply["messages"].as_array().cloned().unwrap_or_default();
        all.extend(messages.iter().map(|message| message["data"].as_str().unwrap().to_owned()));
        if reply["more"] != true {
            return all;
        }
        at = reply["at"].clone();
    }
}

fn serve(database: &TestDatabase) -> Serving {
    Serving::start(&["--no-limits", "--database", &database.url])
}

fn killed_under_load(kind: Kind) {
    let database = TestDatabase::new(kind);
    let load = Load::new();
    let enough = StdRng::seed_from_u64(u64::from(std::process::id())).random_range(300..1200);
    let (code, _) = load.run(serve(&database), enough, |mut relay| {
        relay.child.kill().unwrap();
        relay.wait()
    });
    assert_eq!(code, None, "killed");
    load.assert_all_there(&serve(&database).url);
}

#[test]
fn killed_under_load_on_sqlite() {
    killed_under_load(Kind::Sqlite);
}

#[test]
fn killed_under_load_on_postgresql() {
    killed_under_load(Kind::Postgres);
}

fn told_to_stop_under_load(signal: &str) {
    let database = TestDatabase::new(Kind::Sqlite);
    let load = Load::new();
    let (took, code, log) = load.run(serve(&database), 300, |relay| {
        let told = Instant::now();
        relay.signal(signal);
        let (code, log) = relay.wait();
        (told.elapsed(), code, log)
    });
    assert_eq!(code, Some(0), "{log}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(log.ends_with("stopped; everything accepted is stored\n") && !log.contains("ERROR"), "{log}");
    load.assert_all_there(&serve(&database).url);
}

#[test]
fn sigterm_under_load() {
    told_to_stop_under_load("TERM");
}

#[test]
fn sigint_under_load() {
    told_to_stop_under_load("INT");
}

/// A connection on which the head of a `send` was read by the relay, which now waits for its body.
fn half_sent(relay: &Serving, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(relay.url.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let length = body.len();
    write!(
        stream,
        "POST / HTTP/1.1\r\nhost: relay.example\r\ncontent-length: {length}\r\nexpect: 100-continue\r\n\r\n"
    )
    .unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

/// Waits until new connections are refused.
fn wait_until_closed(relay: &Serving) {
    let address = relay.url.strip_prefix("http://").unwrap();
    let started = Instant::now();
    while TcpStream::connect(address).is_ok() {
        assert!(started.elapsed() < Duration::from_secs(10));
        thread::sleep(Duration::from_millis(5));
    }
}

/// Reads a reply: its status line and its body.
fn read_reply(stream: TcpStream) -> (String, String) {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if line.trim_end().is_empty() {
            break;
        }
        lines.push(line.trim_end().to_ascii_lowercase());
    }
    let length = lines.iter().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.expect("a length").parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    (lines[0].clone(), String::from_utf8(body).unwrap())
}

#[test]
fn a_request_in_flight_is_answered() {
    let database = TestDatabase::new(Kind::Sqlite);
    let (relay, key) = (serve(&database), fresh_key());
    let body = json!({"pub": key.public(), "ext": null, "action": "send", "data": "aGVsbG8"}).to_string();
    let mut stream = half_sent(&relay, &body);
    relay.signal("TERM");
    wait_until_closed(&relay);
    stream.write_all(body.as_bytes()).unwrap();
    assert_eq!(read_reply(stream), ("http/1.1 200 ok".into(), "{\"ok\":true}\n".into()));
    let answered = Instant::now();
    assert_eq!(relay.wait().0, Some(0));
    assert!(answered.elapsed() < Duration::from_secs(3), "{:?}", answered.elapsed());
    assert_eq!(received(&serve(&database).url, &key), ["aGVsbG8"]);
}

#[test]
fn an_idle_connection_does_not_hold_up_the_end() {
    let database = TestDatabase::new(Kind::Sqlite);
    let relay = serve(&database);
    let connect = || TcpStream::connect(relay.url.strip_prefix("http://").unwrap()).unwrap();
    let mut kept = connect();
    write!(kept, "GET /health HTTP/1.1\r\nhost: relay.example\r\n\r\n").unwrap();
    let (status, body) = read_reply(kept.try_clone().unwrap());
    assert_eq!((status.as_str(), body.as_str()), ("http/1.1 200 ok", "{\"ok\":true}\n"));
    let silent = connect();
    let told = Instant::now();
    relay.signal("TERM");
    assert_eq!(relay.wait().0, Some(0));
    assert!(told.elapsed() < Duration::from_secs(3), "{:?}", told.elapsed());
    drop((kept, silent));
}

#[test]
fn a_second_signal_ends_at_once() {
    let database = TestDatabase::new(Kind::Sqlite);
    let relay = serve(&database);
    let waiting = half_sent(&relay, "{}");
    relay.signal("TERM");
    wait_until_closed(&relay);
    let told = Instant::now();
    relay.signal("INT");
    assert_eq!(relay.wait().0, Some(130));
    assert!(told.elapsed() < Duration::from_secs(2), "{:?}", told.elapsed());
    drop(waiting);
    // Nothing is locked or broken.
    let again = serve(&database);
    assert_eq!(received(&again.url, &fresh_key()), Vec::<String>::new());
    let Value::Bool(true) = post(&again.url, r#"{"pub":"A3cF4dUliud11gULRbSbiyThJ8-nj--k8m_lctINRixWu9LVtRFfqKsa6XU9Q6j0hw","ext":null,"action":"send","data":"aGVsbG8"}"#).json()["ok"] else {
        panic!()
    };
}

/// A disk that was full is used again once there is room, without a restart.
#[test]
fn a_full_disk_heals() {
    let database = TestDatabase::new(Kind::Sqlite);
    let path = std::env::var("PATH").unwrap();
    // A limit on the size of files stands in for the disk; the signal it raises is ignored, so that writes just fail.
    let serve = format!(
        "trap '' XFSZ; ulimit -S -f 440; exec {} serve --no-limits --database {}",
        env!("CARGO_BIN_EXE_connectoid"),
        database.url
    );
    let relay = Serving::by_shell(&serve, &path);
    let key = fresh_key();
    let send = |n: usize| {
        let data = base64url::encode([n.to_be_bytes().as_slice(), &[7; 4088]].concat());
        post(&relay.url, &json!({"pub": key.public(), "action": "send", "data": data}).to_string())
    };
    let full = (0..400).find(|n| send(*n).status == 503);
    assert!(full.is_some_and(|n| n > 10), "{full:?}");
    assert_eq!(send(1000).error(), "Busy");
    let lifted = std::process::Command::new("prlimit")
        .args(["--pid", &relay.child.id().to_string(), "--fsize=unlimited:unlimited"])
        .status();
    assert!(lifted.expect("this test needs prlimit (Debian: util-linux)").success());
    assert_eq!(send(1001).body, r#"{"ok":true}"#);
    assert_eq!(send(full.unwrap()).body, r#"{"ok":true}"#);
}
