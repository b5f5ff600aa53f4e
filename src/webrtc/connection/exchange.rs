//! What a connection is told to do: offers, answers, candidates, the opening of channels and the end of sessions.

use std::time::{Duration, Instant};

use serde_json::Value;
use str0m::{
    Candidate, Input,
    change::{SdpAnswer, SdpOffer},
    channel::{ChannelConfig, ChannelId},
};

use super::{CONTROL, Connection, Control, Ending, Making, Order, Over, Plugged, Told};
use crate::{client::sessions::SessionId, protocol::Fingerprint};

/// How long servers are waited for before an SDP is handed over; what comes later follows as candidates. The protocol allows a
/// second; most servers answer within a tenth.
const GATHER: Duration = Duration::from_millis(500);

/// How long a path may be searched once both sides know the other's addresses.
const SEARCH: Duration = Duration::from_secs(30);

/// How long the side that answers searches: the other may look for the answer once a minute only, and searches from then on.
const SEARCH_ANSWERING: Duration = Duration::from_secs(150);

/// How long what was sent is waited for to be confirmed before the connection is closed.
const FAREWELL: Duration = Duration::from_secs(2);

impl Connection {
    pub(super) fn obey(&mut self, order: Order, now: Instant) -> Result<(), Over> {
        match order {
            Order::Offer(session) => {
                self.gather(now);
                self.making = Some((Making::Offer(session), now + GATHER));
            }
            Order::Answer(session, sdp) => match SdpOffer::from_sdp_string(&sdp) {
                Ok(offer) => {
                    self.gather(now);
                    self.facts.hear_of(&sdp);
                    self.making = Some((Making::Answer(session, offer), now + GATHER));
                }
                Err(_) => self.refuse(session),
            },
            Order::Accept(session, sdp) => self.accept(session, &sdp, now),
            Order::Candidates(session, candidates) => {
                let making = self.making.as_ref().is_some_and(|(making, _)| making.session() == session);
                let offered = self.pending.as_ref().is_some_and(|(of, _)| *of == session);
                if making || offered {
                    self.early.push((session, candidates));
                } else {
                    self.take_candidates(&candidates, now);
                }
            }
            Order::Frame(session, text) => {
                if let Some(control) = self.controls.iter_mut().find(|control| control.session == session) {
                    control.waiting.push(text);
                }
            }
            Order::Allow => {
                for channel in self.held.take().unwrap_or_default() {
                    (self.told)(Told::Channel(channel));
                }
            }
            // Too late: the app's end hears of it.
            Order::Open(..) if self.farewell.is_some() => {}
            Order::Open(label, plug) => {
                let id = self.open(&label);
                self.order.push(id);
                let channel = Plugged { plug, label, open: false, waiting: None, closing: false };
                self.channels.insert(id, channel);
            }
            Order::Close(session, ending) => return self.close(session, ending, now),
        }
        Ok(())
    }

    /// After the first channel nothing has to be negotiated.
    pub(super) fn open(&mut self, label: &str) -> ChannelId {
        let config = ChannelConfig { label: label.to_owned(), ..ChannelConfig::default() };
        self.rtc.direct_api().create_data_channel(config)
    }

    /// Looks for addresses; for another path all servers are asked anew, for the outside may have changed as well.
    pub(super) fn gather(&mut self, now: Instant) {
        self.look(now);
        if self.established {
            self.look_up();
        }
    }

    pub(super) fn take_candidates(&mut self, candidates: &[Value], now: Instant) {
        for candidate in candidates.iter().filter_map(|init| init.get("candidate")?.as_str()) {
            self.facts.hear_of(candidate);
            if let Ok(candidate) = Candidate::from_sdp_string(candidate) {
                self.rtc.add_remote_candidate(candidate);
            }
        }
        self.input(Input::Timeout(now));
    }

