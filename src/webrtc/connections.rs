//! All peer connections of an app: which session runs on which.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use serde_json::Value;
use tokio::sync::mpsc;

use super::{
    channel::{Channel, Waiting},
    connection::{CONTROL, Connection, Ending, Order, Path, Timing, Told},
    options::Options,
};
use crate::{client::sessions::SessionId, protocol::Fingerprint};

/// Names a peer connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ConnectionId(u64);

pub(super) struct Connections {
    options: Arc<Options>,
    running: HashMap<ConnectionId, Running>,
    made: u64,
    told: mpsc::UnboundedReceiver<(ConnectionId, Told)>,
    tell: mpsc::UnboundedSender<(ConnectionId, Told)>,
}

struct Running {
    orders: mpsc::UnboundedSender<Order>,
    sessions: Vec<SessionId>,
    /// Of the other side's certificate, once its channel opened.
    certificate: Option<Fingerprint>,
    path: Option<Path>,
    waiting: Waiting,
    timing: Arc<Mutex<Timing>>,
}

/// Opens channels in a session. It may be cloned and used in other tasks; it does not keep the session open.
#[derive(Clone)]
pub struct Opener {
    orders: mpsc::WeakUnboundedSender<Order>,
    waiting: Waiting,
}

/// Why a channel was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotOpened {
    /// The contact is not connected, or app data may not flow yet.
    #[error("not connected")]
    NotConnected,
    /// The label is the library's own, `connectoid`, or longer than [`LONGEST_LABEL`].
    #[error("a label has 255 bytes at most, and is not \"connectoid\"")]
    Label,
}

/// The longest label of a channel, in bytes.
pub const LONGEST_LABEL: usize = 255;

impl Opener {
    /// Opens a channel, ordered and reliable. It can be written at once: what is sent waits until it is open.
    ///
    /// # Errors
    /// [`NotOpened`].
    pub fn open(&self, label: &str) -> Result<Channel, NotOpened> {
        if label == CONTROL || label.len() > LONGEST_LABEL {
            return Err(NotOpened::Label);
        }
        let orders = self.orders.upgrade().ok_or(NotOpened::NotConnected)?;
        let (channel, plug) = Channel::new(label.to_owned(), self.waiting.clone());
        orders.send(Order::Open(label.to_owned(), plug)).map_err(|_| NotOpened::NotConnected)?;
        Ok(channel)
    }
}

/// Says that a connection is over, however its task ended.
struct Guard(ConnectionId, mpsc::UnboundedSender<(ConnectionId, Told)>);

impl Drop for Guard {
    fn drop(&mut self) {
        // If nobody listens any more nobody has to know.
        let _ = self.1.send((self.0, Told::Closed(Vec::new(), None)));
    }
}

impl Connections {
    pub(super) fn new(options: Options) -> Self {
        let (tell, told) = mpsc::unbounded_channel();
        Self { options: Arc::new(options), running: HashMap::new(), made: 0, told, tell }
    }

    /// What the next connection tells. May be dropped: nothing is lost.
    pub(super) async fn next(&mut self) -> (ConnectionId, Told) {
        loop {
            // This end keeps a sender, so there is always a next one to wait for.
            let Some((id, mut told)) = self.told.recv().await else { continue };
            match &mut told {
                Told::Open(_, certificate) => {
                    if let Some(running) = self.running.get_mut(&id) {
                        running.certificate = Some(*certificate);
                    }
                }
                Told::Path(path) => {
                    if let Some(running) = self.running.get_mut(&id) {
                        running.path = Some(*path);
                    }
                }
                Told::Ended(session) => self.forget(id, *session),
                Told::Closed(sessions, _) => {
                    // Said twice: by the connection, and when its task is over.
                    let Some(running) = self.running.remove(&id) else { continue };
                    // Also those that it did not hear of any more.
                    sessions.extend(
                        running
                            .sessions
                            .into_iter()
                            .filter(|session| !sessions.contains(session))
                            .collect::<Vec<_>>(),
                    );
                }
                _ => {}
            }
            return (id, told);
        }
    }

