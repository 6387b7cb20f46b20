import json

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, homogeneity_score

from mmav.evaluation.predictions import load_predictions, save_predictions
from tests.toys import run_tool

TOOL = 'analysis_tools/plot_embeddings.py'
LABELS = np.arange(60) % 6


@pytest.fixture
def captions(monkeypatch):
    """The panels that were drawn and the labels of their points."""
    from mmav.visualization import embedding_plot

    kept = {}

    def keep(panels, labels, classes, **options):
        kept.update(panels=panels, labels=labels, classes=classes, **options)
        draw(panels, labels, classes, **options)

    draw = embedding_plot.draw_embeddings
    monkeypatch.setattr(embedding_plot, 'draw_embeddings', keep)
    return kept


def write(path, *names, verbs=False):
    rng = np.random.default_rng(len(names))
    rows = []
    for i, label in enumerate(LABELS.tolist()):
        features = {name: np.float32(np.eye(8)[label] + 0.5 * rng.standard_normal(8)) for name in names}
        clip = dict(path=f'{i}.mp4', start=0.0, end=1.0, scores=np.ones(6), sample_idx=i, features=features)
        truth = dict(verb=label % 2, noun=label) if verbs else label
        rows.append(dict(clip, label=truth, broken='torn' if i == 7 else None))
    classes = list('abcdef')
    save_predictions(path, rows, dict(verb=['cut', 'wash'], noun=classes) if verbs else classes)
    return path


def test_one_dump_gives_figure_and_table(tmp_path, capsys, captions):
    mmt = write(tmp_path / 'mmt.pkl', 'video', 'audio', 'fused')
    out, table = tmp_path / 'f.png', tmp_path / 't.json'
    chosen = ['--samples', 20, '--classes', 4, '--seed', 2]
    assert run_tool(TOOL, mmt, *chosen, '--out', out, '--json', table) == 0
    told = json.loads(table.read_text())
    whole = [row for row in load_predictions(mmt)[0] if row['broken'] is None]
    labels = [row['label']['label'] for row in whole]
    for found, name in zip(told['panels'], ('audio', 'video', 'fused'), strict=True):
        features = np.array([row['features'][name] for row in whole], dtype=float)
        clusters = KMeans(6, n_init=10, random_state=2).fit_predict(features)
        assert found['feature'] == name and found['width'] == 8
        assert found['ari'] == pytest.approx(adjusted_rand_score(labels, clusters))
        assert found['homogeneity'] == pytest.approx(homogeneity_score(labels, clusters))
    assert told['metrics_of'] == dict(clips=59, classes=6) and told['left_out'] == {'could not be read': 1}
    assert told['drawn']['clips'] == len(captions['labels']) == 20 and len(told['drawn']['classes']) == 4
    first = told['panels'][0]
    assert captions['panels'][0].caption == (
        f'ARI {first["ari"]:.3f}   HS {first["homogeneity"]:.3f}\nof all 59 clips, 6 classes'
    )
    assert 'perplexity 6.33, seed 2' in captions['note'] and '1 could not be read' in captions['note']
    assert 'left out: 1 could not be read\n' in capsys.readouterr().out and out.stat().st_size > 10_000


def test_several_dumps_and_metrics_of_what_is_drawn(tmp_path, captions):
    dumps = [write(tmp_path / 'a.pkl', 'audio'), write(tmp_path / 'm.pkl', 'video', 'audio', 'fused')]
    options = ['--names', 'MAT', 'MMT', '--method', 'pca', '--classes', 3, '--metrics-of', 'drawn']
    assert run_tool(TOOL, *dumps, *options, '--out', tmp_path / 'f.pdf', '--json', tmp_path / 't.json') == 0
    told = json.loads((tmp_path / 't.json').read_text())
    assert [(panel['name'], panel['feature']) for panel in told['panels']] == [('MAT', 'audio'), ('MMT', 'fused')]
    assert told['metrics_of']['classes'] == 3 and told['metrics_of']['clips'] == told['drawn']['clips']
    assert [panel.name for panel in captions['panels']] == ['MAT', 'MMT']
    assert 'of the drawn' in captions['panels'][0].caption and captions['note'].startswith('Principal components of')


def test_a_verb_is_drawn_where_asked(tmp_path, capsys, captions):
    path = write(tmp_path / 'a.pkl', 'audio', verbs=True)
    assert run_tool(TOOL, path, '--method', 'pca', '--part', 'verb', '--out', tmp_path / 'f.png') == 0
    assert captions['classes'] == ['cut', 'wash'] and set(captions['labels']) == {0, 1}
    assert run_tool(TOOL, path, '--out', tmp_path / 'f.png') == 2
    assert 'needs --part verb or noun' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--features', 'adio'], "has no feature 'adio', only audio, did you mean 'audio'?"),
        (['--out', 'figure'], "'figure' is not the name of a picture: end it in .png or .pdf"),
        (['--samples', 3], 'too few clips to draw: 3 of 6 classes, need at least 5'),
        (['--perplexity', 59], 'perplexity 59 does not fit 59 clips'),
        (['--names', 'A', 'B'], 'need 1 names, one for each panel, got 2: A, B'),
        (['--seed', -1], '--seed -1: give a number from 0'),
        (['a.pkl'], 'a file is named twice'),
        (['b.pkl'], "no file 'b.pkl'"),
    ],
)
def test_mistakes_are_one_line(options, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write('a.pkl', 'audio')
    assert run_tool(TOOL, 'a.pkl', *options) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith('error: ') and message in error
    assert not list(tmp_path.glob('*.png'))
