"""The commands that write, on small inputs, and how to tell whether what they made is whole."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FORMATS = ("parquet", "csv", "ecsv", "fits", "vot", "hats")
RECIPE = """
data: {validation: 0.4, test: 0.2}  # 24 galaxies to calibrate with: at least 20 are needed
augment: {size: 24}
model: {name: test_resnet, pretrained: false}
training: {epochs: 3, batch: 16, workers: 0, precision: fp32}
evaluation: {views: 1}
"""


@dataclass(frozen=True)
class Verb:
    """A command that writes.

    Attributes:
        name: of the row in the table.
        out: what it makes is called.
        command: its words for that path; ``resume`` says that an earlier attempt was stopped.
        content: a digest of what it has made, and an error if that is not whole.
        before: makes what the command changes in place.
        work: done in place of a command, where there is none of so short a life.
        no_input: why no input can change between a kill and the next attempt.
    """

    name: str
    out: str
    command: Callable[[Path, bool], list[str]]
    content: Callable[[Path], str]
    before: Callable[[Path], object] = lambda out: None
    work: Callable[[Path], None] | None = None
    no_input: str = ""


def digest(*values: object) -> str:
    return hashlib.sha256(repr(values).encode()).hexdigest()[:12]


def of_store(out: Path) -> str:
    from morphoscope.data.store import open_store

    store = open_store(out, verify=True)
    return digest(
        store.table.to_pylist(), np.asarray(store.images).tobytes(), (out / "unreadable.csv").exists()
    )


def of_table(out: Path) -> str:
    import pyarrow.parquet as pq

    from morphoscope.catalogue.formats.convert import parquet_parts
    from morphoscope.catalogue.formats.write import read_provenance
    from morphoscope.images.tables import read_table

    if out.suffix != ".csv":
        assert read_provenance(out)
    tables = [pq.read_table(part) for part in parquet_parts(out)] if out.is_dir() else [read_table(out)]
    return digest([table.to_pylist() for table in tables])


def of_run(out: Path) -> str:
    from morphoscope.inference.calibration import read_calibration
    from morphoscope.inference.ood import read_distribution
    from morphoscope.runs.run import open_run

    run = open_run(out)
    run.network()
    history = {name: values.tolist() for name, values in run.history().items() if name != "seconds"}
    reference, metrics = read_distribution(run), run.metrics()
    # Between training and evaluation a run is finished, and --resume evaluates it.
    trained = digest(run.header.weights_sha256, history)
    return f"{trained} " + digest(
        read_calibration(run),
        None if reference is None else reference.mean_D.tolist(),
        metrics.get("test", {}).get("accuracy"),
    )


def of_calibration(out: Path) -> str:
    from morphoscope.inference.calibration import read_calibration
    from morphoscope.inference.ood import read_distribution
    from morphoscope.runs.run import open_run

    run = open_run(out)
    reference = read_distribution(run)
    return digest(read_calibration(run), None if reference is None else reference.mean_D.tolist())


def of_export(out: Path) -> str:
    from morphoscope.inference.engine.graph import open_exported

    run = open_exported(out)  # compares the graph with the checksum in its description
    return digest(run.scheme.output_names, run.recipe.to_yaml())


def of_folders(out: Path) -> str:
    pictures = sorted(path.relative_to(out) for path in out.rglob("*.png"))
    return digest(
        (out / "images.csv").read_text(), *((str(name), (out / name).read_bytes()) for name in pictures)
    )


def of_hdf5(out: Path) -> str:
    import h5py

    with h5py.File(out) as file:
        return digest([(name, file[name][...].tolist()) for name in sorted(file)])


def of_study(out: Path) -> str:
    """The numbers of a finished study that do not depend on the machine's day."""
    from morphoscope.errors import MorphoscopeError

    if not (out / "results.json").is_file() or not (out / "study.html").is_file():
        raise MorphoscopeError(f"{out} is unfinished")
    results = json.loads((out / "results.json").read_text())
    assert "</html>" in (out / "study.html").read_text()
    return digest(
        [
            (row, name, value)
            for row, found in sorted(results.items())
            for name, value in sorted(found["mean"].items())
            if "second" not in name and "memory" not in name
        ]
    )


