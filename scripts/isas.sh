#!/usr/bin/env bash
# Repeats Python tests with each instruction set that this CPU supports forced, but for the best one, which
# test.sh has used. Arguments go to pytest.
. "$(dirname "$0")/common.sh"
need_setup
mapfile -t isas < <(python -c 'import safetyclf; print(*safetyclf.build_info()["supported_isas"][1:], sep="\n")')
[ ${#isas[@]} -gt 0 ] || skip "this CPU supports one instruction set only"
for isa in "${isas[@]}"; do
    echo "SAFETYCLF_ISA=$isa"
    SAFETYCLF_ISA=$isa python -m pytest -m "not slow" "$@"
done
