"""Copies the next training batch to the GPU while the current one is computed.

A batch of the flagship has 40 MB of frames: 2 ms over PCIe, and the GPU waits for it if it is sent when its step
begins. Here it is sent one step ahead, in a stream of its own.

What is read, and when a pass ends, stays as it is; only the position of the data workers is one batch further, and a
batch that no step used is read again after a resume. What follows from values on the CPU (whether masks are needed,
where padding ends) is decided before the copy, by
:meth:`~mmav.models.data_preprocessor.AVDataPreprocessor.hand_over`; all that is random happens in the step itself,
after :class:`~mmav.engine.hooks.seed.SeedHook` has seeded it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from mmengine.structures import BaseDataElement
from torch import Tensor

from mmav.models.data_preprocessor import AVDataPreprocessor


class Streams(Protocol):
    """What a hand-over needs of a device: a stream beside the one that computes."""

    def copying(self) -> AbstractContextManager[Any]:
        """The context in which copies go into the stream beside."""

    def mark(self) -> Any:
        """A mark in the stream beside, behind all that was sent into it."""

    def wait(self, mark: Any, tensors: Iterable[Tensor]) -> None:
        """Lets the stream that computes wait for a mark, and keeps the memory of tensors until it has used them."""


class CudaStreams:
    """Those of a CUDA device.

    Args:
        device: The device.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.beside = torch.cuda.Stream(device)

    def copying(self) -> AbstractContextManager[Any]:
        """See :class:`Streams`."""
        return torch.cuda.stream(self.beside)

    def mark(self) -> torch.cuda.Event:
        """See :class:`Streams`."""
        event = torch.cuda.Event()
        event.record(self.beside)
        return event

    def wait(self, mark: torch.cuda.Event, tensors: Iterable[Tensor]) -> None:
        """See :class:`Streams`."""
        computing = torch.cuda.current_stream(self.device)
        computing.wait_event(mark)
        for tensor in tensors:
            # else the allocator could give the memory to the next copy while a kernel still reads it
            if tensor.is_cuda:
                tensor.record_stream(computing)


def hand_over_ahead(batches: Iterable[Any], preprocessor: AVDataPreprocessor, streams: Streams) -> Iterator[Any]:
    """Yields each batch when its copy is under way, and that of the next one, too.

    Args:
        batches: From the data loader, in pinned memory, without which a copy takes as long and overlaps with nothing.
        preprocessor: Of the model.
        streams: Those of its device.

    Yields:
        The batches as ``preprocessor`` takes them.
    """
    source = iter(batches)

    def send() -> tuple[Any, Any] | Exception | None:
        try:
            for batch in source:
                with streams.copying():
                    return preprocessor.hand_over(batch), streams.mark()
        except Exception as error:  # noqa: BLE001 - of the next batch: the step of this one is still to come
            return error
        return None

    coming = send()
    while coming is not None:
        if isinstance(coming, Exception):
            raise coming
        (data, mark), coming = coming, send()
        streams.wait(mark, tensors_within(data))
        yield data


def ahead_of(model: Any, batches: Iterable[Any]) -> Iterable[Any]:
    """Batches one step ahead on the device of a model, where that is a CUDA device; otherwise as they are.

    Args:
        model: The model, wrapped or not. One whose data preprocessor is no AVDataPreprocessor copies by itself.
        batches: From the data loader.
    """
    preprocessor = getattr(getattr(model, 'module', model), 'data_preprocessor', None)
    if not isinstance(preprocessor, AVDataPreprocessor) or preprocessor.device.type != 'cuda':
        return batches
    return hand_over_ahead(batches, preprocessor, CudaStreams(preprocessor.device))


def tensors_within(value: Any) -> Iterator[Tensor]:
    """All tensors inside a batch."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, BaseDataElement):
        yield from (item for item in value.values() if isinstance(item, Tensor))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_within(item)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for item in value:
            yield from tensors_within(item)
