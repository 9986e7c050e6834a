"""`make bench`: one JSON object a line. `ARGS="ratios memory"` chooses; without it, all of them."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from tests.bench import build, circuits, crowds, load, memory, opening, pages, ratios, scripts

ENGINE = {"ratios": ratios.run, "memory": memory.run, "circuit": circuits.run, "load": load.run}
OTHERS = ("crowds", "pages", "scripts", "training", "scale", "click", "opening")


def main() -> int:
    """Print every figure; 1 where one misses its target."""
    names = sys.argv[1:] or [*ENGINE, *OTHERS]
    unknown = set(names) - {*ENGINE, *OTHERS}
    if unknown:
        print(f"There is no benchmark {', '.join(sorted(unknown))}.", file=sys.stderr)
        return 2
    met = True
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        if set(names) & set(ENGINE):
            build.build(home)
        for name in names:
            if name == "training":
                from tests.bench import training

                found = training.measure()
            elif name == "scale":
                from tests.bench import scale

                found = scale.run()
            elif name == "click":
                from tests.bench import click

                found = click.run(home)
            elif name == "opening":
                found = opening.run(home)
            elif name == "crowds":
                found = crowds.run(home / "crowds")
            elif name == "pages":
                found = pages.run(home)
            elif name == "scripts":
                found = scripts.run()
            else:
                found = ENGINE[name](home)
            for line in found:
                met = met and line["ok"]
                print(json.dumps(line), flush=True)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
