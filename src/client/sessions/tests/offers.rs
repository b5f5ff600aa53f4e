//! Offers, answers and candidates: what is fresh in each, how often they count, and for how long.

use std::{collections::HashSet, time::Duration};

use super::{
    super::{Event, Output, PersistPoint, Sessions, Signal, Skip},
    defences::{boxes_of_alice, deliver, offer_from, sealed_by, sealed_by_bob, stranger},
    rules::{requests, sends},
    world::{MINUTE, NAMES, RELAY, SECOND, World},
};
use crate::{
    client::contact::LinkState,
    protocol::{At, Frame, Message, Request},
    seal::message::{Content, OfferHash, open_message, seal_message},
};

/// All that was sent to boxes, opened as their owners could.
fn opened(world: &World) -> Vec<Content> {
    let sent = requests(world, 0).into_iter().filter_map(|request| match request {
        Request::Send { key, data, .. } => Some((key, data)),
        _ => None,
    });
    let open = |(key, data): (_, Vec<u8>)| {
        let (_, own) = world.boxes.iter().find(|(_, own)| own.key.public() == key).unwrap();
        open_message(&own.key, own.secret.as_ref(), |_| None, &data).unwrap().content
    };
    sent.map(open).collect()
}

/// How many there are, and all different.
fn different<T: std::hash::Hash + Eq>(values: impl IntoIterator<Item = T>) -> usize {
    let (mut seen, mut count) = (HashSet::new(), 0);
    for value in values {
        assert!(seen.insert(value), "the same twice");
        count += 1;
    }
    count
}

#[test]
fn what_makes_an_offer_an_answer_or_a_channel_fresh_is_never_used_again() {
    let mut world = World::new(151, 2, &[RELAY]);
    let link = world.share(0, "Bob");
    // Alice's program does not run for the first offer of the attempt.
    world.ends[0].sessions = Sessions::default();
    world.connect(1, &link, "Alice");
    world.pass(5 * MINUTE + SECOND);
    world.restart(0);
    assert!(world.run(5 * MINUTE, |world| world.connected(0) == 1 && world.connected(1) == 1));
    world.pass(MINUTE);
    for end in [0, 1] {
        world.call(end, |sessions, turn| sessions.disconnect(turn, NAMES[end])).unwrap();
    }
    world.pass(3 * MINUTE);
    world.call(1, |sessions, turn| sessions.reconnect(turn, "Alice")).unwrap();
    assert!(world.run(5 * MINUTE, |world| world.connected(0) == 2 && world.connected(1) == 2));

    let contents = opened(&world);
    let commitments = contents.iter().filter_map(|content| match content {
        Content::Offer(offer) => Some(offer.sas_commit),
        _ => None,
    });
    assert_eq!(different(commitments), 3);
    let nonces = contents.iter().filter_map(|content| match content {
        Content::Answer(answer) => Some(answer.sas_nonce),
        _ => None,
    });
    assert_eq!(different(nonces), 2);
    let frames = world.ends.iter().flat_map(|end| &end.frames);
    let hellos: Vec<_> = frames
        .filter_map(|text| match Frame::parse(text).unwrap() {
            Frame::Hello { nonce, r } => Some((nonce, r)),
            _ => None,
        })
        .collect();
    assert_eq!(different(hellos.iter().map(|(nonce, _)| *nonce)), 4);
    assert_eq!(different(hellos.iter().filter_map(|(_, r)| *r)), 2);
}

#[test]
fn a_fourth_message_of_candidates_is_not_handed_over() {
    let mut world = World::of_two(152, MINUTE);
    for end in [0, 1] {
        world.call(end, |sessions, turn| sessions.disconnect(turn, NAMES[end])).unwrap();
    }
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
        let re = OfferHash::of(&offer.payload);
        let mut data = vec![offer.data];
        for number in 1..=5 {
            let candidates = vec![serde_json::json!({"candidate": number})];
            data.push(seal(&Content::Candidate { re, candidates }).data);
        }
        data.into_iter().map(|data| Message { at: At::from(1), data }).collect::<Vec<Message>>()
    });
    let outputs = world.outputs(0, |sessions, turn| {
        sessions.take(turn, "Bob", alice.key, &RELAY.parse().unwrap(), &messages);
    });
    let added = outputs.iter().filter_map(|output| match output {
        Output::Signal(Signal::AddCandidates { candidates, .. }) => candidates[0]["candidate"].as_u64(),
        _ => None,
    });
    assert_eq!(added.collect::<Vec<u64>>(), [1, 2, 3]);
}

