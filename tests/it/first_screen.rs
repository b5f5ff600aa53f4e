//! README's sessions of two people: each has a terminal, one shares and the other connects, all of it as it stands there.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    process::Command,
};

use crate::{
    documents::{matches, read},
    harness::{Person, Running, Serving, stderr, stdout},
};

/// What README shows of things that are different each time.
const SHOWN: [&str; 3] =
    ["☎️ 🐓 🚀 🐟 🎅 🌙 👓", "Telephone, Rooster, Rocket, Fish, Santa, Moon, Glasses", "7291 6682 2700"];

/// README's terminals: whose it is, a command, and what it prints.
fn steps(readme: &str) -> Vec<(&str, String, String)> {
    let mut steps = Vec::new();
    for rest in readme.split("\n```console ").skip(1) {
        let (who, rest) = rest.split_once('\n').unwrap();
        let block = rest.split("\n```").next().unwrap();
        for step in format!("\n{block}").split("\n$ ").skip(1) {
            let (command, expected) = step.split_once('\n').unwrap_or((step, ""));
            let expected = SHOWN.iter().fold(expected.to_owned(), |text, shown| text.replace(shown, "…"));
            steps.push((who, command.to_owned(), expected));
        }
    }
    steps
}

/// Whether a command goes on until the other side has come and both are done.
fn meets(command: &str) -> bool {
    ["share", "connect", "up"].iter().any(|name| command.contains(&format!("connectoid {name} ")))
}

/// A command as a process of its own, which prints both its outputs as a terminal shows them.
fn start(person: &Person, command: &str) -> Running {
    let line = match command.rsplit_once(" | connectoid") {
        Some((input, rest)) => format!("exec connectoid{rest} < <({input})"),
        None => format!("exec {command}"),
    };
    let mut shell = Command::new("bash");
    shell.args(["-c", &format!("exec 2>&1\n{line}")]);
    Running::start(person.at_home(shell))
}

/// What was printed as README has it: on a terminal progress is a bar that goes away, and how the first packets found their way
/// is said once.
fn shown(printed: &[String]) -> String {
    let mut lines: Vec<&str> = Vec::new();
    let mut way = None;
    for line in printed {
        match line.split_once(": ") {
            Some(("sending" | "receiving", _)) => {}
            Some(("directly", _)) => way = way.or(Some(line)),
            _ => lines.push(line),
        }
    }
    if let (Some(way), Some(at)) = (way, lines.iter().position(|line| line.starts_with("connected to "))) {
        lines.insert(at + 1, way);
    }
    lines.join("\n")
}

#[test]
fn readme_terminals_print_what_they_say() {
    let readme = read("README.md");
    let relay = Serving::start(&["--database", "sqlite::memory:"]);
    let (alice, bob) = (Person::new(), Person::new());
    for person in [&alice, &bob] {
        fs::create_dir_all(person.path(".config/connectoid")).unwrap();
        // Nobody outside of this machine is asked anything.
        fs::write(person.path(".config/connectoid/config.toml"), "stun = []\n").unwrap();
    }
    fs::create_dir(alice.path("holiday")).unwrap();
    fs::write(alice.path("holiday/beach.jpg"), vec![7; 3_000_000]).unwrap();
    fs::write(alice.path("holiday/hills.jpg"), vec![8; 200_000]).unwrap();

    // What Bob reaches at Alice's, in place of her sshd.
    let ssh = TcpListener::bind("127.0.0.1:0").unwrap();
    let here = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let there = ssh.local_addr().unwrap().port();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = ssh.accept() {
            drop(stream.write_all(b"SSH-2.0-test\r\n"));
        }
    });
    let real = |text: &str| {
        let text = text.replace("http://127.0.0.1:8080", &relay.url);
        let text = text.replace("--allow 22", &format!("--allow {there}"));
        text.replace("--forward 2222:22", &format!("--forward {here}:{there}"))
    };

    let steps = steps(&readme);
    let people: Vec<&str> = steps.iter().map(|(who, ..)| *who).collect();
    assert!(people.len() >= 8 && people.iter().all(|who| ["Alice", "Bob"].contains(who)), "{people:?}");
    let mut link = String::new();
    let mut waiting: Option<(String, String, Running)> = None;
    for (who, command, expected) in steps {
        let person = if who == "Alice" { &alice } else { &bob };
        if !meets(&command) {
            let output = person.shell(&real(&format!("exec 2>&1\n{command}")));
            let printed = stdout(&output).replace(&relay.url, "http://127.0.0.1:8080");
            let printed = printed.trim_end();
            assert!(
                matches(&expected, printed),
                "{who} $ {command}\nexpected: {expected}\nprinted:  {printed}"
            );
            assert!(output.status.success(), "{who} $ {command}: {}", stderr(&output));
            continue;
        }
        if who == "Alice" {
            let mut running = start(person, &real(&command));
            running.says("waiting for ");
            if let Some(made) = running.printed.iter().find(|line| line.split('.').count() == 4) {
                link.clone_from(made);
            }
            waiting = Some((command, expected, running));
            continue;
        }
        let mut connect = start(person, &real(&command).replace("LINK", &link));
        let (shared, expected_of_share, mut share) = waiting.take().expect("Alice waits first");
        if command.contains("--forward") {
            connect.says("directly: ");
            let mut greeting = String::new();
            let ssh = TcpStream::connect(("localhost", here)).unwrap();
            BufReader::new(ssh).read_line(&mut greeting).unwrap();
            assert_eq!(greeting, "SSH-2.0-test\r\n");
            connect.signal("INT");
            share.says("\"Bob\" left");
            share.signal("INT");
        }
        let mut compared = Vec::new();
        for (who, command, expected, mut running) in
            [("Alice", shared, expected_of_share, share), ("Bob", command, expected, connect)]
        {
            running.ends();
            let mut connected = running.printed.iter().filter_map(|line| line.strip_prefix("connected to "));
            compared.extend(
                connected.next().and_then(|rest| rest.split_once("\" ")).map(|(_, sas)| sas.to_owned()),
            );
            let own = running.printed.iter().find_map(|line| line.strip_prefix("a relay for this try: "));
            let url = own.unwrap_or(&relay.url);
            let printed = shown(&running.printed).replace(url, "http://127.0.0.1:8080");
            let printed = printed.trim_end_matches("\nconnectoid: stopped");
            assert!(
                matches(&expected, printed),
                "{who} $ {command}\nexpected: {expected}\nprinted:  {printed}"
            );
        }
        assert!(
            compared.len() == 2 && compared[0] == compared[1] && compared[0].split(' ').count() == 7,
            "{compared:?}"
        );
    }
    assert!(waiting.is_none());
    for name in ["beach.jpg", "hills.jpg"] {
        assert_eq!(
            fs::read(bob.path("holiday").join(name)).unwrap(),
            fs::read(alice.path("holiday").join(name)).unwrap()
        );
    }
}
