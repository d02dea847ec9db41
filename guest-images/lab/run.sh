#!/usr/bin/env bash
# Builds the lab's kernel (or takes the cached one), boots it in QEMU with emulated SVM and nested
# paging, and runs the lab's tests and benches in there. Prints what they say; JSON and report go to
# the folder given.
#
#   guest-images/lab/run.sh FOLDER
#
# Exit status: 0 all passed; 1 one did not; 3 what it needs cannot be had.
set -euo pipefail
main() {
  project=$(cd "$(dirname "$0")/../.." && pwd)
  folder=$1
  cd "$project"
  kernel=$(guest-images/lab/build.sh)
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM

  # One machine has the tests, the other the benches: each bench's result is written between marks.
  for test in memslot-flags kernel-states counts; do
    echo "FAULTLINE_REQUIRE_KVM=1 TAP_TIMEOUT=600 timeout 620 node dist/test/lab/$test.test.js"
  done >"$work/tests"
  bench() {
    echo "timeout 900 node dist/src/cli/main.js bench $* --json /tmp/$1.json >/dev/null && echo lab-json $1 && tr -d '\\n' </tmp/$1.json && echo"
  }
  {
    bench exits --pages 2048
    bench faults --vcpus 1,2,4 --delivery handler,exit --pages 256 --repeat 2
    bench contention --vcpus 2 --delivery handler,exit --writers 0,1 --pages 256 --repeat 2
  } >"$work/benches"

  echo 'running the tests and benches in two emulated machines: some minutes' >&2
  status=0
  NESTED_VMLINUZ=$kernel NESTED_SECONDS=${NESTED_SECONDS:-1500} NESTED_MAPS=$work/maps \
    test/nested/run.sh "$work/tests" "$work/test-results" "$work/benches" "$work/bench-results" || status=$?
  [ "$status" != 3 ] || exit 3

  node dist/test/nested/results.js "$work/results.tap" "$work/maps" "$work/tests" "$work/test-results" || status=1
  FAULTLINE_REQUIRE_KVM=inside node dist/test/report.js "$work/results.tap" || status=1
  mkdir -p "$folder"
  files=()
  for name in exits faults contention; do
    file=$folder/lab-$name.json
    sed -n "/^lab-json $name\$/{n;p;q}" "$work/bench-results" | tr -d '\r' >"$file"
    if [ -s "$file" ]; then
      files+=("$file")
    else
      rm -f "$file"
      echo "bench $name came to nothing in there:" >&2
      grep -a '^nested: stderr:' "$work/bench-results" | tail -5 >&2 || true
      status=1
    fi
  done
  if [ ${#files[@]} -gt 0 ]; then
    echo
    node dist/src/cli/main.js report "${files[0]}"
    node dist/src/cli/main.js report "${files[@]}" --out "$folder/lab.html"
    echo "${files[*]} $folder/lab.html"
  fi
  exit "$status"
}

main "$@"
