//! One client's connection, with the deadlines that actix lacks: actix knows one for the first head, none for a later
//! one, for a reply that is not taken, or for a body (that one is in `endpoint`).
//!
//! A connection is in one of these states:
//!
//! - *waiting for a head*, from its start, and after a reply from the first byte of the next head: `head_timeout`, and no
//!   byte prolongs it. Of the first head actix says 408 when it is late; the deadline here comes behind it.
//! - *in work*, from a request's head to its reply: no deadline here, a long poll may take what it takes. [`in_work`],
//!   which wraps the whole app, marks it.
//! - *idle*, after a reply: `idle_timeout`. Whatever is written while nothing is in work is a reply.
//! - *closing*, after a reply that says `Connection: close`, while the rest of an unread body is thrown away: [`LINGER`].
//!
//! A deadline that passed is an error of the read or the write, which ends actix's dispatcher and so the connection.
//! In every state but the first the client may have sent the start of the next head already, unseen in actix's buffer;
//! it is idle then until its next byte, no longer than any idle connection.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use actix_web::{
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::ConnectionType,
    middleware::Next,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
    time::{Instant, Sleep},
};

use super::places::Place;
use crate::metrics::Metrics;

/// How long the rest of an unread body is thrown away, so that the client sees the reply and not a reset.
pub(super) const LINGER: Duration = Duration::from_secs(1);

/// How much later than actix's the deadline of a first head is: actix's clock is half a second coarse.
const GRACE: Duration = Duration::from_secs(1);

/// How long a reply may make no progress.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// What progress earns: the slowest client that gets all of a large reply takes 4 KB/s. Without it, a client that takes
/// a byte now and then would keep a reply in memory for hours.
const PER_BYTE: Duration = Duration::from_micros(250);

/// How long a connection may take for what.
#[derive(Debug, Clone)]
pub(super) struct Deadlines {
    /// From a head's first byte, or the connection's start, to the head's end.
    pub(super) head: Duration,
    /// From a reply to the next head's first byte.
    pub(super) idle: Duration,
    /// A reply without progress, once the relay was told to stop.
    pub(super) stop: Duration,
    /// Whether the relay was told to stop.
    pub(super) stopping: Arc<AtomicBool>,
}

/// What a connection and the handler of its request know of each other. A handler finds it as `conn_data`.
#[derive(Default)]
pub(crate) struct Peer {
    in_work: AtomicBool,
    closing: AtomicBool,
    gone: AtomicBool,
    going: Notify,
}

impl Peer {
    /// Ready when the client has ended its side, or the connection is gone altogether.
    ///
    /// A client that only says that it will send nothing more, and still waits for its reply, counts as gone too: TCP
    /// does not show the difference. So whoever waits on this should then reply at once, and not just give up.
    pub(crate) async fn gone(&self) {
        let going = self.going.notified();
        tokio::pin!(going);
        going.as_mut().enable();
        if !self.gone.load(SeqCst) {
            going.await;
        }
    }

    fn left(&self) {
        self.gone.store(true, SeqCst);
        self.going.notify_waiters();
    }
}

/// Marks the connection as in work until the reply is made, or the handler is dropped.
struct InWork(Arc<Peer>);

impl InWork {
    fn new(peer: Arc<Peer>) -> Self {
        peer.in_work.store(true, SeqCst);
        Self(peer)
    }
}

impl Drop for InWork {
    fn drop(&mut self) {
        self.0.in_work.store(false, SeqCst);
    }
}

/// The middleware around all others: tells a request's connection that it is in work, and when it is to end.
pub(super) async fn in_work<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    let Some(peer) = request.conn_data::<Arc<Peer>>().cloned() else {
        return next.call(request).await;
    };
    let _working = InWork::new(peer.clone());
    let reply = next.call(request).await?;
    if reply.response().head().connection_type() == ConnectionType::Close {
        peer.closing.store(true, SeqCst);
    }
    Ok(reply)
}

/// How actix begins its reply to a first head that is late.
const LATE: &[u8] = b"HTTP/1.1 408 ";

/// Counts one open connection until it is dropped, and why it was closed, if a deadline did it.
struct Counted {
    metrics: Arc<Metrics>,
    closed: bool,
}

impl Counted {
    fn new(metrics: Arc<Metrics>) -> Self {
        metrics.connections.inc();
        Self { metrics, closed: false }
    }

