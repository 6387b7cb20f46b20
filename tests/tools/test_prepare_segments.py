import json

from tests.preparation.test_segment_lists import ACTIVITYNET, HOWTO100M
from tests.toys import run_tool

TOOL = 'data/segments/prepare_segments.py'


def test_a_list_with_subsets(tmp_path, capsys):
    (tmp_path / 'anet.json').write_text(json.dumps(ACTIVITYNET))
    (tmp_path / 'clips').mkdir()
    for name in ('v_aaa.mp4', 'bbb.mkv'):
        (tmp_path / 'clips' / name).write_bytes(b'x')
    arguments = [tmp_path / 'anet.json', '--clips', tmp_path / 'clips', '--out', tmp_path]
    assert run_tool(TOOL, *arguments) == 0
    assert (tmp_path / 'train.csv').read_text() == 'path,start,end,label\nclips/v_aaa.mp4,1.5,20,cutting grass\n'
    assert (tmp_path / 'test.csv').read_text() == 'path,start,end,label\nclips/bbb.mkv,0,5,swimming\n'
    assert (tmp_path / 'classes.txt').read_text() == 'cutting grass\nswimming\n'


def test_options(tmp_path, capsys):
    (tmp_path / 'caption.json').write_text(json.dumps(HOWTO100M))
    (tmp_path / 'videos.csv').write_text('video_id,category_1\naaa,Garden\nbbb,Sports\n')
    arguments = ['--train', tmp_path / 'caption.json', '--video-labels', tmp_path / 'videos.csv']
    assert run_tool(TOOL, *arguments, '--label', 'category_1', '--dry-run') == 0
    assert "classes.txt: 2 names, 'Garden' to 'Sports'" in capsys.readouterr().out
    (tmp_path / 'odd.csv').write_text('clip,from,until,what,part\naaa,0,1,a|b,one\nbbb,0,2,b,two\n')
    odd = [tmp_path / 'odd.csv', '--video', 'clip', '--label', 'what', '--subset', 'part', '--multi-label']
    assert run_tool(TOOL, *odd, '--train-subset', 'one', '--test-subset', 'two', '--dry-run') == 0
    assert "classes.txt: 2 names, 'a' to 'b'" in capsys.readouterr().out


def test_mistakes_are_one_line(tmp_path, capsys):
    (tmp_path / 'a.csv').write_text('video_id,begin,end,what\na,1,2,b\n')
    for arguments, message in (
        ([], 'error: give a list, or lists with --train and --test'),
        ([tmp_path / 'no.json', '--dry-run'], 'no.json; give another one'),
        (['--train', tmp_path / 'a.csv', '--dry-run'], 'is a name for the label; say which with --label'),
        ([tmp_path / 'a.csv', '--label', 'what', '--dry-run'], 'it does not say what is for training'),
    ):
        assert run_tool(TOOL, *arguments) == 2
        assert message in capsys.readouterr().err.splitlines()[-1]


def test_help(capsys):
    assert run_tool(TOOL, '--help') == 0
    assert 'activity_net.v1-3.min.json --dry-run' in capsys.readouterr().out
