"""The agent: runs in a workspace's container as its user and serves files, terminals and programs.

`python -m cloudide.agent` dials the server (see `protocol.agent`). It ships alone, in a bundle of
its own, so it imports nothing of the server. Modules that are not needed to say hello are imported
when they are first used: starting fast and staying small is part of the job.
"""
