# One target for each task of a developer: `make help` lists them. They need only Python 3.10, a C++20 compiler and
# PyPI. Their output goes to .venv, .venv-bench, build and dist.
PYTHON ?= python3
JOBS ?= $(shell getconf _NPROCESSORS_ONLN)
ISA ?=
ARGS ?=
CMAKE_ARGS ?=

BIN := .venv/bin
CMAKE := PATH="$(CURDIR)/$(BIN):$$PATH" cmake
CTEST := PATH="$(CURDIR)/$(BIN):$$PATH" ctest
CXX_FILES := $(shell find cpp cuda tests/cpp benchmarks -name '*.?pp' -o -name '*.cu' -o -name '*.cuh')
# The sources of the compiled module. Python files are used in place (an editable install).
MODULE_SOURCES := CMakeLists.txt pyproject.toml $(shell find cpp cuda)

# The Python tests of devices, and those whose results come from kernels: these also run on other ISAs and on a device.
DEVICE_TESTS := $(wildcard tests/python/*/test_*device*.py) tests/python/test_docs.py tests/python/test_gpu_check.py \
	tests/python/codecs/test_new_family.py
KERNEL_TESTS := $(filter-out $(DEVICE_TESTS),$(wildcard $(patsubst %,tests/python/%/test_*.py,codecs pipeline stages table))) \
	tests/python/encoder/test_encoder.py tests/python/table/formats/test_golden.py
PYTEST := $(BIN)/python -m pytest --numprocesses $(JOBS) --dist worksteal

export PYTHON CMAKE_ARGS
export CMAKE_BUILD_PARALLEL_LEVEL := $(JOBS)
ifneq ($(ISA),)
export NESTVEC_ISA := $(ISA)
endif

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: FORCE help demo test bench bench-encode lint format sanitize emulated \
	test-emulated gpu-check wheel clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo 'Variables: PYTHON=python3.12 (makes .venv), JOBS=2 (parallel compiles and tests), CXX=clang++,'
	@echo '           CMAKE_ARGS=-DNESTVEC_WERROR=ON, ARGS (passed to the demo, pytest or the benchmarks), ISA=reference'
	@echo '           (forces an ISA, and skips the Python tests that run no kernels)'

# Stamps are written last, so that an interrupted step runs again. .ci/venv explains .unfinished.
.venv/.installed: $(MODULE_SOURCES) $(if $(wildcard .venv/.unfinished),FORCE)
	@echo 'nestvec: installing the build tools into .venv'
	@.ci/venv .venv --group build
	@.ci/check_compiler $(BIN)/python
	@echo 'nestvec: building, and installing into .venv'
	@.ci/venv .venv --no-build-isolation --config-settings=build-dir=build/editable \
		--config-settings=cmake.define.NESTVEC_CUDA=OFF --editable '.[cpu,cli,export,plot]'
	@touch $@

.venv/.developer: pyproject.toml | .venv/.installed
	@echo 'nestvec: installing the test and lint tools into .venv'
	@.ci/venv .venv --group test --group lint
	@touch $@

demo: .venv/.installed ## Encode the standard library's docstrings, build a table and search it (ARGS='--limit 500')
	@$(BIN)/nestvec demo --cache build/demo $(ARGS)

test: .venv/.developer ## Run the C++ tests and the Python tests (ARGS='-k pooling')
	$(CMAKE) --preset tests $(CMAKE_ARGS) --log-level=WARNING
	$(CMAKE) --build --preset tests
	$(CTEST) --preset tests --parallel $(JOBS) $(if $(ISA),--exclude-regex '^cuda_')
	$(PYTEST) $(if $(ISA),$(KERNEL_TESTS)) $(ARGS)

# The module is built beside the C++ tests, from the same objects.
test-emulated: .venv/.developer ## Run the Python tests of devices and of kernels on an emulated CUDA device
	$(CMAKE) --preset tests $(CMAKE_ARGS) --log-level=WARNING -DNESTVEC_PYTHON=ON \
		-Dpybind11_DIR="$$($(BIN)/python -m pybind11 --cmakedir)" -DPython_EXECUTABLE="$(CURDIR)/$(BIN)/python"
	$(CMAKE) --build --preset tests --target _core extra_core
	NESTVEC_TEST_CORE="$$(echo $(CURDIR)/build/tests/_core*.so)" \
		NESTVEC_TEST_EXTRA_CORE="$$(echo $(CURDIR)/build/tests/extra_encoding/_core*.so)" $(PYTEST) $(DEVICE_TESTS) $(ARGS)
	NESTVEC_TEST_CORE="$$(echo $(CURDIR)/build/tests/_core*.so)" NESTVEC_TEST_DEVICE=cuda \
		$(PYTEST) $(KERNEL_TESTS) $(ARGS)

# Runs $(PYTHON) itself, which probably has the GPU libraries to compare with. CMake, Ninja, pybind11 may be in .venv.
gpu-check: ## On a machine with an NVIDIA GPU and nvcc: build for it, test on it, and benchmark it beside installed libraries
	@PATH="$$PATH:$(CURDIR)/$(BIN)" KERNEL_TESTS="$(KERNEL_TESTS)" \
		DEVICE_TESTS="$(filter-out %_docs.py %_gpu_check.py,$(DEVICE_TESTS))" $(PYTHON) -m benchmarks.gpu.check $(ARGS)

sanitize: .venv/.developer ## Run the C++ tests under the address and undefined-behaviour sanitizers, those with threads under the thread sanitizer
	$(CMAKE) --preset asan $(CMAKE_ARGS) --log-level=WARNING
	$(CMAKE) --build --preset asan
	$(CTEST) --preset asan --parallel $(JOBS)
	$(CMAKE) --preset tsan $(CMAKE_ARGS) --log-level=WARNING
	$(CMAKE) --build --preset tsan
	$(CTEST) --preset tsan --parallel $(JOBS)

emulated: .venv/.developer ## Run the C++ tests on emulated CPUs: 64-bit ARM, and x86-64 without AVX
	.ci/emulated

lint: .venv/.developer ## Check the Python and C++ sources: ruff, mypy, stubtest, clang-format
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest --mypy-config-file pyproject.toml nestvec._core
	$(BIN)/clang-format --dry-run -Werror $(CXX_FILES)

format: .venv/.developer ## Format the Python and C++ sources
	$(BIN)/ruff format
	$(BIN)/clang-format -i $(CXX_FILES)

wheel: .venv/.developer ## Build the source distribution, and a wheel from it, into dist
	rm -rf dist
	$(BIN)/python -m build --no-isolation --config-setting=build-dir="$(CURDIR)/build/wheel"

.venv-bench/.installed: benchmarks/requirements.txt $(MODULE_SOURCES) $(shell find python/nestvec -name '*.py') $(if $(wildcard .venv-bench/.unfinished),FORCE)
	@echo 'nestvec: installing nestvec and the peers it is measured against into .venv-bench'
	@.ci/venv .venv-bench --requirement benchmarks/requirements.txt '.[cpu,cli,export]'
	@touch $@

bench: bench-latency bench-memory bench-scan bench-train bench-isas bench-encode ## Run the benchmarks (minutes); one: make bench-scan; plots: make bench-curves

# bench-latency: benchmarks/table/latency.py; bench-scan: benchmarks/scan, the package.
bench-%: .venv-bench/.installed
	.venv-bench/bin/python -m $(or $(subst /,.,$(basename $(wildcard benchmarks/*/$*.py))),benchmarks.$*) $(ARGS)

bench-encode: .venv-bench/.installed
	.venv-bench/bin/nestvec demo --limit 50 --cache build/demo  # fetches the model
	.venv-bench/bin/python -m benchmarks.encode build/demo/demo-*/all-MiniLM-L6-v2 $(ARGS)

clean: ## Remove all that was built, except .venv and .venv-bench
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .venv/.installed .venv-bench/.installed
