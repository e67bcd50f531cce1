"""A canary's needles: every form in which its value may stand in a decoded field, found in one pass.

Plain text is found with one automaton over all canaries (Aho and Corasick 1975), ASCII case folded. An
address is found by its host, then grown to both sides as far as the text agrees, so each place is told
once, in its most specific granularity. Digests are looked up, not searched: a field that is as long as
a digest is asked for in one table. This module knows values and bytes, not transmissions.
"""

from __future__ import annotations

import base64
import contextlib
import re
import unicodedata
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import accumulate
from typing import Literal, NamedTuple
from urllib.parse import quote, unquote_to_bytes

import ahocorasick_rs
from msgspec import structs

from audit.decoding.guesses import differences
from audit.detection.addresses import Address, parse_address, telling
from audit.detection.digests import NAMED_FIELDS, Digests
from audit.detection.hashed_texts import hashed_texts
from audit.detection.identifier_forms import Exact, exact_forms, written_forms
from audit.detection.words import MIN_TOKEN, fold, glued_forms, made_up, plain_word, text_forms
from audit.records import Canary, Granularity, Match

_ALNUM = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789")
_HOST_LETTER = _ALNUM | frozenset(b"-_")
_SCHEME_BEFORE = re.compile(rb"([a-z][a-z0-9+.-]{1,15})://(?:[^\s/@?#]{0,64}@)?(?:www\.)?$")
_ANCHOR = 4
# also half of one: `htt` and `ww` belong to nobody
_LEAD = re.compile(rb"(?:https?:/{0,2}|https?$|htt?$)?(?:www\.|www?$)?")
_MIN_GUISE = 6
_SHORT_TYPED = 12  # letters of a beginning that decoding may leave closed
_MIN_TURNED = 3
_MIN_XORED = 6
_CASELESS = bytes(byte & 0xDF for byte in range(256))
_MIN_PART = 4
_BLOCK = 64
_MAX_FOLDED = 10_001  # one more than a channel tells, so that the bound shows
_ROT13 = bytes.maketrans(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
    b"NOPQRSTUVWXYZABCDEFGHIJKLMnopqrstuvwxyzabcdefghijklm",
)
# a full table is twice as fast while it fits the processor's cache, and slower beyond
_DFA_LIMIT = 2_000
_NEAR = 16
# from the most to the least specific
SPECIFIC: tuple[Granularity, ...] = (
    "full", "term", "no_scheme", "no_query", "path", "host", "registrable_domain", "prefix",
)  # fmt: skip
PAGES: tuple[Granularity, ...] = ("full", "no_scheme", "no_query", "host", "registrable_domain")


class Prefix(NamedTuple):
    """A field that holds the first `length` characters of a canary and nothing else."""

    canary: str
    length: int


class CodedPrefix(NamedTuple):
    """A beginning that stands by itself under one coding, too short to be opened for what it shows. `text` is the
    beginning in clear."""

    layer: str
    text: str
    prefix: Prefix


class _Needle(NamedTuple):
    canary: str
    granularity: Granularity
    text: bytes
    address: Address | None
    part: Literal["", "path", "query", "both"] = ""
    alone: bool = False
    weak: bool = False
    exact: Exact | None = None


