//! The driver of [`Sessions`] on tokio: requests over HTTP, state in the keys file, time and randomness of the system.
//!
//! WebRTC is the app's: [`Client::next`] says what is to be done with peer connections, and the app says what came of it.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    future,
    sync::Arc,
    time::Duration,
};

use rand::{SeedableRng as _, rngs::StdRng, rngs::SysRng};
use serde_json::Value;
use tokio::{
    task::{AbortHandle, JoinError, JoinSet},
    time,
};

use super::{
    contact::{Contact, Goodbye, InboxNote, LinkState, OwnBox},
    exchange::{self, NoReply},
    keystore::{ContactLock, Keys, Keystore, KeystoreError},
    sessions::{
        NotDone, NotThisSession, Output, PersistPoint, RequestId, SessionId, Sessions, ShareOptions, Signal,
        Turn,
    },
    transport::Transport,
};
use crate::{
    clock::{Clock, SystemClock},
    protocol::{Connectoid, Fingerprint, FoundLink, PublicKey},
};

/// Runs the sessions of a user's contacts.
///
/// **Nothing happens but in its calls.** [`Client::next`] takes what relays replied, does what is due and returns what concerns
/// the app; an app calls it in a loop. Requests under way go on between two calls, their replies wait: so an app that is slow is
/// asked no more than it takes, and no reply is fetched that is not wanted yet. At most one check a relay (and `ext`), one request a
/// message and relay, and one a box and relay that is read are under way, and the acknowledgements of what was read.
///
/// **Runtime.** All of its calls belong in one tokio runtime, with I/O and time.
///
/// **Cancellation.** The future of [`Client::next`] may be dropped at any time, in a `select!` for instance: nothing is lost.
/// A client that is dropped ends its requests; what was stored is taken up by the next one.
///
/// **What is durable.** Every call stores what must be stored before it returns and before anything is sent; that waits for the
/// disk, some milliseconds. If it fails the call says so with [`ClientError::Keys`]: it took effect in memory, nothing of what
/// depends on it was sent or signalled, and the next call tries to store it again. What it would have returned can be
/// looked up: a link by [`Client::link`].
pub struct Client<D = KeysOnDisk> {
    sessions: Sessions,
    disk: D,
    transport: Transport,
    clock: Arc<dyn Clock>,
    rng: StdRng,
    requests: JoinSet<Replied>,
    under_way: HashMap<RequestId, AbortHandle>,
    /// What could not be stored yet.
    unstored: Option<(String, PersistPoint)>,
    signals: VecDeque<Signal>,
}

/// A request's reply: its status and body, or why there is none.
type Replied = (RequestId, Result<(u16, Vec<u8>), NoReply>);

/// Where a client keeps what must survive it: the keys file, or something of the app's own.
pub trait Disk {
    /// Makes durable what `sessions` says now of a contact ([`Sessions::contact`]; if it says nothing, all of it is to be
    /// deleted) and of goodbyes ([`Sessions::goodbyes`]).
    ///
    /// # Errors
    /// Then nothing must have changed.
    fn store(&mut self, sessions: &Sessions, contact: &str, why: PersistPoint) -> Result<(), KeystoreError>;

    /// Makes this the only program that runs the sessions of a new contact.
    ///
    /// # Errors
    /// [`KeystoreError::InUse`] if another does, [`KeystoreError::Taken`] if another made one of this name.
    fn lock(&mut self, contact: &str) -> Result<(), KeystoreError>;

    /// Lets other programs run a contact again: it was not made after all.
    fn unlock(&mut self, contact: &str);
}

/// The keys file, and the locks of the contacts that run here.
pub struct KeysOnDisk {
    keystore: Keystore,
    locks: HashMap<String, ContactLock>,
    /// The goodbyes that were ever here: those that are gone go from the file, too.
    goodbyes: HashSet<PublicKey>,
}

