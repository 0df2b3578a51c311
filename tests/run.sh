#!/bin/sh
# Sets up, builds and runs the tests; safe to repeat. The last line is `N passed, N failed, N skipped`.
# usage: sh tests/run.sh [--asan] [ROOM...]     ROOM: core, kv, structure, package, ...; default: everything
#   --asan   the same tests under AddressSanitizer and UndefinedBehaviorSanitizer, without those that compile only
set -eu
cd "$(dirname "$0")/.."
preset=dev
if [ "${1:-}" = --asan ]; then
  preset=asan
  shift
fi
sh cmake/setup.sh
sh cmake/model.sh >/dev/null || echo "run: no model: the tests that need it are skipped by name" >&2
build=build/$preset
configured=$build/configure.log
mkdir -p "$build"
if ! cmake --preset "$preset" >"$configured" 2>&1; then
  cat "$configured" >&2
  echo "run: the project does not configure" >&2
  exit 1
fi

# What to build and which tests to run. Rooms without a program of their own (structure, package, cuda) build nothing.
targets="" labels=""
for room in "$@"; do
  [ "$room" != emulator ] || room=device  # the emulator is tested there
  if [ ! -d "tests/$room" ]; then
    echo "run: no room '$room'; rooms: $(cd tests && echo */ | tr -d /)" >&2
    exit 2
  fi
  case $room in
    structure | package | cuda) ;;
    *) targets="$targets test_$room" ;;
  esac
  labels="$labels${labels:+|}$room"
done
broken=0
if [ $# -eq 0 ] || [ -n "$targets" ]; then
  # Every unit that compiles is built, so that one broken room does not hide the others' results.
  # shellcheck disable=SC2086
  cmake --build --preset "$preset" ${targets:+--target $targets} -- -k 0 || broken=1
fi

results=$PWD/$build/results.xml
mutants=$build/tests/device/mutants/summary  # written by tests/device/mutants.py
rm -f "$results" "$mutants"
set -- --preset "$preset" --no-label-summary --output-junit "$results" -j "$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)"
if [ -n "$labels" ]; then
  set -- "$@" -L "^($labels)\$"
elif [ "$preset" = asan ]; then
  set -- "$@" -LE '^(structure|package|cuda|device)$'
fi
code=0
ctest "$@" || code=$?
if [ ! -s "$results" ]; then
  echo "run: ctest wrote no results (status $code)" >&2
  exit 1
fi

# One <testcase> for each test. A test that was to run and could not (no program, a failed fixture) is `notrun` too, but it
# is no skip: only ctest's SKIP_ properties and DISABLED are.
counts=$(awk '
  /^\t<testcase / { pending = 0 }
  /^\t<testcase .* status="run">$/ { passed++ }
  /^\t<testcase .* status="fail">$/ { failed++ }
  /^\t<testcase .* status="disabled">$/ { skipped++ }
  /^\t<testcase .* status="notrun">$/ { pending = 1; failed++ }
  pending && /^\t\t<skipped message="SKIP_/ { pending = 0; failed--; skipped++ }
  END { print passed + 0, failed + 0, skipped + 0 }' "$results")
passed=${counts%% *} skipped=${counts##* }
failed=${counts#* } failed=${failed% *}
if [ $broken -ne 0 ]; then
  echo "run: the build failed (see above); it counts as one failed test" >&2
  failed=$((failed + 1))
fi
if [ "$code" -ne 0 ] && [ "$failed" -eq 0 ]; then
  echo "run: ctest ended with status $code" >&2
  failed=1
fi
[ ! -f "$mutants" ] || cat "$mutants"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
