//! Limits and times that neither people nor relays can push the sessions over, and the order in which things are done.

use std::time::Duration;

use rand::{SeedableRng as _, rngs::StdRng};

use super::{
    super::{
        Alarm, Event, NotThisSession, Output, PersistPoint, SessionId, Sessions, ShareOptions, Signal, Turn,
    },
    attacks::{Attack, Dishonesty, micros},
    world::{MINUTE, NAMES, RELAY, SECOND, START, World},
};
use crate::{
    client::contact::OwnBox,
    protocol::{At, FoundLink, KnownKeys, Message, Request},
};

fn attacked(world: &mut World, attack: Attack, time: Duration) {
    let until = micros(world.now + time);
    let mut rng = StdRng::seed_from_u64(1);
    world.dishonesty = Some(Dishonesty::new(0, vec![attack], 100, until, &mut rng));
}

/// The requests that came to the relay since there were so many.
pub(super) fn requests(world: &World, since: usize) -> Vec<Request> {
    let known = KnownKeys::default();
    let bodies = world.relays[0].seen.iter().skip(since);
    bodies.map(|body| Request::parse(body, &known, |_| Ok(())).unwrap()).collect()
}

pub(super) fn sends(requests: &[Request]) -> usize {
    requests.iter().filter(|request| matches!(request, Request::Send { .. })).count()
}

#[test]
fn three_messages_of_candidates_a_side() {
    let mut world = World::new(51, 2, &[RELAY]);
    let link = world.share(0, "Bob");
    world.connect(1, &link, "Alice");
    world.pass(Duration::from_millis(150));
    let session = world.ends[1].sessions.live["Alice"].pending.as_ref().unwrap().id;
    for _ in 0..5 {
        let candidates = vec![serde_json::json!({"candidate": "c"})];
        world.call(1, |sessions, turn| sessions.local_candidates(turn, session, candidates)).unwrap();
    }
    world.pass(SECOND);
    assert_eq!(sends(&requests(&world, 0)), 1 + 3, "the offer and its candidates");
}

#[test]
fn who_does_not_want_to_connect_says_so() {
    let mut world = World::of_two(52, 10 * SECOND);
    for end in [0, 1] {
        world.call(end, |sessions, turn| sessions.disconnect(turn, NAMES[end])).unwrap();
    }
    world.declines = Some(0);
    world.call(1, |sessions, turn| sessions.reconnect(turn, "Alice")).unwrap();
    world.pass(3 * MINUTE);
    assert_eq!(world.told(1, |event| *event == Event::Declined { contact: "Alice".into() }), 1);
    assert_eq!(world.contact(1, "Alice").connecting, None, "it is not asked again");
    assert_eq!((world.connected(0), world.connected(1)), (1, 1));
}

#[test]
fn eight_strangers_are_refused_and_one_alarm_is_enough() {
    let mut world = World::new(53, 12, &[RELAY]);
    let link = world.share(0, "Bob");
    for end in 1..12 {
        world.connect(end, &link, "Alice");
        world.pass(2 * MINUTE);
    }
    let refused =
        (2..12).filter(|end| world.told(*end, |event| matches!(event, Event::LinkUsed { .. })) == 1).count();
    assert_eq!(refused, 8);
    let alarm = |event: &Event| matches!(event, Event::Alarm { alarm: Alarm::LinkUsedTwice { .. }, .. });
    assert_eq!(world.told(0, alarm), 1);
}

#[test]
fn a_channel_must_be_proven_within_ten_seconds() {
    let mut world = World::new(54, 2, &[RELAY]);
    let link = world.share(0, "Bob");
    world.foreground(0);
    world.lost_frames = true;
    world.connect(1, &link, "Alice");
    let opened = |world: &World| !world.ends[0].frames.is_empty();
    assert!(world.run(MINUTE, opened), "hello is said");
    world.pass(9 * SECOND);
    assert!(world.ends[0].sessions.live["Bob"].pending.is_some());
    world.pass(2 * SECOND);
    assert!(world.ends[0].sessions.live["Bob"].pending.is_none());
    assert_eq!(world.connected(0) + world.connected(1), 0);
}

