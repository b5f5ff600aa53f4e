//! What can happen to a link on its way, and that its secret is in nothing that a relay sees.

use super::{
    super::{Alarm, Event},
    world::{MINUTE, RELAY, SECOND, World},
};
use crate::protocol::base64url;

const OTHER: &str = "https://two.example";

/// What the people at an end see.
fn emoji(world: &World, end: usize, name: &str) -> Vec<&'static str> {
    world.contact(end, name).sas.unwrap().emoji().iter().map(|emoji| emoji.name).collect()
}

fn link_used_twice(event: &Event) -> bool {
    matches!(event, Event::Alarm { alarm: Alarm::LinkUsedTwice { .. }, .. })
}

#[test]
fn a_link_replaced_on_its_way_shows_in_the_emoji() {
    // Mallory takes Alice's link (2), and gives Bob one of her own (3).
    let mut world = World::new(31, 4, &[RELAY]);
    let from_alice = world.share(0, "Bob");
    let from_mallory = world.share(3, "Bob");
    world.foreground(0);
    world.foreground(3);
    world.connect(2, &from_alice, "Alice");
    world.connect(1, &from_mallory, "Alice");
    assert!(world.run(MINUTE, |world| (0..4).all(|end| world.connected(end) == 1)), "{:?}", world.events);
    assert_eq!(emoji(&world, 0, "Bob"), emoji(&world, 2, "Alice"));
    assert_eq!(emoji(&world, 1, "Alice"), emoji(&world, 3, "Bob"));
    assert_ne!(emoji(&world, 0, "Bob"), emoji(&world, 1, "Alice"));
    world.call(0, |sessions, turn| sessions.verify(turn, "Bob", false)).unwrap();
    assert!(!world.contact(0, "Bob").may_exchange());
    world.pass(SECOND);
    assert_eq!(world.told(2, |event| matches!(event, Event::Disconnected { .. })), 1);
}

#[test]
fn a_thief_who_is_first_is_told_to_both() {
    let mut world = World::new(32, 3, &[RELAY]);
    let link = world.share(0, "Bob");
    world.connect(2, &link, "Alice");
    assert!(world.run(5 * MINUTE, |world| world.connected(2) == 1));
    world.connect(1, &link, "Alice");
    world.pass(3 * MINUTE);
    assert_eq!(world.told(1, |event| *event == Event::LinkUsed { contact: "Alice".into() }), 1);
    assert_eq!(world.told(0, link_used_twice), 1, "{:?}", world.events);
    assert_eq!(world.connected(1), 0, "Bob waits, or was told; he is never connected");
    assert!(!world.contact(0, "Bob").may_exchange());
}

#[test]
fn a_thief_who_is_second_gets_nothing_and_both_hear_of_it_again_after_a_restart() {
    let mut world = World::new(33, 3, &[RELAY]);
    let link = world.share(0, "Bob");
    world.connect(1, &link, "Alice");
    assert!(world.run(5 * MINUTE, |world| world.connected(1) == 1));
    world.connect(2, &link, "Alice");
    world.pass(3 * MINUTE);
    assert_eq!(world.connected(2), 0);
    assert_eq!(world.told(2, |event| *event == Event::LinkUsed { contact: "Alice".into() }), 1);
    assert_eq!(world.told(0, link_used_twice), 1);
    world.restart(0);
    assert_eq!(world.told(0, link_used_twice), 2);
    world.call(0, |sessions, turn| sessions.verify(turn, "Bob", true)).unwrap();
    world.restart(0);
    assert_eq!(world.told(0, link_used_twice), 2, "the strings were compared");
}

