#!/usr/bin/env bash
# Builds the C library as small as it gets (preset mini), uses it (tests/capi/package.sh), and prints what it weighs without a model;
# the stripped shared library must stay within the budget.
. "$(dirname "$0")/common.sh"
need readelf strip
budget=600000
cmake --preset mini >/dev/null
cmake --build --preset mini
bash tests/capi/package.sh build/mini

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
compiler=${CXX:-c++}
libraries=build/mini/cpp/capi
weigh() { # NAME FILE [strip]
    [ $# = 2 ] || strip "$2"
    printf '%8d bytes  %s%s\n' "$(stat -c %s "$2")" "$1" \
        "$(readelf -d "$2" 2>/dev/null | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | grep -v ld-linux | paste -sd ' ' | sed 's/^./; needs &/')"
}
cp "$libraries"/libsafetyclf.so.*.* "$work/libsafetyclf.so"
weigh "shared library, stripped" "$work/libsafetyclf.so" strip
size=$(stat -c %s "$work/libsafetyclf.so")
"${CC:-cc}" -std=c99 -Os -Icpp/include -c examples/c/verdict.c -o "$work/verdict.o"
for static in "" "-static-libstdc++ -static-libgcc" "-static"; do
    # shellcheck disable=SC2086
    "$compiler" "$work/verdict.o" "$libraries/libsafetyclf.a" -pthread -Wl,--gc-sections $static -o "$work/verdict"
    weigh "examples/c/verdict.c with the static library${static:+, $static}, stripped" "$work/verdict" strip
done
echo "shared library: $size of at most $budget bytes"
[ "$size" -le $budget ]