/// Why a call had no effect, or not all of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The state could not be stored; the next call tries again.
    #[error(transparent)]
    Keys(#[from] KeystoreError),
    /// It makes no sense now.
    #[error(transparent)]
    NotDone(#[from] NotDone),
    /// It makes no sense for this session now.
    #[error(transparent)]
    Session(#[from] NotThisSession),
    /// The system gives no randomness.
    #[error("the system gives no randomness: {0}")]
    NoRandomness(String),
}

impl Client {
    /// The sessions of all contacts in a keys file that no other program runs already. Keys under a passphrase take the
    /// calling thread a tenth of a second and 64 MiB to open.
    ///
    /// # Errors
    /// If the keys cannot be read, or the system gives no randomness.
    pub fn open(keystore: Keystore) -> Result<Self, ClientError> {
        let rng = StdRng::try_from_rng(&mut SysRng)
            .map_err(|error| ClientError::NoRandomness(error.to_string()))?;
        let (disk, sessions) = KeysOnDisk::open(keystore)?;
        Self::with(sessions, disk, Transport::new(), Arc::new(SystemClock), rng)
    }

    /// As [`Client::open`], but only the contacts of these names; others, and new ones that they make, are left to other programs.
    ///
    /// # Errors
    /// As [`Client::open`], and [`KeystoreError::InUse`] if another program runs one of them. That there is none of a name is no error.
    pub fn open_only(keystore: Keystore, names: &[&str]) -> Result<Self, ClientError> {
        let rng = StdRng::try_from_rng(&mut SysRng)
            .map_err(|error| ClientError::NoRandomness(error.to_string()))?;
        let (disk, sessions) = KeysOnDisk::open_only(keystore, names)?;
        Self::with(sessions, disk, Transport::new(), Arc::new(SystemClock), rng)
    }
}

impl<D: Disk> Client<D> {
    /// A client with parts of the app's own. `sessions` were not started yet; `rng` must not give the same twice.
    ///
    /// # Errors
    /// If what is to be stored cannot be.
    pub fn with(
        sessions: Sessions,
        disk: D,
        transport: Transport,
        clock: Arc<dyn Clock>,
        rng: StdRng,
    ) -> Result<Self, ClientError> {
        let mut client = Self {
            sessions,
            disk,
            transport,
            clock,
            rng,
            requests: JoinSet::new(),
            under_way: HashMap::new(),
            unstored: None,
            signals: VecDeque::new(),
        };
        client.turn(Sessions::start)?;
        Ok(client)
    }

    /// Waits for what concerns the app. To be called in a loop: nothing happens without. See [`Client`] for what may be dropped.
    ///
    /// Never ends by itself: with nothing to do it waits.
    ///
    /// # Errors
    /// If what came cannot be stored; call it again once that is mended, or after a pause: it fails at once as long as it is not.
    pub async fn next(&mut self) -> Result<Signal, ClientError> {
        let mut stored = self.carry_out();
        loop {
            if let Some(signal) = self.signals.pop_front() {
                return Ok(signal);
            }
            std::mem::replace(&mut stored, Ok(()))?;
            let wake = self.sessions.wake_at().map(|at| at.saturating_sub(self.clock.elapsed()));
            tokio::select! {
                Some(done) = self.requests.join_next() => {
                    let Some((id, reply)) = self.reply_of(done) else { continue };
                    self.turn(|sessions, turn| {
                        let reply = reply.as_ref().map(|(status, body)| (*status, body.as_slice()));
                        sessions.replied(turn, id, reply.map_err(Clone::clone));
                    })?;
                }
                () = sleep(wake) => self.turn(Sessions::tick)?,
            }
        }
    }

    /// Makes a link for somebody: what to send to that one. It is on disk by then.
    ///
    /// # Errors
    /// If there is a contact of this name, or the relays are none or too many.
    pub fn share(&mut self, name: &str, options: ShareOptions) -> Result<Connectoid, ClientError> {
        self.new_contact(name, |sessions, turn| sessions.share(turn, name, options))
    }

    /// Connects to whoever shared a link, and goes on trying for 48 hours.
    ///
    /// # Errors
    /// If there is a contact of this name, or the link is one's own.
    pub fn connect(&mut self, link: &FoundLink, name: &str) -> Result<(), ClientError> {
        self.new_contact(name, |sessions, turn| sessions.connect(turn, link, name))
    }

    /// Connects to a contact again, and goes on trying for 48 hours.
    ///
    /// # Errors
    /// If there is no such contact, or nobody used its link yet.
    pub fn reconnect(&mut self, name: &str) -> Result<(), ClientError> {
        Ok(self.turn(|sessions, turn| sessions.reconnect(turn, name))??)
    }

    /// Makes a session again whose packets do not get through any more. The open one stays until the new one is proven.
    ///
    /// # Errors
    /// If there is no such contact, or it is not connected.
    pub fn renew(&mut self, name: &str) -> Result<(), ClientError> {
        Ok(self.turn(|sessions, turn| sessions.renew(turn, name))??)
    }

    /// Ends the session with a contact, and any attempt to make one.
    ///
    /// # Errors
    /// If there is no such contact, or it cannot be stored that nothing more is to be tried.
    pub fn disconnect(&mut self, name: &str) -> Result<(), ClientError> {
        Ok(self.turn(|sessions, turn| sessions.disconnect(turn, name))??)
    }

    /// Records whether the short authentication string is the same on both sides. If not the session ends.
    ///
    /// # Errors
    /// If there is nothing to compare.
    pub fn verify(&mut self, name: &str, same: bool) -> Result<(), ClientError> {
        Ok(self.turn(|sessions, turn| sessions.verify(turn, name, same))??)
    }

    /// Ends a contact: the other side is told, the boxes are deleted at the relays, then every key. It cannot be undone. Go on
    /// calling [`Client::next`] until [`super::sessions::Event::Unshared`]: by then the keys are gone. What tells the other side is sent three times
    /// within two days, by whichever client has the keys file open then.
    ///
    /// # Errors
    /// If there is no such contact.
    pub fn unshare(&mut self, name: &str) -> Result<(), ClientError> {
        Ok(self.turn(|sessions, turn| sessions.unshare(turn, name))??)
    }

    /// Whether somebody looks at the app: then it waits at the relays for whatever comes, instead of checking once a minute.
    ///
    /// # Errors
    /// If what is due just then cannot be stored.
    pub fn set_foreground(&mut self, foreground: bool) -> Result<(), ClientError> {
        self.turn(|sessions, turn| sessions.set_foreground(turn, foreground))
    }

    /// The device woke up, or has a network again: relays are asked anew and now, what could not be sent is sent now, and a try that
    /// was missed meanwhile is made.
    ///
    /// # Errors
    /// If what is due just then cannot be stored.
    pub fn woke_up(&mut self) -> Result<(), ClientError> {
        self.turn(Sessions::woke_up)
    }

    /// The notes that came from a contact and were not handed over yet.
    pub fn notes(&self, name: &str) -> &[InboxNote] {
        self.contact(name).map(|contact| contact.inbox.as_slice()).unwrap_or_default()
    }

    /// The first `count` of [`Client::notes`] were handed over, to a person or a file of the app's: they are forgotten. Killed in between,
    /// an app gets them again.
    ///
    /// # Errors
    /// If that cannot be stored.
    pub fn notes_handed_over(&mut self, name: &str, count: usize) -> Result<(), ClientError> {
        self.turn(|sessions, _| sessions.notes_handed_over(name, count))
    }

    /// The offer of a peer connection that [`Signal::MakeOffer`] asked for.
    ///
    /// # Errors
    /// If the session is over or the SDP cannot be used.
    pub fn local_offer(&mut self, session: SessionId, sdp: String) -> Result<(), ClientError> {
        Ok(self.turn(|sessions, turn| sessions.local_offer(turn, session, sdp))??)
    }

    /// The answer of a peer connection that [`Signal::MakeAnswer`] asked for.
    ///
    /// # Errors
    /// If the session is over or the SDP cannot be used.
    pub fn local_answer(&mut self, session: SessionId, sdp: String) -> Result<(), ClientError> {
        Ok(self.turn(|sessions, turn| sessions.local_answer(turn, session, sdp))??)
    }

    /// Candidates that came after the offer or answer was handed over; three times at most.
    ///
    /// # Errors
    /// If the session is over or they do not fit into a message.
    pub fn local_candidates(
        &mut self,
        session: SessionId,
        candidates: Vec<Value>,
    ) -> Result<(), ClientError> {
        Ok(self.turn(|sessions, turn| sessions.local_candidates(turn, session, candidates))??)
    }

    /// The offer of [`Signal::MakeAnswer`] is not wanted: the other side is told.
    ///
    /// # Errors
    /// If the session is over.
    pub fn decline(&mut self, session: SessionId) -> Result<(), ClientError> {
        Ok(self.turn(|sessions, turn| sessions.decline(turn, session))??)
    }

    /// The data channel `connectoid` is open. `certificate` is the SHA-256 of the other end's DTLS certificate, if the stack
    /// shows it; a stack that does not must have been given the signed SDP unchanged.
    ///
    /// # Errors
    /// If what follows cannot be stored.
    pub fn channel_open(
        &mut self,
        session: SessionId,
        certificate: Option<Fingerprint>,
    ) -> Result<(), ClientError> {
        self.turn(|sessions, turn| sessions.channel_open(turn, session, certificate))
    }

    /// A text frame came on the data channel `connectoid`.
    ///
    /// # Errors
    /// If what follows cannot be stored.
    pub fn frame(&mut self, session: SessionId, text: &str) -> Result<(), ClientError> {
        self.turn(|sessions, turn| sessions.frame(turn, session, text))
    }

    /// The peer connection or its channel ended, or could not be made.
    ///
    /// # Errors
    /// If what follows cannot be stored.
    pub fn channel_closed(&mut self, session: SessionId) -> Result<(), ClientError> {
        self.turn(|sessions, turn| sessions.channel_closed(turn, session))
    }

    /// The link that was made for a contact, as long as it may be used.
    pub fn link(&self, name: &str) -> Option<Connectoid> {
        let contact = self.contact(name)?;
        let open = contact.link.as_ref().is_some_and(|link| link.state == LinkState::Open);
        contact.link_box().filter(|_| open).map(OwnBox::connectoid)
    }

    /// The contacts that run here, by name.
    pub fn contacts(&self) -> impl Iterator<Item = &Contact> {
        self.sessions.contacts()
    }

    /// What is left of contacts that were unshared, and is sent now and then by whichever client runs.
    pub fn goodbyes(&self) -> &[Goodbye] {
        self.sessions.goodbyes()
    }

    /// The contact of this name, if it runs here.
    pub fn contact(&self, name: &str) -> Option<&Contact> {
        self.sessions.contact(name)
    }

    /// A step that makes a contact, which no other program may run.
    fn new_contact<T>(
        &mut self,
        name: &str,
        step: impl FnOnce(&mut Sessions, &mut Turn<'_>) -> Result<T, NotDone>,
    ) -> Result<T, ClientError> {
        self.disk.lock(name)?;
        let made = self.turn(step);
        if self.sessions.contact(name).is_none() {
            self.disk.unlock(name);
        }
        Ok(made??)
    }

    /// The reply of a request that ended; none if it was cancelled.
    fn reply_of(&mut self, done: Result<Replied, JoinError>) -> Option<Replied> {
        let replied = done.or_else(|error| {
            let mut under_way = self.under_way.iter();
            let ended = under_way.find(|(_, request)| request.id() == error.id()).map(|(id, _)| *id);
            ended.map(|id| (id, Err(NoReply::Unreachable(error.to_string())))).ok_or(())
        });
        let (id, reply) = replied.ok()?;
        self.under_way.remove(&id);
        Some((id, reply))
    }

    /// One step of the machine, and what it wants done. The step is taken also while something cannot be stored: what it wants then
    /// waits behind that.
    fn turn<T>(&mut self, step: impl FnOnce(&mut Sessions, &mut Turn<'_>) -> T) -> Result<T, ClientError> {
        let now = u64::try_from(self.clock.now() / 1000).unwrap_or(0);
        let mut turn = Turn { now, elapsed: self.clock.elapsed(), rng: &mut self.rng };
        let result = step(&mut self.sessions, &mut turn);
        self.carry_out()?;
        Ok(result)
    }

    /// Does what the machine wants done, in its order: what could not be stored holds up all that follows.
    fn carry_out(&mut self) -> Result<(), ClientError> {
        loop {
            if let Some((contact, why)) = &self.unstored {
                if let Err(error) = self.disk.store(&self.sessions, contact, *why) {
                    while let Some(Output::Signal(signal)) = self.sessions.poll_urgent() {
                        self.signals.push_back(signal);
                    }
                    return Err(error.into());
                }
                self.unstored = None;
            }
            let Some(output) = self.sessions.poll() else { return Ok(()) };
            match output {
                Output::Store { contact, point } => self.unstored = Some((contact, point)),
                Output::Request { id, relay, request } => {
                    let (body, patience) = (exchange::body(&request), exchange::patience(&request));
                    let transport = self.transport.clone();
                    let post = async move { (id, transport.post(&relay, body, patience).await) };
                    self.under_way.insert(id, self.requests.spawn(post));
                }
                Output::Cancel(id) => {
                    if let Some(request) = self.under_way.remove(&id) {
                        request.abort();
                    }
                }
                Output::Signal(signal) => self.signals.push_back(signal),
            }
        }
    }
}

impl KeysOnDisk {
    /// A keys file, and the sessions of all contacts in it that no other program runs.
    ///
    /// # Errors
    /// If the keys cannot be read.
    pub fn open(keystore: Keystore) -> Result<(Self, Sessions), KeystoreError> {
        let locks = keystore.lock_contacts()?;
        Self::with(keystore, locks)
    }

    /// As [`KeysOnDisk::open`], but only the contacts of these names.
    ///
    /// # Errors
    /// As [`KeysOnDisk::open`], and [`KeystoreError::InUse`] if another program runs one of them.
    pub fn open_only(keystore: Keystore, names: &[&str]) -> Result<(Self, Sessions), KeystoreError> {
        let keys = keystore.load()?;
        let there = names.iter().filter(|name| keys.contact(name).is_some());
        let locks: Result<HashMap<String, ContactLock>, KeystoreError> =
            there.map(|name| Ok(((*name).to_owned(), keystore.lock_contact(name)?))).collect();
        Self::with(keystore, locks?)
    }

    fn with(
        keystore: Keystore,
        locks: HashMap<String, ContactLock>,
    ) -> Result<(Self, Sessions), KeystoreError> {
        let mut disk = Self { keystore, locks, goodbyes: HashSet::new() };
        let sessions = disk.load()?;
        Ok((disk, sessions))
    }

    /// Reads what the locks are held of: before that another program could change it.
    fn load(&mut self) -> Result<Sessions, KeystoreError> {
        let Keys { contacts, goodbyes, .. } = self.keystore.load()?;
        let (own, others): (Vec<Contact>, Vec<Contact>) =
            contacts.into_iter().partition(|contact| self.locks.contains_key(&contact.name));
        self.goodbyes = goodbyes.iter().map(|goodbye| goodbye.to).collect();
        Ok(Sessions::new(own, goodbyes, &others))
    }
}

impl Disk for KeysOnDisk {
    fn store(&mut self, sessions: &Sessions, contact: &str, _: PersistPoint) -> Result<(), KeystoreError> {
        let stored = sessions.contact(contact);
        self.goodbyes.extend(sessions.goodbyes().iter().map(|goodbye| goodbye.to));
        self.keystore.update(|keys| {
            let place = keys.contacts.iter().position(|known| known.name == contact);
            match (stored, place) {
                (Some(stored), Some(place)) => keys.contacts[place] = stored.clone(),
                (Some(stored), None) => keys.contacts.push(stored.clone()),
                (None, Some(place)) => drop(keys.contacts.remove(place)),
                (None, None) => {}
            }
            keys.goodbyes.retain(|goodbye| !self.goodbyes.contains(&goodbye.to));
            keys.goodbyes.extend(sessions.goodbyes().iter().cloned());
            Ok::<_, KeystoreError>(())
        })?;
        if stored.is_none() {
            self.locks.remove(contact);
        }
        Ok(())
    }

    fn lock(&mut self, contact: &str) -> Result<(), KeystoreError> {
        if self.locks.contains_key(contact) {
            return Ok(());
        }
        let lock = self.keystore.lock_contact(contact)?;
        // It was another program's when this one opened the keys, or was made since: not to be written over.
        if self.keystore.load()?.contact(contact).is_some() {
            return Err(KeystoreError::Taken { name: contact.to_owned() });
        }
        self.locks.insert(contact.to_owned(), lock);
        Ok(())
    }

    fn unlock(&mut self, contact: &str) {
        self.locks.remove(contact);
    }
}

async fn sleep(time: Option<Duration>) {
    match time {
        Some(time) => time::sleep(time).await,
        None => future::pending().await,
    }
}
