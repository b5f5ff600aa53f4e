//! The requests, read strictly from a body and written by clients.

use std::{borrow::Cow, collections::HashSet, fmt};

use serde::{
    Serialize,
    de::{self, Deserializer as _, IgnoredAny, MapAccess, Visitor},
    ser::SerializeMap,
};
use serde_json::value::RawValue;

use super::{At, Ext, KnownKeys, PublicKey, Refusal, base64url, limits};

/// One request, well formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Put a message into a box.
    Send {
        /// The box.
        key: PublicKey,
        /// For the relay: an API key, say.
        ext: Option<Ext>,
        /// 1 to 16,384 bytes.
        data: Vec<u8>,
    },
    /// Ask whether a box holds anything new.
    Check {
        /// The box.
        key: PublicKey,
        /// For the relay.
        ext: Option<Ext>,
        /// What was received already.
        at: At,
        /// Ask for a question even if nothing is new, to delete for instance.
        ask: bool,
        /// The relay's URL as the client reached it.
        relay: Option<String>,
        /// Seconds to wait for something new, as far as the relay lets one.
        wait: u64,
    },
    /// Ask which of several boxes hold anything new.
    CheckMany {
        /// 1 to 100 boxes, each once, with what was received of it already.
        boxes: Vec<(PublicKey, At)>,
        /// For the relay.
        ext: Option<Ext>,
        /// The relay's URL as the client reached it.
        relay: Option<String>,
        /// Seconds to wait for something new in any of them.
        wait: u64,
    },
    /// Take messages, proving that the box is one's own. Nothing is deleted.
    Receive {
        /// The box.
        key: PublicKey,
        /// For the relay.
        ext: Option<Ext>,
        /// The opened question.
        answer: Answer,
        /// What was received already.
        at: At,
        /// How many at most: 1 to 32.
        limit: u32,
    },
    /// Delete messages or the box, proving that it is one's own.
    Delete {
        /// The box.
        key: PublicKey,
        /// For the relay.
        ext: Option<Ext>,
        /// The opened question.
        answer: Answer,
        /// What to delete.
        upto: Upto,
    },
}

/// The 56 bytes of an opened question.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Answer(pub [u8; Answer::BYTES]);

impl Answer {
    /// The length of every question and answer.
    pub const BYTES: usize = 56;
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answer(…)")
    }
}

/// What a `delete` deletes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upto {
    /// What is stored now up to this cursor: an acknowledgement.
    At(At),
    /// The whole box: unshare.
    All,
}

