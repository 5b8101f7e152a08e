"""The networks, built once for all tests of models that leave them as they are."""

import pytest

from facekit.models import backbones, networks


@pytest.fixture(scope="session")
def built():
    """Return by name a network without weights, at the smallest size that it takes."""
    models = {}

    def get(name):
        if name not in models:
            models[name] = backbones.build(name, (networks.NETWORKS[name][0],) * 2)
        return models[name]

    return get
