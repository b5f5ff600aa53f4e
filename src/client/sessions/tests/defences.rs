//! Each defence matters: with it an attack fails, without it the same attack succeeds.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use zeroize::Zeroizing;

use super::{
    super::{
        Event, Side,
        channel::{Joined, Stage, Step},
    },
    attacks::{Attack, Dishonesty, micros},
    world::{MINUTE, RELAY, World},
};
use crate::{
    client::{
        contact::{InboxNote, OwnBox},
        exchange,
    },
    defences::{Defence, holds, without},
    protocol::{At, Connectoid, Fingerprint, Frame, Message, PublicKey},
    seal::{
        self, Mode, SigningKey,
        message::{Content, Offer, OfferHash, SdpAnswer, seal_message},
        transcript::{Role, Transcript, sas_commit},
    },
};

const OTHER: &str = "https://two.example";

/// The attack says whether it succeeded.
fn matters(defence: Defence, attack: impl Fn() -> bool) {
    assert!(!attack(), "{defence:?} holds, and yet the attack succeeds");
    assert!(without(defence, &attack), "the attack fails even without {defence:?}");
    assert!(holds(defence));
}

/// Alice and Bob, connected, with these relays; Alice's box is also where her link was.
fn connected(seed: u64, relays: &[&str]) -> World {
    let mut world = World::new(seed, 2, relays);
    let link = world.share(0, "Bob");
    world.foreground(0);
    world.connect(1, &link, "Alice");
    assert!(world.run(MINUTE, |world| world.connected(0) == 1 && world.connected(1) == 1));
    world.pass(Duration::from_secs(5));
    world
}

/// A link without a secret, used by Bob; the relay keeps what it saw.
fn connected_without_secret(seed: u64) -> World {
    let mut world = World::new(seed, 2, &[RELAY]);
    let mut rng = StdRng::seed_from_u64(seed);
    world.dishonesty = Some(Dishonesty::new(0, Vec::new(), 0, 0, &mut rng));
    let options = super::super::ShareOptions {
        relays: vec![RELAY.parse().unwrap()],
        without_secret: true,
        ..Default::default()
    };
    let link = world.call(0, |sessions, turn| sessions.share(turn, "Bob", options)).unwrap();
    world.connect(1, &link, "Alice");
    assert!(world.run(5 * MINUTE, |world| world.connected(0) == 1 && world.connected(1) == 1));
    world.pass(Duration::from_secs(5));
    world
}

/// The relay with the first URL does nothing but this from now on, for so long.
fn attacks(world: &mut World, attack: Attack, time: Duration) {
    let mut rng = StdRng::seed_from_u64(99);
    let until = micros(world.now + time);
    match &mut world.dishonesty {
        Some(dishonesty) => dishonesty.turns_to(attack, until),
        none => *none = Some(Dishonesty::new(0, vec![attack], 100, until, &mut rng)),
    }
}

/// Hands an end a message as if it came out of this box of its own.
pub(super) fn deliver(world: &mut World, end: usize, name: &str, key: PublicKey, data: Vec<u8>) {
    let messages = [Message { at: At::from(1), data }];
    world.call(end, |sessions, turn| {
        sessions.take(turn, name, key, &RELAY.parse().unwrap(), &messages);
    });
}

/// Alice's boxes for Bob: that of the link, and the one in use.
pub(super) fn boxes_of_alice(world: &World) -> (Connectoid, Connectoid) {
    let boxes = &world.contact(0, "Bob").boxes;
    (boxes[0].connectoid(), boxes.last().unwrap().connectoid())
}

/// Seals a message with Bob's own key and counter, as a Bob that does not keep to the protocol could, or did before.
pub(super) fn sealed_by_bob(world: &mut World, to: &Connectoid, content: &Content) -> Vec<u8> {
    world.call(1, |sessions, turn| {
        let contact = sessions.contacts.get_mut("Alice").unwrap();
        let (signer, n) = contact.signer.next(&mut turn.rng);
        seal_message(&mut turn.rng, &to.key, to.secret.as_ref(), &signer, n, turn.now, content).unwrap().data
    })
}

pub(super) fn sealed_by(signer: &SigningKey, n: u64, to: &Connectoid, content: &Content) -> Vec<u8> {
    let mut rng = StdRng::seed_from_u64(n);
    seal_message(&mut rng, &to.key, to.secret.as_ref(), signer, n, 1, content).unwrap().data
}

pub(super) fn sdp() -> String {
    format!("v=0\r\na=fingerprint:sha-256 {}\r\n", ["AB"; 32].join(":"))
}