#[test]
fn an_answered_offer_is_waited_for_five_minutes() {
    let mut world = World::new(55, 2, &[RELAY]);
    let link = world.share(0, "Bob");
    world.foreground(0);
    world.connect(1, &link, "Alice");
    let answered = |world: &World| world.contact(0, "Bob").link.as_ref().unwrap().answered == 1;
    assert!(world.run(MINUTE, answered));
    // Bob goes away, and with him his peer connection.
    world.call(1, |sessions, turn| sessions.disconnect(turn, "Alice")).unwrap();
    world.pass(4 * MINUTE);
    assert!(world.ends[0].sessions.live["Bob"].pending.is_some());
    world.pass(2 * MINUTE);
    assert!(world.ends[0].sessions.live["Bob"].pending.is_none());
}

#[test]
fn more_boxes_than_a_check_takes_are_all_looked_at_and_not_too_often() {
    let mut world = World::new(56, 2, &[RELAY]);
    for number in 0..150 {
        world.share(0, &format!("contact {number:03}"));
    }
    let link = world.contact(0, "contact 149").boxes[0].connectoid();
    world.foreground(0);
    world.connect(1, &link, "Alice");
    assert!(world.run(2 * MINUTE, |world| world.connected(0) == 1), "{:?}", world.events);
    world.pass(MINUTE);
    let before = world.relays[0].seen.len();
    world.pass(10 * MINUTE);
    let asked: usize = requests(&world, before)
        .iter()
        .map(|request| if let Request::CheckMany { boxes, .. } = request { boxes.len() } else { 0 })
        .sum();
    assert!((1_500..6_500).contains(&asked), "a relay takes 600 boxes a minute: {asked}");
}

#[test]
fn a_relay_that_repeats_an_offer_is_not_asked_at_once() {
    let mut world = World::new(57, 2, &[RELAY]);
    let link = world.share(0, "Bob");
    attacked(&mut world, Attack::Replay, 30 * MINUTE);
    // There is nothing to be repeated but Bob's one offer, and Alice's answer.
    world.lost_frames = true;
    world.connect(1, &link, "Alice");
    assert!(world.run(5 * MINUTE, |world| !world.ends[0].frames.is_empty()));
    world.call(1, |sessions, turn| sessions.disconnect(turn, "Alice")).unwrap();
    let before = world.relays[0].seen.len();
    world.pass(10 * MINUTE);
    let replayed = world.dishonesty.as_ref().unwrap().counts[&Attack::Replay];
    assert!(replayed > 10, "{replayed}");
    let asked = requests(&world, before).len();
    assert!(asked < 150, "{asked} requests in ten minutes");
}

#[test]
fn a_goodbye_that_is_refused_is_not_sent_at_once_again() {
    let mut world = World::of_two(58, 10 * SECOND);
    attacked(&mut world, Attack::NotAllowed, 60 * MINUTE);
    let before = world.relays[0].seen.len();
    world.call(0, |sessions, turn| sessions.unshare(turn, "Bob")).unwrap();
    world.pass(30 * MINUTE);
    assert_eq!(sends(&requests(&world, before)), 1);
    // The next one, after an hour, is taken.
    world.pass(45 * MINUTE);
    assert!(world.ends[1].disk.is_empty(), "{:?}", world.events);
}

#[test]
fn every_half_hour_all_is_asked_for_again() {
    let mut world = World::of_two(59, 10 * SECOND);
    world.note(1, "Alice", "one");
    world.pass(2 * MINUTE);
    assert_eq!(world.take_notes(0, "Bob").len(), 1);
    // The relay puts the next one where Alice has been already.
    world.note(1, "Alice", "two");
    world.run(SECOND, |world| world.relays[0].boxes.values().any(|messages| !messages.is_empty()));
    let key = world.contact(0, "Bob").boxes.last().unwrap().key.public();
    for message in world.relays[0].boxes.get_mut(&key).unwrap() {
        let Message { at, .. } = message;
        *at = At::from(micros(MINUTE));
    }
    world.pass(10 * MINUTE);
    assert!(world.take_notes(0, "Bob").is_empty());
    world.pass(25 * MINUTE);
    assert_eq!(world.take_notes(0, "Bob").len(), 1);
}

