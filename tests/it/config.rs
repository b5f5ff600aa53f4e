//! The config file: where it is, what it says, and what goes before it.

use std::{fs, os::unix::fs::PermissionsExt as _};

use connectoid::protocol::base64url;

use crate::{
    cli::{parts, seen},
    documents::{blocks, read},
    harness::Person,
};

const DEFAULT: &str = ".config/connectoid/config.toml";

/// Writes a config file for this person only.
fn write(person: &Person, name: &str, text: &str) {
    let path = person.path(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn run(person: &Person, line: &str) -> (i32, String, String) {
    seen(&person.shell(line))
}

/// The relays of the link that this line makes.
fn relays(person: &Person, line: &str) -> String {
    let (code, link, err) = run(person, line);
    assert_eq!((code, err.as_str()), (0, ""), "{line}");
    String::from_utf8(base64url::decode(parts(&link)[1]).unwrap()).unwrap()
}

/// What `connectoid config` prints, with the home folder as `~`.
fn shown(person: &Person, line: &str) -> String {
    let (code, out, _) = run(person, line);
    assert_eq!(code, 0, "{line}");
    out.replace(person.home.path().to_str().unwrap(), "~")
}

#[test]
fn without_a_file_everything_is_built_in() {
    let alice = Person::new();
    assert_eq!(
        shown(&alice, "connectoid config"),
        "config   ~/.config/connectoid/config.toml (not there)\n\
         relay    none (built in)\n\
         expires  7days (built in)\n\
         keys     ~/.local/share/connectoid/keys.json (built in)\n\
         stun     stun:stun.l.google.com:19302 (built in)\n\
         turn     none (built in)\n"
    );
    // The line that it says makes one, which sets nothing.
    let (_, _, hint) = run(&alice, "connectoid config");
    let line = hint.strip_prefix("make it with: ").unwrap();
    assert_eq!(run(&alice, line), (0, String::new(), String::new()));
    let built_in = shown(&alice, "connectoid config");
    assert!(built_in.starts_with("config   ~/.config/connectoid/config.toml\nrelay    none (built in)\n"));
    assert_eq!(fs::read_to_string(alice.path(DEFAULT)).unwrap(), alice.ok(&["config", "--example"], ""));
}

#[test]
fn what_it_says_is_in_effect() {
    let alice = Person::new();
    write(
        &alice,
        DEFAULT,
        "relays = [\"https://a.example\", \"https://b.example\"]\nexpires = \"never\"\nkeys = \"mine.json\"\nstun = []\n\
         turn = [{ url = \"turn:[2001:db8::1]?transport=tcp\", username = \"alice\", password = \"correct horse\" }]\n",
    );
    assert_eq!(
        shown(&alice, "connectoid config"),
        "config   ~/.config/connectoid/config.toml\n\
         relay    https://a.example (config file)\n\
         relay    https://b.example (config file)\n\
         expires  never (config file)\n\
         keys     ~/.config/connectoid/mine.json (config file)\n\
         stun     none (config file)\n\
         turn     turn:[2001:db8::1]:3478?transport=tcp for \"alice\", password hidden (config file)\n"
    );
    assert_eq!(relays(&alice, "connectoid link --for Bob"), "https://a.example https://b.example");
    assert!(alice.path(".config/connectoid/mine.json").exists() && !alice.keys_file().exists());
    assert!(alice.ok(&["contacts"], "").ends_with("\tdoes not expire\n"));
    // It is not in the way of what needs no relays.
    assert_eq!(run(&alice, "connectoid link --for Bob --again").0, 0);

    // The environment goes before it, and the command line before that. An empty variable says nothing.
    let line = |variables: &str, more: &str| {
        relays(&alice, &format!("{variables} connectoid link --for Bob --replace {more}"))
    };
    assert_eq!(line("CONNECTOID_RELAY=https://c.example", ""), "https://c.example");
    assert_eq!(line("CONNECTOID_RELAY=https://c.example", "--relay https://d.example"), "https://d.example");
    assert_eq!(line("CONNECTOID_RELAY=", ""), "https://a.example https://b.example");
    line("", "--expires 0s");
    assert!(alice.ok(&["contacts"], "").contains("\texpired 20"));
    let key = "openssl ecparam -name secp384r1 -genkey -noout -out key.pem && connectoid key import key.pem --for Carol";
    assert_eq!(relays(&alice, key), "https://a.example https://b.example");
    assert_eq!(run(&alice, "CONNECTOID_KEYS=k.json connectoid contacts").1, "");
    let (_, listed, _) =
        run(&alice, "CONNECTOID_KEYS=k.json connectoid contacts --keys .config/connectoid/mine.json");
    assert_eq!(listed.lines().count(), 2);
    let shown = shown(&alice, "CONNECTOID_RELAY=https://c.example CONNECTOID_KEYS=k.json connectoid config");
    assert!(shown.contains("\nrelay    https://c.example (CONNECTOID_RELAY)\nexpires"), "{shown}");
    assert!(shown.contains("\nkeys     k.json (CONNECTOID_KEYS)\n"), "{shown}");
}

#[test]
fn where_it_is() {
    let alice = Person::new();
    for name in [DEFAULT, "xdg/connectoid/config.toml", "named.toml", "option.toml"] {
        write(
            &alice,
            name,
            &format!("relays = [\"https://{}.example\"]", name.split('.').next().unwrap().len()),
        );
    }
    // The lengths of what stands before the first dot: "", "xdg/connectoid/config", "named", "option".
    for (variables, option, relay) in [
        ("", "", "https://0.example"),
        ("XDG_CONFIG_HOME=$HOME/xdg", "", "https://21.example"),
        ("XDG_CONFIG_HOME=xdg", "", "https://0.example"),
        ("XDG_CONFIG_HOME=$HOME/xdg CONNECTOID_CONFIG=named.toml", "", "https://5.example"),
        ("CONNECTOID_CONFIG=named.toml", "--config option.toml", "https://6.example"),
        ("CONNECTOID_CONFIG=", "", "https://0.example"),
    ] {
        let name = format!("'{variables} {option}'");
        let line = format!("{variables} connectoid link --for {name} {option}");
        assert_eq!(relays(&alice, &line), relay, "{line}");
        let shown = shown(&alice, &format!("{variables} connectoid config {option}"));
        assert!(shown.contains(&format!("\nrelay    {relay} (config file)\n")), "{shown}");
    }
    let missing = "connectoid: missing.toml: No such file or directory (os error 2)\n";
    for command in ["config", "contacts", "link --for X", "receive X", "contacts remove X"] {
        let refused = run(&alice, &format!("connectoid {command} --config missing.toml"));
        assert_eq!(refused, (1, String::new(), missing.into()), "{command}");
    }
}

#[test]
fn what_is_wrong_with_it_is_said_with_its_line() {
    let alice = Person::new();
    for (text, words) in [
        (
            "# mine\nrelay = \"https://connecto.id\"\n",
            "line 2: unknown field `relay`, expected one of `relays`, `keys`, `expires`, `stun`, `turn`",
        ),
        (
            "relays = [\"nonsense\"]",
            "line 1: \"nonsense\" is not a URL: expected one like https://connecto.id",
        ),
        (
            "stun = [\"stun.example.org\"]",
            "line 1: \"stun.example.org\" is not a STUN server: expected one like stun:stun.example.org:3478",
        ),
        ("expires = \"soon\"", "line 1: expected number at 0; expected a time as 7d or 12h, or never"),
    ] {
        write(&alice, "c.toml", text);
        // Also where the keys are named by hand: what is wrong is not noticed by some commands only.
        for command in
            ["config", "contacts", "contacts --keys k.json", "link --for X --relay https://connecto.id"]
        {
            let refused = run(&alice, &format!("connectoid {command} --config c.toml"));
            assert_eq!(refused, (1, String::new(), format!("connectoid: c.toml, {words}\n")), "{command}");
        }
    }
    assert!(!alice.keys_file().exists());
}

#[test]
fn a_password_that_others_can_read_is_warned_of() {
    let alice = Person::new();
    let turn = "turn = [{ url = \"turn:x\", username = \"u\", password = \"correct horse\" }]";
    let words = |text: &str, mode: u32| {
        write(&alice, "c.toml", text);
        fs::set_permissions(alice.path("c.toml"), fs::Permissions::from_mode(mode)).unwrap();
        let (code, out, err) = run(&alice, "connectoid config --config c.toml");
        assert!(code == 0 && !out.contains("horse"), "{out}");
        err
    };
    let warning = "connectoid: others can read c.toml, which holds a TURN password: chmod 600 c.toml\n";
    assert_eq!(words(turn, 0o640), warning);
    assert_eq!(words(turn, 0o604), warning);
    assert_eq!(words(turn, 0o600), "");
    assert_eq!(words("stun = []", 0o644), "");
    // Said once by a command, whatever it does.
    words(turn, 0o644);
    let line = "connectoid link --for Bob --relay https://connecto.id --config c.toml";
    assert_eq!(run(&alice, line).2, warning);
}

#[test]
fn the_config_that_readme_shows_is_taken() {
    let readme = read("README.md");
    let [config] = blocks(&readme, "toml")[..] else { panic!("one config file in README.md") };
    let alice = Person::new();
    write(&alice, DEFAULT, config);
    let shown = shown(&alice, "connectoid config");
    assert!(shown.contains("\nrelay    https://connecto.id (config file)\n"), "{shown}");
    assert!(shown.contains("\nstun     stun:stun.example.org:3478 (config file)\n"), "{shown}");
}
