#!/usr/bin/env python3
"""Makes the model file that meets the rivals: their encoder, their heads, a plain sigmoid.

    make_model.py --encoder FOLDER --head MODELS/head.npz --output FILE [--texts workload.jsonl]

A model with fewer layers computes less and would win for the wrong reason.
"""

from __future__ import annotations

import argparse
import hashlib
from dataclasses import replace
from pathlib import Path

import corpora
import numpy as np

RULES = (  # the package's
    "emoji_names/1", "strip_invisible/1", "fold_compatibility/1", "fold_confusables/1", "join_spelled/1",
    "fold_leet/1",
)  # fmt: skip
MEASURED, CALIBRATION = 1000, 300  # texts for calibration come after those that are measured


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoder", type=Path, required=True, help="Hugging Face folder of the fp32 encoder")
    parser.add_argument(
        "--head", type=Path, required=True, help="weights and biases of the heads (.npz: w, b)"
    )
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--texts", type=Path, help="workload file (default: synthetic texts)")
    options = parser.parse_args()

    from safetyclf import _modelfile, convert

    texts = [t.text for t in corpora.load(options.texts, MEASURED + CALIBRATION)[MEASURED:]]
    file = convert.quantized_file(
        convert.load_source(options.encoder),
        info=_modelfile.ModelInfo(
            name="benchmark",
            version="1.0.0",
            licence="Apache-2.0",
            description="For benchmarks; its scores mean nothing",
        ),
        rules=RULES,
        texts=texts,
    )
    head = np.load(options.head)
    classes = len(head["b"])
    depths = file.architecture.layers + 1
    file = file.with_heads(
        tuple(_modelfile.Category(name=f"c{i}", coverage="trained") for i in range(classes)),
        np.repeat(head["w"][None], depths, axis=0),
        np.repeat(head["b"][None], depths, axis=0),
    )
    logits = np.linspace(-16, 16, 513)
    curve = logits.astype(np.float32), (1 / (1 + np.exp(-logits))).astype(np.float32)
    file = file.with_decision(
        [curve] * classes,
        np.full(classes, 0.5),
        np.full(classes, 0.9),
        {
            "numerics_revision": _modelfile.NUMERICS_REVISION,
            "data_sha256": hashlib.sha256(b"").hexdigest(),
            "n": 0,
        },
    )
    print(_modelfile.write(options.output, replace(file, id="")).id)


main()
