"""One decomposition that can be opened: its artefact with what is worked out from it once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from backend.errors import ApiError
from backend.schemas.common import Provenance, Token
from backend.settings import Settings, app_version
from workers.spd.artifact import Artifact
from workers.spd.keys import ComponentKey
from workers.spd.targets.tokenizer import PromptTokenizer, TokenizerError


@dataclass(frozen=True)
class Entry:
    """A checked artefact under its slug. What is cached here belongs to one content hash and never goes stale."""

    slug: str
    shipped: bool
    artifact: Artifact
    settings: Settings

    @property
    def hash(self) -> str:
        return self.artifact.hash

    @property
    def weights_hash(self) -> str:
        return self.artifact.manifest.target.weights_hash

    @property
    def model_identity(self) -> str:
        """Equal for decompositions of one model: its weights, config and attention implementation."""
        return self.artifact.manifest.target.identity

    @cached_property
    def site_names(self) -> list[str]:
        """Sites in model order; sparse columns index into this."""
        return [site.name for site in self.artifact.manifest.sites]

    @cached_property
    def kept(self) -> dict[str, frozenset[int]]:
        """The stored components of each site, by their index as trained."""
        return {site.name: frozenset(site.kept) for site in self.artifact.manifest.sites}

    @cached_property
    def trained(self) -> dict[str, int]:
        """How many components each site began with."""
        return {site.name: site.trained for site in self.artifact.manifest.sites}

    @cached_property
    def ordinals(self) -> dict[str, int]:
        """Component key → its place in the harvest's columns, in harvests and in the index."""
        columns = self.artifact.columns
        return {
            str(ComponentKey(site, index)): place
            for place, (site, index) in enumerate(zip(columns.site, columns.index, strict=True))
        }

    @cached_property
    def alive(self) -> int:
        """Components with CI above the threshold somewhere in the run's data."""
        return sum(self.artifact.columns.alive)

    @property
    def limit(self) -> int:
        """Most tokens a prompt may have."""
        return min(self.artifact.manifest.target.model.context_length, self.settings.max_prompt_tokens)

    @cached_property
    def tokenizer(self) -> PromptTokenizer:
        """The tokenizer of the artefact; needs no weights. Raises ApiError where its file cannot be used."""
        target = self.artifact.manifest.target
        try:
            return PromptTokenizer.from_file(
                self.artifact.path / "tokenizer.json",
                bos_token_id=target.bos_token_id,
                context_length=target.model.context_length,
            )
        except (TokenizerError, OSError, ValueError) as error:
            raise ApiError(500, "broken_tokenizer", f"“{self.slug}” cannot tokenise: {error}") from error

    def piece(self, token_id: int) -> str:
        """The text of a token; an id the tokenizer does not know (vocabularies are padded) shows as its number."""
        try:
            return self.tokenizer.piece(token_id)
        except IndexError:
            return f"<{token_id}>"

    def token(self, token_id: int) -> Token:
        """A token with its text."""
        return Token(id=token_id, piece=self.piece(token_id))

    @cached_property
    def groups_by_component(self) -> dict[str, list[str]]:
        """Names of the groups each component key is in."""
        result: dict[str, list[str]] = {}
        for group in self.artifact.groups:
            for key in group.components:
                result.setdefault(key, []).append(group.name)
        return result

    @cached_property
    def uses(self) -> dict[tuple[int, int], list[tuple[int, int]]]:
        """(site, component) → the (prompt, row) pairs where the harvest saw it."""
        result: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for number, prompt in enumerate(self.artifact.prompts):
            for row, place in enumerate(zip(prompt.site, prompt.component, strict=True)):
                result.setdefault(place, []).append((number, row))
        return result

    def provenance(
        self, *, dtype: str | None = None, device: str | None = None, versions: dict[str, str] | None = None
    ) -> Provenance:
        """From what a number comes; without arguments, the run itself."""
        manifest = self.artifact.manifest
        return Provenance(
            decomposition=self.slug,
            artifact_hash=self.hash,
            weights_hash=self.weights_hash,
            model=manifest.target.model.name,
            dtype=dtype or manifest.dtype,
            device=device or manifest.device,
            versions={"unweave": app_version(), **versions} if versions is not None else manifest.versions,
            threshold=manifest.config.threshold,
        )
