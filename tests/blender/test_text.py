"""Long sentences in panels: as wide as the sidebar, in any script and size of letters, with nothing lost."""

from itertools import pairwise
from types import SimpleNamespace

import pytest

SIDEBAR = 280
ROOM = 210.0
"""What the sidebar leaves of that for text, in pixels."""

ENGLISH = "This model does not know that word: choose a real model, or one of the things that this one knows."
JAPANESE = "赤い屋根と緑の扉がある小さなターコイズ色の家、煙突と庭と大きな木と犬と猫、とても詳細で美しい"
PATH = "A file in /home/somebody/projects/of/last/year/with/a/long/name/scene.blend is not a model: choose another."


class Layout:
    """A layout that records the labels."""

    def __init__(self):
        self.labels = []

    def column(self, **_):
        return self

    def label(self, text, **_):
        self.labels.append(text)


@pytest.fixture
def drawn(extension):
    def draw(text, points=11.0, **arguments):
        context = SimpleNamespace(
            region=SimpleNamespace(width=SIDEBAR),
            preferences=SimpleNamespace(
                system=SimpleNamespace(ui_scale=1.0),
                ui_styles=[SimpleNamespace(widget=SimpleNamespace(points=points))],
            ),
        )
        layout = Layout()
        extension.panels.text.wrapped_label(layout, context, text, **arguments)
        return layout.labels

    return draw


def width_of(text, points):
    import blf

    blf.size(0, points)
    return blf.dimensions(0, text)[0]


@pytest.mark.parametrize("points", [11.0, 18.0])
@pytest.mark.parametrize("text", [ENGLISH, JAPANESE, f"Not known: {JAPANESE} and more", PATH])
def test_every_line_fits_and_nothing_is_lost(drawn, text, points):
    lines = drawn(text, points)
    assert max(width_of(line, points) for line in lines) <= ROOM
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_lines_are_as_full_as_words_let_them_be(drawn):
    lines = drawn(ENGLISH)
    for line, following in pairwise(lines):
        assert width_of(f"{line} {following.split()[0]}", 11.0) > 0.9 * ROOM


@pytest.mark.parametrize("text", [ENGLISH, JAPANESE])
def test_what_is_too_long_ends_in_an_ellipsis(drawn, text):
    lines = drawn(text, lines=2)
    assert len(lines) == 2
    assert lines[1].endswith(" …")
    assert width_of(lines[1], 11.0) <= ROOM
    assert drawn("a mug", lines=2) == ["a mug"]
    assert drawn("") == []
