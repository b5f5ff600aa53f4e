"""What the benchmarks of two programs on this machine share: a place, processes that end with it, a relay, the machine.

Not a program of its own: transfer.py and connect.py beside it use it.
"""

import contextlib
import os
import pathlib
import platform
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time

PROGRAM = pathlib.Path(__file__).parent.parent / "target/release/connectoid"


class Failed(Exception):
    """What a person should do about it, in one line."""


class Process:
    """A program whose lines can be waited for, with its own end as the limit; killed with the place."""

    def __init__(self, command, **options):
        self.name = " ".join(str(part) for part in command[:2])
        options = {"stdin": subprocess.DEVNULL, **options}
        try:
            self.child = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", **options
            )
        except FileNotFoundError:
            raise Failed(f"there is no {command[0]}") from None
        self.lines = {"out": queue.Queue(), "err": queue.Queue()}
        self.said = []
        for name, stream in [("out", self.child.stdout), ("err", self.child.stderr)]:
            threading.Thread(target=self._read, args=(name, stream), daemon=True).start()

    def _read(self, name, stream):
        for line in stream:
            self.said.append(line.rstrip())
            self.lines[name].put(line.rstrip())
        self.lines[name].put(None)

    def line(self, matches=lambda line: True, stream="out", patience=60):
        """The next line that matches, of standard output or error."""
        until = time.monotonic() + patience
        while True:
            try:
                line = self.lines[stream].get(timeout=max(0, until - time.monotonic()))
            except queue.Empty:
                raise Failed(f"{self.name} says nothing more after {patience} s: {self.last_words()}") from None
            if line is None:
                raise Failed(f"{self.name} ended: {self.last_words()}")
            if matches(line):
                return line

    def ends(self, patience):
        """Waits for its end, which must be a good one."""
        try:
            code = self.child.wait(patience)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.name} takes longer than {patience:.0f} s: {self.last_words()}") from None
        if code != 0:
            raise Failed(f"{self.name} ended with {code}: {self.last_words()}")

    def last_words(self):
        return " / ".join(self.said[-5:])

    def stop(self):
        self.child.terminate()
        try:
            self.child.wait(5)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()


class Place(contextlib.ExitStack):
    """A directory for one run. What was started in it ends with it."""

    def __init__(self, directory=None):
        super().__init__()
        self.path = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory("-bench", "connectoid-", directory)))
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    def start(self, command, **options):
        process = Process(command, **options)
        self.callback(process.stop)
        return process

    def folder(self, name):
        path = self.path / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def relay(self, program):
        """Starts a relay on SQLite, without rates: its URL."""
        database = f"sqlite://{self.path}/relay.db"
        command = [program, "serve", "--listen", "127.0.0.1:0", "--database", database, "--no-limits"]
        return self.start(command, env=environment(self.folder("relay"))).line()


def environment(home):
    """The environment of a person with this home folder; none of one's own settings are in it."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "TMPDIR")}
    return {**kept, "HOME": str(home)}


def need_commands(program, *commands):
    """Fails unless the program is built and has these commands."""
    if not pathlib.Path(program).is_file():
        raise Failed(f"there is no {program}: cargo build --release, or name another with --program")
    for command in commands:
        help_text = subprocess.run([program, command, "--help"], capture_output=True, check=False)
        if help_text.returncode != 0:
            raise Failed(f"{program} has no command {command}: build a newer one")


def machine():
    """What the figures were seen on, in one line."""
    model = platform.machine()
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as facts:
        names = [line.split(":", 1)[1].strip() for line in facts if line.startswith("model name")]
        model = names[0] if names else model
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} × {model}, {platform.system()} {platform.release()}, load {load:.1f} at the start"


def run(main):
    """Runs a benchmark's main, and says in one line why it failed."""
    try:
        main()
    except Failed as failed:
        sys.exit(f"{pathlib.Path(sys.argv[0]).name}: {failed}")
