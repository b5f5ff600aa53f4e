//! Asking STUN servers which address the outside sees (RFC 8489, binding requests without credentials).

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use stun_proto::types::{
    attribute::XorMappedAddress,
    message::{BINDING, Message, MessageClass, MessageType, MessageWriteVec, TransactionId},
    prelude::{MessageWrite as _, MessageWriteExt as _},
};

/// When a request is sent again, after the first.
const AGAIN: [Duration; 4] = [
    Duration::from_millis(200),
    Duration::from_millis(600),
    Duration::from_millis(1400),
    Duration::from_millis(3000),
];

/// How long a reply is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// The requests under way.
#[derive(Default)]
pub(super) struct Bindings {
    under_way: Vec<Binding>,
}

struct Binding {
    from: SocketAddr,
    server: SocketAddr,
    id: TransactionId,
    since: Instant,
    sent: usize,
}

/// A packet to send.
pub(super) struct Packet {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) bytes: Vec<u8>,
}

/// What a server said: the outside sees `mapped` for the socket `base`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mapped {
    pub(super) base: SocketAddr,
    pub(super) mapped: SocketAddr,
}

impl Bindings {
    /// Asks a server from each of these sockets that can reach it.
    pub(super) fn ask(
        &mut self,
        now: Instant,
        sockets: impl Iterator<Item = SocketAddr>,
        server: SocketAddr,
    ) {
        for from in sockets {
            let asked = self.under_way.iter().any(|binding| binding.from == from && binding.server == server);
            if reaches(from, server) && !asked {
                let id = TransactionId::generate();
                self.under_way.push(Binding { from, server, id, since: now, sent: 0 });
            }
        }
    }

    /// What is to be sent now.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Packet> {
        self.under_way.retain(|binding| now < binding.since + PATIENCE);
        let due = self.under_way.iter_mut().filter(|binding| binding.at().is_some_and(|at| at <= now));
        due.filter_map(|binding| {
            binding.sent += 1;
            let bytes = request(binding.id)?;
            Some(Packet { from: binding.from, to: binding.server, bytes })
        })
        .collect()
    }

    /// When [`Bindings::due`] has something to do next.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let next = |binding: &Binding| binding.at().unwrap_or(binding.since + PATIENCE);
        self.under_way.iter().map(next).min()
    }

    /// Whether replies are waited for.
    pub(super) fn waits(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// Takes a packet that came to the socket `to`, if it is a reply.
    pub(super) fn take(&mut self, to: SocketAddr, from: SocketAddr, packet: &[u8]) -> Option<Option<Mapped>> {
        if self.under_way.is_empty() {
            return None;
        }
        let message = Message::from_bytes(packet).ok().filter(Message::is_response)?;
        let id = message.transaction_id();
        let is = |binding: &Binding| binding.id == id && binding.server == from && binding.from == to;
        let index = self.under_way.iter().position(is)?;
        self.under_way.swap_remove(index);
        let mapped = message.attribute::<XorMappedAddress>().ok().map(|mapped| mapped.addr(id));
        Some(mapped.map(|mapped| Mapped { base: to, mapped }))
    }
}

/// Whether a socket can reach a server: both are of one family, and one's own machine reaches nothing but itself from its own address.
pub(super) fn reaches(own: SocketAddr, server: SocketAddr) -> bool {
    own.is_ipv4() == server.is_ipv4() && (!own.ip().is_loopback() || server.ip().is_loopback())
}

impl Binding {
    fn at(&self) -> Option<Instant> {
        match self.sent {
            0 => Some(self.since),
            sent => AGAIN.get(sent - 1).map(|after| self.since + *after),
        }
    }
}

fn request(id: TransactionId) -> Option<Vec<u8>> {
    let kind = MessageType::from_class_method(MessageClass::Request, BINDING);
    let mut message = Message::builder(kind, id, MessageWriteVec::new());
    message.add_fingerprint().ok()?;
    Some(message.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_asked_again_and_its_reply_taken_once() {
        let start = tokio::time::Instant::now().into_std();
        let (own, server): (SocketAddr, SocketAddr) =
            ("192.0.2.7:5000".parse().unwrap(), "198.51.100.1:3478".parse().unwrap());
        let other: SocketAddr = "[2001:db8::7]:5000".parse().unwrap();
        let mut bindings = Bindings::default();
        bindings.ask(start, [own, other, "127.0.0.1:5000".parse().unwrap()].into_iter(), server);
        let sent = bindings.due(start);
        assert_eq!(sent.len(), 1, "the others cannot reach it");
        assert_eq!((sent[0].from, sent[0].to), (own, server));
        // RFC 8489, section 5: a binding request of 8 bytes of attributes (the fingerprint), and the magic cookie.
        assert_eq!(sent[0].bytes[..8], [0, 1, 0, 8, 0x21, 0x12, 0xA4, 0x42]);
        assert_eq!(bindings.due(start + Duration::from_millis(199)).len(), 0);
        assert_eq!(bindings.wake_at(), Some(start + Duration::from_millis(200)));
        assert_eq!(bindings.due(start + Duration::from_millis(200)).len(), 1);

        // RFC 8489, sections 5 and 14.2: a success response with XOR-MAPPED-ADDRESS, port and address xored with the cookie.
        let mapped: SocketAddr = "203.0.113.9:6000".parse().unwrap();
        let mut reply = vec![1, 1, 0, 12, 0x21, 0x12, 0xA4, 0x42];
        reply.extend_from_slice(&sent[0].bytes[8..20]);
        reply.extend_from_slice(&[0, 0x20, 0, 8, 0, 1, 0x17 ^ 0x21, 0x70 ^ 0x12]);
        reply.extend_from_slice(&[203 ^ 0x21, 0x12, 113 ^ 0xA4, 9 ^ 0x42]);
        let reply = &reply[..];
        assert_eq!(bindings.take(own, "198.51.100.2:3478".parse().unwrap(), reply), None, "somebody else's");
        assert_eq!(bindings.take(own, server, reply), Some(Some(Mapped { base: own, mapped })));
        assert_eq!(bindings.take(own, server, reply), None);
        assert!(!bindings.waits());
    }

    #[test]
    fn a_silent_server_is_given_up() {
        let start = tokio::time::Instant::now().into_std();
        let mut bindings = Bindings::default();
        bindings.ask(start, ["192.0.2.7:1".parse().unwrap()].into_iter(), "192.0.2.1:3478".parse().unwrap());
        let sent: usize =
            (0..60).map(|tenth| bindings.due(start + Duration::from_millis(tenth * 100)).len()).sum();
        assert_eq!((sent, bindings.waits()), (5, false));
    }
}