pub(super) fn offer_from(connectoid: Connectoid) -> Content {
    Content::Offer(Offer { connectoid, sas_commit: [7; 48], sdp: sdp() })
}

pub(super) fn stranger(seed: u64) -> (SigningKey, Connectoid) {
    // Not the seed of a world: other keys than anybody's there.
    let mut rng = StdRng::seed_from_u64(seed + 1_000_000);
    let own = OwnBox::generate(&mut rng, vec![RELAY.parse().unwrap()], None);
    (SigningKey::generate(&mut rng), own.connectoid())
}

fn notes(world: &mut World, end: usize, name: &str) -> Vec<InboxNote> {
    world.take_notes(end, name)
}

#[test]
fn a_stored_message_is_not_answered_as_a_question() {
    // The first 56 bytes of it would come back: the beginning of the signed text.
    matters(Defence::Purpose, || {
        let mut world = connected_without_secret(1);
        attacks(&mut world, Attack::MessageAsQuestion, 5 * MINUTE);
        world.pass(5 * MINUTE);
        world.leaks.iter().any(|(_, answer)| answer.0[4..].starts_with(br#"{"alg":"ES384","payload":""#))
    });
}

#[test]
fn the_relay_cannot_claim_a_link_whose_secret_it_never_saw() {
    matters(Defence::SecretUsed, || {
        let mut world = World::new(2, 2, &[RELAY]);
        world.share(0, "Bob");
        world.foreground(0);
        attacks(&mut world, Attack::ForgedOffer, MINUTE);
        world.pass(2 * MINUTE);
        world.told(0, |event| matches!(event, Event::Claimed { .. })) > 0
    });
}

#[test]
fn a_forged_goodbye_does_not_end_a_contact() {
    // The box of a link without a secret is open for anybody's seal; what counts there is the signature.
    matters(Defence::Signature, || {
        let mut world = connected_without_secret(3);
        attacks(&mut world, Attack::ForgedBye, 3 * MINUTE);
        world.pass(3 * MINUTE);
        world.told(0, |event| matches!(event, Event::Unshared { by: Side::Peer, .. })) > 0
    });
}

#[test]
fn what_bob_wrote_to_alice_is_not_passed_on_to_carol_in_his_name() {
    matters(Defence::Address, || {
        let mut world = World::new(4, 3, &[RELAY]);
        let (to_alice, to_carol) = (world.share(0, "Bob"), world.share(2, "Alice"));
        let (bob, _) = stranger(4);
        let note = sealed_by(&bob, 1, &to_alice, &Content::Note(b"I owe you 100".to_vec()));
        let alice = world.contact(0, "Bob").boxes[0].key.clone();
        let opened = seal::open(&alice, psk(&to_alice), b"connectoid/1 message", b"connectoid/1\x01", &note);
        let opened = opened.unwrap();
        let mut rng = StdRng::seed_from_u64(5);
        let (info, aad) = (b"connectoid/1 message", b"connectoid/1\x01");
        let passed_on = seal::seal(&mut rng, &to_carol.key, psk(&to_carol), info, aad, &opened).unwrap();
        deliver(&mut world, 2, "Alice", to_carol.key, passed_on);
        notes(&mut world, 2, "Alice").iter().any(|note| note.ik == bob.public())
    });
}

/// PSK mode with the secret of a connectoid.
fn psk(connectoid: &Connectoid) -> Mode<'static> {
    let secret = connectoid.secret.as_ref().unwrap();
    let hkdf = hkdf::Hkdf::<sha2::Sha384>::new(Some(b"connectoid/1 psk"), secret.expose());
    let mut psk = vec![0; 48];
    hkdf.expand(connectoid.key.as_bytes(), &mut psk).unwrap();
    Mode::Psk { psk: psk.leak(), id: b"connectoid/1 psk" }
}

#[test]
fn an_oversized_reply_is_not_read() {
    matters(Defence::ReplySize, || {
        let reply = format!(r#"{{"ok":true{}}}"#, " ".repeat(1024 * 1024));
        exchange::read::<exchange::Done>(200, reply.as_bytes()).is_ok()
    });
}

#[test]
fn a_relay_that_asks_for_136_years_of_rest_gets_minutes() {
    matters(Defence::Rest, || {
        let mut world = World::new(5, 2, &[RELAY]);
        let link = world.share(0, "Bob");
        attacks(&mut world, Attack::HugeRetryAfter, MINUTE);
        world.connect(1, &link, "Alice");
        !world.run(30 * MINUTE, |world| world.connected(0) == 1 && world.connected(1) == 1)
    });
}

#[test]
fn another_relays_question_is_not_answered() {
    matters(Defence::OwnRelay, || {
        let mut world = connected(6, &[RELAY, OTHER]);
        attacks(&mut world, Attack::ForeignQuestionNamed, 2 * MINUTE);
        world.pass(2 * MINUTE);
        !world.leaks.is_empty()
    });
}

#[test]
fn a_huge_cursor_hides_nothing() {
    matters(Defence::Cursor, || {
        let mut world = connected(7, &[RELAY]);
        attacks(&mut world, Attack::HugeAt, MINUTE);
        world.note(1, "Alice", "the first");
        world.pass(2 * MINUTE);
        assert_eq!(notes(&mut world, 0, "Bob").len(), 1);
        world.note(1, "Alice", "the second");
        world.pass(5 * MINUTE);
        notes(&mut world, 0, "Bob").is_empty()
    });
}

#[test]
fn a_note_that_is_delivered_again_counts_once() {
    matters(Defence::Counter, || {
        let mut world = connected(8, &[RELAY]);
        // Not for long: without the defence it is new each time, and asked for again at once.
        let until = micros(world.now + Duration::from_secs(1));
        world.dishonesty =
            Some(Dishonesty::new(0, vec![Attack::Duplicate], 100, until, &mut StdRng::seed_from_u64(8)));
        world.note(1, "Alice", "pay 100");
        world.pass(2 * MINUTE);
        notes(&mut world, 0, "Bob").len() > 1
    });
}

#[test]
fn an_answer_to_an_earlier_offer_is_none_to_this_one() {
    matters(Defence::Outstanding, || {
        let mut world = connected(9, &[RELAY]);
        let (_, alice) = boxes_of_alice(&world);
        let re = OfferHash::of(b"an offer of yesterday");
        let late = Content::Answer(SdpAnswer { re, sas_nonce: [7; 32], sdp: sdp() });
        let late = sealed_by_bob(&mut world, &alice, &late);
        world.down[0] = true;
        world.call(0, |sessions, turn| sessions.disconnect(turn, "Bob")).unwrap();
        world.call(0, |sessions, turn| sessions.reconnect(turn, "Bob")).unwrap();
        world.pass(Duration::from_secs(1));
        deliver(&mut world, 0, "Bob", alice.key, late);
        let pending = world.ends[0].sessions.live["Bob"].pending.as_ref().unwrap();
        matches!(pending.stage, Stage::Joined(_))
    });
}

#[test]
fn only_the_pinned_key_writes_to_a_box_in_use() {
    // Somebody who saw the connectoid of Alice's box, in a backup of Bob's say, but has not his signing key.
    matters(Defence::Pinned, || {
        let mut world = connected(10, &[RELAY]);
        let (_, alice) = boxes_of_alice(&world);
        let (thief, to_thief) = stranger(10);
        deliver(&mut world, 0, "Bob", alice.key, sealed_by(&thief, 1000, &alice, &offer_from(to_thief)));
        world.contact(0, "Bob").peer.as_ref().unwrap().ik == Some(thief.public())
    });
}

#[test]
fn nobody_makes_alice_write_to_herself() {
    matters(Defence::NotOwnBox, || {
        let mut world = World::new(11, 2, &[RELAY]);
        let (for_bob, for_carol) = (world.share(0, "Bob"), world.share(0, "Carol"));
        let (mallory, _) = stranger(11);
        let offer = sealed_by(&mallory, 1, &for_bob, &offer_from(for_carol.clone()));
        deliver(&mut world, 0, "Bob", for_bob.key, offer);
        world.contact(0, "Bob").peer.as_ref().is_some_and(|peer| peer.connectoid == for_carol)
    });
}

#[test]
fn an_offer_that_comes_late_brings_no_dead_box_back() {
    matters(Defence::Overtaken, || {
        let mut world = World::new(12, 2, &[RELAY]);
        let link = world.share(0, "Bob");
        world.foreground(0);
        world.connect(1, &link, "Alice");
        let old = world.contact(1, "Alice").boxes[0].connectoid();
        assert!(world.run(MINUTE, |world| world.connected(0) == 1 && world.connected(1) == 1));
        // Made before the box was replaced, kept back by the relay until after it.
        let late = sealed_by_bob(&mut world, &link, &offer_from(old.clone()));
        world.pass(MINUTE);
        assert_ne!(world.contact(1, "Alice").boxes.last().unwrap().connectoid(), old);
        deliver(&mut world, 0, "Bob", link.key, late);
        world.contact(0, "Bob").peer.as_ref().unwrap().connectoid == old
    });
}

#[test]
fn a_link_belongs_to_the_first_who_used_it() {
    matters(Defence::FirstClaim, || {
        let mut world = World::new(13, 3, &[RELAY]);
        let link = world.share(0, "Bob");
        world.foreground(0);
        world.connect(1, &link, "Alice");
        assert!(world.run(MINUTE, |world| world.connected(0) == 1 && world.connected(1) == 1));
        world.connect(2, &link, "Alice");
        world.pass(2 * MINUTE);
        world.connected(2) > 0
    });
}

#[test]
fn who_cannot_prove_gets_no_session() {
    matters(Defence::Proof, || {
        let mut world = World::new(14, 2, &[RELAY]);
        let link = world.share(0, "Bob");
        world.foreground(0);
        world.garbled_proofs = true;
        world.connect(1, &link, "Alice");
        world.pass(MINUTE);
        let alarmed =
            world.told(0, |event| matches!(event, Event::Alarm { alarm: super::super::Alarm::NoProof, .. }));
        assert!(world.connected(0) + alarmed > 0, "{:?}", world.events);
        world.connected(0) > 0
    });
}

#[test]
fn who_opens_the_channel_with_another_certificate_gets_no_session() {
    matters(Defence::Certificate, || {
        let mut world = World::new(15, 2, &[RELAY]);
        let link = world.share(0, "Bob");
        world.foreground(0);
        world.foreign_certificates = true;
        world.connect(1, &link, "Alice");
        world.pass(MINUTE);
        world.connected(0) > 0
    });
}

#[test]
fn nobody_looks_for_a_string_that_matches_after_the_offer() {
    // A man in the middle wants Alice to see the emoji that Bob sees. Without the commitment he may choose r last.
    matters(Defence::Commitment, || {
        let mut rng = StdRng::seed_from_u64(16);
        let (ik, own) = stranger(16);
        let (secret, wanted, r_a) = (own.secret.clone().unwrap(), 42, [9; 32]);
        let transcript = || Transcript::new(b"offer", b"answer", Some(&secret), &secret);
        let first_emoji = |r: &[u8; 32]| transcript().sas(r, &r_a).to_bytes()[0] >> 2;
        let committed = (0..).map(|_| rng.random::<[u8; 32]>()).find(|r| first_emoji(r) != wanted).unwrap();
        let found = (0..).map(|_| rng.random::<[u8; 32]>()).find(|r| first_emoji(r) == wanted).unwrap();
        let fingerprint = Fingerprint([1; 32]);
        let mut alice = Joined {
            role: Role::Answerer,
            hash: OfferHash::of(b"offer"),
            transcript: transcript(),
            ik: ik.public(),
            r_o: None,
            r_a,
            commitment: Some((sas_commit(&committed, &own.key, &ik.public()), own.key)),
            own: fingerprint,
            peer: fingerprint,
            since: Duration::ZERO,
            handshake: None,
        };
        alice.open([1; 32], None, Duration::ZERO).ok().unwrap();
        let step = alice.frame(&Frame::Hello { nonce: [2; 32], r: Some(found) });
        matches!(step, Step::Reply(_))
            && alice.r_o.as_ref().map(|r: &Zeroizing<[u8; 32]>| first_emoji(r)) == Some(wanted)
    });
}

#[test]
fn a_link_is_not_answered_for_ever() {
    matters(Defence::OfferCount, || {
        let mut world = World::new(17, 2, &[RELAY]);
        let link = world.share(0, "Bob");
        let (mallory, to_mallory) = stranger(17);
        for n in 1..=60 {
            let offer = sealed_by(&mallory, n, &link, &offer_from(to_mallory.clone()));
            deliver(&mut world, 0, "Bob", link.key, offer);
            world.pass(Duration::from_secs(1));
        }
        let answered = world.contact(0, "Bob").link.as_ref().unwrap().answered;
        assert!(answered == 50 || answered == 60, "{answered}");
        let alarm = Event::Alarm { contact: "Bob".into(), alarm: super::super::Alarm::TooManyOffers };
        assert_eq!(world.told(0, |event| *event == alarm), usize::from(answered == 50));
        answered > 50
    });
}

#[test]
fn defences_are_switched_off_one_at_a_time_and_only_for_a_while() {
    without(Defence::Proof, || {
        assert!(!holds(Defence::Proof));
        assert!(holds(Defence::Counter));
    });
    assert!(holds(Defence::Proof));
}
