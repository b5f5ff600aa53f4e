//! An app that kills itself with SIGKILL where it is told to: the child process of `tests/it/crash_client.rs`.
//!
//! `crashing KEYS SECONDS`: its keys file, and how far its clock is ahead. It takes commands as lines and says as lines what
//! happens. Every state it stores is appended to `KEYS.log` before, for the test to open what was sent.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's process says what it needs by failing"
)]

#[path = "../../../examples/tcp/mod.rs"]
mod tcp;

use std::{
    fs::OpenOptions,
    io::{Write as _, stdin},
    path::PathBuf,
    process::exit,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use connectoid::{
    client::{
        Client, ClientError, Disk, KeysOnDisk, Signal,
        keystore::{Keystore, KeystoreError},
        sessions::{Event, PersistPoint, Sessions, ShareOptions},
        transport::Transport,
    },
    clock::{Clock, SystemClock, micros},
    protocol::find_connectoid,
};
use rand::{
    SeedableRng as _,
    rngs::{StdRng, SysRng},
};
use tcp::{Heard, Tcp};
use tokio::sync::mpsc::unbounded_channel;

/// What each side calls the other.
const NAME: &str = "the other";

/// The system's clock, so many seconds ahead.
struct Ahead(AtomicU64);

impl Ahead {
    fn by(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::SeqCst))
    }
}

impl Clock for Ahead {
    fn now(&self) -> i64 {
        SystemClock.now() + micros(self.by())
    }

    fn elapsed(&self) -> Duration {
        SystemClock.elapsed() + self.by()
    }
}

/// The point to die at, and whether before it is durable.
type Death = Arc<Mutex<Option<(String, bool)>>>;

/// The keys file, and death beside it.
struct Deadly {
    disk: KeysOnDisk,
    death: Death,
    log: PathBuf,
}

impl Deadly {
    fn dies(&self, point: &str, before: bool) {
        let now =
            self.death.lock().unwrap().as_ref().is_some_and(|death| *death == (point.to_owned(), before));
        if now {
            let this = rustix::process::getpid();
            rustix::process::kill_process(this, rustix::process::Signal::KILL).unwrap();
            loop {
                thread::park();
            }
        }
    }
}

impl Disk for Deadly {
    fn store(&mut self, sessions: &Sessions, contact: &str, why: PersistPoint) -> Result<(), KeystoreError> {
        let point = format!("{why:?}");
        println!("store {point}");
        if let Some(contact) = sessions.contact(contact) {
            let mut log = OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
            writeln!(log, "{}", serde_json::to_string(contact).unwrap()).unwrap();
        }
        self.dies(&point, true);
        self.disk.store(sessions, contact, why)?;
        self.dies(&point, false);
        Ok(())
    }

    fn lock(&mut self, contact: &str) -> Result<(), KeystoreError> {
        self.disk.lock(contact)
    }

