from pathlib import Path

import pytest

from mmav.preparation.avsynth.writing import write_list, write_whole


def test_a_list_is_written_once_and_never_changed(tmp_path: Path) -> None:
    path = tmp_path / 'train.csv'
    write_list(path, b'path,label\n')
    stamp = path.stat().st_mtime_ns
    write_list(path, b'path,label\n')
    assert path.stat().st_mtime_ns == stamp
    with pytest.raises(FileExistsError, match='was changed since it was written'):
        write_list(path, b'path\n')
    assert path.read_bytes() == b'path,label\n'


def test_a_file_leaves_no_part(tmp_path: Path) -> None:
    write_whole(tmp_path / 'clip.mp4', b'clip')
    assert [path.name for path in tmp_path.iterdir()] == ['clip.mp4']
