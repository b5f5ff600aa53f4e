//! Two apps of which one is killed with SIGKILL at every point where it stores something, before and after it is durable.
//!
//! Both then reach each other, or are told the end; and no counter of a signing key is used for two messages.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::process::ExitStatusExt as _,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use connectoid::{
    client::contact::Contact,
    protocol::{PublicKey, base64url},
    seal::message::open_message,
};
use regex_lite::Regex;
use tempfile::TempDir;

use crate::{cli::relay, harness::example};

/// What the two do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Act {
    /// Alice shares, Bob connects; both replace their first box.
    Connect,
    /// A day later Alice connects again, and both replace their box again.
    Reconnect,
    Unshare,
}

const ALICE: usize = 0;
const BOB: usize = 1;

/// Who is killed where.
#[derive(Debug)]
struct Crash {
    act: Act,
    side: usize,
    point: &'static str,
    when: &'static str,
}

/// How long nothing happens before time or people come to help. Longer than the two seconds for which a client leaves a relay
/// alone that had nothing of use.
const QUIET: Duration = Duration::from_secs(3);

/// An app as a process, which is started again when it was killed.
struct App {
    folder: TempDir,
    ahead: u64,
    child: Child,
    stdin: ChildStdin,
    lines: mpsc::Receiver<String>,
    /// All it said, of which the last of these words is how it is.
    said: Vec<String>,
    state: String,
    kills: u32,
}

