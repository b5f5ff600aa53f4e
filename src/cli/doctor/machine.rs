//! What the machine gives a relay: descriptors, and the file system of its database.

use std::{fs, io::ErrorKind, os::unix::fs::MetadataExt as _, path::Path};

use rustix::{
    fs::{statfs, statvfs},
    process::{Resource, getrlimit},
};

use super::{Findings, bytes};
use crate::cli::serve::{DESCRIPTORS, OTHER_DESCRIPTORS};

/// The limits of open files.
pub(super) struct OpenFiles {
    soft: u64,
    hard: u64,
}

impl OpenFiles {
    pub(super) fn of_this_process() -> Self {
        let limit = getrlimit(Resource::Nofile);
        Self { soft: limit.current.unwrap_or(u64::MAX), hard: limit.maximum.unwrap_or(u64::MAX) }
    }
}

/// Whether there are descriptors for so many connections. The relay raises the soft limit by itself.
pub(super) fn open_files(limits: &OpenFiles, connections: usize, findings: &mut Findings) {
    const CHECK: &str = "open files";
    let said = |limit: u64| if limit == u64::MAX { "unlimited".to_owned() } else { limit.to_string() };
    let found = format!("soft limit {}, hard limit {} here", said(limits.soft), said(limits.hard));
    let needed = (connections as u64).saturating_add(OTHER_DESCRIPTORS as u64);
    let have = limits.hard.min(DESCRIPTORS);
    let change = format!(
        "Raise it to {} where the relay is started (ulimit -Hn, or LimitNOFILE= in its systemd unit), or lower --max-connections",
        needed.min(DESCRIPTORS)
    );
    if have >= needed {
        findings.ok(CHECK, format!("{found}, enough for --max-connections {connections}"));
    } else if have >= 2 * OTHER_DESCRIPTORS as u64 {
        findings.warn(CHECK, format!("{found}, too few for --max-connections {connections}"), change);
    } else {
        findings.bad(CHECK, format!("{found}, hardly enough for a database"), change);
    }
}

/// Who may read and change a file, if it is there, and its folder.
pub(super) fn permissions(path: &Path, findings: &mut Findings) {
    const CHECK: &str = "permissions";
    let folder = path.parent().unwrap_or(Path::new("/"));
    let shown = path.display();
    match fs::metadata(path) {
        Ok(metadata) if metadata.mode() & 0o077 != 0 => {
            let mode = metadata.mode() & 0o777;
            let found = format!("{shown} has mode {mode:o}: others than its user may open it");
            let change =
                format!("chmod 600 {shown}*: it holds the secret that all answers are verified with");
            let level = if mode & 0o007 == 0 { Findings::warn } else { Findings::bad };
            return level(findings, CHECK, found, change);
        }
        Err(error) if error.kind() == ErrorKind::NotFound => return,
        _ => {}
    }
    match fs::metadata(folder) {
        // Where the sticky bit is set, as on /tmp, others may add files but not replace ours.
        Ok(metadata) if metadata.mode() & 0o022 != 0 && metadata.mode() & 0o1000 == 0 => {
            let (folder, mode) = (folder.display(), metadata.mode() & 0o777);
            findings.bad(
                CHECK,
                format!("{folder} has mode {mode:o}: others than its user may replace the database"),
                format!("chmod go-w {folder}"),
            );
        }
        Ok(_) => findings.ok(CHECK, format!("{shown} is for its user alone")),
        Err(error) => findings.bad(
            CHECK,
            format!("{} cannot be looked at: {error}", folder.display()),
            "Run this as the relay's user",
        ),
    }
}

/// File systems that are known for something, by `f_type` (statfs(2)).
const NETWORK: [(u32, &str); 8] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x0102_1997, "9p"),
    (0x00c3_6400, "Ceph"),
    (0x5346_414f, "AFS"),
    (0x7375_7245, "Coda"),
];

const FUSE: u32 = 0x6573_5546;

