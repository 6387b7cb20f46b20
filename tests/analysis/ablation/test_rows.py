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


@pytest.mark.parametrize(
    ('rows', 'options', 'message'),
    [
        ((), {}, 'there is no row'),
        ((SOUND,), dict(seeds=()), 'there is no seed'),
        ((SOUND,), dict(seeds=(0, 1, 0)), 'seed 0 is given twice'),
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
