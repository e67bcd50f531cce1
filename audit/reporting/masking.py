"""What of a capture may be read in a report that is handed on.

Readable: planted values (they were made up for the audit), names of recipients, field names, and plain
words in the path of an address. Everything else in an excerpt is replaced by a mark, and equal marks
stand for equal values. A known secret (an identifier, an inferred search or visit) is replaced wherever
it stands, in our own sentences too.

The mark is the start of an HMAC-SHA-256. Its key is the SHA-256 of the whole `findings.json`, so the
same file always gives the same report, and nobody computes a mark for a guessed value without that
file: it holds a salt made by chance, which the report does not show, and every masked value. Marks of two
analyses cannot be compared; compare their `findings.json`.
What it does not protect: plain words in paths, names of hosts and fields, times, sizes, and how often a
value recurs. A finding's id derives from its inferred value, so it is replaced by a mark as well.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from urllib.parse import quote, quote_plus, urlsplit

from ahocorasick_rs import AhoCorasick, MatchKind
from msgspec import Struct

from audit.records import Audit, Canary, Finding, Identifier
from audit.reporting.findings import encode

MARK = "▒"
MASKED_ID = "m-"  # how the id of a finding begins that derives from a masked value
# how detection names transmissions that have no address: nothing of theirs came off the wire
OWN_WORDS = ("DNS query (", "TLS ClientHello", "TCP message to port ", "UDP message to port ")
_SHORTEST_SECRET = 4
_DIGITS = 8
_LITERALS = frozenset({"true", "false", "null", "http", "https", "ws", "wss"})
_LONGEST_INDEX = 6
_PROTOCOL = re.compile(
    r"(?:GET|POST|PUT|HEAD|DELETE|OPTIONS|PATCH|CONNECT|HTTP/[0-9.]{1,3}|https?:/*|[:/._*-]+)\Z"
)
_TOKEN = re.compile(r"""[^\s"'&?=;,{}\[\]()<>|#\\`]+""")
_NAME = re.compile(r"[A-Za-z$_@][A-Za-z0-9_$.@-]{0,31}\Z")
_SEGMENT = re.compile(r"(?:[A-Za-z][A-Za-z_.-]{0,23}[0-9]{0,2}|)\Z")
_SURROGATE = re.compile("[\ud800-\udfff]")
_WORD = re.compile(r"[/?&=#]")
_HASHES = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512")


class Piece(Struct, frozen=True, kw_only=True):
    """A stretch of an excerpt. `hit` marks the value that the finding is about."""

    text: str
    hit: bool = False
    masked: bool = False


