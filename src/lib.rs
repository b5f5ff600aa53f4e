#![doc = include_str!("../README.md")]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "client")]
pub mod client;
pub mod clock;
mod defences;
#[cfg(feature = "server")]
mod http;
#[cfg(feature = "server")]
mod ice;
#[cfg(feature = "server")]
pub mod metrics;
pub mod protocol;
#[cfg(feature = "server")]
pub mod relay;
pub mod seal;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
mod shell;
#[cfg(feature = "server")]
pub mod store;
#[cfg(feature = "cli")]
mod tools;
#[cfg(feature = "webrtc")]
pub mod webrtc;
