//! The own boxes at a relay: check, open the question, receive, hand on, acknowledge.
//!
//! All boxes at one relay are asked about in one check: once a minute, or waiting at the relay while something is expected.
//! What a relay says is believed only as far as it does no harm: `at` is a hint, and every half hour all is asked for again.

use std::time::Duration;

use super::{Asked, Event, Output, RequestId, Sessions, Turn};
use crate::{
    client::{
        exchange::{self, Misbehaviour, NoReply},
        reading::{self, MOST_REPLIES, Page},
    },
    defences::{Defence, holds},
    protocol::{
        Answer, At, CheckedMany, Ext, PublicKey, Received, RelayUrl, Request, Upto,
        limits::{MAX_CHECK_BOXES, MAX_RECEIVE},
    },
};

/// The time between two checks while nothing is expected.
const PAUSE: Duration = Duration::from_mins(1);

/// The time between two checks while something is expected of a relay that lets nobody wait.
const SHORT_PAUSE: Duration = Duration::from_secs(5);

/// How long a check may wait at the relay, in seconds.
const WAIT: u64 = 25;

/// How often all is asked for again, whatever the cursors say.
const FROM_START: Duration = Duration::from_mins(30);

/// How far ahead of this device's clock a cursor may be, in microseconds: a day. Further, it would hide what comes.
const CURSOR_AHEAD: i64 = 86_400_000_000;

/// How many checks in a row that find something new follow each other at once.
const IN_A_ROW: u32 = 8;

/// The first pause after a failure; doubled with each further one, up to a minute.
const FIRST_PAUSE: Duration = Duration::from_secs(2);

/// The longest that a relay is left alone because it asks for it: it must not stop us for ever.
const LONGEST_REST: Duration = Duration::from_mins(10);

/// What names an `ext` among those at one relay.
pub(super) type ExtKey = Option<String>;

/// All boxes at one relay that are asked about with one `ext`.
pub(super) struct Relay {
    url: RelayUrl,
    ext: Option<Ext>,
    boxes: Vec<Mailbox>,
    checking: Option<Checking>,
    /// When the next check is due.
    due: Duration,
    /// The failures, or the checks that found nothing new after all, since the last that was of use.
    vain: u32,
    /// The checks in a row that found something new.
    in_a_row: u32,
    /// From which box on the next check asks: only relevant above a hundred.
    next: usize,
}

struct Checking {
    id: RequestId,
    boxes: Vec<PublicKey>,
    since: Duration,
    waits: bool,
}

/// One box at one relay.
struct Mailbox {
    key: PublicKey,
    contact: String,
    /// What was received already, as this relay says.
    at: At,
    /// When all is to be asked for again.
    from_start: Duration,
    receiving: Option<Receiving>,
}

struct Receiving {
    answer: Answer,
    /// The cursor within this go, which may be one that is not believed.
    at: At,
    replies: u32,
    /// Whether all so far was understood, so that the relay need not keep it.
    complete: bool,
    /// Whether anything of it was new.
    news: bool,
    /// Whether anything of it was junk.
    junk: bool,
}

impl Relay {
    pub(super) fn due(&self) -> Option<Duration> {
        let idle = self.checking.is_none() && !self.boxes.is_empty() && !self.is_receiving();
        idle.then_some(self.due)
    }

    fn is_receiving(&self) -> bool {
        self.boxes.iter().any(|mailbox| mailbox.receiving.is_some())
    }

    fn is(&self, url: &RelayUrl, ext: &ExtKey) -> bool {
        self.url == *url && self.ext.as_ref().map(Ext::as_str) == ext.as_deref()
    }

    fn ext_key(&self) -> ExtKey {
        self.ext.as_ref().map(|ext| ext.as_str().to_owned())
    }

    fn mailbox(&mut self, key: &PublicKey) -> Option<&mut Mailbox> {
        self.boxes.iter_mut().find(|mailbox| mailbox.key == *key)
    }

