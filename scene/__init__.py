"""What is put into the scene: results, markers, live meshes, assets."""
