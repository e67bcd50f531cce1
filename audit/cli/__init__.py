"""The command line: click commands and nothing else, one module per command.

Machine output goes to stdout, everything else to stderr. Exit codes: 0 done, 1 something was found (with
--fail-on; for `search`: nothing was found), 2 bad input or usage with one line on stderr, 130 interrupted.
Each command imports the rooms it needs itself, so that help and completion answer at once.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click

from audit import __version__
from audit.cli.analyze import analyze
from audit.cli.capture import capture
from audit.cli.completion import completion
from audit.cli.decode import decode
from audit.cli.doctor import doctor
from audit.cli.inspect import inspect
from audit.cli.mark import mark
from audit.cli.plan import plan
from audit.cli.report import report
from audit.cli.search import search
from audit.cli.sniff import sniff
from audit.experiment import BadExperiment
from audit.reporting import findings as findings_file
from audit.reporting.wire import inert
from audit.sources import BadCapture

_COMMANDS: tuple[click.Command, ...] = (
    analyze, report, inspect, search, decode, plan, capture, mark, sniff, doctor, completion,
)  # fmt: skip


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="privacy-audit")
def cli() -> None:
    """Shows which browsing and search data a device sent, to whom, and in which mode.

    \b
    Start here:
      privacy-audit analyze my-experiment/        audit an experiment folder
      privacy-audit analyze flows.mitm page.har   audit captures alone
    """


for _command in _COMMANDS:
    cli.add_command(_command)


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
