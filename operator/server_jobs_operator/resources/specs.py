"""The custom resources, as pydantic models: what the CRDs are made of, and what handlers read.

Descriptions are what ``kubectl explain`` shows.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

LONGEST_EXPRESSION = 250


def problems_of(error: ValidationError) -> str:
    """What is wrong with a spec, each field by its path, in one line."""
    return "; ".join(
        f"spec.{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors()
    )


Quantity = Annotated[
    str, Field(pattern=r"^([0-9]+\.?[0-9]*|\.[0-9]+)(m|[kMGTPE]|[KMGTPE]i)?$", max_length=32)
]
Name = Annotated[str, Field(min_length=1, max_length=200)]
LabelKey = Annotated[str, Field(min_length=1, max_length=316)]
ObjectName = Annotated[
    str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
]


class Model(BaseModel):
    """camelCase in YAML, snake_case here; unknown fields are refused."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True
    )


class SecretRef(Model):
    """A key of a Secret in the JobRunner's namespace."""

    name: ObjectName = Field(description="The Secret's name.")
    key: str = Field("url", min_length=1, max_length=253, description="The key in it.")


class DatabaseRef(Model):
    """Where runner pods find the database's URL."""

    secret_ref: SecretRef = Field(
        description="A Secret with the URL, postgresql://user:password@host/name."
    )


class ResourceAmounts(Model):
    """Amounts of resources, as Kubernetes quantities."""

    cpu: Quantity | None = Field(None, description="Processors: 500m, 2.")
    memory: Quantity | None = Field(None, description="Memory: 256Mi, 1Gi.")
    ephemeral_storage: Quantity | None = Field(None, description="Room on the node's disk: 1Gi.")


class Resources(Model):
    """What a runner pod gets where its job asks for nothing else."""

    requests: ResourceAmounts = Field(ResourceAmounts(), description="What it is scheduled by.")
    limits: ResourceAmounts = Field(ResourceAmounts(), description="What it may use at most.")


class Allow(Model):
    """What a job's runtime may choose. Nothing, unless it is named here."""

    images: list[Annotated[str, Field(min_length=1, max_length=500)]] = Field(
        default_factory=list,
        max_length=50,
        description="Images, as patterns: registry.example.com/team/*.",
    )
    node_selectors: list[LabelKey] = Field(
        default_factory=list, max_length=50, description="Keys of node labels."
    )
    tolerations: list[LabelKey] = Field(
        default_factory=list, max_length=50, description="Keys of taints."
    )


class Kueue(Model):
    """Admission by Kueue."""

    queue_name: ObjectName = Field(description="The LocalQueue; Jobs are created suspended.")


class JobRunnerSpec(Model):
    """Which jobs are launched in this namespace, and how."""

    queues: list[Name] = Field(
        default_factory=lambda: ["default"],
        min_length=1,
        max_length=50,
        description="Which queues it serves. Of two JobRunners that overlap, the older one does.",
        json_schema_extra={"default": ["default"], "x-kubernetes-list-type": "set"},
    )
    job_names: list[Name] | None = Field(
        None, min_length=1, max_length=500, description="Which jobs; all of them if not given."
    )
    image: str = Field(
        min_length=1, max_length=500, description="The image: server-jobs and your jobs in it."
    )
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = Field(
        None, description="As in a pod."
    )
    image_pull_secrets: list[ObjectName] = Field(
        default_factory=list, max_length=20, description="Names of Secrets for the registry."
    )
    app: str | None = Field(
        None,
        min_length=1,
        max_length=300,
        description="Where the registry is in the image, as module:name. Without it, the image's"
        " own SERVER_JOBS_APP counts.",
    )
    database: DatabaseRef = Field(description="The database that the operator works on, too.")
    max_concurrency: int = Field(
        10, ge=1, le=5_000, description="How many Kubernetes Jobs may be in flight."
    )
    paused: bool = Field(False, description="Claim nothing more; what is in flight goes on.")
    lease_seconds: int = Field(
        300,
        ge=10,
        le=86_400,
        description="How long after a pod's death its job goes to another one.",
    )
    launch_timeout_seconds: int = Field(
        900,
        ge=1,
        le=86_400,
        description="How long a pod may take to begin, suspended time not counted.",
    )
    launch_patience_seconds: int = Field(
        30,
        ge=0,
        le=86_400,
        description="How long an image may be unavailable, or a Secret missing, before the launch"
        " counts as failed.",
    )
    grace_period_seconds: int = Field(
        30, ge=1, le=3_600, description="What a handler gets to end in when its pod is stopped."
    )
    max_launch_failures: int = Field(
        10, ge=1, le=1_000, description="How often a job may fail to begin before it fails."
    )
    max_disruptions: int = Field(
        10, ge=1, le=1_000, description="How often a begun job may be evicted before it fails."
    )
    ttl_seconds_after_finished: int = Field(
        3_600, ge=0, le=31_536_000, description="How long a Job is kept once it is over."
    )
    resources: Resources = Field(Resources(), description="Of each pod, unless the job says more.")
    caps: ResourceAmounts = Field(
        ResourceAmounts(), description="What a job's runtime may ask for at most."
    )
    allow: Allow = Field(Allow(), description="What else a job's runtime may choose.")
    kueue: Kueue | None = Field(None, description="Let Kueue admit the Jobs.")
    service_account_name: ObjectName | None = Field(
        None, description="Whose name pods go by; no token is mounted."
    )
    template: dict[str, Any] = Field(
        default_factory=dict,
        description="A partial pod template (metadata and spec) that is merged under what the"
        " operator needs: environment, volumes, node selector, tolerations, affinity, sidecars. The"
        " container that executes the job is called runner.",
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )


