//! Contacts as people look after them: renamed, removed, compared, unshared.

use std::{fs, path::Path};

use connectoid::client::Keystore;
use serde_json::{Value, json};
use sqlx::Connection as _;

use crate::{
    cli::{RELAY, relay, seen},
    client::{connect, is_told_of_the_end, relay_at},
    harness::{KEY, Person, address_to_come_back_to, block_on, until},
    notes::{link, receive},
};

/// Nothing listens on port 1.
const DEAD: &str = "http://127.0.0.1:1";

fn said(code: i32, words: &str) -> (i32, String, String) {
    (code, String::new(), format!("{words}\n"))
}

fn run(person: &Person, line: &str) -> (i32, String, String) {
    seen(&person.shell(&format!("connectoid {line}")))
}

/// Runs a command on a terminal where somebody types this: its exit code, and what the screen shows.
fn on_terminal(person: &Person, line: &str, typed: &str) -> (i32, String) {
    let script = format!("printf '{typed}' | script -qec 'connectoid {line}' /dev/null");
    let (code, screen, err) = seen(&person.shell(&script));
    assert_eq!(err, "", "this test needs script (Debian: bsdutils)");
    (code, screen.replace("\r\n", "\n"))
}

fn keys(person: &Person) -> Value {
    serde_json::from_slice(&fs::read(person.keys_file()).unwrap()).unwrap()
}

/// The nicknames in the keys file.
fn names(person: &Person) -> Vec<String> {
    let keys = keys(person);
    let contacts = keys["contacts"].as_array().unwrap().iter();
    contacts.map(|contact| contact["name"].as_str().unwrap().to_owned()).collect()
}

/// The boxes and messages that a relay has.
fn left_at(database: &Path) -> i64 {
    let database = format!("sqlite://{}", database.display());
    block_on(async {
        let mut connection = sqlx::SqliteConnection::connect(&database).await.unwrap();
        let count = "select (select count(*) from boxes) + (select count(*) from messages)";
        sqlx::query_scalar::<_, i64>(count).fetch_one(&mut connection).await.unwrap()
    })
}

#[test]
fn a_contact_is_renamed() {
    let (relay, alice, bob) = (relay(), Person::new(), Person::new());
    let link = link(&alice, &[&relay.url], &[]);
    alice.ok(&["link", "--relay", RELAY, "--for", "Carol"], "");
    let before = keys(&alice);
    for (line, refused) in [
        (
            "contacts rename Bob Carol",
            said(1, "connectoid: there is a contact \"Carol\" already: choose another name"),
        ),
        (
            "contacts rename Bob Bob",
            said(1, "connectoid: there is a contact \"Bob\" already: choose another name"),
        ),
        (
            "contacts rename Dave Erin",
            said(
                3,
                "connectoid: there is no contact \"Dave\" (there is Bob, Carol): make a link with connectoid link --relay URL --for NAME",
            ),
        ),
    ] {
        assert_eq!(run(&alice, line), refused, "{line}");
    }
    for (name, why) in [
        ("''".to_owned(), "expected 1 to 64 characters"),
        ("x".repeat(65), "expected 1 to 64 characters"),
        ("$'a\\nb'".to_owned(), "expected text without control characters"),
    ] {
        let (code, out, err) = run(&alice, &format!("contacts rename Bob {name}"));
        assert_eq!((code, out.as_str()), (2, ""), "{name}");
        assert!(
            err.starts_with("error: invalid value") && err.contains(&format!("for '<NEW>': {why}\n")),
            "{err}"
        );
    }
    assert_eq!(keys(&alice), before);

    assert_eq!(
        run(&alice, "contacts rename Bob 'Robert the 2nd'"),
        said(0, "\"Bob\" is \"Robert the 2nd\" now")
    );
    let mut after = before;
    after["contacts"][0]["name"] = "Robert the 2nd".into();
    assert_eq!(keys(&alice), after, "nothing else changed");
    bob.ok(&["send", &link], "hello");
    assert_eq!(run(&alice, "receive 'Robert the 2nd'"), (0, "hello".into(), String::new()));
}

