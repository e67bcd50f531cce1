"""Converts the endpoints that TrackHAR covers into `data/trackhar.json`.

    python -m audit.adapters.build_trackhar FOLDER

FOLDER is the unpacked npm package `trackhar` 1.0.0 (tweaselORG/TrackHAR, CC0-1.0) with its dependencies
installed beside it. Node evaluates the module and prints its adapters; everything else happens here. Run by
hand when a new version is wanted; the product ships and reads only the result.

Converted: endpoint addresses, the conditions that our format can say, the decoding steps (only to learn which
part of a request a path speaks of: what is decoded is found by `audit.decoding` anyway), and every data path
whose property has a role here, with its reasoning. Left out, and counted: properties without a role (screen
sizes, versions, consent), the Referer header (it is looked at in every request), paths with filters.
"""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from audit.adapters.model import Adapter, FieldRow, Kind, Match, Role
from audit.records import DataSource

VERSION = "1.0.0"
DATA_SOURCE = DataSource(
    name=f"TrackHAR {VERSION}",
    licence="CC0-1.0",
    date="2024-11-29",
    attribution=f"Endpoints and data paths converted from TrackHAR {VERSION} by tweaselORG (CC0-1.0)",
    url="https://github.com/tweaselORG/TrackHAR",
)
TARGET = Path(__file__).parent / "data" / "trackhar.json"

_PRINT = """
import {{ adapters }} from {module};
const plain = (key, value) => value instanceof RegExp ? {{ pattern: value.source }}
  : typeof value === "function" ? String(value) : value;
console.log(JSON.stringify(adapters, plain));
"""
ROLES: dict[str, Role] = {
    "viewedPage": "visited_url",
    "websiteUrl": "visited_url",
    "referer": "referrer",
    "advertisingId": "ad_id",
    "hashedAdvertisingId": "ad_id",
    "deviceId": "hardware_id",
    "developerScopedId": "hardware_id",
    "macAddress": "hardware_id",
    "installationId": "install_id",
    "browserId": "install_id",
    "pushNotificationToken": "install_id",
    "sessionId": "session_id",
    "userId": "identifier",
    "otherIdentifiers": "identifier",
    "deviceName": "identifier",
    "campaignTerm": "search_term",
    "interactedElement": "click",
    "userAction": "event_name",
}
KINDS: dict[str, Kind] = {
    "adjust": "attribution",
    "apple": "attribution",
    "branch-io": "attribution",
    "google": "analytics",
    "facebook": "analytics",
    "infonline": "analytics",
    "onesignal": "push",
    "singular-net": "attribution",
    "smartbear": "crash",
    "yandex": "analytics",
}
_CONDITIONS = {
    """(r)=>r.content?.startsWith('{"')""": Match(body=('{"',)),
    """(r)=>r.content?.includes("format=json&")""": Match(body=("format=json&",)),
    """(r)=>r.content?.includes("ae=H4s")""": Match(body=("ae=H4s",)),
    """(r)=>!!r.content""": Match(methods=("POST",)),
    '''(r)=>r.method === "POST"''': Match(methods=("POST",)),
}
_LITERAL_LABELS = re.compile(r"(?:[a-z0-9-]+\.)+[a-z]{2,}$")
_STEP = re.compile(r'\.?([^.\[\]"]+)|\["([^"]+)"\]')
_NAME = re.compile(r"[A-Za-z_$][\w$-]*")


class Place(NamedTuple):
    """Where a variable of a decoding recipe lies: in which channel, in what kind of structure, and whether
    it holds a list of such structures that are each found by themselves here."""

    channel: str
    shape: str
    each: bool = False


