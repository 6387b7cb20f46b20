import gzip
import io
import tarfile
import zipfile

import pytest
import torch
from safetensors.torch import save

from mmav.weight_files import is_safetensors, why_no_weights


def saved(**options):
    buffer = io.BytesIO()
    torch.save(dict(a=torch.zeros(3, 4)), buffer, **options)
    return buffer.getvalue()


def packed(kind):
    buffer = io.BytesIO()
    if kind == 'zip':
        with zipfile.ZipFile(buffer, 'w') as archive:
            archive.writestr('weights.pth', saved())
    else:
        with tarfile.open(fileobj=buffer, mode='w') as archive:
            member = tarfile.TarInfo('weights.pth')
            member.size = len(saved())
            archive.addfile(member, io.BytesIO(saved()))
    return buffer.getvalue()


TENSORS = save(dict(a=torch.zeros(3, 4), b=torch.ones(2)), metadata=dict(format='pt'))


@pytest.mark.parametrize(
    ('content', 'what'),
    [
        (saved(), ''),
        (saved(_use_new_zipfile_serialization=False), ''),
        (TENSORS, ''),
        (bytes(100), ''),  # something, but nothing that is known
        (b'', 'an empty file'),
        (b'\n <!doctype HTML><p>', 'a web page'),
        (
            b'version https://git-lfs.github.com/spec/v1\noid sha256:12\n',
            'a Git LFS pointer to the file',
        ),
        (b'<Error><Code>AccessDenied</Code></Error>', 'text'),
        (packed('zip'), 'a packed archive'),
        (packed('tar'), 'a packed archive'),
        (gzip.compress(saved()), 'a packed archive'),
        (saved()[:-100], 'only a part of a file'),
        (TENSORS[:-4], 'only a part of a file'),
        (TENSORS[:40], 'only a part of a file'),
    ],
)
def test_what_a_file_is(content, what, tmp_path):
    path = tmp_path / 'file.pth'
    path.write_bytes(content)
    assert why_no_weights(path) == what
    assert is_safetensors(path) == content.startswith(TENSORS[:40])
