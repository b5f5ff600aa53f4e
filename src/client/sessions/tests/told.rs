//! What the app is told: also what it may not have heard before a crash, as long as it holds.

use std::time::Duration;

use super::{
    super::{Alarm, Event, PersistPoint, ShareOptions, Side},
    world::{HOUR, MINUTE, RELAY, SECOND, World},
};

fn connected(seed: u64, ends: usize) -> World {
    let mut world = World::new(seed, ends, &[RELAY]);
    let link = world.share(0, "Bob");
    world.foreground(0);
    world.connect(1, &link, "Alice");
    assert!(world.run(5 * MINUTE, |world| world.connected(0) == 1 && world.connected(1) == 1));
    if ends > 2 {
        world.connect(2, &link, "Alice");
    }
    world
}

fn alarm(event: &Event) -> bool {
    matches!(event, Event::Alarm { alarm: Alarm::LinkUsedTwice { .. }, .. })
}

#[test]
fn the_alarm_of_a_link_used_twice_ends_the_session() {
    let mut world = connected(111, 3);
    assert!(world.run(2 * MINUTE, |world| world.told(0, alarm) == 1));
    assert_eq!(world.told(0, |event| *event == Event::Disconnected { contact: "Bob".into() }), 1);
    assert!(world.ends[0].sessions.live["Bob"].open.is_none());
    assert!(!world.contact(0, "Bob").may_exchange());
    world.pass(MINUTE);
    world.call(0, |sessions, turn| sessions.reconnect(turn, "Bob")).unwrap();
    assert!(world.run(3 * MINUTE, |world| world.connected(0) == 2));
    let held = |event: &Event| matches!(event, Event::Connected { may_exchange: false, .. });
    assert_eq!(world.told(0, held), 1, "{:?}", world.events);
    world.call(0, |sessions, turn| sessions.verify(turn, "Bob", true)).unwrap();
    assert_eq!(world.told(0, |event| *event == Event::MayExchange { contact: "Bob".into() }), 1);
    assert!(world.contact(0, "Bob").may_exchange());
}

/// The end crashes when this is durable and nobody heard of it; then it is told once, and again at the next start.
fn is_told_again(
    world: &mut World,
    end: usize,
    point: PersistPoint,
    time: Duration,
    event: impl Fn(&Event) -> bool,
) {
    world.crash = Some((end, point, true));
    assert!(world.run(time, |world| world.crashed == 1), "{point:?}: {:?}", world.events);
    assert_eq!(world.told(end, &event), 1, "{point:?}");
    world.restart(end);
    assert_eq!(world.told(end, &event), 2, "{point:?}");
}

/// And then no more.
fn is_not_told_again(world: &mut World, end: usize, event: impl Fn(&Event) -> bool) {
    let before = world.told(end, &event);
    world.restart(end);
    assert_eq!(world.told(end, &event), before);
}

#[test]
fn a_goodbye_is_told_again_until_the_keys_are_gone() {
    let mut world = connected(112, 2);
    world.call(0, |sessions, turn| sessions.unshare(turn, "Bob")).unwrap();
    let unshared = |event: &Event| *event == Event::Unshared { contact: "Alice".into(), by: Side::Peer };
    is_told_again(&mut world, 1, PersistPoint::ByeTaken, 3 * MINUTE, unshared);
    world.pass(MINUTE);
    is_not_told_again(&mut world, 1, unshared);
}

#[test]
fn a_refusal_is_told_again_until_the_next_attempt() {
    let mut world = connected(113, 3);
    let used = |event: &Event| *event == Event::LinkUsed { contact: "Alice".into() };
    is_told_again(&mut world, 2, PersistPoint::Refused, 3 * MINUTE, used);
    world.call(2, |sessions, turn| sessions.reconnect(turn, "Alice")).unwrap();
    is_not_told_again(&mut world, 2, used);
}

