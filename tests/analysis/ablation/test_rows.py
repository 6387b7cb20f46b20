from dataclasses import replace

import pytest

from mmav.analysis.ablation.rows import Ablation, Row
from mmav.analysis.evidence.stated import Comparison
from mmav.errors import ConfigError

SOUND, SIGHT = Row('sound', 'a.py'), Row('sight', 'b.py')
AVERAGE = Row('average', 'avg', parts=('sound', 'b.py'))
STUDENT = Row('student', 'c.py', needs=(('model.teacher', 'sight'),))


def test_rows_are_found_by_title_name_or_config():
    ablation = Ablation('toys', (SOUND, SIGHT, AVERAGE, STUDENT))
    assert ablation.parts_of(AVERAGE) == (SOUND, SIGHT)
    assert ablation.needs_of(STUDENT) == {'model.teacher': SIGHT}
    assert list(ablation.behind(AVERAGE)) == [SOUND, SIGHT] and list(ablation.behind(STUDENT)) == [SIGHT]
    assert ablation.trained == (SOUND, SIGHT, STUDENT)


def test_a_row_may_have_seeds_of_its_own():
    more = replace(SIGHT, seeds=(2, 0, 1, 5))
    ablation = Ablation('toys', (SOUND, more, AVERAGE))
    assert ablation.all_seeds == (0, 1, 2, 5)
    assert [ablation.seeds_of(row) for row in ablation.rows] == [(0, 1, 2), (2, 0, 1, 5), (0, 1, 2)]
    assert ablation.with_seeds([4]).all_seeds == (4,)


def test_comparisons_and_the_baseline_may_be_given_by_name_or_config():
    eyes = Row('eyes only', 'b.py', name='sight')
    ablation = Ablation('toys', (SOUND, eyes), comparisons=(Comparison('sight', 'a.py', 'me'),), baseline='b.py')
    assert ablation.comparisons == (Comparison('eyes only', 'sound', 'me'),) and ablation.baseline == 'eyes only'
    with pytest.raises(ConfigError, match="'eyes only' is compared with itself"):
        Ablation('toys', (SOUND, eyes), comparisons=(Comparison('eyes only', 'sight'),))


def test_a_text_never_means_two_rows():
    slow, fast = Row('slow', 'a.py'), Row('fast', 'a.py', name='quick')
    with pytest.raises(ConfigError, match="'a.py' is the config of 'slow' and 'fast': give the title of one"):
        Ablation('toys', (slow, fast), baseline='a.py')
    other = Row('other', 'c.py', name='fast ones')
    assert Ablation('toys', (other, Row('fast ones', 'd.py')), baseline='fast ones').baseline == 'fast ones'


@pytest.mark.parametrize(
    ('rows', 'options', 'message'),
    [
        ((), {}, 'there is no row'),
        ((SOUND,), dict(seeds=()), 'there is no seed'),
        ((SOUND,), dict(seeds=(0, 1, 0)), 'seed 0 is given twice'),
        ((SOUND,), dict(seeds=(-1,)), 'seed -1: give a whole number from 0'),
        ((replace(SOUND, seeds=(1, 1)),), {}, "row 'sound': seed 1 is given twice"),
        (
            (SIGHT, replace(STUDENT, seeds=(0, 4, 5))),
            {},
            "row 'student' needs 'sight' with the same seeds, and that has no seed 4, 5: give both the same Seeds",
        ),
        ((SOUND, replace(SIGHT, seeds=(7,)), AVERAGE), {}, "'average' needs 'sight' .* has no seed 0, 1, 2"),
        ((SOUND,), dict(epochs=0), '0 epochs: give 1 or more'),
        ((SOUND,), dict(batch_size=-4), 'batches of -4 clips: give 1 or more'),
        ((SOUND, Row('y', 'y.py', name='../y')), {}, "row 'y', Name: '../y' is no name of a folder"),
        ((SOUND, Row('sound', 'b.py')), {}, "two rows are named 'sound'"),
        (
            (SOUND, Row('again', 'x/a.py')),
            {},
            "two rows would write to the same folders 'a': give them different names",
        ),
        ((SOUND, AVERAGE), {}, "row 'average', Parts: there is no row 'b.py'"),
        ((STUDENT, SOUND), {}, "row 'student', Needs: there is no row 'sight'"),
        (
            (Row('x', 'x.py', needs=(('a', 'y'),)), Row('y', 'y.py', needs=(('a', 'x'),))),
            {},
            "in a circle: 'x' -> 'y' -> 'x'",
        ),
        (
            (SOUND, SIGHT, AVERAGE, Row('z', 'z.py', needs=(('a', 'average'),))),
            {},
            "a takes a checkpoint, and 'average' is an average, which has none",
        ),
        (
            (SOUND, SIGHT),
            dict(comparisons=(Comparison('sound', 'sigth'),)),
            "Comparisons, Than: there is no row 'sigth', did you mean 'sight'",
        ),
        ((SOUND, SIGHT), dict(comparisons=(Comparison('sound', 'sound'),)), "'sound' is compared with itself"),
        ((SOUND, SIGHT), dict(baseline='smell'), "Baseline: there is no row 'smell'"),
    ],
)
def test_what_does_not_go_together(rows, options, message):
    with pytest.raises(ConfigError, match=f'^toys: .*{message}'):
        Ablation('toys', rows, **options)
