#!/usr/bin/env bash
# Instructions that one run of each workload of the budget takes, as callgrind counts them: the same on a
# busy machine as on an idle one, and two builds can be compared to a part in a thousand.
#
#   benches/instructions.sh [--than FILE] [CARGO'S OPTIONS]
#
# prints a line a workload. FILE is what an earlier build printed: then each line says by how much it
# changed, and one that takes 3 % more is an error. What comes before the runs, such as booting, does not
# count: two numbers of runs are subtracted.
set -euo pipefail
cd "$(dirname "$0")/.."

than=
if [[ ${1-} == --than ]]; then
  than=$(<"$2")
  shift 2
fi
command -v valgrind >/dev/null || { echo "needs valgrind" >&2; exit 2; }

# Each workload, how often it runs before anything is counted, and how often it is counted.
workloads="
one 2 4
many 1 1
many-md5 1 1
two-headers 2 4
plan 0 1
full 20 100
hotplugs 20 100
ios 20 100
short 20 500
empty 100 5000
boots 20 100
"

bench=$(cargo bench --bench budget --no-run --message-format=json "$@" |
  sed -n 's/.*"name":"budget".*"executable":"\([^"]*\)".*/\1/p')
out=$(mktemp)
trap 'rm -f "$out"' EXIT

# Instructions of a process that runs a workload so often.
count() {
  valgrind --tool=callgrind --callgrind-out-file=/dev/null "$bench" profile "$1" "$2" 2>"$out" || {
    cat "$out" >&2
    exit 2
  }
  awk '/Collected/ { print $NF }' "$out"
}

status=0
while read -r name before counted; do
  [[ $name ]] || continue
  first=$(count "$name" "$before")
  last=$(count "$name" $((before + counted)))
  each=$(((last - first) / counted))
  was=$(awk -v name="$name" '$1 == name { print $2 }' <<<"$than")
  if [[ ! $was ]]; then
    echo "$name $each"
  elif awk -v was="$was" -v now="$each" -v name="$name" \
    'BEGIN { printf "%s %.0f %+.2f %%\n", name, now, (now / was - 1) * 100; exit now > was * 1.03 }'; then
    :
  else
    echo "$name: more than 3 % more than $was" >&2
    status=1
  fi
done <<<"$workloads"
exit $status
