//! Notes from the box to the app: each once, as many as there is room for, and not faster than a disk likes.

use super::{
    super::{Event, Skip},
    defences::{boxes_of_alice, deliver, sealed_by_bob},
    world::{MINUTE, RELAY, SECOND, World},
};
use crate::seal::message::Content;

/// Bob's note lies in Alice's box at the relay.
fn put(world: &mut World, note: &str) {
    let (_, alice) = boxes_of_alice(world);
    let note = sealed_by_bob(world, &alice, &Content::Note(note.into()));
    world.put(alice.key, note);
}

fn told(world: &World) -> usize {
    world.told(0, |event| matches!(event, Event::Note { .. }))
}

fn texts(world: &World) -> Vec<String> {
    let inbox = &world.contact(0, "Bob").inbox;
    inbox.iter().map(|note| String::from_utf8(note.note.clone()).unwrap()).collect()
}

#[test]
fn what_finds_no_room_in_the_inbox_stays_at_the_relay() {
    let mut world = World::of_two(91, MINUTE);
    for number in 0..258 {
        put(&mut world, &number.to_string());
    }
    world.pass(2 * MINUTE);
    assert_eq!(texts(&world).len(), 256);
    let full = |event: &Event| matches!(event, Event::Skipped { why: Skip::InboxFull, .. });
    assert_eq!(world.told(0, full), 2);
    let (_, alice) = boxes_of_alice(&world);
    assert!(world.relays[0].boxes[&alice.key].len() >= 2, "not acknowledged");
    assert_eq!(world.take_notes(0, "Bob").len(), 256);
    world.pass(31 * MINUTE);
    assert_eq!(texts(&world), ["256", "257"]);
    assert!(world.relays[0].boxes[&alice.key].is_empty(), "acknowledged");
}

#[test]
fn who_writes_without_end_is_not_listened_to_without_end() {
    let mut world = World::of_two(92, MINUTE);
    world.foreground(0);
    world.pass(MINUTE);
    let mut times = Vec::new();
    for number in 0..25 {
        put(&mut world, "and another");
        assert!(world.run(MINUTE, |world| told(world) == number + 1));
        times.push(world.now);
    }
    let pauses: Vec<usize> =
        (1..times.len()).filter(|number| times[*number] - times[number - 1] >= 2 * SECOND).collect();
    assert_eq!(pauses, [8, 16, 24], "{times:?}");
}

#[test]
fn a_note_that_comes_while_others_are_handed_over_stays() {
    let mut world = World::of_two(93, MINUTE);
    put(&mut world, "one");
    put(&mut world, "two");
    world.pass(2 * MINUTE);
    assert_eq!(texts(&world), ["one", "two"]);
    put(&mut world, "three");
    world.pass(2 * MINUTE);
    world.call(0, |sessions, _| sessions.notes_handed_over("Bob", 2));
    assert_eq!(texts(&world), ["three"]);
    world.restart(0);
    assert_eq!(texts(&world), ["three"]);
    world.call(0, |sessions, _| sessions.notes_handed_over("Bob", 9));
    assert!(texts(&world).is_empty());
}

#[test]
fn a_note_counts_once_before_and_after_its_signer_is_known() {
    let mut world = World::new(94, 2, &[RELAY]);
    let link = world.share(0, "Bob");
    world.connect(1, &link, "Alice");
    let note = sealed_by_bob(&mut world, &link, &Content::Note(b"pay 100".to_vec()));
    deliver(&mut world, 0, "Bob", link.key, note.clone());
    assert_eq!(texts(&world), ["pay 100"]);
    assert!(
        world.run(5 * MINUTE, |world| world.told(0, |event| matches!(event, Event::Claimed { .. })) == 1)
    );
    deliver(&mut world, 0, "Bob", link.key, note.clone());
    assert!(world.run(5 * MINUTE, |world| world.connected(0) == 1));
    deliver(&mut world, 0, "Bob", link.key, note);
    assert_eq!(texts(&world), ["pay 100"]);
    let repeated = |event: &Event| matches!(event, Event::Skipped { why: Skip::Repeated, .. });
    assert_eq!(world.told(0, repeated), 2);
}
