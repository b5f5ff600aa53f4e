//! What is under way is not thrown away, and what was overtaken is not sent.

use std::time::Duration;

use rand::{SeedableRng as _, rngs::StdRng};

use super::{
    super::{Event, NotDone, Output, PersistPoint, Signal, Skip},
    defences::{boxes_of_alice, deliver, offer_from, sdp, sealed_by, sealed_by_bob, stranger},
    rules::{connecting, outputs, requests, sends, turn},
    world::{HOUR, MINUTE, NAMES, RELAY, SECOND, World},
};
use crate::{
    client::contact::Connecting,
    protocol::{At, Message},
    seal::message::{Content, OfferHash, seal_message},
};

/// Alice and Bob, who were connected.
fn acquainted(seed: u64) -> World {
    let mut world = World::new(seed, 2, &[RELAY]);
    let link = world.share(0, "Bob");
    world.connect(1, &link, "Alice");
    assert!(world.run(5 * MINUTE, |world| world.connected(0) == 1 && world.connected(1) == 1));
    world.pass(MINUTE);
    for end in [0, 1] {
        world.call(end, |sessions, turn| sessions.disconnect(turn, NAMES[end])).unwrap();
    }
    world.pass(3 * MINUTE);
    world
}

/// The end whose key is the lower: it answers if both offer at once.
fn lower(world: &World) -> usize {
    let ik = |end: usize| world.contact(end, NAMES[end]).signer.ik().unwrap();
    usize::from(ik(1).as_bytes() < ik(0).as_bytes())
}

fn reconnect(world: &mut World, end: usize) {
    world.call(end, |sessions, turn| sessions.reconnect(turn, NAMES[end])).unwrap();
}

fn both_connected(world: &World, times: usize) -> bool {
    world.connected(0) == times && world.connected(1) == times
}

#[test]
fn an_offer_and_an_answer_in_one_batch_after_both_offered() {
    for seed in 121..141 {
        let mut world = acquainted(seed);
        let lower = lower(&world);
        world.slow_checks = Some(1 - lower);
        let both = if seed % 2 == 0 { [lower, 1 - lower] } else { [1 - lower, lower] };
        reconnect(&mut world, both[0]);
        world.pass(Duration::from_millis((seed - 121) * 20));
        reconnect(&mut world, both[1]);
        assert!(world.run(2 * MINUTE, |world| both_connected(world, 2)), "{seed}: {:?}", world.events);
    }
}

#[test]
fn a_stored_offer_is_answered_after_a_restart_and_no_other_made() {
    let mut world = acquainted(141);
    let lower = lower(&world);
    world.crash = Some((lower, PersistPoint::OfferTaken, true));
    reconnect(&mut world, 0);
    reconnect(&mut world, 1);
    assert!(world.run(MINUTE, |world| world.crashed == 1));
    assert!(world.contact(lower, NAMES[lower]).connecting.is_some());
    let stored = world.stored.len();
    assert!(world.run(MINUTE, |world| both_connected(world, 2)), "{:?}", world.events);
    assert!(!world.stored[stored..].contains(&(lower, PersistPoint::OfferCounted)));
}

#[test]
fn an_answer_that_came_just_before_the_next_offer_stands() {
    let mut world = World::new(142, 2, &[RELAY]);
    let link = world.share(0, "Bob");
    // Alice's program does not run for almost five minutes.
    world.ends[0].sessions = super::super::Sessions::default();
    world.foreground(1);
    world.connect(1, &link, "Alice");
    world.pass(5 * MINUTE - 2 * SECOND);
    world.opening = 5 * SECOND;
    world.restart(0);
    world.foreground(0);
    assert!(world.run(MINUTE, |world| both_connected(world, 1)), "{:?}", world.events);
    assert!(world.now > 5 * MINUTE + 2 * SECOND, "{:?}", world.now);
    let offers = world.stored.iter().filter(|stored| **stored == (1, PersistPoint::OfferCounted)).count();
    assert_eq!(offers, 1);
}

#[test]
fn the_offer_that_was_missed_is_made_before_it_is_given_up() {
    for restarted in [true, false] {
        let mut world = acquainted(148);
        world.ends[0].sessions = super::super::Sessions::default();
        reconnect(&mut world, 1);
        world.pass(MINUTE);
        let counts = |world: &World| {
            let counted = (1, PersistPoint::OfferCounted);
            let offers = world.stored.iter().filter(|stored| **stored == counted).count();
            (offers, world.told(1, |event| matches!(event, Event::GaveUp { .. })))
        };
        assert_eq!(counts(&world), (2, 0), "the first is of when they met");
        world.slept = 72 * HOUR;
        if restarted {
            world.restart(1);
        } else {
            world.call(1, |sessions, turn| sessions.woke_up(turn));
        }
        world.pass(SECOND);
        assert_eq!(counts(&world), (3, 0), "restarted: {restarted}");
        world.pass(2 * HOUR);
        assert_eq!(counts(&world), (3, 1), "restarted: {restarted}");
    }
}

