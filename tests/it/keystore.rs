//! The keys file as its owner sees it: sealed under a passphrase, moved to a new device, and whole however a program ended.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    cli::{RELAY, parts, relay, seen},
    harness::{Person, clean_environment, stderr},
    notes::{link, nothing_new},
};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Someone with a passphrase in a file.
fn with_passphrase() -> Person {
    let person = Person::new();
    fs::write(person.path("p"), "correct horse\nwhat follows does not count\n").unwrap();
    fs::write(person.path("q"), "battery staple").unwrap();
    person
}

fn said(code: i32, words: &str) -> (i32, String, String) {
    (code, String::new(), format!("{words}\n"))
}

const NEEDED: &str = "connectoid: k.json is sealed under a passphrase: give it with --passphrase-file FILE or in CONNECTOID_PASSPHRASE";

#[test]
fn keys_are_sealed_under_a_passphrase() {
    let alice = with_passphrase();
    let run = |line: &str| seen(&alice.shell(&format!("export CONNECTOID_KEYS=k.json; {line}")));
    let (_, link, _) = run("connectoid link --relay https://connecto.id --for Bob");
    let (_, listed, _) = run("connectoid contacts");
    assert!(listed.starts_with("Bob\tA"), "{listed}");
    let private: Value = serde_json::from_slice(&fs::read(alice.path("k.json")).unwrap()).unwrap();
    let private = private["contacts"][0]["boxes"][0]["key"].as_str().unwrap();

    assert_eq!(
        run("connectoid contacts passphrase --passphrase-file p"),
        said(0, "the keys are sealed under the passphrase")
    );
    let sealed = fs::read_to_string(alice.path("k.json")).unwrap();
    for clear in ["\"Bob\"", private, parts(&link)[0], parts(&link)[3], "connecto.id"] {
        assert!(!sealed.contains(clear), "{clear}");
    }
    assert_eq!(mode(&alice.path("k.json")), 0o600);

    // Every command that uses the keys needs it.
    for command in [
        "contacts",
        "link --for Bob --again",
        "link --relay https://connecto.id --for Carol",
        "receive Bob",
        &format!("send {}", link.trim()),
        &format!("seal {}", link.trim()),
        "answer --for Bob <<< '{\"ok\":true,\"found\":true}'",
        "open --for Bob",
        "contacts export x",
        "contacts import p",
        "contacts passphrase --remove",
    ] {
        assert_eq!(run(&format!("connectoid {command}")), said(1, NEEDED), "{command}");
    }
    let again = (0, link.clone(), String::new());
    assert_eq!(run("connectoid link --for Bob --again --passphrase-file p"), again);
    assert_eq!(run("CONNECTOID_PASSPHRASE='correct horse' connectoid link --for Bob --again"), again);
    let wrong = said(1, "connectoid: wrong passphrase: it does not open k.json; nothing was changed");
    assert_eq!(run("CONNECTOID_PASSPHRASE='correct' connectoid contacts"), wrong);
    assert_eq!(
        run("connectoid link --for Bob --replace --relay https://b.example --passphrase-file q"),
        wrong
    );
    assert_eq!(fs::read_to_string(alice.path("k.json")).unwrap(), sealed);

    // Changed, used, removed.
    assert_eq!(
        run("connectoid contacts passphrase --passphrase-file p --new-passphrase-file q"),
        said(0, "the passphrase is changed")
    );
    assert_eq!(run("connectoid contacts --passphrase-file p"), wrong);
    assert_eq!(run("connectoid link --relay https://connecto.id --for Carol --passphrase-file q").0, 0);
    assert_eq!(
        run("connectoid contacts passphrase --passphrase-file q"),
        said(
            1,
            "connectoid: there is no terminal to ask for the new passphrase on: give it with --new-passphrase-file FILE"
        )
    );
    assert_eq!(
        run("connectoid contacts passphrase --passphrase-file q --remove"),
        said(0, "the passphrase is removed: whoever can read the file has the keys")
    );
    assert_eq!(run("connectoid contacts").1.lines().count(), 2);
    assert_eq!(
        run("connectoid contacts passphrase --remove"),
        said(3, "connectoid: the keys have no passphrase")
    );
}

