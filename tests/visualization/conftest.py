import pytest


@pytest.fixture
def figure(monkeypatch):
    """Keeps the figures that are written, so that they can be looked into."""
    from mmav.visualization import figures

    kept = []
    write = figures.figure_bytes
    monkeypatch.setattr(
        figures, 'figure_bytes', lambda figure, *args, **kw: kept.append(figure) or write(figure, *args, **kw)
    )
    return kept
