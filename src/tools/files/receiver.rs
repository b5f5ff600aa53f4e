//! The side that receives: says what it has, writes what comes beside its place, and moves it there once its hash is right.
//!
//! [`receive`] talks, [`Landing`] is the work on the disk, in a thread of its own.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::Path,
    sync::Arc,
};

use rustix::fs::Stat;
use sha2::{Digest as _, Sha256};
use tokio::{
    select,
    sync::mpsc,
    task::{JoinError, spawn_blocking},
};

use super::{
    FilesError, Phase, Progress, Status,
    paths::{ListedFile, Listing, folder_and_name, numbered, part_name},
    place::{self, Folder, MOST_NAMES, Part},
    wire::{FromReceiver, FromSender, Hash, MOST_HAVES, VERSION},
};
use crate::{
    tools::flow::{Inflow, Outflow, Piece, flow},
    webrtc::Channel,
};

/// So many messages wait for the disk; what is more waits for its turn at the channel.
const WAITING: usize = 256;

/// So many transfers may receive the same file at once.
const SLOTS: usize = 8;

/// What the other side wants to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offer {
    /// How many files.
    pub(crate) files: u64,
    /// How many bytes they have.
    pub(crate) bytes: u64,
    /// The names of the files and folders at the top. The other side chose them.
    pub(crate) names: Vec<String>,
}

/// What was received.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Received {
    /// The files that are in their places, and their bytes.
    pub(crate) files: u64,
    /// See `files`.
    pub(crate) bytes: u64,
    /// How many of the files were there already.
    pub(crate) already: u64,
    /// How many of the bytes were there already, in them and in beginnings of others.
    pub(crate) skipped: u64,
    /// Files whose name was taken by another: their path as it was sent, and the path at which they are.
    pub(crate) renamed: Vec<(String, String)>,
    /// Files that changed at the other side in the meantime, and are not here.
    pub(crate) changed: Vec<String>,
}

/// Receives files into a folder. `accept` is asked before anything is read or written.
///
/// # Errors
/// If it is declined, the connection ends, the other side misbehaves, or the disk does not take it. What came is kept, and
/// does not come again the next time.
pub(crate) async fn receive<F: Future<Output = bool>>(
    dir: &Path,
    channel: Channel,
    accept: impl FnOnce(Offer) -> F,
    progress: &impl Progress,
) -> Result<Received, FilesError> {
    let (out, mut into) = flow(channel);
    let received = take(dir, &out, &mut into, accept, progress).await;
    if let Err(error) = &received
        && !matches!(error, FilesError::Ended)
    {
        // The other side's person reads it. If the channel is gone, too, this one has the reason.
        drop(out.control(&FromReceiver::Refused { why: for_the_other_side(error) }).await);
    }
    received.map_err(|error| match error {
        FilesError::Disk { path, error } if path.as_os_str().is_empty() => FilesError::disk(dir, error),
        FilesError::Disk { path, error } => FilesError::disk(dir.join(path), error),
        error => error,
    })
}

/// The error without the paths of this machine.
fn for_the_other_side(error: &FilesError) -> String {
    match error {
        FilesError::Declined => "it does not want it".to_owned(),
        FilesError::Disk { error, .. } => format!("it cannot write: {error}"),
        FilesError::InTheWay(path) => format!("{path:?} is there, and is not a folder"),
        FilesError::Misbehaves(what) => format!("not by the protocol: {what}"),
        error => error.to_string(),
    }
}

