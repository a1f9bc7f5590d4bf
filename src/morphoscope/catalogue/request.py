"""A catalogue request: the images, how they are read, and what is written.

One frozen object: the command line fills it from its options (and takes their help from its fields), Python
code makes it directly, and it is sent to the workers of a cluster. Light to import.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from morphoscope.errors import UsageError, did_you_mean
from morphoscope.images.bands import parse_bands
from morphoscope.images.stretch import MOST_PLANES, check_stretch


def _option(text: str, *, kind: type | None = None, least: int | None = None) -> dict[str, Any]:
    """Makes a field an option of the command line.

    Args:
        text: its help.
        kind: what the command line reads; None: what the field holds.
        least: the smallest value.
    """
    return {"help": text, "kind": kind, "min": least}


def check_scale(scale: str | None) -> None:
    """Refuse a scale that is not known.

    Raises:
        UsageError: it is none of "auto", "trained" and None.
    """
    if scale not in (None, "auto", "trained"):
        raise UsageError(f"--scale {scale}: 'auto' or 'trained' was expected; left out, the run decides")


def check_quality(quality: str) -> str:
    """Refuse anything but "auto" and "off", and return it.

    Raises:
        UsageError: it is something else.
    """
    if quality not in ("auto", "off"):
        raise UsageError(f"--quality {quality}: 'auto' or 'off' was expected")
    return quality


@dataclass(frozen=True)
class CatalogueRequest:
    """A request for a catalogue. Paths may be ``str`` or ``Path``.

    Attributes:
        source: a folder, a glob, an image, an archive, a table with an image column, or a store
            (see :func:`morphoscope.catalogue.inputs.open.open_input`); with ``sources``, a FITS mosaic.
        out: the catalogue; its ending says the format
            (see :func:`morphoscope.catalogue.formats.write.target_of`).
        crop: side in pixels of the centre crop of each image that shows what the training's images showed;
            None: as :func:`morphoscope.inference.preprocess.crop_resize_plan` says.
        scale: "auto": where the central galaxy is much smaller or larger than the training's, crop or pad the
            image so that it is as large, and add the columns ``galaxy_size`` and ``shown_side`` (see
            :func:`morphoscope.inference.preprocess.load_and_preprocess`); "trained": as ``crop`` says; None:
            as the run's recipe says (``evaluation.scale``), if nothing else says how much sky to show.
        size: side of the training's images, which is the only one that fits; checked if given.
        image_column: the table's column with the images; None: found by its name.
        bands: one to three bands of FITS images (up to eight for a run that was trained on planes of bands),
            a sequence or a text such as ``"g,r,z"``: one file a band, or parts of each file. None: the
            training's.
        stretch: how FITS images become pictures, one of :data:`morphoscope.images.stretch.STRETCHES`; None:
            as the training's, else "lupton".
        sources: a table with ``ra`` and ``dec``: ``source`` is then a mosaic (with ``{band}`` in its name:
            one per band), and cutouts around these positions are predicted. Adds the columns ``cutout`` (its
            side, arcsec) and ``on_mosaic``.
        cutout_arcsec: side of these cutouts; None: what the training's images show.
        size_column: column of ``sources`` with each cutout's own side, arcsec.
        positions: in place of ``source``: a table with positions, whose images ``survey`` has.
        survey: a cutout service (see :func:`morphoscope.cutouts.services.find_service`); ``source`` is then a
            table of positions. Adds the column ``cutout``.
        keep_images: folder to keep the fetched images in; what is there is not fetched again. None: they are
            not kept.
        service: a table of services of one's own (YAML).
        batch: images gathered for the network at once; None: as many as fit into 40 MB, from 16 to 256.
        workers: threads that decode; None: one per core.
        coverage: add the column ``set`` with classes that hold the truth for this share of galaxies like
            the training's (see :mod:`morphoscope.metrics.conformal`); None: no such column.
        per_class: the share holds within every class, and not only over all galaxies.
        estimate_shares: estimate the class shares of the input from the predictions for up to 2,000 of its
            galaxies, and give probabilities for these shares in place of the training's (see
            :mod:`morphoscope.metrics.class_shares`).
        embeddings: add the column ``embedding``, the features before the network's head.
        quality: "auto": a source that is too small or too faint, or none at all, gets no class but a reason
            in the column ``quality`` (see :mod:`morphoscope.images.source_quality`); "off": all get one.
        measure: add measured shapes of FITS images and arrays (see
            :data:`morphoscope.measurement.shapes.SHAPE_COLUMNS`), as ``morphoscope measure`` with its
            defaults does; ``shape_flag`` and ``shape_reason`` say what came of it.
        resume: continue an interrupted catalogue of the same name and request, if there is one.
        shard_rows: rows of each file of a catalogue in shards; at most so many in a file of a HATS catalogue.
        overwrite: replace a catalogue that is already there.

    Raises:
        UsageError: a batch below 1, an unknown stretch or scale, or bands that cannot be.
    """

    source: str | Path
    out: str | Path
    crop: int | None = field(
        default=None,
        metadata=_option("Side of the centre crop of each image, pixels. Default: as trained."),
    )
    scale: str | None = field(
        default=None,
        metadata=_option(
            "auto: crop or pad images whose galaxy is much smaller or larger than the training's; trained: "
            "never. Default: auto for 'default', else trained."
        ),
    )
    size: int | None = None
    image_column: str | None = field(
        default=None, metadata=_option("Column of the table with the images; with commas, one per band.")
    )
    bands: Sequence[str] = field(
        default=(),
        metadata=_option(
            "Bands of FITS images, such as g,r,z: '{id}_{band}.fits', or parts of each file.", kind=str
        ),
    )
    stretch: str | None = field(
        default=None,
        metadata=_option(
            "How FITS images become pictures: lupton, legacy, sdss, asinh or linear. Default: as trained."
        ),
    )
    sources: str | Path | None = field(
        default=None,
        metadata=_option("Table with ra and dec: INPUT is a FITS mosaic to cut them out of.", kind=Path),
    )
    cutout_arcsec: float | None = field(
        default=None,
        metadata=_option("Side of these cutouts, arcsec. Default: as the training's images."),
    )
    size_column: str | None = field(
        default=None, metadata=_option("Column of the positions with each cutout's side, arcsec.")
    )
    positions: str | Path | None = field(
        default=None,
        metadata=_option("Table with ra and dec, whose images --survey has; there is no INPUT.", kind=Path),
    )
    survey: str | None = field(
        default=None,
        metadata=_option("Fetch images from: legacy-dr10, sdss, ps1, hsc, euclid-q1, hips:ID, sia2:ADDRESS."),
    )
    keep_images: str | Path | None = field(
        default=None, metadata=_option("Folder to keep the fetched images in.", kind=Path)
    )
    service: str | Path | None = field(
        default=None, metadata=_option("Table of cutout services of your own (YAML).", kind=Path)
    )
    batch: int | None = field(
        default=None, metadata=_option("Images at a time; default: by their size.", least=1)
    )
    workers: int | None = None
    coverage: float | None = field(
        default=None,
        metadata=_option("Add a column 'set': classes that hold the truth for this share of galaxies."),
    )
    per_class: bool = field(default=False, metadata=_option("With --coverage: within every class."))
    estimate_shares: bool = field(
        default=False,
        metadata=_option("Probabilities for the input's own class shares, estimated from 2,000 galaxies."),
    )
    embeddings: bool = field(default=False, metadata=_option("Add the features, for 'morphoscope similar'."))
    measure: bool = field(
        default=False,
        metadata=_option(
            "Add measured shapes: concentration, asymmetry, Gini, M20 and the like. FITS alone."
        ),
    )
    quality: str = field(
        default="auto",
        metadata=_option("off: a class even for sources that are too small or too faint to tell."),
    )
    resume: bool = field(default=False, metadata=_option("Continue this catalogue where it was interrupted."))
    shard_rows: int | None = field(
        default=None,
        metadata=_option(
            "Rows of each file of a folder of Parquet files; at most so many for .hats.", least=1
        ),
    )
    overwrite: bool = field(default=False, metadata=_option("Replace what is already there."))

    def __post_init__(self) -> None:
        self._settle_source()
        object.__setattr__(self, "source", str(self.source))  # as text: a trailing slash means a folder
        object.__setattr__(self, "out", str(self.out))
        object.__setattr__(
            self, "bands", parse_bands(None if self.bands in ((), None) else self.bands, MOST_PLANES)
        )
        if self.stretch is not None:
            check_stretch(self.stretch)
        check_scale(self.scale)
        check_quality(self.quality)
        if self.scale == "auto" and self.crop is not None:
            raise UsageError("--scale auto chooses the crop of each image itself; leave out --crop")
        if self.estimate_shares and self.coverage is not None:
            raise UsageError(
                "--coverage makes sets for the class shares of the training, and --estimate-shares changes "
                "them; leave one of them out"
            )
        if self.estimate_shares and self.survey is not None:
            raise UsageError(
                "--estimate-shares needs images that are there; fetch them with 'morphoscope data cutouts' "
                "first"
            )
        if self.measure and self.sources is not None:
            raise UsageError(
                "--measure would measure cutouts that are resampled for the network; use 'morphoscope "
                "measure' with --sources, and join by id"
            )
        if self.measure and self.survey is not None and not self.bands:
            raise UsageError(
                "--measure needs fluxes, and --survey sends pictures unless --bands asks for FITS images"
            )
        if self.batch is not None and self.batch < 1:
            raise UsageError(f"--batch {self.batch}: at least 1 image at a time was expected")

    def _settle_source(self) -> None:
        """Let positions be the source, and the other way round.

        Raises:
            UsageError: there is none, or both are given, or no survey for positions.
        """
        given = self.source not in (None, "")
        if self.positions is not None and given and str(self.positions) != str(self.source):
            raise UsageError(f"--positions has the galaxies; leave INPUT ({self.source}) out")
        if self.positions is None and not given:
            raise UsageError("INPUT is missing: images, a table or a store; or --positions and --survey")
        if self.positions is not None and self.survey is None:
            raise UsageError("--positions needs --survey, the service that has their images")
        if self.survey is None and (self.keep_images or self.service):
            raise UsageError("--keep-images and --service are about images of a --survey; give that too")
        source = self.source if given else self.positions
        object.__setattr__(self, "source", source)
        if self.survey is not None:
            object.__setattr__(self, "positions", source)

    @classmethod
    def of(cls, source: Path | str, out: Path | str, options: Mapping[str, Any]) -> CatalogueRequest:
        """A request from keyword arguments.

        Raises:
            UsageError: there is no such option; the message suggests the most similar one.
        """
        known = [each.name for each in fields(cls)]
        for name in options:
            if name not in known:
                raise UsageError(f"a catalogue has no option '{name}'{did_you_mean(name, known, 'options')}")
        return cls(source, out, **options)

    @property
    def provenance(self) -> dict[str, str]:
        """The request's part of a catalogue's provenance, which must be the same when it is resumed."""
        options = {
            "bands": ",".join(self.bands),
            "cutout_arcsec": "" if self.cutout_arcsec is None else f"{self.cutout_arcsec:g}",
            "size_column": self.size_column or "",
            "survey": self.survey or "",
        }
        return {name: text for name, text in options.items() if text}
