//! `connectoid receive` and `open`: notes that came, with and without curl.

use std::{
    collections::BTreeSet,
    io::{self, IsTerminal as _},
};

use clap::Args;
use serde::Serialize;

use super::{
    Failure, Home, answer::read_reply, contacts::date, known, mailbox, now_ms, print, print_json, say,
    without_controls,
};
use crate::{
    client::{
        contact::{Contact, InboxNote, NotTaken, OwnBox},
        exchange::{Done, NoReply},
        keystore::Keystore,
        reading::{self, MOST_REPLIES, Page},
        transport::{Transport, TransportError},
    },
    protocol::{
        Answer, At, Checked, PublicKey, Received, RelayUrl, Request, Upto, base64url, limits::MAX_RECEIVE,
    },
    seal::message::{Content, Junk, Opened, open_message},
};

/// Receive the notes sent to a link
///
/// Writes each note once to standard output, and deletes it at the relay. Exits with 3 if there is none. A note proves
/// no more about its sender than that they had the link.
#[derive(Args)]
pub(super) struct Receive {
    #[command(flatten)]
    home: Home,
    /// Whose link
    name: String,
    /// One line of JSON per note: from, n, ts, relay, data (base64url) and text (if it is UTF-8)
    #[arg(long)]
    json: bool,
    /// Leave the messages at the relay until they expire
    #[arg(long)]
    keep: bool,
}

/// Open the messages in the reply to `receive`, from curl
///
/// Reads the reply on standard input and writes the notes in it. Remembers nothing: a relay could show the same message
/// again; connectoid receive would notice.
#[derive(Args)]
pub(super) struct Open {
    #[command(flatten)]
    home: Home,
    /// Whose link
    #[arg(long = "for", value_name = "NAME")]
    name: String,
    /// One line of JSON per note
    #[arg(long)]
    json: bool,
}

impl Receive {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let keystore = self.home.keystore()?;
        known(&keystore.load()?, &self.name)?;
        // An app that runs this contact would write its own state over what is taken here.
        let _at_rest = keystore.hold_contact(&self.name)?;
        let keys = keystore.load()?;
        let contact = known(&keys, &self.name)?;
        if contact.has_expired(now_ms()) {
            if hand_over(&keystore, contact, self.json)? > 0 {
                return Ok(());
            }
            return Err(Failure::with(
                Failure::NOTHING,
                format!(
                    "the link for {:?} expired {}: make a new one with connectoid link --for {:?} --replace",
                    self.name,
                    date(contact.link.as_ref().and_then(|link| link.expires).unwrap_or(0)),
                    self.name
                ),
            ));
        }
        let transport = Transport::new();
        let mut emptied = Vec::new();
        let mut failures = Vec::new();
        let own = mailbox(contact)?;
        for relay in &own.relays {
            match take_all(&keystore, contact, own, &transport, relay).await {
                Ok(taken) => emptied.extend(taken.map(|taken| (relay, taken))),
                Err(failure) => failures.push(failure),
            }
        }
        for failure in &failures {
            say(&format!("connectoid: {}", failure.message));
        }
        let handed_over = hand_over(&keystore, contact, self.json)?;
        if !self.keep {
            for (relay, taken) in emptied {
                taken.acknowledge(own, &transport, relay).await;
            }
        }
        match failures.pop() {
            _ if handed_over > 0 => Ok(()),
            Some(failure) if failures.len() + 1 == own.relays.len() => Err(Failure {
                message: "nothing received: no relay of this link could be read".into(),
                ..failure
            }),
            _ => Err(Failure::with(Failure::NOTHING, "nothing new")),
        }
    }
}

/// What was read from one relay.
struct Taken {
    answer: Answer,
    at: At,
    /// Whether all of it is in the inbox, so that the relay need not keep it.
    complete: bool,
}

/// Reads a box at one relay from its start into the inbox; `None` if it is empty.
///
/// From the start each time: a cursor is a hint from the relay, and a wrong one would hide mail. What was taken before
/// is known by its counter.
async fn take_all(
    keystore: &Keystore,
    contact: &Contact,
    own: &OwnBox,
    transport: &Transport,
    relay: &RelayUrl,
) -> Result<Option<Taken>, Failure> {
    let misbehaves =
        |what| Failure::from(TransportError { relay: relay.clone(), why: NoReply::Misbehaves(what) });
    let key = own.key.public();
    let ext = own.ext.clone();
    let check = Request::Check {
        key,
        ext: ext.clone(),
        at: At::START,
        ask: false,
        relay: Some(relay.to_string()),
        wait: 0,
    };
    let checked: Checked = transport.ask_patiently(relay, &check).await?;
    if !checked.found {
        return Ok(None);
    }
    let answer = reading::answer(&own.key, relay, checked.relay.as_deref(), checked.question.as_deref())
        .map_err(misbehaves)?;
    let mut taken = Taken { answer, at: At::START, complete: true };
    for _ in 0..MOST_REPLIES {
        let receive = Request::Receive { key, ext: ext.clone(), answer, at: taken.at, limit: MAX_RECEIVE };
        let reply = transport.ask_patiently(relay, &receive).await?;
        let Some(Page { at, messages, more }) = reading::page(reply, taken.at).map_err(misbehaves)? else {
            break;
        };
        let sealed: Vec<Vec<u8>> = messages.into_iter().map(|message| message.data).collect();
        taken.complete &= take(keystore, contact, own, relay, &sealed)?;
        taken.at = at;
        if !more {
            break;
        }
    }
    Ok(Some(taken))
}

/// Opens a message to the link of a contact. Nobody's key is known from before: notes carry theirs.
fn open(own: &OwnBox, message: &[u8]) -> Result<Opened, Junk> {
    open_message(&own.key, own.secret.as_ref(), |_| None, message)
}

