//! The side that sends: looks at what there is, lists it, and streams what the other side does not have.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File, Metadata},
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::fs::{Mode, OFlags};
use sha2::{Digest as _, Sha256};
use tokio::{
    select,
    sync::{Semaphore, mpsc},
    task::spawn_blocking,
};

use super::{
    FilesError, Phase, Progress, Status,
    paths::{self, MOST_BYTES, MOST_ENTRIES, MOST_PATH_BYTES},
    quoted,
    wire::{BATCH, Entry, FromReceiver, FromSender, Hash, MOST_HAVES, UNANSWERED, VERSION},
};
use crate::{
    tools::flow::{Inflow, Outflow, PIECE, Piece, flow},
    webrtc::Channel,
};

/// So many pieces are read ahead, 2 MiB.
const READ_AHEAD: usize = 32;

/// What is to be sent. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    entries: Arc<[Planned]>,
    /// How many files.
    pub(crate) files: u64,
    /// How many bytes they have.
    pub(crate) bytes: u64,
    /// What is left out.
    pub(crate) skipped: Vec<Skipped>,
}

/// Something that is not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Skipped {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// What it is.
    pub(crate) why: &'static str,
}

#[derive(Debug)]
struct Planned {
    entry: Entry,
    source: PathBuf,
    modified: Option<SystemTime>,
}

/// What was sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    /// The files that are in their places at the other side, and their bytes.
    pub(crate) files: u64,
    /// See `files`.
    pub(crate) bytes: u64,
    /// How many of the files were there already.
    pub(crate) already: u64,
    /// How many of the bytes were there already, in them and in beginnings of others.
    pub(crate) skipped: u64,
    /// Files that changed or went away in the meantime: the other side does not have them.
    pub(crate) unsent: Vec<Unsent>,
}

/// A file that could not be sent as it was listed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unsent {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// What happened to it.
    pub(crate) why: String,
}

/// Looks at files and folders, each with all that is in it, and opens every file once. Reads from the disk: not for async threads.
///
/// # Errors
/// If one of them cannot be read or sent: nothing is to be sent then.
pub(crate) fn scan(paths: &[PathBuf]) -> Result<Plan, FilesError> {
    let mut scan = Scan::default();
    let mut tops = HashSet::new();
    for path in paths {
        // A link that was named is followed.
        let source = fs::canonicalize(path).map_err(|error| not_sendable(path, error))?;
        let named = match path.file_name() {
            Some(name) => name,
            None => source.file_name().ok_or_else(|| not_sendable(path, "name the folders in it"))?,
        };
        let name = utf8(path, named)?;
        if !tops.insert(name.clone()) {
            return Err(not_sendable(
                path,
                format!("there are two named {name:?}: send one after the other"),
            ));
        }
        let found = fs::metadata(&source).map_err(|error| not_sendable(path, error))?;
        if !found.is_file() && !found.is_dir() {
            return Err(not_sendable(path, "neither a file nor a folder"));
        }
        scan.take(&source, name, &found)?;
    }
    let Scan { entries, skipped, bytes, .. } = scan;
    let files = entries.iter().filter(|planned| !planned.entry.dir).count() as u64;
    Ok(Plan { entries: entries.into(), files, bytes, skipped })
}

#[derive(Default)]
struct Scan {
    entries: Vec<Planned>,
    skipped: Vec<Skipped>,
    bytes: u64,
    path_bytes: usize,
}

