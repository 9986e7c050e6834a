"""`unweave`: serve the dashboard, run a worker, train a decomposition, move artefacts. No maths, no torch at import."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from backend.commands import checking, listing
from backend.commands.access import audit, record, tokens
from backend.commands.console import Device, Home, err, fail, out, settings
from backend.commands.foreign import import_run
from backend.commands.opening import open_page
from backend.settings import Settings, app_version

app = typer.Typer(
    name="unweave",
    help="Explore decompositions of transformer weights.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # Rich takes “[default: 8000]” for markup and leaves it out
    epilog="Exit codes: 0 done; 1 it could not be done, or what was checked does not hold; 2 what was asked cannot be "
    "begun (an option, a setting, a config, a port that is taken); 130 stopped.",
)
app.add_typer(tokens, name="tokens")
app.command()(audit)
app.command("list")(listing.list_decompositions)
for command in (listing.presets, listing.jobs, listing.components, listing.findings):
    app.command()(command)
for command in (checking.validate, checking.replay, checking.verify):
    app.command()(command)
app.command("open")(open_page)
app.command("import-run")(import_run)


def _version(show: bool) -> None:
    if show:
        out.print(f"unweave {app_version()}", highlight=False)
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Explore decompositions of transformer weights."""
    from workers.trainer import share_the_machine

    share_the_machine()


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65_535, help="Port [default: 8000]")] = None,
    home: Home = None,
    worker: Annotated[bool, typer.Option("--worker/--no-worker", help="Also run a worker for jobs.")] = True,
    device: Device = None,
    open: Annotated[
        bool | None,
        typer.Option(
            "--open/--closed",
            help="Whether everyone who reaches the server may do everything [default: on loopback only]",
        ),
    ] = None,
) -> None:
    """Serve the dashboard and, unless asked not to, a worker beside it."""
    from backend.web.serving import StartError, run_server

    try:
        made = settings(host=host, port=port, home=home, device=device, open=open)
        run_server(made, worker=worker, console=out)
    except StartError as error:
        fail(str(error), 2)


@app.command()
def worker(
    home: Home = None,
    device: Device = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Only tell whether a worker of this machine is alive: exit code 0 or 1."
        ),
    ] = False,
) -> None:
    """Take decomposition jobs from the queue until stopped."""
    from workers.trainer.supervisor import become_worker

    made = settings(home=home, device=device)
    if check:
        from workers.trainer.slots import alive_here

        found = alive_here(made.url)
        if not found:
            fail("No worker of this machine is alive.")
        out.print(f"Alive: {', '.join(found)}.", highlight=False)
        return
    become_worker(made.worker())


@app.command()
def decompose(
    config: Annotated[str, typer.Argument(help="A preset by name, or a .yaml file.")],
    output: Annotated[
        Path | None, typer.Option("--out", help="Folder of the result [default: HOME/artifacts/NAME]")
    ] = None,
    home: Home = None,
    device: Device = None,
    replace: Annotated[bool, typer.Option(help="Put the result in place of an older one.")] = False,
    fresh: Annotated[
        bool,
        typer.Option("--fresh/--resume", help="Start again, or resume from a checkpoint where there is one."),
    ] = False,
) -> None:
    """Train a decomposition. Ctrl-C stops it at a checkpoint, from which the same command resumes."""
    from backend.commands.decompose import train
    from workers.spd.config import ConfigError, load_config

    made = settings(home=home, device=device)
    try:
        loaded = load_config(config)
    except ConfigError as error:
        fail(str(error), 2)
    target = (output or made.artifacts / loaded.name).expanduser().resolve()
    if target.exists() and not replace:
        fail(f"{target} exists already. Give --replace to put the result in its place, or another --out.", 2)
    first = os.environ.get("RANK", "0") == "0"  # under torchrun only one process speaks
    console = out if first else Console(quiet=True)
    code, said = train(loaded, target, home=made.home, device=made.device, resume=not fresh, console=console)
    if code:
        fail(said, code)


