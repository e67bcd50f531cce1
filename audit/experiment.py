"""The experiment folder: reads `experiment.toml`, writes it atomically, tells phases by the clock.

Everything in the file that is broken or contradicts itself is refused with its line, the reason and what
to do about it; nothing is guessed. This module never opens a capture and never looks at traffic.
The file is described in docs/experiment.md; its syntax is TOML 1.0.
"""

from __future__ import annotations

import difflib
import fcntl
import os
import re
import tempfile
import tomllib
from collections.abc import Callable, Iterable, MutableMapping, Sequence
from datetime import UTC, date, datetime
from datetime import time as time_of_day
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec
import tomlkit
from msgspec import Struct
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AoT, Item

from audit.records import Experiment, Phase

FILE_NAME = "experiment.toml"
SCHEMA = 1
MAX_BYTES = 1 << 20
MAX_DOTS = 16  # in one dotted key: tomllib's time grows with the cube of their number
EVENTS_NAME = "events.jsonl"  # what the recording noted beside the traffic
CAPTURE_SUFFIXES = (".mitm", ".flow", ".flows", ".har", ".zhar", ".pcap", ".pcapng", ".cap", ".dmp")
COMPRESSED_SUFFIXES = (".gz", ".zst")

TYPED = ("type_and_submit", "type_only", "paste", "search")
_ADDRESS = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*://)?[^\s/?#]+\.?[^\s/?#]*(?:[/?#]\S*)?$")
_HEAD = "What was done, when, and with which planted values."
_EXAMPLE_TIME = "2026-11-22T13:46:32.739Z"
_KEYS = {"phases": "phase", "canaries": "canary", "steps": "step"}  # a list of tables is named in singular

_Path = tuple[str | int, ...]
_S = TypeVar("_S", bound=Struct)


class BadExperiment(Exception):  # noqa: N818 - the name is part of the interface
    """An experiment that cannot be used. `str()` is one line: `FILE:LINE: reason; remedy`."""

    def __init__(self, file: Path, line: int, reason: str, remedy: str) -> None:
        self.file, self.line, self.reason, self.remedy = file, line, reason, remedy
        super().__init__(_printable(f"{file}:{line}: {reason}; {remedy}"))


def load(path: Path) -> Experiment:
    """The experiment of a folder or of an `experiment.toml`; raises BadExperiment."""
    try:
        file = path / FILE_NAME if path.is_dir() else path
        draft = _Draft(file, _text_of(file))
    except OSError as error:
        raise BadExperiment(path, 1, f"cannot be read: {error.strerror}", "check the path") from None
    experiment = draft.experiment()
    if draft.unknown:
        raise draft.unknown[0]
    return experiment


def save(experiment: Experiment, folder: Path) -> None:
    """Writes `experiment.toml` in `folder` (0700, made if need be) in one atomic step (file 0600).

    An existing file keeps its comments, its order and keys unknown to us. Raises BadExperiment, and
    leaves the file as it was, if the experiment contradicts itself or the existing file is no TOML.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    file = folder / FILE_NAME
    text = _merged(experiment, file)
    if _Draft(file, text).experiment() != experiment:
        raise BadExperiment(
            file, 1, "its layout cannot be kept while changing it", "write its lists as [[phase]] tables"
        )
    _replace(file, text.encode())


def change(folder: Path, how: Callable[[Experiment], Experiment]) -> Experiment:
    """Reads the experiment (an empty one where there is none yet), changes it and saves it, while no
    other `change` of the same folder runs in any process. Raises BadExperiment and what `how` raises."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = load(folder) if (folder / FILE_NAME).exists() else None
        after = how(before or Experiment())
        if after != before:
            save(after, folder)
    finally:
        os.close(lock)
    return after


def carried_out(experiment: Experiment) -> Experiment:
    """The experiment without what was only planned: phases that never began, steps never taken."""
    return msgspec.structs.replace(
        experiment,
        phases=tuple(phase for phase in experiment.phases if phase.start is not None),
        steps=tuple(step for step in experiment.steps if step.at is not None)
        if any(phase.start is None for phase in experiment.phases)
        else experiment.steps,
    )


