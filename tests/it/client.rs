//! The client library as an app uses it: over real relays, with TCP in place of WebRTC.

#[path = "../../examples/tcp/mod.rs"]
pub mod tcp;

use std::{
    fs,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use connectoid::{
    client::{
        Client, ClientError, Disk, KeysOnDisk, Signal,
        contact::LinkState,
        keystore::{Keystore, KeystoreError, Passphrase},
        sessions::{Alarm, Event, PersistPoint, Sessions, ShareOptions, Side},
        transport::Transport,
    },
    clock::SystemClock,
    protocol::find_connectoid,
};
use rand::{
    SeedableRng as _,
    rngs::{StdRng, SysRng},
};
use sqlx::Connection as _;
use tokio::runtime::Runtime;

use self::tcp::{Heard, Tcp};
use crate::{
    cli::{relay, seen},
    harness::{Person, Serving, get, metric, until},
};

/// Nothing listens on port 1.
const DEAD: &str = "http://127.0.0.1:1";

/// An app on a device.
struct End<D = KeysOnDisk> {
    client: Client<D>,
    tcp: Tcp,
    events: Vec<Event>,
    errors: Vec<String>,
}

/// What an app waits for.
enum Came {
    Signal(Result<Signal, ClientError>),
    Heard(Heard),
}

impl End {
    fn open(person: &Person) -> Self {
        Self::of(Client::open(Keystore::new(person.keys_file())).unwrap())
    }
}

impl<D: Disk> End<D> {
    fn of(client: Client<D>) -> Self {
        Self { client, tcp: Tcp::new(), events: Vec::new(), errors: Vec::new() }
    }

    fn share(&mut self, relays: &[&str]) -> String {
        let relays = relays.iter().map(|relay| relay.parse().unwrap()).collect();
        let link = self.client.share("Bob", ShareOptions { relays, ..ShareOptions::default() }).unwrap();
        self.client.set_foreground(true).unwrap();
        link.to_string()
    }

    fn connect(&mut self, link: &str) {
        self.client.connect(&find_connectoid(link).unwrap(), "Alice").unwrap();
    }

    /// May be dropped at any time.
    async fn came(&mut self) -> Came {
        tokio::select! {
            signal = self.client.next() => Came::Signal(signal),
            heard = self.tcp.next() => Came::Heard(heard),
        }
    }

    async fn take(&mut self, came: Came) {
        let Self { client, tcp, .. } = self;
        let done = match came {
            Came::Signal(Ok(signal)) => match signal {
                Signal::MakeOffer { session, .. } => {
                    client.local_offer(session, tcp.offer(session).await.unwrap())
                }
                Signal::MakeAnswer { session, sdp, .. } => {
                    client.local_answer(session, tcp.answer(session, &sdp).await.unwrap())
                }
                Signal::AcceptAnswer { session, sdp } => {
                    tcp.accept(session, &sdp).await;
                    Ok(())
                }
                Signal::Frame { session, text } => {
                    tcp.send(session, &text);
                    Ok(())
                }
                Signal::Close { session } => {
                    tcp.close(session);
                    Ok(())
                }
                Signal::Event(event) => {
                    self.events.push(event);
                    Ok(())
                }
                Signal::AddCandidates { .. } => panic!("nobody sends candidates"),
            },
            Came::Signal(Err(error)) => Err(error),
            Came::Heard(Heard::Open(session, certificate)) => client.channel_open(session, Some(certificate)),
            Came::Heard(Heard::Frame(session, text)) => client.frame(session, &text),
            Came::Heard(Heard::Closed(session)) => client.channel_closed(session),
        };
        self.errors.extend(done.err().map(|error| error.to_string()));
    }

    fn has(&self, event: &Event) -> bool {
        self.events.contains(event)
    }

    /// The short strings of its sessions, and whether app data may flow.
    fn connected(&self) -> Vec<(String, bool)> {
        let connected = self.events.iter().filter_map(|event| match event {
            Event::Connected { sas, may_exchange, .. } => {
                Some((format!("{:?}", sas.numbers()), *may_exchange))
            }
            _ => None,
        });
        connected.collect()
    }
}

/// Runs one app until it is so.
async fn one<D: Disk>(end: &mut End<D>, mut done: impl FnMut(&End<D>) -> bool) {
    let running = async {
        while !done(end) {
            // Looked at again now and then, for what is awaited may be the relay's.
            if let Ok(came) = tokio::time::timeout(Duration::from_millis(20), end.came()).await {
                end.take(came).await;
            }
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(40), running).await;
    assert!(ended.is_ok(), "{:#?} {:#?}", end.events, end.errors);
}

/// Runs two apps until it is so.
async fn both<A: Disk, B: Disk>(
    alice: &mut End<A>,
    bob: &mut End<B>,
    done: impl Fn(&End<A>, &End<B>) -> bool,
) {
    let running = async {
        while !done(alice, bob) {
            tokio::select! {
                came = alice.came() => alice.take(came).await,
                came = bob.came() => bob.take(came).await,
                // Not all that is awaited makes a signal.
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
            }
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(40), running).await;
    let (a, b) = ((&alice.events, &alice.errors), (&bob.events, &bob.errors));
    assert!(ended.is_ok(), "{a:#?} {b:#?}");
}

fn are_connected<A: Disk, B: Disk>(alice: &End<A>, bob: &End<B>) -> bool {
    !alice.connected().is_empty() && !bob.connected().is_empty()
}

/// Whether both have a new box that the other one confirmed, so that nothing more is on its way.
fn are_settled<A: Disk, B: Disk>(alice: &End<A>, bob: &End<B>) -> bool {
    let confirmed = |client: Option<&connectoid::client::contact::Contact>| {
        client.is_some_and(|contact| contact.boxes.last().is_some_and(|own| own.confirmed.is_some()))
    };
    are_connected(alice, bob)
        && confirmed(alice.client.contact("Bob"))
        && confirmed(bob.client.contact("Alice"))
}

/// Connects Alice and Bob by a link, and ends their apps.
pub fn connect(alice: &Person, bob: &Person, relay: &str) {
    let runtime = runtime();
    let _entered = runtime.enter();
    let (mut alice, mut bob) = (End::open(alice), End::open(bob));
    let link = alice.share(&[relay]);
    bob.connect(&link);
    runtime.block_on(both(&mut alice, &mut bob, are_settled));
}

/// Runs the app of somebody until a contact is gone, which the other side ended.
pub fn is_told_of_the_end(person: &Person, contact: &str) {
    let runtime = runtime();
    let _entered = runtime.enter();
    let mut end = End::open(person);
    let told = unshared(contact, Side::Peer);
    runtime.block_on(one(&mut end, |end| end.has(&told) && end.client.contact(contact).is_none()));
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn rng() -> StdRng {
    StdRng::try_from_rng(&mut SysRng).unwrap()
}

fn down(contact: &str) -> Event {
    Event::RelaysDown { contact: contact.into() }
}

fn back(contact: &str) -> Event {
    Event::RelaysBack { contact: contact.into() }
}

fn unshared(contact: &str, by: Side) -> Event {
    Event::Unshared { contact: contact.into(), by }
}

/// What asks blocking, from within a runtime.
fn apart<T: Send>(ask: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| scope.spawn(ask).join().unwrap())
}

/// Whether anybody waits at this relay.
fn waiters(url: &str) -> u64 {
    apart(|| metric(url, "connectoid_waiters"))
}

/// How many requests a relay answered with `ok`; those that may wait are apart.
fn requests(url: &str, action: &str) -> u64 {
    let metrics = apart(|| get(&format!("{url}/metrics")).body);
    let counter = format!(r#"connectoid_requests_total{{action="{action}",result="ok"}} "#);
    // A counter is not shown before it counts.
    metrics.lines().find_map(|line| line.strip_prefix(&counter)).map_or(0, |count| count.parse().unwrap())
}

/// A relay at this address, on this database.
pub fn relay_at(listen: &str, database: &Path) -> Serving {
    let database = format!("sqlite://{}", database.display());
    Serving::start(&["--listen", listen, "--database", &database])
}

#[test]
fn a_link_connects_two_over_the_wire() {
    let (relay, alice, bob, runtime) = (relay(), Person::new(), Person::new(), runtime());
    let _entered = runtime.enter();
    let (mut alice, mut bob) = (End::open(&alice), End::open(&bob));
    let link = alice.share(&[&relay.url]);
    bob.connect(&link);
    // Nobody looks at Bob's app; yet once his offer is stored he waits at the relay, and not for a minute to pass.
    runtime.block_on(one(&mut bob, |_| waiters(&relay.url) == 1));
    assert_eq!((alice.connected(), alice.events.len()), (vec![], 0));
    runtime.block_on(both(&mut alice, &mut bob, are_settled));
    assert_eq!(alice.connected(), bob.connected());
    assert!(alice.connected()[0].1, "app data may flow");
    let to_bob = alice.client.contact("Bob").unwrap();
    assert!(matches!(to_bob.link.as_ref().unwrap().state, LinkState::Retired(_)), "the link died");
    let to_alice = bob.client.contact("Alice").unwrap();
    let newest = to_bob.boxes[1].connectoid();
    assert!(to_alice.peer.as_ref().unwrap().connectoid == newest && newest.to_string() != link);
    assert_eq!((&alice.errors, &bob.errors), (&vec![], &vec![]));
}

#[test]
fn a_relay_that_is_killed_midway_and_comes_back() {
    let (folder, runtime) = (tempfile::tempdir().unwrap(), runtime());
    let database = folder.path().join("relay.db");
    let relay = relay_at("127.0.0.1:0", &database);
    let address = relay.url.strip_prefix("http://").unwrap().to_owned();
    let (alice, bob) = (Person::new(), Person::new());
    let _entered = runtime.enter();
    let (mut alice, mut bob) = (End::open(&alice), End::open(&bob));
    // The dead one is not noticed, as long as the other one lives.
    let link = alice.share(&[&relay.url, DEAD]);
    bob.connect(&link);
    let url = relay.url.clone();
    runtime.block_on(one(&mut bob, |_| requests(&url, "send") == 1));
    assert!(!bob.has(&down("Alice")), "{:?}", bob.events);
    drop(relay);
    runtime.block_on(both(&mut alice, &mut bob, |alice, bob| {
        alice.has(&down("Bob")) && bob.has(&down("Alice"))
    }));
    assert!(!are_connected(&alice, &bob));
    let _relay = relay_at(&address, &database);
    runtime.block_on(both(&mut alice, &mut bob, are_settled));
    assert!(alice.has(&back("Bob")) && bob.has(&back("Alice")));
    assert_eq!(alice.connected(), bob.connected());
    let told =
        |end: &End| end.events.iter().filter(|event| matches!(event, Event::RelaysDown { .. })).count();
    assert_eq!((told(&alice), told(&bob)), (1, 1));
}

#[test]
fn futures_that_are_dropped_again_and_again_lose_nothing() {
    let (relay, alice, bob, runtime) = (relay(), Person::new(), Person::new(), runtime());
    let _entered = runtime.enter();
    let (mut alice, mut bob) = (End::open(&alice), End::open(&bob));
    let link = alice.share(&[&relay.url]);
    bob.connect(&link);
    let mut dropped = 0;
    runtime.block_on(async {
        while !are_settled(&alice, &bob) {
            for end in [&mut alice, &mut bob] {
                // Asked once, and dropped if it is not there already.
                let came = tokio::select! {
                    biased;
                    came = end.came() => Some(came),
                    () = std::future::ready(()) => None,
                };
                match came {
                    Some(came) => end.take(came).await,
                    None => dropped += 1,
                }
            }
            assert!(dropped < 10_000_000, "{:?} {:?}", alice.events, bob.events);
            tokio::task::yield_now().await;
        }
    });
    assert!(dropped > 100, "{dropped}");
    assert_eq!(alice.connected(), bob.connected());
}

#[test]
fn an_app_that_is_slow_is_asked_nothing_and_gets_everything() {
    let (relay, alice, bob, runtime) = (relay(), Person::new(), Person::new(), runtime());
    let _entered = runtime.enter();
    let mut alice = End::open(&alice);
    let link = alice.share(&[&relay.url]);
    let url = relay.url.clone();
    runtime.block_on(one(&mut alice, |_| waiters(&url) == 1));
    let asked = || ["check", "wait", "receive", "delete"].map(|action| requests(&url, action));
    let [checks, waits, ..] = asked();
    // From here on the app does not call. What waits at the relay comes back, and waits here.
    for note in ["one", "two", "three"] {
        bob.ok(&["send", &link], note);
    }
    until(|| waiters(&url) == 0 && requests(&url, "wait") > waits);
    assert_eq!(asked(), [checks, waits + 1, 0, 0]);
    let note = Event::Note { contact: "Bob".into() };
    runtime
        .block_on(one(&mut alice, |alice| alice.events.iter().filter(|event| **event == note).count() == 3));
    let notes = |end: &mut End| -> Vec<Vec<u8>> {
        let notes: Vec<_> = end.client.notes("Bob").iter().map(|note| note.note.clone()).collect();
        end.client.notes_handed_over("Bob", notes.len()).unwrap();
        notes
    };
    assert_eq!(notes(&mut alice), [&b"one"[..], b"two", b"three"]);
    assert_eq!(notes(&mut alice), Vec::<Vec<u8>>::new(), "taken once");
}

#[test]
fn notes_are_given_until_they_were_handed_over() {
    let (relay, alice, bob, runtime) = (relay(), Person::new(), Person::new(), runtime());
    let _entered = runtime.enter();
    let mut app = End::open(&alice);
    let link = app.share(&[&relay.url]);
    let taken = |end: &mut End| {
        let count = end.client.notes("Bob").len();
        end.client.notes_handed_over("Bob", count).unwrap();
        count
    };
    let mut counts = Vec::new();
    for (there, take) in [(1, false), (2, true), (1, true)] {
        bob.ok(&["send", &link], "again");
        runtime.block_on(one(&mut app, |end: &End| end.client.notes("Bob").len() == there));
        assert!(app.has(&Event::Note { contact: "Bob".into() }));
        counts.push(if take { taken(&mut app) } else { 0 });
        drop(app);
        app = End::open(&alice);
        app.client.set_foreground(true).unwrap();
    }
    assert_eq!(counts, [0, 2, 1]);
    assert_eq!(taken(&mut app), 0);
}

/// A disk that is full when this says so of what is to be stored.
struct Full<F> {
    disk: KeysOnDisk,
    is_full: F,
}

impl<F: FnMut(PersistPoint) -> bool> Disk for Full<F> {
    fn store(&mut self, sessions: &Sessions, contact: &str, why: PersistPoint) -> Result<(), KeystoreError> {
        if (self.is_full)(why) {
            return Err(KeystoreError::File { path: "keys.json".into(), reason: "the disk is full".into() });
        }
        self.disk.store(sessions, contact, why)
    }

    fn lock(&mut self, contact: &str) -> Result<(), KeystoreError> {
        self.disk.lock(contact)
    }

    fn unlock(&mut self, contact: &str) {
        self.disk.unlock(contact);
    }
}

/// An app, and what makes its disk full.
fn on_a_disk_that_fills(
    person: &Person,
) -> (End<Full<impl FnMut(PersistPoint) -> bool + use<>>>, Arc<AtomicBool>) {
    let full = Arc::new(AtomicBool::new(false));
    let (disk, sessions) = KeysOnDisk::open(Keystore::new(person.keys_file())).unwrap();
    let is_full = full.clone();
    let disk = Full { disk, is_full: move |_| is_full.load(Ordering::SeqCst) };
    let client = Client::with(sessions, disk, Transport::new(), Arc::new(SystemClock), rng()).unwrap();
    (End::of(client), full)
}

#[test]
fn what_cannot_be_stored_holds_up_what_follows_and_is_tried_again() {
    // Whether it is Alice's disk, and what she or Bob may not have sent when it fails.
    for (hers, at, sends) in [
        (false, PersistPoint::ConnectBegun, 0),
        (false, PersistPoint::OfferCounted, 0),
        (true, PersistPoint::OfferTaken, 1),
        (true, PersistPoint::AnswerCounted, 1),
        (false, PersistPoint::Pinned, 2),
    ] {
        let (relay, alice, bob, runtime) = (relay(), Person::new(), Person::new(), runtime());
        let _entered = runtime.enter();
        let failed = Arc::new(AtomicBool::new(false));
        let end = |person: &Person, mut at: Option<PersistPoint>| {
            let (disk, sessions) = KeysOnDisk::open(Keystore::new(person.keys_file())).unwrap();
            let failed = failed.clone();
            let is_full = move |why| {
                let now = at.take_if(|at| *at == why).is_some();
                failed.fetch_or(now, Ordering::SeqCst);
                now
            };
            let disk = Full { disk, is_full };
            let client = Client::with(sessions, disk, Transport::new(), Arc::new(SystemClock), rng());
            End::of(client.unwrap())
        };
        let (mut alice, mut bob) = (end(&alice, hers.then_some(at)), end(&bob, (!hers).then_some(at)));
        let link = alice.share(&[&relay.url]);
        let connecting = bob.client.connect(&find_connectoid(&link).unwrap(), "Alice");
        let stored = |_: &End<_>, _: &End<_>| failed.load(Ordering::SeqCst);
        runtime.block_on(both(&mut alice, &mut bob, stored));
        let mut errors = [alice.errors.clone(), bob.errors.clone()].concat();
        errors.extend(connecting.err().map(|error| error.to_string()));
        assert_eq!(errors, ["cannot use keys.json: the disk is full"], "{at:?}");
        assert_eq!(requests(&relay.url, "send"), sends, "{at:?}");
        assert!(!are_connected(&alice, &bob));
        runtime.block_on(both(&mut alice, &mut bob, are_settled));
        assert_eq!(alice.connected(), bob.connected());
    }
}

#[test]
fn what_is_told_while_the_disk_is_full_is_not_lost() {
    let (relay, alice, bob, runtime) = (relay(), Person::new(), Person::new(), runtime());
    let _entered = runtime.enter();
    let (mut alice, full) = on_a_disk_that_fills(&alice);
    let mut bob = End::open(&bob);
    let link = alice.share(&[&relay.url]);
    bob.client.connect(&find_connectoid(&link).unwrap(), "Alice").unwrap();
    runtime.block_on(both(&mut alice, &mut bob, are_settled));
    let connected = alice.events.iter().find_map(|event| match event {
        Event::Connected { session, .. } => Some(*session),
        _ => None,
    });

    full.store(true, Ordering::SeqCst);
    let options = || ShareOptions::at([relay.url.parse().unwrap()]);
    let is_full = "cannot use keys.json: the disk is full";
    assert_eq!(alice.client.share("Carol", options()).unwrap_err().to_string(), is_full);
    assert_eq!(alice.client.channel_closed(connected.unwrap()).unwrap_err().to_string(), is_full);
    full.store(false, Ordering::SeqCst);

    let disconnected = Event::Disconnected { contact: "Bob".into() };
    runtime.block_on(one(&mut alice, |end: &End<_>| end.has(&disconnected)));
    assert!(alice.has(&Event::Shared { contact: "Carol".into() }));
    assert!(alice.client.link("Carol").is_some_and(|link| link.secret.is_some()));
    assert!(alice.client.link("Bob").is_none(), "that one was used");
}

#[test]
fn a_full_disk_keeps_no_session_open() {
    let (relay, alice, bob, runtime) = (relay(), Person::new(), Person::new(), runtime());
    let _entered = runtime.enter();
    let (mut alice, full) = on_a_disk_that_fills(&alice);
    let mut bob = End::open(&bob);
    let link = alice.share(&[&relay.url]);
    bob.connect(&link);
    runtime.block_on(both(&mut alice, &mut bob, are_settled));

    full.store(true, Ordering::SeqCst);
    let is_full = "cannot use keys.json: the disk is full";
    assert_eq!(alice.client.verify("Bob", false).unwrap_err().to_string(), is_full);
    let gone = Event::Disconnected { contact: "Alice".into() };
    runtime.block_on(both(&mut alice, &mut bob, |_, bob| bob.has(&gone)));
    let alarm = Event::Alarm { contact: "Bob".into(), alarm: Alarm::StringsDiffer };
    assert!(alice.has(&alarm));
    full.store(false, Ordering::SeqCst);
    let disconnected = Event::Disconnected { contact: "Bob".into() };
    runtime.block_on(one(&mut alice, |end: &End<_>| end.has(&disconnected)));
}

#[test]
fn one_program_runs_a_contact_and_commands_leave_it_alone() {
    let (relay, alice, runtime) = (relay(), Person::new(), runtime());
    let _entered = runtime.enter();
    let names = |end: &End| end.client.contacts().map(|contact| contact.name.clone()).collect::<Vec<_>>();
    let options = || ShareOptions { relays: vec![relay.url.parse().unwrap()], ..ShareOptions::default() };
    let mut first = End::open(&alice);
    let link = first.share(&[&relay.url]);
    let mut second = End::open(&alice);
    assert_eq!((names(&first), names(&second)), (vec!["Bob".to_owned()], vec![]));
    let in_use = r#"another program is connected as "Bob": end it first, one at a time can be"#;
    assert_eq!(second.client.share("Bob", options()).unwrap_err().to_string(), in_use);

    let keys = fs::read(alice.keys_file()).unwrap();
    assert!(
        Command::new("openssl")
            .args(["ecparam", "-name", "secp384r1", "-genkey", "-noout", "-out"])
            .arg(alice.path("key.pem"))
            .status()
            .unwrap()
            .success()
    );
    fs::write(alice.path("p"), "correct horse").unwrap();
    alice.ok(&["contacts", "export", "moving", "--export-passphrase-file", "p"], "");
    let refused = |words: &str| (1, String::new(), format!("connectoid: {words}\n"));
    for line in [
        "receive Bob",
        "link --for Bob --replace --relay https://b.example",
        "key import key.pem --for Bob --replace --relay https://b.example",
    ] {
        assert_eq!(seen(&alice.shell(&format!("connectoid {line}"))), refused(in_use), "{line}");
    }
    let path = alice.keys_file();
    let others = format!(
        "other programs are connected with the keys in {}: end them first; nothing was changed",
        path.display()
    );
    for line in [
        "contacts import moving --replace --export-passphrase-file p",
        "contacts passphrase --new-passphrase-file p",
    ] {
        assert_eq!(seen(&alice.shell(&format!("connectoid {line}"))), refused(&others), "{line}");
    }
    assert_eq!(fs::read(alice.keys_file()).unwrap(), keys, "nothing was changed");
    // What changes nothing goes on.
    assert_eq!(alice.ok(&["link", "--for", "Bob", "--again"], ""), format!("{link}\n"));
    alice.ok(&["link", "--for", "Carol", "--relay", &relay.url], "");
    let taken = r#"there is a contact "Carol" already, which another program made: choose another name"#;
    assert_eq!(first.client.share("Carol", options()).unwrap_err().to_string(), taken);

    drop(first);
    let third = End::open(&alice);
    assert_eq!(names(&third), ["Bob", "Carol"]);
    assert_eq!(names(&second), Vec::<String>::new());
    drop(third);
    assert_eq!(
        seen(&alice.run(&["receive", "Bob"], "")),
        (3, String::new(), "connectoid: nothing new\n".into())
    );
}

#[test]
fn a_program_that_runs_one_contact_leaves_the_others_to_others() {
    let (relay, alice, bob, runtime) = (relay(), Person::new(), Person::new(), runtime());
    let _entered = runtime.enter();
    let only = |names: &[&str]| Client::open_only(Keystore::new(alice.keys_file()), names);
    let mut apps = [only(&["Bob"]).unwrap(), only(&["Carol", "Dave"]).unwrap()];
    assert_eq!(apps[0].contacts().count(), 0, "that there is none is no error");
    for (app, name) in [(0, "Bob"), (1, "Carol")] {
        apps[app].share(name, ShareOptions::at([relay.url.parse().unwrap()])).unwrap();
    }
    let bobs = bob.ok(&["link", "--relay", &relay.url, "--for", "Alice"], "");
    let bobs = find_connectoid(&bobs).unwrap();
    apps[1].connect(&bobs, "Dave").unwrap();
    let in_use = r#"another program is connected as "Carol": end it first, one at a time can be"#;
    assert_eq!(only(&["Carol", "Bob"]).err().unwrap().to_string(), in_use);
    drop(apps);

    let names = |app: &Client| app.contacts().map(|contact| contact.name.clone()).collect::<Vec<_>>();
    let (mut one, other) = (only(&["Bob", "Erin"]).unwrap(), only(&["Carol"]).unwrap());
    assert_eq!((names(&one), names(&other)), (vec!["Bob".to_owned()], vec!["Carol".to_owned()]));
    // The links of contacts that it does not run are known to it: none is used twice.
    let refused = one.connect(&bobs, "Erin").unwrap_err().to_string();
    assert_eq!(refused, r#"this link is that of "Dave" already: reconnect to that contact"#);
    let own = find_connectoid(&other.link("Carol").unwrap().to_string()).unwrap();
    let refused = one.connect(&own, "Erin").unwrap_err().to_string();
    assert_eq!(refused, "this link was made here: open it on the other device");
}

#[test]
fn unshared_on_both_sides_without_a_trace() {
    let (folder, alice, bob, runtime) =
        (tempfile::tempdir().unwrap(), Person::new(), Person::new(), runtime());
    let relay = relay_at("127.0.0.1:0", &folder.path().join("relay.db"));
    let _entered = runtime.enter();
    let (mut one, mut two) = (End::open(&alice), End::open(&bob));
    let link = one.share(&[&relay.url]);
    two.connect(&link);
    runtime.block_on(both(&mut one, &mut two, are_settled));
    one.client.unshare("Bob").unwrap();
    let gone = |alice: &End, bob: &End| {
        let unshared = alice.has(&unshared("Bob", Side::Own)) && bob.has(&unshared("Alice", Side::Peer));
        unshared && alice.client.contact("Bob").is_none() && bob.client.contact("Alice").is_none()
    };
    runtime.block_on(both(&mut one, &mut two, gone));
    drop((one, two));
    for (person, name) in [(&alice, "Bob"), (&bob, "Alice")] {
        let keys: serde_json::Value = serde_json::from_slice(&fs::read(person.keys_file()).unwrap()).unwrap();
        assert_eq!(keys["contacts"], serde_json::json!([]), "{name}");
        assert!(!keys.to_string().contains(name));
        assert!(End::open(person).client.contacts().next().is_none());
    }
    // Nor is there one at the relay.
    let database = format!("sqlite://{}", folder.path().join("relay.db").display());
    let left = runtime.block_on(async {
        let mut connection = sqlx::SqliteConnection::connect(&database).await.unwrap();
        let count = "select (select count(*) from boxes) + (select count(*) from messages)";
        sqlx::query_scalar::<_, i64>(count).fetch_one(&mut connection).await.unwrap()
    });
    assert_eq!(left, 0, "boxes and messages");
}

#[test]
fn keys_under_a_passphrase() {
    let (relay, alice, bob, runtime) = (relay(), Person::new(), Person::new(), runtime());
    let _entered = runtime.enter();
    let open = |passphrase: &str| {
        let passphrase = Passphrase::new(passphrase.into()).unwrap();
        Client::open(Keystore::new(alice.keys_file()).with_passphrase(&mut rng(), passphrase)).map(End::of)
    };
    let (mut one, mut two) = (open("correct horse").unwrap(), End::open(&bob));
    let link = one.share(&[&relay.url]);
    // Also of a file that was not there when the first program began.
    assert_eq!(open("correct horse").unwrap().client.contacts().count(), 0, "one program at a time");
    two.connect(&link);
    runtime.block_on(both(&mut one, &mut two, are_settled));
    drop(one);
    let sealed = fs::read_to_string(alice.keys_file()).unwrap();
    assert!(!sealed.contains("Bob") && !sealed.contains("\"boxes\""), "{sealed}");
    let path = alice.keys_file();
    assert_eq!(
        open("wrong horse").err().unwrap().to_string(),
        format!("wrong passphrase: it does not open {}; nothing was changed", path.display())
    );
    let again = open("correct horse").unwrap();
    assert!(again.client.contact("Bob").unwrap().pinned().is_some());
}
