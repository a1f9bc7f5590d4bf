"""Readers of stores, runs, catalogues and networks, with a small whole file or folder of each kind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from entry import Reader, hash_of
from of_images import COLUMNS, DRAW, GALAXY

OLD = Path(__file__).parents[1] / "compatibility" / "v0_1"
RUN = OLD / "run-galaxy10"

# ---------------------------------------------------------------- stores, runs and their documents


def _copy(source: Path) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, path)

    return make


def _read_store(path: Path) -> object:
    from morphoscope.data.store import open_store

    store = open_store(path, verify=True)
    return (
        store.targets(),
        store.labelled(),
        store.table.num_rows,
        np.array(store.images),
        store.meta.pixel_scale,
    )


def _store_with_masks(path: Path) -> None:
    from morphoscope.data.store import StoreMeta
    from morphoscope.data.store_writer import StoreWriter
    from morphoscope.labels.scheme import Classes

    meta = StoreMeta(scheme=Classes(name="two", classes=("a", "b")), mask_components=("bulge", "disc"))
    with StoreWriter(path, meta, image_shape=(24, 20, 3)) as writer:
        for number in range(4):
            row = {"id": f"g{number}", "label": number % 2, "source": "s", "ra": 1.0, "dec": 2.0}
            writer.append(GALAXY, row, GALAXY[:, :, 0] % 4)


def _read_store_with_masks(path: Path) -> object:
    from morphoscope.data.store import open_store

    store = open_store(path, verify=True)
    return store.targets(), store.mask(1, "disc"), np.array(store.images)


def _read_run(path: Path) -> object:
    """Everything of a run but its network, and the card that would be published with it."""
    from morphoscope.inference.calibration import read_calibration
    from morphoscope.inference.ood import read_distribution
    from morphoscope.runs.run import open_run
    from morphoscope.sharing.card import CardDetails, model_card

    run = open_run(path)
    kept, reference = read_calibration(run), read_distribution(run)
    model_card(run, name="x", digest="0" * 64, details=CardDetails())
    probabilities = np.full((2, run.scheme.outputs), 1 / run.scheme.outputs, np.float32)
    corrected = [] if kept is None else [each(probabilities) for each in kept.views.values()]
    distances = (
        None if reference is None else reference.distances(np.zeros((2, len(reference.mean_D)), np.float32))
    )
    predictions = run.predictions().num_rows if (path / "predictions.parquet").is_file() else None
    return (
        run.scheme.output_names,
        run.history(),
        run.metrics(),
        run.environment(),
        predictions,
        corrected,
        distances,
    )


def _read_network(path: Path) -> object:
    from morphoscope.runs.run import open_run

    return [np.asarray(tensor) for tensor in open_run(path).network().state_dict().values()]


def _small_run(path: Path) -> None:
    shutil.copytree(
        RUN, path, ignore=shutil.ignore_patterns("metrics.json", "predictions.parquet", "reference*", "cal*")
    )


def _read_results(path: Path) -> object:
    """What is printed and drawn of a run's results, and what a study takes from them."""
    from morphoscope.report.terminal import calibration_lines
    from morphoscope.runs.run import open_run
    from morphoscope.studies.results import Measured

    run = open_run(path)
    return calibration_lines(run.metrics()), Measured(0, run).values


class _Galaxies:
    path = Path("s")
    table = pa.table({"id": [f"g{n}" for n in range(40)]})

    def __len__(self) -> int:
        return 40

    def column(self, name: str) -> np.ndarray:
        return np.zeros(40)


def _split(path: Path) -> None:
    from morphoscope.data.splits.file import Split, fingerprint

    galaxies: Any = _Galaxies()
    rows = np.arange(40)
    Split("random", 1, 40, rows[:30], rows[30:35], rows[35:], fingerprint(galaxies)).save(path)


def _read_split_of_galaxies(path: Path) -> object:
    from morphoscope.data.splits.file import load_split

    galaxies: Any = _Galaxies()
    return load_split(path, galaxies).parts()


def _read_recipe(path: Path) -> object:
    from morphoscope.recipes import Recipe

    return Recipe.from_yaml(path).to_yaml()


def _tree(path: Path) -> None:
    from morphoscope.labels.tree_files import FOLDER

    shutil.copyfile(FOLDER / "gz2.yaml", path)


def _read_tree(path: Path) -> object:
    from morphoscope.labels.tree_files import decision_tree, tree_file

    tree = decision_tree(tree_file(str(path)).tree())
    return tree.columns, [tree.weights(question.key) for question in tree.questions]


