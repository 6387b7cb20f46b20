"""Tar files in WebDataset's layout: the same bytes each time, read by others, and torn ones recognised."""

from __future__ import annotations

import io
import json
import tarfile
import zlib

import pytest

from mmav.datasets.shards.tar import BLOCK, TarScan, TarWriter, TornTar, keys_of, note_of, room_of, split_name

LONG = f'{"d" * 90}/{"ä" * 60}.mp4'
FILES = {'a/1.mp4': b'x' * 700, 'a/1.json': b'{}', LONG: b'', 'b.wav': bytes(BLOCK)}


def written(files: dict[str, bytes]) -> tuple[bytes, list]:
    file = io.BytesIO()
    writer = TarWriter(file)
    packed = [writer.add(name, data) for name, data in files.items()]
    writer.finish()
    assert (writer.size, writer.checksum) == (len(file.getvalue()), zlib.crc32(file.getvalue()))
    return file.getvalue(), packed


def test_python_reads_what_was_written_where_it_was_said_to_be():
    data, packed = written(FILES)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert {info.name: tar.extractfile(info).read() for info in tar} == FILES
    for each in packed:
        part = data[each.offset : each.offset + each.size]
        assert part == FILES[each.name] and each.checksum == zlib.crc32(part)
    assert len(data) == sum(room_of(name, len(content)) for name, content in FILES.items()) + 2 * BLOCK
    assert written(FILES)[0] == data


def test_scanning_finds_the_same_and_keeps_what_is_asked_for():
    data, packed = written(FILES)
    scan = TarScan(io.BytesIO(data), keep=lambda name: name.endswith('.json'))
    found = list(scan)
    assert [each for each, _ in found] == packed and [kept for _, kept in found] == [b'', b'{}', b'', b'']
    assert (scan.size, scan.checksum) == (len(data), zlib.crc32(data))


@pytest.mark.parametrize('end', [-2 * BLOCK, -2 * BLOCK - 100, 1000, 300])
def test_a_torn_tar_file_is_recognised(end):
    data, _ = written(FILES)
    with pytest.raises(TornTar):
        list(TarScan(io.BytesIO(data[:end])))


def test_no_tar_file_and_a_compressed_one():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode='w:gz') as tar:
        tar.addfile(tarfile.TarInfo('a'))
    for data in (b'', b'text' * 1000, file.getvalue()):
        with pytest.raises(TornTar):
            list(TarScan(io.BytesIO(data)))


def test_keys_are_split_alike_by_those_who_read_them():
    paths = ['a/x.y.mp4', 'a/x.z.mp4', 'a/X_Y.mp4', '../out.wav', './plain', 'v.1/7.mp4']
    keys = list(keys_of(paths))
    assert len({key.lower() for key, _ in keys}) == len(paths)
    assert [split_name(f'{key}.{suffix}') for key, suffix in keys] == keys
    assert keys[0] == ('a/x_y', 'mp4') and keys[3:] == [('outside/out', 'wav'), ('plain', 'bin'), ('v.1/7', 'mp4')]


def test_a_note_has_the_cells_of_a_row_or_those_of_several():
    assert json.loads(note_of('ä.mp4', [dict(label='dog', start='1')])) == dict(path='ä.mp4', label='dog', start='1')
    rows = [dict(label='dog'), dict(label='cat')]
    assert json.loads(note_of('a.mp4', rows)) == dict(path='a.mp4', rows=rows)
