"""Our own models by ONNX Runtime, and every command with `--model NAME.toml`."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from onnx_models import CORPUS, write_model
from places import BUNDLED, REPOSITORY
from safetyclf import (
    Classifier,
    InvalidArgumentError,
    ModelFileError,
    ModelFormatError,
    _float_encoder,
    _modelfile,
)
from safetyclf._cli import main
from safetyclf.onnx.describe import describe
from safetyclf.onnx.graph import export

POLICY = """
format = "safetyclf-policy/1"
id = "rules"
version = "1.0.0"
title = "Rules"

[categories.harassment]
title = "Harassment"
definition = "Nasty words."
review = { recall = 0.8 }
positive = ["bad angry rude"]
negative = ["good dog"]

[lists.adverts]
title = "Adverts"
action = "block"
match = "word"
terms = ["casino"]
"""


@pytest.fixture(scope="module")
def exported(tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as an ONNX model."""
    folder = tmp_path_factory.mktemp("exported")
    shutil.copy(tiny_path, folder / "tiny.safetensors")
    arguments = ["--model", folder / "tiny.safetensors", "--onnx", folder / "tiny.onnx"]
    assert main(["export", *map(str, arguments), "--describe", str(folder / "tiny.toml")]) == 0
    return folder / "tiny.toml"


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model of random numbers in the working folder, with a policy beside it."""
    monkeypatch.chdir(tmp_path)
    Path("rules.toml").write_text(POLICY)
    return write_model(tmp_path)


def write_rows(name: str, count: int = 400) -> None:
    """Labelled texts; the model's scores and the labels have little to do with each other."""
    random = np.random.default_rng(3)
    with Path(name).open("w") as file:
        for number in range(count):
            text = f"{' '.join(random.permutation(CORPUS[0].split())[:6])} {number}"
            labels = {"harassment": int(random.random() < 0.4)}
            file.write(json.dumps({"text": text, "labels": labels}) + "\n")


def in_fp32(path: Path, texts: list[str]) -> np.ndarray:
    """Scores of a model file by the fp32 encoder in numpy: (n, categories)."""
    file, native = _modelfile.read(path), Classifier(path)._engine
    encoder = _float_encoder.dequantized(file)
    weight, bias = file.tensors["heads.weight"][-1], file.tensors["heads.bias"][-1]
    logits = []
    for text in texts:
        ids, _, _, rows = native.tokenize(text)
        windows = [np.array(ids[begin:end]) for begin, end in pairwise(rows)]
        pooled = np.stack([_float_encoder.encode(encoder, window)[-1].mean(axis=0) for window in windows])
        logits.append((pooled @ weight.T + bias).max(axis=0))
    knots = [file.tensors[f"calibration.{key}"] for key in ("logit", "probability")]
    curves = enumerate(pairwise(file.tensors["calibration.offsets"]))
    return np.stack(
        [np.interp(np.array(logits)[:, c], *(k[a:b] for k in knots)) for c, (a, b) in curves], axis=1
    )


def close_to(native: Classifier, other: Classifier, texts: list[str], tolerance: float) -> None:
    """Same windows, scores that int8 alone tells apart, and decisions that only those could change."""
    expected, got = native.scores(texts), other.scores(texts)
    assert np.abs(got - expected).max() < tolerance
    limits = np.array([[2 if t is None else t for t in pair] for pair in native.thresholds.values()])
    clear = np.abs(expected[:, :, None] - limits).min(axis=(1, 2)) > tolerance
    assert clear.sum() >= 10
    for number, (a, b) in enumerate(
        zip(native.classify_batch(texts), other.classify_batch(texts), strict=True)
    ):
        assert (a.windows, a.repaired) == (b.windows, b.repaired)
        if clear[number]:
            assert (a.action, a.categories) == (b.action, b.categories)


def test_the_tiny_model_by_onnx_runtime(tiny: Classifier, exported: Path, messages: list[str]) -> None:
    classifier = Classifier(exported, threads=2)
    assert classifier.categories == tiny.categories
    assert classifier.thresholds == tiny.thresholds
    assert classifier._engine.tokenize(messages[0]) == tiny._engine.tokenize(messages[0])
    assert classifier._engine.normalize("CAF\u00c9") == tiny._engine.normalize("CAF\u00c9")
    assert classifier.info()["name"] == "tiny-onnx"
    texts = [*messages, "", "bad \ud800 dog", *CORPUS]
    expected = in_fp32(exported.with_name("tiny.safetensors"), texts)
    np.testing.assert_allclose(classifier.scores(texts), expected, atol=1e-5)
    close_to(tiny, classifier, texts, 0.03)


@pytest.mark.slow
@pytest.mark.skipif(not BUNDLED.exists(), reason="the package was built without a model")
def test_the_bundled_model_by_onnx_runtime(
    classifier: Classifier, messages: list[str], tmp_path: Path
) -> None:
    export(BUNDLED, tmp_path / "m.onnx")
    describe(BUNDLED, tmp_path / "m.onnx", tmp_path / "m.toml")
    other = Classifier(tmp_path / "m.toml", threads=2)
    golden = json.loads((REPOSITORY / "tests" / "data" / "golden.json").read_text("utf-8"))["texts"]
    close_to(classifier, other, [*golden, *messages], 0.03)
    for a, b in zip(classifier.classify_batch(golden), other.classify_batch(golden), strict=True):
        assert a.action == b.action


