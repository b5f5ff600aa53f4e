//! Peers are fetched into target/peers, each version once: with the clients of their registries, whose progress is shown.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{Outcome, say};

const PEERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/peers");

/// The folder of a version of a peer.
pub(crate) fn folder(name: &str, version: &str) -> PathBuf {
    Path::new(PEERS).join(format!("{name}-{version}"))
}

/// Runs these commands in that folder, unless they ran to their end before.
pub(crate) fn once(name: &str, version: &str, commands: &mut [Command]) -> Outcome<()> {
    let folder = folder(name, version);
    let complete = folder.join("complete");
    if complete.exists() {
        return Ok(());
    }
    say(&format!("{name} {version} into {} …", folder.display()));
    fs::create_dir_all(&folder)?;
    for command in commands {
        let shown = format!("{command:?}");
        let done = command.current_dir(&folder).status().map_err(|error| format!("{shown}: {error}"))?;
        if !done.success() {
            return Err(format!(
                "{name} {version} could not be fetched: {shown} ended with {done}. Its last lines say why; what is there \
                 is used by the next run. To measure without it, name the others with --only-peers"
            )
            .into());
        }
    }
    Ok(fs::write(complete, "")?)
}

/// `cargo install` of this version, with what its authors locked or with the newest that fits. Built in a folder that all
/// share.
pub(crate) fn cargo(name: &str, version: &str, locked: bool) -> Outcome<()> {
    let mut install = Command::new(tool("cargo", "Rust (https://rustup.rs)")?);
    install.args(["install", "--version", &format!("={version}"), "--root", ".", "--target-dir"]);
    install.arg(Path::new(PEERS).join("build")).args(locked.then_some("--locked")).arg(name);
    once(name, version, &mut [install])
}

/// Where the program is that such a command installed.
pub(crate) fn program(name: &str, version: &str) -> PathBuf {
    folder(name, version).join("bin").join(name)
}

/// A program of this machine.
///
/// # Errors
/// If there is none: what brings it.
pub(crate) fn tool(name: &str, brings: &str) -> Outcome<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&paths).map(|path| path.join(name)).find(|path| path.is_file());
    Ok(found.ok_or_else(|| format!("there is no {name}, which the peers need: install {brings}"))?)
}
