"""The words for leak types (`wording.toml`) and countries (`countries.toml`), checked on load.

A code that the table does not know is shown as it is: a finding is never lost for want of words.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from audit.records import CanaryKind

_HERE = Path(__file__).parent


class Words(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one leak type is spoken of; the fields are explained at the head of `wording.toml`."""

    title: str
    short: str
    sentence: str
    means: str
    group: Literal["leak", "apart", "signal"]
    looked: tuple[CanaryKind, ...]


@cache
def leak_types() -> dict[str, Words]:
    """All leak types by code; raises msgspec.ValidationError where the table is broken."""
    return msgspec.toml.decode((_HERE / "wording.toml").read_bytes(), type=dict[str, Words])


def words(code: str) -> Words:
    """The words for `code`, made up from the code alone where the table lacks it."""
    return leak_types().get(code) or Words(
        title=f"Leak type {code}",
        short=f"data of type {code}",
        sentence="{value} was sent to {recipient}.",
        means="This version of the report has no description for this type.",
        group="leak",
        looked=(),
    )


@cache
def _countries() -> dict[str, str]:
    return msgspec.toml.decode((_HERE / "countries.toml").read_bytes(), type=dict[str, str])


def country(code: str | None) -> str:
    """ "Germany (DE)" for "DE"; "unknown" for None."""
    if code is None:
        return "unknown"
    name = _countries().get(code.upper())
    return f"{name} ({code.upper()})" if name else code
