//! The client that measures: one thread, some connections kept alive, one request at a time on each.
//!
//! Every connection comes from an address of its own in 127.0.0.0/8, in a network of its own, so that rates by source and
//! by network are counted and refuse nothing. Every reply is looked at: one that is not a success ends the run.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream as BlockingStream},
    process,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, net::TcpStream};
use socket2::{Domain, Socket, Type};

use crate::{Outcome, machine, server::Server};

/// The largest reply that any row gets: a message of 4096 bytes in base64url, its head and its JSON are below 6 kB.
const LARGEST_REPLY: usize = 16 * 1024;

/// How long a reply may take before the run has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What a run asks, and what it makes of the replies.
pub(crate) trait Script {
    /// Writes the next request of this connection into `out`; false if there is none.
    ///
    /// When `turn.ending`, only what was begun before should go on.
    fn request(&mut self, turn: Turn, out: &mut Vec<u8>) -> bool;

    /// Looks at the body of the reply to it, whose status was 200.
    ///
    /// # Errors
    /// If it is not what was to come.
    fn reply(&mut self, turn: Turn, body: &[u8]) -> Outcome<()>;
}

/// When something happens, and where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    pub(crate) connection: usize,
    /// Since the start of the run.
    pub(crate) now: Duration,
    /// Whether the time of the run is over.
    pub(crate) ending: bool,
}

/// When the next request is made.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// As soon as a connection has the reply to the one before: as many as the server can do.
    Closed,
    /// So many a second, whether the server keeps up or not. A reply's latency counts from when its request was due, also
    /// if no connection was free for it then (or a slow server would hide how slow it is).
    Open(f64),
}

/// What a run was like.
#[derive(Debug, Clone)]
pub(crate) struct Ran {
    /// From the start to the last reply.
    pub(crate) took: Duration,
    /// Each reply: when its request was made or due, and how long after that it came.
    pub(crate) replies: Vec<(Duration, Duration)>,
    /// The time that the server used of its core.
    pub(crate) server: Duration,
    /// The time that this client used of its own.
    pub(crate) client: Duration,
    /// Bytes of all requests that have a reply, heads included.
    pub(crate) sent: u64,
    /// Bytes of those replies, heads included.
    pub(crate) received: u64,
}

impl Ran {
    /// Replies a second.
    pub(crate) fn rate(&self) -> f64 {
        self.replies.len() as f64 / self.took.as_secs_f64()
    }

    /// Replies for a second of the server's core.
    pub(crate) fn rate_of_core(&self) -> f64 {
        self.replies.len() as f64 / self.server.as_secs_f64()
    }
}

struct Connection {
    stream: TcpStream,
    out: Vec<u8>,
    written: usize,
    reply: Vec<u8>,
    filled: usize,
    /// When the request was made or due; none while there is no request.
    since: Option<Duration>,
}

/// Connections to one server.
pub(crate) struct Client {
    poll: Poll,
    events: Events,
    connections: Vec<Connection>,
}

impl Client {
    /// So many connections, each from another address.
    pub(crate) fn connect(server: &Server, count: usize) -> Outcome<Self> {
        let poll = Poll::new()?;
        let mut connections = Vec::with_capacity(count);
        for n in 0..count {
            let stream = connect(n, server.address)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(n), Interest::READABLE | Interest::WRITABLE)?;
            connections.push(Connection {
                stream,
                out: Vec::new(),
                written: 0,
                reply: vec![0; LARGEST_REPLY],
                filled: 0,
                since: None,
            });
        }
        Ok(Self { poll, events: Events::with_capacity(count), connections })
    }

    /// Makes one request on each connection, and waits for no reply.
    pub(crate) fn ask(&mut self, script: &mut impl Script) -> Outcome<()> {
        let mut run = Run::new(self, script, Duration::MAX);
        for n in 0..run.client.connections.len() {
            let turn = run.turn(n);
            run.request(turn, turn.now)?;
        }
        Ok(())
    }

    /// Asks for `length`, and until all that was begun has ended.
    pub(crate) fn run(
        &mut self,
        server: &Server,
        script: &mut impl Script,
        pace: Pace,
        length: Duration,
    ) -> Outcome<Ran> {
        let (servers, own) = (server.cpu_time()?, machine::cpu_time(process::id())?);
        let mut run = Run::new(self, script, length);
        match pace {
            Pace::Closed => run.closed()?,
            Pace::Open(rate) => run.open(rate)?,
        }
        let (took, Run { replies, sent, received, .. }) = (run.elapsed(), run);
        let (server, client) = (server.cpu_time()? - servers, machine::cpu_time(process::id())? - own);
        Ok(Ran { took, replies, server, client, sent, received })
    }
}

/// The address that connection n comes from: 127.1.0.1, 127.1.1.1, …
fn source(n: usize) -> Ipv4Addr {
    let [.., high, low] = n.to_be_bytes();
    Ipv4Addr::new(127, 1 + high, low, 1)
}

/// Connection n, from its own address.
pub(crate) fn connect(n: usize, server: SocketAddr) -> Outcome<BlockingStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddrV4::new(source(n), 0).into())?;
    socket.connect(&server.into())?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket.into())
}