def main(folder: str) -> None:
    """Reads the package in `folder`, writes the data file, says what was left out."""
    module = Path(folder).resolve() / "dist" / "index.js"
    script = _PRINT.format(module=json.dumps(str(module)))
    printed = subprocess.run(
        ["node", "--input-type=module", "--eval", script], check=True, capture_output=True, timeout=60
    )
    left_out: dict[str, int] = {}
    adapters = [convert(entry, left_out) for entry in json.loads(printed.stdout)]
    kept = [adapter for adapter in adapters if adapter is not None]
    document = msgspec.to_builtins({"data_source": DATA_SOURCE, "adapter": kept})
    for entry in document["adapter"]:
        for name in [name for name, value in entry.items() if not value]:
            del entry[name]
        entry["match"] = [{k: v for k, v in match.items() if v} for match in entry["match"]]
        for row in entry.get("fields", ()):
            del row["unit"]
    TARGET.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(
        f"{len(kept)} adapters, {sum(len(a.fields) for a in kept)} rows; left out: {left_out}",
        file=sys.stderr,
    )


def convert(entry: dict[str, Any], left_out: dict[str, int]) -> Adapter | None:
    """One TrackHAR adapter in our form; None where its addresses cannot be told by host and path."""
    tracker = entry["tracker"]
    condition = _CONDITIONS.get(entry.get("match", ""), Match())
    matches = tuple(
        msgspec.structs.replace(condition, hosts=hosts, path=path)
        for hosts, path in map(_endpoint, entry["endpointUrls"])
        if hosts
    )
    if not matches:
        _count(left_out, "addresses")
        return None
    return Adapter(
        id=f"trackhar.{tracker['slug']}.{entry['slug']}",
        name=entry["name"],
        organisation=tracker["name"],
        kind=KINDS.get(tracker["slug"], "advertising"),
        source=f"TrackHAR {VERSION} (CC0-1.0), {tracker['slug']}/{entry['slug']}",
        match=matches,
        fields=_fields(entry, left_out),
    )


def _endpoint(address: str | dict[str, str]) -> tuple[tuple[str, ...], str]:
    """Host suffixes and path pattern of an endpoint address, given literally or as a pattern."""
    if isinstance(address, str):
        host, slash, path = address.partition("://")[2].partition("/")
        return (host,), re.escape(slash + path).replace(r"\-", "-").removesuffix("/") + "/?"
    pattern = address["pattern"].replace(r"\/", "/").removeprefix("^").removesuffix("$")
    host, _, path = pattern.partition("://")[2].partition("/")
    if host == r"www\.google\..+":
        return ("google.*",), f"/{path}/?"
    hosts = {found[0] for name in _alternatives(host) if (found := _LITERAL_LABELS.search(name))}
    bounded = path.replace(".+", "[^?]{1,200}").replace(r"\d+", r"\d{1,20}")
    return tuple(sorted(hosts)), f"/{bounded}/?"


def _alternatives(host: str) -> list[str]:
    """Every reading of a host pattern's groups, with what is no literal cut away before its last labels."""
    parts = re.split(r"(\([^()]*\)\??)", host)
    choices = [
        [*part.strip("(?").rstrip(")").split("|"), *([""] if part.endswith("?") else [])]
        if part.startswith("(")
        else [part]
        for part in parts
    ]
    readings = ["".join(reading) for reading in itertools.product(*choices)]
    return [
        re.sub(r"^.*(?:\\d|\?|\+|\*)[^.]*", "", name.replace(r"\.", ".")).lstrip(".") for name in readings
    ]


def _fields(entry: dict[str, Any], left_out: dict[str, int]) -> tuple[FieldRow, ...]:
    places = _places(entry["decodingSteps"])
    rows: dict[tuple[str, Role, str], set[str]] = {}
    for name, described in entry["containedDataPaths"].items():
        for data_path in described if isinstance(described, list) else [described]:
            if name not in ROLES:
                _count(left_out, "properties without a role")
            elif data_path["context"] == "header" and data_path["path"].lower() == "referer":
                _count(left_out, "Referer header")
            elif (found := _locate(data_path, places)) is None:
                _count(left_out, "paths")
            else:
                channel, path = found
                key = (channel, _role(name, path), data_path["reasoning"])
                rows.setdefault(key, set()).add(path)
    return tuple(
        FieldRow(channels=(channel,), role=role, reasoning=reasoning, paths=tuple(sorted(paths)))
        for (channel, role, reasoning), paths in sorted(rows.items())
    )


