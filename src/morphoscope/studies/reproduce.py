"""A study in one call: train its rows and write its page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from morphoscope.data.store import Store, as_store
from morphoscope.errors import UsageError
from morphoscope.extras import DRAWING, TRAINING, need
from morphoscope.studies.page import summary, write_study_page
from morphoscope.studies.results import Results
from morphoscope.studies.run import run_study
from morphoscope.studies.study import Options, Study, find_study


@dataclass(frozen=True)
class StudyDone:
    """What a study produced.

    Attributes:
        results: every measured number.
        page: ``study.html``.
        lines: published and measured values as text.
        not_run: rows without a measurement.
    """

    results: Results
    page: Path
    lines: list[str]
    not_run: list[str]


def study(
    which: Study | str,
    store: Store | Path | str,
    out: Path | str,
    options: Options | None = None,
    *,
    test_images: Path | str | None = None,
    progress: bool = True,
) -> StudyDone:
    """Train every row of a paper and write its page; an interrupted study is resumed.

    Args:
        which: the study or its short name: cheng, tong, yan, ng or fu.
        store: galaxies with the study's labels.
        out: the study's folder.
        options: see :class:`morphoscope.studies.study.Options`.
        test_images: for ``ng``, Kaggle's test images; a ``submission.csv`` is written for each row.
        progress: show a bar over the steps of each training.

    Raises:
        MissingExtra: torch and the rest of the extra ``train`` are not installed.
        UsageError: the store's labels are not the study's, a row is unknown, or ``out`` was started with
            other options.
        MorphoscopeError: no row could be trained.
    """
    need((*TRAINING, *DRAWING), "train", "a study")
    which = find_study(which) if isinstance(which, str) else which
    store = as_store(store)
    options = options or Options()
    if test_images is not None and which.key != "ng":
        raise UsageError("test images and submissions are only for study ng")
    results = run_study(which, store, Path(out), options, progress=progress)
    if test_images is not None:
        from morphoscope.studies.ng.study import write_submission

        for row in results.rows.values():
            for run in row.runs()[:1]:
                write_submission(run, test_images, run.path / "submission.csv")
    page = write_study_page(which, results, store, Path(out), options)
    not_run = [name for name, row in results.rows.items() if not row.runs()]
    return StudyDone(results, page, summary(which, results), not_run)
