//! Makes the files of tests/vectors that are ours, always the same: keys are derived, what would be random is a byte
//! repeated. To write them after a change: `CONNECTOID_WRITE_VECTORS=1 cargo test --test it vectors::make`.

use std::{convert::Infallible, fs};

use connectoid::{
    protocol::{
        Connectoid, Fingerprint, Frame, LinkSecret, NotAConnectoid, NotAFrame, NotALink, Place, PublicKey,
        RelayUrl, base64url, find_connectoid,
    },
    seal::{
        self, BoxKey, Mode, SigningKey,
        message::{Content, Junk, Offer, OfferHash, Reason, SdpAnswer, open_message, seal_message},
        question::{Secrets, ask, open_question, verify},
        transcript::{Role, Transcript, sas_commit},
    },
};
use hkdf::Hkdf;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha384};

use super::{path, to_hex};

#[test]
fn the_files_are_what_is_made_here() {
    for (name, made) in [
        ("links.json", links()),
        ("keys.json", keys()),
        ("question.json", question()),
        ("messages.json", messages()),
        ("connections.json", connections()),
        ("sdp.json", sdps()),
        ("frames.json", frames()),
    ] {
        let made = serde_json::to_string_pretty(&made).unwrap() + "\n";
        if std::env::var_os("CONNECTOID_WRITE_VECTORS").is_some() {
            fs::write(path(name), &made).unwrap();
        }
        let there = fs::read_to_string(path(name)).unwrap_or_default();
        assert!(
            there == made,
            "{name} is not what is made here: if it should change, CONNECTOID_WRITE_VECTORS=1"
        );
    }
}

/// What would be random, one byte repeated: HPKE's ephemeral key is then DeriveKeyPair of 48 of them.
pub struct Repeat(pub u8);

impl rand::TryRng for Repeat {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_ne_bytes([self.0; 4]))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_ne_bytes([self.0; 8]))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.fill(self.0);
        Ok(())
    }
}

impl rand::TryCryptoRng for Repeat {}

const RELAY: &str = "https://connecto.id";
const T: i64 = 1_795_170_000;
const TS: u64 = 1_795_170_000_000;

/// The names of `Junk` in the files.
pub fn junk_name(junk: Junk) -> &'static str {
    match junk {
        Junk::Seal => "seal",
        Junk::Size => "size",
        Junk::Padding => "padding",
        Junk::Envelope => "envelope",
        Junk::Alg => "alg",
        Junk::UnknownSigner => "signer",
        Junk::Signature => "signature",
        Junk::Version => "version",
        Junk::Type => "type",
        Junk::Address => "address",
    }
}

/// The names of what is wrong with a link in the files.
pub fn link_fault(text: &str) -> &'static str {
    match find_connectoid(text) {
        Ok(_) => panic!("{text} is a link"),
        Err(NotALink::NoConnectoid) => "no-connectoid",
        Err(NotALink::Connectoid(fault)) => match fault {
            NotAConnectoid::Parts(_) => "parts",
            NotAConnectoid::Key(_) => "key",
            NotAConnectoid::Relays => "relays",
            NotAConnectoid::RelayCount(_) => "relay-count",
            NotAConnectoid::Relay(_) => "relay",
            NotAConnectoid::Ext => "ext",
            NotAConnectoid::EmptyEnd => "cut",
            NotAConnectoid::Secret => "secret",
            NotAConnectoid::SecretVersion(_) => "secret-version",
        },
        Err(fault) => panic!("{text}: {fault}"),
    }
}

/// The names of what is wrong with a frame in the files.
pub fn frame_fault(fault: NotAFrame) -> &'static str {
    match fault {
        NotAFrame::TooBig => "too-big",
        NotAFrame::Malformed => "malformed",
        NotAFrame::Version => "version",
        NotAFrame::Type => "type",
    }
}

fn box_key(byte: u8) -> BoxKey {
    seal::derive_box_key(&[byte; 48]).unwrap()
}

fn signing_key(byte: u8) -> SigningKey {
    SigningKey::from_bytes(&*box_key(byte).to_bytes()).unwrap()
}

fn secret(byte: u8) -> LinkSecret {
    LinkSecret::from_bytes([byte; 32])
}

fn hkdf384(salt: &[u8], ikm: &[u8], info: &[u8]) -> [u8; 48] {
    let mut out = [0; 48];
    Hkdf::<Sha384>::new(Some(salt), ikm).expand(info, &mut out).unwrap();
    out
}

// Links and keys

