"""What only a machine with a GPU can tell, in under eight minutes: tests, agreement with the CPU, speed.

    python experiments/gpu.py                          everything, on the GPU
    python experiments/gpu.py --wheels wheels          installs from that folder what is missing, and needs no network
    python experiments/gpu.py --only training bandit   the file keeps what it holds of the other parts
    python experiments/gpu.py --tiny --device cpu      a rehearsal: everything runs, the numbers say nothing

Each part runs in a process of its own within a time limit, so one that hangs or fails costs only itself. What is
measured is written at once, to gpu.json and as a table to gpu.md. This file and what it imports need nothing but
Python: they start before anything is installed.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # as a script, from a plain checkout in which nothing is installed

from experiments.source import source  # noqa: E402
from experiments.throughput.gpu_process import Ended, install, run  # noqa: E402
from experiments.throughput.gpu_table import summary, table  # noqa: E402

RESULTS = ROOT / "experiments" / "results"
LIMITS: dict[str, int] = {  # seconds of each part
    "tests": 165,
    "agreement": 45,
    "environments": 25,
    "training": 70,
    "graphs": 60,
    "attention": 20,
    "meta-iteration": 35,
    "bandit": 40,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts; 0 if all of them ended well, else 1."""
    options = parsed(arguments)
    rehearsal = options.tiny or options.device != "cuda"
    folder = options.folder or (ROOT / "runs" / "gpu" if rehearsal else RESULTS)
    facts: dict[str, Any] = {"date": datetime.now(timezone.utc).isoformat(timespec="seconds"), **source(options.commit)}
    facts["options"] = {"device": options.device, "tiny": options.tiny, "patience": options.patience}
    with tempfile.TemporaryDirectory() as packages:
        if options.wheels is not None:
            install(options.wheels, Path(packages))
        paths = [str(ROOT), packages, *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        states = [measure(name, options, folder / "gpu.json", facts, environment) for name in options.only]
    print(f"written to {folder / 'gpu.json'} and {folder / 'gpu.md'}")
    return 0 if set(states) == {"done"} else 1


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="what is measured and tested")
    parser.add_argument(
        "--only", nargs="+", choices=LIMITS, default=list(LIMITS), metavar="PART", help=", ".join(LIMITS)
    )
    parser.add_argument("--tiny", action="store_true", help="sizes that say nothing, to see that everything runs")
    parser.add_argument(
        "--wheels", type=Path, help="a folder of wheels; those of missing packages are installed for this run"
    )
    parser.add_argument("--folder", type=Path, help="where results go: experiments/results, of a rehearsal runs/gpu")
    parser.add_argument("--patience", type=float, default=1.0, help="what the time limits are multiplied with")
    parser.add_argument("--commit", help="what to note as the commit where the checkout has no git")
    return parser.parse_args(arguments)


def measure(
    name: str, options: argparse.Namespace, path: Path, facts: dict[str, Any], environment: dict[str, str]
) -> str:
    """Run one part in its process and write each row of it as it comes; how it ended: done, failed or timed out."""
    limit = LIMITS[name] * options.patience
    entry: dict[str, Any] = {"state": "running", **facts, "machine": {}, "rows": []}

    def on_record(record: dict[str, Any]) -> None:
        entry["machine"] = record.get("machine", entry["machine"])
        if "row" in record:
            row = record["row"]
            entry["rows"] = [*(old for old in entry["rows"] if old["title"] != row["title"]), row]
            if not row.get("running"):
                print(f"  {summary(row)}", flush=True)
        keep(path, name, entry)

    print(f"{name} (at most {limit:.0f} s)", flush=True)
    command = [sys.executable, "-m", "experiments.throughput.gpu_part", name, options.device, str(limit)]
    ended: Ended = run([*command, *(["--tiny"] if options.tiny else [])], ROOT, environment, limit, on_record)
    entry |= {"state": ended.state, "seconds": round(ended.seconds, 1)}
    if ended.state != "done":
        entry["output"] = list(ended.output)
        print(*ended.output, sep="\n", flush=True)
    keep(path, name, entry)
    print(f"  {ended.state} after {ended.seconds:.0f} s", flush=True)
    return ended.state


def keep(path: Path, name: str, entry: dict[str, Any]) -> None:
    """Put one part into the file and make the table anew; a reader never sees half a file."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    content = {part: content[part] for part in LIMITS if part in content and part != name} | {name: entry}
    write(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    write(path.with_suffix(".md"), table({part: content[part] for part in LIMITS if part in content}))


def write(path: Path, text: str) -> None:
    """Under another name, then renamed; `metarl.results` has this too, but cannot be imported here."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)


if __name__ == "__main__":
    sys.exit(main())
