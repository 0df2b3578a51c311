#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What quire-sim says to bad input (exit status 2, one line on stderr, nothing on stdout) and that it runs on good input.
# usage: program.sh PROGRAM WORKDIR     WORKDIR is made; exit status: 0 all as expected, 1 otherwise
LC_ALL=C
export LC_ALL
if [ $# -ne 2 ]; then
  echo "usage: program.sh PROGRAM WORKDIR" >&2
  exit 1
fi
program=$1 work=$2
mkdir -p "$work" || exit 1
out=$work/out err=$work/err
cases=0 failed=0
crash='terminate called|what\(\):|[Ss]egmentation|[Aa]bort|core dumped|Sanitizer|runtime error|Assertion|std::|basic_string|vector::'

report() {
  if [ -z "$2" ]; then
    echo "ok      $1"
    return
  fi
  failed=$((failed + 1))
  echo "FAILED  $1: $2"
  head -c 600 "$err" | sed 's/^/          | /'
}
# refuses NAME PATTERN ARGUMENT...: PATTERN is an extended regular expression
refuses() {
  name=$1 pattern=$2
  shift 2
  "$program" "$@" >"$out" 2>"$err" </dev/null
  status=$?
  cases=$((cases + 1))
  why=
  [ "$status" -eq 2 ] || why="exit status $status, expected 2"
  grep -Eq -e "$pattern" "$err" || why="${why:+$why; }stderr lacks /$pattern/"
  grep -Eq -e "$crash" "$err" && why="${why:+$why; }crash text on stderr"
  head -n 1 "$err" | grep -q '^quire-sim: ' || why="${why:+$why; }stderr does not start with 'quire-sim: '"
  [ "$(wc -l <"$err")" -eq 1 ] || why="${why:+$why; }stderr has $(wc -l <"$err") lines, expected 1"
  [ -s "$out" ] && why="${why:+$why; }stdout is not empty"
  report "$name" "$why"
}
# runs NAME PATTERN ARGUMENT...: exit status 0, PATTERN on stdout
runs() {
  name=$1 pattern=$2
  shift 2
  "$program" "$@" >"$out" 2>"$err" </dev/null
  status=$?
  cases=$((cases + 1))
  why=
  [ "$status" -eq 0 ] || why="exit status $status, expected 0"
  grep -Eq -e "$pattern" "$out" || why="${why:+$why; }stdout lacks /$pattern/"
  report "$name" "$why"
}

printf 'ContextTokens,GeneratedTokens\n100,20\n200,x\n' >"$work/wrong.csv"
printf 'ContextTokens,GeneratedTokens\n100,20\n200,30\n' >"$work/lengths.csv"
few="--requests 20 --rate 1"

refuses "no arguments" 'command is missing, allowed .*serve'
refuses "unknown command" "'frobnicate' is no command, allowed .*capacity" frobnicate
refuses "unknown flag" "'--frobnicate' is no flag of serve, allowed .*--policy" serve --frobnicate
refuses "no trace" '--trace is missing' serve
refuses "absent trace" "absent.csv' can't be opened" serve --trace "$work/absent.csv"
refuses "a wrong field of a trace" "wrong.csv, line 3: GeneratedTokens is 'x', allowed" serve --trace "$work/wrong.csv" --rate 1
refuses "no rate" '--rate is missing' serve --trace "$work/lengths.csv"
refuses "a rate of zero" "--rate.* is '0', allowed above 0" serve --trace sharegpt --rate 0
refuses "a rate that is no number" "--rate.* is 'fast', allowed" serve --trace sharegpt --rate fast
refuses "an unknown policy" "--policy is 'lifo', allowed .*chunked" serve --trace sharegpt $few --policy chunked,lifo
refuses "an unknown machine" "--cost-model is 'abacus', allowed .*niyama" serve --trace sharegpt $few --cost-model abacus
refuses "an absent profile" "--cost-model: .*can't be opened" serve --trace sharegpt $few --cost-model "vidur:$work/absent.csv"
refuses "a profile that is none" '--cost-model: .*no column num_tokens' serve --trace sharegpt $few --cost-model "vidur:$work/lengths.csv"
refuses "measurements that are none" '--cost-model: .*no JSON object' serve --trace sharegpt $few --cost-model "bench:$work/lengths.csv"
refuses "a model of an axis that is none" "--order is 'tallest', allowed .*fcfs" serve --trace sharegpt $few --order tallest
refuses "swapping under a prefix cache" "--preemption is 'swap' with policy 'fcfs-lru', allowed recompute" serve --trace sharegpt $few --policy fcfs-lru --preemption swap
refuses "a grid with a number missing" "--grid is '1,2,3', allowed" serve --grid 1,2,3
refuses "memory below a block" '--memory is 3, allowed at least --block 16' serve --trace sharegpt $few --memory 3
refuses "unknown pattern of priorities" "--priorities is 'whim', allowed independent, markov" serve --trace sharegpt $few --priorities whim
refuses "capacity without a level" '--slo-tbt is missing' capacity --trace sharegpt
refuses "a Perfetto file in no folder" "--perfetto is .*can't be opened" serve --trace sharegpt $few --perfetto "$work/no/folder/t.json"

runs "policies side by side" 'prefill-first +chunked' serve --trace "$work/lengths.csv" $few --policy prefill-first,chunked --json "$work/r.json" --perfetto "$work/t.json"
grep -q '"policy": "chunked"' "$work/r.json" && grep -q 'traceEvents' "$work/t.json" || { failed=$((failed + 1)); echo "FAILED  files of serve"; }
runs "a pile in groups" 'planned groups' serve --grid 32,4,64,16,8 --policy fcfs-lru,batchllm --memory 2000
runs "conversations that swap" 'GB moved' serve --trace sharegpt --turns --rate 1 --requests 20 --most-tokens 1000 --policy swap-sync,swap-reuse --memory 3000
runs "capacity" 'chunked +[0-9.]+' capacity --trace "$work/lengths.csv" --requests 100 --policy chunked --slo-tbt 0.2 --trials 3
if python3 -c 'import matplotlib' 2>/dev/null; then
  rm -f "$work/p.png"
  runs "a plot" 'chunked' serve --trace sharegpt $few --policy chunked --plot "$work/p.png"
  [ -s "$work/p.png" ] || { failed=$((failed + 1)); echo "FAILED  no picture"; }
else
  echo "left out: a plot (matplotlib is missing)"
fi

echo "$((cases - failed)) of $cases cases as expected"
[ "$failed" -eq 0 ]