async fn take<F: Future<Output = bool>>(
    dir: &Path,
    out: &Outflow,
    into: &mut Inflow,
    accept: impl FnOnce(Offer) -> F,
    progress: &impl Progress,
) -> Result<Received, FilesError> {
    let folder = dir.to_owned();
    let folder = on_disk(move || Folder::open(&folder).map_err(|error| FilesError::disk("", error))).await?;
    let listing = listing(into).await?;
    let (listing, names) = on_disk(move || listing.check().map(|()| (listing.top(), listing)))
        .await
        .map(|(names, listing)| (Arc::new(listing), names))?;
    let offer = Offer { files: listing.files, bytes: listing.bytes, names };
    let accepted = select! {
        biased;
        accepted = accept(offer) => accepted,
        // Nothing is to come now but the end.
        early = into.next::<FromSender>() => return Err(match early? {
            None => FilesError::Ended,
            Some(_) => misbehaves("it does not wait until it may send"),
        }),
    };
    if !accepted {
        return Err(FilesError::Declined);
    }

    let (works, works_of) = mpsc::channel(WAITING);
    let (events_of, mut events) = mpsc::unbounded_channel();
    let landing = Landing::new(folder, listing.clone(), events_of);
    let landed = spawn_blocking(move || landing.run(works_of));
    let ended = loop {
        select! {
            event = events.recv() => {
                let Some(event) = event else { break Ok(()) };
                // If the other side is gone, what it sent before is written all the same.
                drop(tell(event, &listing, out, into, progress).await);
            }
            piece = into.next() => match piece {
                Ok(Some(piece)) => if works.send(piece).await.is_err() { break Ok(()) },
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            },
        }
    };
    drop((works, events));
    let landed = landed.await.map_err(|panic| FilesError::disk("", io::Error::other(panic)))?;
    ended?;
    let received = landed?;
    drop(out.control(&FromReceiver::Done { files: received.files, bytes: received.bytes }).await);
    Ok(received)
}

async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FilesError> + Send + 'static,
) -> Result<T, FilesError> {
    let panicked = |panic: JoinError| FilesError::disk("", io::Error::other(panic));
    spawn_blocking(work).await.map_err(panicked)?
}

/// What the sender lists.
async fn listing(into: &mut Inflow) -> Result<Listing, FilesError> {
    let mut listing = Listing::default();
    loop {
        match into.next().await? {
            None => return Err(FilesError::Ended),
            Some(Piece::Control(FromSender::List { v: VERSION, entries })) => {
                entries.into_iter().try_for_each(|entry| listing.add(entry))?;
            }
            Some(Piece::Control(FromSender::List { v, .. })) => {
                return Err(FilesError::Misbehaves(format!("it speaks version {v}, and here is version 1")));
            }
            Some(Piece::Control(FromSender::Listed { files, bytes })) => {
                if (files, bytes) != (listing.files, listing.bytes) {
                    return Err(misbehaves("it lists other files than it says"));
                }
                return Ok(listing);
            }
            Some(_) => return Err(misbehaves("it sends before it has listed")),
        }
    }
}

fn misbehaves(what: &str) -> FilesError {
    FilesError::Misbehaves(what.to_owned())
}

/// What the thread at the disk has to say.
enum Event {
    Say(FromReceiver),
    /// So many bytes are out of memory.
    Taken(usize),
    At {
        phase: Phase,
        file: usize,
        bytes: u64,
        total: u64,
        skipped: u64,
    },
}

async fn tell(
    event: Event,
    listing: &Listing,
    out: &Outflow,
    into: &mut Inflow,
    progress: &impl Progress,
) -> Result<(), FilesError> {
    match event {
        Event::Say(said) => out.control(&said).await?,
        Event::Taken(bytes) => into.taken(bytes).await?,
        Event::At { phase, file, bytes, total, skipped } => {
            if let Some(listed) = listing.entries.get(file) {
                progress.at(&Status { phase, path: &listed.path, bytes, total, skipped });
            }
        }
    }
    Ok(())
}

/// The work on the disk.
struct Landing {
    folder: Folder,
    listing: Arc<Listing>,
    events: mpsc::UnboundedSender<Event>,
    here: HashMap<usize, Here>,
    /// How far the sender is in the listing, and what it is to send again.
    next: usize,
    again: VecDeque<usize>,
    damaged: HashSet<usize>,
    current: Option<Current>,
    received: Received,
    /// The bytes of the files that are done.
    done: u64,
}

/// What is here of a file.
#[derive(Default)]
struct Here {
    /// A beginning.
    part: Option<Beginning>,
    /// Files of its name and size.
    wholes: Vec<Whole>,
}

