//! Two instances on one PostgreSQL, behind one Caddy, set up as deploy/container does it.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use connectoid::{
    protocol::{PublicKey, RelayUrl, base64url},
    seal::{BoxKey, question::open_question},
};
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _, PgConnection, postgres::PgListener};

use crate::{
    documents::read,
    gateway::{Gateway, addresses, ask},
    harness::{
        Client, KEY, Kind, Reply, Serving, TestDatabase, block_on, fresh_key, fresh_pub, get, metric, post,
        request, until,
    },
    proxy::Proxy,
};

pub const URL: &str = "https://relay.example.com";

pub const OK: &str = r#"{"ok":true}"#;

const ALICE: &str = "127.0.0.2";
const BOB: &str = "127.0.0.3";

/// The kit's Caddyfile, before these relays.
fn gateway(relays: &[&str]) -> Gateway {
    let kit = read("deploy/container/Caddyfile");
    let site = kit.split("\n{$RELAY_HOST} {\n").nth(1).unwrap().split("\n}\n").next().unwrap();
    let theirs = "relay-1:8080 relay-2:8080";
    assert!(site.contains(theirs), "{site}");
    Gateway::site(&site.replace(theirs, &addresses(relays)))
}

/// A relay as the kit's compose.yaml sets it up, with a database and ports of its own.
fn instance(database: &str, args: &[&str]) -> Serving {
    let kit: Value = serde_saphyr::from_str(&read("deploy/container/compose.yaml")).unwrap();
    let mut settings = kit["services"]["relay-1"]["environment"].as_object().unwrap().clone();
    settings.remove("CONNECTOID_METRICS_LISTEN").unwrap();
    settings.insert("CONNECTOID_DATABASE".into(), database.into());
    settings.insert("CONNECTOID_URL".into(), URL.into());
    Serving::start_with(args, |command| {
        command.envs(settings.iter().map(|(name, value)| (name, value.as_str().unwrap())));
    })
}

fn two(database: &str, args: &[&str]) -> [Serving; 2] {
    [instance(database, args), instance(database, args)]
}

fn before(instances: &[Serving; 2]) -> Gateway {
    gateway(&[&instances[0].url, &instances[1].url])
}

pub fn wait_for(key: &PublicKey) -> String {
    json!({"pub": key, "ext": null, "action": "check", "at": 0, "wait": 25}).to_string()
}

pub fn send(to: &PublicKey, text: &str) -> String {
    json!({"pub": to, "ext": null, "action": "send", "data": base64url::encode(text)}).to_string()
}

fn waiters(instances: &[Serving]) -> u64 {
    instances.iter().map(|instance| metric(&instance.url, "connectoid_waiters")).sum()
}

/// What a client notices when an instance goes away or the database does: to be asked to send the same again.
fn is_busy(reply: &Reply) {
    assert_eq!((reply.status, reply.error().as_str()), (503, "Busy"), "{}", reply.body);
    assert_eq!(reply.header("retry-after"), Some(reply.json()["retryAfter"].to_string().as_str()));
    assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
}

/// Asks until the reply is not `Busy`; how often it was is counted.
fn insists(url: &str, body: &str, busy: &AtomicUsize) -> Reply {
    let began = Instant::now();
    loop {
        assert!(began.elapsed() < Duration::from_secs(60), "still Busy");
        let reply = post(url, body);
        if reply.status == 200 {
            return reply;
        }
        is_busy(&reply);
        busy.fetch_add(1, SeqCst);
        thread::sleep(Duration::from_millis(50));
    }
}

/// Many who wait for a message each, through the gateway, and the moment when each was answered.
struct Waiters {
    keys: Vec<PublicKey>,
    answered: mpsc::Receiver<(usize, Instant, Value)>,
}

impl Waiters {
    fn start(count: usize, url: &str) -> Self {
        let keys: Vec<PublicKey> = (0..count).map(|_| fresh_pub()).collect();
        let (sender, answered) = mpsc::channel();
        for (n, key) in keys.iter().enumerate() {
            let (sender, url, body) = (sender.clone(), url.to_owned(), wait_for(key));
            thread::spawn(move || {
                let reply = insists(&url, &body, &AtomicUsize::new(0));
                // Nobody listens if the test has failed.
                drop(sender.send((n, Instant::now(), reply.json())));
            });
        }
        Self { keys, answered }
    }

