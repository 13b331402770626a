"""The paper: DDIM, the choices of the noise κ, and the target that a render is drawn to. Knows no 3D."""
