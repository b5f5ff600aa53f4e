//! How fast the relay is, and what it costs: every row of the table in docs/performance.md, in one go.
//!
//! Started by `scripts/bench`, which builds the relay as it is shipped. The server that is measured has one core, the
//! client that measures another. What a row is compared with is measured in the same run, in turn with the relay, on the
//! same core, by the same client: ratios of one run count, absolute figures do not travel between machines.

mod barest;
mod boxes;
mod chart;
mod constant;
mod counts;
mod document;
mod figures;
mod hpke;
mod lab;
mod least;
mod load;
mod machine;
mod peers;
mod pgbench;
mod postgres;
mod profile;
mod report;
mod requests;
mod rows;
mod scripts;
mod server;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Parser, builder::PossibleValuesParser};
use connectoid::clock::{Clock as _, SystemClock};

use crate::{
    lab::{Extent, Lab},
    peers::PEERS,
    report::Found,
    rows::{ROWS, cost::WAIT},
};

/// A result whose error is a sentence for whoever started this.
pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Measure the relay
///
/// Prints a table with what must be and what is the goal.
#[derive(Parser)]
#[command(name = "scripts/bench")]
struct Options {
    /// Only these rows
    #[arg(long, value_name = "ROW", value_delimiter = ',', value_parser = PossibleValuesParser::new(ROWS.iter().map(|row| row.name)))]
    only: Vec<String>,

    /// The relay beside its peers, each delivering messages, instead of the rows
    #[arg(long, conflicts_with = "only")]
    peers: bool,

    /// That with these peers only
    #[arg(long, conflicts_with = "only", value_name = "PEER", value_delimiter = ',', value_parser = PossibleValuesParser::new(PEERS.iter().map(|peer| peer.name)))]
    only_peers: Vec<String>,

    /// How often each row is measured, in turn with what it is compared with; the median counts
    #[arg(long, value_name = "NUMBER", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..))]
    rounds: u8,

    /// How long each time
    #[arg(long, value_name = "NUMBER", default_value_t = 3.0)]
    seconds: f64,

    /// So little of everything that the figures mean nothing: to see that it works
    #[arg(long)]
    quick: bool,

    /// Durable sends to servers that do nothing but store, and to the relay, instead of the rows
    #[arg(long, conflicts_with_all = ["only", "peers", "only_peers", "counts"])]
    least: bool,

    /// Count the instructions and allocations of a request instead, under valgrind
    #[arg(long, conflicts_with_all = ["only", "peers", "only_peers", "rounds", "seconds"])]
    counts: bool,

    /// Where the databases are, on a disk like the relay's
    #[arg(long, value_name = "PATH", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/target"))]
    folder: PathBuf,

    /// The relay
    #[arg(long, value_name = "PATH", default_value = env!("CARGO_BIN_EXE_connectoid"))]
    program: PathBuf,

    /// Where performance.md is, whose parts are written, and a chart beside it; if all was measured, three times or more
    #[arg(long, value_name = "PATH")]
    docs: Option<PathBuf>,

