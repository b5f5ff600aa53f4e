//! One peer connection: str0m, the sockets it uses, the servers that help it, and the channels on it.
//!
//! It runs as a task of its own. [`super::connections`] gives it orders and hears what it tells.

mod channels;
mod exchange;
mod gathering;

use std::{
    collections::HashMap,
    future::poll_fn,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use serde_json::Value;
use str0m::{
    Candidate, Input, Output, Rtc, RtcConfig,
    change::{SdpOffer, SdpPendingOffer},
    channel::ChannelId,
    net::{Protocol, Receive, Transmit},
};
use tokio::{sync::mpsc, task::JoinSet, time};

use self::gathering::LATE;
use super::{
    channel::{Channel, Message, Plug, Waiting},
    failure::{Facts, NoPath},
    options::Options,
    sockets::Sockets,
    stun::{Bindings, Packet},
    turn::{Came, Turn},
};
use crate::{client::sessions::SessionId, protocol::Fingerprint};

/// The channel that belongs to the library.
pub(super) const CONTROL: &str = "connectoid";

/// How often it is looked whether the machine's addresses changed.
const LOOK: Duration = Duration::from_secs(2);

/// The data that waits in the connection to be sent or confirmed, of all channels, in bytes.
const BUFFERED: usize = 1024 * 1024;

/// The packets that are read before something else gets its turn.
const PACKETS: usize = 64;

/// The largest packet that is read. str0m sends 1,200 bytes at most, browsers 1,280.
const PACKET: usize = 2048;

/// What a connection is told to do.
pub(super) enum Order {
    /// Make an offer for this session; if there is a connection already, one that searches a new path for it.
    Offer(SessionId),
    /// Make an answer to this offer.
    Answer(SessionId, String),
    /// Take this answer to the offer made.
    Accept(SessionId, String),
    /// Take these candidates, once the SDP of the session is applied.
    Candidates(SessionId, Vec<Value>),
    /// Send this on the control channel of the session.
    Frame(SessionId, String),
    /// The other side proved who it is: its channels are handed over.
    Allow,
    /// Open a channel.
    Open(String, Plug),
    /// This session is over. The connection ends with the last: behind what was sent, or at once.
    Close(SessionId, Ending),
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Once what was sent is confirmed. Nothing more is taken.
    Delivered,
    /// Whatever is on its way: the one at the other end may be the wrong one.
    AtOnce,
}

/// What it tells.
pub(super) enum Told {
    /// The offer that was ordered.
    Offer(SessionId, String),
    /// The answer that was ordered.
    Answer(SessionId, String),
    /// Candidates that came late.
    Candidates(SessionId, Vec<Value>),
    /// The control channel is open; the fingerprint of the certificate at its other end.
    Open(SessionId, Fingerprint),
    /// A frame came on the control channel.
    Frame(SessionId, String),
    /// The other side opened a channel.
    Channel(Channel),
    /// Packets take another path now.
    Path(Path),
    /// The machine has other addresses than before: there may be a better path.
    Changed,
    /// No packets get through any more, or the address in use is gone.
    Lost,
    /// Packets get through again.
    Found,
    /// No app data for as long as the options say.
    Idle,
    /// This session cannot be made on this connection.
    Refused(SessionId),
    /// The other side closed the channel of this session; the connection goes on with another.
    Ended(SessionId),
    /// The connection is over, with these sessions.
    Closed(Vec<SessionId>, Option<NoPath>),
}

/// The way packets take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    /// This side's address, as seen by this machine or, through a TURN server, by that.
    pub local: SocketAddr,
    /// The other side's.
    pub remote: SocketAddr,
    /// Whether a TURN server passes the packets on.
    pub relayed: bool,
}

/// When a connection came how far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timing {
    /// Both sides' SDP were known here.
    pub exchanged: Option<Instant>,
    /// A path was found (ICE).
    pub path: Option<Instant>,
    /// The handshake of DTLS was done.
    pub dtls: Option<Instant>,
    /// The library's channel was open; the proof follows on it.
    pub open: Option<Instant>,
}

