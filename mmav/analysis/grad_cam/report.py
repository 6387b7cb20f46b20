"""Clips through one or several models, and their maps as pages and videos: tools/analysis_tools/grad_cam.py."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tqdm import tqdm

from mmav.analysis.grad_cam.clips import SeenClip, look
from mmav.analysis.grad_cam.figure import draw_cam_figure
from mmav.analysis.grad_cam.pictures import CamRow, cam_painter
from mmav.checkpoints import require_checkpoint
from mmav.class_names import label_set
from mmav.config.edits import find_whole_test_set
from mmav.errors import ConfigError, MmavError, OutputError, did_you_mean
from mmav.evaluation.localization import Event, read_events
from mmav.inference import AVInferencer
from mmav.inference.sources import list_sources
from mmav.inference.windows import place_windows
from mmav.outputs import check_all_own, folded, same_file
from mmav.structures import as_parts
from mmav.visualization.annotated_video import write_annotated_video
from mmav.visualization.dataset_sheet import build_av_datasets
from mmav.visualization.figures import short_path
from mmav.visualization.grad_cam import GradCAM
from mmav.visualization.prediction_sheet import pick_rows


class SourceClip(NamedTuple):
    """A clip to look at.

    Attributes:
        path: The file.
        name: For file names.
        start: Start of the part in seconds; None for the file's.
        end: Its end.
        label: Part -> names of its true classes, one unless clips have several labels; empty if they are unknown.
        event: Place and time of its event, for clips of AVSynth.
    """

    path: str
    name: str
    start: float | None
    end: float | None
    label: dict[str, tuple[str, ...]]
    event: Event | None


class CamModel:
    """A trained model to look into.

    Args:
        config: Config file.
        checkpoint: Checkpoint file.
        device: Such as 'cpu'; defaults to the best one available.
        data_root: Folder of the data instead of the config's.
        part: Part of the label; defaults to the first.

    Raises:
        MmavError: Something is missing or wrong.
    """

    def __init__(
        self, config: str, checkpoint: str, *, device: str | None, data_root: str | None, part: str | None
    ) -> None:
        require_checkpoint(checkpoint)
        self.name = Path(config).stem
        self.inferencer = AVInferencer(config, checkpoint, device=device, data_root=data_root, show_progress=False)
        model: Any = self.inferencer.model
        self.model, self.heads = model, model.head.parts
        parts = list(self.heads)
        if part is not None and part not in parts:
            raise ConfigError(f'--part {part}: {self.name} tells {" and ".join(parts)} apart')
        self.part = part or parts[0]

    @property
    def classes(self) -> Sequence[str] | None:
        """Names of the classes of its part."""
        return (self.inferencer.classes or {}).get(self.part)

    def target(self, name: str | None) -> int | None:
        """Index of a class that is given by its name or index.

        Raises:
            ConfigError: There is no such class.
        """
        if name is None:
            return None
        names = list(self.classes or ())
        if name in names:
            return names.index(name)
        width = self.heads[self.part].num_classes
        if name.isdigit() and int(name) < width:
            return int(name)
        raise ConfigError(
            f'--class {name}: {self.name} knows no such class, give a name or an index from 0 to {width - 1}'
            f'{did_you_mean(name, names)}'
        )

    def row(self, seen: SeenClip, clip: SourceClip, cam: GradCAM, target: int | None) -> CamRow:
        """The model's inputs, prediction and maps for a clip."""
        data = self.inferencer.prepare([seen.item])
        with torch.no_grad():
            scores = self.model(data['inputs'], masks=data['masks'])
        probabilities = scores[self.part][0]
        best = int(probabilities.argmax())
        maps = {
            name: values[0, 0].cpu().numpy()
            for name, values in cam(data['inputs'], data['masks'], target=target, part=self.part).items()
        }
        truth = clip.label.get(self.part)
        known = truth is not None and set(truth) <= set(self.classes or ())
        words = f'{self.name}: {self._name(best)} {probabilities[best]:.2f}'
        if target is not None and target != best:
            words += f'; map of {self._name(target)} {probabilities[target]:.2f}'
        nothing = [name for name, values in maps.items() if bool(seen.item['masks'][name]) and not values.any()]
        if nothing:
            words += f'  (no evidence in the {" and the ".join(nothing)})'
        shown = seen.frames is not None and 'video' in maps
        return CamRow(
            label=words,
            # a class that the model does not know is neither right nor wrong
            right=self._name(best) in truth if truth is not None and known else None,
            frames=seen.frames[0] if shown and seen.frames is not None else None,
            cam=maps.get('video') if shown else None,
            times=seen.frame_times[0] if shown and seen.frame_times is not None else None,
            spectrogram=None if seen.sound is None else seen.item['inputs']['audio'][0, 0].numpy(),
            sound_cam=maps.get('audio'),
            axes=seen.sound,
            start=seen.start,
        )

    def _name(self, index: int) -> str:
        return str(index) if self.classes is None else self.classes[index]


