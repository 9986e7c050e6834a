"""Settings of the server, from the environment (`UNWEAVE_…`) or the command line. docs/configuration.md lists them."""

from __future__ import annotations

import ipaddress
from functools import cache
from importlib import resources
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

if TYPE_CHECKING:
    from workers.trainer.supervisor import WorkerOptions

SHIPPED = Path(str(resources.files("workers"))) / "shipped"
FEATURED = Path(str(resources.files("backend"))) / "featured"
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Settings(BaseSettings):
    """One value for the whole process, handed to `create_app`; nothing reads the environment elsewhere."""

    model_config = SettingsConfigDict(
        env_prefix="UNWEAVE_", frozen=True, extra="ignore", env_ignore_empty=True
    )

    home: Path = Field(
        default_factory=lambda: Path.home() / ".unweave",
        description="Folder for the database, finished decompositions, model weights and jobs.",
    )
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8000, ge=1, le=65_535, description="Port to listen on.")
    database_url: str | None = Field(
        default=None, description="SQLAlchemy URL, such as postgresql+psycopg://user:password@host/name. "
        "Without it: SQLite in the home folder.",
    )  # fmt: skip
    store: str | None = Field(
        default=None,
        description="Where servers and workers with home folders of their own exchange finished decompositions: a "
        "folder that all see, or a bucket, such as s3://bucket/unweave (install unweave[s3]).",
    )
    shipped: Path = Field(
        default=SHIPPED,
        description="Folder of decompositions that come with the package; read in place, never written.",
    )
    featured: Path = Field(
        default=FEATURED, description="Folder of findings that are there from the first start."
    )
    root_path: str = Field(
        default="",
        pattern=r"^(/[A-Za-z0-9._~-]+)*$",
        description="Path below which a proxy serves Unweave, such as /unweave; the proxy may strip it or not.",
    )
    device: str = Field(default="cpu", description="Where live ablations run: cpu, cuda or cuda:0.")
    allowed_hosts: list[str] = Field(
        default=[],
        description="Host names the server answers to, as a JSON list. Without it: loopback names when listening on "
        "loopback, any name otherwise.",
    )
    load_engines: bool = Field(
        default=True, description="Load model weights in the background when the server starts."
    )
    max_engines: int = Field(
        default=4,
        ge=1,
        description="Decompositions kept ready for ablations; past that the least recently used leaves.",
    )
    memory_budget_mb: int | None = Field(
        default=None,
        ge=1,
        description="Memory for models and decompositions; the least recently used leaves, what cannot fit is refused. "
        "Without it: three quarters of the machine's.",
    )
    worker_memory_mb: int | None = Field(
        default=None,
        ge=1,
        description="Memory that jobs of a worker may need; one that needs more waits for another worker. Without it: "
        "all that the worker's device has.",
    )
    compute_threads: int = Field(default=2, ge=1, le=64, description="Ablations computed at the same time.")
    compute_queue: int = Field(
        default=256,
        ge=1,
        description="Ablations that may wait; past that the server answers 429 with Retry-After.",
    )
    max_body_bytes: int = Field(default=2_000_000, ge=1_000, description="Largest request body, in bytes.")
    max_import_bytes: int = Field(
        default=2 * 2**30, ge=1_000, description="Most bytes that an imported archive may unpack to."
    )
    max_prompt_tokens: int = Field(
        default=512, ge=1, description="Most tokens of a prompt, where the model itself would take more."
    )
    job_queue: int = Field(
        default=20, ge=1, description="Jobs that may wait; past that the server answers 429 with Retry-After."
    )
    job_folders: list[Path] = Field(
        default=[],
        description="Folders besides models, targets and texts of the home folder whose models and texts jobs from the "
        "page may read, as a JSON list.",
    )
    job_packages: list[str] = Field(
        default=[],
        description="Packages besides those of the presets whose models jobs from the page may decompose, as a JSON "
        "list. `unweave decompose` takes any folder and package.",
    )
    job_retention_days: int | None = Field(
        default=None,
        ge=1,
        description="Jobs that ended longer ago are removed, with their logs and checkpoints. Without it: none is.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="From which level on messages of server and worker are logged."
    )
    log_format: Literal["console", "json"] = Field(
        default="console", description="Lines to read, or a JSON object a line, with one for each request."
    )

    # Who may do what: docs/access.md.
    open: bool | None = Field(
        default=None,
        description="Whether everyone who reaches the server may do everything. Without it: on loopback yes, on any "
        "other address or behind a proxy that says who people are, no.",
    )
    admin_token: SecretStr | None = Field(
        default=None,
        min_length=20,
        description="An access token with the role admin, for a server on which no command can make the first one.",
    )
    session_hours: int = Field(
        default=336, ge=1, le=8_760, description="How long a browser stays signed in, in hours."
    )
    public_findings: bool = Field(
        default=False,
        description="Findings open for anyone who has their link: page, JSON, files and embeds.",
    )
    proxy_addresses: list[str] = Field(
        default=[],
        description="Addresses or networks of the proxies before the server, as a JSON list. Only from these are "
        "X-Forwarded-For, X-Forwarded-Proto and the headers below believed.",
    )
    proxy_user_header: str | None = Field(
        default=None, description="Header in which the proxy says who somebody is, such as X-Forwarded-User."
    )
    proxy_role_header: str | None = Field(
        default=None,
        description="Header in which it says their role: read, write or admin; of several, the greatest.",
    )
    proxy_role: Literal["read", "write", "admin"] = Field(
        default="read", description="Role of those whom the proxy names without one."
    )
    proxy_jwt_header: str | None = Field(
        default=None,
        description="Header with a JWT that the proxy signed, such as X-Forwarded-Access-Token; believed for its "
        "signature, instead of the headers above.",
    )
    proxy_jwt_keys: str | None = Field(
        default=None, description="The proxy's public keys: a file (PEM or JWKS) or the URL of a JWKS."
    )
    proxy_jwt_audience: str | None = Field(default=None, description="Claim aud that a JWT must have.")
    proxy_jwt_issuer: str | None = Field(default=None, description="Claim iss that a JWT must have.")
    proxy_jwt_user_claim: str = Field(default="sub", description="Claim that says who somebody is.")
    proxy_jwt_role_claim: str | None = Field(
        default=None, description="Claim that says their role, as a string or a list."
    )
    requests_per_minute: int = Field(
        default=1_200,
        ge=1,
        description="Requests of one client; past that the answer is 429. Not on open loopback.",
    )
    bytes_per_minute: int = Field(
        default=100_000_000, ge=1_000, description="Bytes of request bodies of one client, likewise."
    )
    failed_sign_ins_per_minute: int = Field(
        default=10, ge=1, description="Wrong tokens from one address; past that they are refused unread."
    )
    audit_days: int = Field(default=365, ge=1, description="Days for which the record of changes is kept.")

    @field_validator("proxy_addresses")
    @classmethod
    def _networks(cls, value: list[str]) -> list[str]:
        for address in value:
            ipaddress.ip_network(address, strict=False)
        return value

    @model_validator(mode="after")
    def _believable(self) -> Settings:
        if self.proxy_user_header and not self.proxy_addresses:
            raise ValueError(
                "UNWEAVE_PROXY_USER_HEADER needs UNWEAVE_PROXY_ADDRESSES: anyone can send a header"
            )
        jwt = (self.proxy_jwt_header, self.proxy_jwt_keys, self.proxy_jwt_audience, self.proxy_jwt_issuer)
        if any(jwt) and not all(jwt):
            raise ValueError(
                "UNWEAVE_PROXY_JWT_HEADER, _KEYS, _AUDIENCE and _ISSUER go together; one of them is missing"
            )
        return self

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.host in LOOPBACK

    @property
    def has_proxy(self) -> bool:
        """Whether a proxy says who people are."""
        return self.proxy_user_header is not None or self.proxy_jwt_header is not None

    @property
    def is_open(self) -> bool:
        """Whether everyone may do everything."""
        return self.open if self.open is not None else self.on_loopback and not self.has_proxy

    @property
    def is_limited(self) -> bool:
        """Whether requests are counted by client: not those of the one who owns the machine."""
        return not (self.is_open and self.on_loopback)

    @property
    def url(self) -> str:
        """The database's URL, SQLite in the home folder by default."""
        return self.database_url or f"sqlite:///{self.home / 'unweave.db'}"

    @property
    def artifacts(self) -> Path:
        """Where finished decompositions are kept."""
        return self.home / "artifacts"

    def worker(self) -> WorkerOptions:
        """What a worker over this home is started with."""
        from workers.trainer.supervisor import WorkerOptions

        memory = self.worker_memory_mb
        return WorkerOptions(
            self.home, self.url, self.device, None if memory is None else memory * 2**20, self.store,
            log_level=self.log_level, log_format=self.log_format,
        )  # fmt: skip


@cache
def app_version() -> str:
    """The version of Unweave that runs."""
    try:
        return version("unweave")
    except PackageNotFoundError:
        return "0.0.0"
