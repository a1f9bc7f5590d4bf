"""The command that measures shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from morphoscope.cli.options import Overwrite


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(measure)


def measure(
    source: Annotated[
        str, typer.Argument(metavar="INPUT", help="FITS images: folder, glob, table, archive or mosaic.")
    ],
    out: Annotated[str, typer.Option(help="Table to write: .parquet, .fits, .vot, .ecsv, .csv or .hats.")],
    bands: Annotated[str | None, typer.Option(help="Bands, such as g,r,z, as for predict.")] = None,
    image_column: Annotated[str | None, typer.Option(help="Column of the table with the images.")] = None,
    sources: Annotated[Path | None, typer.Option(help="Table with ra and dec: INPUT is a mosaic.")] = None,
    cutout_arcsec: Annotated[float | None, typer.Option(help="Side of the cutouts of a mosaic.")] = None,
    detect: Annotated[
        bool, typer.Option("--detect", help="INPUT is a mosaic: find its sources and measure each.")
    ] = False,
    min_area: Annotated[
        int | None, typer.Option(help="With --detect: least pixels of a source. Default: 150.", min=1)
    ] = None,
    threshold: Annotated[float, typer.Option(help="Galaxy pixels, in noises above the sky.")] = 1.5,
    gain: Annotated[float | None, typer.Option(help="Electrons per unit of the image.")] = None,
    seconds: Annotated[float, typer.Option(help="Longest time for one galaxy.")] = 60.0,
    planes: Annotated[
        Path | None, typer.Option(help="Also draw the C–A and Gini–M20 planes (PNG or SVG).")
    ] = None,
    classes: Annotated[
        Path | None, typer.Option(help="With --planes: catalogue with the galaxies' classes, by id.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes. Default: all cores.", min=1)] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue this table where it was interrupted.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Measure the shapes of galaxies on FITS images: concentration, asymmetry, Gini, M20 and the like.

    The exit status is 1 if some galaxies could not be measured; the table has the reason.
    """
    from morphoscope.catalogue.measure import MeasureRequest, measure_catalogue, note_summary
    from morphoscope.errors import UsageError
    from morphoscope.extras import DRAWING, need
    from morphoscope.measurement.shapes import ShapeSettings
    from morphoscope.processes import available_cores

    if classes is not None and planes is None:
        raise UsageError("--classes colours the planes of --planes; give both")
    if min_area is not None and not detect:
        raise UsageError("--min-area is for the sources of --detect; give both")
    if planes is not None:
        need(DRAWING, "report", "--planes")
    request = MeasureRequest(
        source,
        out,
        bands=bands,
        image_column=image_column,
        sources=sources,
        cutout_arcsec=cutout_arcsec,
        detect=detect,
        **({} if min_area is None else {"min_area": min_area}),
        settings=ShapeSettings(threshold, gain, seconds),
        workers=workers,
        resume=resume,
        overwrite=overwrite,
    )
    done = measure_catalogue(request)
    note_summary(done, out, workers or available_cores())
    if planes is not None:
        from morphoscope.report.figures.shape_planes import draw_planes

        draw_planes(Path(out), planes, classes)
    if done.measured < done.galaxies:
        raise typer.Exit(1)
