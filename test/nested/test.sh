#!/usr/bin/env bash
# Runs tests in nested machines (run.sh) and says which ran there, what they said and what failed.
#
#   test/nested/test.sh [TEST...]     for instance dist/test/kvm/vcpu.test.js; without: those of `tests`
#
# What is set of FAULTLINE_..., and no path, is set in there too.
#
# Each machine has one CPU; NESTED_MACHINES is how many there are: two, where there are two CPUs.
#
# Exit status: 0 all passed; 1 one did not; 3 what the machines need cannot be had.
set -euo pipefail
main() {
  project=$(cd "$(dirname "$0")/../.." && pwd)
  here=$project/test/nested
  cd "$project"
  machines=${NESTED_MACHINES:-$(($(nproc) < 2 ? 1 : 2))}
  export NESTED_SECONDS=${NESTED_SECONDS:-900}

  work=$(mktemp -d)
  runner=
  trap 'trap "" HUP INT TERM; [ -z "$runner" ] || { kill "$runner" 2>/dev/null && wait "$runner" || true; }; rm -rf "$work"' EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM

  if [ $# -gt 0 ]; then
    printf '10 %s\n' "$@"
  else
    grep -v '^#' "$here/tests" | sort -rn | sed 's#\(.* \)\(.*\)#\1dist/\2.test.js#'
  fi >"$work/tests"
  # Each to the machine that has least to do so far.
  pairs=()
  loads=()
  for ((machine = 0; machine < machines; machine++)); do
    pairs+=("$work/commands-$machine" "$work/results-$machine")
    loads+=(0)
    : >"$work/commands-$machine"
  done
  variables=$(env | grep -E '^FAULTLINE_[A-Z_]+=[0-9A-Za-z.-]*$' | tr '\n' ' ' || true)
  while read -r seconds test; do
    [ -e "$test" ] || { echo "$test does not exist" >&2; exit 2; }
    least=0
    for ((machine = 1; machine < machines; machine++)); do
      [ "${loads[machine]}" -ge "${loads[least]}" ] || least=$machine
    done
    loads[least]=$((loads[least] + seconds))
    # tap itself ends a test first, and says which part of it
    echo "${variables}TAP_TIMEOUT=$((NESTED_SECONDS - 80)) timeout $((NESTED_SECONDS - 60)) node $test" >>"$work/commands-$least"
  done <"$work/tests"

  began=$SECONDS
  echo "running $(wc -l <"$work/tests") test files in $machines emulated machines: some minutes"
  NESTED_MAPS=$work/maps setpriv --pdeathsig TERM "$here/run.sh" "${pairs[@]}" &
  runner=$!
  status=0
  wait "$runner" || status=$?
  runner=
  [ "$status" != 3 ] || exit 3
  took=$((SECONDS - began))

  mkdir -p dist
  echo
  node dist/test/nested/results.js "$work/results.tap" "$work/maps" "${pairs[@]}" || status=1
  FAULTLINE_REQUIRE_KVM=inside node dist/test/report.js "$work/results.tap" || status=1
  echo "took $took s, with making the machines"
  exit "$status"
}

main "$@"
