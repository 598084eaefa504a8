"""Fuzz labkit's decoders and parsers, following coverage.

``python tests/fuzz/run.py SECONDS [TARGET …]`` runs it. Each target runs in a process of its own,
with 2 GB of memory and 20 s for one input at most. What it finds stays in the folder that it names,
to be tried again: ``python tests/fuzz/run.py --once TARGET FILE``.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))


def fuzz(name: str, seconds: int, folder: Path) -> bool:
    """Run one target; return whether it held."""
    corpus = folder / name
    corpus.mkdir(parents=True, exist_ok=True)
    from fuzz.targets import SEEDS

    for place, seed in enumerate(SEEDS[name]):
        (corpus / f"seed-{place}").write_bytes(seed)
    options = [f"-max_total_time={seconds}", "-rss_limit_mb=2048", "-timeout=20", "-max_len=4096"]
    options += [f"-artifact_prefix={folder}/{name}-", "-print_final_stats=1", "-verbosity=1"]
    log = folder / f"{name}.log"
    with log.open("w") as out:
        code = subprocess.run(
            [sys.executable, __file__, "--target", name, str(corpus), *options],
            stdout=out,
            stderr=out,
            check=False,
        ).returncode
    text = log.read_text(errors="replace")
    figures = dict(line.split(":")[-2:] for line in text.splitlines() if line.startswith("stat::"))
    tries, speed, peak = (
        figures.get(key, "?").strip()
        for key in ("number_of_executed_units", "average_exec_per_sec", "peak_rss_mb")
    )
    verdict = "held" if code == 0 else f"FAILED, see {log}"
    print(f"{name:<12} {verdict}: {tries} inputs, {speed} a second, {peak} MB", flush=True)
    return code == 0


def follow(name: str, arguments: list[str]) -> None:
    """Be the process that atheris runs in."""
    import atheris

    with atheris.instrument_imports(include=["labkit"]):
        from fuzz.targets import TARGETS
    atheris.Setup([sys.argv[0], *arguments], TARGETS[name])
    atheris.Fuzz()


def main() -> int:
    """Run the targets that are named, else all, one after the other."""
    if sys.argv[1:2] == ["--target"]:
        follow(sys.argv[2], sys.argv[3:])
        return 0
    from fuzz.targets import TARGETS

    if sys.argv[1:2] == ["--once"]:
        TARGETS[sys.argv[2]](Path(sys.argv[3]).read_bytes())
        return 0
    names = sys.argv[2:] or list(TARGETS)
    folder = Path(tempfile.mkdtemp(prefix="labkit-fuzz-"))
    print(f"corpus, logs and findings: {folder}", flush=True)
    held = [fuzz(name, int(sys.argv[1]) // len(names), folder) for name in names]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