    fn closed(&mut self, why: &str) {
        if !self.closed {
            self.closed = true;
            self.metrics.closed(why);
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.metrics.connections.dec();
    }
}

/// A stream with deadlines.
pub(super) struct Connection<S> {
    stream: S,
    peer: Arc<Peer>,
    deadlines: Deadlines,
    /// Between a reply and the next byte.
    idle: bool,
    /// The deadline of the head, or of the idling.
    read_by: Instant,
    /// The deadline of a reply that the client does not take as it comes.
    write_by: Option<Instant>,
    alarm: Pin<Box<Sleep>>,
    counted: Counted,
    _place: Option<Place>,
}

impl<S> Connection<S> {
    /// A connection that begins now. It holds its place as long as it lives.
    pub(super) fn new(stream: S, deadlines: Deadlines, place: Option<Place>, metrics: Arc<Metrics>) -> Self {
        let read_by = Instant::now() + deadlines.head + GRACE;
        let alarm = Box::pin(tokio::time::sleep_until(read_by));
        let peer = Arc::default();
        let counted = Counted::new(metrics);
        Self { stream, peer, deadlines, idle: false, read_by, write_by: None, alarm, counted, _place: place }
    }

    pub(super) fn peer(&self) -> Arc<Peer> {
        self.peer.clone()
    }

    fn in_work(&self) -> bool {
        self.peer.in_work.load(SeqCst)
    }

    /// A reply goes out: from here on the client may idle.
    fn replies(&mut self) {
        self.idle = true;
        let closing = self.peer.closing.load(SeqCst);
        self.read_by = Instant::now() + if closing { LINGER } else { self.deadlines.idle };
    }

    /// A byte came: if it is the first of a head, its time starts.
    fn hears(&mut self) {
        if self.idle && !self.in_work() && !self.peer.closing.load(SeqCst) {
            self.idle = false;
            self.read_by = Instant::now() + self.deadlines.head;
        }
    }

    /// How long a reply may make no progress.
    fn patience(&self) -> Duration {
        if self.deadlines.stopping.load(SeqCst) { self.deadlines.stop } else { WRITE_TIMEOUT }
    }

    /// The client took this many bytes of a reply that it does not take as it comes.
    fn took(&mut self, bytes: usize) {
        let latest = Instant::now() + self.patience();
        if let Some(by) = &mut self.write_by {
            *by = latest.min(*by + PER_BYTE.saturating_mul(u32::try_from(bytes).unwrap_or(u32::MAX)));
        }
    }

    /// Pending until this deadline, then an error.
    fn poll_until<T>(&mut self, by: Instant, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if self.alarm.deadline() != by {
            self.alarm.as_mut().reset(by);
        }
        self.alarm.as_mut().poll(cx).map(|()| {
            if self.write_by.is_some() {
                self.counted.closed("write");
            } else if !self.peer.closing.load(SeqCst) {
                self.counted.closed(if self.idle { "idle" } else { "head" });
            }
            Err(io::ErrorKind::TimedOut.into())
        })
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, buffer) {
            Poll::Ready(Ok(())) if buffer.filled().len() > before => this.hears(),
            Poll::Ready(Ok(())) => this.peer.left(),
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending if this.in_work() || this.write_by.is_some() => return Poll::Pending,
            Poll::Pending => return this.poll_until(this.read_by, cx),
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if !this.in_work() {
            if bytes.starts_with(LATE) {
                this.counted.closed("head");
            }
            this.replies();
        }
        match Pin::new(&mut this.stream).poll_write(cx, bytes) {
            Poll::Ready(Ok(taken)) => {
                this.took(taken);
                Poll::Ready(Ok(taken))
            }
            Poll::Ready(error) => Poll::Ready(error),
            Poll::Pending => {
                let latest = Instant::now() + this.patience();
                let by = this.write_by.map_or(latest, |by| by.min(latest));
                this.write_by = Some(by);
                this.poll_until(by, cx)
            }
        }
    }

    /// actix flushes when the stream has taken all that it had to write, and does not read again after a reply: so this
    /// is where the alarm is set for what follows.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.write_by = None;
        if !this.in_work()
            && let Poll::Ready(late) = this.poll_until(this.read_by, cx)
        {
            return Poll::Ready(late);
        }
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

impl<S> Drop for Connection<S> {
    fn drop(&mut self) {
        self.peer.left();
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
        time::timeout,
    };

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    const SOON: Duration = Duration::from_millis(50);

    /// A connection with these deadlines for a head, for idling and for a stop; the client's end; and the peer.
    fn connection(head: Duration, idle: Duration) -> (Connection<DuplexStream>, DuplexStream, Arc<Peer>) {
        let (client, stream) = duplex(64);
        let deadlines = Deadlines { head, idle, stop: SOON, stopping: Arc::default() };
        let metrics = Arc::new(Metrics::new().unwrap());
        let connection = Connection::new(stream, deadlines, None, metrics);
        let peer = connection.peer();
        (connection, client, peer)
    }

