"""The experiment folder: what is read, what is refused and where, what survives writing."""

from __future__ import annotations

import re
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.experiment import (
    BadExperiment,
    capture_paths,
    key_paths,
    load,
    mode_at,
    phase_of,
    save,
)
from audit.records import Browser, Canary, Device, Experiment, Phase, Step

GOOD = """\
# what we did on Tuesday
schema = 1
captures = ["flows.mitm"]   # from the proxy
keys = ["keys.log"]

[device]
name = "a phone"
addresses = ["10.0.0.1"]

[[phase]]
id = "normal-1"
mode = "normal"
start = 2026-03-01T10:00:00Z
end = 2026-03-01T10:05:00Z

[[canary]]
id = "n-term"
kind = "term"
value = "marble otter"
phase = "normal-1"

[[phase]]          # tables may be mixed
id = "private-1"
mode = "private"
setting = "opted-out"
start = 2026-03-01T11:05:00+01:00

[[canary]]
id = "decoy"
kind = "url"
value = "https://never.example/"
decoy = true

[[step]]
at = 2026-03-01T10:01:00Z
action = "type_only"
canary = "n-term"
"""
T0 = datetime(2026, 3, 1, 10, tzinfo=UTC)


def write(folder: Path, text: str | bytes) -> Path:
    file = folder / "experiment.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def refusal(folder: Path, text: str | bytes) -> BadExperiment:
    write(folder, text)
    with pytest.raises(BadExperiment) as caught:
        load(folder)
    return caught.value


def test_reads_folder_and_file_alike(tmp_path: Path) -> None:
    file = write(tmp_path, GOOD)
    experiment = load(file)
    assert experiment == load(tmp_path)
    assert experiment.device == Device(name="a phone", addresses=("10.0.0.1",))
    assert [phase.id for phase in experiment.phases] == ["normal-1", "private-1"]
    assert experiment.phases[1].start == T0 + timedelta(minutes=5)
    assert experiment.canaries[1].decoy
    assert experiment.steps[0].action == "type_only"


def test_the_example_in_the_documentation(tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent / "docs" / "experiment.md").read_text()
    example = page.partition("```toml\n")[2].partition("```")[0]
    write(tmp_path, example)
    experiment = load(tmp_path)
    for record in (experiment, experiment.device, experiment.browser, experiment.phases, experiment.canaries):
        assert record
    assert experiment.phases[-1].end is None
    explained = page.partition("## Keys")[2]
    for table, kind in (("phase", Phase), ("canary", Canary), ("step", Step), ("device", Device)):
        for field in msgspec.structs.fields(kind):
            assert f"`{table}.{field.name}`" in explained


def test_an_empty_file_is_an_experiment_about_which_nothing_is_known(tmp_path: Path) -> None:
    write(tmp_path, "")
    assert load(tmp_path) == Experiment()


