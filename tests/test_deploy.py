"""The files in deploy/ agree with the program: its commands, settings, ports, paths and times."""

from __future__ import annotations

import ast
import configparser
import re
import shlex
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from foveal.cli import app
from foveal.config import Config, HttpConfig, accounts_path, load_config
from foveal.http.app import all_routes
from foveal.http.server import GRACEFUL_SHUTDOWN_S
from foveal.serving.in_flight import CUT_S
from foveal.serving.lifecycle import DRAIN_S

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
PORT = HttpConfig().port
TO_STOP_S = DRAIN_S + CUT_S + GRACEFUL_SHUTDOWN_S
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
SETTINGS, SERVICE = yaml.safe_load_all((DEPLOY / "rayservice.yaml").read_text("utf-8"))
UNIT = configparser.RawConfigParser(strict=False, interpolation=None)
UNIT.optionxform = str  # type: ignore[assignment,method-assign]  # its keys have capitals
UNIT.read(DEPLOY / "foveal.service", "utf-8")


def check_command(words: list[str]) -> None:
    """Raises UsageError for what the command line does not have."""
    command = app.commands[words[0]]
    while isinstance(command, click.Group):
        words = words[1:]
        command = command.commands[words[0]]
    command.make_context(words[0], words[1:], resilient_parsing=False)


def check_settings(variables: dict[str, str]) -> None:
    """Raises ConfigError for one that is none."""
    load_config(None, {name: value for name, value in variables.items() if name.startswith("FOVEAL_")}, {})


# --- the image --------------------------------------------------------------------------------------------------------


