# tests/conftest.py
"""Every test starts from the same random state, alone or in the whole suite: what passed once passes again.

Read by pytest itself:
    python -m pytest tests
"""

import random

import numpy as np
import pytest
import torch


@pytest.fixture(autouse=True)
def same_draw():
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
