"""Redrawing the areas that show our state, with and without a window in Blender's context."""

from types import SimpleNamespace

import pytest


@pytest.fixture
def blender(extension, monkeypatch):
    """A Blender with one window and nothing in it, that `redraw` finds."""
    drawn, registered = [], []
    workspace = SimpleNamespace(status_text_set=drawn.append)
    workspace = type("Workspace", (), {"status_text_set": staticmethod(drawn.append)})()
    window = SimpleNamespace(workspace=workspace, screen=SimpleNamespace(areas=[]), modal_operators=[])
    timers = SimpleNamespace(
        is_registered=registered.__contains__, register=lambda function, first_interval: registered.append(function)
    )
    fake = SimpleNamespace(
        app=SimpleNamespace(background=False, timers=timers),
        context=SimpleNamespace(window=window, window_manager=SimpleNamespace(windows=[window])),
    )
    monkeypatch.setattr(extension.state.redraw, "bpy", fake)
    return SimpleNamespace(drawn=drawn, registered=registered, context=fake.context, window=window)


def test_the_status_bar_is_drawn_at_once(extension, blender):
    extension.state.redraw.redraw()
    assert blender.drawn == [None]
    assert not blender.registered


def test_in_no_window_it_is_drawn_later(extension, blender):
    """As in a timer's call that has just opened a file, where Blender 5.2 crashes."""
    redraw = extension.state.redraw.redraw
    blender.context.window = None
    redraw()
    redraw()
    assert not blender.drawn
    assert blender.registered == [redraw], "once"
    blender.context.window = blender.window
    assert blender.registered[0]() is None, "a timer that is over"
    assert blender.drawn == [None]
