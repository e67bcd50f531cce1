"""Where the files that ship beside the code lie: the one place that knows checkout from wheel.

In a checkout and in an editable install `addons/` and `reports/templates/` lie at the top of the
repository; a wheel carries them inside the package (see pyproject.toml).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

_PACKAGE = Path(__file__).resolve().parent
_IN_CHECKOUT = {"addons": "addons", "templates": "reports/templates"}


def folder(name: Literal["addons", "templates"]) -> Path:
    """The folder of that name; raises FileNotFoundError if the installation is incomplete."""
    for path in (_PACKAGE / f"_{name}", _PACKAGE.parent / _IN_CHECKOUT[name]):
        if path.is_dir():
            return path
    raise FileNotFoundError(f"{_IN_CHECKOUT[name]}: not part of this installation; install again")
