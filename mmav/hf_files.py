"""What a model of transformers brings beside its weights: config and processor, from a folder, the hub or a dict.

transformers is imported when it is needed, not before: it is no requirement. What is wrong with a name or a folder is
one line, where transformers has a page.
"""

from __future__ import annotations

import copy
import inspect
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mmav.errors import ConfigError, did_you_mean, one_line, require_dict

# a hub name has an owner and a name; anything deeper, or that begins so, is a folder
_PATH_STARTS = ('.', '~', os.sep)
_CONFIG = 'config.json'
# of the processors of images
_USUAL = dict(do_rescale=True, rescale_factor=1 / 255, do_normalize=True, image_mean=None, image_std=None)


def transformers(who: str) -> Any:
    """The package.

    Args:
        who: What needs it, for the message.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import transformers as package
    except ImportError as error:
        raise ConfigError(
            f'{who} needs transformers, which cannot be imported ({error}): pip install transformers'
        ) from error
    return package


def plain(value: Any) -> Any:
    """A copy of a part of a config with plain dicts and lists, which transformers insists on."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else copy.deepcopy(value)


def folder_of(name: str) -> str:
    """The folder that a name means, with ``~`` expanded, or the name itself if it is one of the hub.

    Raises:
        ConfigError: It can only be a folder, and there is none.
    """
    path = os.path.expanduser(name)
    if os.path.isdir(path):
        return path
    if os.path.exists(path) or name.startswith(_PATH_STARTS) or name.count('/') > 1 or not name.strip():
        raise ConfigError(f"'{name}' is no folder: give one that holds config.json, or a name of the hub such as a/b")
    return name


@contextmanager
def brief(name: str, what: str) -> Iterator[None]:
    """Turns what transformers says of a missing file into one line.

    Args:
        name: The folder, or the name of the hub.
        what: The file, or the part.

    Raises:
        ConfigError: Instead of transformers' errors.
    """
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:  # of transformers, safetensors, pickle and json, which share no class
        text = one_line(error)
        if 'trust_remote_code' in text:
            raise ConfigError(
                f"'{name}' runs code of its own, which mmav does not: give a model of transformers itself"
            ) from error
        if os.path.isdir(name):
            if what == _CONFIG and not os.path.isfile(os.path.join(name, _CONFIG)):
                raise ConfigError(
                    f"'{name}' has no {_CONFIG}: give the folder that `hf download` or save_pretrained wrote"
                ) from error
            raise ConfigError(f"'{name}': cannot read its {what} ({_first_sentence(text)})") from error
        raise ConfigError(
            f"'{name}': cannot get its {what} from the hub ({_first_sentence(text)}); where there is a connection, "
            f'`hf download {name} --local-dir DIR`, and give that folder instead of the name'
        ) from error


def _first_sentence(text: str) -> str:
    return text.split('. ')[0].split('\n')[0].rstrip('.')[:200]


def read_config(model: str | Mapping[str, Any], changes: Mapping[str, Any] | None = None, *, who: str) -> Any:
    """The config of a model; reads no weights.

    Args:
        model: A folder, a name of the hub, or a dict of ``model_type`` and the arguments of that config.
        changes: Entries to change; a dict changes entries of a part.
        who: What needs it, for messages.

    Raises:
        ConfigError: There is no such model, type or entry.
    """
    package = transformers(who)
    if isinstance(model, Mapping):
        config = _config_of_dict(package, plain(model))
    elif isinstance(model, str):
        name = folder_of(model)
        with brief(name, _CONFIG):
            config = package.AutoConfig.from_pretrained(name)
    else:
        raise ConfigError(f'model={model!r}: give a folder, a name of the hub, or a dict with model_type')
    require_dict('config', changes)
    for key, value in (changes or {}).items():
        _change(config, key, plain(value))
    return config


def _config_of_dict(package: Any, values: dict[str, Any]) -> Any:
    kind = values.pop('model_type', None)
    known = package.CONFIG_MAPPING
    if not isinstance(kind, str) or kind not in known:
        hint = did_you_mean(str(kind), list(known.keys()))
        raise ConfigError(
            f'model.model_type={kind!r}: transformers has no such model{hint or ", see its documentation"}'
        )
    cls = known[kind]
    names = {**cls().to_dict(), **cls.attribute_map}
    for key in values:
        if key not in names:
            raise ConfigError(f'model.{key}: unknown, {cls.__name__} takes no such argument{did_you_mean(key, names)}')
    try:
        return cls(**values)
    except Exception as error:  # of its own checks, which share no class
        raise ConfigError(f'model (model_type={kind!r}): {one_line(error)}') from error


def _change(config: Any, key: str, value: Any) -> None:
    if not hasattr(config, key):
        names = [*config.to_dict(), *config.attribute_map]
        raise ConfigError(f'config.{key}: unknown, {type(config).__name__} has no such entry{did_you_mean(key, names)}')
    part = getattr(config, key)
    if isinstance(value, dict) and hasattr(part, 'to_dict'):
        for inner, item in value.items():
            _change(part, inner, item)
    else:
        try:
            setattr(config, key, value)
        except Exception as error:  # of its own checks, which share no class
            raise ConfigError(f'config.{key}={value!r}: {one_line(error)}') from error


