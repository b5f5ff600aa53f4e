//! For those who use curl: keys of OpenSSL, pipes through `answer`, `seal` and `open`, and a second implementation.

use std::{fs, path::Path};

use connectoid::protocol::base64url;
use serde_json::{Value, json};

use crate::{
    cli::{RELAY, parts, relay, seen},
    harness::{KEY, Peer, Person, Serving, post, stderr},
    notes::{link, nothing_new},
};

/// The 32 bytes of a connectoid's fourth part, in base64url.
fn secret_of(connectoid: &str) -> String {
    base64url::encode(&base64url::decode(parts(connectoid)[3]).unwrap()[1..])
}

fn keys_of(person: &Person) -> Value {
    serde_json::from_slice(&fs::read(person.keys_file()).unwrap()).unwrap()
}

/// The private key of someone's first contact, in hex.
fn private_key_of(person: &Person) -> String {
    let key = keys_of(person);
    let key = base64url::decode(key["contacts"][0]["boxes"][0]["key"].as_str().unwrap()).unwrap();
    hex(&key)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn keys_of_openssl_in_every_form_it_writes() {
    let alice = Person::new();
    let openssl = |line: &str| {
        let output = alice.shell(line);
        assert!(output.status.success(), "{line}: {}", stderr(&output));
    };
    openssl("openssl ecparam -name secp384r1 -genkey -noout -out sec1.pem");
    openssl("openssl ecparam -name secp384r1 -genkey -out with-parameters.pem");
    openssl("openssl genpkey -algorithm EC -pkeyopt group:P-384 -out pkcs8.pem");
    openssl(
        "openssl genpkey -algorithm EC -pkeyopt group:P-384 | openssl pkey -traditional -out traditional.pem",
    );
    openssl(
        "openssl genpkey -algorithm EC -pkeyopt group:P-384 | openssl ec -conv_form compressed -out compressed.pem",
    );
    for name in ["sec1", "with-parameters", "pkcs8", "traditional", "compressed"] {
        let file = format!("{name}.pem");
        let link = alice.ok(&["key", "import", &file, "--relay", RELAY, "--for", name], "");
        let public =
            format!("openssl pkey -in {file} -pubout -outform DER -ec_conv_form compressed | tail -c 49");
        assert_eq!(base64url::decode(parts(&link)[0]).unwrap(), alice.shell(&public).stdout, "{name}");
    }
    let twice = ["key", "import", "sec1.pem", "--relay", RELAY, "--for", "another"];
    assert_eq!(
        seen(&alice.run(&twice, "")),
        (1, String::new(), "connectoid: this key is kept already: a box belongs to one contact\n".into())
    );
    assert_eq!(alice.ok(&["contacts"], "").lines().count(), 5);
}

#[test]
fn a_key_with_the_link_that_was_made_with_it() {
    let relay = Serving::start(&["--database", "sqlite::memory:"]);
    let alice = Person::new();
    let made = alice.shell("openssl genpkey -algorithm EC -pkeyopt group:P-384 -out key.pem");
    assert!(made.status.success(), "{}", stderr(&made));
    let public = alice
        .shell("openssl pkey -in key.pem -pubout -outform DER -ec_conv_form compressed | tail -c 49")
        .stdout;
    let (public, url) = (base64url::encode(public), base64url::encode(&relay.url));
    let secret = base64url::encode([[1].as_slice(), &[7; 32]].concat());
    let connectoid = format!("{public}.{url}.YXBpa2V5.{secret}");
    let import = ["key", "import", "key.pem", "--for", "Bob", "--link"];
    let import = |more: &[&str]| alice.run(&[&import, more].concat(), "");

    let other = alice.ok(&["link", "--for", "Carol", "--relay", &relay.url], "");
    assert_eq!(
        seen(&import(&[other.trim()])),
        (1, String::new(), "connectoid: key.pem: this link was made with another key\n".into())
    );
    assert_eq!(import(&["nonsense"]).status.code(), Some(1));
    for conflict in [["--relay", RELAY].as_slice(), &["--ext", "x"], &["--no-secret"]] {
        assert_eq!(
            import(&[&[connectoid.as_str()], conflict].concat()).status.code(),
            Some(2),
            "{conflict:?}"
        );
    }

    let link = format!("https://app.example.com/#connectoid={connectoid}");
    assert_eq!(seen(&import(&[&link])), (0, format!("{connectoid}\n"), String::new()));
    Person::new().ok(&["send", &link], "Bread, please");
    assert_eq!(alice.ok(&["receive", "Bob"], ""), "Bread, please");
}

#[test]
fn files_without_a_key_to_import() {
    let alice = Person::new();
    for line in [
        "openssl genpkey -algorithm EC -pkeyopt group:P-256 -out p256.pem",
        "openssl genpkey -algorithm ed25519 -out ed25519.pem",
        "openssl genpkey -algorithm EC -pkeyopt group:P-384 -out good.pem",
        "openssl pkey -in good.pem -aes256 -passout pass:x -out encrypted.pem",
        "openssl pkey -in good.pem -aes256 -passout pass:x -traditional -out encrypted-sec1.pem",
        "openssl pkey -in good.pem -pubout -out public.pem",
        "head -c 150 good.pem > cut.pem",
        "echo hello > nonsense.pem",
        "openssl pkey -in good.pem -outform DER -out good.der",
    ] {
        assert!(alice.shell(line).status.success(), "{line}");
    }
    let other = "not a P-384 key: make one with openssl ecparam -name secp384r1 -genkey -noout";
    let encrypted =
        "this private key is encrypted: take the passphrase off first (openssl pkey -in FILE -out PLAIN)";
    let none = "there is no private key in this PEM file: expected BEGIN PRIVATE KEY or BEGIN EC PRIVATE KEY";
    for (file, reason) in [
        ("p256.pem", other),
        ("ed25519.pem", other),
        ("encrypted.pem", encrypted),
        ("encrypted-sec1.pem", encrypted),
        ("public.pem", none),
        ("cut.pem", none),
        ("nonsense.pem", none),
        ("good.der", none),
        ("missing.pem", "No such file or directory (os error 2)"),
    ] {
        let output = alice.run(&["key", "import", file, "--relay", RELAY, "--for", "Bob"], "");
        assert_eq!(seen(&output), (1, String::new(), format!("connectoid: {file}: {reason}\n")));
    }
    assert!(!alice.keys_file().exists());
}

#[test]
fn check_answer_receive_with_curl() {
    let (relay, alice) = (relay(), Person::new());
    let url = &relay.url;
    let link = alice.ok(&["link", "--relay", url, "--for", "Bob", "--ext", "key"], "");
    let key = parts(&link)[0];
    let check =
        format!(r#"curl -s {url} -d '{{"pub":"{key}","ext":null,"action":"check","at":0,"ask":ASK}}'"#);
    let (ask, check) = (check.replace("ASK", "true"), check.replace("ASK", "false"));
    let line = format!("{check} | connectoid answer --for Bob");
    assert_eq!(seen(&alice.shell(&line)), (3, String::new(), "connectoid: nothing new\n".into()));
    for data in ["aGVsbG8", "d29ybGQ"] {
        let send = json!({"pub": key, "ext": null, "action": "send", "data": data});
        assert_eq!(post(url, &send.to_string()).body, r#"{"ok":true}"#);
    }

    let (code, request, words) = seen(&alice.shell(&line));
    assert_eq!((code, words.as_str()), (0, ""));
    let answer = serde_json::from_str::<Value>(&request).unwrap()["answer"].clone();
    let answer = answer.as_str().unwrap();
    assert_eq!(answer.len(), 75);
    assert_eq!(
        request,
        format!(
            "{{\"pub\":\"{key}\",\"ext\":\"a2V5\",\"action\":\"receive\",\"answer\":\"{answer}\",\"at\":0,\"limit\":1}}\n"
        )
    );

    let receive = |options: &str| {
        let output =
            alice.shell(&format!("{check} | connectoid answer --for Bob {options} | curl -s {url} -d @-"));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let first = receive("");
    let at = first["at"].as_u64().unwrap();
    assert_eq!(first, json!({"ok": true, "at": at, "data": "aGVsbG8"}));
    assert_eq!(receive(&format!("--at {at}"))["data"], "d29ybGQ");
    assert_eq!(receive("--limit 32")["messages"].as_array().unwrap().len(), 2);

    let delete = |what: &str| {
        let line = format!("{ask} | connectoid answer --for Bob --delete {what} | curl -s {url} -d @-");
        String::from_utf8(alice.shell(&line).stdout).unwrap()
    };
    assert_eq!(delete(&at.to_string()), "{\"ok\":true}\n");
    assert_eq!(receive("")["data"], "d29ybGQ");
    assert_eq!(delete("all"), "{\"ok\":true}\n");
    assert_eq!(seen(&alice.shell(&line)).0, 3);

    let line = format!("{ask} | connectoid answer --for Carol");
    let unknown = "connectoid: there is no contact \"Carol\" (there is Bob): make a link with connectoid link --relay URL --for NAME\n";
    assert_eq!(seen(&alice.shell(&line)), (3, String::new(), unknown.into()));
    let refused = r#"{"ok":false,"error":"Too often","detail":"wait","retryAfter":9}"#;
    for (reply, code, words) in [
        (refused, 4, "connectoid: the relay refused: Too often (wait)\n"),
        (
            "<html>",
            1,
            "connectoid: standard input is not a relay's reply to check: pipe curl's output into this\n",
        ),
        ("", 1, "connectoid: standard input is empty: is the relay running?\n"),
        (r#"{"ok":true,"found":true}"#, 6, "connectoid: the relay's reply holds no question\n"),
    ] {
        let output = alice.run(&["answer", "--for", "Bob"], reply);
        assert_eq!(seen(&output), (code, String::new(), words.into()), "{reply}");
    }
}

/// Both relays are of the link: one of them passes on the other's question all the same.
#[test]
fn a_link_of_several_relays_says_which_one_replied() {
    let (one, two, alice) = (relay(), relay(), Person::new());
    let link = alice.ok(&["link", "--relay", &one.url, "--relay", &two.url, "--for", "Bob"], "");
    let ask =
        json!({"pub": parts(&link)[0], "ext": null, "action": "check", "at": 0, "ask": true}).to_string();
    let passed_on = post(&two.url, &ask).body.replace("\"found\":false", "\"found\":true");
    let (code, out, err) = seen(&alice.run(&["answer", "--for", "Bob"], &passed_on));
    assert_eq!((code, out.as_str()), (2, ""));
    assert_eq!(err, "connectoid: this link has several relays: say with --relay URL which one replied\n");
    let (code, out, _) = seen(&alice.run(&["answer", "--for", "Bob", "--relay", &one.url], &passed_on));
    assert_eq!((code, out.as_str()), (6, ""));
    let right = alice.ok(&["answer", "--for", "Bob", "--relay", &two.url], &passed_on);
    assert_eq!(post(&two.url, &right).body, r#"{"ok":true,"found":false,"at":0}"#);
}

/// What a stranger wrote must not reach a terminal as commands to it.
#[test]
fn escapes_of_relays_and_links_are_shown_not_obeyed() {
    let alice = Person::new();
    alice.ok(&["link", "--relay", RELAY, "--for", "Bob"], "");
    let refusal = r#"{"ok":false,"error":"Busy","detail":"\u001b]0;title\u0007 \u009b31m"}"#;
    let (code, _, err) = seen(&alice.run(&["answer", "--for", "Bob"], refusal));
    assert_eq!(code, 4);
    assert_eq!(err, "connectoid: the relay refused: Busy (\u{FFFD}]0;title\u{FFFD} \u{FFFD}31m)\n");
    let relays = base64url::encode("http://evil.example/\x1b]0;title");
    let (code, _, err) = seen(&alice.run(&["send", &format!("{KEY}.{relays}")], "hello"));
    assert_eq!(code, 1);
    assert!(!err.contains('\x1b'), "{err:?}");
}

#[test]
fn another_relays_question_is_not_answered() {
    let (ours, theirs, alice) = (relay(), relay(), Person::new());
    let link = alice.ok(&["link", "--relay", &ours.url, "--for", "Bob"], "");
    let key = parts(&link)[0];
    let ask = json!({"pub": key, "ext": null, "action": "check", "at": 0, "ask": true}).to_string();
    let reply = post(&theirs.url, &ask).body.replace("\"found\":false", "\"found\":true");
    let refusal = |reply: &str| seen(&alice.run(&["answer", "--for", "Bob"], reply));
    assert_eq!(
        refusal(&reply),
        (
            6,
            String::new(),
            format!(
                "connectoid: the question is bound to {}, not to {}: if that is the same relay, it belongs into the link\n",
                theirs.url, ours.url
            )
        )
    );
    // Passed on by ours, under its own name or under none.
    let unanswered =
        "connectoid: the question was not asked by this relay about this box; nothing is answered\n";
    let renamed = reply.replace(&theirs.url, &ours.url);
    assert_eq!(refusal(&renamed), (6, String::new(), unanswered.into()));
    let mut nameless: Value = serde_json::from_str(&reply).unwrap();
    nameless.as_object_mut().unwrap().remove("relay");
    assert_eq!(refusal(&nameless.to_string()), (6, String::new(), unanswered.into()));
    // A note in a question's place is no question.
    let sealed: Value = serde_json::from_str(&alice.ok(&["seal", link.trim_end()], "hello")).unwrap();
    let oracle = json!({"ok": true, "found": true, "question": sealed["data"], "relay": ours.url});
    assert_eq!(refusal(&oracle.to_string()), (6, String::new(), unanswered.into()));
}

#[test]
fn openssl_answers_as_the_program_does() {
    let (relay, alice) = (relay(), Person::new());
    let url = &relay.url;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/answer-with-openssl");
    let script = script.display();
    let made = alice.shell("openssl ecparam -name secp384r1 -genkey -noout -out key.pem");
    assert!(made.status.success());
    let link = alice.ok(&["key", "import", "key.pem", "--relay", url, "--for", "Bob", "--no-secret"], "");
    let key = parts(&link)[0];
    let check =
        format!(r#"curl -s {url} -d '{{"pub":"{key}","ext":null,"action":"check","at":0}}' > reply.json"#);
    assert!(alice.shell(&check).status.success());
    let line = format!("{script} key.pem {url} < reply.json");
    let (code, request, words) = seen(&alice.shell(&line));
    assert_eq!((code, request.as_str()), (3, ""), "{words}");

    let send = json!({"pub": key, "ext": null, "action": "send", "data": "aGVsbG8"});
    assert_eq!(post(url, &send.to_string()).body, r#"{"ok":true}"#);
    assert!(alice.shell(&check).status.success());
    let (code, theirs, words) = seen(&alice.shell(&line));
    assert_eq!((code, words.as_str()), (0, ""));
    let ours = alice.ok(&["answer", "--for", "Bob"], fs::read(alice.path("reply.json")).unwrap());
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    assert_eq!(json(&theirs), json(&ours));
    let (_, received, _) = seen(&alice.shell(&format!("{line} | curl -s {url} -d @-")));
    assert_eq!(json(&received)["data"], "aGVsbG8");

    let other = format!("{script} key.pem https://connecto.id < reply.json");
    let (code, request, words) = seen(&alice.shell(&other));
    assert_eq!((code, request.as_str()), (1, ""));
    assert_eq!(
        words,
        format!(
            "answer-with-openssl: the question is of another relay ({url}), not of https://connecto.id: not answered\n"
        )
    );
}

#[test]
fn a_second_implementation_speaks_with_this_one() {
    speaks_with_this_one(Peer::Python);
}

#[test]
fn the_browser_library_speaks_with_this_one() {
    speaks_with_this_one(Peer::Web);
}

fn speaks_with_this_one(peer: Peer) {
    let (relay, alice) = (relay(), Person::new());
    let url = &relay.url;
    let link = alice.ok(&["link", "--relay", url, "--for", "Bob"], "");
    let (key, secret, private) = (parts(&link)[0], secret_of(&link), private_key_of(&alice));

    // Theirs, received here.
    let signer: Value = serde_json::from_str(&peer.ok(&["keygen"], "")).unwrap();
    fs::write(alice.path("note"), "hello from there\n").unwrap();
    let (note, signer) = (alice.path("note"), signer["sk"].as_str().unwrap().to_owned());
    let sealed = peer.ok(
        &[
            "seal",
            "--to-pub",
            key,
            "--secret",
            &secret,
            "--sign-key",
            &signer,
            "--n",
            "1",
            "--ts",
            "1795158000000",
            "--note-file",
            note.to_str().unwrap(),
        ],
        "",
    );
    let send = json!({"pub": key, "ext": null, "action": "send", "data": sealed.trim_end()});
    assert_eq!(post(url, &send.to_string()).body, r#"{"ok":true}"#);
    assert_eq!(alice.ok(&["receive", "Bob"], ""), "hello from there\n");

    // Ours, opened there: the note, then the question of a live relay.
    let request: Value =
        serde_json::from_str(&alice.ok(&["seal", link.trim_end()], "hello from Rust")).unwrap();
    let opened = peer.ok(
        &["open", "--sk", &private, "--pub", key, "--secret", &secret],
        request["data"].as_str().unwrap(),
    );
    let opened: Value = serde_json::from_str(&opened).unwrap();
    assert_eq!(
        (&opened["typ"], &opened["n"], &opened["to"], &opened["noteText"]),
        (&json!("note"), &json!(1), &json!(key), &json!("hello from Rust"))
    );
    assert_eq!(post(url, &request.to_string()).body, r#"{"ok":true}"#);
    let check = json!({"pub": key, "ext": null, "action": "check", "at": 0});
    let question = post(url, &check.to_string()).body;
    let answer = peer.ok(&["answer", "--sk", &private, "--pub", key, "--relay", url], &question);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let receive = json!({"pub": key, "ext": null, "action": "receive", "answer": answer["answer"], "at": 0, "limit": 1});
    assert_eq!(post(url, &receive.to_string()).json()["data"], request["data"]);
}

#[test]
fn private_keys_and_secrets_are_in_no_output() {
    let (relay, alice, bob) = (relay(), Person::new(), Person::new());
    let url = &relay.url;
    let link = alice.ok(&["link", "--relay", url, "--for", "Bob", "--qr"], "");
    let link = link.trim_end();
    let mut outputs = Vec::new();
    let mut run = |person: &Person, args: &[&str], stdin: &str| {
        let output = person.run(args, stdin);
        outputs.push((format!("{args:?}"), [output.stdout, output.stderr].concat()));
    };
    run(&alice, &["link", "show", link], "");
    run(&alice, &["link", "show", "--json", link], "");
    run(&alice, &["link", "--for", "Bob", "--relay", url], "");
    run(&alice, &["contacts"], "");
    run(&alice, &["contacts", "--json"], "");
    run(&bob, &["seal", link], "hello");
    run(&bob, &["send", link], "hello");
    run(&bob, &["send", link, "--json"], "hello");
    let check = json!({"pub": parts(link)[0], "ext": null, "action": "check", "at": 0}).to_string();
    run(&alice, &["answer", "--for", "Bob"], &post(url, &check).body);
    run(&alice, &["receive", "Bob", "--json", "--keep"], "");
    run(&alice, &["receive", "Bob"], "");
    run(&alice, &["receive", "Bob"], "");
    run(&alice, &["link", "show", &link[..link.len() - 3]], "");
    run(&bob, &["send", &link[..link.len() - 3]], "hello");
    run(&bob, &["receive", "Bob"], "");

    let (ours, theirs) = (keys_of(&alice), keys_of(&bob));
    let mut secrets = vec![parts(link)[3].to_owned()];
    for secret in [
        &ours["contacts"][0]["boxes"][0]["key"],
        &ours["contacts"][0]["boxes"][0]["secret"],
        &theirs["sent"][0]["key"],
    ] {
        let text = secret.as_str().unwrap();
        secrets.extend([text.to_owned(), hex(&base64url::decode(text).unwrap())]);
    }
    assert_eq!(secrets[3], secret_of(link), "the right fields of the file");
    for (command, output) in &outputs {
        let output = String::from_utf8_lossy(output);
        for secret in &secrets {
            assert!(!output.contains(secret.as_str()), "{command}: {output}");
            assert!(!output.contains(&secret[..24]), "{command}: {output}");
        }
    }
}

#[test]
fn notes_by_curl() {
    let (relay, alice, bob) = (relay(), Person::new(), Person::new());
    let url = &relay.url;
    let link = link(&alice, &[url], &["--ext", "key"]);
    for note in ["one", "two"] {
        let line = format!("printf {note} | connectoid seal '{link}' | curl -s {url} -d @-");
        assert_eq!(seen(&bob.shell(&line)), (0, "{\"ok\":true}\n".into(), String::new()));
    }
    let check = json!({"pub": parts(&link)[0], "ext": null, "action": "check", "at": 0});
    let take = |limit: u32| {
        format!(
            "curl -s {url} -d '{check}' | connectoid answer --for Bob --limit {limit} | curl -s {url} -d @- | \
             connectoid open --for Bob"
        )
    };
    assert_eq!(seen(&alice.shell(&take(1))), (0, "one".into(), String::new()));
    assert_eq!(seen(&alice.shell(&take(32))), (0, "onetwo".into(), String::new()));
    let rows = alice.shell(&format!("{} --json", take(32)));
    let rows: Vec<Value> = String::from_utf8(rows.stdout)
        .unwrap()
        .lines()
        .map(|row| serde_json::from_str(row).unwrap())
        .collect();
    let texts: Vec<_> = rows.iter().map(|row| (&row["n"], &row["text"])).collect();
    assert_eq!(texts, [(&json!(1), &json!("one")), (&json!(2), &json!("two"))]);

    let open = |reply: &str| seen(&alice.run(&["open", "--for", "Bob"], reply));
    assert_eq!(open(r#"{"ok":true,"found":false,"at":0}"#), nothing_new());
    assert_eq!(
        open(r#"{"ok":true,"at":7,"data":"aGVsbG8"}"#),
        (
            1,
            String::new(),
            "connectoid: a message cannot be opened with this box's key and secret\n\
             connectoid: none of the messages could be opened\n"
                .into()
        )
    );
    assert_eq!(
        open("<html>"),
        (
            1,
            String::new(),
            "connectoid: standard input is not a relay's reply to receive: pipe curl's output into this\n"
                .into()
        )
    );
}