impl Scan {
    fn take(&mut self, source: &Path, path: String, found: &Metadata) -> Result<(), FilesError> {
        if let Some(wrong) = paths::wrong_with(&path) {
            return Err(not_sendable(source, format!("the path {wrong}: rename it to send it")));
        }
        if found.is_file() {
            open(source).map_err(|error| not_sendable(source, error))?;
            self.bytes = self.bytes.saturating_add(found.len());
            if self.bytes > MOST_BYTES {
                return Err(not_sendable(source, "these are more bytes than can be counted"));
            }
            let modified = found.modified().ok();
            let mtime = modified.map(milliseconds).filter(|mtime| paths::is_time(*mtime));
            let entry =
                Entry { path, dir: false, size: Some(found.len()), mtime, exec: is_executable(found) };
            return self.add(Planned { entry, source: source.to_owned(), modified });
        }
        let mut children: Vec<_> = fs::read_dir(source)
            .and_then(Iterator::collect)
            .map_err(|error: io::Error| not_sendable(source, error))?;
        children.sort_by_key(fs::DirEntry::file_name);
        let before = self.entries.len();
        for child in children {
            let source = child.path();
            let name = child.file_name();
            let found = fs::symlink_metadata(&source).map_err(|error| not_sendable(&source, error))?;
            let why = if found.is_symlink() {
                "a symbolic link"
            } else if !found.is_file() && !found.is_dir() {
                "neither a file nor a folder"
            } else if name.to_str().is_some_and(paths::is_part) {
                "an unfinished file of a transfer"
            } else {
                let name = utf8(&source, &name)?;
                self.take(&source, format!("{path}/{name}"), &found)?;
                continue;
            };
            self.skipped.push(Skipped { path: source, why });
        }
        if self.entries.len() > before {
            return Ok(());
        }
        let entry = Entry { path, dir: true, size: None, mtime: None, exec: false };
        self.add(Planned { entry, source: source.to_owned(), modified: None })
    }

    fn add(&mut self, planned: Planned) -> Result<(), FilesError> {
        self.path_bytes += planned.entry.path.len();
        if self.entries.len() == MOST_ENTRIES || self.path_bytes > MOST_PATH_BYTES {
            return Err(FilesError::TooMany);
        }
        self.entries.push(planned);
        Ok(())
    }
}

fn not_sendable(path: &Path, why: impl ToString) -> FilesError {
    FilesError::NotSendable { path: path.to_owned(), why: why.to_string() }
}

fn utf8(path: &Path, name: &std::ffi::OsStr) -> Result<String, FilesError> {
    let name =
        name.to_str().ok_or_else(|| not_sendable(path, "its name is not UTF-8: rename it to send it"))?;
    Ok(name.to_owned())
}

fn is_executable(found: &Metadata) -> bool {
    std::os::unix::fs::PermissionsExt::mode(&found.permissions()) & 0o100 != 0
}

/// Unix time, negative before 1970.
fn milliseconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(0),
        Err(before) => i64::try_from(before.duration().as_micros().div_ceil(1000)).map_or(0, |ms| -ms),
    }
}

/// Opens what was found to be a file, and waits for nobody if it has become something else.
fn open(source: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(source, flags, Mode::empty())?))
}

