//! `connectoid contacts export`, `import` and `passphrase`: the file that the contacts are in.

use std::{
    fs::{self, OpenOptions},
    io::{self, ErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use clap::Args;

use super::{Failure, Home, entropy, passphrase, say};
use crate::client::keystore::{KeystoreError, Passphrase};

/// Write all contacts and their keys into one file, for a new device
///
/// The file is sealed under a passphrase: the one in --export-passphrase-file, else the one given for the keys, else one
/// that is asked for. There, import it with: connectoid contacts import FILE
///
/// From then on use the new device only. Two devices with the same keys would take each other's messages, and of two
/// that they send to the same person one could vanish.
#[derive(Args)]
pub(super) struct Export {
    #[command(flatten)]
    home: Home,
    #[command(flatten)]
    sealed: ExportPassphrase,
    /// The file to write, for this user only; there must be none yet
    file: PathBuf,
}

/// Take over the contacts of another device from the file that `contacts export` wrote there
///
/// The contacts here stay. If one of them has the same name or the same key as one in the file, nothing is imported
/// unless with --replace. Do not use the keys on the other device any more.
#[derive(Args)]
pub(super) struct Import {
    #[command(flatten)]
    home: Home,
    #[command(flatten)]
    sealed: ExportPassphrase,
    /// The file that was exported
    file: PathBuf,
    /// Give up the contacts here that have the name or the key of one in the file
    #[arg(long)]
    replace: bool,
}

/// Seal the keys on this disk under a passphrase, change it or remove it
///
/// From then on every command that uses the keys asks for it, or takes it from --passphrase-file or
/// CONNECTOID_PASSPHRASE. Without it the keys are lost: nobody can restore them.
///
/// The disk may hold what was not sealed until it is overwritten; so set it before the first link, if you can.
#[derive(Args)]
pub(super) struct SetPassphrase {
    #[command(flatten)]
    home: Home,
    /// A file whose first line is the new passphrase; without it, that is asked for on the terminal. Keys without one
    /// take the passphrase that is given as theirs
    #[arg(long, value_name = "FILE", conflicts_with = "remove")]
    new_passphrase_file: Option<PathBuf>,
    /// Let the keys lie on the disk as they are, for whoever can read the file
    #[arg(long)]
    remove: bool,
}

#[derive(Args)]
struct ExportPassphrase {
    /// A file whose first line is the passphrase of the exported file
    #[arg(long, value_name = "FILE")]
    export_passphrase_file: Option<PathBuf>,
}

impl ExportPassphrase {
    fn given(&self, home: &Home) -> Result<Option<Passphrase>, Failure> {
        match &self.export_passphrase_file {
            Some(file) => passphrase::in_file(file).map(Some),
            None => home.passphrase(),
        }
    }
}

const NO_TERMINAL: &str =
    "there is no terminal to ask for the export's passphrase on: give it with --export-passphrase-file FILE";

impl Export {
    pub(super) fn run(self) -> Result<(), Failure> {
        let keystore = self.home.keystore()?;
        let contacts = keystore.load()?.contacts;
        if contacts.is_empty() {
            return Err(Failure::with(Failure::NOTHING, "there are no contacts to export"));
        }
        // Asked for again when it is written, but not after one thought of a passphrase.
        if self.file.symlink_metadata().is_ok() {
            return Err(self.failed(&ErrorKind::AlreadyExists.into()));
        }
        let passphrase = match self.sealed.given(&self.home)? {
            Some(passphrase) => passphrase,
            None => passphrase::ask_twice("A passphrase for the exported file: ", NO_TERMINAL)?,
        };
        let export = keystore.export(&mut entropy()?, &passphrase)?;
        write_new(&self.file, &export).map_err(|error| self.failed(&error))?;
        let names: Vec<&str> = contacts.iter().map(|contact| contact.name.as_str()).collect();
        say(&format!(
            "exported {}: on the new device, connectoid contacts import; then use them only there",
            names.join(", ")
        ));
        Ok(())
    }

    fn failed(&self, error: &io::Error) -> Failure {
        let file = self.file.display();
        match error.kind() {
            ErrorKind::AlreadyExists => {
                Failure::new(format!("{file} is there already: name a new file; nothing was written"))
            }
            _ => Failure::new(format!("{file}: {error}")),
        }
    }
}

/// Writes a file that was not there, whole or not at all.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if written.is_err() {
        drop(fs::remove_file(path));
    }
    written
}

impl Import {
    pub(super) fn run(self) -> Result<(), Failure> {
        let file = self.file.display();
        let export = fs::read(&self.file).map_err(|error| Failure::new(format!("{file}: {error}")))?;
        let keystore = self.home.keystore()?;
        let passphrase = match self.sealed.given(&self.home)? {
            Some(passphrase) => passphrase,
            None => passphrase::ask("The passphrase of the exported file: ", NO_TERMINAL)?,
        };
        let is_new = !keystore.path().exists();
        let names = keystore.import(&export, &passphrase, self.replace).map_err(|error| match error {
            KeystoreError::Present { .. } => Failure::new(format!("{error}; --replace gives up those here")),
            error => error.into(),
        })?;
        say(&format!("imported {}: do not use the old device any more", names.join(", ")));
        if is_new && keystore.is_sealed()? {
            say("the keys here are sealed under the passphrase that was given for them");
        }
        Ok(())
    }
}

impl SetPassphrase {
    pub(super) fn run(self) -> Result<(), Failure> {
        let keystore = self.home.keystore()?;
        // Whether the old one is right is said before a new one is asked for.
        keystore.load()?;
        let sealed = keystore.is_sealed()?;
        if self.remove {
            if !sealed {
                return Err(Failure::with(Failure::NOTHING, "the keys have no passphrase"));
            }
            keystore.set_passphrase(&mut entropy()?, None)?;
            say("the passphrase is removed: whoever can read the file has the keys");
            return Ok(());
        }
        let given = match &self.new_passphrase_file {
            Some(file) => Some(passphrase::in_file(file)?),
            None if sealed => None,
            None => self.home.passphrase()?,
        };
        let new = match given {
            Some(new) => new,
            None => passphrase::ask_twice(
                "The new passphrase: ",
                "there is no terminal to ask for the new passphrase on: give it with --new-passphrase-file FILE",
            )?,
        };
        keystore.set_passphrase(&mut entropy()?, Some(new))?;
        say(if sealed { "the passphrase is changed" } else { "the keys are sealed under the passphrase" });
        Ok(())
    }
}