    /// The pause until the next check, if one that waits at the relay does not go at once. A relay takes 600 boxes a
    /// minute; above a hundred boxes there is no waiting, so more of them are looked for less often.
    fn pause(&self, expecting: bool) -> Duration {
        let boxes = u64::try_from(self.boxes.len()).unwrap_or(u64::MAX);
        if expecting { SHORT_PAUSE.max(Duration::from_secs(boxes / 8)).min(PAUSE) } else { PAUSE }
    }

    /// Backs off after something that was of no use.
    fn in_vain(&mut self, elapsed: Duration) {
        self.due = elapsed + doubled(self.vain).min(PAUSE);
        self.vain = self.vain.saturating_add(1);
    }
}

/// The pause after so many failures.
pub(super) fn doubled(failures: u32) -> Duration {
    FIRST_PAUSE * 2u32.saturating_pow(failures.min(16))
}

impl Sessions {
    /// Sends the checks that are due, after looking which boxes there are by now.
    pub(super) fn check_due(&mut self, turn: &mut Turn<'_>) {
        self.gather_boxes(turn);
        for index in 0..self.relays.len() {
            let expecting = self.expects_something(index, turn.elapsed);
            let relay = &mut self.relays[index];
            if let Some(checking) = &relay.checking {
                let misses = relay.boxes.iter().any(|mailbox| !checking.boxes.contains(&mailbox.key));
                let all = relay.boxes.len() <= MAX_CHECK_BOXES as usize;
                // A wait that does not know of a box would not be woken by it.
                if !(checking.waits && misses && all) {
                    continue;
                }
                let id = checking.id;
                (relay.checking, relay.due) = (None, turn.elapsed);
                self.asked.remove(&id);
                self.outputs.push_back(Output::Cancel(id));
            }
            let relay = &mut self.relays[index];
            if expecting && relay.vain == 0 && relay.due > turn.elapsed + relay.pause(true) {
                relay.due = turn.elapsed;
            }
            if relay.due().is_some_and(|due| due <= turn.elapsed) {
                self.check(turn, index, expecting);
            }
        }
    }

    /// Drops the checks under way, whose connections may be dead, and makes all due.
    pub(super) fn check_now(&mut self, turn: &Turn<'_>) {
        for relay in &mut self.relays {
            (relay.due, relay.vain) = (turn.elapsed, 0);
            if let Some(Checking { id, .. }) = relay.checking.take() {
                self.asked.remove(&id);
                self.outputs.push_back(Output::Cancel(id));
            }
        }
    }

    fn check(&mut self, turn: &Turn<'_>, index: usize, expecting: bool) {
        let id = RequestId(self.new_id());
        let relay = &mut self.relays[index];
        let all = relay.boxes.len() <= MAX_CHECK_BOXES as usize;
        let waits = expecting && all;
        if all || relay.next >= relay.boxes.len() {
            relay.next = 0;
        }
        let mut asked = Vec::new();
        for mailbox in relay.boxes.iter_mut().skip(relay.next).take(MAX_CHECK_BOXES as usize) {
            if turn.elapsed >= mailbox.from_start {
                mailbox.at = At::START;
                mailbox.from_start = turn.elapsed + FROM_START;
            }
            asked.push((mailbox.key, mailbox.at));
        }
        relay.next += asked.len();
        let boxes = asked.iter().map(|(key, _)| *key).collect();
        relay.checking = Some(Checking { id, boxes, since: turn.elapsed, waits });
        let wait = if waits { WAIT } else { 0 };
        let (url, ext) = (relay.url.clone(), relay.ext_key());
        let request =
            Request::CheckMany { boxes: asked, ext: relay.ext.clone(), relay: Some(url.to_string()), wait };
        self.asked.insert(id, Asked::Check { relay: url.clone(), ext });
        self.outputs.push_back(Output::Request { id, relay: url, request });
    }

    /// Whether anything is awaited at a relay, so that waiting there is worth it.
    fn expects_something(&self, index: usize, elapsed: Duration) -> bool {
        self.foreground
            || self.relays[index]
                .boxes
                .iter()
                .any(|mailbox| self.live.get(&mailbox.contact).is_some_and(|live| live.expecting > elapsed))
    }

