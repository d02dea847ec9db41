#!/usr/bin/env bash
# Builds the lab's kernel (or takes the cached one), boots it in QEMU with emulated SVM and nested
# paging, and runs the lab's benches and tests in there. Prints the table and what the tests say; JSON
# and report go to the folder given.
#
#   guest-images/lab/run.sh FOLDER
#
# LAB_SOURCE: see build.sh. Exit status: 0 all passed; 1 one did not; 3 what it needs
# cannot be had.
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

  # Each bench's result follows a mark of its own, in one line.
  bench() {
    echo "timeout 600 node dist/src/cli/main.js bench $2 --json /tmp/$1.json >/dev/null && echo lab-json $1 && tr -d '\\n' </tmp/$1.json && echo"
  }
  benches=(exits faults contention-1 contention-2 contention-4)
  {
    bench exits 'exits --pages 2048 --repeat 1'
    bench faults 'faults --vcpus 1,2,4 --delivery handler,exit --pages 256 --repeat 1'
    for vcpus in 1 2 4; do
      bench "contention-$vcpus" "contention --vcpus $vcpus --delivery handler,exit --writers 0 --pages 512 --repeat 1"
    done
    for test in memslot-flags kernel-states; do
      echo "FAULTLINE_REQUIRE_KVM=1 TAP_TIMEOUT=600 timeout 620 node dist/test/lab/$test.test.js"
    done
  } >"$work/commands"
  grep dist/test "$work/commands" >"$work/tests"

  echo 'running benches and tests in an emulated machine: some minutes' >&2
  status=0
  NESTED_VMLINUZ=$kernel NESTED_SECONDS=${NESTED_SECONDS:-1500} NESTED_MAPS=$work/maps NESTED_CPUS=2 \
    setpriv --pdeathsig TERM test/nested/run.sh "$work/commands" "$work/results" &
  runner=$!
  wait "$runner" || status=$?
  runner=
  [ "$status" != 3 ] || exit 3

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
  node dist/test/nested/results.js "$work/results.tap" "$work/maps" "$work/tests" "$work/results" || status=1
  FAULTLINE_LAB_RESULTS=$folder node dist/test/lab/counts.test.js >"$work/counts.tap" || status=1
  cat "$work/counts.tap" >>"$work/results.tap"
  FAULTLINE_REQUIRE_KVM=inside node dist/test/report.js "$work/results.tap" || status=1
  echo "${files[*]} $folder/lab.html"
  echo "took $((SECONDS - began)) s, $((built - began)) of them for the kernel"
  exit "$status"
}

main "$@"
