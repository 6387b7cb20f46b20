import json

import pytest

from mmav.outputs import RECORD
from tests.inference.models import CLASSES, config, write_model
from tests.toys import run_tool

TOOL = 'analysis_tools/grad_cam.py'


@pytest.fixture(scope='module')
def files(tmp_path_factory, clip):
    folder = tmp_path_factory.mktemp('model')
    (folder / clip.name).symlink_to(clip)
    (folder / 'test.csv').write_text(f'path,label\n{clip.name},dog\n')
    (folder / 'boxes.csv').write_text(f'path,seconds,x0,y0,x1,y1\n{clip.name},0,0.2,0.2,0.7,0.6\n')
    (folder / 'events.csv').write_text(f'path,onset,offset\n{clip.name},0.4,1.2\n')
    return write_model(folder, config(data_root=str(folder), classes=list(CLASSES)))


def test_pages_of_the_test_set_and_of_own_files(files, silent, tmp_path, capsys):
    assert (
        run_tool(TOOL, *files, '--out', tmp_path / 'a', '--compare', *files, '--block', 'audio=neck.blocks.0.audio')
        == 0
    )
    assert capsys.readouterr().out == f'1 files are in {tmp_path}/a: 00000_plain.png\n'
    own = ['--file', silent, '--class', 'owl', '--method', 'centred', '--frames', 2]
    assert run_tool(TOOL, *files, '--out', tmp_path / 'b', *own) == 0
    assert sorted(path.name for path in (tmp_path / 'b').iterdir()) == [RECORD, 'silent.png']


def test_scores(files, tmp_path, capsys):
    assert run_tool(TOOL, *files, '--out', tmp_path, '--score', '--method', 'gradcam', 'hirescam') == 0
    out = capsys.readouterr().out
    (model,) = json.loads((tmp_path / 'scores.json').read_text())['models']
    assert out.startswith('model: 1 clips\n') and len(model['rows']) == 4


def test_mistakes_are_one_line(files, tmp_path, broken, capsys):
    out = ['--out', tmp_path / 'out']
    for arguments, message in (
        (['nowhere.py', files[1], *out], "error: no config file 'nowhere.py' (`mmav configs` lists mmav's)\n"),
        ([files[0], 'no.pth', *out], "error: no checkpoint 'no.pth'"),
        ([*files, *out, '--clips', 0], 'error: --clips 0: give a number from 1 on\n'),
        ([*files, *out, '--indices', 1], 'error: there is no clip 1: the test set has 1'),
        ([*files, *out, '--class', 'dgo'], "did you mean 'dog'"),
        ([*files, *out, '--block', 'vidoe=0'], "did you mean 'video'"),
        ([*files, *out, '--block', 'video=9'], 'error: video has no block 9: its encoder has 2, give -2 to 1\n'),
        ([*files, *out, '--compare', 'one.py'], 'error: --compare takes pairs: CONFIG CHECKPOINT'),
        ([*files, *out, '--part', 'verb'], 'error: --part verb: model tells label apart\n'),
        ([*files, *out, '--every-block'], 'error: --every-block goes with --score\n'),
        ([*files, *out, '--method', 'gradcam', 'centred'], 'give one, or --score\n'),
        ([*files, *out, '--score', '--video'], 'error: --score measures on clips whose events are known'),
        ([*files, *out, '--file', broken['empty']], 'empty.mp4: '),
        ([*files, *out, '--file', tmp_path / 'none.mp4'], 'none.mp4: '),
        ([*files, '--out', files[0]], 'is a file: give a folder\n'),
    ):
        assert run_tool(TOOL, *arguments) == 2, arguments
        captured = capsys.readouterr().err
        assert message in captured and captured.splitlines()[-1].startswith('error: '), captured
        assert captured.count('error: ') == 1
