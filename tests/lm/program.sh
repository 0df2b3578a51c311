#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What quire-lm says to bad input: exit status 2, one line on stderr that names what is wrong, nothing on stdout.
# usage: program.sh PROGRAM WORKDIR [MODEL]     WORKDIR is made; cases that need a model run where MODEL (or $QUIRE_MODEL) is a file
# exit status: 0 all as expected, 1 otherwise
LC_ALL=C
export LC_ALL
if [ $# -lt 2 ] || [ $# -gt 3 ]; then
  echo "usage: program.sh PROGRAM WORKDIR [MODEL]" >&2
  exit 1
fi
program=$1 work=$2 model=${QUIRE_MODEL:-${3:-}}
mkdir -p "$work" || exit 1
out=$work/out err=$work/err
cases=0 failed=0
crash='terminate called|what\(\):|[Ss]egmentation|[Aa]bort|core dumped|Sanitizer|runtime error|Assertion|std::|basic_string|vector::'

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
  head -n 1 "$err" | grep -q '^quire-lm: ' || why="${why:+$why; }stderr does not start with 'quire-lm: '"
  [ "$(wc -l <"$err")" -eq 1 ] || why="${why:+$why; }stderr has $(wc -l <"$err") lines, expected 1"
  [ -s "$out" ] && why="${why:+$why; }stdout is not empty"
  if [ -z "$why" ]; then
    echo "ok      $name"
    return
  fi
  failed=$((failed + 1))
  echo "FAILED  $name: $why"
  head -c 600 "$err" | sed 's/^/          | /'
}

none=$work/absent.gguf
rm -f "$none"
: >"$work/empty"
printf 'NOPE this is not a model, only text that is long enough for a header' >"$work/magic.gguf"
printf 'bad \377\376 bytes' >"$work/latin"
printf 'Only a few words.' >"$work/short"

