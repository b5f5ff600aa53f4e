//! `--pipe`: standard input here is standard output there, and the other way round.
//!
//! Each side opens a channel `connectoid.pipe` for what it sends. A session that breaks loses nothing: the sender keeps what was not
//! taken yet, and in the next session goes on from where the receiver is.

use std::{collections::VecDeque, io, thread};

use rand::CryptoRng;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::{
    flow::{Broken, PIECE, Piece, WINDOW, flow},
    job::Ended,
    quoted,
};
use crate::{protocol::base64url, webrtc::Channel};

/// What is said on a pipe's channel.
#[derive(Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "lowercase")]
enum Said {
    /// The sender: these are the bytes of the pipe `id`, and it has those from here on.
    Pipe { v: u32, id: String, from: u64 },
    /// The receiver: it has the bytes up to here.
    At { offset: u64 },
    /// The sender: that was all.
    End,
    /// The receiver: all is written.
    Done { bytes: u64 },
    /// The receiver: it cannot go on.
    Refused { why: String },
}

/// Both directions, for as long as the program runs.
pub(crate) struct Pipe {
    pub(crate) out: PipeOut,
    pub(crate) into: PipeIn,
}

/// What is sent.
pub(crate) struct PipeOut {
    id: String,
    input: mpsc::Receiver<io::Result<Vec<u8>>>,
    /// What the other side may still need, and the offset of its beginning.
    kept: VecDeque<Vec<u8>>,
    kept_from: u64,
    /// How much of the input was read.
    read: u64,
    /// Whether the input came to its end.
    ended: bool,
    /// Whether the other side has it all.
    pub(crate) done: bool,
}

/// What is received.
pub(crate) struct PipeIn {
    output: mpsc::Sender<Output>,
    /// The other side's pipe, and how far it was written.
    of: Option<String>,
    at: u64,
    pub(crate) done: bool,
}

enum Output {
    Data(Vec<u8>),
    Flush(oneshot::Sender<io::Result<()>>),
}

impl Pipe {
    /// Joins standard input and output, each read and written by a thread of its own.
    pub(crate) fn standard(rng: &mut impl CryptoRng) -> Self {
        Self::new(rng, io::stdin(), io::stdout())
    }

    pub(crate) fn new(
        rng: &mut impl CryptoRng,
        input: impl io::Read + Send + 'static,
        output: impl io::Write + Send + 'static,
    ) -> Self {
        let mut id = [0; 16];
        rng.fill_bytes(&mut id);
        let out = PipeOut {
            id: base64url::encode(id),
            input: read(input),
            kept: VecDeque::new(),
            kept_from: 0,
            read: 0,
            ended: false,
            done: false,
        };
        let into = PipeIn { output: write(output), of: None, at: 0, done: false };
        Self { out, into }
    }
}

impl PipeOut {
    /// Sends what there is and what comes, until the input ends and all of it is written at the other side.
    pub(crate) async fn run(&mut self, channel: Channel) -> Result<(), Ended> {
        let (mut out, mut into) = flow(channel);
        out.control(&Said::Pipe { v: 1, id: self.id.clone(), from: self.kept_from }).await?;
        let start = match into.next().await? {
            Some(Piece::Control(Said::At { offset })) => offset,
            Some(Piece::Control(Said::Refused { why })) => return Err(Ended::Failed(quoted(&why))),
            None => return Err(Ended::Broken),
            Some(_) => return Err(unexpected()),
        };
        self.forget(start)?;
        let sending = async {
            let mut next = 0;
            loop {
                let taken = start.saturating_add(out.taken());
                // More than was sent it cannot have taken.
                next = usize::checked_sub(next, self.forget(taken)?).ok_or_else(unexpected)?;
                let piece = match self.kept.get(next) {
                    Some(piece) => piece.clone(),
                    None if self.ended => break,
                    None => match self.input.recv().await {
                        Some(Ok(piece)) => {
                            self.read += piece.len() as u64;
                            self.kept.push_back(piece.clone());
                            piece
                        }
                        Some(Err(error)) => return Err(Ended::Failed(format!("standard input: {error}"))),
                        None => {
                            self.ended = true;
                            break;
                        }
                    },
                };
                next += 1;
                out.data(piece).await?;
            }
            out.control(&Said::End).await?;
            // The other half says when it is done.
            std::future::pending().await
        };
        let hearing = async {
            match into.next().await? {
                Some(Piece::Control(Said::Done { bytes })) => Ok(bytes),
                Some(Piece::Control(Said::Refused { why })) => Err(Ended::Failed(quoted(&why))),
                None => Err(Ended::Broken),
                Some(_) => Err(unexpected()),
            }
        };
        let written = tokio::select! {
            ended = sending => return ended,
            written = hearing => written?,
        };
        if !self.ended || written != self.read {
            return Err(unexpected());
        }
        self.done = true;
        Ok(())
    }

