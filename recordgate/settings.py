"""The settings: `recordgate.toml`, overridden by RECORDGATE_… variables. docs/reference/settings.md
lists each (a test fails when one is missing there); an unknown one is an error."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from recordgate.urls_of_settings import known_schemes, refuse_unknown_schemes
from stores.errors import SetupError

DEFAULT_FILES = (Path("recordgate.toml"), Path(".recordgate/recordgate.toml"))
"""Files in which settings are looked for; `recordgate demo` writes the second."""


Names = Annotated[tuple[str, ...], NoDecode]
"""A list in the file; in a variable, or a text of the file, names with commas between."""


class Settings(BaseSettings):
    """Every setting of recordgate. A `description` becomes the reference page's text."""

    model_config = SettingsConfigDict(env_prefix="RECORDGATE_", extra="forbid", frozen=True)

    contract: Path | None = Field(None, description="Contract file, or folder of contracts.")
    postgres: SecretStr = Field(
        SecretStr("embedded:"),
        description=(
            "Canonical's database: `embedded:` (`embedded:?port=5432` also listens on 127.0.0.1)"
            " or `postgresql://user@host/db`."
        ),
    )
    postgres_password_file: Path | None = Field(
        None, description="File whose first line is the password of the account in `postgres`."
    )
    search: SecretStr = Field(
        SecretStr("tantivy:"),
        description="Search store: `tantivy:` or `elasticsearch://host:9200`.",
    )
    documents: SecretStr = Field(
        SecretStr("sqlite:"),
        description="Document store: `sqlite:` or `mongodb://host:27017/db`.",
    )
    changes: SecretStr = Field(
        SecretStr("pgoutput:"),
        description=(
            "Change source: `pgoutput:` or"
            " `kafka://host:9092/?topic_prefix=P&group=G&connect=http://host:8083`"
            " (docs/howto/debezium.md has every parameter)."
        ),
    )
    data_dir: Path = Field(
        Path(".recordgate"),
        description="Folder of the embedded stores and of the secrets that recordgate generates.",
    )
    host: str = Field("127.0.0.1", description="Address on which the gateway listens.")
    port: int = Field(
        8080, ge=0, le=65535, description="Port on which the gateway listens; 0: any free port."
    )
    worker_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description=(
            "Port on which `sync` answers `/health/live`, `/health/ready` and `/metrics`; unset:"
            " none."
        ),
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Minimum level logged to stderr."
    )
    access_log: str = Field(
        "",
        description=(
            "File to which one line of JSON is written per request; `-`: stderr; empty: no access"
            " log."
        ),
    )
    batch_size: int = Field(
        1000,
        ge=1,
        le=20_000,
        description="Maximum number of records read and written to a store in one batch.",
    )
    backlog_memory_keys: int = Field(
        200_000,
        ge=1000,
        description=(
            "Maximum number of dirty keys that a sink keeps in memory before they go to its"
            " durable backlog."
        ),
    )
    sweep_rate: int = Field(
        500,
        ge=0,
        description=(
            "Records per second of each store that the worker's sweep compares with canonical; 0:"
            " no sweep."
        ),
    )
    sweep_interval: float = Field(
        3600.0,
        ge=1.0,
        description="Minimum seconds between two starts of the sweep of one type in one store.",
    )
    quality_interval: float = Field(
        3600.0,
        ge=1.0,
        description="Seconds between two measurements of a quality rule that has no `schedule`.",
    )
    quality_timeout: float = Field(
        60.0,
        gt=0,
        description="Maximum seconds that measuring the rules of a type, or one rule of type sql,"
        " may take.",
    )
    statement_timeout: float = Field(
        15.0, gt=0, description="Maximum seconds that a query of the gateway may take in a store."
    )
    document_timeout: float = Field(
        2.0, gt=0, description="Maximum seconds that a read of the document store may take."
    )
    search_timeout: float = Field(
        10.0, gt=0, description="Maximum seconds that a read of the search store may take."
    )
    fallback_reads: int = Field(
        5,
        ge=1,
        description=(
            "Maximum number of concurrent reads of canonical in place of a document store that"
            " fails, is stale or is slow."
        ),
    )
    export_room: int = Field(
        2 * 1024**3,
        ge=0,
        description=(
            "Maximum bytes below data_dir for kept exports, from which an interrupted download"
            " resumes; a larger export cannot be resumed."
        ),
    )
    export_age: float = Field(
        3600.0, ge=0, description="Seconds that a complete export is kept after it was last read."
    )
    drain_delay: float = Field(
        0.0,
        ge=0,
        le=60,
        description=(
            "Seconds after a termination signal during which the gateway still answers but"
            " reports not ready, so that a load balancer stops sending requests."
        ),
    )
    max_body_bytes: int = Field(
        1_000_000, ge=1000, description="Maximum size of a request body, in bytes."
    )
    max_head_bytes: int = Field(
        65_536,
        ge=1000,
        description=(
            "Maximum size of a request's head (request line and at most 100 header fields), in"
            " bytes."
        ),
    )
    head_timeout: float = Field(
        10.0,
        gt=0,
        description=(
            "Maximum seconds to wait for a request's head; an idle connection is closed after them."
        ),
    )
    max_depth: int = Field(15, ge=1, description="Maximum nesting depth of a GraphQL query.")
    max_aliases: int = Field(100, ge=1, description="Maximum number of aliases in a GraphQL query.")
    max_tokens: int = Field(
        8_000, ge=100, description="Maximum number of tokens in a GraphQL document."
    )
    max_cost: int = Field(
        250_000,
        ge=1,
        description=(
            "Maximum cost of a GraphQL query: about the number of records that its answer may hold."
        ),
    )
    pool_size: int = Field(
        10,
        ge=1,
        description=(
            "Number of the gateway's connections to canonical for reads; as many again serve"
            " everything else."
        ),
    )
    token_secret_file: Path | None = Field(
        None,
        description="File with the secret that signs freshness tokens; unset: generated in"
        " data_dir.",
    )

    anonymous: Literal["auto", "no", "read", "write"] = Field(
        "auto",
        description=(
            "Access of callers without credentials. `auto`: full access while there are neither"
            " API keys nor `jwks` and `host` is reachable from this machine only, else no access."
        ),
    )
    anonymous_roles: Names = Field(
        (), description="Contract roles of a caller without credentials."
    )
    api_keys_file: Path | None = Field(
        None,
        description=(
            "File with the hashes of API keys, written by `recordgate keys`; unset:"
            " `api_keys.json` in data_dir."
        ),
    )
    jwks: str | None = Field(
        None,
        description=(
            "File or https URL of the JWK set that verifies tokens (JWT); unset: tokens are"
            " refused."
        ),
    )
    jwt_issuer: str | None = Field(None, description="Required `iss` claim of a token.")
    jwt_audience: str | None = Field(None, description="Required `aud` claim of a token.")
    jwt_algorithms: Names = Field(
        ("RS256", "ES256"),
        description="Accepted signature algorithms: RS, PS or ES with 256, 384 or 512, and EdDSA.",
    )
    jwt_roles_claim: str = Field(
        "roles",
        description="Claim that holds a token's roles, or a path to it such as"
        " `realm_access.roles`.",
    )
    jwt_leeway: float = Field(
        10.0, ge=0, le=120, description="Tolerated clock difference in seconds for `exp` and `nbf`."
    )
    trusted_documents: Path | None = Field(
        None,
        description=(
            "Trusted documents, which a request names by `documentId` or hash: a folder of"
            " `.graphql` files, or a JSON manifest."
        ),
    )
    trusted_only: bool = Field(False, description="Whether only trusted documents are answered.")
    max_batch: int = Field(
        0,
        ge=0,
        le=100,
        description="Maximum number of GraphQL requests in one POST; 0: batches are refused.",
    )
    cors_origins: Names = Field(
        (),
        description="Origins whose pages may send requests (CORS), as `https://app.example`; `*`:"
        " all.",
    )
    rate_limit: float = Field(
        0.0, ge=0, description="Maximum requests per second of one caller; 0: unlimited."
    )
    rate_burst: int = Field(
        100,
        ge=1,
        description="Maximum burst of requests that `rate_limit` allows a caller.",
    )
    concurrent_requests: int = Field(
        100, ge=1, description="Maximum number of concurrent requests of one caller."
    )
    mask_secret_file: Path | None = Field(
        None,
        description=(
            "File with the secret of the mask `hash` (HMAC-SHA256); unset: derived from the"
            " secret of the freshness tokens."
        ),
    )
    concurrent_streams: int = Field(
        2000,
        ge=1,
        description=(
            "Maximum number of SSE subscriptions, and of WebSockets, that one caller may have open."
        ),
    )
    introspection_roles: Names = Field(
        ("*",),
        description="Roles that may read the schema and plans; `*`: every caller with access.",
    )
    pages: bool = Field(
        True,
        description="Serve the landing page, the data browser and GraphiQL, to those who may read"
        " the schema.",
    )
    operator_roles: Names = Field(
        ("*",),
        description="Roles that may read `/metrics` and the console; `*`: every caller with"
        " access.",
    )

    collect_allow: Names = Field(
        (),
        description="Hosts and networks of this machine or its neighbourhood that a source may be"
        " at, as `127.0.0.1`, `10.0.0.0/8`, `intranet.example`; public addresses may always be"
        " asked.",
    )
    collect_keep: float = Field(
        14 * 86400.0,
        ge=0,
        description="Seconds for which what was collected stays in `data_dir/landing` after it was"
        " merged, for `collect replay`.",
    )

    extensions: Names = Field(
        (),
        description=(
            "Python modules whose Strawberry types are added to the schema; see"
            " docs/howto/extend.md."
        ),
    )

    @field_validator(
        "anonymous_roles",
        "collect_allow",
        "extensions",
        "jwt_algorithms",
        "cors_origins",
        "introspection_roles",
        "operator_roles",
        mode="before",
    )
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value

    @field_validator("contract", "data_dir", mode="after")
    @classmethod
    def _expand(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings


def settings_file(config: Path | None) -> Path | None:
    """Return the file that settings are read from: `config`, else the first of DEFAULT_FILES that
    is there, None where none is."""
    return config or next((p for p in DEFAULT_FILES if p.is_file()), None)


def load_settings(config: Path | None = None, **overrides: Any) -> Settings:
    """Settings from `config` (default: the first of DEFAULT_FILES that exists), the environment,
    and `overrides` (the strongest). Relative paths in the file are relative to the file. Raises
    SetupError that names the setting; never prints its value."""
    values: dict[str, Any] = {}
    if config is not None and not config.is_file():
        raise SetupError(f"no settings file at {config}", hint="name one with --config FILE")
    path = settings_file(config)
    if path is not None:
        try:
            values = tomllib.loads(path.read_text("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SetupError(f"{path} is not valid TOML: {error}") from error
        for name in (
            "contract", "data_dir", "postgres_password_file", "token_secret_file", "api_keys_file",
            "trusted_documents", "mask_secret_file",
        ):  # fmt: skip
            if isinstance(values.get(name), str):
                values[name] = path.parent / Path(values[name]).expanduser()
        if isinstance(values.get("jwks"), str) and "://" not in values["jwks"]:
            values["jwks"] = str(path.parent / Path(values["jwks"]).expanduser())
    known = set(Settings.model_fields)
    for name in values:
        if name not in known:
            raise SetupError(
                f"{path}: unknown setting {name!r}", hint="see docs/reference/settings.md"
            )
    for variable in os.environ:
        if variable.startswith("RECORDGATE_"):
            name = variable.removeprefix("RECORDGATE_").lower()
            if name not in known and not name.startswith("test_"):
                raise SetupError(f"unknown setting in the environment: {variable}")
    given = {k: v for k, v in overrides.items() if v is not None}
    try:
        settings = Settings(**values)
        if given:
            settings = Settings.model_validate(settings.model_dump() | given)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(p) for p in first["loc"]) or "settings"
        raise SetupError(f"setting {where}: {first['msg']}") from None
    urls = {name: getattr(settings, name).get_secret_value() for name in known_schemes()}
    refuse_unknown_schemes(urls, path)
    return settings