struct Beginning {
    slot: usize,
    bytes: u64,
    hash: Sha256,
}

struct Whole {
    name: String,
    hash: Hash,
    found: Stat,
}

/// The file that comes.
struct Current {
    file: usize,
    from: u64,
    at: u64,
    hash: Sha256,
    /// Where it is written; `None` as long as there is no need to.
    open: Option<(usize, File)>,
    /// What was to go on is no longer what it was.
    spoiled: bool,
}

impl Landing {
    fn new(folder: Folder, listing: Arc<Listing>, events: mpsc::UnboundedSender<Event>) -> Self {
        Self {
            folder,
            listing,
            events,
            here: HashMap::new(),
            next: 0,
            again: VecDeque::new(),
            damaged: HashSet::new(),
            current: None,
            received: Received::default(),
            done: 0,
        }
    }

    /// All of it, from what is here already to the last file; as far as the sender comes.
    fn run(mut self, mut works: mpsc::Receiver<Piece<FromSender>>) -> Result<Received, FilesError> {
        self.look()?;
        self.say(FromReceiver::Go);
        self.skip_folders();
        while !self.is_complete() {
            match works.blocking_recv() {
                None => return Err(FilesError::Ended),
                Some(Piece::Data(data)) => {
                    self.data(&data)?;
                    self.event(Event::Taken(data.len()));
                }
                Some(Piece::Control(FromSender::File { file, from })) => self.file(file, from)?,
                Some(Piece::Control(FromSender::End { file, sha256 })) => self.end(file, sha256)?,
                Some(Piece::Control(FromSender::Changed { file })) => self.changed(file)?,
                Some(Piece::Control(_)) => return Err(misbehaves("it lists more after it has listed")),
            }
        }
        self.complete()
    }

    /// Looks at what is here of each file, and says it.
    fn look(&mut self) -> Result<(), FilesError> {
        let listing = self.listing.clone();
        let mut found = Vec::new();
        let (mut to_check, mut to_come) = (0, 0);
        for (file, entry) in listing.entries.iter().enumerate() {
            if self.events.is_closed() {
                return Err(FilesError::Ended);
            }
            let Some(listed) = entry.file else {
                self.folder.enter(&entry.path, false)?;
                continue;
            };
            let (parent, name) = folder_and_name(&entry.path);
            let Some(folder) = self.folder.enter(parent, false)? else {
                to_come += listed.size;
                continue;
            };
            let failed = |error| FilesError::disk(&entry.path, error);
            let part = first_part(&folder, name).map_err(failed)?;
            let part = part.filter(|(_, bytes)| (1..=listed.size).contains(bytes));
            let wholes = wholes(&folder, name, listed.size).map_err(failed)?;
            let here = if wholes.is_empty() { part.map_or(0, |(_, bytes)| bytes) } else { listed.size };
            to_come += listed.size - here;
            to_check += part.map_or(0, |(_, bytes)| bytes) + wholes.len() as u64 * listed.size;
            if part.is_some() || !wholes.is_empty() {
                found.push((file, listed.size, part, wholes));
            }
        }
        if let Some(free) = self.folder.free().filter(|free| *free < to_come) {
            return Err(FilesError::NoRoom { needed: to_come, free });
        }

        let mut checked = 0;
        for (file, size, part, wholes) in found {
            let Some(entry) = listing.entries.get(file) else { continue };
            let (parent, name) = folder_and_name(&entry.path);
            let Some(folder) = self.folder.enter(parent, false)? else { continue };
            let failed = |error| FilesError::disk(&entry.path, error);
            let mut here = Here::default();
            let events = self.events.clone();
            let mut tick = |bytes| {
                checked += bytes;
                let at =
                    Event::At { phase: Phase::Checking, file, bytes: checked, total: to_check, skipped: 0 };
                events.send(at).is_ok()
            };
            if let Some((slot, bytes)) = part
                && let Part::Open(mut open) =
                    place::open_part(&folder, &part_name(name, slot), false).map_err(failed)?
                && let Some(hash) = hash_of(&mut open, bytes, &mut tick).map_err(failed)?
            {
                here.part = Some(Beginning { slot, bytes, hash });
            }
            for name in wholes {
                let Ok((mut open, found)) = place::open_whole(&folder, &name) else { continue };
                if !place::is_file(&found) || u64::try_from(found.st_size) != Ok(size) {
                    continue;
                }
                // One that cannot be read is only one that is different.
                if let Ok(Some(hash)) = hash_of(&mut open, size, &mut tick) {
                    here.wholes.push(Whole { name, hash: Hash(hash.finalize().into()), found });
                }
            }
            if self.events.is_closed() {
                return Err(FilesError::Ended);
            }
            let part = here.part.iter().map(|part| (part.bytes, Hash(part.hash.clone().finalize().into())));
            let wholes = here.wholes.iter().map(|whole| (size, whole.hash));
            for (bytes, sha256) in part.chain(wholes) {
                self.say(FromReceiver::Have { file, bytes, sha256 });
            }
            self.here.insert(file, here);
        }
        Ok(())
    }

