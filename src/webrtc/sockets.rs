//! The UDP sockets of a peer connection: one for each address of this machine that is offered.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    task::{Context, Poll},
};

use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::UdpSocket;

/// The most addresses offered: more would only make the other side try longer.
const MOST: usize = 16;

/// What the system is asked to hold of packets not read or sent yet, in bytes. It may give less.
const BUFFER: usize = 4 * 1024 * 1024;

pub(super) struct Sockets {
    sockets: Vec<(SocketAddr, UdpSocket)>,
}

/// The errors of a socket that are passed over at once.
const ERRORS: u32 = 64;

/// What has to be done to offer the addresses that this machine has now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changed {
    pub(super) new: Vec<SocketAddr>,
    pub(super) gone: Vec<SocketAddr>,
}

impl Sockets {
    pub(super) fn new() -> Self {
        Self { sockets: Vec::new() }
    }

    /// Makes a socket for each of these addresses that has none, and drops those of addresses that are gone.
    pub(super) fn follow(&mut self, addresses: &[IpAddr]) -> Changed {
        let mut changed = Changed::default();
        self.sockets.retain(|(local, _)| {
            let stays = addresses.contains(&local.ip());
            if !stays {
                changed.gone.push(*local);
            }
            stays
        });
        for address in addresses {
            let known = self.sockets.iter().any(|(local, _)| local.ip() == *address);
            if known || self.sockets.len() >= MOST {
                continue;
            }
            // An address may be gone again, or not be ready yet: it is tried again with the next change.
            if let Ok((local, socket)) = bind(*address) {
                self.sockets.push((local, socket));
                changed.new.push(local);
            }
        }
        changed
    }

    /// The addresses they are bound to.
    pub(super) fn local(&self) -> impl Iterator<Item = SocketAddr> {
        self.sockets.iter().map(|(local, _)| *local)
    }

    /// Whether one of them has a packet.
    pub(super) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        let ready = self.sockets.iter().map(|(_, socket)| socket.poll_recv_ready(context));
        // All are asked, so that each will wake.
        if ready.fold(false, |any, ready| any | ready.is_ready()) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// The next packet of the socket with this index: to which address it came, from where, and its length. `None` when it has none.
    pub(super) fn receive(&self, index: usize, packet: &mut [u8]) -> Option<(SocketAddr, SocketAddr, usize)> {
        let (local, socket) = self.sockets.get(index)?;
        // At each error somebody that was written to is not there (ICMP), which says nothing about others.
        for _ in 0..ERRORS {
            match socket.try_recv_from(packet) {
                Ok((length, from)) => return Some((*local, from, length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(_) => {}
            }
        }
        None
    }

    pub(super) fn count(&self) -> usize {
        self.sockets.len()
    }

    /// Sends a packet from this address, if there is room for it.
    pub(super) fn send(&self, from: SocketAddr, to: SocketAddr, packet: &[u8]) {
        if let Some(socket) = self.of(from) {
            // Whoever it is for asks for what is lost. Not by tokio, for which a socket has no room before it was polled once.
            let _ = SockRef::from(socket).send_to(packet, &to.into());
        }
    }

    fn of(&self, local: SocketAddr) -> Option<&UdpSocket> {
        self.sockets.iter().find(|(bound, _)| *bound == local).map(|(_, socket)| socket)
    }
}

fn bind(address: IpAddr) -> io::Result<(SocketAddr, UdpSocket)> {
    let socket = Socket::new(Domain::for_address((address, 0).into()), Type::DGRAM, None)?;
    socket.set_nonblocking(true)?;
    // A smaller buffer is slower, nothing else.
    let _ = socket.set_recv_buffer_size(BUFFER);
    let _ = socket.set_send_buffer_size(BUFFER);
    socket.bind(&SocketAddr::from((address, 0)).into())?;
    let socket = UdpSocket::from_std(socket.into())?;
    Ok((socket.local_addr()?, socket))
}