class Masker:
    """Knows what one audit planted and what it must not tell. With `unmask` it replaces nothing."""

    def __init__(self, audit: Audit, *, unmask: bool = False) -> None:
        self._unmask = unmask
        self._key = hashlib.sha256(b"mark of a masked value\0" + encode(audit)).digest()
        self._planted = {canary.id: variants(canary) for canary in audit.experiment.canaries}
        self._planted_finder = _finder(each for values in self._planted.values() for each in values)
        self._hosts = _hosts(audit)
        planted = {each.casefold() for values in self._planted.values() for each in values}
        secrets = {form for value in _secret_values(audit) for form in _forms(value)} - self._hosts
        known = {form for form in secrets if len(form) >= _SHORTEST_SECRET and form.casefold() not in planted}
        self._secrets = _finder(known)
        self._secret_parts = _finder(known | (_inferred_parts(audit) - self._hosts))

    def mark(self, value: str) -> str:
        """What stands in the report for `value`."""
        if self._unmask:
            return value
        digest = hmac.new(self._key, value.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
        return MARK + digest[:_DIGITS]

    @property
    def unmasked(self) -> bool:
        """Whether everything is shown."""
        return self._unmask

    def coded(self, text: str, *, hit: bool = False) -> tuple[Piece, ...]:
        """Data that is still in a coding, or no text at all: one mark for the whole of it."""
        if self._unmask or not text:
            return (Piece(text=text, hit=hit),) if text else ()
        return (Piece(text=self.mark(text), hit=hit, masked=True),)

    def name(self, host: str) -> str:
        """A host name: readable where it is a recipient's or was planted."""
        planted = any(found for _, _, found in _stretches(host, self._planted_finder))
        return host if planted or host.casefold() in self._hosts else self.mark(host)

    def inferred(self, value: str) -> str:
        """An inferred search or visit as the report may show it: of a visit, a recipient's name stays."""
        host = host_of(value)
        if self._unmask or host not in self._hosts:
            return self.mark(value)
        return f"{host}/{self.mark(value)}"

    def finding_id(self, finding: Finding) -> str:
        """The finding's id as the report may show it."""
        return finding.id if finding.inferred is None else self.mark(finding.id).replace(MARK, MASKED_ID)

    def identifier(self, identifier: Identifier) -> str:
        """The identifier's value as the report may show it; a planted one is readable."""
        return "".join(piece.text for piece in self.excerpt(identifier.value, None))

    def sentence(self, text: str) -> str:
        """Text written by the tool, without any known secret."""
        if self._unmask:
            return text
        return "".join(
            self.mark(text[start:end]) if found else text[start:end]
            for start, end, found in _stretches(text, self._secrets)
        )

    def path(self, path: str) -> str:
        """Where in a structure a value lay: names of fields are readable, keys that look like data are not."""
        if self._unmask:
            return path
        return re.sub(r"[^.\[\]'\"]+", lambda part: self._key_part(part[0]), path)

    def _key_part(self, part: str) -> str:
        index = part.isdecimal() and len(part) <= _LONGEST_INDEX
        known = any(found for _, _, found in _stretches(part, self._secrets))
        return part if index or (_is_name(part) and not known) else self.mark(part)

    def excerpt(
        self, text: str, canary: str | None, inferred: str | None = None, *, typed: bool = False
    ) -> tuple[Piece, ...]:
        """`text` cut into pieces; those that are the canary's (or the inferred) value are hits.

        With `typed` a beginning of the canary that stands alone is a hit too, as in a search half typed.
        """
        pieces: list[Piece] = []
        for start, end, planted, hit in self._found(text, canary, typed):
            part = text[start:end]
            if planted:
                pieces.append(Piece(text=part, hit=hit))
            else:
                pieces.extend(self._foreign(part, text[:start][-1:], text[end:][:1], inferred))
        return _joined(pieces)

    def text(self, text: str, finding: Finding, *, typed: bool = False) -> str:
        """`excerpt` as one string, around what the finding is about."""
        return "".join(
            piece.text for piece in self.excerpt(text, finding.canary, finding.inferred, typed=typed)
        )

    def request(self, text: str, finding: Finding) -> str:
        """How a transmission is named: its address masked; names we gave ourselves stay."""
        return text if text.startswith(OWN_WORDS) else self.text(text, finding)

    def hits(self, text: str, canary: str | None, *, typed: bool = False) -> list[str]:
        """The stretches of `text` that `excerpt` would mark as the canary's value."""
        return [text[start:end] for start, end, _, hit in self._found(text, canary, typed) if hit]

    def _found(self, text: str, canary: str | None, typed: bool) -> Iterator[tuple[int, int, bool, bool]]:
        own = {each.casefold() for each in self._planted.get(canary or "", ())}
        begun = self._begun(text, canary) if typed and not _contains(text, own) else None
        for start, end, planted in _stretches(text, self._planted_finder, begun):
            hit = planted and (text[start:end].casefold() in own or (start, end) == begun)
            yield start, end, planted, hit

    def _begun(self, text: str, canary: str | None) -> tuple[int, int] | None:
        """The longest beginning of the canary that stands alone in `text`: a search half typed."""
        best: tuple[int, int] | None = None
        lowered = text.casefold()
        if len(lowered) != len(text):
            return None
        for value in self._planted.get(canary or "", ()):
            value = value.casefold()
            for start in range(len(text)):
                if lowered[start] != value[0] or (start and lowered[start - 1].isalnum()):
                    continue
                end = start
                while end < len(text) and end - start < len(value) and lowered[end] == value[end - start]:
                    end += 1
                alone = end == len(text) or not lowered[end].isalnum()
                if alone and (best is None or end - start > best[1] - best[0]):
                    best = (start, end)
        return best

    def _foreign(self, text: str, before: str, after: str, inferred: str | None) -> Iterator[Piece]:
        for start, end, secret in _stretches(text, self._secret_parts):
            part = text[start:end]
            if secret:
                hit = inferred is not None and part.casefold() in {
                    form.casefold() for form in _forms(inferred)
                }
                yield Piece(text=self.mark(part), hit=hit, masked=not self._unmask)
            elif self._unmask:
                yield Piece(text=part)
            else:
                yield from self._tokens(part, text[:start][-1:] or before, text[end:][:1] or after)

    def _tokens(self, text: str, before: str, after: str) -> Iterator[Piece]:
        at = 0
        for token in _TOKEN.finditer(text):
            if token.start() > at:
                yield Piece(text=text[at : token.start()])
            at = token.end()
            ahead = (text[at : at + 3] + after)[:3]
            behind = text[: token.start()][-1:] or before
            word = token[0].lstrip(":")
            if len(word) < len(token[0]):
                yield Piece(text=token[0][: -len(word) or None])
                behind = ":"
            if word:
                yield from self._token(word, behind, ahead)
        if at < len(text):
            yield Piece(text=text[at:])

    def _token(self, token: str, behind: str, ahead: str) -> Iterator[Piece]:
        name = _is_name(token) and _is_key(behind, ahead)
        if (
            name
            or token in _LITERALS
            or _PROTOCOL.match(token)
            or token.rstrip(":.").casefold() in self._hosts
        ):
            yield Piece(text=token)
        elif (
            token.startswith(("/", "http://", "https://"))
            or behind == "/"
            or token.partition("/")[0].casefold() in self._hosts
        ):
            yield from self._address(token)
        else:
            yield Piece(text=self.mark(token), masked=True)

    def _address(self, token: str) -> Iterator[Piece]:
        scheme, slashes, rest = token.rpartition("//") if "://" in token else ("", "", token)
        if slashes:
            yield Piece(text=scheme + slashes)
        for number, segment in enumerate(rest.split("/")):
            if number:
                yield Piece(text="/")
            host = slashes and number == 0
            if segment.casefold() in self._hosts or (not host and _SEGMENT.match(segment)):
                yield Piece(text=segment)
            else:
                yield Piece(text=self.mark(segment), masked=True)


def variants(canary: Canary) -> tuple[str, ...]:
    """The ways in which a planted value may stand in an excerpt, longest first."""
    plain = {canary.value}
    if canary.kind == "url":
        plain |= _url_parts(canary.value)
    out = {form for value in plain for form in _forms(value)}
    out |= {getattr(hashlib, name)(value.encode()).hexdigest() for value in plain for name in _HASHES}
    return tuple(sorted((each for each in out if each), key=lambda each: (-len(each), each)))


def host_of(url: str) -> str:
    """The host in an address, "" where there is none or the address is broken."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _url_parts(value: str) -> set[str]:
    host = host_of(value)
    if not host:
        return set()
    parts = urlsplit(value)
    without_scheme = value.partition("://")[2]
    tail = without_scheme[len(parts.netloc) :]
    found = {without_scheme, without_scheme.partition("#")[0], tail, host, parts.netloc}
    for each in (value, without_scheme, tail):
        found.add(each.partition("?")[0])
    found |= {f"{parts.scheme}://{parts.netloc}", f"{parts.scheme}://{parts.netloc}/"}
    labels = host.split(".")
    found |= {".".join(labels[start:]) for start in range(1, len(labels) - 1)}
    return {each for each in found if len(each) >= _SHORTEST_SECRET}


def _forms(value: str) -> set[str]:
    quoted = {quote(value, safe=""), quote(value), quote_plus(value), quote(value, safe="/:?=&")}
    return {value, value.replace("/", "\\/"), *quoted}


def _secret_values(audit: Audit) -> set[str]:
    secrets = {finding.inferred for finding in audit.findings if finding.inferred}
    secrets |= {each.value for finding in audit.findings for each in finding.identifiers}
    return secrets


def _inferred_parts(audit: Audit) -> set[str]:
    """Words and parts of addresses of which inferred values consist: telling in an excerpt cut short."""
    values = {finding.inferred for finding in audit.findings if finding.inferred}
    parts = {part for value in values if "://" in value for part in _url_parts(value)}
    parts |= {
        word for value in values if "://" in value for word in _WORD.split(value.partition("://")[2])[1:]
    }
    parts |= {word for value in values if "://" not in value for word in value.split()}
    return {form for part in parts if len(part) >= _SHORTEST_SECRET for form in _forms(part)}


def _hosts(audit: Audit) -> frozenset[str]:
    rows = [row.recipient for row in audit.recipients] + [finding.recipient for finding in audit.findings]
    names = {name.casefold() for row in rows for name in (row.host, row.registrable_domain) if name}
    return frozenset(names | {f"{name}:443" for name in names} | {f"{name}:80" for name in names})


def _finder(values: Iterable[str]) -> AhoCorasick | None:
    patterns = sorted({value.casefold() for value in values if value})
    return AhoCorasick(patterns, matchkind=MatchKind.LeftmostLongest) if patterns else None


def _stretches(
    text: str, finder: AhoCorasick | None, also: tuple[int, int] | None = None
) -> Iterator[tuple[int, int, bool]]:
    """`text` as consecutive stretches: start, end, whether the finder knows it."""
    lowered = text.casefold()
    if len(lowered) != len(text):  # casefold may lengthen a text (ß); then positions are those of str.lower
        lowered = "".join(each if len(each.lower()) != 1 else each.lower() for each in text)
    lowered = _SURROGATE.sub("\ufffd", lowered)  # which the finder cannot take
    found = [(start, end) for _, start, end in finder.find_matches_as_indexes(lowered)] if finder else []
    if also:
        found = [span for span in found if span[1] <= also[0] or span[0] >= also[1]] + [also]
    at = 0
    for start, end in sorted(found):
        if start > at:
            yield at, start, False
        yield start, end, True
        at = end
    if at < len(text):
        yield at, len(text), False


def _contains(text: str, values: set[str]) -> bool:
    lowered = text.casefold()
    return any(value in lowered for value in values)


def _is_name(token: str) -> bool:
    """Whether a token reads as the name of a field and not as data: short, few digits, few humps."""
    humps = sum(1 for left, right in pairwise(token) if left.islower() != right.islower())
    return bool(_NAME.match(token)) and sum(each.isdigit() for each in token) <= 3 and humps <= 8


def _is_key(behind: str, ahead: str) -> bool:
    """Whether a token stands where a field's name stands: `name=value`, `"name":`, `name: value`."""
    if ahead[:1] == "=":
        return behind in {"", "?", "&", ";", " ", "#", ","} and ahead[1:2] not in {"", "="}
    return ahead[:2] in {'":', "':"} and behind in {'"', "'"}


def _joined(pieces: Iterable[Piece]) -> tuple[Piece, ...]:
    """Neighbours of one kind become one piece."""
    out: list[Piece] = []
    for piece in pieces:
        last = out[-1] if out else None
        if last and not (piece.masked or last.masked) and piece.hit == last.hit:
            out[-1] = Piece(text=last.text + piece.text, hit=piece.hit)
        else:
            out.append(piece)
    return tuple(out)
