"""The command line: click commands and nothing else, one module per command.

Machine output goes to stdout, everything else to stderr. Exit codes: 0 done, 1 something was found (with
--fail-on; for `search`: nothing was found), 2 bad input or usage with one line on stderr, 130 interrupted.
A command's module is imported when the command is needed, and imports the rooms it needs itself, so that
all of them start at once.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import NoReturn

import click

from audit import __version__

_COMMANDS = (
    "analyze", "report", "compare", "export", "sign", "verify", "inspect", "search", "decode", "plan", "capture", "mark", "sniff", "doctor", "completion",
)  # fmt: skip


class _Commands(click.Group):
    """The commands, each in the module of its name, which is imported when the command is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"audit.cli.{cmd_name}"), cmd_name)
        return command


@click.group(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="privacy-audit")
def cli() -> None:
    """Shows which browsing and search data a device sent, to whom, and in which mode.

    \b
    Start here:
      privacy-audit analyze my-experiment/        audit an experiment folder
      privacy-audit analyze flows.mitm page.har   audit captures alone
    """


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
    except _refusals() as error:
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


def _refusals() -> tuple[type[Exception], ...]:
    """The errors that say what is wrong with the input; looked up only where one was raised."""
    from audit.experiment import BadExperiment
    from audit.reporting.findings import BadFindings
    from audit.sources import BadCapture

    return click.ClickException, BadCapture, BadExperiment, BadFindings


def _told(message: str, code: int) -> int:
    from audit.reporting.wire import inert

    line = " ".join(inert(message, 2_000).split())
    print(f"privacy-audit: {line}", file=sys.stderr)
    return code