@app.command()
def sites(
    model: Annotated[
        str, typer.Argument(help="A preset's name, a folder or GGUF file, or owner/name on the hub.")
    ],
    pattern: Annotated[
        list[str] | None,
        typer.Argument(help="Show only modules that match, such as 'model.layers.[3-5].mlp.*'."),
    ] = None,
    home: Home = None,
    device: Device = None,
    as_json: listing.AsJson = False,
) -> None:
    """List a model's modules: shapes, parameters, and why some cannot be decomposed. Reads no weights."""
    from backend.commands.new import NewError, look, matching, print_sites, source_of

    made = settings(home=home, device=device)
    try:
        view = look(source_of(model), made.home, made.device)
        if as_json:
            listing.show(matching(view, pattern or []), (), as_json=True)
        elif not print_sites(view, pattern or [], out):
            fail("None of these can be a site.")
    except NewError as error:
        fail(str(error), 2)


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the run: small letters, digits, -")],
    model: Annotated[
        str, typer.Option(help="A preset's name, a folder or GGUF file, or owner/name on the hub.")
    ],
    prompts: Annotated[Path, typer.Option(help="Prompts as text (prompt => answer), CSV or JSON lines.")],
    site: Annotated[
        list[str] | None,
        typer.Option("--sites", help="Pattern of modules, again for more; `unweave sites` lists them."),
    ] = None,
    size: Annotated[str, typer.Option(help="quick, good or thorough")] = "good",
    output: Annotated[
        Path | None, typer.Option("--out", help="The config to write [default: NAME.yaml]")
    ] = None,
    home: Home = None,
    device: Device = None,
) -> None:
    """Write the config of a run over your own prompts, and ask the model each of them. `decompose` runs it."""
    from backend.commands.new import NewError, ask_all, look, make_config, source_of
    from workers.spd.config.recipes import STEPS

    made = settings(home=home, device=device)
    if size not in STEPS:
        fail(f"--size is one of {', '.join(STEPS)}.", 2)
    try:
        source = source_of(model)
        view = look(source, made.home, made.device)
        text, notes = make_config(name, source, site or ["*.mlp.*"], prompts, size, view)
        for prompt, asked in ask_all(source, prompts, made.home, made.device):
            said = asked.fault or (
                "" if asked.rank is None else f"rank {asked.rank}, {asked.probability:.1%}"
            )
            out.print(f"{prompt}: {said}", highlight=False, soft_wrap=True, markup=False)
            if asked.warning:
                err.print(f"  {asked.warning}", highlight=False, soft_wrap=True, markup=False)
        path = output or Path(f"{name}.yaml")
        path.write_text(text, encoding="utf-8")
    except (NewError, OSError) as error:
        fail(str(error), 2)
    for note in notes:
        err.print(note, highlight=False, soft_wrap=True, markup=False)
    out.print(f"Wrote {path}. Run it: unweave decompose {path}", highlight=False, soft_wrap=True)


@app.command()
def harvest(
    id: Annotated[str, typer.Argument(help="Slug or content hash of a decomposition.")],
    corpus: Annotated[
        Path | None,
        typer.Option(help="A text file, or a folder of them [default: the sentences that ship with Unweave]"),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What to call the corpus: small letters, digits, -")
    ] = None,
    unit: Annotated[
        str | None,
        typer.Option(help="line: every line is a text of its own; text: running text [default: line]"),
    ] = None,
    tokens: Annotated[int | None, typer.Option(min=1, help="Stop after about this many tokens.")] = None,
    window: Annotated[int | None, typer.Option(min=2, help="Most tokens per window [default: 64]")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Chooses among examples and windows.")] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any other key of the config, as key=value (docs/harvest.md)."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--out", help="Folder of the harvests [default: HOME/harvests/…]")
    ] = None,
    home: Home = None,
    device: Device = None,
    fresh: Annotated[
        bool,
        typer.Option("--fresh/--resume", help="Start again, or resume from a checkpoint where there is one."),
    ] = False,
) -> None:
    """Gather statistics of every component over a corpus, for its page. Ctrl-C stops it at a checkpoint."""
    from backend.commands.harvest import gather
    from workers.jobs.harvesting import harvest_place
    from workers.spd.config import ConfigError
    from workers.spd.statistics.config import parse_options

    made = settings(home=home, device=device)
    given = {
        "path": None if corpus is None else str(corpus), "name": name, "unit": unit, "tokens": tokens,
        "window": window, "seed": seed,
    }  # fmt: skip
    try:
        config = parse_options(
            {key: value for key, value in given.items() if value is not None}, option or []
        )
    except ConfigError as error:
        fail(str(error), 2)
    entry = _entry(made, id)
    place = (output or harvest_place(made.home, entry.hash)).expanduser().resolve()
    code, said = gather(
        entry.artifact, config, place, home=made.home, device=made.device, resume=not fresh, console=out
    )
    if code:
        fail(said, code)