#[test]
fn a_contact_is_removed_and_nobody_told() {
    let alice = Person::new();
    for name in ["Bob", "Carol", "Dave"] {
        alice.ok(&["link", "--relay", DEAD, "--for", name], "");
    }
    let warning = "This deletes the keys of \"Bob\" here and tells nobody; what is sent to you from there is lost.\n\
                   connectoid unshare \"Bob\" tells the other side, and is usually what is wanted.\n";
    let no_terminal =
        "connectoid: there is no terminal to ask on: --yes removes without asking; nothing was changed\n";
    assert_eq!(run(&alice, "contacts remove Bob"), (1, String::new(), format!("{warning}{no_terminal}")));
    for typed in ["\\n", "n\\n", "yeah\\n"] {
        let (code, screen) = on_terminal(&alice, "contacts remove Bob", typed);
        assert_eq!(code, 1);
        assert!(screen.contains(&format!("{warning}Remove \"Bob\"? [y/N] ")), "{screen}");
        assert!(screen.ends_with("connectoid: nothing was changed\n"), "{screen}");
    }
    assert_eq!(names(&alice), ["Bob", "Carol", "Dave"]);
    let (code, screen) = on_terminal(&alice, "contacts remove Bob", "y\\n");
    let removed = "\"Bob\" is removed, with all its keys; the other side was not told";
    assert_eq!(code, 0);
    assert!(screen.ends_with(&format!("{removed}\n")), "{screen}");
    assert_eq!(names(&alice), ["Carol", "Dave"]);
    assert_eq!(run(&alice, "contacts remove Carol --yes"), said(0, &removed.replace("Bob", "Carol")));
    assert_eq!(names(&alice), ["Dave"]);
    assert_eq!(run(&alice, "contacts remove Carol --yes").0, 3);
}

#[test]
fn a_contact_that_another_program_runs_is_left_alone() {
    let alice = Person::new();
    alice.ok(&["link", "--relay", DEAD, "--for", "Bob"], "");
    alice.ok(&["link", "--relay", DEAD, "--for", "Carol"], "");
    set(&alice, &json!({"sas": "kaTVNU7BKIQ"}));
    let before = keys(&alice);
    let app = Keystore::new(alice.keys_file());
    let running = [app.lock_contact("Bob").unwrap(), app.lock_contact("Erin").unwrap()];
    let refused = |name| {
        said(
            1,
            &format!(
                "connectoid: another program is connected as {name:?}: end it first, one at a time can be"
            ),
        )
    };
    for line in ["contacts rename Bob Robert", "contacts remove Bob --yes", "unshare Bob --yes"] {
        assert_eq!(run(&alice, line), refused("Bob"), "{line}");
    }
    // That one is about to make a contact of this name.
    assert_eq!(run(&alice, "contacts rename Carol Erin"), refused("Erin"));
    let (code, shown, err) = run(&alice, "verify Bob --same");
    assert_eq!((code, err.lines().last().unwrap()), (1, refused("Bob").2.trim_end()));
    assert!(shown.starts_with("👍 🌽"), "looking is free");
    assert_eq!(keys(&alice), before);
    // Others are not in the way.
    assert_eq!(run(&alice, "contacts rename Carol Dave").0, 0);
    drop(running);
    assert_eq!(run(&alice, "contacts rename Bob Robert").0, 0);
    assert_eq!(names(&alice), ["Robert", "Dave"]);
}

/// Changes the first contact in the keys file by hand.
fn set(person: &Person, fields: &Value) {
    let mut keys = keys(person);
    for (name, value) in fields.as_object().unwrap() {
        keys["contacts"][0][name] = value.clone();
    }
    fs::write(person.keys_file(), keys.to_string()).unwrap();
}

