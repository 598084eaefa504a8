# Everything runs in .venv; nothing else is needed than Python 3.11 or newer and Java (or a network to fetch one).
.DEFAULT_GOAL := help
.PHONY: help env demo test test-all test-spark check style audit loop chaos soak lab gallery structure docs docs-serve up down lock dist bench clean

PYTHON ?= python3
BIN := .venv/bin

help:  ## show this
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort

env: .venv/.ready  ## make the environment in .venv

# A .venv that a failed or ended run left without its pip is made anew.
.venv/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed, not " + sys.version.split()[0] + ": make PYTHON=python3.12 ...")'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { echo "making .venv"; $(PYTHON) -m venv --clear .venv; }
	@echo "installing the packages of requirements.lock in .venv: 1 GB, a minute or so"
	@awk '/^uv==/ {on = 1} on {print} on && !/\\$$/ {exit}' requirements.lock >.venv/uv.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r .venv/uv.txt
	@$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@$(BIN)/python -m compileall -q labkit
	@touch $@

demo: env  ## everything at work once: real Kafka, real Elasticsearch, a charted replay
	$(BIN)/labkit demo

lab: env  ## open JupyterLab with the tour
	$(BIN)/labkit up
	$(BIN)/jupyter lab --notebook-dir notebooks --LabApp.default_url=/lab/tree/00-tour.ipynb $(shell test "$$(id -u)" = 0 && echo --allow-root)

gallery: env  ## execute every notebook on the local stack; docs/gallery/index.html
	$(BIN)/labkit up --elasticsearch 8.19.21 --elasticsearch 9.5.3
	$(BIN)/labkit demo
	$(BIN)/python docs/gallery.py
	$(BIN)/python docs/picture.py

structure: env  ## draw which room imports which, from the imports: docs/structure.svg
	$(BIN)/python docs/structure.py

docs: env  ## build the documentation in build/site; offline, a warning is an error
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet --builder html --doctree-dir build/doctrees docs build/site
	@echo "build/site/index.html"

docs-serve: docs  ## show the documentation on http://127.0.0.1:8123 (PORT)
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory build/site $(or $(PORT),8123)

up: env  ## start the local stack
	$(BIN)/labkit up

down: env  ## stop everything
	$(BIN)/labkit down

check: env  ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/nbstripout --verify notebooks/*.ipynb

style: env  ## count vague names, long lines and functions, nested comprehensions (ARGS: --files, --list FIGURE)
	$(BIN)/python .ci/count_style.py $(ARGS)
	$(BIN)/python .ci/count_style.py tests --hold "vague names" "long lines" "long functions"

audit: env  ## ask the advisory database about the locked dependencies (needs a network)
	$(BIN)/uv tool run --quiet pip-audit --requirement requirements.lock --require-hashes --disable-pip --strict

# beside one another, on stacks of their own; a test that needed a second try is listed, and in CI more than three fail
PARALLEL := -n auto --dist loadgroup --no-loadscope-reorder --reruns 1

test: env  ## the tests of a change: all but what waits for timeouts, kills servers or drives a browser (ARGS: pytest's)
	$(BIN)/python -m pytest $(PARALLEL) -m 'not (slow or chaos or browser or hard)' $(ARGS)

test-all: env  ## all tests, as CI runs them (ARGS: pytest's)
	$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

loop: env  ## the same tests again and again, until some fail (ARGS: pytest's; ROUNDS: 20)
	for round in $$(seq $(or $(ROUNDS),20)); do echo "round $$round"; CI=true $(BIN)/python -m pytest -q $(ARGS) || exit 1; done

chaos: env  ## servers and processes killed, disks full, caches shared, clocks set, interrupts: all, and harder
	LABKIT_TEST_KILLS=20 CI=true $(BIN)/python -m pytest --timeout=1200 -o faulthandler_timeout=2600 -m chaos $(ARGS)

soak: env  ## extractor and indexer at work for 30 minutes while all they need is killed (ARGS: --minutes, --rate, --seed)
	$(BIN)/python tests/chaos/soak.py $(ARGS)

fuzz: env  ## follow coverage into the decoders and parsers for ten minutes (ARGS: targets; needs a wheel of atheris)
	$(BIN)/uv pip install --quiet --python $(BIN)/python atheris==3.0.0
	$(BIN)/python tests/fuzz/run.py $(or $(SECONDS),600) $(ARGS)

test-spark: .venv-spark/.ready  ## the tests of to_spark, in an environment of their own (400 MB, and jars from Maven)
	.venv-spark/bin/python -m pytest tests/spark $(ARGS)

.venv-spark/.ready: .venv/.ready
	test -x .venv-spark/bin/python || $(PYTHON) -m venv .venv-spark
	$(BIN)/uv pip sync --quiet --python .venv-spark/bin/python --require-hashes requirements.lock
	$(BIN)/uv pip install --quiet --python .venv-spark/bin/python --editable '.[spark]' pyspark==4.2.0
	touch $@

dist: env  ## build and check the wheel and the sdist, in build/dist (needs a network)
	rm -rf build/dist
	$(BIN)/uv build --quiet --out-dir build/dist .
	$(BIN)/uv tool run --quiet twine check --strict build/dist/*.whl build/dist/*.tar.gz
	$(BIN)/python .ci/check_dist.py build/dist

lock: env  ## resolve the dependencies anew
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--group dev --extra stack --extra irc --extra geoip --custom-compile-command "make lock" pyproject.toml -o requirements.lock

clean:  ## remove the environment and the runs
	rm -rf .venv .venv-spark runs

bench: env  ## measure, side by side with other ways; docs/figures keeps the medians
	$(BIN)/python tests/bench/read.py
	$(BIN)/python tests/bench/groups.py
	$(BIN)/python tests/bench/index.py
	$(BIN)/python tests/bench/browse.py
	$(BIN)/python tests/bench/tasks.py
