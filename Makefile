# make demo   audits the sample capture; needs nothing but Python 3.11 or newer
# make test   the quick tests           make test-all  these and the slow ones (real browsers)
# make lint   style, types, import rules    make wheel  the package    make clean  removes what make made
#
# Each target sets up what it needs. Another Python: make test PYTHON=python3.13 VENV=.venv-3.13

PYTHON ?= python3
VENV ?= .venv
SAMPLE ?= $(lastword $(sort $(wildcard captures/chromium-*)))
PYTEST_ARGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PYTEST := $(BIN)/python -m pytest
REPORT := demo-report

# What some tests need beyond Python (Debian's names). Tests that miss one of them skip and say so.
SYSTEM := chromium tshark xvfb xdotool wireguard-go wireguard-tools iproute2 nftables libnss3-tools \
  poppler-utils imagemagick curl openssl

.PHONY: demo test test-slow test-all lint wheel clean
.DELETE_ON_ERROR:

demo: $(VENV)/run.stamp
	@test -n "$(SAMPLE)" || { echo "make demo: there is no captures/chromium-*/ here; name one: make demo SAMPLE=DIR" >&2; exit 2; }
	$(BIN)/privacy-audit analyze $(SAMPLE) -o $(REPORT)
	@echo "The report: $(CURDIR)/$(REPORT)/report.html"

test: $(VENV)/develop.stamp $(VENV)/system.stamp
	$(PYTEST) -n 2 $(PYTEST_ARGS)

test-slow: $(VENV)/develop.stamp $(VENV)/system.stamp
	$(PYTEST) -m slow -n 2 --dist loadfile $(PYTEST_ARGS)

test-all: test test-slow

lint: $(VENV)/develop.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

wheel: $(VENV)/develop.stamp
	$(BIN)/python -m build --wheel --no-isolation

clean:
	rm -rf .venv .venv-* $(REPORT) dist build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find audit addons tests captures -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $(PYTHON) is missing or older than 3.11; name another one: make PYTHON=python3.13" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv; } || { echo "make: $(PYTHON) cannot make virtual environments; on Debian and Ubuntu install python3-venv" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: pyproject.toml | $(VENV)/bin/python
	$(PIP) -e .
	@touch $@

$(VENV)/develop.stamp: pyproject.toml | $(VENV)/bin/python
	$(PIP) -e '.[test,lint,build]'
	@touch $@ $(VENV)/run.stamp

$(VENV)/system.stamp: | $(VENV)/bin/python
	@bash .ci/system-packages $(SYSTEM)
	@touch $@
