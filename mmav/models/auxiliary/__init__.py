"""Auxiliary parts: modules that add losses in training, and that a trained model does without."""

from mmav.models.auxiliary.batch import TrainingBatch
from mmav.models.auxiliary.unimodal_heads import UnimodalHeads
from mmav.models.auxiliary.unimodal_teachers import UnimodalTeachers

__all__ = ['TrainingBatch', 'UnimodalHeads', 'UnimodalTeachers']
