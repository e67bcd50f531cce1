"""The rules of the house that a machine can check. They are told in docs/design.md."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports
from msgspec import structs

import audit
from audit.records import Audit, Finding, Occurrence

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted(
    path.relative_to(ROOT).as_posix()
    for top in ("audit", "addons", "captures", "tests")
    for path in (ROOT / top).rglob("*.py")
)


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("this is no git checkout")
    return [path for name in listed.stdout.decode().split("\0") if name and (path := ROOT / name).is_file()]


def test_imports_run_downward(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert lint_imports(config_filename="pyproject.toml", no_cache=True) == EXIT_STATUS_SUCCESS


def imported(name: str) -> set[str]:
    """The top-level names that a module of this repository imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / name).read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").partition(".")[0])
    return found


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("audit/")])
def test_nothing_imports_the_addons(name: str) -> None:
    assert "addons" not in imported(name)


def test_what_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {re.split(r"[=<>;\[ ]", line)[0].lower() for line in project["dependencies"]}
    declared.add("markupsafe")  # one half of jinja2
    distributions = metadata.packages_distributions()
    undeclared = {
        f"{name}: {module}"
        for name in MODULES
        if name.startswith(("audit/", "addons/")) and not Path(name).name.startswith("build_")
        for module in imported(name) - {"audit", *sys.stdlib_module_names}
        if not declared & {found.lower().replace("_", "-") for found in distributions.get(module, ())}
    }
    assert not undeclared


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_it_is_for(name: str) -> None:
    assert ast.get_docstring(ast.parse((ROOT / name).read_text())), f"{name} does not open with a docstring"


# Put together here, so that this file does not contain what it looks for.
HOSTS = re.compile(
    "|".join(
        [
            re.escape(host)
            for host in (
                "pypi" + ".org",
                "python" + "hosted.org",
                "npm" + "js.org",
                "npm" + "js.com",
                "crates" + ".io",
                "proxy.golang" + ".org",
                "deb.debian" + ".org",
            )
        ]
    ).encode()
)
PERSONAL = re.compile(rb"(?<![\w.\-/])/(?:home|Users|" + b"root|" + rb"work)/\w")


def test_no_path_of_anybodys_machine_in_tracked_files() -> None:
    here = {f"{path}/".encode() for path in (ROOT, Path.home()) if len(path.parts) > 1}
    found = [
        f"{path.relative_to(ROOT)}: {match}"
        for path in tracked()
        for content in [path.read_bytes()]
        for match in [*PERSONAL.findall(content), *(place for place in here if place in content)]
    ]
    assert not found


def test_no_package_registry_is_named_in_tracked_files() -> None:
    found = [path.relative_to(ROOT) for path in tracked() if HOSTS.search(path.read_bytes())]
    assert not found


def test_one_version_everywhere() -> None:
    headings = re.findall(r"^## \[?([\w.]+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    newest = next(heading for heading in headings if heading != "Unreleased")
    assert newest == audit.__version__
    try:
        installed = metadata.version("device-privacy-audit")
    except metadata.PackageNotFoundError:
        pytest.skip("not installed: this is a bare checkout")
    assert installed == audit.__version__


def test_the_readme_names_commands_that_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    named = {
        name
        for page in pages
        for name in re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), re.MULTILINE)
    }
    assert {"demo", "test"} <= named
    assert named <= targets


def test_links_between_the_pages_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "captures").glob("*.md")]
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert not broken


def test_every_command_is_explained() -> None:
    import click

    from audit.cli import cli

    context = click.Context(cli)
    commands = {name: cli.get_command(context, name) for name in cli.list_commands(context)}
    page = (ROOT / "docs" / "cli.md").read_text()
    assert set(re.findall(r"^## ([a-z]+)$", page, re.MULTILINE)) == set(commands)
    for name, command in commands.items():
        section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        options = {option for parameter in command.params for option in parameter.opts if option[:2] == "--"}
        assert {option for option in options if option not in section} == set(), name


def test_every_key_of_the_findings_is_explained() -> None:
    page = (ROOT / "docs" / "findings.md").read_text()
    for kind in (Audit, Finding, Occurrence):
        missing = {field.name for field in structs.fields(kind) if f"`{field.name}`" not in page}
        assert missing == set(), kind.__name__