def test_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    plain = load(tmp_path)
    write(tmp_path, b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert load(tmp_path) == plain


# (what is changed in GOOD, into what, line of the complaint, what it must say)
REFUSED = {
    "syntax": ('mode = "normal"', 'mode = "normal', 12, "not TOML"),
    "cut off": (GOOD[GOOD.index('name = "a') :], 'name = """a', 7, "not TOML"),
    "schema": ("schema = 1", "schema = 9", 2, "schema 9 is not known; write schema = 1"),
    "schema type": ("schema = 1", 'schema = "1"', 2, "whole number"),
    "missing key": ('mode = "normal"\n', "", 10, "this phase has no mode"),
    "wrong type": ('name = "a phone"', "name = 5", 7, "name is 5; it has to be text"),
    "wrong list": ('["flows.mitm"]', '"flows.mitm"', 3, "a list of texts"),
    "mode": ('"private"', '"incognito"', 24, '"idle", "normal", "private"'),
    "kind": ('kind = "url"', 'kind = "link"', 30, '"url", "term"'),
    "action": ('"type_only"', '"typed"', 36, '"type_and_submit"'),
    "no offset": ("10:00:00Z", "10:00:00", 13, "without offset"),
    "date only": ("2026-03-01T10:00:00Z", "2026-03-01", 13, "a time with its offset"),
    "quoted time": ("2026-03-01T10:00:00Z", '"2026-03-01T10:00:00Z"', 13, "without quotes"),
    "end before start": ("10:05:00Z", "09:05:00Z", 14, "ends before it starts"),
    "overlap": ("11:05:00+01:00", "11:04:59+01:00", 26, "may not overlap"),
    "open phase": ("end = 2026-03-01T10:05:00Z\n", "", 10, "only the last phase may be open"),
    "phase twice": ('id = "private-1"', 'id = "normal-1"', 23, "rename"),
    "canary twice": ('id = "decoy"', 'id = "n-term"', 29, "rename"),
    "no id": ('id = "decoy"', 'id = ""', 29, "empty"),
    "step without canary": ('canary = "n-term"', 'canary = "n-tern"', 37, 'did you mean "n-term"?'),
    "canary without phase": ('phase = "normal-1"', 'phase = "private-2"', 20, 'did you mean "private-1"?'),
    "decoy with phase": ("decoy = true", 'decoy = true\nphase = "normal-1"', 33, "never used"),
    "decoy in step": ('canary = "n-term"', 'canary = "decoy"', 37, "is a decoy"),
    "step in other phase": ("10:01:00Z", "10:07:00Z", 37, "lies in"),
    "equal values": ('"https://never.example/"', '"Marble OTTER"', 19, "equals"),
    "prefix": ('"https://never.example/"', '"marble otter h4"', 19, "is the beginning of"),
    "empty value": ('"https://never.example/"', '""', 31, "empty"),
    "absolute path": ('"flows.mitm"', '"/etc/passwd"', 3, "not a file in this folder"),
    "parent path": ('"keys.log"', '"sub/../../keys.log"', 4, "not a file in this folder"),
    "named twice": ('["flows.mitm"]', '["flows.mitm", "./flows.mitm"]', 3, "named twice"),
    "unknown key": ('setting = "opted-out"', 'seting = "opted-out"', 25, "did you mean setting?"),
    "misspelt needed key": ('mode = "normal"', 'mod = "normal"', 12, "did you mean mode?"),
    "unknown table": ("[device]", "[gadget]", 6, "known here: schema"),
    "plural": ("[[step]]", "[[steps]]", 34, "did you mean step?"),
    "one table": ("[[step]]", "[step]", 34, "[[step]]"),
    "list as table": ("[device]", "[[device]]", 6, "[device]"),
    "key in the wrong table": ("[[step]]", "step = 3\n[[step]]", 34, "unknown key"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses_with_line_reason_and_remedy(case: str, tmp_path: Path) -> None:
    old, new, line, words = REFUSED[case]
    assert old in GOOD
    error = refusal(tmp_path, GOOD.replace(old, new, 1))
    message = str(error)
    assert "\n" not in message
    assert re.fullmatch(re.escape(f"{tmp_path / 'experiment.toml'}:{error.line}: ") + r".+; .+", message)
    assert words in message
    assert (error.line, message) == (line, message)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xfe", "not UTF-8"),
        (b"schema = 1\nx = '\xff'", ":2: this is not UTF-8"),
        (b"#" * (1 << 21), "larger than"),
        (b"a = " + b"[" * 50_000, "nested too deeply"),
        (b"a" + b".a" * 20_000 + b" = 1", "parts"),
        (b"schema = " + b"9" * 5_000, "not TOML"),
        (b"schema = 0x" + b"f" * 50_000, "a huge number"),
        (b'captures = ["a\\u0000b"]', "not a file"),
        (b"\x89PNG\r\n\x1a\n", ""),
    ],
)
def test_hostile_files(content: bytes, words: str, tmp_path: Path) -> None:
    assert words in str(refusal(tmp_path, content))


def test_control_characters_do_not_reach_the_terminal(tmp_path: Path) -> None:
    message = str(refusal(tmp_path, '"\\u001b[31m\\n" = 1'))
    assert "\x1b" not in message
    assert "\n" not in message


def test_files_that_are_not_there(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.toml", tmp_path / ("x" * 5_000), Path("/dev/null")):
        with pytest.raises(BadExperiment, match=":1: "):
            load(path)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('[device]\nname = """\nx = 1\n[[phase]]\n"""\naddresses = 3\n', 6),
        ("captures = [\n  'a', # ]\n  '[[phase]]',\n]\nkeys = 3\n", 5),
        ("[device]\nname = 'x'\n\n['device'.\"x\"]\n", 4),
        ("device.name = 'x'\ndevice.addresses = 1\n", 2),
        ("captures = []\ncanary = [\n {id = 'x'},\n]\n", 2),
        ("# a\n# b = 3\n[ device ]  # c\n  name  =  4\n", 4),
    ],
)
def test_line_numbers_in_unusual_layouts(text: str, line: int, tmp_path: Path) -> None:
    assert refusal(tmp_path, text).line == line


