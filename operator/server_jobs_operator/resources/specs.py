"""The specs of the custom resources as pydantic models.

The CRDs are generated from them, and the controllers read each resource with them. A field's
description is what ``kubectl explain`` shows and what docs/kubernetes.md has in its tables.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from server_jobs.schedules import Catchup, Overlap

LONGEST_EXPRESSION = 250


def problems_of(error: ValidationError) -> str:
    """What is wrong with a spec, in one line: each field's path with what is wrong with it."""
    return "; ".join(
        f"spec.{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors()
    )


Quantity = Annotated[
    str, Field(pattern=r"^([0-9]+\.?[0-9]*|\.[0-9]+)(m|[kMGTPE]|[KMGTPE]i)?$", max_length=32)
]
Name = Annotated[str, Field(min_length=1, max_length=200)]
QueueName = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\s,]+$")]
LabelKey = Annotated[str, Field(min_length=1, max_length=316)]
ObjectName = Annotated[
    str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
]


class Model(BaseModel):
    """Part of a spec: camelCase in YAML, snake_case in Python. Unknown fields are refused."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True
    )


class SecretRef(Model):
    """A key of a Secret in the JobRunner's namespace."""

    name: ObjectName = Field(description="The name of the Secret.")
    key: str = Field("url", min_length=1, max_length=253, description="The key in the Secret.")


class DatabaseRef(Model):
    """Where runner pods find the URL of the database."""

    secret_ref: SecretRef = Field(
        description="The Secret with the URL, for example postgresql://user:password@host/name."
    )


class ResourceAmounts(Model):
    """Amounts of resources, as Kubernetes quantities."""

    cpu: Quantity | None = Field(None, description="Processors, for example 500m or 2.")
    memory: Quantity | None = Field(None, description="Memory, for example 256Mi or 1Gi.")
    ephemeral_storage: Quantity | None = Field(
        None, description="Space on the node's disk, for example 1Gi."
    )


class Resources(Model):
    """The resources of a runner pod whose job doesn't ask for others."""

    requests: ResourceAmounts = Field(
        ResourceAmounts(), description="The amounts by which the pod is scheduled."
    )
    limits: ResourceAmounts = Field(ResourceAmounts(), description="The most that the pod may use.")


class Allow(Model):
    """What a job's runtime may choose. By default it may choose nothing."""

    images: list[Annotated[str, Field(min_length=1, max_length=500)]] = Field(
        default_factory=list,
        max_length=50,
        description="Images, as patterns, for example registry.example.com/team/*.",
    )
    node_selectors: list[LabelKey] = Field(
        default_factory=list, max_length=50, description="The keys of node labels."
    )
    tolerations: list[LabelKey] = Field(
        default_factory=list, max_length=50, description="The keys of taints."
    )


class Kueue(Model):
    """Admission of the Jobs by Kueue."""

    queue_name: ObjectName = Field(
        description="The LocalQueue that admits the Jobs, which are created suspended."
    )


class JobRunnerSpec(Model):
    """Which jobs are launched in this namespace, and how."""

    queues: list[QueueName] = Field(
        default_factory=lambda: ["default"],
        min_length=1,
        max_length=50,
        description="The queues that it serves. Of two JobRunners that serve the same jobs, only"
        " the older one does.",
        json_schema_extra={"default": ["default"], "x-kubernetes-list-type": "set"},
    )
    job_names: list[Name] | None = Field(
        None,
        min_length=1,
        max_length=500,
        description="The names of the jobs that it serves. By default it serves all.",
    )
    image: str = Field(
        min_length=1,
        max_length=500,
        description="The image of the pods, with server-jobs and your jobs in it.",
    )
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = Field(
        None, description="When the image is pulled, as in a pod."
    )
    image_pull_secrets: list[ObjectName] = Field(
        default_factory=list,
        max_length=20,
        description="The names of the Secrets with which the image is pulled.",
    )
    app: str | None = Field(
        None,
        min_length=1,
        max_length=300,
        description="The job registry in the image, as module:name. By default it is what the"
        " image's SERVER_JOBS_APP says.",
    )
    database: DatabaseRef = Field(
        description="The database of the jobs, which must be the operator's."
    )
    max_concurrency: int = Field(
        10,
        ge=1,
        le=5_000,
        description="How many Kubernetes Jobs may be in flight at the same time.",
    )
    paused: bool = Field(
        False, description="Whether to claim nothing more. Jobs that are in flight continue."
    )
    lease_seconds: int = Field(
        300,
        ge=10,
        le=86_400,
        description="How many seconds after a pod's death its job is given to another pod.",
    )
    launch_timeout_seconds: int = Field(
        900,
        ge=1,
        le=86_400,
        description="How many seconds may pass from the claim until the handler begins. Time in"
        " which the Job is suspended doesn't count.",
    )
    launch_patience_seconds: int = Field(
        30,
        ge=0,
        le=86_400,
        description="For how many seconds an image may be unavailable, or a Secret missing, before"
        " the launch counts as failed.",
    )
    grace_period_seconds: int = Field(
        30,
        ge=1,
        le=3_600,
        description="How many seconds a handler has to finish when its pod is stopped.",
    )
    max_launch_failures: int = Field(
        10, ge=1, le=1_000, description="After how many failed launches a job fails."
    )
    max_disruptions: int = Field(
        10,
        ge=1,
        le=1_000,
        description="How often a job that has begun may be evicted or preempted before it fails.",
    )
    ttl_seconds_after_finished: int = Field(
        3_600,
        ge=0,
        le=31_536_000,
        description="For how many seconds a finished Job and its pod's log are kept.",
    )
    resources: Resources = Field(
        Resources(), description="The resources of a pod whose job doesn't ask for others."
    )
    caps: ResourceAmounts = Field(
        ResourceAmounts(), description="The most that a job's runtime may ask for."
    )
    allow: Allow = Field(Allow(), description="What else a job's runtime may choose.")
    kueue: Kueue | None = Field(None, description="Has Kueue admit the Jobs.")
    service_account_name: ObjectName | None = Field(
        None, description="The service account of the pods. No token is mounted in them."
    )
    template: dict[str, Any] = Field(
        default_factory=dict,
        description="A partial pod template (metadata and spec), for example with environment"
        " variables, volumes, a node selector or sidecars. What the operator itself sets wins. The"
        " container that executes the job is called runner.",
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )


