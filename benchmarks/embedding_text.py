"""Does the student that reads texts beat a ridge regression of the same codes on TF-IDF? Neighbours, labels, interval, speed.

    python benchmarks/embedding_text.py RUN --out runs/text        a finished run of texts: `embed distill runs/notes --out RUN`
    python benchmarks/embedding_text.py RUN --out runs/text --table

Both learn the codes that the run's vector student of each seed gives its training and validation texts. They are judged on its test
texts: neighbours of the teacher's vectors, and labels of the nearest texts where there are labels. The strength of the ridge is
chosen on the validation texts. TF-IDF is of words and of groups of 3 to 5 letters, as the text student's hashed tokens are.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge
from sklearn.pipeline import FeatureUnion

from stillhouse.core.config import parse
from stillhouse.core.records import read_json, write_json
from stillhouse.families.embed.export.numpy_embedder import NumpyEmbedder
from stillhouse.families.embed.export.numpy_text import NumpyTextEmbedder
from stillhouse.families.embed.material import open_material
from stillhouse.families.embed.metrics.neighbourhood import judge, knn_overlap
from stillhouse.families.embed.metrics.rowwise import row_quality
from stillhouse.families.embed.plan import EmbedRunConfig
from stillhouse.families.embed.students.text_config import TextStudentConfig
from stillhouse.families.embed.text import TRAINING, TextLesson, distill_text_student

STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
DRAWS = 2000
ROUNDS = 5
HASHED = TextStudentConfig(tokens="hash", start="random")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a finished run of `embed distill` whose vectors have texts")
    parser.add_argument("--out", type=Path, required=True, help="folder of all figures; a second call goes on")
    parser.add_argument("--teacher", help="folder of the teacher, whose word pieces the student reads [hashed words]")
    parser.add_argument("--table", action="store_true", help="print what is there and make nothing")
    options = parser.parse_args()
    about = read_json(options.run / "run.json")
    config = parse(EmbedRunConfig, about["config"])
    if not options.table:
        for seed in range(config.seeds):
            if not (options.out / f"seed-{seed}.json").is_file():
                measure(config, seed, options)
    print(table(options.out))


def measure(config: EmbedRunConfig, seed: int, options: argparse.Namespace) -> None:
    """Train both on the codes of one seed and keep what each row of the test texts keeps."""
    material = open_material(config)
    data = material.data
    vectors = NumpyEmbedder.load(options.run / "arms" / "student" / f"seed-{seed}")
    width = config.student.levels[0]
    texts = {side: data.texts(rows) for side, rows in sides(material).items()}
    assert texts["test"] is not None, "the run's vectors have no texts"
    codes = {side: vectors.encode(data.store.read(rows))[:, :width] for side, rows in sides(material).items()}
    folder = options.out / f"student-{seed}"
    both = np.sort(np.concatenate([data.train, data.validation]))
    lesson = TextLesson(
        data.texts(both) or [],
        vectors.encode(data.store.read(both))[:, :width],
        config=HASHED if options.teacher is None else TextStudentConfig(),
        output=config.student.output,
        teacher=options.teacher,
    )
    distill_text_student(
        lesson, folder=folder, training=TRAINING, seed=seed, resume=(folder / "checkpoint.pt").is_file()
    )
    arms = {"text student": NumpyTextEmbedder.load(folder).encode, "ridge of TF-IDF": ridge(texts, codes)}
    speed = texts_a_second(arms, texts["test"])
    found: dict[str, Any] = {"seed": seed, "rows": len(material.test), "teacher": options.teacher or "hashed words"}
    for name, encode in arms.items():
        of_test = np.asarray(encode(texts["test"]))
        figures = judge(material.test_vectors, of_test, metric=material.metric, labels=data.labels(material.test))
        rows = row_quality(material.test_vectors, of_test, metric=material.metric)
        found[name] = {
            "rows": rows["knn_overlap"].tolist(),
            "right": right(of_test, data.labels(material.test)),
            "knn_overlap@10": figures["knn_overlap@10"],
            "of the codes": knn_overlap(codes["test"], of_test, metric="euclidean"),
            "spearman": figures["spearman"],
            "texts a CPU second": speed[name],
        }
        print(seed, name, {k: v for k, v in found[name].items() if not isinstance(v, list)}, flush=True)
    write_json(options.out / f"seed-{seed}.json", found)


def texts_a_second(arms: dict[str, Any], texts: Any) -> dict[str, float]:
    """Of each arm: texts over processor time, the median of `ROUNDS` rounds in turn after one that is not counted."""
    taken: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(1 + ROUNDS):
        for name, encode in arms.items():
            started = time.process_time()
            encode(texts)
            taken[name].append(time.process_time() - started)
    return {name: len(texts) / float(np.median(seconds[1:])) for name, seconds in taken.items()}


def sides(material: Any) -> dict[str, np.ndarray]:
    """Row numbers of training, validation and judged texts."""
    return {"train": material.data.train, "validation": material.data.validation, "test": material.test}


def ridge(texts: dict[str, Any], codes: dict[str, np.ndarray]) -> Any:
    """TF-IDF of words and letters -> codes; the strength that keeps most neighbours of the validation codes, then refitted."""

    def fit(names: tuple[str, ...], strength: float) -> Any:
        seen = [text for name in names for text in texts[name]]
        parts = [
            ("words", TfidfVectorizer(sublinear_tf=True)),
            ("letters", TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True, min_df=2)),
        ]
        union = FeatureUnion(parts)
        features = union.fit_transform(seen)
        model = Ridge(strength, solver="sparse_cg").fit(features, np.concatenate([codes[name] for name in names]))
        return lambda some: model.predict(union.transform(some))

    def kept(strength: float) -> float:
        guess = fit(("train",), strength)(texts["validation"])
        return knn_overlap(codes["validation"], guess, metric="euclidean")

    return fit(("train", "validation"), max(STRENGTHS, key=kept))


def right(codes: np.ndarray, labels: Any) -> list[float] | None:
    """Of each row: the share of its 10 nearest that have its label, more than half or not."""
    if labels is None:
        return None
    from sklearn.model_selection import cross_val_predict
    from sklearn.neighbors import KNeighborsClassifier

    guess = cross_val_predict(KNeighborsClassifier(10), codes, labels, cv=5)
    return (guess == labels).astype(float).tolist()


def table(place: Path) -> str:
    """Both arms, and their difference with a 95 % interval over test texts and seeds."""
    runs = [json.loads(path.read_text()) for path in sorted(place.glob("seed-*.json"))]
    if not runs:
        return "nothing there yet"
    names = ("text student", "ridge of TF-IDF")
    keys = ("knn_overlap@10", "of the codes", "spearman", "texts a CPU second")
    lines = [f"| | {' | '.join(keys)} | label of the 10 nearest |", "|---" * (len(keys) + 2) + "|"]
    for name in names:
        cells = [f"{np.mean([run[name][key] for run in runs]):.3f}" for key in keys]
        labels = [np.mean(run[name]["right"]) for run in runs if run[name]["right"] is not None]
        lines.append(f"| {name} | {' | '.join(cells)} | {f'{np.mean(labels):.3f}' if labels else '-'} |")
    for key, word in (("rows", "10 nearest kept"), ("right", "label")):
        if runs[0][names[0]][key] is not None:
            apart = np.array([np.subtract(run[names[0]][key], run[names[1]][key]) for run in runs])
            rng = np.random.default_rng(0)
            means = [
                apart[rng.integers(len(apart), size=len(apart))][
                    :, rng.integers(apart.shape[1], size=apart.shape[1])
                ].mean()
                for _ in range(DRAWS)
            ]
            low, high = np.quantile(means, [0.025, 0.975])
            lines.append(
                f"\n{word}: student - ridge {apart.mean():+.3f} (95 % {low:+.3f} to {high:+.3f}), {len(runs)} seeds"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
