//! The documents run: README's terminal sessions, its tables, and the examples of the specification.

use std::{collections::BTreeSet, fs, os::unix::fs::symlink, path::Path};

use serde_json::Value;

use crate::harness::{Person, Serving, TestRelay, post, stderr, stdout};

mod abnf;

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

/// The anchor that a heading gets on the web: small letters, digits, hyphens and underscores, spaces as hyphens.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The headings of a document below its title, with their levels. What stands in code blocks is none.
fn headings(document: &str) -> Vec<(usize, String)> {
    let mut code = false;
    let mut found = Vec::new();
    for line in document.lines() {
        code ^= line.starts_with("```");
        let level = line.len() - line.trim_start_matches('#').len();
        if !code && level > 1 {
            found.push((level, line[level..].trim().to_owned()));
        }
    }
    found
}

/// The words in backticks of a line's first cell, or of a list in a source.
fn quoted(text: &str, quote: char) -> Vec<&str> {
    text.split(quote).skip(1).step_by(2).collect()
}

#[test]
fn links_within_and_between_documents_lead_somewhere() {
    for name in [
        "README.md",
        "SECURITY.md",
        "deploy/monitoring/README.md",
        "docs/architecture.md",
        "docs/client.md",
        "docs/design.md",
        "docs/operations.md",
        "docs/protocol.md",
        "docs/scaling.md",
        "docs/threat-model.md",
        "docs/tools.md",
    ] {
        let document = read(name);
        let folder = Path::new(name).parent().unwrap();
        for target in document.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            if target.starts_with("http") {
                continue;
            }
            let (file, fragment) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() { name.into() } else { folder.join(file) };
            assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(&path).exists(), "{name}: {target}");
            if !fragment.is_empty() {
                let there = headings(&read(path.to_str().unwrap()));
                assert!(there.iter().any(|(_, heading)| anchor(heading) == fragment), "{name}: {target}");
            }
        }
    }
}

#[test]
fn the_specifications_contents_name_every_heading_in_order() {
    let document = read("docs/protocol.md");
    let (_, rest) = document.split_once("\n## Contents\n").unwrap();
    let (contents, rest) = rest.split_once("\n## 1. ").unwrap();
    let named: Vec<&str> =
        contents.split("](#").skip(1).map(|rest| rest.split(')').next().unwrap()).collect();
    let there: Vec<String> =
        headings(&format!("\n## 1. {rest}")).iter().map(|(_, heading)| anchor(heading)).collect();
    assert_eq!(named, there);
    let unique: BTreeSet<&String> = there.iter().collect();
    assert_eq!(unique.len(), there.len(), "a heading stands twice");
}

/// Whatever can stand on the wire has a heading of its own.
#[test]
fn the_specification_has_a_heading_for_everything() {
    let document = read("docs/protocol.md");
    let headings: BTreeSet<String> = headings(&document).into_iter().map(|(_, heading)| heading).collect();
    for heading in ["3.2 `send`", "3.3 `check`", "3.4 `check`, many boxes", "3.5 `receive`", "3.6 `delete`"] {
        assert!(headings.contains(heading), "{heading}");
    }
    let between = |source: &str, from: &str, to: &str| -> String {
        let source = read(source);
        let (_, rest) = source.split_once(from).unwrap_or_else(|| panic!("no {from}"));
        rest.split(to).next().unwrap().to_owned()
    };
    let errors = between("src/protocol/refusal.rs", "pub fn error(&self)", "\n    }\n");
    let types = between("src/seal/message.rs", "const TYPES: [&str; 6] = [", "]");
    let frames = between("src/protocol/frame.rs", "Ok(match &*t {", "_ =>");
    for (source, count) in [(errors, 9), (types, 6), (frames, 4)] {
        let names = quoted(&source, '"');
        assert_eq!(names.len(), count, "{names:?}");
        for name in names {
            assert!(headings.contains(&format!("`{name}`")), "no heading for {name}");
        }
    }
}

/// The table of what is stored when names each write that the state machine makes, and no other.
#[test]
fn the_specification_names_every_write() {
    let document = read("docs/protocol.md");
    let (_, section) = document.split_once("\n### 6.9 ").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let named: BTreeSet<&str> = rows.flat_map(|row| quoted(row.split('|').nth(1).unwrap(), '`')).collect();
    let mut made = BTreeSet::new();
    let files = ["mod", "connect", "inbox", "mailbox", "outbox", "rekey", "unshare"];
    let sources: Vec<String> =
        files.iter().map(|file| read(&format!("src/client/sessions/{file}.rs"))).collect();
    for source in &sources {
        for rest in source.split("PersistPoint::").skip(1) {
            made.insert(rest.split(|c: char| !c.is_alphanumeric()).next().unwrap());
        }
    }
    assert_eq!(named, made);
}

/// The threat model names the tests that show what it says, in each section about an adversary. They are there.
#[test]
fn the_threat_models_tests_are_there() {
    let document = read("docs/threat-model.md");
    let sources = sources();
    let mut missing = Vec::new();
    let sections: Vec<&str> = document.split("\n## ").skip(1).collect();
    let adversaries: Vec<&&str> = sections.iter().filter(|section| section.contains("\nCannot")).collect();
    assert!(adversaries.len() >= 13, "{}", adversaries.len());
    for section in adversaries {
        let name = section.lines().next().unwrap();
        let shown: Vec<&str> = section.split("\nShown by: ").skip(1).collect();
        assert_eq!(shown.len(), 1, "{name}: one paragraph \"Shown by:\"");
        let tests = quoted(shown[0].split("\n\n").next().unwrap(), '`');
        assert!(!tests.is_empty(), "{name}");
        missing.extend(tests.into_iter().filter(|test| !sources.contains(&format!("fn {test}("))));
    }
    assert!(missing.is_empty(), "no tests of these names: {missing:?}");
}

/// All Rust of this repository.
fn sources() -> String {
    let mut folders = vec!["src".into(), "tests".into()];
    let mut sources = String::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(&folder)).unwrap() {
            let (entry, path) = entry.map(|entry| (entry.file_type().unwrap(), entry.path())).unwrap();
            if entry.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                sources.push_str(&fs::read_to_string(path).unwrap());
            }
        }
    }
    sources
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