    /// What `cargo bench` says. It builds the relay with what only tests need: scripts/bench does better
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    /// Where the documents are, if all of a part is measured, and often enough for a median. Counts need no other rounds.
    fn docs_to_write(&self) -> Option<&Path> {
        let often = self.rounds >= 3 || self.counts;
        let all = self.only.is_empty() && self.only_peers.is_empty() && !self.quick && often;
        self.docs.as_deref().filter(|_| all)
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let done = match (arguments.next().as_deref(), arguments.next(), arguments.next()) {
        (Some(constant::COMMAND), Some(reply), None) => constant::serve(reply),
        (Some(barest::COMMAND), Some(storage), Some(file)) => barest::serve(&storage, file),
        _ => measure(&Options::parse()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("scripts/bench: {error}"));
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "what happens, for the one who waits")]
fn say(line: &str) {
    eprintln!("{line}");
}

#[expect(clippy::print_stdout, reason = "the result")]
fn print(text: &str) {
    println!("{text}");
}

fn measure(options: &Options) -> Outcome<()> {
    let extent = if options.quick {
        Extent { rounds: 1, length: Duration::from_millis(200), messages: 2_000, waiters: 200, wait: 2 }
    } else {
        let (rounds, length) = (options.rounds.into(), Duration::try_from_secs_f64(options.seconds)?);
        Extent { rounds, length, messages: 100_000, waiters: 10_000, wait: WAIT }
    };
    if extent.length.is_zero() {
        return Err("--seconds must be more than 0".into());
    }
    if options.peers || !options.only_peers.is_empty() {
        return measure_peers(options, extent);
    }
    let lab = Lab::new(extent, options.program.clone(), &options.folder)?;
    if options.counts {
        return count(&lab, options);
    }
    let began = began(&extent);
    if options.least {
        return write_part(options, "least", &format!("{began}\n{}", least::measure(&lab)?));
    }
    let mut found = Vec::new();
    for row in
        ROWS.iter().filter(|row| options.only.is_empty() || options.only.iter().any(|name| name == row.name))
    {
        say(&format!("{} …", row.name));
        let measured = (row.measure)(&lab).map_err(|error| format!("{}: {error}", row.name))?;
        found.push((row.part, measured));
    }
    for part in PARTS {
        let found: Vec<&Found> = found.iter().filter(|(of, _)| *of == part).map(|(_, found)| found).collect();
        if found.is_empty() {
            continue;
        }
        write_part(options, part, &text(&found, &began))?;
        let lines: Vec<_> = found.iter().flat_map(|found| &found.lines).collect();
        if let Some(docs) = options.docs_to_write().filter(|_| !lines.is_empty()) {
            std::fs::write(docs.join(CHART), chart::svg(&lines))?;
        }
    }
    Ok(())
}

/// What a request costs in instructions and allocations.
fn count(lab: &Lab, options: &Options) -> Outcome<()> {
    counts::need_valgrind()?;
    let text = counts::measure(lab, if options.quick { 100 } else { 1_000 })?;
    write_part(options, "counts", &format!("{}, on {}; {text}", date(), machine::about()))
}

/// Prints a part of the document, and writes it if it was measured in full.
fn write_part(options: &Options, part: &str, text: &str) -> Outcome<()> {
    print(text);
    let Some(docs) = options.docs_to_write() else { return Ok(()) };
    document::write_part(&docs.join("performance.md"), part, text)
}

/// The parts of the document that are written.
const PARTS: [&str; 2] = ["relay", "cost"];

/// The job that counts, by the relay and by its peers.
fn measure_peers(options: &Options, extent: Extent) -> Outcome<()> {
    // They are built with all cores: the lab takes its own.
    let peers = peers::fetch(&options.only_peers)?;
    let lab = Lab::new(extent, options.program.clone(), &options.folder)?;
    let began = began(&extent);
    write_part(options, "peers", &format!("{began}\n{}", peers::measure(&lab, peers)?))
}

/// The picture beside the document.
const CHART: &str = "performance-relay.svg";

/// What is printed, and written into the document.
fn text(found: &[&Found], began: &str) -> String {
    let lines: Vec<_> = found.iter().flat_map(|found| &found.lines).collect();
    let missed = lines.iter().filter(|line| line.verdict() == "missed").count();
    let mut text = began.to_owned();
    let disturbed = lines.iter().filter(|line| line.disturbed).count();
    if disturbed > 0 {
        text += &format!("\n**Other processes were at work: {disturbed} figures say little.**\n");
    }
    for found in found.iter().filter(|found| !found.text.is_empty()) {
        text += &format!("\n{}", found.text);
    }
    if !lines.is_empty() {
        text += &format!("\n### Each part by itself\n\n{}\n", report::table(&lines));
        text += &format!("{missed} of {} figures miss what must be.\n", lines.len());
        text += &format!("\n![Each figure against what it must be]({CHART})\n");
    }
    text
}

/// When and where this is measured, and how often.
fn began(extent: &Extent) -> String {
    format!(
        "{}, on {}; {} rounds of {} s each. {} processes wanted a core when it began.\n",
        date(),
        machine::about(),
        extent.rounds,
        extent.length.as_secs_f64(),
        machine::load(),
    )
}

/// Today, UTC.
fn date() -> String {
    let seconds = SystemClock.now().div_euclid(1_000_000).unsigned_abs();
    humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + Duration::from_secs(seconds)).to_string()[..10]
        .to_owned()
}
