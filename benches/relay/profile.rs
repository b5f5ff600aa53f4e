//! What valgrind wrote: instructions by callgrind, allocations by DHAT; of whole programs, and of each function with all that
//! it calls.

use std::{
    collections::{HashMap, HashSet},
    fs,
    ops::Sub,
    path::Path,
};

use serde::Deserialize;

use crate::Outcome;

/// What was counted of something.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Count {
    /// Instructions, or allocations.
    pub(crate) number: f64,
    /// The bytes of allocations.
    pub(crate) bytes: f64,
}

impl Sub for Count {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { number: self.number - other.number, bytes: self.bytes - other.bytes }
    }
}

/// A run of the relay.
#[derive(Debug, Default)]
pub(crate) struct Profile {
    pub(crate) all: Count,
    /// By function, with all that it calls.
    pub(crate) functions: HashMap<String, Count>,
}

impl Profile {
    /// What this run did more than another.
    pub(crate) fn beyond(&self, other: &Self) -> Self {
        let less = |name| other.functions.get(name).copied().unwrap_or_default();
        let functions = self.functions.iter().map(|(name, count)| (name.clone(), *count - less(name)));
        Self { all: self.all - other.all, functions: functions.collect() }
    }

    /// So many functions, the heaviest first; not those that only pass on: threads, runtimes, wrappers.
    pub(crate) fn heaviest(&self, most: usize) -> Vec<(&str, Count)> {
        let mut heaviest: Vec<_> =
            self.functions.iter().map(|(name, count)| (name.as_str(), *count)).collect();
        heaviest.retain(|(name, _)| !passes_on(name));
        heaviest.sort_by(|(_, one), (_, other)| other.number.total_cmp(&one.number));
        heaviest.truncate(most);
        heaviest
    }

    fn add(&mut self, function: &str, count: Count) {
        let sum = self.functions.entry(function.to_owned()).or_default();
        sum.number += count.number;
        sum.bytes += count.bytes;
    }
}

/// Whether a function is one of those through which everything goes.
fn passes_on(name: &str) -> bool {
    const THROUGH: [&str; 19] = [
        "(below main)",
        "0x",
        "OPENSSL_",
        "___",
        "actix_rt::",
        "actix_server::",
        "actix_service::",
        "alloc::",
        "call_once<",
        "clone",
        "core::",
        "futures_",
        "main",
        "malloc",
        "sqlite3Malloc",
        "sqlite3MemMalloc",
        "start_thread",
        "std::",
        "tokio::",
    ];
    let bare = name.trim_start_matches(['<', '&']).trim_start_matches("dyn ");
    // aws-lc's names begin with its version.
    let bare = bare
        .strip_prefix("aws_lc_")
        .map_or(bare, |rest| rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '_'));
    THROUGH.iter().any(|through| bare.starts_with(through))
}

/// Reads what callgrind wrote (its manual's "Callgrind Format Specification"), without compression of names and lines.
pub(crate) fn instructions(file: &Path) -> Outcome<Profile> {
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let (mut profile, mut function, mut called) = (Profile::default(), String::new(), None);
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("fn=") {
            name.clone_into(&mut function);
        } else if let Some(name) = line.strip_prefix("cfn=") {
            called = Some(name.to_owned());
        } else if line.starts_with(|first: char| first.is_ascii_digit()) {
            let cost = line.split(' ').nth(1).unwrap_or("0").parse()?;
            let count = Count { number: cost, bytes: 0.0 };
            match called.take() {
                // It would count twice.
                Some(callee) if callee == function => {}
                Some(_) => profile.add(&function, count),
                None => {
                    profile.all.number += cost;
                    profile.add(&function, count);
                }
            }
        }
    }
    Ok(profile)
}

/// What DHAT writes, as far as it is read here.
#[derive(Deserialize)]
struct Dhat {
    #[serde(rename = "pps")]
    points: Vec<Point>,
    #[serde(rename = "ftbl")]
    frames: Vec<String>,
}

/// What was allocated by one way through the program.
#[derive(Deserialize)]
struct Point {
    #[serde(rename = "tb")]
    bytes: f64,
    #[serde(rename = "tbk")]
    blocks: f64,
    #[serde(rename = "fs")]
    frames: Vec<usize>,
}

/// Reads what DHAT wrote.
pub(crate) fn allocations(file: &Path) -> Outcome<Profile> {
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let dhat: Dhat = serde_json::from_str(&text)?;
    let mut profile = Profile::default();
    for Point { bytes, blocks, frames } in &dhat.points {
        let count = Count { number: *blocks, bytes: *bytes };
        profile.all.number += count.number;
        profile.all.bytes += count.bytes;
        let names = frames.iter().filter_map(|frame| name(dhat.frames.get(*frame)?));
        for name in names.collect::<HashSet<_>>() {
            profile.add(name, count);
        }
    }
    Ok(profile)
}

/// The function of a frame: `0x1234: name (file:line)`, or `(in /the/program)`.
fn name(frame: &str) -> Option<&str> {
    let (_, rest) = frame.split_once(": ")?;
    Some(rest.rsplit_once(" (").map_or(rest, |(name, _)| name))
}
