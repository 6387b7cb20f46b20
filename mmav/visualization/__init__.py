"""Pictures of data, predictions and models."""

from mmav.visualization.dataset_sheet import draw_dataset_sheet
from mmav.visualization.prediction_sheet import draw_prediction_sheet

__all__ = ['draw_dataset_sheet', 'draw_prediction_sheet']
