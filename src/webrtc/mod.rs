//! WebRTC for the client library: peer connections on str0m and tokio, and channels for app data.

mod addresses;
mod channel;
mod connection;
mod connections;
mod failure;
mod node;
mod options;
mod sockets;
mod stun;
mod turn;

pub use channel::{Channel, LARGEST, Message, NotSent, Receiver, Sender};
pub use connection::{Path, Timing};
pub use connections::{LONGEST_LABEL, NotOpened, Opener};
pub use failure::NoPath;
pub use node::{Happening, Node};
pub use options::{Options, TurnServer};
