//! magic-wormhole's mailbox server (https://github.com/magic-wormhole/magic-wormhole-mailbox-server): a connection opens one
//! mailbox, so both sides connect for each. The name of the mailbox is all that it takes, so none is allocated first.

use std::{net::SocketAddr, ops::Range, path::Path, process::Command};

use super::{About, Letter, Peer, fetch, wire::Socket};
use crate::{Outcome, lab::Lab};

const NAME: &str = "magic-wormhole-mailbox-server";
const VERSION: &str = "0.8.0";

/// It and what it needs, as `pip freeze` says it.
const REQUIREMENTS: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/benches/relay/peers/wormhole-requirements.txt");

pub(crate) struct Wormhole {
    server: SocketAddr,
    letter: Letter,
}

impl Peer for Wormhole {
    const ABOUT: About = About {
        name: "magic-wormhole's mailbox server",
        stores: Some("SQLite"),
        proves: None,
        sealed: "by its clients",
        a_second: 3_000.0,
    };
    /// The number of its connections.
    type Lane = usize;
    type Delivery = u64;

    fn fetch() -> Outcome<String> {
        let mut make = Command::new(fetch::tool(
            "python3",
            "Python 3.11 or later (Debian: apt-get install python3-venv)",
        )?);
        make.args(["-m", "venv", "."]);
        let mut install = Command::new("bin/pip");
        install.args(["install", "--disable-pip-version-check", "--requirement", REQUIREMENTS]);
        fetch::once(NAME, VERSION, &mut [make, install])?;
        Ok(VERSION.to_owned())
    }

    fn command(_: &Lab, address: SocketAddr, folder: &Path) -> Outcome<Command> {
        let bin = fetch::folder(NAME, VERSION).join("bin");
        let mut command = Command::new(bin.join("python"));
        command.arg(bin.join("twist")).args(["wormhole-mailbox", "--port"]);
        command.arg(format!("tcp:{}:interface={}", address.port(), address.ip()));
        command.arg("--channel-db").arg(folder.join("relay.sqlite")).env_clear();
        Ok(command)
    }

    fn meet(server: SocketAddr) -> Outcome<Self> {
        // Its clients send hexadecimal digits.
        let digits =
            |message: &[u8]| message.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect();
        Ok(Self { server, letter: Letter::of(digits) })
    }

    fn deliveries(&self, _: &Lab, numbers: Range<u64>) -> Outcome<Vec<u64>> {
        Ok(numbers.collect())
    }

    fn lane(&self, n: usize) -> Outcome<usize> {
        Ok(n)
    }

    fn send(&self, n: &mut usize, number: &u64) -> Outcome<()> {
        let body = self.body(*number)?;
        let add = format!(r#"{{"type":"add","phase":"0",{body}}}"#);
        let mut socket = Socket::open(*n, self.server, "/v1")?;
        socket.say([&bind("sender"), &open(*number), &add])?;
        // Every request is acknowledged when it is read; what was stored comes back.
        self.message(&mut socket, &body)
    }

    fn receive(&self, n: &mut usize, number: &u64) -> Outcome<()> {
        let mut socket = Socket::open(*n, self.server, "/v1")?;
        socket.say([&bind("receiver"), &open(*number)])?;
        self.message(&mut socket, &self.body(*number)?)
    }
}

impl Wormhole {
    fn body(&self, number: u64) -> Outcome<String> {
        Ok(format!(r#""body": "{}""#, String::from_utf8(self.letter.number(number))?))
    }

    /// Hears until the message comes.
    fn message(&self, socket: &mut Socket, body: &str) -> Outcome<()> {
        loop {
            let said = socket.hear()?;
            if said.contains(r#""type": "message""#) && said.contains(body) {
                return Ok(());
            }
            if ![r#""type": "welcome""#, r#""type": "ack""#].iter().any(|kind| said.contains(kind)) {
                return Err(format!("the mailbox server says {said}").into());
            }
        }
    }
}

fn bind(side: &str) -> String {
    format!(r#"{{"type":"bind","appid":"connectoid.example/bench","side":"{side}"}}"#)
}

fn open(number: u64) -> String {
    format!(r#"{{"type":"open","mailbox":"mailbox-{number}"}}"#)
}
