//! The folder in which what comes is written: nothing outside of it is touched, and nothing in it is replaced.
//!
//! Every step is taken from an open folder, by one name, and never through a symbolic link.

use std::{
    collections::BTreeSet,
    fs::{File, TryLockError},
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::Arc,
};

use rustix::{
    fs::{
        AtFlags, FileType, Mode, OFlags, RenameFlags, Stat, Timespec, Timestamps, fchmod, fstat, futimens,
        mkdirat, openat, renameat, renameat_with, statat, unlinkat,
    },
    io::Errno,
};

use super::{FilesError, paths::numbered};

/// A file is not given a number above this one.
pub(super) const MOST_NAMES: usize = 1000;

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC);

/// The folder.
pub(super) struct Folder {
    root: Arc<OwnedFd>,
    /// The folder below it that was entered last: the next file is mostly in the same.
    last: Option<(String, Arc<OwnedFd>)>,
    /// Those that a file was placed in or a folder made in, and that are not on the disk yet.
    touched: BTreeSet<String>,
}

impl Folder {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let root = openat(rustix::fs::CWD, path, FOLDER | OFlags::RDONLY, Mode::empty())?;
        Ok(Self { root: Arc::new(root), last: None, touched: BTreeSet::new() })
    }

    /// Bytes that are free for this user, where the file system says so.
    pub(super) fn free(&self) -> Option<u64> {
        let found = rustix::fs::fstatvfs(&self.root).ok()?;
        (found.f_blocks > 0).then(|| found.f_bavail.saturating_mul(found.f_frsize))
    }

    /// A folder below, `None` if it is not there; made if it is to be.
    pub(super) fn enter(&mut self, path: &str, make: bool) -> Result<Option<Arc<OwnedFd>>, FilesError> {
        if path.is_empty() {
            return Ok(Some(self.root.clone()));
        }
        if let Some((_, folder)) = self.last.as_ref().filter(|(last, _)| last == path) {
            return Ok(Some(folder.clone()));
        }
        let mut folder = self.root.clone();
        let mut end = 0;
        for name in path.split('/') {
            let parent = &path[..end.max(1) - 1];
            end += name.len() + 1;
            let here = &path[..end - 1];
            let failed = |error: Errno| FilesError::disk(here, error.into());
            if make {
                match mkdirat(&folder, name, Mode::from_raw_mode(0o777)) {
                    Ok(()) => drop(self.touched.insert(parent.to_owned())),
                    Err(Errno::EXIST) => {}
                    Err(error) => return Err(failed(error)),
                }
            }
            let flags = FOLDER | OFlags::RDONLY | OFlags::NOFOLLOW;
            folder = match openat(&folder, name, flags, Mode::empty()) {
                Ok(folder) => Arc::new(folder),
                Err(Errno::NOENT) if !make => return Ok(None),
                Err(Errno::NOTDIR | Errno::LOOP | Errno::MLINK) => {
                    return Err(FilesError::InTheWay(here.to_owned()));
                }
                Err(error) => return Err(failed(error)),
            };
        }
        self.last = Some((path.to_owned(), folder.clone()));
        Ok(Some(folder))
    }

    /// A file was placed here.
    pub(super) fn touch(&mut self, path: &str) {
        if !self.touched.contains(path) {
            self.touched.insert(path.to_owned());
        }
    }

    /// Brings the names of what was placed to the disk.
    pub(super) fn sync(&mut self) -> Result<(), FilesError> {
        for path in std::mem::take(&mut self.touched) {
            let Some(folder) = self.enter(&path, false)? else { continue };
            match rustix::fs::fsync(&folder) {
                // Not every file system does that for folders.
                Ok(()) | Err(Errno::INVAL | Errno::BADF | Errno::NOTSUP) => {}
                Err(error) => return Err(FilesError::disk(&path, error.into())),
            }
        }
        Ok(())
    }
}

/// What there is under the name of a part.
pub(super) enum Part {
    /// Ours: it is locked until it is closed.
    Open(File),
    /// Another transfer writes it, or it is something else than a file of a transfer.
    InUse,
    Missing,
}

/// Opens and locks the unfinished file of this name.
pub(super) fn open_part(folder: &impl AsFd, name: &str, make: bool) -> io::Result<Part> {
    let mut flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    if make {
        flags |= OFlags::CREATE;
    }
    // Again if it was moved to its place, by another transfer, between being opened and locked.
    for _ in 0..100 {
        let file = match openat(folder, name, flags, Mode::from_raw_mode(0o666)) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) if !make => return Ok(Part::Missing),
            Err(Errno::LOOP | Errno::MLINK | Errno::ISDIR | Errno::NXIO) => return Ok(Part::InUse),
            Err(Errno::ACCESS) if stat(folder, name)?.is_some() => return Ok(Part::InUse),
            Err(error) => return Err(error.into()),
        };
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Ok(Part::InUse),
            // A file system without locks has to do without.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        let opened = fstat(&file)?;
        match stat(folder, name)? {
            Some(named) if same(&named, &opened) => {}
            _ => continue,
        }
        // A second name of it may be anywhere.
        let ours = is_file(&opened) && opened.st_nlink == 1;
        return Ok(if ours { Part::Open(file) } else { Part::InUse });
    }
    Ok(Part::InUse)
}

