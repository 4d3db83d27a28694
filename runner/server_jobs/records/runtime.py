"""What a job asks of its pod, if it runs in one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from server_jobs.errors import InvalidJobDefinitionError

_QUANTITY = re.compile(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:m|[kMGTPE]|[KMGTPE]i)?")
_LARGEST_FACTOR = 16.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PodRuntime:
    """What a job asks of its pod on Kubernetes; the other backends ignore it.

    ``cpu``, ``memory`` and ``ephemeral_storage`` are Kubernetes quantities (``"500m"``,
    ``"1Gi"``). The ``JobRunner`` that serves its queue limits them, and says whether a job may
    choose an image, node labels or tolerations.

    >>> @define_job(runtime=PodRuntime(memory="1Gi").retry_on_oom(memory_factor=1.5))

    Raises InvalidJobDefinitionError.
    """

    cpu: str | None = None
    memory: str | None = None
    ephemeral_storage: str | None = None
    image: str | None = None
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Mapping[str, str | int]] = ()
    """As in a pod: ``key``, ``operator``, ``value``, ``effect``, ``tolerationSeconds``."""
    oom_memory_factor: float | None = None
    """The factor by which memory grows after each attempt that was killed for lack of it."""

    def __post_init__(self) -> None:
        for name in ("cpu", "memory", "ephemeral_storage"):
            value = getattr(self, name)
            if value is None:
                continue
            if not (isinstance(value, str) and _QUANTITY.fullmatch(value)):
                raise InvalidJobDefinitionError(
                    f"runtime: {name}={value!r} isn't a Kubernetes quantity, as text; for instance"
                    f" {'500m' if name == 'cpu' else '1Gi'!r}"
                )
            if not re.search("[1-9]", value):  # as a limit, 0 is none at all
                raise InvalidJobDefinitionError(
                    f"runtime: {name}={value!r} is no amount; give one above 0, or leave it out"
                )
        if self.oom_memory_factor is not None:
            if not 1 < self.oom_memory_factor <= _LARGEST_FACTOR:
                raise InvalidJobDefinitionError(
                    f"runtime: memory_factor={self.oom_memory_factor} isn't more than 1 and at most"
                    f" {_LARGEST_FACTOR:g}"
                )
            if self.memory is None:
                raise InvalidJobDefinitionError(
                    "runtime: retry_on_oom() multiplies memory=, and none is given"
                )

    def retry_on_oom(self, *, memory_factor: float) -> PodRuntime:
        """Return a copy whose memory is multiplied after each attempt that ran out of it."""
        return replace(self, oom_memory_factor=memory_factor)

    def to_json(self) -> str:
        """Return the JSON that is stored in the row."""
        wanted = {name: getattr(self, name) for name in self.__dataclass_fields__}
        try:
            return json.dumps({name: value for name, value in wanted.items() if value})
        except TypeError as error:
            raise InvalidJobDefinitionError(f"runtime: {error}") from None