#[test]
fn a_former_contact_reaches_nobody() {
    let mut world = World::new(34, 2, &[RELAY]);
    let link = world.share(0, "Bob");
    world.connect(1, &link, "Alice");
    assert!(world.run(5 * MINUTE, |world| world.connected(0) == 1 && world.connected(1) == 1));
    world.pass(MINUTE);
    // The copy that Bob made of his keys meanwhile.
    let copy = world.ends[1].disk.clone();
    world.call(0, |sessions, turn| sessions.unshare(turn, "Bob")).unwrap();
    world.pass(3 * MINUTE);
    world.ends[1].disk = copy;
    world.relays[0].boxes.clear();
    world.restart(1);
    let before = world.events.len();
    world.call(1, |sessions, turn| sessions.reconnect(turn, "Alice")).unwrap();
    world.pass(20 * MINUTE);
    assert!(world.events[before..].iter().all(|(_, end, _)| *end == 1), "{:?}", world.events);
    assert_eq!(world.connected(0), 1);
}

#[test]
fn no_secret_and_no_private_key_is_in_anything_that_a_relay_sees() {
    let mut world = World::new(35, 2, &[RELAY, OTHER]);
    world.late_candidates = true;
    let link = world.share(0, "Bob");
    world.foreground(0);
    world.connect(1, &link, "Alice");
    assert!(world.run(MINUTE, |world| world.connected(0) == 1 && world.connected(1) == 1));
    world.note(1, "Alice", "a note");
    world.pass(MINUTE);
    world.call(0, |sessions, turn| sessions.disconnect(turn, "Bob")).unwrap();
    world.call(0, |sessions, turn| sessions.reconnect(turn, "Bob")).unwrap();
    world.pass(3 * MINUTE);
    assert_eq!(world.connected(1), 2);
    world.call(1, |sessions, turn| sessions.unshare(turn, "Alice")).unwrap();
    world.pass(3 * MINUTE);

    assert!(world.boxes.len() >= 4, "of both, before and after the new boxes");
    let mut secrets = Vec::new();
    for (_, own) in &world.boxes {
        secrets.push(own.secret.as_ref().unwrap().expose().to_vec());
        secrets.push(own.key.to_bytes().to_vec());
    }
    for relay in &mut world.relays {
        assert!(relay.seen.len() > 20);
        for secret in &secrets {
            assert!(relay.seen.iter().all(|body| !contains(body, secret)));
        }
        // And would be found.
        let planted = format!(r#"{{"action":"check","ext":"{}"}}"#, link.to_string().replace('.', "~"));
        relay.seen.push_back(planted.into_bytes());
        assert!(relay.seen.iter().any(|body| contains(body, link.secret.as_ref().unwrap().expose())));
    }
}

#[test]
fn the_search_for_a_secret_finds_it() {
    let secret: Vec<u8> = (0..32u8).map(|byte| byte.wrapping_mul(37) ^ 0xE5).collect();
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    for planted in [secret.clone(), hex.to_uppercase().into_bytes(), hex.into_bytes()] {
        assert!(contains(&[b"{".as_slice(), &planted, b"}"].concat(), &secret));
    }
    for before in 0..6 {
        for after in 0..6 {
            let around = [vec![b'x'; before], secret.clone(), vec![b'y'; after]].concat();
            let url = base64url::encode(&around);
            let standard = url.replace('-', "+").replace('_', "/");
            for planted in [url, standard] {
                assert!(
                    contains(format!(r#"{{"ext":"{planted}"}}"#).as_bytes(), &secret),
                    "{before} {after}"
                );
            }
        }
    }
    let other: Vec<u8> = secret.iter().map(|byte| byte ^ 1).collect();
    assert!(!contains(base64url::encode(&other).as_bytes(), &secret));
}

/// Whether a secret is in a body: raw, in hexadecimal digits, in either base64 at any of its three alignments.
fn contains(body: &[u8], secret: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body);
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let alignments = (0..3).map(|shift| {
        let encoded = base64url::encode([vec![0; shift], secret.to_vec()].concat());
        // Only the characters that hold nothing but the secret.
        encoded[(shift * 8).div_ceil(6)..(shift + secret.len()) * 8 / 6].to_owned()
    });
    let in_base64 = alignments
        .flat_map(|url| [url.replace('-', "+").replace('_', "/"), url])
        .any(|encoded| text.contains(&encoded));
    let raw = body.windows(secret.len()).any(|window| window == secret);
    raw || in_base64 || text.to_lowercase().contains(&hex)
}
