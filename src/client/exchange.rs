//! One exchange with a relay, without the network: the bytes that are posted, and what came back as a reply or as the
//! reason why there is none.
//!
//! An app that brings its own HTTP calls [`body`] and [`read`]; [`super::transport`] is this library's own.

use std::{borrow::Cow, time::Duration};

use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    defences::{Defence, holds},
    protocol::{RefusalBody, Request, limits::MAX_REPLY_BYTES},
};

/// How long a relay has for its reply, all in all, beyond the `wait` that was asked for.
const REPLY_TIME: Duration = Duration::from_secs(10);

/// The longest `error` that is passed on, in characters. Those of the protocol have at most 18.
const MAX_ERROR_CHARS: usize = 64;

/// The longest `detail` that is passed on, in characters.
const MAX_DETAIL_CHARS: usize = 300;

/// Why there is no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoReply {
    /// The relay refused, in the protocol's words. They are its own: short, on one line and without control characters,
    /// but not to be believed.
    #[error("refused: {}{}", .0.error, detail(.0))]
    Refused(RefusalBody),
    /// What came is not what an honest relay sends.
    #[error("misbehaves: {0}")]
    Misbehaves(Misbehaviour),
    /// The relay was not reached, or did not reply in time: why, in a few words.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
}

/// What an honest relay does not do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misbehaviour {
    /// A status of success, and no reply of the protocol.
    #[error("its reply is not one of the protocol's")]
    NotTheProtocol,
    /// Another status, and no refusal of the protocol: most likely no relay is there.
    #[error("it answered with status {}: is this the URL of a relay?", named(*.0))]
    Status(u16),
    /// A status from 300 to 399. It was not followed.
    #[error("it redirects (status {0}), and redirects are not followed: is this the URL of a relay?")]
    Redirect(u16),
    /// More than 1 MiB.
    #[error("its reply is larger than 1 MiB")]
    TooLarge,
    /// A question that by its own words is bound to another relay.
    #[error("it asked a question that is bound to another relay")]
    OtherRelay,
    /// Something was found, but it asked no question.
    #[error("it found something and asked no question")]
    NoQuestion,
    /// A question that does not open as one about this box at this relay.
    #[error("its question is none about this box; nothing was answered")]
    ForeignQuestion,
    /// One message, where many were asked for.
    #[error("it did not reply with a list of messages")]
    NotAList,
    /// Messages without order, too many, or a cursor that is not that of the last.
    #[error("its messages or its cursor are out of order")]
    Cursor,
    /// A cursor more than a day ahead of this device's clock: it would hide what comes.
    #[error("its cursor is far in the future (or this device's clock is wrong)")]
    CursorAhead,
    /// More messages than any box holds, without an end.
    #[error("its list of messages has no end")]
    NoEnd,
}

/// What is posted to the relay, as `text/plain`. Sent again after a failure, it is these same bytes.
pub fn body(request: &Request) -> Vec<u8> {
    // Strings and numbers, into memory: there is nothing that could fail.
    serde_json::to_vec(request).unwrap_or_default()
}

/// How long to wait for the reply, from the start of the connection to the reply's last byte: 10 s, and the `wait` that
/// was asked for.
pub fn patience(request: &Request) -> Duration {
    match request {
        Request::Check { wait, .. } | Request::CheckMany { wait, .. } => {
            REPLY_TIME.saturating_add(Duration::from_secs(*wait))
        }
        Request::Send { .. } | Request::Receive { .. } | Request::Delete { .. } => REPLY_TIME,
    }
}