impl App {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (child, stdin, lines) = Self::start(&folder, 0);
        Self { folder, ahead: 0, child, stdin, lines, said: Vec::new(), state: String::new(), kills: 0 }
    }

    fn start(folder: &TempDir, ahead: u64) -> (Child, ChildStdin, mpsc::Receiver<String>) {
        let mut command = Command::new(example("crashing"));
        command.arg(folder.path().join("keys.json")).arg(ahead.to_string());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (line, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|said| line.send(said)));
        let stdin = child.stdin.take().unwrap();
        (child, stdin, lines)
    }

    /// One that was killed hears of nothing.
    fn tell(&mut self, command: &str) {
        if let Some(seconds) = command.strip_prefix("ahead ") {
            self.ahead += seconds.parse::<u64>().unwrap();
        }
        drop(writeln!(self.stdin, "{command}"));
    }

    /// Listens for a moment; whether it said something.
    fn listen(&mut self) -> bool {
        let before = self.said.len();
        self.said.extend(self.lines.try_iter());
        for line in &self.said[before..] {
            if ["Connected", "Disconnected", "settled", "gone"].contains(&line.as_str()) {
                self.state = line.clone();
            }
        }
        before != self.said.len()
    }

    /// Starts it again if it was killed, by signal 9.
    fn revive(&mut self, command: &str) {
        let Some(status) = self.child.try_wait().unwrap() else { return };
        assert_eq!(status.signal(), Some(9), "{status} {:#?}", self.said);
        self.said.extend(self.lines.iter());
        self.said.push("killed".into());
        self.kills += 1;
        (self.child, self.stdin, self.lines) = Self::start(&self.folder, self.ahead);
        self.state.clear();
        self.tell(command);
    }

    fn link(&self) -> Option<String> {
        self.said.iter().find_map(|line| Some(line.strip_prefix("link ")?.to_owned()))
    }

    /// Every state that it ever had.
    fn states(&self) -> Vec<Contact> {
        let log = fs::read_to_string(self.folder.path().join("keys.json.log")).unwrap();
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for App {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What came on one connection.
type Heard = Arc<Mutex<Vec<u8>>>;

/// The way to a relay, which keeps what clients say on it.
struct Tap {
    url: String,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Tap {
    fn to(relay: &str) -> Self {
        let relay = relay.strip_prefix("http://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let heard = Arc::<Mutex<Vec<_>>>::default();
        let all = heard.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(&relay) else { return };
                let kept = Heard::default();
                all.lock().unwrap().push(kept.clone());
                let (back_from, back_to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                thread::spawn(move || pass(client, server, Some(kept)));
                thread::spawn(move || pass(back_from, back_to, None));
            }
        });
        Self { url, heard }
    }

    /// All sends: the box and the sealed bytes.
    fn sends(&self) -> BTreeSet<(String, Vec<u8>)> {
        let send = Regex::new(r#""pub":"([^"]+)","ext":null,"action":"send","data":"([^"]+)"\}"#).unwrap();
        let mut sends = BTreeSet::new();
        for connection in self.heard.lock().unwrap().iter() {
            let text = String::from_utf8_lossy(&connection.lock().unwrap()).into_owned();
            for found in send.captures_iter(&text) {
                sends.insert((found[1].to_owned(), base64url::decode(&found[2]).unwrap()));
            }
        }
        sends
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, keep: Option<Heard>) {
    let mut bytes = [0; 16_384];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if let Some(kept) = &keep {
            kept.lock().unwrap().extend(&bytes[..count]);
        }
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    drop((from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both)));
}

/// What came of a run.
struct Outcome {
    /// What was stored in which act, by whom.
    stored: BTreeSet<(Act, usize, String)>,
    kills: u32,
    messages: usize,
}

/// The two, from a link to its end.
fn run(relay: &str, ends: usize, crash: Option<&Crash>) -> Outcome {
    let tap = Tap::to(relay);
    let mut apps = [App::new(), App::new()];
    let mut outcome = Outcome { stored: BTreeSet::new(), kills: 0, messages: 0 };
    for act in [Act::Connect, Act::Reconnect, Act::Unshare] {
        let mut commands = ["listen".to_owned(), "listen".to_owned()];
        let mut begins = [0, 0];
        if act == Act::Reconnect {
            for app in &mut apps {
                app.tell("ahead 90000");
                app.tell("disconnect");
            }
            go_on(&mut apps, &commands, |app| app.state == "Disconnected");
        }
        for (side, app) in apps.iter().enumerate() {
            begins[side] = app.said.len();
        }
        if let Some(crash) = crash.filter(|crash| crash.act == act) {
            apps[crash.side].tell(&format!("die {} {}", crash.point, crash.when));
        }
        match act {
            Act::Connect => {
                commands[ALICE] = format!("share {}", tap.url);
                apps[ALICE].tell(&commands[ALICE]);
                while apps[ALICE].link().is_none() {
                    go_on(&mut apps, &commands, |_| true);
                }
                commands[BOB] = format!("connect {}", apps[ALICE].link().unwrap());
                apps[BOB].tell(&commands[BOB]);
            }
            Act::Reconnect => {
                apps[ALICE].tell("reconnect"); // As it does by itself when it is started again.
            }
            Act::Unshare => {
                commands[ends] = "unshare".into();
                apps[ends].tell(&commands[ends]);
            }
        }
        let end = if act == Act::Unshare { "gone" } else { "settled" };
        go_on(&mut apps, &commands, |app| app.state == end);
        for (side, app) in apps.iter().enumerate() {
            let stored = app.said[begins[side]..].iter().filter_map(|line| line.strip_prefix("store "));
            outcome.stored.extend(stored.map(|point| (act, side, point.to_owned())));
        }
    }
    outcome.kills = apps.iter().map(|app| app.kills).sum();
    outcome.messages = no_counter_twice(&apps, &tap);
    outcome
}

/// Lets the two go on until it is so of both; whoever is killed is started again, with its command.
fn go_on(apps: &mut [App; 2], commands: &[String; 2], done: impl Fn(&App) -> bool) {
    let mut last = Instant::now();
    let mut quiet = 0_usize;
    loop {
        for (app, command) in apps.iter_mut().zip(commands) {
            app.revive(command);
            if app.listen() {
                last = Instant::now();
            }
        }
        if apps.iter().all(&done) {
            return;
        }
        if last.elapsed() > QUIET * (1 << quiet) {
            // First the time passes after which an offer is made again; then people lose patience, more slowly each time.
            let help = ["ahead 300", "reconnect", "ahead 300", "reconnect"].get(quiet);
            let help = help.unwrap_or_else(|| panic!("{:#?} {:#?}", apps[ALICE].said, apps[BOB].said));
            apps.iter_mut().for_each(|app| app.tell(help));
            quiet += 1;
            last = Instant::now();
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Opens everything that was sent: each counter of each signing key stands on one message. How many there were.
fn no_counter_twice(apps: &[App; 2], tap: &Tap) -> usize {
    let states: Vec<Contact> = apps.iter().flat_map(App::states).collect();
    let signers: BTreeSet<PublicKey> = states.iter().filter_map(|contact| contact.signer.ik()).collect();
    let mut boxes = BTreeMap::new();
    for own in states.iter().flat_map(|contact| &contact.boxes) {
        boxes.insert(own.key.public().to_string(), own);
    }
    let mut counted = BTreeMap::new();
    let sends = tap.sends();
    for (to, data) in &sends {
        let own = boxes[to];
        let mut opened = signers
            .iter()
            .filter_map(|signer| open_message(&own.key, own.secret.as_ref(), |_| Some(*signer), data).ok());
        let opened = opened.next().expect("what was sent can be opened by its owner");
        let before = counted.insert((opened.ik, opened.n), data);
        assert!(before.is_none(), "{} used {} twice", opened.ik, opened.n);
    }
    sends.len()
}

/// The points that each side passes.
const POINTS: [(Act, [&str; 2]); 3] = [
    (
        Act::Connect,
        [
            "Shared OfferTaken AnswerCounted Pinned BoxMade PeerMoved BoxConfirmed BoxDropped",
            "ConnectBegun OfferCounted AnswerTaken Pinned BoxMade PeerMoved BoxConfirmed",
        ],
    ),
    (
        Act::Reconnect,
        [
            "ConnectBegun OfferCounted AnswerTaken Pinned BoxMade PeerMoved BoxConfirmed",
            "OfferTaken AnswerCounted Pinned BoxMade PeerMoved BoxConfirmed",
        ],
    ),
    // By who ends it, and the other one.
    (Act::Unshare, ["UnshareBegun ByeSent Unshared", "ByeTaken Unshared"]),
];

#[test]
fn killed_at_every_point() {
    let relay = relay();
    let mut crashes = Vec::new();
    for ends in [ALICE, BOB] {
        let outcome = run(&relay.url, ends, None);
        assert_eq!(outcome.kills, 0);
        assert!(outcome.messages >= 5, "two offers, two answers, a goodbye");
        for (act, points) in POINTS {
            let sides = if (act, ends) == (Act::Unshare, BOB) { [BOB, ALICE] } else { [ALICE, BOB] };
            for (side, points) in sides.into_iter().zip(points) {
                for point in points.split(' ') {
                    let passed = (act, side, point.to_owned());
                    assert!(outcome.stored.contains(&passed), "{passed:?} {:?}", outcome.stored);
                    // Until there is an end of it, it does not matter who ends it.
                    if act == Act::Unshare || ends == ALICE {
                        for when in ["before", "after"] {
                            crashes.push((ends, Crash { act, side, point, when }));
                        }
                    }
                }
            }
        }
    }
    assert_eq!(crashes.len(), 76);
    let queue = Mutex::new(crashes.into_iter());
    let next = || queue.lock().unwrap().next();
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while let Some((ends, crash)) = next() {
                    let outcome = run(&relay.url, ends, Some(&crash));
                    assert_eq!(outcome.kills, 1, "{crash:?}");
                }
            });
        }
    });
}
