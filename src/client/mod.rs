//! What an app needs to talk through a relay: its keys on disk, and an HTTP transport.

pub mod keystore;
pub mod transport;
