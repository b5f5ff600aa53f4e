"""What the checks of the kits share. Each deploy/KIT/check is a program by itself; this is no part of what is deployed."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def need(true, what):
    """Ends the check if it is not so."""
    if not true:
        sys.exit(f"{sys.argv[0]}: {what}")


def only(found, known, where):
    """That a file has no field but those that the platform's reference knows."""
    unknown = set(found) - set(known)
    need(not unknown, f"{where}: the platform knows no {', '.join(sorted(map(str, unknown)))}")


class Image:
    """What the image of deploy/container says of itself, which the kits count on."""

    def __init__(self):
        self.path = ROOT / "deploy/container/Dockerfile"
        text = self.path.read_text()
        listen = re.search(r"CONNECTOID_LISTEN=0\.0\.0\.0:(\d+)", text)
        database = re.search(r"CONNECTOID_DATABASE=sqlite://(/\S+)", text)
        need(listen and database, f"{self.path} sets no CONNECTOID_LISTEN=0.0.0.0:PORT and CONNECTOID_DATABASE=sqlite:///…")
        self.port, self.folder = int(listen[1]), str(Path(database[1]).parent)


def answered(path):
    """That the relay answers GET of this path, by openapi.yaml."""
    need(f"\n  {path}:\n" in (ROOT / "openapi.yaml").read_text(), f"the relay has no {path}; see openapi.yaml")


def size(text, units):
    """Bytes of a size as 2gb, by the units of the platform."""
    found = re.fullmatch(r"(\d+)\s*([a-zA-Z]+)", text)
    need(found and found[2] in units, f"{text} is no size in {', '.join(units)}")
    return int(found[1]) * units[found[2]]


# The file of a SQLite database with --max-bytes as it is by default (1 GiB): a fifth larger, see docs/operations.md.
DATABASE_FILE = (1 << 30) * 6 // 5