def _checkpoint(path: Path) -> None:
    import torch

    from morphoscope.training.folder import NEEDED, AtomicCheckpoints

    state = {name: {"a": torch.arange(6.0), "b": [1, 2]} for name in sorted(NEEDED)}
    AtomicCheckpoints().save_checkpoint(state, path)


def _read_checkpoint(path: Path) -> object:
    from morphoscope.training.folder import AtomicCheckpoints

    state = AtomicCheckpoints().load_checkpoint(path, map_location="cpu")
    return np.asarray(state["epoch"]["a"]) if isinstance(state["epoch"], dict) else "other"


def _weights(path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    tensors = {"stem.weight": torch.arange(24.0).reshape(2, 3, 2, 2), "stem.bias": torch.zeros(2)}
    (save_file if path.suffix == ".safetensors" else torch.save)(tensors, path)


def _read_weights(path: Path) -> object:
    from morphoscope.models.pretrained import read_weights

    return {name: np.asarray(tensor) for name, tensor in read_weights(path).items()}


def _hub_folder(path: Path) -> None:
    path.mkdir()
    config = {
        "architecture": "test_resnet",
        "num_classes": 10,
        "num_features": 512,
        "model_args": {"in_chans": 3},
    }
    config["pretrained_cfg"] = {
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5] * 3,
        "input_size": [3, 32, 32],
        "license": "mit",
    }
    (path / "config.json").write_text(json.dumps(config))


def _read_hub_folder(path: Path) -> object:
    from morphoscope.models import hub

    return hub.hub_backbone(f"local-dir:{path}").model_dump()


# ---------------------------------------------------------------- catalogues


def _journal(path: Path) -> None:
    """What is kept of ``c.parquet``, which lies beside this folder once it is read."""
    from morphoscope.catalogue.checkpoint import Journal, partial_folder
    from morphoscope.catalogue.pipeline import Batch, Stamps

    out = path.parent / "journal-made" / "c.parquet"
    out.parent.mkdir()
    journal = Journal(out, _SCHEMA, {"run": "r", "date": "now"}, {"recipe.yaml": "0"})
    journal.open(resume=False, afresh=False)
    for start in (0, 3, 6):
        rows = pa.table(
            {"id": [f"g{start + n}" for n in range(2)], "p": pa.array([0.5, 0.25], pa.float32())},
            schema=_SCHEMA,
        )
        journal.add(
            rows,
            Batch(
                failures=[(f"g{start + 2}", "s.png", "is damaged")],
                stop=start + 3,
                digest=f"{start}",
                stamps=Stamps(),
            ),
        )
        journal.commit()
    journal.release()
    shutil.move(partial_folder(out), path)
    shutil.rmtree(out.parent)


_SCHEMA = pa.schema([("id", pa.string()), ("p", pa.float32())])


def _read_journal(path: Path) -> object:
    from morphoscope.catalogue.checkpoint import Journal, partial_folder, was_placed

    out = path.parent / "c.parquet"
    shutil.rmtree(partial_folder(out), ignore_errors=True)
    shutil.copytree(path, partial_folder(out))
    journal = Journal(out, _SCHEMA, {"run": "r", "date": "later"}, {"recipe.yaml": "0"})
    was_placed(out)
    try:
        journal.open(resume=True, afresh=True)
        return journal.done, [table.to_pylist() for table in journal.tables()], list(journal.failures())
    finally:
        journal.release()


def _read_catalogue(path: Path) -> object:
    from morphoscope.catalogue.formats.convert import convert

    out = path.parent / "converted.csv"
    out.unlink(missing_ok=True)
    try:
        return convert(path, out), out.read_bytes()
    finally:
        left = [each.name for each in path.parent.iterdir() if each.name.startswith(".converted")]
        if left:
            raise AssertionError(f"left behind: {left}")


def _read_similar(path: Path) -> object:
    from morphoscope.catalogue.similar import EmbeddedCatalogue

    catalogue = EmbeddedCatalogue(path)
    found = catalogue.find("g00002")
    near = catalogue.nearest(np.ones(catalogue.width, np.float32), 3)
    return catalogue.provenance, found is None, [each.values for each in near]


def _read_provenance(path: Path) -> object:
    from morphoscope.catalogue.formats.write import read_provenance

    return read_provenance(path)


def _hats(path: Path) -> None:
    from morphoscope.catalogue.formats.convert import convert

    rows = pa.table({name: COLUMNS[name] for name in ("id", "ra", "dec", "smooth")})
    place = path.parent / "c.parquet"
    pq.write_table(rows.replace_schema_metadata({"morphoscope.run": "r"}), place)
    convert(place, path)