    /// Forgets what the other side took up to this offset, in whole pieces. How many that were.
    fn forget(&mut self, upto: u64) -> Result<usize, Ended> {
        if upto < self.kept_from {
            let why = "the other side began anew, and does not have what was sent before";
            return Err(Ended::Failed(why.to_owned()));
        }
        if upto > self.read {
            return Err(unexpected());
        }
        let mut forgotten = 0;
        while let Some(first) = self.kept.front_mut() {
            let end = self.kept_from + first.len() as u64;
            if upto >= end {
                self.kept.pop_front();
                forgotten += 1;
            } else if upto > self.kept_from {
                first.drain(..usize::try_from(upto - self.kept_from).unwrap_or(usize::MAX));
                self.kept_from = upto;
                break;
            } else {
                break;
            }
            self.kept_from = end;
        }
        Ok(forgotten)
    }
}

impl PipeIn {
    /// Writes what comes, until the other side says that it was all.
    pub(crate) async fn run(&mut self, channel: Channel) -> Result<(), Ended> {
        let (out, mut into) = flow(channel);
        let (id, from) = match into.next().await? {
            Some(Piece::Control(Said::Pipe { id, from, .. })) => (id, from),
            None => return Err(Ended::Broken),
            Some(_) => return Err(unexpected()),
        };
        let anew = self.of.as_ref().is_some_and(|of| *of != id);
        if anew || from > self.at {
            let why = "the other side began anew: what was received before does not go on";
            let theirs = "the other side received something else before: start it anew, too";
            out.control(&Said::Refused { why: theirs.to_owned() }).await?;
            // Until it is read there.
            while into.next::<Said>().await.is_ok_and(|piece| piece.is_some()) {}
            return Err(Ended::Failed(why.to_owned()));
        }
        self.of = Some(id);
        out.control(&Said::At { offset: self.at }).await?;
        loop {
            match into.next().await? {
                Some(Piece::Data(data)) => {
                    let length = data.len();
                    self.output.send(Output::Data(data)).await.map_err(|_| closed())?;
                    self.at += length as u64;
                    into.taken(length).await?;
                }
                Some(Piece::Control(Said::End)) => break,
                None => return Err(Ended::Broken),
                Some(_) => return Err(unexpected()),
            }
        }
        let (flushed, is_flushed) = oneshot::channel();
        self.output.send(Output::Flush(flushed)).await.map_err(|_| closed())?;
        is_flushed.await.map_err(|_| closed())?.map_err(|_| closed())?;
        self.done = true;
        out.control(&Said::Done { bytes: self.at }).await?;
        // The sender drops the channel when it read that.
        while into.next::<Said>().await.is_ok_and(|piece| piece.is_some()) {}
        Ok(())
    }
}

fn closed() -> Ended {
    Ended::Failed("standard output was closed".to_owned())
}

fn unexpected() -> Ended {
    Broken::NotUnderstood("not what a pipe says here".to_owned()).into()
}