class Needles:
    """All needles of a set of canaries. `find` is a pure function of the bytes given."""

    def __init__(self, canaries: Iterable[Canary]) -> None:
        self.canaries = tuple(canaries)
        self.addresses = {
            canary.id: address
            for canary in self.canaries
            if canary.kind == "url" and (address := parse_address(canary.value))
        }
        needles: dict[bytes, list[_Needle]] = defaultdict(list)
        self._prefixes: dict[bytes, set[Prefix]] = defaultdict(set)
        # layer and text in one string: of what holds only strings, the garbage collector looks at nothing
        self._coded: dict[bytes, str] = {}
        self._cut: set[bytes] = set()
        anchors: set[bytes] = set(NAMED_FIELDS)
        for canary in self.canaries:
            for needle in _plain(canary):
                needles[needle.text].append(needle)
            for typed in _typed_forms(canary):
                for length in range(1, len(typed) + 1):
                    beginning = typed[:length].encode()
                    self._prefixes[beginning].add(Prefix(canary.id, length))
                    if typed[length - 1 : length + 1].isalnum() and length < len(typed):
                        self._cut.add(beginning)
                for begun, coded, layer in _coded_beginnings(canary, typed):
                    self._coded.setdefault(coded, f"{layer} {begun}")
                start = _anchor_length(typed)
                # the beginning of a value in JSON; a shorter one only where it is the whole value
                anchors |= {b'"' + typed[:start].encode(), b'"' + typed[: start - 1].encode() + b'"'}
                for cased in {typed, canary.value} if canary.kind != "url" else {typed}:
                    anchors |= _coded_anchors(cased[:start].encode(), cased[: start - 1].encode())
        self._drop_shared_domains(needles)
        self._weaken_shared_parts(needles)
        self._hosts = _host_owners(needles)
        self._longest = max((len(text) for text in self._prefixes), default=0)
        self._by_index = [tuple(found) for found in needles.values()]
        texts = list(needles)
        self._plain_count = len(texts)
        for text in texts:
            anchors |= set(_guises(text))
        self._automaton = _automaton(texts)
        self._traces = _automaton(sorted(anchors.union(texts)))
        told = {
            differences(form).translate(_CASELESS): form
            for text in texts
            for form in _wide_forms(text)
            if len(form) >= _MIN_XORED
        }
        self._told_texts = list(told.values())
        self._told = _automaton(list(told))
        self._digests = Digests((canary.id, hashed_texts(canary)) for canary in self.canaries)

    @staticmethod
    def _drop_shared_domains(needles: dict[bytes, list[_Needle]]) -> None:
        """A domain under which several canaries lie tells none of them apart."""
        for text, found in list(needles.items()):
            if len({n.canary for n in found}) > 1:
                kept = [n for n in found if n.granularity != "registrable_domain"]
                if kept:
                    needles[text] = kept
                else:
                    del needles[text]

    @staticmethod
    def _weaken_shared_parts(needles: dict[bytes, list[_Needle]]) -> None:
        """A path or query that several addresses have tells none of them apart without its host."""
        for text, found in needles.items():
            if len({n.canary for n in found if n.part}) > 1:
                needles[text] = [n._replace(weak=n.weak or bool(n.part)) for n in found]

    def traced(self, data: bytes) -> bool:
        """Whether opening text `data` could yield a match or a beginning that does not show as a coding:
        a needle stands in it, plain or in a guise, or the quoted beginning of one."""
        return bool(self._traces.find_matches_as_indexes(data.lower()))

    def holds(self, data: bytes) -> bool:
        """Whether a plain needle, and not the path or domain of one alone, stands anywhere in `data` by itself,
        or the whole of it is a digest."""
        if self._digests.known(data):
            return True
        if not self._automaton.find_matches_as_indexes(data.lower()):
            return False
        return any(match.granularity not in ("path", "registrable_domain") for match in self.find(data))

    def keys(self, data: bytes) -> tuple[int, ...]:
        """The single bytes under which, XORed over the data, a plain needle stands in it. What neighbouring
        bytes differ in does not depend on the key; of letters, the bit of their case is left out."""
        found: dict[int, None] = {}
        told = differences(data).translate(_CASELESS)
        for index, start, _ in self._told.find_matches_as_indexes(told):
            text = self._told_texts[index]
            if data[start : start + len(text)].lower() == text:
                continue  # it stands there in clear; 0x20 would only turn its case
            for first in {text[0], *text[:1].upper()}:
                key = data[start] ^ first
                part = bytes(byte ^ key for byte in data[start : start + len(text)])
                if key and part.lower() == text:
                    found[key] = None
        return tuple(found)

    def find(self, data: bytes, name: str = "", *, closed: bool = False) -> list[Match]:
        """Every place where a needle stands, in its most specific granularity; digests included.

        name: what the field is called (a short digest counts only in a field named for a hash).
        closed: nothing could open the data, so digests are searched for inside it.
        """
        found = self._plain(data, data.lower())
        if not data.isascii():
            found += self._folded(data)
        hashed = self._digests.find(data, name)
        if closed and not hashed:
            hashed = self._digests.inside(data)
        matches = [*_most_specific(found), *hashed]
        return sorted(matches, key=lambda m: (m.offset, m.canary, m.form))

    def _plain(self, data: bytes, low: bytes) -> list[Match]:
        found: dict[tuple[str, int, int], Match] = {}
        for index, start, end in self._automaton.find_matches_as_indexes(low, overlapping=True):
            if index >= self._plain_count:
                continue
            for needle in self._by_index[index]:
                match = _grow(needle, data, low, start, end)
                if match and (match.granularity != "host" or self._hosts[needle.text] == needle.canary):
                    found.setdefault((match.canary, match.offset, match.length), match)
        return list(found.values())

    def _folded(self, data: bytes) -> list[Match]:
        """What only shows when letters are made alike: case of all scripts, composed and wide forms."""
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            return []
        low = fold(text).encode()
        found = self._plain(low, low) if low != data.lower() else []
        if not found:
            return []
        unfolding = _Unfolding(text)
        return [unfolding.match(match) for match in found[:_MAX_FOLDED]]

    def prefix(self, data: bytes) -> frozenset[Prefix]:
        """Of which canaries the whole of `data` is the beginning, as typed letter by letter."""
        if not data or len(data) > self._longest:
            return frozenset()
        low = data.lower()
        if not data.isascii():
            low = unicodedata.normalize("NFC", data.decode("utf-8", "replace").lower()).encode()
        return frozenset(self._prefixes.get(low, ()))

    def coded_prefix(self, data: bytes) -> Iterable[CodedPrefix]:
        """Of which canaries the whole of `data` is a short beginning in hex or base64, reversed or rotated."""
        said = self._coded.get(data)
        if said is None:
            return ()
        layer, _, text = said.partition(" ")
        return [CodedPrefix(layer, text, prefix) for prefix in self.prefix(text.encode())]

    def inside_word(self, text: str) -> bool:
        """Whether a beginning ends in the midst of a word of its canary, as only typing cuts it."""
        return text.lower().encode() in self._cut

    def distinct_length(self, canary: str) -> int:
        """From how many characters on, the lead of an address not counted, a beginning belongs to this canary
        alone (and has at least as many as nobody types by chance)."""
        shared = max(
            (
                len(unled(text))
                for text, owners in self._prefixes.items()
                if len(owners) > 1
                and any(prefix.canary == canary for prefix in owners)
                and any(prefix.canary != canary for prefix in owners)
            ),
            default=0,
        )
        return max(shared + 1, _ANCHOR)


