"""Classifies your own files with a trained model: path in, labels out."""

from __future__ import annotations

import copy
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from tqdm import tqdm

from mmav.checkpoints import load_checkpoint_file
from mmav.class_names import trained_with
from mmav.config.check import check_config
from mmav.config.device_steps import move_to_workers
from mmav.config.edits import find_test_set, find_whole_test_set, resolve_num_classes, set_data_root
from mmav.config.reading import load_config
from mmav.datasets import av_collate
from mmav.datasets.transforms import LoadClip
from mmav.datasets.transforms.spectrogram import find_spectrogram
from mmav.errors import ConfigError, MediaError, did_you_mean
from mmav.inference.annotate import annotate, plan_copies
from mmav.inference.live import stream
from mmav.inference.reading import Job, in_batches, read_ahead, read_span
from mmav.inference.results import MERGES, Scores, finish_result, new_result, note_window, predictions_of
from mmav.inference.sources import Source, list_sources
from mmav.inference.trained_model import build_model, find_classes, find_device, label_thresholds
from mmav.inference.windows import TOLERANCE, windows_of
from mmav.models.lora import merge_lora
from mmav.registry import TRANSFORMS
from mmav.structures import MODALITIES, predicted_parts, score_key
from mmav.threads import cpu_count

ERRORS = ('raise', 'report')


