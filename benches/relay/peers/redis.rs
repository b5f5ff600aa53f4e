//! Redis (https://redis.io) that syncs its append-only file before it answers: a key for each message. What a server that
//! does nothing else can do.

use std::{net::SocketAddr, ops::Range, path::Path, process::Command};

use super::{About, Letter, Peer, fetch::tool, wire::Wire};
use crate::{Outcome, lab::Lab, requests::MESSAGE_BYTES};

/// A month: a message is not kept for ever.
const SECONDS: u32 = 30 * 24 * 60 * 60;

pub(crate) struct Redis {
    server: SocketAddr,
    letter: Letter,
}

impl Peer for Redis {
    const ABOUT: About = About {
        name: "Redis",
        stores: Some("append-only file"),
        proves: None,
        sealed: "no",
        a_second: 60_000.0,
    };
    type Lane = Wire;
    type Delivery = u64;

    fn fetch() -> Outcome<String> {
        let said = Command::new(program()?).arg("--version").output()?.stdout;
        let said = String::from_utf8(said)?;
        let version = said.split_whitespace().find_map(|word| word.strip_prefix("v="));
        Ok(version.ok_or("redis-server --version says no version")?.to_owned())
    }

    fn command(_: &Lab, address: SocketAddr, folder: &Path) -> Outcome<Command> {
        let mut command = Command::new(program()?);
        command.args(["--bind", &address.ip().to_string(), "--port", &address.port().to_string()]);
        command.args(["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--dir"]).arg(folder);
        // The client comes from other addresses of this machine than 127.0.0.1.
        command.args(["--protected-mode", "no"]);
        // Or a process beside it would write the whole file anew in the middle of a round.
        command.args(["--auto-aof-rewrite-percentage", "0"]).env_clear();
        Ok(command)
    }

    fn meet(server: SocketAddr) -> Outcome<Self> {
        let mut wire = Wire::connect(0, server)?;
        // It listens before it has read its file.
        loop {
            wire.write(b"PING\r\n")?;
            match wire.until(b"\r\n")?.as_slice() {
                b"+PONG\r\n" => break,
                other if other.starts_with(b"-LOADING") => {}
                other => return Err(format!("Redis says {}", String::from_utf8_lossy(other)).into()),
            }
        }
        Ok(Self { server, letter: Letter::of(<[u8]>::to_vec) })
    }

    fn deliveries(&self, _: &Lab, numbers: Range<u64>) -> Outcome<Vec<u64>> {
        Ok(numbers.collect())
    }

    fn lane(&self, n: usize) -> Outcome<Wire> {
        Wire::connect(n, self.server)
    }

    fn send(&self, wire: &mut Wire, number: &u64) -> Outcome<()> {
        let (key, seconds) = (key(*number), SECONDS.to_string());
        wire.write(&command(&[
            b"SET",
            &key,
            &self.letter.number(*number),
            b"EX",
            seconds.as_bytes(),
            b"NX",
        ]))?;
        same(&wire.until(b"\r\n")?, b"+OK\r\n")
    }

    fn receive(&self, wire: &mut Wire, number: &u64) -> Outcome<()> {
        wire.write(&command(&[b"GET", &key(*number)]))?;
        same(&wire.until(b"\r\n")?, format!("${MESSAGE_BYTES}\r\n").as_bytes())?;
        let message = wire.take(MESSAGE_BYTES + 2)?;
        same(&message[..MESSAGE_BYTES], &self.letter.number(*number))
    }
}

fn program() -> Outcome<std::path::PathBuf> {
    tool("redis-server", "redis-server (Debian: apt-get install redis-server)")
}

fn key(number: u64) -> Vec<u8> {
    format!("mailbox:{number}").into_bytes()
}

/// An array of bulk strings.
fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut command = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        command.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        command.extend_from_slice(word);
        command.extend_from_slice(b"\r\n");
    }
    command
}

fn same(reply: &[u8], expected: &[u8]) -> Outcome<()> {
    if reply == expected {
        return Ok(());
    }
    Err(format!("Redis says {}", String::from_utf8_lossy(reply)).into())
}