class Overlap(StrEnum):
    """As in server_jobs.schedules."""

    ALLOW = "allow"
    SKIP = "skip"
    QUEUE = "queue"
    REPLACE = "replace"


class Catchup(StrEnum):
    """As in server_jobs.schedules."""

    NONE = "none"
    LATEST = "latest"
    ALL = "all"


class RetryPolicySpec(Model):
    """How long to wait before the next attempt."""

    base_seconds: float = Field(5.0, ge=0, le=31_622_400, description="After the first attempt.")
    factor: float = Field(2.0, ge=1, le=1_000, description="By which it grows.")
    max_seconds: float = Field(3_600.0, ge=0, le=31_622_400, description="At most.")
    jitter: bool = Field(True, description="A random part of it.")


class Toleration(Model):
    """As in a pod."""

    key: LabelKey | None = Field(None, description="The taint's key.")
    operator: Literal["Exists", "Equal"] | None = Field(None, description="Equal by default.")
    value: str | None = Field(None, max_length=63, description="The taint's value.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        None, description="All effects, if not given."
    )
    toleration_seconds: int | None = Field(None, ge=0, description="For NoExecute: for how long.")


class RuntimeSpec(Model):
    """What a job asks of its pod, within what the JobRunner allows."""

    cpu: Quantity | None = Field(None, description="Processors: 500m, 2.")
    memory: Quantity | None = Field(None, description="Memory: 256Mi, 1Gi.")
    ephemeral_storage: Quantity | None = Field(None, description="Room on the node's disk.")
    image: str | None = Field(None, min_length=1, max_length=500, description="Another image.")
    node_selector: dict[str, str] = Field(default_factory=dict, description="Labels of nodes.")
    tolerations: list[Toleration] = Field(
        default_factory=list, max_length=20, description="Taints that it tolerates."
    )
    oom_memory_factor: float | None = Field(
        None, gt=1, le=16, description="So many times the memory after each time it ran out of it."
    )


class JobScheduleSpec(Model):
    """A job that runs again and again."""

    job_name: Name = Field(description="The job, by its name in the code.")
    schedule: str = Field(
        min_length=1,
        max_length=LONGEST_EXPRESSION,
        description="Five fields (minute, hour, day of month, month, day of week), or @daily and"
        " its like. H stands for a number made of the name.",
    )
    params: dict[str, Any] = Field(
        default_factory=dict,
        description="What the job is given. The operator doesn't know the job's schema: the runner"
        " refuses what doesn't fit.",
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )
    time_zone: str = Field("UTC", min_length=1, max_length=64, description="A tz database name.")
    suspend: bool = Field(False, description="Fire nothing for now.")
    overlap: Overlap = Field(Overlap.ALLOW, description="While an earlier job hasn't ended.")
    catchup: Catchup = Field(Catchup.LATEST, description="What is made up for after downtime.")
    catchup_window_seconds: float | None = Field(
        86_400, gt=0, le=315_360_000, description="No longer ago than this."
    )
    catchup_limit: int = Field(100, ge=1, le=10_000, description="No more than so many.")
    jitter_seconds: float = Field(0, ge=0, le=86_400, description="Each is put off by up to this.")
    starts_at: datetime | None = Field(None, description="The first moment at which it may fire.")
    ends_at: datetime | None = Field(None, description="The first at which it no longer does.")
    queue: Name = Field("default", description="The queue of its jobs.")
    priority: int = Field(0, ge=-32_768, le=32_767, description="Higher goes first.")
    max_attempts: int = Field(3, ge=1, le=1_000, description="The first one counts.")
    timeout_seconds: float | None = Field(
        None, gt=0, le=31_622_400, description="How long one attempt may take."
    )
    retry_policy: RetryPolicySpec | None = Field(None, description="The default, if not given.")
    runtime: RuntimeSpec | None = Field(None, description="The pod of its jobs.")