#[test]
fn an_offer_that_is_delivered_again_is_refused_once() {
    let mut world = World::of_two(153, MINUTE);
    let (link, _) = boxes_of_alice(&world);
    let (mallory, to_mallory) = stranger(153);
    let offer = sealed_by(&mallory, 1, &link, &offer_from(to_mallory.clone()));
    let before = world.relays[0].seen.len();
    let repeated = |event: &Event| matches!(event, Event::Skipped { why: Skip::Repeated, .. });
    for times in 0..3 {
        deliver(&mut world, 0, "Bob", link.key, offer.clone());
        world.pass(10 * SECOND);
        assert_eq!((sends(&requests(&world, before)), world.told(0, repeated)), (1, times));
    }
    // The next one is another.
    deliver(&mut world, 0, "Bob", link.key, sealed_by(&mallory, 2, &link, &offer_from(to_mallory)));
    world.pass(10 * SECOND);
    assert_eq!((sends(&requests(&world, before)), world.told(0, repeated)), (2, 2));
}

#[test]
fn a_stored_offer_is_answered_within_five_minutes_or_not_at_all() {
    for (away, answers) in [(5 * MINUTE, 1), (5 * MINUTE + Duration::from_millis(1), 0)] {
        let mut world = World::of_two(154, MINUTE);
        for end in [0, 1] {
            world.call(end, |sessions, turn| sessions.disconnect(turn, NAMES[end])).unwrap();
        }
        world.pass(3 * MINUTE);
        let (_, alice) = boxes_of_alice(&world);
        let bob = world.contact(1, "Alice").boxes.last().unwrap().connectoid();
        let offer = sealed_by_bob(&mut world, &alice, &offer_from(bob));
        deliver(&mut world, 0, "Bob", alice.key, offer);
        // Alice's program ends before her app made an answer.
        world.ends[0].sessions = Sessions::default();
        let before = world.stored.len();
        world.pass(away);
        world.restart(0);
        world.pass(SECOND);
        let answered =
            world.stored[before..].iter().filter(|stored| **stored == (0, PersistPoint::AnswerCounted));
        assert_eq!(answered.count(), answers, "{away:?}");
    }
}

#[test]
fn a_message_is_sent_again_for_an_hour() {
    for (down, sent) in [(58 * MINUTE, 1), (60 * MINUTE, 0)] {
        let mut world = World::of_two(155, MINUTE);
        let (link, _) = boxes_of_alice(&world);
        let (mallory, to_mallory) = stranger(155);
        world.down[0] = true;
        let offer = sealed_by(&mallory, 1, &link, &offer_from(to_mallory));
        deliver(&mut world, 0, "Bob", link.key, offer);
        world.pass(down);
        let before = world.relays[0].seen.len();
        world.down[0] = false;
        world.pass(5 * MINUTE);
        assert_eq!(sends(&requests(&world, before)), sent, "{down:?}");
    }
}

#[test]
fn an_offer_with_counter_0_claims_nothing() {
    let mut world = World::new(156, 1, &[RELAY]);
    let link = world.share(0, "Bob");
    let (mallory, to_mallory) = stranger(156);
    let offer = |n| sealed_by(&mallory, n, &link, &offer_from(to_mallory.clone()));
    let state = |world: &World| world.contact(0, "Bob").link.as_ref().unwrap().state;
    deliver(&mut world, 0, "Bob", link.key, offer(0));
    assert_eq!(state(&world), LinkState::Open);
    assert!(world.contact(0, "Bob").peer.is_none());
    deliver(&mut world, 0, "Bob", link.key, offer(1));
    assert_eq!(state(&world), LinkState::Claimed);
}

#[test]
fn an_offer_that_does_not_count_claims_no_link() {
    let mut world = World::new(64, 2, &[RELAY]);
    let link = world.share(0, "Bob");
    let (mallory, own) = stranger(64);
    deliver(&mut world, 0, "Bob", link.key, sealed_by(&mallory, 5, &link, &Content::Note(b"hello".to_vec())));
    deliver(&mut world, 0, "Bob", link.key, sealed_by(&mallory, 5, &link, &offer_from(own)));
    let repeated = |event: &Event| matches!(event, Event::Skipped { why: Skip::Repeated, .. });
    assert_eq!(world.told(0, repeated), 1);
    assert_eq!(world.contact(0, "Bob").link.as_ref().unwrap().state, LinkState::Open);
    assert!(world.contact(0, "Bob").peer.is_none());
    world.connect(1, &link, "Alice");
    assert!(world.run(5 * MINUTE, |world| world.connected(0) == 1 && world.connected(1) == 1));
    assert_eq!(world.told(0, |event| matches!(event, Event::Alarm { .. })), 0);
}
