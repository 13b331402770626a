"""The yardstick: results held against the starter world's own things, with a judge and with geometry; and its runs."""
