//! What two who are connected do: pipes, ports, folders.

use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    thread,
};

use super::{MB, Terminal, came, connect, noise, person, put, relay, share};

#[test]
fn pipes_carry_megabytes_both_ways_and_their_end() {
    let (alice, bob) = (person(), person());
    let relay = relay(alice.home.path());
    let (up, down) = (noise(7 * MB), noise(9 * MB));
    let (sharing, mut from_alice) =
        Terminal::fed(&alice, &["share", "--for", "Bob", "--relay", &relay.url, "--pipe"]);
    // Standard output is the pipe's.
    let link = sharing.says("link: ");
    let (connecting, mut from_bob) = Terminal::fed(&bob, &["connect", &link, "--for", "Alice", "--pipe"]);
    let (to_bob, to_alice) = (down.clone(), up.clone());
    let feeding = thread::spawn(move || from_alice.write_all(&to_bob).unwrap());
    from_bob.write_all(&to_alice).unwrap();
    drop(from_bob);
    feeding.join().unwrap();
    let (there, here) = (connecting.ends(), sharing.ends());
    assert_eq!((there.code, here.code), (Some(0), Some(0)), "{}{}", there.err, here.err);
    assert!(there.out == down && here.out == up, "what came out is not what went in");
}

#[test]
fn pipes_pass_on_what_is_written_at_once() {
    let (alice, bob) = (person(), person());
    let relay = relay(alice.home.path());
    let (sharing, mut from_alice) =
        Terminal::fed(&alice, &["share", "--for", "Bob", "--relay", &relay.url, "--pipe"]);
    let link = sharing.says("link: ");
    let (connecting, mut from_bob) = Terminal::fed(&bob, &["connect", &link, "--for", "Alice", "--pipe"]);
    from_alice.write_all(b"marco\n").unwrap();
    connecting.shows("marco\n");
    from_bob.write_all(b"polo\n").unwrap();
    sharing.shows("polo\n");
    // One direction may end before the other.
    drop(from_alice);
    from_bob.write_all(b"and more\n").unwrap();
    sharing.shows("polo\nand more\n");
    drop(from_bob);
    assert_eq!((sharing.ends().code, connecting.ends().code), (Some(0), Some(0)));
}

/// A TCP server that sends back what comes, to its end.
fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for tcp in listener.incoming() {
            let mut tcp = tcp.unwrap();
            thread::spawn(move || std::io::copy(&mut tcp.try_clone().unwrap(), &mut tcp).unwrap());
        }
    });
    port
}

/// A port on which nobody listens.
pub(super) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Sends this through a port, and reads what comes back to its end.
fn through(port: u16, bytes: &[u8]) -> Vec<u8> {
    let mut tcp = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (mut writing, all) = (tcp.try_clone().unwrap(), bytes.to_owned());
    let writing = thread::spawn(move || {
        writing.write_all(&all).unwrap();
        writing.shutdown(Shutdown::Write).unwrap();
    });
    let mut back = Vec::new();
    tcp.read_to_end(&mut back).unwrap();
    writing.join().unwrap();
    back
}

