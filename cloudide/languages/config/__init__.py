"""The language server for `cloudide.toml` and `devcontainer.json`.

What it knows of these files is declared once, in `cloudide.project`, where the server validates
them too. It runs in the server's process for every workspace (`session`), and as `cloudide
config-lsp --stdio` for any editor.
"""
