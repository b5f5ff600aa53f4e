//! The specification's grammars, RFC 5234 with the `%s` of RFC 7405: they are whole, and match what the vectors say.

use std::collections::{BTreeMap, BTreeSet};

use connectoid::protocol::base64url;
use serde_json::Value;

use super::{blocks, read};

/// RFC 5234, appendix B.1, as far as it is used.
const CORE: &str = "ALPHA = %x41-5A / %x61-7A\nDIGIT = %x30-39\nHEXDIG = DIGIT / %x41-46 / %x61-66\nOCTET = %x00-FF\nSP = %x20\n";

/// The names of fields that have a rule. In JSON they are written as `sasCommit`.
const FIELDS: [&str; 23] = [
    "action",
    "at-text",
    "calendar",
    "data",
    "question",
    "error",
    "alg",
    "payload",
    "sig",
    "v",
    "typ",
    "n",
    "ts",
    "to",
    "ik",
    "re",
    "sas-commit",
    "sas-nonce",
    "reason",
    "note",
    "t",
    "nonce",
    "mac",
];

/// What is matched as a whole and is no field.
const WHOLES: [&str; 11] = [
    "link",
    "relay-list",
    "answer",
    "sealed-bytes",
    "question-plaintext",
    "plaintext",
    "message",
    "fingerprint",
    "return-connectoid",
    "r",
    "connectoid",
];

enum Node {
    Any(Vec<Node>),
    All(Vec<Node>),
    Repeat(usize, usize, Box<Node>),
    Rule(String),
    Range(u8, u8),
    Text(String, bool),
}

struct Grammar(BTreeMap<String, Node>);

impl Grammar {
    fn of_the_specification() -> Self {
        let document = read("docs/protocol.md");
        let mut rules = BTreeMap::new();
        let text = format!("{CORE}{}\n", blocks(&document, "abnf").join("\n"));
        let lines: Vec<&str> = text.lines().map(without_comment).collect();
        for rule in lines.join("\n").replace("\n ", " ").lines().filter(|line| !line.trim().is_empty()) {
            let (name, elements) = rule.split_once('=').unwrap_or_else(|| panic!("no rule: {rule}"));
            let mut parser = Parser { rest: elements.trim() };
            let node = parser.any();
            assert_eq!(parser.rest, "", "left over of {rule}");
            assert!(rules.insert(name.trim().to_lowercase(), node).is_none(), "{name} is defined twice");
        }
        Self(rules)
    }

    fn matches(&self, rule: &str, input: impl AsRef<[u8]>) -> bool {
        let input = input.as_ref();
        self.advance(&self.0[rule], input, &BTreeSet::from([0])).contains(&input.len())
    }

    /// Where one can be after `node`, from these places.
    fn advance(&self, node: &Node, input: &[u8], from: &BTreeSet<usize>) -> BTreeSet<usize> {
        let one = |fits: &dyn Fn(u8) -> bool| -> BTreeSet<usize> {
            from.iter()
                .filter(|at| input.get(**at).is_some_and(|byte| fits(*byte)))
                .map(|at| at + 1)
                .collect()
        };
        match node {
            Node::Any(nodes) => nodes.iter().flat_map(|node| self.advance(node, input, from)).collect(),
            Node::All(nodes) => {
                nodes.iter().fold(from.clone(), |from, node| self.advance(node, input, &from))
            }
            Node::Repeat(least, most, node) => {
                let mut reached = if *least == 0 { from.clone() } else { BTreeSet::new() };
                let mut now = from.clone();
                for time in 1..=*most {
                    now = self.advance(node, input, &now);
                    if time >= *least {
                        now.retain(|at| reached.insert(*at));
                    }
                    if now.is_empty() {
                        break;
                    }
                }
                reached
            }
            Node::Rule(name) => self.advance(&self.0[name], input, from),
            Node::Range(low, high) => one(&|byte| (*low..=*high).contains(&byte)),
            Node::Text(text, exact) => from
                .iter()
                .filter(|at| {
                    let there = input.get(**at..**at + text.len());
                    there.is_some_and(|there| match exact {
                        true => there == text.as_bytes(),
                        false => there.eq_ignore_ascii_case(text.as_bytes()),
                    })
                })
                .map(|at| at + text.len())
                .collect(),
        }
    }
}

