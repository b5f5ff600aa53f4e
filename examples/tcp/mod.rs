//! A stand-in for WebRTC, to try and to test with: plain TCP on this machine, one frame a line.
//!
//! **It encrypts nothing**, and its certificate is random bytes that anybody may repeat. An app brings a WebRTC stack.

use std::{collections::HashMap, future::Future, io};

use connectoid::{client::sessions::SessionId, protocol::Fingerprint};
use rand::{TryRng as _, rngs::SysRng};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

/// The peer connections of a program.
pub(crate) struct Tcp {
    /// Those that have no way to the other side yet: only a certificate.
    made: HashMap<SessionId, String>,
    /// Where to put what is to be sent.
    lines: HashMap<SessionId, UnboundedSender<String>>,
    hearing: UnboundedSender<Heard>,
    heard: UnboundedReceiver<Heard>,
}

/// What happened to a peer connection.
#[derive(Debug)]
pub(crate) enum Heard {
    /// Its channel is open, and this is the fingerprint of the other side's certificate.
    Open(SessionId, Fingerprint),
    /// A frame came.
    Frame(SessionId, String),
    /// The other side closed it, or it could not be made.
    Closed(SessionId),
}

impl Tcp {
    pub(crate) fn new() -> Self {
        let (hearing, heard) = unbounded_channel();
        Self { made: HashMap::new(), lines: HashMap::new(), hearing, heard }
    }

    /// A new peer connection: its SDP for the other side.
    pub(crate) async fn offer(&mut self, session: SessionId) -> io::Result<String> {
        let certificate = certificate()?;
        let sdp = sdp(&certificate, "");
        self.made.insert(session, certificate);
        Ok(sdp)
    }

    /// A peer connection for the other side's offer: the SDP of the answer.
    pub(crate) async fn answer(&mut self, session: SessionId, _offer: &str) -> io::Result<String> {
        let certificate = certificate()?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let sdp = sdp(&certificate, &format!("a=x-tcp:{}\r\n", listener.local_addr()?));
        self.run(session, certificate, async move { Ok(listener.accept().await?.0) });
        Ok(sdp)
    }

    /// The other side's answer to the own offer.
    pub(crate) async fn accept(&mut self, session: SessionId, answer: &str) {
        let address = answer.lines().find_map(|line| line.strip_prefix("a=x-tcp:")).map(str::to_owned);
        let Some(certificate) = self.made.remove(&session) else { return };
        self.run(session, certificate, async move {
            TcpStream::connect(address.ok_or(io::ErrorKind::AddrNotAvailable)?).await
        });
    }

    /// Sends a frame, if the channel is open.
    pub(crate) fn send(&mut self, session: SessionId, text: &str) {
        if let Some(lines) = self.lines.get(&session) {
            // One that is closed says so by `next`.
            drop(lines.send(text.to_owned()));
        }
    }

    /// Ends a peer connection, after what was sent.
    pub(crate) fn close(&mut self, session: SessionId) {
        self.made.remove(&session);
        self.lines.remove(&session);
    }

    /// Waits for what happens. May be dropped at any time: nothing is lost.
    pub(crate) async fn next(&mut self) -> Heard {
        match self.heard.recv().await {
            Some(heard) => heard,
            None => std::future::pending().await, // `hearing` is never dropped.
        }
    }

    fn run<C>(&mut self, session: SessionId, certificate: String, connecting: C)
    where
        C: Future<Output = io::Result<TcpStream>> + Send + 'static,
    {
        let (lines, to_send) = unbounded_channel();
        self.lines.insert(session, lines);
        let hearing = self.hearing.clone();
        tokio::spawn(async move {
            let ended = connection(session, &certificate, connecting, to_send, &hearing).await;
            if ended != Ok(Ended::Here) {
                drop(hearing.send(Heard::Closed(session)));
            }
        });
    }
}

/// Who ended a connection.
#[derive(Debug, PartialEq)]
enum Ended {
    Here,
    There,
}

/// Each side first sends its certificate, then frames.
async fn connection(
    session: SessionId,
    certificate: &str,
    connecting: impl Future<Output = io::Result<TcpStream>>,
    mut to_send: UnboundedReceiver<String>,
    hearing: &UnboundedSender<Heard>,
) -> Result<Ended, io::ErrorKind> {
    let mut stream = tokio::select! {
        stream = connecting => stream.map_err(|error| error.kind())?,
        _ = to_send.recv() => return Ok(Ended::Here),
    };
    let (reader, mut writer) = stream.split();
    let mut lines = BufReader::new(reader).lines();
    let mut line = certificate.to_owned();
    let mut is_open = false;
    loop {
        line.push('\n');
        writer.write_all(line.as_bytes()).await.map_err(|error| error.kind())?;
        line = loop {
            tokio::select! {
                came = lines.next_line() => {
                    let Some(came) = came.map_err(|error| error.kind())? else { return Ok(Ended::There) };
                    drop(hearing.send(match is_open {
                        true => Heard::Frame(session, came),
                        false => Heard::Open(session, fingerprint(&came)),
                    }));
                    is_open = true;
                }
                text = to_send.recv() => match text {
                    Some(text) => break text,
                    None => return Ok(Ended::Here),
                },
            }
        };
    }
}

fn certificate() -> io::Result<String> {
    let mut bytes = [0; 32];
    SysRng.try_fill_bytes(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn fingerprint(certificate: &str) -> Fingerprint {
    Fingerprint(Sha256::digest(certificate).into())
}

fn sdp(certificate: &str, address: &str) -> String {
    let hex: Vec<String> = fingerprint(certificate).0.iter().map(|byte| format!("{byte:02X}")).collect();
    format!("v=0\r\na=fingerprint:sha-256 {}\r\n{address}", hex.join(":"))
}
