#!/usr/bin/env python
"""Evaluates a trained encoder on tasks of mteb's audio-visual benchmark MVEB: linear probes, clustering, retrieval.
The tasks' clips are downloaded by mteb.
"""

import argparse

from mmav.engine.cli import run_tool
from mmav.errors import ConfigError, MmavError, did_you_mean
from mmav.outputs import check_folder
from mmav.tables import text_table

EXAMPLE = """examples:
  python tools/analysis_tools/run_mteb.py --list
  python tools/analysis_tools/run_mteb.py CONFIG CHECKPOINT --tasks AVEDatasetClassification Kinetics700VA --out mteb

Needs `pip install mteb`, Python 3.11 or newer and, for the sound of most tasks, torchcodec with FFmpeg."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', nargs='?', help='config file of the model')
    parser.add_argument('checkpoint', nargs='?', help='checkpoint file (.pth or .safetensors)')
    parser.add_argument('--list', action='store_true', help='list the tasks of video and audio without text, and stop')
    parser.add_argument('--tasks', nargs='+', metavar='NAME', help="names of mteb's tasks")
    parser.add_argument('--out', metavar='DIR', default='work_dirs/mteb', help="folder of mteb's results")
    parser.add_argument('--features', metavar='NAME', help='which embedding, such as joined, fused, video or audio')
    parser.add_argument('--name', metavar='ORG/MODEL', help='name of the model in the results; default: mmav/CONFIG')
    parser.add_argument('--trained-on', nargs='+', metavar='NAME', help="mteb's names of what the model was trained on")
    parser.add_argument('--batch-size', type=int, default=8, metavar='N', help='windows in a batch; default: 8')
    parser.add_argument('--device', help='such as cuda:1 or cpu; default: a GPU if there is one')
    args = parser.parse_args()
    if args.batch_size < 1:
        raise ConfigError(f'--batch-size {args.batch_size} must be above 0')
    if not args.list and not (args.config and args.checkpoint and args.tasks):
        raise ConfigError('give CONFIG, CHECKPOINT and --tasks, or --list')
    try:
        import mteb
    except ImportError as error:
        raise MmavError(f'mteb cannot be imported ({error}): pip install mteb, on Python 3.11 or newer') from error
    known = {task.metadata.name: task for task in mteb.get_tasks(modalities=['video', 'audio'])}
    fitting = {name: task for name, task in known.items() if _is_ours(task)}
    if args.list:
        rows = [('task', 'type', 'modalities')]
        rows += [(n, t.metadata.type, ' + '.join(t.metadata.modalities)) for n, t in sorted(fitting.items())]
        print(text_table(rows, left=3))
        return
    for name in args.tasks:
        if name not in fitting:
            why = 'has text or images, which this model cannot embed' if name in known else 'is unknown to mteb'
            raise ConfigError(f'--tasks: {name} {why}{did_you_mean(name, fitting)}; --list names those that fit')
    check_folder(args.out, [])
    from mmav.inference.mteb_encoder import MTEBEncoder

    encoder = MTEBEncoder(
        args.config,
        args.checkpoint,
        features=args.features,
        name=args.name,
        training_datasets=args.trained_on,
        device=args.device,
    )
    found = mteb.evaluate(
        encoder,
        [fitting[name] for name in args.tasks],
        cache=mteb.ResultCache(args.out),
        encode_kwargs=dict(batch_size=args.batch_size),
    )
    rows = [('task', 'main score')]
    rows += [(result.task_name, f'{result.get_score():.4f}') for result in found.task_results]
    print(text_table(rows, left=1))
    print(f'results: {args.out}')


def _is_ours(task: object) -> bool:
    """Whether a task has video, with or without audio, and neither text nor images."""
    modalities = set(task.metadata.modalities)  # type: ignore[attr-defined]
    return 'video' in modalities and modalities <= {'video', 'audio'}


if __name__ == '__main__':
    run_tool(main)
