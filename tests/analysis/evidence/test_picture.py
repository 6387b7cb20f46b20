import matplotlib.figure
import numpy as np
import pytest

from mmav.analysis.evidence import picture
from mmav.analysis.evidence.judging import Evidence
from mmav.analysis.evidence.stated import Comparison, EvidenceRow
from mmav.errors import MmavError
from mmav.evaluation.comparing import Measured
from tests.analysis.evidence.made import made_row, made_stated


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are drawn, in place of files."""
    figures: list[matplotlib.figure.Figure] = []
    monkeypatch.setattr(picture, 'save_figure', lambda figure, out_file, **options: figures.append(figure))
    return figures


def test_rows_differences_and_comparisons_are_drawn(drawn):
    evidence = Evidence(made_stated())
    picture.draw_evidence(evidence, 'a.png')
    rows, gains, comparisons = drawn[0].axes
    assert [label.get_text() for label in rows.get_yticklabels()] == ['audio only', 'concat', 'twin', 'MMT', 'late']
    assert [text.get_text() for text in rows.texts] == ['not yet run']
    drawn_seeds = [line for line in rows.lines if line.get_markersize() == 2.8]
    assert [len(line.get_xdata()) for line in drawn_seeds] == [3, 3, 3, 2]
    assert [text.get_text() for text in rows.get_legend().get_texts()] == ['oracle: 90.0']
    assert [text.get_text() for text in gains.get_legend().get_texts()] == ['better', 'worse', 'cannot be told']
    labels = [label.get_text() for label in comparisons.get_yticklabels()]
    assert labels[0] == 'concat > audio only' and len(labels) == 4
    assert [text.get_text() for text in comparisons.texts] == ['no figures of late']
    thick = [line for line in comparisons.lines if line.get_linewidth() == 2.6]
    judged = evidence.comparisons[0][1].difference
    assert list(thick[0].get_xdata()) == pytest.approx([100 * judged.low, 100 * judged.high])
    assert thick[0].get_color() == picture.COLOURS['holds']


def test_intervals_that_say_nothing_do_not_squeeze_the_others(drawn):
    def unsteady(title, *accuracies):
        seeds = [made_row(title, accuracy, seeds=1).measured.values[0] for accuracy in accuracies]
        return EvidenceRow(title, Measured(title, np.array(seeds), range(2)))

    rows = [unsteady(name, 0.7 - swing, 0.7 + swing) for name, swing in zip('abcd', (0, 0.1, -0.1, 0.02), strict=True)]
    comparisons = [Comparison(one, two) for one in 'abcd' for two in 'abcd' if one != two]
    picture.draw_evidence(Evidence(made_stated(rows=rows, comparisons=comparisons, baseline=None)), 'a.png')
    axes = drawn[0].axes[1]
    thick, thin = (
        [end for line in axes.lines if line.get_linewidth() == width for end in line.get_xdata()]
        for width in (2.6, 0.9)
    )
    assert max(thin) > axes.get_xlim()[1] > max(thick) and min(thin) < axes.get_xlim()[0] < min(thick)


def test_without_baseline_and_comparisons_there_are_rows_only(drawn):
    picture.draw_evidence(Evidence(made_stated(comparisons=[], baseline=None)), 'a.pdf')
    assert len(drawn[0].axes) == 1


def test_a_picture_needs_a_format():
    with pytest.raises(MmavError, match='a.doc'):
        picture.draw_evidence(Evidence(made_stated()), 'a.doc')
