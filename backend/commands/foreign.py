"""`unweave import-run`: a run of goodfire-ai/spd, put on its model and measured by our own evidence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backend.commands.console import Device, Home, fail, out, settings

if TYPE_CHECKING:
    from workers.spd.progress import RunProgress


def import_run(
    folder: Annotated[Path, typer.Argument(help="A folder with final_config.yaml and model_<step>.pth.")],
    prompts: Annotated[
        Path,
        typer.Option(help="What its evidence is measured on: text (prompt => answer), CSV or JSON lines."),
    ],
    name: Annotated[str | None, typer.Option(help="Name of the result [default: the folder's]")] = None,
    model: Annotated[
        str | None,
        typer.Option(help="The model it decomposes, as of `unweave new` [default: as its config says]"),
    ] = None,
    replace: Annotated[bool, typer.Option(help="Put the result in place of an older one.")] = False,
    home: Home = None,
    device: Device = None,
) -> None:
    """Import a run of goodfire-ai/spd. Its figures are measured anew; what cannot be taken over is said."""
    from backend.commands.decompose import print_evidence
    from backend.commands.new import NewError, source_of
    from workers.spd.config import ConfigError
    from workers.spd.prompts.files import format_of, read_prompt_file
    from workers.spd.run.foreign import ForeignError, config_of, read_run
    from workers.spd.run.foreign import import_run as bring_in
    from workers.spd.targets.target import TargetError

    made = settings(home=home, device=device)
    slug = name or folder.resolve().name.lower().replace("_", "-")
    target = made.artifacts / slug
    if target.exists() and not replace:
        fail(f"{target} exists already. Give --replace, or another --name.", 2)

    def report(progress: RunProgress) -> None:
        out.print(progress.message, highlight=False, markup=False)

    try:
        run = read_run(folder)
        of = model or run.model
        if of is None:
            fail(
                f"Its config calls its model “{run.config.get('pretrained_model_name')}”. Say where it is: --model.",
                2,
            )
        read = read_prompt_file(prompts.read_text(encoding="utf-8"), format_of(prompts.name))
        asked = [prompt.model_dump(mode="json", exclude_unset=True) for prompt in read]
        source = source_of(of).model_dump(mode="json", exclude_none=True)
        config, notes = config_of(run, slug, source, asked)
        artifact = bring_in(run, config, notes, target, home=made.home, device=made.device, report=report)
    except (NewError, ConfigError, OSError, UnicodeDecodeError) as error:
        fail(str(error), 2)
    except (ForeignError, TargetError) as error:
        fail(str(error))
    print_evidence(artifact, out)
