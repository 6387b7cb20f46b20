#!/usr/bin/env python
"""Analyzes the errors of a model: confused classes, worst classes, calibration, what either modality decides alone, and
whether its lead over another model is significant. Clips that cannot be read count as wrong. Clips may have one label
each, or any number of them.
"""

import argparse
from pathlib import Path
from typing import Any

from mmav.analysis import label_errors
from mmav.engine.cli import run_tool
from mmav.errors import MmavError
from mmav.evaluation.error_analysis import (
    NO_ANSWER,
    Outcomes,
    calibration,
    class_accuracies,
    compare,
    confusion,
    csv_rows,
    macro_f1,
    modality_cases,
    read_outcomes,
    worst_pairs,
)
from mmav.evaluation.predictions import is_multi_label, load_predictions
from mmav.outputs import check_folder, write_json
from mmav.tables import write_csv
from mmav.visualization.class_plots import draw_class_scores
from mmav.visualization.error_plots import draw_confusion, draw_reliability

EXAMPLE = """examples:
  python tools/test.py CONFIG CHECKPOINT --dump mmt.pkl
  python tools/analysis_tools/analyze_errors.py mmt.pkl --out errors
  python tools/analysis_tools/analyze_errors.py mmt.pkl --other mbt.pkl --audio mat.pkl --video mvit.pkl --out errors

DIR gets confusion.png, classes.csv and classes.png, reliability.png, errors.json, and of clips with one label each
worst_pairs.csv and, with --audio and --video, one_modality.csv, the clips that one of the two gets right and the other
wrong. Of clips with any number of labels it gets false_alarms.csv, worst_clips.csv and, with --audio and --video,
modalities.csv and modalities.png; classes.csv then has AP, AUC, F1 and the best threshold of each class."""

CASES = ('both', 'audio_only', 'video_only', 'neither')
CASES_FILE = 'one_modality.csv'
FILES = ('errors.json', 'classes.csv', 'classes.png', 'worst_pairs.csv', 'confusion.png', 'reliability.png', CASES_FILE)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('predictions', help='file written by tools/test.py --dump')
    parser.add_argument('--other', metavar='FILE.pkl', help='dump of the model to compare with, on the same clips')
    parser.add_argument('--audio', metavar='FILE.pkl', help='dump of an audio-only model; goes with --video')
    parser.add_argument('--video', metavar='FILE.pkl', help='dump of a video-only model; goes with --audio')
    parser.add_argument('--part', help='part of the label, such as verb, of clips with several; action: all together')
    parser.add_argument('--out', metavar='DIR', help='folder for plots, tables and JSON; without it only print')
    parser.add_argument('--num', type=int, default=5, help='number of worst classes and pairs to print')
    parser.add_argument(
        '--thresholds',
        metavar='FILE|NUMBER',
        help='of clips with any number of labels: from which probability on a class is predicted for a clip; a file of '
        'mmav thresholds, or one number; default: 0.5',
    )
    parser.add_argument(
        '--resamples',
        type=int,
        metavar='N',
        help='of clips with any number of labels: how often --other draws the clips anew; default: 1000',
    )
    args = parser.parse_args()
    if bool(args.audio) != bool(args.video):
        raise MmavError('--audio and --video go together: give the dumps of both')
    given = [args.predictions, *filter(None, (args.other, args.audio, args.video))]
    if args.out:  # before any work, those of either kind of clips
        check_folder(args.out, [name for name in FILES if name in label_errors.FILES], inputs=given)
    if is_multi_label(load_predictions(args.predictions)[0]):
        _label_sets(args, given)
        return
    for name in ('thresholds', 'resamples'):
        if getattr(args, name) is not None:
            raise MmavError(f"--{name} is for clips with any number of labels: those of '{args.predictions}' have one")
    if args.out:
        check_folder(args.out, FILES if args.audio else [name for name in FILES if name != CASES_FILE], inputs=given)
    model = read_outcomes(args.predictions, args.part)
    answered = model.predicted != NO_ANSWER
    classes, pairs = class_accuracies(model), worst_pairs(model)
    figures: dict[str, Any] = dict(
        predictions=args.predictions,
        part=args.part,
        clips=len(model.keys),
        broken=int(model.broken.sum()),
        not_finite=int((~answered & ~model.broken).sum()),
        top1=float(model.right.mean()),
        mean_class_top1=sum(row['top1'] for row in classes) / len(classes),
        macro_f1=macro_f1(model),
        classes_without_clips=len(model.classes) - len(classes),
        calibration=calibration(model.confidence[answered], model.right[answered]),
    )
    one_modality: list[dict[str, Any]] = []
    if args.audio:
        sound, picture = (read_outcomes(path, args.part, like=model.lists) for path in (args.audio, args.video))
        figures['modalities'], one_modality = modality_cases(sound, picture, model)
        figures['modalities'].update(audio=args.audio, video=args.video)
    if args.other:
        other = read_outcomes(args.other, args.part, like=model.lists)
        figures['comparison'] = dict(other=args.other, **compare(model, other))
    print(_summary(figures, classes[: args.num], pairs[: args.num]))
    if args.out:
        _write(Path(args.out), model, {**figures, 'classes': classes, 'pairs': pairs}, one_modality)


