//! One attempt at a session, from its offer to a proven data channel.

use std::time::Duration;

use zeroize::Zeroizing;

use super::{Alarm, SessionId};
use crate::{
    defences::{Defence, holds},
    protocol::{Fingerprint, Frame, LinkSecret, PublicKey},
    seal::{
        message::OfferHash,
        transcript::{Role, Sas, Transcript, sas_commit},
    },
};

/// How long hello and proof may take, from the channel's opening.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long the channel may take to open, from the answer on. The other side may look for the answer once a minute only.
const JOINING: Duration = Duration::from_mins(5);

/// The candidate messages of one side to one offer.
pub(super) const MOST_CANDIDATES: u32 = 3;

/// An attempt at a session.
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) stage: Stage,
    /// The candidate messages that were sent and taken: at most three each.
    pub(super) candidates_sent: u32,
    pub(super) candidates_taken: u32,
}

/// How far it is.
pub(super) enum Stage {
    /// The app makes an offer.
    MakingOffer,
    /// The offer is on its way.
    Offered(Offered),
    /// The app makes an answer to this offer.
    MakingAnswer(Answering),
    /// Offer and answer are exchanged; the peer connection and then the channel are to come.
    Joined(Box<Joined>),
}

/// An offer that is outstanding.
pub(super) struct Offered {
    pub(super) hash: OfferHash,
    pub(super) payload: Zeroizing<Vec<u8>>,
    /// What `sasCommit` commits to.
    pub(super) r_o: Zeroizing<[u8; 32]>,
    /// Of the box it was sealed to.
    pub(super) secret_o: Option<LinkSecret>,
    pub(super) fingerprint: Fingerprint,
    pub(super) since: Duration,
}

/// An offer that is being answered.
pub(super) struct Answering {
    pub(super) payload: Zeroizing<Vec<u8>>,
    pub(super) sas_commit: [u8; 48],
    /// The box in the offer's connectoid, and who signed the offer: what the commitment is about.
    pub(super) from: PublicKey,
    pub(super) ik: PublicKey,
    /// Of the own box it came to.
    pub(super) secret_o: Option<LinkSecret>,
    pub(super) fingerprint: Fingerprint,
}

/// Both sides know offer and answer.
pub(super) struct Joined {
    pub(super) role: Role,
    pub(super) hash: OfferHash,
    pub(super) transcript: Transcript,
    /// The other side's key, which the proof pins.
    pub(super) ik: PublicKey,
    /// rO: one's own, or the other side's once its `hello` revealed it.
    pub(super) r_o: Option<Zeroizing<[u8; 32]>>,
    pub(super) r_a: [u8; 32],
    /// What the other side's offer committed to, and about which box.
    pub(super) commitment: Option<([u8; 48], PublicKey)>,
    pub(super) own: Fingerprint,
    pub(super) peer: Fingerprint,
    pub(super) since: Duration,
    pub(super) handshake: Option<Handshake>,
}

/// The first frames of a channel.
pub(super) struct Handshake {
    nonce: [u8; 32],
    peer_nonce: Option<[u8; 32]>,
    until: Duration,
}

/// What a frame leads to.
pub(super) enum Step {
    /// Send this frame.
    Reply(Frame),
    /// The other side is who it should be.
    Proven(Sas),
    /// Close the channel, for this reason if people should hear of it.
    Close(Option<Alarm>),
}

impl Session {
    pub(super) fn new(id: SessionId, stage: Stage) -> Self {
        Self { id, stage, candidates_sent: 0, candidates_taken: 0 }
    }

    /// Until when the channel must be open or, once it is, proven.
    pub(super) fn deadline(&self) -> Option<Duration> {
        match &self.stage {
            Stage::Joined(joined) => {
                Some(joined.handshake.as_ref().map_or(joined.since + JOINING, |handshake| handshake.until))
            }
            _ => None,
        }
    }

    /// The hash of the offer this session rests on, once there is one.
    pub(super) fn offer(&self) -> Option<OfferHash> {
        match &self.stage {
            Stage::MakingOffer => None,
            Stage::Offered(offered) => Some(offered.hash),
            Stage::MakingAnswer(answering) => Some(OfferHash::of(&answering.payload)),
            Stage::Joined(joined) => Some(joined.hash),
        }
    }
}

impl Joined {
    /// The channel is open, and this is the certificate of its other end as far as the stack shows it. Gives the first frame.
    pub(super) fn open(
        &mut self,
        nonce: [u8; 32],
        certificate: Option<Fingerprint>,
        elapsed: Duration,
    ) -> Result<Frame, Alarm> {
        if certificate.is_some_and(|shown| shown != self.peer) && holds(Defence::Certificate) {
            return Err(Alarm::ForeignCertificate);
        }
        self.handshake = Some(Handshake { nonce, peer_nonce: None, until: elapsed + HANDSHAKE });
        let r = match self.role {
            Role::Offerer => self.r_o.as_deref().copied(),
            Role::Answerer => None,
        };
        Ok(Frame::Hello { nonce, r })
    }

    /// Takes a frame of a channel that is not proven yet. Anything but one `hello` and then one `proof` closes it.
    pub(super) fn frame(&mut self, frame: &Frame) -> Step {
        let Some(handshake) = &mut self.handshake else { return Step::Close(None) };
        match (frame, handshake.peer_nonce) {
            (Frame::Hello { nonce, r }, None) => {
                if let Some((commitment, from)) = &self.commitment {
                    let Some(r_o) = r else { return Step::Close(Some(Alarm::BrokenCommitment)) };
                    if sas_commit(r_o, from, &self.ik) != *commitment && holds(Defence::Commitment) {
                        return Step::Close(Some(Alarm::BrokenCommitment));
                    }
                    self.r_o = Some(Zeroizing::new(*r_o));
                }
                handshake.peer_nonce = Some(*nonce);
                let mac = self.transcript.proof(self.role, nonce, &handshake.nonce, &self.own, &self.peer);
                Step::Reply(Frame::Proof { mac })
            }
            (Frame::Proof { mac }, Some(peer_nonce)) => {
                let prover = match self.role {
                    Role::Offerer => Role::Answerer,
                    Role::Answerer => Role::Offerer,
                };
                let proves =
                    self.transcript.proves(prover, &handshake.nonce, &peer_nonce, &self.peer, &self.own, mac);
                let Some(r_o) = self.r_o.as_deref() else { return Step::Close(None) };
                if proves || !holds(Defence::Proof) {
                    Step::Proven(self.transcript.sas(r_o, &self.r_a))
                } else {
                    Step::Close(Some(Alarm::NoProof))
                }
            }
            _ => Step::Close(None),
        }
    }
}