fn not_a_note(content: &Content) -> String {
    format!("a message of type {:?}, which this command does not speak", content.typ())
}

/// Opens messages and takes the notes among them into the inbox, in one write; whether that was all of them.
fn take(
    keystore: &Keystore,
    contact: &Contact,
    own: &OwnBox,
    relay: &RelayUrl,
    messages: &[Vec<u8>],
) -> Result<bool, Failure> {
    let mut complete = true;
    let mut notes = Vec::new();
    for message in messages {
        match open(own, message) {
            Ok(opened) => match opened.content {
                Content::Note(note) => {
                    notes.push(InboxNote {
                        relay: relay.clone(),
                        ik: opened.ik,
                        n: opened.n,
                        ts: opened.ts,
                        note,
                    });
                }
                other => {
                    complete = false;
                    say(&format!("left at {relay}: {}", not_a_note(&other)));
                }
            },
            Err(junk @ Junk::Type) => {
                complete = false;
                say(&format!("left at {relay}: a message that {junk}"));
            }
            Err(junk) => say(&format!("skipped: a message at {relay} {junk}")),
        }
    }
    if notes.is_empty() {
        return Ok(complete);
    }
    keystore.update(|keys| {
        let same = keys.contact_mut(&contact.name).filter(|now| now.owns(&own.key.public()));
        let contact = same.ok_or_else(|| {
            Failure::with(Failure::NOTHING, "the link was replaced while its notes were received")
        })?;
        for note in notes {
            match contact.take_note(&own.key.public(), note) {
                // Another relay had it too, or it was read with --keep.
                Ok(()) | Err(NotTaken::Repeated) => {}
                Err(error) => {
                    complete = false;
                    say(&format!("skipped: a note {error}"));
                }
            }
        }
        Ok(complete)
    })
}

/// Writes the inbox to standard output, then empties it: killed in between, it is written again, not lost.
fn hand_over(keystore: &Keystore, contact: &Contact, json: bool) -> Result<usize, Failure> {
    let _alone = keystore.handing_over()?;
    let keys = keystore.load()?;
    let inbox = &known(&keys, &contact.name)?.inbox;
    for note in inbox {
        let InboxNote { relay, ik, n, ts, note } = note;
        show(&Shown { from: *ik, n: *n, ts: *ts, relay: Some(relay), note }, json)?;
    }
    if !inbox.is_empty() {
        let shown: BTreeSet<_> = inbox.iter().map(|note| (note.ik, note.n)).collect();
        keystore.update(|keys| {
            // What came meanwhile stays, also if the name stands for another link by now.
            if let Some(contact) = keys.contact_mut(&contact.name) {
                contact.inbox.retain(|note| !shown.contains(&(note.ik, note.n)));
            }
            Ok::<_, Failure>(())
        })?;
    }
    Ok(inbox.len())
}

impl Taken {
    /// Tells the relay that it need not keep what was taken. If that fails the messages expire by themselves.
    async fn acknowledge(self, own: &OwnBox, transport: &Transport, relay: &RelayUrl) {
        if !self.complete || self.at == At::START {
            return;
        }
        let (key, ext) = (own.key.public(), own.ext.clone());
        let delete = Request::Delete { key, ext, answer: self.answer, upto: Upto::At(self.at) };
        if let Err(error) = transport.ask::<Done>(relay, &delete).await {
            say(&format!("connectoid: {error}; the messages expire there by themselves"));
        }
    }
}

impl Open {
    pub(super) fn run(self) -> Result<(), Failure> {
        let keys = self.home.keystore()?.load()?;
        let own = mailbox(known(&keys, &self.name)?)?;
        let messages = match read_reply::<Received>("receive")? {
            Received::One { data, .. } => vec![data],
            Received::Many { messages, .. } => messages.into_iter().map(|message| message.data).collect(),
            Received::Nothing { .. } => Vec::new(),
        };
        if messages.is_empty() {
            return Err(Failure::with(Failure::NOTHING, "nothing new"));
        }
        let mut bad = 0;
        for message in &messages {
            match open(own, message) {
                Ok(opened) => match opened.content {
                    Content::Note(note) => {
                        let (from, n, ts) = (opened.ik, opened.n, opened.ts);
                        show(&Shown { from, n, ts, relay: None, note: &note }, self.json)?;
                    }
                    other => say(&not_a_note(&other)),
                },
                Err(junk @ Junk::Type) => say(&format!("a message that {junk}")),
                Err(junk) => {
                    bad += 1;
                    say(&format!("connectoid: a message {junk}"));
                }
            }
        }
        if bad == messages.len() { Err(Failure::new("none of the messages could be opened")) } else { Ok(()) }
    }
}

/// A note as it is shown.
#[derive(Serialize)]
struct Shown<'a> {
    from: PublicKey,
    n: u64,
    ts: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    relay: Option<&'a RelayUrl>,
    #[serde(rename = "data", serialize_with = "base64url::serde_bytes::serialize")]
    note: &'a [u8],
}

/// A note, to standard output: its bytes as they are, or as one line of JSON.
fn show(shown: &Shown<'_>, json: bool) -> Result<(), Failure> {
    if json {
        #[derive(Serialize)]
        struct WithText<'a> {
            #[serde(flatten)]
            shown: &'a Shown<'a>,
            text: Option<&'a str>,
        }
        return print_json(&WithText { shown, text: std::str::from_utf8(shown.note).ok() });
    }
    if !io::stdout().is_terminal() {
        return print(shown.note);
    }
    // Whoever has the link writes these bytes: on a terminal they must not move its cursor.
    let text = without_controls(&String::from_utf8_lossy(shown.note));
    print(if text.ends_with('\n') { text } else { format!("{text}\n") })
}