#[test]
fn passphrases_that_are_none() {
    let alice = with_passphrase();
    fs::write(alice.path("empty"), "\nsecond line").unwrap();
    for (file, line) in [
        ("empty", "connectoid: empty: a passphrase cannot be empty"),
        ("missing", "connectoid: missing: No such file or directory (os error 2)"),
    ] {
        let output = alice.run(&["contacts", "passphrase", "--passphrase-file", file], "");
        assert_eq!(seen(&output), said(1, line));
    }
    assert!(!alice.keys_file().exists());
    // New keys are sealed from the start.
    alice.ok(&["link", "--relay", RELAY, "--for", "Bob", "--passphrase-file", "p"], "");
    assert!(!fs::read_to_string(alice.keys_file()).unwrap().contains("\"Bob\""));
}

#[test]
fn asked_for_on_a_terminal_without_showing_it() {
    let alice = with_passphrase();
    alice.ok(&["link", "--relay", RELAY, "--for", "Bob", "--passphrase-file", "p"], "");
    let mut command = Command::new("script");
    clean_environment(&mut command);
    let program = env!("CARGO_BIN_EXE_connectoid");
    command.args(["-qec", &format!("tty; exec '{program}' contacts"), "/dev/null"]);
    command.env("HOME", alice.home.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("this test needs script (Debian: bsdutils)");
    let (mut typed, mut shown) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut screen = Vec::new();
    while !screen.ends_with(b"The passphrase of the keys: ") {
        let mut byte = [0];
        shown.read_exact(&mut byte).unwrap();
        screen.push(byte[0]);
    }
    let screen = String::from_utf8(screen).unwrap();
    let terminal = screen.lines().next().unwrap();
    let started = Instant::now();
    loop {
        let state = Command::new("stty").args(["-a", "-F", terminal]).output().unwrap();
        if String::from_utf8_lossy(&state.stdout).contains(" -echo ") {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(10), "{state:?}");
        thread::sleep(Duration::from_millis(5));
    }
    typed.write_all(b"correct horse\n").unwrap();
    let mut rest = String::new();
    shown.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success(), "{rest}");
    assert!(rest.contains("Bob\tA") && !rest.contains("horse"), "{rest}");
}

