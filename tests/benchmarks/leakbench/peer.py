"""The named peer, privacy-flow-inspector 0.3.0, on the same bodies in the same run.

It is installed once into an environment of its own in the user's cache folder, with the ordinary
installer; where that cannot be done the reason is told and its columns stay empty. It reads HAR files
only, so it gets the HTTP and WebSocket cases as a HAR, and its persona values are the canaries (for an
address: the address and its host, as it never matches a whole address that has a query).
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from audit.records import AnyRecord, Canary, Http, WebSocketMessage

REQUIREMENT = "privacy-flow-inspector==0.3.0"


class UnavailableError(Exception):
    """Why the peer cannot run here."""


@dataclass(frozen=True)
class Answer:
    """Seconds for reading the HAR, seconds for the analysis alone, and (site, canary) of what was found."""

    loading: float
    seconds: float
    found: set[tuple[str, str]]


class Peer:
    """The peer, installed. Raises `UnavailableError`."""

    def __init__(self) -> None:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "leakbench"
        self._python = cache / "peer" / "bin" / "python"
        try:
            if not self._works():
                venv.create(cache / "peer", with_pip=True, clear=True)
                subprocess.run(
                    [str(self._python), "-m", "pip", "install", "--quiet", REQUIREMENT],
                    check=True, capture_output=True, text=True, timeout=300,
                )  # fmt: skip
        except subprocess.CalledProcessError as error:
            raise UnavailableError(
                f"{REQUIREMENT} could not be installed: {error.stderr.strip()[-200:]}"
            ) from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise UnavailableError(f"{REQUIREMENT} could not be installed: {error}") from error
        if not self._works():
            raise UnavailableError(
                f"{REQUIREMENT} was installed and cannot be loaded by Python {sys.version.split()[0]}"
            )

    def _works(self) -> bool:
        ask = "import privacy_flow_inspector as p; assert p.__version__ == '0.3.0'"
        return (
            self._python.exists()
            and not subprocess.run(
                [str(self._python), "-c", ask], capture_output=True, check=False
            ).returncode
        )

    def run(self, records: Iterable[AnyRecord], personas: list[dict[str, str]]) -> Answer:
        """Lets the peer analyse these records."""
        driver = Path(__file__).with_name("peer_driver.py")
        with tempfile.TemporaryDirectory() as folder:
            har, values = Path(folder, "bodies.har"), Path(folder, "personas.json")
            har.write_text(json.dumps(_har(records)))
            values.write_text(json.dumps(personas))
            done = subprocess.run(
                [str(self._python), str(driver), str(har), str(values)],
                capture_output=True, text=True, timeout=1800, check=False,
            )  # fmt: skip
        if done.returncode:
            raise UnavailableError(f"{REQUIREMENT} failed: {done.stderr.strip()[-300:]}")
        answer = json.loads(done.stdout)
        found = {(site, title.partition("|")[0]) for site, title in answer["found"]}
        return Answer(answer["load"], max(answer["inspect"] - answer["load"], 1e-9), found)


def site(record: AnyRecord) -> str:
    """How the peer names the recipient of a case: its registrable domain."""
    host = getattr(record, "host", None) or ""
    return ".".join(host.split(".")[-2:])


def values_only(canaries: Iterable[Canary]) -> list[dict[str, str]]:
    """One persona value per canary: for speed."""
    return [{"label": f"{canary.id}|value", "value": canary.value} for canary in canaries]


def values_and_hosts(canaries: list[Canary]) -> list[dict[str, str]]:
    """The canaries' values and, of addresses, the host: for recall."""
    hosts = [(c.id, urlsplit(c.value).hostname or "") for c in canaries if c.kind == "url"]
    return values_only(canaries) + [{"label": f"{name}|host", "value": host} for name, host in hosts]


def _har(records: Iterable[AnyRecord]) -> dict[str, object]:
    entries = [entry for record in records if (entry := _entry(record))]
    return {"log": {"version": "1.2", "creator": {"name": "leakbench", "version": "1"}, "entries": entries}}


def _entry(record: AnyRecord) -> dict[str, object] | None:
    if isinstance(record, WebSocketMessage):
        text = record.type == "text"
        data = record.data.decode() if text else base64.b64encode(record.data).decode()
        message = {"type": "send", "time": 1_700_000_000, "opcode": 1 if text else 2, "data": data}
        return {
            **_request("GET", record.url, []),
            "_webSocketMessages": [message],
            "_resourceType": "websocket",
        }
    if not isinstance(record, Http):
        return None
    headers = [{"name": n.decode(), "value": v.decode("latin-1")} for n, v in record.headers]
    entry = _request(record.method, f"https://{record.authority}{record.path}", headers)
    if record.body:
        media = next((h["value"] for h in headers if h["name"] == "content-type"), "")
        post: dict[str, object] = {"mimeType": media}
        try:
            post["text"] = record.body.decode()
        except UnicodeDecodeError:
            post |= {"text": base64.b64encode(record.body).decode(), "encoding": "base64"}
        entry["request"]["postData"] = post  # type: ignore[index]
    return entry


def _request(method: str, url: str, headers: list[dict[str, str]]) -> dict[str, object]:
    request = {
        "method": method, "url": url, "httpVersion": "HTTP/2", "headers": headers, "queryString": [],
        "cookies": [], "headersSize": -1, "bodySize": -1,
    }  # fmt: skip
    response = {"status": 200, "statusText": "", "headers": [], "content": {"size": 0, "mimeType": ""}}
    return {"startedDateTime": "2024-01-01T00:00:00Z", "time": 1, "request": request, "response": response}
