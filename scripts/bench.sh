#!/usr/bin/env bash
# Measures safetyclf by itself on this machine: kernels, then texts; arguments go to end_to_end.py. The comparison with rivals needs
# their packages: benchmarks/README.md.
. "$(dirname "$0")/common.sh"
need_setup
cmake --preset release
cmake --build --preset release --target bench_kernels
build/release/benchmarks/bench_kernels
python benchmarks/end_to_end.py "$@"
