//! nostr-rs-relay (https://git.sr.ht/~gheartsfield/nostr-rs-relay): an event of kind 4 for a key that is new each time. As it
//! is shipped anybody may fetch it; with NIP-42 only who signs a challenge with that key, once for each connection.

use std::{fs, net::SocketAddr, ops::Range, path::Path, process::Command};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use connectoid::clock::{Clock as _, SystemClock};
use k256::schnorr::{Signature, SigningKey, signature::hazmat::PrehashSigner as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{About, Letter, Peer, fetch, wire::Socket};
use crate::{Outcome, lab::Lab, scripts::expect};

const NAME: &str = "nostr-rs-relay";
const VERSION: &str = "0.8.12";

/// The URL that it is told is its own.
const RELAY: &str = "wss://relay.example/";

/// With NIP-42, or without.
pub(crate) struct Nostr<const PROVEN: bool> {
    server: SocketAddr,
    letter: Letter,
}

pub(crate) struct Lane {
    n: usize,
    socket: Socket,
}

pub(crate) struct Delivery {
    number: u64,
    receiver: SigningKey,
    /// Its identifier.
    id: String,
    event: String,
}

impl<const PROVEN: bool> Peer for Nostr<PROVEN> {
    const ABOUT: About = About {
        name: if PROVEN { "nostr-rs-relay with NIP-42" } else { NAME },
        stores: Some("SQLite"),
        proves: if PROVEN { Some("signs a challenge") } else { None },
        sealed: "by its clients",
        a_second: 4_000.0,
    };
    type Lane = Lane;
    type Delivery = Delivery;

    fn fetch() -> Outcome<String> {
        // Its build needs it.
        fetch::tool("protoc", "protoc (Debian: apt-get install protobuf-compiler)")?;
        // Not what its authors locked: its time 0.3.25 does not compile since Rust 1.80.
        fetch::cargo(NAME, VERSION, false)?;
        Ok(VERSION.to_owned())
    }

    fn command(_: &Lab, address: SocketAddr, folder: &Path) -> Outcome<Command> {
        let config = folder.join("config.toml");
        let settings = format!(
            "[info]\nrelay_url = \"{RELAY}\"\n[network]\naddress = \"{}\"\nport = {}\n\
             [authorization]\nnip42_auth = {PROVEN}\nnip42_dms = {PROVEN}\n",
            address.ip(),
            address.port()
        );
        fs::write(&config, settings)?;
        let mut command = Command::new(fetch::program(NAME, VERSION));
        command.arg("--config").arg(config).arg("--db").arg(folder).env_clear();
        Ok(command)
    }

    fn meet(server: SocketAddr) -> Outcome<Self> {
        Ok(Self { server, letter: Letter::of(|message| STANDARD.encode(message).into_bytes()) })
    }

    fn deliveries(&self, _: &Lab, numbers: Range<u64>) -> Outcome<Vec<Delivery>> {
        let sender = SigningKey::from_bytes(&[7; 32].into())?;
        let delivery = |number| {
            let receiver = receiver(number)?;
            let (id, event) = event(&sender, 4, json!([["p", public(&receiver)]]), &self.content(number)?)?;
            Ok(Delivery { number, receiver, id, event: json!(["EVENT", event]).to_string() })
        };
        numbers.map(delivery).collect()
    }

    fn lane(&self, n: usize) -> Outcome<Lane> {
        Ok(Lane { n, socket: Socket::open(n, self.server, "/")? })
    }

    fn send(&self, lane: &mut Lane, delivery: &Delivery) -> Outcome<()> {
        lane.socket.say([&delivery.event])?;
        wanted(&mut lane.socket, &json!(["OK", delivery.id, true, ""]).to_string(), "")?;
        Ok(())
    }

    fn receive(&self, lane: &mut Lane, delivery: &Delivery) -> Outcome<()> {
        let name = delivery.number.to_string();
        let request = json!(["REQ", name, { "kinds": [4], "#p": [public(&delivery.receiver)] }]).to_string();
        let mut own;
        let socket = if PROVEN {
            own = Socket::open(lane.n, self.server, "/")?;
            let challenge: Value = serde_json::from_str(&wanted(&mut own, r#"["AUTH","#, &name)?)?;
            let tags = json!([["relay", RELAY], ["challenge", challenge[1]]]);
            let (_, proof) = event(&delivery.receiver, 22_242, tags, "")?;
            own.say([&json!(["AUTH", proof]).to_string(), &request])?;
            &mut own
        } else {
            lane.socket.say([&request])?;
            &mut lane.socket
        };
        let found = wanted(socket, &format!(r#"["EVENT","{name}","#), &name)?;
        expect(found.as_bytes(), &self.content(delivery.number)?)?;
        socket.say([&json!(["CLOSE", name]).to_string()])
    }
}

impl<const PROVEN: bool> Nostr<PROVEN> {
    fn content(&self, number: u64) -> Outcome<String> {
        Ok(String::from_utf8(self.letter.number(number))?)
    }
}

/// Hears until something begins like this. Before it may come a challenge, and what another
/// subscription than this still brings: an earlier one.
fn wanted(socket: &mut Socket, start: &str, subscription: &str) -> Outcome<String> {
    loop {
        let said = socket.hear()?;
        if said.starts_with(start) {
            return Ok(said);
        }
        let earlier = [r#"["EVENT","#, r#"["EOSE","#].iter().any(|kind| {
            said.strip_prefix(kind).is_some_and(|rest| !rest.starts_with(&format!("\"{subscription}\"")))
        });
        if !earlier && !said.starts_with(r#"["AUTH","#) {
            return Err(format!("expected {start}, the relay says {said}").into());
        }
    }
}

/// The receiver of this delivery: a key that protects nothing.
fn receiver(number: u64) -> Outcome<SigningKey> {
    let mut bytes = [1; 32];
    bytes[24..].copy_from_slice(&number.to_be_bytes());
    Ok(SigningKey::from_bytes(&bytes.into())?)
}

fn public(key: &SigningKey) -> String {
    hex(&key.verifying_key().to_bytes())
}

/// A signed event (NIP-01), and its identifier.
fn event(key: &SigningKey, kind: u32, tags: Value, content: &str) -> Outcome<(String, Value)> {
    let (public, created) = (public(key), SystemClock.now() / 1_000_000);
    let digest = Sha256::digest(json!([0, public, created, kind, tags, content]).to_string());
    let signature: Signature = key.sign_prehash(&digest)?;
    let (id, signature) = (hex(&digest), hex(&signature.to_bytes()));
    let event = json!({
        "id": id, "pubkey": public, "created_at": created, "kind": kind, "tags": tags, "content": content, "sig": signature
    });
    Ok((id, event))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
