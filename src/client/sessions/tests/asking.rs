//! What relays are asked, and how often, whatever strangers put into boxes.

use super::{
    super::{Event, Skip},
    defences::{boxes_of_alice, sealed_by, sealed_by_bob, stranger},
    rules::requests,
    world::{MINUTE, RELAY, SECOND, World},
};
use crate::{protocol::Request, seal::message::Content};

#[test]
fn a_strangers_junk_does_not_hold_up_what_is_awaited() {
    let mut world = World::new(101, 2, &[RELAY]);
    let link = world.share(0, "Bob");
    world.connect(1, &link, "Alice");
    world.foreground(0);
    assert!(world.run(MINUTE, |world| world.connected(0) == 1 && world.connected(1) == 1));
    world.pass(MINUTE);
    let (_, alice) = boxes_of_alice(&world);
    // All that a relay's log shows: the key, but not the secret.
    let mut public = alice.clone();
    public.secret = None;
    let (mallory, _) = stranger(101);
    let junk = |world: &mut World, n| {
        world.put(alice.key, sealed_by(&mallory, n, &public, &Content::Note(b"junk".to_vec())));
    };
    let skipped =
        |world: &World| world.told(0, |event| matches!(event, Event::Skipped { why: Skip::Junk(_), .. }));
    // Often enough at first that every check finds some; then three times a minute.
    for n in 1..=90 {
        junk(&mut world, n);
        world.pass(SECOND);
    }
    world.pass(10 * SECOND);
    for n in 91..=99 {
        assert_eq!(skipped(&world) as u64, n - 1);
        junk(&mut world, n);
        assert!(world.run(6 * SECOND, |world| skipped(world) as u64 == n), "{n}");
        world.pass(20 * SECOND);
    }
    junk(&mut world, 100);
    world.pass(SECOND);
    let note = sealed_by_bob(&mut world, &alice, &Content::Note(b"to the point".to_vec()));
    world.put(alice.key, note);
    let noted = |world: &World| world.told(0, |event| matches!(event, Event::Note { .. })) == 1;
    assert!(world.run(6 * SECOND, noted));
}

#[test]
fn a_new_box_keeps_no_other_from_being_asked_about() {
    let mut world = World::new(102, 1, &[RELAY]);
    world.foreground(0);
    let asked = |world: &World| {
        let boxes = |request: &Request| match request {
            Request::CheckMany { boxes, .. } => boxes.len(),
            _ => 0,
        };
        requests(world, 0).iter().map(boxes).collect::<Vec<usize>>()
    };
    world.share(0, "Bob");
    world.pass(SECOND);
    assert_eq!(asked(&world), [1]);
    world.share(0, "Carol");
    world.pass(SECOND);
    assert_eq!(asked(&world), [1, 2]);
}
