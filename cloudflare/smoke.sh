#!/bin/sh
# The Worker in the vendor's own runtime, on this machine. It wants the network (pywrangler downloads
# a Python and wrangler the runtime's packages), uv, Node.js and curl; CI has none of that, so nothing
# but `make smoke-wrangler` runs it.
set -eu
cd "$(dirname "$0")"
PORT="${PORT:-8787}"
ID="01900000-0000-7000-8000-$(date +%s | sed 's/^/00/')"

npx wrangler d1 migrations apply server-jobs --local
npx wrangler d1 execute server-jobs --local --command \
  "INSERT INTO jobs (id, job_name, queue, params, ready) VALUES ('$ID', 'ProcessData', 'edge', '{\"numbers\": [1, 2]}', 1)"

uvx --from workers-py pywrangler dev --test-scheduled --port "$PORT" &
SERVER=$!
trap 'kill "$SERVER"' EXIT

curl --silent --retry 60 --retry-delay 1 --retry-all-errors --fail "http://127.0.0.1:$PORT/healthz"
curl --silent --fail "http://127.0.0.1:$PORT/__scheduled?cron=*+*+*+*+*"
npx wrangler d1 execute server-jobs --local --json \
  --command "SELECT status FROM jobs WHERE id = '$ID'" | grep -q '"completed"'
echo "the Worker executed $ID"