def mode_at(experiment: Experiment, time: float) -> Phase | None:
    """The phase that holds the moment `time` (epoch seconds); a phase's end is no longer in it."""
    for phase in experiment.phases:
        if phase.start is None or time < phase.start.timestamp():
            continue
        if phase.end is None or time < phase.end.timestamp():
            return phase
    return None


def phase_of(experiment: Experiment, canary_id: str) -> Phase | None:
    """The phase that the canary was made for; None for decoys, phaseless and unknown canaries."""
    wanted = next((canary.phase for canary in experiment.canaries if canary.id == canary_id), None)
    return next((phase for phase in experiment.phases if phase.id == wanted), None)


def capture_paths(folder: Path, experiment: Experiment) -> tuple[Path, ...]:
    """The captures of an experiment, as named in it. Raises BadExperiment where one is missing.

    If it names none, they are all regular files in the folder itself whose suffix is one of
    CAPTURE_SUFFIXES (also with .gz or .zst behind it) and EVENTS_NAME, in the order of their names.
    """
    if experiment.captures:
        return _named(folder, "captures", experiment.captures)
    try:
        return tuple(
            path
            for path in sorted(folder.iterdir())
            if _looks_like_capture(path) or (path.name == EVENTS_NAME and path.is_file())
        )
    except OSError as error:
        raise BadExperiment(
            folder / FILE_NAME, 1, f"its folder cannot be read: {error.strerror}", "check the path"
        ) from None


def key_paths(folder: Path, experiment: Experiment) -> tuple[Path, ...]:
    """The TLS key logs that the experiment names. Raises BadExperiment where one is missing."""
    return _named(folder, "keys", experiment.keys)


# --- reading ---------------------------------------------------------------------------------------


class _Draft:
    """One text of `experiment.toml` on its way to an Experiment. `unknown` collects the complaints about
    keys that nobody reads: `load` makes errors of them, `save` leaves them in peace."""

    def __init__(self, file: Path, text: str) -> None:
        self.file = file
        self.text = text
        self.lines: dict[_Path, int] = {}
        self.unknown: list[BadExperiment] = []

    def bad(self, path: _Path, reason: str, remedy: str) -> BadExperiment:
        while path and path not in self.lines:
            path = path[:-1]
        return BadExperiment(self.file, self.lines.get(path, 1), reason, remedy)

    def experiment(self) -> Experiment:
        """Raises BadExperiment for anything but an unknown key."""
        self.lines = _lines_of(self.file, self.text)
        table = _parsed(self.file, self.text)
        schema = table.get("schema", SCHEMA)
        if type(schema) is int and schema != SCHEMA:
            raise self.bad(("schema",), f"schema {_shown(schema)} is not known", f"write schema = {SCHEMA}")
        experiment = self._record(Experiment, table, ())
        _Contradictions(self, experiment).refuse()
        return experiment

    def _record(self, kind: type[_S], table: object, path: _Path) -> _S:
        name = path[0] if path else ""
        if not isinstance(table, dict):
            raise self.bad(path, f"{name} is no table", f"write it as a table of its own, [{name}]")
        fields = {_KEYS.get(field.name, field.name): field for field in msgspec.structs.fields(kind)}
        for key in table.keys() - fields.keys():
            self.unknown.append(self._unknown_key(key, fields, (*path, key)))
        self.unknown.sort(key=lambda bad: bad.line)
        values: dict[str, Any] = {}
        for key, field in fields.items():
            if key in table:
                values[field.name] = self._value(field.type, table[key], (*path, key))
            elif field.required:
                missing = self.bad(path, f"this {name} has no {key}", f"add {key}, {_wanted(field.type)}")
                raise (self.unknown or [missing])[0]
        return kind(**values)

    def _value(self, kind: Any, value: object, path: _Path) -> Any:
        items = get_args(kind)
        if isinstance(kind, type) and issubclass(kind, Struct):
            return self._record(kind, value, path)
        if get_origin(kind) is tuple and issubclass(items[0], Struct):
            if not isinstance(value, list):
                raise self.bad(path, f"{path[-1]} is no list of tables", f"write it as [[{path[-1]}]]")
            return tuple(self._record(items[0], item, (*path, n)) for n, item in enumerate(value))
        try:
            converted = msgspec.convert(value, kind, builtin_types=(datetime, date, time_of_day))
        except (msgspec.ValidationError, ValueError, OverflowError):
            raise self.bad(path, f"{path[-1]} is {_shown(value)}", f"it has to be {_wanted(kind)}") from None
        if isinstance(converted, datetime) and converted.tzinfo is None:
            raise self.bad(
                path,
                f"{path[-1]} is a time without offset",
                f"add Z for UTC or the offset, like {_EXAMPLE_TIME}",
            )
        return converted

    def _unknown_key(self, key: str, known: Iterable[str], path: _Path) -> BadExperiment:
        close = difflib.get_close_matches(key, known, 1)
        remedy = f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"
        return self.bad(path, f"unknown key {_shown(key)}", remedy)