def test_clock_and_phases(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    experiment = load(tmp_path)
    normal, private = experiment.phases
    start = T0.timestamp()
    assert mode_at(experiment, start - 0.001) is None
    assert mode_at(experiment, start) is normal
    assert mode_at(experiment, start + 299.999) is normal
    assert mode_at(experiment, start + 300) is private
    assert mode_at(experiment, start + 1e9) is private
    assert phase_of(experiment, "n-term") is normal
    assert phase_of(experiment, "decoy") is None
    assert phase_of(experiment, "nobody") is None
    assert mode_at(Experiment(), start) is None


def test_captures_as_named(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    experiment = load(tmp_path)
    with pytest.raises(BadExperiment, match=r'experiment.toml:3: "flows.mitm" is not there; '):
        capture_paths(tmp_path, experiment)
    (tmp_path / "flows.mitm").touch()
    (tmp_path / "other.har").touch()
    assert capture_paths(tmp_path, experiment) == (tmp_path / "flows.mitm",)
    with pytest.raises(BadExperiment, match=r"experiment.toml:4: "):
        key_paths(tmp_path, experiment)


def test_captures_found_by_suffix_where_none_is_named(tmp_path: Path) -> None:
    for name in ("b.pcapng", "a.HAR", "c.mitm.gz", "d.pcap.zst", "notes.txt", "findings.json", ".x.har"):
        (tmp_path / name).touch()
    (tmp_path / "folder.har").mkdir()
    found = [path.name for path in capture_paths(tmp_path, Experiment())]
    assert found == ["a.HAR", "b.pcapng", "c.mitm.gz", "d.pcap.zst"]
    assert key_paths(tmp_path, Experiment()) == ()


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    outside = tmp_path / "secret.har"
    outside.touch()
    folder = tmp_path / "experiment"
    folder.mkdir()
    (folder / "flows.mitm").symlink_to(outside)
    with pytest.raises(BadExperiment, match="leads out of the folder"):
        capture_paths(folder, Experiment(captures=("flows.mitm",)))


def test_saving_what_was_loaded_changes_no_byte(tmp_path: Path) -> None:
    text = GOOD.replace("[[phase]]          # tables may be mixed", "[[phase]]")
    phases = text.index('[[phase]]\nid = "private-1"'), text.index('[[canary]]\nid = "decoy"')
    first_canary = text.index("[[canary]]")
    text = text[:first_canary] + text[slice(*phases)] + text[first_canary : phases[0]] + text[phases[1] :]
    file = write(tmp_path, text)
    save(load(tmp_path), tmp_path)
    assert file.read_text() == text


def test_saving_keeps_comments_and_what_it_does_not_know(tmp_path: Path) -> None:
    file = write(tmp_path, GOOD.replace("[device]", "[device]\ncolour = 'red'  # mine"))
    write(tmp_path / "..", GOOD)
    before = load(tmp_path / ".." / "experiment.toml")
    end = T0 + timedelta(hours=1)
    after = msgspec.structs.replace(
        before,
        captures=("flows.mitm", "phone.pcapng"),
        phases=(before.phases[0], msgspec.structs.replace(before.phases[1], end=end)),
        steps=(*before.steps, Step(action="wait")),
    )
    save(after, tmp_path)
    text = file.read_text()
    for kept in ("# what we did on Tuesday", "# from the proxy", "colour = 'red'  # mine"):
        assert kept in text
    file.write_text(text.replace("colour = 'red'  # mine\n", ""))
    assert load(tmp_path) == after


def test_saving_removes_and_reorders(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    before = load(tmp_path)
    after = msgspec.structs.replace(
        before, canaries=before.canaries[:1], phases=before.phases[:1], steps=(), keys=()
    )
    save(after, tmp_path)
    assert load(tmp_path) == after
    swapped = msgspec.structs.replace(before, phases=before.phases[::-1], canaries=before.canaries[::-1])
    save(swapped, tmp_path)
    assert load(tmp_path) == swapped


def test_saved_files_are_private_and_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "new" / "experiment"
    save(Experiment(), folder)
    file = folder / "experiment.toml"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    before = file.read_text()

    def no_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("audit.experiment.os.fsync", no_disk)
    with pytest.raises(OSError, match="No space"):
        save(Experiment(device=Device(name="x")), folder)
    assert file.read_text() == before
    assert [path.name for path in folder.iterdir()] == ["experiment.toml"]


def test_saving_refuses_contradictions_and_leaves_the_file_alone(tmp_path: Path) -> None:
    file = write(tmp_path, GOOD)
    naive = Phase(id="x", mode="idle", start=datetime(2026, 1, 1))
    twice = Canary(id="x", kind="term", value="y")
    for bad in (Experiment(phases=(naive,)), Experiment(canaries=(twice, twice)), Experiment(schema=2)):
        with pytest.raises(BadExperiment):
            save(bad, tmp_path)
    assert file.read_text() == GOOD
    file.write_text("this is no TOML")
    with pytest.raises(BadExperiment, match="not TOML"):
        save(Experiment(), tmp_path)
    assert file.read_text() == "this is no TOML"


# --- generated -------------------------------------------------------------------------------------

WORDS = st.sampled_from(
    [
        *(
            "schema",
            "captures",
            "keys",
            "device",
            "browser",
            "phase",
            "canary",
            "step",
            "id",
            "mode",
            "setting",
        ),
        *("start", "end", "at", "kind", "value", "decoy", "action", "name", "[", "]", "[[", "]]", "{", "}"),
        *("=", ".", ",", "\n", '"', "'", '"""', "'''", "#", " ", "\\", "1", "true", "9e999", "nan", "\r\n"),
        *("2026-03-01T10:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "10:00:00"),
    ]
)
FAST = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def loads_or_refuses(folder: Path, data: bytes) -> None:
    file = write(folder, data)
    refused: BadExperiment | None = None
    try:
        load(folder)
    except BadExperiment as error:
        refused = error
    assert refused is None or len(str(refused).splitlines()) == 1
    assert refused is None or 1 <= refused.line <= data.count(b"\n") + 1
    try:
        save(Experiment(phases=(Phase(id="p", mode="idle", start=T0),)), folder)
    except BadExperiment:
        assert file.read_bytes() == data


@FAST
@given(st.binary(max_size=200))
def test_arbitrary_bytes(tmp_path: Path, data: bytes) -> None:
    loads_or_refuses(tmp_path, data)


@FAST
@given(st.lists(WORDS, max_size=40))
def test_arbitrary_near_toml(tmp_path: Path, words: list[str]) -> None:
    loads_or_refuses(tmp_path, "".join(words).encode())


@FAST
@given(st.data())
def test_damaged_experiments(tmp_path: Path, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(GOOD)))
    end = data.draw(st.integers(start, min(len(GOOD), start + 30)))
    loads_or_refuses(tmp_path, (GOOD[:start] + "".join(data.draw(st.lists(WORDS))) + GOOD[end:]).encode())


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
IDS = st.lists(TEXT.filter(bool), max_size=4, unique=True)
MOMENTS = st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
FILES = st.lists(st.from_regex(r"[a-z\"'\\ ]{1,8}\.har", fullmatch=True), max_size=3, unique=True)


@st.composite
def experiments(draw: st.DrawFn) -> Experiment:
    moments = sorted(draw(st.lists(MOMENTS, min_size=8, max_size=8)))
    modes = st.sampled_from(["idle", "normal", "private"])
    phases = [
        Phase(id=name, mode=draw(modes), setting=draw(TEXT), start=moments[2 * n], end=moments[2 * n + 1])
        for n, name in enumerate(draw(IDS))
    ]
    if phases and draw(st.booleans()):
        phases[-1] = msgspec.structs.replace(phases[-1], end=None)
    owners = st.sampled_from([None, *(phase.id for phase in phases)])
    canaries = [
        Canary(
            id=name,
            kind="text",
            value=f"{n} {draw(TEXT)}",
            **draw(st.one_of(st.just({"decoy": True}), st.fixed_dictionaries({"phase": owners}))),
        )
        for n, name in enumerate(draw(IDS))
    ]
    usable = st.sampled_from([None, *(canary.id for canary in canaries if not canary.decoy)])
    steps = [
        Step(action="wait", canary=draw(usable), note=draw(TEXT)) for _ in range(draw(st.integers(0, 3)))
    ]
    return Experiment(
        captures=tuple(draw(FILES)),
        keys=tuple(draw(FILES)),
        device=Device(name=draw(TEXT), addresses=tuple(draw(st.lists(TEXT, max_size=2)))),
        browser=Browser(name=draw(TEXT), version=draw(TEXT)),
        phases=tuple(phases),
        canaries=tuple(canaries),
        steps=tuple(steps),
    )


@settings(FAST, max_examples=40)
@given(experiments(), experiments())
def test_what_is_saved_is_what_is_loaded(tmp_path: Path, first: Experiment, second: Experiment) -> None:
    (tmp_path / "experiment.toml").unlink(missing_ok=True)
    for experiment in (first, second, first):
        save(experiment, tmp_path)
        assert load(tmp_path) == experiment
