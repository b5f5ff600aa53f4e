//! `connectoid demo`: the demo as a folder of files, for any host of pages.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use clap::Args;

use super::{Failure, say};
use crate::{
    http::demo::{self, Settings},
    protocol::{NotARelayUrl, RelayUrl},
    server::StunUrl,
};

/// Write the demo, a shopping list that people share by a link, into a folder: to host it where you like
///
/// A relay serves the same files at /demo/, and whoever serves a page can do what they want in it. On a host of your own it is you
/// who are trusted with the page, and the relay with delivery only.
///
/// The folder works under any path and needs no program: copy it to any host of static files, with https (browsers make keys on
/// https only, and on this machine).
///
/// connectoid demo --into list --relay https://connecto.id
///
/// To look at it here: (cd list && python3 -m http.server --bind 127.0.0.1 8000), and open http://127.0.0.1:8000/
#[derive(Args)]
pub(super) struct Demo {
    /// The folder: it is made, or must be empty
    #[arg(long, value_name = "FOLDER")]
    into: PathBuf,

    /// The relay for new links, as https://connecto.id [default: what is served one folder above the page, as a relay serves its own
    /// demo]
    #[arg(long, value_name = "URL", value_parser = relay)]
    relay: Option<RelayUrl>,

    /// A STUN server, which tells each device the address that the outside sees, as stun:stun.example.org:3478; repeat it, or separate
    /// them with commas. Without one, only devices on one network connect, mostly; with one, it sees who has the page open, and when
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    stun: Vec<StunUrl>,
}

/// What a host may say beside: the page says as much as it can by itself.
const HEADERS: &str = "  Cache-Control: no-cache
  Content-Security-Policy: frame-ancestors 'none'
  Referrer-Policy: no-referrer
  X-Content-Type-Options: nosniff";

/// A relay that the page may ask: its policy names this machine by these names only.
fn relay(text: &str) -> Result<RelayUrl, String> {
    let url: RelayUrl = text.parse().map_err(|error: NotARelayUrl| error.to_string())?;
    let host = url.as_str().strip_prefix("http://").map(|rest| rest.split([':', '/']).next());
    match host {
        Some(host) if !matches!(host, Some("localhost" | "127.0.0.1")) => {
            Err(format!("{url}: by http the page may ask localhost and 127.0.0.1 only"))
        }
        _ => Ok(url),
    }
}

impl Demo {
    pub(super) fn run(self) -> Result<(), Failure> {
        let settings = Settings { relay: self.relay, stun: self.stun };
        let demo = demo::Demo::new(&settings).map_err(Failure::new)?;
        let mut files: Files<'_> = demo.files().collect();
        // The page last.
        files.sort_by_key(|(name, _)| *name == "index.html");
        let folder = self.into.display();
        write(&self.into, &files).map_err(|error| match error.kind() {
            ErrorKind::DirectoryNotEmpty => Failure::new(format!(
                "{folder} is not empty, and nothing in it is overwritten: name a new folder with --into"
            )),
            _ => Failure::new(format!("{folder}: {error}")),
        })?;
        let relay = match &settings.relay {
            Some(relay) => format!("The relay of its links is {relay}."),
            None => {
                "The relay of its links is whatever is served one folder above it; --relay URL names one."
                    .to_owned()
            }
        };
        let stun: String = settings.stun.iter().map(|url| format!(" It asks {url}.")).collect();
        say(&format!(
            "{folder}: {} files. {relay}{stun}\n\
             Put the folder on any host of static files, with https. Good to have, if the host can set headers:\n{HEADERS}",
            files.len()
        ));
        Ok(())
    }
}

type Files<'a> = Vec<(&'static str, &'a [u8])>;

/// Writes all of them, or leaves everything as it was.
fn write(folder: &Path, files: &Files<'_>) -> io::Result<()> {
    let is_new = match fs::read_dir(folder).map(|mut entries| entries.next().is_none()) {
        Ok(true) => false,
        Ok(false) => return Err(ErrorKind::DirectoryNotEmpty.into()),
        Err(error) if error.kind() == ErrorKind::NotFound => true,
        Err(error) => return Err(error),
    };
    if is_new {
        fs::create_dir_all(folder)?;
    }
    let mut written = Vec::new();
    let done = files.iter().try_for_each(|(name, bytes)| {
        let path = folder.join(name);
        let mut file = File::create_new(&path)?;
        written.push(path);
        file.write_all(bytes)
    });
    if done.is_err() {
        written.iter().for_each(|path| drop(fs::remove_file(path)));
        if is_new {
            drop(fs::remove_dir(folder));
        }
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_begun_is_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let twice: Files<'_> = vec![("a", b"1"), ("b", b"2"), ("a", b"3")];
        let new = folder.path().join("new/list");
        assert_eq!(write(&new, &twice).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert!(!new.exists());
        let empty = folder.path().join("empty");
        fs::create_dir(&empty).unwrap();
        assert!(write(&empty, &twice).is_err());
        assert_eq!(fs::read_dir(&empty).unwrap().count(), 0);
    }
}
