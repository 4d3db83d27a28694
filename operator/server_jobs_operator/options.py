"""The operator's flags. What the chart sets can be set in the environment, too."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

OwnNamespaceOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--own-namespace",
        envvar="SERVER_JOBS_OPERATOR_OWN_NAMESPACE",
        metavar="NAME",
        show_default="its pod's, else default",
        help="Where its Lease, its ConfigMap and its pods are.",
    ),
]

NamespaceOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--namespace",
        envvar="SERVER_JOBS_OPERATOR_NAMESPACE",
        metavar="NAME[,NAME]",
        show_default="the operator's own",
        help="Whose JobRunners and JobSchedules to serve. May be repeated.",
    ),
]

AllNamespacesOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--all-namespaces",
        envvar="SERVER_JOBS_OPERATOR_ALL_NAMESPACES",
        help="Serve the whole cluster; needs cluster-wide permissions.",
    ),
]

InstallIdOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--install-id",
        envvar="SERVER_JOBS_OPERATOR_INSTALL_ID",
        metavar="TEXT",
        show_default="the ConfigMap's uid",
        help="What this installation's Jobs are labelled with; no other may have the same.",
    ),
]

ConfigMapOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--config-map",
        envvar="SERVER_JOBS_OPERATOR_CONFIG_MAP",
        metavar="NAME",
        help="The ConfigMap with the default JobRunner, in the operator's namespace.",
    ),
]

LeaderElectionOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--leader-election/--no-leader-election",
        envvar="SERVER_JOBS_OPERATOR_LEADER_ELECTION",
        help="Let one of several replicas lead.",
    ),
]

LeaseNameOption: TypeAlias = Annotated[
    str,
    typer.Option(
        "--lease-name",
        envvar="SERVER_JOBS_OPERATOR_LEASE_NAME",
        metavar="NAME",
        help="The Lease by which they elect.",
    ),
]

LeaseOption: TypeAlias = Annotated[
    float,
    typer.Option(
        "--lease",
        envvar="SERVER_JOBS_OPERATOR_LEASE",
        metavar="SECONDS",
        help="How long a claim holds that nobody renews.",
    ),
]

PollIntervalOption: TypeAlias = Annotated[
    float,
    typer.Option(
        "--poll-interval",
        envvar="SERVER_JOBS_OPERATOR_POLL_INTERVAL",
        metavar="SECONDS",
        help="How often to look for jobs where the database doesn't tell of them.",
    ),
]

ReconcileIntervalOption: TypeAlias = Annotated[
    float,
    typer.Option(
        "--reconcile-interval",
        envvar="SERVER_JOBS_OPERATOR_RECONCILE_INTERVAL",
        metavar="SECONDS",
        help="How often to compare the table with the cluster.",
    ),
]

MaxJobsOption: TypeAlias = Annotated[
    int,
    typer.Option(
        "--max-jobs",
        envvar="SERVER_JOBS_OPERATOR_MAX_JOBS",
        help="How many Kubernetes Jobs may be in flight, all JobRunners together.",
    ),
]

CreatesPerSecondOption: TypeAlias = Annotated[
    float,
    typer.Option(
        "--creates-per-second",
        envvar="SERVER_JOBS_OPERATOR_CREATES_PER_SECOND",
        help="How many Kubernetes Jobs to create a second, at most.",
    ),
]

CreateConcurrencyOption: TypeAlias = Annotated[
    int,
    typer.Option(
        "--create-concurrency",
        envvar="SERVER_JOBS_OPERATOR_CREATE_CONCURRENCY",
        help="How many to create at once.",
    ),
]

SchedulesOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--schedules/--no-schedules",
        envvar="SERVER_JOBS_OPERATOR_SCHEDULES",
        help="Fire all schedules that are due, whoever declared them.",
    ),
]

HealthPortOption: TypeAlias = Annotated[
    int,
    typer.Option(
        "--health-port",
        envvar="SERVER_JOBS_OPERATOR_HEALTH_PORT",
        help="Where /healthz and /readyz are.",
    ),
]

MetricsPortOption: TypeAlias = Annotated[
    int,
    typer.Option(
        "--metrics-port",
        envvar="SERVER_JOBS_OPERATOR_METRICS_PORT",
        help="Where /metrics is.",
    ),
]

KeepCompletedOption: TypeAlias = Annotated[
    str,
    typer.Option(
        "--keep-completed",
        envvar="SERVER_JOBS_OPERATOR_KEEP_COMPLETED",
        metavar="DURATION",
        help="How long records of completed jobs are kept: 12h, 7d, forever.",
    ),
]

KeepFailedOption: TypeAlias = Annotated[
    str,
    typer.Option(
        "--keep-failed",
        envvar="SERVER_JOBS_OPERATOR_KEEP_FAILED",
        metavar="DURATION",
        help="And those of failed ones.",
    ),
]

KeepCancelledOption: TypeAlias = Annotated[
    str,
    typer.Option(
        "--keep-cancelled",
        envvar="SERVER_JOBS_OPERATOR_KEEP_CANCELLED",
        metavar="DURATION",
        help="And those of cancelled ones.",
    ),
]

SelectorOption: TypeAlias = Annotated[
    str,
    typer.Option("--selector", metavar="LABEL=VALUE[,…]", help="Which pods are the operator's."),
]