    /// Sends to each through one of these, by turns: how long it took until they were answered, shortest first.
    fn woken_through(self, relays: &[&str]) -> Vec<Duration> {
        let sent = self.keys.iter().zip(relays.iter().cycle()).map(|(key, relay)| {
            let began = Instant::now();
            assert_eq!(insists(relay, &send(key, "hello"), &AtomicUsize::new(0)).body, OK);
            began
        });
        let sent: Vec<Instant> = sent.collect();
        let mut times: Vec<Duration> = (0..self.keys.len())
            .map(|_| {
                let (n, when, reply) = self.answered.recv_timeout(Duration::from_secs(20)).expect("a waiter");
                assert_eq!(reply["found"], true);
                when.saturating_duration_since(sent[n])
            })
            .collect();
        times.sort_unstable();
        times
    }
}

#[test]
fn limits_hold_through_the_proxy_and_each_instance_counts_for_itself() {
    let database = TestDatabase::new(Kind::Postgres);
    let instances = two(&database.url, &["--limit-receive", "1:2"]);
    let gateway = before(&instances);
    let body = json!({"action": "receive", "pub": KEY, "answer": "A".repeat(75)}).to_string();
    let passed = |from: &str, headers: &[(&str, &str)]| {
        let replies = (0..10).map(|_| ask(from, "POST", &gateway.url, headers, &body));
        let errors: Vec<String> = replies.map(|reply| reply.error()).collect();
        assert!(
            errors.iter().all(|error| ["Wrong answer", "Too often"].contains(&error.as_str())),
            "{errors:?}"
        );
        errors.iter().filter(|error| *error == "Wrong answer").count()
    };
    assert_eq!(passed(ALICE, &[]), 4, "2 at each");
    assert_eq!(passed(ALICE, &[("X-Forwarded-For", "203.0.113.9")]), 0);
    assert_eq!(passed(BOB, &[("X-Forwarded-For", ALICE)]), 4);
    assert_eq!(passed(BOB, &[]), 0);
    for _ in 0..4 {
        let info = ask(ALICE, "GET", &format!("{}/info", gateway.url), &[("X-Forwarded-For", BOB)], "");
        assert_eq!(info.json()["client"], ALICE);
    }
}

#[test]
fn a_message_through_either_instance_wakes_those_at_both() {
    let database = TestDatabase::new(Kind::Postgres);
    let instances = two(&database.url, &[]);
    let gateway = before(&instances);
    for through in [&instances[0].url, &instances[1].url, &gateway.url] {
        let waiting = Waiters::start(40, &gateway.url);
        for instance in &instances {
            until(|| metric(&instance.url, "connectoid_waiters") == 20);
        }
        let times = waiting.woken_through(&[through]);
        let (median, longest) = (times[20], times[39]);
        println!("woken after {median:?} in the median, {longest:?} at most");
        assert!(median < Duration::from_millis(250), "{times:?}");
        assert!(longest < Duration::from_secs(10), "{times:?}");
    }
}

/// How many notifications the instances sent while `work` was done.
fn notifications(database: &str, work: impl FnOnce()) -> usize {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut listener = runtime.block_on(async {
        let mut listener = PgListener::connect(database).await.unwrap();
        listener.listen("connectoid").await.unwrap();
        listener
    });
    work();
    // Moved in: it must not be dropped outside.
    runtime.block_on(async move {
        let mut end = PgConnection::connect(database).await.unwrap();
        end.execute("notify connectoid, 'end'").await.unwrap();
        let mut count = 0;
        while listener.recv().await.unwrap().payload() != "end" {
            count += 1;
        }
        count
    })
}

#[test]
fn under_load_there_are_fewer_notifications_than_messages() {
    let database = TestDatabase::new(Kind::Postgres);
    let instances = two(&database.url, &["--no-limits"]);
    let gateway = before(&instances);
    let waiting = Waiters::start(10, &gateway.url);
    until(|| waiters(&instances) == 10);
    let began = Instant::now();
    let count = notifications(&database.url, || {
        thread::scope(|scope| {
            for sender in 0..16 {
                let url = &gateway.url;
                scope.spawn(move || {
                    let (client, to) = (Client::new(), fresh_pub());
                    for n in 0..100 {
                        let message = send(&to, &format!("{n} of {sender}"));
                        let reply = client.request("POST", url, &[], message.as_bytes()).unwrap();
                        assert_eq!(reply.status, 200);
                    }
                });
            }
        });
    });
    let seconds = began.elapsed().as_secs_f64();
    println!("{count} notifications of 1600 messages in {seconds} s");
    // 50 a second from each, however many messages come.
    assert!(count > 0 && count as f64 <= 100.0 * seconds + 4.0, "{count} in {seconds} s");
    assert!(count < 1600, "{count}");
    waiting.woken_through(&[&gateway.url]);
}

