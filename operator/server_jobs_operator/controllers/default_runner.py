"""Applies the JobRunner ``default``, whose manifest is in the chart's ConfigMap.

The chart can't create it directly: Helm can't install a CRD and an instance of it in one release.
"""

from __future__ import annotations

import logging

import yaml

from server_jobs_operator.cluster.kube import APPLY, Json, Kube, KubeError
from server_jobs_operator.cluster.names import (
    API_VERSION,
    FIELD_MANAGER,
    config_map_path,
    resources_path,
)
from server_jobs_operator.settings import OperatorSettings
from server_jobs_operator.telemetry.health import Health

_log = logging.getLogger("server_jobs.operator.default")

KEY = "default-runner.yaml"

_WHAT = "default JobRunner"


class DefaultRunner:
    """Applies the default JobRunner once a term, as soon as the API server takes it."""

    def __init__(self, kube: Kube, settings: OperatorSettings, health: Health) -> None:
        self._kube = kube
        self._settings = settings
        self._health = health
        self._applied = settings.config_map is None

    async def apply(self) -> None:
        """Applies it, unless that has been done. While it can't be, the operator is unready."""
        if self._applied:
            return
        try:
            await self._apply()
        except (KubeError, yaml.YAMLError, KeyError, AttributeError, TypeError) as error:
            problem = (
                str(error) if isinstance(error, KubeError) else f"{type(error).__name__}: {error}"
            )
            text = f"ConfigMap {self._settings.config_map}, {KEY}: {problem}"
            _log.error("can't apply the default JobRunner, trying again: %s", text)
            self._health.fails(_WHAT, text)
        else:
            self._applied = True
            self._health.answers(_WHAT)

    def forget(self) -> None:
        """Takes back its problem at the end of the term: the next leader applies it."""
        self._health.answers(_WHAT)

    async def _apply(self) -> None:
        own = self._settings.own_namespace
        config_map = await self._kube.get(config_map_path(own, str(self._settings.config_map)))
        text = (config_map.get("data") or {}).get(KEY)
        if not text:
            return
        manifest: Json = yaml.safe_load(text)
        metadata = manifest.get("metadata", {})
        await self._kube.patch(
            resources_path("jobrunners", own, metadata["name"]),
            {
                "apiVersion": API_VERSION,
                "kind": "JobRunner",
                "metadata": metadata | {"namespace": own},
                "spec": manifest["spec"],
            },
            kind=APPLY,
            manager=FIELD_MANAGER,
        )
