"""What all tests share: no window is opened, and a slow machine fails no property test."""

import hypothesis
import matplotlib

matplotlib.use("Agg")
hypothesis.settings.register_profile("any speed", deadline=None)
hypothesis.settings.load_profile("any speed")
