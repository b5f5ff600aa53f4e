//! A real SDP offer goes from one person to another by curl, while the relay is killed on the way.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::harness::{Kind, Peer, Person, Serving, TestDatabase, base64url_to_hex, post, stderr, stdout};

fn deliver(database: &TestDatabase) {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/chromium-offer.json");
    let offer = fs::read(&fixture).unwrap();
    let relay = Serving::start(&["--database", &database.url]);
    let url = relay.url.clone();
    let address = url.strip_prefix("http://").unwrap().to_owned();

    // Alice makes a link; Bob seals Chromium's offer to it and sends it with curl.
    let (alice, bob) = (Person::new(), Person::new());
    let link = alice.ok(&["link", "--relay", &url, "--app", "https://app.example.com/", "--for", "Bob"], "");
    let sent = bob.shell(&format!(
        "connectoid seal '{}' --file '{}' | curl -s {url}/ -d @-",
        link.trim(),
        fixture.display()
    ));
    assert_eq!(stdout(&sent), "{\"ok\":true}\n", "{}", stderr(&sent));

    let public = link.split_once("#connectoid=").unwrap().1.split('.').next().unwrap().to_owned();
    let check = json!({"pub": public, "ext": null, "action": "check", "at": 0}).to_string();
    let checked = post(&url, &check).json();
    assert_eq!(checked["found"], true);

    // The power goes. What was acknowledged is there afterwards, and the question asked before still counts.
    relay.signal("KILL");
    assert_eq!(relay.wait().0, None, "killed, not ended");
    let relay = Serving::start_with(&["--database", &database.url], |command| {
        command.args(["--listen", &address]);
    });
    assert_eq!(relay.url, url);

    let request = alice.ok(&["answer", "--for", "Bob"], checked.to_string());
    let received = post(&url, &request);
    assert_eq!(received.status, 200);

    // The other implementations open it, with the key from Alice's file.
    let keys: Value = serde_json::from_slice(&fs::read(alice.keys_file()).unwrap()).unwrap();
    let contact = &keys["contacts"][0]["boxes"][0];
    for peer in Peer::ALL {
        let opened = peer.ok(
            &[
                "open",
                &format!("--sk={}", base64url_to_hex(contact["key"].as_str().unwrap())),
                &format!("--pub={public}"),
                &format!("--secret={}", contact["secret"].as_str().unwrap()),
            ],
            received.json()["data"].as_str().unwrap(),
        );
        let payload: Value = serde_json::from_str(&opened).unwrap();
        assert_eq!(payload["typ"], "note");
        let theirs = connectoid::protocol::base64url::decode(payload["note"].as_str().unwrap()).unwrap();
        assert_eq!(theirs, offer, "{peer:?}");
    }

    // And so does ours.
    assert_eq!(alice.ok(&["open", "--for", "Bob"], received.body).into_bytes(), offer);
}

#[test]
fn an_sdp_offer_on_sqlite() {
    deliver(&TestDatabase::new(Kind::Sqlite));
}

#[test]
fn an_sdp_offer_on_postgresql() {
    deliver(&TestDatabase::new(Kind::Postgres));
}
