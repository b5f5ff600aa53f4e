//! What people do with honest relays: share, connect, reconnect, compare, unshare.

use std::time::Duration;

use super::{
    super::{Event, Side},
    world::{HOUR, MINUTE, NAMES, RELAY, World},
};
use crate::client::contact::{LinkState, Verification};

/// Alice and Bob, connected by a link.
fn connected(seed: u64) -> World {
    let mut world = World::new(seed, 2, &[RELAY]);
    let link = world.share(0, "Bob");
    world.foreground(0);
    world.connect(1, &link, "Alice");
    assert!(
        world.run(MINUTE, |world| world.connected(0) == 1 && world.connected(1) == 1),
        "{:?}",
        world.events
    );
    world.pass(MINUTE);
    world
}

#[test]
fn a_link_connects_two_within_a_second() {
    let mut world = World::new(1, 2, &[RELAY]);
    let link = world.share(0, "Bob");
    world.foreground(0);
    world.connect(1, &link, "Alice");
    let done = world.run(Duration::from_secs(1), |world| world.connected(0) == 1 && world.connected(1) == 1);
    assert!(done, "{:?}", world.events);
    let sas = |end: usize, name: &str| world.contact(end, name).sas.unwrap();
    assert_eq!(sas(0, "Bob"), sas(1, "Alice"));
    assert!(world.contact(0, "Bob").may_exchange() && world.contact(1, "Alice").may_exchange());
}

#[test]
fn the_link_dies_with_the_first_connection() {
    let mut world = connected(2);
    let bob = world.contact(0, "Bob");
    assert!(matches!(bob.link.as_ref().unwrap().state, LinkState::Retired(_)));
    assert_eq!(bob.boxes.len(), 2, "the link's box is kept to notice that it is used twice");
    let alice = world.contact(1, "Alice");
    assert_eq!(alice.peer.as_ref().unwrap().connectoid, bob.boxes[1].connectoid());
    assert_eq!(bob.peer.as_ref().unwrap().connectoid, alice.boxes.last().unwrap().connectoid());
    world.pass(49 * HOUR);
    let bob = world.contact(0, "Bob");
    assert_eq!(bob.link.as_ref().unwrap().state, LinkState::Closed);
    assert_eq!(bob.boxes.len(), 1);
    assert_eq!(world.contact(1, "Alice").boxes.len(), 1, "a day after rekey-ok the old key is gone");
}

#[test]
fn either_side_reconnects_without_a_link() {
    let mut world = connected(3);
    for end in [0, 1, 0] {
        let name = NAMES[end];
        for each in [0, 1] {
            world.call(each, |sessions, turn| sessions.disconnect(turn, NAMES[each])).unwrap();
        }
        world.pass(30 * HOUR);
        let before = (world.connected(0), world.connected(1));
        world.call(end, |sessions, turn| sessions.reconnect(turn, name)).unwrap();
        let done = world.run(3 * MINUTE, |world| {
            (world.connected(0), world.connected(1)) == (before.0 + 1, before.1 + 1)
        });
        assert!(done, "{name}: {:?}", world.events);
    }
}

#[test]
fn both_offer_at_once() {
    for seed in 10..20 {
        let mut world = connected(seed);
        for end in [0, 1] {
            world.call(end, |sessions, turn| sessions.disconnect(turn, NAMES[end])).unwrap();
        }
        world.pass(MINUTE);
        for end in [0, 1] {
            world.call(end, |sessions, turn| sessions.reconnect(turn, NAMES[end])).unwrap();
        }
        let done = world.run(MINUTE, |world| world.connected(0) == 2 && world.connected(1) == 2);
        assert!(done, "{seed}: {:?}", world.events);
    }
}

#[test]
fn a_second_user_of_a_link_is_refused_and_both_are_told() {
    let mut world = World::new(4, 3, &[RELAY]);
    let link = world.share(0, "Bob");
    world.foreground(0);
    world.connect(1, &link, "Alice");
    assert!(world.run(MINUTE, |world| world.connected(0) == 1));
    world.pass(HOUR);
    world.connect(2, &link, "Alice");
    world.pass(5 * MINUTE);
    assert_eq!(world.told(2, |event| matches!(event, Event::LinkUsed { .. })), 1, "{:?}", world.events);
    let alarm = world.events.iter().find_map(|(_, end, event)| match event {
        Event::Alarm { alarm: super::super::Alarm::LinkUsedTwice { first, second }, .. } if *end == 0 => {
            Some((*first, *second))
        }
        _ => None,
    });
    let (first, second) = alarm.unwrap();
    assert!(second - first >= 3_600_000, "{first} {second}");
    assert!(!world.contact(0, "Bob").may_exchange(), "not before the strings were compared");
    assert_eq!(world.connected(2), 0);
}