class _Contradictions:
    """What a well-formed experiment may not say."""

    def __init__(self, draft: _Draft, experiment: Experiment) -> None:
        self.bad = draft.bad
        self.experiment = experiment
        self.phases = {phase.id: phase for phase in experiment.phases}
        self.canaries = {canary.id: canary for canary in experiment.canaries}

    def refuse(self) -> None:
        """Raises BadExperiment at the first contradiction."""
        self._refuse_bad_ids("phase", [phase.id for phase in self.experiment.phases])
        self._refuse_bad_ids("canary", [canary.id for canary in self.experiment.canaries])
        self._refuse_bad_intervals()
        self._refuse_bad_canaries()
        self._refuse_ambiguous_values()
        self._refuse_no_addresses()
        self._refuse_bad_steps()
        for key in ("captures", "keys"):
            self._refuse_bad_paths(key, getattr(self.experiment, key))

    def _refuse_bad_ids(self, table: str, ids: Sequence[str]) -> None:
        seen: set[str] = set()
        for n, name in enumerate(ids):
            if not name:
                raise self.bad((table, n, "id"), f"the id of a {table} is empty", "give it a name")
            if name in seen:
                raise self.bad(
                    (table, n, "id"), f"a second {table} has the id {_shown(name)}", "rename one of them"
                )
            seen.add(name)

    def _refuse_bad_intervals(self) -> None:
        for n, phase in enumerate(self.experiment.phases):
            if phase.start is None and phase.end is not None:
                raise self.bad(
                    ("phase", n, "end"),
                    f"phase {_shown(phase.id)} has an end and no start",
                    f"add start, {_wanted(datetime)}, or remove its end",
                )
            if phase.start and phase.end and phase.end < phase.start:
                raise self.bad(
                    ("phase", n, "end"),
                    f"phase {_shown(phase.id)} ends before it starts",
                    "correct the times",
                )
        begun = [(phase.start, n, phase) for n, phase in enumerate(self.experiment.phases) if phase.start]
        by_start = sorted(begun, key=lambda item: item[0])
        for (_, n, earlier), (start, m, later) in pairwise(by_start):
            if earlier.end is None:
                raise self.bad(
                    ("phase", n),
                    f"phase {_shown(earlier.id)} has no end, but {_shown(later.id)} starts after it",
                    "only the last phase may be open: add its end",
                )
            if start < earlier.end:
                raise self.bad(
                    ("phase", m, "start"),
                    f"phase {_shown(later.id)} starts before {_shown(earlier.id)} ends",
                    "phases may not overlap: correct the times",
                )

    def _refuse_bad_canaries(self) -> None:
        for n, canary in enumerate(self.experiment.canaries):
            if canary.decoy and canary.phase is not None:
                raise self.bad(
                    ("canary", n, "phase"),
                    f"decoy {_shown(canary.id)} has a phase",
                    "a decoy is never used: remove its phase, or decoy",
                )
            if canary.phase is not None and canary.phase not in self.phases:
                raise self.bad(
                    ("canary", n, "phase"),
                    f"there is no phase {_shown(canary.phase)}",
                    _choice(canary.phase, self.phases, "add a [[phase]] with this id"),
                )

    def _refuse_ambiguous_values(self) -> None:
        values = sorted((canary.value.casefold(), n) for n, canary in enumerate(self.experiment.canaries))
        if values and not values[0][0]:
            raise self.bad(("canary", values[0][1], "value"), "the value is empty", "plant a unique value")
        # In sorted order a value that begins others stands directly before one of them.
        for (short, n), (long, m) in pairwise(values):
            if long.startswith(short):
                one, other = (self.experiment.canaries[k].id for k in (n, m))
                relation = "equals that" if long == short else "is the beginning of that"
                raise self.bad(
                    ("canary", n, "value"),
                    f"the value of {_shown(one)} {relation} of {_shown(other)}",
                    "give each canary a value that no other begins with",
                )

    def _refuse_no_addresses(self) -> None:
        for n, canary in enumerate(self.experiment.canaries):
            if canary.kind == "url" and not _ADDRESS.match(canary.value):
                raise self.bad(
                    ("canary", n, "value"),
                    f"{_shown(canary.value)} is no address",
                    "write it as it is typed, such as https://host.example/path",
                )

    def _refuse_bad_steps(self) -> None:
        for n, step in enumerate(self.experiment.steps):
            if step.phase is not None and step.phase not in self.phases:
                raise self.bad(
                    ("step", n, "phase"),
                    f"there is no phase {_shown(step.phase)}",
                    _choice(step.phase, self.phases, "add a [[phase]] with this id"),
                )
            if step.canary is None:
                if step.action in TYPED:
                    raise self.bad(
                        ("step", n), f"the step {step.action} names no canary", "say which value was typed"
                    )
                continue
            path = ("step", n, "canary")
            canary = self.canaries.get(step.canary)
            if canary is None:
                raise self.bad(
                    path,
                    f"there is no canary {_shown(step.canary)}",
                    _choice(step.canary, self.canaries, "add a [[canary]] with this id"),
                )
            if canary.decoy:
                raise self.bad(
                    path, f"{_shown(step.canary)} is a decoy", "a decoy is never used: take another canary"
                )
            at = mode_at(self.experiment, step.at.timestamp()) if step.at else None
            if at is not None and canary.phase not in (None, at.id):
                raise self.bad(
                    path,
                    f"{_shown(step.canary)} belongs to phase {_shown(canary.phase)}, "
                    f"but this step lies in {_shown(at.id)}",
                    "correct the time, or take a canary of that phase",
                )

    def _refuse_bad_paths(self, key: str, names: Sequence[str]) -> None:
        seen: set[PurePosixPath] = set()
        for name in names:
            path = PurePosixPath(name)
            if not path.name or path.is_absolute() or ".." in path.parts or "\0" in name:
                raise self.bad(
                    (key,),
                    f"{_shown(name)} is not a file in this folder",
                    "name files beside experiment.toml",
                )
            if path in seen:
                raise self.bad((key,), f"{_shown(name)} is named twice", "name each file once")
            seen.add(path)