impl Request {
    /// Reads the body of a request. `admit_many` is asked before the keys of a check of so many boxes are looked at:
    /// a hundred of them are much work.
    ///
    /// # Errors
    /// What `admit_many` says;
    /// [`Refusal::BadRequest`] for what is not a JSON object of one of the actions with the right types,
    /// [`Refusal::BadKey`], [`Refusal::TooBig`] for the body or `data`, [`Refusal::WrongAnswer`] for an `answer` that is
    /// none.
    pub fn parse(
        body: &[u8],
        known: &KnownKeys,
        admit_many: impl FnOnce(u32) -> Result<(), Refusal>,
    ) -> Result<Self, Refusal> {
        let fields = std::str::from_utf8(body).map_err(|_| Refusal::bad("the body is not UTF-8"));
        let fields = fields.and_then(Fields::read);
        // Only a check of many boxes may be larger.
        let is_many = fields.as_ref().is_ok_and(|fields| fields.boxes.is_some());
        if body.len() > if is_many { limits::MAX_MANY_BYTES } else { limits::MAX_REQUEST_BYTES } {
            return Err(Self::too_big());
        }
        let fields = fields?;
        let action = fields
            .action
            .ok_or_else(|| Refusal::bad("\"action\" is missing: send, check, receive or delete"))?;
        if !matches!(&*action, "send" | "check" | "receive" | "delete") {
            return Err(Refusal::bad("\"action\" must be send, check, receive or delete"));
        }
        let ext = match fields.ext.flatten().as_deref() {
            None | Some("") => None,
            Some(ext) => Some(Ext::try_from(ext.to_owned()).map_err(|e| Refusal::bad(e.to_string()))?),
        };
        if let Some(boxes) = fields.boxes {
            if action != "check" || fields.key.is_some() || fields.ask == Some(true) {
                return Err(Refusal::bad(
                    "\"boxes\" goes with check, without \"pub\" and \"ask\": each box has its own \"pub\"",
                ));
            }
            let boxes = read_boxes(boxes, known, admit_many)?;
            let (relay, wait) = (fields.relay.map(Cow::into_owned), fields.wait.unwrap_or_default());
            return Ok(Self::CheckMany { boxes, ext, relay, wait });
        }
        let key = fields.key.ok_or_else(|| Refusal::bad("\"pub\" is missing: the public key of a box"))?;
        let key = known.parse(&key).map_err(|_| Refusal::BadKey)?;
        let answer = || match &fields.answer {
            None => Err(Refusal::bad("\"answer\" is missing: check, and open the question")),
            Some(text) => base64url::decode_exactly(text).map(Answer).map_err(|_| Refusal::WrongAnswer),
        };
        match &*action {
            "send" => Ok(Self::Send { key, ext, data: read_data(fields.data.as_deref())? }),
            "check" => Ok(Self::Check {
                key,
                ext,
                at: fields.at.unwrap_or_default(),
                ask: fields.ask.unwrap_or_default(),
                relay: fields.relay.map(Cow::into_owned),
                wait: fields.wait.unwrap_or_default(),
            }),
            "receive" => {
                let limit = match fields.limit.unwrap_or(1) {
                    limit @ 1..=32 => limit,
                    _ => return Err(Refusal::bad("\"limit\" must be 1 to 32")),
                };
                Ok(Self::Receive { key, ext, answer: answer()?, at: fields.at.unwrap_or_default(), limit })
            }
            _ => {
                let upto = match (fields.at, fields.all.unwrap_or_default()) {
                    (Some(at), false) => Upto::At(at),
                    (None, true) => Upto::All,
                    _ => {
                        return Err(Refusal::bad("delete takes exactly one of \"at\" and \"all\":true"));
                    }
                };
                Ok(Self::Delete { key, ext, answer: answer()?, upto })
            }
        }
    }

    /// Whether it may be held open until something comes.
    pub fn waits(&self) -> bool {
        matches!(self, Self::Check { wait: 1.., ask: false, .. } | Self::CheckMany { wait: 1.., .. })
    }

    /// What the app says to the relay: an API key, say.
    pub fn ext(&self) -> Option<&Ext> {
        let (Self::Send { ext, .. }
        | Self::Check { ext, .. }
        | Self::CheckMany { ext, .. }
        | Self::Receive { ext, .. }
        | Self::Delete { ext, .. }) = self;
        ext.as_ref()
    }

    /// A body that is larger than any request.
    pub(crate) fn too_big() -> Refusal {
        Refusal::TooBig { detail: "a request is at most 32768 bytes; a check of many boxes 65536".into() }
    }

    /// The action's name on the wire.
    pub fn action(&self) -> &'static str {
        match self {
            Self::Send { .. } => "send",
            Self::Check { .. } | Self::CheckMany { .. } => "check",
            Self::Receive { .. } => "receive",
            Self::Delete { .. } => "delete",
        }
    }
}

fn read_boxes(
    boxes: Vec<BoxFields>,
    known: &KnownKeys,
    admit_many: impl FnOnce(u32) -> Result<(), Refusal>,
) -> Result<Vec<(PublicKey, At)>, Refusal> {
    match u32::try_from(boxes.len()) {
        Ok(count @ 1..=limits::MAX_CHECK_BOXES) => admit_many(count)?,
        _ => return Err(Refusal::bad("\"boxes\" must be 1 to 100 boxes")),
    }
    let mut seen = HashSet::new();
    let mut read = Vec::with_capacity(boxes.len());
    for BoxFields { key, at } in boxes {
        let key = key.ok_or_else(|| Refusal::bad("a box in \"boxes\" lacks its \"pub\""))?;
        let key = known.parse(&key).map_err(|_| Refusal::BadKey)?;
        if !seen.insert(key) {
            return Err(Refusal::bad("a \"pub\" stands twice in \"boxes\""));
        }
        read.push((key, at.unwrap_or_default()));
    }
    Ok(read)
}

