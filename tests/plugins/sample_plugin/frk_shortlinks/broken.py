"""As after an update that one of its own dependencies missed."""

import frk_that_is_missing  # type: ignore[import-not-found]

BrokenFeature = frk_that_is_missing.Feature
