#!/usr/bin/env bash
# Builds the lab's kernel (or takes the cached one), boots it in QEMU with emulated SVM and nested
# paging, and runs the lab's benches and tests in there.
#
#   guest-images/lab/run.sh table FOLDER     what a fault goes through in the kernel: about a minute
#   guest-images/lab/run.sh suite FOLDER     that, the same by numbers of vCPUs, and the tests: minutes
#   guest-images/lab/run.sh command COMMAND  a shell command, and shows its output
#
# Shows the table and what tests have said; JSON and report go to FOLDER.
#
# LAB_SOURCE: see build.sh. LAB_SECONDS=1500: how long a machine may take. LAB_CPUS=2: how many it has.
# LAB_ACCEL: QEMU's -accel for a command, tcg,thread=single.
# Exit status: 0 all passed; 1 one did not; 3 what it needs cannot be had.
set -euo pipefail
usage() {
  echo "kernel lab: $1; see the head of $0" >&2
  exit 2
}

main() {
  case ${1:-} in table | suite | command) ;; *) usage 'what to do is table, suite or command' ;; esac
  [ $# = 2 ] || usage "$1 takes one argument"
  [[ ${LAB_CPUS:-2} =~ ^[1-9][0-9]?$ ]] || usage "LAB_CPUS=$LAB_CPUS is no number of CPUs"
  [[ ${LAB_SECONDS:-1500} =~ ^[1-9][0-9]*$ ]] || usage "LAB_SECONDS=$LAB_SECONDS is no number of seconds"
  project=$(cd "$(dirname "$0")/../.." && pwd)
  cd "$project"
  began=$SECONDS
  kernel=$(guest-images/lab/build.sh)
  built=$SECONDS
  work=$(mktemp -d)
  runner=
  trap 'trap "" HUP INT TERM; [ -z "$runner" ] || { kill "$runner" 2>/dev/null && wait "$runner" || true; }; rm -rf "$work"' EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM

  status=0
  case $1 in
  command)
    echo "$2" >"$work/commands-1"
    boot "${LAB_ACCEL:-tcg,thread=single}" "$work/commands-1"
    sed -n '/^nested: begin/,/^nested: end/{/^nested: \(begin\|end\)/!p}' "$work/results" | tr -d '\r' | sed 's/^nested: stderr: //'
    sed -n 's/^nested: end \([0-9]*\) .*/\1/p' "$work/results" | grep -qx 0 || exit 1
    exit "$status"
    ;;
  table | suite)
    folder=$2
    mkdir -p "$folder"
    rm -f "$folder"/lab-*.json
    plan "$1"
    boot tcg "$work/pressed"
    [ "$1" = table ] || boot tcg,thread=single "$work/commands-1" "$work/commands-2"
    collect
    ;;
  esac
}

# The command that runs a bench. Its result follows a mark of its own, in one line.
bench() {
  benches+=("$1")
  bench_command="timeout 600 faultline bench $2 --json /tmp/$1.json >/dev/null && echo lab-json $1 && tr -d '\\n' </tmp/$1.json && echo"
}

# Writes the commands to run in the machines.
plan() {
  benches=()
  : >"$work/tests"
  bench exits 'exits --pages 1024 --repeat 1'
  echo "$bench_command" >"$work/pressed"
  if [ "$1" = table ]; then
    echo 'running a bench in an emulated machine: a minute and a half' >&2
    return
  fi
  {
    bench faults 'faults --vcpus 1,2,4 --delivery handler,exit --pages 256 --repeat 1'
    echo "$bench_command"
    for vcpus in 1 2 4; do
      bench "contention-$vcpus" "contention --vcpus $vcpus --delivery handler,exit --writers 0 --pages 512 --repeat 1"
      echo "$bench_command"
    done
  } >"$work/commands-1"
  for test in memslot-flags kernel-states; do
    echo "FAULTLINE_REQUIRE_KVM=1 TAP_TIMEOUT=600 timeout 620 node dist/test/lab/$test.test.js"
  done | tee "$work/tests" >"$work/commands-2"
  echo 'running benches and tests in emulated machines: some nine minutes' >&2
}

# Runs each file of commands in a machine of its own, all at the same time, and adds what they say to
# the results. In the background, so that a signal ends it with this shell.
#
# With a thread for each CPU (tcg, QEMU's default), 3 to 5 of a hundred runs of two vCPUs end in a triple
# fault or hang, whatever they exit by, and in our C program as well (QEMU 7.2 and 10.0: MEASURED.md);
# with CPUs that take turns (tcg,thread=single) none does. But beside a thread that uses all of a CPU,
# turns are half of the time.
boot() {
  local pairs=() commands ended=0
  NESTED_ACCEL=$1
  shift
  for commands in "$@"; do
    pairs+=("$commands" "$commands.results")
  done
  NESTED_ACCEL=$NESTED_ACCEL NESTED_VMLINUZ=$kernel NESTED_SECONDS=${LAB_SECONDS:-1500} NESTED_MAPS=$work/maps \
    NESTED_CPUS=${LAB_CPUS:-2} setpriv --pdeathsig TERM test/nested/run.sh "${pairs[@]}" &
  runner=$!
  wait "$runner" || ended=$?
  runner=
  [ "$ended" != 3 ] || exit 3
  [ "$ended" = 0 ] || status=1
  for commands in "$@"; do
    cat "$commands.results" >>"$work/results" 2>/dev/null || true
  done
}

# Keeps the results, shows the table, and says what the tests said.
collect() {
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
  echo "wrote ${files[*]} $folder/lab.html"
  echo "took $((SECONDS - began)) s, $((built - began)) of them for the kernel"
  exit "$status"
}

main "$@"
