#!/usr/bin/env bash
# Tokens and roles beside heartbeats: three replicas on this machine with auth on, filled with tokens and
# role bindings over the wire, then WhoAmI, Authorize and heartbeats by the same closed-loop clients in
# interleaved rounds. Prints the ratios, what one token takes of a replica's memory, and what forgetting
# expired tokens does to everybody else.
#
# Usage: tests/bench/session.sh [TOKENS [BINDINGS [CLIENTS [SECONDS [ROUNDS [EXPIRING]]]]]]
# Builds the binary that is handed out (or MUSTER=path).
set -euo pipefail
cd "$(dirname "$0")/../.."

tokens=${1:-1000000} bindings=${2:-100000} clients=${3:-64} seconds=${4:-5} rounds=${5:-3}
expiring=${6:-40000}
muster=${MUSTER:-target/dist/muster}
[[ ${MUSTER:-} ]] || cargo build --profile dist --bin muster

# Data on a real disk: on tmpfs a sync costs nothing.
work=$(mktemp -d "${BENCH_DIR:-$PWD/target}/session-bench.XXXXXX")
pids=()
finish() {
  for pid in "${pids[@]}"; do kill -9 "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT

"$muster" license keygen --out "$work/license" --bits 2048 >/dev/null 2>&1
export LICENSE_KEY ENTERPRISE_SECRET=bench ACTIVATE_AUTH=true
export AUTH_ROOT_TOKEN=a-root-token-of-the-bench-0123456789
LICENSE_KEY=$("$muster" license issue --key "$work/license.key" --expires "$(date -d '+30 days' +%F)")
echo "$AUTH_ROOT_TOKEN" >"$work/token"

# Ports below the range that the kernel hands to clients.
port=$((20000 + RANDOM % 8000))
targets=() list=()
for n in 0 1 2; do
  list+=("m$n=127.0.0.1:$((port + 10 + n))")
  targets+=("127.0.0.1:$((port + n))")
done
for n in 0 1 2; do
  MUSTER_BOOTSTRAP_TOKEN=bench "$muster" serve --data "$work/m$n" --name "m$n" \
    --grpc-listen "127.0.0.1:$((port + n))" --ops-listen "127.0.0.1:$((port + 20 + n))" \
    --peer-listen "127.0.0.1:$((port + 10 + n))" \
    --initial-cluster "$(IFS=,; echo "${list[*]}")" \
    --license-public-key "$work/license.pub" --log-level warn >"$work/m$n.log" 2>&1 &
  pids+=($!)
done
unset LICENSE_KEY ENTERPRISE_SECRET ACTIVATE_AUTH AUTH_ROOT_TOKEN

run() { "$muster" bench session --token-file "$work/token" --clients "$clients" "$@" --target "${targets[@]}"; }
for try in $(seq 200); do
  if run --tokens 1 --bindings 1 --clusters 1 --seconds 1 --warm-up 0 --rounds 1 >"$work/try.log" 2>&1; then break; fi
  [[ $try -lt 200 ]] || { cat "$work/try.log" "$work"/m*.log >&2; exit 1; }
  sleep 0.2
done

# Resident KiB of each replica.
resident() { for pid in "${pids[@]}"; do awk '/^VmRSS/ {print $2}' "/proc/$pid/status"; done; }
mapfile -t before < <(resident)
run --tokens "$tokens" --bindings "$bindings" --clusters 1000 --seconds "$seconds" --rounds "$rounds" \
  --expiring "$expiring"
mapfile -t after < <(resident)
for n in 0 1 2; do
  awk -v b="${before[n]}" -v a="${after[n]}" -v t="$tokens" -v n="$n" 'BEGIN {
    printf "replica m%d: %.0f MiB resident, %.0f bytes more for each token\n", n, a / 1024, (a - b) * 1024 / t
  }'
done