    fn file(&mut self, file: usize, from: u64) -> Result<(), FilesError> {
        let listed = self.expected(file)?;
        if self.current.is_some() {
            return Err(misbehaves("it begins a file within another"));
        }
        let here = self.here.get(&file);
        let part = here.and_then(|here| here.part.as_ref()).filter(|part| part.bytes == from && from > 0);
        let whole = here.is_some_and(|here| !here.wholes.is_empty()) && from == listed.size;
        if self.damaged.contains(&file) && from > 0 {
            return Err(misbehaves("it does not send a damaged file from its beginning"));
        }
        let hash = match part {
            Some(part) => part.hash.clone(),
            None if from == 0 || whole => Sha256::new(),
            None => return Err(misbehaves("it goes on from where nothing is")),
        };
        let slot = part.map(|part| part.slot);
        let mut current = Current { file, from, at: from, hash, open: None, spoiled: false };
        if let Some(slot) = slot {
            current.open = self.reopen(file, slot, from)?;
            current.spoiled = current.open.is_none() && !whole;
        }
        self.received.skipped += from;
        self.current = Some(current);
        self.at();
        Ok(())
    }

    fn data(&mut self, data: &[u8]) -> Result<(), FilesError> {
        let Some(mut current) = self.current.take() else {
            return Err(misbehaves("it sends data of no file"));
        };
        let Some((listed, path)) = self.listed(current.file) else { return Ok(()) };
        current.at += data.len() as u64;
        if current.at > listed.size {
            return Err(FilesError::Misbehaves(format!("it sends more of {path:?} than it said")));
        }
        if !current.spoiled {
            let (_, open) = match &mut current.open {
                Some(open) => open,
                none => none.insert(self.create(current.file)?),
            };
            open.write_all(data).map_err(|error| FilesError::disk(&path, error))?;
            current.hash.update(data);
        }
        self.current = Some(current);
        self.at();
        Ok(())
    }

    fn end(&mut self, file: usize, sha256: Hash) -> Result<(), FilesError> {
        let Some(current) = self.current.take().filter(|current| current.file == file) else {
            return Err(misbehaves("it ends a file that it did not begin"));
        };
        let Some((listed, path)) = self.listed(file) else { return Ok(()) };
        if current.at != listed.size {
            return Err(FilesError::Misbehaves(format!("it sends less of {path:?} than it said")));
        }
        let (parent, name) = folder_and_name(&path);
        let failed = |error| FilesError::disk(&path, error);
        if current.from == listed.size && self.is_here(file, sha256)? {
            self.forget_part(file, current.open)?;
            self.received.already += 1;
            return self.kept(file, listed);
        }
        let nothing_new = current.from == listed.size && current.open.is_none() && listed.size > 0;
        if current.spoiled || nothing_new || Hash(current.hash.finalize().into()) != sha256 {
            return self.bad(file, current.from, path);
        }
        let (slot, open) = match current.open {
            Some(open) => open,
            None => self.create(file)?,
        };
        place::finish(&open, listed.mtime, listed.exec).map_err(failed)?;
        let Some(folder) = self.folder.enter(parent, true)? else { return Ok(()) };
        let placed = place::place(&folder, &part_name(name, slot), name).map_err(failed)?;
        self.folder.touch(parent);
        if placed != name {
            let placed = if parent.is_empty() { placed } else { format!("{parent}/{placed}") };
            self.received.renamed.push((path, placed));
        }
        self.kept(file, listed)
    }

