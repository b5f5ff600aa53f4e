//! Reading an own box: how far a relay's replies about it are believed.

use super::exchange::Misbehaviour;
use crate::{
    defences::{Defence, holds},
    protocol::{Answer, At, Message, Received, RelayUrl, limits::MAX_RECEIVE},
    seal::{BoxKey, question::open_question},
};

/// The most replies read from one box in one go. An honest relay holds 32 messages in a box by default; one that never ends
/// must not keep us for ever.
pub(crate) const MOST_REPLIES: u32 = 64;

/// Some messages of a box.
#[derive(Debug)]
pub(crate) struct Page {
    /// The cursor to go on from: that of the last message.
    pub(crate) at: At,
    /// At least one, in the order of their cursors.
    pub(crate) messages: Vec<Message>,
    /// Whether the relay says that there are more.
    pub(crate) more: bool,
}

/// Whether the relay at `url` says of its questions that they are its own, if it says anything.
///
/// # Errors
/// If not.
pub(crate) fn names_itself(url: &RelayUrl, named: Option<&str>) -> Result<(), Misbehaviour> {
    match named.is_some_and(|named| named != url.as_str()) && holds(Defence::OwnRelay) {
        true => Err(Misbehaviour::OtherRelay),
        false => Ok(()),
    }
}

/// The answer to the question of the relay at `url` about a box; `named` is the relay it says the question is bound to.
///
/// # Errors
/// If that is another relay's, or none about this box: then nothing must be answered.
pub(crate) fn answer(
    key: &BoxKey,
    url: &RelayUrl,
    named: Option<&str>,
    question: Option<&str>,
) -> Result<Answer, Misbehaviour> {
    names_itself(url, named)?;
    let named = named.unwrap_or(url.as_str());
    let question = question.ok_or(Misbehaviour::NoQuestion)?;
    // Only the URL that was contacted counts: another relay's question must not be answered here.
    let bound_to = match holds(Defence::OwnRelay) {
        true => url.clone(),
        false => named.parse().unwrap_or_else(|_| url.clone()),
    };
    open_question(key, &bound_to, question).map_err(|_| Misbehaviour::ForeignQuestion)
}

/// The messages in the reply to a `receive` of 32 behind `after`; none if there is nothing newer.
///
/// # Errors
/// If they are no list, too many, not in order, or if the cursor is not that of the last.
pub(crate) fn page(reply: Received, after: At) -> Result<Option<Page>, Misbehaviour> {
    let (at, messages, more) = match reply {
        Received::Nothing { .. } => return Ok(None),
        Received::One { .. } => return Err(Misbehaviour::NotAList),
        Received::Many { at, messages, more, .. } => (at, messages, more),
    };
    let fits = (1..=MAX_RECEIVE as usize).contains(&messages.len());
    let ascending = messages.is_sorted_by(|one, next| one.at < next.at);
    let behind = messages.first().is_some_and(|first| first.at > after);
    let last = messages.last().is_some_and(|last| last.at == at);
    if fits && ascending && behind && last {
        Ok(Some(Page { at, messages, more }))
    } else {
        Err(Misbehaviour::Cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_in_order_and_end_at_the_cursor() {
        let read = |at: i64, cursors: &[i64]| {
            let messages = cursors.iter().map(|at| Message { at: At::from(*at), data: vec![1] }).collect();
            page(Received::Many { ok: true, at: At::from(at), messages, more: false }, At::from(5))
        };
        let page = read(8, &[6, 8]).unwrap().unwrap();
        assert_eq!((page.at, page.messages.len(), page.more), (At::from(8), 2, false));
        for (at, cursors) in [
            (5, &[][..]),
            (9, &[6, 8]),
            (8, &[6]),
            (8, &[5, 8]),
            (8, &[8, 8]),
            (6, &[8, 6]),
            (133, &(101..=133).collect::<Vec<_>>()),
        ] {
            assert_eq!(read(at, cursors).unwrap_err(), Misbehaviour::Cursor, "{at} {cursors:?}");
        }
    }
}
