#!/usr/bin/env bash
# Sets up, builds and runs the tests: scripts/test.sh [--quick | --long] [-R NAME] [--preset NAME]
#   (nothing)   all but the long ones, the fuzzers included
#   --quick     the unit tests only
#   --long      the long runs too
#   -R NAME     only tests with NAME in their name
# Exit status 0: every test passed. Results stay in build/test-results.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

mode=default name='' preset=()
while (($#)); do
  case $1 in
    --quick | --long) mode=${1#--} ;;
    -R) name=$2; shift ;;
    --preset) preset=(--preset "$2"); shift ;;
    *) sed -n '2,7s/^# //p' "$0" >&2; exit 2 ;;
  esac
  shift
done

start=$SECONDS
scripts/bootstrap.sh --test
if [[ $mode == quick ]]; then
  scripts/build.sh "${preset[@]}" unit_tests
else
  scripts/build.sh "${preset[@]}" all
  scripts/build.sh --preset fuzz fuzzers
fi
built=$SECONDS

results=$PWD/build/test-results
rm -rf "$results"
mkdir -p "$results"
cores=$(nproc)
export OMP_NUM_THREADS=1  # as many tests as cores run at a time, each on one
failed=0

run_ctest() {  # NAME FOLDER [OPTION...]
  ctest --test-dir "$2" --parallel "$cores" --timeout 600 --output-on-failure ${name:+-R "$name"} \
    --output-junit "$results/$1.xml" "${@:3}" 2>&1 | tee "$results/$1.log" || failed=1
}
run_pytest() {  # [OPTION...]
  .venv/bin/python -m pytest ${name:+-k "$name"} --numprocesses "$cores" --dist loadgroup \
    --junit-xml "$results/pytest.xml" "$@" 2>&1 | tee "$results/pytest.log" || [[ $? == 5 && $name ]] || failed=1  # 5: no test of that name
}

case $mode in
  quick) run_ctest unit build -L '^unit$' ;;
  default) run_ctest ctest build -LE '^long$' ;;
  long) run_ctest ctest build ;;
esac
case $mode in
  default) run_ctest fuzz build-fuzz; run_pytest -m 'not long' ;;
  long) run_ctest fuzz build-fuzz; run_pytest ;;
esac

scripts/summarize_tests.py "$results" || failed=1
echo "Set-up and build took $((built - start)) s, the tests $((SECONDS - built)) s."
if ((failed)); then echo "FAILED"; else echo "PASSED"; fi
exit $failed
