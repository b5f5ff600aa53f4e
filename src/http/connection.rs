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
//! - *closing*, after a reply that says `Connection: close`, or whose request did, while the rest of an unread body is
//!   thrown away: [`LINGER`].
//!
//! A deadline that passed is an error of the read or the write, which ends actix's dispatcher and so the connection.
//! In every state but the first the client may have sent the start of the next head already, unseen in actix's buffer;
//! it is idle then until its next byte, no longer than any idle connection.
//!
//! It also bounds what a client that sends ahead has in actix's hands. actix takes apart all that it has read, where a
//! request of 25 bytes becomes 6 kB; it answers them all before it looks at another connection; and with its buffer full
//! it spins. So it gets a [`PIECE`] at a time, and while it works on a request, or the client does not take a reply, none
//! but of the body that the handler reads; of that all at once that can be nothing else, by its Content-Length. Another piece is
//! read ahead, to see the client's end.

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicBool, AtomicUsize,
            Ordering::{Acquire, Release, SeqCst},
        },
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_web::{
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::{ConnectionType, Version, header},
    middleware::Next,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
    time::{Instant, Sleep, sleep_until},
};

use super::places::Place;
use crate::metrics::Metrics;

/// How long the rest of an unread body is thrown away, so that the client sees the reply and not a reset.
pub(super) const LINGER: Duration = Duration::from_secs(1);

/// How much later than actix's the deadline of a first head is: actix's clock is half a second coarse.
const GRACE: Duration = Duration::from_secs(1);

/// How long a reply may make no progress.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// An alarm this late was heard late: the process was frozen, or had no core. It hears its alarms before it sees what came
/// meanwhile, so it looks for a moment more.
const LATE_ALARM: Duration = Duration::from_millis(500);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What progress earns: the slowest client that gets all of a large reply takes 4 KB/s. Without it, a client that takes
/// a byte now and then would keep a reply in memory for hours.
const PER_BYTE: Duration = Duration::from_micros(250);

/// How many bytes actix gets at a time: some 20 of the smallest requests.
const PIECE: usize = 512;

/// How many bytes of a body that is announced: a message of 4,096 bytes in one piece. actix doubles its buffer while it gets
/// more at a time, and keeps it.
const BODY_PIECE: usize = 7 * 1024;

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
    /// For the deadline of a body. One for all of the connection's: to set an alarm costs more than to read a small body.
    alarm: Mutex<Option<Pin<Box<Sleep>>>>,
    in_work: AtomicBool,
    reads_body: AtomicBool,
    /// Bytes that come next and are its body's, whatever of it came with the head.
    body: AtomicUsize,
    closing: AtomicBool,
    gone: AtomicBool,
    going: Notify,
    /// Whether the relay was told to stop.
    stopping: Arc<AtomicBool>,
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

    /// The handler reads its body until this is dropped: else none of it comes that did not come with the head.
    pub(crate) fn reads_body(self: Arc<Self>) -> ReadsBody {
        self.reads_body.store(true, Release);
        ReadsBody(self)
    }

    /// Ready from this moment on.
    fn poll_alarm(&self, by: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let mut alarm = self.alarm.lock().unwrap_or_else(PoisonError::into_inner);
        let alarm = alarm.get_or_insert_with(|| Box::pin(sleep_until(by)));
        if by < alarm.deadline() {
            alarm.as_mut().reset(by);
        }
        // One that is early, of a body before, is set anew when it rings.
        ready!(alarm.as_mut().poll(cx));
        if alarm.deadline() < by {
            alarm.as_mut().reset(by);
            ready!(alarm.as_mut().poll(cx));
        }
        Poll::Ready(())
    }

    fn left(&self) {
        self.gone.store(true, SeqCst);
        self.going.notify_waiters();
    }
}

/// A handler that reads its body.
pub(crate) struct ReadsBody(Arc<Peer>);

impl ReadsBody {
    /// What comes of reading it, if that takes no longer than this.
    pub(crate) async fn within<T>(self, time: Duration, read: impl Future<Output = T>) -> Option<T> {
        // Most bodies are here already: then nobody looks at a clock.
        let mut by = None;
        let mut read = pin!(read);
        poll_fn(|cx| match read.as_mut().poll(cx) {
            Poll::Ready(body) => Poll::Ready(Some(body)),
            Poll::Pending => {
                let by = *by.get_or_insert_with(|| Instant::now() + time);
                self.0.poll_alarm(by, cx).map(|()| None)
            }
        })
        .await
    }
}

impl Drop for ReadsBody {
    fn drop(&mut self) {
        self.0.reads_body.store(false, Release);
    }
}

/// Marks the connection as in work until the reply is made, or the handler is dropped.
struct InWork(Arc<Peer>);

impl InWork {
    fn new(peer: Arc<Peer>) -> Self {
        peer.in_work.store(true, Release);
        Self(peer)
    }
}

