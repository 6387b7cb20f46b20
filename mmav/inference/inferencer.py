"""A trained model on one's own files: path in, labels out."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.infer import BaseInferencer
from mmengine.registry import init_default_scope
from torch import nn
from tqdm import tqdm

from mmav.adapting import noted_grids
from mmav.checkpoints import load_checkpoint_file
from mmav.class_names import trained_with
from mmav.config.check import check_config
from mmav.config.edits import find_test_set, resolve_num_classes, set_data_root
from mmav.datasets import av_collate
from mmav.datasets.transforms import LoadClip
from mmav.datasets.transforms.spectrogram import find_spectrogram
from mmav.engine.class_heads import check_widths, class_heads, match_classes
from mmav.engine.cli import load_config
from mmav.engine.loading import load_weights
from mmav.errors import ConfigError, MediaError, did_you_mean
from mmav.inference.annotate import annotate, plan_copies
from mmav.inference.classes import find_classes
from mmav.inference.reading import Job, in_batches, read_ahead
from mmav.inference.results import Scores, finish_result, new_result, note_window, predictions_of
from mmav.inference.sources import Source, list_sources
from mmav.inference.windows import TOLERANCE, place_windows
from mmav.parallel import cpu_count
from mmav.registry import MODELS, TRANSFORMS
from mmav.structures import MODALITIES, predicted_parts, score_key

ERRORS = ('raise', 'report')


class AVInferencer(BaseInferencer):
    """Classifies files, folders and arrays with the test pipeline of a config and the weights of a checkpoint.

    A file without sound or picture is classified by what it has, where the model knows both. A file longer than the
    window that the model was trained on is looked at window by window; its prediction is the mean of theirs.

    Args:
        config: A config file, or a config.
        checkpoint: Checkpoint file; None for random weights.
        device: Such as 'cuda:1' or 'cpu'; a GPU where there is one if None.
        classes: Names of the classes, or a file with one a line; where a label has several parts, such as a verb and a
            noun, part -> one of these. If None those that the checkpoint was trained with, else those of the config's
            data set, else numbers. The checkpoint's names in another order give the classes that order; other names
            rename its classes, place by place.
        data_root: Folder of the data in place of the config's; only a class list is looked for there.
        show_progress: Whether to show a progress bar.

    Raises:
        MmavError: The config, checkpoint or class list is missing or wrong, or they do not go together.

    Example::

        inferencer = AVInferencer('configs/mmt/mmt_tiny_avsynth.py', 'work_dirs/demo/epoch_10.pth')
        inferencer('clip.mp4')[0]['predictions'][0]  # dict(label='spin+warble', index=10, score=0.93)
        inferencer(['a.mp4', 'b.wav', dict(video=frames, fps=25, audio=wave, sample_rate=44100)], batch_size=4)
        inferencer('clips/', errors='report')
    """

    def __init__(
        self,
        config: str | os.PathLike[str] | Config,
        checkpoint: str | os.PathLike[str] | None,
        *,
        device: str | None = None,
        classes: Any = None,
        data_root: str | None = None,
        show_progress: bool = True,
    ) -> None:
        # MMEngine's own constructor would run the text of a config that a checkpoint holds, and loads what fits.
        self.cfg = copy.deepcopy(config) if isinstance(config, Config) else load_config(os.fspath(config))
        if data_root:
            set_data_root(self.cfg, data_root)
        check_config(self.cfg)
        init_default_scope('mmav')
        self.scope = 'mmav'
        self.show_progress = show_progress
        dataset = find_test_set(self.cfg)
        self.modalities: tuple[str, ...] = tuple(dataset.get('modalities', MODALITIES))
        content = None if checkpoint is None else load_checkpoint_file(os.fspath(checkpoint))
        self.classes = find_classes(classes, (content or {}).get('meta') or {}, dataset)
        trained = trained_with(content or {}) or self.classes
        resolve_num_classes(self.cfg, (trained or {}).get('label'))
        self.model = self._build(content, str(checkpoint), _device(device))
        self.pipeline = self._init_pipeline(self.cfg)
        self.collate_fn = self._init_collate(self.cfg)
        self.visualizer = None

    def __call__(
        self,
        inputs: Any,
        batch_size: int = 8,
        topk: int | None = 5,
        *,
        window: float | None = None,
        stride: float | None = None,
        drop: Sequence[str] = (),
        errors: str = 'raise',
        num_workers: int | None = None,
        max_windows: int = 10_000,
        out_dir: str | os.PathLike[str] | None = None,
    ) -> list[dict[str, Any]]:
        """Classifies.

        Args:
            inputs: A path, a folder, arrays, or a list of them, see :func:`mmav.inference.sources.list_sources`.
            batch_size: Windows that the model takes at once.
            topk: How many labels are given; None for all.
            window: Seconds that the model looks at in one piece; those of :attr:`window` if None.
            stride: Largest seconds from one window's start to the next; None for the window's length.
            drop: Modalities that are withheld from the model.
            errors: What a clip does that cannot be read: 'raise', or 'report' in its result's ``error``.
            num_workers: Threads that read; one per core, but 4 at most, if None. 0 reads in this thread.
            max_windows: A clip of more windows is not read: its length is likely to be a mistake of its time stamps.
            out_dir: Folder for a copy of each file with the predictions drawn into its picture. No other file that is
                there is replaced.

        Returns:
            One dict a clip, of plain values: ``path``; ``duration`` in seconds; ``present``, ``missing`` and
            ``withheld`` modalities; ``predictions``, dicts of ``label``, ``index`` and ``score``, the most probable
            first; ``windows``, the same for each, with ``start`` and ``end`` in seconds; ``skipped``, windows that
            could not be read, with the reason; ``error``, None or the reason why there are no predictions; ``video``,
            the annotated copy, where asked for. Where a label has several parts, such as a verb and a noun, one
            of ``predictions`` is all of them together, and each part stands beside ``predictions``.

        Raises:
            MmavError: There is nothing to classify, or a clip cannot be read and ``errors`` is 'raise'.
            ValueError: An argument makes no sense.
        """
        self._check_arguments(batch_size, topk, drop, errors, window)
        sources = self._inputs_to_list(inputs)
        if out_dir is not None:
            plan_copies(sources, out_dir)  # to fail now rather than after the work
        results = [new_result(source.path, drop) for source in sources]
        scores: list[list[Scores]] = [[] for _ in sources]
        workers = min(4, cpu_count()) if num_workers is None else num_workers
        with tqdm(desc='windows', unit='window', total=0, disable=not self.show_progress) as bar:
            jobs = self._jobs(sources, results, window, stride, errors, max_windows, bar)
            outcomes = read_ahead(
                lambda job: self.read(sources[job.clip], start=job.start, end=job.end, drop=drop),
                jobs,
                workers=workers,
                ahead=2 * batch_size,
            )
            for batch in in_batches(outcomes, batch_size):
                whole = []
                for job, item in batch:
                    if isinstance(item, MediaError):
                        results[job.clip]['skipped'].append(dict(start=job.start, end=job.end, reason=item.reason))
                    else:
                        whole.append((results[job.clip], scores[job.clip], item))
                for (result, of_clip, item), values in zip(whole, self._scores([w[2] for w in whole]), strict=True):
                    of_clip.append(values)
                    note_window(result, item, self.postprocess(values, topk=topk))
                bar.update(len(batch))
        for result, of_clip in zip(results, scores, strict=True):
            finish_result(result, of_clip, self.modalities, self.classes, topk)
            if result['error'] is not None and errors == 'raise':
                raise MediaError(result['path'], result['error'])
        if out_dir is not None:
            self.visualize(sources, results, out_dir=out_dir)
        return results

    def read(
        self, source: Any, *, start: float | None = None, end: float | None = None, drop: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Reads one clip, or a span of it in seconds, through the test pipeline.

        Returns:
            ``inputs``, ``masks`` and ``data_samples``, as :class:`mmav.datasets.transforms.PackAVInputs` gives them.

        Raises:
            MediaError: It cannot be read, or has nothing of what the model needs.
        """
        source = source if isinstance(source, Source) else list_sources(source)[0]
        return self.pipeline(
            dict(
                path=source.path,
                label={},
                start=start,
                end=end,
                sample_idx=0,
                modalities=self.modalities,
                dropped=tuple(drop),
                dropout=(),
                broken=None,
                rng=np.random.default_rng(0),
                **(dict(reader=source.open()) if source.arrays is not None else {}),
            )
        )

    def prepare(self, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Clips that were read to what the model's ``forward`` takes: ``inputs``, ``masks`` and ``data_samples``."""
        preprocessor: Any = self.model.data_preprocessor
        return preprocessor(self.collate_fn(items), training=False)

    @property
    def window(self) -> float | None:
        """Seconds that the model looks at in one piece: the window of LoadClip, else what a spectrogram spans."""
        load = next((step for step in self.pipeline.transforms if isinstance(step, LoadClip)), None)
        if load is not None and load.window is not None:
            return load.window
        front_end = find_spectrogram(self.pipeline.transforms)
        return None if front_end is None else front_end.window

    # What BaseInferencer asks for

    @torch.inference_mode()
    def forward(self, inputs: Any, **kwargs: Any) -> Any:
        """Runs the model on a batch of the test pipeline; MMEngine's only turns gradients off."""
        return super().forward(inputs, **kwargs)

    def _inputs_to_list(self, inputs: Any) -> list[Source]:
        return list_sources(inputs)

    def _init_pipeline(self, cfg: Config) -> Compose:
        steps = find_test_set(cfg)['pipeline']
        return Compose([TRANSFORMS.build(step) if isinstance(step, Mapping) else step for step in steps])

    def _init_collate(self, cfg: Config) -> Callable:
        return av_collate

    def visualize(
        self, inputs: Sequence[Source], preds: Sequence[dict[str, Any]], *, out_dir: str | os.PathLike[str]
    ) -> list[str]:
        """Writes a copy of each file with the predictions of the moment drawn into its picture, and its sound.

        Args:
            inputs: The clips; arrays are passed over.
            preds: Their results; the copy's path becomes ``video`` in each.
            out_dir: Folder, made if need be.

        Returns:
            The files, in order.
        """
        return annotate(inputs, preds, out_dir, progress=self.show_progress)

    def postprocess(self, preds: Any, visualization: Any = None, return_datasample: bool = False, **kwargs: Any) -> Any:
        """Probabilities of one clip to plain values, see :func:`mmav.inference.results.predictions_of`."""
        return predictions_of(preds, self.classes, kwargs.get('topk', 5))

    # Steps of a call

    def _build(self, content: dict[str, Any] | None, name: str, device: torch.device) -> nn.Module:
        model = MODELS.build(self.cfg.model)
        names, trained = self.classes, trained_with(content or {})
        widths = [width._replace(where='the model') for width in class_heads(model)]
        if trained is not None:
            remedy = 'give the config that the checkpoint was trained with'
            check_widths(widths, trained, f"'{name}'", remedy=remedy)
        if names is not None:
            remedy = 'give the list that it was trained with as classes'
            check_widths(widths, names, 'the class list', remedy=remedy)
        if content is not None:
            weights = match_classes(content, model, names, source=name, who='the class list', purpose='infer')
            load_weights(model, weights, name, strict=True, grids=noted_grids(content))
        return model.to(device).eval()

    def _check_arguments(
        self, batch_size: int, topk: int | None, drop: Sequence[str], errors: str, window: float | None
    ) -> None:
        if errors not in ERRORS:
            raise ValueError(f'errors={errors!r} is none of {", ".join(ERRORS)}{did_you_mean(errors, ERRORS)}')
        for name, value in dict(batch_size=batch_size, topk=topk).items():
            if value is not None and value < 1:
                raise ValueError(f'{name}={value} must be 1 or more')
        for modality in drop:
            if modality not in self.modalities:
                raise ConfigError(
                    f'cannot withhold {modality!r}: the model reads {" and ".join(self.modalities)}'
                    f'{did_you_mean(modality, self.modalities)}'
                )
        if set(self.modalities) <= set(drop):
            raise ConfigError(f'withholding {" and ".join(drop)} leaves the model nothing')
        own = self.window
        if window is not None and own is not None and window > TOLERANCE * own:
            raise ConfigError(
                f'a window of {window:g} s is longer than the {own:g} s that this model looks at: the rest would be '
                'cut off; give a shorter one'
            )

    def _jobs(
        self,
        sources: Sequence[Source],
        results: Sequence[dict[str, Any]],
        window: float | None,
        stride: float | None,
        errors: str,
        max_windows: int,
        bar: tqdm,
    ) -> Iterator[Job]:
        """The windows of all clips; notes each clip's length, or what is wrong with it, as it comes to it."""
        window = self.window if window is None else window
        for k, (source, result) in enumerate(zip(sources, results, strict=True)):
            try:
                with source.open() as reader:
                    duration = reader.info.duration
                windows = place_windows(duration, window, stride)
                if len(windows) > max_windows:
                    raise MediaError(
                        source.path,
                        f'its {duration:,.1f} s are {len(windows):,} windows, more than max_windows={max_windows:,}; '
                        'raise it to read them all',
                    )
            except MediaError as error:
                if errors == 'raise':
                    raise
                result['error'] = error.reason
                continue
            result['duration'] = round(duration, 3)
            bar.total += len(windows)
            bar.set_postfix_str(f'clip {k + 1} of {len(sources)}', refresh=False)
            if len(windows) == 1:
                yield Job(k, None, None)
            else:
                yield from (Job(k, start, end) for start, end in windows)

    def _scores(self, items: Sequence[dict[str, Any]]) -> list[Scores]:
        """Probabilities of each window that was read."""
        if not items:
            return []
        scores: list[Scores] = []
        for sample in self.forward(self.collate_fn(items)):
            parts = predicted_parts(sample)
            scores.append({part: sample.get(f'pred_{score_key(part)}').float().cpu().numpy() for part in parts})
        return scores


def _device(name: str | None) -> torch.device:
    """The device of that name, or the best there is.

    Raises:
        ConfigError: There is none of that name.
    """
    if name is None:
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"no device '{name}' here: {str(error).splitlines()[0]}") from error
