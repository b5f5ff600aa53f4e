//! Offers and answers: from the wish to connect to a proven channel.

use std::time::Duration;

use zeroize::Zeroizing;

use super::{
    Alarm, Event, Open, PersistPoint, SessionId, Sessions, Signal, Turn,
    channel::{Answering, Joined, MOST_CANDIDATES, Offered, Session, Stage, Step},
    outbox::Letter,
};
use crate::{
    client::contact::{Ended, LinkState},
    defences::{Defence, holds},
    protocol::{Fingerprint, Frame, NotAFrame, PublicKey},
    seal::{
        message::{Content, NotSealed, Offer, OfferHash, SdpAnswer, read_offer, seal_message},
        transcript::{Role, Sas, Transcript, sas_commit},
    },
};

/// When offers are made, after the wish to connect; then every hour.
const TRIES: [Duration; 4] =
    [Duration::ZERO, Duration::from_mins(5), Duration::from_mins(15), Duration::from_mins(50)];

/// How long offers are made.
const GIVE_UP: Duration = Duration::from_hours(48);

/// How long after a message was sent an answer is waited for at the relay, rather than looked for once a minute.
const EXPECTING: Duration = Duration::from_mins(2);

/// How long one's own offer stands against an incoming one.
const OWN_OFFER_STANDS: Duration = Duration::from_mins(1);

/// How old an offer may be that was stored and not answered, in milliseconds: later its sender has made another.
const ANSWERABLE: u64 = 300_000;

/// The answers to offers on a link of which no proof came; then the link closes.
pub(super) const MOST_ANSWERS: u32 = 50;

/// Why an SDP or a frame was not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotThisSession {
    /// The session is over, or not at the point where this is asked of it.
    #[error("this session does not wait for that: it is over, or something newer took its place")]
    Over,
    /// The SDP has no fingerprint, or more than one.
    #[error("the SDP must carry one fingerprint (a=fingerprint:sha-256 …)")]
    Fingerprint,
    /// The SDP does not fit into a message.
    #[error(transparent)]
    NotSealed(#[from] NotSealed),
}

/// The offers made by now, if so many were made and so much time passed since the wish to connect: those that were missed are not
/// made up for.
fn tries_by(tries: u32, passed: Duration) -> u32 {
    if tries == 0 {
        return 0;
    }
    let listed = TRIES.iter().filter(|after| **after <= passed).count() as u64;
    let hours = passed.saturating_sub(TRIES[3]).as_secs() / 3600;
    tries.max(u32::try_from(listed + hours).unwrap_or(u32::MAX))
}

/// When the offer after so many is due, after the wish to connect.
fn after_tries(tries: u32) -> Duration {
    match TRIES.get(tries as usize) {
        Some(after) => *after,
        None => TRIES[3] + Duration::from_hours(u64::from(tries) - 3),
    }
}

impl Sessions {
    /// The offer of a peer connection that [`Signal::MakeOffer`] asked for.
    ///
    /// # Errors
    /// [`NotThisSession`]; the session is then over, unless it was before.
    pub fn local_offer(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        sdp: String,
    ) -> Result<(), NotThisSession> {
        let name = self.pending(session).ok_or(NotThisSession::Over)?;
        let made = self.make_offer(turn, &name, sdp);
        self.over_if_failed(&name, made)?;
        self.tick(turn);
        Ok(())
    }

    fn make_offer(&mut self, turn: &mut Turn<'_>, name: &str, sdp: String) -> Result<(), NotThisSession> {
        let pending = self.live.get(name).and_then(|live| live.pending.as_ref());
        if !pending.is_some_and(|pending| matches!(pending.stage, Stage::MakingOffer)) {
            return Err(NotThisSession::Over);
        }
        let fingerprint = Fingerprint::of_sdp(&sdp).ok_or(NotThisSession::Fingerprint)?;
        let contact = self.contacts.get_mut(name).ok_or(NotThisSession::Over)?;
        let (Some(own), Some(peer)) = (contact.boxes.last(), &contact.peer) else {
            return Err(NotThisSession::Over);
        };
        let to = peer.connectoid.clone();
        let mut r_o = Zeroizing::new([0; 32]);
        turn.rng.fill_bytes(&mut *r_o);
        let connectoid = own.connectoid();
        let (signer, n) = contact.signer.next(&mut turn.rng);
        let commitment = sas_commit(&r_o, &connectoid.key, &signer.public());
        let content = Content::Offer(Offer { connectoid, sas_commit: commitment, sdp });
        let sealed =
            seal_message(&mut turn.rng, &to.key, to.secret.as_ref(), &signer, n, turn.now, &content)?;
        let offered = Offered {
            hash: OfferHash::of(&sealed.payload),
            payload: sealed.payload,
            r_o,
            secret_o: to.secret.clone(),
            fingerprint,
            since: turn.elapsed,
        };
        self.set_stage(name, Stage::Offered(offered));
        self.store(name, PersistPoint::OfferCounted);
        self.post(turn, name, &to, Letter::Offer, sealed.data);
        Ok(())
    }

