"""Makes a Kubernetes Job of a claimed record and its JobRunner. Pure.

A pod template has three layers, and a later one wins: the JobRunner's partial template; what the
record's ``runtime`` asks for, within the JobRunner's caps and allow-lists; what the operator needs
to run the job and to tell how it ended.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any

from kubernetes.utils.quantity import parse_quantity
from pydantic import ValidationError

from server_jobs.launches.launch import Launch
from server_jobs_operator.cluster import names
from server_jobs_operator.cluster.known_job import FIRST_TTL_SECONDS
from server_jobs_operator.launches.templates import merged
from server_jobs_operator.resources.runner_table import JobRunner
from server_jobs_operator.resources.specs import JobRunnerSpec, RuntimeSpec
from server_jobs_operator.settings import OperatorSettings

Json = dict[str, Any]

SPARE_SECONDS = 5
"""How much longer than the handler's grace period a pod has, to write how the handler ended."""

_LONGEST_RUNTIME = 64 << 10
"""How many characters a record's ``runtime`` may have."""

_AMOUNTS = {"cpu": "cpu", "memory": "memory", "ephemeral_storage": "ephemeral-storage"}


class InvalidRuntime(ValueError):
    """A record asks for something that its JobRunner doesn't allow; the message says what."""


def job_manifest(launch: Launch, runner: JobRunner, settings: OperatorSettings) -> Json:
    """The Job of a launch. The same arguments always make the same Job.

    Raises InvalidRuntime, and InvalidTemplate if the JobRunner's template isn't a pod template.
    """
    spec = runner.spec
    runtime = _runtime(launch)
    labels = {
        "app.kubernetes.io/name": "server-jobs-runner",
        "app.kubernetes.io/managed-by": "server-jobs-operator",
        names.INSTALL: settings.install_id,
        names.RUNNER: runner.name,
        names.JOB_ID: launch.id,
        names.FENCE: str(launch.fence),
        names.JOB_NAME: _label(launch.job_name),
        names.QUEUE: _label(launch.queue),
    }
    annotations = {names.JOB_NAME: launch.job_name, names.QUEUE: launch.queue}
    job: Json = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": names.kubernetes_job_name(launch.id, launch.fence),
            "namespace": runner.namespace,
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [
                {
                    "apiVersion": names.API_VERSION,
                    "kind": "JobRunner",
                    "name": runner.name,
                    "uid": runner.uid,
                    "controller": True,
                    "blockOwnerDeletion": False,
                }
            ],
        },
        "spec": {
            # Retries are decided in the table only: Kubernetes never retries.
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "ttlSecondsAfterFinished": FIRST_TTL_SECONDS,
            "template": merged(
                spec.template,
                merged(
                    _asked_for(launch, runner, runtime),
                    _ours(launch, runner, settings, labels, annotations),
                ),
            ),
        },
    }
    if launch.timeout_seconds is not None:
        # The runner enforces the timeout. This is for a runner that no longer can.
        seconds = spec.launch_timeout_seconds + launch.timeout_seconds + spec.grace_period_seconds
        job["spec"]["activeDeadlineSeconds"] = int(seconds) + SPARE_SECONDS
    if spec.kueue is not None:
        job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = spec.kueue.queue_name
        job["spec"]["suspend"] = True
    return job


def _ours(
    launch: Launch,
    runner: JobRunner,
    settings: OperatorSettings,
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
) -> Json:
    """The layer that wins over the JobRunner's template and the record's runtime."""
    spec = runner.spec
    secret = spec.database.secret_ref
    environment: list[Json] = [
        {
            "name": "SERVER_JOBS_DATABASE_URL",
            "valueFrom": {"secretKeyRef": {"name": secret.name, "key": secret.key}},
        },
        {
            "name": "SERVER_JOBS_POD_UID",
            "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}},
        },
        {
            "name": "SERVER_JOBS_WORKER_ID",
            "value": f"{settings.worker_id(runner.namespace, runner.name)}/$(SERVER_JOBS_POD_UID)",
        },
        {"name": "SERVER_JOBS_LEASE", "value": str(spec.lease_seconds)},
        {"name": "SERVER_JOBS_GRACE", "value": str(spec.grace_period_seconds)},
        {"name": "SERVER_JOBS_MAX_LAUNCH_FAILURES", "value": str(spec.max_launch_failures)},
        # A pod that is told to end is mostly one that is being evicted or preempted.
        {"name": "SERVER_JOBS_MAX_RELEASES", "value": str(spec.max_disruptions)},
        {"name": "SERVER_JOBS_LOG_FORMAT", "value": "json"},
        *({"name": name, "value": value} for name, value in sorted(settings.environment.items())),
    ]
    if spec.app is not None:
        environment.append({"name": "SERVER_JOBS_APP", "value": spec.app})
    container: Json = {
        "name": names.CONTAINER,
        "args": ["run", "--job-id", launch.id, "--fence", str(launch.fence)],
        "env": environment,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - in a pod
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if spec.image_pull_policy is not None:
        container["imagePullPolicy"] = spec.image_pull_policy
    pod: Json = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": spec.grace_period_seconds + SPARE_SECONDS,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    if spec.service_account_name is not None:
        pod["serviceAccountName"] = spec.service_account_name
    if spec.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in spec.image_pull_secrets]
    return {"metadata": {"labels": dict(labels), "annotations": dict(annotations)}, "spec": pod}


