"""Features that were stored, read in one form: dumps of a test, and folders of extracted features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmav.checkpoints import load_checkpoint_file
from mmav.datasets.features import FeatureStore, read_index
from mmav.errors import FeatureError, MmavError
from mmav.evaluation.predictions import Classes, load_predictions
from mmav.structures import PROJECTED

_PROJECTIONS = 'contrast.projections.'


def load_features(path: str | Path) -> tuple[list[dict], Classes | None]:
    """Reads the features of a dump (``tools/test.py --dump``) or of a folder (``tools/extract_features.py``).

    Returns:
        Rows and class names, see :func:`mmav.evaluation.predictions.load_predictions`. Those of a folder have no
        ``scores``, and one of ``features`` for each modality that the clip has, the mean of its views.

    Raises:
        MmavError: There are none, or a file is damaged.
    """
    if not Path(path).is_dir():
        return load_predictions(path)
    store = FeatureStore(path)
    found = {name: (store.embeddings(name).mean(axis=1), store.present(name)) for name in store.modalities}
    index = store.index
    rows = [
        dict(
            path=store.paths[place],
            start=index.starts[place],
            end=index.ends[place],
            label={part: _label(labels[place]) for part, labels in store.labels.items()},
            broken=store.broken.get(place),
            sample_idx=place,
            features={name: values[place] for name, (values, present) in found.items() if present[place]},
        )
        for place in range(len(store))
    ]
    return rows, {part: list(names) for part, names in store.classes.items()} or None


def _label(label: np.ndarray) -> int | tuple[int, ...]:
    """A class, or of a multi-hot row its classes."""
    return tuple(np.flatnonzero(label).tolist()) if label.ndim else int(label)


def check_one_encoder(paths: Sequence[str | Path]) -> None:
    """Refuses folders whose features were made by different encoders of one modality.

    Raises:
        FeatureError: They were.
    """
    known: dict[str, tuple[str, str]] = {}  # modality -> folder and checksum
    for path in (str(path) for path in paths if Path(path).is_dir()):
        for name, checksum in dict(read_index(path).encoders or {}).items():
            first, expected = known.setdefault(name, (path, checksum))
            if checksum != expected:
                raise FeatureError(
                    f"'{first}' and '{path}' are by different encoders of {name}: extract both from one checkpoint"
                )


def media_folder(path: str | Path) -> str:
    """The folder that the paths of clips are relative to, as far as the features say: that of their manifest."""
    manifest = read_index(path).made_by.get('manifest') if Path(path).is_dir() else None
    return str(Path(manifest).parent) if isinstance(manifest, str) else ''


def project_features(rows: Sequence[dict], checkpoint: str | Path) -> list[dict]:
    """Adds what a contrastive head makes of each modality's embedding, as ``audio_projected`` and so on.

    Args:
        rows: See :func:`load_features`.
        checkpoint: Of a model with a :class:`~mmav.models.ContrastiveHead` that was trained on these features.

    Raises:
        MmavError: It has no such head, or its projections are of embeddings of another width.
    """
    content = load_checkpoint_file(checkpoint)
    weights = {
        key.removeprefix(_PROJECTIONS): value.float().numpy()
        for key, value in content.get('state_dict', content).items()
        if key.startswith(_PROJECTIONS)
    }
    names = list(dict.fromkeys(key.split('.')[0] for key in weights))
    if not names:
        raise MmavError(f"'{checkpoint}' has no projections: its model was trained without a contrastive head")
    projected = []
    for row in rows:
        features = dict(row.get('features', {}))
        for name in names:
            if name in features:
                weight, bias = weights[f'{name}.weight'], weights[f'{name}.bias']
                if len(features[name]) != weight.shape[1]:
                    raise MmavError(
                        f"'{checkpoint}' projects {name} embeddings of width {weight.shape[1]}, these have "
                        f'{len(features[name])}: give the checkpoint of a model that was trained on these features'
                    )
                features[name + PROJECTED] = weight @ features[name] + bias
        projected.append({**row, 'features': features})
    return projected