def _read_hats(path: Path) -> object:
    from morphoscope.images.positions import SourceColumns, SourceTable

    rows = list(SourceColumns.of(SourceTable(path, 10.0)).rows())
    return _read_catalogue(path), sum(len(piece.ids) for piece in rows)


def _read_align(path: Path) -> object:
    from morphoscope.evaluation.compare import align
    from morphoscope.runs.run import open_run

    tables = [("a", open_run(RUN).predictions()), ("b", _predictions(path))]
    found = align(tables)
    return type(found).__name__


def _predictions(path: Path) -> pa.Table:
    from morphoscope.runs.run import Header, Run

    place = path.parent / "run-of-predictions"
    place.mkdir(exist_ok=True)
    shutil.copyfile(path, place / "predictions.parquet")
    header: Any = Header.model_construct()
    return Run(place, None, header).predictions()  # type: ignore[arg-type]


# ---------------------------------------------------------------- ONNX


def _onnx_graph() -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(DRAW.normal(size=(3, 10)).astype(np.float32), "w")
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["features"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["features", "w"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    ends = [("probabilities", 10), ("logits", 10), ("features", 3)]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width]) for name, width in ends],
        [weights],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8
    ).SerializeToString()


def _exported(path: Path) -> None:
    """``m.onnx`` with its description, in a folder."""
    from morphoscope.inference.engine.preparation import preparation_of, write_preparation
    from morphoscope.runs.run import open_run

    path.mkdir()
    graph = _onnx_graph()
    (path / "m.onnx").write_bytes(graph)
    said = preparation_of(
        open_run(RUN), path / "m.onnx", features=3, parity={}, versions={}, digest=hash_of(graph)
    )
    write_preparation(path / "m.json", said)


def _read_exported(path: Path) -> object:
    from morphoscope.inference.calibration import read_calibration
    from morphoscope.inference.engine.graph import open_exported

    run = open_exported(path / "m.onnx")
    kept = read_calibration(run)
    return run.scheme.output_names, run.recipe.to_yaml(), sorted(kept.views) if kept else None


def _read_graph(path: Path) -> object:
    from morphoscope.inference.engine.onnx_engine import OnnxEngine

    engine = OnnxEngine(path)
    return engine.feature_count, *engine(np.full((2, 8, 8, 3), 7, np.uint8))


READERS = (
    Reader("store", "store", _copy(OLD / "store"), _read_store),
    Reader("store with masks", "store", _store_with_masks, _read_store_with_masks),
    Reader("run", "run", _copy(RUN), _read_run),
    Reader("run of votes", "run", _copy(OLD / "run-votes"), _read_run),
    Reader("network of a run", "run", _small_run, _read_network, 0.3),
    Reader("results of a run", "run", _copy(RUN), _read_results),
    Reader("split", "split.json", _split, _read_split_of_galaxies),
    Reader("recipe", "recipe.yaml", _copy(RUN / "recipe.yaml"), _read_recipe),
    Reader("decision tree", "tree.yaml", _tree, _read_tree),
    Reader("predictions of a run", "predictions.parquet", _copy(RUN / "predictions.parquet"), _read_align),
    Reader("checkpoint", "last.ckpt", _checkpoint, _read_checkpoint),
    Reader("weights, safetensors", "w.safetensors", _weights, _read_weights),
    Reader("weights, PyTorch", "w.pth", _weights, _read_weights),
    Reader("configuration of a hub's model", "hub", _hub_folder, _read_hub_folder),
    Reader("journal of a catalogue", "journal", _journal, _read_journal),
    Reader("catalogue, Parquet", "c.parquet", _copy(OLD / "galaxy10.parquet"), _read_catalogue),
    Reader("catalogue with features", "c.parquet", _copy(OLD / "galaxy10.parquet"), _read_similar),
    Reader("catalogue, HATS", "c.hats", _hats, _read_hats),
    Reader("provenance, Parquet", "c.parquet", _copy(OLD / "galaxy10.parquet"), _read_provenance),
    Reader("provenance, FITS", "c.fits", _copy(OLD / "galaxy10.fits"), _read_provenance),
    Reader("provenance, VOTable", "c.vot", _copy(OLD / "galaxy10.vot"), _read_provenance),
    Reader("provenance, ECSV", "c.ecsv", _copy(OLD / "galaxy10.ecsv"), _read_provenance),
    Reader("exported run", "exported", _exported, _read_exported),
    Reader("ONNX graph", "m.onnx", lambda path: path.write_bytes(_onnx_graph()), _read_graph),
)
