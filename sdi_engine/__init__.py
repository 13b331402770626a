"""Text to 3D by Score Distillation via Inversion (Lukoianov et al., NeurIPS 2024), as a library and a command line.

Importing this package, `sdi_engine.errors`, `sdi_engine.contract` or `sdi_engine.system` needs nothing but the standard
library, since Blender's own Python imports them too. Nearly everything else needs torch.
"""

__version__ = "0.1.0"