    /// The answer of a peer connection that [`Signal::MakeAnswer`] asked for.
    ///
    /// # Errors
    /// [`NotThisSession`]; the session is then over, unless it was before.
    pub fn local_answer(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        sdp: String,
    ) -> Result<(), NotThisSession> {
        let name = self.pending(session).ok_or(NotThisSession::Over)?;
        let made = self.make_answer(turn, &name, session, sdp);
        self.over_if_failed(&name, made)?;
        self.tick(turn);
        Ok(())
    }

    fn make_answer(
        &mut self,
        turn: &mut Turn<'_>,
        name: &str,
        session: SessionId,
        sdp: String,
    ) -> Result<(), NotThisSession> {
        let own_fingerprint = Fingerprint::of_sdp(&sdp).ok_or(NotThisSession::Fingerprint)?;
        let live = self.live.get_mut(name).ok_or(NotThisSession::Over)?;
        let Some(pending) = live.pending.take_if(|pending| matches!(pending.stage, Stage::MakingAnswer(_)))
        else {
            return Err(NotThisSession::Over);
        };
        let Stage::MakingAnswer(answering) = pending.stage else { return Err(NotThisSession::Over) };
        let contact = self.contacts.get_mut(name).ok_or(NotThisSession::Over)?;
        let peer = contact.peer.as_mut().ok_or(NotThisSession::Over)?;
        let to = peer.connectoid.clone();
        let secret_a = to.secret.clone().ok_or(NotThisSession::Over)?;
        let mut r_a = [0; 32];
        turn.rng.fill_bytes(&mut r_a);
        let hash = OfferHash::of(&answering.payload);
        let content = Content::Answer(SdpAnswer { re: hash, sas_nonce: r_a, sdp });
        let (signer, n) = contact.signer.next(&mut turn.rng);
        let sealed = seal_message(&mut turn.rng, &to.key, Some(&secret_a), &signer, n, turn.now, &content)?;
        peer.unanswered = None;
        if let Some(link) = &mut contact.link {
            link.answered += 1;
        }
        let joined = Joined {
            role: Role::Answerer,
            hash,
            transcript: Transcript::new(
                &answering.payload,
                &sealed.payload,
                answering.secret_o.as_ref(),
                &secret_a,
            ),
            ik: answering.ik,
            r_o: None,
            r_a,
            commitment: Some((answering.sas_commit, answering.from)),
            own: own_fingerprint,
            peer: answering.fingerprint,
            since: turn.elapsed,
            handshake: None,
        };
        live.pending = Some(Session::new(session, Stage::Joined(Box::new(joined))));
        self.store(name, PersistPoint::AnswerCounted);
        self.post(turn, name, &to, Letter::Answer, sealed.data);
        Ok(())
    }

    /// A session whose SDP was of no use is over; the next try makes another.
    fn over_if_failed(&mut self, name: &str, made: Result<(), NotThisSession>) -> Result<(), NotThisSession> {
        if matches!(made, Err(NotThisSession::Fingerprint | NotThisSession::NotSealed(_))) {
            self.drop_pending(name);
        }
        made
    }