fn read_data(text: Option<&str>) -> Result<Vec<u8>, Refusal> {
    let text = text.ok_or_else(|| Refusal::bad("\"data\" is missing: the message in base64url"))?;
    let data = base64url::decode(text).map_err(|e| Refusal::bad(format!("\"data\" is {e}")))?;
    match data.len() {
        0 => Err(Refusal::bad("\"data\" is empty")),
        1..=limits::MAX_DATA_BYTES => Ok(data),
        _ => Err(Refusal::TooBig { detail: "a message is at most 16384 bytes before base64url".into() }),
    }
}

/// The fields of any request, as they stand in the body.
#[derive(Default)]
struct Fields<'a> {
    action: Option<Cow<'a, str>>,
    key: Option<Cow<'a, str>>,
    ext: Option<Option<Cow<'a, str>>>,
    data: Option<Cow<'a, str>>,
    answer: Option<Cow<'a, str>>,
    relay: Option<Cow<'a, str>>,
    at: Option<At>,
    limit: Option<u32>,
    wait: Option<u64>,
    ask: Option<bool>,
    all: Option<bool>,
    boxes: Option<Vec<BoxFields<'a>>>,
}

/// The fields of one of several boxes.
#[derive(Default)]
struct BoxFields<'a> {
    key: Option<Cow<'a, str>>,
    at: Option<At>,
}

impl<'a> Fields<'a> {
    fn read(text: &'a str) -> Result<Self, Refusal> {
        let mut json = serde_json::Deserializer::from_str(text);
        let fields = json.deserialize_map(FieldsVisitor).map_err(not_json)?;
        json.end().map_err(not_json)?;
        Ok(fields)
    }
}

fn not_json(error: serde_json::Error) -> Refusal {
    Refusal::bad(match error.classify() {
        serde_json::error::Category::Data => error.to_string(),
        _ => format!("the body must be one JSON object: {error}"),
    })
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object with an \"action\"")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Fields::default();
        each_once(map, |name, map| {
            Ok(Some(match name {
                "action" => keep(&mut fields.action, map.next_value::<Text>()?.0),
                "pub" => keep(&mut fields.key, map.next_value::<Text>()?.0),
                "ext" => keep(&mut fields.ext, map.next_value::<Option<Text>>()?.map(|text| text.0)),
                "data" => keep(&mut fields.data, map.next_value::<Text>()?.0),
                "answer" => keep(&mut fields.answer, map.next_value::<Text>()?.0),
                "relay" => keep(&mut fields.relay, map.next_value::<Text>()?.0),
                "at" => keep(&mut fields.at, read_at(map.next_value()?)?),
                "limit" => keep(&mut fields.limit, map.next_value()?),
                "wait" => keep(&mut fields.wait, map.next_value()?),
                "ask" => keep(&mut fields.ask, map.next_value()?),
                "all" => keep(&mut fields.all, map.next_value()?),
                "boxes" => keep(&mut fields.boxes, map.next_value()?),
                _ => return Ok(None),
            }))
        })?;
        Ok(fields)
    }
}

impl<'de> de::Deserialize<'de> for BoxFields<'de> {
    fn deserialize<D: de::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct BoxVisitor;
        impl<'de> Visitor<'de> for BoxVisitor {
            type Value = BoxFields<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object with a \"pub\"")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<BoxFields<'de>, A::Error> {
                let mut fields = BoxFields::default();
                each_once(map, |name, map| {
                    Ok(Some(match name {
                        "pub" => keep(&mut fields.key, map.next_value::<Text>()?.0),
                        "at" => keep(&mut fields.at, read_at(map.next_value()?)?),
                        _ => return Ok(None),
                    }))
                })?;
                Ok(fields)
            }
        }
        input.deserialize_map(BoxVisitor)
    }
}

