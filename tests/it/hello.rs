//! The first program that an app developer sees: it runs, is short, and stands in the guide as it is.

use std::process::Command;

use crate::{
    documents::{blocks, read},
    harness::{Person, Running, Serving, example},
};

#[test]
fn two_terminals_say_hello() {
    let relay = Serving::start(&["--database", "sqlite::memory:"]);
    let (alice, bob) = (Person::new(), Person::new());
    let hello = |person: &Person, arguments: [&str; 2]| {
        let mut command = Command::new(example("hello"));
        command.args(arguments).current_dir(person.home.path());
        Running::start(command)
    };
    let mut share = hello(&alice, ["share", &relay.url]);
    let link = share.says("for Bob: ");
    let mut connect = hello(&bob, ["connect", &link]);
    let seen = [share.says("connected to Bob "), connect.says("connected to Alice ")];
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0].split(' ').count(), 7, "{seen:?}");
    assert_eq!(share.printed, [format!("for Bob: {link}"), format!("connected to Bob {}", seen[0])]);
    assert_eq!(connect.printed, [format!("connected to Alice {}", seen[0])]);
}

#[test]
fn two_terminals_say_hello_over_webrtc() {
    let relay = Serving::start(&["--database", "sqlite::memory:"]);
    let (alice, bob) = (Person::new(), Person::new());
    let hello = |person: &Person, arguments: [&str; 2]| {
        let mut command = Command::new(example("hello_webrtc"));
        command.args(arguments).current_dir(person.home.path());
        Running::start(command)
    };
    let mut share = hello(&alice, ["share", &relay.url]);
    let link = share.says("for Bob: ");
    let mut connect = hello(&bob, ["connect", &link]);
    let seen = [share.says("connected to Bob "), connect.says("connected to Alice ")];
    assert_eq!(seen[0], seen[1]);
    assert_eq!(share.says("hello: "), "Hello, Alice");
    assert_eq!(connect.says("hello: "), "Hello, Bob");
}

#[test]
fn the_guide_shows_these_programs() {
    let guide = read("docs/client.md");
    let programs = ["hello", "hello_webrtc"].map(|name| read(&format!("examples/{name}.rs")));
    assert_eq!(blocks(&guide, "rust"), programs.each_ref().map(|program| program.trim_end()));
    for (name, program) in ["hello", "hello_webrtc"].iter().zip(&programs) {
        assert!(program.lines().count() <= 40, "{name}");
        for command in ["share http://127.0.0.1:8080", "connect LINK"] {
            let line = format!("\ncargo run --example {name} {command}\n");
            assert!(guide.contains(&line), "{line}");
        }
    }
}
