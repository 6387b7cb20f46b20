"""Features made elsewhere, from files to training."""

import numpy as np
import pytest

from mmav.datasets.features import FeatureStore
from tests.engine.features.conftest import base, clips_folder  # noqa: F401 (fixtures)
from tests.toys import run_tool

TOOL = 'import_features.py'


@pytest.fixture
def folder(clips_folder, tmp_path):  # noqa: F811
    """Features of the clips of both manifests."""
    rng = np.random.default_rng(0)
    for name, width in (('video', 6), ('audio', 10)):
        (tmp_path / name).mkdir()
        for clip in ('a', 'b', 'silent', 'torn', 'long', 'blind'):
            np.save(tmp_path / name / f'{clip}.npy', rng.standard_normal((5, width)).astype(np.float32))
    return tmp_path


def arguments(clips_folder, folder, split):  # noqa: F811
    sources = [f'{name}={folder / name}' for name in ('video', 'audio')]
    given = [clips_folder / f'{split}.csv', '--classes', clips_folder / 'classes.txt', '--from', *sources]
    return [TOOL, *given, '--out', folder / 'features' / split]


def test_from_files_to_training(clips_folder, folder, capsys):  # noqa: F811
    for split in ('train', 'test'):
        assert run_tool(*arguments(clips_folder, folder, split)) == 0
    assert "6 clips in '" in capsys.readouterr().out
    train = ['train.py', clips_folder / 'config.py', '--features', folder / 'features', '--work-dir', folder / 'work']
    assert run_tool(*train, '--cfg-options', 'train_cfg.max_epochs=1') == 0
    assert (folder / 'work/epoch_1.pth').is_file()


def test_any_number_of_labels(clips_folder, folder, capsys):  # noqa: F811
    command = arguments(clips_folder, folder, 'several')
    (clips_folder / 'several.csv').write_text('path,label\na.mp4,0|2\nb.mp4,\n')
    assert run_tool(*command) == 2 and 'multi_label=True' in capsys.readouterr().err
    assert run_tool(*command, '--multi-label') == 0
    store = FeatureStore(folder / 'features' / 'several')
    assert store.multi_label and store.labels['label'].tolist() == [[1, 0, 1], [0, 0, 0]]


def test_mistakes_are_one_line(clips_folder, folder, capsys):  # noqa: F811
    good = arguments(clips_folder, folder, 'train')
    (folder / 'audio/long.npy').unlink()
    for more, message in (
        ([], '1 of the 6 clips have no file of audio features, such as long.mp4'),
        (['--class-token', 'text'], "'text' is not imported: --from names video, audio"),
        (['--num-tokens', 'video=few'], '--num-tokens video=few: give a number from 1'),
        (['--classes', 'verb=a.txt', 'b.txt'], 'give one file, or verb=FILE noun=FILE'),
    ):
        assert run_tool(*good, *more) == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith('error: ') and message in error
    assert not (folder / 'features').exists()
