import pytest

from mmav.analysis.ablation.files import ablation_of, chosen, read_ablation
from mmav.analysis.evidence.stated import Comparison
from mmav.errors import ConfigError, MmavError

FILE = """Dataset: toys
Metric: top2
Seeds: [0, 3]
Options: {train_cfg.max_epochs: 2, model.widths: [4, 8]}
Baseline: sound
Lines: {an oracle: 0.9}
Margin: 0.01
Rows:
  - {Row: sound, Config: mat/mat_tiny_avsynth.py}
  - {Row: sight, Config: own.py, Name: eyes, Options: [a.b=1], Seeds: [0, 3, 8]}
  - {Row: average, Name: avg, Parts: [sound, sight]}
  - {Row: student, Config: configs/mmt/mmt_tiny_avsynth.py, Needs: {model.teacher: sight}}
Comparisons:
  - {Better: sight, Than: sound, Source: nobody}
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / 'own.py').write_text('')
    path = tmp_path / 'toys.yml'
    path.write_text(FILE)
    return path


def test_a_file_of_ones_own(file, tmp_path):
    found = read_ablation(file)
    assert (found.dataset, found.metric, found.seeds, found.baseline) == ('toys', 'top2', (0, 3), 'sound')
    assert found.options == ('train_cfg.max_epochs=2', 'model.widths=[4,8]') and found.lines == {'an oracle': 0.9}
    assert found.margin == 0.01
    sound, sight, average, student = found.rows
    assert sound.file.name == 'mat_tiny_avsynth.py' and sight.file == tmp_path / 'own.py'  # beside the file
    assert (sight.stem, sight.options, sight.seeds) == ('eyes', ('a.b=1',), (0, 3, 8)) and not sound.seeds
    assert (average.stem, average.parts, average.file) == ('avg', ('sound', 'sight'), None)
    assert student.needs == (('model.teacher', 'sight'),)
    assert found.comparisons == (Comparison('sight', 'sound', 'nobody'),)


def test_only_some_rows(file):
    found = read_ablation(file)
    titles = {text: [row.title for row in chosen(found, text)] for text in ('mat_tiny', 'avg', 'student', 'e', None)}
    assert titles == {
        'mat_tiny': ['sound'],
        'avg': ['sound', 'sight', 'average'],  # with what it averages
        'student': ['sight', 'student'],  # with what it needs
        'e': ['sight', 'average', 'student'],  # an average beside trained rows: of what has run
        None: ['sound', 'sight', 'average', 'student'],
    }
    with pytest.raises(ConfigError, match="--only smell: no row's config has this in its name"):
        chosen(found, 'smell')


def test_configs_alone():
    found = ablation_of(['mat/mat_tiny_avsynth.py', 'mmt/mmt_tiny_avsynth.py'])
    assert [row.title for row in found.rows] == ['mat_tiny_avsynth', 'mmt_tiny_avsynth'] and found.seeds == (0, 1, 2)
    with pytest.raises(ConfigError, match='no config is given'):
        ablation_of([])
    with pytest.raises(ConfigError, match="no config file 'mat/mat_tiny_avsynt.py', did you mean"):
        ablation_of(['mat/mat_tiny_avsynt.py'])


@pytest.mark.parametrize(
    ('old', 'new', 'message'),
    [
        ('Metric:', 'Metrik:', "there is no key 'Metrik', did you mean 'Metric'"),
        ('Name: eyes', 'name: eyes', "row 'sight': there is no key 'name', did you mean 'Name'"),
        ('Config: own.py', 'Config: other.py', "row 'sight': no config file 'other.py'"),
        ('Config: own.py, ', '', "row 'sight': it has no Config, and no Parts"),
        ('[sound, sight]', '[sound]', "row 'average': Parts has one row"),
        ('Name: avg', 'Options: [a=1]', "row 'average': an average of Parts trains nothing"),
        ('Name: avg, ', '', "row 'average': it averages Parts: give it a Name"),
        ('[0, 3]', '3', 'Seeds: 3: give a list of whole numbers'),
        ('[0, 3]', '[0, 0]', 'seed 0 is given twice'),
        ('0.01', 'small', "Margin: 'small': give a number above 0"),
        ('[a.b=1]', '[a.b]', "row 'sight': Options: 'a.b' is not of the form K=V"),
        ('Than: sound, ', '', 'give Better and Than'),
        ('Row: sound, ', '', 'has no Row, its name in the table'),
        ('Rows:', 'Rows: [', 'is not YAML'),
        ('Rows:', 'Baseline: []\nNote:', 'is no ablation: it has no Rows'),
    ],
)
def test_mistakes_are_named(file, old, new, message):
    assert old in FILE
    file.write_text(FILE.replace(old, new))
    with pytest.raises(MmavError, match=message) as caught:
        read_ablation(file)
    assert str(file) in str(caught.value)
