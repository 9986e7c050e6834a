"""A process that answers questions before a run: what a model is, what it makes of prompts, what a run will take; and
while one trains: its last checkpoint as an artefact.

    python -m workers.spd.run.scout HOME DEVICE

Reads a line of JSON from standard input for each question and writes a line for each answer: {"answer": …} or
{"refused": "a sentence"}. It ends with its input, or when nobody has asked for a while. A process of its own, so that
a model that is too large ends this one and not the server.
"""

from __future__ import annotations

import json
import os
import select
import sys
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from workers.spd.config import ConfigError, InductionSource, PromptData, Source, TextModelSource, parse_config
from workers.spd.corpora.dataset_library import TextsError
from workers.spd.prompts.asking import ask
from workers.spd.run.checkpoint import CheckpointError
from workers.spd.run.estimate import estimate
from workers.spd.run.snapshot import snapshot
from workers.spd.targets.inspection import inspect_model
from workers.spd.targets.reading import TargetError
from workers.spd.targets.target import Target, ensure_target, load_target, target_present
from workers.spd.targets.tokenizer import PromptTokenizer, TokenizerError

IDLE_SECONDS = 300.0
NICENESS = 5
SOURCE: TypeAdapter[Source] = TypeAdapter(Source)
PROMPTS = TypeAdapter(list[PromptData])


class Scout:
    """Answers, with the last model it read at hand."""

    def __init__(self, home: Path, device: str) -> None:
        self.home, self.device = home, device
        self._loaded: tuple[Path, Target, PromptTokenizer] | None = None

    def answer(self, question: dict[str, Any]) -> Any:
        """The answer as plain data. Raises what `refusal` puts in words, or anything else where the code is wrong."""
        match question["about"]:
            case "model":
                source = SOURCE.validate_python(question["source"])
                if question.get("fetch"):
                    self._weights(source)
                return inspect_model(source, self.home, self.device).model_dump(mode="json")
            case "prompts":
                target, tokenizer = self._load(SOURCE.validate_python(question["source"]))
                prompts = PROMPTS.validate_python(question["prompts"])
                asked = ask(target, tokenizer, prompts, bos=question["bos"])
                return [one.model_dump(mode="json") for one in asked]
            case "run":
                config = parse_config(question["config"])
                return estimate(config, self.home, self.device).model_dump(mode="json")
            case "checkpoint":
                work, out = Path(question["work"]), Path(question["out"])
                return snapshot(work, out, home=self.home, device=self.device).name
            case other:
                raise ValueError(f"nothing is known about {other}")

    def _weights(self, source: Source) -> Path:
        """The folder of its weights, fetched where they are not here. Raises TargetError where they would have to be
        trained: that takes minutes and is a job's work."""
        trained_here = isinstance(source, InductionSource | TextModelSource)
        if trained_here and not target_present(source, self.home):
            raise TargetError("This model is trained by its first run. It can be asked after that.")
        return ensure_target(source, self.home)

    def _load(self, source: Source) -> tuple[Target, PromptTokenizer]:
        folder = self._weights(source)
        if self._loaded is None or self._loaded[0] != folder:
            self._loaded = None
            target = load_target(folder, device=self.device)
            self._loaded = folder, target, target.tokenizer()
        return self._loaded[1], self._loaded[2]


def refusal(error: Exception) -> str | None:
    """What is wrong with the question, in a sentence; None where the question is not what is wrong."""
    if isinstance(error, TargetError | ConfigError | TextsError | TokenizerError | CheckpointError):
        return str(error)
    if isinstance(error, MemoryError) or "not enough memory" in str(error) or "out of memory" in str(error):
        return "There is not enough memory for it on this machine."
    return None


def main(home: Path, device: str) -> None:
    """Answer until the input ends."""
    os.nice(NICENESS)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer
    scout = Scout(home, device)
    while select.select([sys.stdin], [], [], IDLE_SECONDS)[0] and (line := sys.stdin.readline()):
        try:
            said: dict[str, Any] = {"answer": scout.answer(json.loads(line))}
        except Exception as error:
            words = refusal(error)
            if words is None:
                raise
            said = {"refused": words}
        answers.write(json.dumps(said) + "\n")
        answers.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