    /// Makes the list of boxes at each relay what the contacts have by now.
    fn gather_boxes(&mut self, turn: &Turn<'_>) {
        if !std::mem::take(&mut self.boxes_changed) {
            return;
        }
        let mut wanted = Vec::new();
        for contact in self.contacts.values() {
            for own in contact.read_boxes() {
                for relay in &own.relays {
                    wanted.push((relay, own.ext.as_ref(), own.key.public(), contact.name.as_str()));
                }
            }
        }
        for relay in &mut self.relays {
            relay.boxes.retain(|mailbox| {
                wanted.iter().any(|(url, ext, key, _)| {
                    *url == &relay.url && *ext == relay.ext.as_ref() && *key == mailbox.key
                })
            });
        }
        for (url, ext, key, contact) in wanted {
            let known = self.relays.iter().position(|relay| relay.url == *url && relay.ext.as_ref() == ext);
            let index = known.unwrap_or_else(|| {
                self.relays.push(Relay {
                    url: url.clone(),
                    ext: ext.cloned(),
                    boxes: Vec::new(),
                    checking: None,
                    due: turn.elapsed,
                    vain: 0,
                    in_a_row: 0,
                    next: 0,
                });
                self.relays.len() - 1
            });
            let relay = &mut self.relays[index];
            if relay.mailbox(&key).is_none() {
                let contact = contact.to_owned();
                let from_start = turn.elapsed;
                relay.boxes.push(Mailbox { key, contact, at: At::START, from_start, receiving: None });
                if relay.vain == 0 {
                    relay.due = turn.elapsed;
                }
            }
        }
        self.relays.retain(|relay| !relay.boxes.is_empty() || relay.checking.is_some());
    }

    fn relay_at(&mut self, url: &RelayUrl, ext: &ExtKey) -> Option<&mut Relay> {
        self.relays.iter_mut().find(|relay| relay.is(url, ext))
    }

    pub(super) fn checked(
        &mut self,
        turn: &mut Turn<'_>,
        url: &RelayUrl,
        ext: &ExtKey,
        reply: Result<(u16, &[u8]), NoReply>,
    ) {
        let elapsed = turn.elapsed;
        let read = self.read::<CheckedMany>(url, reply);
        let expecting = self.relays.iter().position(|relay| relay.is(url, ext));
        let expecting = expecting.is_some_and(|index| self.expects_something(index, elapsed));
        let Some(relay) = self.relay_at(url, ext) else { return };
        let Some(checking) = relay.checking.take() else { return };
        let reply = match read {
            Ok(reply) => reply,
            Err(pause) => {
                relay.in_vain(elapsed);
                relay.due = relay.due.max(elapsed + pause.unwrap_or_default());
                return;
            }
        };
        if !reply.found && reply.boxes.is_empty() {
            (relay.vain, relay.in_a_row) = (0, 0);
            relay.due = match checking.waits {
                true if elapsed >= checking.since + SHORT_PAUSE => elapsed,
                true => elapsed + SHORT_PAUSE,
                false if relay.next < relay.boxes.len() => elapsed,
                // The next one waits.
                false if expecting && relay.boxes.len() <= MAX_CHECK_BOXES as usize => elapsed,
                false => elapsed + relay.pause(expecting),
            };
            return;
        }
        // Until something came of it.
        relay.due = elapsed + PAUSE;
        let own: Vec<_> = checking.boxes;
        let asked = |key: &PublicKey| own.contains(key);
        let once = |index: usize, key: &PublicKey| reply.boxes[..index].iter().all(|found| found.key != *key);
        let fits = reply.found
            && !reply.boxes.is_empty()
            && reply
                .boxes
                .iter()
                .enumerate()
                .all(|(index, found)| asked(&found.key) && once(index, &found.key));
        if !fits {
            return self.misbehaved(turn, url, ext, Misbehaviour::NoQuestion);
        }
        if let Err(what) = reading::names_itself(url, reply.relay.as_deref()) {
            return self.misbehaved(turn, url, ext, what);
        }
        let mut answers = Vec::new();
        for found in &reply.boxes {
            let mut boxes = self.contacts.values().flat_map(|contact| &contact.boxes);
            let Some(own) = boxes.find(|own| own.key.public() == found.key) else { continue };
            match reading::answer(&own.key, url, reply.relay.as_deref(), Some(&found.question)) {
                Ok(answer) => answers.push((found.key, answer)),
                Err(what) => return self.misbehaved(turn, url, ext, what),
            }
        }
        for (key, answer) in answers {
            let Some(mailbox) = self.relay_at(url, ext).and_then(|relay| relay.mailbox(&key)) else {
                continue;
            };
            let at = mailbox.at;
            mailbox.receiving =
                Some(Receiving { answer, at, replies: 0, complete: true, news: false, junk: false });
            self.receive(url, ext, key);
        }
    }

