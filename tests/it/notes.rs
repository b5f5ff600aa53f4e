//! Notes as people send and receive them, over relays that are well, down, or evil.

use std::{
    collections::BTreeSet,
    fs, io,
    process::{Command, Output, Stdio},
    thread,
};

use connectoid::{
    protocol::{Connectoid, Request, base64url},
    seal::{
        SigningKey,
        message::{Content, OfferHash, Reason, seal_message},
    },
};
use rand::{SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};

use crate::{
    cli::{parts, relay, seen},
    harness::{Person, clean_environment, post},
};

/// Nothing listens on port 1.
const DEAD: &str = "http://127.0.0.1:1";

/// A link for Bob over these relays.
pub fn link(alice: &Person, relays: &[&str], more: &[&str]) -> String {
    let relays = relays.iter().flat_map(|relay| ["--relay", relay]);
    let arguments: Vec<&str> = ["link", "--for", "Bob"].into_iter().chain(relays).collect();
    let link = alice.ok(&[&arguments, more].concat(), "");
    link.trim_end().to_owned()
}

pub fn nothing_new() -> (i32, String, String) {
    (3, String::new(), "connectoid: nothing new\n".into())
}

pub fn receive(alice: &Person) -> (i32, String, String) {
    seen(&alice.run(&["receive", "Bob"], ""))
}

