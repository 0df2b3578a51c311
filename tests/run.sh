#!/bin/sh
# Sets up, builds and runs the tests; safe to repeat. The last lines are a summary.
set -eu
cd "$(dirname "$0")/.."
sh cmake/setup.sh
cmake --preset dev >/dev/null
cmake --build --preset dev
ctest --preset dev --no-label-summary
