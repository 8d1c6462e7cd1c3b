#!/usr/bin/env bash
# A large fleet on three replicas of this machine: registers a million clusters over gRPC, tells what
# memory and disk each replica takes, kills all three and tells how long until they are ready again.
#
# Usage: tests/bench/million.sh [CLUSTERS]
# Needs curl; builds the binary that is handed out (or MUSTER=path).
set -euo pipefail
cd "$(dirname "$0")/../.."

clusters=${1:-1000000}
muster=${MUSTER:-target/dist/muster}
[[ ${MUSTER:-} ]] || cargo build --profile dist --bin muster

# Data on a real disk: on tmpfs a sync costs nothing.
work=$(mktemp -d "${BENCH_DIR:-$PWD/target}/million.XXXXXX")
declare -A pids
finish() {
  kill -9 "${pids[@]}" 2>/dev/null || true
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT

# Ports below the range that the kernel hands to clients.
port=$((20000 + RANDOM % 8000))
peers=m0=127.0.0.1:$((port + 30)),m1=127.0.0.1:$((port + 31)),m2=127.0.0.1:$((port + 32))
targets=("127.0.0.1:$port" "127.0.0.1:$((port + 1))" "127.0.0.1:$((port + 2))")

start() {
  MUSTER_BOOTSTRAP_TOKEN=bench "$muster" serve --data "$work/m$1" --name "m$1" \
    --grpc-listen "127.0.0.1:$((port + $1))" --ops-listen "127.0.0.1:$((port + 10 + $1))" \
    --peer-listen "127.0.0.1:$((port + 30 + $1))" --initial-cluster "$peers" \
    --license-public-key "$work/license.pub" --log-level warn >>"$work/m$1.log" 2>&1 &
  pids[$1]=$!
}

ready() {
  for n in 0 1 2; do
    until curl -sf -o /dev/null "http://127.0.0.1:$((port + 10 + n))/readyz"; do
      kill -0 "${pids[$n]}" || { cat "$work/m$n.log" >&2; exit 1; }
      sleep 0.02
    done
  done
}

tell() {
  for n in 0 1 2; do
    printf 'replica %s: %s MB resident, %s MB on disk\n' "$n" \
      "$(awk '/VmRSS/ {print int($2 / 1024)}' "/proc/${pids[$n]}/status")" \
      "$(du -sm "$work/m$n" | cut -f1)"
  done
}

"$muster" license keygen --out "$work/license" --bits 2048 >/dev/null 2>&1
for n in 0 1 2; do start "$n"; done
ready

export PACH_CONFIG=$work/pachctl.json
"$muster" config set context bench >/dev/null 2>&1 <<<"{\"pachd_address\": \"grpc://${targets[0]}\"}"
"$muster" config set active-context bench >/dev/null 2>&1
"$muster" config set active-enterprise-context bench >/dev/null 2>&1
"$muster" license issue --key "$work/license.key" --expires "$(date -d '+30 days' +%F)" |
  "$muster" license activate --no-register >/dev/null

begun=$SECONDS
"$muster" bench heartbeat --clients 64 --seconds 3 --clusters "$clusters" --target "${targets[@]}"
printf 'registered and beaten for in %d s\n' $((SECONDS - begun))
tell

kill -9 "${pids[@]}"
wait 2>/dev/null || true
killed=$(date +%s%N)
for n in 0 1 2; do start "$n"; done
ready
printf 'all three killed, started and ready again after %d ms\n' $((($(date +%s%N) - killed) / 1000000))
"$muster" bench heartbeat --clients 64 --seconds 3 --clusters 1000 --target "${targets[@]}"
tell
