"""Settings of the server, from the environment (`UNWEAVE_…`) or the command line. docs/configuration.md lists them."""

from __future__ import annotations

from functools import cache
from importlib import resources
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

SHIPPED = Path(str(resources.files("workers"))) / "shipped"
FEATURED = Path(str(resources.files("backend"))) / "featured"
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Settings(BaseSettings):
    """One value for the whole process, handed to `create_app`; nothing reads the environment elsewhere."""

    model_config = SettingsConfigDict(env_prefix="UNWEAVE_", frozen=True, extra="ignore")

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

    @property
    def url(self) -> str:
        """The database's URL, SQLite in the home folder by default."""
        return self.database_url or f"sqlite:///{self.home / 'unweave.db'}"

    @property
    def artifacts(self) -> Path:
        """Where finished decompositions are kept."""
        return self.home / "artifacts"


@cache
def app_version() -> str:
    """The version of Unweave that runs."""
    try:
        return version("unweave")
    except PackageNotFoundError:
        return "0.0.0"
