//! What `share`, `connect` and `up` have in common: they meet a contact over WebRTC and do with it what they were told to.

use std::{
    path::PathBuf,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Args;
use indicatif::HumanBytes;
use serde_json::json;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    time,
};

use super::{
    Failure, Home,
    ask::{ask_meanwhile, is_somebody_there},
    config::Settings,
    entropy,
    online::tell,
    progress::Meter,
    say,
};
use crate::{
    client::{
        Client, ClientError, Event,
        sessions::{Alarm, NotDone, Side},
    },
    seal::transcript::Sas,
    tools::{
        files::{Offer, Progress, Received, Sent, Status},
        forward::{Forward, Target},
        job::{Ended, Job, Person},
        pipe::Pipe,
    },
    webrtc::{Channel, Happening, Node, Options, Path, Timing, TurnServer},
};

/// How long what was sent may take to be confirmed before the program ends.
const FAREWELL: Duration = Duration::from_secs(3);

/// How long the boxes of a contact that the other side ended may take to be deleted before the program ends, and how often is looked
/// whether they are.
const DELETING: Duration = Duration::from_secs(15);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// After how long without a session it is said what is waited for, again.
const STILL_WAITING: Duration = Duration::from_secs(60);

/// The signals that end the program, from their making on.
#[derive(Clone)]
struct Stops(watch::Receiver<u32>);

impl Stops {
    fn new() -> Result<Self, Failure> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let (count, counted) = watch::channel(0);
        for kind in kinds {
            let (mut stop, count) = (signal(kind).map_err(Failure::new)?, count.clone());
            tokio::spawn(async move {
                while stop.recv().await.is_some() {
                    count.send_modify(|count| *count += 1);
                }
            });
        }
        Ok(Self(counted))
    }

    /// The next that comes from a person who does not want to wait: what comes in the same moment is the same Ctrl-C, which a shell or
    /// a wrapper passed on as well.
    async fn again(&mut self) {
        time::sleep(Duration::from_millis(300)).await;
        self.0.mark_unchanged();
        self.next().await;
    }

    /// The next that comes.
    async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

/// What is done once the two are connected.
#[derive(Args)]
pub(super) struct Work {
    /// Send a file or folder; repeat it for more. The other side needs --into FOLDER, or a terminal to ask on. What breaks off goes
    /// on with the next session, also after the program was killed
    #[arg(long, value_name = "PATH", help_heading = "What to do")]
    file: Vec<PathBuf>,
    /// Take files into this folder, without asking. Nothing is overwritten: a file whose name is taken gets another
    #[arg(long, value_name = "FOLDER", help_heading = "What to do")]
    into: Option<PathBuf>,
    /// Join standard input and output: what is written here comes out there. Both sides need it
    #[arg(long, help_heading = "What to do")]
    pub(super) pipe: bool,
    /// Listen on a TCP port here that leads to one over there, as 2222:22 or 8080:nas.lan:80. The other side needs --allow
    #[arg(long, value_name = "LOCAL:REMOTE", help_heading = "What to do")]
    forward: Vec<Forward>,
    /// Let the other side reach this TCP port, as 22 or nas.lan:80, and wait for it until Ctrl-C
    #[arg(long, value_name = "PORT", help_heading = "What to do")]
    allow: Vec<Target>,

    /// A STUN server, which tells the address that the outside sees: stun:HOST:PORT; repeat it. `none` asks none [default: the
    /// config file's, else stun:stun.l.google.com:19302]
    #[arg(long, value_name = "URL", help_heading = "The way")]
    stun: Vec<String>,
    /// Offer addresses of this machine itself beside others, for an other side on this machine
    #[arg(long, help_heading = "The way")]
    loopback: bool,
    /// Print, as one line of JSON on standard error, how long the steps of connecting took
    #[arg(long, help_heading = "The way")]
    timing: bool,
}

/// A contact that is met.
pub(super) struct Meeting {
    node: Node,
    name: String,
    job: Job,
    timing: bool,
    begun: Instant,
    /// Whether this side shared the link: it waits for whoever tries again.
    shares: bool,
    /// Whether there was a session.
    met: bool,
    /// Whether files are sent, and the other side has them.
    sends: bool,
    sent: Arc<AtomicBool>,
    stops: Stops,
    /// The next session, if it opened while the last one was not over yet.
    next: Option<Next>,
}

