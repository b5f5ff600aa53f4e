//! The same job by the relay and by its peers, in one run: a message of 4096 bytes from one sender to a mailbox that is used
//! once, stored as durably as this server stores, and fetched by its receiver.
//!
//! A peer is fetched, started, and asked as its file here says. Each has the server's core in turn, and the same client: a
//! thread for each connection, which waits for its replies.

mod connectoid;
mod fetch;
mod nostr;
mod payjoin;
mod peerjs;
mod proof;
mod redis;
mod wire;
mod wormhole;

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    ops::Range,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use rand::Rng as _;

use self::proof::Proof;
use crate::{
    Outcome,
    figures::{Speed, median, number, percent},
    lab::{CONNECTIONS, Lab, rng},
    load::{Ran, now},
    machine::cpu_time,
    report::columns,
    requests::{MESSAGE_BYTES, serial},
    say,
    server::Server,
};

/// A server that delivers messages, and how it is asked.
trait Peer: Sized + Sync {
    const ABOUT: About;
    /// What one of the clients has for itself: connections.
    type Lane: Send;
    /// What is made ready for one delivery before the time that counts.
    type Delivery: Sync;

    /// Fetches it, if it is not there; its version.
    fn fetch() -> Outcome<String>;

    /// What starts it, to listen there and to keep in this folder what it stores.
    fn command(lab: &Lab, address: SocketAddr, folder: &Path) -> Outcome<Command>;

    /// When it listens.
    fn meet(server: SocketAddr) -> Outcome<Self>;

    fn deliveries(&self, lab: &Lab, numbers: Range<u64>) -> Outcome<Vec<Self::Delivery>>;

    /// Client n.
    fn lane(&self, n: usize) -> Outcome<Self::Lane>;

    /// Sends it, until the server says that it has it.
    fn send(&self, lane: &mut Self::Lane, delivery: &Self::Delivery) -> Outcome<()>;

    /// Fetches it, and sees that it is what was sent.
    fn receive(&self, lane: &mut Self::Lane, delivery: &Self::Delivery) -> Outcome<()>;
}

/// What there is to know about a peer without asking it.
struct About {
    name: &'static str,
    /// Where on the disk it stores messages.
    stores: Option<&'static str>,
    /// How a receiver proves that the mailbox is its own.
    proves: Option<&'static str>,
    /// Who seals the content.
    sealed: &'static str,
    /// Deliveries made ready for a round, by the second; with fewer it would end early.
    a_second: f64,
}

/// A peer in the list.
pub(crate) struct Entry {
    about: About,
    fetch: fn() -> Outcome<String>,
    start: fn(&Lab) -> Outcome<Rounds>,
    prove: fn(&Lab) -> Outcome<Proof>,
    /// How it is named on the command line.
    pub(crate) name: &'static str,
}

/// A server that runs: each call is a round.
type Rounds = Box<dyn FnMut(&Lab) -> Outcome<Ran>>;

const fn entry<P: Peer + 'static>(name: &'static str) -> Entry {
    Entry { about: P::ABOUT, fetch: P::fetch, start: rounds::<P>, prove: proof::prove::<P>, name }
}

/// The relay, beside which all others are.
const RELAY: Entry = entry::<connectoid::Connectoid>("connectoid");

/// Its peers, in the order of the table.
pub(crate) const PEERS: &[Entry] = &[
    entry::<nostr::Nostr<true>>("nostr-nip42"),
    entry::<nostr::Nostr<false>>("nostr"),
    entry::<payjoin::Payjoin>("payjoin"),
    entry::<wormhole::Wormhole>("wormhole"),
    entry::<redis::Redis>("redis"),
    entry::<peerjs::PeerJs>("peerjs"),
];

