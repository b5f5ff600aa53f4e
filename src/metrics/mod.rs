//! What a relay counts of itself, for Prometheus. Labels are few and known beforehand: none names a box or an address.

use std::{path::PathBuf, time::Duration};

use prometheus::{
    Encoder as _, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder, core::Collector,
};

use machine::{Disk, Process};

mod machine;

/// Upper bounds in seconds: from a check with nothing there to a database in trouble.
const SECONDS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
    30.0,
];

/// Upper bounds in seconds: a sweep of nothing takes milliseconds, one of millions of messages minutes.
const SWEEP_SECONDS: &[f64] = &[0.001, 0.01, 0.1, 1.0, 10.0, 60.0, 600.0];

/// The limits by source, each with those it counts by: `relay::limiter` names them so.
const LIMITS: [(&str, &str); 7] = [
    ("send", "source"),
    ("send", "network"),
    ("send_to_box", "source"),
    ("check", "source"),
    ("check", "network"),
    ("receive", "source"),
    ("receive", "network"),
];

/// What requests do, as the metrics name it: `none` is what was not understood, `wait` a check that may wait.
const ACTIONS: [&str; 6] = ["none", "send", "check", "wait", "receive", "delete"];

/// What is counted of one action. At hand, because to look it up by its labels takes longer than to count.
struct Action {
    name: &'static str,
    /// None for what was not understood.
    ok: Option<IntCounter>,
    seconds: Histogram,
}

