"""Settings: frozen dataclasses, composed. They are read once at start, and each stage gets its own part only.

Sources, later ones win: the defaults here, a TOML file, environment variables (FOVEAL_SECTION_NAME), flags. The tables
of the file are the dataclasses below, the keys their fields (docs/configuration.md).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import msgspec

from foveal.errors import ConfigError
from foveal.mistakes import meant, wrong_value

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

OTHER_VARIABLES = ("FOVEAL_BENCH_",)  # of commands that read no settings
KUBERNETES = re.compile(r"FOVEAL_(SERVICE_(HOST|PORT)(_\w+)?|PORT(_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)?)")
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
MAX_SETTING = 1_000_000_000_000  # of a limit or a price; a larger one is taken for a mistake


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Which checkpoint is served, and as what."""

    path: str = "foveal-mini"  # a folder, a hub id (owner/name), a GGUF file, or foveal-mini, inside the package;
    # "": none, if there are [[models]] of other servers, and then the default
    mmproj: str | None = None  # of a GGUF file: the file of its vision part; default: the one beside it on the hub
    revision: str | None = None  # of a hub id: branch, tag or commit
    name: str | None = None  # the id that clients use; default: the path's last part, or the hub id
    aliases: tuple[str, ...] = ()  # further ids, e.g. accounts/fireworks/models/phi-3-vision-128k-instruct
    conversation: str | None = None  # a config by name, or checkpoint: its own template; default: what suits it


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """How the engine runs the model. None means: chosen by `resolve` for the device."""

    device: str = "auto"  # auto, cpu, cuda, cuda:1
    dtype: str = "auto"  # auto, bfloat16, float32
    quantization: str = "auto"  # auto, none, int8, int4: what large matrices are rounded to on a CPU
    quantised_cache_bytes: int = 16 * GIB  # quantised weights kept on disk for the next start; 0: none
    num_threads: int | None = None  # CPU threads of the engine
    max_model_len: int | None = None  # tokens; default: what the checkpoint allows and the KV cache holds
    max_num_seqs: int = 64  # sequences that run at once
    max_num_batched_tokens: int | None = None  # a step's token budget; default: 512 (CPU), 2048 (GPU)
    max_num_batched_crops: int | None = None  # crops that are encoded together; default: 2 (CPU), 8 (GPU)
    step_budget_ms: float | None = None  # a step's, while answers stream; 0: none; default: 100 (CPU), 0 (GPU)
    block_size: int = 16  # tokens in a KV block
    kv_cache_bytes: int | None = None  # default: a quarter of free memory, at most 4 GiB (CPU); 80 % of it (GPU)
    state_cache_bytes: int | None = None  # snapshots of hybrid models' states; default: 1/8 of free memory, up to 2 GiB
    encoder_cache_bytes: int = 1 * GIB  # image features, kept for images that come again (see docs/models.md)
    max_num_waiting: int = 1024  # requests accepted and not yet running; more are refused
    step_timeout_s: float = 600.0  # a step that takes longer counts as hung, and the engine is restarted
    load_timeout_s: float = 300.0  # an engine that loads, and makes no progress for so long, counts as hung as well


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What an image may cost. The defaults are the API's promises."""

    max_num_images: int = 30  # in a request
    max_image_bytes: int = 4_999_999  # encoded, each: the API promises images of under 5 MB
    max_file_bytes: int = 10_000_000  # of a PDF or a text, each
    pdf_dpi: float = 144.0  # of a PDF's pages; a page that would have too many pixels gets fewer
    max_image_pixels: int = 50_000_000  # decoded, each; read from the header before anything is decoded
    max_request_pixels: int = 200_000_000  # decoded, of all images of a request together
    fetch_timeout_s: float = 1.5  # one download, from resolving the name to the last byte
    max_redirects: int = 3  # a download; each target is checked like the first
    allowed_ports: tuple[int, ...] = (80, 443)  # of image URLs
    allowed_hosts: tuple[str, ...] = ()  # host, host:port or CIDR that may be private; for tests and private networks
    url_cache_bytes: int = 64 * MIB  # fetched bytes by URL, as Cache-Control allows
    shared_caches: bool = False  # fetched bytes and pixels for all accounts: their times tell what others have sent
    arena_bytes: int = 512 * MIB  # prepared pixels, shared with the engine
    num_workers: int = 2  # decoding processes; 0: decode in this process (foveal ask)
    decode_timeout_s: float = 5.0  # one image in a worker; then the worker is replaced
    load_timeout_s: float = 30.0  # all images of a request, from the first download to the last decoded
    decode_memory_bytes: int = 1 * GIB  # address space a worker may add