fn links() -> Value {
    let key = box_key(0xA1).public().to_string();
    let of = |urls: &str| format!("{key}.{}", base64url::encode(urls));
    let (plain, part) = (of(RELAY), "AQcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH");
    let four =
        "https://one.example https://two.example/relay https://three.example:8443 http://localhost:3000";
    let connectoids = [
        plain.clone(),
        format!("{plain}.YXBpa2V5"),
        format!("{plain}..{part}"),
        format!("{plain}.YXBpa2V5.{part}"),
        format!("{}..{part}", of(four)),
        // Made canonical by who reads them.
        of("https://connecto.id/"),
        of("HTTPS://Connecto.ID:443"),
        of("https://user:password@connecto.id/relay?x=1#y"),
        of(" https://one.example/  https://two.example/relay/ "),
        of("http://127.0.0.1:80/ http://[::1]:8080 http://relay.localhost"),
    ];
    let connectoids = connectoids.map(|given| {
        let read: Connectoid = given.parse().unwrap();
        json!({
            "given": given,
            "canonical": read.to_string(),
            "pub": read.key,
            "relays": read.relays,
            "ext": read.ext,
            "secret": read.secret.map(|secret| to_hex(secret.expose())),
        })
    });
    let full = format!("{plain}..{part}");
    let links = [
        full.clone(),
        format!("connectoid={full}"),
        format!("https://app.example.com/#connectoid={full}"),
        format!("https://app.example.com/?connectoid={plain}"),
        format!("https://app.example.com/?connectoid={plain}#connectoid={full}"),
        format!("https://app.example.com/#/lists?connectoid={full}&x=1"),
        format!("https://app.example.com/#!connectoid={full}"),
        format!("https://app.example.com/?connectoid={full}&x=1#top"),
    ];
    let links = links.map(|given| {
        let found = find_connectoid(&given).unwrap();
        let place = found.place.map(|place| if place == Place::Fragment { "fragment" } else { "query" });
        json!({"given": given, "connectoid": found.connectoid.to_string(), "place": place})
    });
    let other_part = |bytes: &[u8]| format!("{plain}..{}", base64url::encode(bytes));
    let refused = [
        key.clone(),
        format!("{full}.{part}"),
        String::new(),
        format!("{plain}."),
        format!("{plain}.."),
        format!("{plain}..{}", &part[..40]),
        other_part(&[7; 32]),
        other_part(&[&[2], [7; 32].as_slice()].concat()),
        other_part(&[&[1], [7; 31].as_slice()].concat()),
        other_part(&[&[1], [7; 33].as_slice()].concat()),
        format!("{full}="),
        format!("{plain}.YXBpa2V"),
        format!("{plain}.YXBpa2V5="),
        format!("{plain}.{}", "YXBp".repeat(257)),
        format!("{}.{}", &key[..65], base64url::encode(RELAY)),
        format!("{plain}=="),
        of("\u{0}"),
        format!("{key}.{}", base64url::encode([0xFF])),
        of(""),
        of(" "),
        of("https://a.example https://b.example https://c.example https://d.example https://e.example"),
        of("http://example.com"),
        of("http://192.168.1.5:8080"),
        of("http://localhost.example.com"),
        of("ftp://127.0.0.1"),
        of("connecto.id"),
        of("https://one.example http://two.example"),
        "https://app.example.com/".into(),
        format!("https://app.example.com/?myconnectoid={full}"),
        format!("https://app.example.com/#connectoid={}", &full[..full.len() - 1]),
    ];
    let refused = refused.map(|given| json!({"given": given, "why": link_fault(&given)}));
    json!({"kind": "links", "connectoids": connectoids, "links": links, "refused": refused})
}

fn keys() -> Value {
    let key = box_key(0xA1).public();
    let (text, bytes) = (key.to_string(), *key.as_bytes());
    let tagged = |tag: u8, x: &[u8]| base64url::encode([&[tag], x].concat());
    let is_key = |bytes: &[u8]| PublicKey::from_bytes(bytes).is_ok();
    let with_x = |last: u8| [[2].as_slice(), &[0; 47], &[last]].concat();
    // A small x that is on the curve, and the same x plus the field's prime, which a careless reader reduces.
    let small = (1..=255).find(|&last| is_key(&with_x(last))).unwrap();
    let off_curve = (1..=255).find(|&last| !is_key(&with_x(last))).unwrap();
    let prime =
        "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffff0000000000000000ffffffff";
    let mut above: Vec<u8> = super::from_hex(prime);
    let low = u64::from_be_bytes(above[40..].try_into().unwrap()) + u64::from(small);
    above[40..].copy_from_slice(&low.to_be_bytes());
    let scalar = p384::SecretKey::from_slice(&*box_key(0xA1).to_bytes()).unwrap();
    let point = p384::elliptic_curve::sec1::ToSec1Point::to_sec1_point(&scalar.public_key(), false);
    let uncompressed = point.as_bytes();
    let good = [text.clone(), tagged(2, &bytes[1..]), base64url::encode(with_x(small))];
    let refused = [
        ("tag 05, another name of the same point to some libraries", tagged(5, &bytes[1..])),
        ("tag 04 before a compressed point", tagged(4, &bytes[1..])),
        ("tag 00", tagged(0, &bytes[1..])),
        ("tag 01", tagged(1, &bytes[1..])),
        ("the identity", base64url::encode([0])),
        ("the identity in 49 bytes", base64url::encode([0; 49])),
        ("not on the curve", base64url::encode(with_x(off_curve))),
        ("x is the field's prime plus the x of a point", tagged(2, &above)),
        ("x is all ones", tagged(2, &[0xFF; 48])),
        ("uncompressed", base64url::encode(uncompressed)),
        ("hybrid", base64url::encode([&[7], &uncompressed[1..]].concat())),
        ("48 bytes", base64url::encode(&bytes[..48])),
        ("50 bytes", base64url::encode([&bytes[..], &[0]].concat())),
        ("nothing", String::new()),
        ("a trailing bit that is not zero", format!("{}x", &text[..65])),
        ("one character short", text[..65].into()),
        ("padding", format!("{text}==")),
        ("the alphabet of plain base64", text.replace('-', "+")),
        ("white space", format!(" {text}")),
        ("a line's end", format!("{text}\n")),
        ("hex", to_hex(&bytes)),
    ];
    for (why, given) in &refused {
        assert!(given.parse::<PublicKey>().is_err(), "{why}");
    }
    good.iter().for_each(|given| assert!(given.parse::<PublicKey>().is_ok()));
    let refused = refused.map(|(why, given)| json!({"given": given, "why": why}));
    let order =
        "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973";
    let private_refused = [
        ("zero", "00".repeat(48)),
        ("the curve's order", order.into()),
        ("all ones", "ff".repeat(48)),
        ("47 bytes", "01".repeat(47)),
        ("49 bytes", "01".repeat(49)),
    ];
    for (why, given) in &private_refused {
        assert!(BoxKey::from_bytes(&super::from_hex(given)).is_err(), "{why}");
    }
    let private_refused = private_refused.map(|(why, given)| json!({"given": given, "why": why}));
    json!({"kind": "keys", "good": good, "refused": refused, "privateRefused": private_refused})
}

// The question

