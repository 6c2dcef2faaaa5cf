#!/usr/bin/env bash
# Counts the instructions of fixed work on the AVX2 kernels and fails if they are more than 2 % above benchmarks/results/instructions.json;
# `instructions.sh --update` writes that file. Counts do not depend on what else the machine does, as timings would.
. "$(dirname "$0")/common.sh"
need_setup
need valgrind
grep -qsw avx2 /proc/cpuinfo || skip "instruction counts need a CPU with AVX2"
cmake -DSAFETYCLF_BENCH=ON "$BUILD" >/dev/null # what setup.sh has built; only the program is added
cmake --build "$BUILD" --target bench_instructions
python benchmarks/instructions.py "$BUILD/benchmarks/bench_instructions" "$@"
