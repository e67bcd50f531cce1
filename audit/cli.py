"""The command line: click commands and nothing else.

Machine output goes to stdout, everything else to stderr. Exit codes: 0 done, 1 something was found (with
--fail-on; for `search`: nothing was found), 2 bad input or usage with one line on stderr, 130 interrupted.
Each command imports the rooms it needs itself, so that help and completion answer at once.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, get_args

import click
import msgspec
from click.shell_completion import get_completion_class
from rich.console import Console

from audit import __version__
from audit.assessment.clock import rfc3339
from audit.experiment import BadExperiment, capture_paths, load
from audit.records import AnyRecord, Audit, Canary, CanaryKind, Experiment, Severity
from audit.reporting import findings as findings_file
from audit.reporting.wire import inert
from audit.sources import BadCapture, Wanted, read

if TYPE_CHECKING:
    from audit.pipeline import Capture

_SEVERITIES: tuple[Severity, ...] = get_args(Severity)
_UNSHOWN = ("body", "headers", "response_headers", "data", "initiator")
_stderr = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


class _Refused(click.ClickException):
    """Bad input: one line on stderr, exit code 2."""

    exit_code = 2


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="privacy-audit")
def cli() -> None:
    """Shows which browsing and search data a device sent, to whom, and in which mode.

    \b
    Start here:
      privacy-audit analyze my-experiment/        audit an experiment folder
      privacy-audit analyze flows.mitm page.har   audit captures alone
    """


@cli.command()
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
@click.option("--experiment", "experiment_file", type=click.Path(path_type=Path), metavar="FILE",
              help="The experiment.toml that belongs to captures lying elsewhere.")  # fmt: skip
@click.option("--canary", "given", multiple=True, metavar="KIND=VALUE",
              help=f"A value to look for; KIND is one of {', '.join(get_args(CanaryKind))}. Repeatable.")  # fmt: skip
@click.option(
    "--jobs", default=1, show_default=True, type=click.IntRange(1, 64), help="Captures analysed at once."
)
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="DIR",
              help="Where the results go. [default: the experiment folder, else ./audit-result]")  # fmt: skip
@click.option(
    "--fail-on", type=click.Choice(_SEVERITIES), help="Exit with 1 if a leak this severe was found."
)
def analyze(
    targets: tuple[str, ...], experiment_file: Path | None, given: tuple[str, ...], jobs: int,
    output: Path | None, fail_on: Severity | None,
) -> None:  # fmt: skip
    """Audits an experiment folder or captures; writes report.html and findings.json.

    TARGET is an experiment folder, or captures of any supported format (told by content); - reads stdin.
    Without canaries, visits and searches are inferred from the traffic itself.

    \b
    Examples:
      privacy-audit analyze captures/my-phone/
      privacy-audit analyze flows.mitm --canary term="marble otter h4q2" -o result/
    """
    from audit import pipeline
    from audit.reporting import html

    with ExitStack() as stack:
        folder, experiment, captures = _audited(targets, experiment_file, stack)
        experiment = msgspec.structs.replace(experiment, canaries=(*experiment.canaries, *_given(given)))
        with _stderr.status("reading") as status:
            audit = pipeline.analyze(captures, experiment, jobs=jobs, progress=status.update)
        where = output or folder or Path("audit-result")
        _private(where)
        findings_file.write(audit, where)
        report_file = findings_file.write_private(where / "report.html", html.render(audit).encode())
    _summary(audit)
    click.echo(report_file)
    if any(gap.detail == pipeline.INTERRUPTED for gap in audit.coverage.gaps):
        raise KeyboardInterrupt
    leaks = [f for f in audit.findings if f.expected is None]
    if fail_on and any(_SEVERITIES.index(f.severity) <= _SEVERITIES.index(fail_on) for f in leaks):
        raise SystemExit(1)


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="[default: DIR/report.html]"
)
@click.option("--unmask", is_flag=True, help="Show identifiers and inferred values; for your eyes only.")
def report(folder: Path, output: Path | None, unmask: bool) -> None:
    """Renders the report again from DIR/findings.json alone.

    \b
    Example:
      privacy-audit report result/ --unmask -o unmasked.html
    """
    from audit.reporting import html

    audit = findings_file.load(folder / findings_file.NAME)
    target = output or folder / ("report-unmasked.html" if unmask else "report.html")
    click.echo(findings_file.write_private(target, html.render(audit, unmask=unmask).encode()))


@cli.command()
@click.argument("capture", metavar="CAPTURE")
@click.option("--kind", "kinds", metavar="KIND,...", help="Only these kinds, such as http,dns,gap.")
@click.option(
    "--jobs", default=1, show_default=True, type=click.IntRange(1, 64), help="Processes for packet captures."
)
def inspect(capture: str, kinds: str | None, jobs: int) -> None:
    """Prints every record the sources see in CAPTURE as JSON lines; - reads stdin.

    \b
    Example:
      privacy-audit inspect flows.mitm --kind http | jq -r .authority | sort | uniq -c
    """
    wanted = Wanted(_kinds(kinds), jobs=jobs)
    out = sys.stdout.buffer
    with _path_of(capture) as path:
        for record in read(path, Path(capture).name, wanted):
            out.write(_line(record) + b"\n")
    out.flush()


@cli.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--value", "values", multiple=True, required=True, help="What to look for: an address or words."
)
def search(files: tuple[str, ...], values: tuple[str, ...]) -> None:
    """Looks for values in raw bodies, through every coding; JSON lines, one per match; - reads stdin.

    \b
    Example:
      privacy-audit search --value "https://example.org/a?b=c" body.bin
    """
    from audit.decoding.channels import Channel
    from audit.detection.needles import Needles
    from audit.detection.search import Searcher

    if any(len(value.strip()) < 3 for value in values):
        raise click.BadParameter(
            "a value of less than three characters stands everywhere", param_hint="--value"
        )
    canaries = tuple(Canary(id=value, kind=_kind_of(value), value=value) for value in values)
    searcher = Searcher(Needles(canaries))
    count = 0
    for name in files:
        with _path_of(name) as path:
            result = searcher.search([Channel("body", _content(path))])
        for limit in result.limits:
            _say(f"{name}: not looked at in full: {limit.detail}")
        for sighting in result.sightings:
            count += 1
            click.echo(msgspec.json.encode({
                "file": name, "value": sighting.match.canary, "granularity": sighting.match.granularity,
                "form": sighting.match.form, "layers": sighting.layers, "path": sighting.path,
                "offset": sighting.match.offset, "excerpt": sighting.excerpt,
            }))  # fmt: skip
    if not count:
        raise SystemExit(1)


@cli.command()
@click.argument("file", metavar="FILE")
@click.option("--json", "as_json", is_flag=True, help="One JSON line per field.")
def decode(file: str, as_json: bool) -> None:
    """Shows the tree of layers that FILE unfolds into; - reads stdin.

    \b
    Example:
      privacy-audit decode body.bin
    """
    from audit.decoding import unfold
    from audit.reporting.tree import branches

    with _path_of(file) as path:
        tree = unfold(_content(path))
    if as_json:
        for index, field in enumerate(tree.fields):
            click.echo(msgspec.json.encode({
                "index": index, "parent": field.parent, "layers": field.layers, "path": field.path,
                "offset": field.offset, "bytes": len(field.data), "opaque": field.opaque,
                "text": field.data.decode("utf-8", "backslashreplace"),
            }))  # fmt: skip
    else:
        wide = None if sys.stdout.isatty() else 200
        Console(highlight=False, markup=False, width=wide).print(branches(tree))
    for limit in tree.limits:
        _say(f"not opened in full: {limit.detail}")


@cli.command()
@click.argument("experiment", type=click.Path(path_type=Path), metavar="EXPERIMENT")
@click.option("-i", "--interface", required=True, metavar="INTERFACE", help="The network interface.")
@click.option("--rotate-mb", default=256, show_default=True, type=click.IntRange(1, 1 << 20), metavar="MB",
              help="Megabytes after which another file begins.")  # fmt: skip
def sniff(experiment: Path, interface: str, rotate_mb: int) -> None:
    """Records the packets of INTERFACE into an experiment until Ctrl-C; prints the files.

    \b
    Example:
      sudo "$(command -v privacy-audit)" sniff captures/my-phone/ -i wlan0
    """
    from rich.text import Text

    from audit.recording.sniffer import BadRecording, Sniffer

    sniffer = Sniffer(experiment, interface, rotate_mb << 20, _say)
    try:
        with _stderr.status("opening") as status:
            sniffer.run(lambda state: status.update(Text(inert(state))))
    except BadRecording as error:
        raise _Refused(str(error)) from None
    finally:
        for path in sniffer.paths:
            click.echo(path)


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Prints the completion script for a shell.

    \b
    Example:
      privacy-audit completion bash > ~/.local/share/bash-completion/completions/privacy-audit
    """
    found = get_completion_class(shell)
    if found is None:
        raise _Refused(f"no completion for {shell}")
    click.echo(found(cli, {}, "privacy-audit", "_PRIVACY_AUDIT_COMPLETE").source())


