//! `connectoid doctor`: looks at a relay from all sides and says what to change. It changes nothing itself.

mod database;
mod machine;
mod public;
mod settings;

use clap::Args;
use serde::Serialize;

use super::{API_KEY, Failure, online, print_json, print_line, serve::Serve, without_controls};

/// Check a relay's settings, its database and the way to it, and say what to change
///
/// Takes the settings of connectoid serve, from the command line or the environment: call it with those of the relay, as the
/// relay's user and on its machine, while the relay runs (or before). It changes nothing. A line for each check begins with ok,
/// warn or bad; the exit code is 1 if anything is bad.
#[derive(Args)]
pub(super) struct Doctor {
    /// One line of JSON per check
    #[arg(long)]
    json: bool,

    /// An API key, to look behind --require-api-key; the variable keeps it out of the list of processes
    #[arg(long, env = API_KEY, value_name = "KEY", hide_env_values = true, allow_hyphen_values = true)]
    api_key: Option<String>,

    #[command(flatten)]
    serve: Serve,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    Warn,
    Bad,
}

/// What one check found.
#[derive(Debug, Serialize)]
struct Finding {
    level: Level,
    /// One of few words.
    check: &'static str,
    found: String,
    /// A sentence; none where all is well.
    change: Option<String>,
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn ok(&mut self, check: &'static str, found: impl Into<String>) {
        self.0.push(Finding { level: Level::Ok, check, found: found.into(), change: None });
    }

    fn warn(&mut self, check: &'static str, found: impl Into<String>, change: impl Into<String>) {
        self.add(Level::Warn, check, found, change);
    }

    fn bad(&mut self, check: &'static str, found: impl Into<String>, change: impl Into<String>) {
        self.add(Level::Bad, check, found, change);
    }

    fn add(
        &mut self,
        level: Level,
        check: &'static str,
        found: impl Into<String>,
        change: impl Into<String>,
    ) {
        self.0.push(Finding { level, check, found: found.into(), change: Some(change.into()) });
    }
}

impl Doctor {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut findings = Findings::default();
        // Before the configuration raises it.
        let files = machine::OpenFiles::of_this_process();
        machine::open_files(&files, self.serve.max_connections, &mut findings);
        let waiters = self.serve.max_waiters;
        let config = self.serve.config()?;
        settings::contradictions(&config, waiters, &mut findings);
        database::look(&config, &mut findings)?;
        online(public::look(&config, self.api_key.as_deref(), &mut findings))?;

        for finding in &findings.0 {
            if self.json {
                print_json(finding)?;
            } else {
                print_line(finding.line())?;
            }
        }
        match findings.0.iter().filter(|finding| finding.level == Level::Bad).count() {
            0 => Ok(()),
            1 => Err(Failure::new("one check is bad")),
            count => Err(Failure::new(format!("{count} checks are bad"))),
        }
    }
}

impl Finding {
    fn line(&self) -> String {
        let level = match self.level {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Bad => "bad",
        };
        let change = self.change.as_ref().map(|change| format!(". {change}")).unwrap_or_default();
        // It may quote what a server said: one line, whatever that was.
        without_controls(&format!("{level:4}  {}: {}{change}", self.check, self.found)).replace('\n', " ")
    }
}

/// A clock that is this much ahead of another, in microseconds, or behind it.
fn clocks(ahead: i64, theirs: &str, findings: &mut Findings) {
    const SECOND: u64 = 1_000_000;
    let off = ahead.unsigned_abs();
    let seconds = off.div_ceil(SECOND);
    let found =
        format!("this machine's is {seconds} s {} {theirs}'s", if ahead > 0 { "behind" } else { "ahead of" });
    let change =
        "Let NTP set both clocks: an answer counts 60 s from its question, by each instance's own clock";
    if off > 5 * SECOND {
        findings.bad("clock", found, change);
    } else if off > SECOND {
        findings.warn("clock", found, change);
    } else {
        findings.ok("clock", format!("this machine's agrees with {theirs}'s within a second"));
    }
}

/// Bytes as people read them, rounded down.
fn bytes(count: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match units.into_iter().find(|(_, bits)| count >> bits > 0) {
        Some((unit, bits)) => {
            let tenths = (u128::from(count) * 10) >> bits;
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
        None => format!("{count} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_as_people_read_them() {
        assert_eq!(
            [0, 1023, 1024, 1_610_612_736, u64::MAX].map(bytes),
            ["0 bytes", "1023 bytes", "1.0 KiB", "1.5 GiB", "16777215.9 TiB"]
        );
    }

    #[test]
    fn clocks_that_differ() {
        let level = |ahead| {
            let mut findings = Findings::default();
            clocks(ahead, "the database", &mut findings);
            let finding = findings.0.pop().unwrap();
            (finding.level, finding.found)
        };
        assert_eq!(
            level(-1_000_000),
            (Level::Ok, "this machine's agrees with the database's within a second".to_owned())
        );
        assert_eq!(level(1_000_001), (Level::Warn, "this machine's is 2 s behind the database's".to_owned()));
        assert_eq!(
            level(-5_000_001),
            (Level::Bad, "this machine's is 6 s ahead of the database's".to_owned())
        );
    }

    #[test]
    fn a_finding_is_one_line() {
        let mut findings = Findings::default();
        findings.bad("url", "it said\n\u{1b}[2J", "Change it");
        assert_eq!(findings.0[0].line(), "bad   url: it said \u{fffd}[2J. Change it");
    }
}