pub(super) struct Connection {
    rtc: Rtc,
    options: Arc<Options>,
    loopback: bool,
    sockets: Sockets,
    stun: Bindings,
    turn: Vec<Turn>,
    /// The servers whose addresses are looked up: index into STUN servers, then TURN servers.
    lookups: JoinSet<(usize, Vec<SocketAddr>)>,
    looked: Instant,
    orders: mpsc::UnboundedReceiver<Order>,
    told: Box<dyn Fn(Told) + Send>,
    /// The SDP that is made once the servers answered or this time came.
    making: Option<(Making, Instant)>,
    pending: Option<(SessionId, SdpPendingOffer)>,
    controls: Vec<Control>,
    channels: HashMap<ChannelId, Plugged>,
    /// Channels of the other side, until it has proved who it is.
    held: Option<Vec<Channel>>,
    held_bytes: usize,
    /// What waits for the app on all channels.
    waiting: Waiting,
    /// Candidates that came before the SDP they belong to was applied.
    early: Vec<(SessionId, Vec<Value>)>,
    /// The own candidates: those of an address go with it.
    own: Vec<Candidate>,
    /// Whether an answer was applied or made: from then on offers are for another path.
    established: bool,
    /// Which socket and which channel is first: each in turn.
    first: usize,
    order: Vec<ChannelId>,
    /// Whether packets were what the task woke for the last time.
    has_read: bool,
    /// The candidates not in the SDP, since when, and the session they are for.
    late: Option<(SessionId, Vec<Candidate>, Instant)>,
    mid: Option<String>,
    path: Option<Path>,
    lost: bool,
    /// Until when a path must be found.
    search: Option<Instant>,
    active: Instant,
    idle_told: bool,
    timing: Arc<Mutex<Timing>>,
    facts: Facts,
    /// Until when what was sent is waited for before the end.
    farewell: Option<Instant>,
}

enum Making {
    Offer(SessionId),
    Answer(SessionId, SdpOffer),
}

/// The channel of the library on this connection, for one session.
struct Control {
    session: SessionId,
    /// Unknown until the other side opens it.
    channel: Option<ChannelId>,
    open: bool,
    /// Frames that had no room.
    waiting: Vec<String>,
    /// The frames that came.
    frames: u32,
}

/// A channel of the app.
struct Plugged {
    plug: Plug,
    label: String,
    open: bool,
    /// A message that had no room.
    waiting: Option<Message>,
    /// The app dropped its end.
    closing: bool,
}

/// Why the task woke.
enum Woken {
    Order(Option<Order>),
    Readable,
    Outgoing(ChannelId, Option<Message>),
    LookedUp(usize, Vec<SocketAddr>),
    Due,
}

/// The task is over.
struct Over(Option<NoPath>);

impl Connection {
    pub(super) fn new(
        options: Arc<Options>,
        loopback: bool,
        orders: mpsc::UnboundedReceiver<Order>,
        waiting: Waiting,
        timing: Arc<Mutex<Timing>>,
        told: Box<dyn Fn(Told) + Send>,
    ) -> Self {
        let now = clock();
        // Whether the certificate is the one that was signed is checked with the proof, which can say what is wrong.
        let config = RtcConfig::new()
            .set_crypto_provider(Arc::new(str0m::crypto::from_feature_flags()))
            .set_fingerprint_verification(false)
            .set_sctp_max_buffered_amount(BUFFERED)
            .clear_codecs();
        let facts = Facts { stun: options.stun.len(), turn: options.turn.len(), ..Facts::default() };
        let mut connection = Self {
            rtc: config.build(now),
            options,
            loopback,
            sockets: Sockets::new(),
            stun: Bindings::default(),
            turn: Vec::new(),
            lookups: JoinSet::new(),
            looked: now,
            orders,
            told,
            making: None,
            pending: None,
            controls: Vec::new(),
            channels: HashMap::new(),
            held: Some(Vec::new()),
            held_bytes: 0,
            waiting,
            early: Vec::new(),
            own: Vec::new(),
            established: false,
            first: 0,
            order: Vec::new(),
            has_read: false,
            late: None,
            mid: None,
            path: None,
            lost: false,
            search: None,
            active: now,
            idle_told: false,
            timing,
            facts,
            farewell: None,
        };
        connection.look(now);
        connection
    }

    /// Runs until the last session is over or the connection cannot go on.
    pub(super) async fn run(mut self) {
        let mut sleep = Box::pin(time::sleep(Duration::ZERO));
        let over = loop {
            let wake = match self.drive() {
                Ok(wake) => time::Instant::from_std(wake),
                Err(over) => break over,
            };
            if sleep.deadline() != wake {
                sleep.as_mut().reset(wake);
            }
            let woken = poll_fn(|context| self.poll(context, sleep.as_mut())).await;
            if let Err(over) = self.woken(woken) {
                break over;
            }
        };
        self.end(over.0);
    }

