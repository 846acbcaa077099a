"""How well prompts are judged, and what that costs: `python -m tests.studies.prompts`.

`--write` trains the classifier anew and writes its weights to agents/monitor/prompt_weights.py. Held-out prompts come from
templates that were not learnt from; the ordinary prose is what scikit-learn says of its data sets and this repo's docs,
which speak of instructions and systems and are therefore hard.
"""

from __future__ import annotations

import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sklearn import datasets
from sklearn.metrics import roc_auc_score

from agents.monitor.prompt_classifier import Classifier, trained
from agents.monitor.prompt_detectors import CUT, prompt_findings
from agents.monitor.prompt_patterns import INJECTIONS, PERSONAL_DATA
from agents.monitor.prompt_texts import made_prompts
from agents.monitor.state import packed

ROOT = Path(__file__).parents[2]
TARGET = ROOT / "agents" / "monitor" / "prompt_weights.py"
LEARNT = 4_000
_HEADER = '''"""Weights of the prompt classifier, kept as state.py does: made by `python -m tests.studies.prompts --write`."""

WEIGHTS = {{
    "weights": {{
        "~": "i2",
        "shape": {shape},
        "data": (
{lines}
        ),
    }},
    "scale": {scale!r},
    "intercept": {intercept!r},
}}
"""What `trained` gave."""
'''


def write() -> None:
    """Train on the made prompts and keep the weights as a module."""
    kept: dict[str, Any] = packed(trained(*made_prompts(1, LEARNT)))
    lines = "\n".join(f'            "{line}"' for line in textwrap.wrap(kept["weights"]["data"], 104))
    text = _HEADER.format(shape=kept["weights"]["shape"], lines=lines, scale=kept["scale"], intercept=kept["intercept"])
    TARGET.write_text(text)


def quality(seed: int = 2, count: int = 2_000) -> dict[str, float]:
    """Of the classifier, and of the patterns, on held-out prompts."""
    texts, attacks = made_prompts(seed, count, held_out=True)
    truth, series = np.array(attacks), pl.Series(texts)
    score = Classifier().find(series)
    patterns = np.any(list(prompt_findings(series, INJECTIONS).values()), axis=0)
    return {
        "auc": float(roc_auc_score(truth, score)),
        "recall": float((score[truth] >= CUT).mean()),
        "false_positives": float((score[~truth] >= CUT).mean()),
        "patterns_recall": float(patterns[truth].mean()),
        "patterns_false_positives": float(patterns[~truth].mean()),
        "either_recall": float((patterns | (score >= CUT))[truth].mean()),
    }


def prose() -> dict[str, list[str]]:
    """Ordinary paragraphs."""
    loaders = ("iris", "wine", "breast_cancer", "diabetes", "digits", "linnerud")
    described = "\n\n".join(getattr(datasets, f"load_{name}")().DESCR for name in loaders)
    docs = "\n\n".join(path.read_text() for path in [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"])
    sources = {"scikit-learn's descriptions": described, "this repo's docs": docs}
    return {name: [part for part in text.split("\n\n") if len(part.strip()) > 40] for name, text in sources.items()}


def costs() -> dict[str, float]:
    """Microseconds a prompt of 500 characters."""
    texts = made_prompts(5, 8_000, held_out=True)[0]
    joined = pl.Series([" ".join(texts[at : at + 8])[:500] for at in range(0, 7_990, 4)])
    found = {}
    for name, detectors in {"patterns": [*INJECTIONS, *PERSONAL_DATA], "classifier": [Classifier()]}.items():
        best = np.inf
        for _ in range(3):
            begin = time.perf_counter()
            prompt_findings(joined, detectors)
            best = min(best, time.perf_counter() - begin)
        found[name] = best / len(joined) * 1e6
    return found


def main() -> None:
    """Print everything."""
    for name, value in quality().items():
        print(f"held-out made prompts  {name:26} {value:.3f}")
    for name, parts in prose().items():
        series = pl.Series(parts)
        score = Classifier().find(series)
        patterns = np.any(list(prompt_findings(series, INJECTIONS).values()), axis=0)
        told = f"classifier {np.mean(score >= CUT):.3f}, patterns {patterns.mean():.3f} of {len(parts)} paragraphs"
        print(f"false positives        {name:26} {told}")
    for name, micros in costs().items():
        print(f"cost                   {name:26} {micros:.1f} µs a prompt of 500 characters")


if __name__ == "__main__":
    if "--write" in sys.argv[1:]:
        write()
        print(f"{TARGET.relative_to(ROOT)} written; run again without --write for its quality")
    else:
        main()