    async fn timed_out(connection: &mut Connection<DuplexStream>) {
        let error = connection.read(&mut [0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    fn closed(connection: &Connection<DuplexStream>, why: &str) -> bool {
        let text = String::from_utf8(connection.counted.metrics.text().unwrap()).unwrap();
        text.contains(&format!("connectoid_connections_closed_total{{why=\"{why}\"}} 1\n"))
    }

    async fn nothing_happens(connection: &mut Connection<DuplexStream>) {
        assert!(timeout(SOON * 3, connection.read(&mut [0; 64])).await.is_err());
    }

    #[tokio::test]
    async fn a_first_head_is_waited_for_so_long() {
        let (mut connection, mut client, _) = connection(Duration::ZERO, HOUR);
        let began = Instant::now();
        client.write_all(b"GET").await.unwrap();
        assert_eq!(connection.read(&mut [0; 64]).await.unwrap(), 3);
        timed_out(&mut connection).await;
        assert!(began.elapsed() >= GRACE, "actix's own deadline comes first");
        assert!(closed(&connection, "head"));
    }

    #[tokio::test]
    async fn a_later_head_from_its_first_byte_on() {
        let (mut connection, mut client, _) = connection(SOON, HOUR);
        connection.write_all(b"a reply").await.unwrap();
        nothing_happens(&mut connection).await;
        client.write_all(b"G").await.unwrap();
        assert_eq!(connection.read(&mut [0; 64]).await.unwrap(), 1);
        timed_out(&mut connection).await;
        assert!(closed(&connection, "head"));
    }

    #[tokio::test]
    async fn idling_ends_too() {
        let (mut connection, _client, _) = connection(HOUR, SOON);
        connection.write_all(b"a reply").await.unwrap();
        timed_out(&mut connection).await;
        assert!(closed(&connection, "idle"));
    }

    #[tokio::test]
    async fn work_takes_what_it_takes() {
        let (mut connection, mut client, peer) = connection(SOON, SOON);
        connection.write_all(b"a reply").await.unwrap();
        client.write_all(b"a request").await.unwrap();
        assert_eq!(connection.read(&mut [0; 64]).await.unwrap(), 9);
        let working = InWork::new(peer);
        nothing_happens(&mut connection).await;
        // What is written meanwhile, 100 Continue, is no reply; what is read is no head.
        connection.write_all(b"go on").await.unwrap();
        client.write_all(b"a body").await.unwrap();
        assert_eq!(connection.read(&mut [0; 64]).await.unwrap(), 6);
        nothing_happens(&mut connection).await;
        drop(working);
        connection.write_all(b"a reply").await.unwrap();
        timed_out(&mut connection).await;
    }

    #[tokio::test]
    async fn after_a_last_reply_no_byte_prolongs_it() {
        let (mut connection, mut client, peer) = connection(HOUR, HOUR);
        peer.closing.store(true, SeqCst);
        connection.write_all(b"a last reply").await.unwrap();
        client.write_all(b"more").await.unwrap();
        assert_eq!(connection.read(&mut [0; 64]).await.unwrap(), 4);
        timed_out(&mut connection).await;
        assert!(!closed(&connection, "idle") && !closed(&connection, "head"));
    }

    #[tokio::test]
    async fn a_reply_that_is_not_taken() {
        let (mut connection, mut client, _) = connection(HOUR, HOUR);
        let began = Instant::now();
        connection.deadlines.stopping.store(true, SeqCst);
        let error = connection.write_all(&[0; 65]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() >= SOON);
        assert!(closed(&connection, "write"));
        // Progress earns a little, a millisecond for 4 bytes.
        let by = connection.write_by.unwrap();
        connection.deadlines.stopping.store(false, SeqCst);
        client.read_exact(&mut [0; 4]).await.unwrap();
        assert_eq!(connection.write(&[0; 64]).await.unwrap(), 4);
        assert_eq!(connection.write_by, Some(by + Duration::from_millis(1)));
        // All was taken.
        connection.flush().await.unwrap();
        assert_eq!(connection.write_by, None);
    }

    #[tokio::test]
    async fn a_client_that_ends_its_side_is_gone() {
        let (mut connection, mut client, peer) = connection(HOUR, HOUR);
        let working = InWork::new(peer.clone());
        let going = tokio::spawn({
            let peer = peer.clone();
            async move { peer.gone().await }
        });
        nothing_happens(&mut connection).await;
        assert!(!going.is_finished());
        client.shutdown().await.unwrap();
        assert_eq!(connection.read(&mut [0; 64]).await.unwrap(), 0);
        going.await.unwrap();
        // It stays so.
        peer.gone().await;
        drop(working);
    }

    #[tokio::test]
    async fn so_is_one_whose_connection_is_dropped() {
        let (connection, _client, peer) = connection(HOUR, HOUR);
        assert!(timeout(SOON, peer.gone()).await.is_err());
        drop(connection);
        peer.gone().await;
    }
}
