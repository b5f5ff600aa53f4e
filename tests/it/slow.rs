//! Clients that take their time, or take no end of connections: they are closed, and nobody else notices.

use std::{
    io::Read as _,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Semaphore,
    task::JoinSet,
};

use crate::{
    harness::{Person, Reply, Serving, TestRelay, block_on, fresh_pub, get, stderr},
    wire::Wire,
};

const BUSY: &str = r#"{"ok":false,"error":"Busy","detail":"the relay cannot do this just now; send the same request again","retryAfter":5}"#;

const HEALTH: &str = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The head of a request with a body of this many bytes, once the relay waits for it.
fn half_sent(url: &str, length: usize) -> Wire {
    let mut wire = Wire::at(url);
    wire.write(format!(
        "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
    ));
    assert_eq!(wire.reply().status, 100);
    wire
}

/// A connection on which one request was answered.
fn kept(url: &str) -> Wire {
    let mut wire = Wire::at(url);
    assert_eq!(wire.write(HEALTH).reply().status, 200);
    wire
}

/// Asks until there is a place.
fn asks_until_served(url: &str) {
    let started = Instant::now();
    while Wire::at(url).write(HEALTH).reply().status != 200 {
        assert!(started.elapsed() < seconds(20));
        thread::sleep(Duration::from_millis(5));
    }
}

