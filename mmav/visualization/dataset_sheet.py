"""A picture of clips after a pipeline: frames and spectrogram of each view, or after each step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from mmav.class_names import label_set
from mmav.datasets.av_dataset import AVDataset
from mmav.datasets.class_counts import clips_within
from mmav.datasets.transforms.spectrogram import find_spectrogram
from mmav.errors import ConfigError, MediaError, MmavError, TooManyBrokenClips
from mmav.outputs import write_output
from mmav.registry import DATASETS
from mmav.structures import as_parts
from mmav.visualization.figures import figure_bytes, short_path
from mmav.visualization.prediction_sheet import WRONG, frame_strip

# inches
STRIP_WIDTH, ROW_HEIGHT, TEXT_HEIGHT, GAP = 8.8, 1.1, 0.32, 0.13
AXIS_WIDTH, SPECTROGRAM_WIDTH, SOUND_ALONE_WIDTH, SECONDS_HEIGHT = 0.62, 3.6, 6.6, 0.3
DPI, LARGEST_SIDE = 110, 2**16  # pixels
MASKED, FAINT = '#7fb8b0', '#808a94'
MISSING = dict(video='no video', audio='no audio')


class Frames(NamedTuple):
    """Frames of one view side by side, (H, n * W, 3) uint8, and the time of each, '' if unknown."""

    strip: np.ndarray
    times: list[str]


class Sound(NamedTuple):
    """A spectrogram (F, T) or waveform (S,), and how many seconds it spans, if known."""

    values: np.ndarray
    seconds: float | None


class Row(NamedTuple):
    """One view of a clip; ``cells``: modality -> what is drawn, or a text instead."""

    name: str
    cells: dict[str, Frames | Sound | str]


class SheetClip(NamedTuple):
    """One clip of a sheet: the start of its window in seconds, and a note on what is wrong with it."""

    heading: str
    start: float
    note: str
    rows: tuple[Row, ...]


def build_av_datasets(config: Mapping[str, Any]) -> list[AVDataset]:
    """Builds the AVDatasets of a dataset's config: itself, or those inside wrappers, in order.

    Those that a wrapper joins have its classes, and are augmented as they are there.

    Raises:
        ConfigError: There are none, or they cannot be joined.
        MmavError: A manifest or class list cannot be read.
    """
    found = _find(config)
    if not found:
        raise ConfigError(f'dataset of type {config.get("type")!r}: only an AVDataset, or what wraps one, can be drawn')
    whole = DATASETS.build(config)
    if not isinstance(whole, AVDataset) and not hasattr(whole, 'clips_within'):  # a wrapper of somebody else
        return [DATASETS.build(part) for part in found]
    return list({id(leaf): leaf for leaf, _ in clips_within(whole)}.values())


def _find(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    kind = config.get('type')
    kind = DATASETS.get(kind) if isinstance(kind, str) else kind
    if isinstance(kind, type) and issubclass(kind, AVDataset):
        return [config]
    inner = [config['dataset']] if isinstance(config.get('dataset'), Mapping) else config.get('datasets') or []
    return [found for part in inner for found in _find(part)]


class _Recorder:
    """Replaces a dataset's pipeline: runs the same steps, and keeps their results."""

    def __init__(self, steps: Sequence[Callable[[dict], Any]], *, stages: bool) -> None:
        self.steps, self.stages = steps, stages
        self.broken: dict[int, str] = {}  # row of the manifest -> reason
        self.info: dict[str, Any] = {}
        self.seen: list[tuple[str, dict[str, list[np.ndarray]]]] = []  # name of the step, modality -> views
        front_end = find_spectrogram(steps)
        # rank -> seconds between the values of a waveform, of a spectrogram
        self.time_steps = {1: 1 / front_end.sample_rate, 2: front_end.step} if front_end else {}

    def __call__(self, results: dict[str, Any]) -> Any:
        self.info, self.seen = results, []
        try:
            for number, step in enumerate(self.steps, 1):
                results = step(results)
                if results is None:
                    return None
                if 'path' in results:  # not packed yet
                    self.info = results
                if self.stages or number == len(self.steps):
                    self.seen.append((type(step).__name__, _views(results)))
        except MediaError as error:
            self.broken[self.info['sample_idx']] = error.reason
            raise
        return results

    def rows(self) -> tuple[Row, ...]:
        """Rows of the last clip, view by view."""
        modalities = self.info['modalities']
        number = max(len(views) for views in self.seen[-1][1].values())
        rows = []
        for view in range(number):
            before: dict[str, list[np.ndarray]] = {}
            for step, views in self.seen:
                names = [step] * self.stages + [f'view {view + 1}'] * (number > 1 or not self.stages)
                rows.append(Row('\n'.join(names), {name: self._cell(name, view, views, before) for name in modalities}))
                before = views
        return tuple(rows)

    def _cell(
        self, modality: str, view: int, views: Mapping[str, list[np.ndarray]], before: Mapping[str, list[np.ndarray]]
    ) -> Frames | Sound | str:
        if not self.info.get('masks', {}).get(modality, True):
            withheld = modality in (*self.info.get('dropped', ()), *self.info.get('dropout', ()))
            return MISSING[modality] + ' (withheld)' * withheld
        here, earlier = views.get(modality, []), before.get(modality, [])
        if view >= len(here):
            return f'as view {len(here)}' if here else 'not read yet'
        values = here[view]
        if view < len(earlier) and np.array_equal(values, earlier[view]):
            return 'unchanged'
        if modality == 'audio':
            step = self.time_steps.get(values.ndim)
            return Sound(values, values.shape[-1] * step if step else None)
        count, height, width = values.shape[:3]
        shown = min(count, max(1, int(STRIP_WIDTH / (ROW_HEIGHT * width / height) + 1e-6)))
        chosen = np.linspace(0, count - 1, shown).round().astype(int)
        strip = frame_strip(torch.from_numpy(values[chosen]).permute(3, 0, 1, 2)[None], shown)
        times = np.asarray(self.info.get('frame_times', ()))
        known = times.shape[1:] == (count,) and view < len(times)
        return Frames(strip, [f'{times[view, k]:.2f} s' if known else '' for k in chosen])


