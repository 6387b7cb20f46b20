"""The report of ``mmav errors`` on clips with any number of labels: figures, text, tables and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmav.evaluation.error_analysis import csv_rows
from mmav.evaluation.label_set_errors import (
    CLASS_COLUMNS,
    class_table,
    false_alarms,
    label_calibration,
    label_confusion,
    modality_scores,
    worst_clips,
)
from mmav.evaluation.label_sets import LabelSets, read_label_sets
from mmav.evaluation.map_bootstrap import compare_map
from mmav.evaluation.multi_label import multi_label_scores
from mmav.evaluation.thresholds import read_thresholds
from mmav.outputs import write_json
from mmav.tables import text_table, write_csv
from mmav.visualization.class_plots import draw_class_scores, draw_modality_scatter
from mmav.visualization.error_plots import draw_confusion, draw_reliability

FILES = (
    'errors.json',
    'classes.csv',
    'classes.png',
    'false_alarms.csv',
    'worst_clips.csv',
    'confusion.png',
    'reliability.png',
)
MODALITY_FILES = ('modalities.csv', 'modalities.png')
_CASES = ('both', 'audio_only', 'video_only', 'neither')


@dataclass(frozen=True)
class LabelErrors:
    """What was found out about a model.

    Attributes:
        sets: Its predictions.
        threshold: From which probability on a class is predicted for a clip; one, or one a class (C,).
        figures: What is written to errors.json.
    """

    sets: LabelSets
    threshold: float | np.ndarray
    figures: dict[str, Any]


def analyze_label_errors(
    path: str,
    *,
    part: str | None = None,
    thresholds: str | float = 0.5,
    other: str | None = None,
    modalities: Sequence[str] | None = None,
    resamples: int = 1000,
    show_progress: bool = False,
) -> LabelErrors:
    """Analyses a dump of clips with any number of labels.

    Args:
        path: The dump.
        part: Which part of the label, where it has several.
        thresholds: A number or a file, see :func:`mmav.evaluation.thresholds.read_thresholds`.
        other: Dump of a model to compare with.
        modalities: Dumps of an audio-only and of a video-only model.
        resamples: Of the bootstrap that compares.
        show_progress: Whether to show a progress bar.

    Raises:
        MmavError: A file is missing or wrong, or two do not go together.
    """
    sets = read_label_sets(path, part)
    threshold = read_thresholds(thresholds).of(sets.classes if sets.named else None)
    figures: dict[str, Any] = dict(
        predictions=path,
        part=part,
        thresholds=thresholds,
        clips=len(sets.keys),
        labels=int(sets.labels.sum()),
        without_label=int((~sets.labels.any(axis=1)).sum()),
        broken=int(sets.broken.sum()),
        not_finite=int((~sets.answered & ~sets.broken).sum()),
        num_classes=len(sets.classes),
        classes_not_judged=int((~sets.answers.judged).sum()),
        **multi_label_scores(sets.answers, threshold),
        calibration=label_calibration(sets),
        classes=class_table(sets, threshold),
        false_alarms=false_alarms(sets, threshold),
        worst_clips=worst_clips(sets, threshold),
    )
    if modalities:
        audio, video = (read_label_sets(each, part, like=sets.lists) for each in modalities)
        found, rows = modality_scores(audio, video, sets, threshold)
        figures['modalities'] = dict(found, files=list(modalities), classes=rows)
    if other:
        rival = read_label_sets(other, part, like=sets.lists)
        compared = compare_map(sets, rival, resamples=resamples, show_progress=show_progress)
        figures['comparison'] = dict(other=other, **compared)
    return LabelErrors(sets, threshold, figures)


def tell_label_errors(errors: LabelErrors, num: int = 5) -> str:
    """The findings as text.

    Args:
        errors: See :func:`analyze_label_errors`.
        num: How many classes, pairs and clips.
    """
    figures = errors.figures
    measured = figures['calibration']
    left = figures['classes_not_judged']
    lines = [
        f'{figures["predictions"]}: {figures["clips"]} clips with {figures["labels"]} labels of '
        f'{figures["num_classes"]} classes' + (f', {figures["part"]}s' if figures['part'] else ''),
        _line("mAP, AUC, d'", f'{_figure(figures["mAP"])}, {_figure(figures["AUC"])}, {_figure(figures["d_prime"])}'),
        _line('hit@1', _figure(figures['hit1'])),
        _line(
            f'macro F1, micro F1 at {figures["thresholds"]}',
            f'{_figure(figures["macro_f1"])}, {_figure(figures["micro_f1"])}',
        ),
        _line('clips without a label', figures['without_label']),
        _line('cannot be read, so never found', figures['broken']),
        _line('scores not finite, so wrong', figures['not_finite']),
    ]
    if left:
        lines.append(_line('classes left out of the means', f'{left}, which no clip has, or every clip'))
    if measured['clips']:
        each = f'{measured["ece"]:.4f}; mean of the classes {measured["ece_classes"]:.4f}'
        lines.append(_line('ECE (15 bins) of the others', each))
        lines.append(_line('their mean probability', f'{measured["confidence"]:.4f}'))
        lines.append(_line('share that is true', f'{measured["accuracy"]:.4f}'))
    judged = [row for row in figures['classes'] if row['AP'] is not None]
    lines += _classes('worst classes', judged[:num])
    if len(judged) > num:
        lines += _classes('best classes', judged[: -num - 1 : -1][: len(judged) - num])
    if figures['false_alarms']:
        lines.append('false alarms on clips with another class, more often than on others')
        lines += [
            f'  {pair["count"]:<6} ({pair["share"]:.0%}, else {pair["elsewhere"]:.0%})  {pair["predicted"]} where '
            f'there is {pair["true"]}' + (f', {pair["instead"]} in its place' if pair['instead'] else '')
            for pair in figures['false_alarms'][:num]
        ]
    if figures['worst_clips']:
        lines.append('worst clips')
        lines += [
            f'  {clip["path"]}: ' + '; '.join(_told(clip)) + f' (loss {clip["loss"]:.2f})'
            for clip in figures['worst_clips'][:num]
        ]
    return '\n'.join([*lines, *_modalities(figures), *_comparison(figures)])


def _told(clip: dict[str, Any]) -> list[str]:
    said = ((name, str(clip[name.replace(' ', '_')]).replace('|', ', ')) for name in ('missed', 'false alarms'))
    return [f'{name} {text}' for name, text in said if text] or ['unsure']


def _classes(title: str, rows: Sequence[dict[str, Any]]) -> list[str]:
    names = ('AP', 'AUC', 'F1', 'precision', 'recall')
    cells: list[tuple[str, ...]] = [(title, 'clips', *names, 'best F1', 'at')]
    cells += [
        (
            f'  {row["class"]}',
            str(row['support']),
            *(_figure(row[name], 3) for name in names),
            _figure(row['best_F1'], 3),
            _figure(row['best_threshold'], 3),
        )
        for row in rows
    ]
    return text_table(cells).split('\n')


def _modalities(figures: dict[str, Any]) -> list[str]:
    found = figures.get('modalities')
    if found is None:
        return []
    scores = ', '.join(f'{name} {_figure(found[name]["mAP"])}' for name in ('audio', 'video', 'model'))
    lines = [f'on {found["clips"]} clips of {" and ".join(found["files"])}, too, mAP: {scores}']
    total = max(sum(found['labels'][case] for case in _CASES), 1)
    for case in _CASES:
        number, of_model = found['labels'][case], found['labels']['found'][case]
        told = f'; of these {figures["predictions"]} finds {of_model / number:.1%}' if number else ''
        lines.append(f'  labels found by {case.replace("_", " "):12}{number:>7} ({number / total:.1%}){told}')
    return lines


def _comparison(figures: dict[str, Any]) -> list[str]:
    found = figures.get('comparison')
    if found is None:
        return []
    low, high = found['interval']
    clips = (
        f'against {found["other"]}: {found["clips"]} clips; {found["only_in_first"]} only in the first and '
        f'{found["only_in_second"]} only in the second left out'
    )
    lead = (
        f'  mAP {found["mAP_first"]:.4f} and {found["mAP_second"]:.4f}, difference {found["difference"]:+.4f}, '
        f'95 % in [{low:+.4f}, {high:+.4f}], p = {found["p_value"]:.3g} (paired bootstrap of the clips, '
        f'{found["resamples"]} times)'
    )
    return [clips, lead]


def _figure(value: float | None, digits: int = 4) -> str:
    return '-' if value is None or np.isnan(value) else f'{value:.{digits}f}'


def _line(name: str, value: object) -> str:
    return f'  {name:34}{value}'


def write_label_errors(errors: LabelErrors, folder: Path) -> list[str]:
    """Writes tables, pictures and figures.

    Args:
        errors: See :func:`analyze_label_errors`.
        folder: Where to.

    Returns:
        The names of the files.
    """
    figures, sets = errors.figures, errors.sets
    written = ['errors.json', 'classes.csv', 'false_alarms.csv', 'worst_clips.csv']
    write_json(folder / 'errors.json', figures)
    write_csv(folder / 'classes.csv', csv_rows(figures['classes'], CLASS_COLUMNS))
    columns = ['true', 'predicted', 'count', 'share', 'elsewhere', 'excess', 'instead']
    write_csv(folder / 'false_alarms.csv', csv_rows(figures['false_alarms'], columns))
    columns = ['sample_idx', 'path', 'loss', 'labels', 'missed', 'false_alarms']
    write_csv(folder / 'worst_clips.csv', csv_rows(figures['worst_clips'], columns))
    if any(row['AP'] is not None for row in figures['classes']):
        draw_class_scores(figures['classes'], folder / 'classes.png')
        written.append('classes.png')
    counts = label_confusion(sets, errors.threshold)
    if counts.any():
        draw_confusion(counts, sets.classes, folder / 'confusion.png', clips=sets.labels.sum(axis=0))
        written.append('confusion.png')
    if figures['calibration']['clips']:
        draw_reliability(figures['calibration'], folder / 'reliability.png', pairs=True)
        written.append('reliability.png')
    if 'modalities' in figures:
        rows = figures['modalities']['classes']
        columns = ['class', 'support', 'AP_audio', 'AP_video', 'AP_model', 'gain']
        write_csv(folder / 'modalities.csv', csv_rows(rows, columns))
        written.append('modalities.csv')
        if rows:
            draw_modality_scatter(rows, folder / 'modalities.png')
            written.append('modalities.png')
    return sorted(written)
