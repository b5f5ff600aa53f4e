//! Sessions and their peer connections in one loop: what an app needs to talk to its contacts.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use super::{
    channel::Channel,
    connection::{Ending, Path, Timing, Told},
    connections::{ConnectionId, Connections, NotOpened, Opener},
    failure::NoPath,
    options::Options,
};
use crate::{
    client::{Client, ClientError, Disk, Event, KeysOnDisk, Signal, contact::Contact, sessions::SessionId},
    protocol::{Fingerprint, RelayUrl},
};

/// How long an interrupted session is kept in the hope that a new path is found: longer than an app in the background takes to look
/// for an offer.
const RENEW: Duration = Duration::from_secs(90);

/// A client whose sessions run over WebRTC.
///
/// As with [`Client`], nothing happens but in [`Node::next`], except that connections which are open go on moving data. Its future
/// may be dropped at any time.
pub struct Node<D = KeysOnDisk> {
    client: Client<D>,
    connections: Connections,
    live: HashMap<String, Live>,
    /// Whom the sessions are with that are not open yet.
    attempts: HashMap<SessionId, String>,
    /// The sessions that are closed behind what was sent on them.
    leaving: HashSet<SessionId>,
    happenings: VecDeque<Happening>,
}

/// The session of a contact.
struct Live {
    connection: ConnectionId,
    session: SessionId,
    may_exchange: bool,
    /// Until when a new path is searched, if packets do not get through.
    interrupted: Option<Instant>,
}

/// What concerns the app.
#[non_exhaustive]
pub enum Happening {
    /// Something to show or to know. Of a session that found a new path, [`Event::Connected`] is not told again.
    Event(Event),
    /// The other side opened a channel.
    Channel {
        /// With whom.
        contact: String,
        /// It has the label that the other side gave it.
        channel: Channel,
    },
    /// Packets of an open session take this path now.
    Path {
        /// With whom.
        contact: String,
        /// Which one.
        path: Path,
    },
    /// No packets get through any more; a new path is searched, for a minute and a half. Channels stay, and wait.
    Interrupted {
        /// With whom.
        contact: String,
    },
    /// Packets get through again.
    Resumed {
        /// With whom.
        contact: String,
    },
    /// An attempt to connect came as far as both sides' addresses, and found no path.
    NoPath {
        /// With whom.
        contact: String,
        /// Why, probably.
        why: NoPath,
    },
}

impl<D: Disk> Node<D> {
    /// Runs a client's sessions over WebRTC. To be called within a tokio runtime.
    pub fn new(client: Client<D>, options: Options) -> Self {
        let connections = Connections::new(options);
        let (live, attempts, leaving) = (HashMap::new(), HashMap::new(), HashSet::new());
        Self { client, connections, live, attempts, leaving, happenings: VecDeque::new() }
    }

    /// The client, for all that is not about connections: share, connect, verify, contacts, notes. Its `next` and what answers its
    /// signals (`local_offer`, `channel_open` and so on) are the node's to call.
    pub fn client(&mut self) -> &mut Client<D> {
        &mut self.client
    }

    /// Ends the session with a contact, and any attempt to make one. Waits until all that was sent on its channels is confirmed and the
    /// connection closed, for two seconds at most. ([`Client::disconnect`] ends it at once.) What happens meanwhile is for
    /// [`Node::next`]. If it is dropped the session ends as well.
    ///
    /// # Errors
    /// As [`Client::disconnect`] and [`Client::next`].
    pub async fn disconnect(&mut self, contact: &str) -> Result<(), ClientError> {
        let connection = self.live.get(contact).map(|live| live.connection);
        self.leave(contact)?;
        while connection.is_some_and(|id| self.connections.is_running(id)) {
            self.step().await?;
        }
        Ok(())
    }

    fn leave(&mut self, contact: &str) -> Result<(), ClientError> {
        self.leaving.extend(self.live.get(contact).map(|live| live.session));
        self.client.disconnect(contact)
    }

    /// Waits for what concerns the app. To be called in a loop.
    ///
    /// # Errors
    /// As [`Client::next`].
    pub async fn next(&mut self) -> Result<Happening, ClientError> {
        loop {
            if let Some(happening) = self.happenings.pop_front() {
                return Ok(happening);
            }
            self.step().await?;
        }
    }

    async fn step(&mut self) -> Result<(), ClientError> {
        let give_up = self.live.values().filter_map(|live| live.interrupted).min();
        tokio::select! {
            // What the sessions say follows from what connections told before, and goes first.
            biased;
            signal = self.client.next() => self.carry_out(signal?),
            (id, told) = self.connections.next() => self.hear(id, told),
            () = until(give_up) => self.give_up(),
        }
    }

    /// Whether a session with a contact is open.
    pub fn is_connected(&self, contact: &str) -> bool {
        self.live.contains_key(contact)
    }

