"""Ports of workspaces: which are open, who may see them, and how bytes get there."""
