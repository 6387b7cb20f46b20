"""Exports trained classifiers to ONNX: the graph, a comparison with PyTorch, and a description of its inputs."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmav import __version__
from mmav.config.edits import find_test_set
from mmav.deployment.graph import ExportGraph, traceable
from mmav.deployment.preprocessing import blank_clip, describe_pipeline, dtype_name, norm_of, plain
from mmav.errors import ConfigError, MmavError, did_you_mean
from mmav.inference import AVInferencer
from mmav.models.av_classifier import AVClassifier
from mmav.outputs import check_output, write_json, write_output
from mmav.structures import as_given
from mmav.tables import size

TOLERANCE = 1e-4
OPSETS = range(17, 21)  # 17 has LayerNormalization, 20 is the last that PyTorch's tracing exporter supports
DEFAULT_OPSET = 18
# batch sizes of the trace and of the two compared runs; all differ, to detect a batch size that is built in
TRACED_BATCH, CHECKED_BATCHES = 2, (1, 3)
_LARGEST = 2**31 - 1  # what one protobuf file can hold


def require(*packages: str) -> None:
    """Makes sure that packages are installed.

    Raises:
        MmavError: One is missing; says how to install it.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise MmavError(f'{" and ".join(missing)} not installed: pip install -r requirements/optional.txt')


