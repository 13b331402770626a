"""The paper's own studies: 2D sampling and distillation, κ side by side, the residual of eq. (8), its figures."""