def _text_of(file: Path) -> str:
    """Raises BadExperiment, and OSError where the file cannot be read at all."""
    if not file.is_file():
        raise BadExperiment(file, 1, "there is no such file", f"name a folder with {FILE_NAME} in it")
    with file.open("rb") as stream:
        data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise BadExperiment(file, 1, f"is larger than {MAX_BYTES} bytes", "keep only canaries that you use")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadExperiment(file, line, "this is not UTF-8 text", "save the file as UTF-8") from None


def _parsed(file: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise BadExperiment(file, 1, "nested too deeply", "no list needs a list inside it") from None
    except ValueError as error:  # TOMLDecodeError, or a number too long for int()
        reason, _, place = str(error).partition(" (at ")
        number = re.match(r"line (\d+)", place)
        line = int(number[1]) if number else text.count("\n") + 1 if place else 1
        raise BadExperiment(file, line, f"this is not TOML: {reason}", "correct this line") from None


_TOKEN = re.compile(
    r'''
      """ [^"\\]*+ (?: (?: \\.?+ | "{1,2}+(?!") ) [^"\\]*+ )*+ (?: "{3,5} | \Z )   # multi-line strings
    | \'\'\' [^']*+ (?: '{1,2}+(?!') [^']*+ )*+ (?: '{3,5} | \Z )
    | " (?: \\. | [^"\\\n] )*+ "?                                                  # strings
    | ' [^'\n]*+ '?
    | \# [^\n]*+
    | \n | [][{}=.,]
    | [^\s"'#\][{}=.,]++                                                           # bare words
    ''',
    re.VERBOSE,
)


def _lines_of(file: Path, text: str) -> dict[_Path, int]:
    """The line of each table and key, by path: ("phase", 0) is the first [[phase]], ("phase", 0, "id")
    its id. Never fails on text that is no TOML; raises BadExperiment for a key with absurdly many dots."""
    lines: dict[_Path, int] = {}
    count: dict[str, int] = {}
    prefix: _Path = ()
    words: list[str] = []  # of the key or header that is being read
    line, end, depth, brackets, dots = 1, 0, 0, 0, 0
    in_key = True
    for match in _TOKEN.finditer(text):
        part = match[0]
        line += text.count("\n", end, match.start())
        end = match.start()
        dots = dots + 1 if part == "." else 0 if part in "=[]{},\n" else dots
        if dots > MAX_DOTS:
            raise BadExperiment(file, line, f"a key of more than {MAX_DOTS} parts", "correct this line")
        if part == "\n":
            if depth == 0:
                in_key, words, brackets = True, [], 0
        elif not in_key:
            depth = max(0, depth + (part in ("[", "{")) - (part in ("]", "}")))
        elif part == "[" and not words:
            brackets += 1
        elif part == "=":
            lines.setdefault((*prefix, *words), line)
            in_key = False
        elif part == "]":
            prefix = tuple(words)
            if brackets == 2:
                lines.setdefault(prefix, line)
                name = ".".join(words)
                prefix = (*words, count.get(name, 0))
                count[name] = count.get(name, 0) + 1
            lines.setdefault(prefix, line)
            in_key = False
        elif part != "." and part[0] != "#":
            words.append(part.strip("\"'"))
    return lines


# --- writing ---------------------------------------------------------------------------------------


def _merged(experiment: Experiment, file: Path) -> str:
    """The text of the file as it is, or of a new one, with the experiment's values in it."""
    try:
        if file.exists():
            document = tomlkit.parse(_text_of(file))
        else:
            document = tomlkit.document()
            document.add(tomlkit.comment(_HEAD))
        _merge(document, experiment)
        return tomlkit.dumps(document)
    except TOMLKitError as error:
        raise BadExperiment(
            file, getattr(error, "line", 1), f"the existing file is not TOML: {error}", "repair or move it"
        ) from None
    except RecursionError:
        raise BadExperiment(file, 1, "the existing file is nested too deeply", "repair or move it") from None


def _merge(table: MutableMapping[str, Any], record: Struct) -> None:
    """Puts the record's values into a tomlkit table, touching only what differs."""
    for field in msgspec.structs.fields(record):
        key = _KEYS.get(field.name, field.name)
        value = getattr(record, field.name)
        if value is None or (value == () and key in table):
            table.pop(key, None)
        elif isinstance(value, Struct):
            _merge_table(table, key, value)
        elif field.name in _KEYS:
            _merge_tables(table, key, value)
        elif key in table:
            if not _same(table[key], value):
                table[key] = _toml(value)
        elif key == "schema" or value != field.default:
            table[key] = _toml(value)


def _merge_table(table: MutableMapping[str, Any], key: str, record: Struct) -> None:
    if isinstance(table.get(key), MutableMapping):
        _merge(table[key], record)
    elif record != type(record)():
        table[key] = _new_table(record)


def _merge_tables(table: MutableMapping[str, Any], key: str, records: Sequence[Any]) -> None:
    """Tables are told apart by their id; steps, which have none, by their place."""
    if not records:
        return
    wanted = [_name(msgspec.structs.asdict(record), n) for n, record in enumerate(records)]
    old = table.get(key)
    kept = {_name(item, n): item for n, item in enumerate(old)} if isinstance(old, AoT) else {}
    in_place = bool(kept) and wanted[: len(kept)] == [*kept]  # only then the layout stays untouched
    tables = table[key] if in_place else tomlkit.aot()
    for name, record in zip(wanted, records, strict=True):
        item = kept.pop(name, None)
        if item is not None:
            _merge(item, record)
        if item is None or not in_place:
            tables.append(item or _new_table(record))
    if not in_place:
        table[key] = tables


def _name(table: MutableMapping[str, Any], place: int) -> object:
    return table.get("id", place)


def _new_table(record: Struct) -> Any:
    table = tomlkit.table()
    _merge(table, record)
    return table


def _same(old: Any, new: object) -> bool:
    plain = old.unwrap() if isinstance(old, Item) else old
    if isinstance(plain, list):
        plain = tuple(plain)
    return type(plain) is type(new) and bool(plain == new)


def _toml(value: Any) -> Any:
    if isinstance(value, datetime) and value.tzinfo is not None:
        text = value.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00")
        return tomlkit.datetime(f"{text}Z")
    return tomlkit.item(list(value) if isinstance(value, tuple) else value)


def _replace(file: Path, data: bytes) -> None:
    """Puts a file in place whole or not at all, also if the power fails."""
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")  # mkstemp makes it 0600
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


# --- files -----------------------------------------------------------------------------------------


def _named(folder: Path, key: str, names: Sequence[str]) -> tuple[Path, ...]:
    file = folder / FILE_NAME
    root = folder.resolve()
    for name in names:
        path = folder / name
        if not path.is_file():
            reason, remedy = (
                f"{_shown(name)} is not there",
                f"put the file beside {FILE_NAME} or correct {key}",
            )
        elif not path.resolve().is_relative_to(root):
            reason, remedy = f"{_shown(name)} leads out of the folder", "put the file itself there"
        else:
            continue
        lines = _lines_of(file, _text_of(file)) if file.is_file() else {}
        raise BadExperiment(file, lines.get((key,), 1), reason, remedy)
    return tuple(folder / name for name in names)


def _looks_like_capture(path: Path) -> bool:
    name = path.name.lower()
    for suffix in COMPRESSED_SUFFIXES:
        name = name.removesuffix(suffix)
    return name.endswith(CAPTURE_SUFFIXES) and not name.startswith(".") and path.is_file()


# --- words of the error messages -------------------------------------------------------------------


def _wanted(kind: Any) -> str:
    """What a value of this type looks like in TOML, for people."""
    choices = [item for item in get_args(kind) if item is not type(None)]
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(f'"{item}"' for item in choices)
    if get_origin(kind) is tuple:
        return 'a list of texts, ["..."]'
    plain = choices[0] if choices else kind
    return {
        str: "text in quotes",
        bool: "true or false",
        int: "a whole number",
        datetime: f"a time with its offset, like {_EXAMPLE_TIME}, without quotes",
    }[plain]


def _choice(given: str, known: Iterable[str], otherwise: str) -> str:
    close = difflib.get_close_matches(given, known, 1)
    return f"did you mean {_shown(close[0])}?" if close else otherwise


def _shown(value: object) -> str:
    if isinstance(value, str):
        return f'"{value[:60]}…"' if len(value) > 60 else f'"{value}"'
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a table"
    if isinstance(value, int) and abs(value) > MAX_BYTES:
        return "a huge number"  # str() refuses the longest
    return f"{value}"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
