//! Connections to peers: HTTP, WebSocket, and lines. Each waits for its replies, in a thread of its own.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use crate::{
    Outcome,
    load::{PATIENCE, body, connect},
};

/// A connection, and what came that nobody took yet.
pub(crate) struct Wire {
    stream: TcpStream,
    held: Vec<u8>,
}

impl Wire {
    /// Connection n, from its own address.
    pub(crate) fn connect(n: usize, server: SocketAddr) -> Outcome<Self> {
        let stream = connect(n, server)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, held: Vec::new() })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Outcome<()> {
        Ok(self.stream.write_all(bytes)?)
    }

    fn fill(&mut self) -> Outcome<()> {
        let mut bytes = [0; 16 * 1024];
        match self.stream.read(&mut bytes)? {
            0 => Err("the server closed a connection".into()),
            count => {
                self.held.extend_from_slice(&bytes[..count]);
                Ok(())
            }
        }
    }

    /// The next so many bytes.
    pub(crate) fn take(&mut self, count: usize) -> Outcome<Vec<u8>> {
        while self.held.len() < count {
            self.fill()?;
        }
        Ok(self.held.drain(..count).collect())
    }

    /// What comes up to this end, and the end.
    pub(crate) fn until(&mut self, end: &[u8]) -> Outcome<Vec<u8>> {
        loop {
            if let Some(start) = self.held.windows(end.len()).position(|part| part == end) {
                return self.take(start + end.len());
            }
            self.fill()?;
        }
    }

    /// The body of the reply to this HTTP request, whose status must be 200.
    pub(crate) fn ask(&mut self, request: &[u8]) -> Outcome<Vec<u8>> {
        self.write(request)?;
        loop {
            if let Some(body) = body(&self.held)?.filter(|body| body.end <= self.held.len()) {
                let reply = self.take(body.end)?;
                return Ok(reply[body].to_vec());
            }
            self.fill()?;
        }
    }
}

/// A WebSocket (RFC 6455), for texts in one frame each.
pub(crate) struct Socket(Wire);

const TEXT: u8 = 0x81;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

impl Socket {
    /// Connection n, opened at this path.
    pub(crate) fn open(n: usize, server: SocketAddr, path: &str) -> Outcome<Self> {
        let mut wire = Wire::connect(n, server)?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {server}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        wire.write(request.as_bytes())?;
        let head = wire.until(b"\r\n\r\n")?;
        if !head.starts_with(b"HTTP/1.1 101 ") {
            return Err(format!("no WebSocket: {}", String::from_utf8_lossy(&head)).into());
        }
        Ok(Self(wire))
    }

    /// Says these texts, all at once.
    pub(crate) fn say<const N: usize>(&mut self, texts: [&str; N]) -> Outcome<()> {
        let frames: Vec<u8> = texts.iter().flat_map(|text| frame(TEXT, text.as_bytes())).collect();
        self.0.write(&frames)
    }

    /// The next text.
    pub(crate) fn hear(&mut self) -> Outcome<String> {
        loop {
            let head = self.0.take(2)?;
            let length = match head[1] {
                126 => self.0.take(2)?,
                127 => self.0.take(8)?,
                short => vec![short],
            };
            let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            let content = self.0.take(length)?;
            match head[0] {
                TEXT => return Ok(String::from_utf8(content)?),
                PING => self.0.write(&frame(PONG, &content))?,
                other => return Err(format!("the server sent a frame of kind {other:#x}").into()),
            }
        }
    }
}

/// A client's frame. Its mask is all zeros: it is there against proxies that read along, of which there are none.
fn frame(kind: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut frame = vec![kind];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..126), _) => frame.push(0x80 | short),
        (_, Ok(middle)) => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&middle.to_be_bytes());
        }
        _ => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(content);
    frame
}
