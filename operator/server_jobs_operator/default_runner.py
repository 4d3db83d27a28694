"""The JobRunner ``default``, from the chart's ConfigMap.

A chart can hold a CRD or an instance of it, not both in one go.
"""

from __future__ import annotations

import logging

import yaml

from server_jobs_operator.kube import APPLY, Kube, KubeError
from server_jobs_operator.names import (
    API_VERSION,
    FIELD_MANAGER,
    config_map_path,
    resources_path,
)
from server_jobs_operator.settings import OperatorSettings

_log = logging.getLogger("server_jobs.operator.default")

KEY = "default-runner.yaml"


async def apply_default_runner(kube: Kube, settings: OperatorSettings) -> None:
    """Apply it, where the ConfigMap has one. What is wrong with it is logged."""
    if settings.config_map is None:
        return
    try:
        config_map = await kube.get(config_map_path(settings.own_namespace, settings.config_map))
        text = config_map.get("data", {}).get(KEY)
        if not text:
            return
        manifest = yaml.safe_load(text)
        metadata = manifest.get("metadata", {})
        await kube.patch(
            resources_path("jobrunners", settings.own_namespace, metadata["name"]),
            {
                "apiVersion": API_VERSION,
                "kind": "JobRunner",
                "metadata": metadata | {"namespace": settings.own_namespace},
                "spec": manifest["spec"],
            },
            kind=APPLY,
            manager=FIELD_MANAGER,
        )
    except (KubeError, yaml.YAMLError, KeyError, AttributeError) as error:
        _log.error("the default JobRunner can't be applied: %s", error)