/// Puts the request that `connectoid seal` wrote, or any other, into its box.
pub fn put(url: &str, request: &str) {
    assert_eq!(post(url, request).body, r#"{"ok":true}"#);
}

#[test]
fn a_note_there_and_back() {
    let (relay, alice, bob) = (relay(), Person::new(), Person::new());
    let link = link(&alice, &[&relay.url], &["--app", "https://app.example.com/"]);
    assert_eq!(receive(&alice), nothing_new());
    assert_eq!(
        seen(&bob.run(&["send", &link], "hello\n")),
        (0, String::new(), format!("stored at {}\n", relay.url))
    );
    assert_eq!(receive(&alice), (0, "hello\n".into(), String::new()));
    assert_eq!(receive(&alice), nothing_new());

    fs::write(bob.path("note.txt"), "from a file").unwrap();
    assert_eq!(
        bob.ok(&["send", &link, "--file", "note.txt", "--json"], ""),
        format!("{{\"stored\":[\"{}\"],\"failed\":[]}}\n", relay.url)
    );
    let note = alice.ok(&["receive", "Bob", "--json"], "");
    let read: Value = serde_json::from_str(&note).unwrap();
    let (from, ts) = (read["from"].as_str().unwrap(), &read["ts"]);
    assert_eq!((from.len(), note.lines().count()), (66, 1));
    assert_eq!(
        note,
        format!(
            "{{\"from\":\"{from}\",\"n\":2,\"ts\":{ts},\"relay\":\"{}\",\"data\":\"ZnJvbSBhIGZpbGU\",\"text\":\"from a file\"}}\n",
            relay.url
        )
    );
}

#[test]
fn notes_of_any_bytes_up_to_their_limit() {
    let (relay, alice, bob) = (relay(), Person::new(), Person::new());
    let link = link(&alice, &[&relay.url], &[]);
    let bytes: Vec<u8> = (0..=255).cycle().take(8892).collect();
    for note in [&bytes[..], &bytes[..256], b"", &[0xFF, 0x00, b'\n', 0x1B]] {
        bob.ok(&["send", &link], note);
        let output = alice.run(&["receive", "Bob"], "");
        assert_eq!(output.status.code(), Some(0));
        assert!(output.stdout == note, "{} bytes", note.len());
    }
    // Several at once come in the order they were sent.
    for note in ["one,", "two,", "three"] {
        bob.ok(&["send", &link], note);
    }
    assert_eq!(receive(&alice), (0, "one,two,three".into(), String::new()));
    bob.ok(&["send", &link], [0xFF, 0xFE]);
    let note: Value = serde_json::from_str(&alice.ok(&["receive", "Bob", "--json"], "")).unwrap();
    assert_eq!((&note["data"], &note["text"]), (&json!("__4"), &Value::Null));

    for command in ["send", "seal"] {
        assert_eq!(
            seen(&bob.run(&[command, &link], [&bytes[..], &[7; 58]].concat())),
            (
                2,
                String::new(),
                "connectoid: the note is 8950 bytes, a message carries 8,892: send it in parts, or send where to fetch it\n"
                    .into()
            )
        );
    }
    assert_eq!(receive(&alice), nothing_new());
}

#[test]
fn kept_at_the_relay_and_printed_once() {
    let (relay, alice, bob) = (relay(), Person::new(), Person::new());
    let link = link(&alice, &[&relay.url], &[]);
    let waiting = || {
        let check = json!({"pub": parts(&link)[0], "ext": null, "action": "check", "at": 0}).to_string();
        post(&relay.url, &check).json()["found"].clone()
    };
    bob.ok(&["send", &link], "hello");
    assert_eq!(alice.ok(&["receive", "Bob", "--keep"], ""), "hello");
    assert_eq!(waiting(), true);
    assert_eq!(receive(&alice), nothing_new());
    assert_eq!(waiting(), false, "acknowledged, though there was nothing to print");
}

#[test]
fn a_message_put_back_after_it_was_acknowledged_is_not_printed_again() {
    let (relay, alice, bob) = (relay(), Person::new(), Person::new());
    let link = link(&alice, &[&relay.url], &[]);
    let sealed = bob.ok(&["seal", &link], "pay 5 to Bob");
    put(&relay.url, &sealed);
    assert_eq!(receive(&alice), (0, "pay 5 to Bob".into(), String::new()));
    put(&relay.url, &sealed);
    assert_eq!(receive(&alice), nothing_new());
    // Beside something new, too.
    put(&relay.url, &sealed);
    bob.ok(&["send", &link], "thanks");
    assert_eq!(receive(&alice), (0, "thanks".into(), String::new()));
}

#[test]
fn links_without_a_secret() {
    let (relay, alice, bob) = (relay(), Person::new(), Person::new());
    let plain = link(&alice, &[&relay.url], &["--no-secret"]);
    bob.ok(&["send", &plain], "hello");
    assert_eq!(receive(&alice), (0, "hello".into(), String::new()));

    // One with a secret takes nothing that was sealed without it.
    let carol = Person::new();
    let full = link(&carol, &[&relay.url], &[]);
    let cut = full.rsplit_once("..").unwrap().0;
    bob.ok(&["send", cut], "hello");
    let (code, out, err) = receive(&carol);
    assert_eq!((code, out.as_str()), (3, ""));
    assert_eq!(
        err,
        format!(
            "skipped: a message at {} cannot be opened with this box's key and secret\nconnectoid: nothing new\n",
            relay.url
        )
    );
}

#[test]
fn several_relays_any_of_which_may_be_down() {
    let (one, two, alice, bob) = (relay(), relay(), Person::new(), Person::new());
    let link = link(&alice, &[DEAD, &one.url, &two.url], &[]);
    let (code, out, err) = seen(&bob.run(&["send", &link], "hello"));
    assert_eq!((code, out.as_str()), (0, ""));
    let lines: Vec<&str> = err.lines().collect();
    assert!(lines[0].starts_with("connectoid: http://127.0.0.1:1 cannot be reached: "), "{err}");
    assert_eq!(lines[1..], [format!("stored at {}", one.url), format!("stored at {}", two.url)]);
    let (code, out, err) = receive(&alice);
    assert_eq!((code, out.as_str()), (0, "hello"), "once, though two relays had it");
    assert!(
        err.starts_with("connectoid: http://127.0.0.1:1 cannot be reached: ") && err.lines().count() == 1,
        "{err}"
    );
    let (code, out, err) = receive(&alice);
    assert_eq!((code, out.as_str()), (3, ""));
    assert!(err.ends_with("connectoid: nothing new\n"), "{err}");
}

#[test]
fn a_relay_on_this_machine_is_asked_without_the_proxy() {
    let (relay, alice, bob) = (relay(), Person::new(), Person::new());
    let link = link(&alice, &[&relay.url], &[]);
    let proxy = ["HTTP_PROXY", "http_proxy", "ALL_PROXY"].map(|name| format!("{name}={DEAD}"));
    let line = |command: &str| format!("echo hello | env {} connectoid {command}", proxy.join(" "));
    let sent = seen(&bob.shell(&line(&format!("send '{link}'"))));
    assert_eq!(sent, (0, String::new(), format!("stored at {}\n", relay.url)));
    let received = seen(&alice.shell(&line("receive Bob")));
    assert_eq!(received, (0, "hello\n".into(), String::new()));
}

#[test]
fn no_relay_can_be_reached() {
    let (alice, bob) = (Person::new(), Person::new());
    let link = link(&alice, &[DEAD], &[]);
    let (code, out, err) = seen(&bob.run(&["send", &link], "hello"));
    assert_eq!((code, out.as_str()), (5, ""));
    assert!(err.contains("http://127.0.0.1:1 cannot be reached: "), "{err}");
    let json = bob.run(&["send", &link, "--json"], "hello");
    assert_eq!(json.status.code(), Some(5));
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&json["stored"], json["failed"].as_array().unwrap().len()), (&json!([]), 1));
    let (code, out, err) = receive(&alice);
    assert_eq!((code, out.as_str()), (5, ""));
    assert!(err.ends_with("\nconnectoid: nothing received: no relay of this link could be read\n"), "{err}");
}