impl Drop for InWork {
    fn drop(&mut self) {
        self.0.body.store(0, Release);
        self.0.in_work.store(false, Release);
    }
}

/// Part of the middleware around all handlers: tells a request's connection that it is in work, and when it is to end.
pub(super) async fn in_work<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    let Some(peer) = request.conn_data::<Arc<Peer>>().cloned() else {
        return next.call(request).await;
    };
    let _working = InWork::new(peer.clone());
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok()).unwrap_or(0);
    peer.body.store(length.saturating_sub(PIECE), Release);
    let last = request.head().connection_type() == ConnectionType::Close;
    let mut reply = next.call(request).await?;
    let head = reply.response_mut().head_mut();
    // A reply that says nothing of it is judged by its version, and that is still the last one's whose memory it has.
    head.version = Version::HTTP_11;
    // Told so, a proxy does not send its next request into a connection that is closed at that moment.
    if peer.stopping.load(Acquire) {
        head.set_connection_type(ConnectionType::Close);
    }
    if last || head.connection_type() == ConnectionType::Close {
        peer.closing.store(true, Release);
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
    /// A deadline whose alarm was late, and the one instead.
    once_more: Option<(Instant, Instant)>,
    /// What actix got since it last had to stop reading.
    given: usize,
    /// What was read while actix gets nothing.
    ahead: Vec<u8>,
    /// Whether the client's end came behind that.
    ended: bool,
    /// Whether actix wanted to read, and is to be told when it may.
    held_back: bool,
    counted: Counted,
    _place: Option<Place>,
}

impl<S> Connection<S> {
    /// A connection that begins now. It holds its place as long as it lives.
    pub(super) fn new(stream: S, deadlines: Deadlines, place: Option<Place>, metrics: Arc<Metrics>) -> Self {
        let read_by = Instant::now() + deadlines.head + GRACE;
        let alarm = Box::pin(sleep_until(read_by));
        let peer = Arc::new(Peer { stopping: deadlines.stopping.clone(), ..Peer::default() });
        let counted = Counted::new(metrics);
        Self {
            stream,
            peer,
            deadlines,
            idle: false,
            read_by,
            write_by: None,
            alarm,
            once_more: None,
            given: 0,
            ahead: vec![],
            ended: false,
            held_back: false,
            counted,
            _place: place,
        }
    }

    pub(super) fn peer(&self) -> Arc<Peer> {
        self.peer.clone()
    }

    fn in_work(&self) -> bool {
        self.peer.in_work.load(Acquire)
    }

    /// Whether actix gets more: it has answered what it got, or somebody there reads a body.
    fn lets_in(&self) -> bool {
        self.peer.reads_body.load(Acquire) || !self.in_work() && self.write_by.is_none()
    }

    /// How much actix gets at once.
    fn piece(&self) -> usize {
        let body = if self.peer.reads_body.load(Acquire) { self.peer.body.load(Acquire) } else { 0 };
        body.min(BODY_PIECE.saturating_sub(self.given)).max(PIECE.saturating_sub(self.given))
    }

    /// Wakes actix if it may read again, and what it is to read is here already.
    fn let_go(&mut self, cx: &Context<'_>) {
        if self.held_back && self.lets_in() {
            self.held_back = false;
            if !self.ahead.is_empty() {
                cx.waker().wake_by_ref();
            }
        }
    }

    /// A reply goes out: from here on the client may idle.
    fn replies(&mut self) {
        self.idle = true;
        let closing = self.peer.closing.load(Acquire);
        self.read_by = Instant::now() + if closing { LINGER } else { self.deadlines.idle };
    }

    /// A byte came: if it is the first of a head, its time starts.
    fn hears(&mut self) {
        if self.idle && !self.in_work() && !self.peer.closing.load(Acquire) {
            self.idle = false;
            self.read_by = Instant::now() + self.deadlines.head;
        }
    }

    /// How long a reply may make no progress.
    fn patience(&self) -> Duration {
        if self.deadlines.stopping.load(Acquire) { self.deadlines.stop } else { WRITE_TIMEOUT }
    }

    /// The client took this many bytes of a reply that it does not take as it comes.
    fn took(&mut self, bytes: usize) {
        if let Some(by) = self.write_by {
            let latest = Instant::now() + self.patience();
            let earned = PER_BYTE.saturating_mul(u32::try_from(bytes).unwrap_or(u32::MAX));
            self.write_by = Some(latest.min(by + earned));
        }
    }

