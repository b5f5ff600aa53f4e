//! Links, keys and pipes of curl, as someone at a terminal sees them.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use connectoid::protocol::base64url;
use serde_json::{Value, json};

use crate::harness::{KEY, Person, Serving, clean_environment, stderr, stdout};

/// A relay without limits that forgets all when it ends.
pub fn relay() -> Serving {
    Serving::start(&["--no-limits", "--database", "sqlite::memory:"])
}

/// What a user sees of a command: its exit code, standard output and standard error.
pub fn seen(output: &Output) -> (i32, String, String) {
    let code = output.status.code().unwrap_or_else(|| panic!("killed: {output:?}"));
    (code, stdout(output), stderr(output))
}

/// The parts of a bare connectoid: pub, relays, ext, secret.
pub fn parts(connectoid: &str) -> Vec<&str> {
    connectoid.trim().split('.').collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

pub const RELAY: &str = "https://connecto.id";

/// What is said where too few relays are named, or too many.
fn wrong_relays(person: &Person) -> String {
    let config = person.path(".config/connectoid/config.toml");
    format!(
        "connectoid: a link names 1 to 4 relays: --relay URL, or CONNECTOID_RELAY, or relays = [\"URL\"] in {}\n",
        config.display()
    )
}

const FOR_BOB: [&str; 5] = ["link", "--relay", RELAY, "--for", "Bob"];

#[test]
fn a_link_is_printed_and_its_key_kept_for_this_user_only() {
    let alice = Person::new();
    let (code, link, words) =
        seen(&alice.run(&[&FOR_BOB[..], &["--app", "https://app.example.com/"]].concat(), ""));
    assert_eq!((code, words.as_str()), (0, ""));
    let connectoid = link
        .strip_prefix("https://app.example.com/#connectoid=")
        .unwrap_or_else(|| panic!("{link}"))
        .strip_suffix('\n')
        .unwrap();
    let parts = parts(connectoid);
    assert_eq!(parts.len(), 4, "{connectoid}");
    assert_eq!(parts[0].len(), 66);
    assert_eq!((parts[1], parts[2]), ("aHR0cHM6Ly9jb25uZWN0by5pZA", ""), "the relay's URL, no ext");
    let secret = base64url::decode(parts[3]).unwrap();
    assert_eq!((secret.len(), secret[0]), (33, 1), "its version and 32 bytes");

    let folder = alice.path(".local/share/connectoid");
    assert_eq!(mode(&folder), 0o700);
    let names: BTreeSet<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            assert_eq!(mode(&path), 0o600, "{}", path.display());
            path.file_name().unwrap().to_str().unwrap().to_owned()
        })
        .collect();
    assert!(names.contains("keys.json") && !names.contains("keys.json.new"), "{names:?}");

    let again = ["link", "--for", "Bob", "--again", "--app", "https://app.example.com/"];
    assert_eq!(alice.ok(&again, ""), link);
}

#[test]
fn a_nickname_has_one_link_until_it_is_replaced() {
    let alice = Person::new();
    let first = alice.ok(&FOR_BOB, "");
    assert_eq!(
        seen(&alice.run(&FOR_BOB, "")),
        (
            1,
            String::new(),
            "connectoid: there is a link for \"Bob\" already: --again prints it, --replace makes a new one\n"
                .into()
        )
    );
    assert_eq!(alice.ok(&["link", "--for", "Bob", "--again"], ""), first);
    let second = alice.ok(&[&FOR_BOB[..], &["--replace"]].concat(), "");
    assert_ne!(parts(&second)[0], parts(&first)[0]);
    assert_ne!(parts(&second)[3], parts(&first)[3]);
    assert_eq!(alice.ok(&["link", "--for", "Bob", "--again"], ""), second);
    assert_eq!(alice.ok(&["contacts"], "").lines().count(), 1);
}