/// Peers that are there, each with its version.
pub(crate) struct Fetched(Vec<(&'static Entry, String)>);

/// Fetches these peers, or all if none is named.
pub(crate) fn fetch(only: &[String]) -> Outcome<Fetched> {
    proof::strace()?;
    let wanted = PEERS.iter().filter(|peer| only.is_empty() || only.iter().any(|name| name == peer.name));
    let all = std::iter::once(&RELAY).chain(wanted);
    Ok(Fetched(all.map(|peer| Ok((peer, (peer.fetch)()?))).collect::<Outcome<_>>()?))
}

/// What was found out about a peer.
struct Measured {
    peer: &'static Entry,
    version: String,
    ran: Vec<Ran>,
    proof: Proof,
}

/// Measures all of them, in turn; what is printed, and written into the document.
pub(crate) fn measure(lab: &Lab, Fetched(peers): Fetched) -> Outcome<String> {
    let failed = |peer: &Entry, error| format!("{}: {error}", peer.about.name);
    let mut running = Vec::new();
    for (peer, version) in peers {
        let rounds = (peer.start)(lab).map_err(|error| failed(peer, error))?;
        running.push((peer, version, rounds, Vec::new()));
    }
    for round in 0..=lab.extent.rounds {
        for (peer, _, rounds, ran) in &mut running {
            let name = peer.about.name;
            say(&if round == 0 {
                format!("{name}, to warm up …")
            } else {
                format!("{name}, round {round} …")
            });
            ran.push(rounds(lab).map_err(|error| failed(peer, error))?);
        }
    }
    // Those that store are started again one by one, when no other runs.
    let ended: Vec<_> = running.into_iter().map(|(peer, version, _, ran)| (peer, version, ran)).collect();
    let mut measured = Vec::new();
    for (peer, version, mut ran) in ended {
        say(&format!("{}, what it syncs and what survives …", peer.about.name));
        let proof = (peer.prove)(lab).map_err(|error| failed(peer, error))?;
        ran.remove(0);
        measured.push(Measured { peer, version, ran, proof });
    }
    Ok(table(&measured))
}

fn table(measured: &[Measured]) -> String {
    let name = |peer: &Measured| format!("{} {}", peer.peer.about.name, peer.version);
    let head = [
        "",
        "deliveries/s",
        "the relay does",
        "p50 ms",
        "p99 ms",
        "µs of the core",
        "core busy",
        "client busy",
    ];
    let speeds = measured.iter().map(|peer| {
        let speed = Speed::of(&peer.ran);
        [
            name(peer),
            number(speed.rate),
            format!("{} times", number(ratio(&measured[0], peer))),
            number(speed.p50),
            number(speed.p99),
            number(speed.cpu),
            percent(speed.server),
            percent(speed.client),
        ]
    });
    let mut text = columns(&std::iter::once(head.map(str::to_owned)).chain(speeds).collect::<Vec<_>>());

    let head = ["", "stores", "syncs per delivery", "there after kill -9", "the receiver proves", "sealed"];
    let worth = measured.iter().map(|peer| {
        let (about, proof) = (&peer.peer.about, &peer.proof);
        [
            name(peer),
            about.stores.unwrap_or("no").to_owned(),
            proof.syncs.map_or("–".to_owned(), number),
            proof.survived.map_or("–".to_owned(), |(there, of)| format!("{there} of {of}")),
            about.proves.unwrap_or("no").to_owned(),
            about.sealed.to_owned(),
        ]
    });
    text.push('\n');
    text += &columns(&std::iter::once(head.map(str::to_owned)).chain(worth).collect::<Vec<_>>());

    let stores: Vec<_> = measured[1..].iter().filter(|peer| peer.peer.about.stores.is_some()).collect();
    let proves = stores.iter().copied().filter(|peer| peer.peer.about.proves.is_some()).collect();
    for (peers, words) in [
        (stores, "fastest other that stores on disk; it must be more than 1"),
        (proves, "fastest of those that have the receiver prove that the mailbox is its own; the goal is 3"),
    ] {
        let all = peers.iter().map(|peer| (ratio(&measured[0], peer), peer.peer.about.name));
        if let Some((ratio, name)) = all.min_by(|(one, _), (other, _)| one.total_cmp(other)) {
            text +=
                &format!("\nThe relay delivers **{} times** what {name} does, the {words}.\n", number(ratio));
        }
    }
    text
}

/// How many times what this peer delivers the relay does: the median of the rounds.
fn ratio(relay: &Measured, peer: &Measured) -> f64 {
    median(relay.ran.iter().zip(&peer.ran).map(|(relay, peer)| relay.rate() / peer.rate()))
}

/// Starts the server; then each round is of deliveries nobody had before.
fn rounds<P: Peer + 'static>(lab: &Lab) -> Outcome<Rounds> {
    let place = Place::new::<P>(lab, "rounds")?;
    let (server, peer) = place.start::<P>(lab, |command| command)?;
    let mut next = 0;
    Ok(Box::new(move |lab| {
        let count = (lab.extent.length.as_secs_f64() * P::ABOUT.a_second) as u64 + 2 * CONNECTIONS as u64;
        let deliveries = peer.deliveries(lab, next..next + count)?;
        next += count;
        run(&peer, &server, &deliveries, lab.extent.length)
    }))
}

/// Delivers for so long, with as many at once as there are connections.
fn run<P: Peer>(peer: &P, server: &Server, deliveries: &[P::Delivery], length: Duration) -> Outcome<Ran> {
    let mut lanes = (0..CONNECTIONS).map(|n| peer.lane(n)).collect::<Outcome<Vec<_>>>()?;
    let next = AtomicUsize::new(0);
    let (servers, own, start) = (server.cpu_time()?, cpu_time(process::id())?, now());
    let work = |lane: &mut P::Lane| {
        let mut replies = Vec::new();
        while now() - start < length {
            let Some(delivery) = deliveries.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
            let begun = now();
            peer.send(lane, delivery)?;
            peer.receive(lane, delivery)?;
            replies.push((begun - start, now() - begun));
        }
        Ok(replies)
    };
    let replies = at_once(&mut lanes, work)?.concat();
    let took = now() - start;
    let (server, client) = (server.cpu_time()? - servers, cpu_time(process::id())? - own);
    // Bytes are counted where they cost something: not here.
    Ok(Ran { took, replies, server, client, sent: 0, received: 0 })
}

/// Does this with every lane, each in a thread of its own.
fn at_once<L: Send, T: Send>(lanes: &mut [L], work: impl Fn(&mut L) -> Outcome<T> + Sync) -> Outcome<Vec<T>> {
    // An error is not made to go from thread to thread: its words are.
    let work = |lane| work(lane).map_err(|error| error.to_string());
    thread::scope(|scope| {
        let threads: Vec<_> = lanes.iter_mut().map(|lane| scope.spawn(|| work(lane))).collect();
        let ended = threads.into_iter().map(|thread| thread.join().map_err(|_| "a client panicked")?);
        ended.map(|done: Result<T, String>| Ok(done?)).collect()
    })
}

/// Where a server is: its address, and the folder of what it stores.
struct Place {
    address: SocketAddr,
    folder: PathBuf,
}

impl Place {
    /// With a folder of its own.
    fn new<P: Peer>(lab: &Lab, what: &str) -> Outcome<Self> {
        // Free now, which is soon enough: nothing else takes ports here.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let folder =
            lab.file(&format!("{what}-{}", P::ABOUT.name.replace(|c: char| !c.is_alphanumeric(), "-")));
        fs::create_dir_all(&folder)?;
        Ok(Self { address, folder })
    }

    /// Starts it there, perhaps by another command.
    fn start<P: Peer>(&self, lab: &Lab, by: impl Fn(Command) -> Command) -> Outcome<(Server, P)> {
        let command = by(P::command(lab, self.address, &self.folder)?);
        let server = Server::listening(command, lab.cores, self.address, &self.folder.join("log"))?;
        Ok((server, P::meet(self.address)?))
    }
}

/// A message of [`MESSAGE_BYTES`] random bytes as a peer carries it, of which each delivery has another.
struct Letter(Vec<u8>);

impl Letter {
    fn of(carried: impl Fn(&[u8]) -> Vec<u8>) -> Self {
        let mut message = vec![0; MESSAGE_BYTES];
        rng().fill_bytes(&mut message);
        Self(carried(&message))
    }

    fn number(&self, number: u64) -> Vec<u8> {
        let serial = serial(number);
        [&serial, &self.0[serial.len()..]].concat()
    }
}