def main() -> NoReturn:
    """Runs the command line and exits; every expected error is one line on stderr."""
    try:
        cli.main(standalone_mode=False, prog_name="privacy-audit")
        sys.stdout.flush()
        code = 0
    except click.exceptions.Abort:
        code = _told("interrupted", 130)
    except KeyboardInterrupt:
        code = _told("interrupted", 130)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.ctx.get_help() if error.ctx else error.format_message(), file=sys.stderr)
        code = 2
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "privacy-audit"
        code = _told(f"{error.format_message()} (see '{where} --help')", 2)
    except (click.ClickException, BadCapture, BadExperiment, findings_file.BadFindings) as error:
        code = _told(error.format_message() if isinstance(error, click.ClickException) else str(error), 2)
    except BrokenPipeError:
        # whoever read our output has seen enough; Python would complain again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:
        code = _told(f"{error.filename or 'input'}: {error.strerror or error}", 2)
    except click.exceptions.Exit as done:
        code = done.exit_code
    sys.exit(code)


def _told(message: str, code: int) -> int:
    line = " ".join(inert(message, 2_000).split())
    print(f"privacy-audit: {line}", file=sys.stderr)
    return code


def _say(message: str) -> None:
    _stderr.print(inert(message, 2_000))


def _audited(
    targets: tuple[str, ...], experiment_file: Path | None, stack: ExitStack
) -> tuple[Path | None, Experiment, list[Capture]]:
    """The experiment folder (if that is what was given), the experiment and its captures."""
    from audit.pipeline import Capture

    if len(targets) == 1 and Path(targets[0]).is_dir():
        folder = Path(targets[0])
        experiment = load(experiment_file or folder)
        paths = capture_paths(folder, experiment)
        if not paths:
            raise _Refused(
                f"{folder}: no captures in this experiment; record some or name them in experiment.toml"
            )
        return folder, experiment, [Capture(p, str(p.relative_to(folder))) for p in paths]
    experiment = load(experiment_file) if experiment_file else Experiment()
    names = [Path(target).name for target in targets]
    captures = []
    for target, name in zip(targets, names, strict=True):
        path = stack.enter_context(_path_of(target))
        if path.is_dir():
            raise _Refused(f"{target}: is a folder; give one experiment folder alone, or captures")
        captures.append(Capture(path, name if names.count(name) == 1 else target))
    return None, experiment, captures