def unled(text: bytes) -> bytes:
    """What was typed, without what all addresses begin with."""
    return text[_LEAD.match(text.lower()).end() :]  # type: ignore[union-attr]


def _host_owners(needles: dict[bytes, list[_Needle]]) -> dict[bytes, str]:
    """Whose a host is that several canaries share: that of the bare address, else the first one's."""
    owners: dict[bytes, str] = {}
    for text, found in needles.items():
        hosts = [n for n in found if n.granularity == "host" and n.address]
        if hosts:
            bare = [n for n in hosts if n.address and n.address.bare]
            owners[text] = (bare or hosts)[0].canary
    return owners


def _automaton(texts: list[bytes]) -> ahocorasick_rs.BytesAhoCorasick:
    kind = ahocorasick_rs.Implementation.DFA if len(texts) < _DFA_LIMIT else None
    return ahocorasick_rs.BytesAhoCorasick(texts, implementation=kind)


def _guises(text: bytes) -> Iterator[bytes]:
    """How a needle looks when text is merely disguised and stays text: reversed, rot13, or XORed with a
    small number (a larger one makes bytes that no text has). Case is folded, as in the data."""
    if len(text) < _MIN_GUISE:
        return
    yield text[::-1]
    yield text.translate(_ROT13)
    for key in range(1, 32):
        yield bytes(c ^ key for c in text).lower()


