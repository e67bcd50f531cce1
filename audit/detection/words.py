"""Words as people, browsers and programs write them: joined, in another case, in other forms of the same letters.

Letters are made alike as Unicode says (3.13, default caseless matching; annex 15, normalisation). This
module knows words, not where they stand.
"""

from __future__ import annotations

import unicodedata
from urllib.parse import quote

MIN_TOKEN = 3
_SEPARATORS = (" ", "+", "%20", "-", "_", "  ")
_MIN_GLUED = 8
# typographic quotes and hyphens as typed; the i with and without its dot, whose case differs by language; the full
# stops that names of hosts may be written with (UTS 46)
_ALIKE = str.maketrans(
    {
        "\u2018": "'",
        "\u2019": "'",
        "\u201c": '"',
        "\u201d": '"',
        "\u0131": "i",
        "\u0307": None,
        "\u3002": ".",
        "\uff61": ".",
        "\u2010": "-",
        "\u2011": "-",
    }
)


def fold(text: str) -> str:
    """Text with its letters made alike: NFKC, case folded, and a few letters more (Unicode, 3.13)."""
    return unicodedata.normalize("NFKC", text.casefold()).translate(_ALIKE)


def text_forms(value: str) -> set[bytes]:
    """The words of a value with every joiner, in every normal form; ASCII in lower case."""
    forms: set[bytes] = set()
    for shape in ("NFC", "NFKC", "NFD"):
        text = unicodedata.normalize(shape, value).strip()
        words = text.split()
        for joined in {text, *(separator.join(words) for separator in _SEPARATORS)}:
            forms |= _cased(joined)
        if not text.isascii():
            forms.add(quote(text).lower().encode())
    return {form for form in forms if len(form) >= MIN_TOKEN}


def glued_forms(value: str) -> set[bytes]:
    """The words of a value with nothing between them, as hashtags and host names have them."""
    words = unicodedata.normalize("NFC", value).split()
    if len(words) < 2:
        return set()
    forms = _cased("".join(words))
    return {form for form in forms if len(form) >= _MIN_GLUED}


def _cased(text: str) -> set[bytes]:
    # ASCII is folded in the data; of other scripts the usual cases are searched for
    cases = {text, text.lower(), text.upper(), text.title()}
    return {cased.encode().lower() for cased in cases} | {fold(text).encode()}


def plain_word(value: str) -> bool:
    """Whether a search term is so short and plain that it stands in other text by chance: it counts only
    where it is the whole value of a field."""
    if value.isascii():
        return len(value) < 8 and value.isalpha()
    return len(value) < 4


def made_up(value: str) -> bool:
    """Whether a value holds a word that no dictionary has, such as `zx4q8`: letters and digits in one."""
    return any(any(c.isalpha() for c in word) and any(c.isdigit() for c in word) for word in value.split())