fn question() -> Value {
    let (key, other) = (box_key(0xA1), box_key(0xB1));
    let relay: RelayUrl = RELAY.parse().unwrap();
    let second: RelayUrl = "https://example.com/relay".parse().unwrap();
    let secrets = Secrets::one(&[0x4B; 48]).unwrap();
    // The same byte is `r` and what the ephemeral key is made of.
    let question = ask(&mut Repeat(9), &secrets, &relay, &key.public(), T).unwrap();
    let answer = open_question(&key, &relay, &question).unwrap();

    let aad = |relay: &RelayUrl, key: &PublicKey| {
        let url = relay.as_str().as_bytes();
        [&[0, url.len() as u8], url, key.as_bytes()].concat()
    };
    let own = aad(&relay, &key.public());
    let info = b"connectoid/1 question";
    let sealed = |mode, info: &[u8], aad: &[u8], plaintext: &[u8]| {
        seal::seal(&mut Repeat(9), &key.public(), mode, info, aad, plaintext).unwrap()
    };
    let psk = Mode::Psk { psk: &[7; 48], id: b"connectoid/1 psk" };
    let right = base64url::decode(&question).unwrap();
    let changed = |index: usize, bit: u8| {
        let mut bytes = right.clone();
        bytes[index] ^= bit;
        bytes
    };
    let refused = [
        ("of another relay", ask(&mut Repeat(9), &secrets, &second, &key.public(), T).unwrap()),
        (
            "about another box",
            base64url::encode(sealed(Mode::Base, info, &aad(&relay, &other.public()), &answer.0)),
        ),
        ("sealed to another key", ask(&mut Repeat(9), &secrets, &relay, &other.public(), T).unwrap()),
        (
            "a message",
            base64url::encode(sealed(Mode::Base, b"connectoid/1 message", b"connectoid/1\x01", &answer.0)),
        ),
        ("in PSK mode", base64url::encode(sealed(psk, info, &own, &answer.0))),
        ("55 bytes", base64url::encode(sealed(Mode::Base, info, &own, &answer.0[..55]))),
        ("57 bytes", base64url::encode(sealed(Mode::Base, info, &own, &[&answer.0[..], &[0]].concat()))),
        ("nothing in it", base64url::encode(sealed(Mode::Base, info, &own, b""))),
        ("another version of the sealed form", base64url::encode(changed(0, 3))),
        ("enc off the curve", base64url::encode(changed(97, 1))),
        ("a changed bit", base64url::encode(changed(100, 1))),
        ("a byte short", base64url::encode(&right[..169])),
        ("padding", format!("{question}=")),
        ("empty", String::new()),
    ];
    for (why, question) in &refused {
        assert!(open_question(&key, &relay, question).is_err(), "{why}");
    }
    let refused = refused.map(|(why, question)| json!({"question": question, "why": why}));

    let theirs =
        open_question(&key, &second, &ask(&mut Repeat(9), &secrets, &second, &key.public(), T).unwrap());
    let mut forged = answer;
    forged.0[55] ^= 1;
    let answers = [(answer, T - 6), (answer, T - 5), (answer, T), (answer, T + 60), (answer, T + 61)]
        .into_iter()
        .chain([(theirs.unwrap(), T), (forged, T)])
        .map(|(answer, now)| {
            let verifies = verify(&secrets, std::slice::from_ref(&relay), &key.public(), &answer, now, 60);
            json!({"answer": base64url::encode(answer.0), "now": now, "verifies": verifies})
        });
    json!({
        "kind": "question", "sk": to_hex(&*key.to_bytes()), "pub": key.public(), "relay": RELAY,
        "K": "4b".repeat(48), "t": T, "r": "09".repeat(16), "ikmE": "09".repeat(48),
        "question": question, "answer": base64url::encode(answer.0),
        "refused": refused, "answers": answers.collect::<Vec<_>>(),
    })
}

// Messages

/// A box: Alice's and Bob's have a secret, Carol's has none.
struct Owner {
    name: &'static str,
    key: BoxKey,
    secret: Option<LinkSecret>,
}

fn owners() -> [Owner; 3] {
    [("alice", 0xA1, Some(7)), ("bob", 0xB1, Some(8)), ("carol", 0xC1, None)].map(|(name, key, byte)| Owner {
        name,
        key: box_key(key),
        secret: byte.map(secret),
    })
}

impl Owner {
    fn connectoid(&self) -> Connectoid {
        let relays = vec![RELAY.parse().unwrap()];
        Connectoid { key: self.key.public(), relays, ext: None, secret: self.secret.clone() }
    }

    fn psk(&self) -> Option<[u8; 48]> {
        let key = self.key.public();
        self.secret.as_ref().map(|secret| hkdf384(b"connectoid/1 psk", secret.expose(), key.as_bytes()))
    }

    /// Seals a plaintext as messages are, whatever it is.
    fn seal(&self, ephemeral: u8, plaintext: &[u8]) -> Vec<u8> {
        let psk = self.psk();
        let mode = match &psk {
            Some(psk) => Mode::Psk { psk, id: b"connectoid/1 psk" },
            None => Mode::Base,
        };
        let (info, aad) = (b"connectoid/1 message", b"connectoid/1\x01");
        seal::seal(&mut Repeat(ephemeral), &self.key.public(), mode, info, aad, plaintext).unwrap()
    }
}

fn sdp(setup: &str, byte: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
         m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=ice-ufrag:abcd\r\n\
         a=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=fingerprint:sha-256 {}\r\na=setup:{setup}\r\na=sctp-port:5000\r\n",
        [byte; 32].join(":")
    )
}

/// Bob's offer, made of rO = 32 × 0x0B, and the answer to it, with rA = 32 × 0x0A.
fn offer_and(re: OfferHash) -> [Content; 2] {
    let [_, bob, _] = owners();
    let commit = sas_commit(&[0x0B; 32], &bob.key.public(), &signing_key(0xB2).public());
    [
        Content::Offer(Offer { connectoid: bob.connectoid(), sas_commit: commit, sdp: sdp("actpass", "5B") }),
        Content::Answer(SdpAnswer { re, sas_nonce: [0x0A; 32], sdp: sdp("active", "5A") }),
    ]
}

