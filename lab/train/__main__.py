"""Make a shipped model from its recipe in `lab/recipes`.

    python -m lab.train fingerprint --noise NOISE --scores SCORES     # data, training, export
    python -m lab.train all --noise NOISE --scores SCORES             # every model, in order
    python -m lab.train                                               # list the recipes

Runs resume: completed commands and stages are skipped, and an interrupted stage continues from its last checkpoint
in RUNS. The exported files replace those in songprint/encoders/weights.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from lab import program
from lab.program import DATA
from lab.train import recipe
from lab.train.recipe import Recipe


def main() -> None:
    parser = program.parser(__doc__, data=DATA, noise=DATA / "noise", threads=1)
    parser.add_argument("--scores", type=Path, default=DATA / "scores", help="folder that contains POP909")
    parser.add_argument("recipes", nargs="*", metavar="NAME", help="recipes to run, or `all`")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of checkpoints and logs")
    parser.add_argument("--smoke", action="store_true", help="the short runs of `make models-smoke`")
    options = parser.parse_args()
    if not options.recipes:
        for name in recipe.names():
            print(f"{name:24}{Recipe.load(name).purpose}")
        return
    chosen = recipe.names() if options.recipes == ["all"] else options.recipes
    run = recipe.Run(options.data, options.noise, options.scores, options.runs, options.threads, options.smoke)
    try:
        for loaded in [Recipe.load(name) for name in chosen]:
            run.recipe(loaded)
    except (ValueError, subprocess.CalledProcessError) as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    main()
