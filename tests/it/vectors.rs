//! The published vectors, MLS's for the same suite, and the second implementation: what three wrote must agree.

use std::{fs, path::Path};

use connectoid::{
    protocol::{Answer, Connectoid, Ext, Fingerprint, LinkSecret, Place, RelayUrl, base64url, make_link},
    seal::{
        self, BoxKey, Mode, SigningKey,
        message::{Content, Junk, OfferHash, open_message, seal_message},
        question::{Secrets, ask, open_question, verify},
        transcript::{Role, Transcript, sas_commit},
    },
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};

use crate::harness::{Peer, stderr, stdout};

mod make;

fn vectors(name: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(path(name)).unwrap()).unwrap()
}

fn path(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name).display().to_string()
}

fn text<'a>(vectors: &'a Value, pointer: &str) -> &'a str {
    vectors.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no {pointer}"))
}

fn hex(vectors: &Value, pointer: &str) -> Vec<u8> {
    from_hex(text(vectors, pointer))
}

fn from_hex(digits: &str) -> Vec<u8> {
    (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap()).collect()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn keys_and_link() {
    let vectors = vectors("connectoid-1.json");
    for (name, seed) in [("/skA", 0xA1), ("/skB", 0xB1), ("/sigA", 0xA2), ("/sigB", 0xB2)] {
        assert_eq!(&seal::derive_box_key(&[seed; 48]).unwrap().to_bytes()[..], hex(&vectors, name), "{name}");
    }
    let link: Connectoid = text(&vectors, "/link").parse().unwrap();
    assert_eq!(link.to_string(), text(&vectors, "/link"));
    assert_eq!(link.key, BoxKey::from_bytes(&hex(&vectors, "/skA")).unwrap().public());
    assert_eq!(link.relays.len(), 1);
    assert_eq!(link.relays[0].as_str(), "https://connecto.id");
    assert_eq!(*link.secret.unwrap().expose(), [7; 32]);
}

#[test]
fn question() {
    let vectors = vectors("connectoid-1.json");
    let key = BoxKey::from_bytes(&hex(&vectors, "/skA")).unwrap();
    let relay: RelayUrl = text(&vectors, "/relay").parse().unwrap();
    let answer = open_question(&key, &relay, text(&vectors, "/question/question")).unwrap();
    assert_eq!(base64url::encode(answer.0), text(&vectors, "/question/answer"));

    let secrets = Secrets::one(&hex(&vectors, "/question/K")).unwrap();
    let verifies =
        |answer| verify(&secrets, std::slice::from_ref(&relay), &key.public(), &answer, 1_795_170_000, 60);
    assert!(verifies(answer));
    let mut other = answer;
    other.0[55] ^= 1;
    assert!(!verifies(other));
}

#[test]
fn messages_in_psk_mode() {
    let vectors = vectors("connectoid-1.json");
    for (kind, key, secret, signer) in
        [("offer", "/skA", [7; 32], "/sigB"), ("answer", "/skB", [8; 32], "/sigA")]
    {
        let key = BoxKey::from_bytes(&hex(&vectors, key)).unwrap();
        let secret = LinkSecret::from_bytes(secret);
        let sealed = base64url::decode(text(&vectors, &format!("/{kind}/data"))).unwrap();
        let opened = open_message(&key, Some(&secret), |_| None, &sealed).unwrap();
        assert_eq!(*opened.payload, text(&vectors, &format!("/{kind}/payload")).as_bytes());
        assert_eq!(opened.content.typ(), kind);
        assert_eq!(opened.ik, SigningKey::from_bytes(&hex(&vectors, signer)).unwrap().public());
        assert_eq!(opened.n, 1);
        assert_eq!(open_message(&key, None, |_| None, &sealed), Err(Junk::Seal));
    }
}

/// Offer and answer as they came, then everything that follows from them.
#[test]
fn connection() {
    let vectors = vectors("connectoid-1.json");
    let exactly = |name: &str| <[u8; 32]>::try_from(hex(&vectors, name)).unwrap();
    let (offer_payload, answer_payload) =
        (text(&vectors, "/offer/payload"), text(&vectors, "/answer/payload"));
    let open = |key: &str, secret: &LinkSecret, data: &str| {
        let key = BoxKey::from_bytes(&hex(&vectors, key)).unwrap();
        open_message(&key, Some(secret), |_| None, &base64url::decode(text(&vectors, data)).unwrap()).unwrap()
    };
    let (secret_o, secret_a) = (LinkSecret::from_bytes([7; 32]), LinkSecret::from_bytes([8; 32]));
    let opened = open("/skA", &secret_o, "/offer/data");
    let (Content::Offer(offer), Content::Answer(answer)) =
        (opened.content, open("/skB", &secret_a, "/answer/data").content)
    else {
        panic!("an offer and an answer")
    };
    assert_eq!(answer.re, OfferHash::of(offer_payload.as_bytes()));
    let (r_o, r_a) = (exactly("/rO"), answer.sas_nonce);
    assert_eq!(r_a, [0x0A; 32]);
    assert_eq!(sas_commit(&r_o, &offer.connectoid.key, &opened.ik), offer.sas_commit);

    let transcript =
        Transcript::new(offer_payload.as_bytes(), answer_payload.as_bytes(), Some(&secret_o), &secret_a);
    let sas = transcript.sas(&r_o, &r_a);
    assert_eq!(sas.to_bytes(), *hex(&vectors, "/sas/raw"));
    assert_eq!(sas.emoji().map(|emoji| emoji.symbol).join(" "), text(&vectors, "/sas/emoji"));
    assert_eq!(Value::from(sas.numbers().to_vec()), vectors["sas"]["numbers"]);

    let (fp_o, fp_a) = (Fingerprint::of_sdp(&offer.sdp).unwrap(), Fingerprint::of_sdp(&answer.sdp).unwrap());
    assert_eq!((fp_o.0, fp_a.0), (exactly("/fpO"), exactly("/fpA")));
    let (nonce_o, nonce_a) = (exactly("/nonceO"), exactly("/nonceA"));
    let proof_o = transcript.proof(Role::Offerer, &nonce_a, &nonce_o, &fp_o, &fp_a);
    let proof_a = transcript.proof(Role::Answerer, &nonce_o, &nonce_a, &fp_a, &fp_o);
    assert_eq!((&proof_o[..], &proof_a[..]), (&*hex(&vectors, "/proofO"), &*hex(&vectors, "/proofA")));
    assert!(transcript.proves(Role::Offerer, &nonce_a, &nonce_o, &fp_o, &fp_a, &proof_o));
    assert!(!transcript.proves(Role::Offerer, &nonce_a, &nonce_o, &fp_o, &fp_a, &proof_a));
}

/// Vectors of others for our suite, since RFC 9180 has none for P-384: RFC 9420's EncryptWithLabel is a base-mode seal.
#[test]
fn mls_opens() {
    let vectors = vectors("mls-encrypt-with-label.json");
    let bytes = |name: &str| hex(&vectors, &format!("/encrypt_with_label/{name}"));
    // MLS carries keys behind their length: a byte before the 48, two before the 97.
    let key = BoxKey::from_bytes(&bytes("priv")[1..]).unwrap();
    let label = format!("MLS 1.0 {}", text(&vectors, "/encrypt_with_label/label"));
    let context = bytes("context");
    // Both are shorter than 64 bytes, so QUIC's lengths (RFC 9000, section 16) are one byte.
    let info = [&[label.len() as u8], label.as_bytes(), &[context.len() as u8], &context].concat();
    let sealed = [&[1], bytes("kem_output").as_slice(), &bytes("ciphertext")].concat();
    assert_eq!(seal::open(&key, Mode::Base, &info, b"", &sealed), Ok(bytes("plaintext")));
}

#[test]
fn the_second_implementation_reproduces_them_all() {
    for (name, checked) in [
        ("connectoid-1.json", 32),
        ("mls-encrypt-with-label.json", 4),
        ("links.json", 96),
        ("keys.json", 29),
        ("question.json", 25),
        ("messages.json", 173),
        ("connections.json", 42),
        ("sdp.json", 20),
        ("frames.json", 45),
    ] {
        let output = Peer::Python.run(&["vectors", &path(name)], "");
        assert_eq!(stdout(&output), format!("{checked} checked\n"), "{name}: {}", stderr(&output));
    }
}

#[test]
fn questions_cross_both_ways() {
    let mut rng = StdRng::seed_from_u64(1);
    let key = BoxKey::generate(&mut rng);
    let relay: RelayUrl = "https://connecto.id".parse().unwrap();
    let private = format!("--sk={}", to_hex(&*key.to_bytes()));
    let (public, relay_flag) = (format!("--pub={}", key.public()), format!("--relay={relay}"));
    for peer in Peer::ALL {
        let question = ask(&mut rng, &Secrets::one(&[7; 48]).unwrap(), &relay, &key.public(), 1000).unwrap();
        let reply =
            |relay: &str| format!(r#"{{"ok":true,"found":true,"question":"{question}","relay":"{relay}"}}"#);
        let args = ["answer", &private, &public, &relay_flag];
        let theirs: Value = serde_json::from_str(&peer.ok(&args, &reply("https://connecto.id"))).unwrap();
        let ours = open_question(&key, &relay, &question).unwrap();
        assert_eq!((&theirs["answer"], &theirs["t"]), (&base64url::encode(ours.0).into(), &1000.into()));
        let refused = peer.run(&args, &reply("https://other.example"));
        assert_eq!((stdout(&refused).as_str(), refused.status.code()), ("", Some(1)), "{peer:?}");

        let plaintext = format!("--plaintext={}", "0a".repeat(56));
        let asked = peer.ok(&["question", &public, &relay_flag, &plaintext], "");
        assert_eq!(open_question(&key, &relay, &asked), Ok(Answer([0x0A; 56])), "{peer:?}");
    }
}

/// Of every type, in both modes: ours opened by them, theirs opened here.
#[test]
fn messages_cross_both_ways() {
    let vectors = vectors("messages.json");
    let signer_sk = text(&vectors, "/signers/bob/sk");
    let signer = SigningKey::from_bytes(&from_hex(signer_sk)).unwrap();
    let ik = signer.public();
    let mut rng = StdRng::seed_from_u64(1);
    for (peer, name) in Peer::ALL.into_iter().flat_map(|peer| [(peer, "alice"), (peer, "carol")]) {
        let private = text(&vectors, &format!("/boxes/{name}/sk"));
        let key = BoxKey::from_bytes(&from_hex(private)).unwrap();
        let secret = vectors["boxes"][name]["secret"].as_str();
        let secret = secret.map(|secret| LinkSecret::from_bytes(from_hex(secret).try_into().unwrap()));
        let secret_flag = secret.as_ref().map(|s| format!("--secret={}", base64url::encode(s.expose())));
        let run = |args: &[String], stdin: &str| {
            let args: Vec<&str> = args.iter().chain(&secret_flag).map(String::as_str).collect();
            peer.ok(&args, stdin)
        };
        let mut types = Vec::new();
        for entry in vectors["good"].as_array().unwrap().iter().filter(|entry| entry["to"] == name) {
            let payload: Value = serde_json::from_str(entry["payload"].as_str().unwrap()).unwrap();
            let mut body = payload.clone();
            for field in ["v", "n", "ts", "to", "ik"] {
                body.as_object_mut().unwrap().remove(field);
            }
            let open = |sealed: &[u8]| open_message(&key, secret.as_ref(), |_| Some(ik), sealed);
            let known = open(&base64url::decode(entry["data"].as_str().unwrap()).unwrap()).unwrap().content;

            let arguments = [
                "seal".to_owned(),
                format!("--to-pub={}", key.public()),
                format!("--sign-key={signer_sk}"),
                "--n=77".to_owned(),
                "--ts=5".to_owned(),
                format!("--body={body}"),
            ];
            let theirs = base64url::decode(&run(&arguments, "")).unwrap();
            let opened = open(&theirs).unwrap_or_else(|junk| panic!("{peer:?} {body} {junk}"));
            assert!(opened.content == known, "{peer:?} {body}");
            assert_eq!((opened.ik, opened.n, opened.ts), (ik, 77, 5));
            types.push(opened.content.typ());

            let ours =
                seal_message(&mut rng, &key.public(), secret.as_ref(), &signer, 78, 6, &known).unwrap();
            let arguments = [
                "open".to_owned(),
                format!("--sk={private}"),
                format!("--pub={}", key.public()),
                format!("--ik={ik}"),
            ];
            let mut opened: Value =
                serde_json::from_str(&run(&arguments, &base64url::encode(&ours.data))).unwrap();
            opened.as_object_mut().unwrap().remove("noteText");
            assert_eq!(opened, serde_json::from_slice::<Value>(&ours.payload).unwrap(), "{peer:?} {body}");
            let (mut signed, mut given) = (opened, payload);
            for field in ["n", "ts"] {
                signed.as_object_mut().unwrap().remove(field);
                given.as_object_mut().unwrap().remove(field);
            }
            assert_eq!(signed, given, "{peer:?}");
        }
        let all =
            ["offer", "answer", "candidate", "refuse", "refuse", "bye", "note", "note", "offer", "note"];
        assert_eq!(types, all);
    }
}

/// Links that are in no file: what one writes the other reads, and writes the same.
#[test]
fn links_cross_both_ways() {
    let mut rng = StdRng::seed_from_u64(1);
    let all = ["https://one.example", "https://two.example/relay", "http://127.0.0.1:8080", "http://[::1]:1"];
    for (count, form) in (1..=all.len()).zip(0..4) {
        let connectoid = Connectoid {
            key: BoxKey::generate(&mut rng).public(),
            relays: all[..count].iter().map(|url| url.parse().unwrap()).collect(),
            ext: (form & 1 == 1).then(|| Ext::from_data(&rng.random::<[u8; 32]>()).unwrap()),
            secret: (form & 2 == 2).then(|| LinkSecret::generate(&mut rng)),
        };
        let place = if connectoid.secret.is_some() { Place::Fragment } else { Place::Query };
        let link = make_link("https://app.example.com/a?b=c#/d", &connectoid, place).unwrap();
        for peer in Peer::ALL {
            let theirs: Value = serde_json::from_str(&peer.ok(&["link"], &link)).unwrap();
            assert_eq!(theirs["connectoid"].as_str().unwrap().parse(), Ok(connectoid.clone()));
            assert_eq!(theirs["connectoid"], connectoid.to_string(), "{peer:?}");
            assert_eq!(theirs["place"], if place == Place::Query { "query" } else { "fragment" });
            let refused = peer.run(&["link"], &link[..link.find(&connectoid.to_string()).unwrap() + 60]);
            assert_eq!((stdout(&refused).as_str(), refused.status.code()), ("", Some(1)), "{peer:?}");
        }
    }
}

/// Proofs and short strings of connections that are in no file, with a secret and without.
#[test]
fn transcripts_are_the_same_everywhere() {
    let mut rng = StdRng::seed_from_u64(1);
    for with_secret in [true, false] {
        let mut draw = || rng.random::<[u8; 32]>();
        let (r_o, r_a, nonce_o, nonce_a) = (draw(), draw(), draw(), draw());
        let (fp_o, fp_a, secret_a) = (draw(), draw(), draw());
        let secret_o = with_secret.then(draw);
        let one = json!({
            "offer": "an offer: é", "answer": "an answer", "secretO": secret_o.map(|secret| to_hex(&secret)),
            "secretA": to_hex(&secret_a), "rO": to_hex(&r_o), "rA": to_hex(&r_a),
            "nonceO": to_hex(&nonce_o), "nonceA": to_hex(&nonce_a), "fpO": to_hex(&fp_o), "fpA": to_hex(&fp_a),
        });
        let transcript = Transcript::new(
            "an offer: é".as_bytes(),
            b"an answer",
            secret_o.map(LinkSecret::from_bytes).as_ref(),
            &LinkSecret::from_bytes(secret_a),
        );
        let (fp_o, fp_a) = (Fingerprint(fp_o), Fingerprint(fp_a));
        let sas = transcript.sas(&r_o, &r_a);
        let ours = json!({
            "sas": {"raw": to_hex(&sas.to_bytes()), "emoji": sas.to_string(), "numbers": sas.numbers()},
            "proofO": to_hex(&transcript.proof(Role::Offerer, &nonce_a, &nonce_o, &fp_o, &fp_a)),
            "proofA": to_hex(&transcript.proof(Role::Answerer, &nonce_o, &nonce_a, &fp_a, &fp_o)),
        });
        for peer in Peer::ALL {
            let theirs: Value = serde_json::from_str(&peer.ok(&["transcript"], &one.to_string())).unwrap();
            assert_eq!(theirs, ours, "{peer:?}");
        }
    }
}
