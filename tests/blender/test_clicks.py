"""A double click on a button that queues jobs is one press of it."""

import pytest


def test_the_second_click_of_a_double_click_does_nothing(bpy, extension, monkeypatch):
    now, done = [0.0], []
    clicks = extension.state.clicks.Clicks(clock=lambda: now[0])
    monkeypatch.setattr(extension.state.current.session(), "clicks", clicks)

    class Operator(extension.operators.clicks.PressedOnce):
        bl_idname = "sdi.generate"

        def execute(self, context):
            done.append(now[0])
            return {"FINISHED"}

    for now[0], answer in ((10.0, "FINISHED"), (10.2, "CANCELLED"), (11.0, "FINISHED")):
        bpy.context.preferences.inputs.mouse_double_click_time = 350
        assert Operator().invoke(bpy.context, None) == {answer}
    assert done == [10.0, 11.0]


@pytest.mark.parametrize("name", ["SDI_OT_generate", "SDI_OT_regenerate", "SDI_OT_texture", "SDI_OT_refine"])
def test_buttons_that_queue_jobs_are_pressed_once(extension, name):
    operators = extension.operators
    cls = getattr(operators.generate, name, None) or getattr(operators.texture, name)
    assert cls.invoke is operators.clicks.PressedOnce.invoke