class AVInferencer:
    """Classifies files, folders and arrays with the test pipeline of a config and the weights of a checkpoint.

    A file without audio or video is classified by what it has, if the model was trained on both. A file longer than the
    window that the model was trained on is classified window by window; its prediction is the mean over them. LoRA is
    merged into the weights.

    Args:
        config: A config file, or a config.
        checkpoint: Checkpoint file; None for random weights.
        device: Such as 'cuda:1' or 'cpu'; defaults to a GPU where there is one.
        classes: Names of the classes, or a file with one a line; for a label of several parts, such as a verb and a
            noun, part -> one of these. Defaults to those that the checkpoint was trained with, else those of the
            config's dataset, else numbers. The checkpoint's names in another order give the classes that order; other
            names rename its classes, one by one.
        data_root: Folder of the data instead of the config's; only used to find a class list.
        thresholds: Of a model that gives a clip several labels: from which probability on it has one. A number, class
            name -> number, or a JSON file that ``mmav thresholds`` writes.
        show_progress: Whether to show a progress bar.

    Raises:
        MmavError: The config, checkpoint or class list is missing or wrong, or they do not go together.

    Example::

        inferencer = AVInferencer('configs/mmt/mmt_tiny_avsynth.py', 'work_dirs/demo/epoch_10.pth')
        inferencer('clip.mp4')[0]['predictions'][0]  # dict(label='spin+warble', index=10, score=0.93)
        inferencer(['a.mp4', 'b.wav', dict(video=frames, fps=25, audio=wave, sample_rate=44100)], batch_size=4)
        inferencer('clips/', errors='report')
        inferencer(open('a.mp4', 'rb').read())  # or the file object
    """

    def __init__(
        self,
        config: str | os.PathLike[str] | Config,
        checkpoint: str | os.PathLike[str] | None,
        *,
        device: str | None = None,
        classes: Any = None,
        data_root: str | None = None,
        thresholds: Any = None,
        show_progress: bool = True,
    ) -> None:
        self.cfg = copy.deepcopy(config) if isinstance(config, Config) else load_config(os.fspath(config))
        if data_root:
            set_data_root(self.cfg, data_root)
        check_config(self.cfg)
        # so that what is read has spectrograms, for all that looks at them
        move_to_workers(self.cfg)
        init_default_scope('mmav')
        self.show_progress = show_progress
        dataset = find_test_set(self.cfg)
        self.modalities: tuple[str, ...] = tuple(dataset.get('modalities', MODALITIES))
        content = None if checkpoint is None else load_checkpoint_file(os.fspath(checkpoint))
        self.classes = find_classes(classes, (content or {}).get('meta') or {}, find_whole_test_set(self.cfg))
        trained = trained_with(content or {}) or self.classes
        resolve_num_classes(self.cfg, (trained or {}).get('label'))
        place = find_device(device)
        self.model = build_model(self.cfg.model, content, str(checkpoint), names=self.classes)
        self.thresholds = label_thresholds(self.model, thresholds, self.classes)
        merge_lora(self.model)  # as fast, and exported, as a model without
        self.model.to(place)
        steps = dataset['pipeline']
        self.pipeline = Compose([TRANSFORMS.build(step) if isinstance(step, Mapping) else step for step in steps])
        self.collate_fn = av_collate

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
        merge: str = 'mean',
        out_dir: str | os.PathLike[str] | None = None,
    ) -> list[dict[str, Any]]:
        """Classifies.

        Args:
            inputs: A path, a folder, bytes, a file object, arrays, or a list of them, see
                :func:`mmav.inference.sources.list_sources`.
            batch_size: Windows in a batch.
            topk: How many labels are returned; None for all.
            window: Seconds that the model looks at in one piece; defaults to :attr:`window`.
            stride: Most seconds from the start of one window to the next; defaults to the window's length.
            drop: Modalities that are withheld from the model.
            errors: What to do about a clip that cannot be read: 'raise', or 'report' it in its result's ``error``.
            num_workers: Threads that read; defaults to one per core, but 4 at most. 0 reads in this thread.
            max_windows: A clip of more windows is not read: its length is likely to be a mistake of its time stamps.
            merge: What the windows of a clip say together: the 'mean' of their probabilities or, for a model that gives
                several labels, the 'max', so that what one window shows is a label of the whole clip.
            out_dir: Folder for a copy of each file with the predictions drawn on its frames. Your own files in it are
                not replaced.

        Returns:
            One dict a clip, of plain values: ``path``; ``duration`` in seconds; ``present``, ``missing`` and
            ``withheld`` modalities; ``predictions``, dicts of ``label``, ``index`` and ``score``, the most probable
            first; ``windows``, the same for each, with ``start`` and ``end`` in seconds; ``skipped``, windows that
            could not be read, with the reason; ``error``, None or the reason why there are no predictions; ``video``,
            the annotated copy, if there is one. For a label of several parts, such as a verb and a noun,
            ``predictions`` are all parts together, and each part is a key beside it. Of a model that gives several
            labels, ``labels`` are those that reach their threshold, of the clip and of each window.

        Raises:
            MmavError: There is nothing to classify, or a clip cannot be read and ``errors`` is 'raise'.
            ValueError: An argument makes no sense.
        """
        self.check_arguments(batch_size, topk, drop, errors=errors, window=window, merge=merge)
        sources = list_sources(inputs)
        if out_dir is not None:
            plan_copies(sources, out_dir)  # to fail now rather than after the work
        results = [new_result(str(source.path), drop) for source in sources]
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
                for (result, of_clip, item), values in zip(whole, self.scores([w[2] for w in whole]), strict=True):
                    of_clip.append(values)
                    note_window(result, item, self.postprocess(values, topk=topk))
                bar.update(len(batch))
        for result, of_clip in zip(results, scores, strict=True):
            finish_result(result, of_clip, self.modalities, lambda each: self._labels_of(each, topk), merge=merge)
            if result['error'] is not None and errors == 'raise':
                raise MediaError(result['path'], result['error'])
        if out_dir is not None:
            self.visualize(sources, results, out_dir=out_dir)
        return results

    def stream(
        self,
        source: Any,
        *,
        window: float | None = None,
        stride: float | None = None,
        topk: int | None = 5,
        drop: Sequence[str] = (),
        **options: Any,
    ) -> Generator[dict[str, Any], None, None]:
        """Classifies a camera, a microphone, a network stream, a pipe, or a file played as live, window by window.

        Args:
            source: Such as ``'camera:0'``, see :func:`mmav.datasets.media.live.sources.list_live`.
            window: Seconds that the model looks at in one piece; defaults to :attr:`window`.
            stride: Seconds from the start of one window to the next; defaults to the window's length.
            topk: How many labels are returned; None for all.
            drop: Modalities that are withheld from the model.
            options: See :func:`mmav.inference.live.stream`.

        Yields:
            A dict a window, as it is complete, see :func:`mmav.inference.live.stream`.

        Raises:
            MmavError: The source cannot be opened, gives nothing, or breaks for good.

        Example::

            for result in inferencer.stream('camera:0 + microphone:default', stride=1.0):
                print(result['end'], result['predictions'][0]['label'], result['latency'])
        """
        self.check_arguments(1, topk, drop, window=window)
        return stream(self, source, window=window, stride=stride, topk=topk, drop=drop, **options)

    def read(
        self, source: Any, *, start: float | None = None, end: float | None = None, drop: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Reads one clip, or a span of it in seconds, with the test pipeline.

        Returns:
            ``inputs``, ``masks`` and ``data_samples``, as :class:`mmav.datasets.transforms.PackAVInputs` gives them.

        Raises:
            MediaError: It cannot be read, or has none of what the model needs.
        """
        source = source if isinstance(source, Source) else list_sources(source)[0]
        return read_span(self.pipeline, source, self.modalities, start=start, end=end, drop=drop)

    def prepare(self, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Batches clips that were read as the model's ``forward`` takes them.

        Returns:
            ``inputs``, ``masks`` and ``data_samples``, on the model's device and normalised.
        """
        preprocessor: Any = self.model.data_preprocessor
        return preprocessor(self.collate_fn(items), training=False)

    @property
    def window(self) -> float | None:
        """Seconds that the model looks at in one piece: LoadClip's window, else the length of a spectrogram."""
        load = next((step for step in self.pipeline.transforms if isinstance(step, LoadClip)), None)
        if load is not None and load.window is not None:
            return load.window
        front_end = find_spectrogram(self.pipeline.transforms)
        return None if front_end is None else front_end.window

    @torch.inference_mode()
    def forward(self, inputs: dict[str, Any]) -> list[Any]:
        """Runs the model on a batch that ``collate_fn`` made of clips that were read.

        Returns:
            A data sample per clip, with its probabilities.
        """
        return self.model.test_step(inputs)  # type: ignore[operator]

    def postprocess(self, scores: Scores, *, topk: int | None = 5) -> dict[str, Any]:
        """Probabilities of one clip to plain values, see :func:`mmav.inference.results.predictions_of`."""
        return self._labels_of(scores, topk)

    def visualize(
        self, sources: Sequence[Source], results: Sequence[dict[str, Any]], *, out_dir: str | os.PathLike[str]
    ) -> list[str]:
        """Writes annotated copies of files, see :func:`mmav.inference.annotate.annotate`."""
        return annotate(sources, results, out_dir, progress=self.show_progress)

    # Steps of a call

    def _labels_of(self, scores: Scores, topk: int | None) -> dict[str, Any]:
        return predictions_of(scores, self.classes, topk, self.thresholds)

    def check_arguments(
        self,
        batch_size: int = 8,
        topk: int | None = 5,
        drop: Sequence[str] = (),
        *,
        errors: str = 'raise',
        window: float | None = None,
        merge: str = 'mean',
    ) -> None:
        """Refuses arguments of a call, see :meth:`__call__`, that make no sense or do not go with the model.

        Raises:
            ConfigError: They do not go with the model.
            ValueError: They make no sense.
        """
        for name, given, known in (('errors', errors, ERRORS), ('merge', merge, MERGES)):
            if given not in known:
                raise ValueError(f'{name}={given!r} is not one of {", ".join(known)}{did_you_mean(given, known)}')
        if merge == 'max' and self.thresholds is None:
            raise ConfigError('merge=max is for models that give several labels; this one gives one: leave it out')
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
        """The windows of all clips; notes in the results how long each clip is, or why it cannot be opened."""
        window = self.window if window is None else window
        for k, (source, result) in enumerate(zip(sources, results, strict=True)):
            try:
                duration, windows = windows_of(source, window, stride, max_windows=max_windows)
            except MediaError as error:
                if errors == 'raise':
                    raise
                result['error'] = error.reason
                continue
            result['duration'] = round(duration, 3)
            bar.total += len(windows)
            bar.set_postfix_str(f'clip {k + 1} of {len(sources)}', refresh=False)
            yield from (Job(k, start, end) for start, end in (windows if len(windows) > 1 else [(None, None)]))

    def scores(self, items: Sequence[dict[str, Any]]) -> list[Scores]:
        """Probabilities of each of some windows that :meth:`read` gave."""
        if not items:
            return []
        scores: list[Scores] = []
        for sample in self.forward(self.collate_fn(items)):
            parts = predicted_parts(sample)
            scores.append({part: sample.get(f'pred_{score_key(part)}').float().cpu().numpy() for part in parts})
        return scores
