"""What commands are pointed at: files, standard input, experiment folders, and folders for results."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from audit.records import Experiment
from audit.reporting import findings as findings_file

if TYPE_CHECKING:
    from audit.pipeline import Capture


def addresses(_: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    """IP addresses as they were given; BadParameter for what is none."""
    from ipaddress import ip_address

    for value in given:
        try:
            ip_address(value)
        except ValueError:
            problem = f"{value} is no IP address; write it like 192.168.1.2 or 2001:db8::2"
            raise click.BadParameter(problem, param=parameter) from None
    return given


keys_option = click.option(
    "--keys", multiple=True, type=click.Path(path_type=Path, exists=True, dir_okay=False, readable=True),
    metavar="FILE", help="A key log that opens encrypted connections of packet captures. Repeatable.",
)  # fmt: skip


@contextmanager
def path_of(name: str) -> Iterator[Path]:
    """A file's path; of stdin, that of a private copy that lives as long as the context."""
    if name != "-":
        yield Path(name)
        return
    with tempfile.NamedTemporaryFile(prefix="privacy-audit-") as copy:
        while chunk := sys.stdin.buffer.read(1 << 20):
            copy.write(chunk)
        copy.flush()
        yield Path(copy.name)


def audited(
    targets: tuple[str, ...], experiment_file: Path | None, stack: ExitStack, keys: tuple[Path, ...] = ()
) -> tuple[Path | None, Experiment, list[Capture]]:
    """The experiment folder (if that is what was given), the experiment and its captures, each with the
    key logs the experiment names and those of `keys`."""
    from audit.cli.terminal import Refused
    from audit.experiment import capture_paths, key_paths, load
    from audit.pipeline import Capture

    if len(targets) == 1 and Path(targets[0]).is_dir():
        folder = Path(targets[0])
        experiment = load(experiment_file or folder)
        paths = capture_paths(folder, experiment)
        if not paths:
            raise Refused(
                f"{folder}: no captures in this experiment; record some or name them in experiment.toml"
            )
        logs = (*key_paths(experiment_file.parent if experiment_file else folder, experiment), *keys)
        experiment = _with_keys(experiment, keys, folder)
        return folder, experiment, [Capture(p, str(p.relative_to(folder)), logs) for p in paths]
    experiment = load(experiment_file) if experiment_file else Experiment()
    logs = (*(key_paths(experiment_file.parent, experiment) if experiment_file else ()), *keys)
    names = [Path(target).name for target in targets]
    captures = []
    for target, name in zip(targets, names, strict=True):
        path = stack.enter_context(path_of(target))
        if path.is_dir():
            raise Refused(f"{target}: is a folder; give one experiment folder alone, or captures")
        captures.append(Capture(path, name if names.count(name) == 1 else target, logs))
    return None, _with_keys(experiment, keys, Path(targets[0]).parent), captures


def _with_keys(experiment: Experiment, keys: tuple[Path, ...], folder: Path) -> Experiment:
    """The experiment with the key logs of the command line, by their names within the folder of the
    captures: what shows a transmission again must name them. No other path is told."""
    names = []
    for path in keys:
        whole, home = path.resolve(), folder.resolve()
        names.append(whole.relative_to(home).as_posix() if whole.is_relative_to(home) else path.name)
    return msgspec.structs.replace(experiment, keys=tuple(dict.fromkeys((*experiment.keys, *names))))


def private(folder: Path) -> None:
    """Makes the folder, or makes sure that results in it are nobody else's to read."""
    ours = not folder.exists() or not any(folder.iterdir()) or (folder / findings_file.NAME).exists()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if ours or (folder / "experiment.toml").exists():
        folder.chmod(0o700)
