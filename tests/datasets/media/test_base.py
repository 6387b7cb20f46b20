from __future__ import annotations

import pytest

from mmav.datasets.media import READERS, MediaReader, open_media


@pytest.mark.parametrize('backend', READERS)
def test_every_reader_has_the_interface(clip, backend):
    if backend != 'pyav':
        pytest.importorskip(backend)
    with open_media(str(clip), backend=backend) as reader:
        assert isinstance(reader, MediaReader)
        assert (reader.info.has_video, reader.info.has_audio, reader.info.path) == (True, True, str(clip))