@app.command()
def evaluate(
    id: Annotated[str, typer.Argument(help="Slug or content hash of a decomposition.")],
    facts: Annotated[
        Path | None, typer.Option(help="A YAML file of relations, instead of the run's own facts.")
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            help="A file of prompts, each with a fact, an answer and a split, instead of the run's."
        ),
    ] = None,
    k: Annotated[
        list[int] | None, typer.Option("--k", min=1, help="A budget, again for more [default: 1, 4, 16]")
    ] = None,
    main: Annotated[int, typer.Option(min=1, help="The budget of the score.")] = 4,
    methods: Annotated[
        str | None, typer.Option(help="Names joined by commas [default: all that fit]")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many facts, drawn by the seed.")
    ] = None,
    others: Annotated[int, typer.Option(min=1, help="Other facts asked after each edit.")] = 20,
    windows: Annotated[int, typer.Option(min=0, help="Windows of held-out text, shared by the facts.")] = 500,
    seed: Annotated[int, typer.Option(min=0, help="Draws facts, text and random directions.")] = 0,
    output: Annotated[
        Path | None, typer.Option("--out", help="Folder of the evaluations [default: HOME/evaluations/…]")
    ] = None,
    home: Home = None,
    device: Device = None,
) -> None:
    """Compare suppressing components with every other method, on the same facts. Ctrl-C stops; it resumes."""
    from backend.commands.evaluate import compare
    from workers.spd.comparison.stored import EvaluationConfig, evaluation_place

    made = settings(home=home, device=device)
    if facts is not None and prompts is not None:
        fail("Give --facts or --prompts, not both.", 2)
    source = facts or prompts
    if source is not None and not source.is_file():
        fail(f"There is no file {source}.", 2)
    config = EvaluationConfig(
        seed=seed, budgets=sorted({*(k or [1, 4, 16]), main}), main=main, facts=limit, others=others, windows=windows,
        methods=[] if methods is None else [name.strip() for name in methods.split(",")],
        source="run" if source is None else source.name,
    )  # fmt: skip
    entry = _entry(made, id)
    place = (output or evaluation_place(made.home, entry.hash)).expanduser().resolve()
    code, said = compare(
        entry.artifact, config, place, home=made.home, source=source, device=made.device, console=out
    )
    if code:
        fail(said, code)


@app.command("import")
def import_artifact(
    source: Annotated[
        Path,
        typer.Argument(
            help="A decomposition: its folder, or the zip that `export` wrote. Or a finding's .json of another server."
        ),
    ],
    home: Home = None,
    replace: Annotated[bool, typer.Option(help="Put it in place of another of the same name.")] = False,
) -> None:
    """Verify a decomposition from elsewhere, or compute a finding from elsewhere again, and keep it here."""
    from backend.commands.exchange import ExchangeError, bring_in

    made = settings(home=home)
    if source.suffix == ".json":
        slug = checking.import_finding(made, source)
        out.print(f"Computed again, the numbers agree: {slug}.", highlight=False)
        return
    try:
        found = bring_in(source, made.home, replace=replace, most_bytes=made.max_import_bytes)
    except ExchangeError as error:
        fail(str(error))
    labelled = _take_labels(made, found.artifact.hash, found.labels) if found.labels else 0
    record(made, "import_decomposition", found.artifact.path.name)
    more = f" {labelled} components keep the labels they came with." if labelled else ""
    out.print(f"Imported “{found.artifact.path.name}”. It is in the gallery now.{more}", highlight=False)