    /// What opens channels to a contact, in the session that is open now.
    ///
    /// # Errors
    /// If the contact is not connected, or app data may not flow before the two people compared their strings.
    pub fn opener(&self, contact: &str) -> Result<Opener, NotOpened> {
        let live = self.live.get(contact).filter(|live| live.may_exchange).ok_or(NotOpened::NotConnected)?;
        self.connections.opener(live.connection).ok_or(NotOpened::NotConnected)
    }

    /// See [`Opener::open`].
    ///
    /// # Errors
    /// As [`Node::opener`].
    pub fn open(&self, contact: &str, label: &str) -> Result<Channel, NotOpened> {
        self.opener(contact)?.open(label)
    }

    /// The path that packets take to a contact.
    pub fn path(&self, contact: &str) -> Option<Path> {
        self.connections.path(self.live.get(contact)?.connection)
    }

    /// When the open session came how far on its way.
    pub fn timing(&self, contact: &str) -> Option<Timing> {
        self.connections.timing(self.live.get(contact)?.connection)
    }

    fn carry_out(&mut self, signal: Signal) -> Result<(), ClientError> {
        match signal {
            Signal::MakeOffer { session, contact } => {
                // While a session is open an offer is made only to find it another path.
                let id = match self.live.get(&contact) {
                    Some(live) => live.connection,
                    None => self.make(&contact),
                };
                self.connections.offer(id, session);
                self.attempts.insert(session, contact);
            }
            Signal::MakeAnswer { session, contact, sdp } => {
                // With the certificate of the open connection it is that one which searches a new path.
                let offered = Fingerprint::of_sdp(&sdp);
                let open = self.live.get(&contact).map(|live| live.connection);
                let again = open.filter(|id| self.connections.certificate(*id) == offered);
                let id = again.unwrap_or_else(|| self.make(&contact));
                self.connections.answer(id, session, sdp);
                self.attempts.insert(session, contact);
            }
            Signal::AcceptAnswer { session, sdp } => self.connections.accept(session, sdp),
            Signal::AddCandidates { session, candidates } => self.connections.candidates(session, candidates),
            Signal::Frame { session, text } => self.connections.frame(session, text.to_string()),
            Signal::Close { session } => {
                self.attempts.remove(&session);
                let is_left = self.leaving.remove(&session);
                self.connections.close(session, if is_left { Ending::Delivered } else { Ending::AtOnce });
            }
            Signal::Event(event) => self.tell(event),
        }
        Ok(())
    }

    fn make(&mut self, contact: &str) -> ConnectionId {
        let here = self.client.contact(contact).is_some_and(is_on_this_machine);
        self.connections.make(here)
    }

    fn tell(&mut self, event: Event) {
        match &event {
            Event::Connected { contact, session, may_exchange, .. } => {
                self.attempts.remove(session);
                let Some(connection) = self.connections.of(*session) else { return };
                if *may_exchange {
                    self.connections.allow(connection);
                }
                let live =
                    Live { connection, session: *session, may_exchange: *may_exchange, interrupted: None };
                let before = self.live.insert(contact.clone(), live);
                let contact = contact.clone();
                if let Some(before) = before.filter(|before| before.connection == connection) {
                    if before.interrupted.is_some() {
                        self.happenings.push_back(Happening::Resumed { contact });
                    }
                    return;
                }
                self.happenings.push_back(Happening::Event(event));
                if let Some(path) = self.connections.path(connection) {
                    self.happenings.push_back(Happening::Path { contact, path });
                }
                return;
            }
            Event::MayExchange { contact } => {
                if let Some(live) = self.live.get_mut(contact) {
                    live.may_exchange = true;
                    self.connections.allow(live.connection);
                }
            }
            Event::Disconnected { contact } => drop(self.live.remove(contact)),
            _ => {}
        }
        self.happenings.push_back(Happening::Event(event));
    }