#[test]
fn contacts_move_to_a_new_device() {
    let (relay, old, new, bob) = (relay(), with_passphrase(), with_passphrase(), Person::new());
    let bobs = link(&old, &[&relay.url], &[]);
    let carols = bob.ok(&["link", "--relay", &relay.url, "--for", "Carol"], "");
    let (to_carol, counted) = (carols.trim(), |n: u64| format!("\"n\":{n},"));
    old.ok(&["send", to_carol], "from the old device");
    assert_eq!(
        seen(&old.run(&["contacts", "export", "moving", "--export-passphrase-file", "q"], "")),
        said(0, "exported Bob: on the new device, connectoid contacts import; then use them only there")
    );
    let export = fs::read_to_string(old.path("moving")).unwrap();
    assert!(
        export.starts_with("{\"version\":2,\"export\":{\"kdf\":\"argon2id\",") && !export.contains("\"Bob\"")
    );
    assert_eq!(mode(&old.path("moving")), 0o600);
    assert_eq!(
        seen(&old.run(&["contacts", "export", "moving", "--export-passphrase-file", "p"], "")),
        said(1, "connectoid: moving is there already: name a new file; nothing was written")
    );
    assert_eq!(fs::read_to_string(old.path("moving")).unwrap(), export);

    fs::copy(old.path("moving"), new.path("moved")).unwrap();
    let import = |more: &[&str]| {
        let import = ["contacts", "import", "moved"];
        seen(&new.run(&[&import, more].concat(), ""))
    };
    assert_eq!(
        import(&[]),
        said(
            1,
            "connectoid: there is no terminal to ask for the export's passphrase on: give it with --export-passphrase-file FILE"
        )
    );
    assert_eq!(
        import(&["--export-passphrase-file", "p"]),
        said(1, "connectoid: wrong passphrase: it does not open the export; nothing was changed")
    );
    assert!(!new.keys_file().exists());
    let imported = said(0, "imported Bob: do not use the old device any more");
    assert_eq!(import(&["--export-passphrase-file", "q"]), imported);
    assert_eq!(
        import(&["--export-passphrase-file", "q"]),
        said(
            1,
            "connectoid: there are contacts of these names or with these keys already: Bob; nothing was imported; \
             --replace gives up those here"
        )
    );
    assert_eq!(import(&["--export-passphrase-file", "q", "--replace"]), imported);
    assert_eq!(mode(&new.keys_file()), 0o600);

    // What is sent to the link is received on the new device, once.
    bob.ok(&["send", &bobs], "hello");
    assert_eq!(seen(&new.run(&["receive", "Bob"], "")), (0, "hello".into(), String::new()));
    assert_eq!(seen(&new.run(&["receive", "Bob"], "")), nothing_new());
    // It signs with the key of the old one, far ahead of it.
    new.ok(&["send", to_carol], "from the new device");
    let notes = bob.ok(&["receive", "Carol", "--json"], "");
    let rows: Vec<&str> = notes.lines().collect();
    assert!(rows.len() == 2 && rows[0].contains(&counted(1)), "{notes}");
    assert!(rows[1].contains(&counted(1_048_578)) && rows[0][..76] == rows[1][..76], "{notes}");
}

#[test]
fn sealed_keys_stay_sealed_when_they_move() {
    let (old, new) = (with_passphrase(), with_passphrase());
    old.ok(&["link", "--relay", RELAY, "--for", "Bob", "--passphrase-file", "p"], "");
    old.ok(&["contacts", "export", "moving", "--passphrase-file", "p"], "");
    fs::copy(old.path("moving"), new.path("moved")).unwrap();
    let imported = new.run(&["contacts", "import", "moved", "--passphrase-file", "p"], "");
    let sealed = "the keys here are sealed under the passphrase that was given for them\n";
    assert!(stderr(&imported).ends_with(sealed), "{}", stderr(&imported));
    // With its quotes: base64url may hold these letters by chance.
    assert!(!fs::read_to_string(new.keys_file()).unwrap().contains("\"Bob\""));
    assert!(new.ok(&["contacts", "--passphrase-file", "p"], "").starts_with("Bob\t"));
}

#[test]
fn programs_at_once_and_killed_lose_no_sealed_contact() {
    let alice = with_passphrase();
    alice.ok(&["link", "--relay", RELAY, "--for", "first", "--passphrase-file", "p"], "");
    let start = |name: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_connectoid"));
        clean_environment(&mut command);
        command.args(["link", "--relay", RELAY, "--for", name, "--passphrase-file", "p"]);
        command.env("HOME", alice.home.path()).current_dir(alice.home.path());
        command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
    };
    let mut made = vec!["first".to_owned()];
    // Two at once, of which one is killed after a time that grows until it is not in time for it.
    for round in 0..200 {
        let (killed, spared) = (format!("killed {round}"), format!("spared {round}"));
        let (mut one, two) = (start(&killed), start(&spared));
        thread::sleep(Duration::from_millis(25 * round));
        one.kill().unwrap();
        let was_done = !one.wait_with_output().unwrap().stdout.is_empty();
        assert!(two.wait_with_output().unwrap().status.success());
        made.push(spared);
        if was_done {
            made.push(killed);
            break;
        }
    }
    let listed = alice.ok(&["contacts", "--passphrase-file", "p"], "");
    for name in made {
        assert!(listed.contains(&format!("{name}\t")), "{name}: {listed}");
    }
}
