#!/bin/sh
# The Worker in the vendor's own runtime, on this machine. It wants the network (pywrangler downloads
# a Python and wrangler the runtime's packages), uv, Node.js and curl; CI has none of that, so nothing
# but `make smoke-wrangler` runs it.
set -eu
cd "$(dirname "$0")"
PORT="${PORT:-8787}"
ID="01900000-0000-7000-8000-$(date +%s | sed 's/^/00/')"

for tool in uvx npx curl; do
  command -v "$tool" >/dev/null || {
    echo "smoke.sh needs \`$tool\`, and it isn't here. Install uv (for uvx), Node.js (for npx) and curl." >&2
    exit 1
  }
done

npx --yes wrangler d1 migrations apply server-jobs --local
npx --yes wrangler d1 execute server-jobs --local --command \
  "INSERT INTO jobs (id, job_name, queue, params, ready) VALUES ('$ID', 'ProcessData', 'edge', '{\"numbers\": [1, 2]}', 1)"

uvx --from 'workers-py>=1.17.9' pywrangler dev --port "$PORT" &
SERVER=$!
trap 'kill "$SERVER" 2>/dev/null || true' EXIT

curl --silent --retry 120 --retry-delay 1 --retry-all-errors --fail "http://127.0.0.1:$PORT/healthz" || {
  echo "the Worker doesn't answer on port $PORT; what pywrangler said is above" >&2
  exit 1
}
# What `wrangler dev` serves; `/__scheduled` is made of JavaScript that it adds, and Python Workers get none.
curl --silent --fail "http://127.0.0.1:$PORT/cdn-cgi/handler/scheduled?cron=*+*+*+*+*" || {
  echo "the tick failed; what it logged is above" >&2
  exit 1
}
echo
npx --yes wrangler d1 execute server-jobs --local --json \
  --command "SELECT status FROM jobs WHERE id = '$ID'" | grep -q '"completed"' || {
  echo "the tick ended, and $ID isn't completed" >&2
  exit 1
}
echo "the Worker executed $ID"