#[test]
fn the_forms_of_a_link() {
    let alice = Person::new();
    let make = |name: &str, more: &[&str]| {
        let made = alice.ok(&[&["link", "--relay", RELAY, "--for", name], more].concat(), "");
        made.trim_end().to_owned()
    };
    let relays = "aHR0cHM6Ly9jb25uZWN0by5pZA";

    let plain = make("1", &["--no-secret"]);
    assert_eq!(parts(&plain), [&plain[..66], relays]);
    let with_ext = make("2", &["--no-secret", "--ext", "api key"]);
    assert_eq!(parts(&with_ext), [&with_ext[..66], relays, "YXBpIGtleQ"]);
    let full = make("3", &["--ext", "api key"]);
    assert_eq!(parts(&full)[..3], [&full[..66], relays, "YXBpIGtleQ"]);
    assert_eq!(parts(&full).len(), 4);

    let query = make("4", &["--query", "--app", "https://app.example.com/?x=1"]);
    let (before, connectoid) = query.split_once("connectoid=").unwrap();
    assert_eq!(before, "https://app.example.com/?x=1&");
    assert_eq!(parts(connectoid).len(), 2, "no secret where the web server sees it");
    let route = make("5", &["--app", "https://app.example.com/#/lists"]);
    assert!(route.starts_with("https://app.example.com/#/lists?connectoid="), "{route}");

    let two = make("6", &["--relay", "https://example.com/relay/"]);
    let relays = base64url::decode(parts(&two)[1]).unwrap();
    assert_eq!(relays, b"https://connecto.id https://example.com/relay/");

    let json = alice.ok(&["link", "--for", "1", "--again", "--json"], "");
    assert_eq!(json, format!("{{\"name\":\"1\",\"link\":\"{plain}\",\"pub\":\"{}\"}}\n", &plain[..66]));
}

#[test]
fn relays_from_the_environment() {
    let alice = Person::new();
    let run = |relays: &str, arguments: &str| {
        seen(&alice.shell(&format!("CONNECTOID_RELAY='{relays}' connectoid link {arguments}")))
    };
    let (code, made, _) = run("https://a.example https://b.example", "--for Bob");
    assert_eq!(code, 0);
    let relays = base64url::decode(parts(&made)[1]).unwrap();
    assert_eq!(relays, b"https://a.example https://b.example");
    // A variable that is set for every day must not be in the way.
    let as_before = (0, made.clone(), String::new());
    assert_eq!(run("https://c.example", "--for Bob --again"), as_before);
    let (code, shown, err) = run("https://c.example", &format!("show {}", made.trim_end()));
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(shown.contains("relay   https://b.example\n"), "{shown}");
    let (code, made, _) = run("https://c.example", "--for Carol --relay https://d.example");
    assert_eq!((code, parts(&made)[1]), (0, "aHR0cHM6Ly9kLmV4YW1wbGU"));

    assert_eq!(run("", "--for Dave"), (2, String::new(), wrong_relays(&alice)));
    let wrong =
        "connectoid: CONNECTOID_RELAY: \"nonsense\" is not a URL: expected one like https://connecto.id\n";
    assert_eq!(run("nonsense", "--for Dave"), (2, String::new(), wrong.into()));
}

#[test]
fn command_lines_that_make_no_link() {
    let alice = Person::new();
    let five: Vec<String> = (1..=5).map(|n| format!("--relay=https://{n}.example")).collect();
    let five: Vec<&str> = five.iter().map(String::as_str).collect();
    let wrong_relays = wrong_relays(&alice);
    for (arguments, line) in [
        (&["--for", "X"][..], wrong_relays.as_str()),
        (&[&["--for", "X"], &five[..]].concat(), &wrong_relays),
        (
            &["--for", "X", "--relay", RELAY, "--app", "nonsense"],
            "connectoid: \"nonsense\" is not the URL of an app: expected one like https://app.example.com/\n",
        ),
        (
            &["--for", "X", "--relay", "http://example.com"],
            "error: invalid value 'http://example.com' for '--relay <URL>': http://example.com would be unencrypted: \
             http is accepted for this machine only (localhost, 127.0.0.1, [::1]); use https\n",
        ),
        (
            &["--for", "", "--relay", RELAY],
            "error: invalid value '' for '--for <NAME>': expected 1 to 64 characters\n",
        ),
        (
            &["--for", "a\nb", "--relay", RELAY],
            "error: invalid value 'a\nb' for '--for <NAME>': expected text without control characters\n",
        ),
        (
            &["--for", "X", "--relay", RELAY, "--expires", "soon"],
            "error: invalid value 'soon' for '--expires <TIME>': expected number at 0; \
             expected a time as 7d or 12h, or never\n",
        ),
        (
            &["--for", "X", "--relay", RELAY, "--query"],
            "error: the following required arguments were not provided:\n  --app <URL>\n",
        ),
        (&[], "error: the following required arguments were not provided:\n  --for <NAME>\n"),
    ] {
        let (code, out, err) = seen(&alice.run(&[&["link"], arguments].concat(), ""));
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}");
        assert!(err.starts_with(line), "{arguments:?}: {err}");
    }
    assert_eq!(
        seen(&alice.run(&["link", "--for", "X", "--again"], "")),
        (
            3,
            String::new(),
            "connectoid: there is no contact \"X\": make a link with connectoid link --relay URL --for NAME\n".into()
        )
    );
    assert!(!alice.keys_file().exists());
}