    /// What there is to do.
    fn poll(&mut self, context: &mut Context<'_>, sleep: Pin<&mut time::Sleep>) -> Poll<Woken> {
        if let Poll::Ready(order) = self.orders.poll_recv(context) {
            return Poll::Ready(Woken::Order(order));
        }
        // Not twice in a row before all else was asked: who sends without an end would have all the time.
        let reads = !std::mem::take(&mut self.has_read);
        if reads && self.sockets.poll_readable(context).is_ready() {
            self.has_read = true;
            return Poll::Ready(Woken::Readable);
        }
        if let Poll::Ready(Some(Ok((server, addresses)))) = self.lookups.poll_join_next(context) {
            return Poll::Ready(Woken::LookedUp(server, addresses));
        }
        for (id, channel) in &mut self.channels {
            if channel.open
                && !channel.closing
                && channel.waiting.is_none()
                && let Poll::Ready(message) = channel.plug.outgoing.poll_recv(context)
            {
                return Poll::Ready(Woken::Outgoing(*id, message));
            }
        }
        if sleep.poll(context).is_ready() {
            return Poll::Ready(Woken::Due);
        }
        if !reads && self.sockets.poll_readable(context).is_ready() {
            self.has_read = true;
            return Poll::Ready(Woken::Readable);
        }
        Poll::Pending
    }

    fn woken(&mut self, woken: Woken) -> Result<(), Over> {
        let now = clock();
        match woken {
            Woken::Order(Some(order)) => self.obey(order, now),
            // Whoever would give orders is gone.
            Woken::Order(None) => Err(Over(None)),
            Woken::Readable => self.receive(),
            Woken::Outgoing(id, message) => {
                if let Some(channel) = self.channels.get_mut(&id) {
                    channel.closing = message.is_none();
                    channel.waiting = message;
                }
                Ok(())
            }
            Woken::LookedUp(server, addresses) => {
                self.ask(server, &addresses, now);
                Ok(())
            }
            Woken::Due => {
                self.input(Input::Timeout(now));
                Ok(())
            }
        }
    }

    // --- What is due ---

    /// Does all that can be done now. Gives the time at which something more can.
    fn drive(&mut self) -> Result<Instant, Over> {
        let now = clock();
        let mut wake = self.poll_rtc(now)?;
        let mut earlier = |at: Instant| wake = wake.min(at);
        if self.looked + LOOK <= now {
            self.look(now);
        }
        earlier(self.looked + LOOK);
        for packet in self.stun.due(now) {
            self.send(packet);
        }
        self.stun.wake_at().map(&mut earlier);
        for at in self.poll_turn(now) {
            earlier(at);
        }
        if let Some((_, until)) = &self.making {
            if *until <= now || !self.gathers(now) {
                self.make(now);
                return Ok(now);
            }
            earlier(*until);
        }
        if let Some((_, candidates, since)) = &self.late {
            let due = *since + LATE;
            if due <= now || (!candidates.is_empty() && !self.gathers(now)) {
                self.send_late();
            } else if !candidates.is_empty() {
                earlier(due);
            }
        }
        if let Some(until) = self.search {
            if until <= now {
                return Err(Over(Some(self.facts.why())));
            }
            earlier(until);
        }
        if let Some(idle) = self.options.idle
            && !self.idle_told
            && self.path.is_some()
        {
            let at = self.active + idle;
            if at <= now {
                self.idle_told = true;
                (self.told)(Told::Idle);
            } else {
                earlier(at);
            }
        }
        if let Some(until) = self.farewell {
            if until <= now || !self.has_unconfirmed() {
                return Err(Over(None));
            }
            // What is confirmed is seen when it comes; this is for what is not.
            earlier(until);
        }
        Ok(wake)
    }

    /// Moves what str0m has to say and what the app has to send. Gives the time at which it wants to be asked again.
    fn poll_rtc(&mut self, now: Instant) -> Result<Instant, Over> {
        loop {
            if !self.rtc.is_alive() {
                return Err(Over(None));
            }
            match self.rtc.poll_output() {
                Ok(Output::Transmit(transmit)) => self.transmit(&transmit, now),
                Ok(Output::Event(event)) => self.event(event)?,
                Ok(Output::Timeout(at)) => {
                    if !self.write()? {
                        return Ok(at);
                    }
                }
                // What a packet led to that makes no sense: it may be anybody's.
                Err(error) => tracing::debug!(%error, "a peer connection"),
            }
        }
    }

    fn input(&mut self, input: Input<'_>) {
        if let Err(error) = self.rtc.handle_input(input) {
            tracing::debug!(%error, "a peer connection");
        }
    }