    /// Candidates that came after the offer or answer was handed over: objects of the form RTCIceCandidateInit. At most three
    /// messages of them are sent a session; more are dropped, so gather for a moment.
    ///
    /// # Errors
    /// [`NotThisSession`].
    pub fn local_candidates(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        candidates: Vec<serde_json::Value>,
    ) -> Result<(), NotThisSession> {
        let name = self.pending(session).ok_or(NotThisSession::Over)?;
        let pending = self.live.get_mut(&name).and_then(|live| live.pending.as_mut());
        let pending = pending.ok_or(NotThisSession::Over)?;
        if matches!(pending.stage, Stage::MakingOffer | Stage::MakingAnswer(_)) {
            return Err(NotThisSession::Over);
        }
        let re = pending.offer().ok_or(NotThisSession::Over)?;
        if pending.candidates_sent >= MOST_CANDIDATES {
            return Ok(());
        }
        pending.candidates_sent += 1;
        let contact = self.contacts.get_mut(&name).ok_or(NotThisSession::Over)?;
        let to = contact.peer.as_ref().ok_or(NotThisSession::Over)?.connectoid.clone();
        let (signer, n) = contact.signer.next(&mut turn.rng);
        let content = Content::Candidate { re, candidates };
        let sealed =
            seal_message(&mut turn.rng, &to.key, to.secret.as_ref(), &signer, n, turn.now, &content)?;
        self.store(&name, PersistPoint::CandidatesCounted);
        self.post(turn, &name, &to, Letter::Candidates, sealed.data);
        Ok(())
    }

    /// The data channel `connectoid` of a session is open. `certificate` is the SHA-256 of the other end's DTLS certificate, if
    /// the stack shows it; a stack that does not must have been given the signed SDP unchanged.
    pub fn channel_open(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        certificate: Option<Fingerprint>,
    ) {
        let Some(name) = self.pending(session) else {
            return self.signal(Signal::Close { session });
        };
        let pending = self.live.get_mut(&name).and_then(|live| live.pending.as_mut());
        let Some(Session { stage: Stage::Joined(joined), .. }) = pending else {
            return self.drop_pending(&name);
        };
        if joined.handshake.is_some() {
            return;
        }
        let mut nonce = [0; 32];
        turn.rng.fill_bytes(&mut nonce);
        match joined.open(nonce, certificate, turn.elapsed) {
            Ok(hello) => self.send_frame(session, &hello),
            Err(alarm) => {
                self.alarm(&name, alarm);
                self.drop_pending(&name);
            }
        }
    }

    /// A text frame came on the data channel `connectoid` of a session.
    pub fn frame(&mut self, turn: &mut Turn<'_>, session: SessionId, text: &str) {
        let frame = Frame::parse(text);
        if let Some(name) = self.pending(session) {
            let pending = self.live.get_mut(&name).and_then(|live| live.pending.as_mut());
            let step = match (pending.map(|pending| &mut pending.stage), &frame) {
                (Some(Stage::Joined(joined)), Ok(frame)) => joined.frame(frame),
                _ => Step::Close(None),
            };
            match step {
                Step::Reply(frame) => self.send_frame(session, &frame),
                Step::Proven(sas) => self.proven(turn, &name, sas),
                Step::Close(alarm) => {
                    if let Some(alarm) = alarm {
                        self.alarm(&name, alarm);
                    }
                    self.drop_pending(&name);
                }
            }
        } else if let Some(name) = self.open(session) {
            match frame {
                Ok(Frame::Rekey { connectoid }) => self.peer_moves(&name, session, connectoid),
                Ok(Frame::RekeyOk { key }) => self.box_confirmed(turn, &name, key),
                // Of a version after this one.
                Err(NotAFrame::Type) => {}
                Ok(_) | Err(_) => self.close_sessions(&name),
            }
        }
        self.tick(turn);
    }

    /// The peer connection or its data channel ended, or could not be made.
    pub fn channel_closed(&mut self, turn: &mut Turn<'_>, session: SessionId) {
        if let Some(name) = self.pending(session) {
            // The offer may still be answered with another try of the other side; a joined session cannot.
            self.drop_pending(&name);
        } else if let Some(name) = self.open(session) {
            if let Some(live) = self.live.get_mut(&name) {
                live.open = None;
            }
            self.event(Event::Disconnected { contact: name });
        }
        self.tick(turn);
    }

    /// The app does not want this session: an offer that it was asked to answer is refused.
    ///
    /// # Errors
    /// [`NotThisSession`].
    pub fn decline(&mut self, turn: &mut Turn<'_>, session: SessionId) -> Result<(), NotThisSession> {
        let name = self.pending(session).ok_or(NotThisSession::Over)?;
        let pending = self.live.get(&name).and_then(|live| live.pending.as_ref());
        let re = pending
            .filter(|pending| matches!(pending.stage, Stage::MakingAnswer(_)))
            .and_then(Session::offer);
        let contact = self.contacts.get_mut(&name).ok_or(NotThisSession::Over)?;
        let peer = contact.peer.as_mut().ok_or(NotThisSession::Over)?;
        let re = re.ok_or(NotThisSession::Over)?;
        peer.unanswered = None;
        let to = peer.connectoid.clone();
        let content = Content::Refuse { re, reason: crate::seal::message::Reason::Declined };
        let (signer, n) = contact.signer.next(&mut turn.rng);
        let sealed =
            seal_message(&mut turn.rng, &to.key, to.secret.as_ref(), &signer, n, turn.now, &content)?;
        self.store(&name, PersistPoint::AnswerCounted);
        self.post(turn, &name, &to, Letter::Refusal, sealed.data);
        self.drop_pending(&name);
        Ok(())
    }

