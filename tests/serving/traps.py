"""A pipeline that does what a decoder does to a hostile file, where the last bytes of a clip say so."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from mmav.datasets.media import files_of

# behind the end of an mp4 file, where no decoder looks
KILL, HANG, FILL, FAIL, WRITE, SLOW = (
    b'free' + name for name in (b'KILL', b'HANG', b'FILL', b'FAIL', b'WRIT', b'SLOW')
)
SLOW_SECONDS = 0.5


class Traps:
    """The pipeline, before which the traps are."""

    def __init__(self, pipeline: Any) -> None:
        self.pipeline, self.transforms = pipeline, pipeline.transforms

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        path = files_of(results['path'])[0]
        end = Path(path).read_bytes()[-8:]
        if end == KILL:
            os.kill(os.getpid(), signal.SIGSEGV)
        elif end == HANG:
            time.sleep(600)
        elif end == FILL:
            np.ones(2**30)  # 8 GiB
        elif end == FAIL:
            raise KeyError(f'a secret of {path}')
        elif end == WRITE:
            Path(path).write_bytes(b'x')
        elif end == SLOW:
            time.sleep(SLOW_SECONDS)
        return self.pipeline(results)
