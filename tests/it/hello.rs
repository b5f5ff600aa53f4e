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
fn the_guide_shows_that_program() {
    let (guide, program) = (read("docs/client.md"), read("examples/hello.rs"));
    assert_eq!(blocks(&guide, "rust"), [program.trim_end()]);
    assert!(program.lines().count() < 40);
    for command in ["share http://127.0.0.1:8080", "connect LINK"] {
        assert!(guide.contains(&format!("\ncargo run --example hello {command}\n")), "{command}");
    }
}
