"""SDI Text to 3D: a prompt, a 2D diffusion model of your own, a textured mesh in the scene."""


def register() -> None:
    """Called by Blender when the extension is enabled."""
    from . import registration

    registration.register()


def unregister() -> None:
    """Called by Blender when the extension is disabled."""
    from . import registration

    registration.unregister()
