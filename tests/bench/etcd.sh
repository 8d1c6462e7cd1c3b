#!/usr/bin/env bash
# Muster and etcd side by side: three replicas of each on this machine, both syncing every write to
# the same disk, the same closed-loop clients, in short interleaved rounds. Prints each round and
# the medians of the ratios; absolute numbers of a shared machine mean little.
#
# Usage: tests/bench/etcd.sh [ROUNDS [SECONDS [CLIENTS…]]]
#        tests/bench/etcd.sh --kill [ROUNDS]
#          kills the leader of either (kill -9) under 16 clients, by turns, and prints how long no client
#          was answered
# The leader of either side is its first target: a single client asks no follower on one side only.
# Needs Debian's etcd-server (or ETCD=path), and curl; builds the binary that is handed out (or MUSTER=path).
set -euo pipefail
cd "$(dirname "$0")/../.."

kill=
if [[ ${1:-} == --kill ]]; then kill=yes && shift; fi
rounds=${1:-3}
seconds=${2:-6}
shift $(($# > 2 ? 2 : $#))
clients=("${@:-1 64 256}")
read -r -a clients <<<"${clients[*]}"
muster=${MUSTER:-target/dist/muster}
etcd=${ETCD:-$(command -v etcd || true)}
[[ -n $etcd ]] || { echo "no etcd found: install etcd-server or set ETCD" >&2; exit 2; }
[[ ${MUSTER:-} ]] || cargo build --profile dist --bin muster

# Data on a real disk: on tmpfs a sync costs nothing.
work=$(mktemp -d "${BENCH_DIR:-$PWD/target}/etcd-bench.XXXXXX")
pids=()
finish() {
  for pid in "${pids[@]}"; do kill -9 "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT

# Ports below the range that the kernel hands to clients.
port=$((20000 + RANDOM % 8000))
etcd_targets=() etcd_list=()
for n in 0 1 2; do
  etcd_list+=("e$n=http://127.0.0.1:$((port + 10 + n))")
  etcd_targets+=("127.0.0.1:$((port + n))")
done
start_etcd() {
  local n=$1
  "$etcd" --name "e$n" --data-dir "$work/e$n" --log-level error \
    --listen-client-urls "http://127.0.0.1:$((port + n))" \
    --advertise-client-urls "http://127.0.0.1:$((port + n))" \
    --listen-peer-urls "http://127.0.0.1:$((port + 10 + n))" \
    --initial-advertise-peer-urls "http://127.0.0.1:$((port + 10 + n))" \
    --initial-cluster "$(IFS=,; echo "${etcd_list[*]}")" \
    --initial-cluster-token bench >>"$work/e$n.log" 2>&1 &
  etcd_pids[n]=$!
  pids+=($!)
}
etcd_pids=()
for n in 0 1 2; do start_etcd "$n"; done

muster_targets=() muster_list=()
for n in 0 1 2; do
  muster_list+=("m$n=127.0.0.1:$((port + 30 + n))")
  muster_targets+=("127.0.0.1:$((port + 20 + n))")
done
"$muster" license keygen --out "$work/license" --bits 2048 >/dev/null 2>&1
start_muster() {
  local n=$1
  MUSTER_BOOTSTRAP_TOKEN=bench "$muster" serve --data "$work/m$n" --name "m$n" \
    --grpc-listen "127.0.0.1:$((port + 20 + n))" --ops-listen "127.0.0.1:$((port + 40 + n))" \
    --peer-listen "127.0.0.1:$((port + 30 + n))" \
    --initial-cluster "$(IFS=,; echo "${muster_list[*]}")" \
    --license-public-key "$work/license.pub" --log-level warn >>"$work/m$n.log" 2>&1 &
  muster_pids[n]=$!
  pids+=($!)
}
muster_pids=()
for n in 0 1 2; do start_muster "$n"; done

# Puts and heartbeats work as soon as there are leaders; a license first.
export PACH_CONFIG=$work/pachctl.json
"$muster" config set context bench --overwrite >/dev/null 2>&1 <<<"{\"pachd_address\": \"grpc://${muster_targets[0]}\"}"
"$muster" config set active-context bench >/dev/null 2>&1
"$muster" config set active-enterprise-context bench >/dev/null 2>&1
"$muster" license issue --key "$work/license.key" --expires "$(date -d '+30 days' +%F)" >"$work/code"
for try in $(seq 100); do
  if "$muster" license activate --no-register <"$work/code" >"$work/activate.log" 2>&1; then break; fi
  [[ $try -lt 100 ]] || { cat "$work/activate.log" "$work"/m*.log >&2; exit 1; }
  sleep 0.2
done

field() { sed -n "s/.*\"$1\":\([0-9.]*\).*/\1/p"; }
median() { sort -g | awk '{v[NR]=$1} END {print NR % 2 ? v[(NR+1)/2] : (v[NR/2]+v[NR/2+1])/2}'; }

# The number of the one that leads.
etcd_leader() {
  local n status
  for n in 0 1 2; do
    status=$(curl -sf -m 2 -d '{}' "http://127.0.0.1:$((port + n))/v3/maintenance/status") || continue
    if [[ $(sed -n 's/.*"member_id":"\([0-9]*\)".*/\1/p' <<<"$status") == \
      $(sed -n 's/.*"leader":"\([0-9]*\)".*/\1/p' <<<"$status") ]]; then
      echo "$n" && return
    fi
  done
  return 1
}
muster_leader() {
  local n
  for n in 0 1 2; do
    if curl -sf -m 2 -o "$work/leaderz" "http://127.0.0.1:$((port + 40 + n))/leaderz"; then
      echo "$n" && return
    fi
  done
  return 1
}

# The targets of one side, its leader first.
leader_first() {
  local -n of_name=${1}_targets
  local leader
  until leader=$("${1}_leader"); do sleep 0.1; done
  echo "${of_name[@]:leader}" "${of_name[@]:0:leader}"
}

# kill_round NAME COMMAND…: the longest silence, in ms, of a load whose leader is killed in its middle.
kill_round() {
  local name=$1 load leader
  shift
  "$@" >"$work/$name.json" 2>/dev/null &
  load=$!
  sleep 3
  until leader=$("${name}_leader"); do sleep 0.1; done
  local -n of_name=${name}_pids
  kill -9 "${of_name[leader]}"
  # The shell would tell of it.
  wait "${of_name[leader]}" 2>/dev/null || true
  wait "$load" || true
  "start_$name" "$leader"
  # Until it has caught up, it must not be the next majority.
  sleep 3
  field silence_ms <"$work/$name.json"
}

if [[ $kill ]]; then
  load=(--json --clients 16 --seconds 8)
  : >"$work/etcd.all" && : >"$work/muster.all"
  printf '%-6s | %14s | %14s\n' round 'etcd silent ms' 'muster silent ms'
  for round in $(seq "$rounds"); do
    kill_round etcd "$muster" bench etcd "${load[@]}" --target "${etcd_targets[@]}" >>"$work/etcd.all"
    kill_round muster "$muster" bench heartbeat "${load[@]}" --clusters 100 \
      --target "${muster_targets[@]}" >>"$work/muster.all"
    printf '%-6s | %14.0f | %14.0f\n' "$round" "$(tail -n 1 "$work/etcd.all")" \
      "$(tail -n 1 "$work/muster.all")"
  done
  worst() { sort -g | tail -n 1; }
  printf 'median | %14.0f | %14.0f\n' "$(median <"$work/etcd.all")" "$(median <"$work/muster.all")"
  printf 'worst  | %14.0f | %14.0f\n' "$(worst <"$work/etcd.all")" "$(worst <"$work/muster.all")"
  exit
fi

printf '%-8s %-6s | %10s %8s %8s | %10s %8s %8s | %6s %6s\n' \
  clients round 'etcd/s' p50 p99 'muster/s' p50 p99 rate p99
for c in "${clients[@]}"; do
  : >"$work/rates" && : >"$work/tails" && : >"$work/middles"
  for round in $(seq "$rounds"); do
    read -r -a targets <<<"$(leader_first etcd)"
    e=$("$muster" bench etcd --json --clients "$c" --seconds "$seconds" --target "${targets[@]}")
    read -r -a targets <<<"$(leader_first muster)"
    m=$("$muster" bench heartbeat --json --clients "$c" --seconds "$seconds" --clusters 1000 \
      --target "${targets[@]}" 2>/dev/null)
    er=$(field rate <<<"$e") e5=$(field p50_ms <<<"$e") e9=$(field p99_ms <<<"$e")
    mr=$(field rate <<<"$m") m5=$(field p50_ms <<<"$m") m9=$(field p99_ms <<<"$m")
    errors=$(($(field errors <<<"$e") + $(field errors <<<"$m")))
    ratio=$(awk "BEGIN {print $mr / $er}") tail=$(awk "BEGIN {print $m9 / $e9}")
    echo "$ratio" >>"$work/rates"
    echo "$tail" >>"$work/tails"
    awk "BEGIN {print $m5 / $e5}" >>"$work/middles"
    printf '%-8s %-6s | %10.0f %8.2f %8.2f | %10.0f %8.2f %8.2f | %6.2f %6.2f%s\n' \
      "$c" "$round" "$er" "$e5" "$e9" "$mr" "$m5" "$m9" "$ratio" "$tail" \
      "$([[ $errors == 0 ]] || echo "  ($errors errors)")"
  done
  printf '%-8s median | muster / etcd: rate %.2f, p50 %.2f, p99 %.2f\n' \
    "$c" "$(median <"$work/rates")" "$(median <"$work/middles")" "$(median <"$work/tails")"
done
