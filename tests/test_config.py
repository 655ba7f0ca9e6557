"""Settings: defaults, then the file, then the environment, then flags; mistakes are named."""

import json
import re
from dataclasses import MISSING, fields
from pathlib import Path

import pytest

from foveal.config import AccountingConfig, Config, ServedConfig, UpstreamConfig, accounts_path, load_config
from foveal.errors import ConfigError


def test_without_any_source_the_defaults_hold() -> None:
    assert load_config(None, {}, {}) == Config()


def test_later_sources_win(tmp_path: Path) -> None:
    file = tmp_path / "foveal.toml"
    file.write_text('[http]\nport = 1\nhost = "::1"\n[engine]\ndtype = "float32"\nnum_threads = 3\n')
    environ = {"FOVEAL_HTTP_PORT": "2", "FOVEAL_ENGINE_NUM_THREADS": "4", "PATH": "/bin"}
    config = load_config(file, environ, {"http": {"port": 3, "host": None}})
    assert (config.http.port, config.http.host) == (3, "::1")
    assert (config.engine.dtype, config.engine.num_threads) == ("float32", 4)


def test_lists_in_the_environment_are_separated_by_commas() -> None:
    config = load_config(None, {"FOVEAL_IMAGES_ALLOWED_PORTS": "80,8080", "FOVEAL_HTTP_API_KEYS": "a,b"}, {})
    assert config.images.allowed_ports == (80, 8080)
    assert config.http.api_keys == ("a", "b")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[htp]\nport = 1", "no table [htp]; did you mean http?"),
        ("[nothing]\nport = 1", "no table [nothing]; the tables are model, "),
        ("[http]\nprot = 1", "no key 'prot'; did you mean port?"),
        ("[http]\nx = 1", "no key 'x'; its keys are host, "),
        ("[http]\nport = 'many'", "http.port has to be a whole number"),
        ("[http]\nport = [1]", "http.port has to be a whole number"),
        ("[http]\napi_keys = 'secret'", "http.api_keys has to be a list of texts"),
        ("[http]\nhost = 1", "http.host has to be text"),
        ("[http]\nplayground = 'perhaps'", "http.playground has to be true or false"),
        ("[images]\nallowed_ports = [80, 'x']", "images.allowed_ports[1] has to be a whole number"),
        ("[images]\nallowed_ports = 80", "images.allowed_ports has to be a list of whole numbers"),
        ("[engine]\nstep_budget_ms = 'x'", "engine.step_budget_ms has to be a number"),
        ("[log]\nlevel = 'verbose'", "log.level has to be debug, info, warning or error"),
        ("[http", "not valid TOML"),
        ("http = 1", "no table [http]"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, text: str, part: str) -> None:
    file = tmp_path / "foveal.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(file, {}, {})
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("FOVEAL_HTTP_PROT", "FOVEAL_HTTP_PORT"),
        ("FOVEAL_HTTP_API_KEY", "FOVEAL_HTTP_API_KEYS"),
        ("FOVEAL_X", "FOVEAL_X"),
    ],
)
def test_a_misspelt_variable_is_named(name: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=meant):
        load_config(None, {name: "1"}, {})


def test_variables_of_other_programs_and_commands_are_left_alone() -> None:
    assert load_config(None, {"FOVEAL_BENCH_KEY": "k", "FOVEALISH": "1", "_FOVEAL_COMPLETE": "x"}, {}) == Config()


SERVICE = {  # what Kubernetes sets in each container for a service that is called foveal
    "FOVEAL_SERVICE_HOST": "10.0.0.7",
    "FOVEAL_SERVICE_PORT": "8000",
    "FOVEAL_SERVICE_PORT_HTTP": "8000",
    "FOVEAL_PORT": "tcp://10.0.0.7:8000",
    "FOVEAL_PORT_8000_TCP": "tcp://10.0.0.7:8000",
    "FOVEAL_PORT_8000_TCP_PROTO": "tcp",
    "FOVEAL_PORT_8000_TCP_PORT": "8000",
    "FOVEAL_PORT_8000_TCP_ADDR": "10.0.0.7",
}


def test_a_service_of_kubernetes_may_be_called_foveal() -> None:
    assert load_config(None, {"KUBERNETES_SERVICE_HOST": "10.0.0.1", **SERVICE}, {}) == Config()


@pytest.mark.parametrize("name", SERVICE)
def test_elsewhere_its_variables_are_mistakes(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        load_config(None, {name: SERVICE[name]}, {})


@pytest.mark.parametrize(
    ("section", "setting"),
    [("images", {"num_workers": -1}), ("engine", {"num_threads": 0}), ("schemas", {"num_items": 0})],
)
def test_counts_that_cannot_work_are_refused(section: str, setting: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=f"{section}.{next(iter(setting))}"):
        load_config(None, {}, {section: setting})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml cannot be read"):
        load_config(tmp_path / "nowhere.toml", {}, {})


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("limits", "requests_per_minute", -1),
        ("prices", "prompt", -0.1),
        ("prices", "completion", float("nan")),
        ("prices", "cached_prompt", float("inf")),
        ("accounting", "retention_days", -1),
    ],
)
def test_limits_and_prices_that_cannot_be_meant_are_refused(section: str, name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"{section}\.{name} is"):
        load_config(None, {}, {section: {name: value}})


