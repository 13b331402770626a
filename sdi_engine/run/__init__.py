"""One object: from a request to a mesh file."""
