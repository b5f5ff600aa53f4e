//! The addresses that a connection offers: this machine's, and those that servers tell or lend.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use str0m::{Candidate, Input};
use tokio::time;

use super::{
    super::{addresses, stun::reaches, turn::Turn},
    Connection, Told, clock,
};

/// How long candidates that come late are collected for one message.
pub(super) const LATE: Duration = Duration::from_secs(3);

impl Connection {
    /// Offers the addresses that the machine has now.
    pub(super) fn look(&mut self, now: Instant) {
        self.looked = now;
        let addresses = addresses::own(self.loopback || self.options.loopback);
        self.facts.loopback_only = addresses.iter().all(IpAddr::is_loopback);
        let changed = self.sockets.follow(&addresses);
        for gone in &changed.gone {
            self.turn.retain(|turn| turn.local() != *gone);
            let of_it: Vec<Candidate> = self.own.extract_if(.., |own| own.local() == *gone).collect();
            for candidate in of_it {
                if self.path.is_some_and(|path| path.local == *gone || path.local == candidate.addr()) {
                    self.is_lost();
                }
                self.rtc.direct_api().invalidate_candidate(&candidate);
            }
        }
        if changed.new.is_empty() {
            return;
        }
        for new in &changed.new {
            self.add(Candidate::host(*new, "udp").ok());
        }
        self.look_up();
        if self.path.is_some() && !self.lost {
            (self.told)(Told::Changed);
        }
    }

    /// Looks up the servers, to ask them from sockets that did not yet.
    pub(super) fn look_up(&mut self) {
        let turn = self.options.turn.iter().map(|turn| &turn.server);
        let servers: Vec<String> = self.options.stun.iter().chain(turn).cloned().collect();
        for (index, server) in servers.into_iter().enumerate() {
            self.lookups.spawn(async move {
                let found = time::timeout(LATE, tokio::net::lookup_host(server)).await;
                (index, found.ok().and_then(Result::ok).map(Iterator::collect).unwrap_or_default())
            });
        }
    }

    /// Asks a server: of each family the first address it has.
    pub(super) fn ask(&mut self, server: usize, addresses: &[SocketAddr], now: Instant) {
        let first = |v4: bool| addresses.iter().find(|address| address.is_ipv4() == v4).copied();
        for address in [first(true), first(false)].into_iter().flatten() {
            let own: Vec<SocketAddr> = self.sockets.local().filter(|own| reaches(*own, address)).collect();
            let Some(turn) = server.checked_sub(self.options.stun.len()) else {
                self.stun.ask(now, own.into_iter(), address);
                continue;
            };
            let Some(turn) = self.options.turn.get(turn) else { continue };
            let has = self.turn.iter().any(|has| own.iter().any(|own| has.is_with(*own, address)));
            if let (Some(own), false) = (own.first(), has) {
                self.turn.push(Turn::allocate(turn, *own, address, now));
            }
        }
        // So that what is due is seen.
        self.input(Input::Timeout(now));
    }

    pub(super) fn poll_turn(&mut self, now: Instant) -> Vec<Instant> {
        let (mut wakes, mut relayed, mut packets) = (Vec::new(), Vec::new(), Vec::new());
        for turn in &mut self.turn {
            let before = turn.relayed;
            let (due, wake) = turn.poll(now);
            packets.extend(due);
            wakes.extend(wake);
            if let (None, Some(address)) = (before, turn.relayed) {
                relayed.push((address, turn.local()));
            }
        }
        self.facts.turn_refused = self.turn.iter().filter(|turn| turn.refused).count();
        self.facts.turn_answered = self.turn.iter().filter(|turn| turn.relayed.is_some()).count();
        for packet in packets {
            self.send(packet);
        }
        for (address, local) in relayed {
            self.add(Candidate::relayed(address, local, "udp").ok());
        }
        wakes
    }

    /// Whether servers may still answer.
    pub(super) fn gathers(&self, now: Instant) -> bool {
        !self.lookups.is_empty() || self.stun.waits() || self.turn.iter().any(|turn| turn.waits(now))
    }

    pub(super) fn add(&mut self, candidate: Option<Candidate>) {
        let Some(candidate) = candidate else { return };
        let Some(candidate) = self.rtc.add_local_candidate(candidate).cloned() else { return };
        self.own.push(candidate.clone());
        if let Some((_, late, _)) = &mut self.late {
            late.push(candidate);
        }
    }

    /// Tells of the candidates that came after the SDP was handed over.
    pub(super) fn send_late(&mut self) {
        let Some((session, candidates, since)) = &mut self.late else { return };
        let mid = &self.mid;
        let init = |candidate: Candidate| json!({"candidate": candidate.to_sdp_string(), "sdpMid": mid, "sdpMLineIndex": 0});
        let candidates: Vec<Value> = std::mem::take(candidates).into_iter().map(init).collect();
        *since = clock();
        if !candidates.is_empty() {
            (self.told)(Told::Candidates(*session, candidates));
        }
    }

    pub(super) fn is_lost(&mut self) {
        if !self.lost {
            self.lost = true;
            (self.told)(Told::Lost);
        }
    }
}
