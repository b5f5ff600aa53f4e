//! Requests as bytes, made once and filled in: the client must cost less than any server.

use std::ops::Range;

use connectoid::protocol::base64url;
use rand::Rng;

use crate::{
    boxes::{MailBox, NAME_CHARS},
    server::RELAY,
};

/// The bytes of a message: what most sealed messages have.
pub(crate) const MESSAGE_BYTES: usize = 4096;

/// The length of an answer in base64url.
pub(crate) const ANSWER_CHARS: usize = 75;

/// The characters of a message that make it unlike others.
const SERIAL_CHARS: usize = 8;

/// A request with places to fill in.
#[derive(Clone)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    name: Range<usize>,
    answer: Range<usize>,
    serial: Range<usize>,
}

const NAME: &str = "{box}";
const ANSWER: &str = "{answer}";

impl Template {
    /// Of a body with the places `{box}` and `{answer}`, and perhaps a message.
    fn new(body: &str, message: Option<&str>) -> Self {
        let body = body.replace(NAME, &"A".repeat(NAME_CHARS)).replace(ANSWER, &"B".repeat(ANSWER_CHARS));
        let head = format!(
            "POST / HTTP/1.1\r\nhost: relay.example\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let bytes = head + &body;
        let place = |content: &str| {
            let start = bytes.find(content).unwrap_or(0);
            start..start + content.len()
        };
        let name = place(&"A".repeat(NAME_CHARS));
        let answer = place(&"B".repeat(ANSWER_CHARS));
        let start = message.map_or(0, |message| place(message).start);
        let serial = start..start + SERIAL_CHARS;
        Self { name, answer, serial, bytes: bytes.into_bytes() }
    }

    /// `send` of a random message of [`MESSAGE_BYTES`].
    pub(crate) fn send(rng: &mut impl Rng) -> Self {
        let mut message = vec![0; MESSAGE_BYTES];
        rng.fill_bytes(&mut message);
        let message = base64url::encode(message);
        let body = format!(r#"{{"action":"send","pub":"{NAME}","ext":null,"data":"{message}"}}"#);
        Self::new(&body, Some(&message))
    }

    /// `check` for what is newer than `at`.
    pub(crate) fn check(at: u64) -> Self {
        let body = format!(r#"{{"action":"check","pub":"{NAME}","ext":null,"at":{at},"relay":"{RELAY}"}}"#);
        Self::new(&body, None)
    }

    /// `check` for what is newer than `at`, that waits so many seconds.
    pub(crate) fn wait(at: u64, seconds: u64) -> Self {
        let body = format!(
            r#"{{"action":"check","pub":"{NAME}","ext":null,"at":{at},"wait":{seconds},"relay":"{RELAY}"}}"#
        );
        Self::new(&body, None)
    }

    /// `check` of the box and of all these, for what is newer than `at`.
    pub(crate) fn check_many(others: &[MailBox], at: u64) -> Self {
        let others = others.iter().map(|other| String::from_utf8_lossy(&other.name).into_owned());
        let boxes: Vec<String> = std::iter::once(NAME.to_owned())
            .chain(others)
            .map(|name| format!(r#"{{"pub":"{name}","at":{at}}}"#))
            .collect();
        let boxes = boxes.join(",");
        let body = format!(r#"{{"action":"check","boxes":[{boxes}],"ext":null,"relay":"{RELAY}"}}"#);
        Self::new(&body, None)
    }

    /// `receive` of one message.
    pub(crate) fn receive() -> Self {
        let body = format!(
            r#"{{"action":"receive","pub":"{NAME}","ext":null,"answer":"{ANSWER}","at":0,"limit":1}}"#
        );
        Self::new(&body, None)
    }

    /// The request about this box.
    pub(crate) fn about(&self, to: &MailBox, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes);
        out[self.name.clone()].copy_from_slice(&to.name);
    }

    /// That, with another message each time.
    pub(crate) fn message(&self, to: &MailBox, number: u64, out: &mut Vec<u8>) {
        self.about(to, out);
        out[self.serial.clone()].copy_from_slice(&serial(number));
    }

    /// That, with an answer.
    pub(crate) fn answered(&self, to: &MailBox, answer: &str, out: &mut Vec<u8>) {
        self.about(to, out);
        out[self.answer.clone()].copy_from_slice(answer.as_bytes());
    }
}

/// A number as the first characters of a message.
pub(crate) fn serial(number: u64) -> [u8; SERIAL_CHARS] {
    // In letters, as base64url has them; the first digit is the lowest.
    std::array::from_fn(|n| b'A' + ((number >> (4 * n)) & 15) as u8)
}

/// What stands between these words and the next quotation mark.
pub(crate) fn field<'a>(body: &'a [u8], before: &str) -> Option<&'a str> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, rest) = text.split_once(before)?;
    Some(rest.split_once('"')?.0)
}
