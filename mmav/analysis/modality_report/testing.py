"""Tests a model under all conditions in one pass: each clip is read and encoded once, and then fused several times."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.device import get_device
from torch.utils.data import DataLoader
from tqdm import tqdm

from mmav.analysis.modality_report.encoding import BOTH, SAME, SHUFFLED, Encoded, Encoder, modalities_of
from mmav.analysis.modality_report.pairing import blocks, twins
from mmav.engine.distributed import group
from mmav.engine.hooks.seed import datasets_within
from mmav.engine.loader_check import judge_all, judge_so_far
from mmav.engine.loops import AVTestLoop, evaluating
from mmav.errors import ConfigError
from mmav.evaluation.accuracy import log_broken
from mmav.models import AVClassifier
from mmav.registry import LOOPS, RUNNERS
from mmav.structures import as_parts
from mmav.threads import sharing_cores

LOOP = 'ModalityLoop'
# Clips within which modalities are exchanged, and what their tokens may take
BLOCK, BLOCK_BYTES = 64, 2**30

# Condition -> the prediction for each clip of the list, as in mmav.evaluation.predictions; None where there is none.
Rows = dict[str, list[dict[str, Any] | None]]


def check_model(cfg: Config) -> tuple[str, str]:
    """Refuses a config that cannot be reported on, before anything is built.

    Returns:
        Its two modalities, see :func:`~mmav.analysis.modality_report.encoding.modalities_of`.

    Raises:
        ConfigError: The model is no AVClassifier of two modalities, or there is no test set.
    """
    if cfg.model.type != 'AVClassifier':
        raise ConfigError(f'model.type={cfg.model.type!r}: a modality report is of an AVClassifier')
    if cfg.get('test_dataloader') is None:
        raise ConfigError(f"'{cfg.filename}' has no test_dataloader")
    return modalities_of(cfg.model.backbones)


def run_conditions(cfg: Config, *, seed: int = 0) -> tuple[Rows, dict[str, Any]]:
    """Tests the checkpoint of a config's ``load_from`` on its test set.

    Args:
        cfg: A checked config, see :func:`mmav.engine.launch.prepare_config`.
        seed: Of the partners.

    Returns:
        Condition -> rows in the order of the test set: ``both``, each modality alone, ``shuffled``, with the sound of
        any other clip, and ``shuffled_same``, with that of another clip of the same label. Rows of the last two also
        have ``partner``, the path of the other clip, and ``partner_label``. And part of the label -> names of classes.

    Raises:
        ConfigError: The model is no AVClassifier of two modalities, or the clips cannot be used.
    """
    check_model(cfg)
    cfg.test_cfg, cfg.test_evaluator = dict(type=LOOP, seed=seed), []
    try:
        with sharing_cores(cfg.test_dataloader.get('num_workers') or 0) as note:
            runner = RUNNERS.build(cfg)
            runner.logger.info(note)
            return runner.test()
    finally:
        group.leave()


@LOOPS.register_module()
class ModalityLoop(AVTestLoop):
    """The loop of :func:`run_conditions`.

    Args:
        runner: The runner.
        dataloader: The test set's.
        evaluator: None; the result are the predictions.
        seed: Of the partners.
        fp16: See :class:`AVTestLoop`.
    """

    def __init__(self, runner: Any, dataloader: Any, evaluator: Any, *, seed: int = 0, fp16: bool = False) -> None:
        super().__init__(runner, dataloader, evaluator, fp16)
        self.seed = seed

    def run(self) -> Any:
        """Tests; see :func:`run_conditions`."""
        runner, dataset = self.runner, self.dataloader.dataset
        model = runner.plain_model.eval()
        if not isinstance(model, AVClassifier):
            raise ConfigError(f'{type(model).__name__}: a modality report is of an AVClassifier')
        labels = _labels(dataset)
        encoder = Encoder(model)
        rows: Rows = {name: [None] * len(dataset) for name in (BOTH, *encoder.names, SHUFFLED, SAME)}
        numbers = runner.evaluation_numbers
        with evaluating(runner.model), numbers.autocast(get_device()):
            # what a clip takes is known once one was read
            first = self.dataloader.collate_fn([dataset[0]])
            size = max(2, min(BLOCK, BLOCK_BYTES // encoder.encode(first).bytes_per_clip))
            plan = blocks(twins(labels, self.seed), size)
            with tqdm(desc='test', total=len(dataset), unit='clip', file=sys.stderr) as bar:
                for number, (block, encoded) in enumerate(self._encoded(plan, encoder, bar)):
                    places = [place for group_ in block for place in group_]
                    rng = np.random.default_rng((self.seed, number))
                    found = encoded.conditions([len(group_) for group_ in block], rng, self._batch_size)
                    for name, each in found.items():
                        for place, row in zip(places, each, strict=True):
                            rows[name][place] = row
                    judge_so_far(self.dataloader)
        judge_all(self.dataloader)
        log_broken((row['path'], row['broken']) for row in rows[BOTH] if row)
        classes = getattr(dataset, 'metainfo', {}).get('classes')
        return rows, as_parts(classes) if classes else {}

    @property
    def _batch_size(self) -> int:
        return self.dataloader.batch_size or 1

    def _encoded(self, plan: Sequence[Sequence[Sequence[int]]], encoder: Encoder, bar: Any) -> Any:
        """Yields blocks, and what the encoders give for them."""
        own, batches = self.dataloader, []
        for number, block in enumerate(plan):
            places = [place for group_ in block for place in group_]
            for first in range(0, len(places), self._batch_size):
                batches.append((number, places[first : first + self._batch_size]))
        loader: Any = DataLoader(
            own.dataset,
            batch_sampler=[places for _, places in batches],
            num_workers=own.num_workers,
            collate_fn=own.collate_fn,
            pin_memory=own.pin_memory,
            prefetch_factor=own.prefetch_factor,
            worker_init_fn=own.worker_init_fn,
        )
        waiting: list[Encoded] = []
        for k, ((number, places), batch) in enumerate(zip(batches, loader, strict=True), start=1):
            waiting.append(encoder.encode(batch))
            bar.update(len(places))
            if k == len(batches) or batches[k][0] != number:
                yield plan[number], Encoded.joined(waiting)
                waiting = []


def _labels(dataset: Any) -> list[Any]:
    """Of each clip something that is equal for clips with equal labels."""
    for each in datasets_within(dataset):
        if getattr(each, 'drop', ()):
            raise ConfigError(
                f'test_dataloader.dataset.drop={list(each.drop)}: the report withholds by itself, leave it out'
            )
    if not hasattr(dataset, 'get_data_info'):
        raise ConfigError(f'{type(dataset).__name__} does not tell the labels of its clips: it has no get_data_info')
    labels = [tuple(as_parts(dataset.get_data_info(k)['label']).items()) for k in range(len(dataset))]
    if not all(labels):
        raise ConfigError('the clips of the test list have no labels, so nothing can be right: give a labelled list')
    return labels