def _label_sets(args: argparse.Namespace, given: list[str]) -> None:
    """Clips with any number of labels."""
    if args.resamples is not None and not args.other:
        raise MmavError('--resamples goes with --other, which it compares with')
    if args.out:
        files = [*label_errors.FILES, *(label_errors.MODALITY_FILES if args.audio else ())]
        check_folder(args.out, files, inputs=[*given, *filter(None, [args.thresholds])])
    errors = label_errors.analyze_label_errors(
        args.predictions,
        part=args.part,
        thresholds=0.5 if args.thresholds is None else args.thresholds,
        other=args.other,
        modalities=[args.audio, args.video] if args.audio else None,
        resamples=1000 if args.resamples is None else args.resamples,
        show_progress=True,
    )
    print(label_errors.tell_label_errors(errors, args.num))
    if args.out:
        written = label_errors.write_label_errors(errors, Path(args.out))
        print(f'written to {args.out}: {", ".join(written)}')


def _summary(figures: dict[str, Any], classes: list[dict[str, Any]], pairs: list[dict[str, Any]]) -> str:
    measured = figures['calibration']
    without = figures['classes_without_clips']
    lines = [
        f'{figures["predictions"]}: {figures["clips"]} clips'
        + (f', {figures["part"]}s' if figures['part'] else '')
        + (f'; {without} classes have no clip' if without else ''),
        _line('top-1', f'{figures["top1"]:.4f}'),
        _line('mean of the classes', f'{figures["mean_class_top1"]:.4f}'),
        _line('macro F1', f'{figures["macro_f1"]:.4f}'),
        _line('cannot be read, so wrong', figures['broken']),
        _line('scores not finite, so wrong', figures['not_finite']),
    ]
    if measured['clips']:
        lines.append(_line('ECE (15 bins) of the others', f'{measured["ece"]:.4f}'))
        lines.append(_line('their mean confidence', f'{measured["confidence"]:.4f}'))
        lines.append(_line('their accuracy', f'{measured["accuracy"]:.4f}'))
    lines += ['worst classes', *(f'  {row["top1"]:.4f} of {row["clips"]:<6} {row["class"]}' for row in classes)]
    if pairs:
        lines += ['worst pairs, true as predicted']
        lines += [f'  {row["count"]:<6} ({row["share"]:.0%})  {row["true"]} as {row["predicted"]}' for row in pairs]
    if 'modalities' in figures:
        cases = figures['modalities']
        lines.append(
            f'audio alone ({cases["audio"]}) and video alone ({cases["video"]}): {cases["clips"]} clips; '
            f'{cases["only_in_audio"]} only in the first and {cases["only_in_video"]} only in the second left out'
        )
        for case in CASES:
            top1 = cases['model'][case]
            told = '' if top1 is None else f'; there {figures["predictions"]} has top-1 {top1:.4f}'
            lines.append(f'  {case.replace("_", " "):12}{cases[case]:>6} ({cases[case] / cases["clips"]:.1%}){told}')
    if 'comparison' in figures:
        found = figures['comparison']
        low, high = found['interval']
        left_out = (
            f'{found["only_in_first"]} only in the first and {found["only_in_second"]} only in the second left out'
        )
        lines.append(f'against {found["other"]}: {found["clips"]} clips; {left_out}')
        lines.append(
            f'  top-1 {found["top1_first"]:.4f} and {found["top1_second"]:.4f}, difference {found["difference"]:+.4f}, '
            f'95 % in [{low:+.4f}, {high:+.4f}] (paired bootstrap)'
        )
        lines.append(
            f'  only the first right {found["first_right"]}, only the second {found["second_right"]}: '
            f"p = {found['p_value']:.3g} (McNemar's exact test)"
        )
    return '\n'.join(lines)


def _line(name: str, value: object) -> str:
    return f'  {name:30}{value}'


def _write(folder: Path, model: Outcomes, figures: dict[str, Any], one_modality: list[dict[str, Any]]) -> None:
    write_json(str(folder / 'errors.json'), figures)
    write_csv(
        folder / 'classes.csv', csv_rows(figures['classes'], ['class', 'clips', 'right', 'top1', 'precision', 'f1'])
    )
    write_csv(folder / 'worst_pairs.csv', csv_rows(figures['pairs'], ['true', 'predicted', 'count', 'share']))
    draw_class_scores(figures['classes'], folder / 'classes.png', score='f1', chance=None)
    written = ['confusion.png', 'worst_pairs.csv', 'classes.csv', 'classes.png', 'errors.json']
    if 'modalities' in figures:
        columns = ['case', 'sample_idx', 'path', 'true', 'audio', 'video', 'model_right']
        write_csv(folder / CASES_FILE, csv_rows(one_modality, columns))
        written.append(CASES_FILE)
    draw_confusion(*confusion(model), folder / 'confusion.png')
    if figures['calibration']['clips']:
        draw_reliability(figures['calibration'], folder / 'reliability.png')
        written.append('reliability.png')
    print(f'written to {folder}: {", ".join(sorted(written))}')


if __name__ == '__main__':
    run_tool(main)