def _views(results: Mapping[str, Any]) -> dict[str, list[np.ndarray]]:
    """Copies of all views, packed or not: frames (T, H, W, 3), spectrograms (F, T) or waveforms (S,)."""
    if 'inputs' not in results:
        return {name: [np.array(view) for view in results[name]] for name in MISSING if name in results}
    return {
        name: [np.array((view.permute(1, 2, 3, 0) if name == 'video' else view[0]).numpy()) for view in tensor]
        for name, tensor in results['inputs'].items()
    }


def read_clips(
    datasets: Sequence[AVDataset], indices: Sequence[int], *, stages: bool = False, progress: bool = False
) -> list[SheetClip]:
    """Reads clips as a data loader does, and keeps what is drawn.

    ``indices`` counts the clips of all datasets, one after another. A broken clip of a training set is followed by its
    replacement. With ``stages`` there is a row for each step of the pipeline, not only for the last.

    Raises:
        ConfigError: There is no such clip.
    """
    recorders = [_Recorder(dataset.pipeline.transforms, stages=stages) for dataset in datasets]
    places = [(part, recorder, k) for part, recorder in zip(datasets, recorders, strict=True) for k in range(len(part))]
    outside = [index for index in indices if not 0 <= index < len(places)]
    if outside:
        raise ConfigError(f'there is no clip {outside[0]}: the set has {len(places)}, counted from 0')
    clips: list[SheetClip] = []
    for number in tqdm(indices, desc='clips', unit='clip', disable=not progress):
        dataset, recorder, index = places[number]
        clips += _read(dataset, recorder, index, str(number))
    return clips