fn messages() -> Value {
    let owners = owners();
    let (bob, stranger) = (signing_key(0xB2), signing_key(0xD2));
    let mut good = Vec::new();
    for owner in [&owners[0], &owners[2]] {
        let seal = |n: u64, content: &Content| {
            let rng = &mut Repeat(0xE0 + u8::try_from(n % 16).unwrap());
            seal_message(rng, &owner.key.public(), owner.secret.as_ref(), &bob, n, TS, content).unwrap()
        };
        let [offer, _] = offer_and(OfferHash::of(b""));
        let re = OfferHash::of(&seal(1, &offer).payload);
        let [_, answer] = offer_and(re);
        let line = "candidate:465496082 1 udp 2113937151 192.0.2.10 40431 typ host";
        let candidates = vec![
            json!({"candidate": line, "sdpMLineIndex": 0, "sdpMid": "0"}),
            json!({"candidate": "", "sdpMLineIndex": null, "sdpMid": "0"}),
        ];
        let big = Content::Offer(Offer {
            sdp: sdp("actpass", "5B") + &format!("a={line}\r\n").repeat(30),
            ..match offer.clone() {
                Content::Offer(offer) => offer,
                other => panic!("{other:?}"),
            }
        });
        for (n, content) in [
            (1, offer),
            (2, answer),
            (3, Content::Candidate { re, candidates }),
            (4, Content::Refuse { re, reason: Reason::LinkUsed }),
            (5, Content::Refuse { re, reason: Reason::Declined }),
            (6, Content::Bye),
            (7, Content::Note("hello ✉".into())),
            (8, Content::Note(vec![])),
            (9, big),
            ((1 << 53) - 1, Content::Note((0..=255).cycle().take(8892).collect())),
        ] {
            let sealed = seal(n, &content);
            let carried = !matches!(content, Content::Candidate { .. } | Content::Bye);
            let known = |_: Option<&OfferHash>| (!carried).then(|| bob.public());
            let opened = open_message(&owner.key, owner.secret.as_ref(), known, &sealed.data).unwrap();
            assert!(opened.payload == sealed.payload && opened.content == content && opened.n == n);
            good.push(json!({
                "to": owner.name, "typ": content.typ(), "n": n, "known": (!carried).then(|| bob.public()),
                "ikmE": to_hex(&[0xE0 + u8::try_from(n % 16).unwrap(); 48]),
                "payload": String::from_utf8_lossy(&sealed.payload), "data": base64url::encode(sealed.data),
            }));
        }
    }
    let boxes: serde_json::Map<_, _> = owners
        .iter()
        .map(|owner| {
            let secret = owner.secret.as_ref().map(|secret| to_hex(secret.expose()));
            let psk = owner.psk().map(|psk| to_hex(&psk));
            let sk = to_hex(&*owner.key.to_bytes());
            (
                owner.name.to_owned(),
                json!({"sk": sk, "pub": owner.key.public(), "secret": secret, "psk": psk}),
            )
        })
        .collect();
    let signer = |key: &SigningKey| json!({"sk": to_hex(&*key.to_bytes()), "ik": key.public()});
    let refused: Vec<Value> = refused_messages(&owners, &bob, &stranger);
    json!({
        "kind": "messages", "boxes": boxes, "signers": {"bob": signer(&bob), "stranger": signer(&stranger)},
        "ts": TS, "good": good, "refused": refused,
    })
}

/// A message to refuse: as it came, or, to keep the file small, what stands in a right seal before right padding.
enum Bad {
    Data(Vec<u8>),
    Envelope(String),
}