    /// When the next offer of a contact is due, if it is connecting.
    pub(super) fn plan_next_try(&mut self, turn: &Turn<'_>, name: &str) {
        let Some(contact) = self.contacts.get_mut(name) else { return };
        let next_try = contact.connecting.as_mut().map(|connecting| {
            let passed = Duration::from_millis(turn.now.saturating_sub(connecting.since));
            connecting.tries = tries_by(connecting.tries, passed);
            turn.elapsed + after_tries(connecting.tries).saturating_sub(passed)
        });
        if let Some(live) = self.live.get_mut(name) {
            live.next_try = next_try;
        }
    }

    /// While the device slept its steady clock may have stood still: a try that the time of day says was missed is due now.
    pub(super) fn try_now_if_missed(&mut self, turn: &Turn<'_>, name: &str) {
        let Some(connecting) = self.contacts.get(name).and_then(|contact| contact.connecting) else { return };
        let passed = Duration::from_millis(turn.now.saturating_sub(connecting.since));
        if after_tries(connecting.tries) <= passed
            && let Some(live) = self.live.get_mut(name)
        {
            live.next_try = Some(turn.elapsed);
        }
    }

    /// Asks for an offer if one is due; gives up after 48 hours, but not before a try that was missed is made.
    pub(super) fn try_again(&mut self, turn: &Turn<'_>, name: &str) {
        let (Some(contact), Some(live)) = (self.contacts.get_mut(name), self.live.get(name)) else { return };
        let Some(connecting) = &mut contact.connecting else { return };
        if live.next_try.is_none_or(|due| due > turn.elapsed) {
            return;
        }
        // An answer came: what is under way is not thrown away for another offer.
        if let Some(Session { stage: Stage::Joined(_), .. }) = &live.pending {
            let deadline = live.pending.as_ref().and_then(Session::deadline);
            if let Some(live) = self.live.get_mut(name) {
                live.next_try = deadline;
            }
            return;
        }
        let passed = Duration::from_millis(turn.now.saturating_sub(connecting.since));
        if passed.min(after_tries(connecting.tries)) >= GIVE_UP {
            self.drop_pending(name);
            return self.end_trying(name, Ended::GaveUp, PersistPoint::Disconnected);
        }
        // Counted and planned now: whatever becomes of this offer, another follows.
        connecting.tries = connecting.tries.saturating_add(1);
        self.plan_next_try(turn, name);
        self.drop_pending(name);
        let session = SessionId(self.new_id());
        if let Some(live) = self.live.get_mut(name) {
            live.pending = Some(Session::new(session, Stage::MakingOffer));
        }
        self.signal(Signal::MakeOffer { session, contact: name.to_owned() });
    }

    /// An attempt to connect came to an end without a session.
    pub(super) fn end_trying(&mut self, name: &str, ended: Ended, why: PersistPoint) {
        if let Some(contact) = self.contacts.get_mut(name) {
            contact.ended = Some(ended);
        }
        self.no_more_tries(name);
        self.store(name, why);
        self.event(super::ended_event(ended, name.to_owned()));
    }

    /// No more offers are made; one on its way is recalled. Whether any were to be made.
    pub(super) fn no_more_tries(&mut self, name: &str) -> bool {
        let connecting = self.contacts.get_mut(name).and_then(|contact| contact.connecting.take());
        if let Some(live) = self.live.get_mut(name) {
            live.next_try = None;
        }
        self.recall_offers(name);
        connecting.is_some()
    }

    /// Whether an offer or answer of this contact is under way that may still lead to a session.
    pub(super) fn is_under_way(&self, turn: &Turn<'_>, name: &str) -> bool {
        let pending = self.live.get(name).and_then(|live| live.pending.as_ref());
        pending.is_some_and(|pending| match &pending.stage {
            Stage::Offered(offered) => turn.elapsed.saturating_sub(offered.since) < OWN_OFFER_STANDS,
            Stage::MakingOffer | Stage::MakingAnswer(_) | Stage::Joined(_) => true,
        })
    }