/// Reads on a thread: reading standard input cannot be given up. A piece ahead of what is sent, no more.
fn read(mut input: impl io::Read + Send + 'static) -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (pieces, read) = mpsc::channel(1);
    thread::spawn(move || {
        let mut buffer = vec![0; PIECE];
        loop {
            let piece = match input.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => Ok(buffer[..length].to_vec()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let failed = piece.is_err();
            if pieces.blocking_send(piece).is_err() || failed {
                break;
            }
        }
    });
    read
}

/// Writes on a thread. What is on its way there is less than [`WINDOW`].
fn write(mut output: impl io::Write + Send + 'static) -> mpsc::Sender<Output> {
    let pieces = usize::try_from(WINDOW).unwrap_or(usize::MAX) / PIECE / 4;
    let (sender, mut written) = mpsc::channel(pieces);
    thread::spawn(move || {
        while let Some(next) = written.blocking_recv() {
            match next {
                Output::Data(data) => {
                    // At once: somebody may look at it.
                    if output.write_all(&data).and_then(|()| output.flush()).is_err() {
                        break;
                    }
                }
                Output::Flush(flushed) => drop(flushed.send(output.flush())),
            }
        }
    });
    sender
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;
    use crate::tools::written::{overhear, written};

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn pipe(seed: u64, input: Vec<u8>) -> (Pipe, Written) {
        let written = Written::default();
        let pipe = Pipe::new(&mut StdRng::seed_from_u64(seed), io::Cursor::new(input), written.clone());
        (pipe, written)
    }

    fn bytes(count: usize) -> Vec<u8> {
        (0..count).map(|index| (index * 7 + index / 251) as u8).collect()
    }

    #[tokio::test]
    async fn all_arrives_and_both_know() {
        let all = bytes(10_000_000);
        let ((mut alice, _), (mut bob, written)) = (pipe(1, all.clone()), pipe(2, Vec::new()));
        let (one, other) = Channel::pair("connectoid.pipe");
        let (sent, received) = tokio::join!(alice.out.run(one), bob.into.run(other));
        assert!(sent.is_ok() && received.is_ok());
        assert!(alice.out.done && bob.into.done);
        assert!(*written.0.lock().unwrap() == all);
    }

    #[tokio::test]
    async fn the_conversation_is_the_one_in_the_document() {
        let ((mut alice, _), (mut bob, _)) = (pipe(1, b"Bread, please\n".to_vec()), pipe(2, Vec::new()));
        let ((one, near), (far, other)) =
            (Channel::pair("connectoid.pipe"), Channel::pair("connectoid.pipe"));
        let (mut said, sent, received) =
            tokio::join!(overhear(near, far), alice.out.run(one), bob.into.run(other));
        assert!(sent.is_ok() && received.is_ok());
        assert_eq!(said.0[0]["id"].as_str().unwrap().len(), 22);
        said.0[0]["id"] = "…".into();
        assert_eq!(said, written("The pipe"));
    }

    #[tokio::test]
    async fn a_pipe_goes_on_in_the_next_session() {
        let all = bytes(9_000_000);
        let ((mut alice, _), (mut bob, written)) = (pipe(1, all.clone()), pipe(2, Vec::new()));
        let mut sessions = 0;
        while !alice.out.done {
            sessions += 1;
            let (one, other) = Channel::pair("connectoid.pipe");
            let receiving = async {
                // Breaks somewhere on the way, twice.
                let until = if sessions < 3 { sessions as usize * 2_500_000 } else { usize::MAX };
                let breaks = async {
                    while written.0.lock().unwrap().len() < until {
                        tokio::task::yield_now().await;
                    }
                };
                tokio::select! {
                    ended = bob.into.run(other) => ended,
                    () = breaks => Err(Ended::Broken),
                }
            };
            let (sent, _) = tokio::join!(alice.out.run(one), receiving);
            assert!(matches!(sent, Ok(()) | Err(Ended::Broken)));
        }
        assert_eq!(sessions, 3);
        assert!(*written.0.lock().unwrap() == all);
    }

    #[tokio::test]
    async fn somebody_who_began_anew_is_told() {
        let ((mut alice, _), (mut bob, _)) = (pipe(1, bytes(100)), pipe(2, Vec::new()));
        bob.into.of = Some("another".to_owned());
        bob.into.at = 7;
        let (one, other) = Channel::pair("connectoid.pipe");
        let (sent, received) = tokio::join!(alice.out.run(one), bob.into.run(other));
        let told = |ended: Result<(), Ended>| match ended {
            Err(Ended::Failed(why)) => why,
            _ => panic!("it went on"),
        };
        assert_eq!(told(sent), "the other side received something else before: start it anew, too");
        assert_eq!(told(received), "the other side began anew: what was received before does not go on");
    }

    #[test]
    fn what_was_taken_is_forgotten() {
        let (mut alice, _) = pipe(1, Vec::new());
        alice.out.kept = VecDeque::from([vec![1; 10], vec![2; 10], vec![3; 10]]);
        alice.out.read = 30;
        assert_eq!(alice.out.forget(15).unwrap(), 1);
        assert_eq!((alice.out.kept_from, alice.out.kept[0].len(), alice.out.kept.len()), (15, 5, 2));
        assert!(alice.out.forget(14).is_err());
        assert_eq!(alice.out.forget(30).unwrap(), 2);
        assert_eq!((alice.out.kept_from, alice.out.kept.len()), (30, 0));
    }
}
