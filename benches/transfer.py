#!/usr/bin/env python3
"""How long does a file take from one program to another on this machine: scp, magic-wormhole, connectoid?

Makes a file of random bytes and sends it over loopback, --rounds times by each, in turn and each time beginning with
another, so that what else the machine does meets them all. A transfer counts from the start of the command that
completes the pair (scp; wormhole receive; connectoid connect) until both programs ended; what arrived is
hashed, outside of that time. The last column compares the medians with scp's.

scp uses an sshd of its own with throw-away keys (Debian: openssh-server, openssh-client), wormhole its own mailbox and
transit servers, installed from PyPI into the directory of this run, or once and for all into --wormhole DIR. It must
connect directly. Needs Python 3 with venv, and about three times the file's size under --dir.

    cargo build --release && benches/transfer.py
    benches/transfer.py --bytes 100000000 --rounds 1 --only scp,connectoid
"""

import argparse
import getpass
import hashlib
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import time

from pair import PROGRAM, Failed, Place, environment, machine, need_commands, run

WORMHOLE = ["magic-wormhole==0.24.0", "magic-wormhole-mailbox-server==0.8.0", "magic-wormhole-transit-relay==0.5.0"]
PIECE = 1 << 20


class Scp:
    """sshd on a port of loopback, and scp to it."""

    def __init__(self, place, options):
        self.folder = place.folder("ssh")
        self.user = getpass.getuser()
        sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
        if not sshd or not shutil.which("scp"):
            raise Failed("scp or sshd is missing: install it (Debian: apt-get install openssh-client openssh-server)")
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)  # sshd insists
        for key in ("host", "user"):
            make_key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / key]
            subprocess.run(make_key, check=True)
        shutil.copy(self.folder / "user.pub", self.folder / "authorized_keys")
        self.port = free_port()
        config = [
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {self.folder}/host",
            f"AuthorizedKeysFile {self.folder}/authorized_keys",
            "StrictModes no",
            "UsePAM no",
            "PasswordAuthentication no",
            "PermitRootLogin prohibit-password",
            "PidFile none",
            "Subsystem sftp internal-sftp",
        ]
        (self.folder / "config").write_text("\n".join(config) + "\n", encoding="utf-8")
        server = place.start([sshd, "-D", "-e", "-f", self.folder / "config"])
        server.line(lambda line: line.startswith("Server listening on 127.0.0.1"), "err")

    def transfer(self, place, source, into, patience):
        command = ["scp", "-q", "-F", "none", "-P", str(self.port), "-i", self.folder / "user"]
        for option in ["IdentitiesOnly=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes"]:
            command += ["-o", option]
        begun = time.monotonic()
        place.start([*command, source, f"{self.user}@127.0.0.1:{into}/"]).ends(patience)
        return time.monotonic() - begun


