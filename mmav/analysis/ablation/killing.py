"""Ends a training early whose validation says that it is hopeless."""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmav.analysis.ablation.settings import same_list
from mmav.errors import ConfigError, MmavError, did_you_mean

_FORM = re.compile(r'([\w./-]+)([<>])([-+.\deE]+)@(\d+)')
_SIGNS = {'<': operator.lt, '>': operator.gt}


class Hopeless(MmavError):
    """A training was ended early; its text says why."""


@dataclass(frozen=True)
class KillRule:
    """``METRIC<VALUE@EPOCH``: a run ends whose validation after an epoch has a figure on the wrong side of a value.

    Attributes:
        metric: Key of the figure of the validation.
        sign: ``<`` or ``>``.
        value: The value.
        epoch: After so many epochs.
    """

    metric: str
    sign: str
    value: float
    epoch: int

    @classmethod
    def read(cls, text: str) -> KillRule:
        """Reads a rule.

        Raises:
            ConfigError: It is not of the form.

        >>> KillRule.read('top1<0.1@3')
        KillRule(metric='top1', sign='<', value=0.1, epoch=3)
        """
        found = _FORM.fullmatch(text.replace(' ', ''))
        try:
            return cls(found[1], found[2], float(found[3]), int(found[4]))  # type: ignore[index]
        except (TypeError, ValueError):
            raise ConfigError(
                f'--kill {text}: give METRIC<VALUE@EPOCH, such as top1<0.1@3, or > where lower is better'
            ) from None

    def __str__(self) -> str:
        return f'{self.metric}{self.sign}{self.value:g}@{self.epoch}'

    def verdict(self, figures: Mapping[str, Any]) -> str | None:
        """Why a run ends; None if it goes on.

        Raises:
            ConfigError: The validation has no such figure.
        """
        value = figures.get(self.metric)
        if value is None:
            known = ', '.join(figures) or 'none'
            hint = did_you_mean(self.metric, figures)
            raise ConfigError(f'--kill {self}: the validation has no {self.metric!r}{hint} (it has: {known})')
        # a figure that is not a number is hopeless, too
        if _SIGNS[self.sign](float(value), self.value) or value != value:
            return f'killed after epoch {self.epoch}: {self.metric} {float(value):.4g} {self.sign} {self.value:g}'
        return None


class KillHook(Hook):
    """Ends a training by :class:`Hopeless` as soon as a rule says so.

    Args:
        rules: The rules.
    """

    priority = 'LOWEST'

    def __init__(self, rules: Sequence[KillRule]) -> None:
        self.rules = rules

    def before_train(self, runner: Runner) -> None:
        """Validates again if the run goes on where a rule is due: it may have been stopped before the verdict."""
        if any(rule.epoch == runner.epoch for rule in self.rules) and runner.val_loop is not None:
            runner.val_loop.run()

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Applies the rules that are due.

        Raises:
            Hopeless: The run is to end.
        """
        for rule in self.rules:
            if rule.epoch == runner.epoch and (why := rule.verdict(metrics or {})):
                raise Hopeless(why)


def check_rules(rules: Sequence[KillRule], cfg: Mapping[str, Any], title: str, *, by_test_list: bool) -> None:
    """Refuses rules that a row cannot follow.

    Args:
        rules: The rules.
        cfg: Config of the row.
        title: Of the row.
        by_test_list: Whether the user has said that validating on the test list is meant.

    Raises:
        ConfigError: The row has no validation, none after the epoch of a rule, or validates on its test list.
    """
    train = cfg.get('train_cfg') or {}
    for rule in rules:
        if cfg.get('val_cfg') is None or cfg.get('val_dataloader') is None:
            raise ConfigError(f'--kill {rule}: row {title!r} has no validation: leave --kill out')
        last = train.get('max_epochs')
        if last is None:
            raise ConfigError(f'--kill {rule}: row {title!r} trains by iterations, and has no epochs')
        if not 1 <= rule.epoch < last:
            raise ConfigError(f'--kill {rule}: row {title!r} trains {last} epochs: give one before the last')
        if train.get('dynamic_intervals') is None and (
            rule.epoch < train.get('val_begin', 1) or rule.epoch % train.get('val_interval', 1)
        ):
            raise ConfigError(
                f'--kill {rule}: row {title!r} does not validate after epoch {rule.epoch}: set '
                '--cfg-options train_cfg.val_interval=1'
            )
    if rules and not by_test_list and (name := same_list(cfg)):
        raise ConfigError(
            f"--kill {rules[0]}: row {title!r} validates on its test list, '{name}', and would be chosen by it: give "
            'it another validation list, or say that this is meant with --val-is-test'
        )