    /// Makes the SDP that was ordered, with the candidates there are.
    pub(super) fn make(&mut self, now: Instant) {
        let Some((making, _)) = self.making.take() else { return };
        match making {
            Making::Offer(session) => {
                let mut api = self.rtc.sdp_api();
                let mut channel = None;
                if !self.established {
                    channel = Some(api.add_channel(CONTROL.to_owned()));
                } else {
                    api.ice_restart(true);
                }
                let Some((offer, pending)) = api.apply() else { return self.refuse(session) };
                self.pending = Some((session, pending));
                self.controls.push(Control { session, channel, open: false, waiting: Vec::new(), frames: 0 });
                let sdp = offer.to_sdp_string();
                self.handed_over(session, &sdp, now);
                (self.told)(Told::Offer(session, sdp));
            }
            Making::Answer(session, offer) => {
                self.pending = None;
                let Ok(answer) = self.rtc.sdp_api().accept_offer(offer) else { return self.refuse(session) };
                self.controls.push(Control {
                    session,
                    channel: None,
                    open: false,
                    waiting: Vec::new(),
                    frames: 0,
                });
                let sdp = answer.to_sdp_string();
                self.handed_over(session, &sdp, now);
                if self.path.is_none() {
                    self.search = Some(now + SEARCH_ANSWERING);
                }
                self.exchanged(session, now);
                (self.told)(Told::Answer(session, sdp));
            }
        }
    }

    pub(super) fn handed_over(&mut self, session: SessionId, sdp: &str, now: Instant) {
        self.mid = sdp.lines().find_map(|line| line.strip_prefix("a=mid:")).map(str::to_owned);
        self.late = Some((session, Vec::new(), now));
    }

    /// Both sides' SDP are applied.
    pub(super) fn exchanged(&mut self, session: SessionId, now: Instant) {
        self.established = true;
        self.time(|timing| &mut timing.exchanged);
        let early: Vec<_> = self.early.extract_if(.., |(of, _)| *of == session).collect();
        for (_, candidates) in early {
            self.take_candidates(&candidates, now);
        }
        self.input(Input::Timeout(now));
    }

    pub(super) fn accept(&mut self, session: SessionId, sdp: &str, now: Instant) {
        let Some((_, pending)) = self.pending.take_if(|(of, _)| *of == session) else { return };
        let is_first = !self.established;
        // Another certificate is another connection: the other side began anew, and this one cannot go on with it.
        if !is_first && Fingerprint::of_sdp(sdp) != self.certificate() {
            return self.refuse(session);
        }
        let answer = SdpAnswer::from_sdp_string(sdp);
        let accepted = answer.is_ok_and(|answer| self.rtc.sdp_api().accept_answer(pending, answer).is_ok());
        if !accepted {
            return self.refuse(session);
        }
        self.facts.hear_of(sdp);
        if !is_first {
            let channel = self.open(CONTROL);
            for control in self.controls.iter_mut().filter(|control| control.session == session) {
                control.channel = Some(channel);
            }
        }
        if self.path.is_none() {
            self.search = Some(now + SEARCH);
        }
        self.exchanged(session, now);
    }

    pub(super) fn refuse(&mut self, session: SessionId) {
        self.controls.retain(|control| control.session != session);
        (self.told)(Told::Refused(session));
    }

    /// The fingerprint of the other side's certificate, once it showed one.
    pub(super) fn certificate(&mut self) -> Option<Fingerprint> {
        let fingerprint = self.rtc.direct_api().remote_dtls_fingerprint().cloned()?;
        Some(Fingerprint(fingerprint.bytes.try_into().ok()?))
    }

    pub(super) fn close(&mut self, session: SessionId, ending: Ending, now: Instant) -> Result<(), Over> {
        self.making.take_if(|(making, _)| making.session() == session);
        self.pending.take_if(|(of, _)| *of == session);
        self.early.retain(|(of, _)| *of != session);
        let closed: Vec<Control> =
            self.controls.extract_if(.., |control| control.session == session).collect();
        if !self.controls.is_empty() || self.making.is_some() {
            for channel in closed.into_iter().filter_map(|control| control.channel) {
                self.rtc.direct_api().close_data_channel(channel);
            }
            return Ok(());
        }
        if ending == Ending::AtOnce {
            return Err(Over(None));
        }
        self.farewell = Some(now + FAREWELL);
        self.held = None;
        Ok(())
    }
}