def _given(values: tuple[str, ...]) -> Iterator[Canary]:
    for number, text in enumerate(values, 1):
        kind, equals, value = text.partition("=")
        if not equals or len(value.strip()) < 3 or kind not in get_args(CanaryKind):
            raise click.BadParameter(
                f"{text!r} is not KIND=VALUE with KIND one of {', '.join(get_args(CanaryKind))} "
                "and a VALUE of three characters or more",
                param_hint="--canary",
            )
        yield Canary(id=f"given-{number}", kind=kind, value=value)  # type: ignore[arg-type]


def _kind_of(value: str) -> CanaryKind:
    from audit.detection.needles import parse_address

    address = parse_address(value)
    named = address is not None and "." in address.host and " " not in value.strip()
    return "url" if named and ("://" in value or "/" in value or value.count(".") >= 1) else "text"


def _kinds(text: str | None) -> frozenset[str] | None:
    if text is None:
        return None
    known = {struct.__struct_config__.tag for struct in get_args(AnyRecord)}
    wanted = {part.strip() for part in text.split(",") if part.strip()}
    if not wanted or wanted - known:
        raise click.BadParameter(f"kinds are {', '.join(sorted(map(str, known)))}", param_hint="--kind")
    return frozenset(wanted)


@contextmanager
def _path_of(name: str) -> Iterator[Path]:
    """A file's path; of stdin, that of a private copy that lives as long as the context."""
    if name != "-":
        yield Path(name)
        return
    with tempfile.NamedTemporaryFile(prefix="privacy-audit-") as copy:
        while chunk := sys.stdin.buffer.read(1 << 20):
            copy.write(chunk)
        copy.flush()
        yield Path(copy.name)


def _content(path: Path) -> bytes:
    return path.read_bytes()


def _line(record: AnyRecord) -> bytes:
    values: dict[str, Any] = {"kind": record.__struct_config__.tag}
    for name in record.__struct_fields__:
        if name not in _UNSHOWN:
            value = getattr(record, name)
            values[name] = rfc3339(value) if name in ("time", "first", "last") else value
    return msgspec.json.encode(values)


def _private(folder: Path) -> None:
    """Makes the folder, or makes sure that results in it are nobody else's to read."""
    ours = not folder.exists() or not any(folder.iterdir()) or (folder / findings_file.NAME).exists()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if ours or (folder / "experiment.toml").exists():
        folder.chmod(0o700)


def _summary(audit: Audit) -> None:
    leaks = [f for f in audit.findings if f.expected is None]
    for gap in audit.coverage.gaps:
        if gap.reason in ("unsupported", "truncated", "malformed", "limit"):
            _say(f"{gap.capture}: not read in full: {gap.detail}")
    _say(f"{len(audit.recipients)} recipients, {len(audit.findings)} findings, {len(leaks)} of them leaks")
    for verdict in audit.verdicts:
        _say(f"  {verdict.statement}")
    for finding in leaks[:20]:
        who = finding.recipient.host or finding.recipient.ip or "an unknown recipient"
        _say(
            f"  {finding.severity:8} {finding.leak_type} {finding.canary or finding.inferred} → {who} ({finding.mode})"
        )
