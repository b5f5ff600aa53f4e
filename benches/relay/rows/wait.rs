//! Checks that wait: what one more takes of the relay's memory, its connection included.

use std::{thread::sleep, time::Duration};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{
    Outcome,
    figures::number,
    lab::Lab,
    load::{Client, now},
    report::{Found, Line, Mark},
    requests::Template,
    scripts::About,
};

/// Descriptors beside those of the connections.
pub(super) const OTHERS: u64 = 512;

/// How long the relay has to take them all.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn measure(lab: &Lab) -> Outcome<Found> {
    let count = lab.extent.waiters;
    allow_connections(count as u64 + OTHERS)?;
    let relay = lab.relay("wait.db", &["--max-wait", "300s"])?;
    let (wait, check) = (&Template::wait(0, 300), &Template::check(0));
    let boxes = &lab.boxes(count);
    let script = |template| About {
        template,
        boxes,
        next: 0,
        again: false,
        messages: false,
        expect: r#""found":false"#,
    };
    // What the first requests leave behind is no waiter's.
    let mut first = Client::connect(&relay, 64)?;
    first.run(&relay, &mut script(check), crate::load::Pace::Closed, lab.extent.length)?;
    drop(first);
    let before = relay.memory()?;

    let mut client = Client::connect(&relay, count)?;
    client.ask(&mut script(wait))?;
    let start = now();
    while relay.metric("connectoid_waiters")? < count as f64 {
        if now() - start > PATIENCE {
            return Err("not all checks wait".into());
        }
        sleep(Duration::from_millis(100));
    }
    let after = relay.memory()?;
    let figures = format!(
        "{} waiters, private memory from {} to {} MB",
        number(count as f64),
        number(before.private / 1e6),
        number(after.private / 1e6),
    );
    Ok(Found::line(Line {
        part: "a check that waits",
        against: "",
        value: (after.private - before.private) / count as f64 / 1e3,
        unit: "kB",
        mark: Mark::at_most(30.0, 8.0),
        figures,
        disturbed: false,
    }))
}

/// Has this process, and the relay that it starts, open so many files.
pub(super) fn allow_connections(needed: u64) -> Outcome<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    if maximum.is_some_and(|maximum| maximum < needed) {
        return Err(
            format!("this needs {needed} open files: ulimit -n {needed}, as root where it must be").into()
        );
    }
    Ok(setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum })?)
}