    /// No more offers are made; one on its way is recalled.
    pub(super) fn stop_trying(&mut self, name: &str, why: PersistPoint) {
        if self.no_more_tries(name) {
            self.store(name, why);
        }
    }

    /// Has the stored offer of a contact answered, if it has one that can still be.
    pub(super) fn answer(&mut self, turn: &Turn<'_>, name: &str) {
        let Some(contact) = self.contacts.get_mut(name) else { return };
        let Some(peer) = contact.peer.as_mut() else { return };
        let Some(unanswered) = peer.unanswered.clone() else { return };
        let (Some(ik), Some(offer)) = (peer.ik, read_offer(&unanswered.payload)) else {
            return peer.unanswered = None;
        };
        if turn.now.saturating_sub(unanswered.came) > ANSWERABLE {
            return peer.unanswered = None;
        }
        let own = contact.boxes.iter().find(|own| own.key.public() == unanswered.to);
        let Some(own) = own else { return peer.unanswered = None };
        let Some(fingerprint) = Fingerprint::of_sdp(&offer.sdp) else { return };
        let answering = Answering {
            payload: unanswered.payload,
            sas_commit: offer.sas_commit,
            from: offer.connectoid.key,
            ik,
            secret_o: own.secret.clone(),
            fingerprint,
        };
        self.drop_pending(name);
        self.recall_offers(name);
        let session = SessionId(self.new_id());
        if let Some(live) = self.live.get_mut(name) {
            live.pending = Some(Session::new(session, Stage::MakingAnswer(answering)));
        }
        self.signal(Signal::MakeAnswer { session, contact: name.to_owned(), sdp: offer.sdp });
    }

    /// Whether an incoming offer of this key gives way to the own one: both offered at once, and the lower key answers.
    pub(super) fn own_offer_stands(&self, turn: &Turn<'_>, name: &str, ik: &PublicKey) -> bool {
        let pending = self.live.get(name).and_then(|live| live.pending.as_ref());
        let Some(Session { stage: Stage::Offered(offered), .. }) = pending else { return false };
        let own = self.contacts.get(name).and_then(|contact| contact.signer.ik());
        own.is_some_and(|own| own.as_bytes() > ik.as_bytes())
            && turn.elapsed.saturating_sub(offered.since) < OWN_OFFER_STANDS
    }

    /// The answer to the outstanding offer came, to this own box.
    pub(super) fn join(
        &mut self,
        turn: &Turn<'_>,
        name: &str,
        to: &PublicKey,
        ik: PublicKey,
        payload: &[u8],
        answer: SdpAnswer,
    ) {
        let Some(contact) = self.contacts.get(name) else { return };
        let own = contact.boxes.iter().find(|own| own.key.public() == *to);
        let Some(secret_a) = own.and_then(|own| own.secret.clone()) else { return };
        let Some(peer) = Fingerprint::of_sdp(&answer.sdp) else { return };
        let Some(live) = self.live.get_mut(name) else { return };
        let Some(Session { id, stage, .. }) = live.pending.as_mut() else { return };
        let Stage::Offered(offered) = stage else { return };
        let (session, own) = (*id, offered.fingerprint);
        *stage = Stage::Joined(Box::new(Joined {
            role: Role::Offerer,
            hash: offered.hash,
            transcript: Transcript::new(&offered.payload, payload, offered.secret_o.as_ref(), &secret_a),
            ik,
            r_o: Some(offered.r_o.clone()),
            r_a: answer.sas_nonce,
            commitment: None,
            own,
            peer,
            since: turn.elapsed,
            handshake: None,
        }));
        self.recall_offers(name);
        self.signal(Signal::AcceptAnswer { session, sdp: answer.sdp });
    }

