# The two commands of the README, and what developers run. `make check` is what CI runs.

PYTHON ?= python3
BIN := .venv/bin
# Tests run in three processes for every two cores: half of their time they wait for servers, for processes that
# start, for a lease to end, and with one per core half of the machine would wait with them. More would share out
# the machine so thinly that what starts within a second takes many. Python counts, because nproc is not
# everywhere. One that has nothing left takes from the others. They start hundreds of processes, which should
# not compile everything anew, whatever the environment says.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(max(2, (os.cpu_count() or 1) * 3 // 2))')

.PHONY: demo test check format lint types layers bench faults soak servers clean

demo: .venv/installed
	$(BIN)/mailer demo

test: .venv/developed servers
	PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -n $(WORKERS) --dist worksteal

check: format lint types layers test

format: .venv/developed
	$(BIN)/ruff format --check .

lint: .venv/developed
	$(BIN)/ruff check .

types: .venv/developed
	$(BIN)/mypy

layers: .venv/developed
	$(BIN)/lint-imports

bench: .venv/developed servers
	$(BIN)/python -m bench

faults: .venv/developed servers
	WHOLE_FAULTS=1 $(BIN)/pytest tests/faults tests/contract/test_ledger_states.py \
	  tests/acceptance/test_api_by_its_document.py --timeout 3600

# A day of it; SOAK_SECONDS=3600 is an hour.
soak: .venv/developed servers
	SOAK_SECONDS=$${SOAK_SECONDS:-86400} $(BIN)/pytest tests/faults/test_soak.py --timeout 0

servers:
	@sh scripts/install-test-servers.sh

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist

# `make demo` installs what a user needs; the tests need more.
.venv/installed: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { \
	  echo "Cannot create a virtual environment: install it first (Debian, Ubuntu: apt-get install python3-venv)."; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all]'
	@touch $@

.venv/developed: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,dev]'
	@touch $@