#[test]
fn who_declined_is_told_again_until_the_next_session() {
    let mut world = connected(114, 2);
    world.pass(MINUTE);
    world.call(1, |sessions, turn| sessions.disconnect(turn, "Alice")).unwrap();
    world.pass(MINUTE);
    world.declines = Some(0);
    world.call(1, |sessions, turn| sessions.reconnect(turn, "Alice")).unwrap();
    let declined = |event: &Event| *event == Event::Declined { contact: "Alice".into() };
    is_told_again(&mut world, 1, PersistPoint::Refused, 3 * MINUTE, declined);
    world.declines = None;
    world.call(0, |sessions, turn| sessions.reconnect(turn, "Bob")).unwrap();
    assert!(world.run(3 * MINUTE, |world| world.connected(1) == 2));
    is_not_told_again(&mut world, 1, declined);
}

#[test]
fn nobody_there_is_told_again_until_the_next_attempt() {
    let mut world = World::new(115, 2, &[RELAY]);
    let link = world.share(0, "Bob");
    world.call(0, |sessions, turn| sessions.unshare(turn, "Bob")).unwrap();
    world.connect(1, &link, "Alice");
    let gave_up = |event: &Event| *event == Event::GaveUp { contact: "Alice".into() };
    is_told_again(&mut world, 1, PersistPoint::Disconnected, 50 * HOUR, gave_up);
    world.call(1, |sessions, turn| sessions.reconnect(turn, "Alice")).unwrap();
    is_not_told_again(&mut world, 1, gave_up);
}

#[test]
fn a_note_is_told_again_until_it_was_handed_over() {
    let mut world = connected(116, 2);
    world.pass(MINUTE);
    world.note(1, "Alice", "a note");
    let note = |event: &Event| *event == Event::Note { contact: "Bob".into() };
    is_told_again(&mut world, 0, PersistPoint::NoteTaken, 2 * MINUTE, note);
    assert_eq!(world.take_notes(0, "Bob").len(), 1);
    is_not_told_again(&mut world, 0, note);
}

#[test]
fn an_expired_link_is_told_again() {
    let mut world = World::new(117, 1, &[RELAY]);
    let relays = vec![RELAY.parse().unwrap()];
    let options = ShareOptions { relays, expires_in: Some(SECOND), ..ShareOptions::default() };
    world.call(0, |sessions, turn| sessions.share(turn, "Bob", options)).unwrap();
    let expired = |event: &Event| *event == Event::LinkExpired { contact: "Bob".into() };
    is_told_again(&mut world, 0, PersistPoint::LinkExpired, 2 * MINUTE, expired);
    world.call(0, |sessions, turn| sessions.unshare(turn, "Bob")).unwrap();
    world.pass(MINUTE);
    is_not_told_again(&mut world, 0, expired);
}

#[test]
fn a_link_used_twice_is_told_again_until_the_strings_were_compared() {
    let mut world = connected(118, 3);
    is_told_again(&mut world, 0, PersistPoint::StrangerCame, 3 * MINUTE, alarm);
    world.call(0, |sessions, turn| sessions.verify(turn, "Bob", true)).unwrap();
    is_not_told_again(&mut world, 0, alarm);
}

#[test]
fn a_contact_made_while_its_relays_are_down_hears_of_it_at_once() {
    let mut world = World::new(119, 1, &[RELAY]);
    world.down[0] = true;
    world.share(0, "Bob");
    world.pass(MINUTE);
    let down = |world: &World, name: &str| {
        world.told(0, |event| *event == Event::RelaysDown { contact: name.into() })
    };
    assert_eq!(down(&world, "Bob"), 1);
    world.share(0, "Carol");
    assert_eq!((down(&world, "Bob"), down(&world, "Carol")), (1, 1));
    world.down[0] = false;
    world.pass(2 * MINUTE);
    assert_eq!(world.told(0, |event| matches!(event, Event::RelaysBack { .. })), 2);
}