/// A line up to its comment; a semicolon in quotes begins none.
fn without_comment(line: &str) -> &str {
    let mut quoted = false;
    let end = line.find(|c| {
        quoted ^= c == '"';
        c == ';' && !quoted
    });
    &line[..end.unwrap_or(line.len())]
}

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn takes(&mut self, sign: &str) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(sign) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn word(&mut self, of: impl Fn(char) -> bool) -> String {
        let end = self.rest.find(|c| !of(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word.to_owned()
    }

    fn any(&mut self) -> Node {
        let mut nodes = vec![self.all()];
        while self.takes("/") {
            nodes.push(self.all());
        }
        Node::Any(nodes)
    }

    fn all(&mut self) -> Node {
        let mut nodes = vec![self.repeat()];
        while !self.rest.trim_start().is_empty() && !self.rest.trim_start().starts_with(['/', ')', ']']) {
            nodes.push(self.repeat());
        }
        Node::All(nodes)
    }

    fn repeat(&mut self) -> Node {
        self.rest = self.rest.trim_start();
        let least = self.word(|c| c.is_ascii_digit());
        let (least, most) = if self.takes("*") {
            (least.parse().unwrap_or(0), self.word(|c| c.is_ascii_digit()).parse().unwrap_or(usize::MAX))
        } else {
            let exactly = least.parse().unwrap_or(1);
            (exactly, exactly)
        };
        Node::Repeat(least, most, Box::new(self.element()))
    }

    fn element(&mut self) -> Node {
        if self.takes("(") {
            let node = self.any();
            assert!(self.takes(")"), "no ) before {}", self.rest);
            node
        } else if self.takes("[") {
            let node = self.any();
            assert!(self.takes("]"), "no ] before {}", self.rest);
            Node::Repeat(0, 1, Box::new(node))
        } else if self.takes("%s\"") {
            self.text(true)
        } else if self.takes("\"") {
            self.text(false)
        } else if self.takes("%x") {
            let hex = |digits: String| u8::from_str_radix(&digits, 16).unwrap();
            let low = hex(self.word(|c| c.is_ascii_hexdigit()));
            let high = if self.takes("-") { hex(self.word(|c| c.is_ascii_hexdigit())) } else { low };
            Node::Range(low, high)
        } else {
            let name = self.word(|c| c.is_ascii_alphanumeric() || c == '-');
            assert!(name.starts_with(|c: char| c.is_ascii_alphabetic()), "no element: {}", self.rest);
            Node::Rule(name.to_lowercase())
        }
    }

    fn text(&mut self, exact: bool) -> Node {
        let text = self.word(|c| c != '"');
        assert!(self.takes("\""), "a string without an end: {text}");
        Node::Text(text, exact)
    }
}

fn used(node: &Node, into: &mut BTreeSet<String>) {
    match node {
        Node::Any(nodes) | Node::All(nodes) => nodes.iter().for_each(|node| used(node, into)),
        Node::Repeat(_, _, node) => used(node, into),
        Node::Rule(name) => drop(into.insert(name.clone())),
        Node::Range(..) | Node::Text(..) => {}
    }
}

#[test]
fn every_rule_is_defined_and_used() {
    let grammar = Grammar::of_the_specification();
    let mut wanted = BTreeSet::new();
    grammar.0.values().for_each(|node| used(node, &mut wanted));
    wanted.extend(FIELDS.iter().chain(&WHOLES).map(|name| (*name).to_owned()));
    let defined: BTreeSet<String> = grammar.0.keys().cloned().collect();
    assert_eq!(wanted, defined);
}

#[test]
fn the_checker_itself_refuses() {
    let grammar = Grammar::of_the_specification();
    for (rule, good, bad) in [
        ("b64", "-_8", "-_9"),
        ("b64", "AAAA", "AAAAA"),
        ("integer", "0", "00"),
        ("typ", "offer", "Offer"),
        ("error", "Too often", "too often"),
        ("port", "8443", "0443"),
        ("relay-url", "https://a.example/relay", "https://a.example/"),
        ("relay-url", "https://a.example", "https://A.example"),
        ("relay-url", "http://relay.localhost:3000", "http://localhost.example.com"),
        ("relay-url", "http://[::1]:8080", "http://[::2]:8080"),
        ("relay-url", "https://[2001:db8::1]", "https://user@a.example"),
        ("relay-list", "https://a.example https://b.example", "https://a.example  https://b.example"),
        ("at-text", "-5", "5.0"),
        ("calendar", "20221231235959123456", "2022123123595912345"),
        ("note", "", "A"),
        // The borders of the tags 02 and 03, and of the version 01.
        ("pub", &format!("Ag{}", "A".repeat(64)), &format!("Af{}", "A".repeat(64))),
        ("pub", &format!("A_{}", "A".repeat(64)), &format!("Bg{}", "A".repeat(64))),
        ("key", &format!("AQ{}", "A".repeat(42)), &format!("AP{}", "A".repeat(42))),
        ("key", &format!("Af{}", "A".repeat(42)), &format!("Ag{}", "A".repeat(42))),
        ("alg", "ES384", "es384"),
    ] {
        assert!(grammar.matches(rule, good), "{rule}: {good}");
        assert!(!grammar.matches(rule, bad), "{rule}: {bad}");
    }
}

fn vectors(name: &str) -> Value {
    serde_json::from_str(&read(&format!("tests/vectors/{name}.json"))).unwrap()
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().unwrap_or_else(|| panic!("no {name}"))
}

/// Whether the grammars take a connectoid, its relays decoded.
fn takes(grammar: &Grammar, text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    let relays = parts.get(1).and_then(|part| base64url::decode(part).ok());
    grammar.matches("connectoid", text)
        && relays.is_some_and(|relays| grammar.matches("relay-list", relays))
        && parts.get(2).is_none_or(|ext| ext.len() <= 1024)
}

#[test]
fn links_and_keys_of_the_vectors() {
    let grammar = Grammar::of_the_specification();
    let links = vectors("links");
    for entry in list(&links, "connectoids") {
        assert!(takes(&grammar, entry["canonical"].as_str().unwrap()), "{entry}");
    }
    for entry in list(&links, "links") {
        assert!(grammar.matches("link", entry["given"].as_str().unwrap()), "{entry}");
    }
    for entry in list(&links, "refused") {
        let given = entry["given"].as_str().unwrap();
        assert!(
            !takes(&grammar, given) && (!given.contains("://") || !grammar.matches("link", given)),
            "{entry}"
        );
    }
    let keys = vectors("keys");
    for key in list(&keys, "good") {
        assert!(grammar.matches("pub", key.as_str().unwrap()), "{key}");
    }
    let taken = |entry: &&Value| grammar.matches("pub", entry["given"].as_str().unwrap());
    let taken: Vec<&str> =
        list(&keys, "refused").iter().filter(taken).map(|entry| entry["why"].as_str().unwrap()).collect();
    // What no grammar can say.
    let arithmetic = ["not on the curve", "x is the field's prime plus the x of a point", "x is all ones"];
    assert_eq!(taken, arithmetic);
}

/// Every field of a JSON object that has a rule matches it.
fn fields_match(grammar: &Grammar, object: &Value) -> usize {
    let mut checked = 0;
    for (name, value) in object.as_object().unwrap() {
        let rule = match name.as_str() {
            "connectoid" => "return-connectoid".to_owned(),
            "sasCommit" => "sas-commit".to_owned(),
            "sasNonce" => "sas-nonce".to_owned(),
            _ => name.clone(),
        };
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => continue,
        };
        if grammar.0.contains_key(&rule) {
            assert!(grammar.matches(&rule, &text), "{name}: {text}");
            checked += 1;
        }
    }
    checked
}