def _read(dataset: AVDataset, recorder: _Recorder, index: int, name: str) -> list[SheetClip]:
    wanted = dataset.get_data_info(index)
    try:
        with dataset.piped(recorder):
            dataset[index]
    except TooManyBrokenClips:  # the others can still be drawn
        return [_clip(dataset, wanted, name, f'broken: {recorder.broken[wanted["sample_idx"]]}')]
    info, reason = recorder.info, recorder.broken.get(wanted['sample_idx'])
    if reason and dataset.test_mode:
        return [_clip(dataset, wanted, name, f'broken: {reason}; the model is given zeros, masked')]
    if reason:
        broken = _clip(dataset, wanted, name, f'broken: {reason}; training takes the next in its place')
        return [broken, _clip(dataset, info, f'for {name}', rows=recorder.rows())]
    note = f'damaged: {info["damaged"]} packets cannot be decoded' if info.get('damaged') else ''
    return [_clip(dataset, info, name, note, recorder.rows())]


def _clip(
    dataset: AVDataset, info: Mapping[str, Any], name: str, note: str = '', rows: tuple[Row, ...] = ()
) -> SheetClip:
    classes = as_parts(dataset.metainfo['classes'])
    named = {part: _words(classes[part], label) for part, label in info['label'].items()}
    words = '  '.join(named.values() if len(named) == 1 else (f'{part}: {name}' for part, name in named.items()))
    start, end, path = info['start'] or 0.0, info['end'], info['path'].removeprefix(str(Path(dataset.data_root)) + '/')
    span = f'   {start:.2f} to {end:.2f} s' if end is not None else ''
    return SheetClip(f'{name}   {words}{span}   {short_path(path)}', start, note, rows)


def _words(names: Sequence[str], label: int | tuple[int, ...]) -> str:
    """The name of a label, or the names of all of a clip."""
    if not isinstance(label, tuple):
        return names[label]
    return label_set(names[each] for each in label) or '(no label)'