/// The moment it is.
#[expect(clippy::disallowed_methods, reason = "this measures")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// One run.
struct Run<'a, S> {
    client: &'a mut Client,
    script: &'a mut S,
    start: Instant,
    length: Duration,
    replies: Vec<(Duration, Duration)>,
    sent: u64,
    received: u64,
}

impl<'a, S: Script> Run<'a, S> {
    fn new(client: &'a mut Client, script: &'a mut S, length: Duration) -> Self {
        Self { client, script, start: now(), length, replies: Vec::new(), sent: 0, received: 0 }
    }

    fn elapsed(&self) -> Duration {
        now() - self.start
    }

    fn turn(&self, connection: usize) -> Turn {
        let now = self.elapsed();
        Turn { connection, now, ending: now >= self.length }
    }

    fn closed(&mut self) -> Outcome<()> {
        let mut busy = 0;
        for n in 0..self.client.connections.len() {
            let turn = self.turn(n);
            busy += usize::from(self.request(turn, turn.now)?);
        }
        while busy > 0 {
            for n in self.ready(Some(PATIENCE))? {
                let Some(turn) = self.progress(n)? else { continue };
                if !self.request(turn, turn.now)? {
                    busy -= 1;
                }
            }
        }
        Ok(())
    }

    fn open(&mut self, rate: f64) -> Outcome<()> {
        let count = (rate * self.length.as_secs_f64()) as usize;
        let mut free: Vec<usize> = (0..self.client.connections.len()).collect();
        let mut made = 0;
        while self.replies.len() < count {
            // The core is this client's alone: it does not sleep, or it would be late by what waking up takes.
            for n in self.ready(Some(Duration::ZERO))? {
                if self.progress(n)?.is_some() {
                    free.push(n);
                }
            }
            let due = Duration::from_secs_f64(made as f64 / rate);
            if made < count
                && due <= self.elapsed()
                && let Some(n) = free.pop()
            {
                let turn = Turn { ending: false, ..self.turn(n) };
                if !self.request(turn, due)? {
                    return Err("there were too few requests for this rate".into());
                }
                made += 1;
            }
            if self.elapsed() > self.length + PATIENCE {
                return Err("the server does not keep up".into());
            }
        }
        Ok(())
    }

    /// The connections on which something happens.
    fn ready(&mut self, patience: Option<Duration>) -> Outcome<Vec<usize>> {
        let Client { poll, events, .. } = &mut *self.client;
        match poll.poll(events, patience) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(Vec::new()),
            other => other?,
        }
        let ready: Vec<usize> = events.iter().map(|event| event.token().0).collect();
        if ready.is_empty() && patience == Some(PATIENCE) {
            return Err(format!("no reply for {} seconds", PATIENCE.as_secs()).into());
        }
        Ok(ready)
    }

    /// Makes the next request of a connection, if there is one.
    fn request(&mut self, turn: Turn, since: Duration) -> Outcome<bool> {
        let connection = &mut self.client.connections[turn.connection];
        connection.out.clear();
        (connection.written, connection.filled) = (0, 0);
        if !self.script.request(turn, &mut connection.out) {
            return Ok(false);
        }
        connection.since = Some(since);
        connection.write()?;
        Ok(true)
    }

    /// Writes and reads what can be; when the reply is complete, hands it over and says when that was.
    fn progress(&mut self, n: usize) -> Outcome<Option<Turn>> {
        let connection = &mut self.client.connections[n];
        let Some(since) = connection.since else {
            return Ok(None);
        };
        connection.write()?;
        let Some(body) = connection.read()? else {
            return Ok(None);
        };
        connection.since = None;
        self.sent += connection.written as u64;
        self.received += connection.filled as u64;
        let turn = self.turn(n);
        self.replies.push((since, turn.now.saturating_sub(since)));
        self.script.reply(turn, &self.client.connections[n].reply[body])?;
        Ok(Some(turn))
    }
}

impl Connection {
    fn write(&mut self) -> Outcome<()> {
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Where the body of the reply is, once it is complete.
    fn read(&mut self) -> Outcome<Option<std::ops::Range<usize>>> {
        loop {
            match self.stream.read(&mut self.reply[self.filled..]) {
                Ok(0) => return Err("the server closed a connection, or its reply is too long".into()),
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error.into()),
            }
            let so_far = &self.reply[..self.filled];
            if let Some(body) = body(so_far)?
                && so_far.len() == body.end
            {
                return Ok(Some(body));
            }
        }
    }
}

/// Where the body is in a reply, once its head is there.
///
/// # Errors
/// If it is not a success: what it was.
pub(crate) fn body(reply: &[u8]) -> Outcome<Option<std::ops::Range<usize>>> {
    let Some(head) = reply.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    if !reply.starts_with(b"HTTP/1.1 200 ") {
        return Err(format!("the server refused: {}", String::from_utf8_lossy(reply)).into());
    }
    const LENGTH: &[u8] = b"content-length: ";
    let lines = reply[..head].split(|byte| *byte == b'\n');
    let length = lines.filter_map(|line| line.strip_prefix(LENGTH)).next();
    let length =
        length.and_then(|digits| std::str::from_utf8(digits.trim_ascii_end()).ok()?.parse::<usize>().ok());
    let length = length.ok_or("the reply does not say how long it is")?;
    Ok(Some(head + 4..head + 4 + length))
}
