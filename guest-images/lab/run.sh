#!/usr/bin/env bash
# Builds the lab's kernel (or takes the cached one), boots it in QEMU with emulated SVM and nested
# paging, and runs the lab's benches and tests in there. Prints the table and what the tests say; JSON
# and report go to the folder given.
#
#   guest-images/lab/run.sh FOLDER
#   guest-images/lab/run.sh FOLDER COMMAND      runs a shell command in there instead, and shows its output
#
# LAB_SOURCE: see build.sh. LAB_SECONDS=1500: how long the machine may take. LAB_CPUS=2: how many it has.
# Exit status: 0 all passed; 1 one did not; 3 what it needs cannot be had.
set -euo pipefail
main() {
  project=$(cd "$(dirname "$0")/../.." && pwd)
  folder=$1
  cd "$project"
  began=$SECONDS
  kernel=$(guest-images/lab/build.sh)
  built=$SECONDS
  work=$(mktemp -d)
  runner=
  trap '[ -z "$runner" ] || { kill "$runner" 2>/dev/null && wait "$runner" || true; }; rm -rf "$work"' EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM

  status=0
  if [ $# -gt 1 ]; then
    echo "$2" >"$work/commands"
  else
    plan
    boot tcg "$work/pressed" || status=$?
    [ "$status" != 3 ] || exit 3
  fi
  boot tcg,thread=single "$work/commands" || status=$?
  [ "$status" != 3 ] || exit 3
  if [ $# -gt 1 ]; then
    sed -n '/^nested: begin/,/^nested: end/{/^nested: \(begin\|end\)/!p}' "$work/results" | tr -d '\r' | sed 's/^nested: stderr: //'
    sed -n 's/^nested: end \([0-9]*\) .*/\1/p' "$work/results" | grep -qx 0 || exit 1
    exit "$status"
  fi
  collect
}

# The command that runs a bench. Its result follows a mark of its own, in one line.
bench() {
  echo "timeout 600 faultline bench $2 --json /tmp/$1.json >/dev/null && echo lab-json $1 && tr -d '\\n' </tmp/$1.json && echo"
}

# Writes the commands to run in the machine.
plan() {
  benches=(exits faults contention-1 contention-2 contention-4)
  bench exits 'exits --pages 2048 --repeat 1' >"$work/pressed"
  {
    bench faults 'faults --vcpus 1,2,4 --delivery handler,exit --pages 256 --repeat 1'
    for vcpus in 1 2 4; do
      bench "contention-$vcpus" "contention --vcpus $vcpus --delivery handler,exit --writers 0 --pages 512 --repeat 1"
    done
    for test in memslot-flags kernel-states; do
      echo "FAULTLINE_REQUIRE_KVM=1 TAP_TIMEOUT=600 timeout 620 node dist/test/lab/$test.test.js"
    done
  } >"$work/commands"
  grep dist/test "$work/commands" >"$work/tests"
  echo 'running benches and tests in emulated machines, one after the other: some fifteen minutes' >&2
}

# Adds what the commands of a file say to the results. In the background, so that a signal ends it
# with this shell.
#
# With a thread for each CPU (tcg; QEMU 7.2), 3 of 12 runs of two vCPUs with a memslot's flag, beside
# compaction, ended in a triple fault or hung; 0 of 18 with CPUs that take turns (tcg,thread=single),
# and those take as long. But beside a thread that uses all of a CPU, turns are half of the time.
boot() {
  NESTED_ACCEL=$1 NESTED_VMLINUZ=$kernel NESTED_SECONDS=${LAB_SECONDS:-1500} NESTED_MAPS=$work/maps NESTED_CPUS=${LAB_CPUS:-2} \
    setpriv --pdeathsig TERM test/nested/run.sh "$2" "$work/results-last" &
  runner=$!
  local ended=0
  wait "$runner" || ended=$?
  runner=
  cat "$work/results-last" >>"$work/results" 2>/dev/null || true
  return "$ended"
}

# Keeps the results, shows the table, and says what the tests said.
collect() {
  mkdir -p "$folder"
  files=()
  for name in "${benches[@]}"; do
    file=$folder/lab-$name.json
    sed -n "/^lab-json $name\$/{n;p;q}" "$work/results" | tr -d '\r' >"$file"
    if [ -s "$file" ]; then
      files+=("$file")
    else
      rm -f "$file"
      echo "bench $name came to nothing in there:" >&2
      grep -a '^nested: stderr:' "$work/results" | tail -5 >&2 || true
      status=1
    fi
  done
  [ -e "$folder/lab-exits.json" ] || exit 1
  node dist/src/cli/main.js report "${files[@]}" --out "$folder/lab.html" || status=1
  echo
  node dist/src/cli/main.js report "$folder/lab-exits.json"
  echo
  # What is asserted of the figures is asserted out here, of the files that are kept.
  local counts='node dist/test/lab/counts.test.js' began_at ended=0
  began_at=$(cut -d' ' -f1 /proc/uptime)
  echo "$counts" >>"$work/tests"
  echo "nested: begin $counts" >>"$work/results"
  FAULTLINE_LAB_RESULTS=$folder $counts >>"$work/results" || ended=$?
  echo "nested: end $ended $began_at $(cut -d' ' -f1 /proc/uptime) $counts" >>"$work/results"
  node dist/test/nested/results.js "$work/results.tap" "$work/maps" "$work/tests" "$work/results" || status=1
  FAULTLINE_REQUIRE_KVM=inside node dist/test/report.js "$work/results.tap" || status=1
  echo "${files[*]} $folder/lab.html"
  echo "took $((SECONDS - began)) s, $((built - began)) of them for the kernel"
  exit "$status"
}

main "$@"
