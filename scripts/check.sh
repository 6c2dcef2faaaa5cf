#!/usr/bin/env bash
# Everything that CI runs: each step timed and named, on after a failure, a table at the end. A step whose tools are missing says so and
# counts as skipped. The last line is the number of C++ and Python tests that passed and failed, with every failed step as one failure.
. "$(dirname "$0")/common.sh"
set +e
logs=$ROOT/build/logs
mkdir -p "$logs"
table=()
failed_steps=0
begin=$SECONDS
limit=5000 # seconds for all steps together: CI gives up after 90 minutes and would show no table

# step NAME COMMAND...
step() {
    local name=$1 log="$logs/${1// /-}.log" start=$SECONDS status result
    shift
    printf '\n==== %s: %s\n' "$name" "$*"
    timeout --kill-after=10 $((begin + limit > SECONDS ? begin + limit - SECONDS : 1)) "$@" </dev/null 2>&1 | tee "$log"
    status=${PIPESTATUS[0]}
    case $status in
        0) result=ok ;;
        77) result=skipped ;;
        124 | 137) result="FAILED (out of time)" ;;
        *) result=FAILED ;;
    esac
    case $result in FAILED*) failed_steps=$((failed_steps + 1)) ;; esac
    table+=("$(printf '%-22s %5d s  %s' "$name" $((SECONDS - start)) "$result")")
}

# count WORD: the sum of "N WORD" over the closing lines of all pytest runs.
count() {
    cat "$logs"/*.log | grep -E '^=+ .* in [0-9.]+s( \([0-9:]+\))? =+$' | grep -oE "[0-9]+ $1" | awk '{ n += $1 } END { print n + 0 }'
}

rm -f "$logs"/*.log
tests=tests/python
step setup env SKBUILD_CMAKE_DEFINE=SAFETYCLF_WERROR=ON bash scripts/setup.sh
step lint bash scripts/lint.sh
step size bash scripts/size.sh
step "gpu kernels" bash scripts/cuda.sh
step test bash scripts/test.sh
step instructions bash scripts/instructions.sh
step "instruction sets" bash scripts/isas.sh $tests/test_{determinism,golden}.py
step "python versions" bash scripts/smoke.sh
step audit bash scripts/audit.sh
step "portable wheel" bash scripts/portable.sh
step emulators bash tests/cross/run_kernels.sh build/cross
step "small library" bash scripts/mini.sh
step tsan bash scripts/sanitize.sh tsan
step asan bash scripts/sanitize.sh asan $tests/test_{api,bad_input,determinism,head_depths,kernels,model_file,policy_terms,text_rules,text_windows,threads_fork}.py $tests/serve/test_serve_batching.py
step fuzz env FUZZ_SECONDS="${FUZZ_SECONDS:-5}" bash scripts/fuzz.sh

# ctest's closing line: "95% tests passed, 1 tests failed out of 20", in new versions without the second part if nothing failed.
read -r cpp_passed cpp_failed < <(cat "$logs"/*.log | awk '
    /^[0-9]+% tests passed.* out of [0-9]+$/ { total += $NF; if ($5 == "tests") failed += $4 }
    END { print total - failed, failed + 0 }')
failed=$((cpp_failed + $(count failed) + $(count 'errors?')))
printf '\n==== summary, %d s\n' $((SECONDS - begin))
printf '%s\n' "${table[@]}"
grep -hE '^skipped: ' "$logs"/*.log | sort -u
echo "$((cpp_passed + $(count passed))) passed, $((failed > failed_steps ? failed : failed_steps)) failed"
exit $((failed_steps > 0))