/// A session that took the place of one.
struct Next {
    sas: Sas,
    may_exchange: bool,
    /// The channels that the other side opened in it.
    channels: Vec<Channel>,
}

/// How a meeting goes on.
enum Turn {
    Connected { sas: Sas, may_exchange: bool },
    MayExchange,
    Channel(Channel),
    Gone,
    Nothing,
}

impl Work {
    /// What the other side has to be run with to do its part.
    pub(super) fn counterpart(&self) -> String {
        let mut options = Vec::new();
        if self.pipe {
            options.push("--pipe".to_owned());
        }
        if !self.file.is_empty() {
            options.push("--into .".to_owned());
        }
        if self.into.is_some() {
            options.push("--file PATH".to_owned());
        }
        options.extend(self.forward.iter().map(|forward| format!("--allow {}", forward.remote)));
        options.extend(self.allow.iter().map(|allow| format!("--forward LOCAL:{allow}")));
        options.iter().map(|option| format!(" {option}")).collect()
    }

    /// What can go wrong before anything is begun.
    async fn job(&self) -> Result<Job, Failure> {
        for path in &self.file {
            // Anything else about it is said when it is looked at for sending.
            path.symlink_metadata().map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
        }
        if let Some(folder) = self.into.as_ref().filter(|folder| !folder.is_dir()) {
            let why = format!("{0}: there is no such folder: make it with mkdir -p {0}", folder.display());
            return Err(Failure::new(why));
        }
        let mut forwards = Vec::new();
        for forward in &self.forward {
            let listener = forward.listen().await;
            let listener =
                listener.map_err(|error| Failure::new(format!("--forward {}: {error}", forward.local)))?;
            forwards.push((listener, forward.remote.clone()));
        }
        let pipe = self.pipe.then(|| Ok::<_, Failure>(Pipe::standard(&mut entropy()?))).transpose()?;
        Ok(Job {
            asks: pipe.is_none() && is_somebody_there(),
            pipe,
            files: self.file.clone(),
            sent: false,
            into: self.into.clone(),
            forwards,
            allow: self.allow.clone(),
        })
    }

    fn options(&self, settings: &Settings) -> Result<Options, Failure> {
        let stun = settings.stun_of(&self.stun)?;
        let host = |host: &str, port: u16| {
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
        };
        let turn = settings.turn().iter().map(|server| TurnServer {
            server: host(&server.url.host, server.url.port),
            username: server.username.clone(),
            password: server.password.clone(),
        });
        if settings.turn().iter().any(|server| server.url.tcp) {
            say("TURN servers are asked over UDP only: transport=tcp in the config file is ignored");
        }
        Ok(Options {
            stun: stun.iter().map(|server| host(&server.host, server.port)).collect(),
            turn: turn.collect(),
            loopback: self.loopback,
            idle: None,
        })
    }
}

impl Meeting {
    /// Makes ready to meet a contact of this name, who need not exist yet.
    pub(super) async fn new(home: &Home, name: &str, work: &Work) -> Result<Self, Failure> {
        let begun = time::Instant::now().into_std();
        let stops = Stops::new()?;
        let options = work.options(home.settings()?)?;
        let job = work.job().await?;
        let mut client = Client::open_only(home.keystore()?, &[name])?;
        client.set_foreground(true)?;
        let node = Node::new(client, options);
        Ok(Self {
            node,
            name: name.to_owned(),
            job,
            timing: work.timing,
            begun,
            shares: false,
            met: false,
            sends: !work.file.is_empty(),
            sent: Arc::default(),
            stops,
            next: None,
        })
    }

    pub(super) fn client(&mut self) -> &mut Client {
        self.node.client()
    }

    /// As [`Meeting::run`], for who shared a link.
    pub(super) async fn run_sharing(mut self, waiting: &str) -> Result<(), Failure> {
        self.shares = true;
        self.run(waiting).await
    }

