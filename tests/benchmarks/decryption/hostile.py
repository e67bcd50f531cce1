"""Measures what hostile key logs cost: a capture read with its right log, and with the same log among fifteen
megabytes of others' secrets, repeated randoms, endless lines, blanks and zeros; and with logs of which all is wrong, or
all but the secrets of the handshakes.

    python -m tests.benchmarks.decryption.make FOLDER [MEGABYTES]
    python -m tests.benchmarks.decryption.hostile FOLDER [--rounds 3]

Prints for each the CPU time as a multiple of that with the right log alone, of the same run. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from audit.sources import Wanted, read

SIZE = 15_000_000
"""Bytes of each hostile log, of the 16 MB that are read at most."""


def logs(right: bytes) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the logs; those that are long have the right lines at their end."""
    chance = random.Random(5)
    lines = [line.split() for line in right.splitlines() if line[:1] != b"#"]
    label, of, secret = lines[0]
    count = SIZE // len(b" ".join(lines[0]))

    def some(size: int) -> bytes:
        return chance.randbytes(size).hex().encode()

    yield "right", right
    half = len(secret) // 2
    yield (
        "one random, many secrets",
        b"".join(b"%s %s %s\n" % (label, of, some(half)) for _ in range(count)) + right,
    )
    yield (
        "others' secrets",
        b"".join(b"%s %s %s\n" % (label, some(32), some(half)) for _ in range(count)) + right,
    )
    yield (
        "three wrong ones for each",
        b"".join(
            b"%s %s %s\n" % (label, of, some(len(secret) // 2))
            for label, of, secret in lines
            for _ in range(3)
        )
        + right,
    )
    for name, kept in (("all wrong", b"-"), ("all but the handshakes wrong", b"HANDSHAKE")):
        yield (
            name,
            b"".join(
                b"%s %s %s\n" % (label, of, secret if kept in label else some(len(secret) // 2))
                for label, of, secret in lines
                for _ in range(4)
            ),
        )
    yield "newlines", b"\n" * SIZE + right
    yield "one line", b"CLIENT_RANDOM " + b"a" * SIZE + b"\n" + right
    yield "zeros", bytes(SIZE) + b"\n" + right
    yield "blanks", (b" " * 4_000 + b"\n") * (SIZE // 4_001) + right
    yield "labels", b"CLIENT_RANDOM " * (SIZE // 14) + b"\n" + right


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    capture = given.folder / "capture.pcap"
    least: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="hostile-") as scratch:
        path = Path(scratch) / "keys.log"
        for _ in range(given.rounds):
            for name, text in logs((given.folder / "keys.log").read_bytes()):
                path.write_bytes(text)
                started = time.process_time()
                found = sum(
                    1
                    for _ in read(capture, "capture", Wanted(frozenset({"http"}), keys=(path,), bodies=True))
                )
                spent = time.process_time() - started
                least[name] = min(spent, least.get(name, spent))
                print(f"{name:28} {len(text) / 1e6:6.1f} MB {spent:6.2f} s cpu, {found} requests")
    for name, spent in least.items():
        print(f"{name:28} {spent / least['right']:5.2f} times the right log")


if __name__ == "__main__":
    main()
