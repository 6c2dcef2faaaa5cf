#!/usr/bin/env bash
# Compiles the GPU kernels for all architectures, warnings as errors, and compares what they take of the hardware with
# cpp/cuda/resources.txt; `cuda.sh --write` writes that file. Fails if a kernel spills registers into memory, or if the bytes would depend
# on the folder they are compiled in.
. "$(dirname "$0")/common.sh"
nvcc=$(find_nvcc) || skip "no nvcc that knows the architectures of cpp/cuda/nvcc.options"
report=cpp/cuda/resources.txt
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
compile() { # FOLDER OUTPUT OPTION...
    (cd "$1" && "$nvcc" -optf nvcc.options -Werror=all-warnings -Xptxas -v -t 0 -fatbin kernels.cu -o "$2" "${@:3}") 2>"$folder/log" || {
        cat "$folder/log"
        fail "the kernels do not compile"
    }
}
cp -r cpp/cuda "$folder/elsewhere"
compile "$folder/elsewhere" "$folder/again"
compile cpp/cuda "$folder/fatbin" --keep --keep-dir "$folder"
{
    echo "# nvcc $("$nvcc" --version | sed -n 's/.*, V//p'). Registers of a thread; bytes: static shared memory of a block (kernels.hpp has what launches"
    echo "# add), stack and spills of a thread."
    printf '%-18s %-8s %9s %6s %5s %6s\n' kernel for registers shared stack spills
    awk -F "'" '
        /Compiling entry function/ { kernel = $2; sub("safetyclf_", "", kernel); target = $4 }
        /bytes stack frame/ { split($0, n, " "); stack = n[1]; spills = n[5] + n[9] }
        /Used [0-9]+ registers/ {
            shared = match($0, /[0-9]+ bytes smem/) ? substr($0, RSTART) + 0 : 0
            match($0, /Used [0-9]+/)
            printf "%-18s %-8s %9d %6d %5d %6d\n", kernel, target, substr($0, RSTART + 5), shared, stack, spills
        }' "$folder/log" | LC_ALL=C sort -k1,1 -k2.4bn
} >"$folder/report"

status=0
if awk 'NR > 3 && $6 > 0 { print "spills: " $0; found = 1 } END { exit !found }' "$folder/report"; then status=1; fi
if grep -hoE '[0-9A-Za-z_]*(_GLOBAL__N__|_INTERNAL_)[0-9A-Za-z_]*' "$folder"/*.ptx | sort -u; then
    echo "nvcc hashes the path of a file into these names: no unnamed namespaces and static variables in kernels"
fi
if ! cmp "$folder/fatbin" "$folder/again"; then
    echo "error: in another folder the kernels have other bytes"
    status=1
fi
if [ "${1:-}" = --write ]; then
    cp "$folder/report" $report
elif [ -e $report ] && [ "$(head -n 1 $report)" != "$(head -n 1 "$folder/report")" ]; then
    echo "skipped: $report was written with another nvcc and is not compared"
elif ! diff $report "$folder/report"; then
    echo "error: $report is not up to date: make cuda"
    status=1
fi
echo "$(wc -c <"$folder/fatbin") bytes for $(grep -o 'code=[a-z0-9_]*' cpp/cuda/nvcc.options | cut -d= -f2 | xargs)"
exit $status