    fn unlock(&mut self, contact: &str) {
        self.disk.unlock(contact);
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let clock = Arc::new(Ahead(AtomicU64::new(arguments[2].parse().unwrap())));
    let death = Death::default();
    let (disk, sessions) = KeysOnDisk::open(Keystore::new(PathBuf::from(&arguments[1]))).unwrap();
    let disk = Deadly { disk, death: death.clone(), log: format!("{}.log", arguments[1]).into() };
    let rng = StdRng::try_from_rng(&mut SysRng).unwrap();
    let mut client = Client::with(sessions, disk, Transport::new(), clock.clone(), rng).unwrap();
    client.set_foreground(true).unwrap();
    // As an app does that has something to sync.
    if client.contact(NAME).is_some_and(|contact| contact.pinned().is_some() && contact.leaving.is_none()) {
        client.reconnect(NAME).unwrap();
    }
    let (line, mut lines) = unbounded_channel();
    thread::spawn(move || stdin().lines().map_while(Result::ok).try_for_each(|read| line.send(read)));
    let mut app = App { client, tcp: Tcp::new(), is_open: false, is_settled: false, was_there: false };
    loop {
        app.look();
        let done = tokio::select! {
            command = lines.recv() => {
                let command = command.unwrap_or_else(|| exit(0));
                app.command(&command, &clock, &death)
            }
            signal = app.client.next() => app.signal(signal.unwrap()).await,
            // Not all that is looked for makes a signal.
            () = tokio::time::sleep(Duration::from_millis(20)) => Ok(()),
            heard = app.tcp.next() => match heard {
                Heard::Open(session, certificate) => app.client.channel_open(session, Some(certificate)),
                Heard::Frame(session, text) => app.client.frame(session, &text),
                Heard::Closed(session) => app.client.channel_closed(session),
            },
        };
        if let Err(error) = done {
            println!("error {error}");
        }
    }
}

struct App {
    client: Client<Deadly>,
    tcp: Tcp,
    is_open: bool,
    is_settled: bool,
    was_there: bool,
}

impl App {
    /// Says when it is connected and the other side knows its newest box, and when the contact is gone.
    fn look(&mut self) {
        let contact = self.client.contact(NAME);
        let newest = contact.and_then(|contact| contact.boxes.last());
        let known = newest.is_some_and(|own| own.confirmed.is_some() || own.used);
        if self.is_open && known && !self.is_settled {
            self.is_settled = true;
            println!("settled");
        }
        if self.was_there && contact.is_none() {
            println!("gone");
        }
        self.was_there = contact.is_some();
    }

    fn command(&mut self, command: &str, clock: &Ahead, death: &Death) -> Result<(), ClientError> {
        let words: Vec<&str> = command.split(' ').collect();
        let is_known = self.client.contact(NAME).is_some();
        match words[..] {
            ["die", point, when] => *death.lock().unwrap() = Some((point.to_owned(), when == "before")),
            ["share", relay] => {
                if !is_known {
                    let relays = vec![relay.parse().unwrap()];
                    self.client.share(NAME, ShareOptions { relays, ..ShareOptions::default() })?;
                }
                if let Some(link) = self.client.contact(NAME).and_then(|contact| contact.link_box()) {
                    println!("link {}", link.connectoid());
                }
            }
            ["connect", link] if !is_known => self.client.connect(&find_connectoid(link).unwrap(), NAME)?,
            ["connect", _] => {}
            ["reconnect"] => self.client.reconnect(NAME)?,
            ["disconnect"] => self.client.disconnect(NAME)?,
            ["unshare"] if is_known => self.client.unshare(NAME)?,
            // Nothing is left to be ended.
            ["unshare"] | ["listen"] => {
                if !is_known {
                    println!("gone");
                }
            }
            ["ahead", seconds] => {
                clock.0.fetch_add(seconds.parse().unwrap(), Ordering::SeqCst);
            }
            _ => panic!("{command:?}"),
        }
        Ok(())
    }

    async fn signal(&mut self, signal: Signal) -> Result<(), ClientError> {
        let Self { client, tcp, .. } = self;
        match signal {
            Signal::MakeOffer { session, .. } => {
                client.local_offer(session, tcp.offer(session).await.unwrap())?
            }
            Signal::MakeAnswer { session, sdp, .. } => {
                client.local_answer(session, tcp.answer(session, &sdp).await.unwrap())?;
            }
            Signal::AcceptAnswer { session, sdp } => tcp.accept(session, &sdp).await,
            Signal::Frame { session, text } => tcp.send(session, &text),
            Signal::Close { session } => tcp.close(session),
            Signal::AddCandidates { .. } => {}
            Signal::Event(event) => {
                match &event {
                    Event::Connected { .. } => (self.is_open, self.is_settled) = (true, false),
                    Event::Disconnected { .. } => (self.is_open, self.is_settled) = (false, false),
                    _ => {}
                }
                let words = format!("{event:?}");
                println!("{}", words.split([' ', '(']).next().unwrap());
            }
        }
        Ok(())
    }
}