def _wide_forms(text: bytes) -> Iterator[bytes]:
    """A needle as it is, and where it is not ASCII in GB 18030, in which too it may be XORed."""
    yield text
    if not text.isascii():
        with contextlib.suppress(UnicodeError):
            yield text.decode("utf-8").encode("gb18030").lower()


def _anchor_length(typed: str) -> int:
    scheme_end = typed.find("://")
    return (scheme_end + 3 if scheme_end >= 0 else 0) + _ANCHOR


def _typed_forms(canary: Canary) -> list[str]:
    """What a person types for the value: terms as they are, an address with and without its scheme."""
    if canary.kind not in ("url", "term", "text"):
        return []
    value = unicodedata.normalize("NFC", canary.value.lower())
    if canary.kind != "url":
        words = value.split(" ")
        return list(dict.fromkeys(separator.join(words) for separator in (" ", "+", "-", "_")))
    forms = [value]
    for lead in ("https://", "http://", "www."):
        if forms[-1].startswith(lead):
            forms.append(forms[-1].removeprefix(lead))
    return forms


def _coded_beginnings(canary: Canary, typed: str) -> Iterator[tuple[str, bytes, str]]:
    """The first letters of what is typed, these coded, and how. Longer ones are opened for what they show."""
    cased = canary.value[: len(typed)]
    for text in (typed, cased) if cased.lower() == typed else (typed,):
        start = len(text) - len(unled(text.encode())) if text.isascii() else 0
        for length in range(2, min(start + _SHORT_TYPED, len(text)) + 1):
            beginning = text[:length]
            data = beginning.encode()
            for form in (base64.b64encode(data), base64.urlsafe_b64encode(data)):
                yield beginning, form, "base64"
                yield beginning, form.rstrip(b"="), "base64"
            yield beginning, data.hex().encode(), "hex"
            yield beginning, data.hex().upper().encode(), "hex"
            if length >= _MIN_TURNED:
                yield beginning, data[::-1], "reversed"
                yield beginning, data.translate(_ROT13), "rot13"


def _coded_anchors(text: bytes, shorter: bytes) -> set[bytes]:
    """How a value in JSON begins that is the beginning of something typed in hex or base64; in lower case."""
    stable = len(text) * 8 // 6  # letters of base64 that do not depend on what follows
    begun = (base64.b64encode(text)[:stable], text.hex().encode())
    whole = (base64.b64encode(shorter), base64.b64encode(shorter).rstrip(b"="), shorter.hex().encode())
    return {b'"' + form.lower() for form in begun} | {b'"' + form.lower() + b'"' for form in whole}


def _plain(canary: Canary) -> Iterator[_Needle]:
    if canary.kind == "url":
        address = parse_address(canary.value)
        if address:
            yield from _address_needles(canary.id, address)
            return
    if canary.kind == "identifier":
        for text in sorted(written_forms(canary.value)):
            if len(text) >= MIN_TOKEN:
                yield _Needle(canary.id, "term", text.encode(), None)
        for exact in exact_forms(canary.value):
            yield _Needle(canary.id, "term", exact.text.lower(), None, exact=exact)
        return
    plain = canary.kind == "term" and plain_word(canary.value)
    forms = text_forms(canary.value)
    for form in sorted(forms):
        yield _Needle(canary.id, "term", form, None, alone=plain)
    # words of a dictionary stand glued together for other reasons too
    alone = plain or not made_up(canary.value)
    for form in sorted(glued_forms(canary.value) - forms):
        yield _Needle(canary.id, "term", form, None, alone=alone)


