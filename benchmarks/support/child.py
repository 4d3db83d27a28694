"""Runs in a contestant's process: a generator, which takes one step for each line on stdin.

``module:function`` and its arguments as JSON say what to measure. The generator prepares until its
first ``yield``. Each later one gives the answer to an order, as JSON on stdout.
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
    # Closed before the interpreter ends, so that it can release what it holds.
    try:
        print(json.dumps(answer), flush=True)
        for line in sys.stdin:
            print(json.dumps(steps.send(json.loads(line))), flush=True)
    finally:
        steps.close()


if __name__ == "__main__":
    main()
