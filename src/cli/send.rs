//! `connectoid send` and `seal`: a note on its way out, with and without curl.

use std::{
    fs,
    io::{self, IsTerminal as _, Read as _},
    path::PathBuf,
};

use clap::Args;
use serde::Serialize;

use super::{Failure, Home, entropy, now_ms, print_json, say};
use crate::{
    client::{exchange::Done, transport::Transport},
    protocol::{Connectoid, RelayUrl, Request, find_connectoid, limits::MAX_DATA_BYTES},
    seal::{
        SigningKey,
        message::{Content, NotSealed, seal_message},
    },
};

/// Send a note to whoever made a link
///
/// Reads the note from standard input, or from a file; up to 8,892 bytes. It is sealed on this machine; no relay can
/// read it. Sends to every relay of the link, and succeeds if one of them stored it.
#[derive(Args)]
pub(super) struct Send {
    #[command(flatten)]
    note: Note,
    /// As one line of JSON: which relays stored it, and what the others said
    #[arg(long)]
    json: bool,
}

/// Turn a note into a `send` request, for curl
///
/// Reads the note from standard input, or from a file; up to 8,892 bytes. Writes the whole request:
///
///   echo hello | connectoid seal LINK | curl -s URL -d @-
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Seal {
    #[command(flatten)]
    note: Note,
}

#[derive(Args)]
struct Note {
    #[command(flatten)]
    home: Home,
    /// The link, or the bare connectoid in it
    link: String,
    /// The note's file, instead of standard input
    #[arg(long)]
    file: Option<PathBuf>,
}

impl Note {
    /// Reads and seals the note: where to, and its bytes.
    fn seal(&self) -> Result<(Connectoid, Vec<u8>), Failure> {
        let to = find_connectoid(&self.link).map_err(Failure::new)?.connectoid;
        if to.secret.is_none() {
            say(
                "this link has no secret; if it was cut on its way, its owner cannot read the note: ask for it again",
            );
        }
        let note = Content::Note(self.read()?);
        let mut rng = entropy()?;
        let fresh = SigningKey::generate(&mut rng);
        // The counter is stored before anything is sealed with it: after a crash it is never used again.
        let (signer, n) =
            self.home.keystore()?.update(|keys| Ok::<_, Failure>(keys.next_signature(to.key, fresh)))?;
        let sealed = seal_message(&mut rng, &to.key, to.secret.as_ref(), &signer, n, now_ms(), &note);
        sealed.map(|sealed| (to, sealed.data)).map_err(|error| match error {
            NotSealed::TooLong(_) => Failure::with(2, error),
            _ => Failure::new(error),
        })
    }

    fn read(&self) -> Result<Vec<u8>, Failure> {
        if let Some(file) = &self.file {
            return fs::read(file).map_err(|error| Failure::new(format!("{}: {error}", file.display())));
        }
        if io::stdin().is_terminal() {
            say("write the note, then end it with Ctrl-D:");
        }
        let mut note = Vec::new();
        // More than any note holds is not read: the error says how much that is.
        io::stdin().take(MAX_DATA_BYTES as u64).read_to_end(&mut note).map_err(Failure::new)?;
        Ok(note)
    }
}

impl Seal {
    pub(super) fn run(self) -> Result<(), Failure> {
        let (to, data) = self.note.seal()?;
        print_json(&Request::Send { key: to.key, ext: to.ext, data })
    }
}

impl Send {
    pub(super) async fn run(self) -> Result<(), Failure> {
        #[derive(Serialize)]
        struct Sent<'a> {
            stored: Vec<&'a RelayUrl>,
            failed: Vec<String>,
        }
        let (to, data) = self.note.seal()?;
        let request = Request::Send { key: to.key, ext: to.ext.clone(), data };
        let transport = Transport::new();
        let (mut stored, mut failed) = (Vec::new(), Vec::new());
        for relay in &to.relays {
            match transport.ask_patiently::<Done>(relay, &request).await {
                Ok(_) => stored.push(relay),
                Err(error) => failed.push(error),
            }
        }
        let why: Vec<String> = failed.iter().map(ToString::to_string).collect();
        if self.json {
            print_json(&Sent { stored: stored.clone(), failed: why.clone() })?;
        } else {
            why.iter().for_each(|error| say(&format!("connectoid: {error}")));
            stored.iter().for_each(|relay| say(&format!("stored at {relay}")));
        }
        match failed.pop() {
            Some(last) if stored.is_empty() => {
                Err(Failure { message: "not sent: no relay of this link stored it".into(), ..last.into() })
            }
            _ => Ok(()),
        }
    }
}
