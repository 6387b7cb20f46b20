#!/usr/bin/env python
"""Draws the pictures of the docs again, from the checkpoint that `make demo` leaves."""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mmav.checkpoints import require_checkpoint
from mmav.datasets.media import open_media
from mmav.datasets.media.opening import open_container
from mmav.engine.cli import run_tool
from mmav.errors import ConfigError, MmavError
from mmav.preparation.avsynth.encode import encode_mp4

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / 'docs'
FPS, SAMPLE_RATE = 12, 16000  # of AVSynth
CONFIG = str(ROOT / 'configs/mmt/mmt_tiny_avsynth.py')
EXAMPLE = """examples:
  make demo && python tools/docs/draw_pictures.py
  python tools/docs/draw_pictures.py errors embeddings"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('pictures', nargs='*', metavar='NAME', help=f'of {", ".join(PICTURES)}; default: all')
    parser.add_argument('--demo', default='work_dirs/demo', help='folder that `make demo` wrote')
    parser.add_argument('--data-root', default='data/avsynth', help='AVSynth')
    args = parser.parse_args()
    for name in args.pictures:
        if name not in PICTURES:
            raise ConfigError(f'no picture {name!r}, only {", ".join(PICTURES)}')
    checkpoints = sorted(Path(args.demo).glob('epoch_*.pth'), key=lambda path: int(path.stem.split('_')[1]))
    require_checkpoint(str(checkpoints[-1] if checkpoints else Path(args.demo, 'epoch_10.pth')))
    demo = Demo(str(checkpoints[-1]), str(Path(args.demo, 'predictions.pkl')), args.data_root)
    for name in args.pictures or PICTURES:
        print(f'\n[{name}]', flush=True)
        with tempfile.TemporaryDirectory() as folder:
            for picture, drawn in PICTURES[name](demo, Path(folder)).items():
                shutil.copy(drawn, DOCS / picture)
                shrink(DOCS / picture)


class Demo:
    """What `make demo` left: checkpoint, predictions, and the folder of the data."""

    def __init__(self, checkpoint: str, predictions: str, data_root: str) -> None:
        self.checkpoint, self.predictions, self.data_root = checkpoint, predictions, data_root

    def clip(self, index: int) -> str:
        """Path of a test clip."""
        return str(Path(self.data_root, 'clips', 'test', f'{index:05}.mp4'))


def shrink(path: Path) -> None:
    """Reduces a picture to 256 colours, which makes it a third as long and looks the same."""
    with Image.open(path) as picture:
        reduced = picture.convert('RGB').quantize(256, dither=Image.Dither.FLOYDSTEINBERG)
    reduced.save(path, optimize=True)
    print(f'{path}: {path.stat().st_size / 1000:.0f} kB', flush=True)


def tool(name: str, *arguments: object, cwd: Path | None = None) -> None:
    """Runs a tool, in a folder if one is given, and shows the command."""
    words = [str(argument) for argument in arguments]
    print(f'python {name} {" ".join(words)}', flush=True)
    if subprocess.run([sys.executable, str(ROOT / name), *words], cwd=cwd).returncode:
        raise MmavError(f'{name} failed; its own message stands above')


def draw_predictions(demo: Demo, folder: Path) -> dict[str, Path]:
    out, root = folder / 'predictions.png', ['--data-root', demo.data_root]
    tool('tools/analysis_tools/plot_predictions.py', CONFIG, demo.predictions, out, *root)
    return {'predictions.png': out}


def draw_dataset(demo: Demo, folder: Path) -> dict[str, Path]:
    config, options = str(ROOT / 'configs/mmt/mmt_tiny_avc_2views_avsynth.py'), ['--data-root', demo.data_root]
    out = folder / 'browse_dataset.png'
    tool('tools/analysis_tools/browse_dataset.py', config, '--clips', 2, *options, '--out', out)
    return {'browse_dataset.png': out}


def draw_errors(demo: Demo, folder: Path) -> dict[str, Path]:
    dump, options = folder / 'video.pkl', ['--data-root', demo.data_root, '--work-dir', folder]
    tool('tools/test.py', CONFIG, demo.checkpoint, '--drop', 'audio', '--dump', dump, *options)
    tool('tools/analysis_tools/analyze_errors.py', dump, '--out', folder / 'errors')
    return {f'errors_{name}.png': folder / 'errors' / f'{name}.png' for name in ('confusion', 'reliability')}


def draw_embeddings(demo: Demo, folder: Path) -> dict[str, Path]:
    dump, options = folder / 'features.pkl', ['--data-root', demo.data_root, '--work-dir', folder]
    keep = ['--cfg-options', 'model.keep_features=True']
    tool('tools/test.py', CONFIG, demo.checkpoint, '--dump', dump, *options, *keep)
    tool('tools/analysis_tools/plot_embeddings.py', dump, '--out', folder / 'embeddings.png')
    return {'embeddings.png': folder / 'embeddings.png'}


def draw_judging(demo: Demo, folder: Path) -> dict[str, Path]:
    """Bars of what the features of the demo's model hold, from dumps of the training and test clips."""
    out, options = folder / 'judged', ['--data-root', demo.data_root, '--work-dir', folder]
    for split in ('train', 'test'):
        keep = ['--cfg-options', 'model.keep_features=True', f'test_dataloader.dataset.ann_file={split}.csv']
        tool('tools/test.py', CONFIG, demo.checkpoint, '--dump', folder / f'{split}.pkl', *options, *keep)
    # in the folder, as the picture names the dumps as they are given
    tool('tools/analysis_tools/evaluate_features.py', 'train.pkl', 'test.pkl', '--out', out, cwd=folder)
    return {'judging.png': out / 'evaluation.png'}


