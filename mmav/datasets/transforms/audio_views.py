"""Several views of one waveform."""

from __future__ import annotations

from typing import Any

from mmcv.transforms import BaseTransform

from mmav.registry import TRANSFORMS


@TRANSFORMS.register_module()
class AudioViews(BaseTransform):
    """Repeats the audio, so that later random transforms create V different views of it.

    Args:
        num_views: V.

    Raises:
        ValueError: ``num_views`` is below 1.
    """

    deterministic = True
    touches = ('audio',)

    def __init__(self, num_views: int = 2) -> None:
        if num_views < 1:
            raise ValueError(f'num_views must be at least 1, got {num_views}')
        self.num_views = num_views

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Puts V copies in the place of each entry of ``audio``, of which there is one for each window."""
        if 'audio' in results:
            results['audio'] = [wave.copy() for wave in results['audio'] for _ in range(self.num_views)]
        return results
