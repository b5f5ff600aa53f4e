//! A program that ends at any store, before or after it is durable, and starts again: the two reach each other all the same,
//! and no counter is used twice. What is lost is what was in memory; the disk holds whole stores only. (Real processes and a
//! real disk are another test's.)

use std::{collections::HashMap, time::Duration};

use super::{
    super::{Alarm, Event, PersistPoint, ShareOptions},
    world::{HOUR, MINUTE, NAMES, RELAY, World},
};
use crate::{
    protocol::{KnownKeys, PublicKey, Request},
    seal::message::open_message,
};

/// All that are stored.
const POINTS: [PersistPoint; 24] = [
    PersistPoint::Shared,
    PersistPoint::ConnectBegun,
    PersistPoint::OfferCounted,
    PersistPoint::OfferTaken,
    PersistPoint::AnswerCounted,
    PersistPoint::AnswerTaken,
    PersistPoint::CandidatesCounted,
    PersistPoint::CandidatesTaken,
    PersistPoint::Pinned,
    PersistPoint::BoxMade,
    PersistPoint::PeerMoved,
    PersistPoint::BoxConfirmed,
    PersistPoint::BoxDropped,
    PersistPoint::StrangerCame,
    PersistPoint::Refused,
    PersistPoint::Disconnected,
    PersistPoint::Verified,
    PersistPoint::NoteTaken,
    PersistPoint::NotesHandedOver,
    PersistPoint::LinkExpired,
    PersistPoint::UnshareBegun,
    PersistPoint::ByeTaken,
    PersistPoint::Unshared,
    PersistPoint::ByeSent,
];

#[test]
fn alice_crashes_at_every_store() {
    crashes_at_every_store(0);
}

#[test]
fn bob_crashes_at_every_store() {
    crashes_at_every_store(1);
}

#[test]
fn the_two_pass_through_every_store() {
    let mut passed = Vec::new();
    for unshares in [0, 1] {
        passed.extend(Life::new(unshares).lived().stored.into_iter().map(|(_, point)| point));
    }
    for point in POINTS {
        assert!(passed.contains(&point), "{point:?}");
    }
}

fn crashes_at_every_store(end: usize) {
    for (unshares, second_day, point) in stores_of(end) {
        for durable in [false, true] {
            let mut life = Life::new(unshares);
            life.crash = Some((end, point, durable));
            life.crash_on_second_day = second_day;
            let world = life.lived();
            assert_eq!(world.crashed, 1, "{point:?} was not reached");
            if !durable {
                no_counter_twice(&world);
            }
        }
    }
}

/// The stores that an end passes through, and in which life: on either day, whoever unshares.
fn stores_of(end: usize) -> Vec<(usize, bool, PersistPoint)> {
    let mut stores: Vec<(usize, bool, PersistPoint)> = Vec::new();
    for unshares in [end, 1 - end] {
        let life = Life::new(unshares).lived();
        for (index, (who, point)) in life.stored.iter().enumerate() {
            let second_day = index >= life.stored_on_first_day;
            let known = stores.iter().any(|(_, day, known)| (*day, *known) == (second_day, *point));
            if *who == end && !known {
                stores.push((unshares, second_day, *point));
            }
        }
    }
    stores
}

/// What the two do with each other, from the link to the end.
struct Life {
    world: World,
    /// Which end unshares.
    unshares: usize,
    crash: Option<(usize, PersistPoint, bool)>,
    /// Whether the crash is one of the second day.
    crash_on_second_day: bool,
    what: String,
}

impl Life {
    fn new(unshares: usize) -> Self {
        let mut world = World::new(21, 3, &[RELAY]);
        world.late_candidates = true;
        Self { world, unshares, crash: None, crash_on_second_day: false, what: String::new() }
    }

    fn lived(mut self) -> World {
        self.what = format!("{:?}, on the second day: {}", self.crash, self.crash_on_second_day);
        if !self.crash_on_second_day {
            self.world.crash = self.crash;
        }
        self.first_day();
        self.world.stored_on_first_day = self.world.stored.len();
        if self.crash_on_second_day {
            self.world.crash = self.crash;
        }
        // Both devices sleep for a day.
        self.world.now += 25 * HOUR;
        self.world.pass(2 * MINUTE);
        self.second_day();
        self.end();
        self.world
    }

    fn first_day(&mut self) {
        self.a_link_expires();
        let link = self.world.share(0, "Bob");
        // If the program crashed before the link was on its disk, nobody was given it.
        let link = match self.world.ends[0].sessions.contact("Bob") {
            Some(_) => link,
            None => self.world.share(0, "Bob"),
        };
        self.world.foreground(0);
        self.world.connect(1, &link, "Alice");
        if self.world.ends[1].sessions.contact("Alice").is_none() {
            self.world.connect(1, &link, "Alice");
        }
        self.reach_each_other(1);
        self.world.connect(2, &link, "Alice");
        // If the refusal was lost in a crash, the next offer is refused.
        let refused = |world: &World| world.told(2, |event| matches!(event, Event::LinkUsed { .. })) == 1;
        assert!(self.world.run(7 * MINUTE, refused), "{}", self.what);
        let alarm = |event: &Event| matches!(event, Event::Alarm { alarm: Alarm::LinkUsedTwice { .. }, .. });
        assert!(self.world.told(0, alarm) > 0, "{}", self.what);
        self.compare();
        self.world.note(1, "Alice", "a note");
        self.world.pass(2 * MINUTE);
        let notes = self.world.take_notes(0, "Bob");
        self.world.pass(MINUTE);
        let again = self.world.take_notes(0, "Bob");
        // Handed over at least once; twice only if the program crashed right behind.
        let most = if self.world.crashed > 0 { 2 } else { 1 };
        assert!((1..=most).contains(&(notes.len() + again.len())), "{}: {}", self.what, notes.len());
    }