def draw_modalities(demo: Demo, folder: Path) -> dict[str, Path]:
    """What the demo's model uses of video and audio."""
    out, options = folder / 'report', ['--data-root', demo.data_root, '--work-dir', folder]
    tool('tools/analysis_tools/modality_report.py', CONFIG, demo.checkpoint, *options, '--out', out)
    return {'modality_report.png': out / 'modalities.png'}


def draw_memory(demo: Demo, folder: Path) -> dict[str, Path]:
    config, out = str(ROOT / 'configs/mmt/mmt_k4_l4_vggsound.py'), folder / 'memory_plan.png'
    tool('tools/analysis_tools/plan_memory.py', config, '--gpus', 8, '--gpu-memory', 10, '--picture', out)
    return {'memory_plan.png': out}


def draw_token_dropping(demo: Demo, folder: Path) -> dict[str, Path]:
    configs = [ROOT / 'configs' / name for name in ('ast/ast_base', 'mat/mat_base', 'mvitv2/mvitv2_base')]
    drawn = folder / 'token_dropping.png'
    tool(
        'tools/analysis_tools/benchmark_token_drop.py', *(f'{each}_vggsound.py' for each in configs), '--picture', drawn
    )
    return {'token_dropping.png': drawn}


def draw_architecture(demo: Demo, folder: Path) -> dict[str, Path]:
    out = folder / 'architecture.png'
    tool('tools/docs/import_graph.py', '--out', out)
    return {out.name: out}


def draw_annotated(demo: Demo, folder: Path) -> dict[str, Path]:
    """Frames of av_demo's copy of a long file: six test clips one after the other."""
    joined, out = folder / 'six_clips.mp4', folder / 'av_demo.png'
    join_clips([demo.clip(index) for index in range(6)], joined)
    options = ['--config', CONFIG, '--checkpoint', demo.checkpoint, '--out-dir', folder / 'out']
    tool('demo/av_demo.py', joined, *options)
    with open_container(str(folder / 'out' / joined.name)) as container:
        frames = [frame.to_image() for frame in container.decode(video=0)]
    chosen = frames[12 : len(frames) : 24][:4]
    sheet = Image.new('RGB', (sum(frame.width + 8 for frame in chosen) - 8, chosen[0].height), 'white')
    for k, frame in enumerate(chosen):
        sheet.paste(frame, (k * (frame.width + 8), 0))
    sheet.save(out)
    return {'av_demo.png': out}


def join_clips(paths: Sequence[str], out: Path) -> None:
    """Joins clips of 12 frames per second into one file."""
    frames, waves = [], []
    for path in paths:
        with open_media(path) as reader:
            start, end = reader.fetch(0.0, reader.info.duration)
            frames.append(reader.read_frames((np.arange(round(end * FPS)) + 0.25) / FPS)[0])
            waves.append(reader.read_audio(start, end, SAMPLE_RATE))
    out.write_bytes(encode_mp4(np.concatenate(frames), np.concatenate(waves), fps=FPS, sample_rate=SAMPLE_RATE))


def draw_grad_cam(demo: Demo, folder: Path) -> dict[str, Path]:
    """Two models on one clip; the video model is trained first if its checkpoint is missing."""
    config, root = str(ROOT / 'configs/mvitv2/mvitv2_tiny_avsynth.py'), ['--data-root', demo.data_root]
    work_dir = Path('work_dirs/mvitv2_tiny_avsynth')
    checkpoint = work_dir / 'epoch_10.pth'
    if not checkpoint.is_file():
        tool('tools/train.py', config, *root, '--work-dir', work_dir)
    options = ['--compare', CONFIG, demo.checkpoint, '--indices', 383, *root, '--out', folder]
    tool('tools/analysis_tools/grad_cam.py', config, checkpoint, *options)
    (page,) = folder.glob('*.png')
    return {'grad_cam.png': page}


def draw_web_demo(demo: Demo, folder: Path) -> dict[str, Path]:
    options = ['--config', CONFIG, '--checkpoint', demo.checkpoint, '--out', folder / 'web_demo.png']
    tool('tools/docs/screenshot_web_demo.py', demo.clip(3), *options)
    return {'web_demo.png': folder / 'web_demo.png'}


# name -> draws into a folder, and returns file name in docs/ -> what was drawn
PICTURES: dict[str, Callable[[Demo, Path], dict[str, Path]]] = dict(
    predictions=draw_predictions,
    dataset=draw_dataset,
    errors=draw_errors,
    embeddings=draw_embeddings,
    judging=draw_judging,
    modalities=draw_modalities,
    memory=draw_memory,
    token_dropping=draw_token_dropping,
    architecture=draw_architecture,
    annotated=draw_annotated,
    grad_cam=draw_grad_cam,
    web_demo=draw_web_demo,
)


if __name__ == '__main__':
    run_tool(main)