#[test]
fn who_is_impatient_makes_no_further_offer() {
    let mut rng = StdRng::seed_from_u64(143);
    let (mut sessions, session) = connecting(&mut rng);
    let asks = |output: &Output| {
        matches!(output, Output::Signal(Signal::MakeOffer { .. }) | Output::Signal(Signal::Close { .. }))
    };
    let mut impatient = |sessions: &mut super::super::Sessions, seconds: u32| {
        sessions.reconnect(&mut turn(&mut rng, seconds * SECOND), "Alice").unwrap();
        outputs(sessions).iter().filter(|output| asks(output)).count()
    };
    assert_eq!(impatient(&mut sessions, 0), 0, "the app makes the first one");
    let mut rng = StdRng::seed_from_u64(144);
    sessions.local_offer(&mut turn(&mut rng, SECOND), session, sdp()).unwrap();
    for seconds in 1..61 {
        assert_eq!(impatient(&mut sessions, seconds), 0, "{seconds}");
    }
    assert_eq!(impatient(&mut sessions, 61), 2, "another, and the first is closed");
}

#[test]
fn a_newer_answer_recalls_the_older_and_its_candidates_but_no_refusal() {
    let mut world = acquainted(145);
    world.late_candidates = true;
    world.down[0] = true;
    let (link, alice) = boxes_of_alice(&world);
    let (mallory, to_mallory) = stranger(145);
    deliver(&mut world, 0, "Bob", link.key, sealed_by(&mallory, 1, &link, &offer_from(to_mallory)));
    let bob = world.contact(1, "Alice").boxes.last().unwrap().connectoid();
    for _ in 0..2 {
        let offer = sealed_by_bob(&mut world, &alice, &offer_from(bob.clone()));
        deliver(&mut world, 0, "Bob", alice.key, offer);
        world.pass(5 * SECOND);
    }
    let before = world.relays[0].seen.len();
    world.down[0] = false;
    world.pass(2 * MINUTE);
    assert_eq!(sends(&requests(&world, before)), 1 + 1 + 1, "the refusal, the answer and its candidates");
}

#[test]
fn whoever_claimed_a_link_may_be_offered_to_by_its_owner() {
    let mut world = World::new(146, 2, &[RELAY]);
    let link = world.share(0, "Bob");
    world.foreground(0);
    world.connect(1, &link, "Alice");
    let claimed = |world: &World| world.told(0, |event| matches!(event, Event::Claimed { .. })) == 1;
    assert!(world.run(MINUTE, claimed));
    // The answer is lost.
    world.call(0, |sessions, turn| sessions.disconnect(turn, "Bob")).unwrap();
    world.pass(90 * SECOND);
    let nobody = world.call(0, |sessions, turn| sessions.reconnect(turn, "Bob"));
    assert_eq!(nobody, Err(NotDone::NobodyThere("Bob".into())));
    // Another library offers all the same.
    world.call(0, |sessions, turn| {
        let contact = sessions.contacts.get_mut("Bob").unwrap();
        contact.connecting = Some(Connecting { since: turn.now, tries: 0 });
        sessions.plan_next_try(turn, "Bob");
        sessions.tick(turn);
    });
    let alice = |world: &World| world.contact(1, "Alice").peer.as_ref().unwrap().ik;
    assert!(world.run(2 * MINUTE, |world| alice(world).is_some()), "{:?}", world.events);
    // The next one is not believed, be it before the proof.
    let known = alice(&world);
    let bob = world.contact(1, "Alice").boxes.last().unwrap().connectoid();
    let (mallory, to_mallory) = stranger(146);
    deliver(&mut world, 1, "Alice", bob.key, sealed_by(&mallory, 9, &bob, &offer_from(to_mallory)));
    let refused = |event: &Event| matches!(event, Event::Skipped { why: Skip::UnknownSigner, .. });
    assert_eq!(world.told(1, refused), 1);
    assert_eq!(alice(&world), known);
    assert!(world.run(MINUTE, |world| both_connected(world, 1)), "{:?}", world.events);
    assert_eq!(known, world.contact(0, "Bob").signer.ik());
}

#[test]
fn candidates_in_one_batch_with_their_offer_reach_the_app() {
    let mut world = acquainted(147);
    let (_, alice) = boxes_of_alice(&world);
    let bob = world.contact(1, "Alice").boxes.last().unwrap().connectoid();
    let messages = world.call(1, |sessions, turn| {
        let contact = sessions.contacts.get_mut("Alice").unwrap();
        let mut seal = |content: &Content| {
            let (signer, n) = contact.signer.next(&mut turn.rng);
            seal_message(&mut turn.rng, &alice.key, alice.secret.as_ref(), &signer, n, turn.now, content)
                .unwrap()
        };
        let offer = seal(&offer_from(bob));
        let candidates = vec![serde_json::json!({"candidate": "c"})];
        let candidates = seal(&Content::Candidate { re: OfferHash::of(&offer.payload), candidates });
        [offer.data, candidates.data].map(|data| Message { at: At::from(1), data })
    });
    let outputs = world.outputs(0, |sessions, turn| {
        sessions.take(turn, "Bob", alice.key, &RELAY.parse().unwrap(), &messages);
    });
    let answers = outputs
        .iter()
        .position(|output| matches!(output, Output::Signal(Signal::MakeAnswer { .. })))
        .unwrap();
    let adds = outputs.iter().position(
        |output| matches!(output, Output::Signal(Signal::AddCandidates { candidates, .. }) if candidates.len() == 1),
    );
    assert!(answers < adds.unwrap());
}