def instructions() -> list[tuple[str, str]]:
    """(RUN, its argument), ... with continued lines joined."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text("utf-8"), flags=re.MULTILINE)
    joined = text.replace("\\\n", " ")
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in joined.splitlines() if line.strip()]


def arguments(instruction: str) -> list[str]:
    return [argument for name, argument in instructions() if name == instruction]


def last_stage() -> dict[str, str]:
    found = instructions()
    start = max(index for index, (name, _) in enumerate(found) if name == "FROM")
    return dict(found[start:])


def test_the_image_runs_a_command_as_somebody_without_rights() -> None:
    stage = last_stage()
    words = [*yaml.safe_load(stage["ENTRYPOINT"]), *yaml.safe_load(stage["CMD"])]
    assert words[0] == "foveal"
    check_command(words[1:])
    assert int(stage["USER"]) > 0
    assert f"--uid {stage['USER']}" in stage["RUN"]


def test_the_image_has_no_compiler() -> None:
    assert len(arguments("FROM")) == 2
    assert "gcc" not in last_stage()["RUN"]


def test_the_image_is_built_from_what_is_here() -> None:
    sources = [source for copied in arguments("COPY") if "--from" not in copied for source in copied.split()[:-1]]
    assert all((ROOT / source).exists() for source in sources)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    wanted = {project["project"]["readme"], project["tool"]["hatch"]["build"]["hooks"]["custom"]["path"]}
    assert {*wanted, *project["project"]["license-files"], "pyproject.toml", "src"} <= set(sources)
    sent = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")}
    assert sent == set(sources)


def test_the_image_asks_for_extras_that_are_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    asked = re.findall(r"EXTRAS=(\S+)", "".join(path.read_text("utf-8") for path in DEPLOY.iterdir()))
    names = {name for extras in asked for name in extras.split(",")}
    assert "postgresql" in names
    assert names <= set(project["optional-dependencies"])


def test_the_image_has_settings_a_port_and_a_path_of_this_program() -> None:
    stage = last_stage()
    check_settings(dict(pair.split("=", 1) for pair in shlex.split(stage["ENV"])))
    assert int(stage["EXPOSE"]) == PORT
    port, path = re.findall(r"http://127\.0\.0\.1:(\d+)(/\w+)", stage["HEALTHCHECK"])[0]
    assert int(port) == PORT
    assert path in {route.path for route in all_routes()}


# --- compose ----------------------------------------------------------------------------------------------------------


def test_compose_builds_the_image_and_sets_what_is_a_setting() -> None:
    foveal = COMPOSE["services"]["foveal"]
    assert (DEPLOY / foveal["build"]["context"] / foveal["build"]["dockerfile"]).resolve() == DEPLOY / "Dockerfile"
    check_settings({name: re.sub(r"\$\{.*?\}", "x", value) for name, value in foveal["environment"].items()})
    assert foveal["volumes"] == [f"kept:{last_stage()['VOLUME']}"]
    (port,) = foveal["ports"]
    assert port.startswith("127.0.0.1:")
    assert int(port.rpartition(":")[2]) == PORT
    assert int(foveal["stop_grace_period"].removesuffix("s")) > TO_STOP_S


def test_compose_names_the_database_as_it_makes_it() -> None:
    services = COMPOSE["services"]
    database = services["postgres"]["environment"]
    user, password, host, name = re.findall(
        r"postgresql://(\w+):(\$\{.*\})@(\w+)/(\w+)", services["foveal"]["environment"]["FOVEAL_ACCOUNTING_URL"]
    )[0]
    assert (user, password) == (database["POSTGRES_USER"], database["POSTGRES_PASSWORD"])
    assert (host, name) == ("postgres", database["POSTGRES_DB"])


# --- systemd ----------------------------------------------------------------------------------------------------------


def test_the_unit_runs_a_command_and_gives_it_time_to_stop() -> None:
    program, *words = shlex.split(UNIT["Service"]["ExecStart"])
    assert program.endswith("/bin/foveal")
    check_command(words)
    assert int(UNIT["Service"]["TimeoutStopSec"]) > TO_STOP_S


def test_the_unit_keeps_accounts_where_it_may_write() -> None:
    service = UNIT["Service"]
    environment = dict(pair.split("=", 1) for pair in service["Environment"].split())
    assert accounts_path(Config().accounting, environment).parent == Path("/var/lib") / service["StateDirectory"]
    assert Path(environment["HF_HOME"]).parent == Path("/var/cache") / service["CacheDirectory"]


def test_the_unit_gives_no_rights() -> None:
    service = UNIT["Service"]
    names = ("DynamicUser", "NoNewPrivileges", "PrivateTmp", "PrivateDevices", "ProtectHome", "RestrictNamespaces")
    assert {service[name] for name in names} == {"yes"}
    assert (service["ProtectSystem"], service["CapabilityBoundingSet"]) == ("strict", "")


# --- Kubernetes -------------------------------------------------------------------------------------------------------


def pods() -> list[dict[str, Any]]:
    cluster = SERVICE["spec"]["rayClusterConfig"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def test_the_cluster_reads_settings_that_are_some(tmp_path: Path) -> None:
    (name,) = SETTINGS["data"]
    (tmp_path / name).write_text(SETTINGS["data"][name])
    config = load_config(tmp_path / name, {}, {})
    workers = SERVICE["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    assert sum(group["replicas"] for group in workers) == config.scaleout.num_replicas
    assert all(
        int(pod["containers"][0]["resources"]["limits"]["cpu"]) >= config.scaleout.num_cpus for pod in pods()[1:]
    )


def test_the_cluster_runs_what_is_there_with_its_file() -> None:
    served = yaml.safe_load(SERVICE["spec"]["serveConfigV2"])
    (application,) = served["applications"]
    module, _, function = application["import_path"].partition(":")
    source = (ROOT / "src" / module.replace(".", "/")).with_suffix(".py").read_text("utf-8")
    assert function in {node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}
    (name,) = SETTINGS["data"]
    mounts = {mount["mountPath"] for pod in pods() for mount in pod["containers"][0]["volumeMounts"]}
    assert {application["args"]["config"]} == {f"{mount}/{name}" for mount in mounts}
    assert served["http_options"]["port"] in [port["containerPort"] for port in pods()[0]["containers"][0]["ports"]]


def test_the_cluster_has_the_version_of_ray_that_is_installed() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    major, minor, _ = SERVICE["spec"]["rayClusterConfig"]["rayVersion"].split(".")
    assert extras["ray"][0].startswith(f"ray[serve]>={major}.{minor},")


@pytest.mark.parametrize("pod", pods())
def test_pods_have_no_rights_and_no_variables_of_services(pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    assert pod["enableServiceLinks"] is False
    assert str(pod["securityContext"]["runAsUser"]) == last_stage()["USER"]
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert pod["terminationGracePeriodSeconds"] > TO_STOP_S
    check_settings({variable["name"]: "postgresql://x" for variable in container["env"]})


def test_every_variable_that_a_comment_names_is_a_setting() -> None:
    known = {
        f"FOVEAL_{section.name}_{setting.name}".upper()
        for section in fields(Config)
        if section.name != "models"
        for setting in fields(type(getattr(Config(), section.name)))
    }
    named = {
        name for path in DEPLOY.iterdir() for name in re.findall(r"\bFOVEAL_[A-Z_]*[A-Z]", path.read_text("utf-8"))
    }
    assert named <= known