def image_entries(
    model: str | Mapping[str, Any], changes: Mapping[str, Any] | None, *, video: bool, who: str
) -> dict[str, Any]:
    """The entries of the processor of an image or video model, as its file has them.

    Args:
        model: The folder or name of the model, or a dict, which has none.
        changes: Entries to add or change.
        video: Whether it is a video model.
        who: What needs it, for messages.

    Raises:
        ConfigError: A folder or name has no processor, and there are no ``changes`` in its place; or one has no effect.
    """
    require_dict('processor', changes)
    for key, value in (changes or {}).items():
        if key not in (names := (*_USUAL, 'offset')):
            hint = did_you_mean(key, names) or f'; of a processor of images count {", ".join(names)}'
            raise ConfigError(f'processor.{key}: unknown{hint}')
        if key in ('image_mean', 'image_std') and not _are_numbers(value):
            raise ConfigError(f'processor.{key}={value!r}: give a number, or one for each of the three channels')
    if not isinstance(model, str):
        return plain(changes or {})
    package, name = transformers(who), folder_of(model)
    # that of videos also reads the file of an image processor, as older models have it
    owner, kind = (package.BaseVideoProcessor, 'video') if video else (package.ImageProcessingMixin, 'image')
    try:
        with brief(name, 'preprocessor_config.json'):
            entries = dict(getattr(owner, f'get_{kind}_processor_dict')(name)[0])
    except ConfigError as error:
        if not changes:
            raise ConfigError(
                f'{error}; or state the normalisation by processor=dict(image_mean=..., image_std=...)'
            ) from error
        entries = {}
    # what a file leaves out is as in the class that it names
    cls = getattr(package, str(entries.get('video_processor_type') or entries.get('image_processor_type')), None)
    usual = {key: getattr(cls, key, value) for key, value in _USUAL.items()}
    return {**usual, 'offset': 'Vivit' in getattr(cls, '__name__', ''), **entries, **plain(changes or {})}


def _are_numbers(value: Any) -> bool:
    each = value if isinstance(value, list | tuple) else [value]
    return len(each) in (1, 3) and all(isinstance(n, int | float) and not isinstance(n, bool) for n in each)


def build_extractor(
    model: str | Mapping[str, Any] | None, changes: Mapping[str, Any] | None = None, *, who: str
) -> Any:
    """The feature extractor of an audio model.

    Args:
        model: The folder or name of the model; anything else has none.
        changes: Its arguments to add or change; with ``feature_extractor_type``, all of an extractor.
        who: What needs it, for messages.

    Returns:
        The extractor, or None if there is nothing to build it of.

    Raises:
        ConfigError: A folder or name has no extractor, or an argument is unknown.
    """
    require_dict('processor', changes)
    entries, changes = {}, plain(changes or {})
    package = transformers(who)
    if isinstance(model, str) and 'feature_extractor_type' not in changes:
        name = folder_of(model)
        with brief(name, 'preprocessor_config.json'):
            entries = dict(package.FeatureExtractionMixin.get_feature_extractor_dict(name)[0])
            if 'feature_extractor_type' not in entries:  # transformers knows it from the kind of the model
                entries['feature_extractor_type'] = type(package.AutoFeatureExtractor.from_pretrained(name)).__name__
    kind = {**entries, **changes}.get('feature_extractor_type')
    if kind is None:
        if changes:
            raise ConfigError(f"{who}: {changes} lacks feature_extractor_type, such as 'ASTFeatureExtractor'")
        return None
    cls = getattr(package, str(kind), None) if str(kind).endswith('FeatureExtractor') else None
    if cls is None:
        from transformers.models.auto.feature_extraction_auto import FEATURE_EXTRACTOR_MAPPING_NAMES as known

        hint = did_you_mean(str(kind), [name for name in known.values() if name])
        raise ConfigError(f'feature_extractor_type={kind!r}: transformers has no such extractor{hint}')
    names = [each for part in cls.__mro__[:-1] for each in inspect.signature(part.__init__).parameters]
    for key in changes:
        if key not in (*names, 'feature_extractor_type', 'return_attention_mask'):
            raise ConfigError(f'{key}: unknown, {kind} takes no such argument{did_you_mean(key, names)}')
    arguments = {key: value for key, value in {**entries, **changes}.items() if key != 'feature_extractor_type'}
    try:
        return cls(**arguments)
    except Exception as error:  # of its own checks, which share no class
        raise ConfigError(f'{kind}: {one_line(error)}') from error


def norm_of(entries: Mapping[str, Any]) -> dict[str, list[float]] | None:
    """Mean and standard deviation, on 0 to 255, of the processor of an image or video model.

    A processor computes ``(x * rescale_factor - offset - image_mean) / image_std``.

    Args:
        entries: Of its file.

    Returns:
        dict(mean, std), one number per channel; None if the entries do not say.

    >>> norm_of(dict(image_mean=[0.5], image_std=[0.5], rescale_factor=1 / 255))
    {'mean': [127.5], 'std': [127.5]}
    """
    entries = {**_USUAL, **entries}
    factor = entries['rescale_factor'] if entries['do_rescale'] else 1.0
    mean, std = (entries['image_mean'], entries['image_std']) if entries['do_normalize'] else (0.0, 1.0)
    if mean is None or std is None:
        return None
    means, stds = (list(value) if isinstance(value, list | tuple) else [value] for value in (mean, std))
    shift = 1.0 if entries['do_rescale'] and entries.get('offset') else 0.0
    return dict(mean=[(m + shift) / factor for m in means], std=[s / factor for s in stds])


@contextmanager
def quiet(package: Any) -> Iterator[None]:
    """Keeps transformers from writing of its own progress and weights; what matters is reported by mmav."""
    log = package.utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()
