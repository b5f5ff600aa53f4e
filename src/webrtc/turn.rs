//! A TURN server passes packets on where no direct path is found (RFC 8656): one allocation on one of the sockets.

use std::{
    collections::HashSet,
    fmt,
    net::SocketAddr,
    time::{Duration, Instant},
};

use stun_proto::{Instant as TurnInstant, agent::Transmit, types::TransportType};
use turn_client_proto::{
    api::{TurnClientApi as _, TurnConfig, TurnEvent, TurnPollRet, TurnRecvRet},
    prelude::DelayedTransmitBuild as _,
    types::{AddressFamily, TurnCredentials},
    udp::TurnClientUdp,
};

use super::{options::TurnServer, stun::Packet};

pub(super) struct Turn {
    /// As it is configured, for people.
    pub(super) server: String,
    client: TurnClientUdp,
    start: Instant,
    local: SocketAddr,
    address: SocketAddr,
    /// The address it gave.
    pub(super) relayed: Option<SocketAddr>,
    /// Whether it refused to give one.
    pub(super) refused: bool,
    /// How often it said that it gives no address.
    errors: u8,
    since: Instant,
    bound: HashSet<SocketAddr>,
}

/// What came of a packet from the server.
pub(super) enum Came {
    /// Between client and server.
    Nothing,
    /// A packet of a peer.
    Data { from: SocketAddr, bytes: Vec<u8> },
}

/// How long a server is waited for before it counts as silent.
const PATIENCE: Duration = Duration::from_secs(5);

/// How an error in reply to the request for an address begins.
const NO_ADDRESS: [u8; 2] = [0x01, 0x13];

impl Turn {
    /// Asks the server at `address` for a relayed address, from the socket `local`.
    pub(super) fn allocate(
        server: &TurnServer,
        local: SocketAddr,
        address: SocketAddr,
        now: Instant,
    ) -> Self {
        let mut config = TurnConfig::new(TurnCredentials::new(&server.username, &server.password));
        config.set_address_family(if local.is_ipv4() { AddressFamily::IPV4 } else { AddressFamily::IPV6 });
        Self {
            server: server.server.clone(),
            client: TurnClientUdp::allocate(local, address, config),
            start: now,
            local,
            address,
            relayed: None,
            refused: false,
            errors: 0,
            since: now,
            bound: HashSet::new(),
        }
    }

    /// Whether a packet that came to this socket from there is for this client.
    pub(super) fn is_with(&self, local: SocketAddr, from: SocketAddr) -> bool {
        self.local == local && self.address == from
    }

    /// Whether it says soon whether there is an address.
    pub(super) fn waits(&self, now: Instant) -> bool {
        self.relayed.is_none() && !self.refused && now < self.since + PATIENCE
    }

    /// The socket it runs on.
    pub(super) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Takes a packet from the server.
    pub(super) fn take(&mut self, packet: &[u8], now: Instant) -> Came {
        let at = self.at(now);
        if packet.starts_with(&NO_ADDRESS) {
            // The first asks for name and password. One that does not like them is not signed, so the client takes no note of it.
            self.errors = self.errors.saturating_add(1);
            self.refused |= self.errors > 1;
        }
        let transmit = Transmit::new(packet, TransportType::Udp, self.address, self.local);
        match self.client.recv(transmit, at) {
            TurnRecvRet::PeerData(data) => Came::Data { from: data.peer, bytes: data.data().to_vec() },
            TurnRecvRet::Handled | TurnRecvRet::Ignored(_) | TurnRecvRet::PeerIcmp { .. } => Came::Nothing,
        }
    }

    /// Packs a packet for a peer. The first to a peer opens the way; what is sent before that is open is lost, as packets are.
    pub(super) fn pack(&mut self, to: SocketAddr, bytes: &[u8], now: Instant) -> Option<Packet> {
        let at = self.at(now);
        if self.bound.insert(to) && self.client.bind_channel(TransportType::Udp, to, at).is_err() {
            self.bound.remove(&to);
        }
        let built = self.client.send_to(TransportType::Udp, to, bytes, at).ok()??;
        Some(Packet { from: self.local, to: self.address, bytes: built.data.build() })
    }

    /// What is to be sent to the server now; and when to ask again.
    pub(super) fn poll(&mut self, now: Instant) -> (Vec<Packet>, Option<Instant>) {
        let at = self.at(now);
        let wake = match self.client.poll(at) {
            TurnPollRet::WaitUntil(until) => Some(until.to_std(self.start)),
            TurnPollRet::Closed => None,
            // For TCP, which is not used.
            TurnPollRet::AllocateTcpSocket { .. } | TurnPollRet::TcpClose { .. } => None,
        };
        while let Some(event) = self.client.poll_event() {
            match event {
                TurnEvent::AllocationCreated(_, address) => self.relayed = Some(address),
                TurnEvent::AllocationCreateFailed(_) => self.refused = true,
                TurnEvent::ChannelCreateFailed(_, peer) => drop(self.bound.remove(&peer)),
                _ => {}
            }
        }
        let mut packets = Vec::new();
        while let Some(transmit) = self.client.poll_transmit(at) {
            packets.push(Packet { from: self.local, to: self.address, bytes: transmit.data.to_vec() });
        }
        (packets, wake)
    }

    /// Gives the address back.
    pub(super) fn delete(&mut self, now: Instant) -> Vec<Packet> {
        let at = self.at(now);
        if self.relayed.is_none() || self.client.delete(at).is_err() {
            return Vec::new();
        }
        self.poll(now).0
    }

    fn at(&self, now: Instant) -> TurnInstant {
        let nanos = now.saturating_duration_since(self.start).as_nanos();
        TurnInstant::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn").field("server", &self.server).finish_non_exhaustive()
    }
}
