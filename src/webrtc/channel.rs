//! A data channel of a session, for app data: messages in order, none lost while the session lasts.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::mpsc;

/// The messages that wait to be handed to the peer connection.
const QUEUED: usize = 4;

/// What may wait for the app on all channels of a session, in bytes: the channel for which more comes is closed.
const MOST_WAITING: usize = 32 * 1024 * 1024;

/// What a message takes in memory beside its bytes, about; and a channel.
pub(super) const OVERHEAD: usize = 64;
const CHANNEL: usize = 1024;

/// What waits for the app on all channels of a session.
#[derive(Clone, Default)]
pub(super) struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    /// Whether there is room for so much more.
    fn takes(&self, bytes: usize) -> bool {
        let before = self.0.fetch_add(bytes, Ordering::Relaxed);
        let takes = before + bytes <= MOST_WAITING;
        if !takes {
            self.gives_back(bytes);
        }
        takes
    }

    fn gives_back(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What a data channel carries (RFC 8831, section 6.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Text.
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
}

impl Message {
    /// Its length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Why a message was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotSent {
    /// The channel or its session is over.
    #[error("the channel is closed")]
    Closed,
    /// The message is larger than [`LARGEST`].
    #[error("a message has 262144 bytes at most")]
    TooLarge,
    /// The message is empty, which the WebRTC stack does not send.
    #[error("a message has one byte at least")]
    Empty,
}

/// The largest message, in bytes: 256 KiB, as browsers have it.
pub const LARGEST: usize = 256 * 1024;

/// One end of a data channel. It closes, once all that was sent is delivered, when this or every [`Sender`] of it is dropped.
pub struct Channel {
    sender: Sender,
    receiver: Receiver,
}

/// The half that sends.
#[derive(Clone)]
pub struct Sender(mpsc::Sender<Message>);

/// The half that receives.
pub struct Receiver {
    label: String,
    messages: mpsc::UnboundedReceiver<Message>,
    waiting: Waiting,
}

/// What the peer connection has of a channel: what the app sends, and where what comes goes.
pub(super) struct Plug {
    pub(super) outgoing: mpsc::Receiver<Message>,
    incoming: mpsc::UnboundedSender<Message>,
    waiting: Waiting,
}

impl Plug {
    /// Passes a message on to the app; not if too much waits for it.
    pub(super) fn pass_on(&self, message: Message) -> bool {
        // An app that dropped its end does not want it.
        if self.incoming.is_closed() {
            return true;
        }
        let bytes = message.len() + OVERHEAD;
        let takes = self.waiting.takes(bytes);
        if takes && self.incoming.send(message).is_err() {
            self.waiting.gives_back(bytes);
        }
        takes
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.messages.close();
        while let Ok(message) = self.messages.try_recv() {
            self.waiting.gives_back(message.len() + OVERHEAD);
        }
        self.waiting.gives_back(CHANNEL);
    }
}

impl Channel {
    /// A channel for the app, and what moves its messages.
    pub(super) fn new(label: String, waiting: Waiting) -> (Self, Plug) {
        let (sender, outgoing) = mpsc::channel(QUEUED);
        let (incoming, messages) = mpsc::unbounded_channel();
        // Even one that is too much is handed over: the app has it in its hands to take it and the rest.
        waiting.0.fetch_add(CHANNEL, Ordering::Relaxed);
        let receiver = Receiver { label, messages, waiting: waiting.clone() };
        (Self { sender: Sender(sender), receiver }, Plug { outgoing, incoming, waiting })
    }

    /// What it is called; the side that opens it says so.
    pub fn label(&self) -> &str {
        self.receiver.label()
    }

    /// See [`Sender::send`].
    ///
    /// # Errors
    /// As there.
    pub async fn send(&self, message: Message) -> Result<(), NotSent> {
        self.sender.send(message).await
    }

    /// See [`Receiver::next`].
    pub async fn next(&mut self) -> Option<Message> {
        self.receiver.next().await
    }

    /// Both halves, for two tasks.
    pub fn split(self) -> (Sender, Receiver) {
        (self.sender, self.receiver)
    }
}

impl Sender {
    /// Sends a message: waits until the peer connection has room for it. 64 KiB is what every app takes; one that the other side
    /// finds too large ends the channel. A message that was sent is delivered unless the session breaks.
    ///
    /// # Errors
    /// If the channel is closed, or the message empty or larger than [`LARGEST`].
    pub async fn send(&self, message: Message) -> Result<(), NotSent> {
        match message.len() {
            0 => Err(NotSent::Empty),
            length if length > LARGEST => Err(NotSent::TooLarge),
            _ => self.0.send(message).await.map_err(|_| NotSent::Closed),
        }
    }
}

impl Receiver {
    /// What the channel is called.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The next message; `None` once the channel is closed and all that came was taken. WebRTC has no flow control towards an app:
    /// what it does not take waits in memory, and at 32 MiB in a session the channel is closed. So two apps agree on how much is sent ahead.
    pub async fn next(&mut self) -> Option<Message> {
        let message = self.messages.recv().await?;
        self.waiting.gives_back(message.len() + OVERHEAD);
        Some(message)
    }
}

#[cfg(test)]
impl Channel {
    /// Two ends that are joined in memory, for tests.
    pub(crate) fn pair(label: &str) -> (Self, Self) {
        let (one, of_one) = Self::new(label.to_owned(), Waiting::default());
        let (other, of_other) = Self::new(label.to_owned(), Waiting::default());
        let (to_one, to_other) = (of_one.incoming, of_other.incoming);
        for (mut outgoing, incoming, waiting) in
            [(of_one.outgoing, to_other, of_other.waiting), (of_other.outgoing, to_one, of_one.waiting)]
        {
            tokio::spawn(async move {
                while let Some(message) = outgoing.recv().await {
                    waiting.0.fetch_add(message.len() + OVERHEAD, Ordering::Relaxed);
                    if incoming.send(message).is_err() {
                        break;
                    }
                }
            });
        }
        (one, other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_the_app_does_not_take_is_bounded() {
        let waiting = Waiting::default();
        let (mut channel, plug) = Channel::new("test".to_owned(), waiting.clone());
        // 128 of these and what they take beside are more than 32 MiB.
        let message = || Message::Binary(vec![7; 256 * 1024]);
        for _ in 0..127 {
            assert!(plug.pass_on(message()));
        }
        assert!(!plug.pass_on(message()));
        let (other, of_other) = Channel::new("other".to_owned(), waiting);
        assert!(!of_other.pass_on(message()), "it is one bound for all");
        assert_eq!(channel.next().await, Some(message()));
        assert!(of_other.pass_on(message()));
        drop(other);
        assert!(plug.pass_on(message()), "what was dropped takes no room");

        let (mut channel, plug) = Channel::new("test".to_owned(), Waiting::default());
        for _ in 0..1000 {
            assert!(plug.pass_on(message()), "an app that takes what comes is never cut off");
            assert_eq!(channel.next().await, Some(message()));
        }
        drop(channel.split().1);
        for _ in 0..1000 {
            assert!(plug.pass_on(message()), "one that wants nothing of it can still send");
        }
    }
}
