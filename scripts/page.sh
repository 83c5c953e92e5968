#!/usr/bin/env bash
# Builds the page of the command centre: web/ into web/dist, which the program embeds. Quick when nothing changed.
set -euo pipefail
cd "$(dirname "$0")/../web"

say() { printf 'page: %s\n' "$*"; }

# What npm has installed is what the lock file says.
if ! cmp -s package-lock.json node_modules/.wardwatch-lock 2>/dev/null; then
  say "fetching what the page is built with (npm ci)"
  npm ci --silent --no-audit --no-fund
  cp package-lock.json node_modules/.wardwatch-lock
fi

stamp=$(find src public index.html package-lock.json vite.config.ts svelte.config.js tsconfig.json scripts -type f -print0 |
  sort -z | xargs -0 sha256sum | sha256sum | cut -d' ' -f1)
if [ "$(cat dist/.stamp 2>/dev/null)" != "$stamp" ]; then
  say "building web/dist"
  npm run --silent build
  printf '%s\n' "$stamp" >dist/.stamp
fi