/// Opens a file that is there, to read it.
pub(super) fn open_whole(folder: &impl AsFd, name: &str) -> io::Result<(File, Stat)> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(openat(folder, name, flags, Mode::empty())?);
    let found = fstat(&file)?;
    Ok((file, found))
}

/// What has this name; `None` if nothing has.
pub(super) fn stat(folder: &impl AsFd, name: &str) -> io::Result<Option<Stat>> {
    match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn is_file(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::RegularFile
}

fn same(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

/// Whether this is the file that was seen, and nobody wrote to it since.
pub(super) fn unchanged(was: &Stat, is: &Stat) -> bool {
    let state = |found: &Stat| (found.st_size, found.st_mtime, found.st_mtime_nsec);
    same(was, is) && state(was) == state(is)
}

/// Completes the file behind the name of a part: its time, whether it can be run, and onto the disk.
pub(super) fn finish(part: &File, mtime: Option<i64>, exec: bool) -> io::Result<()> {
    let mode = fstat(part)?.st_mode & 0o777;
    // Who may read it may run it. File systems that know neither that nor times are no reason to fail.
    let wanted = if exec { mode | (mode & 0o444) >> 2 } else { mode & 0o666 };
    let _ = fchmod(part, Mode::from_raw_mode(wanted));
    if let Some(mtime) = mtime {
        let time = Timespec { tv_sec: mtime.div_euclid(1000), tv_nsec: mtime.rem_euclid(1000) * 1_000_000 };
        let _ = futimens(part, &Timestamps { last_access: time, last_modification: time });
    }
    part.sync_all()
}

/// Gives a part its name, or the next that is free: which one it was.
pub(super) fn place(folder: &impl AsFd, part: &str, name: &str) -> io::Result<String> {
    for number in 1..=MOST_NAMES {
        let name = numbered(name, number);
        match rename_new(folder, part, &name) {
            Ok(()) => return Ok(name),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "a thousand files of this name are here"))
}

fn rename_new(folder: &impl AsFd, from: &str, to: &str) -> Result<(), Errno> {
    match renameat_with(folder, from, folder, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => rename_claimed(folder, from, to),
        renamed => renamed,
    }
}

/// For file systems that cannot rename without replacing: what is replaced is an empty file, made here for it.
fn rename_claimed(folder: &impl AsFd, from: &str, to: &str) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(folder, to, flags, Mode::from_raw_mode(0o600))?;
    renameat(folder, from, folder, to).inspect_err(|_| remove(folder, to))
}

/// Removes a part, if it can be.
pub(super) fn remove(folder: &impl AsFd, part: &str) {
    let _ = unlinkat(folder, part, AtFlags::empty());
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_name_that_is_taken_is_not_replaced_also_where_that_takes_two_steps() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let folder = Folder::open(dir.path()).unwrap().root;
        for (name, content) in [("part", "new"), ("taken", "old")] {
            fs::write(at(name), content).unwrap();
        }
        for rename in [rename_new, rename_claimed] {
            assert_eq!(rename(&folder, "part", "taken"), Err(Errno::EXIST));
            assert_eq!(fs::read(at("taken")).unwrap(), b"old");
            rename(&folder, "part", "free").unwrap();
            assert_eq!(fs::read(at("free")).unwrap(), b"new");
            assert!(!at("part").exists());
            fs::rename(at("free"), at("part")).unwrap();
        }
        assert_eq!(rename_claimed(&folder, "missing", "free"), Err(Errno::NOENT));
        assert!(!at("free").exists(), "what was claimed is given back");
        assert_eq!(place(&folder, "part", "taken").unwrap(), "taken (2)");
        assert_eq!(fs::read(at("taken (2)")).unwrap(), b"new");
    }

    #[test]
    fn a_part_belongs_to_one() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap().root;
        assert!(matches!(open_part(&folder, "part", false), Ok(Part::Missing)));
        let one = open_part(&folder, "part", true).unwrap();
        assert!(matches!(one, Part::Open(_)));
        assert!(matches!(open_part(&folder, "part", true), Ok(Part::InUse)));
        drop(one);
        assert!(matches!(open_part(&folder, "part", false), Ok(Part::Open(_))));
        // A second name, a link, a folder: none of them is a file that a transfer made.
        fs::hard_link(dir.path().join("part"), dir.path().join("other name")).unwrap();
        std::os::unix::fs::symlink("part", dir.path().join("link")).unwrap();
        fs::create_dir(dir.path().join("folder")).unwrap();
        for name in ["part", "link", "folder"] {
            assert!(matches!(open_part(&folder, name, true), Ok(Part::InUse)), "{name}");
        }
    }
}