def _address_needles(canary: str, address: Address) -> Iterator[_Needle]:
    hosts = {address.host, *([f"[{address.host}]"] if ":" in address.host else [])}
    # as IDNA 2008 has it, where it differs
    hosts.add(
        ".".join(
            n if n.isascii() else f"xn--{n.encode('punycode').decode()}" for n in address.host.split(".")
        )
    )
    with contextlib.suppress(UnicodeError):
        hosts.add(address.host.encode("idna").decode())
    with contextlib.suppress(UnicodeError):
        hosts.add(address.host.encode("ascii").decode("idna"))
    # ASCII is folded in the data, other letters are searched for in both cases
    for host in sorted({form.encode().lower() for name in hosts for form in (name, name.upper())}):
        yield _Needle(canary, "host", host, address)
    domain = address.registrable_domain
    if domain and domain not in hosts:
        yield _Needle(canary, "registrable_domain", domain.encode(), address)
    yield from _part_needles(canary, address)


def _part_needles(canary: str, address: Address) -> Iterator[_Needle]:
    """Path and query, told without the host. What is too plain to tell a page counts only as the whole value
    of a field, and only beside the host."""
    path, query = address.path, address.query
    if telling(path):
        yield _Needle(canary, "path", path.encode(), address, "path")
    if len(query) >= 8:
        yield _Needle(canary, "path", query.encode(), address, "query")
    if len(path) < _MIN_PART:
        return
    whole: list[tuple[str, Literal["path", "both"]]] = [(path, "path")]
    if not path[1:].isalpha():
        whole.append((path[1:], "path"))  # a word alone says no page
    if query:
        whole += [(f"{path}?{query}", "both"), (f"{path[1:]}?{query}", "both")]
    for text, part in whole:
        yield _Needle(canary, "path", text.encode(), address, part, alone=True, weak=not telling(text))