# Without a model: the command line alone, or what stands where a model should.
refuses "no arguments" 'command is missing, allowed .*generate'
refuses "unknown command" "'frobnicate' is no command, allowed .*generate" frobnicate
refuses "unknown flag" "'--frobnicate' is no flag of generate, allowed .*--model" generate --model "$none" --prompt a --frobnicate
refuses "a flag without its value" '--model' generate --prompt a --model
refuses "no model" '--model' generate --prompt a
refuses "no prompt" '--prompt is absent' generate --model "$none"
refuses "unknown cache" "--kv.*'nonsense'.*allowed .*bf16" generate --model "$none" --prompt a --kv nonsense
refuses "unknown cache in a list" "--kv.*'nonsense'.*allowed .*bf16" bench --model "$none" --kv bf16,nonsense
refuses "unknown parameter of a cache" "--kv.*'x'.*allowed .*window" generate --model "$none" --prompt a --kv razor:x=1
refuses "a share above one" "--kv.*keep '2'.*allowed a share" generate --model "$none" --prompt a --kv duo:keep=2
refuses "a parameter without its value" "--kv.*sinks ''.*allowed a whole number" generate --model "$none" --prompt a --kv duo:sinks
refuses "a budget of all heads" "--keep.*'1'.*allowed above 0 to 0.99" calibrate --model "$none" --output "$work/made.json" --keep 0.2,1
refuses "calibration without a file to write" '--output' calibrate --model "$none"
refuses "no threads" "--threads.*'0'.*allowed .* 1 to" generate --model "$none" --prompt a --threads 0
refuses "threads that are no number" "--threads.*'two'.*allowed" generate --model "$none" --prompt a --threads two
refuses "more threads than fit a number" "--threads.*'99999999999999999999'.*allowed" generate --model "$none" --prompt a --threads 99999999999999999999
refuses "negative tokens" "--tokens.*'-1'.*allowed" generate --model "$none" --prompt a --tokens -1
refuses "negative temperature" "--temperature.*'-1'.*allowed 0 to" generate --model "$none" --prompt a --temperature -1
refuses "temperature that is not a number" "--temperature.*'nan'.*allowed" generate --model "$none" --prompt a --temperature nan
refuses "top-p above 1" "--top-p.*'1.5'.*allowed" generate --model "$none" --prompt a --top-p 1.5
refuses "empty prompt" '--prompt.*at least one character' generate --model "$none" --prompt ''
refuses "missing prompt file" '--prompt-file.*absent\.txt.*No such file' generate --model "$none" --prompt-file "$work/absent.txt"
refuses "a directory as a prompt file" '--prompt-file.*directory' generate --model "$none" --prompt-file "$work"
refuses "empty prompt file" '--prompt-file.*at least one character' generate --model "$none" --prompt-file "$work/empty"
refuses "prompt file that is not UTF-8" '--prompt-file.*UTF-8' generate --model "$none" --prompt-file "$work/latin"
refuses "unknown suite" "--suite.*'nonsense'.*allowed kv" compare --model "$none" --suite nonsense --report "$work/report.json"
refuses "suite without a report" '--report is absent, needed by --suite' compare --model "$none" --suite kv
refuses "report without a suite" '--report is given without --suite' compare --model "$none" --report "$work/report.json"
refuses "resume without a suite" '--resume is given without --suite' compare --model "$none" --resume
refuses "trials without a suite" '--trials is given without --suite' compare --model "$none" --trials 3
refuses "seed without a suite" '--seed is given without --suite' compare --model "$none" --seed 3
refuses "no trials" "--trials.*'0'.*allowed .* 1 to" compare --model "$none" --suite kv --report "$work/report.json" --trials 0
refuses "unknown cache of a suite" "--kv.*'nonsense'.*allowed .*bf16" compare --model "$none" --suite kv --report "$work/report.json" --kv bf16,nonsense
refuses "prompt with a suite" '--prompt is given with --suite' compare --model "$none" --suite kv --report "$work/report.json" --prompt a
refuses "output with a suite" '--output is given with --suite' compare --model "$none" --suite kv --report "$work/report.json" --output a
refuses "context too small for a suite" '--context is 512, allowed .* 1024' compare --model "$none" --suite kv --report "$work/report.json" --context 512
refuses "unknown instruction set" "--isa.*'nonsense'.*allowed" generate --model "$none" --prompt a --isa nonsense
refuses "unknown device" "--device.*'tpu'.*allowed cpu, cuda" generate --model "$none" --prompt a --device tpu
refuses "a device for a command without one" "'--device' is no flag of calibrate" calibrate --model "$none" --output "$work/made.json" --device cuda
refuses "a suite on a GPU" "--device is 'cuda' with --suite, allowed cpu" compare --model "$none" --suite kv --report "$work/report.json" --device cuda
refuses "an instruction set beside a GPU" "--isa is 'avx2' beside --device cuda" generate --model "$none" --prompt a --device cuda --isa avx2
if [ ! -e /proc/driver/nvidia/version ]; then  # built with CUDA or without, it says what is missing
  for command in "generate --prompt a" "perplexity --file $work/short" bench compare; do
    refuses "no GPU: $command" "--device: device is 'cuda' \\(.*(without|CUDA device).*\\), allowed cpu" $command --model "$none" --device cuda
  done
fi
refuses "missing model" '--model.*absent\.gguf.*No such file' generate --model "$none" --prompt a
refuses "empty model" '--model.*empty.*truncated' generate --model "$work/empty" --prompt a
refuses "wrong magic" "--model.*magic.*'NOPE'.*GGUF" generate --model "$work/magic.gguf" --prompt a
refuses "a directory as a model" '--model.*not a regular file' generate --model "$work" --prompt a