def common_targets(models: Sequence[CamModel], target: str | None) -> list[int | None]:
    """The index of one class in each model; a given index is the first model's, as others may differ in their order.

    Raises:
        ConfigError: A model does not know the class.
    """
    first = models[0].target(target)
    called = target if first is None or models[0].classes is None else models[0].classes[first]
    return [first, *(model.target(target if model.classes is None else called) for model in models[1:])]


def unique_names(names: Sequence[str]) -> list[str]:
    """Numbers repeated names, as of several checkpoints of a config; letters' case does not tell file names apart.

    >>> unique_names(['dog', 'cat', 'Dog', 'dog_2'])
    ['dog', 'cat', 'Dog_2', 'dog_2_2']
    """
    found: list[str] = []
    taken: set[str] = set()
    for given in names:
        name, count = given, 1
        while folded(name) in taken:
            count += 1
            name = f'{given}_{count}'
        taken.add(folded(name))
        found.append(name)
    return found


def parse_blocks(items: Sequence[str]) -> dict[str, int | str]:
    """Modality -> block, of arguments such as ``video=-1``.

    Raises:
        ConfigError: An argument is of another form.

    >>> parse_blocks(['video=-1', 'audio=neck.blocks.1.audio'])
    {'video': -1, 'audio': 'neck.blocks.1.audio'}
    """
    blocks: dict[str, int | str] = {}
    for item in items:
        modality, sign, block = item.partition('=')
        if not modality or not sign or not block:
            raise ConfigError(f'--block {item}: give MODALITY=BLOCK, such as video=-1 or audio=neck.blocks.1.audio')
        blocks[modality] = int(block) if block.removeprefix('-').isdigit() else block
    return blocks


def list_clips(
    model: CamModel, files: Sequence[str] | None, indices: Sequence[int] | None, count: int | None
) -> list[SourceClip]:
    """The clips to look at: files, or clips of the test set: those of some indices, ``count`` of them, or all.

    Raises:
        MmavError: There are none, or a file or manifest cannot be read.
    """
    if files:
        return [_own_clip(model.inferencer, source.path) for source in list_sources(list(files))]
    rows: list[SourceClip] = []
    for dataset in build_av_datasets(find_whole_test_set(model.inferencer.cfg)):
        classes = as_parts(dataset.metainfo['classes'])
        root = str(dataset.data_root)
        try:
            events = read_events(root)
        except MmavError:
            events = {}
        for k in range(len(dataset)):
            info = dataset.get_data_info(k)
            words = {part: _names(classes[part], label) for part, label in info['label'].items()}
            relative = os.path.relpath(info['path'], root or '.')
            name = f'{len(rows):05d}_{Path(info["path"]).stem}'
            rows.append(SourceClip(info['path'], name, info['start'], info['end'], words, events.get(relative)))
    if indices is not None:
        outside = [index for index in indices if not 0 <= index < len(rows)]
        if outside:
            raise ConfigError(f'there is no clip {outside[0]}: the test set has {len(rows)}, counted from 0')
        return [rows[index] for index in indices]
    return rows if count is None else pick_rows(rows, count)


