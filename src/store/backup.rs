//! A copy of a relay's database on SQLite, made while the relay runs: whole, checked and on the disk, or not there at all.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, RenameFlags, linkat, renameat_with},
    io::Errno,
};

use super::{
    OpenError, Schema, StoreError, admin::schema_of, is_postgres, migrations, not_a_database, sqlite,
    sqlite_path,
};

/// A copy that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backup {
    /// Its file's length.
    pub bytes: u64,
    /// The boxes in it.
    pub boxes: i64,
    /// The messages in it, expired ones too.
    pub messages: i64,
}

/// Why there is no copy. Nothing is left of one that was begun.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The database.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Not a file.
    #[error(
        "PostgreSQL has its own tools: pg_dump --host HOST --username USER NAME makes a backup, also while relays run; put the password into ~/.pgpass, and umask 077 before it"
    )]
    Postgres,
    /// The file for the copy.
    #[error("cannot write {path}: {reason}")]
    File {
        /// As it was given.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The database, or the copy, while it was made.
    #[error("there is no backup: {0}")]
    Store(#[from] StoreError),
    /// What was copied is damaged.
    #[error(
        "there is no backup, for the copy is damaged ({0}): so the database may be, or the disk; connectoid doctor looks at it"
    )]
    Damaged(String),
}

impl From<sqlx::Error> for BackupError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Copies a database on SQLite into a new file, for this user only. Disturbs no relay.
///
/// # Errors
/// [`BackupError`], with what to do. Also when this is dropped before its end, nothing is left.
pub async fn backup(url: &str, to: &Path) -> Result<Backup, BackupError> {
    let Some(path) = sqlite_path(url) else {
        return Err(if is_postgres(url) { BackupError::Postgres } else { not_a_database(url).into() });
    };
    let failed = |error: io::Error| file_error(to, &error);
    let database = sqlite::open_admin(path).await?;
    // One of another version is copied as it is, as before an update.
    if schema_of(&database, &migrations::sqlite()).await? == Schema::Missing {
        return Err(OpenError::NoSchema.into());
    }
    if fs::symlink_metadata(to).is_ok() {
        return Err(failed(ErrorKind::AlreadyExists.into()));
    }
    let part = Part::new(to)?;
    sqlx::query("vacuum into $1").bind(part.name()?).persistent(false).execute(&database).await?;
    database.close().await;
    let (boxes, messages) = sqlite::look_through(&part.copy).await?.map_err(BackupError::Damaged)?;
    let bytes = part.place(to, File::sync_all).map_err(failed)?;
    Ok(Backup { bytes, boxes, messages })
}

/// A folder for the copy while it is made, with what SQLite writes beside it; gone when this is dropped.
struct Part {
    folder: PathBuf,
    copy: PathBuf,
}

impl Part {
    /// With an empty file in it, in which SQLite writes as in a new one, but for this user only.
    fn new(to: &Path) -> Result<Self, BackupError> {
        let failed = |error: io::Error| file_error(to, &error);
        let mut name = to.file_name().ok_or_else(|| failed(ErrorKind::IsADirectory.into()))?.to_owned();
        name.push(".part");
        // Whole: SQLite would take a name that begins with `file:` apart.
        let folder = parent(to).canonicalize().map_err(failed)?.join(name);
        DirBuilder::new().mode(0o700).create(&folder).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => BackupError::File {
                path: to.to_owned(),
                reason: format!(
                    "{} is there: of a backup that is being made, or of one that was killed; delete it if none is",
                    folder.display()
                ),
            },
            _ => failed(error),
        })?;
        let part = Self { copy: folder.join("copy"), folder };
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part.copy).map_err(failed)?;
        Ok(part)
    }

    /// The copy's path, as SQLite takes it.
    fn name(&self) -> Result<&str, BackupError> {
        self.copy.to_str().ok_or_else(|| BackupError::File {
            path: self.copy.clone(),
            reason: "choose a name that is UTF-8".to_owned(),
        })
    }

    /// Gives the copy its name, once it is on the disk; its length. The name is brought there by `sync`.
    fn place(self, to: &Path, sync: impl FnOnce(&File) -> io::Result<()>) -> io::Result<u64> {
        let file = File::open(&self.copy)?;
        file.sync_all()?;
        let bytes = file.metadata()?.len();
        let folder = File::open(parent(to))?;
        name_new(&self.copy, to)?;
        drop(self);
        sync(&folder).or_else(|error| match Errno::from_io_error(&error) {
            // Not every file system does that for folders.
            Some(Errno::INVAL | Errno::BADF | Errno::NOTSUP) => Ok(()),
            _ => {
                let _ = fs::remove_file(to);
                Err(error)
            }
        })?;
        Ok(bytes)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // SQLite may still be writing, on a thread of its own: what it makes meanwhile is for the next try.
        for _ in 0..10 {
            if fs::remove_dir_all(&self.folder).is_ok() {
                break;
            }
        }
    }
}