@dataclass(frozen=True, slots=True)
class HttpConfig:
    host: str = "127.0.0.1"  # an address to listen on
    port: int = 8000  # 0: any free one
    api_keys: tuple[str, ...] = field(default=(), repr=False)  # with none, the server listens on loopback only
    max_body_bytes: int = 10_000_000  # of a request; more is refused with 413
    max_body_bytes_in_flight: int = 500_000_000  # of all bodies that are being read; one caller may have half of it
    max_connections: int = 4096  # at once; more are refused with 503. 0: no limit
    max_connections_per_address: int = 512  # or per IPv6 network of 64 bits. 0: no limit
    trusted_proxies: tuple[str, ...] = ("127.0.0.0/8", "::1")  # addresses and networks without that share
    playground: bool = True  # whether people find a page at / on which they can ask the models
    status_page: bool = True  # whether operators find a page at /status that shows what the server does
    cors_origins: tuple[str, ...] = ()  # web pages that may ask, such as https://app.example; * for all
    max_num_choices: int = 8  # the largest n of a request
    default_max_tokens: int = 2048  # an answer's, where the request names none and the context allows it
    unknown_fields: Literal["error", "warn", "ignore"] = "error"  # of a request: error, a line in the log, left out


@dataclass(frozen=True, slots=True)
class LimitConfig:
    """What each key may ask for, unless it has its own limits. 0: no limit. A server without keys counts as one key."""

    requests_per_minute: int = 60_000
    prompt_tokens_per_minute: int = 60_000_000  # images included, cached or not
    generated_tokens_per_minute: int = 60_000_000  # max_tokens count until an answer has ended
    max_concurrent_requests: int = 0


@dataclass(frozen=True, slots=True)
class PriceConfig:
    """What a million tokens cost. None: no costs are shown. Image tokens cost as much as text tokens."""

    prompt: float | None = None  # images included; such as 0.2
    cached_prompt: float | None = None  # cached prompt tokens; default: the price of the others
    completion: float | None = None  # generated tokens
    currency: str = "USD"  # as it is shown


@dataclass(frozen=True, slots=True)
class AccountingConfig:
    """Where keys and the ledger are kept."""

    path: str | None = None  # an SQLite file; default: foveal/accounting.db in $XDG_STATE_HOME, or in ~/.local/state
    url: str | None = None  # a PostgreSQL database, as postgresql://user:password@host/name, instead of a file
    ledger: bool | None = None  # keep a row of each answer; default: if the file is there (foveal keys create)
    retention_days: int = 400  # rows of the ledger that are older are deleted; 0: never
    shared_limits: bool | None = None  # limits hold for all servers of the database together; default: with a url
    without_database: Literal["refuse", "go_on"] = "refuse"  # new requests while shared limits cannot be asked
    responses_days: int = 30  # how long responses are kept for clients that go on from them; 0: not at all
    responses_bytes: int = 256 * MIB  # of kept responses, images included; whoever has most loses the oldest
    responses_on_disk: bool = False  # keep them in the accounts' file, images included, instead of in memory


@dataclass(frozen=True, slots=True)
class SchemaConfig:
    """What an answer in JSON may have where its schema has no bound, so that every answer ends."""

    text_length: int = 1024  # characters of a text; in the arguments of a tool 65,536, since tools write files
    num_items: int = 128  # of an array
    num_properties: int = 64  # of an object, beside those that its schema names
    largest_integer: int = 2**53 - 1  # every JSON reader keeps it; the smallest is its negative


DEFAULT_BOUNDS = SchemaConfig()


@dataclass(frozen=True, slots=True)
class LogConfig:
    """What is written to stderr while a server runs."""

    level: Literal["debug", "info", "warning", "error"] = "info"  # debug also has probes; warning has no requests
    format: Literal["text", "json"] = "text"  # json: an object a line


@dataclass(frozen=True, slots=True)
class TraceConfig:
    """Where the traces of requests are sent. Further settings are OpenTelemetry's own variables, OTEL_..."""

    endpoint: str | None = None  # a receiver of OTLP over HTTP, such as http://127.0.0.1:4318; None: no traces


@dataclass(frozen=True, slots=True)
class UpstreamConfig:
    """A server elsewhere that answers for a model: vLLM, SGLang, llama-server, or anything with OpenAI's chat API."""

    base_url: str  # such as http://10.0.0.7:8000/v1; chat/completions comes behind it
    api_key: str | None = field(default=None, repr=False)  # that it wants of this server
    # Which fields it knows beyond OpenAI's.
    dialect: Literal["openai", "vllm", "llama-server", "transformers"] = "openai"
    model: str | None = None  # what the model is called there; default: as here
    connect_timeout_s: float = 5.0
    first_token_timeout_s: float = 120.0  # from the request to the first piece of the answer
    token_timeout_s: float = 60.0  # between two pieces
    num_retries: int = 2  # before the first piece, where it is dead or overloaded


