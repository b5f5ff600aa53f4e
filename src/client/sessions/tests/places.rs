//! Where a link or the other side may lead, and how often it may move.

use rand::{SeedableRng as _, rngs::StdRng};

use super::{
    super::{Event, NotDone, ShareOptions},
    world::{MINUTE, RELAY, World},
};
use crate::{
    client::contact::OwnBox,
    protocol::{Connectoid, FoundLink, Frame},
};

const HERE: &str = "http://127.0.0.1:8080";

fn at(seed: u64, relays: &[&str]) -> Connectoid {
    let mut rng = StdRng::seed_from_u64(1_000_000 + seed);
    let relays = relays.iter().map(|url| url.parse().unwrap()).collect();
    OwnBox::generate(&mut rng, relays, None).connectoid()
}

/// The other side says on Alice's open session that it moved.
fn moves(world: &mut World, connectoid: Connectoid) {
    let text = Frame::Rekey { connectoid }.to_text();
    world.call(0, |sessions, turn| {
        let session = sessions.live["Bob"].open.as_ref().unwrap().id;
        sessions.frame(turn, session, &text);
    });
}

fn disconnected(world: &World) -> usize {
    world.told(0, |event| *event == Event::Disconnected { contact: "Bob".into() })
}

#[test]
fn the_other_side_does_not_move_to_this_machine() {
    let mut world = World::of_two(81, MINUTE);
    let before = world.contact(0, "Bob").peer.as_ref().unwrap().connectoid.clone();
    moves(&mut world, at(81, &[RELAY, HERE]));
    assert_eq!(disconnected(&world), 1);
    assert_eq!(world.contact(0, "Bob").peer.as_ref().unwrap().connectoid, before);
}

#[test]
fn the_fifth_move_in_one_session_closes_it() {
    let mut world = World::of_two(82, MINUTE);
    // The first was at the session's beginning.
    for number in 0..3 {
        moves(&mut world, at(820 + number, &[RELAY]));
    }
    assert_eq!(disconnected(&world), 0);
    let fourth = world.contact(0, "Bob").peer.as_ref().unwrap().connectoid.clone();
    assert_eq!(fourth, at(822, &[RELAY]));
    moves(&mut world, at(823, &[RELAY]));
    assert_eq!(disconnected(&world), 1);
    assert_eq!(world.contact(0, "Bob").peer.as_ref().unwrap().connectoid, fourth);
}

fn connect(world: &mut World, connectoid: &Connectoid, name: &str) -> Result<(), NotDone> {
    let link = FoundLink { connectoid: connectoid.clone(), place: None };
    world.call(1, |sessions, turn| sessions.connect(turn, &link, name))
}

#[test]
fn a_link_that_leads_here_and_elsewhere_is_not_used() {
    let mut world = World::new(83, 2, &[RELAY]);
    assert_eq!(connect(&mut world, &at(83, &[RELAY, HERE]), "Mallory"), Err(NotDone::ThisMachine));
    assert_eq!(connect(&mut world, &at(83, &[HERE, RELAY]), "Mallory"), Err(NotDone::ThisMachine));
    assert_eq!(world.ends[1].disk.len(), 0);
    // Who tries it out on one machine may.
    assert_eq!(connect(&mut world, &at(83, &[HERE]), "Carol"), Ok(()));
}

#[test]
fn a_link_is_used_once_here() {
    let mut world = World::new(84, 2, &[RELAY]);
    let link = world.share(0, "Bob");
    connect(&mut world, &link, "Alice").unwrap();
    assert_eq!(connect(&mut world, &link, "Alice too"), Err(NotDone::LinkTaken("Alice".into())));
    assert!(world.run(5 * MINUTE, |world| world.connected(0) == 1 && world.connected(1) == 1));
    world.pass(MINUTE);
    assert_ne!(world.contact(1, "Alice").peer.as_ref().unwrap().connectoid.key, link.key);
    assert_eq!(connect(&mut world, &link, "Alice too"), Err(NotDone::LinkTaken("Alice".into())));
}

#[test]
fn a_contact_needs_a_name() {
    let mut world = World::new(85, 2, &[RELAY]);
    assert_eq!(connect(&mut world, &at(85, &[RELAY]), ""), Err(NotDone::NoName));
    let options = ShareOptions { relays: vec![RELAY.parse().unwrap()], ..ShareOptions::default() };
    let shared = world.call(1, |sessions, turn| sessions.share(turn, "", options));
    assert_eq!(shared, Err(NotDone::NoName));
    assert_eq!(world.ends[1].disk.len(), 0);
}
