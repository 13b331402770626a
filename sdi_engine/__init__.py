"""Text to 3D by Score Distillation via Inversion (Lukoianov et al., NeurIPS 2024), as a library and a command line.

Importing this package, `sdi_engine.request`, `sdi_engine.events`, `sdi_engine.errors` or `sdi_engine.job_folder` needs
nothing but the standard library, since Blender's own Python imports them too. Everything else needs torch.
"""

__version__ = "0.1.0"
