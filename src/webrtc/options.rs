//! What a peer connection may use to find a path.

use std::{fmt, time::Duration};

use zeroize::Zeroizing;

/// How peer connections are made.
#[derive(Debug, Clone)]
pub struct Options {
    /// STUN servers, `host:port`: they tell which address the outside sees (RFC 8489).
    pub stun: Vec<String>,
    /// TURN servers: they pass packets on where no direct path is found (RFC 8656), over UDP.
    pub turn: Vec<TurnServer>,
    /// Whether addresses of this machine itself (127.0.0.1, ::1) are offered beside others. Where there are no others, and for
    /// a contact whose relays are all on this machine, they always are.
    pub loopback: bool,
    /// After how long without app data a session is closed; never, if `None`. It can be made again.
    pub idle: Option<Duration>,
}

/// A TURN server and who one is there.
#[derive(Clone)]
pub struct TurnServer {
    /// `host:port`.
    pub server: String,
    /// The name of the long-term credential.
    pub username: String,
    /// Its password.
    pub password: Zeroizing<String>,
}

impl Default for Options {
    /// Addresses of this machine's networks only, and sessions that last until somebody ends them.
    fn default() -> Self {
        Self { stun: Vec::new(), turn: Vec::new(), loopback: false, idle: None }
    }
}

impl fmt::Debug for TurnServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TurnServer").field("server", &self.server).finish_non_exhaustive()
    }
}
