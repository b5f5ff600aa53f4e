//! The keys on disk: one file, for this user only, changed whole or not at all.
//!
//! Every change locks the file beside it, reads, changes, writes a new file, syncs and renames it into place; so two
//! processes at once lose nothing, and neither does a crash.
//!
//! The file is JSON, `{"version":2,…the keys…}`, or sealed under a passphrase, `{"version":2,"sealed":{…}}`. An export for a
//! new device is `{"version":2,"export":{…}}`, always sealed. Version 1 was as version 2 and never sealed.

mod keys;
mod sealed;
pub(super) mod secrets;
mod v1;

use std::{
    collections::HashMap,
    fmt,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use super::contact::Contact;
use rand::{CryptoRng, SeedableRng as _, rngs::StdRng};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use self::{
    keys::KeysV1,
    sealed::{Key, NotOpened, Purpose, Sealed},
};
pub use self::{
    keys::{Keys, Sent},
    sealed::{EmptyPassphrase, Passphrase},
};

/// The version of the file's form.
const VERSION: u32 = 2;

/// What stands in errors for the bytes that are imported.
const EXPORT: &str = "the export";

/// Why the keys could not be read or written. Whichever it is, nothing was changed; but if the folder could not be synced, which
/// comes last, the new keys are there and might be gone after a power cut.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeystoreError {
    /// The file.
    #[error("cannot use {path}: {reason}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Written by a newer program.
    #[error("{path} was written by a newer connectoid (form {found}): update this one; nothing was changed")]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its form's version.
        found: u32,
    },
    /// Sealed, and no passphrase was given.
    #[error("{path} is sealed under a passphrase, and none was given")]
    Sealed {
        /// Which file.
        path: PathBuf,
    },
    /// Sealed under another passphrase.
    #[error("wrong passphrase: it does not open {path}; nothing was changed")]
    WrongPassphrase {
        /// Which file.
        path: PathBuf,
    },
    /// An import would overwrite contacts.
    #[error("there are contacts of these names or with these keys already: {}; nothing was imported", names.join(", "))]
    Present {
        /// Their nicknames here.
        names: Vec<String>,
    },
    /// Another process runs the sessions of this contact.
    #[error("another program is connected as {name:?}: end it first, one at a time can be")]
    InUse {
        /// The contact's nickname.
        name: String,
    },
    /// Another process made a contact of this name.
    #[error("there is a contact {name:?} already, which another program made: choose another name")]
    Taken {
        /// The contact's nickname.
        name: String,
    },
    /// Other processes run sessions with these keys.
    #[error("other programs are connected with the keys in {path}: end them first; nothing was changed")]
    SessionsRun {
        /// Which file.
        path: PathBuf,
    },
}

/// The keys file of a user.
///
/// Clones share what they know of its passphrase: the key is derived once.
#[derive(Clone)]
pub struct Keystore {
    path: PathBuf,
    known: Arc<Mutex<Known>>,
}

/// What this process knows of the passphrase.
#[derive(Default)]
struct Known {
    passphrase: Option<Passphrase>,
    /// The key of the file as it was read or written last.
    key: Option<Arc<Key>>,
    /// For salts and nonces.
    rng: Option<StdRng>,
    /// What says that sessions run, while any contact is locked.
    sessions: Weak<File>,
}

/// The form that the file has, and keeps with the next write.
enum Form {
    Absent,
    Plain,
    Sealed(Arc<Key>),
}

/// What a file says before its keys can be read.
#[derive(Deserialize)]
struct Envelope {
    version: u32,
    sealed: Option<Sealed>,
    export: Option<Sealed>,
}

/// The right to run the sessions of a contact, or to change it by hand; until it is dropped, or the process ends.
#[derive(Debug)]
pub struct ContactLock {
    _this: File,
    /// Shared by all locks of this process.
    _sessions: Arc<File>,
}

