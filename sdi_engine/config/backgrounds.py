"""The greys behind things, the same in the starter prior's training and while objects are made.

Before greys darker than it was trained on, the prior predicts darker objects than it is shown
(docs/evaluation/settings.md).
"""

DARKEST_GREY = 0.2
"""sRGB, 0…1; they are uniform from it to white."""

WHITE_SHARE = 0.3
"""Of the grey backgrounds, how many are plain white."""
