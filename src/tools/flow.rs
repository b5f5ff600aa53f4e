//! A data channel on which the receiver says how much may be sent ahead: binary messages are data, text messages are JSON.
//!
//! `{"t":"more","to":N}` lets the other side send N bytes of data in all, counted from the opening of the channel; [`WINDOW`]
//! bytes may be sent before any such message. Everything else belongs to the tool.

use std::sync::Arc;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::sync::{Semaphore, mpsc, watch};

use crate::webrtc::{Channel, Message, NotSent, Sender};

/// How much may be sent before it was taken at the other end: 4 MiB, which is 100 Mbit/s over a third of a second.
pub(crate) const WINDOW: u64 = 4 * 1024 * 1024;

/// The most data in one message: what every browser takes.
pub(crate) const PIECE: usize = 64 * 1024;

/// The largest number that every JSON parser takes (RFC 8259, section 6).
const LARGEST: u64 = (1 << 53) - 1;

/// What may wait to be taken, in bytes: data, and what messages take beside. Beyond, nothing more is heard of the other side.
const WAITING: u32 = 8 * 1024 * 1024;

/// What a message takes in memory beside its bytes, about.
const OVERHEAD: usize = 64;

/// What came.
#[derive(Debug, PartialEq)]
pub(crate) enum Piece<C> {
    /// Data. To be told to [`Inflow::taken`] once it is out of memory.
    Data(Vec<u8>),
    /// What the tool at the other end says.
    Control(C),
}

/// The other side does not keep to the protocol, or the channel closed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("the connection ended")]
    Closed(#[from] NotSent),
    #[error("the other side sent what cannot be understood: {0}")]
    NotUnderstood(String),
    #[error("the other side sent more than it was asked for")]
    TooMuch,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "lowercase")]
enum Flowing {
    More { to: u64 },
}

/// The half that sends.
pub(crate) struct Outflow {
    sender: Sender,
    sent: u64,
    may: watch::Receiver<u64>,
}

/// The half that receives.
pub(crate) struct Inflow {
    messages: mpsc::UnboundedReceiver<Message>,
    /// What more may wait.
    room: Arc<Semaphore>,
    sender: Sender,
    /// How much the other side may send in all, how much came, and how much of it was taken.
    allowed: u64,
    came: u64,
    taken: u64,
}

/// Both halves of a channel. The channel closes when both are dropped.
pub(crate) fn flow(channel: Channel) -> (Outflow, Inflow) {
    let (sender, mut receiver) = channel.split();
    let (told, may) = watch::channel(WINDOW);
    let (pass_on, messages) = mpsc::unbounded_channel();
    let room = Arc::new(Semaphore::new(WAITING as usize));
    let rooms = room.clone();
    // A task of its own: this side goes on sending also while nobody takes what came.
    tokio::spawn(async move {
        while let Some(message) = receiver.next().await {
            if let Message::Text(text) = &message
                && let Ok(Flowing::More { to }) = serde_json::from_str(text)
            {
                // It never takes back what it allowed, and allows no more than numbers of JSON hold.
                let to = to.min(LARGEST);
                told.send_if_modified(|may| std::mem::replace(may, to.max(*may)) < to);
                continue;
            }
            // Closed when nobody wants it any more.
            let Ok(taken) = rooms.acquire_many(takes(&message)).await else { break };
            taken.forget();
            if pass_on.send(message).is_err() {
                break;
            }
        }
    });
    let outflow = Outflow { sender: sender.clone(), sent: 0, may };
    (outflow, Inflow { messages, room, sender, allowed: WINDOW, came: 0, taken: 0 })
}

fn takes(message: &Message) -> u32 {
    u32::try_from(message.len() + OVERHEAD).unwrap_or(WAITING).min(WAITING)
}

impl Outflow {
    /// Sends data, at most [`PIECE`] bytes; waits until the other side has room.
    pub(crate) async fn data(&mut self, piece: Vec<u8>) -> Result<(), Broken> {
        let to = self.sent + piece.len() as u64;
        self.may.wait_for(|may| *may >= to).await.map_err(|_| NotSent::Closed)?;
        self.sent = to;
        Ok(self.sender.send(Message::Binary(piece)).await?)
    }

    /// How much of what was sent the other side took, as far as it said: within a quarter of [`WINDOW`].
    pub(crate) fn taken(&self) -> u64 {
        *self.may.borrow() - WINDOW
    }

