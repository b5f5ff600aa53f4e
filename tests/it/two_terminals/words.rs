//! What a person is told and asked on the way, and what to do about it.

use std::{
    io::Write as _,
    net::TcpListener,
    process::{ChildStdin, Command, Stdio},
};

use super::{MB, Terminal, came, connect, noise, person, put, relay, share, text, tools::free_port};
use crate::harness::{Person, Serving};

/// Nothing listens on port 1.
const DEAD: &str = "http://127.0.0.1:1";

/// Runs `connectoid` on a terminal: it, and what types there.
fn on_terminal(person: &Person, args: &str) -> (Terminal, ChildStdin) {
    let line = format!("connectoid {args}");
    // The echo would stand between what is printed.
    let script = ["-qefc", &line, "--echo", "never", "/dev/null"];
    let mut terminal = Terminal::start(person, Command::new("script"), &script, Stdio::piped());
    let keyboard = terminal.child.stdin.take().unwrap();
    (terminal, keyboard)
}

#[test]
fn a_terminal_shows_the_link_as_a_qr_code_and_the_other_one_asks() {
    let (alice, bob) = (person(), person());
    let relay = relay(alice.home.path());
    let bytes = noise(2 * MB);
    put(&alice, "photo.jpg", &bytes);
    let (sharing, _keyboard) =
        on_terminal(&alice, &format!("share --for Bob --relay {} --file photo.jpg", relay.url));
    sharing.shows("waiting for \"Bob\" to use the link (Ctrl-C ends)");
    let screen = text(&sharing.seen.output.lock().unwrap().out).replace('\r', "");
    let (drawing, rest) = screen.split_at(screen.find("\nA").unwrap());
    let link = rest.trim_start().lines().next().unwrap();
    let drawing = drawing.replace("\u{1b}[97;40m", "").replace("\u{1b}[0m", "");
    assert_eq!(crate::cli::qr_code(&drawing), link);

    let line = format!("connect {link} --for Alice");
    let (connecting, mut keyboard) = on_terminal(&bob, &line);
    connecting.shows("Receive \"photo.jpg\" (1 file, 1.91 MiB) into this folder? [y/N] ");
    keyboard.write_all(b"y\n").unwrap();
    let (there, here) = (connecting.ends(), sharing.ends());
    assert_eq!((there.code, here.code), (Some(0), Some(0)), "{}{}", text(&there.out), text(&here.out));
    assert!(std::fs::read(bob.path("photo.jpg")).unwrap() == bytes);
    assert!(text(&there.out).contains("received 1 file, 1.91 MiB"), "{}", text(&there.out));

    // No is the default.
    let (sharing, _keyboard) = on_terminal(&alice, "connect Bob --file photo.jpg");
    let (connecting, mut keyboard) = on_terminal(&bob, "connect Alice");
    connecting.shows("[y/N] ");
    keyboard.write_all(b"\n").unwrap();
    let (there, here) = (connecting.ends(), sharing.ends());
    let last = |screen: &[u8]| text(screen).trim_end().lines().last().unwrap().trim().to_owned();
    assert_eq!((there.code, here.code), (Some(1), Some(1)));
    let question = "Receive \"photo.jpg\" (1 file, 1.91 MiB) into this folder? [y/N] ";
    assert_eq!(last(&there.out), format!("{question}connectoid: declined: nothing was written"));
    assert_eq!(last(&here.out), "connectoid: the other side refused: it does not want it");
}

#[test]
fn sides_that_do_not_fit_say_what_to_run() {
    let (alice, bob) = (person(), person());
    let relay = relay(alice.home.path());
    let bytes = noise(MB);
    put(&alice, "f", &bytes);
    let (sharing, link) = share(&alice, &relay.url, &["--file", "f"]);
    connect(&bob, &link, &[]).fails(1, "the other side sends files: run with --into FOLDER to take them");
    let not_taken = "the other side does not take files: it has to run with --into FOLDER, or where a person can be asked";
    sharing.fails(1, not_taken);

    // They know each other now, and need no link.
    let both = |alice_does: &[&str], bob_does: &[&str], alices: &str, bobs: &str| {
        let here = Terminal::run(&alice, &[&["connect", "Bob"], alice_does].concat());
        Terminal::run(&bob, &[&["connect", "Alice"], bob_does].concat()).fails(1, bobs);
        here.fails(1, alices);
    };
    both(
        &["--pipe"],
        &["--into", "into"],
        "the other side runs without --pipe: both sides need it",
        "the other side runs with --pipe: run with it here, too",
    );
    let here = Terminal::run(&alice, &["connect", "Bob", "--allow", "22"]);
    let forward = format!("{}:22", free_port());
    let there = Terminal::run(&bob, &["connect", "Alice", "--forward", &forward, "--file", "into"]);
    here.fails(1, "the other side sends files: run with --into FOLDER to take them");
    there.fails(1, not_taken);
    let here = Terminal::run(&alice, &["connect", "Bob", "--file", "f"]);
    Terminal::run(&bob, &["connect", "Alice", "--into", "into"]).well();
    here.well();
    came(&bob, "f", &bytes);
}

