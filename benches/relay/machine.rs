//! The machine: which cores the server and the client have, and what a process used of it, as Linux tells in `/proc`.

use std::{fs, time::Duration};

use rustix::{
    param::clock_ticks_per_second,
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

use crate::Outcome;

/// Two cores: one for the server that is measured, one for the client that measures.
#[derive(Clone, Copy)]
pub(crate) struct Cores {
    server: usize,
    client: usize,
}

impl Cores {
    /// The first two cores that this process may use; takes the client's.
    pub(crate) fn take() -> Outcome<Self> {
        let allowed = sched_getaffinity(None)?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        let (Some(server), Some(client)) = (cores.next(), cores.next()) else {
            return Err("this needs two cores: one for the server, one for the client".into());
        };
        pin(client)?;
        Ok(Self { server, client })
    }

    /// Does it on the server's core. A process started there stays there.
    pub(crate) fn on_servers<T>(self, work: impl FnOnce() -> T) -> Outcome<T> {
        pin(self.server)?;
        let done = work();
        pin(self.client)?;
        Ok(done)
    }
}

fn pin(core: usize) -> Outcome<()> {
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}

/// The time of the processor that a process used, its own and the kernel's for it.
pub(crate) fn cpu_time(process: u32) -> Outcome<Duration> {
    ticks(&stat(process)?, 2)
}

/// That of a process and of its children together, also of those that have ended.
pub(crate) fn cpu_time_of_family(parent: u32) -> Outcome<Duration> {
    // After its own stand those of the children that ended.
    let mut sum = ticks(&stat(parent)?, 4)?;
    for entry in fs::read_dir("/proc")? {
        let Some(process) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that has just ended has none.
        let Ok(fields) = stat(process) else { continue };
        if fields.get(1).and_then(|field| field.parse().ok()) == Some(parent) {
            sum += ticks(&fields, 2)?;
        }
    }
    Ok(sum)
}

/// The fields of `/proc/PID/stat` after the name, which may hold anything: the first is the third of all.
fn stat(process: u32) -> Outcome<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').ok_or("/proc/PID/stat has another form")?;
    Ok(fields.split_whitespace().map(str::to_owned).collect())
}

/// The sum of so many times from the 14th field on, where utime and stime are.
fn ticks(fields: &[String], count: usize) -> Outcome<Duration> {
    let ticks: Vec<u64> =
        fields.iter().skip(11).take(count).map(|field| field.parse()).collect::<Result<_, _>>()?;
    Ok(Duration::from_secs_f64(ticks.iter().sum::<u64>() as f64 / clock_ticks_per_second() as f64))
}

/// The time of the processor that the threads of a process used which it has now: to the nanosecond, for one that does
/// next to nothing.
pub(crate) fn cpu_time_of_threads(process: u32) -> Outcome<Duration> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        // One that has just ended has none.
        let Ok(schedstat) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        sum += schedstat.split_whitespace().next().unwrap_or_default().parse::<u64>()?;
    }
    Ok(Duration::from_nanos(sum))
}

/// What a process has in memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    /// All that is resident, bytes; the program's own code, which it may share with others, is in it.
    pub(crate) resident: f64,
    /// What it wrote and nobody else has, bytes.
    pub(crate) private: f64,
}

/// What a process has in memory now.
pub(crate) fn memory(process: u32) -> Outcome<Memory> {
    let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
    let field = |name: &str| -> Outcome<f64> {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib =
            line.and_then(|line| line.split_whitespace().next()).ok_or("smaps_rollup has another form")?;
        Ok(kib.parse::<f64>()? * 1024.0)
    };
    Ok(Memory { resident: field("Rss")?, private: field("Private_Dirty")? })
}

/// One line about this machine.
pub(crate) fn about() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split_once(": ")).map_or("unknown processor", |(_, model)| model);
    let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = read("/proc/sys/kernel/osrelease");
    // 6.1.0-9-amd64 says 6.1: the rest is the distribution's.
    let kernel: Vec<&str> = kernel.trim().split(['.', '-']).take(2).collect();
    format!("{cores} cores of {model}, Linux {}", kernel.join("."))
}

/// How many processes wanted a core at once, on average over the last minute: what else went on.
pub(crate) fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split_whitespace().next().unwrap_or("unknown").to_owned()
}