    fn hear(&mut self, id: ConnectionId, told: Told) -> Result<(), ClientError> {
        match told {
            Told::Offer(session, sdp) => {
                let taken = self.client.local_offer(session, sdp);
                self.over(session, taken)?;
            }
            Told::Answer(session, sdp) => {
                let taken = self.client.local_answer(session, sdp);
                self.over(session, taken)?;
            }
            // Too late, or too many: the session goes on with those it has.
            Told::Candidates(session, candidates) => {
                ignore_session(self.client.local_candidates(session, candidates))?;
            }
            Told::Open(session, certificate) => self.client.channel_open(session, Some(certificate))?,
            Told::Frame(session, text) => self.client.frame(session, &text)?,
            Told::Channel(channel) => {
                if let Some(contact) = self.contact_on(id) {
                    self.happenings.push_back(Happening::Channel { contact, channel });
                }
            }
            Told::Path(path) => {
                if let Some(contact) = self.contact_on(id) {
                    self.happenings.push_back(Happening::Path { contact, path });
                }
            }
            Told::Changed => {
                if let Some(contact) = self.contact_on(id) {
                    ignore_not_done(self.client.renew(&contact))?;
                }
            }
            Told::Lost => self.interrupted(id)?,
            Told::Found => {
                let found = self.live.iter_mut().find(|(_, live)| live.connection == id);
                if let Some((contact, live)) = found
                    && live.interrupted.take().is_some()
                {
                    self.happenings.push_back(Happening::Resumed { contact: contact.clone() });
                }
            }
            Told::Idle => {
                if let Some(contact) = self.contact_on(id) {
                    self.leave(&contact)?;
                }
            }
            Told::Refused(session) => self.refused(id, session)?,
            Told::Ended(session) => {
                // One that was replaced is over anyway.
                let is_live = self.live.values().any(|live| live.session == session);
                if self.attempts.remove(&session).is_some() || is_live {
                    self.client.channel_closed(session)?;
                }
            }
            Told::Closed(sessions, why) => {
                self.live.retain(|_, live| live.connection != id);
                let mut done = Ok(());
                for session in sessions {
                    if let (Some(contact), Some(why)) = (self.attempts.remove(&session), why) {
                        self.happenings.push_back(Happening::NoPath { contact, why });
                    }
                    self.leaving.remove(&session);
                    done = done.and(self.client.channel_closed(session));
                }
                done?;
            }
        }
        Ok(())
    }

    /// A session that could not be made on its connection. If that was to renew one the other side began anew, and this one is of no use
    /// any more.
    fn refused(&mut self, id: ConnectionId, session: SessionId) -> Result<(), ClientError> {
        let contact = self.contact_on(id);
        self.attempts.remove(&session);
        self.connections.close(session, Ending::AtOnce);
        let mut done = self.client.channel_closed(session);
        if let Some(contact) = contact {
            done = done.and(self.end(id));
            done = done.and(ignore_not_done(self.client.reconnect(&contact)));
        }
        done
    }

    /// Ends a connection with all sessions on it.
    fn end(&mut self, id: ConnectionId) -> Result<(), ClientError> {
        self.live.retain(|_, live| live.connection != id);
        let mut done = Ok(());
        for session in self.connections.sessions(id) {
            self.attempts.remove(&session);
            self.connections.close(session, Ending::AtOnce);
            done = done.and(self.client.channel_closed(session));
        }
        done
    }

    fn interrupted(&mut self, id: ConnectionId) -> Result<(), ClientError> {
        let Some(contact) = self.contact_on(id) else { return Ok(()) };
        if let Some(live) = self.live.get_mut(&contact) {
            live.interrupted.get_or_insert(Instant::now() + RENEW);
            self.happenings.push_back(Happening::Interrupted { contact: contact.clone() });
            // The network may be another one: relays are asked anew, too.
            let woken = self.client.woke_up();
            woken.and(ignore_not_done(self.client.renew(&contact)))?;
        }
        Ok(())
    }

    /// Ends the sessions for which no new path was found in time.
    fn give_up(&mut self) -> Result<(), ClientError> {
        let now = Instant::now();
        let over = self.live.values().filter(|live| live.interrupted.is_some_and(|until| until <= now));
        let over: Vec<ConnectionId> = over.map(|live| live.connection).collect();
        let mut done = Ok(());
        for id in over {
            done = done.and(self.end(id));
        }
        done
    }

    /// What a client's call came to; a session that is over has no use for its connection.
    fn over(&mut self, session: SessionId, taken: Result<(), ClientError>) -> Result<(), ClientError> {
        match taken {
            Err(ClientError::Session(_)) => {
                self.connections.close(session, Ending::AtOnce);
                Ok(())
            }
            taken => taken,
        }
    }

    fn contact_on(&self, id: ConnectionId) -> Option<String> {
        self.live.iter().find(|(_, live)| live.connection == id).map(|(name, _)| name.clone())
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Whether all that a contact meets at is on this machine.
fn is_on_this_machine(contact: &Contact) -> bool {
    let own = contact.boxes.iter().flat_map(|own| &own.relays);
    let peer = contact.peer.iter().flat_map(|peer| &peer.connectoid.relays);
    own.chain(peer).all(RelayUrl::is_loopback)
}

fn ignore_session(taken: Result<(), ClientError>) -> Result<(), ClientError> {
    match taken {
        Err(ClientError::Session(_)) => Ok(()),
        taken => taken,
    }
}

fn ignore_not_done(done: Result<(), ClientError>) -> Result<(), ClientError> {
    match done {
        Err(ClientError::NotDone(_)) => Ok(()),
        done => done,
    }
}