/// Reads what came back: the HTTP status, and the body without any content coding. `T` is the reply to the action:
/// [`Done`], [`crate::protocol::Checked`], [`crate::protocol::CheckedMany`] or [`crate::protocol::Received`].
///
/// The client must not follow redirects, and should stop reading at 1 MiB; a longer body is refused here, too.
///
/// # Errors
/// [`NoReply::Refused`] and [`NoReply::Misbehaves`]; never [`NoReply::Unreachable`], which is for the caller to say.
pub fn read<T: DeserializeOwned>(status: u16, body: &[u8]) -> Result<T, NoReply> {
    let misbehaves = |what| Err(NoReply::Misbehaves(what));
    if (300..400).contains(&status) {
        return misbehaves(Misbehaviour::Redirect(status));
    }
    if body.len() as u64 > MAX_REPLY_BYTES && holds(Defence::ReplySize) {
        return misbehaves(Misbehaviour::TooLarge);
    }
    if (200..300).contains(&status) {
        // Whatever `T` takes: JSON of something that is no relay must not count as a message stored.
        return match serde_json::from_slice(body) {
            Ok(Done { ok: true }) => serde_json::from_slice(body).ok(),
            _ => None,
        }
        .ok_or(NoReply::Misbehaves(Misbehaviour::NotTheProtocol));
    }
    match serde_json::from_slice::<RefusalBody>(body) {
        Ok(refusal) if !refusal.ok && (400..600).contains(&status) => Err(NoReply::Refused(RefusalBody {
            error: one_line(&refusal.error, MAX_ERROR_CHARS).into(),
            detail: refusal.detail.map(|detail| Cow::Owned(one_line(&detail, MAX_DETAIL_CHARS))),
            ..refusal
        })),
        _ => misbehaves(Misbehaviour::Status(status)),
    }
}

/// The reply to `send` and `delete`: it is done. All replies of success begin like this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Done {
    /// Always true.
    pub ok: bool,
}

fn detail(body: &RefusalBody) -> String {
    body.detail.as_ref().map(|detail| format!(" ({detail})")).unwrap_or_default()
}

/// What a stranger wrote, fit to be printed: neither control characters nor marks that turn the direction of writing,
/// and cut where it gets long.
pub(super) fn one_line(text: &str, most: usize) -> String {
    let unprintable = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut line: String = text
        .chars()
        .take(most)
        .map(|c| if unprintable(c) { char::REPLACEMENT_CHARACTER } else { c })
        .collect();
    if text.chars().nth(most).is_some() {
        line.push('…');
    }
    line
}