#[test]
fn the_string_is_shown_and_the_answer_recorded() {
    let alice = Person::new();
    alice.ok(&["link", "--relay", RELAY, "--for", "Bob"], "");
    assert_eq!(
        run(&alice, "verify Bob --same"),
        said(1, "connectoid: there is nothing to compare with \"Bob\" yet: connect first")
    );
    // The string of the published vectors.
    set(&alice, &json!({"sas": "kaTVNU7BKIQ"}));
    let before = keys(&alice);
    let string = "👍 🌽 🌏 ☁️ 🐙 🌙 🔔\nThumbsUp, Corn, Globe, Cloud, Octopus, Moon, Bell\n5660 5948 7823\n";
    let compare = "Call \"Bob\", or meet, and compare: these emoji in this order, or the three numbers. Not by the way the link took.\n\
                   If they are the same nobody stands in between; if one differs, somebody does.\n";
    assert_eq!(run(&alice, "verify Bob"), (0, string.into(), compare.into()));
    let (code, screen) = on_terminal(&alice, "verify Bob", "maybe\\n");
    assert_eq!(code, 1);
    assert!(
        screen.contains(&format!("{string}{compare}Are they the same on both sides? [y/n] ")),
        "{screen}"
    );
    assert!(screen.ends_with("connectoid: nothing was recorded: answer y or n\n"), "{screen}");
    assert_eq!(run(&alice, "verify Bob --same --different").0, 2);
    assert_eq!(keys(&alice), before, "nothing was recorded");

    let recorded = || keys(&alice)["contacts"][0]["verification"].clone();
    let (code, screen) = on_terminal(&alice, "verify Bob", "y\\n");
    assert!(code == 0 && screen.ends_with("recorded: \"Bob\" is verified\n"), "{screen}");
    assert_eq!(recorded(), "verified");
    assert!(alice.ok(&["contacts"], "").ends_with("\tconnected, verified\n"));
    // Nothing is asked then.
    let already = "They were compared already, and are the same: nothing is left to do.\n";
    let (code, screen) = on_terminal(&alice, "verify Bob", "");
    assert!(code == 0 && screen.ends_with(&format!("{string}{already}")), "{screen}");

    let json = |verification: &str| {
        format!(
            "{{\"name\":\"Bob\",\"emoji\":[{{\"symbol\":\"👍\",\"name\":\"ThumbsUp\"}},{{\"symbol\":\"🌽\",\"name\":\"Corn\"}},\
             {{\"symbol\":\"🌏\",\"name\":\"Globe\"}},{{\"symbol\":\"☁️\",\"name\":\"Cloud\"}},{{\"symbol\":\"🐙\",\"name\":\"Octopus\"}},\
             {{\"symbol\":\"🌙\",\"name\":\"Moon\"}},{{\"symbol\":\"🔔\",\"name\":\"Bell\"}}],\
             \"numbers\":[5660,5948,7823],\"verification\":\"{verification}\"}}\n"
        )
    };
    assert_eq!(run(&alice, "verify Bob --json"), (0, json("verified"), String::new()));
    let alarm = "ALARM: what you compared with \"Bob\" differs: somebody stands in between. Nothing is exchanged any more; \
                 connectoid unshare \"Bob\", and send a new link over another way\n";
    assert_eq!(run(&alice, "verify Bob --different"), (0, string.into(), format!("{already}{alarm}")));
    assert_eq!(recorded(), "mismatch");
    assert_eq!(run(&alice, "verify Bob --json"), (0, json("mismatch"), String::new()));
    assert_eq!(run(&alice, "verify Bob --same --json"), (0, json("verified"), String::new()));
    let (code, screen) = on_terminal(&alice, "verify Bob --different", "");
    assert!(code == 0 && screen.ends_with(alarm), "{screen}");
    let (code, screen) = on_terminal(&alice, "verify Bob", "n\\n");
    assert!(
        code == 0
            && screen.contains("They were compared already, and differ: somebody stands in between.\nCall")
    );
    assert!(screen.ends_with(alarm), "{screen}");
}

#[test]
fn what_changes_while_people_compare_is_not_confirmed() {
    let alice = Person::new();
    alice.ok(&["link", "--relay", RELAY, "--for", "Bob"], "");
    set(&alice, &json!({"sas": "kaTVNU7BKIQ"}));
    let other =
        "until grep -q 'y/n' screen; do sleep 0.02; done; sed -i s/kaTVNU7BKIQ/AAAAAAAAAAA/ $KEYS; echo y";
    let line = format!(
        "KEYS={}; touch screen; ({other}) | script -qefc 'connectoid verify Bob' screen",
        alice.keys_file().display()
    );
    let (code, screen, _) = seen(&alice.shell(&line));
    assert_eq!(code, 1);
    assert!(
        screen.contains("connectoid: \"Bob\" was changed meanwhile; nothing was recorded, look again"),
        "{screen}"
    );
    assert_eq!(keys(&alice)["contacts"][0]["verification"], "unverified");
    assert!(run(&alice, "verify Bob").1.starts_with("🐶 🐶 🐶 🐶 🐶 🐶 🐶\nDog, Dog,"));
}

#[test]
fn both_sides_see_the_same_string() {
    let (relay, alice, bob) = (relay(), Person::new(), Person::new());
    connect(&alice, &bob, &relay.url);
    let (one, other) = (alice.ok(&["verify", "Bob"], ""), bob.ok(&["verify", "Alice"], ""));
    assert_eq!(one, other);
    assert_eq!(one.lines().count(), 3);
    alice.ok(&["verify", "Bob", "--same"], "");
    assert!(alice.ok(&["contacts"], "").ends_with("\tconnected, verified\n"));
    assert!(bob.ok(&["contacts"], "").ends_with("\tconnected\n"));
}

