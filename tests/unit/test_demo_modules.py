"""What the demo says about a file of source code."""

from server_jobs.demo.modules import LIBRARY, find_modules, measure

SOURCE = b'''# a comment
import os, os.path
from json.decoder import JSONDecoder
from . import neighbour

TEXT = """
# not a comment
"""


class Shape:
    def area(self) -> float:
        # another comment
        return 1.0  # one that shares its line

    async def draw(self) -> None: ...
'''


def test_what_a_module_is_made_of_is_counted() -> None:
    module = measure("shapes.py", SOURCE)

    assert module.problem is None
    assert module.lines == 16
    assert (module.functions, module.classes) == (2, 1)
    assert module.imports == ["json", "os"]
    assert module.longest_function is not None
    assert (module.longest_function.name, module.longest_function.lines) == ("area", 3)


def test_a_hash_inside_a_string_is_no_comment() -> None:
    assert measure("shapes.py", SOURCE).comment_lines == 2


def test_a_file_that_is_no_python_has_a_problem_and_no_statistics() -> None:
    module = measure("broken.py", b"def (:\n    pass\n")

    assert module.problem is not None
    assert "SyntaxError" in module.problem
    assert (module.lines, module.functions) == (2, 0)


def test_a_limited_choice_is_spread_over_the_library() -> None:
    everything, few = find_modules(), find_modules(10)

    assert len(few) == 10
    assert set(few) < set(everything)
    assert len({path[0] for path in few}) > 3
    assert all((LIBRARY / path).is_file() for path in few)
    assert not any("site-packages" in path for path in everything)
