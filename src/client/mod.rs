//! What an app needs to talk through a relay: its keys on disk, the exchange with a relay, and an HTTP transport.

pub mod exchange;
pub mod keystore;
pub mod transport;
