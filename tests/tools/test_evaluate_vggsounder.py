import json
import sys

import numpy as np

from mmav.evaluation.predictions import load_predictions
from mmav.evaluation.vggsounder import answers_of, benchmark
from mmav.evaluation.vggsounder_list import read_list
from tests.evaluation.vggsounder_lists import draw_scores, names, write_dump, write_list
from tests.toys import run_tool

TOOL = 'analysis_tools/evaluate_vggsounder.py'


def test_three_dumps(tmp_path, capsys):
    labels, clips = write_list(tmp_path, 20), [*names(20)[2:], 'zzzzzzzzzzz_000010', 'holiday']
    dumps = [
        write_dump(tmp_path / f'{name}.pkl', clips, draw_scores(20, k), broken=(3,)) for k, name in enumerate('bav')
    ]
    out = tmp_path / 'found.json'
    given = [dumps[0], '--audio', dumps[1], '--video', dumps[2], '--labels', labels]
    assert run_tool(TOOL, *given, '--out', out) == 0
    told = capsys.readouterr().out
    assert f'{labels}: 20 clips, ' in told and f'{dumps[1]}: 18 clips of the list\n' in told
    assert f'  2 clips of the list are not in it, and left out: {names(20)[0]}, {names(20)[1]}\n' in told
    assert '  1 of its clips are not in the list, and left out: clips/zzzzzzzzzzz_000010.mp4\n' in told
    assert '  1 of its files are not named <YouTube id>_<start>, and left out: clips/holiday.mp4\n' in told
    assert '  1 could not be read or have scores that are not finite: no hit\n' in told
    assert 'mu (modality confusion): share of 18 clips' in told and 'without static_image' in told
    found, listed = json.loads(out.read_text()), read_list(labels)
    answers = {
        name: answers_of(*load_predictions(path), listed, name=path)
        for name, path in zip(('av', 'a', 'v'), dumps, strict=True)
    }
    expected = json.loads(json.dumps(benchmark(listed, answers)))
    assert {name: found[name] for name in expected} == expected
    assert found['clips']['a']['names']['missing'] == names(20)[:2]
    line = next(line for line in told.splitlines() if line.startswith('a only'))
    assert f'{expected["subsets"]["a only"]["hit_rate@1"]:.4f}' in line


def test_one_dump_and_flags(tmp_path, capsys):
    labels = write_list(tmp_path, 20)
    dump = write_dump(tmp_path / 'a.pkl', names(20), draw_scores(20, 0))
    flags = ['--only', 'voice_over', '--without', 'background_music']
    assert run_tool(TOOL, '--audio', dump, '--labels', labels, *flags) == 0
    told = capsys.readouterr().out
    kept = read_list(labels).chosen(['voice_over'], ['background_music'])
    assert f'{len(kept.ids)} clips with voice_over and no background_music' in told
    assert 'mu (modality confusion) needs all three' in told and '\nav' not in told


def test_wrong_input_is_one_line(tmp_path, capsys, monkeypatch):
    labels = write_list(tmp_path, 3)
    dump = write_dump(tmp_path / 'a.pkl', ['x'], draw_scores(1, 0))
    nan = write_dump(tmp_path / 'n.pkl', names(3), draw_scores(3, 0) * np.nan)
    for arguments, message in (
        ([], 'give predictions'),
        ([dump, '--labels', labels], "'{dump}' has no clip of"),
        ([nan, '--labels', labels, '--out', nan], 'the name has to end in .json'),
        ([nan, '--labels', tmp_path / 'none.csv'], 'no list of VGGSounder'),
    ):
        assert run_tool(TOOL, *arguments) == 2
        told = capsys.readouterr().err
        assert message.format(dump=dump) in told and told.count('\n') == 1
    monkeypatch.setitem(sys.modules, 'vggsounder', None)
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    assert run_tool(TOOL, nan) == 2
    assert 'the package vggsounder is not installed: install the lists with pip install' in capsys.readouterr().err