    /// Asks for the next messages of a box.
    fn receive(&mut self, url: &RelayUrl, ext: &ExtKey, key: PublicKey) {
        let id = RequestId(self.new_id());
        let Some(relay) = self.relay_at(url, ext) else { return };
        let wire_ext = relay.ext.clone();
        let Some(receiving) = relay.mailbox(&key).and_then(|mailbox| mailbox.receiving.as_ref()) else {
            return;
        };
        let (answer, at) = (receiving.answer, receiving.at);
        let request = Request::Receive { key, ext: wire_ext, answer, at, limit: MAX_RECEIVE };
        self.asked.insert(id, Asked::Receive { relay: url.clone(), ext: ext.clone(), key });
        self.outputs.push_back(Output::Request { id, relay: url.clone(), request });
    }

    pub(super) fn received(
        &mut self,
        turn: &mut Turn<'_>,
        url: &RelayUrl,
        ext: &ExtKey,
        key: PublicKey,
        reply: Result<(u16, &[u8]), NoReply>,
    ) {
        let read = self.read::<Received>(url, reply);
        let Some(relay) = self.relay_at(url, ext) else { return };
        let Some(mailbox) = relay.mailbox(&key) else { return };
        let Some(mut receiving) = mailbox.receiving.take() else { return };
        let contact = mailbox.contact.clone();
        let reply = match read {
            Ok(reply) => reply,
            Err(pause) => {
                relay.in_vain(turn.elapsed);
                relay.due = relay.due.max(turn.elapsed + pause.unwrap_or_default());
                return;
            }
        };
        let Page { at, messages, more } = match reading::page(reply, receiving.at) {
            Ok(Some(page)) => page,
            Ok(None) => return self.received_all(turn, url, ext, key, receiving),
            Err(what) => return self.misbehaved(turn, url, ext, what),
        };
        let taken = self.take(turn, &contact, key, url, &messages);
        receiving.complete &= taken.complete;
        receiving.news |= taken.news;
        receiving.junk |= taken.junk;
        receiving.at = at;
        receiving.replies += 1;
        let limit =
            i64::try_from(turn.now).unwrap_or(i64::MAX).saturating_mul(1000).saturating_add(CURSOR_AHEAD);
        let ahead = at.as_i64() > limit;
        if ahead {
            self.event(Event::Misbehaves { relay: url.clone(), what: Misbehaviour::CursorAhead });
        }
        // The box may be gone by what was in it.
        let Some(mailbox) = self.relay_at(url, ext).and_then(|relay| relay.mailbox(&key)) else { return };
        if !ahead || !holds(Defence::Cursor) {
            mailbox.at = at;
        }
        if !more {
            return self.received_all(turn, url, ext, key, receiving);
        }
        if receiving.replies >= MOST_REPLIES {
            return self.misbehaved(turn, url, ext, Misbehaviour::NoEnd);
        }
        mailbox.receiving = Some(receiving);
        self.receive(url, ext, key);
    }