@app.command()
def push(
    id: Annotated[str, typer.Argument(help="Slug or content hash of a decomposition.")],
    repo: Annotated[
        str, typer.Argument(help="owner/name on the Hugging Face hub; made where it is not there.")
    ],
    private: Annotated[bool | None, typer.Option("--private/--public", help="Of a new repository.")] = None,
    home: Home = None,
) -> None:
    """Put a decomposition on a hub, with a card that shows its evidence. HF_TOKEN says who you are."""
    from backend.commands.exchange import ExchangeError
    from backend.commands.hub import push as put
    from backend.db.session import Database
    from backend.services.harvests import Harvests
    from backend.services.labels import Labels

    made = settings(home=home)
    entry = _entry(made, id)
    try:
        harvests = Harvests(made.home)
        labels = Labels(Database(made.url), harvests).export(entry)
        place = put(entry, repo, private=private, harvests=harvests.folders(entry), labels=labels)
    except ExchangeError as error:
        fail(str(error))
    out.print(f"{entry.slug} ({entry.hash[:12]}) is at {place}", highlight=False, soft_wrap=True)


@app.command()
def pull(
    name: Annotated[str, typer.Argument(help="owner/name on the Hugging Face hub, or owner/name@revision.")],
    home: Home = None,
    replace: Annotated[bool, typer.Option(help="Put it in place of another of the same name.")] = False,
) -> None:
    """Bring a decomposition of a hub into the home folder, verified."""
    from backend.commands.exchange import ExchangeError
    from backend.commands.hub import pull as fetch

    made = settings(home=home)
    try:
        found = fetch(name, made.home, replace=replace, most_bytes=made.max_import_bytes)
    except ExchangeError as error:
        fail(str(error))
    if found.labels:
        _take_labels(made, found.artifact.hash, found.labels)
    out.print(f"Pulled “{found.artifact.path.name}” ({found.artifact.hash[:12]}).", highlight=False)


@app.command()
def export(
    id: Annotated[str, typer.Argument(help="Slug or content hash of a decomposition.")],
    output: Annotated[
        Path | None,
        typer.Option("--out", help="The zip, or with --figures the folder [default: SLUG.zip, SLUG]"),
    ] = None,
    figures: Annotated[
        bool, typer.Option("--figures", help="Write its Plotly figures (JSON and HTML) instead of the zip.")
    ] = False,
    home: Home = None,
) -> None:
    """Write a decomposition as one zip that `import` reads, or its figures for notebooks and slides."""
    from backend.commands.exchange import ExchangeError, pack, write_figures
    from backend.db.session import Database
    from backend.services.harvests import Harvests
    from backend.services.labels import Labels

    made = settings(home=home)
    entry = _entry(made, id)
    if figures:
        try:
            written = write_figures(entry, (output or Path(entry.slug)).expanduser())
        except OSError as error:
            fail(f"The figures cannot be written: {error.strerror or error}.")
        out.print(f"Wrote {len(written)} figures to {written[0].parent}.", highlight=False, soft_wrap=True)
        return
    try:
        path = pack(
            entry.artifact,
            (output or Path(f"{entry.slug}.zip")).expanduser(),
            harvests=Harvests(made.home).folders(entry),
            labels=Labels(Database(made.url), Harvests(made.home)).export(entry),
        )
    except ExchangeError as error:
        fail(str(error))
    out.print(f"Wrote {path} ({path.stat().st_size / 1e6:.1f} MB).", highlight=False, soft_wrap=True)


@app.command()
def backup(
    path: Annotated[Path, typer.Argument(help="The file to write, such as unweave-backup.zip.")],
    home: Home = None,
) -> None:
    """Write findings, collections and labels to one file, also while the server runs. Decompositions are folders."""
    from backend.commands.backup import BackupError, back_up

    try:
        made = back_up(settings(home=home), path.expanduser().resolve())
    except BackupError as error:
        fail(str(error))
    held = ", ".join(f"{count:,} {name}" for name, count in made.counts.items())
    out.print(f"Wrote {path}: {held} (versions of labels counted).", highlight=False, soft_wrap=True)


