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
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // After the name, which may hold anything, the third field is the first: utime and stime are the 14th and 15th.
    let (_, fields) = stat.rsplit_once(')').ok_or("/proc/PID/stat has another form")?;
    let ticks: Vec<u64> =
        fields.split_whitespace().skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    Ok(Duration::from_secs_f64(ticks.iter().sum::<u64>() as f64 / clock_ticks_per_second() as f64))
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
