//! What one run of a command does with a contact, over one session or several until it is done.
//!
//! Each side opens a channel `connectoid.tool` and says on it what it will do, and later that it has nothing more to do. When both
//! have said so the session may end.

use std::{fmt, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinSet,
};

use super::{
    files::{self, FilesError, Offer, Plan, Progress, Received, Sent},
    flow::{Broken, Inflow, Piece, flow},
    forward::{self, NotCarried, Target},
    pipe::{Pipe, PipeIn, PipeOut},
    quoted,
};
use crate::webrtc::{Channel, NotOpened, NotSent, Opener};

/// The channel on which the two say what they do.
const TOOL: &str = "connectoid.tool";
const PIPE: &str = "connectoid.pipe";
const TCP: &str = "connectoid.tcp";

/// The TCP connections that the other side may have open here.
const MOST_CONNECTIONS: usize = 256;

/// What this side does.
pub(crate) struct Job {
    /// Standard input and output.
    pub(crate) pipe: Option<Pipe>,
    /// What is sent, and whether the other side has it.
    pub(crate) files: Vec<PathBuf>,
    pub(crate) sent: bool,
    /// The folder for what is received.
    pub(crate) into: Option<PathBuf>,
    /// Whether a person can be asked if it is to be received, without a folder named before.
    pub(crate) asks: bool,
    /// The ports that lead to the other side.
    pub(crate) forwards: Vec<(TcpListener, Target)>,
    /// The ports here that the other side may reach.
    pub(crate) allow: Vec<Target>,
}

/// How a session ended before all was done.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The connection broke. The next session goes on.
    Broken,
    /// The two cannot do what they were told to; in words for a person.
    Failed(String),
}

/// What the person is told and asked.
pub(crate) trait Person: Sync {
    /// A transfer that goes on.
    fn progress(&self, sending: bool) -> impl Progress + Send;
    /// Files were sent.
    fn sent(&self, sent: &Sent);
    /// Files were received.
    fn received(&self, received: &Received);
    /// Whether to receive what is offered.
    fn accepts(&self, offer: Offer) -> impl Future<Output = bool> + Send;
    /// Something that is no failure.
    fn hears(&self, words: &str);
}

/// What is said on the channel `connectoid.tool`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "lowercase")]
enum Said {
    /// What one will do.
    Plan(Plans),
    /// One has nothing more to do.
    Finished,
    /// One cannot do what it was told to.
    Failed { why: String },
}

/// What one side will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Plans {
    v: u32,
    /// It joins standard input and output.
    #[serde(default)]
    pipe: bool,
    /// It sends files.
    #[serde(default)]
    sends: bool,
    /// It takes files, or asks its person.
    #[serde(default)]
    takes: bool,
    /// It forwards ports.
    #[serde(default)]
    forwards: bool,
    /// It lets ports be reached.
    #[serde(default)]
    allows: bool,
}

impl Job {
    /// One with nothing to do.
    pub(crate) fn nothing() -> Self {
        Self {
            pipe: None,
            files: Vec::new(),
            sent: false,
            into: None,
            asks: false,
            forwards: Vec::new(),
            allow: Vec::new(),
        }
    }

    fn plans(&self) -> Plans {
        Plans {
            v: 1,
            pipe: self.pipe.is_some(),
            sends: !self.files.is_empty(),
            takes: self.into.is_some() || self.asks,
            forwards: !self.forwards.is_empty(),
            allows: !self.allow.is_empty(),
        }
    }

    /// Does it in one session. `incoming` are the channels that the other side opens.
    pub(crate) async fn run(
        &mut self,
        opener: &Opener,
        mut incoming: mpsc::UnboundedReceiver<Channel>,
        person: &impl Person,
    ) -> Result<(), Ended> {
        let own = self.plans();
        let (say, own_said) = flow(opener.open(TOOL)?);
        say.control(&Said::Plan(own)).await?;
        let mut early = Vec::new();
        let (_said, mut hear) = loop {
            let channel = incoming.recv().await.ok_or(Ended::Broken)?;
            if channel.label() == TOOL {
                break flow(channel);
            }
            early.push(channel);
        };
        let theirs = match hear.next().await? {
            Some(Piece::Control(Said::Plan(theirs))) => theirs,
            Some(_) => return Err(not_understood("a plan comes first")),
            None => return Err(Ended::Broken),
        };
        if let Some(why) = own.does_not_fit(theirs) {
            // The other side found the same.
            linger(&mut hear).await;
            return Err(Ended::Failed(why));
        }
        let (files_of, files) = mpsc::unbounded_channel();
        let (pipe_of, pipe) = mpsc::unbounded_channel();
        let Self { pipe: own_pipe, files: own_files, sent, into, forwards, allow, .. } = self;
        let (out, input) = match own_pipe {
            Some(Pipe { out, into }) => (Some(out), Some(into)),
            None => (None, None),
        };
        // What was written before this session is not waited for; the other side may ask for it to be confirmed again.
        let (written_now, is_written) = watch::channel(input.as_ref().is_none_or(|input| input.done));
        // What this side does and then has done; what the other side does it hears of.
        let work = async {
            tokio::try_join!(
                send_files(own_files, sent, opener, person),
                pipe_out(out, opener),
                written(is_written),
                forward_all(forwards, opener, person),
            )?;
            say.control(&Said::Finished).await?;
            Ok::<(), Ended>(())
        };
        let folder = own.takes.then(|| into.clone().unwrap_or_else(|| PathBuf::from(".")));
        let serve = async {
            tokio::try_join!(
                receive_files(folder, files, person),
                pipe_in(input, pipe, written_now),
                sort(early, incoming, files_of, pipe_of, allow, person),
            )?;
            Ok::<(), Ended>(())
        };
        let heard = async {
            match hear.next().await? {
                Some(Piece::Control(Said::Finished)) => Ok(()),
                Some(Piece::Control(Said::Failed { why })) => {
                    Err(Ended::Failed(format!("the other side gave up: {}", quoted(&why))))
                }
                Some(_) => Err(not_understood("neither finished nor failed")),
                None => Err(Ended::Broken),
            }
        };
        let both = async { tokio::try_join!(work, heard) };
        let ended = tokio::select! {
            // That the other side finished counts before what fails because it left.
            biased;
            done = both => done.map(|_| ()),
            broken = serve => broken,
        };
        if let Err(Ended::Failed(why)) = &ended {
            drop(say.control(&Said::Failed { why: why.clone() }).await);
            linger(&mut hear).await;
        }
        drop(own_said);
        ended
    }
}