    /// Says something to the tool at the other end.
    pub(crate) async fn control(&self, control: &impl Serialize) -> Result<(), Broken> {
        say(&self.sender, control).await
    }
}

impl Inflow {
    /// The next piece; `None` at the end of the channel.
    pub(crate) async fn next<C: DeserializeOwned>(&mut self) -> Result<Option<Piece<C>>, Broken> {
        let message = self.messages.recv().await;
        if let Some(message) = &message {
            self.room.add_permits(takes(message) as usize);
        }
        match message {
            None => Ok(None),
            Some(Message::Binary(data)) => {
                self.came += data.len() as u64;
                if self.came > self.allowed { Err(Broken::TooMuch) } else { Ok(Some(Piece::Data(data))) }
            }
            Some(Message::Text(text)) => {
                let control = serde_json::from_str(&text);
                control
                    .map(|control| Some(Piece::Control(control)))
                    .map_err(|error| Broken::NotUnderstood(error.to_string()))
            }
        }
    }

    /// So many bytes of data are out of memory: as many more may come.
    pub(crate) async fn taken(&mut self, bytes: usize) -> Result<(), Broken> {
        self.taken += bytes as u64;
        let to = self.taken + WINDOW;
        // Not for every piece: a quarter of the window is still far from its end.
        if to - self.allowed < WINDOW / 4 {
            return Ok(());
        }
        self.allowed = to;
        say(&self.sender, &Flowing::More { to }).await
    }
}

impl Drop for Inflow {
    fn drop(&mut self) {
        self.room.close();
    }
}

async fn say(sender: &Sender, control: &impl Serialize) -> Result<(), Broken> {
    let text = serde_json::to_string(control).map_err(|error| Broken::NotUnderstood(error.to_string()))?;
    Ok(sender.send(Message::Text(text)).await?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};
    use tokio::time::timeout;

    use super::*;

    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn no_more_is_sent_than_was_asked_for() {
        let (one, other) = Channel::pair("test");
        let ((mut out, mut told), (_, mut into)) = (flow(one), flow(other));
        let count = WINDOW as usize / PIECE;
        for _ in 0..count {
            out.data(vec![7; PIECE]).await.unwrap();
        }
        let waiting = timeout(Duration::from_secs(60), out.data(vec![7]));
        assert!(waiting.await.is_err(), "the window is full");

        for _ in 0..count / 4 {
            assert_eq!(into.next::<Value>().await.unwrap(), Some(Piece::Data(vec![7; PIECE])));
            into.taken(PIECE).await.unwrap();
        }
        for _ in 0..count / 4 {
            out.data(vec![8; PIECE]).await.unwrap();
        }
        out.control(&json!({"t": "end"})).await.unwrap();
        let waiting = timeout(Duration::from_secs(60), out.data(vec![8]));
        assert!(waiting.await.is_err(), "the window is full again");

        let mut controls = Vec::new();
        drop(out);
        for _ in 0..count + 1 {
            match into.next::<Value>().await.unwrap() {
                Some(Piece::Control(control)) => controls.push(control),
                Some(Piece::Data(data)) => assert_eq!(data.len(), PIECE),
                None => panic!("the channel ended"),
            }
        }
        assert_eq!(controls, [json!({"t": "end"})]);
        drop(into);
        assert_eq!(told.next::<Value>().await.unwrap(), None);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_other_side_may_not_send_more() {
        let (one, other) = Channel::pair("test");
        let (_, mut into) = flow(other);
        let count = WINDOW as usize / PIECE;
        for _ in 0..count {
            one.send(Message::Binary(vec![0; PIECE])).await.unwrap();
        }
        one.send(Message::Binary(vec![0])).await.unwrap();
        for _ in 0..count {
            assert!(matches!(into.next::<Value>().await, Ok(Some(Piece::Data(_)))));
        }
        let refused = into.next::<Value>().await.unwrap_err();
        assert_eq!(refused.to_string(), "the other side sent more than it was asked for");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_is_no_json_is_refused() {
        let (one, other) = Channel::pair("test");
        let (_, mut into) = flow(other);
        one.send(Message::Text("end".to_owned())).await.unwrap();
        let refused = into.next::<Value>().await.unwrap_err();
        let text = "the other side sent what cannot be understood: expected value at line 1 column 1";
        assert_eq!(refused.to_string(), text);
    }
}