    /// Removes the beginning of a file that is not needed any more.
    fn forget_part(&mut self, file: usize, open: Option<(usize, File)>) -> Result<(), FilesError> {
        let Some(part) = self.here.get(&file).and_then(|here| here.part.as_ref()) else { return Ok(()) };
        let (slot, bytes) = (part.slot, part.bytes);
        let open = if open.is_some() { open } else { self.reopen(file, slot, bytes)? };
        let Some((_, path)) = self.listed(file) else { return Ok(()) };
        let (parent, name) = folder_and_name(&path);
        if let (Some(_locked), Some(folder)) = (&open, self.folder.enter(parent, false)?) {
            place::remove(&folder, &part_name(name, slot));
        }
        Ok(())
    }

    fn kept(&mut self, file: usize, listed: ListedFile) -> Result<(), FilesError> {
        self.received.files += 1;
        self.received.bytes += listed.size;
        self.say(FromReceiver::Kept { file });
        self.over(file, listed.size);
        Ok(())
    }

    fn bad(&mut self, file: usize, from: u64, path: String) -> Result<(), FilesError> {
        if !self.damaged.insert(file) {
            return Err(FilesError::Damaged { path });
        }
        self.received.skipped -= from;
        self.say(FromReceiver::Bad { file });
        self.again.push_back(file);
        self.over(file, 0);
        Ok(())
    }

    fn changed(&mut self, file: usize) -> Result<(), FilesError> {
        let listed = self.expected(file)?;
        if let Some(current) = self.current.take() {
            self.received.skipped -= current.from;
        }
        self.received.changed.extend(self.listed(file).map(|(_, path)| path));
        self.over(file, listed.size);
        Ok(())
    }

    /// A file came to its end: the next one.
    fn over(&mut self, file: usize, bytes: u64) {
        self.done += bytes;
        self.here.remove(&file);
        if file == self.next {
            self.next += 1;
            self.skip_folders();
        } else {
            self.again.pop_front();
        }
        self.at();
    }

    fn skip_folders(&mut self) {
        while self.listing.entries.get(self.next).is_some_and(|entry| entry.file.is_none()) {
            self.next += 1;
        }
    }

    fn is_complete(&self) -> bool {
        self.next == self.listing.entries.len() && self.again.is_empty()
    }

    /// The folders that may be empty, and all names onto the disk.
    fn complete(mut self) -> Result<Received, FilesError> {
        let listing = self.listing.clone();
        for entry in listing.entries.iter().filter(|entry| entry.file.is_none()) {
            self.folder.enter(&entry.path, true)?;
        }
        self.folder.sync()?;
        Ok(self.received)
    }

    /// The file that has to come now, by the order of the listing.
    fn expected(&self, file: usize) -> Result<ListedFile, FilesError> {
        let entries = self.listing.entries.len();
        let next = if self.next < entries { Some(self.next) } else { self.again.front().copied() };
        let listed = self.listed(file).filter(|_| next == Some(file));
        listed.map(|(listed, _)| listed).ok_or_else(|| misbehaves("it sends a file whose turn it is not"))
    }

    fn listed(&self, file: usize) -> Option<(ListedFile, String)> {
        let entry = self.listing.entries.get(file)?;
        Some((entry.file?, entry.path.clone()))
    }

    /// Whether one of the files that were here is this one, and still is as it was.
    fn is_here(&mut self, file: usize, sha256: Hash) -> Result<bool, FilesError> {
        let Some((_, path)) = self.listed(file) else { return Ok(false) };
        let Some(folder) = self.folder.enter(folder_and_name(&path).0, false)? else { return Ok(false) };
        let Some(here) = self.here.get(&file) else { return Ok(false) };
        Ok(here.wholes.iter().filter(|whole| whole.hash == sha256).any(|whole| {
            let now = place::stat(&folder, &whole.name).ok().flatten();
            now.is_some_and(|now| place::unchanged(&whole.found, &now))
        }))
    }

