//! What the state machine gives: requests, frames, steps for WebRTC, stores and events.

use zeroize::Zeroizing;

use super::super::{contact::Side, exchange::Misbehaviour};
use crate::{
    protocol::{RelayUrl, Request},
    seal::{message::Junk, transcript::Sas},
};

/// Names a request until it is replied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// Names an attempt at a session, from its offer to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// What is to be done, in the order given. Shown by no `Debug`: a frame may hold a secret.
pub enum Output {
    /// Make durable what [`super::Sessions::contact`] and [`super::Sessions::goodbyes`] say now, before anything that
    /// follows.
    Store {
        /// Whose state changed.
        contact: String,
        /// Why.
        point: PersistPoint,
    },
    /// POST this to a relay, and hand what comes back to [`super::Sessions::replied`].
    Request {
        /// To name it by.
        id: RequestId,
        /// Where to.
        relay: RelayUrl,
        /// What. It has [`super::super::exchange::patience`].
        request: Request,
    },
    /// The reply to this request is not waited for any more. It may be dropped on the way.
    Cancel(RequestId),
    /// Something for the app.
    Signal(Signal),
}

/// What concerns the app: its WebRTC, and its people. Shown by no `Debug`: a frame may hold a secret.
#[derive(PartialEq)]
pub enum Signal {
    /// Something to show or to know.
    Event(Event),
    /// Make a peer connection with a data channel `connectoid`, ordered and reliable, gather candidates for up to a second, and
    /// hand its offer to `local_offer`.
    MakeOffer {
        /// The session it is for.
        session: SessionId,
        /// Whom it is with.
        contact: String,
    },
    /// Make a peer connection for this offer, gather candidates for up to a second, and hand its answer to `local_answer`; or
    /// call `decline`.
    MakeAnswer {
        /// The session it is for.
        session: SessionId,
        /// Whom it is with.
        contact: String,
        /// The other side's SDP, to be used unchanged.
        sdp: String,
    },
    /// Give the peer connection this answer.
    AcceptAnswer {
        /// Which one.
        session: SessionId,
        /// The other side's SDP, to be used unchanged.
        sdp: String,
    },
    /// Give the peer connection these candidates.
    AddCandidates {
        /// Which one.
        session: SessionId,
        /// Objects of the form RTCIceCandidateInit.
        candidates: Vec<serde_json::Value>,
    },
    /// Send a text frame on the data channel `connectoid`.
    Frame {
        /// Of which session.
        session: SessionId,
        /// The frame.
        text: Zeroizing<String>,
    },
    /// Close the peer connection and forget it.
    Close {
        /// Which one.
        session: SessionId,
    },
}

/// Why the state of a contact is stored. The names of the moments at which a crash must do no harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PersistPoint {
    /// A link was made; before anybody sees it.
    Shared,
    /// An attempt to connect began; the own box is on disk before the first offer.
    ConnectBegun,
    /// An offer's counter is used up, and with the first one the signing key made; before it is sent.
    OfferCounted,
    /// An offer came; before the app hears of it and an answer is made.
    OfferTaken,
    /// An answer's counter is used up; before it is sent.
    AnswerCounted,
    /// An answer came; before it is used.
    AnswerTaken,
    /// A candidate message's counter is used up.
    CandidatesCounted,
    /// Candidates came.
    CandidatesTaken,
    /// The other side proved to be who answered or offered: its key is pinned.
    Pinned,
    /// A new own box was made; before the other side hears of it.
    BoxMade,
    /// The other side has a new box; before that is confirmed.
    PeerMoved,
    /// The other side confirmed the new own box.
    BoxConfirmed,
    /// Old boxes are not needed any more: their keys are deleted.
    BoxDropped,
    /// Somebody else used the link; before that one is refused.
    StrangerCame,
    /// The other side refused.
    Refused,
    /// An attempt to connect ended.
    Disconnected,
    /// The short authentication string was compared.
    Verified,
    /// A note came; before the app hears of it.
    NoteTaken,
    /// Notes were handed over.
    NotesHandedOver,
    /// A link was not used in time, or too often.
    LinkExpired,
    /// Unsharing began: the goodbye is sealed; before the boxes are deleted at the relays.
    UnshareBegun,
    /// The other side unshared; before the own boxes are deleted.
    ByeTaken,
    /// The contact and all its keys are deleted.
    Unshared,
    /// A goodbye was sent once more.
    ByeSent,
}

