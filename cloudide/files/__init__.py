"""Folders as archives, and what was deleted, for a while."""
