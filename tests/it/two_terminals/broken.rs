//! What broke off goes on: programs that are killed, started again with the same line or without the link.

use super::{Terminal, big, came, connect, person, put, relay, share};

/// How much was there already, in MiB, as this side was told at the end.
#[track_caller]
fn was_there(err: &str, done: &str) -> f64 {
    let last = err.lines().find(|line| line.starts_with(done) && line.contains("were there already"));
    let last = last.unwrap_or_else(|| panic!("no {done:?} of what was there: {err}"));
    let (_, there) = last.split_once("1 file, 95.37 MiB (").unwrap();
    there.strip_suffix(" MiB were there already)").unwrap().parse().unwrap()
}

#[test]
fn who_receives_is_killed() {
    let (alice, bob) = (person(), person());
    let relay = relay(alice.home.path());
    put(&alice, "big", big());
    let (sharing, link) = share(&alice, &relay.url, &["--file", "big"]);
    let connecting = connect(&bob, &link, &["--into", "into"]);
    connecting.says("receiving: 40 %");
    connecting.killed();
    let again = Terminal::run(&bob, &["connect", "Alice", "--into", "into"]);
    let (there, here) = (again.well(), sharing.well());
    came(&bob, "big", big());
    for (err, done) in [(&here, "sent"), (&there, "received")] {
        let there = was_there(err, done);
        assert!((38.0..90.0).contains(&there), "{there} {err}");
    }
}

#[test]
fn who_sends_is_killed() {
    let (alice, bob) = (person(), person());
    let relay = relay(alice.home.path());
    put(&alice, "big", big());
    let (sharing, link) = share(&alice, &relay.url, &["--file", "big"]);
    let connecting = connect(&bob, &link, &["--into", "into"]);
    sharing.says("sending: 40 %");
    sharing.killed();
    let again = Terminal::run(&alice, &["connect", "Bob", "--file", "big"]);
    let (there, here) = (connecting.well(), again.well());
    came(&bob, "big", big());
    for (err, done) in [(&here, "sent"), (&there, "received")] {
        let there = was_there(err, done);
        assert!((30.0..90.0).contains(&there), "{there} {err}");
    }
}