#[test]
fn what_could_not_be_printed_is_printed_the_next_time() {
    let (relay, alice, bob) = (relay(), Person::new(), Person::new());
    let link = link(&alice, &[&relay.url], &[]);
    bob.ok(&["send", &link], "one,");
    bob.ok(&["send", &link], "two");
    let into_closed_pipe = || {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_connectoid"));
        clean_environment(&mut command);
        let command = command.args(["receive", "Bob"]).env("HOME", alice.home.path());
        let output: Output = command.stdin(Stdio::null()).stdout(writer).output().unwrap();
        seen(&output)
    };
    for _ in 0..2 {
        assert_eq!(
            into_closed_pipe(),
            (1, String::new(), "connectoid: standard output was closed: Broken pipe (os error 32)\n".into())
        );
    }
    drop(relay);
    // The notes are on this machine; that the relay is gone is said and does not matter.
    let (code, out, _) = receive(&alice);
    assert_eq!((code, out.as_str()), (0, "one,two"));
    assert_eq!(receive(&alice).0, 5);
}

#[test]
fn junk_in_the_box_is_skipped_with_a_line() {
    let (relay, alice, bob) = (relay(), Person::new(), Person::new());
    let link = link(&alice, &[&relay.url], &[]);
    let key = parts(&link)[0];
    let junk = |data: &[u8]| {
        let data = base64url::encode(data);
        put(&relay.url, &json!({"pub": key, "ext": null, "action": "send", "data": data}).to_string());
    };
    let skipped =
        format!("skipped: a message at {} cannot be opened with this box's key and secret\n", relay.url);
    junk(b"hello");
    assert_eq!(receive(&alice), (3, String::new(), format!("{skipped}connectoid: nothing new\n")));
    assert_eq!(receive(&alice), nothing_new(), "it was deleted");
    junk(&[1; 4096]);
    bob.ok(&["send", &link], "hello");
    junk(b"\0");
    assert_eq!(receive(&alice), (0, "hello".into(), skipped.repeat(2)));
}

#[test]
fn messages_that_are_no_notes_are_left_for_who_speaks_them() {
    let (relay, alice, bob) = (relay(), Person::new(), Person::new());
    let link = link(&alice, &[&relay.url], &[]);
    let to: Connectoid = link.parse().unwrap();
    let mut rng = StdRng::seed_from_u64(1);
    let signer = SigningKey::generate(&mut rng);
    let refuse = Content::Refuse { re: OfferHash::of(b"offer"), reason: Reason::Declined };
    for (n, content) in [(1, refuse), (2, Content::Bye)] {
        let sealed = seal_message(&mut rng, &to.key, to.secret.as_ref(), &signer, n, 5, &content).unwrap();
        let send = Request::Send { key: to.key, ext: None, data: sealed.data };
        put(&relay.url, &serde_json::to_string(&send).unwrap());
    }
    bob.ok(&["send", &link], "hello");
    let said = format!(
        "left at {0}: a message of type \"refuse\", which this command does not speak\n\
         skipped: a message at {0} is signed by a key that is not known here\n",
        relay.url
    );
    assert_eq!(receive(&alice), (0, "hello".into(), said.clone()));
    assert_eq!(
        receive(&alice),
        (3, String::new(), said + "connectoid: nothing new\n"),
        "nothing was deleted"
    );
}

#[test]
fn an_expired_link_is_read_no_more() {
    let (relay, alice, bob) = (relay(), Person::new(), Person::new());
    let link = link(&alice, &[&relay.url], &["--expires", "0s"]);
    bob.ok(&["send", &link], "hello");
    let (code, out, err) = receive(&alice);
    assert_eq!((code, out.as_str()), (3, ""));
    assert!(
        err.starts_with("connectoid: the link for \"Bob\" expired 20")
            && err.ends_with("Z: make a new one with connectoid link --for \"Bob\" --replace\n"),
        "{err}"
    );
}

#[test]
fn processes_at_once_send_and_receive_each_note_once() {
    let (relay, alice, bob) = (relay(), Person::new(), Person::new());
    let link = link(&alice, &[&relay.url], &[]);
    let sent: BTreeSet<String> = (0..8).map(|n| format!("note {n}")).collect();
    thread::scope(|scope| {
        for note in &sent {
            let (bob, link) = (&bob, &link);
            scope.spawn(move || bob.ok(&["send", link], note));
        }
    });
    let received: Vec<String> = thread::scope(|scope| {
        let receivers: Vec<_> =
            (0..4).map(|_| scope.spawn(|| seen(&alice.run(&["receive", "Bob", "--json"], "")))).collect();
        let texts = receivers.into_iter().flat_map(|receiver| {
            let (code, out, err) = receiver.join().unwrap();
            assert!(code == if out.is_empty() { 3 } else { 0 }, "{code}: {err}");
            let rows = out.lines().map(|row| serde_json::from_str::<Value>(row).unwrap());
            rows.map(|row| row["text"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        });
        texts.collect()
    });
    assert_eq!(received.len(), 8, "{received:?}");
    assert_eq!(received.into_iter().collect::<BTreeSet<_>>(), sent);
    assert_eq!(receive(&alice), nothing_new());
}