impl Plans {
    /// Why the two cannot work together, in words for the person here.
    fn does_not_fit(self, theirs: Self) -> Option<String> {
        let lacks = |option: &str| Some(format!("the other side runs without {option}: both sides need it"));
        if self.pipe != theirs.pipe {
            if self.pipe {
                return lacks("--pipe");
            }
            return Some("the other side runs with --pipe: run with it here, too".to_owned());
        }
        if self.sends && !theirs.takes {
            return Some(
                "the other side does not take files: it has to run with --into FOLDER, or where a person can be asked"
                    .to_owned(),
            );
        }
        if theirs.sends && !self.takes {
            return Some("the other side sends files: run with --into FOLDER to take them".to_owned());
        }
        if self.forwards && !theirs.allows {
            return Some(
                "the other side lets no port be reached: it has to run with --allow PORT".to_owned(),
            );
        }
        if theirs.forwards && !self.allows {
            return Some(
                "the other side forwards a port: run with --allow PORT to let it be reached".to_owned(),
            );
        }
        None
    }
}

/// Waits a moment for the other side to close, so that it reads what was said last.
async fn linger(hear: &mut Inflow) {
    let closing = async { while hear.next::<Said>().await.is_ok_and(|piece| piece.is_some()) {} };
    drop(tokio::time::timeout(Duration::from_secs(1), closing).await);
}

/// Tells the channels of the other side apart.
async fn sort(
    early: Vec<Channel>,
    mut incoming: mpsc::UnboundedReceiver<Channel>,
    files: mpsc::UnboundedSender<Channel>,
    pipe: mpsc::UnboundedSender<Channel>,
    allow: &[Target],
    person: &impl Person,
) -> Result<(), Ended> {
    let mut early = early.into_iter();
    let mut connections = JoinSet::new();
    loop {
        let channel = match early.next() {
            Some(channel) => channel,
            None => tokio::select! {
                // None more come: that the session is over is seen on its channels, behind what they carried before.
                Some(channel) = incoming.recv() => channel,
                Some(Ok(served)) = connections.join_next() => {
                    let served: Result<(), NotCarried> = served;
                    if let Err(error) = served {
                        person.hears(&format!("a forwarded connection: {error}"));
                    }
                    continue;
                }
                else => std::future::pending().await,
            },
        };
        // What it is for is gone: then the channel goes, too.
        match channel.label() {
            files::LABEL => drop(files.send(channel)),
            PIPE => drop(pipe.send(channel)),
            TCP if !allow.is_empty() && connections.len() < MOST_CONNECTIONS => {
                let allow = allow.to_vec();
                connections.spawn(async move { forward::serve(channel, &allow).await });
            }
            _ => {}
        }
    }
}

async fn send_files(
    paths: &[PathBuf],
    sent: &mut bool,
    opener: &Opener,
    person: &impl Person,
) -> Result<(), Ended> {
    if paths.is_empty() || *sent {
        return Ok(());
    }
    let paths = paths.to_vec();
    // Looked at anew in each session: what changed meanwhile is sent as it is now.
    let plan: Plan = tokio::task::spawn_blocking(move || files::scan(&paths))
        .await
        .map_err(|error| Ended::Failed(error.to_string()))??;
    for skipped in &plan.skipped {
        person.hears(&format!("{} is not sent: {}", skipped.path.display(), skipped.why));
    }
    let done = {
        let progress = person.progress(true);
        files::send(&plan, opener.open(files::LABEL)?, &progress).await?
    };
    *sent = true;
    person.sent(&done);
    match done.unsent.first() {
        Some(unsent) => Err(Ended::Failed(format!(
            "{} was not sent: {}; send it again",
            unsent.path.display(),
            unsent.why
        ))),
        None => Ok(()),
    }
}

