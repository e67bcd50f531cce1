"""The headers and the body of a HAR request → bytes, as near to what was sent as HAR tells.

HAR keeps text where bytes were sent, and exporters differ in what they leave out. See `encoded` for what
text becomes.
Sources: http://www.softwareishard.com/blog/har-12-spec/; `encoding` of postData as PCAPdroid writes it.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any
from urllib.parse import quote_plus

from audit.records import Headers
from audit.sources import values
from audit.sources.har_document import Request

_TEXTUAL = re.compile(r"text/|json|xml|javascript|ecmascript|x-www-form-urlencoded|graphql", re.IGNORECASE)
_BOUNDARY = re.compile(r'boundary="?([^";,]+)', re.IGNORECASE)


def body_of(request: Request, headers: Headers) -> tuple[bytes | None, int]:
    """The body and its size. A body that is said to have been sent and is not there is None."""
    told = size_of(request.body_size) or values.declared_length(headers)
    post = request.post_data
    body = b""
    if isinstance(post, dict):
        kind = loose_text(post.get("mimeType")) or next(
            (values.text(value) for name, value in headers if name.lower() == b"content-type"), ""
        )
        content = post.get("text")
        if isinstance(content, str) and content:
            marked = str(post.get("encoding") or post.get("_encoding") or "").lower() == "base64"
            decoded = unbase64(content) if marked else None
            body = encoded(content, kind) if decoded is None else decoded
        elif isinstance(post.get("params"), list):
            body = _from_params(post["params"], kind)
    return (None, told) if told and not body else (body, len(body))


def encoded(content: str, kind: str) -> bytes:
    """The bytes of a text. HAR holds text that the exporter decoded: it is written as UTF-8. Where the
    type is not one of text and every character fits in a byte, the exporter wrote one character per byte
    (mitmproxy, Firefox). Single surrogates are bytes that Python could not decode."""
    if not _TEXTUAL.search(kind) and kind and not content.isascii():
        try:
            return content.encode("latin-1")
        except UnicodeEncodeError:
            pass
    try:
        return content.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return content.encode("utf-8", "surrogatepass")


def _from_params(params: list[Any], kind: str) -> bytes:
    """A form as it is written on the wire (WHATWG URL section 5.2; RFC 7578), from its parsed fields."""
    fields = [
        (loose_text(param.get("name")), loose_text(param.get("value")), loose_text(param.get("fileName")))
        for param in params
        if isinstance(param, dict)
    ]
    boundary = _BOUNDARY.search(kind)
    if "multipart" not in kind.lower() or boundary is None:
        return "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value, _ in fields).encode()
    lines: list[str] = []
    for name, value, file_name in fields:
        file_part = f'; filename="{file_name}"' if file_name else ""
        head = f'Content-Disposition: form-data; name="{name}"{file_part}'
        lines += [f"--{boundary[1]}", head, "", value]
    return "\r\n".join([*lines, f"--{boundary[1]}--", ""]).encode("utf-8", "surrogatepass")


def unbase64(content: str) -> bytes | None:
    try:
        return base64.b64decode(content)
    except (binascii.Error, ValueError):
        return None


def headers_of(told: object) -> Headers:
    """The header fields, without the pseudo-fields of HTTP/2 (RFC 9113 section 8.3)."""
    return tuple(
        (values.text(item["name"]).encode(), values.text(item["value"]).encode())
        for item in (told if isinstance(told, list) else ())
        if isinstance(item, dict)
        and isinstance(item.get("name"), str)
        and isinstance(item.get("value"), str)
        and not item["name"].startswith(":")
    )


def pseudo_authority(told: object) -> str:
    for item in told if isinstance(told, list) else ():
        if isinstance(item, dict) and item.get("name") == ":authority":
            return loose_text(item.get("value"))
    return ""


def cookies_of(told: object) -> Headers:
    """The Cookie header (RFC 6265 section 5.4) of an exporter that lists cookies apart."""
    pairs = [
        f"{loose_text(item.get('name'))}={loose_text(item.get('value'))}"
        for item in (told if isinstance(told, list) else ())
        if isinstance(item, dict)
    ]
    return ((b"cookie", "; ".join(pairs).encode()),) if pairs else ()


def loose_text(value: object) -> str:
    """A text, "" where there is none."""
    return values.text(value) if isinstance(value, str) else ""


def size_of(value: object) -> int | None:
    """A size; HAR writes -1 for one that is not known."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
