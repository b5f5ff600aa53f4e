//! Why no path was found, and what may help.

use std::net::IpAddr;

/// What a connection saw while it searched a path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// The servers there are.
    pub(super) stun: usize,
    pub(super) turn: usize,
    pub(super) stun_answered: usize,
    pub(super) turn_answered: usize,
    pub(super) turn_refused: usize,
    /// Whether this machine has addresses of its own only.
    pub(super) loopback_only: bool,
    /// The other side's addresses: any, of the machine itself, that the outside sees.
    pub(super) remote: usize,
    pub(super) remote_loopback: usize,
    pub(super) remote_outside: usize,
    /// Whether a packet of the other side came.
    pub(super) heard_of_peer: bool,
}

/// Why two sides that know of each other found no path for their packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoPath {
    /// The other side named no address.
    #[error("the other side named no address that packets could be sent to; it may have no network")]
    NoAddress,
    /// The two are on different machines, and one has no network.
    #[error("only addresses within one machine are known: is a network connected on both sides?")]
    Loopback,
    /// The TURN server did not take the name and password.
    #[error(
        "no direct path was found, and the TURN server gave no address: are its name and password right?"
    )]
    TurnRefused,
    /// No server answered.
    #[error("no packets get through, and no STUN or TURN server answered: UDP may be blocked here")]
    Blocked,
    /// Only one way.
    #[error("packets arrive from the other side, but none get there: a firewall there or here may drop them")]
    OneWay,
    /// Addresses that the outside sees are not known.
    #[error(
        "no path was found, and no STUN server was asked: name one on both sides (stun in the config file, --stun)"
    )]
    NoStun,
    /// Direct paths are not possible.
    #[error("no direct path was found: name a TURN server on one side at least (turn in the config file)")]
    NoTurn,
    /// Not even the TURN server helped.
    #[error("no path was found, not even through the TURN server: it may not reach the other side")]
    NotEvenTurn,
}

impl Facts {
    /// Takes note of the candidates in an SDP or a line of one.
    pub(super) fn hear_of(&mut self, sdp: &str) {
        for candidate in sdp.lines().filter_map(|line| line.split_once("candidate:")) {
            let mut words = candidate.1.split_whitespace();
            self.remote += 1;
            let address: Option<IpAddr> = words.nth(4).and_then(|word| word.parse().ok());
            self.remote_loopback += usize::from(address.is_some_and(|address| address.is_loopback()));
            let kind = words.nth(2);
            self.remote_outside += usize::from(matches!(kind, Some("srflx" | "relay")));
        }
    }

    /// The likeliest reason.
    pub(super) fn why(&self) -> NoPath {
        match self {
            Self { remote: 0, .. } => NoPath::NoAddress,
            Self { heard_of_peer: true, .. } => NoPath::OneWay,
            _ if self.loopback_only || self.remote_loopback == self.remote => NoPath::Loopback,
            Self { turn_refused: 1.., turn_answered: 0, .. } => NoPath::TurnRefused,
            _ if self.stun + self.turn > 0 && self.stun_answered + self.turn_answered == 0 => NoPath::Blocked,
            Self { turn_answered: 1.., .. } => NoPath::NotEvenTurn,
            Self { stun: 0, remote_outside: 0, .. } => NoPath::NoStun,
            _ => NoPath::NoTurn,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "a=candidate:1 1 udp 2130706175 192.0.2.7 54063 typ host ufrag x\r\n";
    const SEEN: &str = "candidate:2 1 udp 1694498815 203.0.113.9 6000 typ srflx raddr 192.0.2.7 rport 54063";
    const HERE: &str = "a=candidate:1 1 udp 2130706175 127.0.0.1 54063 typ host\r\n";

    fn why(facts: Facts, remote: &[&str]) -> NoPath {
        let mut facts = facts;
        remote.iter().for_each(|sdp| facts.hear_of(sdp));
        facts.why()
    }

    #[test]
    fn the_likeliest_reason() {
        let none = Facts::default();
        assert_eq!(why(none, &[]), NoPath::NoAddress);
        assert_eq!(why(none, &[HERE]), NoPath::Loopback);
        assert_eq!(why(Facts { loopback_only: true, ..none }, &[HOST, SEEN]), NoPath::Loopback);
        assert_eq!(why(none, &[HOST]), NoPath::NoStun);
        assert_eq!(why(Facts { stun: 1, ..none }, &[HOST]), NoPath::Blocked);
        assert_eq!(why(Facts { stun: 1, stun_answered: 1, ..none }, &[HOST, SEEN]), NoPath::NoTurn);
        let refused = Facts { stun: 1, stun_answered: 1, turn: 1, turn_refused: 1, ..none };
        assert_eq!(why(refused, &[HOST, SEEN]), NoPath::TurnRefused);
        assert_eq!(why(Facts { turn: 1, turn_answered: 1, ..none }, &[HOST]), NoPath::NotEvenTurn);
        assert_eq!(why(Facts { heard_of_peer: true, ..none }, &[HOST]), NoPath::OneWay);
    }
}
