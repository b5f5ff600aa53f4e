//! The keys on disk: one file, for this user only, changed whole or not at all.
//!
//! Every change locks the file beside it, reads, changes, writes a new file, syncs and renames it into place; so two
//! processes at once lose nothing, and neither does a crash.

mod keys;

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use serde::Deserialize;
use zeroize::Zeroizing;

pub use self::keys::{Contact, InboxNote, Keys, NotTaken, Sent};

/// The version of the file's form.
const VERSION: u32 = 1;

/// Why the keys could not be read or written.
#[derive(Debug, thiserror::Error)]
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
}

/// The keys file of a user.
#[derive(Debug, Clone)]
pub struct Keystore {
    path: PathBuf,
}

impl Keystore {
    /// The keys in this file, which need not exist yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where the keys are.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the keys.
    ///
    /// # Errors
    /// If the file is there and cannot be read.
    pub fn load(&self) -> Result<Keys, KeystoreError> {
        let text = match fs::read(&self.path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Keys::default()),
            Err(error) => return Err(self.error(&error)),
        };
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let broken = |error: serde_json::Error| KeystoreError::File {
            path: self.path.clone(),
            reason: format!("it is damaged ({error}); restore it from a backup, nothing was changed"),
        };
        let Version { version } = serde_json::from_slice(&text).map_err(broken)?;
        if version > VERSION {
            return Err(KeystoreError::Newer { path: self.path.clone(), found: version });
        }
        serde_json::from_slice(&text).map_err(broken)
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
        let mut keys = self.load()?;
        let result = change(&mut keys)?;
        keys.version = VERSION;
        self.store(&keys).map_err(|error| self.error(&error))?;
        Ok(result)
    }

    /// Waits until no other process hands over notes; held until dropped.
    ///
    /// # Errors
    /// If the lock's file cannot be made.
    pub fn handing_over(&self) -> Result<impl Sized, KeystoreError> {
        self.lock("receive.lock")
    }

    fn lock(&self, extension: &str) -> Result<File, KeystoreError> {
        let lock = || {
            if let Some(folder) = self.path.parent() {
                DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            }
            let path = self.path.with_added_extension(extension);
            let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
            file.lock()?;
            Ok(file)
        };
        lock().map_err(|error| self.error(&error))
    }

    /// Writes the new file beside the old one, syncs it, renames it over the old one, syncs the folder.
    fn store(&self, keys: &Keys) -> io::Result<()> {
        let text = Zeroizing::new(serde_json::to_vec_pretty(keys)?);
        // A link to the keys stays a link.
        let path = self.path.canonicalize().unwrap_or_else(|_| self.path.clone());
        let beside = path.with_added_extension("new");
        // Left over from a crash, or someone's link to another file: never written through.
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&beside, &path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }

    fn error(&self, error: &io::Error) -> KeystoreError {
        KeystoreError::File { path: self.path.clone(), reason: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use rand::{SeedableRng, rngs::StdRng};

    use super::*;
    use crate::{protocol::LinkSecret, seal::BoxKey};

    fn contact(rng: &mut StdRng, name: &str) -> Contact {
        let relay = "https://connecto.id".parse().unwrap();
        Contact::new(name.into(), BoxKey::generate(rng), vec![relay], 5)
    }

    #[test]
    fn stored_for_this_user_only_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let keystore = Keystore::new(folder.path().join("data/connectoid/keys.json"));
        assert!(keystore.load().unwrap().contacts.is_empty());
        let mut rng = StdRng::seed_from_u64(1);
        let mut bob = contact(&mut rng, "Bob");
        bob.secret = Some(LinkSecret::generate(&mut rng));
        let connectoid = bob.connectoid();
        keystore
            .update(|keys| {
                keys.contacts.push(bob);
                Ok::<_, KeystoreError>(())
            })
            .unwrap();
        let read = keystore.load().unwrap();
        assert_eq!(read.contact("Bob").unwrap().connectoid(), connectoid);
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
        fs::write(keystore.path(), "{\"version\":2,\"contacts\":{}}").unwrap();
        assert!(matches!(keystore.load(), Err(KeystoreError::Newer { found: 2, .. })));
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
}
