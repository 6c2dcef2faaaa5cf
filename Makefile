# Names for the scripts in scripts/; each can be run without make as well.
.DEFAULT_GOAL := help
.PHONY: help setup test fast lint fuzz bench count cuda wheel wheel-portable wheels-all audit size mini check clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s  %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Make .venv, build and install the package with its test module
	@bash scripts/setup.sh

test: setup ## All C++ and Python tests on this CPU's best instruction set
	@bash scripts/test.sh

fast: setup ## The tests that take no more than a few seconds each
	@bash scripts/test.sh -m "not slow"

lint: ## clang-format, ruff and mypy, without changing anything
	@bash scripts/lint.sh

fuzz: ## Each libFuzzer target for FUZZ_SECONDS (60)
	@bash scripts/fuzz.sh

bench: setup ## Kernels and end to end on this machine (rivals: benchmarks/README.md)
	@bash scripts/bench.sh

count: setup ## Instructions of fixed work against the committed counts (valgrind)
	@bash scripts/instructions.sh

cuda: ## The GPU kernels for all architectures, and the report of what they take (nvcc)
	@bash scripts/cuda.sh --write

wheel: ## A wheel for this machine in dist/
	@bash scripts/wheel.sh

wheel-portable: ## A wheel for any Linux of this architecture, built with zig, checked and tested
	@bash scripts/portable.sh

wheels-all: ## All portable wheels, checked, tested where they can run here, and their table
	@bash scripts/wheels_all.sh

audit: wheel ## What the wheel contains, needs and exports, and which instructions it is made of
	@bash scripts/audit.sh

size: ## Lines of C++ by folder, against the budget
	@bash scripts/size.sh

mini: ## The C library as small as it gets: what it weighs, against the budget
	@bash scripts/mini.sh

check: ## Everything that CI runs
	@bash scripts/check.sh

clean: ## Remove what was built; .venv stays
	rm -rf build dist compile_commands.json
