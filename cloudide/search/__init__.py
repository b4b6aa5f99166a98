"""Searching the files of a workspace, in its container."""
