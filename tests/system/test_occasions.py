"""Who works says that it is an occasion, and who listens inside of whom is asked."""

from sdi_engine.system.occasions import at_occasions, occasion


def test_the_innermost_block_is_asked_and_nobody_outside_of_all():
    asked = []
    occasion()
    with at_occasions(lambda: asked.append("outer")):
        with at_occasions(lambda: asked.append("inner")):
            occasion()
        occasion()
    occasion()
    assert asked == ["inner", "outer"]
