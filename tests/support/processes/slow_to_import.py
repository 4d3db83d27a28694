"""An app whose import takes for ever."""

import time

print("importing", flush=True)
time.sleep(1000)