/// Sends what was planned. After a failure [`scan`] again, and what is there is not sent again.
///
/// # Errors
/// If the connection ends, or the other side refuses or misbehaves. What changed meanwhile is no error: see [`Sent::unsent`].
pub(crate) async fn send(
    plan: &Plan,
    channel: Channel,
    progress: &impl Progress,
) -> Result<Sent, FilesError> {
    let (mut out, mut into) = flow(channel);
    let haves = offer(plan, &out, &mut into).await?;
    let (steps_of, mut steps) = mpsc::channel(READ_AHEAD);
    let (again, again_of) = mpsc::unbounded_channel();
    let reader = Reader { entries: plan.entries.clone(), haves, steps: steps_of };
    let reading = spawn_blocking(move || reader.run(again_of));
    let room = Semaphore::new(UNANSWERED);
    let (ended, mut unanswered) = mpsc::unbounded_channel();
    let mut told = Told { plan, progress, file: 0, at: 0, done: 0, skipped: 0, begun: HashMap::new() };
    let mut sent = Sent { files: 0, bytes: 0, already: 0, skipped: 0, unsent: Vec::new() };

    let outgoing = async {
        while let Some(step) = steps.recv().await {
            told.step(&step);
            match step {
                Step::Checking { .. } => {}
                Step::File { file, from, .. } => out.control(&FromSender::File { file, from }).await?,
                Step::Data(data) => out.data(data).await?,
                Step::End { file, sha256, already } => {
                    if let Ok(place) = room.acquire().await {
                        place.forget();
                    }
                    drop(ended.send(Ended::Whole { file, already }));
                    out.control(&FromSender::End { file, sha256 }).await?;
                }
                Step::Changed { file, why } => {
                    drop(ended.send(Ended::Changed { file, why }));
                    out.control(&FromSender::Changed { file }).await?;
                }
            }
        }
        Ok::<_, FilesError>(())
    };
    let incoming = async {
        let mut damaged = HashSet::new();
        // The file that the next answer is about. Those that need none go before it.
        let mut next = |sent: &mut Sent| loop {
            match unanswered.try_recv() {
                Ok(Ended::Changed { file, why }) => {
                    sent.unsent.push(Unsent { path: plan.entries[file].source.clone(), why });
                }
                Ok(Ended::Whole { file, already }) => return Some((file, already)),
                Err(_) => return None,
            }
        };
        loop {
            match hear(&mut into).await? {
                FromReceiver::Kept { file } => {
                    let ended = next(&mut sent).filter(|(ended, _)| *ended == file);
                    let (_, already) =
                        ended.ok_or_else(|| misbehaves("it keeps a file that was not sent"))?;
                    sent.files += 1;
                    sent.bytes += plan.size(file);
                    sent.already += u64::from(already);
                    room.add_permits(1);
                }
                FromReceiver::Bad { file } => {
                    let ended = next(&mut sent).filter(|(ended, _)| *ended == file);
                    if ended.is_none() || !damaged.insert(file) {
                        return Err(misbehaves("it calls a file bad that was not sent"));
                    }
                    room.add_permits(1);
                    let _ = again.send(file);
                }
                FromReceiver::Done { files, bytes } => {
                    let rest = next(&mut sent);
                    let complete = sent.files + sent.unsent.len() as u64 == plan.files;
                    if rest.is_some() || !complete || (files, bytes) != (sent.files, sent.bytes) {
                        return Err(misbehaves("it is done before it has all"));
                    }
                    return Ok(sent);
                }
                FromReceiver::Refused { why } => return Err(FilesError::Refused(quoted(&why))),
                FromReceiver::Have { .. } | FromReceiver::Go => {
                    return Err(misbehaves("it says what it has after it said go"));
                }
            }
        }
    };
    let done = {
        let (mut outgoing, mut incoming) = (pin!(outgoing), pin!(incoming));
        select! {
            done = &mut incoming => done,
            // The end of the channel is seen at its other half too, behind the words of the other side.
            _ = &mut outgoing => incoming.await,
        }
    };
    drop((steps, again));
    drop(reading.await);
    done.map(|sent| Sent { skipped: told.skipped, ..sent })
}

/// A file that was sent, and what became of it here.
enum Ended {
    Whole { file: usize, already: bool },
    Changed { file: usize, why: String },
}

/// What the other side has of each file: so many bytes, with this hash.
type Haves = HashMap<usize, Vec<(u64, Hash)>>;

