"""What the test says of a folder's model: accuracy with its interval, of each modality and class, and its mistakes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmav.errors import MmavError
from mmav.evaluation.error_analysis import Outcomes, read_outcomes
from mmav.evaluation.intervals import accuracy_interval

BOTH = 'both'


@dataclass(frozen=True)
class Figure:
    """An accuracy.

    Attributes:
        name: Of what: ``both``, or the modality that is left.
        right: Clips that are right.
        clips: All clips.
        low: Lower end of the 95 % interval.
        high: Its upper end.
    """

    name: str
    right: int
    clips: int
    low: float
    high: float

    @property
    def accuracy(self) -> float:
        """Share of the clips that are right."""
        return self.right / self.clips

    def __str__(self) -> str:
        return f'{self.accuracy:.1%} (95 % interval {self.low:.1%} to {self.high:.1%})'


@dataclass
class Results:
    """The test of a folder's model.

    Attributes:
        outcomes: ``both``, and the modality that is left where the other is withheld -> outcome of each clip.
        files: Number of test files, of which clips may be windows.
    """

    outcomes: dict[str, Outcomes]
    files: int

    @property
    def model(self) -> Outcomes:
        """The outcomes of the model with all that it has."""
        return self.outcomes[BOTH]

    def figures(self) -> list[Figure]:
        """The accuracies of the model and of each modality alone."""
        return [self._figure(name, outcomes) for name, outcomes in self.outcomes.items()]

    def _figure(self, name: str, outcomes: Outcomes) -> Figure:
        right, clips = int(outcomes.right.sum()), len(outcomes.keys)
        # windows of a file are alike: they tell as much as the files
        files = min(self.files, clips)
        return Figure(name, right, clips, *accuracy_interval(right / clips * files, files))

    @property
    def guessing(self) -> float:
        """Accuracy of always naming the class with most test clips."""
        return max(Counter(self.model.labels.tolist()).values()) / len(self.model.labels)

    def classes(self) -> list[dict[str, Any]]:
        """Of each class with test clips, the worst first: ``name``, ``right``, ``clips``, ``accuracy``, ``low``,
        ``high``, ``taken_for``, the wrong classes that were named for it and how often.
        """
        rows = []
        model = self.model
        for index, name in enumerate(model.classes):
            own = model.labels == index
            clips, right = int(own.sum()), int((own & model.right).sum())
            if not clips:
                continue
            wrong = Counter(model.predicted[own & ~model.right].tolist())
            low, high = accuracy_interval(right, clips)
            rows.append(
                dict(name=name, right=right, clips=clips, accuracy=right / clips, low=low, high=high,
                     taken_for=[(model.class_name(guess), count) for guess, count in wrong.most_common(2)])
            )  # fmt: skip
        return sorted(rows, key=lambda row: (row['accuracy'], -row['clips'], row['name']))

    def mistakes(self, number: int) -> list[int]:
        """Places of the wrong clips of which the model was surest, one a file; what cannot be read is left out."""
        model = self.model
        wrong = np.flatnonzero(~model.right & np.isfinite(model.confidence))
        ordered = sorted(wrong.tolist(), key=lambda place: -model.confidence[place])
        first: dict[str, int] = {}
        for place in ordered:
            first.setdefault(model.paths[place], place)
        return list(first.values())[:number]


def read_results(dumps: Mapping[str, str | Path]) -> Results:
    """Reads the predictions of the tests.

    Args:
        dumps: ``both`` and modalities -> files of predictions.

    Raises:
        MmavError: A file is missing or wrong.
    """
    if BOTH not in dumps:
        raise MmavError(f'no predictions of {BOTH}, only of {", ".join(dumps)}')
    outcomes = {name: read_outcomes(path) for name, path in dumps.items()}
    return Results(outcomes, len(set(outcomes[BOTH].paths)))


def advice(results: Results, training: Mapping[str, int], *, reached: int, epochs: int) -> list[str]:
    """What would help this model most, in sentences.

    Args:
        results: Of the test.
        training: Class -> its training clips.
        reached: The first epoch with the best validation accuracy.
        epochs: Epochs that were trained.
    """
    told = []
    whole = next(figure for figure in results.figures() if figure.name == BOTH)
    alone = [figure for figure in results.figures() if figure.name != BOTH]
    learned = whole.low > results.guessing
    if not learned:
        told.append(
            f'The accuracy is not clearly above naming the most frequent class each time ({results.guessing:.1%}): the '
            'model has learned little yet. Train longer (--minutes), and look at the pictures: do a few frames and a '
            'spectrogram show what tells the classes apart?'
        )
    if whole.high - whole.low > 0.2:
        told.append(
            f'The test has {whole.clips:,} clips only, so the true accuracy may lie anywhere from {whole.low:.0%} to '
            f'{whole.high:.0%}. More test clips make it surer.'
        )
    if epochs > 3 and reached > 0.9 * epochs and whole.accuracy < 0.98:
        told.append(
            f'Validation was best in epoch {reached} of {epochs}: training longer is likely to help (--minutes or '
            '--epochs).'
        )
    told += _of_classes(results.classes() if learned else [], training)
    for figure in alone:
        if figure.accuracy > whole.accuracy + 0.02:
            other = next(name for name in ('video', 'audio') if name != figure.name)
            told.append(
                f'{figure.name.capitalize()} alone is better than both together: try --modalities {figure.name}, or '
                f'look whether the {other} belongs to the class.'
            )
    return told


def _of_classes(classes: Sequence[Mapping[str, Any]], training: Mapping[str, int]) -> list[str]:
    told = []
    weak = [row for row in classes if row['accuracy'] < 0.7 and row['clips'] >= 2]
    for row in weak[:3]:
        confused = ' and '.join(repr(name) for name, _ in row['taken_for'])
        told.append(
            f'More clips of {row["name"]!r} would help most: it has {training.get(row["name"], 0):,} for training, and '
            f'{row["right"]} of {row["clips"]} are right in the test'
            + (f'; it is taken for {confused}.' if confused else '.')
        )
    least, most = min(training.values()), max(training.values())
    if most > 5 * least:
        name = min(training, key=lambda each: training[each])
        told.append(f'The classes differ much in size: {name!r} has {least:,} training clips, the largest {most:,}.')
    return told
