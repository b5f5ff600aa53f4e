//! Ten thousand who wait, at one relay: what they cost, and that only those are answered who have something.

use std::{
    collections::BTreeSet,
    fs,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use connectoid::protocol::PublicKey;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpSocket,
    sync::{Semaphore, mpsc},
};

use crate::{
    harness::{Serving, fresh_pub, metric, post},
    slow::{CROWD, descriptors},
};

const MANY: usize = 10_000;

/// The memory of a process that is in use, in bytes.
fn resident(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().trim().parse::<u64>().unwrap() * 1024
}

/// Waits at a relay from one of four addresses, and reads one reply: its body. None if the connection is closed.
async fn waits(n: usize, url: &str, key: PublicKey) -> Option<String> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("127.0.1.{}:0", 1 + n % 4).parse().unwrap()).unwrap();
    let authority = url.strip_prefix("http://").unwrap();
    let mut stream = socket.connect(authority.parse().unwrap()).await.unwrap();
    let body = json!({"pub": key, "ext": null, "action": "check", "at": 0, "wait": 300}).to_string();
    let head = format!("POST / HTTP/1.1\r\nhost: {authority}\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let mut reply = Vec::with_capacity(4096);
    // A small reply comes in one piece.
    stream.read_buf(&mut reply).await.unwrap();
    let reply = String::from_utf8(reply).unwrap();
    reply.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
}

#[test]
fn ten_thousand_wait() {
    let _crowd = CROWD.lock().unwrap_or_else(PoisonError::into_inner);
    descriptors(12_000);
    let relay = Serving::start(&[
        "--database",
        "sqlite::memory:",
        "--url",
        "https://connecto.id",
        "--max-wait",
        "5m",
        "--max-waiters",
        "10000",
        // Three quarters of them may wait.
        "--max-connections",
        "14000",
        "--max-connections-per-source",
        "14000",
    ]);
    let waiters = || metric(&relay.url, "connectoid_waiters");
    let keys: Vec<PublicKey> = (0..MANY).map(|_| fresh_pub()).collect();
    // What the first few requests set up is no waiter's.
    assert_eq!(post(&relay.url, &json!({"action": "check", "pub": keys[0]}).to_string()).status, 200);
    let before = resident(relay.child.id());

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (sender, mut answered) = mpsc::unbounded_channel();
    // The system's queue of new connections is short.
    let connecting = Arc::new(Semaphore::new(200));
    for (n, key) in keys.iter().copied().enumerate() {
        let (url, sender, connecting) = (relay.url.clone(), sender.clone(), connecting.clone());
        runtime.spawn(async move {
            let turn = connecting.acquire_owned().await.unwrap();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(10)).await;
                drop(turn);
            });
            drop(sender.send((n, waits(n, &url, key).await)));
        });
    }
    until_long(|| waiters() == MANY as u64);
    let each = (resident(relay.child.id()) - before) / MANY as u64;
    println!("{before} bytes before, and {each} bytes for each who waits");
    assert!(each < 30_000, "{each}");

    // One more has no place, and who does not wait is answered.
    let check = |wait: u64| json!({"action": "check", "pub": fresh_pub(), "wait": wait}).to_string();
    assert_eq!(post(&relay.url, &check(25)).status, 503);
    let asked = Instant::now();
    assert_eq!(post(&relay.url, &check(0)).body, r#"{"ok":true,"found":false}"#);
    println!("a check that does not wait took {:?}", asked.elapsed());
    assert!(asked.elapsed() < Duration::from_secs(5));

    let mut rng = StdRng::seed_from_u64(u64::from(std::process::id()));
    let mut chosen = BTreeSet::new();
    while chosen.len() < 100 {
        chosen.insert(rng.random_range(0..MANY));
    }
    for n in &chosen {
        let send = json!({"action": "send", "pub": keys[*n], "data": "aGVsbG8"}).to_string();
        assert_eq!(post(&relay.url, &send).body, r#"{"ok":true}"#);
    }
    let mut woken = BTreeSet::new();
    while woken.len() < 100 {
        let (n, reply) = answered.blocking_recv().unwrap();
        let reply = reply.unwrap();
        assert!(reply.starts_with(r#"{"ok":true,"found":true,"question":""#), "{reply}");
        woken.insert(n);
    }
    assert_eq!(woken, chosen);
    until_long(|| waiters() == MANY as u64 - 100);
    assert!(answered.try_recv().is_err(), "nobody else is answered");

    // All hang up.
    runtime.shutdown_background();
    until_long(|| waiters() == 0);
    println!("{} bytes afterwards", resident(relay.child.id()));
}

/// Looks until it is so, now and then: the looks should not be what keeps the relay busy.
fn until_long(mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < Duration::from_secs(120), "it does not come to be");
        std::thread::sleep(Duration::from_millis(20));
    }
}
