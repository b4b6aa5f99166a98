"""The server's side of the link to the agents in the workspaces; `hub.Agents` is the way in."""

from cloudide.agents.hub import Agents, Listener
from cloudide.agents.link import Agent
from cloudide.agents.streams import Download, Stream

__all__ = ["Agent", "Agents", "Download", "Listener", "Stream"]
