"""The files of the paper's rows: each config is there, each figure is the metafile's, each inequality holds in them."""

import pytest
import yaml

from mmav.analysis.paper.figures import DATASETS, METRICS, find_dataset, reported
from mmav.analysis.paper.tables import layout
from mmav.errors import ConfigError
from mmav.shipped import shipped_root

FILES = {key: yaml.safe_load(dataset.rows_file.read_text()) for key, dataset in DATASETS.items()}
# the paper's figures of the tables' rows, typed from its pages: Tables 2 to 4, in %
PAPER = {
    ('vggsound', 'top1'): [52.3, 57.0, 56.1, 62.4, 56.6, 63.3, 63.5, 64.9, 65.7, 66.2],
    ('vggsound', 'top5'): [78.1, 81.3, 77.9, 84.1, 79.2, 84.1, 84.2, 85.4, 85.9, 85.7],
    ('kinetics_sounds', 'top1'): [52.6, 74.8, 91.6, 92.0, 91.8, 91.2, 91.4, 92.2, 92.2, 92.3],
    ('kinetics_sounds', 'top5'): [71.5, 93.1, 98.8, 99.1, 98.8, 99.1, 99.0, 99.1, 99.1, 99.2],
    ('epic_kitchens', 'verb_top1'): [44.3, 50.1, 67.5, 68.7, 69.5, 69.8, 69.8, 70.0, 69.6, 70.1],
    ('epic_kitchens', 'noun_top1'): [22.4, 24.2, 59.2, 59.2, 58.5, 59.4, 59.9, 60.0, 60.1, 61.0],
    ('epic_kitchens', 'action_top1'): [13.0, 17.4, 46.5, 46.5, 46.3, 46.9, 46.6, 47.4, 47.3, 47.8],
}


def figures(key):
    return {row['Row']: reported(row.get('Config', ''), DATASETS[key]) for row in FILES[key]['Rows']}


@pytest.mark.parametrize('key', DATASETS)
def test_the_rows_are_those_of_the_tables(key):
    content = FILES[key]
    assert content['Dataset'] == DATASETS[key].name and content['Metric'] in METRICS.values()
    titles = [row['Row'] for row in content['Rows']]
    wanted = {title for *_, rows, _ in layout(DATASETS[key]) for title in rows}
    assert set(titles) == wanted and len(titles) == len(wanted)
    for row in content['Rows']:
        if 'Parts' in row:
            assert set(row['Parts']) < set(titles)
        else:
            assert (shipped_root() / row['Config']).is_file() and row['Config'].endswith(f'_{key}.py')
            assert reported(row['Config'], DATASETS[key]).epochs == dict(vggsound=50, epic_kitchens=100).get(key, 300)


@pytest.mark.parametrize(('key', 'metric'), PAPER)
def test_the_papers_figures(key, metric):
    found = [each.figures[metric] for title, each in figures(key).items() if title != 'MBT']
    assert found == [pytest.approx(value / 100) for value in PAPER[key, metric]]


@pytest.mark.parametrize('key', DATASETS)
def test_the_stated_inequalities_hold_in_the_papers_figures(key):
    found, metric = figures(key), FILES[key]['Metric']
    for each in FILES[key]['Comparisons']:
        better, than = found[each['Better']], found[each['Than']]
        assert better.figures[metric] > than.figures[metric], each
        assert better.sources[metric] and each['Source'].startswith('paper, Table ')


def test_clusters_and_costs():
    found = figures('vggsound')
    titles = ('video only, MViTv2-B', 'audio only, MAT', '+AVC+IMC')
    assert [found[title].figures['ari'] for title in titles] == [0.394, 0.370, 0.400]
    assert [found[title].figures['homogeneity'] for title in titles] == [0.722, 0.718, 0.740]
    assert (found['audio only, AST'].paper_cost, found['+AVC+IMC'].paper_cost) == ('87 M, 131 G', '206 G')
    assert figures('epic_kitchens')['MBT'].paper_cost == '317 G'


def test_a_config_of_the_users_own_has_no_figures():
    assert not reported('somewhere/mine.py', DATASETS['vggsound']).figures


def test_an_unknown_dataset():
    with pytest.raises(ConfigError, match="no dataset 'vgsound', did you mean 'vggsound'.*epic_kitchens or all"):
        find_dataset('vgsound')