/// A status, with its usual words if it is one that web servers and proxies like to send.
fn named(status: u16) -> String {
    let words = match status {
        400 => " Bad Request",
        401 => " Unauthorized",
        403 => " Forbidden",
        404 => " Not Found",
        405 => " Method Not Allowed",
        413 => " Content Too Large",
        429 => " Too Many Requests",
        500 => " Internal Server Error",
        502 => " Bad Gateway",
        503 => " Service Unavailable",
        504 => " Gateway Timeout",
        _ => "",
    };
    format!("{status}{words}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{At, Checked, PublicKey, Received};

    const KEY: &str = "A3cF4dUliud11gULRbSbiyThJ8-nj--k8m_lctINRixWu9LVtRFfqKsa6XU9Q6j0hw";

    fn check(wait: u64) -> Request {
        let key: PublicKey = KEY.parse().unwrap();
        Request::Check { key, ext: None, at: At::START, ask: false, relay: None, wait }
    }

    fn said<T: DeserializeOwned + std::fmt::Debug>(status: u16, body: &str) -> String {
        read::<T>(status, body.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn what_is_posted() {
        let key: PublicKey = KEY.parse().unwrap();
        let send = Request::Send { key, ext: None, data: b"hello".to_vec() };
        assert_eq!(
            String::from_utf8(body(&send)).unwrap(),
            format!(r#"{{"pub":"{KEY}","ext":null,"action":"send","data":"aGVsbG8"}}"#)
        );
        assert_eq!(patience(&send), Duration::from_secs(10));
        assert_eq!(patience(&check(0)), Duration::from_secs(10));
        assert_eq!(patience(&check(25)), Duration::from_secs(35));
        assert_eq!(patience(&check(u64::MAX)), Duration::MAX);
    }

    #[test]
    fn replies() {
        assert_eq!(read(200, b"{\"ok\":true}\n"), Ok(Done { ok: true }));
        let nothing = Checked { ok: true, found: false, question: None, relay: None };
        assert_eq!(read(200, br#"{"ok":true,"found":false,"later":"ignored"}"#), Ok(nothing));
        let nothing = Received::Nothing { ok: true, found: false, at: At::START };
        assert_eq!(read(200, br#"{"ok":true,"found":false,"at":0}"#), Ok(nothing));
    }

    #[test]
    fn success_that_is_none() {
        for body in [
            "",
            "[]",
            "{}",
            "null",
            "<html>hello</html>",
            r#"{"ok":"yes"}"#,
            r#"{"ok":false}"#,
            r#"{"ok":false,"error":"Busy"}"#,
            r#"{"ok":true} {"ok":true}"#,
            r#"{"ok":false,"ok":true}"#,
            "\u{feff}{\"ok\":true}",
        ] {
            assert_eq!(
                said::<serde_json::Value>(200, body),
                "misbehaves: its reply is not one of the protocol's",
                "{body}"
            );
        }
        // Done, but that was not asked for.
        assert_eq!(
            said::<Checked>(200, r#"{"ok":true}"#),
            "misbehaves: its reply is not one of the protocol's"
        );
    }

    #[test]
    fn refusals() {
        let busy = r#"{"ok":false,"error":"Busy","detail":"send it again","retryAfter":3}"#;
        assert_eq!(
            read::<Done>(503, busy.as_bytes()),
            Err(NoReply::Refused(RefusalBody {
                ok: false,
                error: "Busy".into(),
                detail: Some("send it again".into()),
                retry_after: Some(3),
            }))
        );
        assert_eq!(said::<Done>(503, busy), "refused: Busy (send it again)");
        assert_eq!(said::<Done>(403, r#"{"ok":false,"error":"Wrong answer"}"#), "refused: Wrong answer");
    }

    #[test]
    fn refusals_that_are_none() {
        let refusal = r#"{"ok":false,"error":"Busy"}"#;
        for (status, body, reason) in [
            (404, "<html>", "it answered with status 404 Not Found: is this the URL of a relay?"),
            (
                500,
                r#"{"ok":true}"#,
                "it answered with status 500 Internal Server Error: is this the URL of a relay?",
            ),
            (
                400,
                r#"{"ok":true,"error":"Busy"}"#,
                "it answered with status 400 Bad Request: is this the URL of a relay?",
            ),
            (418, r#"{"ok":false,"error":7}"#, "it answered with status 418: is this the URL of a relay?"),
            (
                429,
                r#"{"ok":false,"error":"x","retryAfter":-1}"#,
                "it answered with status 429 Too Many Requests: is this the URL of a relay?",
            ),
            (101, refusal, "it answered with status 101: is this the URL of a relay?"),
            (600, refusal, "it answered with status 600: is this the URL of a relay?"),
            (
                301,
                refusal,
                "it redirects (status 301), and redirects are not followed: is this the URL of a relay?",
            ),
            (
                308,
                r#"{"ok":true}"#,
                "it redirects (status 308), and redirects are not followed: is this the URL of a relay?",
            ),
        ] {
            assert_eq!(said::<Done>(status, body), format!("misbehaves: {reason}"), "{status} {body}");
        }
    }

    #[test]
    fn a_reply_of_more_than_a_mebibyte() {
        let mut body = br#"{"ok":true}"#.to_vec();
        body.resize(1_048_576, b' ');
        assert_eq!(read(200, &body), Ok(Done { ok: true }));
        body.push(b' ');
        assert_eq!(read::<Done>(200, &body), Err(NoReply::Misbehaves(Misbehaviour::TooLarge)));
        assert_eq!(read::<Done>(500, &body), Err(NoReply::Misbehaves(Misbehaviour::TooLarge)));
        assert_eq!(
            said::<Done>(200, &String::from_utf8(body).unwrap()),
            "misbehaves: its reply is larger than 1 MiB"
        );
    }

    #[test]
    fn what_a_relay_says_is_short_and_stays_on_its_line() {
        let long = "x".repeat(301);
        let evil = serde_json::json!({
            "ok": false,
            "error": format!("Bad\u{1b}[2J\nkey{}", "!".repeat(60)),
            "detail": format!("\u{202e}{long}"),
        });
        assert_eq!(
            said::<Done>(400, &evil.to_string()),
            format!("refused: Bad\u{fffd}[2J\u{fffd}key{}… (\u{fffd}{}…)", "!".repeat(53), "x".repeat(299))
        );
    }
}
