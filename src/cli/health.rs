//! `connectoid health`: whether a relay answers, for what watches it where there is no shell and no curl.

use std::{
    net::{SocketAddr, ToSocketAddrs as _},
    time::Duration,
};

use clap::Args;
use hyper::Request;

use super::{
    Failure,
    database::wait_for,
    serve::{listen_address, reachable},
    variable,
};
use crate::{client::transport::Transport, protocol::RelayUrl};

/// How long the reply may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Ask a relay whether it runs, for the health check of a container
///
/// Asks GET /health, which touches no database. Exit code 0: it answers. 1: it does not, and standard error says why.
#[derive(Args)]
pub(super) struct Health {
    /// The relay, by https or on this machine [default: the one on this machine, where CONNECTOID_LISTEN or PORT tells it to
    /// listen, else http://127.0.0.1:8080]
    #[arg(value_name = "URL")]
    relay: Option<RelayUrl>,
}

impl Health {
    pub(super) fn run(self) -> Result<(), Failure> {
        let relay = match self.relay {
            Some(relay) => relay.as_str().to_owned(),
            None => format!("http://{}", here()?),
        };
        let url = format!("{}/health", relay.trim_end_matches('/'));
        wait_for(async {
            let request = Request::get(&url).body(Vec::new()).map_err(Failure::new)?;
            let reply = Transport::new().run(request, PATIENCE).await;
            let status = reply.map_err(|error| Failure::new(format!("{url} {error}")))?.status();
            if !status.is_success() {
                return Err(Failure::new(format!("{url} answers with status {}", status.as_u16())));
            }
            Ok(())
        })
    }
}

/// Where the relay of this environment listens.
fn here() -> Result<SocketAddr, Failure> {
    let listen = listen_address(variable("CONNECTOID_LISTEN"));
    let address = listen.to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
    address.map(reachable).ok_or_else(|| Failure::new(format!("CONNECTOID_LISTEN: {listen} is no address")))
}