class RetryPolicySpec(Model):
    """How long to wait before the next attempt."""

    base_seconds: float = Field(
        5.0, ge=0, le=31_622_400, description="The wait after the first failed attempt."
    )
    factor: float = Field(
        2.0, ge=1, le=1_000, description="By how much the wait is multiplied after each attempt."
    )
    max_seconds: float = Field(3_600.0, ge=0, le=31_622_400, description="The longest wait.")
    jitter: bool = Field(
        True, description="Whether to wait for a random part of the time instead of all of it."
    )


class Toleration(Model):
    """A toleration, as in a pod."""

    key: LabelKey | None = Field(None, description="The key of the taint.")
    operator: Literal["Exists", "Equal"] | None = Field(
        None, description="Whether the value must be equal (the default) or is ignored."
    )
    value: str | None = Field(None, max_length=63, description="The value of the taint.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        None, description="The effect that is tolerated. By default all are."
    )
    toleration_seconds: int | None = Field(
        None, ge=0, description="For how many seconds the effect NoExecute is tolerated."
    )


class RuntimeSpec(Model):
    """What a job asks of its pod, within the limits of the JobRunner."""

    cpu: Quantity | None = Field(None, description="Processors, for example 500m or 2.")
    memory: Quantity | None = Field(None, description="Memory, for example 256Mi or 1Gi.")
    ephemeral_storage: Quantity | None = Field(
        None, description="Space on the node's disk, for example 1Gi."
    )
    image: str | None = Field(
        None, min_length=1, max_length=500, description="An image instead of the JobRunner's."
    )
    node_selector: dict[str, str] = Field(
        default_factory=dict, description="The labels that the node must have."
    )
    tolerations: list[Toleration] = Field(
        default_factory=list, max_length=20, description="The taints that the pod tolerates."
    )
    oom_memory_factor: float | None = Field(
        None,
        gt=1,
        le=16,
        description="By how much the memory is multiplied each time the job ran out of it.",
    )


class JobScheduleSpec(Model):
    """A job that runs again and again."""

    job_name: Name = Field(description="The name of the job in the code.")
    schedule: str = Field(
        min_length=1,
        max_length=LONGEST_EXPRESSION,
        description="A cron expression of five fields (minute, hour, day of month, month, day of"
        " week), or one of @yearly, @monthly, @weekly, @daily and @hourly. H stands for a number"
        " that is derived from the schedule's name.",
    )
    params: dict[str, Any] = Field(
        default_factory=dict,
        description="The params of the job. The operator doesn't know their schema, so invalid"
        " params fail only when the job runs.",
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )
    time_zone: str = Field(
        "UTC",
        min_length=1,
        max_length=64,
        description="The time zone of the schedule, by its name in the tz database.",
    )
    suspend: bool = Field(False, description="Whether to fire nothing for now.")
    overlap: Overlap = Field(
        Overlap.ALLOW,
        description="What happens at a fire time while an earlier job of it hasn't ended.",
    )
    catchup: Catchup = Field(
        Catchup.LATEST, description="Which missed fire times are made up for after downtime."
    )
    catchup_window_seconds: float | None = Field(
        86_400,
        gt=0,
        le=315_360_000,
        description="Fire times that were missed more seconds ago than this aren't made up for.",
    )
    catchup_limit: int = Field(
        100, ge=1, le=10_000, description="How many missed fire times are made up for at most."
    )
    jitter_seconds: float = Field(
        0, ge=0, le=86_400, description="Each job is delayed by up to this many seconds."
    )
    starts_at: datetime | None = Field(
        None, description="The earliest moment at which the schedule fires."
    )
    ends_at: datetime | None = Field(
        None, description="The moment from which on the schedule no longer fires."
    )
    queue: QueueName = Field("default", description="The queue of the jobs.")
    priority: int = Field(
        0, ge=-32_768, le=32_767, description="Jobs of a higher priority are claimed first."
    )
    max_attempts: int = Field(
        3, ge=1, le=1_000, description="How many attempts a job has, the first one included."
    )
    timeout_seconds: float | None = Field(
        None,
        gt=0,
        le=31_622_400,
        description="How many seconds one attempt may take. By default there is no limit.",
    )
    retry_policy: RetryPolicySpec | None = Field(
        None,
        description="How long to wait before the next attempt. By default the job's code says.",
    )
    runtime: RuntimeSpec | None = Field(None, description="What the jobs ask of their pods.")
