//! What systemd gives a service and is told by it: sockets that listen already (sd_listen_fds(3)), and how far it is
//! (sd_notify(3)). Without systemd there is nothing of both.

use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;
use sd_notify::NotifyState;

use super::{Failure, variable};
use crate::server::Sockets;

/// As `FileDescriptorName=` of a socket unit has it.
const METRICS: &str = "metrics";

/// Takes the sockets that systemd gives this process: one for the relay, and one named `metrics`; each may be missing.
///
/// They are taken out of the environment, so it must have one thread yet.
pub(super) fn sockets() -> Result<Sockets, Failure> {
    let names = variable("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut given = ListenFd::from_env();
    let mut sockets = Sockets::default();
    for index in 0..given.len() {
        let (place, name) = match names.next() {
            Some(METRICS) => (&mut sockets.metrics, METRICS),
            _ => (&mut sockets.relay, "relay"),
        };
        let not_right = |what: &str| {
            let unit =
                "a socket unit with one ListenStream= for the relay, and one with FileDescriptorName=metrics";
            Failure::with(10, format!("{what}; systemd can give two sockets: {unit}"))
        };
        let socket = given.take_tcp_listener(index).ok().flatten();
        let socket = socket.filter(|socket| socket_acceptconn(socket).unwrap_or(true));
        let socket =
            socket.ok_or_else(|| not_right("a socket that systemd gives is not one of TCP that listens"))?;
        if place.replace(socket).is_some() {
            return Err(not_right(&format!("systemd gives more than one socket for the {name}")));
        }
    }
    Ok(sockets)
}

/// Tells systemd how far this process is, if it wants to know.
pub(super) fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "systemd was not told how far the relay is (NOTIFY_SOCKET)");
    }
}
