//! From measurements to figures: medians, percentiles, and how they are written.

use std::time::Duration;

use crate::load::Ran;

/// The value in the middle.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The value that this share of them does not exceed, in milliseconds.
pub(crate) fn percentile(latencies: &[Duration], share: f64) -> f64 {
    let mut sorted = latencies.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
}

/// What several rounds of the same had in common.
pub(crate) struct Speed {
    /// Replies a second: the median of the rounds.
    pub(crate) rate: f64,
    /// Milliseconds, of all replies of all rounds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// Microseconds of the server's core for one reply.
    pub(crate) cpu: f64,
    /// Microseconds of the client's core for one reply.
    pub(crate) own: f64,
    /// The share of its core that the server used.
    pub(crate) server: f64,
    /// The share of its core that the client used.
    pub(crate) client: f64,
}

impl Speed {
    pub(crate) fn of<'a>(rounds: impl IntoIterator<Item = &'a Ran>) -> Self {
        let rounds: Vec<&Ran> = rounds.into_iter().collect();
        let latencies: Vec<Duration> =
            rounds.iter().flat_map(|ran| ran.replies.iter().map(|(_, latency)| *latency)).collect();
        let sum = |of: fn(&Ran) -> Duration| rounds.iter().map(|ran| of(ran).as_secs_f64()).sum::<f64>();
        let (took, server, client) = (sum(|ran| ran.took), sum(|ran| ran.server), sum(|ran| ran.client));
        Self {
            rate: median(rounds.iter().map(|ran| ran.rate())),
            p50: percentile(&latencies, 0.5),
            p99: percentile(&latencies, 0.99),
            cpu: server * 1e6 / latencies.len() as f64,
            own: client * 1e6 / latencies.len() as f64,
            server: server / took,
            client: client / took,
        }
    }
}

/// How much of what the constant does this server does: by the requests of a second, or by those of a second of the core,
/// whichever is less. They differ where other processes take the core, or where the client limits the constant.
pub(crate) fn share(constant: &Ran, server: &Ran) -> f64 {
    (server.rate() / constant.rate()).min(server.rate_of_core() / constant.rate_of_core())
}

impl Speed {
    /// Of a server that has nothing else to do: whether other processes took the core, since else it or the client is busy all the time.
    pub(crate) fn is_disturbed(&self) -> bool {
        self.server.max(self.client) < 0.9
    }
}

/// A number with as many digits as it is worth: 3 of them, and thousands apart.
pub(crate) fn number(value: f64) -> String {
    let decimals = match value.abs() {
        small if small < 10.0 => 2,
        middle if middle < 100.0 => 1,
        _ => 0,
    };
    let text = format!("{value:.decimals$}");
    let (whole, rest) = text
        .split_once('.')
        .map_or((text.as_str(), String::new()), |(whole, rest)| (whole, format!(".{rest}")));
    let mut grouped = String::new();
    for (n, digit) in whole.chars().enumerate() {
        if n > 0 && (whole.len() - n).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + &rest
}

/// A count, with thousands apart.
pub(crate) fn whole(count: f64) -> String {
    number(count.trunc()).split('.').next().unwrap_or_default().to_owned()
}

/// A share as a percentage.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}