fn text(data: &str) -> String {
    String::from_utf8(base64url::decode(data).unwrap()).unwrap()
}

/// Waits for what is newer than `at` in a box, and moves it on.
pub fn receives(url: &dyn Fn() -> String, key: &BoxKey, at: &mut Value, busy: &AtomicUsize) -> Vec<String> {
    let check = json!({"pub": key.public(), "ext": null, "action": "check", "at": *at, "wait": 25});
    let asked = insists(&url(), &check.to_string(), busy).json();
    if asked["found"] == false {
        return vec![];
    }
    let relay: RelayUrl = asked["relay"].as_str().unwrap().parse().unwrap();
    let answer = open_question(key, &relay, asked["question"].as_str().unwrap()).unwrap();
    let receive = json!({"pub": key.public(), "ext": null, "action": "receive", "answer": base64url::encode(answer.0),
                         "at": *at, "limit": 32});
    let reply = insists(&url(), &receive.to_string(), busy).json();
    let messages = reply["messages"].as_array().unwrap();
    *at = reply["at"].clone();
    messages.iter().map(|message| text(message["data"].as_str().unwrap())).collect()
}

/// Clients who send, wait and receive all the while, and what the acknowledged and the received ones were.
pub struct Traffic {
    owners: Vec<BoxKey>,
    /// Whom to, and what.
    acknowledged: Mutex<BTreeSet<(usize, String)>>,
    pub busy: AtomicUsize,
    done: AtomicBool,
    failed: AtomicBool,
}

/// Set when dropped: also by a failure, or the test would not end.
struct Done<'a>(&'a Traffic);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.done.store(true, SeqCst);
        self.0.failed.store(thread::panicking(), SeqCst);
    }
}

impl Traffic {
    pub fn new() -> Self {
        let owners = (0..4).map(|_| fresh_key()).collect();
        Self {
            owners,
            acknowledged: Mutex::default(),
            busy: AtomicUsize::new(0),
            done: AtomicBool::new(false),
            failed: AtomicBool::new(false),
        }
    }

    pub fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    pub fn more(&self, count: usize) {
        let enough = self.count() + count;
        until(|| self.count() >= enough);
    }

    /// While `during` goes on, 6 senders send to 4 owners; what each of these received, in order.
    /// Each request goes to where `url` says.
    pub fn run(&self, url: &(dyn Fn() -> String + Sync), during: impl FnOnce()) -> Vec<Vec<String>> {
        thread::scope(|scope| {
            let senders: Vec<_> = (0..6).map(|sender| scope.spawn(move || self.send(url, sender))).collect();
            let owners: Vec<_> = (0..4).map(|owner| scope.spawn(move || self.receive(url, owner))).collect();
            let done = Done(self);
            during();
            drop(done);
            senders.into_iter().for_each(|sender| sender.join().unwrap());
            for owner in &self.owners {
                insists(&url(), &send(&owner.public(), "end"), &self.busy);
            }
            owners.into_iter().map(|owner| owner.join().unwrap()).collect()
        })
    }

    fn send(&self, url: &dyn Fn() -> String, sender: usize) {
        for n in 0.. {
            if self.done.load(SeqCst) {
                return;
            }
            let (owner, text) = (n % 4, format!("{sender}: {n:06}"));
            let reply = insists(&url(), &send(&self.owners[owner].public(), &text), &self.busy);
            assert_eq!(reply.body, OK);
            self.acknowledged.lock().unwrap().insert((owner, text));
        }
    }

    fn receive(&self, url: &dyn Fn() -> String, owner: usize) -> Vec<String> {
        let (mut all, mut at, end) = (Vec::new(), json!(0), "end".to_owned());
        while !all.contains(&end) {
            assert!(!self.failed.load(SeqCst), "the test failed");
            all.extend(receives(url, &self.owners[owner], &mut at, &self.busy));
        }
        all.pop();
        all
    }

