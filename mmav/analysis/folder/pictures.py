"""The pictures of a folder's report: the surest mistakes, the confusion matrix, the course of training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.registry import init_default_scope

from mmav.analysis.folder.results import BOTH, Results
from mmav.analysis.logs import default_keys, draw, read_log
from mmav.config.reading import load_checked_config
from mmav.errors import MmavError
from mmav.evaluation.error_analysis import confusion
from mmav.evaluation.predictions import load_predictions
from mmav.registry import DATASETS
from mmav.visualization.error_plots import draw_confusion
from mmav.visualization.prediction_sheet import draw_prediction_sheet, inputs_of

MISTAKES = 8


def draw_pictures(folder: Path, config: Path, results: Results, *, training: Path) -> dict[str, Path]:
    """Draws what there is to draw.

    Args:
        folder: Where pictures go.
        config: The model's config.
        results: Of the test.
        training: Work dir of the training.

    Returns:
        Name of a picture -> its file.
    """
    pictures = dict(confusion=folder / 'confusion.png')
    draw_confusion(*confusion(results.model), pictures['confusion'])
    log = read_log(training)
    keys = [key for key in default_keys([log]) if key in ('loss', 'top1')]
    if keys:
        log.name = 'the model'
        pictures['curves'] = folder / 'curves.png'
        draw([log], keys, pictures['curves'])
    if _draw_mistakes(folder / 'mistakes.png', config, results):
        pictures['mistakes'] = folder / 'mistakes.png'
    return pictures


def _draw_mistakes(path: Path, config: Path, results: Results) -> bool:
    """Draws the wrong clips of which the model was surest; False if there are none."""
    places = results.mistakes(MISTAKES)
    if not places:
        return False
    rows, classes = load_predictions(results.outcomes[BOTH].name)
    init_default_scope('mmav')
    dataset: Any = DATASETS.build(load_checked_config(str(config)).test_dataloader.dataset)
    chosen = [rows[place] for place in places]
    try:
        inputs = inputs_of(chosen, dataset)
    except MmavError:  # a file was moved away since
        return False
    draw_prediction_sheet(chosen, inputs, path, classes=(classes or {}).get('label'))
    return True
