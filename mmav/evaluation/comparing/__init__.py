"""Whether rows of a table differ: intervals over seeds and test clips, paired differences, and what a run can see."""

from mmav.evaluation.comparing.measured import AnyMeasured, Measured, MeasuredBy

__all__ = ['AnyMeasured', 'Measured', 'MeasuredBy']
