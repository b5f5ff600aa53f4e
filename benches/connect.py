#!/usr/bin/env python3
"""How long does it take from `connectoid connect LINK` to an open channel on which both proved who they are?

Each of --runs times, Alice shares with new keys and waits; then Bob connects, with new keys too, through a relay on
SQLite and loopback. Both programs are on this machine and awake. Prints the medians, the shortest and the longest:
of `total`, the whole as the program measured it from its start to the end of the proof, of its parts, and of `seen`,
the same seen from outside: from before the start of the process until its line with the figures was read.

With --timing, `connectoid connect` writes one line of JSON to standard error when the channel is proven, in milliseconds:

    {"relay_ms":…,"ice_ms":…,"dtls_ms":…,"proof_ms":…,"total_ms":…}

relay: until both descriptions were exchanged by messages; ice: until a pair of addresses works; dtls: until the data
channel is open; proof: until both proofs were checked. Nothing is counted twice, and what lies between counts with
the part that comes after it, so that the four make up the total.

    cargo build --release && benches/connect.py
"""

import argparse
import json
import statistics
import time

from pair import PROGRAM, Failed, Place, environment, machine, need_commands, run

PARTS = ["relay_ms", "ice_ms", "dtls_ms", "proof_ms"]


def main():
    options = arguments()
    need_commands(options.program, "share", "connect")
    print(machine())
    with Place() as place:
        relay = place.relay(options.program)
        runs = [connect(place, options, relay, number) for number in range(options.runs)]
    report(runs)


def connect(place, options, relay, number):
    """One connection between two people who never met: what it took, in milliseconds by name."""
    alice, bob = (environment(place.folder(f"{name}-{number}")) for name in ("alice", "bob"))
    share = place.start([options.program, "share", "--for", "Bob", "--relay", relay], env=alice)
    link = share.line()
    begun = time.monotonic()
    bobs = place.start([options.program, "connect", link, "--for", "Alice", "--timing"], env=bob)
    line = bobs.line(lambda line: line.startswith('{') and '"relay_ms":' in line, "err", options.patience)
    seen = (time.monotonic() - begun) * 1000
    for process in (bobs, share):
        process.stop()
    timing = json.loads(line)
    if sorted(timing) != sorted([*PARTS, "total_ms"]):
        raise Failed(f"not the figures that this script knows: {line}")
    parts = sum(timing[part] for part in PARTS)
    if abs(parts - timing["total_ms"]) > 0.01 * timing["total_ms"] + len(PARTS):
        raise Failed(f"the parts do not make up the total: {line}")
    return {**timing, "seen_ms": seen}


def report(runs):
    print(f"milliseconds, of {len(runs)} runs\n")
    print("| | median | shortest | longest |")
    print("|---|---|---|---|")
    for part in [*PARTS, "total_ms", "seen_ms"]:
        figures = [figures[part] for figures in runs]
        row = [statistics.median(figures), min(figures), max(figures)]
        print(f"| {part.removesuffix('_ms')} | " + " | ".join(f"{figure:.1f}" for figure in row) + " |")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--program", default=PROGRAM, help="the connectoid to use (default: %(default)s)")
    parser.add_argument("--patience", type=float, default=30, help="the seconds that one connection may take")
    options = parser.parse_args()
    if options.runs < 1:
        parser.error("--runs is at least 1")
    return options


if __name__ == "__main__":
    run(main)