@pytest.mark.parametrize(
    ("path", "environ", "expected"),
    [
        ("/srv/accounts.db", {}, "/srv/accounts.db"),
        (None, {"XDG_STATE_HOME": "/state"}, "/state/foveal/accounting.db"),
        (None, {"XDG_STATE_HOME": "relative", "HOME": "/home/me"}, "/home/me/.local/state/foveal/accounting.db"),
        (None, {"HOME": "/home/me"}, "/home/me/.local/state/foveal/accounting.db"),
        (None, {}, "/var/lib/foveal/accounting.db"),
        ("~/accounts.db", {}, "~/accounts.db"),
    ],
)
def test_accounts_are_where_they_are_configured_or_where_state_is_kept(
    path: str | None, environ: dict[str, str], expected: str
) -> None:
    assert accounts_path(AccountingConfig(path), environ) == Path(expected).expanduser()


def test_keys_are_not_shown() -> None:
    assert "secret" not in repr(load_config(None, {"FOVEAL_HTTP_API_KEYS": "secret"}, {}))


def test_the_documentation_has_every_setting_with_its_default() -> None:
    text = (Path(__file__).parents[1] / "docs" / "configuration.md").read_text("utf-8")
    sections = {f"[{section.name}]": type(getattr(Config(), section.name)) for section in fields(Config)}
    del sections["[models]"]
    for table, settings in (sections | {"[[models]]": ServedConfig, "[models.upstream]": UpstreamConfig}).items():
        _, _, rest = text.partition(f"\n## `{table}`")
        documented = dict(re.findall(r"^\| `(\w+)` \| (?:`(.*?)`)? \|", rest.partition("\n## ")[0], re.MULTILINE))
        defaults = {setting.name: setting.default for setting in fields(settings)}
        assert documented == {name: shown(default) for name, default in defaults.items()}


FURTHER = """
[[models]]
name = "far"
context_length = 4096
[models.upstream]
base_url = "http://10.0.0.7/v1"
api_key = "sk-theirs"
dialect = "vllm"

[[models]]
name = "further"
aliases = ["another"]
upstream = {base_url = "https://api.example/v1"}
"""


def test_each_further_model_has_a_server_elsewhere(tmp_path: Path) -> None:
    file = tmp_path / "foveal.toml"
    file.write_text(FURTHER)

    config = load_config(file, {}, {})

    assert config.models == (
        ServedConfig("far", UpstreamConfig("http://10.0.0.7/v1", "sk-theirs", "vllm"), context_length=4096),
        ServedConfig("further", UpstreamConfig("https://api.example/v1"), aliases=("another",)),
    )
    assert "sk-theirs" not in repr(config)


@pytest.mark.parametrize(
    ("text", "flag", "path"),
    [
        (FURTHER, None, ""),
        (FURTHER, "foveal-mini", "foveal-mini"),
        ("[model]\npath = 'a/b'\n" + FURTHER, None, "a/b"),
        ("", None, "foveal-mini"),
    ],
)
def test_a_server_with_models_elsewhere_runs_one_of_its_own_where_it_is_named(
    tmp_path: Path, text: str, flag: str | None, path: str
) -> None:
    file = tmp_path / "foveal.toml"
    file.write_text(text)
    assert load_config(file, {}, {"model": {"path": flag}}).model.path == path


def test_a_server_without_any_model_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="name a model"):
        load_config(None, {"FOVEAL_MODEL_PATH": ""}, {})


UP = "[models.upstream]\nbase_url = 'http://a/v1'\n"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[models]\nname = 'far'", "with two brackets"),
        ("[[models]]\nname = 'far'\nport = 1\n" + UP, "[[models]] has no key 'port'"),
        ("[[models]]\nname = 'far'\n" + UP + "key = 'x'", "[models.upstream] has no key 'key'"),
        ("[[models]]\nname = 'far'\nupstream = 'http://a'", "[models.upstream] is a table"),
        ("[[models]]\nname = 'far'", "models[0] lacks upstream"),
        ("[[models]]\n" + UP, "models[0] lacks name"),
        ("[[models]]\nname = 1\n" + UP, "models[0].name has to be text"),
        ("[[models]]\nname = 'far'\n" + UP + "dialect = 'ollama'", "dialect has to be openai, vllm, llama-server or "),
        ("[[models]]\nname = 'far'\nupstream = {base_url = 'a'}", "begins with http"),
        ("[[models]]\nname = 'far'\nupstream = {base_url = 'http://'}", "begins with http"),
        ("[[models]]\nname = 'far'\nupstream = {base_url = 'http://a:port/v1'}", "begins with http"),
        ("[[models]]\nname = 'far'\nupstream = {base_url = 'http://a:99999/v1'}", "begins with http"),
        ("[[models]]\nname = 'far'\nupstream = {base_url = 'http://[::1/v1'}", "begins with http"),
        ("[[models]]\nname = 'far'\ncontext_length = 0\n" + UP, "context_length of far is 0"),
        ("[[models]]\nname = 'far'\n" + UP + "token_timeout_s = nan", "token_timeout_s of far is nan"),
        ("[[models]]\nname = 'far'\n" + UP + "num_retries = 99", "num_retries is 99"),
        ("[[models]]\nname = 'far'\n" + UP + 'api_key = "sk-secret\\n"', "api_key of far"),
        ("[[models]]\nname = 'far'\n" + UP + "api_key = 'sk-secr\u00e9t'", "api_key of far"),
    ],
)
def test_a_mistake_about_a_further_model_is_named(tmp_path: Path, text: str, part: str) -> None:
    file = tmp_path / "foveal.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(file, {}, {})
    assert part in str(caught.value)
    assert "sk-" not in str(caught.value)


def shown(default: object) -> str:
    """A default as TOML writes it; nothing for None, and for what has none."""
    if default is None or default is MISSING:
        return ""
    return json.dumps(list(default) if isinstance(default, tuple) else default)
