"""What several test files share."""

import pytest


@pytest.fixture(scope="session")
def chain(tmp_path_factory):
    """All three stages trained by their entry points: (folder, configs by stage)."""
    from small_training import make_chain

    return make_chain(tmp_path_factory.mktemp("chain"))
