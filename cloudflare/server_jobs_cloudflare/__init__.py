"""Jobs on Cloudflare Workers: a Cron Trigger claims them from D1 or Turso and executes them."""
