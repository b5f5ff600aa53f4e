//! What a relay counts of itself, for Prometheus. Labels are few and known beforehand: none names a box or an address.

use std::time::Duration;

use prometheus::{
    Encoder as _, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder, core::Collector,
};

/// Upper bounds in seconds: from a check with nothing there to a database in trouble.
const SECONDS: &[f64] =
    &[0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// The counters of one server.
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    seconds: HistogramVec,
    /// Questions, by how they came about: `sealed` or `cached`.
    questions: IntCounterVec,
    /// Checks that wait.
    pub waiters: IntGauge,
    /// Messages in all boxes, and their bytes; boxes.
    pub messages: IntGauge,
    /// Bytes of the messages in all boxes.
    pub bytes: IntGauge,
    /// Boxes, as of the last sweep.
    pub boxes: IntGauge,
    sweeps: IntCounterVec,
    /// Expired messages that were deleted.
    pub swept_messages: IntCounter,
    /// Boxes deleted because nobody checked them.
    pub swept_boxes: IntCounter,
    store_errors: IntCounterVec,
}

impl Metrics {
    /// All at zero.
    ///
    /// # Errors
    /// None in practice: two metrics of one name.
    pub fn new() -> Result<Self, prometheus::Error> {
        let r = &Registry::new();
        let metrics = Self {
            registry: r.clone(),
            requests: counters(
                r,
                "requests_total",
                "Requests of the protocol, by action and result",
                &["action", "result"],
            )?,
            seconds: known(
                r,
                HistogramVec::new(
                    HistogramOpts::new(
                        "connectoid_request_seconds",
                        "From the whole request to its reply, by action; a check that may wait is a wait",
                    )
                    .buckets(SECONDS.to_vec()),
                    &["action"],
                ),
            )?,
            questions: counters(r, "questions_total", "Questions asked, by how: sealed or cached", &["how"])?,
            waiters: gauge(r, "waiters", "Checks that wait")?,
            messages: gauge(
                r,
                "messages",
                "Messages stored, expired ones that were not swept yet among them",
            )?,
            bytes: gauge(r, "message_bytes", "Bytes of the messages stored")?,
            boxes: gauge(r, "boxes", "Boxes, as of the last sweep")?,
            sweeps: counters(
                r,
                "sweeps_total",
                "Sweeps, by result: ok, held (the clock jumped) or failed",
                &["result"],
            )?,
            swept_messages: counter(r, "swept_messages_total", "Expired messages that were deleted")?,
            swept_boxes: counter(r, "swept_boxes_total", "Boxes deleted because nobody checked them")?,
            store_errors: counters(
                r,
                "store_errors_total",
                "What the database did not do, by kind",
                &["kind"],
            )?,
        };
        // A rate can only be taken of what is there from the start.
        for how in ["sealed", "cached"] {
            metrics.questions.with_label_values(&[how]);
        }
        for result in ["ok", "held", "failed"] {
            metrics.sweeps.with_label_values(&[result]);
        }
        for kind in ["queue full", "slow", "closed", "database"] {
            metrics.store_errors.with_label_values(&[kind]);
        }
        Ok(metrics)
    }

    /// A request was answered. `result` is `ok` or the name of a refusal.
    pub fn request(&self, action: &str, result: &str, took: Duration) {
        self.requests.with_label_values(&[action, result]).inc();
        self.seconds.with_label_values(&[action]).observe(took.as_secs_f64());
    }

    /// A question was `sealed` or `cached`.
    pub fn question(&self, how: &str) {
        self.questions.with_label_values(&[how]).inc();
    }

    /// A sweep was `ok`, `held` or `failed`.
    pub fn sweep(&self, result: &str) {
        self.sweeps.with_label_values(&[result]).inc();
    }

    /// The database did not do what it should.
    pub fn store_error(&self, kind: &str) {
        self.store_errors.with_label_values(&[kind]).inc();
    }

    /// All of them, in Prometheus' text format.
    ///
    /// # Errors
    /// None in practice: a metric that cannot be written.
    pub fn text(&self) -> Result<Vec<u8>, prometheus::Error> {
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

fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    known(registry, IntGauge::with_opts(opts(name, help)))
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