impl fmt::Debug for Keystore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keystore").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Keystore {
    /// The keys in this file, which need not exist yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, known: Arc::default() }
    }

    /// The same, with the passphrase that opens the file if it is sealed, and seals it if it does not exist yet.
    ///
    /// A file that is not sealed stays so: see [`Keystore::set_passphrase`]. Of `rng` comes the randomness of all later
    /// writes: it must not give the same twice.
    #[must_use]
    pub fn with_passphrase(self, rng: &mut impl CryptoRng, passphrase: Passphrase) -> Self {
        let rng = Some(StdRng::from_rng(rng));
        Self {
            known: Arc::new(Mutex::new(Known { passphrase: Some(passphrase), rng, ..Known::default() })),
            ..self
        }
    }

    /// Where an app of this name keeps its keys: `APP/keys.json` in the user's data directory, which is `$XDG_DATA_HOME` or, without it,
    /// `~/.local/share` (XDG Base Directory Specification). `None` if the environment names neither; a path that is not
    /// absolute does not count.
    pub fn default_path(app: &str) -> Option<PathBuf> {
        let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let data = absolute("XDG_DATA_HOME").or_else(|| Some(absolute("HOME")?.join(".local/share")))?;
        Some(data.join(app).join("keys.json"))
    }

    /// Where the keys are.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether one needs a passphrase to read the keys.
    ///
    /// # Errors
    /// If the file is there and cannot be read.
    pub fn is_sealed(&self) -> Result<bool, KeystoreError> {
        let text = self.text()?;
        Ok(match text {
            Some(text) => envelope(&self.path, &text)?.sealed.is_some(),
            None => false,
        })
    }

    /// Reads the keys.
    ///
    /// # Errors
    /// If the file is there and cannot be read.
    pub fn load(&self) -> Result<Keys, KeystoreError> {
        Ok(self.read()?.0)
    }

    /// Changes the keys: what `change` returns as `Ok` is durable, an error changes nothing.
    ///
    /// Waits for other processes that change them.
    ///
    /// # Errors
    /// Those of `change`, and the file's.
    pub fn update<T, E: From<KeystoreError>>(
        &self,
        change: impl FnOnce(&mut Keys) -> Result<T, E>,
    ) -> Result<T, E> {
        let _lock = self.lock("lock")?;
        let (mut keys, form) = self.read()?;
        let result = change(&mut keys)?;
        self.store(&mut keys, form)?;
        Ok(result)
    }

    /// Seals the file under a passphrase, or another one; with `None`, lets it lie in clear.
    ///
    /// The medium may still hold the file as it was before, until it is overwritten.
    ///
    /// # Errors
    /// Those of [`Keystore::update`], and [`KeystoreError::SessionsRun`] while any program holds a [`ContactLock`], this one
    /// too: others would no longer be able to write.
    pub fn set_passphrase(
        &self,
        rng: &mut impl CryptoRng,
        passphrase: Option<Passphrase>,
    ) -> Result<(), KeystoreError> {
        let _alone = self.no_sessions()?;
        let _lock = self.lock("lock")?;
        let (mut keys, _) = self.read()?;
        let key = passphrase.as_ref().map(|passphrase| Key::fresh(rng, passphrase).map(Arc::new));
        let key = key.transpose().map_err(|error| not_opened(&self.path, error))?;
        // A reader must not meet the new file with the old passphrase.
        let mut known = self.known();
        known.rng.get_or_insert_with(|| StdRng::from_rng(rng));
        self.store_with(&mut known, &mut keys, key.as_deref())?;
        known.passphrase = passphrase;
        known.key = key;
        drop(known);
        self.remove_contact_locks().map_err(|error| self.error(&error))
    }

    /// Removes the locks of contacts, whose names tell the nicknames to who knows the former key, or without one to who guesses.
    /// Nobody holds any: sessions do not run.
    fn remove_contact_locks(&self) -> io::Result<()> {
        let (Some(folder), Some(name)) = (self.path.parent(), self.path.file_name()) else { return Ok(()) };
        let start = format!("{}.contact-", name.to_string_lossy());
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let file = entry.file_name();
            let file = file.to_string_lossy();
            if file.starts_with(&start) && file.ends_with(".lock") {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// All keys for a new device, sealed under a passphrase: the bytes of a file.
    ///
    /// # Errors
    /// If the keys cannot be read.
    pub fn export(
        &self,
        rng: &mut impl CryptoRng,
        passphrase: &Passphrase,
    ) -> Result<Vec<u8>, KeystoreError> {
        let mut keys = self.load()?;
        keys.version = VERSION;
        let mut seal = || {
            let text = Zeroizing::new(serde_json::to_vec(&keys).map_err(|_| NotOpened::Damaged)?);
            Key::fresh(rng, passphrase)?.seal(rng, Purpose::Export, VERSION, text)
        };
        let export = seal().map_err(|error| not_opened(&self.path, error))?;
        #[derive(Serialize)]
        struct Export {
            version: u32,
            export: Sealed,
        }
        serde_json::to_vec(&Export { version: VERSION, export }).map_err(|error| self.error(&error.into()))
    }

    /// Takes over the keys of another device, which must not be used on: see [`Keys::moved_to_a_new_device`]. The
    /// nicknames that were imported.
    ///
    /// Contacts that are here stay, unless one to be imported has the same nickname or the same key: then nothing is
    /// imported, or, with `replace`, that one is given up for it.
    ///
    /// # Errors
    /// [`KeystoreError::Present`]; those of the export, which are named as such; those of [`Keystore::update`], and
    /// [`KeystoreError::SessionsRun`].
    pub fn import(
        &self,
        export: &[u8],
        passphrase: &Passphrase,
        replace: bool,
    ) -> Result<Vec<String>, KeystoreError> {
        let path = Path::new(EXPORT);
        let none = || KeystoreError::File {
            path: path.into(),
            reason: "it is none, or damaged: an export is written by connectoid contacts export".into(),
        };
        let Envelope { version, export, .. } = match envelope(path, export) {
            Err(KeystoreError::File { .. }) => return Err(none()),
            envelope => envelope?,
        };
        let export = export.ok_or_else(none)?;
        let key = Key::of(&export, passphrase).map_err(|error| not_opened(path, error))?;
        let text = key.open(Purpose::Export, version, export).map_err(|error| not_opened(path, error))?;
        let mut moved: Keys = serde_json::from_slice(&text).map_err(|error| damaged(path, error))?;
        moved.moved_to_a_new_device();
        let names = moved.contacts.iter().map(|contact| contact.name.clone()).collect();
        let _alone = self.no_sessions()?;
        self.update(|keys| {
            let present = keys.in_the_way_of(&moved);
            if !present.is_empty() && !replace {
                return Err(KeystoreError::Present { names: present });
            }
            keys.take_over(moved);
            Ok(names)
        })
    }

    /// Waits until no other process hands over notes; held until dropped.
    ///
    /// # Errors
    /// If the lock's file cannot be made.
    pub fn handing_over(&self) -> Result<impl Sized, KeystoreError> {
        self.lock("receive.lock")
    }

    /// Makes this process the only one that runs the sessions of a contact, which need not exist.
    ///
    /// # Errors
    /// [`KeystoreError::InUse`] if another does; if the keys cannot be read or the lock's file cannot be made.
    pub fn lock_contact(&self, name: &str) -> Result<ContactLock, KeystoreError> {
        let sessions = self.sessions_lock()?;
        self.take_contact(name, &self.form_for_locks()?, sessions, File::try_lock)
    }

    /// As [`Keystore::lock_contact`], all contacts that no other process runs, by name.
    ///
    /// # Errors
    /// If the keys cannot be read or a lock's file cannot be made.
    pub fn lock_contacts(&self) -> Result<HashMap<String, ContactLock>, KeystoreError> {
        let sessions = self.sessions_lock()?;
        let form = self.form_for_locks()?;
        let mut locks = HashMap::new();
        for Contact { name, .. } in self.load()?.contacts {
            match self.take_contact(&name, &form, sessions.clone(), File::try_lock) {
                Ok(lock) => drop(locks.insert(name, lock)),
                Err(KeystoreError::InUse { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(locks)
    }

    /// Keeps all processes from running the sessions of a contact, to change it by hand. Several may do so at once.
    ///
    /// # Errors
    /// Those of [`Keystore::lock_contact`].
    pub fn hold_contact(&self, name: &str) -> Result<ContactLock, KeystoreError> {
        let sessions = self.sessions_lock()?;
        self.take_contact(name, &self.form_for_locks()?, sessions, File::try_lock_shared)
    }

    /// Says that sessions run. To be called before the keys are read: from here on nobody changes their passphrase, and with it
    /// the names of the locks.
    fn sessions_lock(&self) -> Result<Arc<File>, KeystoreError> {
        let mut known = self.known();
        if let Some(sessions) = known.sessions.upgrade() {
            return Ok(sessions);
        }
        let sessions = self.lock_file("sessions.lock")?;
        sessions.lock_shared().map_err(|error| self.error(&error))?;
        let sessions = Arc::new(sessions);
        known.sessions = Arc::downgrade(&sessions);
        Ok(sessions)
    }

    /// The form that the names of locks depend on, which must be there to stay.
    fn form_for_locks(&self) -> Result<Form, KeystoreError> {
        let form = self.read()?.1;
        if matches!(form, Form::Absent) && self.known().passphrase.is_some() {
            self.update(|_| Ok::<_, KeystoreError>(()))?;
            return Ok(self.read()?.1);
        }
        Ok(form)
    }

    fn take_contact(
        &self,
        name: &str,
        form: &Form,
        sessions: Arc<File>,
        take: impl FnOnce(&File) -> Result<(), TryLockError>,
    ) -> Result<ContactLock, KeystoreError> {
        // Nicknames are as secret as the file they stand in.
        let hidden = match form {
            Form::Sealed(key) => key.hide(name),
            Form::Absent | Form::Plain => sealed::hide(b"", name),
        };
        let this = self.lock_file(&format!("contact-{hidden}.lock"))?;
        match take(&this) {
            Ok(()) => Ok(ContactLock { _this: this, _sessions: sessions }),
            Err(TryLockError::WouldBlock) => Err(KeystoreError::InUse { name: name.to_owned() }),
            Err(TryLockError::Error(error)) => Err(self.error(&error)),
        }
    }

    /// Keeps sessions from starting; there must be none.
    fn no_sessions(&self) -> Result<impl Sized, KeystoreError> {
        let sessions = self.lock_file("sessions.lock")?;
        match sessions.try_lock() {
            Ok(()) => Ok(sessions),
            Err(TryLockError::WouldBlock) => Err(KeystoreError::SessionsRun { path: self.path.clone() }),
            Err(TryLockError::Error(error)) => Err(self.error(&error)),
        }
    }

    /// Locks the file beside the keys that has this extension, once nobody else does.
    fn lock(&self, extension: &str) -> Result<File, KeystoreError> {
        let file = self.lock_file(extension)?;
        file.lock().map_err(|error| self.error(&error))?;
        Ok(file)
    }

    fn lock_file(&self, extension: &str) -> Result<File, KeystoreError> {
        let open = || {
            if let Some(folder) = self.path.parent() {
                DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            }
            let path = self.path.with_added_extension(extension);
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
        };
        open().map_err(|error| self.error(&error))
    }

    /// The file's bytes, if there is one.
    fn text(&self) -> Result<Option<Zeroizing<Vec<u8>>>, KeystoreError> {
        match fs::read(&self.path) {
            Ok(text) => Ok(Some(Zeroizing::new(text))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.error(&error)),
        }
    }

    fn read(&self) -> Result<(Keys, Form), KeystoreError> {
        let Some(text) = self.text()? else {
            return Ok((Keys::default(), Form::Absent));
        };
        let keys = |text: &[u8]| serde_json::from_slice(text).map_err(|error| damaged(&self.path, error));
        let keys_v1 = |text: &[u8]| serde_json::from_slice::<KeysV1>(text).map(Keys::from);
        let Envelope { version, sealed, export } = envelope(&self.path, &text)?;
        if export.is_some() {
            return Err(KeystoreError::File {
                path: self.path.clone(),
                reason: "it is an export: read it with connectoid contacts import".into(),
            });
        }
        let Some(sealed) = sealed else {
            let keys = match version {
                1 => keys_v1(&text).map_err(|error| damaged(&self.path, error))?,
                _ => keys(&text)?,
            };
            return Ok((keys, Form::Plain));
        };
        let key = self.key_of(&sealed)?;
        let text = key.open(Purpose::Keys, version, sealed).map_err(|error| not_opened(&self.path, error))?;
        Ok((keys(&text)?, Form::Sealed(key)))
    }

    /// The key that opens this, derived if it is not the one of the last time.
    fn key_of(&self, sealed: &Sealed) -> Result<Arc<Key>, KeystoreError> {
        let mut known = self.known();
        if let Some(key) = known.key.as_ref().filter(|key| key.is_of(sealed)) {
            return Ok(key.clone());
        }
        let passphrase = known.passphrase.as_ref();
        let passphrase = passphrase.ok_or_else(|| KeystoreError::Sealed { path: self.path.clone() })?;
        let key = Key::of(sealed, passphrase).map_err(|error| not_opened(&self.path, error))?;
        let key = Arc::new(key);
        known.key = Some(key.clone());
        Ok(key)
    }

    fn store(&self, keys: &mut Keys, form: Form) -> Result<(), KeystoreError> {
        let mut known = self.known();
        let key = match form {
            Form::Plain => None,
            Form::Sealed(key) => Some(key),
            Form::Absent => {
                let Known { passphrase, key, rng, .. } = &mut *known;
                if let (Some(passphrase), Some(rng)) = (passphrase, rng) {
                    let fresh = Key::fresh(rng, passphrase).map_err(|error| not_opened(&self.path, error))?;
                    *key = Some(Arc::new(fresh));
                }
                key.clone()
            }
        };
        self.store_with(&mut known, keys, key.as_deref())
    }

    fn store_with(&self, known: &mut Known, keys: &mut Keys, key: Option<&Key>) -> Result<(), KeystoreError> {
        keys.version = VERSION;
        let failed = |error: serde_json::Error| self.error(&error.into());
        let text = match key {
            None => Zeroizing::new(serde_json::to_vec_pretty(keys).map_err(failed)?),
            Some(key) => {
                #[derive(Serialize)]
                struct SealedFile {
                    version: u32,
                    sealed: Sealed,
                }
                let none = || KeystoreError::Sealed { path: self.path.clone() };
                let rng = known.rng.as_mut().ok_or_else(none)?;
                let text = Zeroizing::new(serde_json::to_vec(keys).map_err(failed)?);
                let sealed = key.seal(rng, Purpose::Keys, VERSION, text);
                let sealed = sealed.map_err(|error| not_opened(&self.path, error))?;
                let file = SealedFile { version: VERSION, sealed };
                Zeroizing::new(serde_json::to_vec_pretty(&file).map_err(failed)?)
            }
        };
        self.write(&text).map_err(|error| self.error(&error))
    }

    /// Writes the new file beside the old one, syncs it, renames it over the old one, syncs the folder.
    fn write(&self, text: &[u8]) -> io::Result<()> {
        // A link to the keys stays a link.
        let path = self.path.canonicalize().unwrap_or_else(|_| self.path.clone());
        let beside = path.with_added_extension("new");
        // Left over from a crash, or someone's link to another file: never written through.
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&beside, &path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Whoever panicked with it left it as it was, or with another key that is checked before it is used.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, error: &io::Error) -> KeystoreError {
        KeystoreError::File { path: self.path.clone(), reason: error.to_string() }
    }
}

/// What a file says before its keys can be read. A newer form is not looked into.
fn envelope(path: &Path, text: &[u8]) -> Result<Envelope, KeystoreError> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let Version { version } = serde_json::from_slice(text).map_err(|error| damaged(path, error))?;
    if version > VERSION {
        return Err(KeystoreError::Newer { path: path.into(), found: version });
    }
    serde_json::from_slice(text).map_err(|error| damaged(path, error))
}

fn damaged(path: &Path, error: impl fmt::Display) -> KeystoreError {
    let reason = format!("it is damaged ({error}); restore it from a backup, nothing was changed");
    KeystoreError::File { path: path.into(), reason }
}

fn not_opened(path: &Path, error: NotOpened) -> KeystoreError {
    match error {
        NotOpened::WrongPassphrase => KeystoreError::WrongPassphrase { path: path.into() },
        NotOpened::Damaged => damaged(path, error),
        NotOpened::TooCostly | NotOpened::Memory => {
            KeystoreError::File { path: path.into(), reason: error.to_string() }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use rand::{SeedableRng, rngs::StdRng};

    use super::*;
    use crate::client::contact::{Contact, InboxNote, NotTaken, OwnBox, SharedLink};
    use crate::protocol::LinkSecret;

    fn contact(rng: &mut StdRng, name: &str) -> Contact {
        let own = OwnBox::generate(rng, vec!["https://connecto.id".parse().unwrap()], None);
        Contact::shared(name.into(), own, SharedLink::new(None), 5)
    }

    #[test]
    fn stored_for_this_user_only_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let keystore = Keystore::new(folder.path().join("data/connectoid/keys.json"));
        assert!(keystore.load().unwrap().contacts.is_empty());
        let mut rng = StdRng::seed_from_u64(1);
        let mut bob = contact(&mut rng, "Bob");
        bob.boxes[0].secret = Some(LinkSecret::generate(&mut rng));
        let connectoid = bob.boxes[0].connectoid();
        keystore
            .update(|keys| {
                keys.contacts.push(bob);
                Ok::<_, KeystoreError>(())
            })
            .unwrap();
        let read = keystore.load().unwrap();
        assert_eq!(read.contact("Bob").unwrap().boxes[0].connectoid(), connectoid);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(keystore.path()), 0o600);
        assert_eq!(mode(keystore.path().parent().unwrap()), 0o700);
    }

    #[test]
    fn an_error_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let keystore = Keystore::new(folder.path().join("keys.json"));
        let mut rng = StdRng::seed_from_u64(1);
        let result = keystore.update(|keys| {
            keys.contacts.push(contact(&mut rng, "Bob"));
            Err::<(), _>(KeystoreError::Newer { path: "x".into(), found: 9 })
        });
        assert!(result.is_err());
        assert!(!keystore.path().exists());
        fs::write(keystore.path(), "{\"version\":3,\"contacts\":{}}").unwrap();
        assert!(matches!(keystore.load(), Err(KeystoreError::Newer { found: 3, .. })));
        fs::write(keystore.path(), "{\"version\":1,\"conta").unwrap();
        assert!(matches!(keystore.load(), Err(KeystoreError::File { .. })));
        assert_eq!(fs::read_to_string(keystore.path()).unwrap(), "{\"version\":1,\"conta");
    }

    #[test]
    fn links_beside_the_file_are_not_written_through() {
        let folder = tempfile::tempdir().unwrap();
        let (victim, real) = (folder.path().join("victim"), folder.path().join("real.json"));
        fs::write(&victim, "precious").unwrap();
        let keystore = Keystore::new(folder.path().join("keys.json"));
        symlink(&victim, folder.path().join("real.json.new")).unwrap();
        fs::write(&real, "{\"version\":1,\"contacts\":[]}").unwrap();
        symlink(&real, keystore.path()).unwrap();
        let bob = contact(&mut StdRng::seed_from_u64(1), "Bob");
        keystore
            .update(|keys| {
                keys.contacts.push(bob);
                Ok::<_, KeystoreError>(())
            })
            .unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert!(fs::symlink_metadata(keystore.path()).unwrap().is_symlink());
        assert!(fs::read_to_string(&real).unwrap().contains("Bob"));
    }

    #[test]
    fn two_at_once_lose_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let keystore = Keystore::new(folder.path().join("keys.json"));
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let keystore = &keystore;
                scope.spawn(move || {
                    let mut rng = StdRng::seed_from_u64(thread);
                    for count in 0..10 {
                        let contact = contact(&mut rng, &format!("{thread}-{count}"));
                        keystore
                            .update(|keys| {
                                keys.contacts.push(contact);
                                Ok::<_, KeystoreError>(())
                            })
                            .unwrap();
                    }
                });
            }
        });
        assert_eq!(keystore.load().unwrap().contacts.len(), 40);
    }

    fn add(keystore: &Keystore, contact: Contact) {
        keystore
            .update(|keys| {
                keys.contacts.push(contact);
                Ok::<_, KeystoreError>(())
            })
            .unwrap();
    }

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new(text.into()).unwrap()
    }

    /// As version 0.1.0 wrote it, with the private keys of the published vectors.
    const VERSION_1: &str = r#"{
  "version": 1,
  "contacts": [
    {
      "name": "Bob",
      "key": "fUi77g9YSghmOi3xb9ga_0vq3fAmSNoGaOM8gALCp7VuoVAyJWgdCK7vLplVj_OC",
      "secret": "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc",
      "relays": ["https://connecto.id"],
      "ext": "YXBpIGtleQ",
      "made": 1795170000000,
      "expires": 1795774800000,
      "seen": [
        {
          "ik": "A3cF4dUliud11gULRbSbiyThJ8-nj--k8m_lctINRixWu9LVtRFfqKsa6XU9Q6j0hw",
          "n": [3, 5]
        }
      ],
      "inbox": [
        {
          "relay": "https://connecto.id",
          "ik": "A3cF4dUliud11gULRbSbiyThJ8-nj--k8m_lctINRixWu9LVtRFfqKsa6XU9Q6j0hw",
          "n": 5,
          "ts": 1795170000001,
          "note": "aGVsbG8"
        }
      ]
    }
  ],
  "sent": [
    {
      "to": "A3cF4dUliud11gULRbSbiyThJ8-nj--k8m_lctINRixWu9LVtRFfqKsa6XU9Q6j0hw",
      "key": "hsAGUgdbmTkCx-UZmaDJegSDu6hb-txATnTSJE4uWW_u2INVlHRN82l8ZDC9ZENN",
      "n": 41
    }
  ]
}"#;

    const VECTOR_LINK: &str = "A3cF4dUliud11gULRbSbiyThJ8-nj--k8m_lctINRixWu9LVtRFfqKsa6XU9Q6j0hw.aHR0cHM6Ly9jb25uZWN0by5pZA.YXBpIGtleQ.AQcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH";

    #[test]
    fn version_1_becomes_version_2() {
        let folder = tempfile::tempdir().unwrap();
        let keystore = Keystore::new(folder.path().join("keys.json"));
        fs::write(keystore.path(), VERSION_1).unwrap();
        let mut rng = StdRng::seed_from_u64(1);
        let box_key = keystore.load().unwrap().contacts[0].boxes[0].key.public();
        let unused = crate::seal::SigningKey::generate(&mut rng);
        let (key, n) =
            keystore.update(|keys| Ok::<_, KeystoreError>(keys.next_signature(box_key, unused))).unwrap();
        assert_eq!(n, 42);
        assert_eq!(key.to_bytes()[..4], [0x86, 0xc0, 0x06, 0x52]);

        let text = fs::read_to_string(keystore.path()).unwrap();
        assert!(text.starts_with("{\n  \"version\": 2,\n"), "{text}");
        let mut keys = keystore.load().unwrap();
        let bob = keys.contact_mut("Bob").unwrap();
        assert_eq!(bob.boxes[0].connectoid().to_string(), VECTOR_LINK);
        assert_eq!(
            (bob.made, bob.link.as_ref().unwrap().expires),
            (1_795_170_000_000, Some(1_795_774_800_000))
        );
        let note = bob.inbox.pop().unwrap();
        assert_eq!((note.n, note.note.as_slice()), (5, &b"hello"[..]));
        let link = bob.boxes[0].key.public();
        assert_eq!(bob.take_note(&link, note), Err(NotTaken::Repeated));
    }

    #[test]
    fn a_sealed_file_says_nothing_in_clear() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let mut rng = StdRng::seed_from_u64(1);
        fs::write(&path, VERSION_1).unwrap();
        let keystore = Keystore::new(path.clone());
        assert!(!keystore.is_sealed().unwrap());
        keystore.set_passphrase(&mut rng, Some(passphrase("correct horse"))).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        for clear in ["Bob", "connecto.id", "fUi77g9YSg", "BwcHBw", "hsAGUgdb", "A3cF4d", "aGVsbG8"] {
            assert!(!text.contains(clear), "{clear}");
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        // The one who sealed it goes on, and so does who has the passphrase; a write keeps it sealed.
        add(&keystore, contact(&mut rng, "Carol"));
        let other = Keystore::new(path.clone());
        assert!(other.is_sealed().unwrap());
        assert!(matches!(other.load(), Err(KeystoreError::Sealed { .. })));
        let before = fs::read(&path).unwrap();
        let wrong = Keystore::new(path.clone()).with_passphrase(&mut rng, passphrase("correct horse "));
        let refused = wrong.update(|_| Ok::<_, KeystoreError>(()));
        assert!(matches!(refused, Err(KeystoreError::WrongPassphrase { .. })));
        assert_eq!(fs::read(&path).unwrap(), before);
        let other = other.with_passphrase(&mut rng, passphrase("correct horse"));
        add(&other, contact(&mut rng, "Dave"));
        let names = |keystore: &Keystore| -> Vec<String> {
            keystore.load().unwrap().contacts.into_iter().map(|contact| contact.name).collect()
        };
        assert_eq!(names(&keystore), ["Bob", "Carol", "Dave"]);

        // Another passphrase, and none.
        other.set_passphrase(&mut rng, Some(passphrase("battery staple"))).unwrap();
        assert!(matches!(keystore.load(), Err(KeystoreError::WrongPassphrase { .. })));
        assert_eq!(names(&other), ["Bob", "Carol", "Dave"]);
        other.set_passphrase(&mut rng, None).unwrap();
        assert_eq!(names(&Keystore::new(path.clone())), ["Bob", "Carol", "Dave"]);
        assert!(!other.is_sealed().unwrap());
        assert!(fs::read_to_string(&path).unwrap().contains("Bob"));
    }

    #[test]
    fn a_new_file_is_sealed_from_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let mut rng = StdRng::seed_from_u64(1);
        let keystore = Keystore::new(path.clone()).with_passphrase(&mut rng, passphrase("x"));
        assert!(format!("{keystore:?}").ends_with("keys.json\", .. }"), "{keystore:?}");
        add(&keystore, contact(&mut rng, "Bob"));
        let first = fs::read_to_string(&path).unwrap();
        assert!(keystore.is_sealed().unwrap() && !first.contains("Bob"));
        // The key is the same, and at hand without the passphrase; the nonce is not.
        keystore.known().passphrase = None;
        keystore.clone().update(|_| Ok::<_, KeystoreError>(())).unwrap();
        let second = fs::read_to_string(&path).unwrap();
        let field = |text: &str, name: &str| {
            let value: serde_json::Value = serde_json::from_str(text).unwrap();
            value["sealed"][name].as_str().unwrap().to_owned()
        };
        assert_eq!(field(&first, "salt"), field(&second, "salt"));
        assert_ne!(field(&first, "nonce"), field(&second, "nonce"));

        // A seal that is broken is not called a wrong passphrase.
        let broken = second.replace(&field(&second, "nonce"), "AgICAgICAgICAgIC");
        fs::write(&path, &broken).unwrap();
        let error = keystore.load().err().unwrap().to_string();
        assert!(
            error.ends_with(
                "it is damaged (its seal is broken); restore it from a backup, nothing was changed"
            ),
            "{error}"
        );
        assert!(keystore.update(|_| Ok::<_, KeystoreError>(())).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), broken);
    }

    #[test]
    fn one_program_at_a_time_is_connected_as_a_contact() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let mut rng = StdRng::seed_from_u64(1);
        let keystore = Keystore::new(path.clone()).with_passphrase(&mut rng, passphrase("x"));
        add(&keystore, contact(&mut rng, "Bob"));
        let again = Keystore::new(path.clone()).with_passphrase(&mut rng, passphrase("x"));
        let bob = keystore.lock_contact("Bob").unwrap();
        assert!(matches!(again.lock_contact("Bob"), Err(KeystoreError::InUse { .. })));
        let other = again.lock_contact("../Carol").unwrap();
        let refused = again.set_passphrase(&mut rng, None);
        assert!(matches!(refused, Err(KeystoreError::SessionsRun { .. })));
        drop((bob, other));
        drop(again.lock_contact("Bob").unwrap());
        let name_in_clear = sealed::hide(b"", "Bob");
        for entry in fs::read_dir(folder.path()).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(name.starts_with("keys.json"), "{name}");
            assert!(
                !name.contains("Bob") && !name.contains("Carol") && !name.contains(&name_in_clear),
                "{name}"
            );
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 5, "the keys, two locks, two contacts'");
        keystore.set_passphrase(&mut rng, None).unwrap();
    }

    #[test]
    fn moved_to_a_new_device() {
        let folder = tempfile::tempdir().unwrap();
        let mut rng = StdRng::seed_from_u64(1);
        let old = Keystore::new(folder.path().join("old.json"));
        fs::write(old.path(), VERSION_1).unwrap();
        let export = old.export(&mut rng, &passphrase("correct horse")).unwrap();
        let text = String::from_utf8(export.clone()).unwrap();
        assert!(
            text.starts_with(r#"{"version":2,"export":{"kdf":"argon2id","m":65536,"t":3,"p":1,"#),
            "{text}"
        );
        assert!(!text.contains("Bob"));

        let new = Keystore::new(folder.path().join("new.json"));
        let wrong = new.import(&export, &passphrase("x"), false).err().unwrap();
        assert_eq!(wrong.to_string(), "wrong passphrase: it does not open the export; nothing was changed");
        let mut bob = contact(&mut rng, "Bob");
        bob.made = 7;
        add(&new, bob);
        add(&new, contact(&mut rng, "Carol"));
        let present = new.import(&export, &passphrase("correct horse"), false).err().unwrap();
        assert_eq!(
            present.to_string(),
            "there are contacts of these names or with these keys already: Bob; nothing was imported"
        );
        assert_eq!(new.load().unwrap().contact("Bob").unwrap().made, 7);
        assert_eq!(new.import(&export, &passphrase("correct horse"), true).unwrap(), ["Bob"]);

        let mut keys = new.load().unwrap();
        let names: Vec<&str> = keys.contacts.iter().map(|contact| contact.name.as_str()).collect();
        assert_eq!(names, ["Carol", "Bob"]);
        assert_eq!(keys.contacts[1].boxes[0].connectoid().to_string(), VECTOR_LINK);
        assert_eq!(keys.contacts[1].inbox.len(), 1);
        let (to, unused) =
            (keys.contacts[1].boxes[0].key.public(), crate::seal::SigningKey::generate(&mut rng));
        assert_eq!(keys.next_signature(to, unused).1, 41 + 1_048_576 + 1);

        // What is no export, and what is one in the place of keys.
        let none = "cannot use the export: it is none, or damaged: an export is written by connectoid contacts export";
        for (bytes, error) in [
            (
                &b"{\"version\":3}"[..],
                "the export was written by a newer connectoid (form 3): update this one; nothing was changed",
            ),
            (VERSION_1.as_bytes(), none),
            (&b"The shopping list"[..], none),
            (&export[..export.len() - 9], none),
        ] {
            let refused = new.import(bytes, &passphrase("correct horse"), true).err().unwrap().to_string();
            assert!(refused.starts_with(error), "{refused}");
        }
        fs::write(new.path(), &export).unwrap();
        let refused = new.load().err().unwrap().to_string();
        assert!(refused.ends_with("it is an export: read it with connectoid contacts import"), "{refused}");
    }

    #[test]
    fn an_old_export_brings_nothing_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut rng = StdRng::seed_from_u64(1);
        let keystore = Keystore::new(folder.path().join("keys.json"));
        fs::write(keystore.path(), VERSION_1).unwrap();
        let export = keystore.export(&mut rng, &passphrase("x")).unwrap();
        let ik = keystore.load().unwrap().contacts[0].boxes[0].key.public();
        keystore
            .update(|keys| {
                let bob = keys.contact_mut("Bob").unwrap();
                bob.inbox.clear();
                let link = bob.boxes[0].key.public();
                bob.take_note(&link, note(ik, 9)).unwrap();
                bob.name = "Robert".into();
                keys.sent[0].n = 3_000_000;
                Ok::<_, KeystoreError>(())
            })
            .unwrap();
        keystore.import(&export, &passphrase("x"), true).unwrap();
        let mut keys = keystore.load().unwrap();
        assert!(keys.contacts.len() == 1 && keys.sent.len() == 1);
        let bob = keys.contact_mut("Bob").unwrap();
        assert_eq!(bob.inbox.iter().map(|note| note.n).collect::<Vec<_>>(), [9], "5 was handed over");
        for n in [3, 5, 9] {
            let link = bob.boxes[0].key.public();
            assert_eq!(bob.take_note(&link, note(ik, n)), Err(NotTaken::Repeated), "{n}");
        }
        let unused = crate::seal::SigningKey::generate(&mut rng);
        assert_eq!(keys.next_signature(ik, unused).1, 3_000_001);
    }

    fn note(ik: crate::protocol::PublicKey, n: u64) -> InboxNote {
        InboxNote { relay: "https://connecto.id".parse().unwrap(), ik, n, ts: 5, note: b"x".to_vec() }
    }
}
