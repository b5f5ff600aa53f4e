//! What a shell and `man` know of the program, and logs for machines.

use std::{collections::BTreeSet, fs};

use serde_json::{Value, json};

use crate::{
    cli::seen,
    harness::{KEY, Person, Serving, post},
};

/// What bash offers behind these words.
fn completed(person: &Person, words: &str) -> Vec<String> {
    let line = format!(
        r#"source <(connectoid completions bash) && [[ $(complete -p connectoid) == *_connectoid* ]] || exit 1
        COMP_WORDS=({words}) COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
        _connectoid connectoid "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[COMP_CWORD-1]}}"
        printf '%s\n' "${{COMPREPLY[@]}}""#
    );
    let (code, offered, err) = seen(&person.shell(&line));
    assert_eq!((code, err.as_str()), (0, ""), "{words}");
    offered.lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_and_options() {
    let person = Person::new();
    assert_eq!(completed(&person, "connectoid se"), ["serve", "send", "seal"]);
    assert_eq!(completed(&person, "connectoid serve --log"), ["--log-level", "--log-format"]);
    assert_eq!(completed(&person, "connectoid serve --log-format js"), ["json"]);
}

#[test]
fn every_shell_gets_a_script() {
    let person = Person::new();
    for (shell, words) in [
        ("bash", "complete -F _connectoid"),
        ("zsh", "#compdef connectoid"),
        ("fish", "complete -c connectoid"),
        ("elvish", "edit:completion:arg-completer[connectoid]"),
        ("powershell", "Register-ArgumentCompleter -Native -CommandName 'connectoid'"),
    ] {
        let script = person.ok(&["completions", shell], "");
        assert!(script.contains(words), "{shell}: {script:.300}");
    }
    assert_eq!(seen(&person.run(&["completions", "nonsense"], "")).0, 2);
}

/// The commands below this one, as its help lists them.
fn commands(person: &Person, path: &[&str]) -> Vec<String> {
    let help = person.ok(&[path, &["--help"]].concat(), "");
    let Some((_, list)) = help.split_once("\nCommands:\n") else {
        return Vec::new();
    };
    let list = list.split("\n\n").next().unwrap();
    // What is further in goes on with the line before.
    let lines = list.lines().filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')));
    let names = lines.filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn every_command_has_a_page_in_the_manual() {
    let person = Person::new();
    assert_eq!(person.ok(&["man", "share/man1"], ""), "");
    let mut expected = BTreeSet::from(["connectoid.1".to_owned()]);
    let mut below: Vec<Vec<String>> = vec![Vec::new()];
    while let Some(path) = below.pop() {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        for name in commands(&person, &path) {
            let path: Vec<String> = path.iter().copied().chain([name.as_str()]).map(str::to_owned).collect();
            expected.insert(format!("connectoid-{}.1", path.join("-")));
            below.push(path);
        }
    }
    assert!(expected.contains("connectoid-link-show.1"), "{expected:?}");
    let pages = fs::read_dir(person.path("share/man1")).unwrap();
    let pages: BTreeSet<String> =
        pages.map(|page| page.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(pages, expected);

    for page in &pages {
        let text = fs::read_to_string(person.path("share/man1").join(page)).unwrap();
        let name = page.strip_suffix(".1").unwrap();
        assert!(text.contains(&format!(".TH {name} 1 ")), "{page}: {text:.300}");
        assert!(text.contains(".SH SYNOPSIS"), "{page}");
    }
    let serve = fs::read_to_string(person.path("share/man1/connectoid-serve.1")).unwrap();
    for option in ["\\-\\-database", "\\-\\-message\\-ttl", "CONNECTOID_LOG_FORMAT", "Possible values"] {
        assert!(serve.contains(option), "{option}: {serve}");
    }

    assert_eq!(
        seen(&person.run(&["man", "share/man1/connectoid.1"], "")),
        (1, String::new(), "connectoid: share/man1/connectoid.1: File exists (os error 17)\n".into())
    );
}

/// Serves two requests, and stops: what was logged.
fn logged(format: &str) -> String {
    let relay = Serving::start(&[
        "--database",
        "sqlite::memory:",
        "--url",
        "https://connecto.id",
        "--log-level",
        "debug",
        "--log-format",
        format,
    ]);
    post(&relay.url, &json!({"pub": KEY, "action": "send", "data": "aGVsbG8"}).to_string());
    post(&relay.url, &json!({"pub": "nonsense", "action": "check"}).to_string());
    relay.signal("TERM");
    let (code, log) = relay.wait();
    assert_eq!(code, Some(0), "{log}");
    log
}

#[test]
fn the_log_as_json_is_one_object_a_line() {
    let log = logged("json");
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    assert_eq!(
        (&lines[0]["message"], &lines[0]["database"]),
        (&json!("listening"), &json!("sqlite::memory:"))
    );
    let keys = |line: &Value| line.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let requests: Vec<&Value> = lines.iter().filter(|line| line.get("action").is_some()).collect();
    assert_eq!(requests.len(), 2, "{log}");
    for request in &requests {
        assert_eq!(keys(request), ["action", "level", "result", "timestamp"]);
        assert_eq!(request["level"], "DEBUG");
        // As 2026-11-20T07:00:00.000000Z
        assert_eq!(request["timestamp"].as_str().unwrap().len(), 27);
    }
    assert_eq!((&requests[0]["action"], &requests[0]["result"]), (&json!("send"), &json!("ok")));
    assert_eq!((&requests[1]["action"], &requests[1]["result"]), (&json!("none"), &json!("Bad key")));
    assert_eq!(lines.last().unwrap()["message"], "stopped; everything accepted is stored");
}

#[test]
fn the_log_as_text_is_for_people() {
    let log = logged("text");
    assert!(log.starts_with("connectoid 0.2.0 listens on http://127.0.0.1:"), "{log}");
    assert!(log.contains(" DEBUG action=\"send\" result=\"ok\"\n"), "{log}");
    assert!(log.ends_with(" INFO stopped; everything accepted is stored\n"), "{log}");
    assert_eq!(log.lines().filter(|line| line.starts_with('{')).count(), 0, "{log}");
}
