"""Secrets of people, teams and workspaces, for the processes that were chosen to have them."""
