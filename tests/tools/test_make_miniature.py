"""The command that writes a miniature tree says how to prepare it, and refuses what is not one."""

from tests.toys import run_tool


def test_it_writes_and_says_how_to_go_on(tmp_path, capsys):
    out = tmp_path / 'tree'
    for _ in range(2):
        assert run_tool('data/make_miniature.py', 'vggsound', out, '--train', 1, '--test', 1) == 0
        assert f'mmav prepare-vggsound {out}/vggsound.csv --clips {out}/clips --out {out}' in capsys.readouterr().out
    assert len(list((out / 'clips').glob('*.mp4'))) == 2


def test_refusal(tmp_path, capsys):
    assert run_tool('data/make_miniature.py', 'audioset', tmp_path / 'tree') == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "error: no miniature of 'audioset': choose vggsound, kinetics_sounds, epic_kitchens"