@dataclass(frozen=True, slots=True)
class ServedConfig:
    """A further model under a name of its own, which a server elsewhere runs."""

    name: str  # the id that clients use
    upstream: UpstreamConfig
    aliases: tuple[str, ...] = ()  # further ids
    context_length: int = 32_768  # tokens, prompt and answer together
    takes_images: bool = True
    image_tokens: int = 1024  # of an image, until the other server has counted them: what is reserved for it


@dataclass(frozen=True, slots=True)
class ScaleoutConfig:
    """How `foveal deploy` spreads over a Ray cluster. `foveal serve` reads none of it."""

    num_replicas: int = 1  # engines, each with a copy of the model
    max_replicas: int | None = None  # more engines while there is more to do; default: num_replicas
    busy_requests: int = 16  # requests for each engine, from which on another one is started
    busy_tokens: int = 16384  # the same, of work that waits: tokens, and 256 for each crop of an image
    num_ingresses: int = 1  # servers that take requests; several need accounting.url
    num_cpus: float = 1.0  # of each engine, as Ray counts them
    num_gpus: float = 0.0  # of each engine


@dataclass(frozen=True, slots=True)
class Config:
    model: ModelConfig = field(default_factory=ModelConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    images: ImageConfig = field(default_factory=ImageConfig)
    http: HttpConfig = field(default_factory=HttpConfig)
    limits: LimitConfig = field(default_factory=LimitConfig)
    prices: PriceConfig = field(default_factory=PriceConfig)
    accounting: AccountingConfig = field(default_factory=AccountingConfig)
    schemas: SchemaConfig = field(default_factory=SchemaConfig)
    log: LogConfig = field(default_factory=LogConfig)
    traces: TraceConfig = field(default_factory=TraceConfig)
    models: tuple[ServedConfig, ...] = ()  # [[models]] of the file: what other servers run
    scaleout: ScaleoutConfig = field(default_factory=ScaleoutConfig)


_SECTIONS = {
    "model": ModelConfig,
    "engine": EngineConfig,
    "images": ImageConfig,
    "http": HttpConfig,
    "limits": LimitConfig,
    "prices": PriceConfig,
    "accounting": AccountingConfig,
    "schemas": SchemaConfig,
    "log": LogConfig,
    "traces": TraceConfig,
    "scaleout": ScaleoutConfig,
}
Layer = Mapping[str, Mapping[str, object]]  # {section: {field: value}}, from one source


def load_config(path: Path | None, environ: Mapping[str, str], flags: Layer) -> Config:
    """Compose the settings of a process. In `flags` None is a flag that was not given.

    Raises ConfigError naming the file, variable or key that cannot work.
    """
    sections: dict[str, dict[str, object]] = {section: {} for section in _SECTIONS}
    in_file, file = _file_layer(path)
    models = _models(in_file.pop("models", []), file)
    for layer, origin in ((in_file, file), _environment_layer(environ), (flags, "a flag")):
        for section, values in layer.items():
            _check_known(section, values, origin)
            sections[section] |= {key: value for key, value in values.items() if value is not None}
    if models:
        sections["model"].setdefault("path", "")
    try:
        config = msgspec.convert({**sections, "models": models}, Config, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(wrong_value(str(error), Config)) from None
    if not (config.model.path or config.models):
        raise ConfigError("model.path is empty, and there are no [[models]] of other servers: name a model")
    _check_numbers(config)
    for model in config.models:
        _check_model(model)
    return config


def accounts_place(config: AccountingConfig, environ: Mapping[str, str]) -> Path | str:
    """The database with keys and the ledger: its URL, or its file."""
    return config.url or accounts_path(config, environ)


def accounts_path(config: AccountingConfig, environ: Mapping[str, str]) -> Path:
    """The file of accounts: as configured, or in the folder for the state of a user's programs."""
    if config.path:
        return Path(config.path).expanduser()
    state, home = environ.get("XDG_STATE_HOME", ""), environ.get("HOME")
    at_home = Path(home) / ".local" / "state" if home else Path("/var/lib")  # a service may have no home
    return (Path(state) if state.startswith("/") else at_home) / "foveal" / "accounting.db"


def _check_numbers(config: Config) -> None:
    """Raises ConfigError for numbers out of range, since people are refused and charged by them."""
    for section in ("limits", "prices", "accounting"):
        settings = getattr(config, section)
        for setting in fields(settings):
            value = getattr(settings, setting.name)
            if isinstance(value, int | float) and not 0 <= value <= MAX_SETTING:
                raise ConfigError(f"{section}.{setting.name} is {value}; it has to be from 0 to {MAX_SETTING:,}")
    for setting in fields(config.schemas):
        if (value := getattr(config.schemas, setting.name)) < 1:
            raise ConfigError(f"schemas.{setting.name} is {value}; it has to be at least 1")
    if config.images.num_workers < 0:
        raise ConfigError(f"images.num_workers is {config.images.num_workers}; it has to be at least 0")
    if config.engine.num_threads is not None and config.engine.num_threads < 1:
        raise ConfigError(f"engine.num_threads is {config.engine.num_threads}; it has to be at least 1")


def _check_model(model: ServedConfig) -> None:
    """Raises ConfigError."""
    if not _is_address(model.upstream.base_url):
        raise ConfigError(
            f"models.upstream.base_url is {model.upstream.base_url!r}; it begins with http:// or https:// and a host"
        )
    if (key := model.upstream.api_key) and not (key.isascii() and key.isprintable() and " " not in key):
        raise ConfigError(
            f"models.upstream.api_key of {model.name} has a space, a line break or another sign that no header takes"
        )
    sizes = {"context_length": model.context_length, "image_tokens": model.image_tokens}
    waits = ("connect_timeout_s", "first_token_timeout_s", "token_timeout_s")
    for name, value in {**sizes, **{f"upstream.{wait}": getattr(model.upstream, wait) for wait in waits}}.items():
        if not 0 < value <= MAX_SETTING:
            raise ConfigError(f"models.{name} of {model.name} is {value}; it has to be more than 0")
    if not 0 <= model.upstream.num_retries <= 10:
        raise ConfigError(f"models.upstream.num_retries is {model.upstream.num_retries}; it has to be from 0 to 10")


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return url.startswith(("http://", "https://")) and bool(parts.hostname) and parts.port != 0
    except ValueError:  # of a port or a bracket
        return False


def _models(tables: object, origin: str) -> list[Mapping[str, object]]:
    """The tables [[models]], each with its [models.upstream]. Raises ConfigError for a key that is none."""
    if not isinstance(tables, list):
        raise ConfigError(f"{origin}: each further model is a table [[models]], with two brackets")
    for table in tables:
        _check_keys("[[models]]", ServedConfig, table, origin)
        _check_keys("[models.upstream]", UpstreamConfig, table.get("upstream", {}), origin)
    return tables


def _file_layer(path: Path | None) -> tuple[dict[str, Any], str]:
    if path is None:
        return {}, ""
    try:
        return tomllib.loads(path.read_text("utf-8")), str(path)
    except OSError as error:
        raise ConfigError(f"the configuration file {path} cannot be read: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"the configuration file {path} is not valid TOML: {error}") from None


def _environment_layer(environ: Mapping[str, str]) -> tuple[Layer, str]:
    """FOVEAL_ENGINE_DTYPE=float32 -> {"engine": {"dtype": "float32"}}; lists are comma-separated.

    Raises ConfigError for a variable that is none of ours: ignored, a misspelt FOVEAL_HTTP_API_KEYS opens a server.
    """
    known = {
        f"FOVEAL_{section}_{setting.name}".upper(): (section, setting)
        for section, settings in _SECTIONS.items()
        for setting in fields(settings)
    }
    layer: dict[str, dict[str, object]] = {}
    for name, value in environ.items():
        if name in known:
            section, setting = known[name]
            is_list = str(setting.type).startswith("tuple")
            layer.setdefault(section, {})[setting.name] = value.split(",") if is_list else value
        elif name.startswith("FOVEAL_") and not _is_of_others(name, environ):
            near = meant(name, known)
            cure = f"did you mean {near}?" if near else "docs/configuration.md lists them"
            raise ConfigError(f"the environment has {name}, which is no setting: {cure}")
    return layer, "the environment"


def _is_of_others(name: str, environ: Mapping[str, str]) -> bool:
    """Whether a command without settings reads it, or Kubernetes made it for a service that is called foveal."""
    is_of_service = "KUBERNETES_SERVICE_HOST" in environ and KUBERNETES.fullmatch(name) is not None
    return is_of_service or name.startswith(OTHER_VARIABLES)


def _check_known(section: str, values: object, origin: str) -> None:
    if section not in _SECTIONS or not isinstance(values, Mapping):
        raise ConfigError(f"{origin}: there is no table [{section}]; {_one_of('the tables are', section, _SECTIONS)}")
    _check_keys(f"[{section}]", _SECTIONS[section], values, origin)


def _check_keys(table: str, settings: type[DataclassInstance], values: object, origin: str) -> None:
    known = [setting.name for setting in fields(settings)]
    if not isinstance(values, Mapping):
        raise ConfigError(f"{origin}: {table} is a table of {', '.join(known)}")
    for key in values:
        if key not in known:
            raise ConfigError(f"{origin}: {table} has no key {key!r}; {_one_of('its keys are', key, known)}")


def _one_of(these_are: str, name: str, known: Collection[str]) -> str:
    near = meant(name, known)
    return f"did you mean {near}?" if near else f"{these_are} {', '.join(known)}"
