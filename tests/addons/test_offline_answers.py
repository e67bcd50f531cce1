"""The table of offline answers: what each kind of request is answered with, and that no page loads anything."""

import importlib.util
import json
import re
import socket
import subprocess
from pathlib import Path
from types import ModuleType

import pytest
from mitmproxy.http import Request

from tests.addons.proxies import needs_mitmdump, proxy


@pytest.fixture(scope="module")
def answers() -> ModuleType:
    """The addon, loaded by its path as mitmdump does."""
    path = Path(__file__).resolve().parents[2] / "addons" / "offline_answers.py"
    spec = importlib.util.spec_from_file_location("offline_answers", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_suggestions_are_the_typed_text_and_a_list(answers: ModuleType) -> None:
    request = Request.make("GET", 'https://duckduckgo.com/ac/?q=a+"b&type=list')
    typed, suggested = json.loads(answers.answer_for("duckduckgo.com", request.path).body(request))
    assert typed == 'a "b'
    assert all(text.startswith(typed) for text in suggested)


@pytest.mark.parametrize(
    ("host", "path", "status"),
    [
        ("plover.example", "/mill", 200),
        ("plover.example", "/favicon.ico", 404),
        ("plover.example", "*", 200),
        ("connectivitycheck.gstatic.com", "/generate_204", 204),
        ("update.googleapis.com", "/service/update2/json?x=1", 200),
        ("optimizationguide-pa.googleapis.com", "/v1:GetModels", 204),
        ("notgoogleapis.com", "/v1:GetModels", 200),
    ],
)
def test_the_first_fitting_row_answers(answers: ModuleType, host: str, path: str, status: int) -> None:
    assert answers.answer_for(host, path).status == status


@pytest.mark.parametrize("url", ["https://duckduckgo.com/?q=<script>", "https://x.example/<img src=y>"])
def test_pages_are_inert_and_load_nothing(answers: ModuleType, url: str) -> None:
    request = Request.make("GET", url)
    body = answers.answer_for(request.pretty_host, request.path).body(request)
    assert "<script" not in body
    assert "<img" not in body
    assert re.findall(r'(?:href|src)="([^"]*)"', body) == ["data:,"]


def test_a_name_has_one_address_in_the_test_range(answers: ModuleType) -> None:
    assert answers.address_of("Wren.Example") == answers.address_of("wren.example")
    assert answers.address_of("wren.example") != answers.address_of("teal.example")
    assert answers.address_of("wren.example") in answers.TEST_RANGE


@needs_mitmdump
def test_only_the_domains_named_are_answered(tmp_path: Path) -> None:
    flows = tmp_path / "experiment" / "flows.mitm"
    with (
        socket.create_server(("127.0.0.1", 0)) as upstream,
        proxy(flows, options=("offline_domains=wren-k7m2.example",)) as (_, port),
    ):
        authority = tmp_path / "conf" / "mitmproxy-ca-cert.pem"
        for url in ("http://wren-k7m2.example/quay", "https://wren-k7m2.example/quay"):
            command = [
                "curl",
                "-s",
                "-m",
                "20",
                "--proxy",
                f"http://127.0.0.1:{port}",
                "--cacert",
                str(authority),
                url,
            ]
            assert b"<p>/quay</p>" in subprocess.run(command, capture_output=True, check=False).stdout
        with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
            host = f"127.0.0.1:{upstream.getsockname()[1]}"
            client.sendall(f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            upstream.settimeout(20)
            upstream.accept()[0].close()
