//! The defences against dishonest relays and peers that tests can switch off, one at a time, to show that each matters.
//!
//! Outside unit tests there is no switch: [`holds`] is constant.

/// A defence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "client"), allow(dead_code))]
pub(crate) enum Defence {
    /// Only a question opens as a question, and only if it has the length of one: a message is sealed for another purpose.
    Purpose,
    /// A message to a box with a secret must be sealed with it.
    SecretUsed,
    /// A message must be signed by the key it names, or by the one that is known.
    Signature,
    /// A message must say that it is for the box it came out of.
    Address,
    /// A reply above 1 MiB is not read.
    ReplySize,
    /// A relay's wish to be left alone counts for some minutes.
    Rest,
    /// Only questions bound to the relay that was contacted are answered.
    OwnRelay,
    /// A cursor far ahead of the clock is not taken over.
    Cursor,
    /// A message counts once (`n`).
    Counter,
    /// An answer counts only for the offer that is outstanding.
    Outstanding,
    /// Only the pinned key may write once there is one.
    Pinned,
    /// An offer must not lead back to an own box.
    NotOwnBox,
    /// The other side does not choose addresses on this machine to post to.
    NotThisMachine,
    /// An offer that was overtaken does not count.
    Overtaken,
    /// A link belongs to the first who used it.
    FirstClaim,
    /// The other side's proof is checked.
    Proof,
    /// What the offer committed to must be revealed.
    Commitment,
    /// The certificate of the channel is the signed one.
    Certificate,
    /// Offers to a link that nobody proves are answered up to a number.
    OfferCount,
}

#[cfg(not(test))]
pub(crate) const fn holds(_: Defence) -> bool {
    true
}

#[cfg(test)]
pub(crate) use switch::holds;
#[cfg(all(test, feature = "client"))]
pub(crate) use switch::without;

#[cfg(test)]
mod switch {
    use std::cell::Cell;

    use super::Defence;

    thread_local! {
        static OFF: Cell<Option<Defence>> = const { Cell::new(None) };
    }

    pub(crate) fn holds(defence: Defence) -> bool {
        OFF.get() != Some(defence)
    }

    /// Runs `then` on this thread with one defence switched off.
    #[cfg(feature = "client")]
    pub(crate) fn without<T>(defence: Defence, then: impl FnOnce() -> T) -> T {
        OFF.set(Some(defence));
        let result = then();
        OFF.set(None);
        result
    }
}
