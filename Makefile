# Each target sets up what it needs: a virtual environment in .venv, from constraints.txt.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test lint docs bench bench-smoke bench-suite clean

demo: $(VENV)/demo.done
	$(BIN)/python -m demo $(ARGS)

test: $(VENV)/dev.done
	$(BIN)/python -m pytest -n auto $(ARGS)

lint: $(VENV)/dev.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/dev.done
	$(BIN)/python scripts/make_docs.py

bench: $(VENV)/dev.done
	$(BIN)/python benchmarks/speed.py $(ARGS)

bench-smoke: $(VENV)/demo.done $(VENV)/dev.done
	$(BIN)/python -m benchmarks.suite.prepare --smoke
	$(BIN)/taskvec bench train benchmarks/suite/smoke.yaml
	$(BIN)/taskvec bench score benchmarks/suite/smoke.yaml $(ARGS)

bench-suite: $(VENV)/suite.done
	$(BIN)/python -m benchmarks.suite.prepare $(ARGS)
	for suite in text8 vision8; do \
		$(BIN)/taskvec bench train benchmarks/suite/$$suite.yaml && \
		$(BIN)/taskvec bench score benchmarks/suite/$$suite.yaml --choices || exit 1; \
	done

clean:
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/base.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) --editable '.[fast,hf]'
	touch $@

$(VENV)/demo.done: $(VENV)/base.done demo/requirements.txt
	$(PIP) -r demo/requirements.txt
	touch $@

$(VENV)/dev.done: $(VENV)/base.done
	$(PIP) --editable '.[fast,hf,dev]'
	touch $@

$(VENV)/suite.done: $(VENV)/dev.done benchmarks/suite/requirements.txt
	$(PIP) -r benchmarks/suite/requirements.txt
	touch $@
