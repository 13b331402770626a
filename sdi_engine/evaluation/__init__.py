"""The yardstick: makes objects and compares them with the starter world's own things, by a judge and by geometry."""