class _Unfolding:
    """Finds places of folded text in the text as it was. Blocks are folded once, so that many matches in long
    text cost little."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._starts = [0]
        while self._starts[-1] + _BLOCK < len(text):
            cut = self._starts[-1] + _BLOCK
            while cut < len(text) and unicodedata.combining(text[cut]):
                cut += 1
            self._starts.append(cut)
        blocks = [self._block(number) for number in range(len(self._starts))]
        self._ends = list(accumulate(len(fold(block).encode()) for block in blocks))
        self._bytes = list(accumulate((len(block.encode()) for block in blocks), initial=0))

    def _block(self, number: int) -> str:
        return self._text[
            self._starts[number] : self._starts[number + 1] if number + 1 < len(self._starts) else None
        ]

    def match(self, found: Match) -> Match:
        """The match where it stands in the text before folding."""
        start, end = self._before(found.offset), self._before(found.offset + found.length)
        return structs.replace(found, offset=start, length=end - start)

    def _before(self, offset: int) -> int:
        """How many bytes of the text fold into so many."""
        number = min(bisect_left(self._ends, offset), len(self._ends) - 1)
        inside = offset - (self._ends[number - 1] if number else 0)
        block = self._block(number)
        count = bisect_left(range(len(block) + 1), inside, key=lambda n: len(fold(block[:n]).encode()))
        return self._bytes[number] + len(block[:count].encode())


def _led_by_0x(low: bytes, start: int) -> bool:
    return low[start - 2 : start] == b"0x" and (start < 3 or low[start - 3] not in _ALNUM)


def _bounded(low: bytes, start: int, end: int, letters: frozenset[int]) -> bool:
    """Whether the text at start:end stands for itself and is no part of a longer word."""
    if start and low[start] in letters and low[start - 1] in letters and not _led_by_0x(low, start):
        return False
    return not (end < len(low) and low[end - 1] in letters and low[end] in letters)


def _grow(needle: _Needle, data: bytes, low: bytes, start: int, end: int) -> Match | None:
    address = needle.address
    if needle.alone and (start or end < len(low)):
        return None
    if needle.exact:
        return _exactly(needle, needle.exact, data, start, end)
    if address is None or needle.part:
        if not _bounded(low, start, end, _ALNUM):
            return None
        return Match(
            canary=needle.canary, granularity=needle.granularity, form="plain",
            offset=start, length=end - start, part=needle.part, weak=needle.weak,
        )  # fmt: skip
    return _grow_address(needle, address, low, start, end)


def _exactly(needle: _Needle, exact: Exact, data: bytes, start: int, end: int) -> Match | None:
    """Bytes stand anywhere in binary data; what is written in letters stands for itself."""
    if data[start:end] != exact.text or (exact.written and not _bounded(data.lower(), start, end, _ALNUM)):
        return None
    return Match(
        canary=needle.canary, granularity=needle.granularity, form="plain",
        offset=start, length=end - start, written=exact.written,
    )  # fmt: skip


def _grow_address(needle: _Needle, address: Address, low: bytes, start: int, end: int) -> Match | None:
    if end < len(low) and (
        low[end] in _HOST_LETTER or (low[end] == 46 and end + 1 < len(low) and low[end + 1] in _ALNUM)
    ):
        return None
    if needle.granularity == "registrable_domain":
        if start and low[start - 1] in _HOST_LETTER:
            return None
        return Match(
            canary=needle.canary,
            granularity="registrable_domain",
            form="plain",
            offset=start,
            length=end - start,
        )
    if start and (
        low[start - 1] in _HOST_LETTER
        or (
            low[start - 1] == 46
            and low[max(0, start - 4) : start] != b"www."
            and not _leading_dot(low, start)
        )
    ):
        return None
    lead = _SCHEME_BEFORE.search(low, max(0, start - 96), start)
    grown = _grow_tail(address, low, end)
    granularity: Granularity = "host"
    if grown.path:
        granularity = "no_query"
        if grown.query:
            whole: Granularity = "host" if address.bare else "no_scheme"
            granularity = "full" if lead else whole
    begin = lead.start() if lead else start
    return Match(
        canary=needle.canary, granularity=granularity, form="plain", offset=begin, length=grown.end - begin
    )


def _leading_dot(low: bytes, start: int) -> bool:
    """Whether the dot before a name belongs to no longer name: `.example.org`, `*.example.org`."""
    return start < 2 or low[start - 2] not in _HOST_LETTER


class _Tail(NamedTuple):
    end: int
    path: bool
    query: bool


def _grow_tail(address: Address, low: bytes, end: int) -> _Tail:
    """How far the text after the host agrees with the address: port, path, query, fragment. A part
    counts when it is there whole and ends there."""
    if low[end : end + 1] == b"." and low[end + 1 : end + 2] in _AFTER_HOST:
        end += 1  # the root's dot
    if address.port is not None and low.startswith(b":%d" % address.port, end):
        end += len(b":%d" % address.port)
    else:
        for port in (b":443", b":80"):
            if low.startswith(port, end) and low[end + len(port) : end + len(port) + 1] not in _DIGIT:
                end += len(port)
    if address.bare:
        # there is nothing more to tell than the host; a page behind it is another address
        return _Tail(end, *(not (low[end : end + 1] == b"/" and low[end + 1 : end + 2] in _WORD),) * 2)
    at = _agreed(low, end, _readings(address.path.rstrip("/")))
    if at is None:
        return _Tail(end, False, False)
    end = at
    after = end + 1 if low[end : end + 1] == b"/" else end
    if low[after : after + 1] in _WORD:
        return _Tail(end, False, False)
    if not address.query:
        return _Tail(after, True, True)
    if low[after : after + 1] == b"?":
        at = _in_query(low, after + 1, _readings(address.query))
        if at is not None:
            fragment = b"#" + address.fragment.encode()
            if address.fragment and low.startswith(fragment, at):
                at += len(fragment)
            return _Tail(at, True, True)
    return _Tail(after, bool(address.path.strip("/")), False)


@lru_cache(maxsize=4096)
def _readings(part: str) -> tuple[bytes, ...]:
    """A path or query as it was sent and as it stands once its percent-encoding was undone."""
    raw = part.encode()
    plain = unquote_to_bytes(raw).lower()
    spaced = unquote_to_bytes(raw.replace(b"+", b" ")).lower()
    texts = [reading.decode("utf-8", "replace") for reading in (raw, plain, spaced)]
    written = [unicodedata.normalize(shape, text).lower() for text in texts for shape in ("NFC", "NFD")]
    quoted = [quote(text, safe="/=&").lower() for text in (*texts, *written)]
    shown = (*written, *map(fold, texts), *quoted)
    more = (*shown, *(text.replace("%20", "+").replace(" ", "+") for text in shown))
    return tuple(dict.fromkeys((raw, plain, spaced, *(text.encode() for text in more))))


def _agreed(low: bytes, start: int, readings: tuple[bytes, ...]) -> int | None:
    """Where the first reading that stands at `start` ends, if it ends there and no word goes on."""
    for reading in readings:
        end = start + len(reading)
        if low.startswith(reading, start) and (not reading or low[end : end + 1] not in _WORD):
            return end
    return None


def _in_query(low: bytes, start: int, readings: tuple[bytes, ...]) -> int | None:
    """Where the query that begins at `start` is over with one of these readings, be it that other parameters
    stand before it."""
    at = _agreed(low, start, readings)
    if at is not None:
        return at
    end = min(len(low), start + _LONGEST_QUERY)
    stop = _QUERY_END.search(low, start, end)
    end = stop.start() if stop else end
    for reading in readings:
        before = low.find(b"&" + reading, start, end) if reading else -1
        if before >= 0:
            at = _agreed(low, before + 1, (reading,))
            if at is not None:
                return at
    return _in_any_order(low, start, end, readings)


def _in_any_order(low: bytes, start: int, end: int, readings: tuple[bytes, ...]) -> int | None:
    """Where the last of the query's parameters ends, if all of them stand there in another order."""
    if b"&" not in readings[0]:
        return None
    there: dict[bytes, int] = {}
    at = start
    for pair in low[start:end].split(b"&"):
        at += len(pair)
        there.setdefault(pair, at)
        at += 1
    for reading in readings:
        pairs = reading.split(b"&")
        if all(pair in there for pair in pairs):
            return max(there[pair] for pair in pairs)
    return None


_LONGEST_QUERY = 8192
_QUERY_END = re.compile(rb"[\s#\"'<>]")
_AFTER_HOST = {b"/", b":", b"?"}
_DIGIT = {bytes([c]) for c in b"0123456789"}
_WORD = {bytes([c]) for c in b"abcdefghijklmnopqrstuvwxyz0123456789_"}


def _part_of(match: Match, other: Match) -> bool:
    """Whether a match is part of another canary's: of its address, or of a longer part of one."""
    if match.part:
        return bool(other.part or other.granularity in PAGES) and match.length < other.length
    return match.granularity in PAGES and other.granularity in PAGES


def _most_specific(matches: list[Match]) -> list[Match]:
    """Of matches that lie inside each other, the longest; of equal ones the most specific. An address that
    lies inside another canary's address is no sighting of its own: pages of one site begin alike."""
    kept: list[Match] = []
    for match in sorted(
        matches, key=lambda m: (m.offset, -m.length, SPECIFIC.index(m.granularity), m.canary)
    ):
        end = match.offset + match.length
        if any(
            end <= other.offset + other.length and (other.canary == match.canary or _part_of(match, other))
            for other in reversed(kept[-_NEAR:])
        ):
            continue
        kept.append(match)
    return kept