#[test]
fn messages_frames_and_questions_of_the_vectors() {
    let grammar = Grammar::of_the_specification();
    let messages = vectors("messages");
    for entry in list(&messages, "good") {
        assert!(grammar.matches("message", entry["data"].as_str().unwrap()));
        let payload: Value = serde_json::from_str(entry["payload"].as_str().unwrap()).unwrap();
        assert!(fields_match(&grammar, &payload) >= 5, "{payload}");
    }
    for entry in list(&messages, "refused").iter().filter(|entry| entry["why"] == "size") {
        if let Some(data) = entry["data"].as_str() {
            assert!(!grammar.matches("message", data), "{} characters", data.len());
        }
    }
    for entry in list(&vectors("frames"), "good") {
        let frame: Value = serde_json::from_str(entry["written"].as_str().unwrap()).unwrap();
        assert!(fields_match(&grammar, &frame) >= 2, "{frame}");
    }
    for entry in list(&vectors("sdp"), "sdps").iter().filter(|entry| !entry["fingerprint"].is_null()) {
        let lines = entry["sdp"].as_str().unwrap().lines();
        for line in lines.filter(|line| line.to_lowercase().starts_with("a=fingerprint:sha-256 ")) {
            assert!(grammar.matches("fingerprint", line), "{line}");
        }
    }
    let one = vectors("connectoid-1");
    let question = &one["question"];
    let (answer, sealed) = (question["answer"].as_str().unwrap(), question["question"].as_str().unwrap());
    assert!(grammar.matches("answer", answer) && grammar.matches("question", sealed));
    assert!(grammar.matches("question-plaintext", base64url::decode(answer).unwrap()));
    assert!(grammar.matches("sealed-bytes", base64url::decode(sealed).unwrap()));
    assert!(!grammar.matches("question", answer) && !grammar.matches("answer", sealed));
    let plaintext = [&[0, 0, 0, 2], b"{}".as_slice(), &[0; 10]].concat();
    assert!(grammar.matches("plaintext", plaintext));
}