def verbs(material: Path) -> list[Verb]:
    """The commands on small inputs that lie in a folder: images, store, run, catalogue.parquet."""
    images, store, run = (str(material / name) for name in ("images.csv", "store", "run"))
    catalogue = str(material / "catalogue.parquet")

    def predict(out: Path, resume: bool) -> list[str]:
        return ["predict", run, images, "--out", str(out), "--batch", "4", *(["--resume"] if resume else [])]

    def train(out: Path, resume: bool) -> list[str]:
        begun = ["--resume"] if resume and (out / "run.yaml").is_file() else []
        return [
            "train",
            str(material / "recipe.yaml"),
            "--store",
            store,
            "--out",
            str(out),
            "--no-report",
            *begun,
        ]

    def export_store(out: Path, _: bool) -> list[str]:
        return ["data", "info", store, "--export", str(out)]

    def study(out: Path, _: bool) -> list[str]:
        settings = ("model.name=test_resnet", "model.fused=none", "model.attention=none", "augment.size=24")
        settings += ("training.epochs=2", "training.batch=16", "training.precision=fp32")
        words = ["study", "yan", "--store", str(material / "ten"), "--out", str(out), "--quick"]
        words += ["--from-scratch", "--row", "yan/efficientnetv2s-cbam-published"]
        return [*words, *(word for each in settings for word in ("--set", each))]

    def copy_run(out: Path) -> None:
        shutil.copytree(run, out)
        for name in ("calibration.json", "reference.safetensors"):
            (out / name).unlink(missing_ok=True)

    return [
        Verb(
            "ingest",
            "store",
            lambda out, _: ["data", "ingest", "folder", f"{material / 'classes'}", str(out), "--size", "24"],
            of_store,
        ),
        *(Verb(f"predict {ending}", f"c.{ending}", predict, of_table) for ending in FORMATS),
        *(
            Verb(
                f"convert {ending}",
                f"c.{ending}",
                lambda out, _: ["convert", catalogue, "--out", str(out)],
                of_table,
            )
            for ending in FORMATS[1:]
        ),
        Verb("train", "run", train, of_run),
        Verb(
            "calibrate",
            "run",
            lambda out, _: ["calibrate", str(out), "--store", store, "--no-report"],
            of_calibration,
            copy_run,
        ),
        Verb("publish", "model", lambda out, _: ["publish", run, str(out)], of_run),
        Verb(
            "export onnx",
            "m.onnx",
            lambda out, _: ["export", run, "--onnx", str(out), "--overwrite"],
            of_export,
        ),
        Verb("export folders", "classes", export_store, of_folders),
        Verb("export hdf5", "galaxies.h5", export_store, of_hdf5),
        Verb("study", "study", study, of_study),
    ]


# ---------------------------------------------------------------- the inputs


def hasten(material: Path) -> None:
    """Do once in this process what would cost each child seconds.

    The exporter's first graph sets up its tables. A study's page describes all networks of its paper; here
    one small network stands for them, and figures are written without being drawn.
    """
    import functools

    from morphoscope import files
    from morphoscope.inference.engine.export import export_onnx
    from morphoscope.recipes import Model, Recipe
    from morphoscope.report.figures import style
    from morphoscope.runs.run import open_run
    from morphoscope.studies import page_context

    export_onnx(open_run(material / "run"), material / "first.onnx", overwrite=True)
    original = page_context.meta_network

    @functools.cache
    def small(outputs: int) -> object:
        return original(Recipe(model=Model(name="test_resnet", pretrained=False)), outputs)

    def save(figure: object, path: Path | str, **_: object) -> Path:
        with files.atomic_file(Path(path)) as partial:
            partial.write_bytes(b"not drawn")
        return Path(path)

    style.save, style.inline_svg = save, lambda figure, name, description: f"<svg><!--{name}--></svg>"  # type: ignore[assignment]
    page_context.meta_network = lambda recipe, outputs: small(outputs)  # type: ignore[assignment,return-value]


def make_material(material: Path) -> None:
    import cv2
    import pyarrow as pa
    import pyarrow.parquet as pq

    (material / "recipe.yaml").write_text(RECIPE)
    draw = np.random.default_rng(5)
    for number in range(60):
        image = draw.integers(0, 60, (32, 32, 3))
        image[10:22, 10:22, number % 3] += 150
        for folder in (material / "classes" / "rgb"[number % 3], material / "images"):
            folder.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / f"g{number:02d}.png"), image.astype(np.uint8))
    _ingest(material)
    run_command(
        *("train", str(material / "recipe.yaml"), "--no-report", "--store", str(material / "store")),
        *("--out", str(material / "run")),
    )
    _ten_classes(material / "ten", seed=5)
    lines = [f"images/g{number:02d}.png,{number},0" for number in range(60)]
    (material / "images.csv").write_text("\n".join(["image,ra,dec", *lines]))
    rows = pa.table(
        {
            "id": [f"g{n}" for n in range(20_000)],
            "ra": np.linspace(0, 359, 20_000),
            "dec": np.linspace(-80, 80, 20_000),
        }
    )
    pq.write_table(rows.replace_schema_metadata({"morphoscope.run": "r"}), material / "catalogue.parquet")


def make_changed(material: Path, changed: Path) -> None:
    """The same with other pixels in one galaxy of each kind of input, and a row less in the catalogue."""
    import cv2
    import pyarrow.parquet as pq

    shutil.copytree(material, changed)
    other = np.full((32, 32, 3), 200, np.uint8)
    for image in (changed / "classes" / "b" / "g02.png", changed / "images" / "g02.png"):
        cv2.imwrite(str(image), other)
    for store in ("store", "ten"):
        shutil.rmtree(changed / store)
    _ingest(changed)
    _ten_classes(changed / "ten", seed=6)
    rows = pq.read_table(changed / "catalogue.parquet")
    pq.write_table(rows.slice(1), changed / "catalogue.parquet")


def _ingest(material: Path) -> None:
    run_command(
        "data", "ingest", "folder", str(material / "classes"), str(material / "store"), "--size", "24"
    )


def run_command(*words: str) -> None:
    """Run a command line in this process."""
    from morphoscope.__main__ import main

    sys.argv = ["morphoscope", *words]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise


def _ten_classes(place: Path, *, seed: int) -> None:
    from morphoscope.data.store import StoreMeta
    from morphoscope.data.store_writer import StoreWriter
    from morphoscope.labels.galaxy10 import GALAXY10

    draw = np.random.default_rng(seed)
    with StoreWriter(place, StoreMeta(scheme=GALAXY10), image_shape=(32, 32, 3)) as writer:
        for number in range(60):
            image = draw.integers(0, 60, (32, 32, 3)) + 15 * (number % 10)
            writer.append(image.astype(np.uint8), {"id": f"g{number}", "label": number % 10, "source": "s"})
