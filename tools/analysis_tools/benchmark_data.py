#!/usr/bin/env python
"""Measures how fast clips are read and prepared: each step of a config's pipeline in one thread, as a worker works, and
beside it bare decoding of the same frames and samples, which is the limit. With --workers N also the throughput of a
DataLoader with N workers, and whether memory grows; with a cache of prepared clips also what an item costs from it.
With --gpus and --step-time, how many workers keep the GPUs busy, as the config is and in other ways (steps on the
device, prepared files, caches), and whether this machine has the cores for them.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from mmengine.config import Config, DictAction

# outside the library, beside tools/
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.clips import DESCRIPTION, build_collate, build_dataset, write_sample_clip
from benchmarks.data import loader_text, measure_loader, measure_prepared, measure_steps, steps_text
from benchmarks.machine import machine
from benchmarks.planner import check_numbers, plan_text, plan_workers
from benchmarks.reading_threads import measure_threads
from mmav.config.reading import key_value, load_checked_config
from mmav.engine.cli import run_tool
from mmav.errors import ConfigError, MediaError
from mmav.outputs import check_output, write_json

EXAMPLE = """examples:
  python tools/analysis_tools/benchmark_data.py configs/mmt/mmt_k4_l4_vggsound.py --generated
  python tools/analysis_tools/benchmark_data.py configs/mmt/mmt_k4_l4_vggsound.py --data-root /data/vgg --json a.json
  python tools/analysis_tools/benchmark_data.py configs/mmt/mmt_tiny_folder.py --clip film.mp4 --split test
  python tools/analysis_tools/benchmark_data.py configs/mmt/mmt_k4_l4_vggsound.py --workers 2 --clips 10000
  python tools/analysis_tools/benchmark_data.py configs/natural/mmt_nano_natural.py --cpu-time --clips 2000 \\
      --cfg-options train_dataloader.dataset.cache=prepared
  python tools/analysis_tools/benchmark_data.py configs/mmt/mmt_k4_l4_vggsound.py --generated --cpu-time \
      --gpus 8 --step-time 0.5"""
# The steps are measured on no more clips than this where a DataLoader, or a cache, reads many.
STEP_CLIPS = 50


def chosen_clip(args: argparse.Namespace, loader: Config, folder: str) -> tuple[str | None, str]:
    """The single file to read, or None for the config's manifest, and what is read in words."""
    if args.clip and not Path(args.clip).is_file():
        raise MediaError(args.clip, 'no such file')
    if args.clip:
        return args.clip, args.clip
    dataset = loader.get('dataset') or {}
    manifest = Path(dataset.get('data_root') or '', dataset.get('ann_file') or '').expanduser()
    if args.generated or not (args.data_root or manifest.is_file()):
        if not args.generated:
            print(f"there is no manifest '{manifest}': a clip is generated")
        return str(write_sample_clip(Path(folder) / 'clip.mp4')), DESCRIPTION
    return None, f'{manifest}'


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('--split', choices=['train', 'val', 'test'], default='train', help='whose dataloader')
    source = parser.add_mutually_exclusive_group()
    source.add_argument('--clip', metavar='FILE', help='read this media file again and again, not the manifest')
    source.add_argument(
        '--generated', action='store_true', help='likewise a clip made for it; so without data, too'
    )  # fmt: skip
    source.add_argument('--data-root', help='folder of the data, in place of the one in the config')
    parser.add_argument('--clips', type=int, default=50, metavar='N', help='how many clips are measured; default: 50')
    parser.add_argument(
        '--workers', type=int, default=0, metavar='N',
        help=f'measure a DataLoader with N workers, too; the steps are then measured on {STEP_CLIPS} clips at most',
    )  # fmt: skip
    parser.add_argument(
        '--threads', type=int, default=0, metavar='N', help='measure N threads of one process that read, likewise'
    )
    parser.add_argument(
        '--cpu-time', action='store_true',
        help="time the steps by the processor's clock: other work does not count, nor does waiting for disks",
    )  # fmt: skip
    parser.add_argument('--gpus', type=int, metavar='N', help='plan the workers of training on N GPUs of one machine')
    parser.add_argument(
        '--step-time', type=float, metavar='S', help='with --gpus: seconds of a training step that waits for no data'
    )
    parser.add_argument(
        '--batch-size', type=int, metavar='B', help="with --gpus: clips of a step on each GPU; default: the config's"
    )
    parser.add_argument('--json', metavar='FILE', help='write the numbers, the versions and the processor to this file')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, type=key_value, default={}, metavar='K=V',
        help='change single entries of the config',
    )  # fmt: skip
    args = parser.parse_args()
    if args.clips < 1 or min(args.workers, args.threads) < 0:
        raise ConfigError(
            f'--clips {args.clips} --workers {args.workers} --threads {args.threads}: give at least 1 clip and no '
            'negative number'
        )
    check_numbers(args.gpus, args.step_time, args.batch_size)
    if args.json:
        check_output(args.json, inputs=[args.config, args.clip or ''], suffixes=['.json'])
    cfg = load_checked_config(args.config, args.cfg_options, args.data_root)
    loader = cfg.get(f'{args.split}_dataloader')
    if loader is None:
        raise ConfigError(f"'{args.config}' has no {args.split}_dataloader")
    with tempfile.TemporaryDirectory() as folder:
        clip, what = chosen_clip(args, loader, folder)
        print(f'{args.config}, {args.split}: {what}')
        dataset, collate = build_dataset(loader, clip=clip, folder=folder), build_collate(loader)
        prepared = getattr(dataset, 'prepared', None) is not None
        clips = min(args.clips, STEP_CLIPS) if args.workers or args.threads or prepared else args.clips
        clock = time.process_time if args.cpu_time else time.perf_counter
        result = dict(config=args.config, split=args.split, source=what, clock=clock.__name__, **machine())
        result.update(measure_steps(dataset, collate, clips=clips, clock=clock).summary())
        print(steps_text(result))
        batch_size = loader.get('batch_size', 1)
        if prepared:
            of_cache = measure_prepared(dataset, collate, batch_size=batch_size, clips=args.clips, clock=clock)
            result['prepared'] = of_cache
            print(f'from prepared clips        {of_cache["prepared_ms"]:.3f} ms, in batches of {batch_size}')
        if args.workers:
            result['loader'] = measure_loader(
                dataset, collate, workers=args.workers, batch_size=batch_size, clips=args.clips
            )
            print(loader_text(result['loader']))
        if args.threads:
            found = measure_threads(dataset, collate, threads=args.threads, batch_size=batch_size, clips=args.clips)
            result['threads'] = found
            print(f'threads                    {found["clips_per_second"]:.2f} clips/s with {found["threads"]} threads')
        if args.gpus:
            numbers = dict(gpus=args.gpus, step_time=args.step_time, batch_size=args.batch_size)
            result['plan'], others = plan_workers(
                cfg, args.split, folder, clip=clip, clips=clips, clock=clock, **numbers
            )
            result['plan']['not_measured'] = others
            print(plan_text(result['plan'], others))
    if args.json:
        write_json(args.json, result)


if __name__ == '__main__':
    run_tool(main)