#[test]
fn a_link_is_taken_apart() {
    let alice = Person::new();
    let show = |link: &str| seen(&alice.run(&["link", "show", link], ""));
    let full =
        format!("{KEY}.aHR0cHM6Ly9jb25uZWN0by5pZA.YXBpIGtleQ.AQcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH");
    let three = format!("pub     {KEY}\nrelay   https://connecto.id\next     YXBpIGtleQ\n");
    for (link, last) in [
        (full.clone(), "secret  yes, 32 bytes that no relay sees\n"),
        (
            format!("https://app.example.com/#/lists?connectoid={full}&x=1"),
            "secret  yes, 32 bytes that no relay sees\n",
        ),
        (
            format!("https://app.example.com/?connectoid={full}"),
            "secret  yes, but in the query: the app's web server saw it\n",
        ),
        (
            full.rsplit_once('.').unwrap().0.to_owned(),
            "secret  none: who runs the relay can pretend to be the one who uses it\n",
        ),
    ] {
        assert_eq!(show(&link), (0, format!("{three}{last}"), String::new()), "{link}");
    }
    assert_eq!(
        alice.ok(&["link", "show", "--json", &full], ""),
        format!(
            "{{\"pub\":\"{KEY}\",\"relays\":[\"https://connecto.id\"],\"ext\":\"YXBpIGtleQ\",\"secret\":true,\"inQuery\":false}}\n"
        )
    );
    for (link, line) in [
        (
            "nonsense",
            "not a connectoid: a connectoid has 2, 3 or 4 parts joined by dots (key.relay.ext.secret), this one has 1: was it cut?",
        ),
        ("https://app.example.com/", "there is no connectoid=… in this URL: was the link cut?"),
        (
            &full[..full.len() - 4],
            "not a connectoid: its fourth part is not a link secret of 32 bytes: was it cut?",
        ),
    ] {
        assert_eq!(show(link), (1, String::new(), format!("connectoid: {line}\n")));
    }
}

/// Reads a QR code from a picture: whether the module at a place is light, in a square of this many.
fn scan(side: usize, light: impl Fn(usize, usize) -> bool) -> String {
    const PIXELS: usize = 4;
    let luma = |x: usize, y: usize| if light(x / PIXELS, y / PIXELS) { 255 } else { 0 };
    let mut picture = rqrr::PreparedImage::prepare_from_greyscale(side * PIXELS, side * PIXELS, luma);
    let codes = picture.detect_grids();
    assert_eq!(codes.len(), 1, "one QR code");
    codes[0].decode().unwrap().1
}

/// Reads a QR code that was drawn on a terminal.
pub fn qr_code(drawing: &str) -> String {
    // A character is two modules, one above the other; blocks are light, since terminals are dark.
    let lines: Vec<Vec<char>> = drawing.lines().map(|line| line.chars().collect()).collect();
    let side = lines[0].len();
    scan(side, |x, y| match lines.get(y / 2).map_or('█', |line| line[x]) {
        '█' => true,
        '▀' => y % 2 == 0,
        '▄' => y % 2 == 1,
        ' ' => false,
        other => panic!("{other:?}"),
    })
}

#[test]
fn qr_codes_hold_the_link() {
    let alice = Person::new();
    let app = ["--app", "https://app.example.com/", "--qr", "--svg", "bob.svg"];
    let output = alice.run(&[&FOR_BOB[..], &app].concat(), "");
    let (code, link, drawing) = seen(&output);
    assert_eq!(code, 0);
    assert_eq!(link.lines().count(), 1, "the drawing is not on standard output");

    assert_eq!(qr_code(&drawing), link.trim_end());

    let svg = fs::read_to_string(alice.path("bob.svg")).unwrap();
    let number = |text: &str| text.parse::<usize>().unwrap();
    let side = number(svg.split("width=\"").nth(1).unwrap().split('"').next().unwrap());
    let path = svg.split(" d=\"M").nth(1).unwrap().split('"').next().unwrap();
    // Each module is "MX YhSIZEvSIZEHXVY".
    let modules = path.split('M').map(|module| {
        let (x, rest) = module.split_once(' ').unwrap();
        let (y, rest) = rest.split_once('h').unwrap();
        (number(x), number(y), number(rest.split('v').next().unwrap()))
    });
    let modules: Vec<_> = modules.collect();
    let size = modules[0].2;
    let dark: BTreeSet<_> = modules.iter().map(|(x, y, _)| (x / size, y / size)).collect();
    assert_eq!(scan(side / size, |x, y| !dark.contains(&(x, y))), link.trim_end());

    // A second link for Bob is refused: the picture on the wall must not become one of a link that nobody reads.
    let refused = alice.run(&[&FOR_BOB[..], &app].concat(), "");
    assert_eq!((seen(&refused).0, seen(&refused).1.as_str()), (1, ""));
    assert!(fs::read_to_string(alice.path("bob.svg")).unwrap() == svg);
    // Where the picture cannot be written no key is kept.
    let nowhere = ["link", "--relay", RELAY, "--for", "Carol", "--svg", "missing/x.svg"];
    assert_eq!(
        seen(&alice.run(&nowhere, "")),
        (1, String::new(), "connectoid: missing/x.svg: No such file or directory (os error 2)\n".into())
    );
    assert_eq!(alice.ok(&["contacts"], "").lines().count(), 1);
}