/// Reads the fields of an object: `read` takes the value of one that it knows, and says whether it was the first of its name.
/// Unknown ones are ignored; a name that stands twice is refused even there, since two readers could disagree on which of the
/// two counts.
fn each_once<'de, A: MapAccess<'de>>(
    mut map: A,
    mut read: impl FnMut(&str, &mut A) -> Result<Option<bool>, A::Error>,
) -> Result<(), A::Error> {
    let mut unknown = Vec::new();
    let mut is_once = true;
    while let Some(Text(name)) = map.next_key()? {
        match read(&name, &mut map)? {
            Some(is_first) => is_once &= is_first,
            None => {
                map.next_value::<IgnoredAny>()?;
                unknown.push(name);
            }
        }
    }
    unknown.sort_unstable();
    if !is_once || unknown.windows(2).any(|two| two[0] == two[1]) {
        return Err(de::Error::custom("a field stands twice in the body"));
    }
    Ok(())
}

/// Keeps a field's value, and says whether there was none before.
fn keep<T>(field: &mut Option<T>, value: T) -> bool {
    field.replace(value).is_none()
}

fn read_at<E: de::Error>(raw: &RawValue) -> Result<At, E> {
    let text = raw.get();
    let digits = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    At::from_digits(digits).ok_or_else(|| E::custom("\"at\" must be an integer: Unix time in microseconds"))
}

/// A JSON string, borrowed where it holds no escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de> de::Deserialize<'de> for Text<'de> {
    fn deserialize<D: de::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        input.deserialize_str(TextVisitor)
    }
}

impl Serialize for Request {
    /// The request as a client writes it.
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let (key, ext) = match self {
            Self::Send { key, ext, .. }
            | Self::Check { key, ext, .. }
            | Self::Receive { key, ext, .. }
            | Self::Delete { key, ext, .. } => (Some(key), ext),
            Self::CheckMany { ext, .. } => (None, ext),
        };
        let mut map = out.serialize_map(None)?;
        if let Some(key) = key {
            map.serialize_entry("pub", key)?;
        }
        map.serialize_entry("ext", ext)?;
        map.serialize_entry("action", self.action())?;
        match self {
            Self::Send { data, .. } => map.serialize_entry("data", &base64url::encode(data))?,
            Self::Check { at, ask, relay, wait, .. } => {
                map.serialize_entry("at", at)?;
                if *ask {
                    map.serialize_entry("ask", ask)?;
                }
                serialize_how(&mut map, relay.as_ref(), *wait)?;
            }
            Self::CheckMany { boxes, relay, wait, .. } => {
                let boxes: Vec<WrittenBox> = boxes.iter().map(|(key, at)| WrittenBox { key, at }).collect();
                map.serialize_entry("boxes", &boxes)?;
                serialize_how(&mut map, relay.as_ref(), *wait)?;
            }
            Self::Receive { answer, at, limit, .. } => {
                map.serialize_entry("answer", &base64url::encode(answer.0))?;
                map.serialize_entry("at", at)?;
                map.serialize_entry("limit", limit)?;
            }
            Self::Delete { answer, upto, .. } => {
                map.serialize_entry("answer", &base64url::encode(answer.0))?;
                match upto {
                    Upto::At(at) => map.serialize_entry("at", at)?,
                    Upto::All => map.serialize_entry("all", &true)?,
                }
            }
        }
        map.end()
    }
}

/// How a check is asked for, where it is not as usual.
fn serialize_how<M: SerializeMap>(map: &mut M, relay: Option<&String>, wait: u64) -> Result<(), M::Error> {
    if let Some(relay) = relay {
        map.serialize_entry("relay", relay)?;
    }
    if wait > 0 {
        map.serialize_entry("wait", &wait)?;
    }
    Ok(())
}