    /// Meets and does what is to be done. `waiting` says what is waited for.
    pub(super) async fn run(mut self, waiting: &str) -> Result<(), Failure> {
        let mut stops = self.stops.clone();
        let done = tokio::select! {
            done = self.meet(waiting) => done,
            () = stops.next() => {
                let why = if self.sends && !self.sent.load(Ordering::Relaxed) {
                    "stopped: connect again, and the files go on from where they are"
                } else {
                    "stopped"
                };
                Err(Failure::with(Failure::INTERRUPTED, why))
            }
        };
        // A second Ctrl-C does not wait.
        tokio::select! {
            () = self.leave() => {}
            () = stops.again() => {}
        }
        done
    }

    async fn meet(&mut self, waiting: &str) -> Result<(), Failure> {
        say(waiting);
        loop {
            let Next { sas, may_exchange, channels } = match self.next.take() {
                Some(next) => next,
                None => self.opened(waiting).await?,
            };
            if !may_exchange {
                self.compare(sas).await?;
            }
            say(&format!("connected to {:?} {sas}", self.name));
            self.print_timing()?;
            self.met = true;
            match self.session(channels).await? {
                Ok(()) => {
                    if self.job.allow.is_empty() {
                        return Ok(());
                    }
                    say(&format!("{:?} is done; waiting for the next time (Ctrl-C ends)", self.name));
                    if self.next.is_none() {
                        self.node.disconnect(&self.name).await?;
                    }
                }
                Err(Ended::Failed(why)) => return Err(Failure::new(why)),
                Err(Ended::Broken) if self.next.is_some() => {
                    say(&format!("{:?} is there anew: what is under way goes on", self.name));
                }
                Err(Ended::Broken) => {
                    // It may be open still, with one channel that broke. If it is not, another may be on its way already.
                    if self.node.is_connected(&self.name) {
                        self.node.disconnect(&self.name).await?;
                    }
                    if self.job.allow.is_empty() || !self.job.files.is_empty() && !self.job.sent {
                        say("the connection broke: trying again, what is under way goes on");
                        self.again()?;
                    } else {
                        say(&format!("{:?} left; waiting for the next time (Ctrl-C ends)", self.name));
                    }
                }
            }
        }
    }

    /// Waits for a session.
    async fn opened(&mut self, waiting: &str) -> Result<Next, Failure> {
        loop {
            let Ok(turn) = time::timeout(STILL_WAITING, self.turn()).await else {
                say(&format!("still {waiting}"));
                continue;
            };
            if let Turn::Connected { sas, may_exchange } = turn? {
                return Ok(Next { sas, may_exchange, channels: Vec::new() });
            }
        }
    }

    /// What happens next, as far as it concerns this contact.
    async fn turn(&mut self) -> Result<Turn, Failure> {
        let happening = self.node.next().await?;
        self.take(happening)
    }

    fn take(&mut self, happening: Happening) -> Result<Turn, Failure> {
        let event = match happening {
            Happening::Event(event) => event,
            Happening::Channel { channel, .. } => return Ok(Turn::Channel(channel)),
            Happening::Path { path, .. } => {
                say(&way(path));
                return Ok(Turn::Nothing);
            }
            Happening::Interrupted { .. } => {
                say("no packets get through: looking for another way, for a minute and a half");
                return Ok(Turn::Nothing);
            }
            Happening::Resumed { .. } => {
                say("found another way: going on");
                return Ok(Turn::Nothing);
            }
            Happening::NoPath { why, .. } => {
                if !self.met && !self.shares && self.job.allow.is_empty() {
                    return Err(Failure::with(Failure::NO_PATH, why));
                }
                say(&format!("{why}; waiting goes on"));
                return Ok(Turn::Nothing);
            }
        };
        Ok(match event {
            Event::Connected { sas, may_exchange, .. } => Turn::Connected { sas, may_exchange },
            Event::MayExchange { .. } => Turn::MayExchange,
            Event::Disconnected { .. } => Turn::Gone,
            // These are the end of waiting.
            Event::LinkUsed { .. }
            | Event::Declined { .. }
            | Event::GaveUp { .. }
            | Event::LinkExpired { .. }
            | Event::Unshared { by: Side::Peer, .. }
            | Event::Alarm {
                alarm:
                    Alarm::TooManyOffers
                    | Alarm::StringsDiffer
                    | Alarm::BrokenCommitment
                    | Alarm::ForeignCertificate
                    | Alarm::NoProof,
                ..
            } => {
                return Err(Failure::with(
                    Failure::REFUSED,
                    super::online::words(&event).unwrap_or_default(),
                ));
            }
            event => {
                tell(&event);
                Turn::Nothing
            }
        })
    }