def export_onnx(
    inferencer: AVInferencer,
    out: str | Path,
    *,
    drop: Sequence[str] = (),
    opset: int = DEFAULT_OPSET,
    check: bool = True,
    notes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Writes a model as ONNX, and beside it the description as JSON; nothing if the check fails.

    Args:
        inferencer: Model and test pipeline, on the CPU.
        out: The file, ending in .onnx; its folder is created.
        drop: Modalities that no clip will have: they are not inputs, and their encoders are left out.
        opset: Version of ONNX's operators.
        check: Whether to run the file in onnxruntime and compare it with PyTorch, see :func:`measure_difference`.
        notes: Further entries of the description, such as the names of config and checkpoint.

    Returns:
        The description.

    Raises:
        MmavError: A package is missing, the model cannot be exported, or the exported model's outputs differ.
    """
    require('onnx', *(['onnxruntime'] if check else []))
    out = Path(out)
    if out.suffix != '.onnx':
        raise ConfigError(f"--out '{out}': the name has to end in .onnx")
    check_output(out)
    check_output(out.with_suffix('.json'))
    if opset not in OPSETS:
        raise ConfigError(f'opset {opset} is none of {OPSETS[0]} to {OPSETS[-1]}')
    graph, clip = export_graph(inferencer, drop)
    model = _trace(graph, clip, opset)
    description = _describe(inferencer, graph, clip, opset, notes or {})
    _add_metadata(model, description)
    if model.ByteSize() > _LARGEST:
        raise MmavError(f'the model has {size(model.ByteSize(), "GiB", 1)}, an ONNX file holds 2 at most')
    data = model.SerializeToString()
    if check:
        difference = measure_difference(data, graph, clip)
        description['check'] = dict(
            runtime='onnxruntime, CPUExecutionProvider', max_abs_difference=difference, tolerance=TOLERANCE
        )
        if not difference <= TOLERANCE:  # also refuses NaN
            raise MmavError(
                f'onnxruntime and PyTorch differ by {difference:.2e} in a probability, more than {TOLERANCE:g}: '
                'nothing was written'
            )
    write_output(out, data)
    write_json(out.with_suffix('.json'), description)
    return description


def export_graph(inferencer: AVInferencer, drop: Sequence[str] = ()) -> tuple[ExportGraph, dict[str, Tensor]]:
    """Builds the graph to export.

    Returns:
        The graph as a module, and a blank clip: modality name -> (V, C, ...).

    Raises:
        ConfigError: The model is not an AVClassifier, or a modality to drop is unknown or the only one.
    """
    model = inferencer.model
    if not isinstance(model, AVClassifier):
        raise ConfigError(f'model.type={type(model).__name__!r}: only an AVClassifier can be exported')
    names = list(model.backbones)
    for name in drop:
        if name not in names:
            raise ConfigError(f'cannot drop {name!r}: the model reads {" and ".join(names)}{did_you_mean(name, names)}')
    if set(names) <= set(drop):
        raise ConfigError(f'dropping {" and ".join(drop)} leaves the model nothing')
    clip = blank_clip(inferencer.pipeline.transforms, inferencer.modalities)
    missing = [name for name in names if name not in clip]
    if missing:
        raise ConfigError(f'the model reads {" and ".join(names)}, but the test set has no {" and no ".join(missing)}')
    return ExportGraph(model, {name: clip[name].shape[1:] for name in names}, drop), clip


def random_batch(graph: ExportGraph, clip: Mapping[str, Tensor], batch_size: int, seed: int = 0) -> tuple[Tensor, ...]:
    """Inputs of a graph: noise in the range of frames and log-mels; with 3 clips or more, one lacks each modality."""
    generator = torch.Generator().manual_seed(seed)
    norm = norm_of(graph.model.data_preprocessor)
    values = []
    for name in graph.inputs:
        shape = (batch_size, *clip[name].shape[1:])
        if clip[name].dtype == torch.uint8:
            values.append(torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator))
        else:
            scale = norm.get(name, dict(mean=[0.0], std=[1.0]))
            noise = torch.randn(shape, generator=generator)
            values.append(noise * scale['std'][0] + scale['mean'][0])
    masks = [torch.ones(batch_size, dtype=torch.bool) for _ in graph.masks]
    if batch_size > len(masks):
        for index, mask in enumerate(masks):
            mask[-1 - index] = False
    return (*values, *masks)


def measure_difference(data: bytes, graph: ExportGraph, clip: Mapping[str, Tensor]) -> float:
    """Runs an exported model in onnxruntime and the model itself in PyTorch, on batches of other sizes than the trace.

    PyTorch runs data preprocessor and classifier as in tools/test.py; for dropped modalities it gets noise, which must
    not matter.

    Returns:
        The largest absolute difference of a probability, with both modalities and without either of them.

    Raises:
        MmavError: onnxruntime refuses the model.
    """
    session = open_session(data)
    largest = 0.0
    for batch_size in CHECKED_BATCHES:
        values = random_batch(graph, clip, batch_size, seed=batch_size)
        inputs = dict(zip(graph.input_names, values, strict=True))
        try:
            found = session.run(None, {name: value.numpy() for name, value in inputs.items()})
        except Exception as error:  # onnxruntime's errors share no class
            raise MmavError(
                f'onnxruntime cannot run the exported model on {batch_size} clips: {_brief(error)}'
            ) from error
        for ours, theirs in zip(_reference(graph, clip, inputs, batch_size), found, strict=True):
            difference = np.abs(ours - theirs).max()
            largest = max(largest, float(difference)) if np.isfinite(difference) else float('nan')
            if np.isnan(largest):
                return largest
    return largest


def onnx_bytes(graph: ExportGraph, clip: Mapping[str, Tensor], opset: int = DEFAULT_OPSET) -> bytes:
    """The graph as the content of an ONNX file, without a check or metadata.

    Raises:
        MmavError: It cannot be exported.
    """
    require('onnx')
    return _trace(graph, clip, opset).SerializeToString()


def open_session(data: bytes | str, threads: int | None = None) -> Any:
    """Opens a model, as bytes or by its path, in onnxruntime on the CPU.

    Args:
        data: The model.
        threads: Threads of one operator; defaults to PyTorch's number.

    Raises:
        MmavError: onnxruntime is missing, or cannot load it.
    """
    require('onnxruntime')
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.log_severity_level = 4  # errors are raised
    try:
        return onnxruntime.InferenceSession(data, options, providers=['CPUExecutionProvider'])
    except Exception as error:  # onnxruntime's errors share no class
        raise MmavError(f'onnxruntime cannot load the exported model: {_brief(error)}') from error


def _reference(
    graph: ExportGraph, clip: Mapping[str, Tensor], inputs: Mapping[str, Tensor], batch_size: int
) -> list[np.ndarray]:
    given = {name: inputs[name] for name in graph.inputs}
    masks = {name: inputs.get(f'{name}_mask', torch.ones(batch_size, dtype=torch.bool)) for name in graph.inputs}
    for name in graph.drop:
        given[name] = torch.randn(batch_size, *clip[name].shape[1:])
        masks[name] = torch.zeros(batch_size, dtype=torch.bool)
    with torch.inference_mode():
        data = dict(inputs={name: value[:, None] for name, value in given.items()}, masks=masks, data_samples=None)
        prepared = graph.model.data_preprocessor(data)
        scores = graph.model(prepared['inputs'], masks=prepared['masks'])
    return [value.numpy() for value in scores.values()]


def _trace(graph: ExportGraph, clip: Mapping[str, Tensor], opset: int) -> Any:
    """The model as ONNX's protobuf.

    Uses PyTorch's older exporter: the newer one (``dynamo=True``) gives the same numbers, but takes ten times as long,
    many minutes for models of paper size.
    """
    import onnx

    values = random_batch(graph, clip, TRACED_BATCH)
    outputs = list(graph.outputs)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), traceable(graph), torch.no_grad():
        file = str(Path(folder) / 'model.onnx')
        warnings.simplefilter('ignore')  # about constants in the trace, which are intended
        try:
            torch.onnx.export(
                graph,
                values,
                file,
                dynamo=False,
                opset_version=opset,
                input_names=graph.input_names,
                output_names=outputs,
                dynamic_axes={name: {0: 'batch'} for name in (*graph.input_names, *outputs)},
            )
        except Exception as error:  # a user's own component can raise anything
            parts = ', '.join(type(part).__name__ for part in (*graph.model.backbones.values(), graph.model.neck))
            raise MmavError(f'this model ({parts}) cannot be exported to ONNX: {_brief(error)}') from error
        return onnx.load(file)


def _describe(
    inferencer: AVInferencer, graph: ExportGraph, clip: Mapping[str, Tensor], opset: int, notes: Mapping[str, Any]
) -> dict[str, Any]:
    inputs = [
        dict(name=name, dtype=dtype_name(clip[name]), shape=['batch', *clip[name].shape[1:]]) for name in graph.inputs
    ]
    inputs += [
        dict(name=name, dtype='bool', shape=['batch'], meaning=f'whether the clip has {name.removesuffix("_mask")}')
        for name in graph.masks
    ]
    outputs = [
        dict(name=n, dtype='float32', shape=['batch', getattr(h, 'num_classes', None)], meaning=_meaning(h))
        for n, h in graph.outputs.items()
    ]
    steps, config = inferencer.pipeline.transforms, find_test_set(inferencer.cfg).pipeline
    if inferencer.model.view_average == 'logits' and max(x.shape[0] for x in clip.values()) > 1:
        raise ConfigError(
            "view_average='logits' cannot be done with the probabilities that an exported model gives for each of "
            "several views: test with one view, or set model.view_average='probabilities'"
        )
    return dict(
        **notes,
        inputs=inputs,
        outputs=outputs,
        absent=(
            'a clip that lacks a modality: zeros, and False in its mask; a clip that has it: True'
            if graph.masks
            else None
        ),
        dropped=graph.drop,
        thresholds=_thresholds_of(inferencer),
        classes=plain(inferencer.classes and as_given(inferencer.classes)),
        preprocessing=describe_pipeline(steps, config, graph.inputs, norm_of(graph.model.data_preprocessor)),
        opset=opset,
        versions=_versions(),
    )


def _thresholds_of(inferencer: AVInferencer) -> list[float] | float | None:
    """From which probability on a clip has a label: one number where all are equal; None for one label a clip."""
    if inferencer.thresholds is None:
        return None
    (values,) = inferencer.thresholds.values()
    return float(values[0]) if (values == values[0]).all() else values.tolist()


def _meaning(head: Any) -> str:
    if getattr(head, 'multi_label', False):
        return 'the probability of each label; a clip may have several, or none'
    return 'the probability of each class; they sum to 1'


def _versions() -> dict[str, str]:
    found = {name: importlib.metadata.version(name) for name in ('torch', 'onnx')}
    if importlib.util.find_spec('onnxruntime') is not None:
        found['onnxruntime'] = importlib.metadata.version('onnxruntime')
    return dict(mmav=__version__, **found)


def _add_metadata(model: Any, description: Mapping[str, Any]) -> None:
    """Adds classes and preprocessing as JSON, so that the file alone explains itself."""
    for key in ('classes', 'preprocessing', 'inputs', 'outputs', 'config', 'checkpoint', 'versions'):
        if description.get(key) is not None:
            entry = model.metadata_props.add()
            entry.key, entry.value = key, json.dumps(description[key])


def _brief(error: BaseException) -> str:
    """The first non-empty line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
