//! What a server's acknowledgement is worth: how often it syncs, and what is there after it was killed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use super::{Peer, Place, at_once, fetch::tool, run};
use crate::{
    Outcome,
    lab::{CONNECTIONS, Lab},
    load::now,
};

/// What was proved; nothing of a server that does not store.
#[derive(Default)]
pub(super) struct Proof {
    /// Calls that wait for the disk, for each delivery.
    pub(super) syncs: Option<f64>,
    /// Of the messages acknowledged before it was killed, those that are there when it has started again; and all of them.
    pub(super) survived: Option<(usize, usize)>,
}

pub(super) fn prove<P: Peer>(lab: &Lab) -> Outcome<Proof> {
    if P::ABOUT.stores.is_none() {
        return Ok(Proof::default());
    }
    Ok(Proof { syncs: Some(syncs::<P>(lab)?), survived: Some(survived::<P>(lab)?) })
}

/// Has it deliver as in a round, under strace, which stops it for these calls only.
fn syncs<P: Peer>(lab: &Lab) -> Outcome<f64> {
    let strace = strace()?;
    let place = Place::new::<P>(lab, "syncs")?;
    let counts = place.folder.join("counts");
    let (server, peer) = place.start::<P>(lab, |command| traced(&strace, &command, &counts))?;
    let numbers = 0..(lab.extent.length.as_secs_f64() * P::ABOUT.a_second) as u64;
    let ran = run(&peer, &server, &peer.deliveries(lab, numbers)?, lab.extent.length)?;
    server.end_traced()?;
    // "% time, seconds, usecs/call, calls, errors, syscall"; there is no line if it never did.
    let counts = fs::read_to_string(counts)?;
    let total = counts.lines().find(|line| line.ends_with(" total"));
    let calls = match total.and_then(|line| line.split_whitespace().nth(3)) {
        Some(calls) => calls.parse::<f64>()?,
        None => 0.0,
    };
    Ok(calls / ran.replies.len() as f64)
}

/// The program that counts.
pub(super) fn strace() -> Outcome<PathBuf> {
    tool("strace", "strace (Debian: apt-get install strace)")
}

/// The same under strace.
fn traced(strace: &Path, command: &Command, counts: &Path) -> Command {
    let mut traced = Command::new(strace);
    traced.args(["-f", "--seccomp-bpf", "-c", "-e", "trace=fsync,fdatasync,msync,sync_file_range", "-o"]);
    traced.arg(counts).arg(command.get_program()).args(command.get_args()).env_clear();
    // Every peer starts with an empty environment, and these.
    traced.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(folder) = command.get_current_dir() {
        traced.current_dir(folder);
    }
    traced
}

/// Sends to it until it has acknowledged half of what there is to send, or for the length of a round; kills it then,
/// starts it again, and fetches what it had acknowledged.
fn survived<P: Peer>(lab: &Lab) -> Outcome<(usize, usize)> {
    let messages = lab.extent.messages / 50;
    let place = Place::new::<P>(lab, "killed")?;
    let (server, peer) = place.start::<P>(lab, |command| command)?;
    let deliveries = peer.deliveries(lab, 0..messages as u64)?;
    let mut lanes = (0..CONNECTIONS).map(|n| peer.lane(n)).collect::<Outcome<Vec<_>>>()?;
    let (next, count) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let until_killed = |lane: &mut P::Lane| {
        let mut acknowledged = Vec::new();
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            // It may fail: it was killed, which is the end.
            let Some(true) = deliveries.get(n).map(|delivery| peer.send(lane, delivery).is_ok()) else {
                return Ok(acknowledged);
            };
            acknowledged.push(n);
            count.fetch_add(1, Ordering::Relaxed);
        }
    };
    let acknowledged = thread::scope(|scope| {
        let sending = scope.spawn(|| at_once(&mut lanes, until_killed).map_err(|error| error.to_string()));
        let begun = now();
        let enough =
            |count| count >= messages / 2 || count >= CONNECTIONS && now() - begun > lab.extent.length;
        while !enough(count.load(Ordering::Relaxed)) && !sending.is_finished() {
            thread::sleep(Duration::from_millis(1));
        }
        server.kill()?;
        Ok::<_, Box<dyn std::error::Error>>(sending.join().map_err(|_| "the clients panicked")??)
    })?
    .concat();
    if acknowledged.len() < CONNECTIONS.min(messages / 2) {
        return Err(
            format!("it acknowledged {} of {messages} messages and then failed", acknowledged.len()).into()
        );
    }
    drop(server);

    let (_server, peer) = place.start::<P>(lab, |command| command)?;
    let deliveries = &deliveries;
    let next = AtomicUsize::new(0);
    let mut lanes = (0..CONNECTIONS).map(|n| peer.lane(n)).collect::<Outcome<Vec<_>>>()?;
    let there = at_once(&mut lanes, |lane| {
        let mut there = 0;
        while let Some(n) = acknowledged.get(next.fetch_add(1, Ordering::Relaxed)) {
            there += usize::from(peer.receive(lane, &deliveries[*n]).is_ok());
        }
        Ok(there)
    })?;
    Ok((there.iter().sum(), acknowledged.len()))
}
