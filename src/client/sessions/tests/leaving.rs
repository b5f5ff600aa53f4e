//! The end of a contact: nothing goes on behind it, and the goodbye arrives.

use std::time::Duration;

use rand::{SeedableRng as _, rngs::StdRng};

use super::{
    super::{Event, Output, PersistPoint, Sessions, Side, Signal, Turn},
    defences::{boxes_of_alice, deliver, offer_from, sealed_by_bob},
    rules::{outputs, requests, sends},
    world::{HOUR, MINUTE, NAMES, RELAY, SECOND, START, World},
};
use crate::{
    client::contact::{Goodbye, OwnBox},
    protocol::{At, Message, Request},
    seal::message::Content,
};

/// Alice's next offer is due in five seconds, and her relay is dead.
fn trying(seed: u64) -> World {
    let mut world = World::of_two(seed, MINUTE);
    for end in [0, 1] {
        world.call(end, |sessions, turn| sessions.disconnect(turn, NAMES[end])).unwrap();
    }
    world.down[0] = true;
    world.call(0, |sessions, turn| sessions.reconnect(turn, "Bob")).unwrap();
    world.pass(5 * MINUTE - 5 * SECOND);
    world
}

/// The contact is forgotten within so many steps, and no further offer is made.
fn is_left_quietly(world: &mut World) {
    let (mut steps, stored) = (0, world.stored.len());
    let forgotten = world.run(MINUTE, |world| {
        steps += 1;
        steps > 200 || world.ends[0].sessions.contact("Bob").is_none()
    });
    assert!(forgotten && steps < 100, "{steps} steps");
    assert!(!world.stored[stored..].contains(&(0, PersistPoint::OfferCounted)), "an offer was made");
}

#[test]
fn who_unshares_makes_no_offer_any_more() {
    let mut world = trying(71);
    world.call(0, |sessions, turn| sessions.unshare(turn, "Bob")).unwrap();
    is_left_quietly(&mut world);
}

#[test]
fn who_was_unshared_makes_no_offer_any_more() {
    let mut world = trying(72);
    let (_, alice) = boxes_of_alice(&world);
    let bye = sealed_by_bob(&mut world, &alice, &Content::Bye);
    deliver(&mut world, 0, "Bob", alice.key, bye);
    assert_eq!(world.told(0, |event| matches!(event, Event::Unshared { by: Side::Peer, .. })), 1);
    is_left_quietly(&mut world);
}

#[test]
fn an_offer_with_a_goodbye_behind_it_is_not_answered() {
    let mut world = World::of_two(73, MINUTE);
    let (_, alice) = boxes_of_alice(&world);
    let bob = world.contact(1, "Alice").boxes.last().unwrap().connectoid();
    let messages = [offer_from(bob), Content::Bye]
        .map(|content| sealed_by_bob(&mut world, &alice, &content))
        .map(|data| Message { at: At::from(1), data });
    let outputs = world.outputs(0, |sessions, turn| {
        sessions.take(turn, "Bob", alice.key, &RELAY.parse().unwrap(), &messages);
    });
    let unshared = Event::Unshared { contact: "Bob".into(), by: Side::Peer };
    assert!(
        outputs
            .iter()
            .any(|output| matches!(output, Output::Signal(Signal::Event(event)) if *event == unshared))
    );
    assert!(!outputs.iter().any(|output| matches!(output, Output::Signal(Signal::MakeAnswer { .. }))));
}

#[test]
fn unshared_is_said_when_the_keys_are_gone() {
    let unshared = |event: &Event| *event == Event::Unshared { contact: "Bob".into(), by: Side::Own };
    let mut world = World::of_two(74, MINUTE);
    world.call(0, |sessions, turn| sessions.unshare(turn, "Bob")).unwrap();
    assert_eq!(world.told(0, unshared), 0, "the boxes are not deleted at the relay yet");
    assert!(world.run(MINUTE, |world| world.told(0, unshared) == 1));
    assert!(world.ends[0].disk.is_empty());
    // A crash between the two: the keys are gone and nobody was told, not the other way round.
    let mut world = World::of_two(74, MINUTE);
    world.crash = Some((0, PersistPoint::Unshared, true));
    world.call(0, |sessions, turn| sessions.unshare(turn, "Bob")).unwrap();
    world.pass(MINUTE);
    assert_eq!((world.crashed, world.told(0, unshared)), (1, 0));
    assert!(world.ends[0].disk.is_empty());
}

#[test]
fn goodbyes_that_are_late_keep_an_hour_apart() {
    let mut world = World::of_two(75, MINUTE);
    world.down[0] = true;
    world.call(0, |sessions, turn| sessions.unshare(turn, "Bob")).unwrap();
    world.pass(30 * HOUR);
    world.down[0] = false;
    let before = world.relays[0].seen.len();
    assert!(world.run(11 * MINUTE, |world| sends(&requests(world, before)) == 1));
    world.pass(59 * MINUTE);
    assert_eq!(sends(&requests(&world, before)), 1);
    world.pass(12 * MINUTE);
    assert_eq!(sends(&requests(&world, before)), 2);
    world.pass(90 * MINUTE);
    assert_eq!(sends(&requests(&world, before)), 3);
    assert!(world.ends[0].sessions.goodbyes().is_empty());
}

#[test]
fn a_clock_set_back_keeps_no_goodbye_for_ever() {
    const DAY: u64 = 86_400_000;
    let mut rng = StdRng::seed_from_u64(76);
    let to = OwnBox::generate(&mut rng, vec![RELAY.parse().unwrap()], None).key.public();
    let relays = vec![RELAY.parse().unwrap()];
    let (data, last) = (vec![7; 4096], Some(START));
    let goodbye = Goodbye { to, relays, ext: None, data, made: START, sent: 1, last };
    let mut sessions = Sessions::new(Vec::new(), vec![goodbye], &[]);
    // From here on the clock is a day behind.
    let mut hours_later = |sessions: &mut Sessions, hours: u64| {
        let (now, elapsed) = (START - DAY + hours * 3_600_000, Duration::from_hours(hours));
        sessions.tick(&mut Turn { now, elapsed, rng: &mut rng });
        let sends = |output: &Output| matches!(output, Output::Request { request: Request::Send { .. }, .. });
        outputs(sessions).iter().filter(|output| sends(output)).count()
    };
    assert_eq!(hours_later(&mut sessions, 0), 0);
    assert_eq!(hours_later(&mut sessions, 1), 1, "an hour after the first");
    assert_eq!(sessions.goodbyes().len(), 1);
    hours_later(&mut sessions, 48);
    assert!(sessions.goodbyes().is_empty());
}
