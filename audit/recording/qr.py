"""QR codes (ISO/IEC 18004) of short texts, for terminals and for pages. Nothing is fetched or written."""

from __future__ import annotations

import io

import segno

MAX_CHARACTERS = 2_000  # more can hardly be scanned from a screen


def drawn(text: str) -> str:
    """The code as lines of block characters, which are its light parts. Raises ValueError if too long."""
    out = io.StringIO()
    _code(text).terminal(out, border=2, compact=True)
    return out.getvalue()


def in_colours(code: str) -> str:
    """Drawn lines, light on dark whatever the terminal's colours: many readers take no inverted code."""
    return "\n".join(f"\x1b[97;40m{line}\x1b[0m" if line else line for line in code.split("\n"))


def svg(text: str) -> str:
    """The code as an inline SVG, dark on white whatever the page's colours. Raises ValueError if too long."""
    return str(_code(text).svg_inline(scale=4, border=3, dark="#000", light="#fff", omitsize=True))


def _code(text: str) -> segno.QRCode:
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"longer than {MAX_CHARACTERS} characters")
    return segno.make_qr(text, error="l")
