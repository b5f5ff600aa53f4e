//! Clients that send many requests at once, and read the replies or not: nobody else notices, and little is kept of it.

use std::{
    fs,
    io::Read as _,
    net::SocketAddr,
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::net::TcpSocket;

use crate::{
    harness::{Serving, TestRelay, block_on, fresh_pub, metric, until},
    wire::Wire,
};

const HEALTH: &str = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";

/// A reply of 40 kB.
const LONG: &str = "GET /openapi.yaml HTTP/1.1\r\nHost: x\r\n\r\n";

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn serving() -> Serving {
    Serving::start(&["--database", "sqlite::memory:", "--url", "https://connecto.id"])
}

/// A client for whose replies the system keeps little room. What it cannot write at once it gives up.
fn deaf(url: &str) -> Wire {
    let address: SocketAddr = url.strip_prefix("http://").unwrap().parse().unwrap();
    let stream = block_on(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(address).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(seconds(20))).unwrap();
    stream.set_write_timeout(Some(seconds(1))).unwrap();
    Wire(stream)
}

/// What a process keeps in memory for itself, in kB.
fn memory(relay: &Serving) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", relay.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

/// How long a process worked, in ticks of 10 ms.
fn worked(relay: &Serving) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", relay.child.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Waits until a process has nothing to do.
fn at_rest(relay: &Serving) {
    let mut before = worked(relay);
    until(|| {
        thread::sleep(Duration::from_millis(300));
        let now = worked(relay);
        std::mem::replace(&mut before, now) == now
    });
}

/// How late the worst of many ticks was: what a test must allow for on a busy machine.
fn worst_delay(done: &AtomicBool) -> Duration {
    let mut worst = Duration::ZERO;
    while !done.load(SeqCst) {
        let asleep = Instant::now();
        thread::sleep(Duration::from_millis(20));
        worst = worst.max(asleep.elapsed() - Duration::from_millis(20));
    }
    worst
}

/// Asks for its health on new connections and again on those: how long it waited for a reply at most.
fn someone_else(url: &str, done: &AtomicBool) -> Duration {
    let (mut times, mut longest) = (0, Duration::ZERO);
    while times < 20 || !done.load(SeqCst) {
        let asked = Instant::now();
        let mut wire = Wire::from("127.0.0.2", url);
        assert_eq!(wire.write(HEALTH).reply().status, 200);
        longest = longest.max(asked.elapsed());
        let asked = Instant::now();
        assert_eq!(wire.write(HEALTH).reply().status, 200);
        longest = longest.max(asked.elapsed());
        times += 2;
    }
    longest
}

/// Someone else is served while `burst` runs, and just after it.
fn is_served_during(relay: &Serving, burst: impl FnOnce()) {
    let done = AtomicBool::new(false);
    let (longest, late) = thread::scope(|scope| {
        let other = scope.spawn(|| someone_else(&relay.url, &done));
        let late = scope.spawn(|| worst_delay(&done));
        burst();
        done.store(true, SeqCst);
        (other.join().unwrap(), late.join().unwrap())
    });
    assert!(longest < seconds(2) + late, "{longest:?}, the machine was {late:?} late");
}

#[test]
fn one_who_reads_nothing_makes_no_work() {
    let relay = serving();
    let mut client = deaf(&relay.url);
    client.write(LONG.repeat(20_000));
    let before = worked(&relay);
    thread::sleep(seconds(2));
    let ticks = worked(&relay) - before;
    println!("{ticks} ticks in 2 s");
    assert!(ticks < 50, "{ticks} ticks of 10 ms in 2 s");
    // It may still read.
    for _ in 0..200 {
        assert!(client.reply().body.starts_with("openapi: "));
    }
}

#[test]
fn fifty_who_read_nothing_take_little_memory() {
    let relay = serving();
    let mut first = Wire::at(&relay.url);
    assert_eq!(first.write(HEALTH).reply().status, 200);
    let before = memory(&relay);
    let mut most = before;
    let mut clients: Vec<Wire> = (0..50).map(|_| deaf(&relay.url)).collect();
    is_served_during(&relay, || {
        for client in &mut clients {
            client.write(LONG.repeat(3_000));
            most = most.max(memory(&relay));
        }
        // Each has had its turn when it has a reply.
        for client in &mut clients {
            assert_eq!(client.0.peek(&mut [0]).unwrap(), 1);
            most = most.max(memory(&relay));
        }
    });
    at_rest(&relay);
    most = most.max(memory(&relay));
    println!("{before} kB before, {most} kB with 50 clients");
    drop(clients);
    assert!(most - before < 40_000, "{before} kB before, {most} kB with 50 clients");
}

#[test]
fn forty_thousand_requests_are_answered_and_others_too() {
    let relay = serving();
    let before = memory(&relay);
    let mut most = before;
    is_served_during(&relay, || {
        let together = Arc::new(Barrier::new(11));
        let clients: Vec<_> = (0..10)
            .map(|_| {
                let (mut wire, together) = (Wire::at(&relay.url), together.clone());
                thread::spawn(move || {
                    let length = wire.write(HEALTH).0.read(&mut [0; 4096]).unwrap();
                    let mut asks = Wire(wire.0.try_clone().unwrap());
                    together.wait();
                    let asking = thread::spawn(move || {
                        asks.write(HEALTH.repeat(4_000));
                    });
                    let mut rest = vec![0; length * 4_000];
                    wire.0.read_exact(&mut rest).unwrap();
                    assert!(rest.chunks(length).all(|reply| reply.starts_with(b"HTTP/1.1 200 OK\r\n")));
                    asking.join().unwrap();
                })
            })
            .collect();
        together.wait();
        while !clients.iter().all(thread::JoinHandle::is_finished) {
            most = most.max(memory(&relay));
            thread::sleep(Duration::from_millis(5));
        }
        clients.into_iter().for_each(|client| client.join().unwrap());
    });
    println!("{before} kB before, {most} kB with 10 clients");
    assert!(most - before < 40_000, "{before} kB before, {most} kB with 10 clients");
}

/// All of it at once, bodies too, and then nothing more: each is answered, in its turn.
#[test]
fn whoever_ends_its_side_gets_every_reply() {
    let relay = TestRelay::start();
    let mut wire = Wire::to(&relay);
    let boxes: Vec<_> = (0..100).map(|_| fresh_pub()).collect();
    let mut requests = String::new();
    for to in &boxes {
        let send = json!({"pub": to, "ext": null, "action": "send", "data": "aGVsbG8"}).to_string();
        requests += &format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{send}", send.len());
        requests += HEALTH;
    }
    wire.write(requests).end();
    for _ in 0..200 {
        assert_eq!(wire.reply().body, r#"{"ok":true}"#);
    }
    assert!(wire.is_closed());
    for to in boxes {
        let check = json!({"pub": to, "ext": null, "action": "check", "at": 0});
        assert_eq!(relay.post(&check).json()["found"], true);
    }
}

/// The largest body of one box, in the smallest chunks there are, with another request behind it.
#[test]
fn a_body_in_crumbs() {
    let relay = TestRelay::start();
    let body = json!({"pub": fresh_pub(), "ext": null, "action": "check", "at": 0}).to_string();
    let body = format!("{body}{}", " ".repeat(32_768 - body.len()));
    let mut wire = Wire::to(&relay);
    wire.write("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    let crumbs: String = body.chars().map(|crumb| format!("1\r\n{crumb}\r\n")).collect();
    wire.write(format!("{crumbs}0\r\n\r\n{HEALTH}"));
    assert_eq!(wire.reply().body, r#"{"ok":true,"found":false}"#);
    assert_eq!(wire.reply().body, r#"{"ok":true}"#);
}

/// What a client sends ahead, while a check of its waits, is answered after it; that it leaves is seen all the same.
#[test]
fn sending_ahead_while_a_check_waits() {
    let relay = TestRelay::start();
    let wait = |wire: &mut Wire, ahead: &str| {
        let check =
            json!({"pub": fresh_pub(), "ext": null, "action": "check", "at": 0, "wait": 20}).to_string();
        let length = check.len();
        wire.write(format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{check}{ahead}"));
        until(|| metric(&relay.url, "connectoid_waiters") == 1);
    };
    let mut wire = Wire::to(&relay);
    let asked = Instant::now();
    wait(&mut wire, HEALTH);
    wire.write(HEALTH).end();
    assert_eq!(wire.reply().body, r#"{"ok":true,"found":false}"#);
    assert_eq!(wire.reply().body, r#"{"ok":true}"#);
    assert_eq!(wire.reply().body, r#"{"ok":true}"#);
    assert!(wire.is_closed() && asked.elapsed() < seconds(15));
    let mut wire = Wire::to(&relay);
    wait(&mut wire, "");
    wire.write(HEALTH);
    drop(wire);
    until(|| metric(&relay.url, "connectoid_waiters") == 0);
}
