//! What a dishonest relay does.

use rand::rngs::StdRng;

use super::relay::MemoryRelay;
use crate::{client::exchange::NoReply, protocol::Request};

pub(super) struct Dishonesty;

impl Dishonesty {
    /// What the relay replies instead of the truth, if it lies.
    pub(super) fn instead(
        &mut self,
        _relays: &mut [MemoryRelay],
        _relay: usize,
        _end: usize,
        _request: &Request,
        _now: i64,
        _rng: &mut StdRng,
    ) -> Option<Result<(u16, Vec<u8>), NoReply>> {
        None
    }
}
