//! The fields of a request: what is taken, converted, ignored or refused.

use connectoid::protocol::{PublicKey, base64url};
use serde_json::{Value, json};

use super::{check, send};
use crate::harness::{KEY, TestRelay, fresh_key, fresh_pub, post, request};

/// A `Bad request` whose detail holds this.
fn assert_bad(relay: &TestRelay, body: impl AsRef<[u8]>, why: &str) {
    let body = body.as_ref();
    let reply = request("POST", &relay.url, &[], body);
    let shown = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
    assert_eq!((reply.status, reply.error().as_str()), (400, "Bad request"), "{shown}: {reply:?}");
    let detail = reply.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains(why), "{shown}: {detail}");
}

#[test]
fn what_is_not_a_json_object() {
    let relay = TestRelay::start();
    let object = check(KEY).to_string();
    for (body, why) in [
        (String::new(), "the body must be one JSON object: EOF"),
        ("action=check".into(), "the body must be one JSON object: expected value at line 1 column 1"),
        ("[]".into(), "expected a JSON object with an \"action\""),
        ("null".into(), "expected a JSON object"),
        ("{".into(), "the body must be one JSON object: EOF"),
        (format!("{object}{object}"), "trailing characters"),
        (format!("[{object}]"), "expected a JSON object"),
        (format!("\u{FEFF}{object}"), "the body must be one JSON object"),
        ("{}".into(), "\"action\" is missing: send, check, receive or delete"),
        (r#"{"action":"Check"}"#.into(), "\"action\" must be send, check, receive or delete"),
        (r#"{"action":"check"}"#.into(), "\"pub\" is missing: the public key of a box"),
        (r#"{"action":"check","boxes":[]}"#.into(), "\"boxes\" must be 1 to 100 boxes"),
        (r#"{"action":"check","boxes":[{"at":0}]}"#.into(), "a box in \"boxes\" lacks its \"pub\""),
        (format!(r#"{{"action":"send","pub":"{KEY}"}}"#), "\"data\" is missing"),
        (format!(r#"{{"action":"receive","pub":"{KEY}"}}"#), "\"answer\" is missing"),
        (format!(r#"{{"action":"delete","pub":"{KEY}"}}"#), "exactly one of \"at\" and \"all\":true"),
    ] {
        assert_bad(&relay, body, why);
    }
}

#[test]
fn what_is_not_utf8() {
    let relay = TestRelay::start();
    let object = check(KEY).to_string();
    let latin_1 = [&object.as_bytes()[..object.len() - 1], b",\"x\":\"\xE9\"}"].concat();
    assert_bad(&relay, latin_1, "the body is not UTF-8");
    let utf_16: Vec<u8> = object.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_bad(&relay, utf_16, "");
    assert_bad(&relay, b"\xFF", "the body is not UTF-8");
}

#[test]
fn a_field_stands_once() {
    let relay = TestRelay::start();
    for twice in [
        r#""at":0,"at":0"#,
        r#""x":1,"x":1"#,
        r#""x":1,"\u0078":1"#,
        r#""ext":null,"ext":null"#,
        r#""action":"check""#,
    ] {
        let body = format!(r#"{{"action":"check","pub":"{KEY}",{twice}}}"#);
        assert_bad(&relay, body, "a field stands twice in the body");
    }
    // Inside an unknown field nobody looks.
    let body = format!(r#"{{"action":"check","pub":"{KEY}","x":{{"y":1,"y":2}}}}"#);
    assert_eq!(post(&relay.url, &body).status, 200);
}

#[test]
fn every_field_has_its_type_whatever_the_action() {
    let relay = TestRelay::start();
    let wrong = [
        ("action", vec![json!(1), json!(null), json!(["check"])]),
        ("pub", vec![json!(1), json!(null), json!([KEY])]),
        ("ext", vec![json!(1), json!({}), json!(false)]),
        ("data", vec![json!(1), json!(null), json!(["aGVsbG8"])]),
        ("answer", vec![json!(1), json!(null)]),
        ("relay", vec![json!(1), json!(null)]),
        ("at", vec![json!(1.5), json!(null), json!(true), json!([]), json!("")]),
        ("limit", vec![json!("1"), json!(null), json!(1.5), json!(-1), json!(4_294_967_296_i64)]),
        ("wait", vec![json!("25"), json!(null), json!(1.5), json!(-1), json!(true)]),
        ("ask", vec![json!("true"), json!(1), json!(null)]),
        ("all", vec![json!("true"), json!(1), json!(null)]),
        (
            "boxes",
            vec![
                json!(KEY),
                json!(null),
                json!([KEY]),
                json!([{"pub": 1}]),
                json!([{"pub": KEY, "at": 1.5}]),
            ],
        ),
    ];
    for action in ["send", "check", "receive", "delete"] {
        for (name, values) in &wrong {
            for value in values {
                let mut body =
                    json!({"action": action, "pub": KEY, "data": "aGVsbG8", "answer": "x", "at": 0});
                body[*name] = value.clone();
                assert_bad(&relay, body.to_string(), "");
            }
        }
    }
}

#[test]
fn unknown_fields_are_ignored() {
    let relay = TestRelay::start();
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for unknown in [r#""":null"#, r#""x":1e999"#, r#""x":{"action":"send"}"#, &format!(r#""x":{deep}"#)] {
        let body = format!(r#"{{{unknown},"action":"check","pub":"{KEY}"}}"#);
        let reply = post(&relay.url, &body);
        assert_eq!((reply.status, reply.body.as_str()), (200, r#"{"ok":true,"found":false}"#), "{body:.100}");
    }
}

#[test]
fn boxes_go_with_check_alone() {
    let relay = TestRelay::start();
    let boxes = json!([{"pub": fresh_pub(), "at": 0}]);
    let why = "\"boxes\" goes with check, without \"pub\" and \"ask\": each box has its own \"pub\"";
    for body in [
        json!({"action": "check", "boxes": boxes, "pub": KEY}),
        json!({"action": "check", "boxes": boxes, "ask": true}),
        json!({"action": "send", "boxes": boxes, "data": "aGVsbG8"}),
        json!({"action": "receive", "boxes": boxes, "answer": "x"}),
        json!({"action": "delete", "boxes": boxes, "answer": "x", "all": true}),
    ] {
        assert_bad(&relay, body.to_string(), why);
    }
    let twice =
        json!({"action": "check", "boxes": [{"pub": KEY}, {"pub": fresh_pub()}, {"pub": KEY, "at": 7}]});
    assert_bad(&relay, twice.to_string(), "a \"pub\" stands twice in \"boxes\"");
    let many = |count: usize| {
        let boxes: Vec<Value> = (0..count).map(|_| json!({"pub": fresh_pub()})).collect();
        json!({"action": "check", "boxes": boxes})
    };
    assert_eq!(relay.post(&many(100)).body, r#"{"ok":true,"found":false,"boxes":[]}"#);
    assert_bad(&relay, many(101).to_string(), "\"boxes\" must be 1 to 100 boxes");
    let bad_key = relay.post(&json!({"action": "check", "boxes": [{"pub": fresh_pub()}, {"pub": "123abc"}]}));
    assert_eq!((bad_key.status, bad_key.error().as_str()), (400, "Bad key"));
    let field_twice = format!(r#"{{"action":"check","boxes":[{{"pub":"{KEY}","x":1,"x":1}}]}}"#);
    assert_bad(&relay, field_twice, "a field stands twice in the body");
    let unknown = format!(r#"{{"action":"check","ask":false,"boxes":[{{"x":[{{}}],"pub":"{KEY}"}}]}}"#);
    assert_eq!(post(&relay.url, &unknown).status, 200);
}

#[test]
fn ten_thousand_levels_deep() {
    let relay = TestRelay::start();
    for open in ["[", "{\"a\":"] {
        let count = if open == "[" { 10_000 } else { 6_000 };
        assert_bad(&relay, open.repeat(count), "");
        assert_bad(&relay, format!("{{\"x\":{}", open.repeat(count)), "");
        assert_bad(&relay, format!("{{\"at\":{}", open.repeat(count)), "");
    }
    let closed = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for field in ["action", "pub", "ext", "data", "at", "limit", "ask"] {
        assert_bad(&relay, format!("{{\"{field}\":{closed}}}"), "");
    }
    assert_eq!(relay.post(&check(KEY)).status, 200, "still there");
}

/// Spellings of a key, or of something like one, that would each be another box.
#[test]
fn a_key_has_one_spelling() {
    let relay = TestRelay::start();
    let bytes = base64url::decode(KEY).unwrap();
    let with_first = |first: u8| base64url::encode([&[first], &bytes[1..]].concat());
    let off_curve = (0..=255).map(|last| [&bytes[..48], &[last]].concat());
    let off_curve = off_curve.filter(|bytes| PublicKey::from_bytes(bytes).is_err());
    let off_curve: Vec<String> = off_curve.map(base64url::encode).collect();
    assert!((64..192).contains(&off_curve.len()), "about half of them: {}", off_curve.len());

    let mut spellings = vec![
        String::new(),
        "123abc".into(),
        with_first(5),
        with_first(4),
        with_first(0),
        base64url::encode([&[4], &bytes[1..], &[7; 48]].concat()),
        // The point at infinity, and a coordinate above the field's prime.
        base64url::encode([0]),
        base64url::encode([&[2], &[0xFF; 48][..]].concat()),
        base64url::encode(&bytes[..48]),
        base64url::encode([&bytes[..], &[0]].concat()),
        format!("{KEY}=="),
        format!(" {KEY}"),
        format!("{KEY}\n"),
        format!("{KEY}\0"),
        KEY.replace('-', "+"),
        KEY.to_uppercase(),
        // The last character holds 4 bits that are none of the key's.
        format!("{}x", &KEY[..65]),
        format!("{}y", &KEY[..65]),
        format!("{}_", &KEY[..65]),
        // The uncompressed form of a real key.
        base64url::encode(hex(
            "04aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e3872760ab73617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c00a60b1ce1d7e819d7a431d7c90ea0e5f",
        )),
    ];
    spellings.extend(off_curve.into_iter().take(8));
    assert!(KEY.ends_with('w'));
    for spelling in spellings {
        for action in ["send", "check", "receive", "delete"] {
            let answer = "A".repeat(75);
            let body =
                json!({"action": action, "pub": spelling, "data": "aGVsbG8", "answer": answer, "at": 0});
            let reply = relay.post(&body);
            assert_eq!(
                (reply.status, reply.body.as_str()),
                (
                    400,
                    r#"{"ok":false,"error":"Bad key","detail":"pub must be a P-384 public key, SEC 1 compressed, as 66 characters of base64url"}"#
                ),
                "{action} {spelling:?}"
            );
        }
    }
    // The generator of the curve, compressed, is a key: the long spelling above was refused for its form alone.
    let generator = base64url::encode(hex(
        "03aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e3872760ab7",
    ));
    assert_eq!(relay.post(&check(generator)).status, 200);
}

fn hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn ext_is_base64url_or_nothing() {
    let relay = TestRelay::start();
    let with = |ext: Value| json!({"action": "check", "pub": KEY, "ext": ext});
    for ext in [json!(null), json!(""), json!("YXBpa2V5"), json!("A".repeat(1024))] {
        assert_eq!(relay.post(&with(ext)).status, 200);
    }
    for ext in [json!("A"), json!("api key"), json!("YQ=="), json!("YR"), json!("A".repeat(1026))] {
        assert_bad(&relay, with(ext).to_string(), "(ext) must be base64url, at most 1024 characters");
    }
}

#[test]
fn data_is_canonical_base64url() {
    let relay = TestRelay::start();
    for data in ["A", "aGVsbG8=", "aGVsbG9", "aGVs bG8", "+/8", "héllo", "aGVsbG8\n"] {
        assert_bad(&relay, send(fresh_pub(), data).to_string(), "\"data\" is not base64url");
    }
}

/// The reply to an empty box repeats the cursor as it was understood.
#[test]
fn at_in_all_its_forms() {
    let relay = TestRelay::start();
    let key = fresh_key();
    let answer = relay.answer(&key);
    let ask = |at: &str| {
        let to = key.public();
        post(&relay.url, &format!(r#"{{"action":"receive","pub":"{to}","answer":"{answer}"{at}}}"#))
    };
    for (at, understood) in [
        ("", "0"),
        (r#","at":0"#, "0"),
        (r#","at":-0"#, "0"),
        (r#","at":7"#, "7"),
        (r#","at":"7""#, "7"),
        (r#","at":-1"#, "0"),
        (r#","at":"-1""#, "0"),
        (r#","at":-99999999999999999999999999"#, "0"),
        (r#","at":1795158000000000"#, "1795158000000000"),
        (r#","at":20221231235959123456"#, "1672531199123456"),
        (r#","at":"20221231235959123456""#, "1672531199123456"),
        // As JavaScript writes the draft's example, having lost its last digits.
        (r#","at":20221231235959124000"#, "1672531199124000"),
        (r#","at":20240229000000000000"#, "1709164800000000"),
        (r#","at":20230229000000000000"#, "9007199254740991"),
        (r#","at":9007199254740991"#, "9007199254740991"),
        (r#","at":9007199254740992"#, "9007199254740991"),
        (r#","at":18446744073709551616"#, "9007199254740991"),
        (r#","at":99999999999999999999999999999999999999"#, "9007199254740991"),
        (r#","at":"000000000000000000000000000007""#, "7"),
    ] {
        for limit in ["", r#","limit":1"#, r#","limit":32"#] {
            let reply = ask(&format!("{at}{limit}"));
            let expected = format!(r#"{{"ok":true,"found":false,"at":{understood}}}"#);
            assert_eq!((reply.status, reply.body), (200, expected), "{at}{limit}");
        }
    }
    for at in [
        "1.5", "1.0", "1e3", "0.0", "-0.0", "null", "true", "[]", "{}", r#""""#, r#""1.0""#, r#""0x7""#,
        r#""+7""#, r#"" 7""#,
    ] {
        let reply = ask(&format!(r#","at":{at}"#));
        assert_eq!((reply.status, reply.error().as_str()), (400, "Bad request"), "{at}");
    }
    for at in ["01", "+1", "NaN", "0x7", "--1"] {
        assert_eq!(ask(&format!(r#","at":{at}"#)).status, 400, "{at}");
    }
}