#[test]
fn an_alarm_ends_when_the_strings_are_the_same() {
    let mut world = World::new(5, 2, &[RELAY]);
    let mut link = world.share(0, "Bob");
    link.secret = world.contact(0, "Bob").boxes[0].secret.clone();
    world.foreground(0);
    let found = crate::protocol::FoundLink { connectoid: link, place: Some(crate::protocol::Place::Query) };
    world.call(1, |sessions, turn| sessions.connect(turn, &found, "Alice")).unwrap();
    assert!(world.run(MINUTE, |world| world.connected(1) == 1));
    assert!(!world.contact(1, "Alice").may_exchange());
    world.call(1, |sessions, turn| sessions.verify(turn, "Alice", true)).unwrap();
    assert!(world.contact(1, "Alice").may_exchange());
    assert_eq!(world.told(1, |event| matches!(event, Event::MayExchange { .. })), 1);
    world.call(1, |sessions, turn| sessions.verify(turn, "Alice", false)).unwrap();
    assert_eq!(world.contact(1, "Alice").verification, Verification::Mismatch);
    assert!(!world.contact(1, "Alice").may_exchange());
}

#[test]
fn unshare_ends_it_on_both_sides_and_leaves_no_key() {
    let mut world = connected(6);
    world.call(0, |sessions, turn| sessions.unshare(turn, "Bob")).unwrap();
    world.pass(3 * MINUTE);
    assert!(world.ends[0].disk.is_empty() && world.ends[1].disk.is_empty(), "{:?}", world.events);
    assert_eq!(world.told(0, |event| *event == Event::Unshared { contact: "Bob".into(), by: Side::Own }), 1);
    assert_eq!(
        world.told(1, |event| *event == Event::Unshared { contact: "Alice".into(), by: Side::Peer }),
        1
    );
    assert_eq!(world.ends[0].sessions.goodbyes().len(), 1);
    world.pass(49 * HOUR);
    assert_eq!(world.ends[0].sessions.goodbyes().len(), 0);
}

#[test]
fn whoever_sleeps_over_the_weekend_is_reached_after_it() {
    let mut world = World::new(7, 2, &[RELAY]);
    let link = world.share(0, "Bob");
    // Alice's device is off: nothing of hers runs.
    world.down[0] = false;
    world.connect(1, &link, "Alice");
    world.pass(10 * MINUTE);
    assert_eq!(world.connected(0), 1, "in the background within minutes: {:?}", world.events);
}

#[test]
fn one_dead_relay_is_not_noticed_all_dead_says_so() {
    let mut world = World::new(8, 2, &[RELAY, "https://two.example"]);
    let link = world.share(0, "Bob");
    world.foreground(0);
    world.down[0] = true;
    world.connect(1, &link, "Alice");
    assert!(
        world.run(MINUTE, |world| world.connected(0) == 1 && world.connected(1) == 1),
        "{:?}",
        world.events
    );
    assert_eq!(world.told(1, |event| matches!(event, Event::RelaysDown { .. })), 0);
    world.down[1] = true;
    world.pass(5 * MINUTE);
    assert_eq!(world.told(1, |event| matches!(event, Event::RelaysDown { .. })), 1);
    world.down[0] = false;
    world.pass(5 * MINUTE);
    assert_eq!(world.told(1, |event| matches!(event, Event::RelaysBack { .. })), 1);
}

#[test]
fn nobody_answers_for_48_hours() {
    let mut world = World::new(9, 2, &[RELAY]);
    let link = world.share(0, "Bob");
    world.call(0, |sessions, turn| sessions.unshare(turn, "Bob")).unwrap();
    world.pass(MINUTE);
    world.connect(1, &link, "Alice");
    world.pass(50 * HOUR);
    assert_eq!(world.told(1, |event| matches!(event, Event::GaveUp { .. })), 1);
    // 0, 5, 15, 50 minutes, then hourly.
    let (time, ..) = world.events.iter().find(|(_, _, event)| matches!(event, Event::GaveUp { .. })).unwrap();
    assert!(*time >= 48 * HOUR && *time < 50 * HOUR, "{time:?}");
}
