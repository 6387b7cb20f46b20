"""Whether rows of a table differ: intervals over seeds and test clips, paired differences, and what a run can see."""

from mmav.evaluation.comparing.components import Components
from mmav.evaluation.comparing.intervals import Interval, difference_interval, interval_of
from mmav.evaluation.comparing.measured import AnyMeasured, Measured, MeasuredBy
from mmav.evaluation.comparing.pooling import Prior, prior_of
from mmav.evaluation.comparing.power import expected_components, resized, smallest_difference
from mmav.evaluation.comparing.shared import SharedRuns
from mmav.evaluation.comparing.verdicts import Judged, holm, judge

__all__ = [
    'AnyMeasured',
    'Components',
    'Interval',
    'Judged',
    'Measured',
    'MeasuredBy',
    'Prior',
    'SharedRuns',
    'difference_interval',
    'expected_components',
    'holm',
    'interval_of',
    'judge',
    'prior_of',
    'resized',
    'smallest_difference',
]