    /// The other side proved that it made the offer or answer: its key is pinned, the session open.
    fn proven(&mut self, turn: &mut Turn<'_>, name: &str, sas: Sas) {
        let (Some(contact), Some(live)) = (self.contacts.get_mut(name), self.live.get_mut(name)) else {
            return;
        };
        let Some(session) = live.pending.take() else { return };
        let Stage::Joined(joined) = &session.stage else { return };
        let Some(peer) = &mut contact.peer else { return };
        let id = session.id;
        if peer.ik != Some(joined.ik) {
            // Another key took its place while the channel was made.
            return self.signal(Signal::Close { session: id });
        }
        peer.pinned = true;
        let sas = *contact.sas.get_or_insert(sas);
        contact.last_seen = Some(turn.now);
        (contact.connecting, contact.ended) = (None, None);
        if let Some(link) = &mut contact.link {
            link.answered = 0;
            link.state = link.state.max(LinkState::Connected);
        }
        let may_exchange = contact.may_exchange();
        live.next_try = None;
        let before = live.open.replace(Open { id, moves: 0 });
        self.store(name, PersistPoint::Pinned);
        if let Some(before) = before {
            self.signal(Signal::Close { session: before.id });
        }
        self.event(Event::Connected { contact: name.to_owned(), session: id, sas, may_exchange });
        self.rekey(turn, name, id);
    }

    /// Closes a link that is answered again and again without anybody proving to be there: somebody guesses strings. Whether
    /// it is closed.
    pub(super) fn too_many_offers(&mut self, name: &str) -> bool {
        let Some(contact) = self.contacts.get_mut(name) else { return false };
        let Some(link) = contact.link.as_mut() else { return false };
        let unproven = link.state < LinkState::Connected;
        if !unproven || link.answered < MOST_ANSWERS || !holds(Defence::OfferCount) {
            return false;
        }
        link.state = LinkState::Closed;
        if let Some(peer) = &mut contact.peer {
            // Nor after a restart.
            peer.unanswered = None;
        }
        self.store(name, PersistPoint::LinkExpired);
        self.alarm(name, Alarm::TooManyOffers);
        self.drop_pending(name);
        true
    }

    /// Gives up a channel on which the other side does not prove itself in time.
    pub(super) fn give_up_handshake(&mut self, turn: &Turn<'_>, name: &str) {
        let pending = self.live.get(name).and_then(|live| live.pending.as_ref());
        if pending.and_then(Session::deadline).is_some_and(|deadline| deadline <= turn.elapsed) {
            self.drop_pending(name);
        }
    }

    /// Answers or offers may come any moment.
    pub(super) fn expect(&mut self, turn: &Turn<'_>, name: &str) {
        if let Some(live) = self.live.get_mut(name) {
            live.expecting = turn.elapsed + EXPECTING;
        }
    }

    pub(super) fn close_sessions(&mut self, name: &str) {
        self.drop_pending(name);
        let open = self.live.get_mut(name).and_then(|live| live.open.take());
        if let Some(Open { id: session, .. }) = open {
            self.signal(Signal::Close { session });
            self.event(Event::Disconnected { contact: name.to_owned() });
        }
    }

    pub(super) fn drop_pending(&mut self, name: &str) {
        let pending = self.live.get_mut(name).and_then(|live| live.pending.take());
        if let Some(Session { id: session, .. }) = pending {
            self.signal(Signal::Close { session });
        }
    }

    fn set_stage(&mut self, name: &str, stage: Stage) {
        if let Some(pending) = self.live.get_mut(name).and_then(|live| live.pending.as_mut()) {
            pending.stage = stage;
        }
    }

    pub(super) fn send_frame(&mut self, session: SessionId, frame: &Frame) {
        self.signal(Signal::Frame { session, text: frame.to_text() });
    }

    fn pending(&self, session: SessionId) -> Option<String> {
        let is = |found: &&Session| found.id == session;
        let mut live = self.live.iter();
        live.find(|(_, live)| live.pending.as_ref().filter(is).is_some()).map(|(name, _)| name.clone())
    }

    fn open(&self, session: SessionId) -> Option<String> {
        let is = |found: &&Open| found.id == session;
        let mut live = self.live.iter();
        live.find(|(_, live)| live.open.as_ref().filter(is).is_some()).map(|(name, _)| name.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_that_were_missed_are_not_made_up_for() {
        let minutes =
            |tries, passed| after_tries(tries_by(tries, Duration::from_mins(passed))).as_secs() / 60;
        assert_eq!([0, 1, 2, 3, 4, 5].map(|tries| minutes(tries, 0)), [0, 5, 15, 50, 110, 170]);
        assert_eq!(minutes(0, 600), 0, "the first is due whenever it is");
        assert_eq!(minutes(1, 600), 650, "after ten hours asleep");
        assert_eq!(minutes(2, 15), 50);
    }
}