    /// Makes a connection. `loopback`: whether addresses of this machine itself are offered.
    pub(super) fn make(&mut self, loopback: bool) -> ConnectionId {
        let id = ConnectionId(self.made);
        self.made += 1;
        let (orders, to_obey) = mpsc::unbounded_channel();
        let timing = Arc::<Mutex<Timing>>::default();
        let tell = self.tell.clone();
        // If nobody listens any more nobody has to know.
        let told = Box::new(move |told| drop(tell.send((id, told))));
        let waiting = Waiting::default();
        let connection =
            Connection::new(self.options.clone(), loopback, to_obey, waiting.clone(), timing.clone(), told);
        let guard = Guard(id, self.tell.clone());
        tokio::spawn(async move {
            let _guard = guard;
            connection.run().await;
        });
        self.running.insert(
            id,
            Running { orders, sessions: Vec::new(), certificate: None, path: None, waiting, timing },
        );
        id
    }

    pub(super) fn offer(&mut self, id: ConnectionId, session: SessionId) {
        self.begin(id, session, Order::Offer(session));
    }

    pub(super) fn answer(&mut self, id: ConnectionId, session: SessionId, sdp: String) {
        self.begin(id, session, Order::Answer(session, sdp));
    }

    pub(super) fn accept(&self, session: SessionId, sdp: String) {
        self.order_session(session, Order::Accept(session, sdp));
    }

    pub(super) fn candidates(&self, session: SessionId, candidates: Vec<Value>) {
        self.order_session(session, Order::Candidates(session, candidates));
    }

    pub(super) fn frame(&self, session: SessionId, text: String) {
        self.order_session(session, Order::Frame(session, text));
    }

    pub(super) fn allow(&self, id: ConnectionId) {
        self.order(id, Order::Allow);
    }

    /// Ends a session, and its connection if that has no other.
    pub(super) fn close(&mut self, session: SessionId, ending: Ending) {
        if let Some(id) = self.of(session) {
            self.order(id, Order::Close(session, ending));
            self.forget(id, session);
        }
    }

    /// What opens channels on a connection.
    pub(super) fn opener(&self, id: ConnectionId) -> Option<Opener> {
        let running = self.running.get(&id)?;
        Some(Opener { orders: running.orders.downgrade(), waiting: running.waiting.clone() })
    }

    /// The connection that a session runs on.
    pub(super) fn of(&self, session: SessionId) -> Option<ConnectionId> {
        let mut running = self.running.iter();
        running.find(|(_, running)| running.sessions.contains(&session)).map(|(id, _)| *id)
    }

    /// The certificate that the other side showed.
    pub(super) fn certificate(&self, id: ConnectionId) -> Option<Fingerprint> {
        self.running.get(&id)?.certificate
    }

    /// The path that packets take.
    pub(super) fn path(&self, id: ConnectionId) -> Option<Path> {
        self.running.get(&id)?.path
    }

    /// The sessions that run on a connection.
    pub(super) fn sessions(&self, id: ConnectionId) -> Vec<SessionId> {
        self.running.get(&id).map(|running| running.sessions.clone()).unwrap_or_default()
    }

    /// Whether a connection is open, or closing.
    pub(super) fn is_running(&self, id: ConnectionId) -> bool {
        self.running.contains_key(&id)
    }

    pub(super) fn timing(&self, id: ConnectionId) -> Option<Timing> {
        self.running.get(&id)?.timing.lock().ok().map(|timing| *timing)
    }

    fn begin(&mut self, id: ConnectionId, session: SessionId, order: Order) {
        if let Some(running) = self.running.get_mut(&id) {
            running.sessions.push(session);
        }
        self.order(id, order);
    }

    fn order_session(&self, session: SessionId, order: Order) {
        if let Some(id) = self.of(session) {
            self.order(id, order);
        }
    }

    fn order(&self, id: ConnectionId, order: Order) {
        if let Some(running) = self.running.get(&id) {
            // One that ended just now tells so itself.
            let _ = running.orders.send(order);
        }
    }

    fn forget(&mut self, id: ConnectionId, session: SessionId) {
        if let Some(running) = self.running.get_mut(&id) {
            running.sessions.retain(|running| *running != session);
        }
    }
}
