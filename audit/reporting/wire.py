"""Text from the wire made harmless to look at: one function for every string that we did not write.

It never drops a character silently: what cannot be shown as itself is shown by its number, what is cut
off is counted. HTML is not escaped here; the templates' autoescape does that. Sources: Unicode UAX #9
(bidirectional controls), UAX #44 (general categories).
"""

from __future__ import annotations

import re
import unicodedata

LIMIT = 400
_COMBINING = 4
# C1 controls, bidirectional and other format characters: all that a terminal obeys and JSON leaves as it is
_OBEYED = re.compile(
    "[\x80-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


def inert(text: str | bytes, limit: int = LIMIT) -> str:
    r"""`text` in at most `limit` characters of the original, followed by how many were left out.

    Control, format (bidirectional, zero-width), surrogate and private-use characters appear as
    `‹U+202E›`, bytes that are not UTF-8 as `\xNN`. A pile of combining marks is shown by numbers from
    the fifth on.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    out: list[str] = []
    marks = 0
    for character in text[:limit]:
        category = unicodedata.category(character)
        marks = marks + 1 if category in {"Mn", "Me"} else 0
        point = ord(character)
        if 0xDC80 <= point <= 0xDCFF:
            out.append(f"\\x{point - 0xDC00:02x}")
        elif category in _UNSEEN or marks > _COMBINING or _noncharacter(point):
            out.append(f"‹U+{point:04X}›")
        else:
            out.append(character)
    if len(text) > limit:
        out.append(f" … (+{len(text) - limit:,} more)")
    return "".join(out)


def inert_json(text: bytes) -> bytes:
    r"""The same JSON (UTF-8) with what a terminal would obey as `\uNNNN`; what it says stays the same. In JSON
    such characters stand within strings only (RFC 8259, section 7)."""
    if text.isascii():
        return text
    return _OBEYED.sub(_escape, text.decode("utf-8", "surrogatepass")).encode("utf-8", "surrogatepass")


def _escape(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def _noncharacter(point: int) -> bool:
    return point & 0xFFFE == 0xFFFE or 0xFDD0 <= point <= 0xFDEF