fn is_busy(reply: &Reply) -> bool {
    assert_eq!((reply.status, reply.body.as_str()), (503, BUSY));
    for (name, value) in [
        ("access-control-allow-origin", "*"),
        ("access-control-expose-headers", "Retry-After"),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("content-type", "application/json"),
        ("retry-after", "5"),
        ("connection", "close"),
    ] {
        assert_eq!(reply.header(name), Some(value));
    }
    true
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Slow {
    NoByte,
    Head,
    SecondHead,
    Body,
}

/// One slow client, until the relay closes its connection: how long that took from when its time began.
async fn slow(kind: Slow, address: &str) -> Duration {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut buffer = [0; 1024];
    if kind == Slow::SecondHead {
        stream.write_all(HEALTH.as_bytes()).await.unwrap();
        let read = stream.read(&mut buffer).await.unwrap();
        assert!(buffer[..read].starts_with(b"HTTP/1.1 200 OK\r\n"));
    }
    if kind == Slow::Body {
        let head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10000\r\n\r\n";
        stream.write_all(head).await.unwrap();
    }
    let began = Instant::now();
    let head = b"GET /health HTTP/1.1\r\nHost: x\r\nX-Something-Long: ";
    let mut drops = head.iter().chain(std::iter::repeat(&b'x'));
    let mut ticks = tokio::time::interval(seconds(1));
    loop {
        tokio::select! {
            read = stream.read(&mut buffer) => if !matches!(read, Ok(1..)) {
                return began.elapsed();
            },
            _ = ticks.tick(), if kind != Slow::NoByte => {
                // It may just have been closed: the read will show it.
                drop(stream.try_write(&[*drops.next().unwrap()]));
            }
        }
    }
}

/// How late the worst of many ticks was: what a test that waits must allow for on a busy machine.
async fn worst_delay(done: Arc<AtomicBool>) -> Duration {
    let mut worst = Duration::ZERO;
    while !done.load(SeqCst) {
        let asleep = Instant::now();
        tokio::time::sleep(Duration::from_millis(100)).await;
        worst = worst.max(asleep.elapsed() - Duration::from_millis(100));
    }
    worst
}

/// Sends and checks on new connections and kept ones, from an address of its own. How many times, and how long it
/// waited for a reply at most.
fn someone_else(url: &str, done: &AtomicBool) -> (usize, Duration) {
    let (mut rounds, mut longest) = (0, Duration::ZERO);
    while !done.load(SeqCst) {
        let mut wire = Wire::from("127.0.0.2", url);
        for _ in 0..10 {
            let to = fresh_pub();
            let mut ask = |request: serde_json::Value| {
                let asked = Instant::now();
                let (body, length) = (request.to_string(), request.to_string().len());
                let reply = wire
                    .write(format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}"))
                    .reply();
                assert_eq!(reply.status, 200, "{}", reply.body);
                longest = longest.max(asked.elapsed());
                reply.body
            };
            let sent = ask(json!({"pub": to, "ext": null, "action": "send", "data": "aGVsbG8"}));
            assert_eq!(sent, r#"{"ok":true}"#);
            let checked = ask(json!({"pub": to, "ext": null, "action": "check", "at": 0}));
            assert!(checked.starts_with(r#"{"ok":true,"found":true,"question":""#), "{checked}");
            rounds += 1;
        }
    }
    (rounds, longest)
}

/// A test that opens thousands of connections holds this: two at once would want more descriptors than there are.
pub static CROWD: Mutex<()> = Mutex::new(());

/// So many descriptors for this process.
pub fn descriptors(wanted: u64) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= wanted) {
        return;
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum })
        .unwrap_or_else(|_| panic!("this test needs {wanted} open files: run it with a higher ulimit -Hn"));
}

#[test]
fn five_thousand_slow_clients_are_closed_while_others_are_served() {
    let _crowd = CROWD.lock().unwrap_or_else(PoisonError::into_inner);
    descriptors(6_000);
    let relay = Serving::start(&[
        "--database",
        "sqlite::memory:",
        "--no-limits",
        "--url",
        "https://connecto.id",
        "--max-connections-per-source",
        "6000",
    ]);
    let done = Arc::new(AtomicBool::new(false));
    let (times, late, (rounds, longest_reply)) = thread::scope(|scope| {
        let other = scope.spawn(|| someone_else(&relay.url, &done));
        let (times, worst) = block_on(async {
            let delay = tokio::spawn(worst_delay(done.clone()));
            let address: Arc<str> = relay.url.strip_prefix("http://").unwrap().into();
            // The system's queue of new connections is short.
            let connecting = Arc::new(Semaphore::new(100));
            let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let mut clients = JoinSet::new();
            for n in 0..5_000 {
                let kind = [Slow::NoByte, Slow::Head, Slow::SecondHead, Slow::Body][n % 4];
                let (address, open, most) = (address.clone(), open.clone(), most.clone());
                let turn = connecting.clone().acquire_owned().await.unwrap();
                clients.spawn(async move {
                    most.fetch_max(open.fetch_add(1, SeqCst) + 1, SeqCst);
                    tokio::spawn(async move {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                        drop(turn);
                    });
                    let took = slow(kind, &address).await;
                    open.fetch_sub(1, SeqCst);
                    (kind, took)
                });
            }
            let mut times = Vec::new();
            while let Some(time) = clients.join_next().await {
                times.push(time.unwrap());
            }
            done.store(true, SeqCst);
            println!("{} at once", most.load(SeqCst));
            (times, delay.await.unwrap())
        });
        (times, worst, other.join().unwrap())
    });
    assert_eq!(times.len(), 5_000);
    println!("someone else did {rounds} rounds, and waited {longest_reply:?} for a reply at most");
    assert!(rounds > 0);
    assert!(longest_reply < seconds(5) + late, "{longest_reply:?}, the machine was {late:?} late");
    // The relay is as late as its machine: for ticks here, and for those it serves.
    let allowed = seconds(10) + late + longest_reply;
    for kind in [Slow::NoByte, Slow::Head, Slow::SecondHead, Slow::Body] {
        let longest = times.iter().filter(|(of, _)| *of == kind).map(|(_, took)| *took).max().unwrap();
        println!("{kind:?}: closed after {longest:?} at most");
        assert!(longest < allowed, "{kind:?}: {longest:?}, {allowed:?} allowed");
    }
}

/// The same pause is too long for one relay, and not for the other.
#[test]
fn the_head_has_a_deadline_also_of_a_later_request() {
    let strict = TestRelay::with(|config| config.connections.head_timeout = seconds(1));
    let patient = TestRelay::with(|config| config.connections.head_timeout = seconds(60));
    let (first, second) = HEALTH.split_at(20);
    let mut waiting = kept(&patient.url);
    waiting.write(first);
    let mut late = kept(&strict.url);
    late.write(first);
    assert!(late.is_closed());
    assert_eq!(waiting.write(second).reply().status, 200);
    // A new connection is told.
    assert_eq!(Wire::to(&strict).write(first).reply().status, 408);
    assert_eq!(Wire::to(&strict).reply().status, 408);
}

#[test]
fn the_body_has_a_deadline() {
    let strict = TestRelay::with(|config| config.connections.body_timeout = Duration::from_millis(1_500));
    let patient = TestRelay::with(|config| config.connections.body_timeout = seconds(60));
    let body = json!({"pub": fresh_pub(), "action": "check"}).to_string();
    let (first, second) = body.split_at(20);
    let mut waiting = half_sent(&patient.url, body.len());
    waiting.write(first);
    let late = r#"{"ok":false,"error":"Bad request","detail":"the body did not arrive within 1.5 seconds"}"#;
    let chunked = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n14\r\n";
    let long = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
    for head in [chunked, &long] {
        let mut wire = Wire::to(&strict);
        let reply = wire.write(head).write(first).reply();
        assert_eq!((reply.status, reply.body.as_str()), (400, late));
        assert_eq!(reply.header("connection"), Some("close"));
        assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
        assert!(wire.is_closed(), "{head}");
    }
    assert_eq!(waiting.write(second).reply().body, r#"{"ok":true,"found":false}"#);
}

#[test]
fn each_body_of_a_connection_has_its_own_deadline() {
    let relay = TestRelay::with(|config| config.connections.body_timeout = seconds(3));
    let body = json!({"pub": fresh_pub(), "action": "check"}).to_string();
    let (first, second) = body.split_at(20);
    // The deadline of the first body is still to come when the second begins, or has passed.
    thread::scope(|scope| {
        for pause in [Duration::ZERO, seconds(3)] {
            let (relay, body) = (&relay, &body);
            scope.spawn(move || {
                let mut wire = half_sent(&relay.url, body.len());
                wire.write(first);
                thread::sleep(seconds(1));
                assert_eq!(wire.write(second).reply().status, 200);
                thread::sleep(pause);
                let began = Instant::now();
                let head = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
                assert_eq!(wire.write(head).write(first).reply().status, 400, "{pause:?}");
                assert!(began.elapsed() >= seconds(3), "{pause:?}");
                assert!(wire.is_closed());
            });
        }
    });
}

#[test]
fn an_idle_connection_is_closed_after_a_while() {
    let strict = TestRelay::with(|config| config.connections.idle_timeout = seconds(1));
    let patient = TestRelay::start();
    let mut waiting = kept(&patient.url);
    let mut idle = kept(&strict.url);
    assert!(idle.is_closed());
    // One whose reply took the relay a while, too.
    let body = json!({"pub": fresh_pub(), "action": "check"}).to_string();
    let mut idle = half_sent(&strict.url, body.len());
    assert_eq!(idle.write(body).reply().status, 200);
    assert!(idle.is_closed());
    assert_eq!(waiting.write(HEALTH).reply().status, 200);
}

#[test]
fn an_idle_connection_outlives_the_deadline_of_a_head() {
    let relay = TestRelay::with(|config| config.connections.head_timeout = seconds(1));
    let mut kept = kept(&relay.url);
    // One that began later has met that deadline.
    let late = Wire::to(&relay).reply();
    assert_eq!(late.status, 408);
    assert_eq!(kept.write(HEALTH).reply().status, 200);
}

/// A request after which its connection ends has no say in anyone else's.
#[test]
fn the_last_request_of_one_connection_ends_no_other() {
    let relay = TestRelay::start();
    let mut kept: Vec<Wire> = (0..8).map(|_| kept(&relay.url)).collect();
    let old = "GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    kept.push(Wire::to(&relay));
    for last in
        ["GET /health HTTP/1.0\r\n\r\n", "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"]
    {
        // Enough for each of the relay's threads.
        for _ in 0..64 {
            let mut wire = Wire::to(&relay);
            assert_eq!(wire.write(last).reply().status, 200);
            assert!(wire.is_closed());
        }
        for (n, wire) in kept.iter_mut().enumerate() {
            assert_eq!(wire.write(if n < 8 { HEALTH } else { old }).reply().status, 200);
        }
    }
    // Longer than a connection lingers after its last reply.
    thread::sleep(seconds(2));
    for wire in &mut kept {
        assert_eq!(wire.write(HEALTH).reply().status, 200);
    }
    // It lingers no longer, whoever said that it was the last.
    let mut wire = Wire::to(&relay);
    wire.write(
        "POST /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    assert_eq!(wire.write("3\r\nabc\r\n").reply().status, 404);
    assert!(wire.is_closed());
}

#[test]
fn so_many_connections_and_no_more() {
    let relay = TestRelay::with(|config| config.connections.max = 2);
    let (first, mut second) = (kept(&relay.url), kept(&relay.url));
    let mut third = Wire::to(&relay);
    assert!(is_busy(&third.reply()) && third.is_closed());
    assert!(is_busy(&Wire::from("127.0.0.2", &relay.url).reply()));
    assert_eq!(second.write(HEALTH).reply().status, 200);
    drop(first);
    asks_until_served(&relay.url);
}

#[test]
fn so_many_connections_of_one_source() {
    let relay = TestRelay::with(|config| config.connections.max_per_source = 2);
    let (first, second) = (kept(&relay.url), kept(&relay.url));
    assert!(is_busy(&Wire::to(&relay).reply()));
    let mut other = Wire::from("127.0.0.2", &relay.url);
    assert_eq!(other.write(HEALTH).reply().status, 200);
    drop(first);
    asks_until_served(&relay.url);
    drop(second);

    // A proxy carries the connections of many.
    let relay = TestRelay::with(|config| {
        config.connections.max_per_source = 1;
        config.client_address.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
    });
    let of_proxy = [kept(&relay.url), kept(&relay.url)];
    let others = Wire::from("127.0.0.2", &relay.url);
    assert!(is_busy(&Wire::from("127.0.0.2", &relay.url).reply()));
    drop((of_proxy, others));
}

/// Many who come and go leave no place taken.
#[test]
fn places_are_free_again_however_a_connection_ends() {
    let relay = TestRelay::with(|config| {
        config.connections.max = 4;
        config.connections.head_timeout = seconds(3);
        config.connections.body_timeout = seconds(3);
    });
    for _ in 0..2 {
        let mut wires = [Wire::to(&relay), kept(&relay.url), half_sent(&relay.url, 10), kept(&relay.url)];
        assert!(is_busy(&Wire::to(&relay).reply()));
        wires[1].write("GET /slow");
        wires[3].write("nonsense\r\n\r\n");
        for wire in &mut wires {
            let mut rest = Vec::new();
            drop(wire.0.read_to_end(&mut rest));
        }
        asks_until_served(&relay.url);
    }
}

#[test]
fn the_settings_of_serve() {
    let relay = Serving::start(&[
        "--database",
        "sqlite::memory:",
        "--head-timeout",
        "1s",
        "--body-timeout",
        "2s",
        "--idle-timeout",
        "5s",
        "--max-connections",
        "3",
        "--max-connections-per-source",
        "2",
        "--log-level",
        "debug",
    ]);
    assert_eq!(Wire::at(&relay.url).reply().status, 408);
    let late = half_sent(&relay.url, 10).reply();
    assert_eq!(
        late.body,
        r#"{"ok":false,"error":"Bad request","detail":"the body did not arrive within 2 seconds"}"#
    );
    assert!(kept(&relay.url).is_closed());
    asks_until_served(&relay.url);
    let mut wires = Vec::new();
    for (source, served) in [("1", true), ("1", true), ("1", false), ("2", true), ("3", false)] {
        let mut wire = Wire::from(&format!("127.0.1.{source}"), &relay.url);
        if served {
            assert_eq!(wire.write(HEALTH).reply().status, 200);
        } else {
            assert!(is_busy(&wire.reply()));
        }
        wires.push(wire);
    }
    // The late body was a request; the other connections had none of the protocol.
    relay.signal("TERM");
    let (code, log) = relay.wait();
    let requests: Vec<&str> = log.lines().filter(|line| line.contains("action=")).collect();
    assert_eq!(code, Some(0));
    assert!(requests.len() == 1, "{log}");
    assert!(requests[0].ends_with("action=\"none\" result=\"Bad request\""), "{log}");
}

#[test]
fn nothing_is_no_setting() {
    let person = Person::new();
    for (option, value, said) in [
        ("--head-timeout", "0s", "expected 1s to 100y"),
        ("--body-timeout", "0s", "expected 1s to 100y"),
        ("--idle-timeout", "0s", "expected 1s to 100y"),
        ("--max-connections", "0", "expected a number, 1 or more"),
        ("--max-connections-per-source", "0", "expected a number, 1 or more"),
        ("--max-connections", "many", "expected a number, 1 or more"),
    ] {
        let output = person.run(&["serve", option, value], "");
        assert_eq!(output.status.code(), Some(2), "{option}");
        assert!(stderr(&output).contains(said), "{option}: {}", stderr(&output));
    }
}

/// The soft limit of open files is raised; the hard one is obeyed.
#[test]
fn no_more_connections_than_open_files() {
    let path = std::env::var("PATH").unwrap();
    let program = env!("CARGO_BIN_EXE_connectoid");
    let serve = |limits: &str| {
        let options = "--database sqlite::memory: --max-connections 60 --max-connections-per-source 60";
        Serving::by_shell(&format!("{limits}; exec {program} serve {options}"), &path)
    };
    let warning = "--max-connections is 50: the limit of open files (ulimit -n) allows no more";

    let relay = serve("ulimit -n 100");
    let kept_open: Vec<Wire> = (0..50).map(|_| kept(&relay.url)).collect();
    assert!(is_busy(&Wire::at(&relay.url).reply()));
    drop(kept_open);
    relay.signal("TERM");
    let (code, said) = relay.wait();
    assert!(code == Some(0) && said.contains(warning), "{said}");

    let relay = serve("ulimit -Sn 100; ulimit -Hn 400");
    let kept_open: Vec<Wire> = (0..60).map(|_| kept(&relay.url)).collect();
    assert!(is_busy(&Wire::at(&relay.url).reply()));
    drop(kept_open);
    relay.signal("TERM");
    let (code, said) = relay.wait();
    assert!(code == Some(0) && !said.contains("ulimit"), "{said}");
}

#[test]
fn slow_clients_do_not_hold_up_the_end() {
    let relay = Serving::start(&["--database", "sqlite::memory:", "--body-timeout", "2s"]);
    let mut slow_head = Wire::at(&relay.url);
    slow_head.write("GET / HTTP");
    let mut slow_second_head = kept(&relay.url);
    slow_second_head.write("GET / HTTP");
    let clients = [Wire::at(&relay.url), kept(&relay.url), slow_head, slow_second_head];
    let mut slow_body = half_sent(&relay.url, 10);
    // More than the system keeps for it; none of it is read.
    let mut never_reads = kept(&relay.url);
    never_reads.0.set_write_timeout(Some(seconds(1))).unwrap();
    never_reads.write("GET /openapi.yaml HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1_000));
    let told = Instant::now();
    relay.signal("TERM");
    assert_eq!(slow_body.reply().status, 400);
    let (code, said) = relay.wait();
    assert_eq!(code, Some(0), "{said}");
    assert!(told.elapsed() < seconds(10), "{:?}", told.elapsed());
    drop((clients, never_reads));
}

/// Requests whose bodies nobody reads leave the connection in order, or closed.
#[test]
fn unread_bodies() {
    let relay = TestRelay::start();
    let mut wire = Wire::to(&relay);
    wire.write("POST /nothing HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(wire.reply().status, 404);
    wire.write("3\r\nabc\r\n0\r\n\r\n").write(HEALTH);
    assert_eq!(wire.reply().body, r#"{"ok":true}"#);
    let mut wire = Wire::to(&relay);
    wire.write("POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n");
    assert_eq!(wire.reply().status, 404);
    assert!(wire.write("abc").is_closed());
    assert_eq!(get(&format!("{}/health", relay.url)).status, 200);
}

#[test]
fn what_is_no_request_fills_no_log() {
    let relay = Serving::start(&["--database", "sqlite::memory:", "--url", "https://connecto.id"]);
    for bytes in [
        "nonsense\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: x\r\n\r\n",
    ] {
        assert_eq!(Wire::at(&relay.url).write(bytes).reply().status, 400);
    }
    relay.signal("TERM");
    let (code, said) = relay.wait();
    assert_eq!(code, Some(0));
    let log: Vec<&str> =
        said.split("/demo/\n").nth(1).unwrap().lines().filter(|line| !line.is_empty()).collect();
    assert!(log.len() == 2 && log[0].contains("stopping") && log[1].contains("stopped"), "{said}");
}
