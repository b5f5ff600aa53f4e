//! pgbench: PostgreSQL's own program to measure it, with scripts of ours.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use url::Url;

use crate::{Outcome, lab::CONNECTIONS, machine, postgres::Postgres};

/// How a script ran.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ran {
    pub(crate) took: Duration,
    /// How often the script was run.
    pub(crate) times: f64,
    /// The time that PostgreSQL used of its core.
    pub(crate) postgres: Duration,
    /// The time that pgbench used of its own.
    pub(crate) pgbench: Duration,
}

/// Lines of progress, one a second, before it counts.
const WARM_UP: usize = 2;

/// How long it would run, in seconds: it is ended before, for with many connections to make it begins late.
const LONG: u32 = 600;

/// What all have used so far.
struct Used {
    postgres: Duration,
    pgbench: Duration,
}

/// Runs a script for `length`, in whole seconds, with as many clients as the relay has and these variables. On this program's core.
/// How its statements are planned is left to PostgreSQL.
///
/// Every second pgbench says how it goes: counted is from its second such line on. Until the first they connect, until the
/// second they prepare their statements.
pub(crate) fn run(
    postgres: &Postgres,
    url: &str,
    script: &Path,
    variables: &[(&str, &str)],
    length: Duration,
) -> Outcome<Ran> {
    let seconds = length.as_secs_f64().ceil() as usize;
    let mut command = Command::new(postgres.pgbench()?);
    command.args(["--no-vacuum", "--protocol=prepared", "--jobs=1", "--progress=1"]);
    command.arg(format!("--client={CONNECTIONS}")).arg(format!("--time={LONG}"));
    command.arg("--file").arg(script);
    for (name, value) in variables {
        command.arg(format!("--define={name}={value}"));
    }
    // Nothing of the caller's PostgreSQL, such as PGOPTIONS, gets mixed in.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PG")) {
        command.env_remove(name);
    }
    // Not as an argument, where other users would see it.
    let mut url = Url::parse(url)?;
    command.env("PGPASSWORD", url.password().unwrap_or_default());
    url.set_password(None).map_err(|()| "the URL of PostgreSQL has another form")?;
    command
        .arg(url.as_str())
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let ran = watch(&mut child, postgres, seconds);
    drop(child.kill());
    child.wait()?;
    // That its connections end is not to count for what comes next.
    postgres.wait_for_end_of("pgbench")?;
    ran
}

fn watch(child: &mut Child, postgres: &Postgres, seconds: usize) -> Outcome<Ran> {
    let process = child.id();
    let used = || -> Outcome<Used> {
        Ok(Used { postgres: postgres.cpu_time()?, pgbench: machine::cpu_time(process)? })
    };
    let out = child.stderr.take().ok_or("pgbench has no output")?;
    let mut begin = None;
    let (mut last, mut times) = (0.0, 0.0);
    for (n, line) in BufReader::new(out).lines().enumerate() {
        let line = line?;
        // It says nothing else unless something is wrong.
        let (at, rate) = progress(&line).ok_or_else(|| format!("pgbench says {line}"))?;
        if let Some((since, before)) = &begin {
            times += rate * (at - last);
            if n == WARM_UP + seconds - 1 {
                if times == 0.0 {
                    return Err("pgbench did nothing in that time: other processes had the cores".into());
                }
                let used = used()?;
                let Used { postgres, pgbench } = before;
                return Ok(Ran {
                    took: Duration::try_from_secs_f64(at - since)?,
                    times,
                    postgres: used.postgres.saturating_sub(*postgres),
                    pgbench: used.pgbench.saturating_sub(*pgbench),
                });
            }
        } else if n == WARM_UP - 1 {
            begin = Some((at, used()?));
        }
        last = at;
    }
    Err("pgbench ended too early".into())
}

/// `progress: 2.0 s, 5023.1 tps, lat 12.7 ms …`: when, and how many a second since the line before.
fn progress(line: &str) -> Option<(f64, f64)> {
    let (at, rest) = line.strip_prefix("progress: ")?.split_once(" s, ")?;
    let (rate, _) = rest.split_once(" tps")?;
    Some((at.parse().ok()?, rate.parse().ok()?))
}