/// Gives a file another name, if nothing has it.
fn name_new(file: &Path, name: &Path) -> io::Result<()> {
    match renameat_with(CWD, file, CWD, name, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => link(file, name),
        named => Ok(named?),
    }
}

/// For kernels and file systems that cannot rename without replacing.
fn link(file: &Path, name: &Path) -> io::Result<()> {
    linkat(CWD, file, CWD, name, AtFlags::empty()).map_err(|error| match error {
        // What one says that has no links.
        Errno::PERM | Errno::NOSYS | Errno::NOTSUP => ErrorKind::Unsupported.into(),
        _ => error.into(),
    })
}

fn parent(to: &Path) -> &Path {
    to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn file_error(path: &Path, error: &io::Error) -> BackupError {
    let reason = match error.kind() {
        ErrorKind::AlreadyExists => "it is there already: a backup overwrites nothing".to_owned(),
        ErrorKind::NotFound => "its folder does not exist: create it first".to_owned(),
        ErrorKind::IsADirectory => "it names no file".to_owned(),
        ErrorKind::PermissionDenied => "this user may not write to its folder".to_owned(),
        ErrorKind::Unsupported => {
            "its file system cannot name a file without replacing another: choose a folder on another one"
                .to_owned()
        }
        _ => error.to_string(),
    };
    BackupError::File { path: path.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_taken_is_not_replaced_by_either_way() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("copy"), "new").unwrap();
        fs::write(at("taken"), "old").unwrap();
        std::os::unix::fs::symlink("nowhere", at("dangling")).unwrap();
        for (way, free) in [(link as fn(&Path, &Path) -> _, "linked"), (name_new, "named")] {
            for taken in ["taken", "dangling"] {
                let error: io::Error = way(&at("copy"), &at(taken)).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::AlreadyExists);
            }
            assert_eq!(fs::read(at("taken")).unwrap(), b"old");
            way(&at("copy"), &at(free)).unwrap();
            assert_eq!(fs::read(at(free)).unwrap(), b"new");
        }
        assert!(!at("copy").exists());
    }

    #[test]
    fn a_file_system_that_has_no_way_is_named_as_the_cause() {
        assert_eq!(
            file_error(Path::new("copy.db"), &ErrorKind::Unsupported.into()).to_string(),
            "cannot write copy.db: its file system cannot name a file without replacing another: choose a folder on another one"
        );
    }

    #[test]
    fn a_name_that_does_not_come_to_the_disk_is_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("copy.db");
        let files = || fs::read_dir(folder.path()).unwrap().count();
        let place = |sync: fn(&File) -> io::Result<()>| {
            let part = Part::new(&to).unwrap();
            fs::write(&part.copy, "a copy").unwrap();
            part.place(&to, sync)
        };
        let error = place(|_| Err(Errno::IO.into())).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::IO.raw_os_error()));
        assert_eq!(files(), 0);
        // A file system that cannot do it for folders.
        assert_eq!(place(|_| Err(Errno::INVAL.into())).unwrap(), 6);
        fs::remove_file(&to).unwrap();
        assert_eq!(place(File::sync_all).unwrap(), 6);
        assert_eq!((fs::read(&to).unwrap().as_slice(), files()), (&b"a copy"[..], 1));
    }
}