/// Whether SQLite's log works where the file is.
pub(super) fn file_system(folder: &Path, findings: &mut Findings) {
    const CHECK: &str = "file system";
    let shown = folder.display();
    let kind = match statfs(folder) {
        // Its width differs between machines; the magic numbers have 32 bits.
        #[allow(clippy::unnecessary_cast, reason = "not on every machine")]
        Ok(stat) => (stat.f_type as i64 & 0xffff_ffff) as u32,
        Err(error) => {
            return findings.warn(
                CHECK,
                format!("that of {shown} cannot be looked at: {error}"),
                "Run this as the relay's user",
            );
        }
    };
    if let Some((_, name)) = NETWORK.iter().find(|(known, _)| *known == kind) {
        findings.bad(
            CHECK,
            format!("{shown} is on {name}, over which SQLite's log and locks do not work"),
            "Keep the database on a local disk, or use PostgreSQL",
        );
    } else if kind == FUSE {
        findings.warn(
            CHECK,
            format!("{shown} is on FUSE, which may stand for anything"),
            "Keep the database on a local disk, unless you know that this one locks and syncs",
        );
    } else {
        findings.ok(CHECK, format!("{shown} is on no network file system"));
    }
}

/// Below this a disk counts as full.
const HARDLY_ANY: u64 = 64 << 20;

/// Whether the disk holds what all boxes may. Messages take about a fifth more there than they have bytes.
pub(super) fn disk(path: &Path, max_bytes: Option<u64>, findings: &mut Findings) {
    const CHECK: &str = "disk";
    let folder = path.parent().unwrap_or(Path::new("/"));
    let stat = match statvfs(folder) {
        Ok(stat) => stat,
        Err(error) => {
            return findings.warn(
                CHECK,
                format!("that of {} cannot be looked at: {error}", folder.display()),
                "Run this as the relay's user",
            );
        }
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let all = stat.f_blocks.saturating_mul(stat.f_frsize);
    let taken = fs::metadata(path).map_or(0, |metadata| metadata.len());
    let found = format!("{} free of {}", bytes(free), bytes(all));
    let Some(max) = max_bytes else {
        return findings.warn(
            CHECK,
            format!("{found}, and --no-limits lets boxes fill it"),
            "Leave --no-limits away if others use this relay",
        );
    };
    let needed = max.saturating_add(max / 5);
    let found_with = format!("{found}, and --max-bytes {} takes {}", bytes(max), bytes(needed));
    let fits = free.saturating_add(taken) / 6 * 5;
    let change = format!("Lower --max-bytes below {}, or give it a larger disk", bytes(fits));
    if free < HARDLY_ANY {
        findings.bad(CHECK, found, "Make room: a send is only stored where there is some");
    } else if needed > all {
        findings.bad(CHECK, found_with, change);
    } else if needed > free.saturating_add(taken) {
        findings.warn(CHECK, found_with, change);
    } else {
        findings.ok(CHECK, format!("{found}, enough for --max-bytes {}", bytes(max)));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::{super::Level, *};

    fn level(check: impl FnOnce(&mut Findings)) -> Level {
        let mut findings = Findings::default();
        check(&mut findings);
        assert_eq!(findings.0.len(), 1);
        findings.0[0].level
    }

    #[test]
    fn descriptors_for_connections() {
        let with = |hard, connections| {
            level(|findings| open_files(&OpenFiles { soft: 64, hard }, connections, findings))
        };
        assert_eq!(with(16_640, 16_384), Level::Ok, "the soft limit is raised");
        assert_eq!(with(16_639, 16_384), Level::Warn);
        assert_eq!(with(u64::MAX, 65_280), Level::Ok);
        assert_eq!(with(u64::MAX, 65_281), Level::Warn, "no more is taken");
        assert_eq!(with(511, 16_384), Level::Bad);
        assert_eq!(with(511, 100), Level::Ok);
    }

    #[test]
    fn a_file_that_is_not_there_is_nobodys() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("relay.db");
        let mut findings = Findings::default();
        permissions(&path, &mut findings);
        assert!(findings.0.is_empty());
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(level(|findings| permissions(&path, findings)), Level::Ok);
    }

    #[test]
    fn disks_without_room() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("relay.db");
        let with = |max| level(|findings| disk(&path, max, findings));
        assert_eq!(with(Some(1)), Level::Ok);
        assert_eq!(with(Some(u64::MAX)), Level::Bad);
        assert_eq!(with(None), Level::Warn);
    }
}
