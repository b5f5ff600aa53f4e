//! Settings that contradict each other.

use std::time::Duration;

use super::Findings;
use crate::{cli::serve::MAX_WAITERS, server::Config};

const CHECK: &str = "settings";

/// How long proxies keep their idle connections, usually.
const MINUTE: Duration = Duration::from_secs(60);

/// Looks for settings that undo each other. `waiters` is what was asked for, before connections limited it.
pub(super) fn contradictions(config: &Config, waiters: usize, findings: &mut Findings) {
    let before = findings.0.len();
    waiting(config, waiters, findings);
    proxies(config, findings);
    boxes(config, findings);
    if findings.0.len() == before {
        findings.ok(CHECK, "none contradicts another");
    }
}

fn waiting(config: &Config, waiters: usize, findings: &mut Findings) {
    if config.max_wait.is_zero() && waiters != MAX_WAITERS {
        findings.warn(
            CHECK,
            "--max-waiters counts for nothing with --max-wait 0s",
            "Leave one of the two away",
        );
    }
    if waiters != MAX_WAITERS && waiters > config.max_waiters {
        let (most, connections) = (config.max_waiters, config.connections.max);
        findings.warn(
            CHECK,
            format!("--max-waiters {waiters} counts as {most}, three quarters of {connections} connections"),
            "Raise --max-connections, and the limit of open files if it allows no more, or lower --max-waiters",
        );
    }
    if !config.max_wait.is_zero() && waiters == 0 {
        findings.warn(
            CHECK,
            "with --max-waiters 0 every check that waits is told Busy",
            "Set --max-wait 0s, which says in /info that none may wait",
        );
    }
}

fn proxies(config: &Config, findings: &mut Findings) {
    let client = &config.client_address;
    let behind = !client.trusted_proxies.is_empty() || client.told_by.is_some();
    let idle = config.connections.idle_timeout;
    if behind && idle < MINUTE {
        findings.warn(
            CHECK,
            format!("--idle-timeout {} s is shorter than proxies keep their connections", idle.as_secs()),
            "Set it above the proxy's own, 75s for most: else some requests end as 502",
        );
    }
    if client.trusted_proxies.iter().any(|network| network.prefix_len() == 0) {
        findings.bad(
            CHECK,
            "--trusted-proxies has all addresses in it: whoever connects can choose his own",
            "List the proxies alone",
        );
    }
    let Some(_) = client.told_by.as_ref().filter(|_| client.trusted_proxies.is_empty()) else {
        return;
    };
    let (each, all) = (config.connections.max_per_source, config.connections.max);
    if each < all {
        findings.warn(
            CHECK,
            format!("--max-connections-per-source {each} holds for the platform's proxies, which carry all clients"),
            format!("Set --max-connections-per-source {all}, or name the proxies in --trusted-proxies"),
        );
    }
}

fn boxes(config: &Config, findings: &mut Findings) {
    let keep = config.keep;
    match keep.box_cap {
        Some(cap) if cap.messages_per_sender > cap.messages => findings.warn(
            CHECK,
            format!(
                "--box-messages-per-source {} is more than --box-messages {}",
                cap.messages_per_sender, cap.messages
            ),
            "Lower it, or one address can fill a box",
        ),
        None if !config.urls.is_empty() => findings.warn(
            CHECK,
            "--no-limits on a relay with a public URL lets anyone fill it",
            "Leave --no-limits away",
        ),
        _ => {}
    }
    if keep.box_ttl < keep.message_ttl {
        findings.warn(
            CHECK,
            "--box-ttl is shorter than --message-ttl: messages go with their box",
            "Make --box-ttl the longer one",
        );
    }
}