    /// Does the work in the session that is open, on which the other side opened these channels already.
    async fn session(&mut self, channels: Vec<Channel>) -> Result<Result<(), Ended>, Failure> {
        let Ok(opener) = self.node.opener(&self.name) else { return Ok(Err(Ended::Broken)) };
        let (hand_over, incoming) = mpsc::unbounded_channel();
        channels.into_iter().for_each(|channel| drop(hand_over.send(channel)));
        let mut hand_over = Some(hand_over);
        // The job is this meeting's; while it runs the node is, too.
        let mut job = std::mem::replace(&mut self.job, Job::nothing());
        let person = Terminal { asks: job.into.is_none(), sent: self.sent.clone() };
        let ended = {
            let mut running = pin!(job.run(&opener, incoming, &person));
            loop {
                tokio::select! {
                    ended = &mut running => break Ok(ended),
                    turn = self.turn() => match turn {
                        Ok(Turn::Channel(channel)) => match (&mut self.next, &hand_over) {
                            (Some(next), _) => next.channels.push(channel),
                            // What it was for is over.
                            (None, Some(hand_over)) => drop(hand_over.send(channel)),
                            (None, None) => {}
                        },
                        // What came before is still read.
                        Ok(Turn::Connected { sas, may_exchange }) => {
                            self.next = Some(Next { sas, may_exchange, channels: Vec::new() });
                            drop(hand_over.take());
                        }
                        Ok(Turn::Gone) => {
                            self.next = None;
                            drop(hand_over.take());
                        }
                        Ok(_) => {}
                        Err(failure) => break Err(failure),
                    },
                }
            }
        };
        self.job = job;
        ended
    }

    /// The two have to compare the string before anything may flow.
    async fn compare(&mut self, sas: Sas) -> Result<(), Failure> {
        let name = self.name.clone();
        say(&format!("connected to {name:?}, and both have to compare this first: {sas}"));
        say(&sas.emoji().map(|emoji| emoji.name).join(", "));
        if !is_somebody_there() || self.job.pipe.is_some() {
            return Err(Failure::new(format!(
                "there is no terminal to say on whether it is the same: connect once on a terminal, without --pipe, or \
                 connectoid verify {name:?} on both sides"
            )));
        }
        let question = "Call each other, and compare. Is it the same on both sides? [y/n]";
        let broke = || Failure::new("the connection broke meanwhile: connect again");
        let same = {
            let mut asking = pin!(async {
                loop {
                    match ask_meanwhile(question).await.as_deref() {
                        Some("y" | "yes") => break Some(true),
                        Some("n" | "no") => break Some(false),
                        Some(_) => {}
                        None => break None,
                    }
                }
            });
            loop {
                tokio::select! {
                    answer = &mut asking => break answer,
                    turn = self.turn() => if matches!(turn?, Turn::Gone | Turn::Connected { .. }) {
                        return Err(broke());
                    },
                }
            }
        };
        let same =
            same.ok_or_else(|| Failure::new("nothing was recorded: nobody said whether it is the same"))?;
        self.client().verify(&name, same)?;
        if !same {
            return Err(Failure::new(
                "the strings differ: somebody stands in between; nothing was exchanged",
            ));
        }
        loop {
            match self.turn().await? {
                Turn::MayExchange => return Ok(()),
                Turn::Gone => return Err(broke()),
                _ => {}
            }
        }
    }