    /// Everything that a box held was taken and stored: the relay need not keep it.
    fn received_all(
        &mut self,
        turn: &mut Turn<'_>,
        url: &RelayUrl,
        ext: &ExtKey,
        key: PublicKey,
        receiving: Receiving,
    ) {
        let id = RequestId(self.new_id());
        let Some(index) = self.relays.iter().position(|relay| relay.is(url, ext)) else { return };
        let expecting = self.expects_something(index, turn.elapsed);
        let relay = &mut self.relays[index];
        if receiving.news {
            // Again at once, for more may have come, but not for ever: each message costs a write to the disk.
            relay.in_a_row += 1;
            let pause = if relay.in_a_row.is_multiple_of(IN_A_ROW) { FIRST_PAUSE } else { Duration::ZERO };
            (relay.vain, relay.due) = (0, turn.elapsed + pause);
        } else {
            relay.in_vain(turn.elapsed);
            if expecting && receiving.junk {
                // A stranger's junk must not hold up what is awaited.
                relay.due = relay.due.min(turn.elapsed + SHORT_PAUSE);
            }
        }
        if !receiving.complete || receiving.replies == 0 {
            return;
        }
        let upto = Upto::At(receiving.at);
        let request = Request::Delete { key, ext: relay.ext.clone(), answer: receiving.answer, upto };
        self.asked.insert(id, Asked::Acknowledge { relay: url.clone() });
        self.outputs.push_back(Output::Request { id, relay: url.clone(), request });
    }

    /// Reads a reply and keeps account of whether the relay can be reached. An error has been told, and says how long to
    /// leave the relay alone if it said so itself.
    pub(super) fn read<T: serde::de::DeserializeOwned>(
        &mut self,
        url: &RelayUrl,
        reply: Result<(u16, &[u8]), NoReply>,
    ) -> Result<T, Option<Duration>> {
        let read = reply.and_then(|(status, body)| exchange::read(status, body));
        self.note_reachable(url, !matches!(read, Err(NoReply::Unreachable(_))));
        read.map_err(|no_reply| match no_reply {
            NoReply::Unreachable(_) => None,
            NoReply::Refused(body) => {
                let longest = if holds(Defence::Rest) { LONGEST_REST } else { Duration::MAX };
                body.retry_after.map(|seconds| Duration::from_secs(seconds.into()).min(longest))
            }
            NoReply::Misbehaves(what) => {
                self.event(Event::Misbehaves { relay: url.clone(), what });
                None
            }
        })
    }

    /// Names what a relay did, and leaves it alone for a minute.
    fn misbehaved(&mut self, turn: &Turn<'_>, url: &RelayUrl, ext: &ExtKey, what: Misbehaviour) {
        self.event(Event::Misbehaves { relay: url.clone(), what });
        if let Some(relay) = self.relay_at(url, ext) {
            relay.vain += 1;
            relay.due = turn.elapsed + PAUSE;
        }
    }

    /// Says of each contact when the last of its relays went away, and when the first came back.
    fn note_reachable(&mut self, url: &RelayUrl, reachable: bool) {
        let changed = if reachable { self.down.remove(url) } else { self.down.insert(url.clone()) };
        if changed {
            self.tell_reachable();
        }
    }

    pub(super) fn tell_reachable(&mut self) {
        let mut told = Vec::new();
        for (name, contact) in &self.contacts {
            let theirs = contact.peer.iter().flat_map(|peer| &peer.connectoid.relays);
            let mut relays = contact.boxes.iter().flat_map(|own| &own.relays).chain(theirs);
            let all_down = relays.all(|relay| self.down.contains(relay));
            let Some(live) = self.live.get_mut(name) else { continue };
            if live.told_down != all_down {
                live.told_down = all_down;
                let contact = name.clone();
                told.push(if all_down {
                    Event::RelaysDown { contact }
                } else {
                    Event::RelaysBack { contact }
                });
            }
        }
        told.into_iter().for_each(|event| self.event(event));
    }
}
