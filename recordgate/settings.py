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

from stores.errors import SetupError

DEFAULT_FILES = (Path("recordgate.toml"), Path(".recordgate/recordgate.toml"))
"""Where settings are looked for; the second is what `recordgate demo` leaves behind."""


Names = Annotated[tuple[str, ...], NoDecode]
"""A list in the file; in a variable, or a text of the file, names with commas between."""


class Settings(BaseSettings):
    """Every setting of recordgate. A `description` becomes the reference page's text."""

    model_config = SettingsConfigDict(env_prefix="RECORDGATE_", extra="forbid", frozen=True)

    contract: Path | None = Field(None, description="A contract file, or a folder of contracts.")
    postgres: SecretStr = Field(
        SecretStr("embedded:"),
        description="Where canonical is: `embedded:` (`embedded:?port=5432` listens on 127.0.0.1, too) or `postgresql://user@host/db`.",
    )
    postgres_password_file: Path | None = Field(
        None, description="A file whose first line is the password of `postgres`."
    )
    search: SecretStr = Field(
        SecretStr("tantivy:"),
        description="The search store: `tantivy:`, `elasticsearch://host:9200`.",
    )
    documents: SecretStr = Field(
        SecretStr("sqlite:"),
        description="The document store: `sqlite:`, `mongodb://host:27017/db`.",
    )
    changes: SecretStr = Field(
        SecretStr("pgoutput:"),
        description="Where changes come from: `pgoutput:`, `kafka://host:9092/?topic_prefix=P&group=G&connect=http://host:8083` (docs/howto/debezium.md has every parameter).",
    )
    data_dir: Path = Field(
        Path(".recordgate"), description="Folder of the embedded stores and of secrets made by us."
    )
    host: str = Field("127.0.0.1", description="Address on which the gateway listens.")
    port: int = Field(8080, ge=0, le=65535, description="Port of the gateway; 0 picks a free one.")
    worker_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port on which `sync` answers `/health/live`, `/health/ready` and `/metrics`; unset: none.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="What is logged to stderr, and more."
    )
    access_log: str = Field(
        "",
        description="File for one line of JSON a request, `-` for stderr; none where empty.",
    )
    batch_size: int = Field(
        1000,
        ge=1,
        le=20_000,
        description="Most records that are read and written to a store at once.",
    )
    backlog_memory_keys: int = Field(
        200_000,
        ge=1000,
        description="Dirty keys a sink holds in memory before they go to its durable backlog.",
    )
    sweep_rate: int = Field(
        500,
        ge=0,
        description="Records a second of each store that the worker compares with canonical all the time; 0: none.",
    )
    sweep_interval: float = Field(
        3600.0,
        ge=1.0,
        description="Least seconds between two beginnings of that comparison of a type in a store.",
    )
    statement_timeout: float = Field(
        15.0, gt=0, description="Seconds a query of the gateway may take in a store."
    )
    document_timeout: float = Field(
        2.0, gt=0, description="Seconds a read of the document store may take."
    )
    search_timeout: float = Field(
        10.0, gt=0, description="Seconds a read of the search store may take."
    )
    fallback_reads: int = Field(
        5,
        ge=1,
        description="Reads that canonical does at once in the place of a document store that fails, is stale or slow.",
    )
    export_room: int = Field(
        2 * 1024**3,
        ge=0,
        description="Bytes below data_dir for exports, so that a cut one can be gone on with; a larger one is sent without.",
    )
    export_age: float = Field(
        3600.0, ge=0, description="Seconds for which a whole export is kept after it was last read."
    )
    drain_delay: float = Field(
        0.0,
        ge=0,
        le=60,
        description="Seconds after a signal in which the gateway still answers, but is not ready: for a load balancer to see.",
    )
    max_body_bytes: int = Field(1_000_000, ge=1000, description="Largest request body, in bytes.")
    max_head_bytes: int = Field(
        65_536,
        ge=1000,
        description="Largest head of a request, in bytes: its first line and its header fields, of which it may have 100.",
    )
    head_timeout: float = Field(
        10.0,
        gt=0,
        description="Seconds in which a request's head must come; a connection that asks nothing is closed after them.",
    )
    max_depth: int = Field(15, ge=1, description="Deepest nesting of a GraphQL query.")
    max_aliases: int = Field(
        100, ge=1, description="Most fields a GraphQL query may name by alias."
    )
    max_tokens: int = Field(8_000, ge=100, description="Most tokens in a GraphQL document.")
    max_cost: int = Field(
        250_000,
        ge=1,
        description="Most that a GraphQL query may cost: about the records that its answer may hold.",
    )
    pool_size: int = Field(
        10,
        ge=1,
        description="Connections of the gateway to canonical for reads, and as many for all else.",
    )
    token_secret_file: Path | None = Field(
        None,
        description="File with the secret that signs freshness tokens; made in data_dir when unset.",
    )

    anonymous: Literal["auto", "no", "read", "write"] = Field(
        "auto",
        description="What a caller without credentials may do. `auto`: everything while neither keys nor `jwks` are there and `host` is of this machine alone, else nothing.",
    )
    anonymous_roles: Names = Field(
        (), description="Roles of the contract that a caller without credentials has."
    )
    api_keys_file: Path | None = Field(
        None,
        description="File with the hashes of API keys, which `recordgate keys` writes; `api_keys.json` in data_dir when unset.",
    )
    jwks: str | None = Field(
        None,
        description="File or https URL of the JWK set whose keys verify tokens (JWT); unset: no tokens are taken.",
    )
    jwt_issuer: str | None = Field(None, description="The `iss` that a token must have.")
    jwt_audience: str | None = Field(None, description="The `aud` that a token must have.")
    jwt_algorithms: Names = Field(
        ("RS256", "ES256"),
        description="Signatures that are taken, of RS, PS, ES with 256, 384, 512, and EdDSA.",
    )
    jwt_roles_claim: str = Field(
        "roles",
        description="The claim with a token's roles, or a path such as `realm_access.roles`.",
    )
    jwt_leeway: float = Field(
        10.0, ge=0, le=120, description="Seconds that clocks may differ for `exp` and `nbf`."
    )
    trusted_documents: Path | None = Field(
        None,
        description="Documents that a request may name by `documentId` or hash: a folder of `.graphql` files, or a JSON manifest.",
    )
    trusted_only: bool = Field(False, description="Answer no other than trusted documents.")
    max_batch: int = Field(
        0, ge=0, le=100, description="GraphQL requests that one POST may hold; 0: no batches."
    )
    cors_origins: Names = Field(
        (), description="Other sites whose pages may ask, as `https://app.example`; `*`: all."
    )
    rate_limit: float = Field(
        0.0, ge=0, description="Requests a second that one caller may send; 0: any number."
    )
    rate_burst: int = Field(
        100,
        ge=1,
        description="Requests that a caller may send at once after a rest, under `rate_limit`.",
    )
    concurrent_requests: int = Field(
        100, ge=1, description="Requests of one caller that run at once."
    )
    mask_secret_file: Path | None = Field(
        None,
        description="File with the secret of the mask `hash` (HMAC-SHA256); when unset it comes from the tokens' secret.",
    )
    concurrent_streams: int = Field(
        2000, ge=1, description="Subscriptions by SSE, and WebSockets, that one caller has open."
    )
    introspection_roles: Names = Field(
        ("*",),
        description="Roles that may read the schema and plans; `*`: all who may ask.",
    )
    operator_roles: Names = Field(
        ("*",), description="Roles that may read `/metrics` and the console; `*`: all who may ask."
    )

    extensions: Names = Field(
        (),
        description="Python modules whose Strawberry types are added to the schema (docs/howto/extend.md).",
    )

    @field_validator(
        "anonymous_roles",
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


def load_settings(config: Path | None = None, **overrides: Any) -> Settings:
    """Settings from `config` (default: the first of DEFAULT_FILES that exists), the environment, and
    `overrides` (the strongest). Relative paths in the file are relative to the file. Raises SetupError
    that names the setting; never prints its value."""
    values: dict[str, Any] = {}
    if config is not None and not config.is_file():
        raise SetupError(f"no settings file at {config}", hint="name one with --config FILE")
    path = config or next((p for p in DEFAULT_FILES if p.is_file()), None)
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
    return settings
