#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Soaks quire-server built with AddressSanitizer and UndefinedBehaviorSanitizer, then with ThreadSanitizer. quire-lm's kernels are
# left plain: sanitized they serve some ten tokens a second, and their own tests run sanitized.
# usage: sh tests/server/sanitize.sh [MINUTES]      default: 0.5 for each
set -eu
cd "$(dirname "$0")/../.."
sh cmake/setup.sh
model=${QUIRE_MODEL:-$(sh cmake/model.sh)}
minutes=${1:-0.5}
for preset in asan-plain tsan; do
  echo "== $preset" >&2
  cmake --preset "$preset" >/dev/null
  cmake --build --preset "$preset" --target quire-server
  TSAN_OPTIONS="suppressions=$PWD/tests/server/tsan.supp exitcode=66" \
    python3 -B tests/server/soak.py "build/$preset/examples/quire-server" "$model" --minutes "$minutes" --any-memory
done