#[test]
fn what_cannot_be_begun_says_why() {
    let alice = person();
    let fails = |args: &[&str], code, words: &str| drop(Terminal::run(&alice, args).fails(code, words));
    fails(
        &["connect", "Bob"],
        3,
        "there is no contact \"Bob\", and it is no link: connectoid connect LINK --for NAME uses a link",
    );
    fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
        [&["share", "--for", "Bob", "--relay", DEAD], more].concat()
    }
    fails(&with(&["--file", "none"]), 1, "none: No such file or directory (os error 2)");
    fails(&with(&["--into", "none"]), 1, "none: there is no such folder: make it with mkdir -p none");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    fails(
        &with(&["--forward", &format!("127.0.0.1:{port}:22")]),
        1,
        &format!("--forward 127.0.0.1:{port}: Address already in use (os error 98)"),
    );
    let file = alice.path(".config/connectoid/config.toml");
    let remedy = format!(
        "a link names 1 to 4 relays: --relay URL, or CONNECTOID_RELAY, or relays = [\"URL\"] in {}",
        file.display()
    );
    fails(&["share", "--for", "Bob"], 2, &remedy);
    assert!(!alice.keys_file().exists(), "no link was made");

    // A link that nobody used is printed again.
    let (sharing, link) = share(&alice, DEAD, &[]);
    sharing.says("no relay of \"Bob\" can be reached: trying goes on");
    fails(&with(&[]), 1, "another program is connected as \"Bob\": end it first, one at a time can be");
    sharing.signal("INT");
    sharing.fails(130, "stopped");
    let (_sharing, again) = share(&alice, DEAD, &[]);
    assert_eq!(again, link);
    fails(
        &["connect", &link],
        2,
        "say who sent the link, by a nickname that only you see: connectoid connect LINK --for NAME",
    );
    fails(&["connect", &link, "--for", "Me"], 1, "this link was made here: open it on the other device");
    fails(&["connect", "Bob", "--for", "Carol"], 2, "--for goes with a link: a contact has its name already");
    let cut = &link[..link.len() - 1];
    let ended = Terminal::run(&alice, &["connect", cut, "--for", "Carol"]).ends();
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    fails(
        &["connect", "Carol"],
        3,
        "there is no contact \"Carol\" (there is Bob), and it is no link: connectoid connect LINK --for NAME uses a link",
    );
}

#[test]
fn a_relay_that_is_not_there_is_waited_for() {
    let (alice, bob) = (person(), person());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let listen = format!("127.0.0.1:{port}");
    put(&alice, "f", b"at last");
    let (sharing, link) = share(&alice, &format!("http://{listen}"), &["--file", "f"]);
    sharing.says("no relay of \"Bob\" can be reached: trying goes on");
    let connecting = connect(&bob, &link, &["--into", "into"]);
    connecting.says("no relay of \"Alice\" can be reached: trying goes on");
    let _relay = Serving::start(&["--listen", &listen, "--database", "sqlite::memory:"]);
    connecting.says("a relay of \"Alice\" can be reached again");
    connecting.well();
    sharing.well();
    came(&bob, "f", b"at last");
}

#[test]
fn a_link_works_once_and_the_second_use_is_told() {
    let (alice, bob, carol) = (person(), person(), person());
    let relay = relay(alice.home.path());
    let (sharing, link) = share(&alice, &relay.url, &["--allow", "22"]);
    connect(&bob, &link, &[]).well();
    sharing.says("\"Bob\" is done; waiting for the next time (Ctrl-C ends)");
    let again = Terminal::run(&carol, &["connect", &link, "--for", "Alice"]);
    let used = "somebody else used the link of \"Alice\" before: ask for a new one, over another way than this one came";
    again.fails(4, used);
    let alarm = sharing.says("ALARM: two people used the link for \"Bob\", first 20");
    let remedy = "Z. One of them is not who it was for: ask, and compare with connectoid verify \"Bob\" before anything is exchanged";
    assert!(alarm.ends_with(remedy), "{alarm}");
    sharing.signal("INT");
    sharing.fails(130, "stopped");
    let used = "the link for \"Bob\" was used: connectoid connect \"Bob\" meets again; for somebody else give another name";
    Terminal::run(&alice, &["share", "--for", "Bob", "--relay", &relay.url]).fails(1, used);
}

#[test]
fn a_link_that_nobody_uses_expires() {
    let alice = person();
    let relay = relay(alice.home.path());
    let (sharing, _) = share(&alice, &relay.url, &["--expires", "1s"]);
    let expired = "the link for \"Bob\" was not used in time, and is not answered any more";
    sharing.fails(4, expired);
}

#[test]
fn who_waits_for_somebody_that_ended_the_contact_keeps_no_key_of_it() {
    let (alice, bob) = (person(), person());
    let relay = relay(alice.home.path());
    put(&alice, "f", b"hello");
    let (sharing, link) = share(&alice, &relay.url, &["--file", "f"]);
    connect(&bob, &link, &["--into", "."]).well();
    sharing.well();
    alice.ok(&["unshare", "Bob", "--yes"], "");
    let over = "\"Alice\" ended this contact: its keys are deleted here, too";
    Terminal::run(&bob, &["connect", "Alice", "--into", "."]).fails(4, over);
    assert_eq!(bob.ok(&["contacts"], ""), "");
}