    fn again(&mut self) -> Result<(), Failure> {
        let name = self.name.clone();
        match self.client().reconnect(&name) {
            // Who made the link waits for the other one until the first session.
            Ok(()) | Err(ClientError::NotDone(NotDone::NobodyThere(_))) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Closes the session, once all that was sent is confirmed. If the other side ended the contact its boxes are deleted at their
    /// relays, and then its keys; what cannot be reached in that time is left to `connectoid unshare`.
    async fn leave(&mut self) {
        drop(time::timeout(FAREWELL, self.node.disconnect(&self.name)).await);
        let deleting = async {
            while self.node.client().contact(&self.name).is_some_and(|contact| contact.leaving.is_some()) {
                // That it is gone is no event.
                if let Ok(Err(_)) = time::timeout(LOOK_AGAIN, self.node.next()).await {
                    return;
                }
            }
        };
        drop(time::timeout(DELETING, deleting).await);
    }

    fn print_timing(&mut self) -> Result<(), Failure> {
        let timing = self.node.timing(&self.name).filter(|_| std::mem::take(&mut self.timing));
        let Some(Timing { exchanged: Some(exchanged), path: Some(path), open: Some(open), .. }) = timing
        else {
            return Ok(());
        };
        let ms = |from: Instant, to: Instant| {
            let passed = to.saturating_duration_since(from).as_micros();
            f64::from(u32::try_from(passed).unwrap_or(u32::MAX)) / 1000.0
        };
        let now = time::Instant::now().into_std();
        let line = json!({
            "relay_ms": ms(self.begun, exchanged),
            "ice_ms": ms(exchanged, path),
            "dtls_ms": ms(path, open),
            "proof_ms": ms(open, now),
            "total_ms": ms(self.begun, now),
        });
        say(&line.to_string());
        Ok(())
    }
}

/// The way that packets take, for a person.
fn way(path: Path) -> String {
    let Path { local, remote, relayed } = path;
    if relayed {
        format!("by way of a TURN server: {local} to {remote}")
    } else {
        format!("directly: {local} to {remote}")
    }
}

/// The person at the terminal.
struct Terminal {
    /// Whether to ask before something is received.
    asks: bool,
    sent: Arc<AtomicBool>,
}

impl Person for Terminal {
    fn progress(&self, sending: bool) -> impl Progress + Send {
        Shown(Meter::new(if sending { "sending" } else { "receiving" }))
    }

    fn sent(&self, sent: &Sent) {
        self.sent.store(true, Ordering::Relaxed);
        say(&format!(
            "sent {}, {}{}",
            count(sent.files),
            HumanBytes(sent.bytes),
            there(sent.already, sent.skipped)
        ));
    }

    fn received(&self, received: &Received) {
        let Received { files, bytes: all, already, skipped, renamed, changed } = received;
        say(&format!("received {}, {}{}", count(*files), HumanBytes(*all), there(*already, *skipped)));
        for (sent, here) in renamed {
            say(&format!("{sent:?} was taken by another file: it is here as {here:?}"));
        }
        for path in changed {
            say(&format!("{path:?} changed over there while it was sent, and is not here"));
        }
    }

    async fn accepts(&self, offer: Offer) -> bool {
        let Offer { files, bytes: all, names } = offer;
        let few: Vec<String> = names.iter().take(3).map(|name| format!("{name:?}")).collect();
        let more = if names.len() > few.len() { ", …" } else { "" };
        let what = format!("{}{more} ({}, {})", few.join(", "), count(files), HumanBytes(all));
        if !self.asks {
            say(&format!("receiving {what}"));
            return true;
        }
        let question = format!("Receive {what} into this folder? [y/N]");
        matches!(ask_meanwhile(&question).await.as_deref(), Some("y" | "yes"))
    }

    fn hears(&self, words: &str) {
        say(words);
    }
}

struct Shown(Meter);

impl Progress for Shown {
    fn at(&self, status: &Status<'_>) {
        self.0.at(status);
    }
}

fn count(files: u64) -> String {
    if files == 1 { "1 file".to_owned() } else { format!("{files} files") }
}

/// What did not have to be moved.
fn there(files: u64, skipped: u64) -> String {
    match (files, skipped) {
        (0, 0) => String::new(),
        (_, skipped) => format!(" ({} were there already)", HumanBytes(skipped)),
    }
}
