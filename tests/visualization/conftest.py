import pytest


@pytest.fixture
def figure(monkeypatch):
    """Keeps the figures that are drawn, so that they can be looked into."""
    from matplotlib import pyplot

    kept = []
    monkeypatch.setattr(pyplot, 'close', kept.append)
    yield kept
    monkeypatch.undo()
    pyplot.close('all')