/// Lists what is planned, and hears what the other side has of it.
async fn offer(plan: &Plan, out: &Outflow, into: &mut Inflow) -> Result<Haves, FilesError> {
    let listed = std::sync::atomic::AtomicBool::new(false);
    let ordering = std::sync::atomic::Ordering::Relaxed;
    let listing = async {
        list(plan, out).await?;
        listed.store(true, ordering);
        Ok::<_, FilesError>(())
    };
    let hearing = async {
        let mut haves = Haves::new();
        loop {
            match hear(into).await? {
                FromReceiver::Refused { why } => return Err(FilesError::Refused(quoted(&why))),
                _ if !listed.load(ordering) => return Err(misbehaves("it does not wait for the listing")),
                FromReceiver::Have { file, bytes, sha256 } => {
                    let planned = plan.entries.get(file).and_then(|planned| planned.entry.size);
                    if planned.is_none_or(|size| bytes > size) {
                        return Err(misbehaves("it has more of a file than there is"));
                    }
                    let of_file = haves.entry(file).or_default();
                    if of_file.len() == MOST_HAVES {
                        return Err(misbehaves("it has too many beginnings of one file"));
                    }
                    of_file.push((bytes, sha256));
                }
                FromReceiver::Go => return Ok(haves),
                _ => return Err(misbehaves("it answers before it says go")),
            }
        }
    };
    let (mut listing, mut hearing) = (pin!(listing), pin!(hearing));
    select! {
        heard = &mut hearing => heard,
        // If it failed, the other half of the channel has the reason.
        _ = &mut listing => hearing.await,
    }
}

async fn list(plan: &Plan, out: &Outflow) -> Result<(), FilesError> {
    let mut entries = Vec::new();
    let mut length = 0;
    for Planned { entry, .. } in plan.entries.iter() {
        // What stands around a path, with the longest numbers.
        let more = entry.path.len() + 80;
        if length + more > BATCH && !entries.is_empty() {
            out.control(&FromSender::List { v: VERSION, entries: std::mem::take(&mut entries) }).await?;
            length = 0;
        }
        length += more;
        entries.push(entry.clone());
    }
    out.control(&FromSender::List { v: VERSION, entries }).await?;
    out.control(&FromSender::Listed { files: plan.files, bytes: plan.bytes }).await?;
    Ok(())
}

async fn hear(into: &mut Inflow) -> Result<FromReceiver, FilesError> {
    match into.next().await? {
        Some(Piece::Control(said)) => Ok(said),
        Some(Piece::Data(_)) => Err(misbehaves("it sends data")),
        None => Err(FilesError::Ended),
    }
}

fn misbehaves(what: &str) -> FilesError {
    FilesError::Misbehaves(what.to_owned())
}

impl Plan {
    fn size(&self, file: usize) -> u64 {
        self.entries.get(file).and_then(|planned| planned.entry.size).unwrap_or(0)
    }
}

/// What the reader read, in the order in which it goes out.
enum Step {
    Checking { file: usize, bytes: u64 },
    File { file: usize, from: u64 },
    Data(Vec<u8>),
    End { file: usize, sha256: Hash, already: bool },
    Changed { file: usize, why: String },
}

/// Reads the files, on a thread of its own.
struct Reader {
    entries: Arc<[Planned]>,
    haves: Haves,
    steps: mpsc::Sender<Step>,
}

/// Why a file was not read to its end.
enum Stopped {
    /// Nobody waits for it.
    Gone,
    Changed(String),
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Changed(CHANGED.to_owned()),
            _ => Self::Changed(error.to_string()),
        }
    }
}

const CHANGED: &str = "it changed while it was sent";

impl Reader {
    /// All of them in order, and then those that are asked for again.
    fn run(mut self, mut again: mpsc::UnboundedReceiver<usize>) {
        for file in 0..self.entries.len() {
            if !self.entries[file].entry.dir && self.file(file).is_err() {
                return;
            }
        }
        while let Some(file) = again.blocking_recv() {
            if self.file(file).is_err() {
                return;
            }
        }
    }

    fn file(&mut self, file: usize) -> Result<(), Stopped> {
        match self.stream(file) {
            Err(Stopped::Changed(why)) => self.step(Step::Changed { file, why }),
            streamed => streamed,
        }
    }

