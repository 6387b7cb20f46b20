"""Pictures."""

from mmav.visualization.prediction_sheet import draw_prediction_sheet

__all__ = ['draw_prediction_sheet']
