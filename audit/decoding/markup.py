"""XML and HTML (W3C XML 1.0): text, CDATA sections and attributes, read tag by tag.

This is no XML parser: no entity is defined, no document type is read, nothing is fetched, and what is
badly formed is read as far as it goes.
"""

from __future__ import annotations

import re

from audit.decoding.coding import Piece, Purse

_TOKEN = re.compile(
    rb"<!\[CDATA\[(?P<cdata>.*?)(?:\]\]>|\Z)"
    rb"|<!--(?P<comment>.*?)(?:-->|\Z)"
    rb"|<[?!][^>]*+>?"
    rb"|</(?P<close>[^\s>]{0,128})[^>]*+>?"
    rb"|<(?P<open>[A-Za-z_:][^\s/>]{0,128}+)(?P<attributes>(?:[^>\"']++|\"[^\"]*+\"|'[^']*+')*+)>?"
    rb"|(?P<text>(?:[^<]++|<(?![A-Za-z_:/!?]))++)",
    re.DOTALL,
)
_ATTRIBUTE = re.compile(rb"([A-Za-z_:][\w:.-]{0,128})\s*=\s*(?:\"([^\"]*+)\"|'([^']*+)')")
_START = re.compile(rb"\s*<(?:\?xml|!DOCTYPE|!--|!\[CDATA\[|[A-Za-z_][\w:.-]*[\s/>])", re.IGNORECASE)
_ODD_SECTION = re.compile(rb"<!\[(?!CDATA\[)[A-Z]+\[")  # letters that are not yet what they were
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
_MAX_DEPTH = 256


class Xml:
    """Documents that begin like XML or HTML and hold at least one closed tag."""

    name = "xml"
    covers = True
    needs = (b"<",)
    bars = b"\x00"

    def peel(self, data: bytes, hint: str, purse: Purse) -> list[Piece]:
        if not _START.match(data) or b">" not in data or b'=\\"' in data or _ODD_SECTION.search(data):
            return []
        pieces: list[Piece] = []
        names: list[str] = []
        for match in _TOKEN.finditer(data):
            kind = match.lastgroup
            path = ".".join(names[-16:])
            if kind in ("text", "cdata", "comment"):
                value = match.group(kind)
                text = value.strip()
                if text:
                    at = match.start(kind) + value.find(text)
                    pieces.append(Piece(self.name, text, path or "$", at, len(text)))
            elif kind == "close":
                _close(names, match.group("close").decode("utf-8", "backslashreplace"))
            elif kind == "attributes":
                name = match.group("open").decode("utf-8", "backslashreplace")
                attributes = match.group("attributes")
                pieces += self._attributes(
                    attributes, f"{path}.{name}".lstrip("."), match.start("attributes")
                )
                if not attributes.endswith(b"/") and name.lower() not in _VOID and len(names) < _MAX_DEPTH:
                    names.append(name)
            if len(pieces) > purse.bounds.fields:
                purse.note("fields", f"xml: more than {purse.bounds.fields} values")
                break
        return pieces

    def _attributes(self, text: bytes, path: str, base: int) -> list[Piece]:
        if b"=" not in text:
            return []
        return [
            Piece(
                self.name, match.group(match.lastindex or 0),
                f"{path}.@{match.group(1).decode('utf-8', 'backslashreplace')}",
                base + match.start(match.lastindex or 0), len(match.group(match.lastindex or 0)),
            )
            for match in _ATTRIBUTE.finditer(text)
            if match.group(match.lastindex or 0)
        ]  # fmt: skip


def _close(names: list[str], name: str) -> None:
    """Closes the innermost element of that name, if it is near: HTML leaves many unclosed."""
    for back in range(1, min(len(names), 8) + 1):
        if names[-back] == name:
            del names[-back:]
            return
