"""Shared by every test: how Hypothesis searches."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# A busy machine may be slow at any moment: time is not a law here. CI looks at the same examples
# every time, so that a red build can be repeated; at home every run looks elsewhere.
settings.register_profile("home", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("home"), derandomize=True, database=None)
settings.load_profile("ci" if "CI" in os.environ else "home")
