//! The integration tests: the real program and the real databases, seen as a stranger sees them.
//!
//! `scripts/test` brings what they need (PostgreSQL, Python with pyhpke). A test that lacks it fails and says so.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    missing_docs,
    unreachable_pub,
    reason = "a test says what it needs by failing, and waits in real time for real processes"
)]

mod admin;
mod api_keys;
mod backup;
mod cli;
mod client;
mod config;
mod contacts;
mod crash;
mod crash_client;
mod crowd;
mod curl;
mod declines;
mod deliver;
mod demo;
mod doctor;
mod documents;
mod evil;
mod first_screen;

mod gateway;
mod harness;
mod hello;
mod http;
mod instances;
mod keystore;
mod lab;
mod limits;
mod metrics;
mod notes;
mod openapi;
mod pipeline;
mod process;
mod profiles;
mod proxy;
mod settings;
mod shell;
mod slow;
mod store;
mod systemd;
mod transport;
mod two_terminals;
mod upgrade;
mod vectors;
mod waiting;
mod webrtc;
mod wire;
