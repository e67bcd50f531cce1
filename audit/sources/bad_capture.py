"""The one error of the sources: a file of which nothing at all can be read.

Damage behind the first readable record is never an error: it is a `Gap` in the result.
"""

from __future__ import annotations

from pathlib import Path


class BadCapture(Exception):  # noqa: N818 - a word of the product, not a class of Python errors
    """Nothing can be read from `path`. `str()` is one line: file, offset, problem, remedy."""

    def __init__(self, path: Path, problem: str, remedy: str, offset: int = 0) -> None:
        super().__init__(path, problem, remedy, offset)
        self.path = path
        self.problem = problem
        self.remedy = remedy
        self.offset = offset

    def __str__(self) -> str:
        line = f"{self.path}: at byte {self.offset}: {self.problem}; {self.remedy}"
        return "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
