#!/usr/bin/env bash
# Formatting, lint and types. Nothing is changed; the commands that would are in CONTRIBUTING.md.
. "$(dirname "$0")/common.sh"
need_setup
status=0

mapfile -t cpp < <(find cpp tests/cpp tests/capi examples benchmarks -name '*.[ch]pp' -o -name '*.[ch]' -o -name '*.cu*' -o -name '*.inc')
if have clang-format-14; then
    clang-format-14 --dry-run -Werror "${cpp[@]}" || status=1
else
    echo "skipped: clang-format-14 is not installed" # other versions format differently
fi
if LC_ALL=C grep -nP '[^\x00-\x7F]' "${cpp[@]}"; then
    echo "C++ sources must be ASCII"
    status=1
fi
ruff check . || status=1
ruff format --check . || status=1
mypy || status=1
check-jsonschema --builtin-schema vendor.github-actions action.yml || status=1
exit $status
