//! A server that is measured, as a process of its own on the server's core.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    Outcome,
    barest::{self, Storage},
    constant,
    load::{PATIENCE, now},
    machine::{self, Cores, Memory},
};

/// The URL that the relay is told is its own.
pub(crate) const RELAY: &str = "https://relay.example";

/// The limiter stays on and counts every request, with rates that no source here reaches: 16,667 a second, where each
/// connection is a source and a network of its own. Room for all that a long run sends, and time for connections that
/// are idle while others have their turn.
const ROOM: [&str; 14] = [
    "--head-timeout",
    "1h",
    "--idle-timeout",
    "1h",
    "--max-bytes",
    "64GiB",
    "--limit-send",
    "1000000:1000000",
    "--limit-send-to-box",
    "1000000:1000000",
    "--limit-check",
    "1000000:1000000",
    "--limit-receive",
    "1000000:1000000",
];

/// A server that runs; killed when it is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// The relay as it is shipped, but for [`ROOM`] and these options, on the database with this URL. `command` starts the
    /// program. On the server's core, or without
    /// one on this program's.
    pub(crate) fn relay(
        command: Command,
        cores: Option<Cores>,
        database: &str,
        log: &Path,
        options: &[&str],
    ) -> Outcome<Self> {
        let mut command = Self::relay_command(command, "127.0.0.1:0", database);
        command.args(options).stderr(File::create(log)?);
        Self::start(command, cores)
    }

    /// What starts the relay.
    pub(crate) fn relay_command(mut command: Command, listen: &str, database: &str) -> Command {
        command.args(["serve", "--listen", listen, "--url", RELAY]).args(ROOM);
        // Not as an option, where other users would see a password.
        command.env_clear().env("CONNECTOID_DATABASE", database);
        command
    }

    /// Any server that listens at this address soon after it has started; what it says goes into a file.
    pub(crate) fn listening(
        mut command: Command,
        cores: Cores,
        address: SocketAddr,
        log: &Path,
    ) -> Outcome<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let log_file = File::options().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(log_file.try_clone()?).stderr(log_file);
        let child = cores.on_servers(|| command.spawn())?.map_err(|error| format!("{name}: {error}"))?;
        let mut server = Self { child, address };
        let start = now();
        while TcpStream::connect(address).is_err() {
            if now() - start > PATIENCE || server.child.try_wait()?.is_some() {
                let said = std::fs::read_to_string(log)?;
                return Err(format!("{name} did not start; it said:\n{said}").into());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }

    /// The server that answers every request with `reply`.
    pub(crate) fn constant(cores: Cores, reply: &str) -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([constant::COMMAND, reply]);
        Self::start(command, Some(cores))
    }

    /// The server that does nothing but store, in this file.
    pub(crate) fn barest(cores: Cores, storage: Storage, file: &Path) -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([barest::COMMAND, &storage.name()]).arg(file);
        Self::start(command, Some(cores))
    }

    fn start(mut command: Command, cores: Option<Cores>) -> Outcome<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let child = match cores {
            Some(cores) => cores.on_servers(|| command.spawn())?,
            None => command.spawn(),
        };
        let mut child = child.map_err(|error| format!("{name}: {error}"))?;
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        let address = line.trim().strip_prefix("http://").and_then(|address| address.parse().ok());
        let Some(address) = address else {
            drop(child.kill());
            child.wait()?;
            return Err(format!("{name} did not start").into());
        };
        Ok(Self { child, address })
    }

    /// The time of its core that it used so far.
    pub(crate) fn cpu_time(&self) -> Outcome<Duration> {
        machine::cpu_time(self.child.id())
    }

    /// That of the threads it has, to the nanosecond.
    pub(crate) fn cpu_time_of_threads(&self) -> Outcome<Duration> {
        machine::cpu_time_of_threads(self.child.id())
    }

    /// What it has in memory now.
    pub(crate) fn memory(&self) -> Outcome<Memory> {
        machine::memory(self.child.id())
    }

    /// The metric of this name, without labels.
    pub(crate) fn metric(&self, name: &str) -> Outcome<f64> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: relay.example\r\nconnection: close\r\n\r\n")?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply)?;
        let value = reply.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(value.ok_or_else(|| format!("the relay has no metric {name}"))?.parse()?)
    }

    /// Ends it at once, as a crash would.
    pub(crate) fn kill(&self) -> Outcome<()> {
        Ok(kill_process(Pid::from_child(&self.child), Signal::KILL)?)
    }

    /// Has the server end that this process started, as strace does, and waits for both.
    pub(crate) fn end_traced(mut self) -> Outcome<()> {
        for traced in self.children() {
            kill_process(traced, Signal::TERM)?;
        }
        let start = now();
        while self.child.try_wait()?.is_none() {
            if now() - start > PATIENCE {
                return Err("the server did not end when it was told to".into());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// The processes that it started itself.
    fn children(&self) -> Vec<Pid> {
        let own = self.child.id();
        let children =
            std::fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap_or_default();
        children.split_whitespace().filter_map(|child| Pid::from_raw(child.parse().ok()?)).collect()
    }

    /// Has it end as an operator would: the database's log is folded into its file.
    pub(crate) fn stop(mut self) -> Outcome<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(format!("the relay ended with {status}").into()) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // strace would leave behind what it traces.
        for child in self.children() {
            _ = kill_process(child, Signal::KILL);
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