class Wormhole:
    """magic-wormhole with its own mailbox and transit servers."""

    def __init__(self, place, options):
        venv = pathlib.Path(options.wormhole) if options.wormhole else place.path / "venv"
        if not (venv / "bin/wormhole").exists():
            print("installing magic-wormhole", file=sys.stderr)
            subprocess.run([sys.executable, "-m", "venv", venv], check=True)
            pip = [venv / "bin/python", "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
            subprocess.run([*pip, *WORMHOLE], check=True)
        home = place.folder("wormhole")
        self.environment = {**environment(home), "PATH": f"{venv}/bin:{os.environ['PATH']}"}
        self.mailbox = self.serve(place, "wormhole-mailbox", home)
        self.transit = self.serve(place, "transitrelay", home)

    def serve(self, place, plugin, home):
        port = free_port()
        command = ["twist", plugin, f"--port=tcp:{port}:interface=127.0.0.1"]
        server = place.start(command, env=self.environment, cwd=home)
        server.line(lambda line: f"starting on {port}" in line)
        return port

    def transfer(self, place, source, into, patience):
        command = ["wormhole", f"--relay-url=ws://127.0.0.1:{self.mailbox}/v1"]
        command.append(f"--transit-helper=tcp:127.0.0.1:{self.transit}")
        send = place.start([*command, "send", "--hide-progress", "--no-qr", source], env=self.environment)
        code = send.line(lambda line: line.startswith("Wormhole code is: "), "err").rsplit(" ", 1)[1]
        begun = time.monotonic()
        take = [*command, "receive", "--hide-progress", "--accept-file", "-o", into, code]
        receive = place.start(take, env=self.environment)
        receive.ends(patience)
        send.ends(patience)
        took = time.monotonic() - begun
        # It says "Sending (->tcp:127.0.0.1:40001).." or "Sending (->relay:tcp:127.0.0.1:4001)..".
        way = send.line(lambda line: line.startswith("Sending ("), "err")
        if "relay" in way:
            raise Failed(f"wormhole did not connect directly: {way}")
        return took


class Connectoid:
    """connectoid share and connect, through a relay on SQLite."""

    def __init__(self, place, options):
        self.program = options.program
        need_commands(self.program, "share", "connect")
        self.relay = place.relay(self.program)
        self.times = 0

    def transfer(self, place, source, into, patience):
        self.times += 1
        alice, bob = (environment(place.folder(f"{name}-{self.times}")) for name in ("alice", "bob"))
        share = [self.program, "share", "--for", "Bob", "--relay", self.relay, "--file", source]
        share = place.start(share, env=alice)
        link = share.line()
        begun = time.monotonic()
        connect = place.start([self.program, "connect", link, "--for", "Alice", "--into", into], env=bob)
        connect.ends(patience)
        share.ends(patience)
        return time.monotonic() - begun


WAYS = {"scp": Scp, "wormhole": Wormhole, "connectoid": Connectoid}


def main():
    options = arguments()
    print(machine())
    with Place(options.dir) as place:
        source = place.path / "file"
        expected = make_file(source, options.bytes)
        ways = [(name, WAYS[name](place, options)) for name in options.only]
        times = {name: [] for name in options.only}
        for round_number in range(options.rounds):
            begin = round_number % len(ways)
            for name, way in ways[begin:] + ways[:begin]:
                into = place.folder(f"into-{name}")
                os.sync()  # what the one before wrote is not this one's work
                took = way.transfer(place, source, into, options.patience)
                if hash_of(into / "file") != expected:
                    raise Failed(f"{name}: what arrived is not what was sent")
                shutil.rmtree(into)
                times[name].append(took)
                print(f"round {round_number + 1}: {name} {took:.2f} s", file=sys.stderr)
    report(times, options)


def report(times, options):
    medians = {name: statistics.median(seen) for name, seen in times.items()}
    print(f"{options.bytes:,} bytes, median of {options.rounds}\n")
    print("| | seconds | MB/s | times scp's | rounds |")
    print("|---|---|---|---|---|")
    for name, median in medians.items():
        ratio = f"{median / medians['scp']:.2f}" if "scp" in medians else ""
        rounds = ", ".join(f"{took:.2f}" for took in times[name])
        print(f"| {name} | {median:.2f} | {options.bytes / median / 1e6:.0f} | {ratio} | {rounds} |")


def make_file(path, size):
    """Writes random bytes: the hash of them."""
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        while size > 0:
            piece = os.urandom(min(PIECE, size))
            file.write(piece)
            digest.update(piece)
            size -= len(piece)
    return digest.digest()


def hash_of(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def free_port():
    """A port of loopback that nobody has at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bytes", type=int, default=1_000_000_000, help="the size of the file")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default=",".join(WAYS), help="some of scp,wormhole,connectoid")
    parser.add_argument("--program", default=PROGRAM, help="the connectoid to use (default: %(default)s)")
    parser.add_argument("--wormhole", metavar="DIR", help="the Python environment of magic-wormhole; made if need be")
    parser.add_argument("--dir", help="where the files are written (default: the system's temporary directory)")
    parser.add_argument("--patience", type=float, default=300, help="the seconds that one transfer may take")
    options = parser.parse_args()
    options.only = options.only.split(",")
    unknown = [name for name in options.only if name not in WAYS]
    if unknown or options.bytes < 1 or options.rounds < 1:
        parser.error(f"--only takes some of {','.join(WAYS)}, --bytes and --rounds are at least 1")
    return options


if __name__ == "__main__":
    run(main)