    // --- Packets ---

    fn receive(&mut self) -> Result<(), Over> {
        let mut packet = [0; PACKET];
        let mut left = PACKETS;
        let count = self.sockets.count();
        let first = self.first.wrapping_add(1);
        self.first = first;
        for index in (0..count).map(|index| index.wrapping_add(first) % count) {
            while left > 0 {
                left -= 1;
                let Some((to, from, length)) = self.sockets.receive(index, &mut packet) else { break };
                let now = clock();
                self.take(to, from, &packet[..length], now);
                // str0m wants to be asked after each.
                self.poll_rtc(now)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, to: SocketAddr, from: SocketAddr, packet: &[u8], now: Instant) {
        if let Some(mapped) = self.stun.take(to, from, packet) {
            if let Some(mapped) = mapped {
                self.facts.stun_answered += 1;
                self.add(Candidate::server_reflexive(mapped.mapped, mapped.base, "udp").ok());
            }
            return;
        }
        if let Some(turn) = self.turn.iter_mut().find(|turn| turn.is_with(to, from)) {
            let relayed = turn.relayed;
            if let (Came::Data { from, bytes }, Some(relayed)) = (turn.take(packet, now), relayed) {
                self.take_of_peer(relayed, from, &bytes, now);
            }
            return;
        }
        self.take_of_peer(to, from, packet, now);
    }

    fn take_of_peer(&mut self, to: SocketAddr, from: SocketAddr, packet: &[u8], now: Instant) {
        let Ok(receive) = Receive::new(Protocol::Udp, from, to, packet) else { return };
        let input = Input::Receive(now, receive);
        if self.rtc.accepts(&input) {
            self.facts.heard_of_peer = true;
            self.input(input);
        }
    }

    fn transmit(&mut self, transmit: &Transmit, now: Instant) {
        let turn = self.turn.iter_mut().find(|turn| turn.relayed == Some(transmit.source));
        let relayed = turn.is_some();
        // RFC 7983: DTLS, and not a check of ICE.
        if matches!(transmit.contents.first(), Some(20..=63)) {
            self.takes_path(Path { local: transmit.source, remote: transmit.destination, relayed });
        }
        let packet = match self.turn.iter_mut().find(|turn| turn.relayed == Some(transmit.source)) {
            Some(turn) => turn.pack(transmit.destination, &transmit.contents, now),
            None => Some(Packet {
                from: transmit.source,
                to: transmit.destination,
                bytes: transmit.contents.to_vec(),
            }),
        };
        if let Some(packet) = packet {
            self.send(packet);
        }
    }

    fn takes_path(&mut self, path: Path) {
        if self.path != Some(path) {
            self.path = Some(path);
            if std::mem::take(&mut self.lost) {
                (self.told)(Told::Found);
            }
            (self.told)(Told::Path(path));
        }
    }

    fn send(&mut self, packet: Packet) {
        // One that its socket has no room for is lost, as packets are.
        self.sockets.send(packet.from, packet.to, &packet.bytes);
    }

    // --- The end ---

    fn end(mut self, why: Option<NoPath>) {
        let now = clock();
        let sessions = self.controls.iter().map(|control| control.session);
        let making = self.making.iter().map(|(making, _)| making.session());
        let sessions: Vec<SessionId> = sessions.chain(making).collect();
        if self.rtc.close().is_ok() {
            // Tells the other side, if packets still get there.
            self.input(Input::Timeout(now));
            while let Ok(output) = self.rtc.poll_output() {
                match output {
                    // Twice: nobody sends it again if it is lost.
                    Output::Transmit(transmit) => (0..2).for_each(|_| self.transmit(&transmit, now)),
                    Output::Event(_) => {}
                    Output::Timeout(_) => break,
                }
            }
        }
        let packets: Vec<Packet> = self.turn.iter_mut().flat_map(|turn| turn.delete(now)).collect();
        for packet in packets {
            self.send(packet);
        }
        (self.told)(Told::Closed(sessions, why));
    }

    fn time(&self, step: impl FnOnce(&mut Timing) -> &mut Option<Instant>) {
        if let Ok(mut timing) = self.timing.lock() {
            step(&mut timing).get_or_insert_with(clock);
        }
    }
}

impl Making {
    fn session(&self) -> SessionId {
        match self {
            Self::Offer(session) | Self::Answer(session, _) => *session,
        }
    }
}

/// The time as tokio's timers have it.
fn clock() -> Instant {
    time::Instant::now().into_std()
}