#[test]
fn a_contact_is_unshared_and_the_other_side_told() {
    let (folder, alice, bob) = (tempfile::tempdir().unwrap(), Person::new(), Person::new());
    let database = folder.path().join("relay.db");
    let relay = relay_at("127.0.0.1:0", &database);
    connect(&alice, &bob, &relay.url);
    alice.ok(&["link", "--relay", DEAD, "--for", "Carol"], "");
    assert_eq!(
        run(&alice, "unshare Bob"),
        said(
            1,
            "connectoid: there is no terminal to ask on: --yes unshares without asking; nothing was changed"
        )
    );
    let (code, screen) = on_terminal(&alice, "unshare Bob", "n\\n");
    let question =
        "End the contact \"Bob\" for good? The other side is told, and all keys are deleted. [y/N] ";
    assert!(code == 1 && screen.contains(question), "{screen}");
    assert!(screen.ends_with("connectoid: nothing was changed\n"), "{screen}");
    assert_eq!(names(&alice), ["Bob", "Carol"]);
    assert_eq!(
        run(&alice, "unshare Bob --yes"),
        said(
            0,
            "deleting the boxes of \"Bob\" at their relays\n\
             \"Bob\" is unshared: all its keys are deleted\n\
             the other side was sent word; in case it does not look within the hour, it is sent again twice within two days, \
             whenever connectoid share, connect or unshare runs"
        )
    );
    assert_eq!(names(&alice), ["Carol"]);
    let keys = keys(&alice);
    assert_eq!((&keys["goodbyes"][0]["sent"], keys.to_string().contains("\"Bob\"")), (&json!(1), false));
    is_told_of_the_end(&bob, "Alice");
    assert_eq!(names(&bob), Vec::<String>::new());
    assert_eq!(left_at(&database), 0);
    assert_eq!(run(&alice, "unshare Bob --yes").0, 3);
}

#[test]
fn a_link_that_nobody_used_is_unshared() {
    let (folder, alice, bob) = (tempfile::tempdir().unwrap(), Person::new(), Person::new());
    let database = folder.path().join("relay.db");
    let relay = relay_at("127.0.0.1:0", &database);
    let link = link(&alice, &[&relay.url], &[]);
    bob.ok(&["send", &link], "hello");
    assert_eq!(receive(&alice).1, "hello");
    assert_eq!(left_at(&database), 1, "the box");
    let note = json!({"relay": relay.url, "ik": KEY, "n": 9, "ts": 5, "note": "aGVsbG8"});
    set(&alice, &json!({"inbox": [note]}));
    let (_, screen) = on_terminal(&alice, "unshare Bob", "n\\n");
    let lost = "all keys are deleted. Notes that you did not receive yet are lost, too: 1. [y/N] ";
    assert!(screen.contains(lost), "{screen}");
    assert_eq!(
        run(&alice, "unshare Bob --yes"),
        said(
            0,
            "deleting the boxes of \"Bob\" at their relays\n\"Bob\" is unshared: all its keys are deleted"
        )
    );
    assert_eq!(left_at(&database), 0);
    assert_eq!(names(&alice), Vec::<String>::new());
}

#[test]
fn without_its_relay_a_contact_is_unshared_later() {
    let (folder, alice, bob) = (tempfile::tempdir().unwrap(), Person::new(), Person::new());
    let database = folder.path().join("relay.db");
    let address = address_to_come_back_to();
    let relay = relay_at(&address, &database);
    connect(&alice, &bob, &relay.url);
    drop(relay);
    let begun =
        "deleting the boxes of \"Bob\" at their relays\nno relay of \"Bob\" can be reached: trying goes on\n";
    let not_yet = "connectoid: \"Bob\" is not unshared yet, for its relays do not answer. Its keys are still there, to delete its boxes with: \
                   call connectoid unshare \"Bob\" again later, it goes on from here";
    assert_eq!(run(&alice, "unshare Bob --yes --patience 1s"), said(5, &format!("{begun}{not_yet}")));
    assert!(alice.ok(&["contacts"], "").ends_with("\tbeing unshared\n"));
    assert_eq!(
        run(&alice, "link --for Bob --again"),
        said(1, "connectoid: \"Bob\" is being unshared: connectoid unshare \"Bob\" goes on with it")
    );
    // Once begun it is not asked again. What three tries do not delete expires at the relay.
    let untold = "\"Bob\" is unshared: all its keys are deleted\n\
                  connectoid: the other side could not be told yet, for no relay of it answers: it is told within two days, \
                  whenever connectoid share, connect or unshare runs";
    assert_eq!(run(&alice, "unshare Bob"), said(5, &format!("{begun}{untold}")));
    assert_eq!(names(&alice), Vec::<String>::new());
    assert_eq!(keys(&alice)["goodbyes"][0]["sent"], 0);

    let relay = relay_at(&address, &database);
    until(|| {
        link(&alice, &[&relay.url], &[]);
        assert_eq!(run(&alice, "unshare Bob --yes").0, 0);
        keys(&alice)["goodbyes"][0]["sent"] == 1
    });
    is_told_of_the_end(&bob, "Alice");
}