    /// All that was acknowledged came to its owner, once, and what one sender sent in the order it was sent.
    pub fn assert_received(&self, received: &[Vec<String>]) {
        let acknowledged = self.acknowledged.lock().unwrap();
        for (owner, received) in received.iter().enumerate() {
            // The set is in the order of sender and number.
            let sent: Vec<&String> =
                acknowledged.iter().filter(|(to, _)| *to == owner).map(|(_, text)| text).collect();
            let mut by_sender: Vec<&String> = received.iter().collect();
            by_sender.sort_by_key(|text| text.as_bytes()[0]);
            assert_eq!(by_sender, sent, "{owner}");
        }
    }
}

#[test]
fn one_instance_killed_and_nothing_noticed_but_busy() {
    let database = TestDatabase::new(Kind::Postgres);
    let [mut first, second] = two(&database.url, &["--no-limits"]);
    let listened = first.url.strip_prefix("http://").unwrap().to_owned();
    let gateway = gateway(&[&first.url, &second.url]);
    let waiting = Waiters::start(20, &gateway.url);
    until(|| {
        metric(&first.url, "connectoid_waiters") == 10 && metric(&second.url, "connectoid_waiters") == 10
    });
    let traffic = Traffic::new();
    let received = traffic.run(&|| gateway.url.clone(), || {
        traffic.more(200);
        first.child.kill().unwrap();
        first.child.wait().unwrap();
        traffic.more(300);
        // Those who waited there wait here now.
        until(|| metric(&second.url, "connectoid_waiters") >= 20);
        waiting.woken_through(&[&gateway.url]);
        // It is back, and gets its share again.
        let back = instance(&database.url, &["--no-limits", "--listen", &listened]);
        let answered = r#"connectoid_requests_total{action="send",result="ok"}"#;
        until(|| get(&format!("{}/metrics", back.url)).body.contains(answered));
        traffic.more(100);
        // Told to stop it finishes what it has.
        back.signal("TERM");
        assert_eq!(back.wait().0, Some(0));
        traffic.more(100);
    });
    traffic.assert_received(&received);
    println!("{} sent and received; Busy {:?} times", traffic.count(), traffic.busy);
    assert!(traffic.busy.load(SeqCst) > 0, "the kill met nobody");
}

#[test]
fn with_no_instance_left_the_proxy_says_busy() {
    let gateway = gateway(&["http://127.0.0.1:1", "http://127.0.0.1:2"]);
    let reply = request("POST", &gateway.url, &[], br#"{"action":"check"}"#);
    assert_eq!(
        (reply.status, reply.body.as_str()),
        (
            503,
            r#"{"ok":false,"error":"Busy","detail":"the relay cannot do this just now; send the same request again","retryAfter":1}"#
        )
    );
    for (name, value) in [
        ("access-control-allow-origin", "*"),
        ("access-control-expose-headers", "Retry-After"),
        ("cache-control", "no-store"),
        ("content-type", "application/json"),
        ("retry-after", "1"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(reply.header(name), Some(value));
    }
}

/// How many instances listen for each other's messages.
fn listeners(database: &str) -> i64 {
    block_on(async {
        let mut connection = PgConnection::connect(database).await.unwrap();
        let count = "select count(*) from pg_stat_activity
                     where datname = current_database() and query ilike 'listen %' and pid <> pg_backend_pid()";
        let count = sqlx::query_scalar(count).fetch_one(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        count
    })
}

#[test]
fn the_database_goes_away_and_comes_back_for_both() {
    let database = TestDatabase::new(Kind::Postgres);
    let proxy = Proxy::before(&database.url);
    let instances = two(&proxy.url, &["--no-limits"]);
    let gateway = before(&instances);
    let waiting = Waiters::start(10, &gateway.url);
    until(|| waiters(&instances) == 10);
    until(|| listeners(&database.url) == 2);
    proxy.cut();
    until(|| listeners(&database.url) == 0);
    let body = send(&fresh_pub(), "hello");
    for instance in &instances {
        is_busy(&post(&instance.url, &body));
    }
    proxy.mend();
    until(|| post(&gateway.url, &body).body == OK);
    until(|| listeners(&database.url) == 2);
    assert_eq!(waiters(&instances), 10, "they wait on");
    waiting.woken_through(&[&instances[0].url, &instances[1].url]);
}