async fn receive_files(
    into: Option<PathBuf>,
    mut channels: mpsc::UnboundedReceiver<Channel>,
    person: &impl Person,
) -> Result<(), Ended> {
    while let Some(channel) = channels.recv().await {
        let Some(folder) = &into else { continue };
        let received = {
            let progress = person.progress(false);
            files::receive(folder, channel, |offer| person.accepts(offer), &progress).await?
        };
        person.received(&received);
    }
    // The one that sorts is over.
    std::future::pending().await
}

async fn pipe_out(pipe: Option<&mut PipeOut>, opener: &Opener) -> Result<(), Ended> {
    match pipe {
        Some(out) if !out.done => out.run(opener.open(PIPE)?).await,
        _ => Ok(()),
    }
}

/// Waits until what the other side pipes is written.
async fn written(mut is_written: watch::Receiver<bool>) -> Result<(), Ended> {
    is_written.wait_for(|is_written| *is_written).await.map(drop).map_err(|_| Ended::Broken)
}

/// Writes what the other side pipes, and says so as often as it asks.
async fn pipe_in(
    pipe: Option<&mut PipeIn>,
    mut channels: mpsc::UnboundedReceiver<Channel>,
    written: watch::Sender<bool>,
) -> Result<(), Ended> {
    if let Some(into) = pipe {
        while let Some(channel) = channels.recv().await {
            into.run(channel).await?;
            written.send_replace(true);
        }
    }
    // The one that sorts is over, or there is nothing to write.
    std::future::pending().await
}

/// Carries what comes to the ports here, for ever.
async fn forward_all(
    forwards: &[(TcpListener, Target)],
    opener: &Opener,
    person: &impl Person,
) -> Result<(), Ended> {
    let all = forwards.iter().map(|(listener, to)| forward_one(listener, to, opener, person));
    futures_util::future::try_join_all(all).await.map(|_| ())
}

async fn forward_one(
    listener: &TcpListener,
    to: &Target,
    opener: &Opener,
    person: &impl Person,
) -> Result<(), Ended> {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((tcp, _)) = accepted else {
                    // Too many files open: later there may be room.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                };
                let (to, channel) = (to.clone(), opener.open(TCP)?);
                connections.spawn(async move { forward::carry(tcp, &to, channel).await });
            }
            Some(Ok(carried)) = connections.join_next() => {
                let carried: Result<(), NotCarried> = carried;
                if let Err(error) = carried {
                    person.hears(&format!("a forwarded connection: {error}"));
                }
            }
        }
    }
}

fn not_understood(what: &str) -> Ended {
    Broken::NotUnderstood(what.to_owned()).into()
}

impl From<Broken> for Ended {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Closed(_) => Self::Broken,
            Broken::NotUnderstood(_) | Broken::TooMuch => Self::Failed(broken.to_string()),
        }
    }
}

impl From<NotOpened> for Ended {
    fn from(_: NotOpened) -> Self {
        Self::Broken
    }
}

impl From<NotSent> for Ended {
    fn from(_: NotSent) -> Self {
        Self::Broken
    }
}

impl From<FilesError> for Ended {
    fn from(error: FilesError) -> Self {
        match error {
            FilesError::Ended => Self::Broken,
            error => Self::Failed(error.to_string()),
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken => f.write_str("the connection ended"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::tools::written::written;

    #[test]
    fn the_messages_are_those_in_the_document() {
        let sender = Plans { v: 1, pipe: false, sends: true, takes: false, forwards: false, allows: false };
        let receiver = Plans { sends: false, takes: true, ..sender };
        let (left, right) = written("The plan");
        for (said, expected) in [(sender, left), (receiver, right)] {
            assert_eq!(own(Said::Plan(said)), expected[0]);
            assert_eq!(own(Said::Finished), expected[1]);
            assert_eq!(expected.len(), 2);
        }
        assert_eq!(own(Said::Failed { why: "…".to_owned() }), json!({"t": "failed", "why": "…"}));
        let least = serde_json::from_value(json!({"t": "plan", "v": 1, "later": 7})).unwrap();
        assert!(matches!(least, Said::Plan(plans) if plans == Job::nothing().plans()));
    }

    fn own(said: Said) -> Value {
        serde_json::to_value(said).unwrap()
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let none = Job::nothing().plans();
        let (pipe, sends, takes) =
            (Plans { pipe: true, ..none }, Plans { sends: true, ..none }, Plans { takes: true, ..none });
        let (forwards, allows) = (Plans { forwards: true, ..none }, Plans { allows: true, ..none });
        for (own, theirs) in [(pipe, none), (none, pipe), (sends, none), (none, sends), (forwards, none)] {
            assert!(own.does_not_fit(theirs).is_some(), "{own:?} {theirs:?}");
        }
        for (own, theirs) in
            [(none, none), (pipe, pipe), (sends, takes), (takes, sends), (takes, none), (forwards, allows)]
        {
            assert_eq!(own.does_not_fit(theirs), None, "{own:?} {theirs:?}");
        }
    }
}