/// A turn at a moment after the beginning.
pub(super) fn turn(rng: &mut StdRng, elapsed: Duration) -> Turn<'_> {
    Turn { now: START + u64::try_from(elapsed.as_millis()).unwrap(), elapsed, rng }
}

pub(super) fn outputs(sessions: &mut Sessions) -> Vec<Output> {
    std::iter::from_fn(|| sessions.poll()).collect()
}

/// Somebody who connects to a link of a stranger, and the session that is to make an offer.
pub(super) fn connecting(rng: &mut StdRng) -> (Sessions, SessionId) {
    let link = OwnBox::generate(rng, vec![RELAY.parse().unwrap()], None).connectoid();
    let mut sessions = Sessions::default();
    let link = FoundLink { connectoid: link, place: None };
    sessions.connect(&mut turn(rng, Duration::ZERO), &link, "Alice").unwrap();
    let session = outputs(&mut sessions).into_iter().find_map(|output| match output {
        Output::Signal(Signal::MakeOffer { session, .. }) => Some(session),
        _ => None,
    });
    (sessions, session.unwrap())
}

fn sdp() -> String {
    format!("v=0\r\na=fingerprint:sha-256 {}\r\n", ["AB"; 32].join(":"))
}

#[test]
fn a_counter_is_stored_before_the_offer_is_sent() {
    let mut rng = StdRng::seed_from_u64(60);
    let (mut sessions, session) = connecting(&mut rng);
    sessions.local_offer(&mut turn(&mut rng, SECOND), session, sdp()).unwrap();
    let outputs = outputs(&mut sessions);
    let stored = outputs.iter().position(|output| {
        matches!(output, Output::Store { contact, point: PersistPoint::OfferCounted } if contact == "Alice")
    });
    let sent = outputs
        .iter()
        .position(|output| matches!(output, Output::Request { request: Request::Send { .. }, .. }));
    assert!(stored.unwrap() < sent.unwrap());
}

#[test]
fn an_app_whose_sdp_is_of_no_use_is_asked_again() {
    let mut rng = StdRng::seed_from_u64(61);
    let (mut sessions, session) = connecting(&mut rng);
    let bad = sessions.local_offer(&mut turn(&mut rng, SECOND), session, "v=0\r\n".into());
    assert_eq!(bad, Err(NotThisSession::Fingerprint));
    let closed = |output: &Output| matches!(output, Output::Signal(Signal::Close { session: closed }) if *closed == session);
    assert!(outputs(&mut sessions).iter().any(closed));
    let again = sessions.local_offer(&mut turn(&mut rng, SECOND), session, sdp());
    assert_eq!(again, Err(NotThisSession::Over));
    sessions.tick(&mut turn(&mut rng, 299 * SECOND));
    let asks = |output: &Output| matches!(output, Output::Signal(Signal::MakeOffer { .. }));
    assert!(!outputs(&mut sessions).iter().any(asks));
    sessions.tick(&mut turn(&mut rng, 300 * SECOND));
    assert!(outputs(&mut sessions).iter().any(asks));
}

#[test]
fn a_peer_connection_that_cannot_be_made_is_tried_again() {
    let mut rng = StdRng::seed_from_u64(62);
    let (mut sessions, session) = connecting(&mut rng);
    sessions.channel_closed(&mut turn(&mut rng, SECOND), session);
    outputs(&mut sessions);
    sessions.tick(&mut turn(&mut rng, 300 * SECOND));
    assert!(
        outputs(&mut sessions)
            .iter()
            .any(|output| matches!(output, Output::Signal(Signal::MakeOffer { .. })))
    );
}

#[test]
fn a_link_names_one_to_four_relays() {
    let mut rng = StdRng::seed_from_u64(63);
    for count in [0, 5] {
        let options = ShareOptions { relays: vec![RELAY.parse().unwrap(); count], ..Default::default() };
        let shared = Sessions::default().share(&mut turn(&mut rng, SECOND), "Bob", options);
        assert_eq!(shared, Err(super::super::NotDone::Relays(count)));
    }
}
