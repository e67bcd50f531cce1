"""QR codes are read back from the picture, as a phone's camera reads them: from the terminal, and from the pages' SVG.

The reader is ZXing; the pictures are made here from the block characters and the SVG's path, and, where a browser is
installed, by photographing the control page.
"""

from __future__ import annotations

import base64
import html
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from audit.canaries import Outline, plan
from audit.experiment import load, save
from audit.recording import qr, wireguard
from audit.recording.board import Board
from audit.recording.checklist import as_html, as_text
from audit.recording.control import Control
from audit.recording.marks import mark, tick
from audit.recording.onboarding import onboarding
from audit.recording.proxy_mode import parse

zxingcpp = pytest.importorskip("zxingcpp", reason="zxing-cpp is not installed")

PIXELS = 6  # for each module of a code
HALVES = {"\u2588": (255, 255), "\u2580": (255, 0), "\u2584": (0, 255), " ": (0, 0)}  # upper, lower
CHROMIUM = shutil.which("chromium")


def read_back(picture: Any) -> list[str]:
    """The texts of all codes in a picture; one that is light on dark counts as none."""
    found = zxingcpp.read_barcodes(picture, formats=zxingcpp.BarcodeFormat.QRCode, try_invert=False)
    return [each.text for each in found]


def enlarged(rows: list[list[int]]) -> Any:
    return np.kron(np.array(rows, np.uint8), np.ones((PIXELS, PIXELS), np.uint8))


def from_terminal(text: str) -> Any:
    """What a dark terminal shows of one code's lines."""
    rows: list[list[int]] = []
    for line in text.strip("\n").split("\n"):
        for half in (0, 1):
            rows.append([HALVES[character][half] for character in line])
    return enlarged(rows)


def from_svg(svg: str) -> Any:
    """The picture that a code's SVG describes: horizontal lines, one module high, on a white ground."""
    size = int(re.findall(r'viewBox="0 0 (\d+)', svg)[0]) // 4
    ground, lines = re.findall(r' d="([^"]+)"', svg)
    assert ground == f"M0 0h{size}v{size}h-{size}z"
    assert 'fill="#fff"' in svg
    assert 'stroke="#000"' in svg
    rows, x, y = [[255] * size for _ in range(size)], 0, 0.0
    for command, first, second in re.findall(r"([Mmh])(-?[\d.]+)(?: ?(-?[\d.]+))?", lines):
        if command == "h":
            for column in range(x, x + int(first)):
                rows[int(y)][column] = 0
            x += int(first)
        else:
            x, y = (int(first), float(second)) if command == "M" else (x + int(first), y + float(second))
    return enlarged(rows)


def addresses(folder: Path) -> list[str]:
    return [canary.value for canary in load(folder).canaries if canary.kind == "url" and not canary.decoy]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(plan(Outline(trials=2)), tmp_path / "experiment")
    return tmp_path / "experiment"


@pytest.mark.parametrize("endpoint", ["192.0.2.7", "2001:db8:1234:5678:9abc:def0:1234:5678"])
def test_the_tunnel_is_read_from_terminal_and_page(tmp_path: Path, endpoint: str) -> None:
    text = wireguard.configuration(tmp_path / "wireguard.json", endpoint, 51820)
    assert read_back(from_terminal(qr.drawn(text))) == [text]
    assert read_back(from_svg(qr.svg(text))) == [text]


def test_the_plans_addresses_are_read_from_the_checklist(folder: Path) -> None:
    shown = as_text(load(folder), codes=True)
    coloured = re.findall(r"(?:\x1b\[97;40m[^\x1b\n]*\x1b\[0m\n?)+", shown)
    codes = [re.sub(r"\x1b\[[\d;]*m", "", each) for each in coloured]
    assert [read_back(from_terminal(code)) for code in codes] == [[url] for url in addresses(folder)]
    drawn = re.findall(r"<svg.*?</svg>", as_html(load(folder)), re.DOTALL)
    assert [read_back(from_svg(each)) for each in drawn] == [[url] for url in addresses(folder)]


def test_plan_show_prints_codes_that_can_be_read_from_a_file(folder: Path) -> None:
    """Where the output is no terminal, there are no escape sequences in it."""
    done = subprocess.run(
        [sys.executable, "-m", "audit", "plan", "show", str(folder)],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    assert "\x1b" not in done.stdout
    codes = re.findall(r"(?:^[\u2588\u2580\u2584 ]*[\u2588\u2580\u2584]\n)+", done.stdout, re.MULTILINE)
    assert [read_back(from_terminal(code)) for code in codes] == [[url] for url in addresses(folder)]


def test_the_control_page_shows_the_next_address(folder: Path) -> None:
    mark(folder, "private")
    first = next(n for n, step in enumerate(load(folder).steps) if step.phase == "private-1")
    tick(folder, first)
    shown = Board(folder, lambda: "recording", "regular").state()["next"]
    svg = base64.b64decode(shown["code"].partition(",")[2]).decode()
    assert read_back(from_svg(svg)) == [shown["value"]]
    assert shown["value"] in addresses(folder)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_photograph_of_the_control_page_can_be_scanned(folder: Path, tmp_path: Path, scheme: Any) -> None:
    pillow = pytest.importorskip("PIL.Image", reason="pillow is not installed")
    from playwright.sync_api import sync_playwright

    tunnel = wireguard.configuration(tmp_path / "wireguard.json", "192.0.2.7", 51820)
    guide = onboarding(parse("wireguard"), "192.0.2.7", "any", None, tunnel)
    mark(folder, "normal")
    board = Board(folder, lambda: "recording", "wireguard")
    while not board.state()["next"]["code"]:
        tick(folder, board.state()["next"]["number"])
    expected = board.state()["next"]["value"]
    control = Control(folder, board, guide)
    picture = tmp_path / "page.png"
    try:
        with sync_playwright() as play:
            browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            for width in (390, 1280):
                page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
                page.goto(control.url)
                page.wait_for_selector("#code:not([hidden])")
                page.wait_for_function("document.getElementById('code').complete")
                page.screenshot(path=str(picture), full_page=True)
                assert set(read_back(pillow.open(picture).convert("L"))) == {tunnel, expected}
                page.goto(control.url + "plan")
                page.screenshot(path=str(picture), full_page=True)
                assert set(read_back(pillow.open(picture).convert("L"))) == set(addresses(folder))
            browser.close()
    finally:
        control.close()
    assert html.unescape(expected) == expected
