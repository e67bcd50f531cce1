"""What is fuzzed: entry points of one argument, the bytes they begin with, and the refusals they may raise.

Every target takes any bytes. It must end soon, raise nothing but its refusals, and keep the promises
that are checked with it. Each of `MODULES` holds some targets and imports no more than they need, so that a
process which fuzzes one of them starts fast. Nothing in them may depend on time or chance.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple

from audit.protocols.malformed import Malformed

MODULES = ("captures", "packets", "bodies", "parsers", "decryption")


class Target(NamedTuple):
    """An entry point, bytes it begins with, and the exceptions that are its way to refuse."""

    run: Callable[[bytes], object]
    seeds: tuple[bytes, ...] = ()
    refusals: tuple[type[Exception], ...] = (Malformed,)


def names() -> dict[str, str]:
    """All targets by name, and the module that holds each."""
    return {name: module for module in MODULES for name in _held(module)}


def target(module: str, name: str) -> Target:
    """One target; only its module is imported."""
    return _held(module)[name]


def _held(module: str) -> dict[str, Target]:
    held: dict[str, Target] = import_module(f"tests.fuzz.{module}").TARGETS
    return held