def _names(classes: Sequence[str], label: int | tuple[int, ...]) -> tuple[str, ...]:
    return tuple(classes[index] for index in (label if isinstance(label, tuple) else (label,)))


def _own_clip(inferencer: AVInferencer, path: str) -> SourceClip:
    """A file; the middle window if it is longer than the model's window."""
    with list_sources(path)[0].open() as reader:
        windows = place_windows(reader.info.duration, inferencer.window)
    start, end = windows[len(windows) // 2] if len(windows) > 1 else (None, None)
    return SourceClip(path, Path(path).stem, start, end, {}, None)


def show_clips(
    models: Sequence[CamModel],
    clips: Sequence[SourceClip],
    out: Path,
    *,
    blocks: Mapping[str, int | str],
    method: str,
    target: str | None = None,
    frames: int = 9,
    video: bool = False,
) -> list[Path]:
    """Draws a page per clip, and on request a video for each model with video.

    Args:
        models: The models, in the order of their rows.
        clips: The clips.
        out: Folder.
        blocks: Modality -> block; each model takes those of its modalities.
        method: Of :data:`mmav.visualization.grad_cam.METHODS`.
        target: Name or index of the class; defaults to each model's prediction.
        frames: Frames in a row.
        video: Whether to write videos.

    Returns:
        The files that were written.

    Raises:
        MmavError: A clip cannot be read, a class or block is unknown, or a file cannot be written.
    """
    cams = [_cam(model, blocks, method, len(models) > 1) for model in models]
    targets = common_targets(models, target)
    names = unique_names([clip.name for clip in clips])
    planned = [out / f'{name}{end}' for name in names for end in ['.png', *(f'_{m.name}.mp4' for m in models if video)]]
    for path in planned:
        for clip in clips:
            if same_file(path, clip.path):
                raise OutputError(f"'{path}' is one of the clips and would be lost: give another folder")
    check_all_own(planned)
    written = []
    for clip, name in zip(tqdm(clips, desc='clips', unit='clip'), names, strict=True):
        seen = [look(model.inferencer, clip.path, start=clip.start, end=clip.end) for model in models]
        rows = [model.row(s, clip, cam, t) for model, s, cam, t in zip(models, seen, cams, targets, strict=True)]
        first = next((s for s, row in zip(seen, rows, strict=True) if row.frames is not None), None)
        box = None
        if clip.event is not None and first is not None and first.region is not None:
            box = clip.event.boxes_in(first.frame_times[0], first.region)  # type: ignore[index]
        truth = ' '.join(label_set(names) or 'none' for names in clip.label.values())
        title = f'{short_path(clip.path, 70)}   {seen[0].start:.2f} to {seen[0].end:.2f} s'
        title += f'   true class: {truth}' * bool(truth)
        written.append(out / f'{name}.png')
        draw_cam_figure(rows, written[-1], title=title, num_frames=frames, box=box)
        for model, s, row in zip(models, seen, rows, strict=True):
            if video and row.cam is not None and row.times is not None:
                written.append(out / f'{name}_{model.name}.mp4')
                paint = cam_painter(row.cam, row.times, s.region)
                write_annotated_video(clip.path, written[-1], paint, start=s.start, end=s.end)
    if video and not any(path.suffix == '.mp4' for path in written):
        raise MmavError('--video: none of the clips has video that a model saw; the pages are written')
    return written


def _cam(model: CamModel, blocks: Mapping[str, int | str], method: str, several: bool) -> GradCAM:
    own = {name: block for name, block in blocks.items() if not several or name in model.model.backbones}
    return GradCAM(model.model, blocks=own, method=method)