def _role(name: str, path: str) -> Role:
    """TrackHAR says "viewed page" of addresses, titles and app screens alike: the field's name tells."""
    last = path.lower().rpartition(".")[2]
    if name in ("viewedPage", "websiteUrl"):
        if "title" in last or last in ("adfpagename", "pagename"):
            return "title"
        if "screen" in last or "activity" in last or last == "context":
            return "usage"
        if "domain" in last or "host" in last:
            return "host"
    return ROLES[name]


def _places(steps: list[dict[str, Any]]) -> dict[str, Place]:
    """Where the variables of a decoding recipe lie once all its steps are done."""
    places = {
        "query": Place("url.query", "raw"),
        "body": Place("body", "raw"),
        "path": Place("url.path", "raw"),
        "header": Place("header", "names"),
        "cookie": Place("cookie", "names"),
    }
    shapes = {
        "parseJson": "json",
        "decodeJwt": "json",
        "parseQueryString": "form",
        "decodeProtobuf": "protobuf",
    }
    for step in steps:
        source = step.get("input") or step["mapInput"]
        place = _of_variable(source, places)
        whole = step.get("options", {}).get("path") == "$"
        if place is None or step["function"] in ("split", "ensureArray"):
            continue
        if step["function"] == "getProperty" and not whole and place[0].shape == "names":
            places[step["output"]] = Place(f"header:{step['options']['path']}".lower(), "raw")
        elif step["function"] == "getProperty" and whole:
            places[step["output"]] = place[0]
        else:
            shape = shapes.get(step["function"], "raw")
            places[step["output"]] = Place(place[0].channel, shape, "mapInput" in step)
    return places


def _of_variable(expression: str, places: dict[str, Place]) -> tuple[Place, str] | None:
    """The longest variable that an expression begins with, and the rest of the expression."""
    for name in sorted(places, key=len, reverse=True):
        if expression == name or expression.startswith((name + ".", name + "[")):
            return places[name], expression[len(name) :].lstrip(".")
    return None


def _locate(data_path: dict[str, str], places: dict[str, Place]) -> tuple[str, str] | None:
    """Channel and path, as our fields have them; None for paths with filters."""
    path = re.sub(r'^\$\[\?\(@property\.startsWith\("(\w+)"\)\)\]$', r"\1*", data_path["path"])
    if "@" in path or ".." in path or "?" in path:
        return None
    path = path.removeprefix("$").lstrip(".")
    context = data_path["context"]
    if context == "header":
        return f"header:{path.lower()}", ""
    found = _of_variable(f"res.{context}" + ("" if path.startswith("[") else ".") + path, places)
    if found is None:
        return None
    place, rest = found
    names = [plain or quoted for plain, quoted in _STEP.findall(rest)]
    if place.each and names[:1] == ["*"]:
        del names[0]
    match place.shape:
        case "json":
            return place.channel, "$" + "".join(_json_step(name) for name in names)
        case "form" if names:
            return place.channel, names[0] + "".join(f"[{name}]" for name in names[1:])
        case "protobuf":
            return place.channel, ".".join(name for name in names if name != "*")
        case "names" if len(names) == 1:
            return place.channel, names[0]
        case "raw" if not names:
            return place.channel, ""
    return None


def _json_step(name: str) -> str:
    if name == "*" or name.isdecimal():
        return f"[{name}]"
    return f".{name}" if _NAME.fullmatch(name) else f"[{json.dumps(name)}]"


def _count(left_out: dict[str, int], reason: str) -> None:
    left_out[reason] = left_out.get(reason, 0) + 1


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(
            "usage: python -m audit.adapters.build_trackhar FOLDER  (the unpacked package trackhar 1.0.0)"
        )
    main(sys.argv[1])
