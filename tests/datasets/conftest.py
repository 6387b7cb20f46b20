import shutil

import pytest


@pytest.fixture
def clips_of_all_kinds(tmp_path, clip, silent, blind, flashes, broken):
    """A folder of clips: whole, silent, only audio, long, no clip at all, and damaged in the middle."""
    sources = (('a.mp4', clip), ('silent.mp4', silent), ('blind.m4a', blind), ('long.mp4', flashes))
    for name, source in (*sources, ('b.mp4', broken['text'])):
        shutil.copy(source, tmp_path / name)
    data = flashes.read_bytes()
    (tmp_path / 'damaged.mp4').write_bytes(data[: len(data) // 2] + bytes(300) + data[len(data) // 2 + 300 :])
    return tmp_path
