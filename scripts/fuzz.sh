#!/usr/bin/env bash
# Runs each libFuzzer target for FUZZ_SECONDS (60), or only those named. New inputs are kept in build/fuzz/found; a crash is written to
# build/fuzz/crashes, and ends as a file in cpp/fuzz/corpus and a named test (CONTRIBUTING.md).
. "$(dirname "$0")/common.sh"
need clang++-14 cmake ninja
cmake --preset fuzz
cmake --build --preset fuzz
targets=("$@")
[ $# -gt 0 ] || mapfile -t targets < <(find build/fuzz/cpp/fuzz -maxdepth 1 -type f -name 'fuzz_*' -executable -printf '%f\n' | sed 's/^fuzz_//' | sort)
[ ${#targets[@]} -gt 0 ] || fail "there are no fuzz targets"
mkdir -p build/fuzz/crashes
for target in "${targets[@]}"; do
    echo "fuzzing $target for ${FUZZ_SECONDS:=60} s"
    mkdir -p "build/fuzz/found/$target"
    "build/fuzz/cpp/fuzz/fuzz_$target" -max_total_time="$FUZZ_SECONDS" -timeout=10 -print_final_stats=1 -verbosity=0 \
        -artifact_prefix=build/fuzz/crashes/ "build/fuzz/found/$target" "cpp/fuzz/corpus/$target"
done
