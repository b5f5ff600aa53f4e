//! The documents run: README's terminal sessions, its tables, and the examples of the specification.

use std::{collections::BTreeSet, fs, os::unix::fs::symlink, path::Path};

use serde_json::Value;

use crate::harness::{Person, Serving, TestRelay, post, stderr, stdout};

pub fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The code blocks of a document with this language.
pub fn blocks<'a>(document: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("\n```{language}\n");
    document.split(&fence).skip(1).map(|rest| rest.split("\n```").next().unwrap()).collect()
}

/// Whether `output` is `expected`, where `…` stands for anything within a line.
pub fn matches(expected: &str, output: &str) -> bool {
    let mut rest = output;
    let mut parts = expected.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(after) = rest.strip_prefix(first) else {
        return false;
    };
    rest = after;
    let mut last = None;
    for part in parts {
        last = Some(part);
        match rest.find(part) {
            Some(at) if !rest[..at].contains('\n') => rest = &rest[at + part.len()..],
            _ => return false,
        }
    }
    rest.is_empty() || last == Some("") && !rest.contains('\n')
}

/// Runs the `$ ` lines of README in one shell, against a relay of this test, and compares what they print.
#[test]
fn readme_sessions_print_what_they_say() {
    let readme = read("README.md");
    let relay = Serving::start(&["--database", "sqlite::memory:"]);
    let person = Person::new();
    symlink(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"), person.path("tests")).unwrap();
    symlink(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts"), person.path("scripts")).unwrap();

    let mut commands = Vec::new();
    for block in blocks(&readme, "console") {
        for step in format!("\n{block}").split("\n$ ").skip(1) {
            let (command, expected) = step.split_once('\n').unwrap_or((step, ""));
            // The first command is the relay that runs already.
            if !command.starts_with("cargo run --release -- serve") {
                commands.push((command.to_owned(), expected.trim_end().to_owned()));
            }
        }
    }
    assert!(commands.len() >= 8, "{commands:?}");
    let mark = "\u{1e}";
    let mut script = String::from("exec 2>&1\n");
    for (command, _) in &commands {
        script.push_str(&command.replace("http://127.0.0.1:8080", &relay.url));
        script.push_str(&format!("\nprintf '{mark}'\n"));
    }
    let output = person.shell(&script);
    let printed = stdout(&output).replace(&relay.url, "http://127.0.0.1:8080");
    let printed: Vec<&str> = printed.split(mark).collect();
    for ((command, expected), output) in commands.iter().zip(&printed) {
        let output = output.trim_end();
        assert!(matches(expected, output), "$ {command}\nexpected: {expected}\nprinted:  {output}");
    }
    assert_eq!(printed.len(), commands.len() + 1, "{}", stderr(&output));
}

#[test]
fn readme_names_the_two_commands() {
    let readme = read("README.md");
    assert!(readme.contains("\n$ cargo run --release -- serve\n"));
    assert!(readme.contains("\nscripts/test\n"));
    assert!(read(".ci/run").contains("scripts/test"));
}

/// Every option of `serve` is in README's table, with its default, and the table has no other.
#[test]
fn readme_lists_the_settings() {
    let readme = read("README.md");
    let person = Person::new();
    let help = person.ok(&["serve", "--help"], "").split_whitespace().collect::<Vec<_>>().join(" ");
    let flags = |text: &str| -> BTreeSet<String> {
        text.split(|c: char| !(c.is_ascii_lowercase() || c == '-'))
            .filter(|word| word.len() > 3 && word.starts_with("--"))
            .map(str::to_owned)
            .collect()
    };
    let table: String = readme.lines().filter(|line| line.starts_with("| `--")).collect();
    let mut expected = flags(&help);
    for general in ["--help", "--keys", "--version"] {
        expected.remove(general);
    }
    assert_eq!(flags(&table), expected);
    for line in readme.lines().filter(|line| line.starts_with("| `--")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let variable = cells[2].trim_matches('`');
        assert!(help.contains(&format!("[env: {variable}")), "{line}");
        let default = cells[3].trim_matches('`');
        if help.contains(&format!("[default: {default}]")) || default.is_empty() {
            continue;
        }
        // These two have a default that depends on PORT and DATABASE_URL.
        assert!(matches!(default, "127.0.0.1:8080" | "sqlite://connectoid.db"), "{line}");
    }
}

/// The numbered examples of the specification are one story; its relay answers as it says.
#[test]
fn the_specifications_examples_are_answered_as_they_say() {
    let document = read("docs/protocol.md");
    let relay = TestRelay::start();
    relay.clock.set(1_795_170_000_000_000);
    let mut number = 0;
    let mut rest = document.as_str();
    while let Some(at) = rest.find(&format!("\nExample {}, request", number + 1)) {
        number += 1;
        rest = &rest[at..];
        let mut pair = blocks(rest, "json").into_iter();
        let (request, expected) = (pair.next().unwrap(), pair.next().unwrap());
        let expected: Value = serde_json::from_str(expected).unwrap();
        let reply = post(&relay.url, request);
        let live = without_questions(reply.json());
        let status = rest.split("reply, status ").nth(1).filter(|_| expected["ok"] == false);
        let status: u16 = status.map_or(200, |status| status[..3].parse().unwrap());
        assert_eq!(reply.status, status, "example {number}");
        let expected = without_questions(expected);
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(live[field], *value, "example {number}: {field}");
        }
        let extra: Vec<&String> =
            live.as_object().unwrap().keys().filter(|key| expected.get(key).is_none()).collect();
        assert!(extra.iter().all(|key| *key == "detail"), "example {number}: {extra:?}");
        rest = &rest[1..];
    }
    assert_eq!(number, 14);
    for block in blocks(&document, "json") {
        serde_json::from_str::<Value>(block).unwrap_or_else(|error| panic!("{error}: {block}"));
    }
}

/// Sealing is random: of a question only the length is foretold.
fn without_questions(mut reply: Value) -> Value {
    let fields = reply.as_object_mut().unwrap();
    for (name, value) in fields {
        match value {
            Value::String(question) if name == "question" => *value = question.len().into(),
            Value::Array(boxes) => {
                *value = boxes.iter().cloned().map(without_questions).collect();
            }
            _ => {}
        }
    }
    reply
}

#[test]
fn the_wildcard_of_this_test_is_no_wildcard_for_everything() {
    assert!(matches("a…c", "abc") && matches("a…", "abc") && matches("…", "") && matches("x\na…", "x\nab"));
    assert!(
        !matches("a…c", "ab") && !matches("a…c", "a\nc") && !matches("a", "ab") && !matches("a…", "a\nb")
    );
}
