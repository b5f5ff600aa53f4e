//! What an app needs to talk through a relay: sessions that a dishonest relay cannot break, its keys on disk, the exchange with
//! a relay, and an HTTP transport.

pub mod contact;
mod driver;
pub mod exchange;
pub mod keystore;
pub(crate) mod reading;
pub mod sessions;
pub mod transport;

pub use driver::{Client, ClientError, Disk, KeysOnDisk};
pub use keystore::Keystore;
pub use sessions::{Event, ShareOptions, Signal};
