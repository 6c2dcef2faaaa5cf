#!/usr/bin/env bash
# Uses the C library of a build folder as a stranger would: installs it, compiles the headers alone and the example with the CMake
# package and with pkg-config, looks at what it exports, and compares verdicts and the golden scores bit by bit.
# Usage: tests/capi/package.sh BUILD_FOLDER [EMULATOR ARGUMENTS...]; with an emulator the build is for another machine.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "${1:?usage: package.sh BUILD_FOLDER [EMULATOR ARGUMENTS...]}" && pwd)
run=("${@:2}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
    echo "error: $*" >&2
    exit 1
}
cached() { sed -n "s/^$1:[A-Z]*=//p" "$build/CMakeCache.txt"; }

cxx=$(cached CMAKE_CXX_COMPILER)
cc=$(cached CMAKE_C_COMPILER)
[ -n "$cc" ] || cc=$(sed 's/clang++/clang/; s/g++/gcc/; s/c++$/cc/' <<<"$cxx")
cross=()
[ ${#run[@]} = 0 ] || cross=(-DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR="$(cached CMAKE_SYSTEM_PROCESSOR)")
strict=(-Wall -Wextra -Wconversion -pedantic -Werror)

cmake --install "$build" --component development --prefix "$work/prefix" >"$work/install.log" || fail "$(cat "$work/install.log")"

cd "$work/prefix/include"
for header in safetyclf/*; do
    "$cxx" -std=c++20 "${strict[@]}" -fsyntax-only -I. -include "$header" -x c++ /dev/null
done
"$cc" -std=c99 "${strict[@]}" -fsyntax-only -I. -include safetyclf/safetyclf.h -x c /dev/null
"$cxx" -std=c++11 "${strict[@]}" -fsyntax-only -I. -include safetyclf/safetyclf.h -x c++ /dev/null
"$cxx" -std=c++11 "${strict[@]}" -fsyntax-only -I. -x c++ "$root/examples/c/verdict.c"
cd "$root"

library=$work/prefix/lib/libsafetyclf.so
declared=$(sed -n 's/^SAFETYCLF_API .*\b\(safetyclf_[a-z_]*\)(.*/\1/p' cpp/include/safetyclf/safetyclf.h | sort)
exported=$(nm -D --defined-only "$library" | awk '{ print $3 }' | sort)
[ "$declared" = "$exported" ] || fail "declared and exported functions differ:
$(diff <(echo "$declared") <(echo "$exported"))"
[ -e "$library.$(sed -n 's/^#define SAFETYCLF_ABI_VERSION //p' cpp/include/safetyclf/safetyclf.h)" ] || fail "no library with the ABI's number"

text="they think the dog is rude"
expected='{"model": "tiny-0.1.0+2319738653e9", "action": "allow", "categories": {'
expected+='"harassment": {"score": 0.266233742, "flagged": false}, '
expected+='"violence": {"score": 0.181151941, "flagged": false}, '
expected+='"violence/graphic": {"score": 0.166461885, "flagged": false}}}'
check_verdict() {
    local got
    got=$(${run[@]+"${run[@]}"} "$@" tests/data/tiny.safetensors "$text") || [ $? = 1 ]
    [ "$got" = "$expected" ] || fail "$1 printed
$got
and not
$expected"
    got=$(printf %s "$text" | ${run[@]+"${run[@]}"} "$@" tests/data/tiny.safetensors) || [ $? = 1 ]
    [ "$got" = "$expected" ] || fail "$1 reads standard input as something else"
}
export LD_LIBRARY_PATH=$work/prefix/lib
for static in OFF ON; do
    CFLAGS="${strict[*]}" cmake -S examples/c -B "$work/verdict-$static" -DSTATIC=$static -DCMAKE_PREFIX_PATH="$work/prefix" \
        -DCMAKE_C_COMPILER="$cc" -DCMAKE_CXX_COMPILER="$cxx" -Wno-unused-cli "${cross[@]}" >"$work/log" &&
        cmake --build "$work/verdict-$static" >>"$work/log" ||
        fail "$(cat "$work/log")"
    check_verdict "$work/verdict-$static/verdict"
done
if [ ${#run[@]} = 0 ] && command -v pkg-config >/dev/null; then
    read -ra flags < <(PKG_CONFIG_PATH=$work/prefix/lib/pkgconfig pkg-config --cflags --libs safetyclf)
    "$cc" -std=c99 examples/c/verdict.c "${flags[@]}" -o "$work/verdict"
    check_verdict "$work/verdict"
fi

model=python/safetyclf/models/default.safetensors
if [ -e "$model" ]; then
    python3 tests/capi/golden_cases.py "$work/cases"
    "$cc" -std=c99 "${strict[@]}" -I"$work/prefix/include" tests/capi/golden.c "$library" -o "$work/golden"
    # Emulators are slow: there the best instruction set is enough.
    ${run[@]+"${run[@]}"} "$work/golden" "$model" "$work/cases" ${run[0]+best}
else
    echo "no golden scores: the model of the package is not here"
fi
