"""Measure the pipeline beside plain scripts, and write the tables of benchmarks/README.md.

    uv run python -m benchmarks [PART …]

Parts: fit (training times and accuracy beside the peers), pipeline (the cold run, and the one with nothing to do),
scaling (60,000 to 6 million images). Without a part, all: some hours.

It measures the commit. Measurements of the same code on this machine are kept in benchmarks/rounds/ and not made again;
--fresh forgets them. Needs DATA_MIRROR or a network; R's part is skipped where Rscript or its package randomForest is
missing.
"""

import sys

from benchmarks import fit, pipeline, scaling
from benchmarks.results import Results, parser
from benchmarks.tables import write_readme

PARTS = {"fit": fit, "pipeline": pipeline, "scaling": scaling}


def main() -> None:
    command = parser(__doc__)
    command.add_argument("parts", nargs="*", metavar="PART", help=" | ".join(PARTS))
    command.add_argument("--fresh", action="store_true", help="forget what was measured before")
    arguments = command.parse_args()
    unknown = set(arguments.parts) - set(PARTS)
    if unknown:
        command.error(f"{', '.join(sorted(unknown))}: no such part; there are {', '.join(PARTS)}")

    results = Results(fresh=arguments.fresh)
    for name in arguments.parts or PARTS:
        PARTS[name].measure(results)
        write_readme(results)


if __name__ == "__main__":
    sys.exit(main())