#[test]
fn processes_at_once_lose_no_contact() {
    let alice = Person::new();
    let links: Vec<_> = (0..8)
        .map(|n| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_connectoid"));
            clean_environment(&mut command);
            command
                .args(["link", "--relay", RELAY, "--for", &format!("friend {n}")])
                .env("HOME", alice.home.path())
                .stdout(Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    let mut made = BTreeSet::new();
    for link in links {
        let output = link.wait_with_output().unwrap();
        assert!(output.status.success());
        made.insert(String::from_utf8(output.stdout).unwrap()[..66].to_owned());
    }
    let contacts = alice.ok(&["contacts"], "");
    let kept: BTreeSet<String> =
        contacts.lines().map(|line| line.split('\t').nth(1).unwrap().to_owned()).collect();
    assert_eq!(kept, made);
    assert_eq!(made.len(), 8);
}

#[test]
fn what_a_crash_left_beside_the_keys_does_no_harm() {
    let alice = Person::new();
    alice.ok(&FOR_BOB, "");
    let left = alice.path(".local/share/connectoid/keys.json.new");
    fs::write(&left, "{\"version\":1,\"conta").unwrap();
    fs::set_permissions(&left, fs::Permissions::from_mode(0o644)).unwrap();
    alice.ok(&["link", "--relay", RELAY, "--for", "Carol"], "");
    assert_eq!(alice.ok(&["contacts"], "").lines().count(), 2);
    assert!(!left.exists());
    assert_eq!(mode(&alice.keys_file()), 0o600, "whatever the leftover had");
}

#[test]
fn a_keys_file_that_is_not_understood_is_left_as_it_is() {
    let alice = Person::new();
    for (text, line) in [
        (
            "{\"version\":3,\"people\":{}}",
            "connectoid: k.json was written by a newer connectoid (form 3): update this one; nothing was changed\n",
        ),
        (
            "{\"version\":1,\"conta",
            "connectoid: cannot use k.json: it is damaged (EOF while parsing a string at line 1 column 19); \
             restore it from a backup, nothing was changed\n",
        ),
    ] {
        fs::write(alice.path("k.json"), text).unwrap();
        for command in [&FOR_BOB[..], &["contacts"], &["receive", "Bob"]] {
            let output = alice.run(&[command, &["--keys", "k.json"]].concat(), "");
            assert_eq!(seen(&output), (1, String::new(), line.into()), "{command:?}");
        }
        assert_eq!(fs::read_to_string(alice.path("k.json")).unwrap(), text);
    }
}

#[test]
fn contacts_are_listed_without_their_secrets() {
    let alice = Person::new();
    assert_eq!(
        seen(&alice.run(&["contacts"], "")),
        (
            0,
            String::new(),
            "no contacts yet: connectoid share --for NAME makes a link and waits for whoever uses it\n"
                .into()
        )
    );
    let bob = alice.ok(&[&FOR_BOB[..], &["--expires", "never", "--ext", "x"]].concat(), "");
    let carol = alice.ok(&["link", "--relay", RELAY, "--for", "Carol", "--expires", "0s", "--no-secret"], "");
    let lines = alice.ok(&["contacts"], "");
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines[0], format!("Bob\t{}\thttps://connecto.id\tdoes not expire", &bob[..66]));
    let expired = format!("Carol\t{}\thttps://connecto.id\texpired 20", &carol[..66]);
    assert!(lines[1].starts_with(&expired), "{lines:?}");

    let rows = alice.ok(&["contacts", "--json"], "");
    let rows: Vec<Value> = rows.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
    let made = rows[0]["made"].as_str().unwrap();
    assert_eq!(
        rows[0],
        json!({"name": "Bob", "pub": bob[..66], "relays": [RELAY], "ext": "eA", "secret": true, "made": made,
               "expires": null, "expired": false, "connected": false, "verified": false, "leaving": false})
    );
    assert_eq!((&rows[1]["secret"], &rows[1]["expired"]), (&json!(false), &json!(true)));
}
