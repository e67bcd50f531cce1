"""Onboarding and modes: what is said is right for the mode and the phone, and the keys are kept."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from audit.recording import qr, wireguard
from audit.recording.network import is_endpoint
from audit.recording.onboarding import as_text, onboarding
from audit.recording.proxy_mode import BadMode, parse, specs


@pytest.mark.skipif(shutil.which("wg") is None, reason="wireguard-tools is not installed")
def test_public_keys_are_those_of_wireguards_own_tool(tmp_path: Path) -> None:
    for key in wireguard.keys(tmp_path / "wireguard.json"):
        told = subprocess.run(["wg", "pubkey"], input=key, capture_output=True, text=True, check=True)
        assert wireguard.public(key) == told.stdout.strip()


def test_the_tunnels_keys_are_made_once_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "wireguard.json"
    first = wireguard.configuration(path, "192.0.2.7", 51820)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert wireguard.configuration(path, "192.0.2.7", 51820) == first
    assert "Endpoint = 192.0.2.7:51820" in first
    assert "AllowedIPs = 0.0.0.0/0, ::/0" in first
    assert "Endpoint = [2001:db8::7]:51820" in wireguard.configuration(path, "2001:db8::7", 51820)
    server, device = wireguard.keys(path)
    assert server not in first
    assert device in first


def test_keys_that_are_none_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "wireguard.json"
    for text in ("", "[]", '{"server_key": "x"}', '{"server_key": "x", "client_key": "y"}'):
        path.write_text(text)
        with pytest.raises(wireguard.BadKeys, match="holds no WireGuard keys"):
            wireguard.keys(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("magic", "is no mode"), ("upstream", "other proxy's address"), ("upstream:ftp://x", "other proxy's address"),
        ("regular:8080", "nothing behind a colon"),
    ],
)  # fmt: skip
def test_a_mode_that_is_none_is_refused(text: str, reason: str) -> None:
    with pytest.raises(BadMode, match=reason):
        parse(text)


def test_mitmproxys_words_for_the_modes() -> None:
    assert specs(parse("regular", 8085), "::1", "k") == ["regular@[::1]:8085"]
    assert specs(parse("wireguard"), "0.0.0.0", "k.json") == ["wireguard:k.json@0.0.0.0:51820"]
    assert specs(parse("transparent"), "0.0.0.0", "k") == ["transparent@0.0.0.0:8080", "dns@0.0.0.0:8081"]
    assert specs(parse("upstream:http://192.0.2.1:3128"), "0.0.0.0", "k") == [
        "upstream:http://192.0.2.1:3128@0.0.0.0:8080"
    ]


@pytest.mark.parametrize(
    "mode", ["regular", "wireguard", "transparent", "socks5", "upstream:http://192.0.2.1:1", "local"]
)
@pytest.mark.parametrize(("system", "version"), [("any", None), ("android", 9), ("android", 14), ("ios", 13), ("ios", 17), ("desktop", None)])  # fmt: skip
def test_every_mode_and_phone_has_steps_in_order(mode: str, system: str, version: int | None) -> None:
    text = as_text(onboarding(parse(mode), "192.0.2.7", system, version, None))  # type: ignore[arg-type]
    titles = re.findall(r"^\d.*", text, re.MULTILINE)
    assert titles[0].startswith("1.")
    assert len(titles) >= 3
    if system == "android":
        assert ("Settings, Security and privacy" in text) == (version == 14)
        assert "Certificate Trust Settings" not in text
    if mode == "regular":
        assert "server 192.0.2.7, port 8080" in text


@pytest.mark.parametrize("endpoint", ["192.0.2.7", "2001:db8::7", "laptop.local", "laptop", "3com.example"])
def test_an_address_or_a_name_can_be_told_to_a_phone(endpoint: str) -> None:
    assert is_endpoint(endpoint)


def test_a_code_that_could_not_be_scanned_is_refused() -> None:
    assert "<svg" in qr.svg("https://a.example/")
    with pytest.raises(ValueError, match="longer"):
        qr.drawn("x" * 3_000)