if [ -f "$model" ]; then
  size=$(wc -c <"$model")
  for bytes in 10 1024 1048576 $((size / 2)); do
    head -c "$bytes" "$model" >"$work/cut.gguf"
    refuses "model cut at $bytes bytes" '--model.*cut\.gguf.*(truncated|data section|allowed at most)' generate --model "$work/cut.gguf" --prompt a --tokens 1
  done
  rm -f "$work/cut.gguf"
  refuses "empty prompt with a model" '--prompt.*at least one character' generate --model "$model" --prompt ''
  refuses "prompt that is not UTF-8 with a model" '--prompt-file.*UTF-8' generate --model "$model" --prompt-file "$work/latin"
  refuses "text to tokenize that is not UTF-8" '--file.*UTF-8' tokenize --model "$model" --file "$work/latin"
  refuses "missing text" '--file.*absent\.txt.*No such file' tokenize --model "$model" --file "$work/absent.txt"
  refuses "prompt beyond the context" '--prompt has [0-9]+ tokens.*at most 16 .*--context' generate --model "$model" --context 16 --tokens 4 \
    --prompt 'one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen'
  refuses "context beyond the model's" '--context is 1000000, allowed' generate --model "$model" --context 1000000 --prompt a
  printf '{"version": 1, "model": "m", "how": "h", "layers": 2, "kv_heads": 1, "gates": [0, 1], "induction": [0, 1], "echo": [0, 1]}' >"$work/heads.json"
  refuses "head scores of another model" "--heads.*layers of the head table is 2" generate --model "$model" --prompt a --kv duo --heads "$work/heads.json"
  refuses "head scores that are no JSON" "--heads.*not a JSON object" generate --model "$model" --prompt a --kv duo --heads "$work/short"
  refuses "head scores that are not there" "--heads.*can't be opened" generate --model "$model" --prompt a --kv duo --heads "$none"
  refuses "recorded gates that are damaged" "--from.*gate file" calibrate --model "$model" --output "$work/made.json" --from "$work/heads.json"
  refuses "suite lengths past the context" "--lengths is 4096" compare --model "$model" --suite kv --report "$work/report.json" --context 1024 --lengths 4096
  refuses "text shorter than a window" '--file has [0-9]+ tokens.*--context 512' perplexity --model "$model" --file "$work/short"
  refuses "a prompt read whole by a cache with an overlay" "--whole-prompts with kv 'h2o', allowed for caches without overlays" generate --model "$model" --prompt a --kv h2o --whole-prompts
  refuses "unknown instruction set with a model" "--isa.*'nonsense'.*allowed" generate --model "$model" --prompt a --isa nonsense
  text=$(dirname "$0")/../../examples/data/harbour.txt
  head -c 5200 "$text" >"$work/page"
  suite="compare --model $model --suite kv --context 1024 --trials 2 --file $work/page"
  printf '{"suite":"kv","rows":[]}' >"$work/other.json"
  refuses "suite on a text that is too short" '--file has [0-9]+ tokens, allowed at least 1024' compare --model "$model" --suite kv --report "$work/report.json" --context 1024 --file "$work/short"
  refuses "suite on a context beyond the model's" '--context is 1000000, allowed .* 8192' compare --model "$model" --suite kv --report "$work/report.json" --context 1000000
  refuses "report that can't be written" "--report is .*absent/report\.json.*can't be written" $suite --report "$work/absent/report.json"
  refuses "resuming what is no report" '--report is .*page.*no report' $suite --report "$work/page" --resume
  refuses "resuming a report of other settings" '--report is .*other\.json.*whose version is absent and not 1' $suite --report "$work/other.json" --resume

  # A suite that runs: its report has the row; resuming with another seed is refused, and with the same one keeps the row.
  rm -f "$work/report.json"
  cases=$((cases + 1))
  if "$program" $suite --kv f32 --report "$work/report.json" >"$out" 2>"$err" && grep -q '"kv": "f32"' "$work/report.json" && grep -q '"answer_nll"' "$work/report.json" &&
    [ ! -e "$work/report.json.partial" ] && grep -q '^f32 ' "$out"; then
    echo "ok      a suite runs"
    refuses "resuming with another seed" '--report is .*report\.json.*whose seed is 0 and not 1' $suite --report "$work/report.json" --resume --seed 1
  else
    failed=$((failed + 1))
    echo "FAILED  a suite runs"
    head -c 600 "$err" | sed 's/^/          | /'
  fi
else
  echo "left out: cases that need a model (${model:-none given} is absent)"
fi

echo "$((cases - failed)) of $cases cases as expected"
[ "$failed" -eq 0 ]
