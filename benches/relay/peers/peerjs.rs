//! PeerJS's server (https://github.com/peers/peerjs-server), in memory and live: the receiver is connected when the message
//! comes, or it is gone after some seconds. Its connection is its mailbox.

use std::{
    net::SocketAddr,
    ops::Range,
    path::Path,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{About, Letter, Peer, fetch, wire::Socket};
use crate::{Outcome, lab::Lab, scripts::expect};

const NAME: &str = "peerjs";
const VERSION: &str = "1.0.2";
const NODE: &str = "Node.js 20 or later (Debian: apt-get install nodejs npm)";

pub(crate) struct PeerJs {
    server: SocketAddr,
    letter: Letter,
    /// How many there were. An identifier that was connected just now may still be taken.
    senders: AtomicUsize,
}

pub(crate) struct Lane {
    n: usize,
    sender: Socket,
    receiver: Option<Socket>,
}

impl Peer for PeerJs {
    const ABOUT: About =
        About { name: "PeerJS server", stores: None, proves: None, sealed: "no", a_second: 15_000.0 };
    type Lane = Lane;
    type Delivery = u64;

    fn fetch() -> Outcome<String> {
        let mut install = Command::new(fetch::tool("npm", NODE)?);
        install.args(["install", "--prefix", ".", "--no-audit", "--no-fund", &format!("peer@{VERSION}")]);
        fetch::once(NAME, VERSION, &mut [install])?;
        Ok(VERSION.to_owned())
    }

    fn command(_: &Lab, address: SocketAddr, _: &Path) -> Outcome<Command> {
        let mut command = Command::new(fetch::tool("node", NODE)?);
        command.arg(fetch::folder(NAME, VERSION).join("node_modules/peer/dist/bin/peerjs.js"));
        command.args(["--host", &address.ip().to_string(), "--port", &address.port().to_string()]);
        command.env_clear();
        Ok(command)
    }

    fn meet(server: SocketAddr) -> Outcome<Self> {
        Ok(Self {
            server,
            letter: Letter::of(|message| STANDARD.encode(message).into_bytes()),
            senders: AtomicUsize::new(0),
        })
    }

    fn deliveries(&self, _: &Lab, numbers: Range<u64>) -> Outcome<Vec<u64>> {
        Ok(numbers.collect())
    }

    fn lane(&self, n: usize) -> Outcome<Lane> {
        let sender = self.connect(n, &format!("sender-{}", self.senders.fetch_add(1, Ordering::Relaxed)))?;
        Ok(Lane { n, sender, receiver: None })
    }

    fn send(&self, lane: &mut Lane, number: &u64) -> Outcome<()> {
        lane.receiver = Some(self.connect(lane.n, &format!("receiver-{number}"))?);
        let message = String::from_utf8(self.letter.number(*number))?;
        let offer =
            format!(r#"{{"type":"OFFER","dst":"receiver-{number}","payload":{{"data":"{message}"}}}}"#);
        lane.sender.say([&offer])
    }

    fn receive(&self, lane: &mut Lane, number: &u64) -> Outcome<()> {
        let mut receiver = lane.receiver.take().ok_or("nobody receives")?;
        let message = String::from_utf8(self.letter.number(*number))?;
        expect(receiver.hear()?.as_bytes(), &format!(r#""data":"{message}""#))
    }
}

impl PeerJs {
    fn connect(&self, n: usize, id: &str) -> Outcome<Socket> {
        let path = format!("/peerjs?key=peerjs&id={id}&token=token&version=1.5.0");
        let mut socket = Socket::open(n, self.server, &path)?;
        expect(socket.hear()?.as_bytes(), r#"{"type":"OPEN"}"#)?;
        Ok(socket)
    }
}
