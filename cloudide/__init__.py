"""CloudIDE: a self-hosted, collaborative cloud IDE."""

__version__ = "0.1.0"
