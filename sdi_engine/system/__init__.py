"""The operating system, and what comes from outside it. Standard library only."""