def test_growing_text_with_our_tokenizer(exported: Path) -> None:
    """Its pieces do not depend on what stands before, so that no text is cut up twice."""
    classifier = Classifier(exported)
    with classifier.open_text(check_every=10) as stream:
        for _ in range(30):
            stream.feed("you are a nice dog, ")
        verdict = stream.finish()
    assert verdict.scores == pytest.approx(classifier.classify("you are a nice dog, " * 30).scores, rel=1e-5)


def test_export_refuses(tiny_path: Path, tmp_path: Path, tiny: Classifier) -> None:
    with pytest.raises(InvalidArgumentError, match=r"ends in \.toml"):
        describe(tiny_path, tmp_path / "m.onnx", tmp_path / "m.txt")
    with pytest.raises(ModelFileError, match="cannot write"):
        describe(tiny_path, tmp_path / "m.onnx", tmp_path / "absent" / "m.toml")


def test_a_model_file_has_its_own_windows(exported: Path, tmp_path: Path) -> None:
    for path in exported.parent.iterdir():
        shutil.copy(path, tmp_path)
    path = tmp_path / "tiny.toml"
    path.write_text(path.read_text().replace("[output]", "[input]\nmax_tokens = 16\n[output]"))
    with pytest.raises(ModelFormatError, match=r"input\.max_tokens is for a tokenizer\.json"):
        Classifier(path)


def test_classify_and_info(model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["classify", "--model", str(model), "--text", "bad dog", "--fail-on-flagged"]) in (0, 1)
    answer = json.loads(capfd.readouterr().out)
    assert answer["model"].startswith("tiny-bert-1.2.3+")
    assert answer["scores"] == pytest.approx(Classifier(model).classify("bad dog").scores)
    assert main(["info", "--model", str(model)]) == 0
    out = capfd.readouterr().out
    assert "onnx: input_ids, attention_mask to logits of 3 labels" in out
    assert "windows of 14 tokens, 4 shared" in out
    assert main(["info", "--json", "--model", str(model)]) == 0
    assert json.loads(capfd.readouterr().out)["name"] == "tiny-bert"


def test_from_the_environment(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAFETYCLF_MODEL", str(model))
    monkeypatch.setenv("SAFETYCLF_THREADS", "1")
    assert Classifier().info()["name"] == "tiny-bert"
    assert Classifier().info()["threads"] == 1


def test_a_wrong_description_is_an_error_of_the_command(
    model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model.write_text("format = 1\n")
    assert main(["classify", "--model", str(model), "--text", "x"]) == 2
    assert f"safetyclf: error: {model}:1: 'format' must be" in capfd.readouterr().err


@pytest.mark.usefixtures("model")
def test_policies(capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("scipy")
    write_rows("data.jsonl")
    options = ["--model", "model.toml"]
    assert main(["calibrate", "rules.toml", "data.jsonl", *options]) == 0
    text = Path("rules.toml").read_text()
    model_id = Classifier("model.toml").model_id
    assert f'model = "{model_id}"' in text
    assert main(["policy", "check", "rules.toml", *options]) in (0, 1)
    assert "no-calibration" not in capfd.readouterr().out
    assert main(["policy", "test", "rules.toml", *options]) in (0, 1)
    assert "2" in capfd.readouterr().out

    classifier = Classifier("model.toml", policy="rules.toml")
    review = classifier.thresholds["harassment"].review
    assert review is not None
    assert review != 0.5
    verdict = classifier.classify("play at the c\u0430sino")  # a Cyrillic letter: our rules see through it
    assert verdict.action == "block"
    assert [match.term for match in verdict.matches] == ["casino"]
    assert main(["classify", "--policy", "rules.toml", *options, "--text", "good dog"]) == 0
    # A calibration is of one model.
    assert main(["classify", "--policy", "rules.toml", "--text", "good dog"]) == 2
    assert "was calibrated for the model tiny-bert" in capfd.readouterr().err


def test_term_lists_follow_the_model_file_of_the_tokenizer(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text(POLICY.replace("review = { recall = 0.8 }", "review = 0.9"))
    classifier = Classifier(exported, policy=tmp_path / "rules.toml")
    assert classifier.classify("to the casino").action == "block"
    assert classifier.classify("to the dog").matches == ()


@pytest.mark.usefixtures("model")
def test_compile_refuses(capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("scipy")
    Path("plain.toml").write_text(POLICY.replace("review = { recall = 0.8 }", "review = 0.9"))
    command = ["policy", "compile", "plain.toml", "--model", "model.toml", "--output", "out.safetensors"]
    assert main(command) == 2
    assert "only model files can be compiled" in capfd.readouterr().err


@pytest.mark.usefixtures("model")
def test_eval(capfd: pytest.CaptureFixture[str]) -> None:
    for package in ("scipy", "sklearn", "matplotlib"):
        pytest.importorskip(package)
    write_rows("data.jsonl")
    Path("data.toml").write_text('name = "pets"\nversion = "1"\nlicence = "CC0-1.0"\n')
    command = [
        "eval",
        "--suite",
        "data.jsonl",
        "--model",
        "model.toml",
        "--resamples",
        "20",
        "--output",
        "report",
    ]
    assert main(command) == 0
    capfd.readouterr()
    report = json.loads(Path("report/report.json").read_text())
    assert report["model"] == Classifier("model.toml").model_id