def draw_dataset_sheet(clips: Sequence[SheetClip], out_file: str | Path, *, title: str = '') -> None:
    """Draws clips below each other, all views of a clip under its title, into a PNG file, whole or not at all.

    Raises:
        MmavError: There is nothing to draw, or too much for one picture, or the file cannot be written.
    """
    from matplotlib.figure import Figure  # importing it takes a second

    if not clips:
        raise MmavError('there are no clips to draw')
    rows = [row for clip in clips for row in clip.rows]
    modalities = {name for row in rows for name in row.cells}
    columns = {}  # modality -> (left edge, width) in inches
    right = 0.3 + 0.075 * max((len(line) for row in rows for line in row.name.split('\n')), default=0)
    if 'video' in modalities:
        columns['video'], right = (right, STRIP_WIDTH), right + STRIP_WIDTH
    if 'audio' in modalities:
        wide = SPECTROGRAM_WIDTH if 'video' in modalities else SOUND_ALONE_WIDTH
        columns['audio'], right = (right + AXIS_WIDTH, wide), right + AXIS_WIDTH + wide
    width = max(right, SOUND_ALONE_WIDTH) + 0.2
    # laid out from the top, as the height is still unknown
    texts: list[tuple[float, str, dict[str, Any]]] = [(0.22, title, dict(fontsize=10, weight='bold'))]
    boxes: list[tuple[float, float, Row, SheetClip, bool]] = []
    top = 0.45
    for clip in clips:
        texts.append((top + TEXT_HEIGHT / 2, clip.heading, dict(fontsize=9, color=WRONG if clip.note else 'black')))
        if clip.note:
            top += 0.7 * TEXT_HEIGHT
            texts.append((top + TEXT_HEIGHT / 2, clip.note, dict(fontsize=8, color=WRONG)))
        top += TEXT_HEIGHT
        last = max((k for k, row in enumerate(clip.rows) if isinstance(row.cells.get('audio'), Sound)), default=None)
        for k, row in enumerate(clip.rows):
            high = TEXT_HEIGHT if all(isinstance(cell, str) for cell in row.cells.values()) else ROW_HEIGHT
            texts.append((top + high / 2, row.name, dict(fontsize=8)))
            boxes.append((top, high, row, clip, k == last))
            top += high + GAP + SECONDS_HEIGHT * (k == last)
    height = top + GAP
    if max(width, height) * DPI >= LARGEST_SIDE:
        raise MmavError(f'{len(clips)} clips in {len(rows)} rows are too many for one picture: draw fewer clips')
    figure = Figure(figsize=(width, height), dpi=DPI)
    for y, words, style in texts:
        figure.text(0.12 / width, 1 - y / height, words, va='center', parse_math=False, **style)
    if 'audio' in columns:
        hint = figure.text(1 - 0.25 / width, 1 - 0.22 / height, 'this colour: audio is exactly 0, masked or padded')
        hint.set(fontsize=8, backgroundcolor=MASKED, ha='right', va='center')
    for y, high, row, clip, labelled in boxes:
        for modality, cell in row.cells.items():
            left, wide = columns[modality]
            axes = figure.add_axes((left / width, 1 - (y + high) / height, wide / width, high / height))
            if isinstance(cell, Sound):
                sounds = [other.cells['audio'] for other in clip.rows]
                longest = max(sound.seconds or 0 for sound in sounds if isinstance(sound, Sound))
                _draw_sound(axes, cell, clip.start, longest, labelled=labelled)
            elif isinstance(cell, Frames):
                _draw_frames(axes, cell)
            else:
                axes.set(xticks=[], yticks=[], facecolor='#f2f4f5')
                axes.spines[:].set_color('#d5dade')
                axes.text(0.5, 0.5, cell, ha='center', va='center', fontsize=8, color=FAINT)
    write_output(out_file, figure_bytes(figure))


def _draw_frames(axes: Any, frames: Frames) -> None:
    axes.set_axis_off()
    axes.set_anchor('W')
    axes.imshow(frames.strip)
    height, width = frames.strip.shape[0], frames.strip.shape[1] / len(frames.times)
    for k, words in enumerate(frames.times):
        axes.axvline(k * width - 0.5, color='white', linewidth=1.5)
        text = axes.text((k + 0.04) * width, 0.95 * height, words, color='white', fontsize=6.5)
        text.set_bbox(dict(facecolor='black', alpha=0.45 if words else 0, linewidth=0, pad=1))


def _draw_sound(axes: Any, sound: Sound, start: float, longest: float, *, labelled: bool) -> None:
    values = sound.values
    first, last = (start, start + sound.seconds) if sound.seconds else (0, values.shape[-1])
    if values.ndim == 1:
        axes.plot(np.linspace(first, last, len(values)), values, linewidth=0.4, color='#34495e')
        axes.set_yticks([0])
    else:
        shown = np.ma.masked_equal(values, 0)
        low, high = np.percentile(shown.compressed(), (0.5, 99.8)) if shown.count() else (0, 1)
        from matplotlib import colormaps

        colours, extent = colormaps['magma'].with_extremes(bad=MASKED), (first, last, 0, len(values))
        axes.imshow(shown, colours, aspect='auto', vmin=low, vmax=high, origin='lower', extent=extent)
        axes.set_yticks([0, len(values) // 2, len(values)])
    axes.set_xlim(first, start + longest if sound.seconds else last)
    axes.set_ylabel('wave' if values.ndim == 1 else 'mel bin', fontsize=7, labelpad=1)
    axes.tick_params(labelsize=7, labelbottom=labelled, length=2, pad=2)
    axes.set_xlabel('seconds' if sound.seconds else 'frame', fontsize=7, labelpad=1, visible=labelled)