/// Messages that are right but for one thing.
fn refused_messages(owners: &[Owner; 3], bob: &SigningKey, stranger: &SigningKey) -> Vec<Value> {
    let mut all = Vec::new();
    let [alice, other, carol] = owners;
    let ik = bob.public();
    let padded = |envelope: &str, size: usize| {
        let mut plaintext = [&(envelope.len() as u32).to_be_bytes(), envelope.as_bytes()].concat();
        plaintext.resize(size, 0);
        plaintext
    };
    let mut add = |name: &str, junk: Junk, owner: &Owner, known: Option<PublicKey>, message: Bad| {
        let data = match &message {
            Bad::Data(data) => data.clone(),
            Bad::Envelope(envelope) => owner.seal(0xEE, &padded(envelope, 3982)),
        };
        let opened = open_message(&owner.key, owner.secret.as_ref(), |_| known, &data);
        assert_eq!(opened.err(), Some(junk), "{name}");
        let mut entry = json!({"name": name, "why": junk_name(junk), "to": owner.name, "known": known});
        match message {
            Bad::Data(data) => entry["data"] = base64url::encode(data).into(),
            Bad::Envelope(envelope) => entry["envelope"] = envelope.into(),
        }
        all.push(entry);
    };
    let envelope = |payload: &[u8], by: &SigningKey| {
        let payload = base64url::encode(payload);
        let signed = [b"connectoid/1 sig\0", payload.as_bytes()].concat();
        let sig = base64url::encode(by.sign(&signed));
        format!(r#"{{"alg":"ES384","payload":"{payload}","sig":"{sig}"}}"#)
    };
    let seal_to = |owner: &Owner, content: &Content| {
        seal_message(&mut Repeat(0xEE), &owner.key.public(), owner.secret.as_ref(), bob, 1, TS, content)
            .unwrap()
    };
    let note = Content::Note(b"hello".into());
    let right = seal_to(alice, &note);
    let payload = String::from_utf8(right.payload.to_vec()).unwrap();
    let right_envelope = envelope(payload.as_bytes(), bob);
    assert_eq!(alice.seal(0xEE, &padded(&right_envelope, 3982)), right.data);

    // 1 to 3: the seal, the size, the padding.
    let key = alice.key.public();
    let base = seal_message(&mut Repeat(0xEE), &key, None, bob, 1, TS, &note).unwrap();
    add("base mode to a box with a secret", Junk::Seal, alice, None, Bad::Data(base.data));
    let psk =
        seal_message(&mut Repeat(0xEE), &carol.key.public(), Some(&secret(7)), bob, 1, TS, &note).unwrap();
    add("PSK mode to a box without a secret", Junk::Seal, carol, None, Bad::Data(psk.data));
    let wrong = seal_message(&mut Repeat(0xEE), &key, Some(&secret(9)), bob, 1, TS, &note).unwrap();
    add("another secret", Junk::Seal, alice, None, Bad::Data(wrong.data));
    add("sealed to another box", Junk::Seal, alice, None, Bad::Data(seal_to(other, &note).data));
    let psk = alice.psk().unwrap();
    let mode = Mode::Psk { psk: &psk, id: b"connectoid/1 psk" };
    let plaintext = padded(&right_envelope, 3982);
    for (name, info, aad) in [
        ("the info of a question", b"connectoid/1 question".as_slice(), b"connectoid/1\x01".as_slice()),
        ("another aad", b"connectoid/1 message", b"connectoid/1\x02"),
    ] {
        let sealed = seal::seal(&mut Repeat(0xEE), &key, mode, info, aad, &plaintext).unwrap();
        add(name, Junk::Seal, alice, None, Bad::Data(sealed));
    }
    let mode = Mode::Psk { psk: &psk, id: b"connectoid/1" };
    let sealed_id =
        seal::seal(&mut Repeat(0xEE), &key, mode, b"connectoid/1 message", b"connectoid/1\x01", &plaintext);
    add("another psk_id", Junk::Seal, alice, None, Bad::Data(sealed_id.unwrap()));
    let mut changed = right.data.clone();
    changed[4095] ^= 1;
    add("a changed bit", Junk::Seal, alice, None, Bad::Data(changed));
    let mut changed = right.data.clone();
    changed[0] = 2;
    add("another version of the sealed form", Junk::Seal, alice, None, Bad::Data(changed));
    add("a byte short", Junk::Seal, alice, None, Bad::Data(right.data[..4095].to_vec()));
    for (name, size) in [("4095 bytes", 3981), ("4097 bytes", 3983), ("8191 bytes", 8077)] {
        add(name, Junk::Size, alice, None, Bad::Data(alice.seal(0xEE, &padded(&right_envelope, size))));
    }
    for (name, at) in
        [("a last byte that is not zero", 3981), ("padding that begins with 01", 4 + right_envelope.len())]
    {
        let mut plaintext = plaintext.clone();
        plaintext[at] = 1;
        add(name, Junk::Padding, alice, None, Bad::Data(alice.seal(0xEE, &plaintext)));
    }

    // 4: the envelope.
    let mut longer = plaintext.clone();
    longer[..4].copy_from_slice(&3979_u32.to_be_bytes());
    add(
        "an envelope longer than the message",
        Junk::Envelope,
        alice,
        None,
        Bad::Data(alice.seal(0xEE, &longer)),
    );
    let swap = |from: &str, to: &str| {
        assert!(right_envelope.contains(from));
        right_envelope.replacen(from, to, 1)
    };
    for (name, junk, envelope) in [
        ("no envelope", Junk::Envelope, String::new()),
        ("an envelope that is a list", Junk::Envelope, r#"["ES384","",""]"#.into()),
        ("alg twice", Junk::Envelope, swap("{", r#"{"alg":"ES384","#)),
        ("an unknown name twice", Junk::Envelope, swap("{", r#"{"x":1,"x":1,"#)),
        ("a name twice deep inside", Junk::Envelope, swap("{", r#"{"x":[{"y":1,"y":1}],"#)),
        ("something after the envelope", Junk::Envelope, right_envelope.clone() + "{}"),
        ("no alg", Junk::Envelope, swap("alg", "was")),
        ("alg null", Junk::Envelope, swap(r#""ES384""#, "null")),
        ("alg none", Junk::Alg, swap("ES384", "none")),
        ("alg es384", Junk::Alg, swap("ES384", "es384")),
        ("alg ES256", Junk::Alg, swap("ES384", "ES256")),
        ("alg HS384", Junk::Alg, swap("ES384", "HS384")),
        ("no payload", Junk::Envelope, swap(r#""payload""#, r#""was""#)),
        ("payload with padding", Junk::Envelope, swap(r#"","sig""#, r#"=","sig""#)),
        ("no sig", Junk::Envelope, swap(r#""sig""#, r#""was""#)),
        ("an empty sig", Junk::Signature, swap(r#""sig":""#, r#""sig":"","was":""#)),
        (
            "a sig of zeros",
            Junk::Signature,
            swap(r#""sig":""#, &format!(r#""sig":"{}","was":""#, "A".repeat(128))),
        ),
        ("a sig of 99 bytes", Junk::Signature, swap(r#""sig":""#, r#""sig":"AAAA"#)),
    ] {
        add(name, junk, alice, None, Bad::Envelope(envelope));
    }

    // 5: the signature.
    add(
        "signed by another key",
        Junk::Signature,
        alice,
        None,
        Bad::Envelope(envelope(payload.as_bytes(), stranger)),
    );
    let field = base64url::encode(&payload);
    for (name, signed) in [
        ("signed without the label", field.clone().into_bytes()),
        (
            "signed under a label without its zero",
            [b"connectoid/1 sig".as_slice(), field.as_bytes()].concat(),
        ),
        ("signed over the decoded payload", [b"connectoid/1 sig\0".as_slice(), payload.as_bytes()].concat()),
    ] {
        let sig = base64url::encode(bob.sign(&signed));
        let envelope = format!(r#"{{"alg":"ES384","payload":"{field}","sig":"{sig}"}}"#);
        add(name, Junk::Signature, alice, None, Bad::Envelope(envelope));
    }

    // 5 to 9, payloads that are signed.
    let [offer, _] = offer_and(OfferHash::of(b""));
    let re = OfferHash::of(&seal_to(alice, &offer).payload);
    let [_, answer] = offer_and(re);
    let candidate = Content::Candidate { re, candidates: vec![json!({"candidate": ""})] };
    let refuse = Content::Refuse { re, reason: Reason::LinkUsed };
    let to = |key: &PublicKey| format!(r#""to":"{key}""#);
    let line = format!("a=fingerprint:sha-256 {}", ["5B"; 32].join(":"));
    let bye_of_stranger = format!(r#""ik":"{}","v":1"#, stranger.public());
    let rewritten = |content: &Content, from: &str, to: &str| {
        let payload = String::from_utf8(seal_to(alice, content).payload.to_vec()).unwrap();
        assert!(payload.contains(from), "{from} is not in {payload}");
        payload.replacen(from, to, 1)
    };
    for (name, junk, content, from, to) in [
        ("v 2", Junk::Version, &note, r#""v":1"#, r#""v":2"#),
        ("v 0", Junk::Version, &note, r#""v":1"#, r#""v":0"#),
        ("v text", Junk::Envelope, &note, r#""v":1"#, r#""v":"1""#),
        ("v with a fraction", Junk::Envelope, &note, r#""v":1"#, r#""v":1.0"#),
        ("v with an exponent", Junk::Envelope, &note, r#""v":1"#, r#""v":1e0"#),
        ("v twice", Junk::Envelope, &note, r#""v":1"#, r#""v":1,"v":1"#),
        ("v twice, once with an escape", Junk::Envelope, &note, r#""v":1"#, r#""v":1,"\u0076":1"#),
        ("an unknown field twice", Junk::Envelope, &note, r#""v":1"#, r#""x":1,"x":1,"v":1"#),
        ("a lone surrogate", Junk::Envelope, &note, r#""v":1"#, r#""x":"\ud800","v":1"#),
        ("a number that JSON does not have", Junk::Envelope, &note, r#""v":1"#, r#""x":NaN,"v":1"#),
        ("no v", Junk::Envelope, &note, r#""v":1,"#, ""),
        ("no typ", Junk::Envelope, &note, r#""typ":"note","#, ""),
        ("typ null", Junk::Envelope, &note, r#""note""#, "null"),
        ("an unknown typ", Junk::Type, &note, r#""note""#, r#""later""#),
        ("typ in capitals", Junk::Type, &note, r#""note""#, r#""Note""#),
        ("to another box", Junk::Address, &note, &to(&key), &to(&other.key.public())),
        ("to in another spelling", Junk::Envelope, &note, r#"j0hw""#, r#"j0hx""#),
        ("no to", Junk::Envelope, &note, r#""to":"#, r#""was":"#),
        ("no ik", Junk::Envelope, &note, r#""ik":"#, r#""was":"#),
        ("ik null", Junk::Envelope, &note, &format!(r#""{ik}""#), "null"),
        ("ik in another spelling", Junk::Envelope, &note, r#"n9RCA""#, r#"n9RCB""#),
        ("n of 2^53", Junk::Envelope, &note, r#""n":1"#, r#""n":9007199254740992"#),
        ("n below zero", Junk::Envelope, &note, r#""n":1"#, r#""n":-1"#),
        ("n minus zero", Junk::Envelope, &note, r#""n":1"#, r#""n":-0"#),
        ("n text", Junk::Envelope, &note, r#""n":1"#, r#""n":"1""#),
        ("no n", Junk::Envelope, &note, r#""n":1,"#, ""),
        ("ts of 2^53", Junk::Envelope, &note, "1795170000000", "9007199254740992"),
        ("no ts", Junk::Envelope, &note, r#""ts":"#, r#""was":"#),
        ("note with a trailing bit", Junk::Envelope, &note, "aGVsbG8", "aGVsbG9"),
        ("no note", Junk::Envelope, &note, r#""note":"#, r#""text":"#),
        (
            "an offer whose connectoid has no secret",
            Junk::Envelope,
            &offer,
            "..AQgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI",
            "",
        ),
        ("an offer whose connectoid is of another version", Junk::Envelope, &offer, "AQgI", "AggI"),
        ("an offer whose connectoid is cut", Junk::Envelope, &offer, "gICAgI\"", "\""),
        (
            "an offer to a relay without encryption",
            Junk::Envelope,
            &offer,
            "aHR0cHM6Ly9jb25uZWN0by5pZA",
            "aHR0cDovL2Nvbm5lY3RvLmlk",
        ),
        ("an offer without connectoid", Junk::Envelope, &offer, "connectoid", "was"),
        (
            "an offer whose sasCommit is short",
            Junk::Envelope,
            &offer,
            r#""sasCommit":"oYbs"#,
            r#""sasCommit":""#,
        ),
        ("an offer with an answer's sdp", Junk::Envelope, &offer, "sdpOffer", "sdpAnswer"),
        (
            "an offer whose sdp is of type answer",
            Junk::Envelope,
            &offer,
            r#""type":"offer""#,
            r#""type":"answer""#,
        ),
        ("an offer whose sdp is a list", Junk::Envelope, &offer, r#"{"type":"offer","sdp":"#, r#"["offer","#),
        ("an offer without a fingerprint", Junk::Envelope, &offer, "sha-256", "sha-1"),
        (
            "an offer with two fingerprints",
            Junk::Envelope,
            &offer,
            &line,
            &format!(r"{line}\r\n{}", line.replace("5B", "5A")),
        ),
        ("an answer without re", Junk::Envelope, &answer, r#""re":"#, r#""was":"#),
        ("an answer whose re is short", Junk::Envelope, &answer, r#""sasNonce":"CgoK"#, r#""sasNonce":""#),
        ("an answer of type pranswer", Junk::Envelope, &answer, r#""type":"answer""#, r#""type":"pranswer""#),
        ("a candidate without candidates", Junk::Envelope, &candidate, r#"[{"candidate":""}]"#, "[]"),
        ("a candidate with 33", Junk::Envelope, &candidate, "[{", &format!("[{}{{", "{},".repeat(32))),
        ("a candidate that is text", Junk::Envelope, &candidate, r#"[{"candidate":""}]"#, r#"["candidate"]"#),
        ("a candidate without re", Junk::Envelope, &candidate, r#""re":"#, r#""was":"#),
        ("a refuse with another reason", Junk::Envelope, &refuse, "link-used", "used"),
        ("a refuse without reason", Junk::Envelope, &refuse, "reason", "was"),
        ("a bye without n", Junk::Envelope, &Content::Bye, r#""n":1,"#, ""),
        // Two faults: the one that is checked first.
        ("v 2 of an unknown typ", Junk::Version, &note, r#"1,"typ":"note""#, r#"2,"typ":"later""#),
    ] {
        let known = matches!(content, Content::Candidate { .. } | Content::Bye).then_some(ik);
        add(name, junk, alice, known, Bad::Envelope(envelope(rewritten(content, from, to).as_bytes(), bob)));
    }
    for (name, list) in [("a payload that is a list", "[]"), ("a payload that is no JSON", "hello")] {
        add(name, Junk::Envelope, alice, None, Bad::Envelope(envelope(list.as_bytes(), bob)));
    }
    let not_unicode = [payload.as_bytes().strip_suffix(b"}").unwrap(), b",\"x\":\"\xFF\"}"].concat();
    add(
        "a payload that is not UTF-8",
        Junk::Envelope,
        alice,
        None,
        Bad::Envelope(envelope(&not_unicode, bob)),
    );
    for content in [&candidate, &Content::Bye] {
        let typ = content.typ();
        let right = envelope(&seal_to(alice, content).payload, bob);
        add(
            &format!("{typ} of nobody known"),
            Junk::UnknownSigner,
            alice,
            None,
            Bad::Envelope(right.clone()),
        );
        add(
            &format!("{typ} of another than the known key"),
            Junk::Signature,
            alice,
            Some(stranger.public()),
            Bad::Envelope(right),
        );
        let forged = rewritten(content, r#""v":1"#, &bye_of_stranger);
        let forged = envelope(forged.as_bytes(), stranger);
        add(
            &format!("{typ} that brings its own ik"),
            Junk::Signature,
            alice,
            Some(ik),
            Bad::Envelope(forged.clone()),
        );
        add(
            &format!("{typ} that brings its own ik, of nobody known"),
            Junk::UnknownSigner,
            alice,
            None,
            Bad::Envelope(forged),
        );
    }
    all
}

// What follows from an offer and its answer

fn connections() -> Value {
    let owners = owners();
    let connections = [&owners[0], &owners[2]].map(|sharer| {
        let [_, bob, _] = &owners;
        let seal = |to: &Owner, by: u8, ts, content: &Content| {
            let key = to.key.public();
            seal_message(&mut Repeat(0xEF), &key, to.secret.as_ref(), &signing_key(by), 1, ts, content).unwrap()
        };
        let [offer, _] = offer_and(OfferHash::of(b""));
        let offer = seal(sharer, 0xB2, TS, &offer).payload;
        let [_, answer] = offer_and(OfferHash::of(&offer));
        let answer = seal(bob, 0xA2, TS + 1000, &answer).payload;

        let (secret_o, secret_a) = (sharer.secret.clone(), bob.secret.clone().unwrap());
        let transcript = Transcript::new(&offer, &answer, secret_o.as_ref(), &secret_a);
        let (r_o, r_a) = ([0x0B; 32], [0x0A; 32]);
        let (nonce_o, nonce_a) = ([0x1B; 32], [0x1A; 32]);
        let (fp_o, fp_a) = (Fingerprint([0x5B; 32]), Fingerprint([0x5A; 32]));
        let sas = transcript.sas(&r_o, &r_a);
        let commit = sas_commit(&r_o, &bob.key.public(), &signing_key(0xB2).public());
        let proof_o = transcript.proof(Role::Offerer, &nonce_a, &nonce_o, &fp_o, &fp_a);
        let proof_a = transcript.proof(Role::Answerer, &nonce_o, &nonce_a, &fp_a, &fp_o);

        let th = Sha384::new_with_prefix("connectoid/1 transcript")
            .chain_update((offer.len() as u32).to_be_bytes())
            .chain_update(&offer)
            .chain_update((answer.len() as u32).to_be_bytes())
            .chain_update(&answer)
            .finalize();
        let zeros = secret(0);
        let secrets = [*secret_o.as_ref().unwrap_or(&zeros).expose(), *secret_a.expose()].concat();
        let kdc = hkdf384(&th, &secrets, b"connectoid/1 dc");

        let other = Transcript::new(&offer, &answer, Some(&secret(9)), &secret_a);
        let fp_m = Fingerprint([0x5D; 32]);
        let refused = [
            ("the answerer's own, sent back", proof_a),
            ("of another secret", other.proof(Role::Offerer, &nonce_a, &nonce_o, &fp_o, &fp_a)),
            ("of another connection of the same two", transcript.proof(Role::Offerer, &[0x2A; 32], &nonce_o, &fp_o, &fp_a)),
            ("with another certificate of the offerer", transcript.proof(Role::Offerer, &nonce_a, &nonce_o, &fp_m, &fp_a)),
            ("with another certificate of the answerer", transcript.proof(Role::Offerer, &nonce_a, &nonce_o, &fp_o, &fp_m)),
            ("with own and peer the wrong way round", transcript.proof(Role::Offerer, &nonce_o, &nonce_a, &fp_a, &fp_o)),
        ];
        for (why, mac) in &refused {
            assert!(!transcript.proves(Role::Offerer, &nonce_a, &nonce_o, &fp_o, &fp_a, mac), "{why}");
        }
        let refused = refused.map(|(why, mac)| json!({"why": why, "mac": to_hex(&mac)}));
        json!({
            "offer": String::from_utf8_lossy(&offer), "answer": String::from_utf8_lossy(&answer),
            "secretO": secret_o.map(|secret| to_hex(secret.expose())), "secretA": to_hex(secret_a.expose()),
            "TH": to_hex(&th), "Kdc": to_hex(&kdc),
            "rO": to_hex(&r_o), "rA": to_hex(&r_a), "sasCommit": to_hex(&commit),
            "sas": {
                "raw": to_hex(&sas.to_bytes()), "numbers": sas.numbers().to_vec(),
                "emoji": sas.emoji().map(|emoji| emoji.symbol).join(" "),
                "names": sas.emoji().map(|emoji| emoji.name).join(" "),
            },
            "fpO": to_hex(&fp_o.0), "fpA": to_hex(&fp_a.0), "nonceO": to_hex(&nonce_o), "nonceA": to_hex(&nonce_a),
            "proofO": to_hex(&proof_o), "proofA": to_hex(&proof_a), "refusedFromOfferer": refused,
        })
    });
    json!({"kind": "connections", "connections": connections})
}

fn sdps() -> Value {
    let line = |hash: &str, byte: &str| format!("a=fingerprint:{hash} {}\r\n", [byte; 32].join(":"));
    let one = line("sha-256", "5B");
    let sdps = [
        one.clone(),
        one.trim_end().to_owned(),
        one.replace("\r\n", "\n"),
        format!("v=0\r\n{one}m=audio 9 RTP/AVP 0\r\n{one}"),
        line("sha-256", "5b") + &one,
        line("SHA-256", "5B"),
        line("sha-512", "01") + &one + &line("sha-1", "02"),
        String::new(),
        line("sha-512", "5B"),
        format!("{one}{}", line("sha-256", "5A")),
        format!("{one}{}", line("SHA-256", "5A")),
        format!("{one}a=fingerprint:sha-256 5A\r\n"),
        format!("{one}a=fingerprint:sha-256\r\n"),
        one.replacen("5B:", "", 1),
        one.replacen("5B:", "5B:5B:", 1),
        one.replacen("5B:", "5:", 1),
        one.replacen("\r\n", " \r\n", 1),
        one.replacen("sha-256 ", "sha-256  ", 1),
        one.replace(':', ""),
        format!(" {one}"),
    ];
    let sdps = sdps.map(|sdp| {
        let found = Fingerprint::of_sdp(&sdp).map(|fingerprint| to_hex(&fingerprint.0));
        json!({"sdp": sdp, "fingerprint": found})
    });
    json!({"kind": "sdp", "sdps": sdps})
}

fn frames() -> Value {
    let [alice, ..] = owners();
    let text = |frame: Frame| frame.to_text().to_string();
    let hello = text(Frame::Hello { nonce: [0x1B; 32], r: Some([0x0B; 32]) });
    let other_hello = text(Frame::Hello { nonce: [0x1A; 32], r: None });
    let proof = text(Frame::Proof { mac: [0x6C; 48] });
    let rekey = text(Frame::Rekey { connectoid: alice.connectoid() });
    let rekey_ok = text(Frame::RekeyOk { key: alice.key.public() });
    let good = [
        hello.clone(),
        other_hello.clone(),
        proof.clone(),
        rekey.clone(),
        rekey_ok.clone(),
        // As others may write them.
        hello.replace(r#""v""#, r#" "later" : {"a":[1.5,null]} , "v""#),
        rekey_ok.replace(r#"{"t":"rekey-ok","#, "{").replace('}', r#","t":"rekey\u002dok"}"#),
        format!("{proof}{}", " ".repeat(16_384 - proof.len())),
    ];
    let good = good.map(|given| {
        let frame = Frame::parse(&given).unwrap();
        let written = text(frame.clone());
        let fields = match frame {
            Frame::Hello { nonce, r } => {
                json!({"t": "hello", "nonce": to_hex(&nonce), "r": r.map(|r| to_hex(&r))})
            }
            Frame::Proof { mac } => json!({"t": "proof", "mac": to_hex(&mac)}),
            Frame::Rekey { connectoid } => json!({"t": "rekey", "connectoid": connectoid.to_string()}),
            Frame::RekeyOk { key } => json!({"t": "rekey-ok", "pub": key}),
        };
        json!({"given": given, "written": written, "fields": fields})
    });
    let swap = |frame: &str, from: &str, to: &str| {
        assert!(frame.contains(from), "{from} is not in {frame}");
        frame.replacen(from, to, 1)
    };
    let refused = [
        String::new(),
        "hello".into(),
        "null".into(),
        "{}".into(),
        r#"["hello",1]"#.into(),
        r#"{"t":1}"#.into(),
        r#"{"t":"later"}"#.into(),
        r#"{"t":"Hello"}"#.into(),
        r#"{"t":"later","a":1,"a":2}"#.into(),
        format!("{proof}{}", " ".repeat(16_385 - proof.len())),
        format!("{proof}{proof}"),
        swap(&hello, r#""v":1"#, r#""v":2"#),
        swap(&hello, r#""v":1,"#, ""),
        swap(&hello, r#""v":1"#, r#""v":"1""#),
        swap(&hello, r#""v":1"#, r#""v":1.0"#),
        swap(&hello, r#""v":1"#, r#""v":1,"v":1"#),
        swap(&hello, r#""v":1"#, r#""v":1,"x":[{"y":1,"y":1}]"#),
        swap(&hello, r#""nonce":"#, r#""Nonce":"#),
        swap(&hello, "Gxs", ""),
        swap(&hello, r#"Gxs","r""#, r#"Gxt","r""#),
        swap(&hello, r#""CwsLCwsLCwsLCwsLCwsLCwsLCwsLCwsLCwsLCwsLCws""#, "null"),
        swap(&hello, "CwsL", ""),
        swap(&proof, "bGxs", ""),
        swap(&proof, "mac", "tag"),
        swap(&rekey, "..AQcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH", ""),
        swap(&rekey, "AQcH", "AgcH"),
        swap(&rekey, "connectoid", "link"),
        swap(&rekey_ok, "A3cF", "BXcF"),
        swap(&rekey_ok, "pub", "key"),
    ];
    let refused = refused.map(|given| {
        let why = frame_fault(Frame::parse(&given).unwrap_err());
        json!({"given": given, "why": why})
    });
    json!({"kind": "frames", "good": good, "refused": refused})
}
