//! What the machine says of a relay: descriptors, memory and time of its process, under the names that Prometheus' own
//! libraries give them; the database's file and its disk.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use prometheus::{Counter, Gauge, IntGauge, IntGaugeVec, Opts, Registry};
use rustix::{
    fs::statvfs,
    param::{clock_ticks_per_second, page_size},
    process::{Resource, getrlimit},
};

use super::{gauge, known, opts};

/// One entry for each descriptor that is open.
const DESCRIPTORS: &str = "/proc/self/fd";

/// `proc_pid_stat(5)`.
const STAT: &str = "/proc/self/stat";

/// When it started, in seconds of Unix time.
pub(super) fn started(registry: &Registry, at: f64) -> Result<(), prometheus::Error> {
    let opts = Opts::new("process_start_time_seconds", "When the relay started, Unix time");
    known(registry, Gauge::with_opts(opts)).map(|gauge| gauge.set(at))
}

/// This process, on Linux.
pub(super) struct Process {
    open: IntGauge,
    most: Gauge,
    resident: IntGauge,
    cpu: Counter,
}

impl Process {
    /// None where the system does not say.
    pub(super) fn watched(registry: &Registry) -> Result<Option<Self>, prometheus::Error> {
        if Stat::read().is_none() {
            return Ok(None);
        }
        let r = registry;
        Ok(Some(Self {
            open: known(r, IntGauge::new("process_open_fds", "File descriptors that are open"))?,
            most: known(r, Gauge::new("process_max_fds", "File descriptors that may be open"))?,
            resident: known(r, IntGauge::new("process_resident_memory_bytes", "Memory that is resident"))?,
            cpu: known(
                r,
                Counter::new("process_cpu_seconds_total", "Time of cores, the kernel's for it too"),
            )?,
        }))
    }

    pub(super) fn look(&self) {
        if let Some(open) = open_descriptors() {
            self.open.set(whole(open));
        }
        self.most.set(getrlimit(Resource::Nofile).current.map_or(f64::INFINITY, |most| most as f64));
        if let Some(stat) = Stat::read() {
            self.resident.set(whole(stat.pages.saturating_mul(page_size() as u64)));
            // Two may look at once.
            self.cpu.inc_by((stat.ticks as f64 / clock_ticks_per_second() as f64 - self.cpu.get()).max(0.0));
        }
    }
}

struct Stat {
    /// Of a core, in the program and in the kernel.
    ticks: u64,
    /// That are resident.
    pages: u64,
}

impl Stat {
    fn read() -> Option<Self> {
        let text = fs::read_to_string(STAT).ok()?;
        // The second field, the program's name, may hold anything. `utime`, `stime` and `rss` are fields 14, 15 and 24.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self { ticks: field(14)?.saturating_add(field(15)?), pages: field(24)? })
    }
}

/// A database in a file.
pub(super) struct Disk {
    file: PathBuf,
    log: PathBuf,
    bytes: IntGaugeVec,
    free: IntGauge,
    all: IntGauge,
}

impl Disk {
    pub(super) fn of(registry: &Registry, file: PathBuf) -> Result<Self, prometheus::Error> {
        let r = registry;
        let bytes = opts(
            "database_bytes",
            "Bytes of the database on SQLite, by file: main or log (the write-ahead log)",
        );
        // SQLite keeps the log beside the file itself, whatever symbolic link leads there.
        let file = fs::canonicalize(&file).unwrap_or(file);
        let mut log = OsString::from(&file);
        log.push("-wal");
        Ok(Self {
            file,
            log: log.into(),
            bytes: known(r, IntGaugeVec::new(bytes, &["file"]))?,
            free: gauge(r, "disk_free_bytes", "Bytes that the relay may still write to its database's disk")?,
            all: gauge(r, "disk_bytes", "Bytes of the disk that the relay's database on SQLite is on")?,
        })
    }

    pub(super) fn look(&self) {
        for (name, path) in [("main", &self.file), ("log", &self.log)] {
            let bytes = fs::metadata(path).map_or(0, |metadata| metadata.len());
            self.bytes.with_label_values(&[name]).set(whole(bytes));
        }
        if let Ok(disk) = statvfs(self.file.parent().unwrap_or(Path::new("/"))) {
            self.free.set(whole(disk.f_bavail.saturating_mul(disk.f_frsize)));
            self.all.set(whole(disk.f_blocks.saturating_mul(disk.f_frsize)));
        }
    }
}

/// How many descriptors are open: since Linux 6.2 that is the length of their folder, which is 0 before. To read the folder takes
/// a microsecond for each.
fn open_descriptors() -> Option<u64> {
    match fs::metadata(DESCRIPTORS).ok()?.len() {
        // Without the one that reads.
        0 => Some((fs::read_dir(DESCRIPTORS).ok()?.count() as u64).saturating_sub(1)),
        open => Some(open),
    }
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
