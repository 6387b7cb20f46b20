import pytest

from mmav.analysis.evidence.stated import Comparison, EvidenceRow, Stated
from mmav.errors import ConfigError

ROWS = [EvidenceRow('concat'), EvidenceRow('MMT')]


@pytest.mark.parametrize(
    ('given', 'told'),
    [
        (dict(rows=[*ROWS, EvidenceRow('MMT')]), "a.yml: two rows are named 'MMT'"),
        (dict(comparisons=[Comparison('MMt', 'concat')]), "Better: 'MMt' is none of the rows, did you mean 'MMT'"),
        (dict(comparisons=[Comparison('MMT', 'x')]), "Than: 'x' is none of the rows"),
        (dict(comparisons=[Comparison('MMT', 'MMT')]), "'MMT' is compared with itself"),
        (dict(baseline='conca'), "Baseline: 'conca' is none of the rows, did you mean 'concat'"),
    ],
)
def test_names_that_are_no_rows_are_refused(given, told):
    with pytest.raises(ConfigError, match=told):
        Stated('AVSynth', **{'rows': ROWS, 'source': 'a.yml', **given})