/// Counters that differ in one label. A rate can only be taken of what is there from the start, so its values are known.
struct Counters {
    all: IntCounterVec,
    known: Vec<(&'static str, IntCounter)>,
}

impl Counters {
    fn inc(&self, value: &str) {
        match self.known.iter().find(|(known, _)| *known == value) {
            Some((_, counter)) => counter.inc(),
            None => self.all.with_label_values(&[value]).inc(),
        }
    }
}

/// What a relay was told of how much there may be.
#[derive(Debug, Clone, Copy)]
pub struct Most {
    /// Connections at once.
    pub connections: usize,
    /// Checks that wait at once.
    pub waiters: usize,
    /// The bytes that all boxes may take together; `None` for as many as there is disk.
    pub bytes: Option<u64>,
}

/// The counters of one server.
pub struct Metrics {
    registry: Registry,
    process: Option<Process>,
    disk: Option<Disk>,
    requests: IntCounterVec,
    seconds: HistogramVec,
    /// Of these.
    actions: [Action; ACTIONS.len()],
    /// Questions, by how they came about: `sealed` or `cached`.
    questions: Counters,
    seals: Histogram,
    /// Requests that a limit by source refused.
    limited: IntCounterVec,
    /// Sources, networks and pairs of source and box that a limit remembers.
    limiter_keys: IntGaugeVec,
    /// Requests refused for their API key.
    api_keys_refused: Counters,
    /// Connections that are open.
    pub connections: IntGauge,
    turned_away: Counters,
    closed: Counters,
    /// Checks that wait.
    pub waiters: IntGauge,
    /// Messages in all boxes.
    pub messages: IntGauge,
    /// Bytes of the messages in all boxes.
    pub bytes: IntGauge,
    /// Boxes, as of the last sweep.
    pub boxes: IntGauge,
    /// What counts towards the bytes that all boxes may take.
    pub taken: IntGauge,
    sweeps: Counters,
    sweep_seconds: Histogram,
    /// Expired messages that were deleted.
    pub swept_messages: IntCounter,
    /// Boxes deleted because nobody checked them.
    pub swept_boxes: IntCounter,
    store_errors: Counters,
}

impl Metrics {
    /// All at zero.
    ///
    /// # Errors
    /// None in practice: two metrics of one name.
    pub fn new() -> Result<Self, prometheus::Error> {
        let r = &Registry::new();
        let requests = counters(
            r,
            "requests_total",
            "Requests of the protocol, by action and result",
            &["action", "result"],
        )?;
        let seconds = HistogramOpts::new(
            "connectoid_request_seconds",
            "From the whole request to its reply, by action; a check that may wait is a wait",
        );
        let seconds = known(r, HistogramVec::new(seconds.buckets(SECONDS.to_vec()), &["action"]))?;
        let actions = ACTIONS.map(|name| {
            let can = |result| (name != "none").then(|| requests.with_label_values(&[name, result]));
            can("Busy");
            Action { name, ok: can("ok"), seconds: seconds.with_label_values(&[name]) }
        });
        let info = opts("build_info", "1, with the version of the program");
        known(r, IntGaugeVec::new(info, &["version"]))?
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        let metrics = Self {
            registry: r.clone(),
            process: Process::watched(r)?,
            disk: None,
            requests,
            seconds,
            actions,
            questions: by(
                r,
                "questions_total",
                "Questions asked, by how: sealed or cached",
                "how",
                &["sealed", "cached"],
            )?,
            seals: histogram(r, "seal_seconds", "What sealing a question takes", SECONDS)?,
            limited: counters(
                r,
                "limited_total",
                "Requests refused as too many, by limit and by whom it counts: source or network",
                &["limit", "by"],
            )?,
            limiter_keys: known(
                r,
                IntGaugeVec::new(
                    opts(
                        "limiter_keys",
                        "Sources, networks and pairs of source and box that a limit remembers",
                    ),
                    &["limit", "by"],
                ),
            )?,
            api_keys_refused: by(
                r,
                "api_key_refusals_total",
                "Requests refused for their API key, by why: unknown (or none), revoked, requests, bytes or boxes",
                "why",
                &["unknown", "revoked", "requests", "bytes", "boxes"],
            )?,
            connections: gauge(r, "connections", "Connections that are open")?,
            turned_away: by(
                r,
                "connections_turned_away_total",
                "Connections there was no place for, by why: cap, or source for the cap of one source",
                "why",
                &["cap", "source"],
            )?,
            closed: by(
                r,
                "connections_closed_total",
                "Connections closed because a deadline passed, by which: head, body, idle or write",
                "why",
                &["head", "body", "idle", "write"],
            )?,
            waiters: gauge(r, "waiters", "Checks that wait")?,
            messages: gauge(
                r,
                "messages",
                "Messages stored, expired ones that were not swept yet among them",
            )?,
            bytes: gauge(r, "message_bytes", "Bytes of the messages stored")?,
            boxes: gauge(r, "boxes", "Boxes, as of the last sweep")?,
            taken: gauge(
                r,
                "taken_bytes",
                "About what all boxes take on the disk: what --max-bytes is held against",
            )?,
            sweeps: by(
                r,
                "sweeps_total",
                "Sweeps, by result: ok, held (the clock jumped) or failed",
                "result",
                &["ok", "held", "failed"],
            )?,
            sweep_seconds: histogram(r, "sweep_seconds", "What a sweep takes, if it is made", SWEEP_SECONDS)?,
            swept_messages: counter(r, "swept_messages_total", "Expired messages that were deleted")?,
            swept_boxes: counter(r, "swept_boxes_total", "Boxes deleted because nobody checked them")?,
            store_errors: by(
                r,
                "store_errors_total",
                "What the database did not do, by kind",
                "kind",
                &["queue full", "slow", "closed", "displaced", "database"],
            )?,
        };
        for (limit, by) in LIMITS {
            metrics.limited.with_label_values(&[limit, by]);
            metrics.limiter_keys.with_label_values(&[limit, by]);
        }
        Ok(metrics)
    }

    /// Says how much there may be, of what is counted; and when it started, in seconds of Unix time.
    ///
    /// # Errors
    /// As [`Metrics::new`].
    pub fn may_be(&self, most: Most, started: f64) -> Result<(), prometheus::Error> {
        let r = &self.registry;
        let set = |name, help, value: f64| {
            known(r, Gauge::with_opts(opts(name, help))).map(|gauge| gauge.set(value))
        };
        set("max_connections", "Connections that may be open (--max-connections)", most.connections as f64)?;
        set("max_waiters", "Checks that may wait (--max-waiters)", most.waiters as f64)?;
        let bytes = most.bytes.map_or(f64::INFINITY, |bytes| bytes as f64);
        set("max_bytes", "Bytes that all boxes may take together (--max-bytes)", bytes)?;
        machine::started(r, started)
    }