    fn a_link_expires(&mut self) {
        for end in [0, 1] {
            let relays = vec![RELAY.parse().unwrap()];
            let options =
                ShareOptions { relays, expires_in: Some(Duration::from_secs(1)), ..Default::default() };
            self.world.call(end, |sessions, turn| sessions.share(turn, "Dave", options)).unwrap();
            self.world.pass(2 * MINUTE);
        }
    }

    /// After the alarm the two compare their strings.
    fn compare(&mut self) {
        for end in [0, 1] {
            for _ in 0..2 {
                // Once more if it did not get to the disk.
                self.world.call(end, |sessions, turn| sessions.verify(turn, NAMES[end], true)).unwrap();
            }
            assert!(self.world.contact(end, NAMES[end]).may_exchange(), "{}", self.what);
        }
    }

    fn second_day(&mut self) {
        for end in [0, 1] {
            self.reach_each_other(end);
            self.disconnect();
            self.world.pass(MINUTE);
            self.declined_by(end);
            self.changes_its_mind(end);
        }
        self.reach_each_other(0);
    }

    fn disconnect(&mut self) {
        for end in [0, 1] {
            self.world.call(end, |sessions, turn| sessions.disconnect(turn, NAMES[end])).unwrap();
        }
    }

    /// The app of one end does not want the other's session.
    fn declined_by(&mut self, end: usize) {
        self.world.declines = Some(end);
        let other = 1 - end;
        self.world.call(other, |sessions, turn| sessions.reconnect(turn, NAMES[other])).unwrap();
        self.world.pass(2 * MINUTE);
        self.world.declines = None;
        self.disconnect();
    }

    /// Wants to connect while nothing can be reached, and then no more.
    fn changes_its_mind(&mut self, end: usize) {
        self.world.down[0] = true;
        self.world.call(end, |sessions, turn| sessions.reconnect(turn, NAMES[end])).unwrap();
        self.world.pass(Duration::from_secs(1));
        self.world.call(end, |sessions, turn| sessions.disconnect(turn, NAMES[end])).unwrap();
        self.world.down[0] = false;
        self.world.pass(2 * MINUTE);
    }

    /// The end asks for a session until both have one: its wish may have been lost in a crash.
    fn reach_each_other(&mut self, end: usize) {
        let open = |world: &World| {
            let open = |end: usize| world.ends[end].sessions.live.get(NAMES[end])?.open.as_ref();
            open(0).is_some() && open(1).is_some()
        };
        for _ in 0..3 {
            if self.world.run(7 * MINUTE, open) {
                // What the session is for at first: new boxes.
                self.world.pass(Duration::from_secs(10));
            }
            if open(&self.world) {
                return;
            }
            self.world.call(end, |sessions, turn| sessions.reconnect(turn, NAMES[end])).unwrap();
        }
        panic!("{}: they do not reach each other: {:#?}", self.what, self.world.events);
    }

    fn end(&mut self) {
        let end = self.unshares;
        for _ in 0..2 {
            // Once more if it was not begun before the crash.
            if self.world.ends[end].sessions.contact(NAMES[end]).is_some() {
                self.world.call(end, |sessions, turn| sessions.unshare(turn, NAMES[end])).unwrap();
            }
            self.world.pass(2 * MINUTE);
        }
        self.world.pass(62 * MINUTE);
        for end in [0, 1] {
            let left = self.world.ends[end].disk.contains_key(NAMES[end]);
            assert!(!left, "{}: {end} keeps keys: {:#?}", self.what, self.world.events);
        }
    }
}

/// No signing key ever used a counter for two different messages.
fn no_counter_twice(world: &World) {
    let mut used: HashMap<(PublicKey, u64), Vec<u8>> = HashMap::new();
    let known_keys = KnownKeys::default();
    let mut opened_messages = 0;
    for body in &world.relays[0].seen {
        let Ok(Request::Send { key, data, .. }) = Request::parse(body, &known_keys, |_| Ok(())) else {
            continue;
        };
        let (_, own) = world.boxes.iter().find(|(_, own)| own.key.public() == key).unwrap();
        // Some messages do not name their signer.
        let open = |ik: &PublicKey| open_message(&own.key, own.secret.as_ref(), |_| Some(*ik), &data).ok();
        let opened = world.signers.iter().find_map(|(.., ik)| open(ik)).unwrap();
        opened_messages += 1;
        let before = used.insert((opened.ik, opened.n), data.clone());
        assert!(before.is_none_or(|before| before == data), "{}", opened.n);
    }
    assert!(opened_messages > 10, "{opened_messages}");
}
