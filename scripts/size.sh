#!/usr/bin/env bash
# Lines of the C++ that ships, by folder, without generated tables, against budgets that keep it readable by one person: one for the
# core, one for the C interface over it, which those who use Python need not read, one for the attacks of evaluations, one for the GPU.
. "$(dirname "$0")/common.sh"
count() { # BUDGET, for the files that standard input names
    xargs -0 wc -l | awk -v budget="$1" '
        $2 != "total" { folder = $2; sub("/[^/]*$", "", folder); lines[folder] += $1; total += $1 }
        END {
            for (folder in lines) printf "%6d %s\n", lines[folder], folder | "sort -k2"
            close("sort -k2")
            printf "%6d of at most %d lines\n", total, budget
            exit total > budget
        }'
}
status=0
find cpp/include cpp/src cpp/kernels cpp/bindings/native* -name '*.[chi]*' ! -name 'unicode_tables*.cpp' ! -name '*.cmake' \
    ! -name safetyclf.h -print0 | count 10105 || status=1
find cpp/capi cpp/include/safetyclf/safetyclf.h -name '*.[ch]*' ! -name '*.cmake' -print0 | count 550 || status=1
find cpp/attack -name '*.[ch]pp' -print0 | count 500 || status=1
find cpp/cuda -name '*.[ch]pp' -print0 -o -name '*.cu*' -print0 | count 2740 || status=1
exit $status
