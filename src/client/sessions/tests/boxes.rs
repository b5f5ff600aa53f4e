//! How often a box is replaced, how long the old one is read, and how much of one in one go.

use std::time::Duration;

use super::{
    super::{Event, PersistPoint},
    rules::requests,
    world::{DAY, MINUTE, NAMES, RELAY, SECOND, World},
};
use crate::{
    client::exchange::Misbehaviour,
    protocol::{PublicKey, Request},
};

/// Whether the relay was asked about a box since there were so many requests.
fn is_asked_about(world: &World, key: &PublicKey, since: usize) -> bool {
    requests(world, since).iter().any(|request| match request {
        Request::CheckMany { boxes, .. } => boxes.iter().any(|(asked, _)| asked == key),
        _ => false,
    })
}

#[test]
fn an_old_box_is_read_for_a_day_after_the_new_one_was_confirmed() {
    let mut world = World::of_two(161, SECOND);
    // Bob's, for Alice's old one is that of a link.
    let [old, new] = &world.contact(1, "Alice").boxes[..] else { panic!("not two boxes") };
    let (old, confirmed) = (old.key.public(), Duration::from_millis(new.confirmed.unwrap()));
    assert!(!new.used);
    let since = Duration::from_millis(world.unix()) - confirmed;
    let tick = |world: &mut World| world.call(1, |sessions, turn| sessions.tick(turn));
    let just_before = Duration::from_millis(1);
    world.pass(DAY - since - 2 * MINUTE);
    let before = world.relays[0].seen.len();
    world.pass(2 * MINUTE - just_before);
    tick(&mut world);
    assert!(is_asked_about(&world, &old, before));
    assert_eq!(world.contact(1, "Alice").boxes.len(), 2);
    world.pass(just_before);
    tick(&mut world);
    assert_eq!(world.contact(1, "Alice").boxes.len(), 1);
    world.pass(SECOND);
    let before = world.relays[0].seen.len();
    world.pass(2 * MINUTE);
    assert!(world.relays[0].seen.len() > before && !is_asked_about(&world, &old, before));
}

#[test]
fn a_box_is_replaced_once_a_day() {
    let mut world = World::of_two(162, SECOND);
    let made = |world: &World| {
        [0, 1].map(|end| {
            let frames = world.ends[end].frames.iter().filter(|text| text.contains(r#""t":"rekey""#)).count();
            let stored =
                world.stored.iter().filter(|stored| **stored == (end, PersistPoint::BoxMade)).count();
            (frames, stored)
        })
    };
    assert_eq!(made(&world), [(1, 1); 2]);
    // The second just before a day has passed, the third just after.
    for (sessions, pause, boxes) in [(2, DAY - 20 * MINUTE, 1), (3, 20 * MINUTE, 2)] {
        for end in [0, 1] {
            world.call(end, |sessions, turn| sessions.disconnect(turn, NAMES[end])).unwrap();
        }
        world.pass(pause);
        world.call(1, |sessions, turn| sessions.reconnect(turn, "Alice")).unwrap();
        assert!(world.run(5 * MINUTE, |world| [0, 1].map(|end| world.connected(end)) == [sessions; 2]));
        world.pass(SECOND);
        assert_eq!(made(&world), [(boxes, boxes); 2]);
    }
}

#[test]
fn of_one_box_64_replies_are_read_in_one_go() {
    let mut world = World::new(163, 1, &[RELAY]);
    let link = world.share(0, "Bob");
    world.pass(SECOND);
    // One more than 64 replies of 32.
    for number in 0..2049_u16 {
        world.put(link.key, number.to_be_bytes().to_vec());
    }
    let receives = |world: &World| {
        let all = requests(world, 0);
        all.iter().filter(|request| matches!(request, Request::Receive { .. })).count()
    };
    let no_end = Event::Misbehaves { relay: RELAY.parse().unwrap(), what: Misbehaviour::NoEnd };
    assert!(world.run(2 * MINUTE, |world| world.told(0, |event| *event == no_end) == 1));
    world.pass(30 * SECOND);
    assert_eq!(receives(&world), 64);
    // The rest in its time.
    world.pass(MINUTE);
    assert_eq!(receives(&world), 65);
    assert_eq!(world.told(0, |event| *event == no_end), 1);
}
