//! Passphrases: from a file or the environment for scripts, or asked on the terminal. Never from the command line,
//! which every list of processes shows.

use std::{
    fs,
    io::{self, IsTerminal as _},
    path::Path,
};

use zeroize::Zeroizing;

use super::{Failure, variable};
use crate::client::keystore::Passphrase;

/// The passphrase of the keys, for scripts.
const PASSPHRASE: &str = "CONNECTOID_PASSPHRASE";

/// The passphrase that is the first line of a file.
pub(super) fn in_file(path: &Path) -> Result<Passphrase, Failure> {
    let failed = |error: &dyn ToString| Failure::new(format!("{}: {}", path.display(), error.to_string()));
    let text = Zeroizing::new(fs::read_to_string(path).map_err(|error| failed(&error))?);
    let line = text.lines().next().unwrap_or_default();
    Passphrase::new(line.to_owned()).map_err(|error| failed(&error))
}

/// The passphrase of the keys, if a file or the environment holds it.
pub(super) fn given(file: Option<&Path>) -> Result<Option<Passphrase>, Failure> {
    match file {
        Some(file) => in_file(file).map(Some),
        None => variable(PASSPHRASE).map(Passphrase::new).transpose().map_err(Failure::new),
    }
}

/// Asks for a passphrase on the terminal, without showing it; `elsewhere` says what to do where there is none.
pub(super) fn ask(prompt: &str, elsewhere: &str) -> Result<Passphrase, Failure> {
    // The terminal may be there though nobody looks at it, as when a script is run with all of its output in a file.
    if !io::stderr().is_terminal() {
        return Err(Failure::new(elsewhere));
    }
    let text = rpassword::prompt_password(prompt)
        .map_err(|error| Failure::new(format!("no passphrase was read: {error}")))?;
    Passphrase::new(text).map_err(Failure::new)
}

/// Asks for a new passphrase, twice.
pub(super) fn ask_twice(prompt: &str, elsewhere: &str) -> Result<Passphrase, Failure> {
    let first = ask(prompt, elsewhere)?;
    if ask("The same again: ", elsewhere)? == first {
        Ok(first)
    } else {
        Err(Failure::new("the two are not the same; nothing was changed"))
    }
}