    /// Watches the file of a database, its log and its disk, too.
    ///
    /// # Errors
    /// As [`Metrics::new`].
    pub fn watch_file(&mut self, database: PathBuf) -> Result<(), prometheus::Error> {
        self.disk = Some(Disk::of(&self.registry, database)?);
        Ok(())
    }

    /// A request was answered. `result` is `ok` or the name of a refusal.
    pub fn request(&self, action: &str, result: &str, took: Duration) {
        let known = self.actions.iter().find(|known| known.name == action);
        match known.and_then(|known| known.ok.as_ref()) {
            Some(ok) if result == "ok" => ok.inc(),
            _ => self.requests.with_label_values(&[action, result]).inc(),
        }
        let took = took.as_secs_f64();
        match known {
            Some(known) => known.seconds.observe(took),
            None => self.seconds.with_label_values(&[action]).observe(took),
        }
    }

    /// A question was `sealed` or `cached`.
    pub fn question(&self, how: &str) {
        self.questions.inc(how);
    }

    /// A question's seal took this long.
    pub fn seal(&self, took: Duration) {
        self.seals.observe(took.as_secs_f64());
    }

    /// A request was refused by this limit, which counts by `source` or `network`.
    pub fn limited(&self, limit: &str, by: &str) {
        self.limited.with_label_values(&[limit, by]).inc();
    }

    /// So many are remembered by this limit.
    pub fn limiter_keys(&self, limit: &str, by: &str, count: usize) {
        self.limiter_keys.with_label_values(&[limit, by]).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// A request was refused for its API key: it is `unknown` or `revoked`, or has no `requests`, `bytes` or `boxes` left.
    pub fn api_key_refused(&self, why: &str) {
        self.api_keys_refused.inc(why);
    }

    /// There was no place for a connection: by the `cap` on all, or by that on its `source`.
    pub fn turned_away(&self, why: &str) {
        self.turned_away.inc(why);
    }

    /// A connection's deadline passed: that of a `head`, a `body`, for being `idle`, or of a `write`.
    pub fn closed(&self, why: &str) {
        self.closed.inc(why);
    }

    /// A sweep took this long.
    pub fn sweep_took(&self, took: Duration) {
        self.sweep_seconds.observe(took.as_secs_f64());
    }

    /// A sweep was `ok`, `held` or `failed`.
    pub fn sweep(&self, result: &str) {
        self.sweeps.inc(result);
    }

    /// The database did not do what it should.
    pub fn store_error(&self, kind: &str) {
        self.store_errors.inc(kind);
    }

    /// All of them, in Prometheus' text format.
    ///
    /// # Errors
    /// None in practice: a metric that cannot be written.
    pub fn text(&self) -> Result<Vec<u8>, prometheus::Error> {
        if let Some(process) = &self.process {
            process.look();
        }
        if let Some(disk) = &self.disk {
            disk.look();
        }
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

fn counter(registry: &Registry, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
    known(registry, IntCounter::with_opts(opts(name, help)))
}

fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    known(registry, IntCounterVec::new(opts(name, help), labels))
}

fn by(
    registry: &Registry,
    name: &str,
    help: &str,
    label: &str,
    values: &[&'static str],
) -> Result<Counters, prometheus::Error> {
    let all = counters(registry, name, help, &[label])?;
    let known = values.iter().map(|value| (*value, all.with_label_values(&[*value]))).collect();
    Ok(Counters { all, known })
}

fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    known(registry, IntGauge::with_opts(opts(name, help)))
}

fn histogram(
    registry: &Registry,
    name: &str,
    help: &str,
    seconds: &[f64],
) -> Result<Histogram, prometheus::Error> {
    let opts = HistogramOpts::new(format!("connectoid_{name}"), help).buckets(seconds.to_vec());
    known(registry, Histogram::with_opts(opts))
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(format!("connectoid_{name}"), help)
}

fn known<C: Collector + Clone + 'static>(
    registry: &Registry,
    metric: Result<C, prometheus::Error>,
) -> Result<C, prometheus::Error> {
    let metric = metric?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}
