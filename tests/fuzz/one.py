"""Fuzzes one target in this process until its time is over: `python -m tests.fuzz.one MODULE TARGET SECONDS SEED DIR`.

Started by `python -m tests.fuzz`. An unexpected exception is written to DIR once per kind and place, with
the input that caused it, and the fuzzing goes on; only a hang or a lack of memory ends it early.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import traceback
from pathlib import Path

import atheris

HANG = 20  # seconds for one input
MEMORY = 2048  # megabytes
LONGEST = 8192  # bytes of an input


def main(module: str, name: str, seconds: int, seed: int, found: Path) -> None:
    """Never returns: libFuzzer ends the process."""
    with atheris.instrument_imports(include=["audit"]):
        from tests.fuzz import targets

        target = targets.target(module, name)
    known: set[str] = set()

    def checked(data: bytes) -> None:
        try:
            target.run(data)
        except target.refusals:
            return
        except Exception as error:
            place = where(error)
            if place not in known:
                known.add(place)
                stem = found / f"{name}-{hashlib.sha256(place.encode()).hexdigest()[:8]}"
                stem.with_suffix(".bin").write_bytes(data)
                stem.with_suffix(".txt").write_text(
                    f"{place}\n" + "".join(traceback.format_exception(error, limit=-12))
                )

    corpus = Path(tempfile.mkdtemp(dir=found))
    for number, content in enumerate(target.seeds):
        (corpus / f"seed-{number}").write_bytes(content)
    atheris.Setup(
        [
            sys.argv[0],
            str(corpus),
            f"-max_total_time={seconds}",
            f"-seed={seed}",
            f"-max_len={LONGEST}",
            f"-timeout={HANG}",
            f"-rss_limit_mb={MEMORY}",
            f"-artifact_prefix={found}/{name}-",
            "-print_final_stats=1",
        ],
        checked,
    )
    atheris.Fuzz()


def where(error: Exception) -> str:
    """The kind of an exception and the place of ours that it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f"{Path(f.filename).name}:{f.lineno}" for f in frames if "/audit/" in f.filename]
    return f"{type(error).__name__} at {ours[-1] if ours else 'the target'}"


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]))