    /// Pending until this deadline, then an error.
    fn poll_until<T>(&mut self, by: Instant, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let instead = self.once_more.filter(|(late, _)| *late == by);
        let until = instead.map_or(by, |(_, instead)| instead);
        if until < self.alarm.deadline() {
            self.alarm.as_mut().reset(until);
        }
        // A deadline moves on with every request. An alarm that is early is set anew when it rings, not each time.
        ready!(self.alarm.as_mut().poll(cx));
        while self.alarm.deadline() < until {
            self.alarm.as_mut().reset(until);
            ready!(self.alarm.as_mut().poll(cx));
        }
        let now = Instant::now();
        if instead.is_none() && now.saturating_duration_since(by) > LATE_ALARM {
            self.once_more = Some((by, now + LOOK_AGAIN));
            self.alarm.as_mut().reset(now + LOOK_AGAIN);
            ready!(self.alarm.as_mut().poll(cx));
        }
        if self.write_by.is_some() {
            self.counted.closed("write");
        } else if !self.peer.closing.load(Acquire) {
            self.counted.closed(if self.idle { "idle" } else { "head" });
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> Connection<S> {
    /// Reads from the stream no more than there is room for, at least a byte. None is the client's end.
    fn poll_stream(&mut self, cx: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut piece = ReadBuf::new(room);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut piece))?;
        let read = piece.filled().len();
        if read == 0 {
            self.ended = true;
            self.peer.left();
        }
        Poll::Ready(Ok(read))
    }

    /// What actix gets next: what was read ahead, or else what the stream has.
    fn poll_piece(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
        let room = buffer.remaining().min(self.piece());
        if self.ahead.is_empty() && !self.ended {
            let read = ready!(self.poll_stream(cx, buffer.initialize_unfilled_to(room)))?;
            buffer.advance(read);
            return Poll::Ready(Ok(read));
        }
        let rest = self.ahead.split_off(room.min(self.ahead.len()));
        let piece = std::mem::replace(&mut self.ahead, rest);
        buffer.put_slice(&piece);
        Poll::Ready(Ok(piece.len()))
    }

    /// Reads ahead, for actix is to have no more now: only that the client ended its side, if nothing is before it.
    fn hold_back(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.given = 0;
        self.held_back = true;
        while self.ahead.len() < PIECE && !self.ended {
            let mut bytes = [0; PIECE];
            let room = PIECE - self.ahead.len();
            let read = ready!(self.poll_stream(cx, &mut bytes[..room]))?;
            self.ahead.extend_from_slice(&bytes[..read]);
        }
        if self.ended && self.ahead.is_empty() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.lets_in() {
            return this.hold_back(cx);
        }
        if this.piece() == 0 {
            // Others have their turn first.
            this.given = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        match this.poll_piece(cx, buffer) {
            Poll::Ready(Ok(0)) => {}
            Poll::Ready(Ok(read)) => {
                this.given += read;
                let body = this.peer.body.load(Acquire);
                this.peer.body.store(body.saturating_sub(read), Release);
                this.hears();
            }
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => {
                this.given = 0;
                if this.in_work() || this.write_by.is_some() {
                    return Poll::Pending;
                }
                return this.poll_until(this.read_by, cx);
            }
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
                this.let_go(cx);
                this.poll_until(by, cx)
            }
        }
    }

    /// actix flushes when the stream has taken all that it had to write, and does not read again after a reply: so this
    /// is where the alarm is set for what follows.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.write_by = None;
        this.let_go(cx);
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
        time::{advance, sleep, timeout},
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

    /// What came while the process was frozen counts, though nobody could see it in time.
    #[tokio::test(start_paused = true)]
    async fn a_late_alarm_is_not_the_end() {
        let (mut connection, mut client, _) = connection(HOUR, SOON);
        for _ in 0..2 {
            connection.write_all(b"a reply").await.unwrap();
            advance(SOON + LATE_ALARM * 2).await;
            assert!(timeout(SOON, connection.read(&mut [0; 64])).await.is_err());
            client.write_all(b"G").await.unwrap();
            assert_eq!(connection.read(&mut [0; 64]).await.unwrap(), 1);
        }
        connection.write_all(b"a reply").await.unwrap();
        advance(SOON + LATE_ALARM * 2).await;
        timed_out(&mut connection).await;
        assert!(closed(&connection, "idle"));
    }

    #[tokio::test]
    async fn work_takes_what_it_takes() {
        let (mut connection, mut client, peer) = connection(SOON, SOON);
        connection.write_all(b"a reply").await.unwrap();
        client.write_all(b"a request").await.unwrap();
        assert_eq!(connection.read(&mut [0; 64]).await.unwrap(), 9);
        let working = InWork::new(peer.clone());
        nothing_happens(&mut connection).await;
        let reading = peer.reads_body();
        // What is written meanwhile, 100 Continue, is no reply; what is read is no head.
        connection.write_all(b"go on").await.unwrap();
        client.write_all(b"a body").await.unwrap();
        assert_eq!(connection.read(&mut [0; 64]).await.unwrap(), 6);
        nothing_happens(&mut connection).await;
        drop((reading, working));
        connection.write_all(b"a reply").await.unwrap();
        timed_out(&mut connection).await;
    }

    #[tokio::test(start_paused = true)]
    async fn each_body_has_its_own_time() {
        let (_connection, _client, peer) = connection(HOUR, HOUR);
        let began = Instant::now();
        let read = |takes: Duration| peer.clone().reads_body().within(SOON, sleep(takes));
        assert_eq!(read(SOON * 4 / 5).await, Some(()));
        // The alarm that the first one set rings meanwhile.
        assert_eq!(read(SOON * 4 / 5).await, Some(()));
        assert_eq!(began.elapsed(), SOON * 8 / 5);
        assert!(peer.alarm.lock().unwrap().as_ref().unwrap().deadline() > began + SOON);
        assert_eq!(read(HOUR).await, None);
        assert_eq!(began.elapsed(), SOON * 13 / 5);
        // Long ago now.
        sleep(HOUR).await;
        assert_eq!(read(SOON * 4 / 5).await, Some(()));
        assert_eq!(read(HOUR).await, None);
        assert_eq!(began.elapsed(), HOUR + SOON * 22 / 5);
        // One that may take less than one before.
        assert_eq!(peer.clone().reads_body().within(HOUR, sleep(SOON)).await, Some(()));
        let began = Instant::now();
        assert_eq!(read(HOUR).await, None);
        assert_eq!(began.elapsed(), SOON);
        assert!(!peer.reads_body.load(Acquire));
    }

    #[tokio::test]
    async fn after_a_last_reply_no_byte_prolongs_it() {
        let (mut connection, mut client, peer) = connection(HOUR, HOUR);
        peer.closing.store(true, Release);
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
        connection.deadlines.stopping.store(true, Release);
        let error = connection.write_all(&[0; 65]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() >= SOON);
        assert!(closed(&connection, "write"));
        // Progress earns a little, a millisecond for 4 bytes.
        let by = connection.write_by.unwrap();
        connection.deadlines.stopping.store(false, Release);
        client.read_exact(&mut [0; 4]).await.unwrap();
        assert_eq!(connection.write(&[0; 64]).await.unwrap(), 4);
        assert_eq!(connection.write_by, Some(by + Duration::from_millis(1)));
        // All was taken.
        connection.flush().await.unwrap();
        assert_eq!(connection.write_by, None);
    }

    #[tokio::test]
    async fn what_is_sent_ahead_waits() {
        let (mut connection, mut client, peer) = connection(HOUR, HOUR);
        let sends = tokio::spawn(async move {
            client.write_all(&[1; 3 * PIECE]).await.unwrap();
            client
        });
        let mut buffer = vec![0; 3 * PIECE];
        let working = InWork::new(peer.clone());
        nothing_happens(&mut connection).await;
        assert_eq!(connection.ahead.len(), PIECE);
        // Not all that was read ahead has to be taken at once.
        let reading = peer.reads_body();
        assert_eq!(connection.read(&mut [0; 24]).await.unwrap(), 24);
        assert_eq!(connection.read(&mut buffer).await.unwrap(), PIECE - 24);
        drop(reading);
        nothing_happens(&mut connection).await;
        assert!(!sends.is_finished());
        drop(working);
        // A reply that is not taken holds it back too.
        connection.write_by = Some(Instant::now() + HOUR);
        nothing_happens(&mut connection).await;
        connection.flush().await.unwrap();
        connection.read_exact(&mut buffer[..2 * PIECE]).await.unwrap();
        drop(sends.await.unwrap());
        assert_eq!(connection.read(&mut buffer).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_body_comes_in_larger_pieces_and_nothing_behind_it() {
        let (client, stream) = duplex(16 * PIECE);
        let (connection, ..) = connection(HOUR, HOUR);
        let (deadlines, metrics) = (connection.deadlines.clone(), connection.counted.metrics.clone());
        let (mut connection, mut client) = (Connection::new(stream, deadlines, None, metrics), client);
        let peer = connection.peer();
        client.write_all(&[1; 9 * PIECE]).await.unwrap();
        let mut buffer = vec![0; 9 * PIECE];
        let working = InWork::new(peer.clone());
        peer.body.store(4 * PIECE, Release);
        nothing_happens(&mut connection).await;
        let reading = peer.clone().reads_body();
        // What was read ahead is of it.
        assert_eq!(connection.read(&mut buffer).await.unwrap(), PIECE);
        assert_eq!(connection.read(&mut buffer).await.unwrap(), 3 * PIECE);
        assert_eq!(connection.read(&mut buffer).await.unwrap(), PIECE);
        drop(reading);
        peer.body.store(4 * PIECE, Release);
        nothing_happens(&mut connection).await;
        drop(working);
        assert_eq!(connection.read(&mut buffer).await.unwrap(), PIECE, "of another request");
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
