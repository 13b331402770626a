"""The 2D model: one small interface over any text-to-image diffusion model, in the paper's symbols."""