def _asked_for(launch: Launch, runner: JobRunner, runtime: RuntimeSpec) -> Json:
    """The layer of image, resources and placement: from the record, else from the JobRunner.

    Raises InvalidRuntime if the record asks for more than the JobRunner allows.
    """
    spec = runner.spec
    requests, limits = _given(spec, "requests"), _given(spec, "limits")
    for name, resource in _AMOUNTS.items():
        wanted = getattr(runtime, name)
        if wanted is None:
            continue
        amount = _quantity(launch, name, wanted)
        cap = getattr(spec.caps, name)
        if name == "memory" and runtime.oom_memory_factor and launch.out_of_memory:
            amount *= Decimal(str(runtime.oom_memory_factor)) ** launch.out_of_memory
            amount = min(amount, parse_quantity(cap)) if cap else amount
            wanted = str(int(amount))
        if cap is not None and amount > parse_quantity(cap):
            raise InvalidRuntime(
                f"{launch.job_name} asks for {name}={wanted}, and JobRunner {runner.name} caps it"
                f" at {cap}"
            )
        requests[resource] = wanted
        # Without a limit, one pod could take all of its node's memory. Processors are shared.
        if name == "memory" or resource in limits:
            limits[resource] = wanted
    container: Json = {"name": names.CONTAINER, "image": runtime.image or spec.image}
    resources = {"requests": requests, "limits": limits}
    if any(resources.values()):
        container["resources"] = {name: value for name, value in resources.items() if value}
    pod: Json = {"containers": [container]}
    if runtime.image is not None and not _matches(runtime.image, spec.allow.images):
        raise _not_allowed(launch, runner, "image", runtime.image, "images")
    for key in runtime.node_selector:
        if key not in spec.allow.node_selectors:
            raise _not_allowed(launch, runner, "node_selector", key, "nodeSelectors")
    for toleration in runtime.tolerations:
        if toleration.key not in spec.allow.tolerations:
            raise _not_allowed(launch, runner, "tolerations", toleration.key, "tolerations")
    if runtime.node_selector:
        pod["nodeSelector"] = dict(runtime.node_selector)
    if runtime.tolerations:
        pod["tolerations"] = [
            toleration.model_dump(by_alias=True, exclude_none=True)
            for toleration in runtime.tolerations
        ]
    return {"spec": pod}


def _runtime(launch: Launch) -> RuntimeSpec:
    text = launch.runtime or "{}"
    if len(text) > _LONGEST_RUNTIME:  # before it is read: a million keys would take a gigabyte
        raise InvalidRuntime(
            f"{launch.job_name}: its runtime has {len(text):,} characters, and {_LONGEST_RUNTIME:,}"
            " are allowed"
        )
    try:
        return RuntimeSpec.model_validate(json.loads(text))
    except (ValueError, ValidationError, RecursionError) as error:
        problem = error.errors()[0] if isinstance(error, ValidationError) else {"msg": str(error)}
        where = ".".join(str(part) for part in problem.get("loc", ()))
        raise InvalidRuntime(
            f"{launch.job_name}: its runtime can't be read: {where or 'runtime'}: {problem['msg']}"
        ) from None


def _given(spec: JobRunnerSpec, part: str) -> Json:
    amounts = getattr(spec.resources, part)
    return {
        resource: getattr(amounts, name)
        for name, resource in _AMOUNTS.items()
        if getattr(amounts, name) is not None
    }


def _quantity(launch: Launch, name: str, value: str) -> Decimal:
    try:
        amount = Decimal(parse_quantity(value))
    except ValueError as error:
        raise InvalidRuntime(f"{launch.job_name}: {name}={value!r}: {error}") from None
    if amount <= 0:  # as a limit, 0 is none at all
        raise InvalidRuntime(
            f"{launch.job_name}: {name}={value!r} is no amount; give one above 0, or leave it out"
        )
    return amount


def _matches(image: str, patterns: list[str]) -> bool:
    return any(fnmatchcase(image, pattern) for pattern in patterns)


def _not_allowed(
    launch: Launch, runner: JobRunner, field: str, value: object, allow: str
) -> InvalidRuntime:
    return InvalidRuntime(
        f"{launch.job_name} asks for {field}={value}, which JobRunner {runner.name} doesn't allow;"
        f" to allow it, add it to spec.allow.{allow}"
    )


def _label(text: str) -> str:
    """A text as a label's value: other characters become dashes, 63 characters at most."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text)[:63].strip("-_.")
