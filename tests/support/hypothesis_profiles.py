"""How hard hypothesis looks. A plugin of pytest: profiles must exist before its options are read.

The default is the same on every machine and in every run, so that a red build can be repeated.
``pytest --hypothesis-profile=thorough tests/integration/test_state_machine.py`` looks elsewhere
each time, and for minutes.
"""

from hypothesis import HealthCheck, Phase, settings

settings.register_profile(
    "reproducible",
    derandomize=True,
    database=None,
    deadline=None,
    print_blob=True,
    report_multiple_bugs=False,
    # Not Phase.explain, which costs minutes to say what a shrunk example shows by itself.
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    # The machines under load are slow at times; what is measured here is correctness.
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "thorough",
    settings.get_profile("reproducible"),
    derandomize=False,
    max_examples=3_000,
    stateful_step_count=100,
)
settings.load_profile("reproducible")