@app.command()
def restore(
    path: Annotated[Path, typer.Argument(help="A file that `backup` wrote.")],
    home: Home = None,
    replace: Annotated[bool, typer.Option(help="Put it in place of the database that is there.")] = False,
) -> None:
    """Bring back what `backup` wrote. Stop the server first."""
    from backend.commands.backup import BackupError, missing
    from backend.commands.backup import restore as bring_back

    made = settings(home=home)
    try:
        found = bring_back(made, path.expanduser().resolve(), replace=replace)
    except BackupError as error:
        fail(str(error))
    record(made, "restore_backup", path.name)
    held = ", ".join(f"{count:,} {name}" for name, count in found.counts.items())
    out.print(f"Restored {held}.", highlight=False, soft_wrap=True)
    if gone := missing(made, found):
        out.print(
            f"Not in the home folder: {', '.join(gone)}. Copy or import them.",
            highlight=False,
            soft_wrap=True,
        )


@app.command()
def prune(
    days: Annotated[int, typer.Option(min=0, help="Keep jobs that ended within this many days.")],
    home: Home = None,
) -> None:
    """Remove jobs that ended, with their logs and checkpoints. What they made stays."""
    from sqlalchemy.exc import SQLAlchemyError

    from workers.jobs.queue import JobQueue

    made = settings(home=home)
    queue = JobQueue(made.home, made.url, shipped=made.shipped)
    try:
        gone = queue.prune(days * 86_400.0)
    except (SQLAlchemyError, OSError) as error:
        fail(f"The jobs cannot be removed: {error}.")
    finally:
        queue.close()
    for job_id in gone:
        record(made, "delete_job", job_id)
    out.print(f"Removed {len(gone)} jobs.", highlight=False)


@app.command()
def tokenize(
    id: Annotated[str, typer.Argument(help="Slug or content hash of a decomposition.")],
    text: Annotated[str, typer.Argument(help="The text to tokenise, exactly as it is.")],
    bos: Annotated[bool, typer.Option(help="Put the beginning-of-sequence token in front.")] = False,
    home: Home = None,
    as_json: listing.AsJson = False,
) -> None:
    """Show how a decomposition's model splits a text. Needs no weights."""
    from backend.db.index import visible
    from backend.errors import ApiError
    from backend.schemas.workbench import TokenizeRequest
    from backend.services.prompts import Prompts

    entry = _entry(settings(home=home), id)
    try:
        answer = Prompts().tokenize(entry, TokenizeRequest(text=text, bos=bos))
    except ApiError as error:
        fail(error.message)
    if as_json:
        listing.show(answer.tokens, (), as_json=True)
        return
    table = Table("position", "id", "token", box=None, pad_edge=False)
    for position, token in enumerate(answer.tokens):
        table.add_row(str(position), str(token.id), visible(token.piece))
    out.print(table)
    for warning in answer.warnings:
        err.print(warning.message, highlight=False)


def _entry(made: Settings, id: str):
    """A decomposition of this home. Ends with a sentence where there is none."""
    from backend.db.session import Database, DatabaseError
    from backend.errors import ApiError
    from backend.services.catalogue import Catalogue

    try:
        database = Database(made.url)
        database.migrate()
        return Catalogue(made, database).get(id)
    except (ApiError, DatabaseError) as error:
        fail(str(error))


def _take_labels(made: Settings, hash: str, labels: list[dict[str, object]]) -> int:
    """Labels that came with an import, for components that have none here. Returns how many got one."""
    from pydantic import ValidationError

    from backend.db.session import Database
    from backend.errors import ApiError
    from backend.services.harvests import Harvests
    from backend.services.labels import Labels

    entry = _entry(made, hash)
    try:
        return Labels(Database(made.url), Harvests(made.home)).bring_in(entry, labels)
    except (ApiError, ValidationError) as error:
        err.print(f"Its labels were left out: {str(error).splitlines()[0]}", highlight=False)
        return 0


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
