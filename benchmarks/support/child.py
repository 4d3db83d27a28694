"""What runs in a contestant's process: a generator, one step for each line on stdin.

It is told what to measure by ``module:function`` and its arguments as JSON. The generator makes
ready until its first ``yield``; each later one gives the answer to an order, as JSON on stdout.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module


def main() -> None:
    function, arguments = sys.argv[1:]
    module, _, name = function.partition(":")
    steps = getattr(import_module(module), name)(**json.loads(arguments))
    answer = next(steps)
    # Closed before the interpreter comes apart, so that it can let go of what it holds.
    try:
        print(json.dumps(answer), flush=True)
        for line in sys.stdin:
            print(json.dumps(steps.send(json.loads(line))), flush=True)
    finally:
        steps.close()


if __name__ == "__main__":
    main()
