"""Planning a large job: time and memory of the launcher, compared with a bare shuffle of the same names.

    python tests/benchmarks/plan.py [--quick]

Each is a process of its own and does what a launcher does before any worker starts.
"""

import json

from _measuring import Size, read_arguments, report, subprocess_output, wanted


def main() -> None:
    """Plans jobs of growing size."""
    arguments = read_arguments(__doc__, images=Size([10_000, 100_000, 1_000_000], [1_000], "numbers of names"))
    for count in arguments.images:
        rates, notes = {}, {}
        kinds = {"read, shuffle and write the names": "bare", "ssd300 plan and lists of shards": "ours"}
        for name, kind in wanted(kinds, arguments.only).items():
            run = json.loads(subprocess_output("plan_names.py", kind, count))
            rates[name] = count / run["seconds"]
            notes[name] = (
                f"{run['seconds']:.2f} s, {run['grown'] / 2**20:.0f} MiB over the start, "
                f"{run['grown'] / count:.0f} bytes per name; wrote {run['names'] / 2**20:.1f} MiB of names, "
                f"{run['index'] / 2**10:.0f} KiB of index"
            )
        report(f"planning {count:,} names", "names per second", rates, notes)


if __name__ == "__main__":
    main()
