#!/usr/bin/env bash
# The page in a real Chromium, served by the real program with the sample cameras. Starts `wardwatch demo` on a free port
# and stops it by its process id.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
target/debug/wardwatch demo --seconds 3600 --state-dir "$work/state" >"$work/log" 2>&1 &
demo=$!
stop() {
  kill -TERM "$demo" 2>/dev/null || true
  wait "$demo" 2>/dev/null || true
  rm -rf "$work"
}
trap stop EXIT

link=
for _ in $(seq 240); do
  kill -0 "$demo" 2>/dev/null || { cat "$work/log" >&2; exit 1; }
  link=$(grep -o 'http://[^ ]*/#/link/[0-9a-f]*' "$work/log" | tail -1 || true)
  # Both links are there, and cameras and events are flowing.
  if [ -n "$link" ] && [ "$(grep -c '#/link/' "$work/log")" = 2 ] && grep -q '^EVENT' "$work/log"; then break; fi
  sleep 0.5
done
[ -n "$link" ] || { cat "$work/log" >&2; exit 1; }

officer=$(grep -o 'http://[^ ]*/#/link/[0-9a-f]*' "$work/log" | head -1)
cd web
WARDWATCH_URL=${link%%/#*} WARDWATCH_LINK=$officer WARDWATCH_COMMANDER_LINK=$link \
  WARDWATCH_PROGRAM=$PWD/../target/debug/wardwatch WARDWATCH_DEMO=$work/state npm run --silent e2e