#[derive(Serialize)]
struct WrittenBox<'a> {
    #[serde(rename = "pub")]
    key: &'a PublicKey,
    at: &'a At,
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "A3cF4dUliud11gULRbSbiyThJ8-nj--k8m_lctINRixWu9LVtRFfqKsa6XU9Q6j0hw";

    fn parse(body: &str) -> Result<Request, Refusal> {
        Request::parse(body.as_bytes(), &KnownKeys::default(), |_| Ok(()))
    }

    fn detail(body: &str) -> String {
        match parse(body) {
            Err(Refusal::BadRequest { detail }) => detail.into_owned(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn written_and_read_again() {
        let key: PublicKey = KEY.parse().unwrap();
        let other = crate::seal::derive_box_key(b"another box of this test").unwrap().public();
        let ext = Some(Ext::from_data(b"apikey").unwrap());
        let answer = Answer([9; 56]);
        for request in [
            Request::Send { key, ext: None, data: b"hello".to_vec() },
            Request::Check {
                key,
                ext: ext.clone(),
                at: At::from(7),
                ask: true,
                relay: Some("http://[::1]".into()),
                wait: 25,
            },
            Request::Check { key, ext: None, at: At::START, ask: false, relay: None, wait: 0 },
            Request::CheckMany {
                boxes: vec![(key, At::from(7)), (other, At::START)],
                ext: ext.clone(),
                relay: Some("https://connecto.id".into()),
                wait: 1,
            },
            Request::CheckMany { boxes: vec![(key, At::START)], ext: None, relay: None, wait: 0 },
            Request::Receive { key, ext: None, answer, at: At::MAX, limit: 32 },
            Request::Delete { key, ext: None, answer, upto: Upto::At(At::from(7)) },
            Request::Delete { key, ext, answer, upto: Upto::All },
        ] {
            let text = serde_json::to_string(&request).unwrap();
            assert_eq!(parse(&text), Ok(request), "{text}");
        }
    }

    #[test]
    fn the_least_a_request_says() {
        let check = parse(&format!(r#"{{"action":"check","pub":"{KEY}"}}"#)).unwrap();
        assert!(matches!(check, Request::Check { at: At::START, ask: false, relay: None, ext: None, .. }));
        let answer = "A".repeat(75);
        let receive =
            parse(&format!(r#"{{"action":"receive","pub":"{KEY}","ext":"","answer":"{answer}"}}"#)).unwrap();
        assert!(matches!(receive, Request::Receive { at: At::START, limit: 1, ext: None, .. }));
    }

    #[test]
    fn at_in_every_spelling() {
        for (at, expected) in [
            ("20221231235959123456", 1_672_531_199_123_456),
            ("\"20221231235959123456\"", 1_672_531_199_123_456),
            ("\"7\"", 7),
            ("-1", 0),
            ("123456789012345678901234567890", 9_007_199_254_740_991),
        ] {
            let body = format!(r#"{{"action":"check","pub":"{KEY}","at":{at}}}"#);
            assert!(
                matches!(parse(&body), Ok(Request::Check { at, .. }) if at.as_i64() == expected),
                "{body}"
            );
        }
        for at in ["1.5", "1.0", "1e3", "null", "\"\"", "\"x\"", "[]", "true", "\"\\u0037\""] {
            let body = format!(r#"{{"action":"check","pub":"{KEY}","at":{at}}}"#);
            assert!(matches!(parse(&body), Err(Refusal::BadRequest { .. })), "{body}");
        }
    }

    #[test]
    fn unknown_fields_are_ignored_but_not_twice() {
        let body = format!(r#"{{"x":{{"y":[1,2]}},"action":"check","pub":"{KEY}","z":"\ud800"}}"#);
        assert!(parse(&body).is_ok());
        let in_a_box = |fields: &str| format!(r#""boxes":[{{{fields}}}]"#);
        for twice in [
            r#""action":"check","action":"check""#,
            r#""pub":"a","pub":"b""#,
            r#""ext":null,"ext":null"#,
            r#""ext":null,"ext":"a""#,
            r#""ext":"a","ext":null"#,
            r#""data":"a","data":"b""#,
            r#""answer":"a","answer":"b""#,
            r#""relay":"a","relay":"b""#,
            r#""at":1,"at":1"#,
            r#""at":1,"\u0061t":1"#,
            r#""limit":1,"limit":1"#,
            r#""wait":1,"wait":1"#,
            r#""ask":true,"ask":false"#,
            r#""all":true,"all":false"#,
            r#""boxes":[],"boxes":[]"#,
            &in_a_box(r#""pub":"a","pub":"b""#),
            &in_a_box(r#""at":1,"at":1"#),
            &in_a_box(r#""x":1,"y":1,"x":2"#),
            r#""x":1,"x":2"#,
            r#""x":1,"y":1,"x":2"#,
            r#""x":1,"\u0078":2"#,
        ] {
            let body = format!("{{{twice}}}");
            assert!(detail(&body).contains("twice"), "{body}");
        }
    }

    #[test]
    fn what_is_not_a_request() {
        for body in [
            "",
            "[]",
            "null",
            "\"check\"",
            "{",
            "{}}",
            "{} {}",
            "action=check",
            "{\"action\":1}",
            "{\"action\":null}",
        ] {
            assert!(matches!(parse(body), Err(Refusal::BadRequest { .. })), "{body:?}");
        }
        assert!(matches!(
            Request::parse(b"\xFF", &KnownKeys::default(), |_| Ok(())),
            Err(Refusal::BadRequest { .. })
        ));
        assert!(detail("{}").starts_with("\"action\" is missing"));
        assert!(detail(r#"{"action":"chekc"}"#).starts_with("\"action\" must be"));
        assert!(detail(r#"{"action":"check"}"#).starts_with("\"pub\" is missing"));
        assert_eq!(parse(r#"{"action":"check","pub":"x"}"#), Err(Refusal::BadKey));
        assert!(detail(r#"{"action":"check","pub":7}"#).contains("expected a string"));
        let receive = |rest: &str| parse(&format!(r#"{{"action":"receive","pub":"{KEY}",{rest}}}"#));
        assert_eq!(receive(r#""answer":"x""#), Err(Refusal::WrongAnswer));
        assert!(matches!(receive(r#""answer":null"#), Err(Refusal::BadRequest { .. })));
        assert!(matches!(receive(r#""limit":1"#), Err(Refusal::BadRequest { .. })));
        for limit in ["0", "33", "-1", "1.5", "4294967297"] {
            let answer = "A".repeat(75);
            let refused = receive(&format!(r#""answer":"{answer}","limit":{limit}"#));
            assert!(matches!(refused, Err(Refusal::BadRequest { .. })), "{limit}");
        }
    }

    #[test]
    fn data_of_1_to_16384_bytes() {
        let send = |data: &[u8]| {
            parse(&format!(r#"{{"action":"send","pub":"{KEY}","data":"{}"}}"#, base64url::encode(data)))
        };
        assert!(matches!(send(&[]), Err(Refusal::BadRequest { .. })));
        assert!(send(&[1]).is_ok());
        assert!(send(&[1; 16_384]).is_ok());
        assert!(matches!(send(&[1; 16_385]), Err(Refusal::TooBig { .. })));
    }

    #[test]
    fn exactly_one_of_at_and_all() {
        let delete = |rest: &str| {
            parse(&format!(r#"{{"action":"delete","pub":"{KEY}","answer":"{}"{rest}}}"#, "A".repeat(75)))
        };
        assert!(matches!(delete(r#","at":5"#), Ok(Request::Delete { upto: Upto::At(_), .. })));
        assert!(matches!(delete(r#","all":true"#), Ok(Request::Delete { upto: Upto::All, .. })));
        assert!(matches!(delete(r#","at":5,"all":false"#), Ok(Request::Delete { upto: Upto::At(_), .. })));
        for wrong in ["", r#","at":5,"all":true"#, r#","all":false"#] {
            assert!(matches!(delete(wrong), Err(Refusal::BadRequest { .. })), "{wrong}");
        }
    }
}