#[test]
fn ports_that_are_allowed_are_reached_and_no_others() {
    let (alice, bob) = (person(), person());
    let relay = relay(alice.home.path());
    let (served, dead, other) = (echo(), free_port(), echo());
    let allow = [format!("127.0.0.1:{served}"), format!("127.0.0.1:{dead}")];
    let (sharing, link) = share(&alice, &relay.url, &["--allow", &allow[0], "--allow", &allow[1]]);
    let local = [(); 3].map(|()| free_port());
    let forward =
        [served, dead, other].into_iter().zip(local).map(|(to, from)| format!("{from}:127.0.0.1:{to}"));
    let forward: Vec<String> = forward.collect();
    let forward: Vec<&str> = forward.iter().flat_map(|forward| ["--forward", forward]).collect();
    let connecting = connect(&bob, &link, &forward);
    connecting.says("connected to \"Alice\"");

    let bytes = noise(3 * MB);
    let many: Vec<_> = (0..3).map(|_| thread::spawn(move || through(local[0], &noise(3 * MB)))).collect();
    assert!(many.into_iter().all(|one| one.join().unwrap() == bytes), "what came back is another");

    let ends_at_once = |port| {
        let mut tcp = TcpStream::connect(("127.0.0.1", port)).unwrap();
        match tcp.read(&mut [0]) {
            Ok(length) => assert_eq!(length, 0),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    };
    ends_at_once(local[1]);
    let refused = format!("a forwarded connection: the other side refused 127.0.0.1:{dead}: ");
    assert_eq!(connecting.says(&refused), "Connection refused (os error 111)");
    ends_at_once(local[2]);
    let refused = format!("a forwarded connection: the other side refused 127.0.0.1:{other}: ");
    let remedy = format!("it is not allowed there: --allow 127.0.0.1:{other}");
    assert_eq!(connecting.says(&refused), remedy);

    // Who lets ports be reached waits for the next time.
    connecting.signal("INT");
    connecting.fails(130, "stopped");
    sharing.says("\"Bob\" left; waiting for the next time (Ctrl-C ends)");
    let again = Terminal::run(&bob, &[&["connect", "Alice"], &forward[..2]].concat());
    again.says("connected to \"Alice\"");
    assert_eq!(through(local[0], b"once more"), b"once more");
    again.signal("TERM");
    again.fails(130, "stopped");
    sharing.signal("INT");
    sharing.fails(130, "stopped");
}

#[test]
fn folders_come_as_they_are_and_nothing_is_overwritten() {
    let (alice, bob) = (person(), person());
    let relay = relay(alice.home.path());
    let photos = noise(5 * MB);
    put(&alice, "trip/photos/one.jpg", &photos);
    put(&alice, "trip/run.sh", b"#!/bin/sh\n");
    fs::set_permissions(alice.path("trip/run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    put(&alice, "trip/nothing", b"");
    fs::create_dir(alice.path("trip/empty")).unwrap();
    std::os::unix::fs::symlink("run.sh", alice.path("trip/link")).unwrap();
    put(&alice, "notes.txt", b"new");
    put(&bob, "into/notes.txt", b"old");

    let (sharing, link) = share(&alice, &relay.url, &["--file", "trip", "--file", "notes.txt"]);
    let there = connect(&bob, &link, &["--into", "into"]).well();
    let here = sharing.well();
    came(&bob, "trip/photos/one.jpg", &photos);
    came(&bob, "trip/run.sh", b"#!/bin/sh\n");
    came(&bob, "trip/nothing", b"");
    came(&bob, "notes.txt", b"old");
    came(&bob, "notes (2).txt", b"new");
    assert!(bob.path("into/trip/empty").is_dir() && !bob.path("into/trip/link").exists());
    let mode = |name| fs::metadata(bob.path(name)).unwrap().permissions().mode() & 0o100;
    assert_eq!((mode("into/trip/run.sh"), mode("into/notes (2).txt")), (0o100, 0));
    assert!(there.contains("receiving \"trip\", \"notes.txt\" (4 files, 4.77 MiB)\n"), "{there}");
    assert!(there.contains("\nreceived 4 files, 4.77 MiB\n"), "{there}");
    let renamed = "\"notes.txt\" was taken by another file: it is here as \"notes (2).txt\"\n";
    assert!(there.contains(renamed), "{there}");
    assert!(here.contains("/trip/link is not sent: a symbolic link\n"), "{here}");
    assert!(here.contains("\nsent 4 files, 4.77 MiB\n"), "{here}");

    // Both ways at once; what is there already is not sent again.
    put(&bob, "back.bin", &photos);
    let sharing = Terminal::run(&alice, &["connect", "Bob", "--file", "trip", "--into", "into"]);
    let there = Terminal::run(&bob, &["connect", "Alice", "--file", "back.bin", "--into", "into"]).well();
    let here = sharing.well();
    came(&alice, "back.bin", &photos);
    assert!(here.contains("\nsent 3 files, 4.77 MiB (4.77 MiB were there already)\n"), "{here}");
    assert!(there.contains("\nreceived 3 files, 4.77 MiB (4.77 MiB were there already)\n"), "{there}");
    assert!(there.contains("\nsent 1 file, 4.77 MiB\n"), "{there}");
}

#[test]
fn up_is_a_relay_and_a_link_for_a_first_try() {
    let (alice, bob) = (person(), person());
    let bytes = noise(5 * MB);
    put(&alice, "a file.bin", &bytes);
    let up = Terminal::run(&alice, &["up", "--file", "a file.bin"]);
    let relay = up.says("a relay for this try: http://127.0.0.1:");
    up.shows(" --for Alice --into .\n");
    up.says("in another terminal:");
    // As it is pasted there.
    let (link, line) = {
        let output = up.seen.output.lock().unwrap();
        let printed = super::text(&output.out);
        let (link, line) = printed.trim_end().split_once('\n').unwrap();
        (link.to_owned(), line.to_owned())
    };
    assert_eq!(line, format!("connectoid connect {link} --for Alice --into ."));
    let mut shell = std::process::Command::new("bash");
    shell.current_dir(bob.path("into"));
    let line = format!("cd into && {line}");
    let there = Terminal::start(&bob, shell, &["-c", &line], std::process::Stdio::null()).well();
    let here = up.well();
    came(&bob, "a file.bin", &bytes);
    assert!(there.contains("\nreceived 1 file, 4.77 MiB\n"), "{there}");
    assert!(here.contains("\nwaiting for it (Ctrl-C ends)\n"), "{here}");

    // Nothing is kept on this side, and nobody listens any more.
    assert!(!alice.keys_file().exists());
    assert!(TcpStream::connect(("127.0.0.1", relay.parse::<u16>().unwrap())).is_err());
}
