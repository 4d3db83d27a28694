"""The settings of ``server-jobs-operator run``, each declared once.

The chart sets some of them in the environment. Its schema and the documentation's table are made of
what stands here.
"""

from __future__ import annotations

import re
from typing import Annotated, TypeAlias

import typer

from server_jobs.cli.settings import Setting, settings_of
from server_jobs.records.names import TextRule
from server_jobs_operator.settings import OperatorSettings

_NAMESPACE = TextRule(
    "the name of a namespace: 1 to 63 small letters, digits and hyphens (a list is written a,b)",
    63,
    re.compile(r"[^a-z0-9-]"),
)

SETTINGS = settings_of(
    OperatorSettings,
    "SERVER_JOBS_OPERATOR_",
    own_namespace=Setting(
        help="The namespace of the operator's Lease, ConfigMap and pods.",
        unit="name",
        shown_default="its pod's, else default",
    ),
    namespaces=Setting(
        help="Which namespaces' JobRunners and JobSchedules to serve. May be repeated.",
        flag="--namespace",
        variable="SERVER_JOBS_OPERATOR_NAMESPACE",
        unit="name[,name]",
        shown_default="the operator's own",
        list_of=_NAMESPACE,
    ),
    all_namespaces=Setting(
        help="Serve the whole cluster. It needs cluster-wide permissions.", default=False
    ),
    install_id=Setting(
        help="What this installation's Jobs are labelled with. No other installation on this"
        " database may have the same.",
        unit="text",
        shown_default="the ConfigMap's uid",
    ),
    config_map=Setting(
        help="The ConfigMap with the default JobRunner, in the operator's namespace.", unit="name"
    ),
    leader_election=Setting(help="Let one of several replicas lead."),
    lease_name=Setting(
        help="The name of the Lease by which the replicas elect a leader.", unit="name"
    ),
    lease=Setting(
        help="How long a claim holds if it isn't renewed, 10 seconds to a day.", unit="seconds"
    ),
    poll_interval=Setting(
        help="How often to look for jobs where the database doesn't announce them, 0.05 to 3,600.",
        unit="seconds",
    ),
    reconcile_interval=Setting(
        help="How often to compare the table with the cluster, 1 to 3,600.", unit="seconds"
    ),
    max_jobs=Setting(
        help="How many Kubernetes Jobs may be in flight, for all JobRunners together.", unit="jobs"
    ),
    creates_per_second=Setting(
        help="How many Kubernetes Jobs to create in a second, at most.", unit="jobs"
    ),
    create_concurrency=Setting(help="How many Kubernetes Jobs to create at once.", unit="jobs"),
    schedules=Setting(help="Fire all schedules that are due, from whatever source."),
    health_port=Setting(help="The port of /healthz and /readyz.", unit="port", default=8080),
    metrics_port=Setting(help="The port of /metrics.", unit="port", default=9090),
    keep_completed=Setting(
        help="How long records of completed jobs are kept: 12h, 7d, forever.",
        unit="duration",
        is_duration=True,
    ),
    keep_failed=Setting(
        help="How long records of failed jobs are kept.", unit="duration", is_duration=True
    ),
    keep_cancelled=Setting(
        help="How long records of cancelled jobs are kept.", unit="duration", is_duration=True
    ),
)

READY_SETTINGS = {name: SETTINGS[name] for name in ("own_namespace", "health_port")}

SelectorOption: TypeAlias = Annotated[
    str,
    typer.Option("--selector", metavar="LABEL=VALUE[,…]", help="Which pods are the operator's."),
]