    fn stream(&mut self, file: usize) -> Result<(), Stopped> {
        let entries = self.entries.clone();
        let Some(planned) = entries.get(file) else { return Ok(()) };
        let size = planned.entry.size.unwrap_or(0);
        let unchanged = |source: &File| {
            let found = source.metadata()?;
            let same = found.is_file() && found.len() == size && found.modified().ok() == planned.modified;
            if same { Ok(()) } else { Err(Stopped::Changed(CHANGED.to_owned())) }
        };
        let mut source = open(&planned.source)?;
        unchanged(&source)?;
        let (mut at, mut hash, already) = self.agreed(file, &mut source, size)?;
        source.seek(SeekFrom::Start(at))?;
        self.step(Step::File { file, from: at })?;
        while at < size {
            let mut piece = vec![0; (size - at).min(PIECE as u64) as usize];
            source.read_exact(&mut piece)?;
            hash.update(&piece);
            at += piece.len() as u64;
            self.step(Step::Data(piece))?;
        }
        unchanged(&source)?;
        self.step(Step::End { file, sha256: Hash(hash.finalize().into()), already })
    }

    /// How much of a file the other side has, the hash of that, and whether it is all of it.
    fn agreed(&mut self, file: usize, source: &mut File, size: u64) -> Result<(u64, Sha256, bool), Stopped> {
        let mut haves = self.haves.remove(&file).unwrap_or_default();
        haves.sort_unstable_by_key(|(bytes, _)| *bytes);
        let mut agreed = (0, Sha256::new(), false);
        let (mut at, mut hash) = (0, Sha256::new());
        let mut buffer = vec![0; if haves.is_empty() { 0 } else { 16 * PIECE }];
        for (bytes, theirs) in haves {
            while at < bytes {
                let piece = &mut buffer[..(bytes - at).min(16 * PIECE as u64) as usize];
                source.read_exact(piece)?;
                hash.update(&*piece);
                at += piece.len() as u64;
                self.step(Step::Checking { file, bytes: at })?;
            }
            if Hash(hash.clone().finalize().into()) == theirs {
                agreed = (bytes, hash.clone(), bytes == size);
            }
        }
        Ok(agreed)
    }

    fn step(&self, step: Step) -> Result<(), Stopped> {
        self.steps.blocking_send(step).map_err(|_| Stopped::Gone)
    }
}

/// Tells how far it is.
struct Told<'a, P> {
    plan: &'a Plan,
    progress: &'a P,
    /// The file that is sent, and how far.
    file: usize,
    at: u64,
    /// How much is done of the files that were begun, and how much of it was there before: what is sent again counts once.
    done: u64,
    skipped: u64,
    begun: HashMap<usize, u64>,
}

impl<P: Progress> Told<'_, P> {
    fn step(&mut self, step: &Step) {
        match step {
            Step::Checking { file, bytes } => {
                self.file = *file;
                return self.tell(Phase::Checking, *bytes);
            }
            Step::File { file, from } => {
                // Sent again: all of it is new.
                if let Some(from) = self.begun.insert(*file, *from) {
                    self.done -= self.plan.size(*file);
                    self.skipped -= from;
                }
                (self.file, self.at) = (*file, *from);
                self.skipped += from;
            }
            Step::Data(data) => self.at += data.len() as u64,
            Step::End { file, .. } | Step::Changed { file, .. } => {
                if let Step::Changed { .. } = step {
                    self.skipped -= self.begun.remove(file).unwrap_or(0);
                }
                self.file = *file;
                self.done += self.plan.size(*file);
                self.at = 0;
            }
        }
        self.tell(Phase::Moving, self.at);
    }

    fn tell(&self, phase: Phase, of_file: u64) {
        let Some(planned) = self.plan.entries.get(self.file) else { return };
        let (path, total) = (planned.entry.path.as_str(), self.plan.bytes);
        let bytes = (self.done + of_file).min(total);
        self.progress.at(&Status { phase, path, bytes, total, skipped: self.skipped });
    }
}