/// What an app is told.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A link was made and stored.
    Shared {
        /// Whom it is for.
        contact: String,
    },
    /// Somebody used the link; the connection is on its way.
    Claimed {
        /// Whose link.
        contact: String,
    },
    /// A session is open, and the other side proved who it is.
    Connected {
        /// With whom.
        contact: String,
        /// Which one.
        session: SessionId,
        /// What the two people may compare.
        sas: Sas,
        /// Whether app data may flow, or only after [`super::Sessions::verify`].
        may_exchange: bool,
    },
    /// App data may flow now: the strings are the same.
    MayExchange {
        /// With whom.
        contact: String,
    },
    /// A session ended.
    Disconnected {
        /// With whom.
        contact: String,
    },
    /// Somebody else used the link before.
    LinkUsed {
        /// The contact that waited.
        contact: String,
    },
    /// The other side does not want to connect.
    Declined {
        /// Which contact.
        contact: String,
    },
    /// Nobody answered for 48 hours.
    GaveUp {
        /// Which contact.
        contact: String,
    },
    /// The link was not used in time.
    LinkExpired {
        /// Whose link.
        contact: String,
    },
    /// The contact is over. If this side ended it, its keys are deleted by now; if the other did, they will be.
    Unshared {
        /// Which contact.
        contact: String,
        /// Who ended it.
        by: Side,
    },
    /// A note came; it is in [`super::super::contact::Contact::inbox`] until [`super::Sessions::notes_handed_over`].
    Note {
        /// From whom, or from somebody who has that one's link.
        contact: String,
    },
    /// Something that people should hear of.
    Alarm {
        /// Whom it concerns.
        contact: String,
        /// What.
        alarm: Alarm,
    },
    /// A message was not used.
    Skipped {
        /// Whose box it was in.
        contact: String,
        /// Where it came from.
        relay: RelayUrl,
        /// Why.
        why: Skip,
    },
    /// A relay does not do what the protocol says. It is asked again later, within a minute.
    Misbehaves {
        /// Which one.
        relay: RelayUrl,
        /// What it does.
        what: Misbehaviour,
    },
    /// A relay did not take a message, for a reason that will not pass. Others may have.
    NotSent {
        /// For whom.
        contact: String,
        /// Which relay.
        relay: RelayUrl,
        /// What it said.
        why: String,
    },
    /// No relay of this contact can be reached; trying goes on.
    RelaysDown {
        /// Which contact.
        contact: String,
    },
    /// A relay of this contact can be reached again.
    RelaysBack {
        /// Which contact.
        contact: String,
    },
}

/// What people should hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Alarm {
    /// Two people used the same link. A session that is open was closed; from now on no app data may flow before the strings were
    /// compared. Said again at each start until then. Unix milliseconds.
    LinkUsedTwice {
        /// When the first one was seen.
        first: u64,
        /// When the second one was seen.
        second: u64,
    },
    /// So many offers came to a link without anybody proving to have made them that it was closed.
    TooManyOffers,
    /// The short authentication strings differ: somebody stands in the middle.
    StringsDiffer,
    /// The other side of the channel did not reveal what its offer committed to.
    BrokenCommitment,
    /// The other side of the channel has another certificate than the one that was signed.
    ForeignCertificate,
    /// The other side of the channel could not prove to have made the offer or answer.
    NoProof,
}

/// Why a message was not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Skip {
    /// It does not hold.
    #[error("{0}")]
    Junk(Junk),
    /// It was received before.
    #[error("was received before")]
    Repeated,
    /// Its signer may not write to this box.
    #[error("is signed by a key that may not write here")]
    UnknownSigner,
    /// It answers or concerns no offer that is outstanding.
    #[error("concerns no offer that is outstanding")]
    NoSuchOffer,
    /// An offer older than the latest one, or from a box that was replaced.
    #[error("is an offer that was overtaken")]
    Overtaken,
    /// An offer that leads back to one's own box.
    #[error("is an offer that leads back here")]
    OwnBox,
    /// An offer whose relay is on this machine, where no relay of one's own is.
    #[error("is an offer that leads to an address on this machine")]
    ThisMachine,
    /// The link is not open any more.
    #[error("came to a link that is closed")]
    LinkClosed,
    /// The inbox is full; the note stays at the relay until it is emptied.
    #[error("has no room in the inbox: take the notes that are in it")]
    InboxFull,
    /// Too many signers of notes.
    #[error("is of one sender too many")]
    TooManySigners,
}