    /// Opens the beginning of a file to go on with it; `None` if it is not what it was.
    fn reopen(&mut self, file: usize, slot: usize, bytes: u64) -> Result<Option<(usize, File)>, FilesError> {
        let Some((_, path)) = self.listed(file) else { return Ok(None) };
        let (parent, name) = folder_and_name(&path);
        let failed = |error| FilesError::disk(&path, error);
        let Some(folder) = self.folder.enter(parent, false)? else { return Ok(None) };
        let Part::Open(mut open) =
            place::open_part(&folder, &part_name(name, slot), false).map_err(failed)?
        else {
            return Ok(None);
        };
        let end = open.seek(SeekFrom::End(0)).map_err(failed)?;
        Ok((end == bytes).then_some((slot, open)))
    }

    /// A file to write into from its beginning, under the first name that nobody else uses.
    fn create(&mut self, file: usize) -> Result<(usize, File), FilesError> {
        let Some((_, path)) = self.listed(file) else { return Err(misbehaves("it sends no file")) };
        let (parent, name) = folder_and_name(&path);
        let failed = |error| FilesError::disk(&path, error);
        if let Some(folder) = self.folder.enter(parent, true)? {
            for slot in 1..=SLOTS {
                if let Part::Open(open) =
                    place::open_part(&folder, &part_name(name, slot), true).map_err(failed)?
                {
                    open.set_len(0).map_err(failed)?;
                    return Ok((slot, open));
                }
            }
        }
        Err(FilesError::InUse { path })
    }

    fn say(&self, said: FromReceiver) {
        self.event(Event::Say(said));
    }

    fn event(&self, event: Event) {
        // Nobody hears it any more: the works that are left come to their end all the same.
        drop(self.events.send(event));
    }

    fn at(&self) {
        let (file, at) = match &self.current {
            Some(current) => (current.file, current.at),
            None => (self.next.min(self.listing.entries.len().saturating_sub(1)), 0),
        };
        let (bytes, total, skipped) = (self.done + at, self.listing.bytes, self.received.skipped);
        self.event(Event::At { phase: Phase::Moving, file, bytes, total, skipped });
    }
}

/// The first beginning of a file that nobody else uses, and its length.
fn first_part(folder: &impl std::os::fd::AsFd, name: &str) -> io::Result<Option<(usize, u64)>> {
    for slot in 1..=SLOTS {
        match place::open_part(folder, &part_name(name, slot), false)? {
            Part::Open(open) => return Ok(Some((slot, open.metadata()?.len()))),
            Part::InUse => {}
            Part::Missing => return Ok(None),
        }
    }
    Ok(None)
}

/// The files that have this name, or this name with a number, and this size: the last of them, for there may be many.
fn wholes(folder: &impl std::os::fd::AsFd, name: &str, size: u64) -> io::Result<Vec<String>> {
    let mut wholes = VecDeque::new();
    for number in 1..=MOST_NAMES {
        let name = numbered(name, number);
        let Some(found) = place::stat(folder, &name)? else { break };
        if place::is_file(&found) && u64::try_from(found.st_size) == Ok(size) {
            wholes.push_back(name);
            // One more beginning is that of a part.
            if wholes.len() == MOST_HAVES {
                wholes.pop_front();
            }
        }
    }
    Ok(wholes.into())
}

/// The hash of so many bytes; `None` if there are fewer, or if nobody waits for it.
fn hash_of(file: &mut File, bytes: u64, tick: &mut impl FnMut(u64) -> bool) -> io::Result<Option<Sha256>> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut left = bytes;
    while left > 0 {
        let piece = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = file.read(&mut buffer[..piece])?;
        if read == 0 || !tick(read as u64) {
            return Ok(None);
        }
        hash.update(&buffer[..read]);
        left -= read as u64;
    }
    Ok(Some(hash))
}
