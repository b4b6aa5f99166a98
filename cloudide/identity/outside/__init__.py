"""Identities that others vouch for: OpenID Connect providers and GitHub.

A browser is sent to the provider with a state, a nonce and the challenge of a secret (PKCE), which
`flows` keeps; it comes back with a code, which `oidc` or `github` changes for who somebody is
there; and `identities` knows whose account that is here, by issuer and subject alone.
"""
